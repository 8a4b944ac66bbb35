//! `tessera session`: who is connected, and who could not connect.

use clap::Subcommand;
use serde_json::Value;

use super::client::{Client, ServerArgs, segment};
use super::device::subject;
use super::failure::Failure;
use super::output::{Column, ago, escaped, field};

/// Verbs of `tessera session`.
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// List the devices that are connected
    List {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List recent handshakes that failed, newest first, and what to do about them
    ///
    /// A wrong key and an unknown identity are told when the gateway gives the handshake up: when the device begins anew from
    /// the same port, after a minute otherwise. The list begins anew with the gateway.
    Failures {
        /// Only those for this reason: unknownIdentity, wrongKey, deviceDisabled, …
        #[arg(long)]
        reason: Option<String>,
        /// Only those with this PSK identity, or this CN or SHA-256 of a certificate
        #[arg(long)]
        identity: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// Runs a verb.
pub fn run(command: SessionCommand) -> Result<(), Failure> {
    match command {
        SessionCommand::List { server } => {
            let client = Client::new(&server)?;
            let none = "no device is connected";
            server.output.pages(client.pages("sessions"), SESSION, none)
        }
        SessionCommand::Failures {
            reason,
            identity,
            server,
        } => {
            let filters = [("reason", reason), ("identity", identity)];
            let filters = filters
                .iter()
                .filter_map(|(name, value)| Some(format!("{name}={}", segment(value.as_deref()?))));
            let query: Vec<String> = filters.collect();
            let path = match query.is_empty() {
                true => "sessions/failures".to_owned(),
                false => format!("sessions/failures?{}", query.join("&")),
            };
            let client = Client::new(&server)?;
            server.output.pages(client.pages(&path), FAILURE, NONE_FAILED)
        }
    }
}

const SESSION: &[Column] = &[
    ("DEVICE", |session| field(session, "/device/name")),
    ("ADDRESS", |session| field(session, "/address")),
    ("CREDENTIAL", |session| field(session, "/credentialType")),
    ("CIPHER SUITE", |session| field(session, "/cipherSuite")),
    ("CONNECTION ID", |session| {
        let id = field(session, "/connectionId");
        if id.is_empty() { "no".to_owned() } else { id }
    }),
    ("SINCE", |session| ago(session, "/since")),
    ("LAST SEEN", |session| ago(session, "/lastSeenAt")),
];

/// A PSK identity, whom a certificate says it is for and its SHA-256, or the SHA-256 of a public key.
fn offered(failure: &Value) -> String {
    let certificate = &failure["certificate"];
    let text = match (failure["identity"].as_str(), certificate.is_null()) {
        (Some(identity), _) => identity.to_owned(),
        (None, true) => field(failure, "/rawPublicKey"),
        (None, false) => format!("{} ({})", subject(certificate), field(certificate, "/sha256")),
    };
    escaped(&text)
}

/// Somebody asks right after it happened: see [`SessionCommand::Failures`].
const NONE_FAILED: &str = "no handshake like that has failed lately; one with a wrong key or an unknown identity is told of \
     up to a minute after it, when the gateway gives it up";

/// The identity is what a stranger sent.
const FAILURE: &[Column] = &[
    ("LAST", |failure| ago(failure, "/lastAt")),
    ("TIMES", |failure| field(failure, "/count")),
    ("REASON", |failure| field(failure, "/reason")),
    ("IDENTITY", offered),
    ("ADDRESS", |failure| field(failure, "/address")),
    ("WHAT TO DO", |failure| field(failure, "/text")),
];
