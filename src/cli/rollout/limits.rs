//! What ends a wait before every device is done.

use std::time::Duration;

use clap::Args;

use super::condition::Condition;
use super::progress::State;

/// What ends a wait before every device is done, and makes it exit code 6.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Waiting")]
pub struct Limits {
    /// Wait no longer than this: 90s, 30m, 1h30m. Without it the wait is for every device of the cohort, connected or not
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// End with exit code 6 as soon as this holds: a state (pending, notified, downloading, downloaded, updating, done,
    /// failed), a comparison (>, >=, <, <=), and a number of devices or a share, like 'failed>2%'; may be given more than
    /// once. Without a condition on failed ones, a device that failed makes it 6 at the end
    #[arg(long = "fail-if", value_name = "CONDITION", value_parser = Condition::parse)]
    pub fail_if: Vec<Condition>,
}

impl Limits {
    /// Whether anything was said.
    pub fn is_any(&self) -> bool {
        self.timeout.is_some() || !self.fail_if.is_empty()
    }

    /// Whether who asked has said how many devices may fail.
    pub fn allow_failures(&self) -> bool {
        self.fail_if
            .iter()
            .any(|condition| condition.state() == State::Failed)
    }
}

/// `90s`, `30m`, `1h30m`, `2d`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("{text:?} is not a duration; accepted: numbers with s, m, h or d, like 90s, 30m, 1h30m");
    let mut seconds: u64 = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let factor = match after.bytes().next() {
            Some(b's') => 1,
            Some(b'm') => 60,
            Some(b'h') => 3600,
            Some(b'd') => 86_400,
            Some(_) | None => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let more = number
            .checked_mul(factor)
            .and_then(|more| seconds.checked_add(more));
        seconds = more.ok_or_else(wrong)?;
        rest = &after[1..];
    }
    match seconds {
        1..=MAX_SECONDS => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("{text:?} is out of range; accepted: from 1s to 365d")),
    }
}

/// Longer than anybody waits, and short enough for every clock.
const MAX_SECONDS: u64 = 365 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_numbers_with_units() {
        for (text, seconds) in [
            ("90s", 90),
            ("30m", 1800),
            ("1h30m", 5400),
            (" 2d ", 172_800),
            ("365d", MAX_SECONDS),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in [
            "",
            "30",
            "m",
            "1x",
            "1.5h",
            "-1s",
            "1h30",
            "1 h",
            "99999999999999999999s",
            "999999999999999999d",
            "1ä",
        ] {
            let error = duration(wrong).expect_err(wrong);
            assert!(
                error.contains("1h30m") && error.contains(&format!("{wrong:?}")),
                "{error}"
            );
        }
        for wrong in ["0s", "366d"] {
            assert!(duration(wrong).expect_err(wrong).contains("from 1s to 365d"));
        }
    }

    #[test]
    fn only_a_condition_on_failed_devices_allows_some() {
        let with = |conditions: &[&str]| Limits {
            timeout: None,
            fail_if: conditions
                .iter()
                .map(|text| Condition::parse(text).unwrap_or_else(|error| panic!("{error}")))
                .collect(),
        };
        assert!(!with(&[]).allow_failures());
        assert!(!with(&["pending>90%"]).allow_failures());
        assert!(with(&["pending>90%", "failed>2%"]).allow_failures());
    }
}
