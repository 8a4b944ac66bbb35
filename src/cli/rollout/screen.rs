//! What is seen of a rollout while it is waited for: one bar on a terminal, plain lines elsewhere. All of it is talk, and
//! goes to stderr.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::progress::{Progress, State};
use crate::cli::failure::Failure;
use crate::cli::output::{count, say, span};

/// The part of the terminal that belongs to one rollout.
#[derive(Debug)]
pub enum Screen {
    /// One line that is drawn anew: the states stacked, and in words.
    Bar {
        /// The line.
        line: ProgressBar,
        /// Whether it may have colours.
        colour: bool,
    },
    /// A line when something has changed, but not one for every device of a large fleet.
    Lines {
        /// What was told last.
        told: Option<(Progress, Instant)>,
        /// The gateway did not answer the last time.
        lost: bool,
    },
}

impl Screen {
    /// The screen that standard error allows. `title` is the cohort's name.
    ///
    /// # Panics
    /// Never: the template is a constant.
    pub fn new(title: &str) -> Self {
        if !io::stderr().is_terminal() {
            return Self::Lines {
                told: None,
                lost: false,
            };
        }
        let style = ProgressStyle::with_template("{prefix} {wide_msg}").expect("the template is a constant");
        let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND))
            .with_style(style)
            .with_prefix(title.to_owned());
        let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self::Bar { line, colour }
    }

    /// This is how far it is, `waited` after the wait began.
    pub fn show(&mut self, now: Instant, progress: &Progress, waited: Duration) {
        match self {
            Self::Bar { line, colour } => {
                let bar = stacked(progress, BAR_CELLS, *colour);
                line.set_message(format!("[{bar}] {}  {}", in_words(progress), span(waited)));
            }
            Self::Lines { told, lost } => {
                if std::mem::take(lost) {
                    say("connected again");
                }
                let is_due = told.is_none_or(|(known, at)| {
                    known != *progress && now.saturating_duration_since(at) >= LINES_EVERY
                });
                if is_due {
                    *told = Some((*progress, now));
                    say(&format!("{} ({})", in_words(progress), span(waited)));
                }
            }
        }
    }

    /// Nobody answers.
    pub fn lost(&mut self, why: &Failure, silent: Duration) {
        match self {
            Self::Bar { line, .. } => line.set_message(format!("reconnecting for {}: {why}", span(silent))),
            Self::Lines { lost: true, .. } => {}
            Self::Lines { lost, .. } => {
                *lost = true;
                say(&format!("reconnecting: {why}"));
            }
        }
    }

    /// Gives the terminal back. What came of it is told by who waited.
    pub fn close(self) {
        match self {
            Self::Bar { line, .. } => line.finish_and_clear(),
            Self::Lines { .. } => {}
        }
    }
}

/// `12 of 25 devices done; 1 failed, 2 updating, 10 pending`.
fn in_words(progress: &Progress) -> String {
    let done = format!(
        "{} of {} done",
        progress.count(State::Done),
        count(progress.devices(), "device")
    );
    match progress.rest() {
        rest if rest.is_empty() => done,
        rest => format!("{done}; {rest}"),
    }
}

/// The states as one bar of so many cells, each in its own texture. A state that any device is in has one cell at least,
/// so that one failed device of a million is seen.
pub fn stacked(progress: &Progress, cells: u64, colour: bool) -> String {
    let devices = progress.devices();
    if devices == 0 {
        return " ".repeat(usize::try_from(cells).unwrap_or(0));
    }
    let mut shares: Vec<(State, u64)> = STACKED
        .into_iter()
        .map(|state| {
            let share = u128::from(progress.count(state)) * u128::from(cells) / u128::from(devices);
            let share = u64::try_from(share).unwrap_or(cells);
            (state, share.max(u64::from(progress.count(state) > 0)))
        })
        .collect();
    // What rounding has left over goes to the largest, and what it has taken too much comes from there.
    let used: u64 = shares.iter().map(|(_, share)| share).sum();
    if let Some((_, largest)) = shares.iter_mut().max_by_key(|(_, share)| *share) {
        *largest = (*largest + cells).saturating_sub(used);
    }
    let mut bar = String::new();
    for (state, share) in shares.into_iter().filter(|(_, share)| *share > 0) {
        let (texture, paint) = look(state);
        let part: String = std::iter::repeat_n(texture, usize::try_from(share).unwrap_or(0)).collect();
        match colour && !paint.is_empty() {
            true => bar.push_str(&format!("\u{1b}[{paint}m{part}\u{1b}[0m")),
            false => bar.push_str(&part),
        }
    }
    bar
}

/// A state's texture and its colour.
fn look(state: State) -> (char, &'static str) {
    match state {
        State::Done => ('█', "32"),
        State::Updating => ('▓', "36"),
        State::Downloaded => ('▒', "36"),
        State::Downloading => ('░', "34"),
        State::Notified => ('·', ""),
        State::Pending => (' ', ""),
        State::Failed => ('x', "31"),
    }
}

/// From left to right: what is done grows from one side, what has failed from the other.
const STACKED: [State; 7] = [
    State::Done,
    State::Updating,
    State::Downloaded,
    State::Downloading,
    State::Notified,
    State::Pending,
    State::Failed,
];
/// With the words beside it, most of it fits the 80 columns of an ordinary terminal.
const BAR_CELLS: u64 = 24;
/// As often as there is something to draw.
const DRAWS_PER_SECOND: u8 = 2;
/// Lines are kept, in the logs of pipelines for example. A guess: enough of them to see that it goes on.
const LINES_EVERY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_always_as_wide_as_was_asked_and_shows_every_state_that_is_there() {
        for (counts, bar) in [
            ([0, 0, 0, 0, 0, 0, 0], "          "),
            ([0, 0, 0, 0, 0, 25, 0], "██████████"),
            ([5, 1, 1, 1, 1, 1, 0], "█▓▒░·     "),
            ([0, 0, 0, 0, 0, 999_999, 1], "█████████x"),
            ([1_000_000, 0, 0, 0, 0, 1, 1], "█        x"),
            ([1, 0, 0, 0, 0, 2, 0], "███████   "),
            ([0, 0, 3, 0, 0, 0, 0], "░░░░░░░░░░"),
        ] {
            assert_eq!(
                stacked(&Progress::from_counts(counts), 10, false),
                bar,
                "{counts:?}"
            );
        }
    }

    #[test]
    fn colours_are_put_around_the_states_and_only_where_they_are_wanted() {
        let progress = Progress::from_counts([1, 0, 0, 0, 0, 1, 0]);
        assert_eq!(stacked(&progress, 4, true), "\u{1b}[32m██\u{1b}[0m  ");
        assert_eq!(stacked(&progress, 4, false), "██  ");
    }

    #[test]
    fn a_look_is_told_in_words() {
        let progress = Progress::from_counts([10, 0, 0, 0, 2, 12, 1]);
        assert_eq!(
            in_words(&progress),
            "12 of 25 devices done; 1 failed, 2 updating, 10 pending"
        );
        assert_eq!(
            in_words(&Progress::from_counts([0, 0, 0, 0, 0, 1, 0])),
            "1 of 1 device done"
        );
    }
}
