//! The stateless cookie exchange that stands before everything else (RFC 6347 section 4.2.1).
//!
//! 1. A ClientHello without our cookie is answered with a HelloVerifyRequest that is shorter than it, and forgotten.
//! 2. A ClientHello with a cookie made for its addresses and its contents becomes a [`VerifiedHello`].
//!
//! Nothing is allocated before step 2.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::crypto::{self, MacKey};
use super::handshake::messages::{
    CLIENT_HELLO, ClientHello, Fragment, HELLO_VERIFY_REQUEST, MESSAGE_HEADER_LEN, RANDOM_LEN,
};
use super::record::{ContentType, DTLS_1_0, RecordHeader};

/// Makes and checks cookies. One jar serves all shards; a clone makes the same cookies.
#[derive(Clone)]
pub struct CookieJar {
    key: MacKey,
    started: Instant,
}

/// What a datagram is, to a server that may never have heard of its sender.
#[derive(Debug)]
pub enum Admission {
    /// Something else than a ClientHello: it belongs to a session or a handshake, or to nobody.
    NotAClientHello,
    /// A ClientHello that gets no answer.
    Dropped(HelloDropped),
    /// No cookie or a stale one: the reply holds the HelloVerifyRequest to send.
    Challenged,
    /// The peer has shown that it receives at its address.
    Verified(VerifiedHello),
}

/// Why a ClientHello gets no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HelloDropped {
    /// It comes in fragments: reassembling them would be state kept for a stranger.
    Fragmented,
    /// It is longer than 2048 bytes.
    Oversized,
    /// It does not parse.
    Malformed,
}

/// A ClientHello whose sender has shown that it receives at its address.
#[derive(Debug)]
pub struct VerifiedHello {
    /// The handshake message, header included.
    pub(super) message: Vec<u8>,
    pub(super) message_seq: u16,
    pub(super) record_number: u64,
}

/// What two hellos from one address have in common only if the network has made the second of the first. Who begins anew has
/// another random, and who has no randomness to make one of, as soon as the cookie is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HelloMark {
    random: [u8; RANDOM_LEN],
    cookie: [u8; COOKIE_LEN],
}

impl HelloMark {
    /// The mark of a hello; `None` for one without a cookie of ours.
    pub(super) fn of(hello: &ClientHello<'_>) -> Option<Self> {
        Some(Self {
            random: *hello.random,
            cookie: hello.cookie.try_into().ok()?,
        })
    }
}

impl VerifiedHello {
    pub(super) fn mark(&self) -> Option<HelloMark> {
        let body = self.message.get(MESSAGE_HEADER_LEN..)?;
        HelloMark::of(&ClientHello::parse(body)?)
    }

    /// Whether the client can put a connection ID on its records, so that it is worth making one for it.
    pub fn offers_connection_id(&self) -> bool {
        self.message
            .get(MESSAGE_HEADER_LEN..)
            .and_then(ClientHello::parse)
            .and_then(|hello| hello.offer().ok())
            .is_some_and(|offer| offer.connection_id.is_some())
    }
}

impl CookieJar {
    /// A jar whose cookies are made with `secret` and are good for two to four minutes. `started` is any instant
    /// before the first call of [`CookieJar::admit`].
    pub fn new(secret: [u8; 32], started: Instant) -> Self {
        Self {
            key: MacKey::new(&secret),
            started,
        }
    }

    /// Looks at a datagram from `peer` that arrived at `local`. On [`Admission::Challenged`] the answer has been
    /// appended to `reply`; it is shorter than `datagram`.
    pub fn admit(
        &self,
        now: Instant,
        peer: SocketAddr,
        local: SocketAddr,
        datagram: &[u8],
        reply: &mut Vec<u8>,
    ) -> Admission {
        let Some(header) = RecordHeader::peek(datagram) else {
            return Admission::NotAClientHello;
        };
        let body = &datagram[RecordHeader::LEN..RecordHeader::LEN + header.length];
        if header.content_type != ContentType::Handshake
            || header.epoch != 0
            || body.first() != Some(&CLIENT_HELLO)
        {
            return Admission::NotAClientHello;
        }
        let (fragment, hello) = match read_hello(body) {
            Ok(parts) => parts,
            Err(dropped) => return Admission::Dropped(dropped),
        };

        let period = now.saturating_duration_since(self.started).as_secs() / PERIOD.as_secs();
        let expected = self.cookie(period, peer, local, &hello);
        let stale = || {
            period
                .checked_sub(1)
                .map(|previous| self.cookie(previous, peer, local, &hello))
        };
        let good = crypto::equal(hello.cookie, &expected)
            || (hello.cookie.len() == COOKIE_LEN
                && stale().is_some_and(|stale| crypto::equal(hello.cookie, &stale)));
        if good {
            return Admission::Verified(VerifiedHello {
                message: body[..MESSAGE_HEADER_LEN + fragment.body.len()].to_vec(),
                message_seq: fragment.message_seq,
                record_number: header.number,
            });
        }
        write_challenge(header.number, fragment.message_seq, &expected, reply);
        Admission::Challenged
    }

    /// The secret rotates in that the number of the period is part of what is authenticated: under a PRF, two
    /// periods have nothing in common.
    //= RFC 6347 section 4.2.1
    //# When responding to a HelloVerifyRequest, the client MUST use the same parameter values (version, random,
    //# session_id, cipher_suites, compression_method) as it did in the original ClientHello.
    fn cookie(
        &self,
        period: u64,
        peer: SocketAddr,
        local: SocketAddr,
        hello: &ClientHello<'_>,
    ) -> [u8; COOKIE_LEN] {
        let mac = self.key.mac(&[
            &period.to_be_bytes(),
            &address(peer),
            &address(local),
            &hello.version.to_be_bytes(),
            hello.random,
            &[hello.session_id.len() as u8],
            hello.session_id,
            &(hello.suites.len() as u16).to_be_bytes(),
            hello.suites,
            hello.compressions,
        ]);
        let mut cookie = [0; COOKIE_LEN];
        cookie.copy_from_slice(&mac[..COOKIE_LEN]);
        cookie
    }
}

impl fmt::Debug for CookieJar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieJar(..)")
    }
}

fn read_hello(body: &[u8]) -> Result<(Fragment<'_>, ClientHello<'_>), HelloDropped> {
    let fragment = Fragment::read(&mut &*body).ok_or(HelloDropped::Malformed)?;
    if fragment.length > MAX_HELLO_LEN {
        return Err(HelloDropped::Oversized);
    }
    if !fragment.is_whole() {
        return Err(HelloDropped::Fragmented);
    }
    if fragment.message_seq > MAX_HELLO_SEQ {
        return Err(HelloDropped::Malformed);
    }
    let hello = ClientHello::parse(fragment.body).ok_or(HelloDropped::Malformed)?;
    Ok((fragment, hello))
}

//= RFC 6347 section 4.2.1
//# In order to avoid sequence number duplication in case of multiple HelloVerifyRequests, the server MUST use the
//# record sequence number in the ClientHello as the record sequence number in the HelloVerifyRequest.
//
// The message number is the hello's own as well: 0 in answer to a first hello, and in answer to one whose cookie has
// expired the number that the client waits for next.
fn write_challenge(number: u64, message_seq: u16, cookie: &[u8; COOKIE_LEN], reply: &mut Vec<u8>) {
    let body_len = 2 + 1 + COOKIE_LEN;
    let header = RecordHeader {
        content_type: ContentType::Handshake,
        version: DTLS_1_0,
        epoch: 0,
        number,
        length: MESSAGE_HEADER_LEN + body_len,
    };
    reply.extend_from_slice(&header.to_bytes());
    let [s0, s1] = message_seq.to_be_bytes();
    let len = body_len as u8;
    reply.extend_from_slice(&[HELLO_VERIFY_REQUEST, 0, 0, len, s0, s1, 0, 0, 0, 0, 0, len]);
    // RFC 6347 section 4.2.1 asks for DTLS 1.0 here, whatever is negotiated later.
    reply.extend_from_slice(&DTLS_1_0.to_be_bytes());
    reply.push(COOKIE_LEN as u8);
    reply.extend_from_slice(cookie);
}

/// A fixed-length form, so that no two addresses run into each other.
fn address(address: SocketAddr) -> [u8; 18] {
    let mut bytes = [0; 18];
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    bytes[..16].copy_from_slice(&ip.octets());
    bytes[16..].copy_from_slice(&address.port().to_be_bytes());
    bytes
}

/// RFC 6347 allows 32 bytes (255 in its text); 160 bits cannot be guessed, and keep the answer at 48 bytes where the
/// smallest hello has 67.
const COOKIE_LEN: usize = 20;
/// A guess: longer than any retransmission timer, so that a cookie that took a slow way still counts.
const PERIOD: Duration = Duration::from_secs(120);
/// What devices send has 92 to 500 bytes; a hello that fits no datagram comes in fragments anyway.
const MAX_HELLO_LEN: usize = 2048;
/// A client numbers its hellos from 0 and sends another only after a HelloVerifyRequest.
const MAX_HELLO_SEQ: u16 = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A smallest possible ClientHello: record number 5, message number 0, one suite, no extensions.
    #[rustfmt::skip]
    const HELLO: [u8; 67] = [
        22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 5, 0, 54,
        1, 0, 0, 42, 0, 0, 0, 0, 0, 0, 0, 42,
        0xfe, 0xfd,
        1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
        17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32,
        0,                  // session_id
        0,                  // cookie
        0, 2, 0xc0, 0xa8,   // cipher_suites
        1, 0,               // compression_methods
    ];

    #[test]
    fn rfc6347_4_2_1_a_stranger_gets_a_smaller_hello_verify_request_with_his_record_number() {
        let world = World::new();
        let reply = world.challenge(&HELLO);
        assert_eq!(reply.len(), 48);
        assert!(reply.len() < HELLO.len());
        #[rustfmt::skip]
        let expected = [
            22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 5, 0, 35,
            3, 0, 0, 23, 0, 0, 0, 0, 0, 0, 0, 23,
            0xfe, 0xff, 20,
        ];
        assert_eq!(reply[..28], expected);
    }

    #[test]
    fn the_cookie_admits_its_hello_and_only_its() {
        let world = World::new();
        let hello = world.with_cookie(&HELLO);
        assert!(matches!(world.admit(&hello), Admission::Verified(_)));

        // Each of client_version, random, cipher_suites: a byte that is not part of a length.
        for index in [26, 30, hello.len() - 3] {
            let mut altered = hello.clone();
            altered[index] ^= 1;
            assert!(matches!(world.admit(&altered), Admission::Challenged), "{index}");
        }
        let mut cut = hello.clone();
        cut[60] = 19; // a shorter cookie, the rest of it read as suites
        assert!(!matches!(world.admit(&cut), Admission::Verified(_)));
    }

    #[test]
    fn a_cookie_is_bound_to_both_addresses_and_ports() {
        let world = World::new();
        let hello = world.with_cookie(&HELLO);
        for (peer, local) in [
            ("192.0.2.1:5001", "198.51.100.1:5684"),
            ("192.0.2.2:5000", "198.51.100.1:5684"),
            ("192.0.2.1:5000", "198.51.100.2:5684"),
            ("192.0.2.1:5000", "198.51.100.1:5685"),
        ] {
            let (peer, local) = (peer.parse().unwrap(), local.parse().unwrap());
            let admission = world.jar.admit(world.start, peer, local, &hello, &mut Vec::new());
            assert!(matches!(admission, Admission::Challenged), "{peer} {local}");
        }
    }

    #[test]
    fn a_cookie_lives_for_its_period_and_the_next() {
        let world = World::new();
        let hello = world.with_cookie(&HELLO);
        let at = |seconds| {
            let now = world.start + Duration::from_secs(seconds);
            world
                .jar
                .admit(now, world.peer, world.local, &hello, &mut Vec::new())
        };
        assert!(matches!(at(239), Admission::Verified(_)));
        assert!(matches!(at(240), Admission::Challenged));
    }

    #[test]
    fn a_cookie_of_another_secret_is_worth_nothing() {
        let world = World::new();
        let hello = World {
            jar: CookieJar::new([8; 32], world.start),
            ..world
        }
        .with_cookie(&HELLO);
        assert!(matches!(world.admit(&hello), Admission::Challenged));
    }

    #[test]
    fn a_hello_with_an_expired_cookie_is_answered_with_the_message_number_that_the_client_waits_for() {
        let world = World::new();
        let mut hello = HELLO;
        hello[18] = 1;
        let reply = world.challenge(&hello);
        assert_eq!(reply[17..19], [0, 1]);
    }

    #[test]
    fn extensions_are_not_part_of_the_cookie_and_reach_the_handshake() {
        let world = World::new();
        let mut hello = world.with_cookie(&HELLO);
        hello.extend_from_slice(&[0, 4, 0, 23, 0, 0]);
        for index in [12, 16, 24] {
            hello[index] += 6;
        }
        match world.admit(&hello) {
            Admission::Verified(verified) => assert_eq!(verified.message, hello[13..]),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_fragmented_hello_is_dropped() {
        let world = World::new();
        let mut first_half = HELLO;
        first_half[16] = 80; // 80 bytes in all, 42 of them here
        assert!(matches!(
            world.admit(&first_half),
            Admission::Dropped(HelloDropped::Fragmented)
        ));
    }

    #[test]
    fn an_oversized_hello_is_dropped() {
        let world = World::new();
        let mut huge = HELLO;
        huge[14] = 0xff; // 16 MiB announced
        assert!(matches!(
            world.admit(&huge),
            Admission::Dropped(HelloDropped::Oversized)
        ));
    }

    #[test]
    fn lengths_that_lie_are_dropped() {
        let world = World::new();
        for (index, value) in [
            (24, 43),
            (59, 200),
            (60, 200),
            (62, 3),
            (62, 200),
            (65, 0),
            (65, 9),
        ] {
            let mut lying = HELLO;
            lying[index] = value;
            let admission = world.admit(&lying);
            assert!(
                matches!(admission, Admission::Dropped(_)),
                "{index} {value} {admission:?}"
            );
        }
    }

    #[test]
    fn what_is_not_a_client_hello_is_left_to_others() {
        let world = World::new();
        let mut finished = HELLO;
        finished[13] = 20;
        let mut next_epoch = HELLO;
        next_epoch[4] = 1;
        for datagram in [&[][..], &HELLO[..12], &finished, &next_epoch, b"\x40\x01\x00\x00"] {
            assert!(matches!(world.admit(datagram), Admission::NotAClientHello));
        }
    }

    proptest! {
        #[test]
        fn no_datagram_panics_and_no_answer_is_larger_than_its_question(
            flips in proptest::collection::vec((0..67_usize, any::<u8>()), 0..6), cut in 0..=67_usize,
        ) {
            let world = World::new();
            let mut datagram = HELLO;
            for (index, value) in flips {
                datagram[index] = value;
            }
            let mut reply = Vec::new();
            let datagram = &datagram[..cut];
            let admission = world.jar.admit(world.start, world.peer, world.local, datagram, &mut reply);
            prop_assert!(reply.len() <= datagram.len());
            prop_assert_eq!(matches!(admission, Admission::Challenged), !reply.is_empty());
            prop_assert!(!matches!(admission, Admission::Verified(_)));
        }
    }

    struct World {
        jar: CookieJar,
        start: Instant,
        peer: SocketAddr,
        local: SocketAddr,
    }

    impl World {
        fn new() -> Self {
            let start = Instant::now();
            Self {
                jar: CookieJar::new([7; 32], start),
                start,
                peer: "192.0.2.1:5000".parse().unwrap(),
                local: "198.51.100.1:5684".parse().unwrap(),
            }
        }

        fn admit(&self, datagram: &[u8]) -> Admission {
            self.jar
                .admit(self.start, self.peer, self.local, datagram, &mut Vec::new())
        }

        fn challenge(&self, hello: &[u8]) -> Vec<u8> {
            let mut reply = Vec::new();
            let admission = self
                .jar
                .admit(self.start, self.peer, self.local, hello, &mut reply);
            assert!(matches!(admission, Admission::Challenged), "{admission:?}");
            reply
        }

        fn with_cookie(&self, hello: &[u8; 67]) -> Vec<u8> {
            let cookie = self.challenge(hello)[28..].to_vec();
            let mut hello = [&hello[..60], &[20], &cookie, &hello[61..]].concat();
            for index in [12, 16, 24] {
                hello[index] += 20;
            }
            hello
        }
    }
}
