//! What messages are told apart by: [`MessageId`] for duplicates and acknowledgements, [`Token`] for answers, [`ETag`]
//! for representations.

use std::fmt;

/// Matches acknowledgements and resets to messages, and tells duplicates (RFC 7252 section 3). Wraps, so it has no order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageId(pub u16);

/// The client's name for a request, 0 to 8 bytes (RFC 7252 section 5.3.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(Short);

/// The server's name for a representation, 1 to 8 bytes (RFC 7252 section 5.10.6).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ETag(Short);

impl MessageId {
    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// How many steps of [`Self::next`] lead from `earlier` to `self`.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u16 {
        self.0.wrapping_sub(earlier.0)
    }
}

impl Token {
    /// No token at all, which is a token too.
    pub const EMPTY: Self = Self(Short::EMPTY);

    /// `None` for more than 8 bytes.
    #[must_use]
    pub const fn new(bytes: &[u8]) -> Option<Self> {
        match Short::new(bytes) {
            Some(short) => Some(Self(short)),
            None => None,
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl From<[u8; 8]> for Token {
    fn from(bytes: [u8; 8]) -> Self {
        Self(Short { len: 8, bytes })
    }
}

impl ETag {
    /// `None` for no bytes, and for more than 8.
    #[must_use]
    pub const fn new(bytes: &[u8]) -> Option<Self> {
        match Short::new(bytes) {
            Some(short) if short.len > 0 => Some(Self(short)),
            Some(_) | None => None,
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl From<[u8; 8]> for ETag {
    fn from(bytes: [u8; 8]) -> Self {
        Self(Short { len: 8, bytes })
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.0)
    }
}

impl fmt::Debug for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ETag({})", self.0)
    }
}

/// Up to 8 bytes; those past `len` are zero, so that comparing the whole is right.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Short {
    len: u8,
    bytes: [u8; 8],
}

impl Short {
    const EMPTY: Self = Self {
        len: 0,
        bytes: [0; 8],
    };

    const fn new(source: &[u8]) -> Option<Self> {
        if source.len() > 8 {
            return None;
        }
        let mut bytes = [0; 8];
        let mut at = 0;
        while at < source.len() {
            bytes[at] = source[at];
            at += 1;
        }
        Some(Self {
            len: source.len() as u8,
            bytes,
        })
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes()
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_token_knows_its_length_even_among_zeros() {
        assert_ne!(Token::new(&[0]).unwrap(), Token::EMPTY);
        assert_ne!(Token::new(&[0; 7]).unwrap(), Token::from([0; 8]));
        assert_eq!(Token::new(&[0; 9]), None);
        assert_eq!(Token::new(&[1, 2]).unwrap().as_bytes(), [1, 2]);
        assert_eq!(format!("{:?}", Token::new(&[1, 0xab]).unwrap()), "Token(01ab)");
    }

    #[test]
    fn rfc7252_5_10_6_an_etag_has_at_least_one_byte() {
        assert_eq!(ETag::new(&[]), None);
        assert_eq!(ETag::new(&[0; 9]), None);
        assert_eq!(ETag::new(&[0]).unwrap().as_bytes(), [0]);
    }

    #[test]
    fn message_ids_wrap() {
        assert_eq!(MessageId(0xffff).next(), MessageId(0));
        assert_eq!(MessageId(1).since(MessageId(0xffff)), 2);
    }
}
