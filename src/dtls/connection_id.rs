//! Connection IDs (RFC 9146): a session is found by what its records carry, whatever address they come from.
//!
//! 1. The client offers the extension and says what is to stand on records to it, possibly nothing.
//! 2. The server answers with what is to stand on records to itself: a [`ConnectionId`], which its owner has chosen.
//! 3. From the Finished on, each side writes the other's ID on its records, and what kind they are is encrypted:
//!
//! ```text
//! record      type 25 | version 2 | epoch 2, number 6 | connection ID | length 2 | what the protection makes of:
//! plaintext   content | its type 1 | zeros, as many as the sender likes
//! ```
//!
//! A side that wants no ID on what it receives gets records as they are without the extension. What is authenticated
//! beside the plaintext is `protection`'s.

use std::fmt;

/// What stands on every protected record to us, and finds its session. No secret: whoever guesses one costs us a record
/// that does not open.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId([u8; Self::LEN]);

/// A connection ID that somebody chose for what he receives, on its way through the handshake: ours or the peer's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ChosenId {
    len: u8,
    bytes: [u8; Self::MAX_LEN],
}

/// What a client says about connection IDs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OfferedConnectionId {
    /// Nothing: its records are found by its address.
    #[default]
    None,
    /// It puts the server's ID on what it sends, and wants none on what it receives. Devices do that.
    Empty,
    /// It puts the server's ID on what it sends, and wants this one on what it receives.
    Own(ConnectionId),
}

/// What both sides of a session have agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionIds {
    /// On what we receive; `None` where we want none.
    pub ours: Option<ConnectionId>,
    /// On what we send; empty where the peer wants none.
    pub theirs: Box<[u8]>,
    /// Whether paths may be probed (RFC 9853).
    pub return_routability: bool,
}

impl ConnectionId {
    /// How long all of ours are, in bytes: a record does not say how long its ID is.
    //= RFC 9146 section 3
    //# it is possible for an endpoint to use a deployment-specific constant length for such connection identifiers.
    pub const LEN: usize = 8;

    /// An ID of these bytes.
    pub const fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes as they stand in a record.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        self.0
    }
}

impl ChosenId {
    /// The longest that we write on records, in bytes: Mbed TLS takes no longer ones either, and the usual have 0 to 8.
    pub const MAX_LEN: usize = 32;

    /// None at all.
    pub const EMPTY: Self = Self {
        len: 0,
        bytes: [0; Self::MAX_LEN],
    };

    /// The ID of these bytes; `None` where they are too many.
    pub fn new(id: &[u8]) -> Option<Self> {
        let mut bytes = [0; Self::MAX_LEN];
        bytes.get_mut(..id.len())?.copy_from_slice(id);
        Some(Self {
            len: id.len() as u8,
            bytes,
        })
    }

    /// The bytes as they stand in a record.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl From<ConnectionId> for ChosenId {
    fn from(ConnectionId(id): ConnectionId) -> Self {
        let mut bytes = [0; Self::MAX_LEN];
        bytes[..id.len()].copy_from_slice(&id);
        Self {
            len: id.len() as u8,
            bytes,
        }
    }
}

impl OfferedConnectionId {
    /// What stands in the extension; `None` where there is none.
    pub fn chosen(self) -> Option<ChosenId> {
        match self {
            Self::None => None,
            Self::Empty => Some(ChosenId::EMPTY),
            Self::Own(id) => Some(id.into()),
        }
    }

    /// What the client wants on records to itself.
    pub fn own(self) -> Option<ConnectionId> {
        match self {
            Self::None | Self::Empty => None,
            Self::Own(id) => Some(id),
        }
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectionId({self})")
    }
}

impl fmt::Debug for ChosenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChosenId({:02x?})", self.as_bytes())
    }
}

/// The content of an inner plaintext and the byte that says what it is; `None` where there are nothing but zeros.
//= RFC 9146 section 4
//# An arbitrary-length run of zero-valued bytes may appear in the cleartext after the type field.
// The peer has authenticated all of it, so the time that the search takes tells nobody anything that its length does not.
pub fn unwrap_inner(inner: &mut [u8]) -> Option<(u8, &mut [u8])> {
    let at = inner.iter().rposition(|byte| *byte != 0)?;
    let (content, rest) = inner.split_at_mut(at);
    Some((rest[0], content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9146_4_zeros_behind_the_type_are_padding_and_zeros_before_it_are_content() {
        let cases = [
            (&[23][..], Some((23, &[][..]))),
            (&[1, 2, 23], Some((23, &[1, 2]))),
            (&[1, 2, 23, 0, 0, 0], Some((23, &[1, 2]))),
            (&[0, 0, 23, 0], Some((23, &[0, 0]))),
            (&[0, 0, 0], None),
            (&[], None),
        ];
        for (inner, expected) in cases {
            let mut copy = inner.to_vec();
            let unwrapped = unwrap_inner(&mut copy).map(|(kind, content)| (kind, &*content));
            assert_eq!(unwrapped, expected, "{inner:?}");
        }
    }

    #[test]
    fn an_id_of_a_peer_is_bounded() {
        for len in 0..=ChosenId::MAX_LEN {
            let bytes: Vec<u8> = (1..=len as u8).collect();
            assert_eq!(ChosenId::new(&bytes).unwrap().as_bytes(), bytes);
        }
        assert_eq!(ChosenId::new(&[1; ChosenId::MAX_LEN + 1]), None);
        let ours = ConnectionId::new([1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(ChosenId::from(ours).as_bytes(), ours.to_bytes());
        assert_eq!(ours.to_string(), "0102030405060708");
    }
}
