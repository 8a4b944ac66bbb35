//! The client's half of a handshake against a server that sends anything at any time.
//!
//! ```text
//! input   setup 2 | steps
//! step 0  bytes                  a datagram
//! step 1  which                  a record of a handshake that went well
//! step 2  which, where 2, xor    the same, altered
//! step 3  from, to               several of those records in one datagram
//! step 4  time 2                 so many units of 4 ms pass
//! step 5  type, bytes            a record of any type under the server's keys, by somebody who has them
//! ```
//!
//! What is held: no step panics; everything sent is made of records; timeouts are over once they are handled; a client that
//! is done or has failed says nothing more; it finishes with nobody who has not the key, and not without the server's
//! Finished, whatever somebody with the keys says.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tessera::dtls::{ClientHandshake, HandshakeEvent, HandshakeFailure, Session};

use super::recording::Recording;
use super::script::Script;
use super::server_side::{assert_made_of_records, holds};
use super::setup::{Setup, start};

/// The target.
pub fn client_machine(data: &[u8]) {
    let mut script = Script::new(data);
    if let Some(setup) = Setup::read(&mut script) {
        let mut run = Run {
            setup,
            client: setup.client(),
            recording: Recording::of(setup),
            insider: None,
            finished_came: false,
            over: false,
            now: start(),
        };
        run.settle();
        while run.step(&mut script).is_some() {
            run.settle();
        }
    }
}

struct Run {
    setup: Setup,
    client: ClientHandshake,
    recording: Rc<Recording>,
    insider: Option<Session>,
    /// Whether the server's Finished was among what arrived.
    finished_came: bool,
    over: bool,
    now: Instant,
}

impl Run {
    /// `None` at the end of the script.
    fn step(&mut self, script: &mut Script<'_>) -> Option<()> {
        match script.byte()? {
            0 => self.receive(script.bytes()?),
            1 => {
                let record = self.recorded(script.byte()?).to_vec();
                self.receive(&record);
            }
            2 => {
                let mut record = self.recorded(script.byte()?).to_vec();
                let (place, xor) = (usize::from(script.number()?), script.byte()?);
                let place = place % record.len();
                record[place] ^= xor;
                self.receive(&record);
            }
            3 => {
                let (from, to) = (script.byte()?, script.byte()?);
                let records: Vec<u8> = (from..=to.min(from.saturating_add(7)))
                    .flat_map(|which| self.recorded(which).to_vec())
                    .collect();
                self.receive(&records);
            }
            4 => {
                self.now += Duration::from_millis(4) * u32::from(script.number()?);
                self.handle_timeout();
            }
            5 => {
                let kind = script.content_type()?;
                let plaintext = script.bytes()?;
                let recording = &self.recording;
                let insider = self
                    .insider
                    .take()
                    .or_else(|| recording.sessions().map(|(_, server)| server));
                let mut record = Vec::new();
                self.insider = insider.map(|mut server| {
                    // Its numbers and the peer's limit are the insider's own affair.
                    let _ = server.seal_as(kind, plaintext, &mut record);
                    server
                });
                self.receive(&record);
            }
            _ => {}
        }
        Some(())
    }

    fn recorded(&self, which: u8) -> &[u8] {
        let records = &self.recording.to_client;
        &records[usize::from(which) % records.len()]
    }

    fn receive(&mut self, datagram: &[u8]) {
        self.finished_came |= self
            .recording
            .to_client
            .last()
            .is_some_and(|finished| holds(datagram, finished));
        let outcome = self.client.handle_datagram(self.now, &mut datagram.to_vec());
        self.outcome(outcome);
    }

    fn handle_timeout(&mut self) {
        let Some(due) = self.client.poll_timeout().filter(|due| *due <= self.now) else {
            return;
        };
        let outcome = self.client.handle_timeout(self.now);
        self.outcome(outcome);
        let next = self.client.poll_timeout();
        assert!(
            next.is_none_or(|next| next > due.max(self.now)),
            "a timeout that is handled is over"
        );
    }

    fn outcome(&mut self, outcome: Result<(), HandshakeFailure>) {
        if let Err(failure) = outcome {
            assert!(!self.over, "it ended twice");
            if let Some(alert) = failure.alert() {
                assert_made_of_records(alert);
            }
            self.over = true;
            assert!(self.client.poll_event().is_none(), "it failed and succeeded");
        }
    }

    fn settle(&mut self) {
        let mut datagram = Vec::new();
        for sent in 0.. {
            if !self.client.poll_transmit(&mut datagram) {
                break;
            }
            assert!(sent < FLIGHT_DATAGRAMS, "a flight without an end");
            assert!(!self.over, "it is over and sends");
            assert_made_of_records(&datagram);
            datagram.clear();
        }
        match self.client.poll_event() {
            Some(HandshakeEvent::Established(established)) => {
                assert!(!self.over, "it ended twice");
                assert!(
                    self.setup.can_agree(),
                    "it finished with somebody who has not the key"
                );
                assert!(self.finished_came, "it finished, and the server did not");
                let suite = established.session.suite();
                assert!(self.setup.suites().contains(&suite), "{suite:?} was not offered");
                self.over = true;
            }
            Some(
                HandshakeEvent::KeyWanted(_)
                | HandshakeEvent::ChainPresented(_)
                | HandshakeEvent::RawKeyPresented(_),
            ) => panic!("a client asks nobody"),
            None => {}
        }
        assert_eq!(
            self.over,
            self.client.poll_timeout().is_none(),
            "over is who waits for nothing"
        );
    }
}

/// No flight has more datagrams than this.
const FLIGHT_DATAGRAMS: usize = 16;
