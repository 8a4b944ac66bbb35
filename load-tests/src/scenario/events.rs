//! `[[events]]`: what happens, when and to whom.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::checked::{RUN, SHARDS};
use super::format::{self, Keys};
use super::mistake::Mistake;
use super::raw::Table;
use super::reading::{Names, Open, Reading, Reported};
use super::value;
use super::{Event, What, When, Who};

impl Reading {
    pub fn event(&mut self, table: &Table, names: &Names<'_>) -> Result<Event, Reported> {
        let open = self.open(table, format::EVENT);
        let words: Vec<&str> = format::EVENT_KINDS.iter().map(|(word, _)| *word).collect();
        let word = self.required(open, "do", |said| {
            let said = said.text().unwrap_or_default();
            let known = words.iter().find(|word| **word == said).copied();
            known.ok_or_else(|| value::one_of(said, &words))
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
                let problem = format!("{word} has no such key; it has {}", takes.join(", "));
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
            // The word is one of the table's, and this is its last.
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
}

#[derive(Clone, Copy)]
enum After {
    Connected,
    Converged,
    Previous,
}

/// Keys of an event that say when.
const WHEN: Keys = &["at", "after", "delay"];

const LASTS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(24 * 3600);
