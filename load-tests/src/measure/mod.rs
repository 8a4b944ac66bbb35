//! What a run measures, and whether that is what was expected.
//!
//! 1. [`recorder`]: everything that happens goes in here, in any order between devices, in theirs for each of them.
//! 2. [`device`]: where each device stands, [`tally`]: how many stand where, [`versions`]: what they run, [`cohort`]: what is deployed to
//!    one, and who is on the way to that.
//! 3. [`counts`], [`latency`], [`series`]: the three kinds of figures. [`looks`]: the gateway's own.
//! 4. [`evidence`], [`verdict`]: what the expectations are judged by, and how.
//!
//! # From which moment to which
//!
//! A load test that measures only what it got round to lies in the gateway's favour (coordinated omission): whoever waits longest
//! would be asked least, and whoever never gets an answer not at all. Here every figure begins when something was *due*, and
//! whoever still waits at the end is in it with the time waited so far.
//!
//! `README.md` has the table of the histograms, under "A result": from which moment to which, and of whom. Only handshakes,
//! notifications and updates can have somebody who still waits.

mod cohort;
mod counts;
mod device;
mod evidence;
mod latency;
mod looks;
mod recorder;
mod series;
mod tally;
mod verdict;
mod versions;

pub use recorder::{End, Measured, Now, Recorder};
