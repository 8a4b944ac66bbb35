//! `[networks.NAME]`: profiles of one's own, each a change of one that exists.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::format;
use super::mistake::Mistake;
use super::raw::{RawValue, Table};
use super::reading::{Open, Reading, Reported};
use super::value;
use crate::network::{Delay, Direction, Profile};

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

impl Reading {
    pub fn networks<'t>(&mut self, top: Open<'t>) -> BTreeMap<&'t str, Option<Profile>> {
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

/// The ways in which a delay can differ from datagram to datagram.
const SPREAD: &str = "{ from, to }, { mean, deviation } or { median, sigma }";

const NOT_ALL: &str = "from 0 to below 1";

/// One datagram fits, and the most is beyond any router.
const QUEUE: RangeInclusive<u64> = 1500..=1 << 30;

/// Two satellite hops are half a second; NB-IoT's worst case is about ten.
const DELAY: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(60);
