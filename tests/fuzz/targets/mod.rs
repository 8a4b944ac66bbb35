//! The fuzz targets. Each takes an input of any bytes and holds a few claims against whatever the input makes happen: a
//! target that returns has found nothing.
//!
//! Inputs are scripts ([`script`]): a setup, then steps. Flipped, cut and spliced scripts are scripts too, so a fuzzer changes
//! what happens and in which order, and not only bytes that a checksum throws away.

mod adversary;
mod certificates;
mod client_machine;
mod coap_parser;
mod handshake_messages;
mod record_layer;
mod recording;
mod reports;
mod script;
mod seeds;
mod server_machine;
mod server_side;
mod setup;

pub use adversary::adversary;
pub use certificates::certificates;
pub use client_machine::client_machine;
pub use coap_parser::coap_parser;
pub use handshake_messages::handshake_messages;
pub use record_layer::record_layer;
pub use reports::reports;
pub use seeds::seeds;
pub use server_machine::server_machine;

/// Takes an input, and panics where a claim breaks.
pub type Target = fn(&[u8]);

/// Every target by its name, which is that of its folder in the corpus.
pub const ALL: [(&str, Target); 8] = [
    ("record_layer", record_layer),
    ("handshake_messages", handshake_messages),
    ("server_machine", server_machine),
    ("client_machine", client_machine),
    ("adversary", adversary),
    ("certificates", certificates),
    ("coap_parser", coap_parser),
    ("reports", reports),
];
