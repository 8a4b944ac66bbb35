//! A handshake that went well, for inputs that want to begin in the middle of one.
//!
//! Seeds, addresses and the clock are always the same, so a handshake of the same setup comes to the same keys: what was
//! recorded here is genuine to a machine under test, as far as that was told nothing else. (But not with ephemeral keys,
//! which are made by the operating system's chance: there a recorded flight is one of another handshake.)

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use tessera::dtls::{HandshakeEvent, MAX_RECORD_NUMBER, SavedSession, Session, records};

use super::server_side::{ServerSide, assert_made_of_records};
use super::setup::{Setup, start};

/// What both sides sent, and the sessions that they came to.
pub struct Recording {
    /// One record each, in the order sent.
    pub to_server: Vec<Vec<u8>>,
    /// One record each, in the order sent.
    pub to_client: Vec<Vec<u8>>,
    sessions: Option<(SavedSession, SavedSession)>,
}

impl Recording {
    /// The recording of a setup, made once.
    pub fn of(setup: Setup) -> Rc<Self> {
        thread_local! {
            static MADE: RefCell<HashMap<Setup, Rc<Recording>>> = RefCell::default();
        }
        MADE.with_borrow_mut(|made| {
            if made.len() >= RECORDINGS_MAX {
                made.clear();
            }
            Rc::clone(made.entry(setup).or_insert_with(|| Rc::new(Self::make(setup))))
        })
    }

    /// The client's session and the server's, just established; `None` where the setup lets them come to none.
    pub fn sessions(&self) -> Option<(Session, Session)> {
        let (client, server) = self.sessions.clone()?;
        Some((woken(client), woken(server)))
    }

    fn make(setup: Setup) -> Self {
        let mut client = setup.client();
        let mut server = ServerSide::new(setup);
        let mut recording = Self {
            to_server: Vec::new(),
            to_client: Vec::new(),
            sessions: None,
        };
        let mut session = None;
        for _ in 0..TURNS {
            let mut datagram = Vec::new();
            while client.poll_transmit(&mut datagram) {
                assert_made_of_records(&datagram);
                let mut sent = std::mem::take(&mut datagram);
                recording
                    .to_server
                    .extend(records(&mut sent).map(|record| record.to_vec()));
                server.handle(start(), &mut sent);
                server.look_up_as_set_up(start());
            }
            for mut datagram in std::mem::take(&mut server.out) {
                assert_made_of_records(&datagram);
                recording
                    .to_client
                    .extend(records(&mut datagram).map(|record| record.to_vec()));
                // It may end: that is what the setup asked for then.
                let _ = client.handle_datagram(start(), &mut datagram);
            }
            if let Some(HandshakeEvent::Established(established)) = client.poll_event() {
                session = Some(established.session);
            }
        }
        if let (Some(client), Some((server, _))) = (session, server.session) {
            recording.sessions = Some((asleep(client), asleep(server)));
        }
        assert_eq!(recording.sessions.is_some(), setup.can_agree(), "{setup:?}");
        recording
    }
}

/// Reserves nothing, so that it goes on with the very next number.
fn asleep(mut session: Session) -> SavedSession {
    session.reserve(0);
    session.save()
}

fn woken(saved: SavedSession) -> Session {
    let mut session = Session::restore(saved);
    session.reserve(MAX_RECORD_NUMBER);
    session
}

/// Three flights of the client and what answers them.
const TURNS: usize = 4;
const RECORDINGS_MAX: usize = 1024;
