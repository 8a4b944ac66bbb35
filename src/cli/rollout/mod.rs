//! Waiting for a deployment: `tessera deploy --wait` and `tessera deployment watch`.
//!
//! 1. [`progress`]: a look at it, its devices counted by state
//! 2. [`limits`]: what ends the wait before the last device: `--timeout`, and `--fail-if` ([`condition`])
//! 3. [`verdict`]: whether a look is the last one, and what it means
//! 4. [`screen`]: a bar on a terminal, plain lines elsewhere
//! 5. [`failing`]: which devices failed, and why
//! 6. [`mod@follow`]: one look after the other, through restarts of the gateway, until the verdict

mod condition;
mod failing;
mod follow;
mod limits;
mod progress;
mod screen;
mod verdict;

pub use failing::Failing;
pub use follow::{Followed, follow};
pub use limits::Limits;
pub use progress::{Progress, State};
pub use screen::stacked;
pub use verdict::Ending;
