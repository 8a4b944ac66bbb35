//! `failed>2%`: when a rollout is to be called failed.

use std::fmt;

use super::progress::{Progress, State};

/// So many devices, or such a share of them, in a state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Condition {
    state: State,
    comparison: Comparison,
    amount: Amount,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    More,
    AtLeast,
    Less,
    AtMost,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Amount {
    Devices(u64),
    Percent(f64),
}

impl Condition {
    /// From `STATE OP N` or `STATE OP N%`, with or without spaces.
    ///
    /// # Errors
    /// Names the part that is wrong, and what is accepted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some(at) = text.find(['<', '>', '=', '!']) else {
            return Err(format!("there is no comparison in it; accepted: {GRAMMAR}"));
        };
        let (word, rest) = (text[..at].trim(), &text[at..]);
        let state = State::ALL.into_iter().find(|state| state.as_str() == word);
        let state = state.ok_or_else(|| {
            let words: Vec<&str> = State::ALL.iter().map(|state| state.as_str()).collect();
            format!("{word:?} is not a state; accepted: {}", words.join(", "))
        })?;
        let (comparison, amount) = Comparison::split(rest)?;
        Ok(Self {
            state,
            comparison,
            amount: Amount::parse(amount.trim())?,
        })
    }

    /// Whether it is so. A share of no devices is never reached.
    pub fn holds(&self, progress: &Progress) -> bool {
        let count = progress.count(self.state);
        match self.amount {
            Amount::Devices(devices) => match self.comparison {
                Comparison::More => count > devices,
                Comparison::AtLeast => count >= devices,
                Comparison::Less => count < devices,
                Comparison::AtMost => count <= devices,
            },
            Amount::Percent(_) if progress.devices() == 0 => false,
            Amount::Percent(percent) => {
                // Both sides are exact as long as a fleet has fewer devices than 2^46.
                let (share, limit) = (count as f64 * 100.0, progress.devices() as f64 * percent);
                match self.comparison {
                    Comparison::More => share > limit,
                    Comparison::AtLeast => share >= limit,
                    Comparison::Less => share < limit,
                    Comparison::AtMost => share <= limit,
                }
            }
        }
    }

    /// The state that it counts.
    pub fn state(&self) -> State {
        self.state
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let comparison = match self.comparison {
            Comparison::More => ">",
            Comparison::AtLeast => ">=",
            Comparison::Less => "<",
            Comparison::AtMost => "<=",
        };
        write!(f, "{}{comparison}", self.state.as_str())?;
        match self.amount {
            Amount::Devices(devices) => write!(f, "{devices}"),
            Amount::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl Comparison {
    /// The comparison at the beginning, and what follows it.
    fn split(text: &str) -> Result<(Self, &str), String> {
        let known = [
            (">=", Self::AtLeast),
            ("<=", Self::AtMost),
            (">", Self::More),
            ("<", Self::Less),
        ];
        for (sign, comparison) in known {
            if let Some(rest) = text.strip_prefix(sign) {
                return Ok((comparison, rest));
            }
        }
        let end = text.find(|c| !matches!(c, '<' | '>' | '=' | '!'));
        let sign = &text[..end.unwrap_or(text.len())];
        Err(format!("{sign:?} is not a comparison; accepted: >, >=, <, <="))
    }
}

impl Amount {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| {
            format!(
                "{text:?} is {what}; accepted: a whole number of devices, or a share of them from 0% to 100%"
            )
        };
        let plain =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        match text.strip_suffix('%').map(str::trim_end) {
            None => text
                .parse()
                .map(Self::Devices)
                .map_err(|_| wrong("not a number of devices")),
            Some(number) if plain(number) => match number.parse::<f64>() {
                Ok(percent) if percent <= 100.0 => Ok(Self::Percent(percent)),
                Ok(_) => Err(wrong("more than all of them")),
                Err(_) => Err(wrong("not a share")),
            },
            Some(_) => Err(wrong("not a share")),
        }
    }
}

const GRAMMAR: &str = "STATE OP N or N%, like 'failed>2%' or 'done<100'";

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Condition {
        Condition::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_condition_holds_from_its_number_on_and_not_before() {
        let failed = |failed, done| Progress::from_counts([0, 0, 0, 0, 0, done, failed]);
        for (text, progress, holds) in [
            ("failed>2", failed(2, 0), false),
            ("failed>2", failed(3, 0), true),
            ("failed >= 2", failed(2, 0), true),
            ("failed>=2", failed(1, 0), false),
            ("done<1", failed(0, 1), false),
            ("done<1", failed(0, 0), true),
            (" done <= 1 ", failed(0, 1), true),
            ("done<=1", failed(0, 2), false),
            ("failed>2%", failed(2, 98), false),
            ("failed>2%", failed(3, 98), true),
            ("failed>=2 %", failed(2, 98), true),
            ("failed>2.5%", failed(5, 195), false),
            ("failed>2.5%", failed(6, 194), true),
            ("done<100%", failed(0, 7), false),
            ("done<100%", failed(1, 7), true),
            ("failed>=0%", failed(0, 0), false),
            ("failed>0", failed(0, 0), false),
        ] {
            assert_eq!(parsed(text).holds(&progress), holds, "{text} {progress:?}");
        }
    }

    #[test]
    fn every_state_can_be_counted_and_is_shown_as_it_was_said() {
        for state in State::ALL {
            let text = format!("{}>=2.5%", state.as_str());
            assert_eq!(parsed(&text).to_string(), text);
            assert_eq!(parsed(&text).state(), state);
        }
        assert_eq!(parsed("pending < 3").to_string(), "pending<3");
    }

    #[test]
    fn what_is_no_condition_is_told_by_the_part_that_is_wrong() {
        for (text, wrong, accepted) in [
            ("", "no comparison", "failed>2%"),
            ("failed", "no comparison", "STATE OP N"),
            ("broken>2", "\"broken\"", "downloading, downloaded"),
            (">2", "\"\" is not a state", "pending"),
            ("failed=2", "\"=\"", ">, >=, <, <="),
            ("failed==2", "\"==\"", "<="),
            ("failed!=2", "\"!=\"", "<="),
            ("failed>", "\"\" is not a number", "whole number"),
            ("failed>two", "\"two\"", "whole number"),
            ("failed>-1", "\"-1\"", "whole number"),
            ("failed>1.5", "\"1.5\"", "whole number"),
            ("failed>>2", "\">2\"", "whole number"),
            ("failed>101%", "more than all", "100%"),
            ("failed>%", "not a share", "100%"),
            ("failed>1e1%", "not a share", "100%"),
            ("failed>1.2.3%", "not a share", "100%"),
            ("failed>nan%", "not a share", "100%"),
        ] {
            let error = Condition::parse(text).expect_err(text);
            assert!(error.contains(wrong), "{text}: {error}");
            assert!(error.contains(accepted), "{text}: {error}");
        }
    }
}
