//! What the run believes: every section with its keys, their defaults and what they accept.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use tessera::config::{LoadOptions, load};
use tessera::virtual_device::{CipherSuite, Port, Szx};

use super::format::{self, Keys};
use super::mistake::{Mistake, Place};
use super::raw::{RawValue, Said, Table};
use super::value::{self, Read};
use super::words::{CREDENTIALS, ENGINES, PORTS, SUITES, word_of};
use super::{
    Arrival, Boots, Cohort, Credential, Engine, Event, Expectation, GatewayPlan, Image, ImageName, Kind,
    What, When, Who,
};
use crate::network::{Delay, Direction, Profile};

/// A scenario whose sections are each right by themselves; where one is not, it is `None`.
#[derive(Debug)]
pub struct Draft<'t> {
    pub name: Option<String>,
    pub about: Option<String>,
    pub seed: Option<u64>,
    pub stop_after: Option<Duration>,
    pub linger: Option<Duration>,
    pub gateway: Option<GatewayPlan>,
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

/// It is among the mistakes already.
#[derive(Clone, Copy, Debug)]
pub struct Reported;

/// Reads sections and notes what is wrong with them.
#[derive(Debug, Default)]
pub struct Reading {
    pub mistakes: Vec<Mistake>,
    pub warnings: Vec<Mistake>,
}

/// A table whose keys are all known.
#[derive(Clone, Copy, Debug)]
struct Open<'t> {
    table: &'t Table,
    keys: Keys,
}

/// Names that others refer to, whether or not what they name is right.
struct Names<'t> {
    images: BTreeSet<ImageName>,
    cohorts: Vec<&'t str>,
    kinds: Vec<&'t str>,
    networks: BTreeMap<&'t str, Option<Profile>>,
}

impl<'t> Draft<'t> {
    /// Reads a whole file.
    pub fn of(table: &'t Table, reading: &mut Reading) -> Self {
        let top = reading.open(table, format::TOP);
        let name = reading.required(top, "name", value::word).ok();
        let about = reading.or(top, "about", String::new(), value::any_text).ok();
        let seed = reading
            .or(top, "seed", 1, value::whole(0..=i64::MAX.cast_unsigned()))
            .ok();
        let stop_after = reading.required(top, "stop_after", value::span(RUN)).ok();
        let linger = reading
            .or(top, "linger", LINGER, value::span(Duration::ZERO..=*RUN.end()))
            .ok();
        let gateway = reading
            .section(top, "gateway")
            .map_or_else(|| Some(GatewayPlan::default()), |table| reading.gateway(table));

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
            name,
            about,
            seed,
            stop_after,
            linger,
            gateway,
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
                    let problem = format!(
                        "expected a key of the gateway's configuration in quotes, like \"coaps.{key}\" = \"1\""
                    );
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

    fn kind(&mut self, table: &Table, names: &Names<'_>) -> Result<Kind, Reported> {
        let open = self.open(table, format::DEVICES);
        let name = self.required(open, "name", value::word);
        let count = self.required(open, "count", value::whole(1..=u64::from(DEVICES_MAX)));
        let engine = self.or(open, "engine", Engine::Native, value::choice(ENGINES));
        let port = self.or(open, "port", Port::Libcoap, value::choice(PORTS));
        let credential = self.or(open, "credential", Credential::Psk, value::choice(CREDENTIALS));
        let suites = self.suites(open, engine, port, credential);
        let connection_id = self.connection_id(open, engine, port);
        let block_size = self.or(open, "block_size", Szx::MAX, value::block_size);
        let runs = self.required(open, "runs", value::image_name);
        let cohort = self.reference(open, "cohort", "[[cohorts]]", &names.cohorts);
        let network = self.network_of(open, names);
        let faster = self.or(open, "faster", 1, value::whole(FASTER));
        if let (Ok(Engine::Foreign), Ok(count)) = (&engine, &count)
            && *count > FOREIGN_MAX
        {
            self.contradict(
                open,
                "count",
                format!("the foreign engine carries thousands: expected at most {FOREIGN_MAX} devices"),
            );
            return Err(Reported);
        }
        Ok(Kind {
            name: name?,
            count: count? as u32,
            engine: engine?,
            port: port?,
            suites: suites?,
            credential: credential?,
            connection_id: connection_id?,
            block_size: block_size?,
            runs: runs?,
            cohort: cohort?,
            network: network?,
            faster: faster? as u32,
        })
    }

    /// As the port offers them, unless the file says otherwise; never one that the credential or the engine has no use for.
    fn suites(
        &mut self,
        open: Open<'_>,
        engine: Result<Engine, Reported>,
        port: Result<Port, Reported>,
        credential: Result<Credential, Reported>,
    ) -> Result<Vec<CipherSuite>, Reported> {
        let Some(said) = open.get("suites") else {
            let (engine, port, credential) = (engine?, port?, credential?);
            let usable = |suite: &CipherSuite| {
                suite.has_psk() == credential.is_psk() && (engine == Engine::Native || foreign_has(*suite))
            };
            let usable = CipherSuite::ALL.into_iter().filter(usable);
            return Ok(match port {
                Port::Libcoap => usable.collect(),
                // A build with Mbed TLS offers exactly one.
                Port::Zephyr => usable.take(1).collect(),
            });
        };
        let before = self.mistakes.len();
        let mut suites = Vec::new();
        let members = listed(said);
        if members.is_empty() {
            self.wrong(open, "suites", said, "at least one suite");
        }
        for member in members {
            let Some(suite) = self.member(open, "suites", member, value::choice(SUITES)) else {
                continue;
            };
            let word = word_of(SUITES, &suite);
            let against = |problem: String| {
                Mistake::contradiction(
                    member.place,
                    open.table.key("suites"),
                    format!("{word:?}"),
                    problem,
                )
            };
            if let Ok(credential) = credential
                && suite.has_psk() != credential.is_psk()
            {
                let fitting: Vec<&str> = SUITES
                    .iter()
                    .filter(|(_, suite)| suite.has_psk() == credential.is_psk())
                    .map(|(word, _)| *word)
                    .collect();
                self.mistakes.push(against(format!(
                    "does not go with credential = \"{credential}\": expected {}",
                    value::one_of("", &fitting)
                )));
            } else if matches!(engine, Ok(Engine::Foreign)) && !foreign_has(suite) {
                let has: Vec<&str> = SUITES
                    .iter()
                    .filter(|(_, suite)| foreign_has(*suite))
                    .map(|(word, _)| *word)
                    .collect();
                self.mistakes.push(against(format!(
                    "the foreign engine does not have this suite: expected {}",
                    value::one_of("", &has)
                )));
            }
            if suites.contains(&suite) {
                self.mistakes
                    .push(against("is there twice: expected each once".to_owned()));
            }
            suites.push(suite);
        }
        if self.mistakes.len() == before {
            Ok(suites)
        } else {
            Err(Reported)
        }
    }

    fn connection_id(
        &mut self,
        open: Open<'_>,
        engine: Result<Engine, Reported>,
        port: Result<Port, Reported>,
    ) -> Result<bool, Reported> {
        let offered = self.or(open, "connection_id", false, value::truth)?;
        let problem = match (engine, port) {
            (Ok(Engine::Foreign), _) => "the foreign engine has no connection IDs: expected false",
            (_, Ok(Port::Libcoap)) => {
                "the SDK's libcoap port has no connection IDs: expected false, or port = \"zephyr\""
            }
            (Ok(Engine::Native) | Err(Reported), Ok(Port::Zephyr) | Err(Reported)) => return Ok(offered),
        };
        if offered {
            self.contradict(open, "connection_id", problem.to_owned());
            return Err(Reported);
        }
        Ok(false)
    }

    fn network_of(&mut self, open: Open<'_>, names: &Names<'_>) -> Result<Profile, Reported> {
        let Some(said) = open.get("network") else {
            return Ok(Profile::perfect());
        };
        let name = match &said.value {
            RawValue::Text(name) => name.as_str(),
            _ => "",
        };
        if let Some(profile) = Profile::named(name) {
            return Ok(profile);
        }
        if let Some(own) = names.networks.get(name) {
            return own.clone().ok_or(Reported);
        }
        let known: Vec<&str> = Profile::NAMES
            .iter()
            .copied()
            .chain(names.networks.keys().copied())
            .collect();
        let accepted = format!("a network: {}", value::one_of(name, &known));
        Err(self.wrong(open, "network", said, &accepted))
    }

    fn networks<'t>(&mut self, top: Open<'t>) -> BTreeMap<&'t str, Option<Profile>> {
        let sections = self.named_sections(top, "networks").into_iter();
        let read = sections.map(|(name, place, table)| {
            if Profile::NAMES.contains(&name) {
                self.mistakes.push(Mistake::key(
                    place,
                    table.header.clone(),
                    format!(
                        "this network exists already: expected another name, and based_on = {name:?} to begin with it"
                    ),
                ));
            }
            (name, self.network(table).ok())
        });
        read.collect()
    }

    fn network(&mut self, table: &Table) -> Result<Profile, Reported> {
        let open = self.open(table, format::NETWORK);
        let base = match open.get("based_on") {
            None => Ok(Profile::perfect()),
            Some(said) => match &said.value {
                RawValue::Text(name) if Profile::named(name).is_some() => {
                    Ok(Profile::named(name).unwrap_or_else(Profile::perfect))
                }
                other => {
                    let name = other.to_string();
                    let accepted = value::one_of(name.trim_matches('"'), &Profile::NAMES);
                    Err(self.wrong(open, "based_on", said, &accepted))
                }
            },
        };
        let both = self.direction(open);
        let mut ways = ["up", "down"].map(|way| match self.table_of(open, way) {
            None if open.get(way).is_some() => Err(Reported),
            None => Ok(Changes::default()),
            Some(table) => {
                let open = self.open(table, format::DIRECTION);
                self.direction(open)
            }
        });
        let (base, both) = (base?, both?);
        let down = std::mem::replace(&mut ways[1], Err(Reported))?;
        let up = std::mem::replace(&mut ways[0], Err(Reported))?;
        Ok(Profile {
            up: up.to(both.to(base.up)),
            down: down.to(both.to(base.down)),
        })
    }

    fn direction(&mut self, open: Open<'_>) -> Result<Changes, Reported> {
        let some = |share: f64| (0.0..1.0).contains(&share);
        let loss = self.optional(open, "loss", value::share(some, NOT_ALL));
        let duplicate = self.optional(open, "duplicate", value::share(some, NOT_ALL));
        let reorder = self.optional(open, "reorder", value::share(some, NOT_ALL));
        let delay = self.delay(open);
        let bits_per_s = self.optional(open, "bandwidth", value::rate);
        let queue_bytes = self.optional(open, "queue", value::size(QUEUE));
        Ok(Changes {
            loss: loss?,
            duplicate: duplicate?,
            reorder: reorder?,
            delay: delay?,
            bits_per_s: bits_per_s?,
            queue_bytes: queue_bytes?.map(|bytes| bytes as u32),
        })
    }

    fn delay(&mut self, open: Open<'_>) -> Result<Option<Delay>, Reported> {
        let Some(said) = open.get("delay") else {
            return Ok(None);
        };
        let RawValue::Table(table) = &said.value else {
            return match value::span(DELAY)(&said.value) {
                Ok(delay) => Ok(Some(Delay::Constant(delay))),
                Err(accepted) => Err(self.wrong(open, "delay", said, &format!("{accepted}, or {SPREAD}"))),
            };
        };
        let inner = self.open(table, format::DELAY);
        let [from, to, mean, deviation, median] = ["from", "to", "mean", "deviation", "median"]
            .map(|key| self.optional(inner, key, value::span(DELAY)));
        let sigma = self.optional(inner, "sigma", value::fraction(0.0..=3.0));
        let read = (from?, to?, mean?, deviation?, median?, sigma?);
        let delay = match read {
            (Some(from), Some(to), None, None, None, None) if from <= to => Delay::Uniform { from, to },
            (None, None, Some(mean), Some(deviation), None, None) => Delay::Normal { mean, deviation },
            (None, None, None, None, Some(median), Some(sigma)) => Delay::LogNormal { median, sigma },
            (Some(from), Some(to), None, None, None, None) => {
                let problem = format!(
                    "is before from = \"{}\": expected a longer delay",
                    value::show_span(from)
                );
                let shown = format!("\"{}\"", value::show_span(to));
                let place = inner.get("to").map_or(said.place, |said| said.place);
                self.mistakes
                    .push(Mistake::contradiction(place, table.key("to"), shown, problem));
                return Err(Reported);
            }
            _ => return Err(self.wrong(open, "delay", said, SPREAD)),
        };
        Ok(Some(delay))
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

    fn event(&mut self, table: &Table, names: &Names<'_>) -> Result<Event, Reported> {
        let open = self.open(table, format::EVENT);
        let words: Vec<&str> = format::EVENT_KINDS.iter().map(|(word, _)| *word).collect();
        let word = self.required(open, "do", |said| match said {
            RawValue::Text(text) => words
                .iter()
                .find(|word| **word == text.as_str())
                .copied()
                .ok_or_else(|| value::one_of(text, &words)),
            _ => Err(value::one_of("", &words)),
        });
        let when = self.when(open);
        let word = word?;
        let takes = format::EVENT_KINDS
            .iter()
            .find(|(kind, _)| *kind == word)
            .map_or(&[][..], |(_, takes)| takes);
        for (key, entry) in table.entries() {
            let known = format::EVENT.contains(&key) && !WHEN.contains(&key) && key != "do";
            if known && !takes.contains(&key) {
                let problem = format!("a {word} has no such key; it has {}", takes.join(", "));
                self.mistakes
                    .push(Mistake::key(entry.key_place, table.key(key), problem));
            }
        }
        // Only what this event takes is looked at: the rest has been told not to belong.
        let what = match word {
            "deploy" => {
                let cohort = self.required_reference(open, "cohort", "[[cohorts]]", &names.cohorts);
                let images = self.image_list(open, "images", names);
                let images = match images? {
                    Some(images) if !images.is_empty() => images,
                    Some(_) => {
                        self.contradict(open, "images", "expected at least one image".to_owned());
                        return Err(Reported);
                    }
                    None => return Err(self.lacks(open, "images", "an image like \"main@1.1.0\"")),
                };
                What::Deploy {
                    cohort: cohort?,
                    images,
                }
            }
            "roll-back" => What::RollBack {
                cohort: self.required_reference(open, "cohort", "[[cohorts]]", &names.cohorts)?,
            },
            "move" => {
                let who = self.who(open, names);
                let to = self.required_reference(open, "to", "[[cohorts]]", &names.cohorts);
                What::Move { who: who?, to: to? }
            }
            "rebind" => What::Rebind {
                who: self.who(open, names)?,
            },
            "reboot" => What::Reboot {
                who: self.who(open, names)?,
            },
            "outage" => {
                let who = self.who(open, names);
                let lasts = self.required(open, "lasts", value::span(LASTS));
                What::Outage {
                    who: who?,
                    lasts: lasts?,
                }
            }
            "kill-gateway" => {
                let (away, shards) = self.away(open)?;
                What::KillGateway { away, shards }
            }
            "restart-gateway" => {
                let (away, shards) = self.away(open)?;
                What::RestartGateway { away, shards }
            }
            _ => What::FillDisk {
                lasts: self.required(open, "lasts", value::span(LASTS))?,
            },
        };
        Ok(Event { when: when?, what })
    }

    fn when(&mut self, open: Open<'_>) -> Result<When, Reported> {
        let whole_run = Duration::ZERO..=*RUN.end();
        let at = self.optional(open, "at", value::span(whole_run.clone()));
        let after = self.optional(
            open,
            "after",
            value::choice(&[
                ("connected", After::Connected),
                ("converged", After::Converged),
                ("previous", After::Previous),
            ]),
        );
        let delay = self.optional(open, "delay", value::span(whole_run));
        let (at, after, delay) = (at?, after?, delay?);
        match (at, after) {
            (Some(at), None) if delay.is_none() => Ok(When::At(at)),
            (None, Some(after)) => {
                let delay = delay.unwrap_or_default();
                Ok(match after {
                    After::Connected => When::Connected(delay),
                    After::Converged => When::Converged(delay),
                    After::Previous => When::Then(delay),
                })
            }
            (Some(_), None) => {
                self.contradict(
                    open,
                    "delay",
                    "goes with after, not with at: expected one moment".to_owned(),
                );
                Err(Reported)
            }
            (Some(_), Some(_)) => {
                self.contradict(open, "at", "expected either this or after, not both".to_owned());
                Err(Reported)
            }
            (None, None) => Err(self.lacks(
                open,
                "at",
                "a moment like \"60 s\" here, or after = \"connected\", \"converged\" or \"previous\"",
            )),
        }
    }

    fn who(&mut self, open: Open<'_>, names: &Names<'_>) -> Result<Who, Reported> {
        let kind = self.reference(open, "devices", "[[devices]]", &names.kinds);
        let some = |share: f64| share > 0.0 && share <= 1.0;
        let share = self.or(open, "share", 1.0, value::share(some, "above 0 and up to 1"));
        Ok(Who {
            kind: kind?,
            share: share?,
        })
    }

    fn away(&mut self, open: Open<'_>) -> Result<(Duration, Option<u16>), Reported> {
        let away = self.or(
            open,
            "away",
            Duration::ZERO,
            value::span(Duration::ZERO..=*LASTS.end()),
        );
        let shards = self.optional(open, "shards", value::whole(SHARDS));
        Ok((away?, shards?.map(|shards| shards as u16)))
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

/// Values.
impl Reading {
    /// Reports the keys that do not belong.
    fn open<'t>(&mut self, table: &'t Table, keys: Keys) -> Open<'t> {
        for (key, entry) in table.entries().filter(|(key, _)| !keys.contains(key)) {
            let problem = match value::nearest(key, keys) {
                Some(likely) => format!(
                    "unknown key; did you mean {likely}? There are {}",
                    keys.join(", ")
                ),
                None => format!("unknown key; there are {}", keys.join(", ")),
            };
            self.mistakes
                .push(Mistake::key(entry.key_place, table.key(key), problem));
        }
        Open { table, keys }
    }

    fn required<T>(
        &mut self,
        open: Open<'_>,
        key: &str,
        read: impl Fn(&RawValue) -> Read<T>,
    ) -> Result<T, Reported> {
        match open.get(key) {
            Some(said) => read(&said.value).map_err(|accepted| self.wrong(open, key, said, &accepted)),
            None => {
                // Nobody says this, so every reader tells what it accepts.
                let accepted = read(&RawValue::Other(String::new())).err().unwrap_or_default();
                Err(self.lacks(open, key, &accepted))
            }
        }
    }

    fn optional<T>(
        &mut self,
        open: Open<'_>,
        key: &str,
        read: impl Fn(&RawValue) -> Read<T>,
    ) -> Result<Option<T>, Reported> {
        match open.get(key) {
            Some(said) => read(&said.value)
                .map(Some)
                .map_err(|accepted| self.wrong(open, key, said, &accepted)),
            None => Ok(None),
        }
    }

    fn or<T>(
        &mut self,
        open: Open<'_>,
        key: &str,
        default: T,
        read: impl Fn(&RawValue) -> Read<T>,
    ) -> Result<T, Reported> {
        Ok(self.optional(open, key, read)?.unwrap_or(default))
    }

    /// The place of what a key names, among names.
    fn reference(
        &mut self,
        open: Open<'_>,
        key: &str,
        section: &str,
        names: &[&str],
    ) -> Result<Option<usize>, Reported> {
        self.optional(open, key, |said| {
            let name = match said {
                RawValue::Text(name) => name.as_str(),
                _ => "",
            };
            names.iter().position(|known| *known == name).ok_or_else(|| {
                if names.is_empty() {
                    format!("the name of one of {section}, of which there are none")
                } else {
                    format!("the name of one of {section}: {}", value::one_of(name, names))
                }
            })
        })
    }

    fn required_reference(
        &mut self,
        open: Open<'_>,
        key: &str,
        section: &str,
        names: &[&str],
    ) -> Result<usize, Reported> {
        match self.reference(open, key, section, names)? {
            Some(place) => Ok(place),
            None => Err(self.lacks(open, key, &format!("the name of one of {section}"))),
        }
    }

    /// Names of images that exist, each package once.
    fn image_list(
        &mut self,
        open: Open<'_>,
        key: &str,
        names: &Names<'_>,
    ) -> Result<Option<Vec<ImageName>>, Reported> {
        let Some(said) = open.get(key) else {
            return Ok(None);
        };
        let before = self.mistakes.len();
        let mut images: Vec<ImageName> = Vec::new();
        for member in listed(said) {
            let Some(image) = self.member(open, key, member, value::image_name) else {
                continue;
            };
            let shown = || format!("\"{image}\"");
            if !names.images.contains(&image) {
                let known: Vec<String> = names.images.iter().map(ToString::to_string).collect();
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                let accepted = if known.is_empty() {
                    format!("an image; there are none, as [images.\"{image}\"] would be one")
                } else {
                    format!("an image: {}", value::one_of(&image.to_string(), &known))
                };
                self.mistakes.push(Mistake::value(
                    member.place,
                    open.table.key(key),
                    shown(),
                    &accepted,
                ));
            } else if images.iter().any(|other| other.package == image.package) {
                let problem = format!("expected one version of {} at a time", image.package);
                self.mistakes.push(Mistake::contradiction(
                    member.place,
                    open.table.key(key),
                    shown(),
                    problem,
                ));
            }
            images.push(image);
        }
        if self.mistakes.len() == before {
            Ok(Some(images))
        } else {
            Err(Reported)
        }
    }

    fn member<T>(
        &mut self,
        open: Open<'_>,
        key: &str,
        member: &Said,
        read: impl Fn(&RawValue) -> Read<T>,
    ) -> Option<T> {
        read(&member.value)
            .map_err(|accepted| self.wrong(open, key, member, &accepted))
            .ok()
    }

    fn section<'t>(&mut self, top: Open<'t>, key: &str) -> Option<&'t Table> {
        self.table_of(top, key)
    }

    fn table_of<'t>(&mut self, open: Open<'t>, key: &str) -> Option<&'t Table> {
        let said = open.get(key)?;
        if let RawValue::Table(table) = &said.value {
            return Some(table);
        }
        let accepted = if open.table.header.is_empty() {
            format!("a section [{key}]")
        } else {
            format!("a table, like {key} = {{ … }}")
        };
        self.wrong(open, key, said, &accepted);
        None
    }

    /// `[[key]]`, each.
    fn sections<'t>(&mut self, top: Open<'t>, key: &str) -> Vec<&'t Table> {
        let Some(said) = top.get(key) else {
            return Vec::new();
        };
        let RawValue::List(members) = &said.value else {
            self.wrong(top, key, said, &format!("sections [[{key}]], with two brackets"));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for member in members {
            match &member.value {
                RawValue::Table(table) => tables.push(table),
                _ => {
                    self.wrong(top, key, member, &format!("sections [[{key}]]"));
                }
            }
        }
        tables
    }

    /// `[key.NAME]`, each.
    fn named_sections<'t>(&mut self, top: Open<'t>, key: &str) -> Vec<(&'t str, Place, &'t Table)> {
        let mut sections = Vec::new();
        let Some(tables) = self.section(top, key) else {
            return sections;
        };
        for (name, entry) in tables.entries() {
            match &entry.value.value {
                RawValue::Table(table) => sections.push((name, entry.key_place, table)),
                other => self.mistakes.push(Mistake::value(
                    entry.value.place,
                    tables.key(name),
                    other.to_string(),
                    &format!("a section [{key}.{name:?}]"),
                )),
            }
        }
        sections
    }

    /// The names in these sections, each once.
    fn names<'t>(&mut self, tables: &[&'t Table]) -> Vec<&'t str> {
        let mut names: Vec<&str> = Vec::new();
        for table in tables {
            let name = match table.get("name").map(|said| (said, &said.value)) {
                Some((said, RawValue::Text(name))) => {
                    if names.contains(&name.as_str()) {
                        self.mistakes.push(Mistake::contradiction(
                            said.place,
                            table.key("name"),
                            format!("{name:?}"),
                            "is there twice: expected a name of its own".to_owned(),
                        ));
                    }
                    name.as_str()
                }
                // Keeps its place, so that the places of the others are right.
                _ => "",
            };
            names.push(name);
        }
        names
    }

    fn wrong(&mut self, open: Open<'_>, key: &str, said: &Said, accepted: &str) -> Reported {
        self.mistakes.push(Mistake::value(
            said.place,
            open.table.key(key),
            said.value.to_string(),
            accepted,
        ));
        Reported
    }

    fn lacks(&mut self, open: Open<'_>, key: &str, accepted: &str) -> Reported {
        self.mistakes
            .push(Mistake::missing(open.table.place, open.table.key(key), accepted));
        Reported
    }

    fn contradict(&mut self, open: Open<'_>, key: &str, problem: String) {
        let (place, value) = open.get(key).map_or((open.table.place, String::new()), |said| {
            (said.place, said.value.to_string())
        });
        self.mistakes
            .push(Mistake::contradiction(place, open.table.key(key), value, problem));
    }
}

impl<'t> Open<'t> {
    fn get(self, key: &str) -> Option<&'t Said> {
        debug_assert!(self.keys.contains(&key), "{key} is in no table of the format");
        self.table.get(key)
    }
}

/// What a network's section changes of a direction.
#[derive(Clone, Debug, Default)]
struct Changes {
    loss: Option<f64>,
    duplicate: Option<f64>,
    reorder: Option<f64>,
    delay: Option<Delay>,
    bits_per_s: Option<Option<u64>>,
    queue_bytes: Option<u32>,
}

impl Changes {
    fn to(&self, base: Direction) -> Direction {
        Direction {
            loss: self.loss.unwrap_or(base.loss),
            duplicate: self.duplicate.unwrap_or(base.duplicate),
            reorder: self.reorder.unwrap_or(base.reorder),
            delay: self.delay.unwrap_or(base.delay),
            bits_per_s: self.bits_per_s.unwrap_or(base.bits_per_s),
            queue_bytes: self.queue_bytes.unwrap_or(base.queue_bytes),
        }
    }
}

#[derive(Clone, Copy)]
enum Arrive {
    Storm,
    Ramp,
    Random,
}

#[derive(Clone, Copy)]
enum After {
    Connected,
    Converged,
    Previous,
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
        "server_cpu_per_device" => Expectation::ServerCpuPerDevice(within()?),
        "server_memory_per_device" => Expectation::ServerMemoryPerDevice(value::size(1..=1 << 30)(said)?),
        _ => Expectation::SimulatorLateP99(within()?),
    })
}

/// What `webrtc-dtls` has.
fn foreign_has(suite: CipherSuite) -> bool {
    match suite {
        CipherSuite::PskAes128GcmSha256
        | CipherSuite::PskAes128Ccm
        | CipherSuite::PskAes128Ccm8
        | CipherSuite::EcdheEcdsaAes128GcmSha256
        | CipherSuite::EcdheEcdsaAes128Ccm
        | CipherSuite::EcdheEcdsaAes128Ccm8 => true,
        CipherSuite::PskAes128CbcSha256
        | CipherSuite::EcdhePskAes128GcmSha256
        | CipherSuite::EcdhePskAes128CcmSha256 => false,
    }
}

/// A list's members; anything else is a list of one.
fn listed(said: &Said) -> Vec<&Said> {
    match &said.value {
        RawValue::List(members) => members.iter().collect(),
        _ => vec![said],
    }
}

/// The gateway's keys that a scenario does not set.
const SET_BY_THE_RUN: &[(&str, &str)] = &[
    ("data.dir", "a folder of its own"),
    ("coaps.listen", "a port of its own"),
    ("coap.listen", "devices speak DTLS"),
    ("coaps.certificate_file", "certificates are made for the run"),
    ("coaps.private_key_file", "certificates are made for the run"),
    ("admin.listen", "a port of its own"),
    ("admin.bootstrap_key", "a key of its own"),
    ("admin.bootstrap_key_file", "a key of its own"),
    ("runtime.shards", "expected shards in [gateway]"),
];

/// Keys of an event that say when.
const WHEN: Keys = &["at", "after", "delay"];

/// The ways in which a delay can differ from datagram to datagram.
const SPREAD: &str = "{ from, to }, { mean, deviation } or { median, sigma }";

const NOT_ALL: &str = "from 0 to below 1";

/// How long a run may be: a moment, or a month.
const RUN: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * 24 * 3600);

/// Long enough for what is under way to come to its end on a good network: a guess.
const LINGER: Duration = Duration::from_secs(2);

const LASTS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(24 * 3600);

/// As the gateway's own key has it.
const SHARDS: RangeInclusive<u64> = 1..=256;

/// The least that the gateway's store begins with and works in: a guess. The most is the machine's memory anyway.
const DISK: RangeInclusive<u64> = 16 << 20..=64 << 30;

/// The most is what the gateway takes without being told otherwise.
const IMAGE: RangeInclusive<u64> = 1..=256 << 20;

/// One datagram fits, and the most is beyond any router.
const QUEUE: RangeInclusive<u64> = 1500..=1 << 30;

/// Two satellite hops are half a second; NB-IoT's worst case is about ten.
const DELAY: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(60);

const FASTER: RangeInclusive<u64> = 1..=1000;

/// What one process stands for.
pub const DEVICES_MAX: u32 = 1_000_000;

/// A task and some 40 KiB each: a guess at what a small machine carries.
const FOREIGN_MAX: u64 = 10_000;
