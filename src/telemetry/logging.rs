//! Logs: to standard error, as text or as JSON lines.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::SubscriberInitExt;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// The form of a line.
    pub format: LogFormat,
    /// A level (`info`), or levels by module (`info,tessera::dtls=debug`).
    pub filter: String,
}

/// Logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter does not parse.
    #[error("the log filter {filter:?} is not a level or a list of module=level")]
    Filter {
        /// The filter as given.
        filter: String,
        /// What the parser says.
        source: ParseError,
    },
}

/// Starts logging to standard error. The first call of a process decides; later ones change nothing, so that a
/// gateway started inside another program does not take over its logs.
///
/// # Errors
///
/// [`LoggingError::Filter`] when the filter does not parse.
pub fn init_tracing(options: &LogOptions) -> Result<(), LoggingError> {
    let filter = EnvFilter::builder()
        .parse(&options.filter)
        .map_err(|source| LoggingError::Filter {
            filter: options.filter.clone(),
            source,
        })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let already_set = match options.format {
        LogFormat::Text => builder.with_ansi(wants_colour()).finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    };
    if already_set.is_err() {
        tracing::debug!("logging was already set up");
    }
    Ok(())
}

/// <https://no-color.org>: any value but an empty one means no colour.
fn wants_colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
