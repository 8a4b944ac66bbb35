//! The values that metric labels may take: enums, each with `other`, so that no peer can invent a time series.

/// Declares a label: its variants, their spelling in Prometheus, and their position in the counters' tables.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* #[doc = concat!("`", $text, "`")] $variant,)*
            /// Anything else: `other`
            Other,
        }

        impl $name {
            /// Every spelling, in the order of the variants.
            pub const NAMES: &'static [&'static str] = &[$($text,)* "other"];

            /// The spelling of this value.
            pub fn as_str(self) -> &'static str {
                Self::NAMES[self.index()]
            }

            /// The value spelled `name`, or [`Self::Other`].
            pub fn named(name: &str) -> Self {
                match name {
                    $($text => Self::$variant,)*
                    _ => Self::Other,
                }
            }

            /// The position in [`Self::NAMES`].
            pub fn index(self) -> usize {
                self as usize
            }
        }
    };
}

label! {
    /// What secures a session.
    Security {
        Dtls = "dtls",
        /// Plain CoAP, for development.
        None = "none",
    }
}

label! {
    /// What the gateway knows of a device on record.
    FleetState {
        Online = "online",
        Offline = "offline",
        /// May not connect.
        Disabled = "disabled",
    }
}

label! {
    /// Where a device stands with its cohort's active deployment.
    StageLabel {
        Pending = "pending",
        Notified = "notified",
        Downloading = "downloading",
        Downloaded = "downloaded",
        Updating = "updating",
        Done = "done",
        Failed = "failed",
    }
}

label! {
    /// How a handshake ended.
    HandshakeResult {
        Established = "established",
        UnknownIdentity = "unknown_identity",
        /// The client's Finished did not verify: another secret, or tampering.
        BadFinished = "bad_finished",
        NoCommonSuite = "no_common_suite",
        UnsupportedVersion = "unsupported_version",
        Malformed = "malformed",
        UnexpectedMessage = "unexpected_message",
        /// The client's certificate was not accepted, or what it signed was not signed with its key.
        CertificateRefused = "certificate_refused",
        PeerAlert = "peer_alert",
        Timeout = "timeout",
        /// Over the cap of handshakes in flight, or at the table's end.
        Overloaded = "overloaded",
        /// The same peer began again before this one was finished.
        Superseded = "superseded",
        Internal = "internal",
    }
}

label! {
    /// Why a session ended.
    SessionEnd {
        CloseNotify = "close_notify",
        /// The same device finished a newer handshake.
        Replaced = "replaced",
        Idle = "idle",
        /// The longest idle one made room at `coaps.max_sessions`.
        Evicted = "evicted",
        /// The device was disabled or deleted, or its credential retired.
        Disabled = "disabled",
        Exhausted = "exhausted",
        Shutdown = "shutdown",
    }
}

label! {
    /// What a request was routed to.
    Route {
        Desired = "desired",
        Artifact = "artifact",
        Report = "report",
        Keepalive = "keepalive",
        Log = "log",
        /// Refused before any route was looked at.
        Refused = "refused",
    }
}

label! {
    /// The method of a request.
    CoapMethod {
        Get = "get",
        Post = "post",
        Put = "put",
        Delete = "delete",
        Fetch = "fetch",
        Patch = "patch",
        IPatch = "ipatch",
    }
}

impl CoapMethod {
    /// The method with this code byte: 0.01 is 1.
    pub fn from_byte(code: u8) -> Self {
        match code {
            1 => Self::Get,
            2 => Self::Post,
            3 => Self::Put,
            4 => Self::Delete,
            5 => Self::Fetch,
            6 => Self::Patch,
            7 => Self::IPatch,
            _ => Self::Other,
        }
    }
}

label! {
    /// The code of an answer.
    CoapCode {
        Created = "2.01",
        Deleted = "2.02",
        Valid = "2.03",
        Changed = "2.04",
        Content = "2.05",
        Continue = "2.31",
        BadRequest = "4.00",
        Unauthorized = "4.01",
        BadOption = "4.02",
        Forbidden = "4.03",
        NotFound = "4.04",
        MethodNotAllowed = "4.05",
        NotAcceptable = "4.06",
        Incomplete = "4.08",
        PreconditionFailed = "4.12",
        TooLarge = "4.13",
        UnsupportedFormat = "4.15",
        TooManyRequests = "4.29",
        InternalError = "5.00",
        NotImplemented = "5.01",
        Unavailable = "5.03",
    }
}

impl CoapCode {
    /// The code with this byte: 2.05 is `0x45`.
    pub fn from_byte(code: u8) -> Self {
        match (code >> 5, code & 0x1f) {
            (2, 1) => Self::Created,
            (2, 2) => Self::Deleted,
            (2, 3) => Self::Valid,
            (2, 4) => Self::Changed,
            (2, 5) => Self::Content,
            (2, 31) => Self::Continue,
            (4, 0) => Self::BadRequest,
            (4, 1) => Self::Unauthorized,
            (4, 2) => Self::BadOption,
            (4, 3) => Self::Forbidden,
            (4, 4) => Self::NotFound,
            (4, 5) => Self::MethodNotAllowed,
            (4, 6) => Self::NotAcceptable,
            (4, 8) => Self::Incomplete,
            (4, 12) => Self::PreconditionFailed,
            (4, 13) => Self::TooLarge,
            (4, 15) => Self::UnsupportedFormat,
            (4, 29) => Self::TooManyRequests,
            (5, 0) => Self::InternalError,
            (5, 1) => Self::NotImplemented,
            (5, 3) => Self::Unavailable,
            _ => Self::Other,
        }
    }
}

label! {
    /// What became of a confirmable notification.
    NotificationResult {
        Acknowledged = "acknowledged",
        /// Answered with a Reset: the relation is gone.
        Rejected = "rejected",
        /// Every transmission went unanswered: the relation is gone.
        Unanswered = "unanswered",
        /// A newer representation took its place.
        Superseded = "superseded",
        /// The session ended first.
        Abandoned = "abandoned",
    }
}

label! {
    /// Up to which moment a notification's delay is counted.
    NotificationMoment {
        Sent = "sent",
        Acknowledged = "acknowledged",
    }
}

label! {
    /// What a block of an artifact was to the device's download.
    BlockKind {
        /// It opened one.
        First = "first",
        /// It went further than any before it.
        Following = "following",
        /// The device had been served it before: its request or the answer was lost, or it began again in the middle.
        Repeated = "repeated",
    }
}

label! {
    /// The state in a report.
    ReportState {
        Idle = "idle",
        Downloading = "downloading",
        Downloaded = "downloaded",
        Updating = "updating",
    }
}

impl ReportState {
    /// The state with this number on the wire.
    pub fn from_number(state: u64) -> Self {
        match state {
            0 => Self::Idle,
            1 => Self::Downloading,
            2 => Self::Downloaded,
            3 => Self::Updating,
            _ => Self::Other,
        }
    }
}

label! {
    /// The reason in a report.
    ReportReason {
        Ready = "ready",
        Updated = "updated",
        NotEnoughFlash = "not_enough_flash",
        OutOfRam = "out_of_ram",
        ConnectionLost = "connection_lost",
        IntegrityCheck = "integrity_check",
        UnsupportedPackage = "unsupported_package",
        InvalidUri = "invalid_uri",
        UpdateFailed = "update_failed",
        UnsupportedProtocol = "unsupported_protocol",
        IoError = "io_error",
        AwaitingRetry = "awaiting_retry",
    }
}

impl ReportReason {
    /// The reason with this number on the wire.
    pub fn from_number(reason: u64) -> Self {
        match reason {
            0 => Self::Ready,
            1 => Self::Updated,
            2 => Self::NotEnoughFlash,
            3 => Self::OutOfRam,
            4 => Self::ConnectionLost,
            5 => Self::IntegrityCheck,
            6 => Self::UnsupportedPackage,
            7 => Self::InvalidUri,
            8 => Self::UpdateFailed,
            9 => Self::UnsupportedProtocol,
            10 => Self::IoError,
            11 => Self::AwaitingRetry,
            _ => Self::Other,
        }
    }
}

label! {
    /// Why a datagram, or a record in one, was dropped without an answer.
    DropReason {
        /// Not a DTLS record, or cut short.
        MalformedRecord = "malformed_record",
        /// A ClientHello that cannot be answered statelessly.
        MalformedHello = "malformed_hello",
        BadCookie = "bad_cookie",
        /// A record for which there is no session.
        UnknownSession = "unknown_session",
        /// A record under a connection ID that nobody has, or no longer.
        UnknownConnectionId = "unknown_connection_id",
        /// A record of another epoch than the session's.
        WrongEpoch = "wrong_epoch",
        Undecryptable = "undecryptable",
        Replayed = "replayed",
        /// Not protected where it must be.
        Plaintext = "plaintext",
        MalformedMessage = "malformed_message",
        /// A repetition that must not be answered again.
        Duplicate = "duplicate",
        /// A message that answers nothing of ours.
        Unmatched = "unmatched",
        HandshakeCap = "handshake_cap",
        /// A queue between shards was full.
        QueueFull = "queue_full",
        /// The kernel's receive buffer overflowed.
        ReceiveOverflow = "receive_overflow",
        SendFailed = "send_failed",
        /// A handshake's datagram that did not belong to it.
        HandshakeNoise = "handshake_noise",
        Truncated = "truncated",
    }
}

label! {
    /// Which layer sent something again.
    Retransmitter {
        Handshake = "handshake",
        Notification = "notification",
    }
}

label! {
    /// Why a request was refused.
    Rejection {
        BadOption = "bad_option",
        BadPath = "bad_path",
        BadReport = "bad_report",
        BadLog = "bad_log",
        BodyIncomplete = "body_incomplete",
        BodyTooLarge = "body_too_large",
        NoSuchArtifact = "no_such_artifact",
        PastEnd = "past_end",
        UnknownResource = "unknown_resource",
        MethodNotAllowed = "method_not_allowed",
        /// The writer's queue was full.
        QueueFull = "queue_full",
        /// It was left without an answer, because that would have come too late.
        Overdue = "overdue",
        StoreFailed = "store_failed",
        TooManyObservers = "too_many_observers",
    }
}

label! {
    /// Why a connection to the API was lost to others.
    ConnectionLoss {
        GaveWay = "gave_way",
        TurnedAway = "turned_away",
    }
}

label! {
    /// Why an API key was refused.
    KeyRefusal {
        /// It is unknown, revoked or expired.
        Wrong = "wrong",
        /// Too many wrong ones had come from the same network.
        NotLookedAt = "not_looked_at",
    }
}

label! {
    /// What the store was asked to do when it failed.
    StoreOperation {
        Commit = "commit",
        Read = "read",
        Blob = "blob",
        Sessions = "sessions",
    }
}

label! {
    /// A part of the data folder.
    StorePart {
        Database = "database",
        /// What has been committed and is not in the database's own file yet.
        WriteAheadLog = "write_ahead_log",
        SessionLog = "session_log",
        Artifacts = "artifacts",
    }
}

label! {
    /// To whom a certificate of the gateway is shown.
    Audience {
        Devices = "devices",
        Operators = "operators",
    }
}

label! {
    /// What became of a certificate that was read again.
    CertificateRead {
        TakenUp = "taken_up",
        Refused = "refused",
    }
}

label! {
    /// Why something that happened to a device is not in its timeline.
    TimelineLoss {
        /// The device makes more entries than it may.
        TooMany = "too_many",
        /// More happens than is written.
        QueueFull = "queue_full",
        StoreFailed = "store_failed",
    }
}
