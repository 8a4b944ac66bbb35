//! Everything that is counted, and the one place with metric names.
//!
//! Names start with `tessera_`, counters end in `_total`, units are base units. A label is an enum of
//! `labels.rs`: never a device, an address or a version of somebody's firmware.
//!
//! Counters live in one flat table: a family starts at a base, and its labels are the digits of a mixed-radix
//! number behind it. So a shard's tally is one array, and recording an event is one addition.

use std::time::Duration;

use super::labels::{
    Audience, BlockKind, CertificateRead, CoapCode, CoapMethod, ConnectionLoss, DropReason, FleetState,
    HandshakeResult, KeyRefusal, NotificationMoment, NotificationResult, Rejection, ReportReason,
    ReportState, Retransmitter, Route, Security, SessionEnd, StageLabel, StoreOperation, StorePart,
    TimelineLoss,
};

/// Something that happened and is worth counting.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum GatewayEvent {
    /// A session was established or restored.
    SessionStarted(Security),
    /// A session ended.
    SessionEnded(Security, SessionEnd),
    /// A ClientHello without a valid cookie was challenged.
    HelloChallenged,
    /// A handshake ended, this long after its verified ClientHello.
    HandshakeEnded {
        /// How.
        result: HandshakeResult,
        /// Since the verified ClientHello.
        took: Duration,
    },
    /// So many datagrams were read from the sockets.
    DatagramsReceived(u32),
    /// So many datagrams were handed to the sockets.
    DatagramsSent(u32),
    /// A datagram, or a record in one, was dropped.
    DatagramDropped(DropReason),
    /// A datagram that the kernel handed to another shard than its session's was passed on.
    DatagramForwarded,
    /// A session moved to another address.
    AddressChanged,
    /// A datagram was not sent, because the device had not shown that it is at the address that its session moved to.
    DatagramWithheld,
    /// A flight or a notification was sent again.
    Retransmitted(Retransmitter),
    /// A request was answered.
    RequestAnswered {
        /// The request's method.
        method: CoapMethod,
        /// The answer's code.
        code: CoapCode,
        /// Where it was routed.
        route: Route,
    },
    /// One request in [`REQUEST_SAMPLE`] was timed, from its datagram to its answer.
    RequestTimed {
        /// Where it was routed.
        route: Route,
        /// From the datagram to the answer.
        took: Duration,
    },
    /// A request was refused.
    RequestRejected(Rejection),
    /// So many more devices on record are in this state than when they were last counted.
    DevicesCounted {
        /// The state.
        state: FleetState,
        /// How many more.
        by: i64,
    },
    /// So many more devices stand here with their cohorts' active deployments than when they were last counted.
    ProgressCounted {
        /// Where.
        stage: StageLabel,
        /// How many more.
        by: i64,
    },
    /// A relation was registered.
    ObserverAdded,
    /// A relation ended.
    ObserverRemoved,
    /// A notification went out for the first time.
    NotificationSent,
    /// A notification's exchange ended.
    NotificationEnded(NotificationResult),
    /// A notification came this far, this long after the shards heard of what it tells.
    NotificationDelayed {
        /// How far.
        until: NotificationMoment,
        /// Since the shards heard of the change.
        took: Duration,
    },
    /// A block of an artifact was served.
    BlockServed {
        /// What it was to the device's download.
        kind: BlockKind,
        /// The block's length in bytes.
        bytes: u32,
    },
    /// A block of an artifact was handed to a thread that may wait for the disk.
    ColdRead,
    /// A device reported a package's state.
    Reported {
        /// The state it gave.
        state: ReportState,
        /// The reason it gave.
        reason: ReportReason,
    },
    /// The writer committed a batch.
    Committed {
        /// Commands in the batch.
        commands: u32,
        /// What the commit took.
        took: Duration,
    },
    /// The store failed.
    StoreFailed(StoreOperation),
    /// A part of the data folder has so many bytes.
    StoreMeasured {
        /// Which part.
        part: StorePart,
        /// Its size.
        bytes: u64,
    },
    /// The file system of the data folder has so many bytes.
    DiskMeasured {
        /// In all.
        size: u64,
        /// Of them, what the gateway may still write.
        free: u64,
    },
    /// An upload was stored, so many bytes long.
    ArtifactStored(u64),
    /// A connection to the API was lost because there are as many as there may be.
    ConnectionLost(ConnectionLoss),
    /// An API key was refused.
    KeyRefused(KeyRefusal),
    /// The gateway's own certificate has changed on disk and was read again.
    CertificateRead(CertificateRead),
    /// A certificate is shown from here on.
    CertificateShown {
        /// To whom.
        to: Audience,
        /// The last second of its validity, since 1970.
        until_unix_s: i64,
    },
    /// Somebody asks for the metrics: whether the gateway takes work.
    ReadinessSeen(bool),
    /// Entries of devices' timelines were lost.
    TimelineLost {
        /// Why.
        why: TimelineLoss,
        /// How many.
        entries: u32,
    },
}

/// One request in this many is timed: the exporter's histograms keep every sample until they are drained.
pub const REQUEST_SAMPLE: u32 = 64;

/// A metric as a dashboard sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricName {
    /// The name, prefix and suffix included.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The line of help.
    pub help: &'static str,
}

/// Every metric that the program exports.
pub fn metric_names() -> impl Iterator<Item = MetricName> {
    let named = |kind: &'static str, family: &Family| MetricName {
        name: family.name,
        kind,
        help: family.help,
    };
    COUNTERS
        .iter()
        .map(move |family| named("counter", family))
        .chain(GAUGES.iter().map(move |family| named("gauge", family)))
        .chain(
            HISTOGRAMS
                .iter()
                .map(move |histogram| named("histogram", &histogram.family)),
        )
        .chain(FIGURES)
}

/// Where an event leaves its numbers: a tally, or the registered handles.
pub trait Sink {
    /// Adds to the counter at a position of the flat table.
    fn count(&mut self, series: usize, by: u64);
    /// Moves a gauge.
    fn shift(&mut self, series: usize, by: i64);
    /// Gives a gauge a value: one that nobody moves.
    fn set(&mut self, series: usize, value: f64);
    /// Takes a duration in seconds.
    fn sample(&mut self, series: usize, seconds: f64);
}

impl GatewayEvent {
    /// Leaves this event's numbers in `sink`.
    pub fn apply(self, sink: &mut impl Sink) {
        match self {
            Self::SessionStarted(security) => {
                sink.count(counter(SESSIONS_STARTED, &[security.index()]), 1);
                sink.shift(gauge(SESSIONS, &[security.index()]), 1);
            }
            Self::SessionEnded(security, end) => {
                sink.count(counter(SESSIONS_ENDED, &[end.index()]), 1);
                sink.shift(gauge(SESSIONS, &[security.index()]), -1);
            }
            Self::HelloChallenged => sink.count(counter(CHALLENGES, &[]), 1),
            Self::HandshakeEnded { result, took } => {
                sink.count(counter(HANDSHAKES, &[result.index()]), 1);
                sink.sample(histogram(HANDSHAKE_TIME, &[]), took.as_secs_f64());
            }
            Self::DatagramsReceived(datagrams) => sink.count(counter(RECEIVED, &[]), u64::from(datagrams)),
            Self::DatagramsSent(datagrams) => sink.count(counter(SENT, &[]), u64::from(datagrams)),
            Self::DatagramDropped(reason) => sink.count(counter(DROPPED, &[reason.index()]), 1),
            Self::DatagramForwarded => sink.count(counter(FORWARDED, &[]), 1),
            Self::AddressChanged => sink.count(counter(ADDRESS_CHANGES, &[]), 1),
            Self::DatagramWithheld => sink.count(counter(WITHHELD, &[]), 1),
            Self::Retransmitted(layer) => sink.count(counter(RETRANSMISSIONS, &[layer.index()]), 1),
            Self::RequestAnswered { method, code, route } => {
                sink.count(
                    counter(REQUESTS, &[method.index(), code.index(), route.index()]),
                    1,
                );
            }
            Self::RequestTimed { route, took } => {
                sink.sample(histogram(REQUEST_TIME, &[route.index()]), took.as_secs_f64());
            }
            Self::RequestRejected(reason) => sink.count(counter(REJECTIONS, &[reason.index()]), 1),
            Self::DevicesCounted { state, by } => sink.shift(gauge(DEVICES, &[state.index()]), by),
            Self::ProgressCounted { stage, by } => {
                sink.shift(gauge(DEPLOYMENT_DEVICES, &[stage.index()]), by);
            }
            Self::ObserverAdded => sink.shift(gauge(OBSERVERS, &[]), 1),
            Self::ObserverRemoved => sink.shift(gauge(OBSERVERS, &[]), -1),
            Self::NotificationSent => sink.count(counter(NOTIFICATIONS_SENT, &[]), 1),
            Self::NotificationEnded(result) => sink.count(counter(NOTIFICATIONS, &[result.index()]), 1),
            Self::NotificationDelayed { until, took } => {
                sink.sample(
                    histogram(NOTIFICATION_DELAY, &[until.index()]),
                    took.as_secs_f64(),
                );
            }
            Self::BlockServed { kind, bytes } => {
                sink.count(counter(BLOCKS, &[kind.index()]), 1);
                sink.count(counter(ARTIFACT_BYTES, &[]), u64::from(bytes));
            }
            Self::ColdRead => sink.count(counter(COLD_READS, &[]), 1),
            Self::Reported { state, reason } => {
                sink.count(counter(REPORTS, &[state.index(), reason.index()]), 1);
            }
            Self::Committed { commands, took } => {
                sink.count(counter(COMMANDS, &[]), u64::from(commands));
                sink.sample(histogram(COMMIT_TIME, &[]), took.as_secs_f64());
            }
            Self::ConnectionLost(loss) => sink.count(counter(CONNECTIONS_LOST, &[loss.index()]), 1),
            Self::KeyRefused(reason) => sink.count(counter(KEYS_REFUSED, &[reason.index()]), 1),
            Self::StoreFailed(operation) => sink.count(counter(STORE_ERRORS, &[operation.index()]), 1),
            // Exact up to 2^53 bytes.
            Self::StoreMeasured { part, bytes } => {
                sink.set(gauge(STORE_BYTES, &[part.index()]), bytes as f64);
            }
            Self::DiskMeasured { size, free } => {
                sink.set(gauge(DISK_SIZE, &[]), size as f64);
                sink.set(gauge(DISK_FREE, &[]), free as f64);
            }
            Self::CertificateShown { to, until_unix_s } => {
                sink.set(gauge(CERTIFICATE_END, &[to.index()]), until_unix_s as f64);
            }
            Self::ReadinessSeen(ready) => sink.set(gauge(READY, &[]), f64::from(u8::from(ready))),
            Self::ArtifactStored(bytes) => sink.count(counter(STORED_BYTES, &[]), bytes),
            Self::CertificateRead(read) => sink.count(counter(CERTIFICATE_READS, &[read.index()]), 1),
            Self::TimelineLost { why, entries } => {
                sink.count(counter(TIMELINE_LOST, &[why.index()]), u64::from(entries));
            }
        }
    }
}

/// A metric and its labels.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// The full name.
    pub name: &'static str,
    /// The line of help.
    pub help: &'static str,
    /// Each label's name, and the values it may take.
    pub labels: &'static [(&'static str, &'static [&'static str])],
}

impl Family {
    /// The number of its time series.
    pub const fn series(&self) -> usize {
        let mut product = 1;
        let mut label = 0;
        while label < self.labels.len() {
            product *= self.labels[label].1.len();
            label += 1;
        }
        product
    }

    /// The labels of one of its series, by position.
    pub fn labels_of(&self, mut position: usize) -> Vec<(&'static str, &'static str)> {
        let mut labels = Vec::with_capacity(self.labels.len());
        for (name, values) in self.labels.iter().rev() {
            labels.push((*name, values[position % values.len()]));
            position /= values.len();
        }
        labels.reverse();
        labels
    }

    fn position(&self, digits: &[usize]) -> usize {
        debug_assert_eq!(digits.len(), self.labels.len());
        digits
            .iter()
            .zip(self.labels)
            .fold(0, |position, (digit, (_, values))| {
                position * values.len() + digit
            })
    }
}

/// A family of histograms and the upper bounds of its buckets, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct HistogramFamily {
    /// The metric.
    pub family: Family,
    /// Upper bounds in seconds, rising.
    pub buckets: &'static [f64],
}

const fn family(
    name: &'static str,
    help: &'static str,
    labels: &'static [(&'static str, &'static [&'static str])],
) -> Family {
    Family { name, help, labels }
}

fn counter(family: usize, digits: &[usize]) -> usize {
    const BASES: [usize; COUNTERS.len()] = bases(&COUNTERS);
    BASES[family] + COUNTERS[family].position(digits)
}

fn gauge(family: usize, digits: &[usize]) -> usize {
    const BASES: [usize; GAUGES.len()] = bases(&GAUGES);
    BASES[family] + GAUGES[family].position(digits)
}

fn histogram(family: usize, digits: &[usize]) -> usize {
    HISTOGRAMS[..family]
        .iter()
        .map(|histogram| histogram.family.series())
        .sum::<usize>()
        + HISTOGRAMS[family].family.position(digits)
}

const fn bases<const N: usize>(families: &[Family; N]) -> [usize; N] {
    let mut bases = [0; N];
    let mut next = 0;
    let mut family = 0;
    while family < N {
        bases[family] = next;
        next += families[family].series();
        family += 1;
    }
    bases
}

const fn total<const N: usize>(families: &[Family; N]) -> usize {
    let mut total = 0;
    let mut family = 0;
    while family < N {
        total += families[family].series();
        family += 1;
    }
    total
}

/// Counter series in all.
pub const COUNTER_SERIES: usize = total(&COUNTERS);

/// Gauge series in all.
pub const GAUGE_SERIES: usize = total(&GAUGES);

const SESSIONS_STARTED: usize = 0;
const SESSIONS_ENDED: usize = 1;
const CHALLENGES: usize = 2;
const HANDSHAKES: usize = 3;
const RECEIVED: usize = 4;
const SENT: usize = 5;
const DROPPED: usize = 6;
const RETRANSMISSIONS: usize = 7;
const REQUESTS: usize = 8;
const REJECTIONS: usize = 9;
const NOTIFICATIONS_SENT: usize = 10;
const NOTIFICATIONS: usize = 11;
const BLOCKS: usize = 12;
const ARTIFACT_BYTES: usize = 13;
const REPORTS: usize = 14;
const COMMANDS: usize = 15;
const STORE_ERRORS: usize = 16;
const STORED_BYTES: usize = 17;
const CONNECTIONS_LOST: usize = 18;
const TIMELINE_LOST: usize = 19;
const COLD_READS: usize = 20;
const FORWARDED: usize = 21;
const ADDRESS_CHANGES: usize = 22;
const WITHHELD: usize = 23;
const CERTIFICATE_READS: usize = 24;
const KEYS_REFUSED: usize = 25;

/// Every counter, in the order of the constants above.
pub static COUNTERS: [Family; 26] = [
    family(
        "tessera_sessions_started_total",
        "Sessions established or restored.",
        &[("security", Security::NAMES)],
    ),
    family(
        "tessera_sessions_ended_total",
        "Sessions that ended.",
        &[("reason", SessionEnd::NAMES)],
    ),
    family(
        "tessera_cookie_challenges_total",
        "ClientHellos answered with a cookie.",
        &[],
    ),
    family(
        "tessera_dtls_handshakes_total",
        "DTLS handshakes that ended.",
        &[("result", HandshakeResult::NAMES)],
    ),
    family(
        "tessera_datagrams_received_total",
        "Datagrams read from the sockets.",
        &[],
    ),
    family(
        "tessera_datagrams_sent_total",
        "Datagrams handed to the sockets.",
        &[],
    ),
    family(
        "tessera_datagrams_dropped_total",
        "Datagrams or records dropped without an answer.",
        &[("reason", DropReason::NAMES)],
    ),
    family(
        "tessera_retransmissions_total",
        "Flights and notifications sent again.",
        &[("layer", Retransmitter::NAMES)],
    ),
    family(
        "tessera_coap_requests_total",
        "CoAP requests answered.",
        &[
            ("method", CoapMethod::NAMES),
            ("code", CoapCode::NAMES),
            ("route", Route::NAMES),
        ],
    ),
    family(
        "tessera_coap_rejections_total",
        "CoAP requests refused.",
        &[("reason", Rejection::NAMES)],
    ),
    family(
        "tessera_notifications_sent_total",
        "Notifications sent, retransmissions not counted.",
        &[],
    ),
    family(
        "tessera_notifications_total",
        "Notifications whose exchange ended.",
        &[("result", NotificationResult::NAMES)],
    ),
    family(
        "tessera_blocks_served_total",
        "Blocks of artifacts served.",
        &[("kind", BlockKind::NAMES)],
    ),
    family(
        "tessera_artifact_served_bytes_total",
        "Bytes of artifacts served.",
        &[],
    ),
    family(
        "tessera_reports_total",
        "State reports of devices.",
        &[("state", ReportState::NAMES), ("reason", ReportReason::NAMES)],
    ),
    family(
        "tessera_store_commands_total",
        "Commands that were committed.",
        &[],
    ),
    family(
        "tessera_store_errors_total",
        "Failures of the store.",
        &[("operation", StoreOperation::NAMES)],
    ),
    family(
        "tessera_artifact_stored_bytes_total",
        "Bytes of artifacts uploaded and stored.",
        &[],
    ),
    family(
        "tessera_api_connections_lost_total",
        "Connections to the API that gave way to others or were turned away.",
        &[("reason", ConnectionLoss::NAMES)],
    ),
    family(
        "tessera_timeline_lost_total",
        "Entries that did not make it into a device's timeline.",
        &[("reason", TimelineLoss::NAMES)],
    ),
    family(
        "tessera_artifact_cold_reads_total",
        "Blocks of artifacts that were not in memory, or on a file system that cannot say so, and were read beside the shard.",
        &[],
    ),
    family(
        "tessera_datagrams_forwarded_total",
        "Datagrams that reached another shard's socket than their session's, and were passed on.",
        &[],
    ),
    family(
        "tessera_address_changes_total",
        "Sessions with a connection ID that moved to another address.",
        &[],
    ),
    family(
        "tessera_datagrams_withheld_total",
        "Datagrams not sent to an address that a session moved to and that its device has not proven.",
        &[],
    ),
    family(
        "tessera_server_certificate_reads_total",
        "Changes of the gateway's own certificates on disk, for devices and for operators; of those refused, the one before stays in use.",
        &[("result", CertificateRead::NAMES)],
    ),
    family(
        "tessera_api_keys_refused_total",
        "API keys refused because they are wrong, or not looked at because too many wrong ones came from the same network.",
        &[("reason", KeyRefusal::NAMES)],
    ),
];

const SESSIONS: usize = 0;
const OBSERVERS: usize = 1;
const DEVICES: usize = 2;
const DEPLOYMENT_DEVICES: usize = 3;
const READY: usize = 4;
const STORE_BYTES: usize = 5;
const DISK_SIZE: usize = 6;
const DISK_FREE: usize = 7;
const CERTIFICATE_END: usize = 8;

/// Every gauge, in the order of the constants above.
pub static GAUGES: [Family; 9] = [
    family(
        "tessera_sessions",
        "Live sessions.",
        &[("security", Security::NAMES)],
    ),
    family("tessera_observers", "Live observe relations.", &[]),
    family(
        "tessera_devices",
        "Devices on record, as last counted.",
        &[("state", FleetState::NAMES)],
    ),
    family(
        "tessera_deployment_devices",
        "Devices by where they stand with their cohorts' active deployments, as last counted.",
        &[("state", StageLabel::NAMES)],
    ),
    family(
        "tessera_ready",
        "1 if the gateway is started, does not drain, and its last write to the store went well.",
        &[],
    ),
    family(
        "tessera_store_bytes",
        "Bytes in the data folder, as last measured; artifacts count once however often they are named.",
        &[("part", StorePart::NAMES)],
    ),
    family(
        "tessera_store_disk_size_bytes",
        "Bytes that the file system of the data folder has in all, as last measured.",
        &[],
    ),
    family(
        "tessera_store_disk_free_bytes",
        "Bytes that the gateway may still write to the file system of the data folder, as last measured.",
        &[],
    ),
    family(
        "tessera_server_certificate_expiry_timestamp_seconds",
        "The last second, since 1970, of the certificate that the gateway shows; 0 for none.",
        &[("to", Audience::NAMES)],
    ),
];

const HANDSHAKE_TIME: usize = 0;
const REQUEST_TIME: usize = 1;
const COMMIT_TIME: usize = 2;
const NOTIFICATION_DELAY: usize = 3;

/// Every histogram, in the order of the constants above.
pub static HISTOGRAMS: [HistogramFamily; 4] = [
    HistogramFamily {
        family: family(
            "tessera_dtls_handshake_duration_seconds",
            "From the verified ClientHello to the end of the handshake.",
            &[],
        ),
        // A Zephyr device gives a handshake up after 3 s: the buckets are dense around that.
        buckets: &[
            0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0,
        ],
    },
    HistogramFamily {
        family: family(
            "tessera_coap_request_duration_seconds",
            "From a request's datagram to its answer; one request in 64 is timed.",
            &[("route", Route::NAMES)],
        ),
        buckets: &[
            0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.001, 0.005, 0.025, 0.1, 0.5, 1.0,
            5.0,
        ],
    },
    HistogramFamily {
        family: family(
            "tessera_store_commit_duration_seconds",
            "What one commit of the writer took.",
            &[],
        ),
        buckets: &[
            0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
        ],
    },
    HistogramFamily {
        family: family(
            "tessera_notification_delay_seconds",
            "From when the shards hear of a deployment, a move to a cohort or a push until an observing device's notification is sent first, or acknowledged.",
            &[("until", NotificationMoment::NAMES)],
        ),
        // A device that answers at the fifth and last transmission does so after 30 to 46 s and more.
        buckets: &[
            0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
        ],
    },
];

/// What is read from the process itself when somebody asks, not counted.
pub const FIGURES: [MetricName; 7] = [
    MetricName {
        name: "tessera_build_info",
        kind: "gauge",
        help: "Always 1; the version is the label.",
    },
    MetricName {
        name: "tessera_process_start_time_seconds",
        kind: "gauge",
        help: "When the process was started, in seconds since 1970.",
    },
    MetricName {
        name: "tessera_process_resident_memory_bytes",
        kind: "gauge",
        help: "Resident memory of the process.",
    },
    MetricName {
        name: "tessera_process_cpu_seconds_total",
        kind: "counter",
        help: "User and system time of the process.",
    },
    MetricName {
        name: "tessera_process_open_fds",
        kind: "gauge",
        help: "Open file descriptors.",
    },
    MetricName {
        name: "tessera_process_max_fds",
        kind: "gauge",
        help: "The limit on open file descriptors.",
    },
    MetricName {
        name: "tessera_process_threads",
        kind: "gauge",
        help: "Threads of the process.",
    },
];
