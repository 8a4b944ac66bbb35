//! Conformance to the device contract: what the stock devices of every SDK generation send, byte by byte, and what they
//! have to hear, against a real `tessera serve`. A test is named after the section, and the rule or row, that it holds;
//! `tests/README.md` has the table.
//!
//! - [`device`]: a DTLS session of our client half, spoken to in bytes.
//! - [`rules`] (0), [`dtls`] (1), [`messages`] (2), [`resources`] (3), [`manifest`] (4), [`reports`] (5), [`downloads`] (6),
//!   [`generations`] (7).
//! - [`table`]: the table in `tests/README.md` names tests that exist, and every rule and row.

#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod device;
mod downloads;
mod dtls;
mod generations;
mod manifest;
mod messages;
mod reports;
mod resources;
mod rules;
mod table;
