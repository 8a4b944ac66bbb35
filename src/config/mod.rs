//! The configuration: what the file, the environment and the flags say, and what the program believes.
//!
//! 1. `raw.rs` gathers what was said, with where it was said; flag > `TESSERA__SECTION__KEY` > file > default.
//! 2. `checked.rs` lists every key once: its field, its default, what it accepts.
//! 3. [`load()`] joins the two and reports every mistake at once.

mod checked;
mod load;
mod mistake;
mod raw;
mod value;

pub use checked::{
    AdminConfig, CoapConfig, CoapsConfig, Config, DataConfig, LogConfig, LogFormat, MetricsAuth,
    RuntimeConfig,
};
pub use load::{LoadOptions, load};
pub use mistake::{ConfigErrors, Mistake};
pub use value::Secret;
