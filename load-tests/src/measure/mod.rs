//! What a run measures, and whether that is what was expected.
//!
//! 1. [`recorder`]: everything that happens goes in here, in any order between devices, in theirs for each of them.
//! 2. [`device`]: where each device stands, [`tally`]: how many stand where, [`versions`]: what they run. [`cohort`]: what is deployed to it, and who is on the way to that.
//! 3. [`counts`], [`latency`], [`series`]: the three kinds of figures. [`looks`]: the gateway's own.
//! 4. [`evidence`], [`verdict`]: what the expectations are judged by, and how.
//!
//! # From which moment to which
//!
//! A load test that measures only what it got round to lies in the gateway's favour (coordinated omission): whoever waits longest
//! would be asked least, and whoever never gets an answer not at all. Here every figure begins when something was *due*, and
//! whoever still waits at the end is in it with the time waited so far.
//!
//! | histogram | from | to | who |
//! |---|---|---|---|
//! | `handshake` | the first of each device: its start as planned; any other: its first ClientHello, or the failure of the first attempt since the last session, whichever is earlier | the handshake done | good devices |
//! | `notification` | the moment the deployment's request was due | the device's first sight of that manifest, or a later one | good devices of the cohort that were connected and observing when it was asked for, and had not still been waiting for the one before; a device that is moved away is left out |
//! | `block` | the first transmission of the block's request | its answer; a request that comes to nothing is in `requests_failed`, and in no histogram | all blocks of good devices |
//! | `update` | the moment the deployment's request (or the move to its cohort) was due, or the device's start as planned if that was later | the answer to the report of the new version, whatever it is: refusals are in `reports_refused` | good devices that ran something else, of deployments that boot well and were not replaced by another one first |
//! | `report` | the first transmission of the report | its answer | good devices |
//! | `lateness` | the moment the simulator had something to do | the moment it did it | all of its timers: what is measured of the gateway is no better than this |
//!
//! Only `handshake`, `notification` and `update` can have somebody who still waits.

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
