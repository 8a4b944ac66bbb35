//! What the gateway tells its operator: logs, and numbers.
//!
//! Whatever is worth counting is a [`GatewayEvent`]. Who sees it happen says only what happened; `event.rs`
//! alone knows which metric that is.
//!
//! 1. A shard records events in a [`Tally`] of its own: plain integers, no atomics, no allocation.
//! 2. Each second it calls [`Tally::flush`], which adds them to handles that were registered once.
//! 3. Everyone else calls [`emit`], which adds to the same handles directly.
//! 4. [`MetricsHandle::render`] writes the text that Prometheus reads.

mod event;
mod labels;
mod logging;
mod metrics;
mod process;
mod tally;

pub use event::{GatewayEvent, MetricName, REQUEST_SAMPLE, metric_names};
pub use labels::{
    Audience, BlockKind, CertificateRead, CoapCode, CoapMethod, ConnectionLoss, DropReason, FleetState,
    HandshakeResult, KeyRefusal, NotificationMoment, NotificationResult, Rejection, ReportReason,
    ReportState, Retransmitter, Route, Security, SessionEnd, StageLabel, StoreOperation, StorePart,
    TimelineLoss,
};
pub use logging::{LogFormat, LogOptions, LoggingError, init_tracing};
pub use metrics::{MetricsHandle, Totals, emit, install_metrics};
pub use tally::Tally;
