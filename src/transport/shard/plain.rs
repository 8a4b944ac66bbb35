//! Peers without DTLS: for development and for networks that are trusted otherwise.
//!
//! 1. Every request names its device in a Uri-Query `device=`. The first one from an address is kept while the name is looked up.
//! 2. A request without a name, or with one that nobody has, is answered 4.01, and nothing is kept.
//! 3. A peer is an address and the device it named. The table is bounded; at its end the longest idle one goes.

use std::sync::atomic::Ordering;

use super::super::directory::{Kind, PeerKey};
use super::super::handler::{EndReason, Handler, KeySource, SessionFacts};
use super::super::inbox::NameTicket;
use super::super::slots::PeerId;
use super::super::udp::{Path, SendQueue};
use super::{Link, Peer, PlainHere, Shard};
use crate::coap::{Code, Kind as MessageKind, Message, MessageId, MessageWriter, wire};
use crate::telemetry::{CoapCode, CoapMethod, DropReason, GatewayEvent, Route};

/// A name being looked up, and the request that named it.
pub struct Lookup {
    path: Path,
    name: Box<str>,
    datagram: Box<[u8]>,
}

impl<H: Handler, K: KeySource<Device = H::Device>> Shard<H, K> {
    /// Takes a datagram from a plain listener.
    pub(super) fn handle_plain(&mut self, path: Path, datagram: &[u8], out: &mut SendQueue) {
        let message = match Message::parse(datagram) {
            Ok(message) => message,
            Err(_) => return self.drop_datagram(DropReason::MalformedMessage),
        };
        let here = self.plain_addresses.get(&path.peer).copied();
        if !message.code.is_request() {
            return match here {
                Some(PlainHere::Known(id)) => self.handle_known(id, path, datagram, out),
                Some(PlainHere::Asking(_)) | None => self.drop_datagram(DropReason::UnknownSession),
            };
        }
        let Some(name) = device_name(&message) else {
            return self.refuse(path, &message, out);
        };
        match here {
            Some(PlainHere::Known(id)) if self.is_named(id, name) => {
                self.handle_known(id, path, datagram, out)
            }
            Some(PlainHere::Known(id)) => {
                self.end(
                    PeerKey {
                        kind: Kind::Plain,
                        id,
                    },
                    EndReason::Replaced,
                );
                self.look_up(path, name, datagram);
            }
            Some(PlainHere::Asking(_)) => self.drop_datagram(DropReason::Duplicate),
            None => self.look_up(path, name, datagram),
        }
    }

    /// Takes the outcome of a lookup.
    pub(super) fn handle_name(&mut self, lookup: PeerId, found: Option<H::Device>, out: &mut SendQueue) {
        let Some(Lookup { path, name, datagram }) = self.lookups.remove(lookup) else {
            return;
        };
        self.plain_addresses.remove(&path.peer);
        let Some(device) = found else {
            if let Ok(message) = Message::parse(&datagram) {
                self.refuse(path, &message, out);
            }
            return;
        };
        if self.plain.len() >= self.around.max_plain_peers
            && let Some(id) = self.plain.oldest()
        {
            self.end(
                PeerKey {
                    kind: Kind::Plain,
                    id,
                },
                EndReason::Evicted,
            );
        }
        let serial = self.around.serials.fetch_add(1, Ordering::Relaxed);
        let facts = SessionFacts {
            serial,
            shard: self.around.index,
            peer: path.peer,
            suite: "none",
            connection_id: None,
            credential: 0,
            since_unix_ms: self.unix_ms,
            restored: false,
        };
        let link = Link::Plain {
            next_mid: self.random_u16(),
            name,
        };
        let id = self
            .plain
            .insert(Peer::new(link, Some(device.clone()), path, serial, self.now));
        self.plain_addresses.insert(path.peer, PlainHere::Known(id));
        self.settle(
            PeerKey {
                kind: Kind::Plain,
                id,
            },
            path,
            &device,
            &facts,
        );
        self.handle_known(id, path, &datagram, out);
    }

    fn handle_known(&mut self, id: PeerId, path: Path, datagram: &[u8], out: &mut SendQueue) {
        if let Some(peer) = self.plain.get_mut(id) {
            peer.path = path;
            peer.heard = self.now;
        }
        self.plain.touch(id);
        self.handle_coap(
            PeerKey {
                kind: Kind::Plain,
                id,
            },
            path,
            true,
            datagram,
            out,
        );
    }

    fn look_up(&mut self, path: Path, name: &str, datagram: &[u8]) {
        if self.lookups.len() >= LOOKUPS_MAX || !self.accepting {
            return self.drop_datagram(DropReason::QueueFull);
        }
        let id = self.lookups.insert(Lookup {
            path,
            name: name.into(),
            datagram: datagram.into(),
        });
        self.plain_addresses.insert(path.peer, PlainHere::Asking(id));
        self.around
            .keys
            .named(name, NameTicket::new(self.mailbox().clone(), id));
    }

    fn is_named(&self, id: PeerId, name: &str) -> bool {
        self.plain
            .get(id)
            .is_some_and(|peer| matches!(&peer.link, Link::Plain { name: own, .. } if **own == *name))
    }

    /// Answers 4.01 to a request of nobody. Never longer than the request, so that it is of no use to a forger of addresses.
    fn refuse(&mut self, path: Path, message: &Message<'_>, out: &mut SendQueue) {
        let (kind, mid) = match message.kind {
            MessageKind::Confirmable => (MessageKind::Acknowledgement, message.mid),
            MessageKind::NonConfirmable => (MessageKind::NonConfirmable, MessageId(self.random_u16())),
            MessageKind::Acknowledgement | MessageKind::Reset => return,
        };
        let start = out.bytes.len();
        let _ = MessageWriter::new(&mut out.bytes, kind, Code::UNAUTHORIZED, mid, message.token);
        out.push(start, path);
        self.tally.record(GatewayEvent::RequestAnswered {
            method: CoapMethod::from_byte(message.code.byte()),
            code: CoapCode::Unauthorized,
            route: Route::Refused,
        });
    }

    fn random_u16(&mut self) -> u16 {
        use rand::Rng;
        self.around.rng.next_u32() as u16
    }
}

fn device_name<'a>(message: &Message<'a>) -> Option<&'a str> {
    let mut queries = message
        .options()
        .filter(|option| option.number == wire::number::URI_QUERY);
    let name = queries.find_map(|query| query.value.strip_prefix(b"device="))?;
    str::from_utf8(name).ok().filter(|name| !name.is_empty())
}

/// Names being looked up in one shard at most, each with one datagram.
const LOOKUPS_MAX: usize = 1024;
