//! The pure cores of Tessera, and the fuzz targets over them.
//!
//! The cores are compiled from the package's own sources, and not taken from the package as a library: that would build the
//! whole gateway (a database, two runtimes, an HTTP server) with the fuzzer's instrumentation, for minutes, and none of it
//! would be run. The cores know nobody else, so they stand here as well as there.

// What the targets call the package, in whose own tests they are compiled too.
extern crate self as tessera;

#[path = "../../src/coap/mod.rs"]
pub mod coap;
#[path = "../../src/dtls/mod.rs"]
pub mod dtls;
#[path = "../../src/fleet/mod.rs"]
pub mod fleet;
#[path = "../../src/manifest/mod.rs"]
pub mod manifest;

pub mod targets;
