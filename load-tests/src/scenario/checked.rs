//! What the run believes: every section with its keys, their defaults and what they accept. Those that take more words are
//! beside: [`super::devices`], [`super::networks`], [`super::events`].

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use tessera::config::{LoadOptions, load};

use super::format;
use super::mistake::Mistake;
use super::raw::{RawValue, Said, Table};
use super::reading::{Names, Open, Reading, Reported};
use super::value::{self, Read};
use super::{Arrival, Boots, Cohort, Event, Expectation, GatewayPlan, Image, ImageName, Kind};

/// A scenario whose sections are each right by themselves; where one is not, it is `None`.
#[derive(Debug)]
pub struct Draft<'t> {
    /// The whole file.
    pub top: &'t Table,
    pub name: Option<String>,
    pub about: Option<String>,
    pub seed: Option<u64>,
    pub stop_after: Option<Duration>,
    pub stragglers: Option<u64>,
    pub linger: Option<Duration>,
    pub gateway: Option<GatewayPlan>,
    /// `[gateway]`, where it is.
    pub gateway_section: Option<&'t Table>,
    pub images: BTreeMap<ImageName, Marked<'t, Image>>,
    pub cohorts: Vec<Marked<'t, Cohort>>,
    pub kinds: Vec<Marked<'t, Kind>>,
    pub arrival: Option<Arrival>,
    pub arrival_section: Option<&'t Table>,
    pub events: Vec<Marked<'t, Event>>,
    pub expect: Vec<(&'t Said, Expectation)>,
    /// `[expect]`, where it is.
    pub expect_section: Option<&'t Table>,
}

/// Something and the table that says it; `None` where that table has mistakes.
#[derive(Debug)]
pub struct Marked<'t, T> {
    pub table: &'t Table,
    pub read: Option<T>,
}

impl<'t> Draft<'t> {
    /// Reads a whole file.
    pub fn of(table: &'t Table, reading: &mut Reading) -> Self {
        let top = reading.open(table, format::TOP);
        let name = reading.required(top, "name", value::word).ok();
        let about = reading.or(top, "about", String::new(), value::any_text).ok();
        let seed = reading.or(top, "seed", 1, value::whole(0..=value::SEED_MAX)).ok();
        let stop_after = reading.required(top, "stop_after", value::span(RUN)).ok();
        let linger = reading
            .or(top, "linger", LINGER, value::span(Duration::ZERO..=*RUN.end()))
            .ok();
        let stragglers = reading
            .or(top, "stragglers", 0, value::whole(0..=u64::from(DEVICES_MAX)))
            .ok();
        let gateway_section = reading.section(top, "gateway");
        let gateway =
            gateway_section.map_or_else(|| Some(GatewayPlan::default()), |table| reading.gateway(table));

        let images = reading.images(top);
        let cohort_tables = reading.sections(top, "cohorts");
        let kind_tables = reading.sections(top, "devices");
        if kind_tables.is_empty() && table.get("devices").is_none() {
            let problem = "a section [[devices]] for each kind of device";
            reading
                .mistakes
                .push(Mistake::missing(table.place, "[[devices]]".to_owned(), problem));
        }
        let names = Names {
            images: images.keys().cloned().collect(),
            cohorts: reading.names(&cohort_tables),
            kinds: reading.names(&kind_tables),
            networks: reading.networks(top),
        };
        let cohorts = cohort_tables.into_iter().map(|table| Marked {
            table,
            read: reading.cohort(table, &names).ok(),
        });
        let cohorts = cohorts.collect();
        let kinds = kind_tables.into_iter().map(|table| Marked {
            table,
            read: reading.kind(table, &names).ok(),
        });
        let kinds = kinds.collect();
        let arrival_section = reading.section(top, "arrival");
        let arrival = arrival_section.map_or(Some(Arrival::Storm), |table| reading.arrival(table).ok());
        let event_tables = reading.sections(top, "events");
        let events = event_tables.into_iter().map(|table| Marked {
            table,
            read: reading.event(table, &names).ok(),
        });
        let events = events.collect();
        let expect_section = reading.section(top, "expect");
        let expect = expect_section.map_or_else(Vec::new, |table| reading.expect(table));
        Self {
            top: table,
            name,
            about,
            seed,
            stop_after,
            linger,
            stragglers,
            gateway,
            gateway_section,
            images,
            cohorts,
            kinds,
            arrival,
            arrival_section,
            events,
            expect,
            expect_section,
        }
    }
}

/// Sections.
impl Reading {
    fn gateway(&mut self, table: &Table) -> Option<GatewayPlan> {
        let open = self.open(table, format::GATEWAY);
        let shards = self.optional(open, "shards", value::whole(SHARDS));
        let disk = self.optional(open, "disk", value::size(DISK));
        let config = self.config(open);
        Some(GatewayPlan {
            shards: shards.ok()?.map(|shards| shards as u16),
            disk: disk.ok()?,
            config: config.ok()?,
        })
    }

    /// The gateway itself says whether a key is one of its own, and what it accepts.
    fn config(&mut self, open: Open<'_>) -> Result<BTreeMap<String, String>, Reported> {
        let mut config = BTreeMap::new();
        let Some(table) = self.table_of(open, "config") else {
            return Ok(config);
        };
        let before = self.mistakes.len();
        for (key, entry) in table.entries() {
            let said = &entry.value;
            let word = match &said.value {
                RawValue::Text(text) => text.clone(),
                RawValue::List(values) => {
                    let words: Vec<String> = values
                        .iter()
                        .map(|said| match &said.value {
                            RawValue::Text(text) => text.clone(),
                            other => other.to_string(),
                        })
                        .collect();
                    words.join(",")
                }
                RawValue::Table(_) => {
                    let problem =
 "expected a key of the gateway's configuration in quotes, like \"coaps.idle_timeout\" = \"1d\""
.to_owned();
                    self.mistakes
                        .push(Mistake::key(entry.key_place, table.key(key), problem));
                    continue;
                }
                other => other.to_string(),
            };
            if let Some((_, why)) = SET_BY_THE_RUN.iter().find(|(own, _)| *own == key) {
                self.mistakes.push(Mistake::key(
                    entry.key_place,
                    table.key(key),
                    format!("is set by the run itself: {why}"),
                ));
                continue;
            }
            let alone = LoadOptions {
                overrides: vec![(key.to_owned(), word.clone())],
                ..LoadOptions::default()
            };
            if let Err(errors) = load(&alone) {
                for error in errors.0 {
                    // Its own message begins with the key; its place, "the command line", is not this file's.
                    let told = error.to_string();
                    let problem = told.split_once("): ").map_or(&*told, |(_, problem)| problem);
                    self.mistakes.push(Mistake::contradiction(
                        said.place,
                        table.key(key),
                        said.value.to_string(),
                        problem.to_owned(),
                    ));
                }
            }
            config.insert(key.to_owned(), word);
        }
        if self.mistakes.len() == before {
            Ok(config)
        } else {
            Err(Reported)
        }
    }

    fn images<'t>(&mut self, top: Open<'t>) -> BTreeMap<ImageName, Marked<'t, Image>> {
        let mut images = BTreeMap::new();
        for (name, place, table) in self.named_sections(top, "images") {
            let read = self.image(table);
            let Some(parsed) = value::parse_image_name(name) else {
                let accepted = value::image_name(&RawValue::Truth(false))
                    .err()
                    .unwrap_or_default();
                self.mistakes.push(Mistake::key(
                    place,
                    table.header.clone(),
                    format!("expected {accepted}"),
                ));
                continue;
            };
            if let Ok(Image {
                boots: Boots::As(version),
                ..
            }) = &read
                && *version == parsed.version
            {
                let said = table.get("boots").map_or(table.place, |said| said.place);
                self.mistakes.push(Mistake::contradiction(
                    said,
                    table.key("boots"),
                    format!("\"as {version}\""),
                    "that is what it is: expected \"well\", or another version".to_owned(),
                ));
            }
            let read = read.ok();
            images.insert(parsed, Marked { table, read });
        }
        images
    }

    fn image(&mut self, table: &Table) -> Result<Image, Reported> {
        let open = self.open(table, format::IMAGE);
        let size = self.required(open, "size", value::size(IMAGE));
        let boots = self.or(open, "boots", Boots::Well, boots);
        Ok(Image {
            size: size?,
            boots: boots?,
        })
    }

    fn cohort(&mut self, table: &Table, names: &Names<'_>) -> Result<Cohort, Reported> {
        let open = self.open(table, format::COHORT);
        let name = self.required(open, "name", value::cohort_name);
        let deployed = self.image_list(open, "deployed", names);
        Ok(Cohort {
            name: name?,
            deployed: deployed?.unwrap_or_default(),
        })
    }

    fn arrival(&mut self, table: &Table) -> Result<Arrival, Reported> {
        let open = self.open(table, format::ARRIVAL);
        let how = self.required(
            open,
            "how",
            value::choice(&[
                ("storm", Arrive::Storm),
                ("ramp", Arrive::Ramp),
                ("random", Arrive::Random),
            ]),
        );
        let over = self.optional(open, "over", value::span(Duration::from_millis(1)..=*RUN.end()));
        let (how, over) = (how?, over?);
        match (how, over) {
            (Arrive::Storm, None) => Ok(Arrival::Storm),
            (Arrive::Ramp, Some(over)) => Ok(Arrival::Ramp(over)),
            (Arrive::Random, Some(over)) => Ok(Arrival::Random(over)),
            (Arrive::Storm, Some(_)) => {
                self.contradict(
                    open,
                    "over",
                    "a storm takes no time: expected how = \"ramp\" or how = \"random\" beside it".to_owned(),
                );
                Err(Reported)
            }
            (Arrive::Ramp | Arrive::Random, None) => {
                Err(self.lacks(open, "over", "a duration like \"60 s\""))
            }
        }
    }

    fn expect<'t>(&mut self, table: &'t Table) -> Vec<(&'t Said, Expectation)> {
        let open = self.open(table, format::EXPECT);
        let mut found = Vec::new();
        for key in format::EXPECT {
            let Some(said) = open.get(key) else { continue };
            match expectation(key, &said.value) {
                Ok(expectation) => found.push((said, expectation)),
                Err(accepted) => {
                    self.wrong(open, key, said, &accepted);
                }
            }
        }
        // As the file has them, so that verdicts are told in that order.
        found.sort_by_key(|(said, _)| said.place);
        found
    }
}

#[derive(Clone, Copy)]
enum Arrive {
    Storm,
    Ramp,
    Random,
}

fn boots(said: &RawValue) -> Read<Boots> {
    let accepted =
        || "\"well\", \"badly\" or, as another version than it is offered as, \"as 1.0.0\"".to_owned();
    let RawValue::Text(text) = said else {
        return Err(accepted());
    };
    match text.as_str() {
        "well" => Ok(Boots::Well),
        "badly" => Ok(Boots::Badly),
        other => other
            .strip_prefix("as ")
            .filter(|version| tessera::fleet::Version::parse(version).is_ok())
            .map(|version| Boots::As(version.to_owned()))
            .ok_or_else(accepted),
    }
}

fn expectation(key: &str, said: &RawValue) -> Read<Expectation> {
    let within = || value::span(Duration::from_micros(1)..=*RUN.end())(said);
    let at_most = || value::whole(0..=u64::from(u32::MAX))(said);
    // None at all is always met.
    let at_least = || value::whole(1..=u64::from(u32::MAX))(said);
    let some = |share: f64| share > 0.0 && share <= 1.0;
    Ok(match key {
        "connected_within" => Expectation::ConnectedWithin(within()?),
        "converged_within" => Expectation::ConvergedWithin(within()?),
        "converged" => Expectation::Converged(value::share(some, "above 0 and up to 1")(said)?),
        "recorded" => Expectation::Recorded(value::share(some, "above 0 and up to 1")(said)?),
        "handshake_p99" => Expectation::HandshakeP99(within()?),
        "notification_p99" => Expectation::NotificationP99(within()?),
        "block_p99" => Expectation::BlockP99(within()?),
        "update_p99" => Expectation::UpdateP99(within()?),
        "devices_lost" => Expectation::DevicesLost(at_most()?),
        "handshakes_again" => Expectation::HandshakesAgain(at_most()?),
        "handshakes_failed" => Expectation::HandshakesFailed(at_most()?),
        "intruders" => Expectation::Intruders(at_most()?),
        "updates_failed" => Expectation::UpdatesFailed(at_most()?),
        "rolled_back" => Expectation::RolledBack(at_least()?),
        "update_loops" => Expectation::UpdateLoops(at_least()?),
        "reports_refused" => Expectation::ReportsRefused(at_most()?),
        "store_errors" => Expectation::StoreErrors(at_least()?),
        "server_cpu_per_device" => Expectation::ServerCpuPerDevice(within()?),
        "server_memory_per_device" => Expectation::ServerMemoryPerDevice(value::size(1..=1 << 30)(said)?),
        // The key is one of the table's, and this is its last.
        _ => Expectation::SimulatorLateP99(within()?),
    })
}

/// The gateway's keys that a scenario does not set.
const SET_BY_THE_RUN: &[(&str, &str)] = &[
    ("data.dir", "a folder of its own"),
    ("coaps.listen", "a port of its own"),
    ("coap.listen", "devices speak DTLS"),
    ("coaps.certificate_file", "certificates are made for the run"),
    ("coaps.private_key_file", "certificates are made for the run"),
    ("admin.listen", "a port of its own"),
    ("admin.tls_cert_file", "operators are on this machine"),
    ("admin.tls_key_file", "operators are on this machine"),
    ("admin.insecure_plaintext", "operators are on this machine"),
    ("admin.bootstrap_key", "a key of its own"),
    ("admin.bootstrap_key_file", "a key of its own"),
    ("runtime.shards", "expected shards in [gateway]"),
];

/// How long a run may be: a moment, or a month.
pub const RUN: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * 24 * 3600);

/// Long enough for what is under way to come to its end on a good network: a guess.
const LINGER: Duration = Duration::from_secs(2);

/// As the gateway's own key has it.
pub const SHARDS: RangeInclusive<u64> = 1..=256;

/// The least that the gateway's store begins with and works in: a guess. The most is the machine's memory anyway.
const DISK: RangeInclusive<u64> = 16 << 20..=64 << 30;

/// The most is what the gateway takes without being told otherwise.
const IMAGE: RangeInclusive<u64> = 1..=256 << 20;

/// What one process stands for.
pub const DEVICES_MAX: u32 = 1_000_000;

/// A task and some 40 KiB each: a guess at what a small machine carries.
pub const FOREIGN_MAX: u64 = 10_000;
