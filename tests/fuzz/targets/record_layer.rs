//! Records: as bytes from anybody, and as what the two sides of a session make of them.
//!
//! ```text
//! input   setup 2 | steps
//! step 0  bytes               anybody's datagram
//! step 1  type, bytes         the peer seals it; the record arrives
//! step 2  where 2, xor, bytes the same, with a bit of it turned over on the way
//! step 3  which               a record that was sent before arrives again
//! step 4  which, len          the front of such a record
//! step 5                      the receiver is saved and restored
//! ```
//!
//! The highest bit of a step says which way. What is held: parsing loses and invents no bytes; application data arrives
//! as it was sealed, at most once, never altered, and said to be the newest when it is; whatever else arrives, the session goes on.

use std::collections::HashSet;

use tessera::dtls::{ContentType, Ignored, Incoming, RecordHeader, SavedSession, Session, records};

use super::recording::Recording;
use super::script::Script;
use super::server_side::assert_made_of_records;
use super::setup::Setup;

/// The target.
pub fn record_layer(data: &[u8]) {
    splitting_invents_nothing(data);
    what_is_saved_is_restored(data);
    let mut script = Script::new(data);
    if let Some(setup) = Setup::read(&mut script)
        && let Some((client, server)) = Recording::of(setup).sessions()
    {
        let (down, up) = (Way::default(), Way::default());
        // Ends with the script, or where an authentic alert has ended a session.
        let _ = play(
            &mut script,
            [
                Side {
                    session: client,
                    sent: up,
                },
                Side {
                    session: server,
                    sent: down,
                },
            ],
        );
    }
}

struct Side {
    session: Session,
    /// What this side has sent.
    sent: Way,
}

#[derive(Default)]
struct Way {
    /// Records with the application data in them, if it is that.
    records: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    arrived: HashSet<usize>,
    /// The newest that was opened.
    newest: Option<usize>,
}

fn play(script: &mut Script<'_>, mut sides: [Side; 2]) -> Option<()> {
    loop {
        let step = script.byte()?;
        let [first, second] = &mut sides;
        let (from, to) = if step & 0x80 == 0 {
            (first, second)
        } else {
            (second, first)
        };
        match step & 0x7f {
            0 => {
                for record in records(&mut script.bytes()?.to_vec()) {
                    // No script knows a key, and what it may have copied arrives by step 3.
                    assert_nothing_arrives(&mut to.session, record);
                }
            }
            1 => {
                let kind = script.content_type()?;
                let index = seal(from, kind, script.bytes()?)?;
                arrive(from, to, index)?;
            }
            2 => {
                let (place, xor) = (usize::from(script.number()?), script.byte()?);
                let index = seal(from, ContentType::ApplicationData, script.bytes()?)?;
                let mut record = from.sent.records[index].0.clone();
                let place = place % record.len();
                record[place] ^= xor;
                if xor == 0 {
                    arrive(from, to, index)?;
                } else {
                    assert_nothing_arrives(&mut to.session, &mut record);
                }
            }
            3 if !from.sent.records.is_empty() => {
                let index = usize::from(script.byte()?) % from.sent.records.len();
                arrive(from, to, index)?;
            }
            4 if !from.sent.records.is_empty() => {
                let index = usize::from(script.byte()?) % from.sent.records.len();
                let mut record = from.sent.records[index].0.clone();
                record.truncate(usize::from(script.byte()?).min(record.len() - 1));
                assert_nothing_arrives(&mut to.session, &mut record);
            }
            5 => {
                let saved = to.session.save();
                let (reservation, mark) = (to.session.next_record_number(), to.session.receive_mark());
                to.session = Session::restore(saved);
                to.session.reserve(tessera::dtls::MAX_RECORD_NUMBER);
                assert!(
                    to.session.next_record_number() >= reservation,
                    "a number is given twice"
                );
                assert_eq!(to.session.receive_mark(), mark);
            }
            _ => {}
        }
    }
}

/// Seals a record and keeps it; `None` where no number or no room is left for it.
fn seal(from: &mut Side, kind: ContentType, plaintext: &[u8]) -> Option<usize> {
    let mut record = Vec::new();
    from.session.seal_as(kind, plaintext, &mut record).ok()?;
    assert_made_of_records(&record);
    assert!(record.len() <= plaintext.len() + from.session.overhead());
    let data = (kind == ContentType::ApplicationData).then(|| plaintext.to_vec());
    from.sent.records.push((record, data));
    Some(from.sent.records.len() - 1)
}

/// A genuine record arrives; `None` where it ends the session.
fn arrive(from: &mut Side, to: &mut Side, index: usize) -> Option<()> {
    let (record, data) = &from.sent.records[index];
    match to.session.handle_record(&mut record.clone()) {
        Incoming::Data { message, newest } => {
            assert_eq!(
                newest,
                from.sent.newest < Some(index),
                "{index} after {:?}",
                from.sent.newest
            );
            assert_eq!(
                Some(message),
                data.as_deref(),
                "something else arrived than was sent"
            );
            assert!(from.sent.arrived.insert(index), "a record arrived twice");
            from.sent.newest = from.sent.newest.max(Some(index));
            Some(())
        }
        Incoming::PathChallenge(challenge) => {
            let mut answer = Vec::new();
            assert!(data.is_none(), "application data is a challenge");
            from.sent.newest = from.sent.newest.max(Some(index));
            to.session.answer_challenge(challenge, &mut answer).ok()?;
            // It arrives at once: what was sealed before it and arrives later is not the newest.
            to.sent.newest = Some(to.sent.records.len());
            to.sent.records.push((answer.clone(), None));
            let answered = from.session.handle_record(&mut answer);
            assert_eq!(answered, Incoming::Ignored(Ignored::Unexpected), "we ask nobody");
            Some(())
        }
        Incoming::ResendFlight | Incoming::Ignored(Ignored::Unexpected) => {
            from.sent.newest = from.sent.newest.max(Some(index));
            Some(())
        }
        Incoming::Ignored(Ignored::Replayed) => Some(()),
        Incoming::Ignored(other) => panic!("a genuine record is {other:?}"),
        Incoming::Closed => {
            assert!(data.is_none(), "application data ended the session");
            None
        }
    }
}

fn assert_nothing_arrives(session: &mut Session, record: &mut [u8]) {
    let whole = record.to_vec();
    match session.handle_record(record) {
        Incoming::Ignored(_) => {}
        other @ (Incoming::Data { .. }
        | Incoming::PathChallenge(_)
        | Incoming::ResendFlight
        | Incoming::Closed) => {
            panic!("{other:?} came of a record that the peer did not send: {whole:02x?}")
        }
    }
}

fn splitting_invents_nothing(data: &[u8]) {
    let joined: Vec<u8> = records(&mut data.to_vec())
        .flat_map(|record| record.to_vec())
        .collect();
    assert!(data.starts_with(&joined));
    assert_eq!(RecordHeader::peek(data).is_some(), !joined.is_empty());
}

fn what_is_saved_is_restored(data: &[u8]) {
    if let Ok(saved) = SavedSession::from_bytes(data) {
        let written = saved.to_bytes();
        let again = SavedSession::from_bytes(&written).expect("what is written can be read");
        assert_eq!(again.to_bytes(), written);
        // An older format is read, and not written.
        assert!(written.first() != data.first() || written[..] == *data);
        let mut session = Session::restore(saved);
        let mut out = Vec::new();
        assert!(
            session.seal(b"", &mut out).is_err(),
            "a number is used that was not reserved"
        );
    }
}
