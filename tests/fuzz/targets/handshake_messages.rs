//! Handshake messages of any content, well wrapped, to a machine that waits for one.
//!
//! ```text
//! input    setup 2 | state | fragments | messages
//! message  kind, bytes
//! ```
//!
//! The state says how many records of a handshake that went well come first, to the server or (its highest bit) to the client.
//! Then the messages follow, numbered on from there and cut into fragments: of so many bytes, in order or (the highest bit)
//! backwards. So every parser is reached without a length, a number or a cookie in the way.
//!
//! What is held: none panics, and the machine ends in the same state however a message is cut.

use tessera::dtls::{HandshakeEvent, RecordHeader};

use super::recording::Recording;
use super::script::Script;
use super::server_side::{ServerSide, assert_made_of_records, with_cookie};
use super::setup::{Setup, start};

/// The target.
pub fn handshake_messages(data: &[u8]) {
    let mut script = Script::new(data);
    if let Some(given) = Given::read(&mut script) {
        let whole = Given { cut: None, ..given };
        let messages = read_messages(&mut script);
        match given.state & TO_CLIENT {
            0 => assert_eq!(given.tell_server(&messages), whole.tell_server(&messages)),
            _ => assert_eq!(given.tell_client(&messages), whole.tell_client(&messages)),
        }
    }
}

#[derive(Clone, Copy)]
struct Given {
    setup: Setup,
    state: u8,
    cut: Option<Cut>,
}

#[derive(Clone, Copy)]
struct Cut {
    size: usize,
    backwards: bool,
}

/// Where a machine has come to: how many datagrams it sent, and how it ended.
#[derive(Debug, Default, PartialEq, Eq)]
struct Course {
    sent: usize,
    ended: Option<String>,
}

fn read_messages<'d>(script: &mut Script<'d>) -> Vec<(u8, &'d [u8])> {
    let mut messages = Vec::new();
    while let Some(kind) = script.byte()
        && let Some(body) = script.bytes()
        && messages.len() < MESSAGES_MAX
    {
        messages.push((kind, body));
    }
    messages
}

impl Given {
    fn read(script: &mut Script<'_>) -> Option<Self> {
        let (setup, state, cut) = (Setup::read(script)?, script.byte()?, script.byte()?);
        let cut = (cut != 0).then_some(Cut {
            size: usize::from(cut & 0x7f).max(1),
            backwards: cut & 0x80 != 0,
        });
        Some(Self { setup, state, cut })
    }

    fn tell_server(self, messages: &[(u8, &[u8])]) -> Course {
        let recording = Recording::of(self.setup);
        let mut server = ServerSide::new(self.setup);
        let before = &recording.to_server[..usize::from(self.state).min(recording.to_server.len())];
        let mut seq = 0;
        for record in before {
            seq = next_seq(record).unwrap_or(seq);
            server.handle(start(), &mut record.clone());
        }
        for (kind, body) in messages {
            for mut record in self.wrap(*kind, seq, body) {
                let challenged = server.handle(start(), &mut record.clone());
                let asked = challenged.then(|| server.out.last().and_then(|sent| sent.last_chunk::<20>()));
                if let Some(mut hello) = asked.flatten().and_then(|cookie| with_cookie(&record, cookie)) {
                    server.handle(start(), &mut hello);
                }
                record.clear();
            }
            seq = seq.wrapping_add(1);
        }
        Course {
            sent: server.out.len(),
            ended: server.session.map(|(_, claim)| claim.to_string()),
        }
    }

    fn tell_client(self, messages: &[(u8, &[u8])]) -> Course {
        let recording = Recording::of(self.setup);
        let mut client = self.setup.client();
        let before = usize::from(self.state & !TO_CLIENT).min(recording.to_client.len());
        let mut course = Course::default();
        let mut seq = 0;
        let mut arriving: Vec<Vec<u8>> = recording.to_client[..before].to_vec();
        for record in &arriving {
            seq = next_seq(record).unwrap_or(seq);
        }
        for (kind, body) in messages {
            arriving.extend(self.wrap(*kind, seq, body));
            seq = seq.wrapping_add(1);
        }
        let mut datagram = Vec::new();
        for mut record in arriving {
            while client.poll_transmit(&mut datagram) {
                assert_made_of_records(&datagram);
                course.sent += 1;
                datagram.clear();
            }
            if let Err(failure) = client.handle_datagram(start(), &mut record) {
                course.ended = Some(format!("{failure} {:?}", failure.alert().map(<[u8]>::len)));
                break;
            }
            if let Some(HandshakeEvent::Established(established)) = client.poll_event() {
                course.ended = Some(established.session.suite().to_string());
            }
        }
        course
    }

    /// A message as records of epoch 0.
    fn wrap(self, kind: u8, seq: u16, body: &[u8]) -> Vec<Vec<u8>> {
        // A ClientHello in fragments is dropped, and rightly so.
        let cut = self.cut.filter(|_| kind != CLIENT_HELLO);
        let size = cut
            .map_or(usize::MAX, |cut| cut.size)
            .max(body.len() / FRAGMENTS_MAX + 1);
        let mut pieces: Vec<(usize, &[u8])> = body
            .chunks(size)
            .scan(0, |offset, piece| {
                Some((std::mem::replace(offset, *offset + piece.len()), piece))
            })
            .collect();
        if pieces.is_empty() {
            pieces.push((0, body));
        }
        if cut.is_some_and(|cut| cut.backwards) {
            pieces.reverse();
        }
        let [_, l0, l1, l2] = (body.len() as u32).to_be_bytes();
        let [s0, s1] = seq.to_be_bytes();
        let wrap = |(offset, piece): (usize, &[u8])| {
            let [_, o0, o1, o2] = (offset as u32).to_be_bytes();
            let [_, p0, p1, p2] = (piece.len() as u32).to_be_bytes();
            let [r0, r1] = ((piece.len() + 12) as u16).to_be_bytes();
            let header = [22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, r0, r1];
            let message = [kind, l0, l1, l2, s0, s1, o0, o1, o2, p0, p1, p2];
            [&header[..], &message, piece].concat()
        };
        pieces.into_iter().map(wrap).collect()
    }
}

/// The number after that of the last message in a record of plaintext messages.
fn next_seq(record: &[u8]) -> Option<u16> {
    let header = RecordHeader::peek(record)?;
    let (kind, number) = (
        record[0],
        record.get(RecordHeader::LEN + 4..RecordHeader::LEN + 6)?,
    );
    (kind == 22 && header.epoch == 0).then(|| u16::from_be_bytes([number[0], number[1]]).wrapping_add(1))
}

const CLIENT_HELLO: u8 = 1;
const TO_CLIENT: u8 = 0x80;
/// As many as any flight has, and some.
const MESSAGES_MAX: usize = 8;
const FRAGMENTS_MAX: usize = 64;
