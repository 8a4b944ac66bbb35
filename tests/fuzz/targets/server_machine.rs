//! The server's half of a handshake against a peer that sends anything at any time.
//!
//! ```text
//! input   setup 2 | steps
//! step 0  bytes                  a datagram; a ClientHello in it is sent again with the cookie that it is asked for
//! step 1  which                  a record of a handshake that went well
//! step 2  which, where 2, xor    the same, altered
//! step 3  from, to               several of those records in one datagram
//! step 4  time 2                 so many units of 4 ms pass
//! step 5  known                  the key or the device is looked up: not known, or known
//! step 6  bytes                  a handshake message under the client's keys, by somebody who has them
//! step 7  type, bytes            the same for a record of any type
//! ```
//!
//! What is held: no step panics; a stranger gets less than it sent, and whoever returns its cookie is heard; everything
//! sent is made of records; timeouts are over once they are handled; nobody is served but under the identity that is set up,
//! with its key, and after its client's Finished, whatever somebody with the keys says.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tessera::dtls::{ContentType, Session};

use super::recording::Recording;
use super::script::Script;
use super::server_side::{ServerSide, assert_made_of_records, holds, with_cookie};
use super::setup::{Setup, start};

/// The target.
pub fn server_machine(data: &[u8]) {
    let mut script = Script::new(data);
    if let Some(setup) = Setup::read(&mut script) {
        let mut run = Run {
            recording: Recording::of(setup),
            insider: None,
            finished_came: false,
            server: ServerSide::new(setup),
            now: start(),
            setup,
        };
        while run.step(&mut script).is_some() {
            run.check();
        }
        run.check();
    }
}

struct Run {
    setup: Setup,
    recording: Rc<Recording>,
    insider: Option<Session>,
    /// Whether the client's Finished was among what arrived.
    finished_came: bool,
    server: ServerSide,
    now: Instant,
}

impl Run {
    /// `None` at the end of the script.
    fn step(&mut self, script: &mut Script<'_>) -> Option<()> {
        match script.byte()? {
            0 => self.send(script.bytes()?),
            1 => {
                let record = self.recorded(script.byte()?).to_vec();
                self.send(&record);
            }
            2 => {
                let mut record = self.recorded(script.byte()?).to_vec();
                let (place, xor) = (usize::from(script.number()?), script.byte()?);
                let place = place % record.len();
                record[place] ^= xor;
                self.send(&record);
            }
            3 => {
                let (from, to) = (script.byte()?, script.byte()?);
                let records: Vec<u8> = (from..=to.min(from.saturating_add(7)))
                    .flat_map(|which| self.recorded(which).to_vec())
                    .collect();
                self.send(&records);
            }
            4 => {
                self.now += Duration::from_millis(4) * u32::from(script.number()?);
                self.server.handle_timeout(self.now);
            }
            5 => {
                let known = script.byte()? & 1 == 1;
                self.server.look_up(self.now, known);
            }
            6 => self.send_under_keys(ContentType::Handshake, script.bytes()?),
            7 => {
                let kind = script.content_type()?;
                self.send_under_keys(kind, script.bytes()?);
            }
            _ => {}
        }
        Some(())
    }

    fn recorded(&self, which: u8) -> &[u8] {
        let records = &self.recording.to_server;
        &records[usize::from(which) % records.len()]
    }

    fn send(&mut self, datagram: &[u8]) {
        let finished = self.recording.to_server.last();
        self.finished_came |= finished.is_some_and(|finished| holds(datagram, finished));
        let challenged = self.server.handle(self.now, &mut datagram.to_vec());
        let cookie = challenged.then(|| {
            self.server
                .out
                .last()
                .map(|sent| sent[sent.len() - COOKIE_LEN..].to_vec())
        });
        if let Some(again) = cookie.flatten().and_then(|cookie| with_cookie(datagram, &cookie))
            // With its cookie it may have grown past what is read.
            && again.len() <= HELLO_MAX
        {
            let challenged = self.server.handle(self.now, &mut again.clone());
            assert!(
                !challenged,
                "a cookie that was returned is not taken: {again:02x?}"
            );
        }
    }

    fn send_under_keys(&mut self, kind: ContentType, plaintext: &[u8]) {
        if self.insider.is_none() {
            self.insider = self.recording.sessions().map(|(client, _)| client);
        }
        let mut record = Vec::new();
        if let Some(client) = &mut self.insider
            && client.seal_as(kind, plaintext, &mut record).is_ok()
        {
            self.server.handle(self.now, &mut record);
        }
    }

    fn check(&mut self) {
        for sent in self.server.out.drain(..) {
            assert_made_of_records(&sent);
        }
        if let Some((_, served)) = &self.server.session {
            assert_eq!(
                *served,
                self.setup.claim(),
                "somebody is served under a name that nobody proved"
            );
            assert!(self.setup.can_agree(), "somebody without the key is served");
            assert!(self.finished_came, "somebody is served who did not finish");
        }
    }
}

const COOKIE_LEN: usize = 20;
/// Below the longest ClientHello that is read, with its headers.
const HELLO_MAX: usize = 2048;
