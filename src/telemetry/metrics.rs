//! The registered handles, and the text that Prometheus reads.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::event::{COUNTER_SERIES, COUNTERS, Family, GAUGES, GatewayEvent, HISTOGRAMS, Sink};
use super::process;

/// Writes the program's metrics as text.
#[derive(Debug, Clone)]
pub struct MetricsHandle(Arc<Registry>);

impl MetricsHandle {
    /// Shows these.
    #[cfg(test)]
    pub fn over(registry: Arc<Registry>) -> Self {
        Self(registry)
    }

    /// The Prometheus text exposition of every metric, process figures included.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// What was counted of a counter since the program started: each series that is not zero with the values of its labels,
    /// in the family's order; the largest first. Nothing for a name that is no counter's.
    #[must_use]
    pub fn totals(&self, name: &str) -> Totals {
        self.0.totals(name)
    }
}

/// Series of a counter, each with the values of its labels.
pub type Totals = Vec<(Vec<&'static str>, u64)>;

/// Registers every metric and returns the handle that writes them. Safe to call more than once: a process has
/// one set of metrics, however many gateways run in it.
pub fn install_metrics() -> MetricsHandle {
    MetricsHandle(Registry::global())
}

/// Counts an event at once. For everybody but the shards, which keep a [`super::Tally`].
pub fn emit(event: GatewayEvent) {
    event.apply(&mut Direct(&GLOBAL));
}

/// Every time series with its handle.
///
/// A metric with several labels may have far more series than are ever used, so such a counter is registered when it is
/// first not zero, and once.
pub struct Registry {
    recorder: PrometheusRecorder,
    exporter: PrometheusHandle,
    counters: Box<[OnceLock<Counter>]>,
    /// The same counts, as the exporter's cannot be read back.
    totals: Box<[AtomicU64]>,
    gauges: Vec<Gauge>,
    histograms: Vec<Histogram>,
    undrained: AtomicU32,
}

static GLOBAL: LazyLock<Arc<Registry>> = LazyLock::new(|| Arc::new(Registry::new()));

/// The exporter keeps every sample until somebody reads it or asks it to sort them into buckets: after this
/// many we ask (16 bytes each, so 64 KiB at most).
const SAMPLES_BEFORE_UPKEEP: u32 = 4096;

/// The most series that a counter shows before they have counted anything: all counters but that of requests, which has more
/// than a thousand.
const SHOWN_AT_ZERO: usize = 100;

const METADATA: Metadata<'static> = Metadata::new("tessera", Level::INFO, None);

impl Registry {
    /// The process's own.
    pub fn global() -> Arc<Self> {
        Arc::clone(&GLOBAL)
    }

    /// A set of metrics at zero.
    pub fn new() -> Self {
        let mut builder = PrometheusBuilder::new();
        for histogram in &HISTOGRAMS {
            builder = builder
                .set_buckets_for_metric(Matcher::Full(histogram.family.name.to_owned()), histogram.buckets)
                .expect("every histogram has buckets");
        }
        let recorder = builder.build_recorder();
        for family in &COUNTERS {
            recorder.describe_counter(KeyName::from_const_str(family.name), None, family.help.into());
        }
        for family in &GAUGES {
            recorder.describe_gauge(KeyName::from_const_str(family.name), None, family.help.into());
        }
        for histogram in &HISTOGRAMS {
            let family = &histogram.family;
            recorder.describe_histogram(
                KeyName::from_const_str(family.name),
                Some(Unit::Seconds),
                family.help.into(),
            );
        }
        let series =
            |family: &'static Family| (0..family.series()).map(move |position| key(family, position));
        let gauges = GAUGES
            .iter()
            .flat_map(series)
            .map(|key| recorder.register_gauge(&key, &METADATA))
            .collect();
        let histograms = HISTOGRAMS
            .iter()
            .flat_map(|histogram| series(&histogram.family))
            .map(|key| recorder.register_histogram(&key, &METADATA))
            .collect();
        let registry = Self {
            exporter: recorder.handle(),
            counters: (0..COUNTER_SERIES).map(|_| OnceLock::new()).collect(),
            totals: (0..COUNTER_SERIES).map(|_| AtomicU64::new(0)).collect(),
            gauges,
            histograms,
            undrained: AtomicU32::new(0),
            recorder,
        };
        registry.register_small_families();
        registry
    }

    /// Adds to a counter, by its place in the flat table.
    pub fn count(&self, series: usize, by: u64) {
        self.counter(series).increment(by);
        self.totals[series].fetch_add(by, Ordering::Relaxed);
    }

    /// Moves a gauge, by its place in the flat table.
    pub fn shift(&self, series: usize, by: i64) {
        // A shard moves a gauge by less than its sessions: exact in 53 bits.
        self.gauges[series].increment(by as f64);
    }

    /// Gives a gauge a value, by its place in the flat table.
    pub fn set(&self, series: usize, value: f64) {
        self.gauges[series].set(value);
    }

    /// Takes a sample, by its place in the flat table.
    pub fn sample(&self, series: usize, seconds: f64) {
        self.histograms[series].record(seconds);
        if self.undrained.fetch_add(1, Ordering::Relaxed) + 1 == SAMPLES_BEFORE_UPKEEP {
            self.undrained.store(0, Ordering::Relaxed);
            self.exporter.run_upkeep();
        }
    }

    /// The text exposition.
    pub fn render(&self) -> String {
        let mut text = self.exporter.render();
        process::write_figures(&mut text);
        text
    }

    fn totals(&self, name: &str) -> Totals {
        let mut base = 0;
        for family in &COUNTERS {
            if family.name == name {
                let each = (0..family.series()).map(|position| {
                    let labels = family.labels_of(position).into_iter().map(|(_, value)| value);
                    (
                        labels.collect(),
                        self.totals[base + position].load(Ordering::Relaxed),
                    )
                });
                let mut totals: Totals = each.filter(|(_, count)| *count > 0).collect();
                totals.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
                return totals;
            }
            base += family.series();
        }
        Vec::new()
    }

    fn counter(&self, series: usize) -> &Counter {
        self.counters[series].get_or_init(|| {
            let mut position = series;
            let family = COUNTERS
                .iter()
                .find(|family| {
                    let inside = position < family.series();
                    if !inside {
                        position -= family.series();
                    }
                    inside
                })
                .expect("a series is a place in the flat table");
            self.recorder.register_counter(&key(family, position), &METADATA)
        })
    }

    /// A counter with few series shows from the start, at zero: `rate()` then sees its first event.
    fn register_small_families(&self) {
        let mut base = 0;
        for family in &COUNTERS {
            if family.series() <= SHOWN_AT_ZERO {
                (base..base + family.series()).for_each(|series| self.count(series, 0));
            }
            base += family.series();
        }
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

fn key(family: &'static Family, position: usize) -> Key {
    let labels: Vec<Label> = family
        .labels_of(position)
        .into_iter()
        .map(|(name, value)| Label::from_static_parts(name, value))
        .collect();
    Key::from_parts(family.name, labels)
}

struct Direct<'a>(&'a Registry);

impl Sink for Direct<'_> {
    fn count(&mut self, series: usize, by: u64) {
        self.0.count(series, by);
    }

    fn shift(&mut self, series: usize, by: i64) {
        self.0.shift(series, by);
    }

    fn set(&mut self, series: usize, value: f64) {
        self.0.set(series, value);
    }

    fn sample(&mut self, series: usize, seconds: f64) {
        self.0.sample(series, seconds);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::super::labels::{
        Audience, BlockKind, CertificateRead, CoapCode, CoapMethod, DropReason, HandshakeResult,
        NotificationMoment, NotificationResult, Rejection, ReportReason, ReportState, Retransmitter, Route,
        Security, SessionEnd, StoreOperation, StorePart, TimelineLoss,
    };
    use super::super::{Tally, metric_names};
    use super::*;

    #[test]
    fn every_metric_is_exported_once_under_its_prefix_and_kind() {
        let registry = Arc::new(Registry::new());
        let mut tally = Tally::over(Arc::clone(&registry));
        one_of_each().into_iter().for_each(|event| tally.record(event));
        tally.flush();
        let text = registry.render();

        let typed: Vec<(&str, &str)> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
            .collect();
        let names: HashSet<&str> = typed.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), typed.len(), "a metric is typed twice:\n{text}");
        for metric in metric_names() {
            assert!(
                typed.contains(&(metric.name, metric.kind)),
                "{metric:?} is not in\n{text}"
            );
            assert!(
                text.contains(&format!("# HELP {} {}", metric.name, metric.help)),
                "{metric:?}"
            );
            assert!(metric.name.starts_with("tessera_"), "{metric:?}");
            assert_eq!(
                metric.kind == "counter",
                metric.name.ends_with("_total"),
                "{metric:?}"
            );
        }
        assert_eq!(
            typed.len(),
            metric_names().count(),
            "something is exported that is not declared:\n{text}"
        );
    }

    #[test]
    fn an_event_moves_exactly_the_series_of_its_labels() {
        let registry = Arc::new(Registry::new());
        let mut tally = Tally::over(Arc::clone(&registry));
        for _ in 0..3 {
            tally.record(GatewayEvent::RequestAnswered {
                method: CoapMethod::from_byte(1),
                code: CoapCode::from_byte(0x45),
                route: Route::Desired,
            });
        }
        tally.record(GatewayEvent::SessionStarted(Security::Dtls));
        tally.record(GatewayEvent::SessionStarted(Security::Dtls));
        tally.record(GatewayEvent::SessionEnded(Security::Dtls, SessionEnd::Idle));
        tally.record(GatewayEvent::DatagramDropped(DropReason::Other));
        drop(tally);

        let text = registry.render();
        for line in [
            r#"tessera_coap_requests_total{method="get",code="2.05",route="desired"} 3"#,
            r#"tessera_sessions{security="dtls"} 1"#,
            r#"tessera_sessions_ended_total{reason="idle"} 1"#,
            r#"tessera_sessions_ended_total{reason="evicted"} 0"#,
            r#"tessera_datagrams_dropped_total{reason="other"} 1"#,
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
        assert_eq!(text.matches("tessera_coap_requests_total{").count(), 1);
    }

    #[test]
    fn what_is_measured_has_the_last_value_and_a_delay_is_in_its_bucket() {
        let registry = Arc::new(Registry::new());
        let mut tally = Tally::over(Arc::clone(&registry));
        for bytes in [5000, 4096] {
            let part = StorePart::Artifacts;
            tally.record(GatewayEvent::StoreMeasured { part, bytes });
        }
        tally.record(GatewayEvent::DiskMeasured {
            size: 1_000_000,
            free: 250_000,
        });
        tally.record(GatewayEvent::CertificateShown {
            to: Audience::Devices,
            until_unix_s: 1_800_000_000,
        });
        tally.record(GatewayEvent::ReadinessSeen(true));
        tally.record(GatewayEvent::NotificationDelayed {
            until: NotificationMoment::Acknowledged,
            took: Duration::from_millis(700),
        });
        tally.flush();
        let text = registry.render();
        for line in [
            r#"tessera_store_bytes{part="artifacts"} 4096"#,
            r#"tessera_store_bytes{part="database"} 0"#,
            "tessera_store_disk_size_bytes 1000000",
            "tessera_store_disk_free_bytes 250000",
            r#"tessera_server_certificate_expiry_timestamp_seconds{to="devices"} 1800000000"#,
            r#"tessera_server_certificate_expiry_timestamp_seconds{to="operators"} 0"#,
            "tessera_ready 1",
            r#"tessera_notification_delay_seconds_bucket{until="acknowledged",le="0.5"} 0"#,
            r#"tessera_notification_delay_seconds_bucket{until="acknowledged",le="1"} 1"#,
            r#"tessera_notification_delay_seconds_count{until="sent"} 0"#,
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
    }

    #[test]
    fn every_counter_but_that_of_requests_shows_its_zeros() {
        let text = Registry::new().render();
        for family in &COUNTERS {
            let shown = text
                .lines()
                .filter(|line| {
                    line.strip_prefix(family.name)
                        .is_some_and(|rest| rest.starts_with(['{', ' ']))
                })
                .count();
            let wanted = match family.name {
                "tessera_coap_requests_total" => 0,
                _ => family.series(),
            };
            assert_eq!(shown, wanted, "{}", family.name);
        }
    }

    #[test]
    fn samples_past_the_bound_are_not_lost() {
        let registry = Arc::new(Registry::new());
        let mut tally = Tally::over(Arc::clone(&registry));
        for _ in 0..10_000 {
            tally.record(GatewayEvent::RequestTimed {
                route: Route::Artifact,
                took: Duration::from_micros(7),
            });
        }
        tally.flush();
        let line = r#"tessera_coap_request_duration_seconds_count{route="artifact"} 10000"#;
        assert!(registry.render().contains(line));
    }

    #[test]
    fn one_request_in_sixty_four_is_timed() {
        let mut tally = Tally::over(Arc::new(Registry::new()));
        assert_eq!((0..640).filter(|_| tally.samples_this_request()).count(), 10);
    }

    fn one_of_each() -> Vec<GatewayEvent> {
        let took = Duration::from_millis(1);
        vec![
            GatewayEvent::SessionStarted(Security::Dtls),
            GatewayEvent::SessionEnded(Security::Dtls, SessionEnd::CloseNotify),
            GatewayEvent::HelloChallenged,
            GatewayEvent::HandshakeEnded {
                result: HandshakeResult::Established,
                took,
            },
            GatewayEvent::DatagramsReceived(1),
            GatewayEvent::DatagramsSent(1),
            GatewayEvent::DatagramDropped(DropReason::Replayed),
            GatewayEvent::Retransmitted(Retransmitter::Handshake),
            GatewayEvent::RequestAnswered {
                method: CoapMethod::Get,
                code: CoapCode::Content,
                route: Route::Desired,
            },
            GatewayEvent::RequestTimed {
                route: Route::Desired,
                took,
            },
            GatewayEvent::RequestRejected(Rejection::BadOption),
            GatewayEvent::ObserverAdded,
            GatewayEvent::ObserverRemoved,
            GatewayEvent::NotificationSent,
            GatewayEvent::NotificationEnded(NotificationResult::Acknowledged),
            GatewayEvent::BlockServed {
                kind: BlockKind::First,
                bytes: 1024,
            },
            GatewayEvent::Reported {
                state: ReportState::Idle,
                reason: ReportReason::Ready,
            },
            GatewayEvent::Committed { commands: 1, took },
            GatewayEvent::StoreFailed(StoreOperation::Commit),
            GatewayEvent::ArtifactStored(1),
            GatewayEvent::CertificateRead(CertificateRead::TakenUp),
            GatewayEvent::TimelineLost {
                why: TimelineLoss::QueueFull,
                entries: 1,
            },
        ]
    }
}
