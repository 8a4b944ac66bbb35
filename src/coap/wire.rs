//! The bytes of a message (RFC 7252 section 3): a strict parser that borrows, and a writer that appends.

use std::fmt;

use thiserror::Error;

use super::code::{Code, Kind};
use super::id::{MessageId, Token};

/// A message whose bytes have all been checked.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Its type.
    pub kind: Kind,
    /// What it asks or answers.
    pub code: Code,
    /// Its message ID.
    pub mid: MessageId,
    /// Its token.
    pub token: Token,
    /// Everything after the payload marker; empty if there is none.
    pub payload: &'a [u8],
    options: &'a [u8],
}

/// Why bytes are no message. Such a datagram is counted and dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum FormatError {
    /// It ends before it should.
    #[error("the message is cut short")]
    Truncated,
    /// Not version 1.
    #[error("the message has an unknown version")]
    Version,
    /// A token length of 9 to 15.
    #[error("the token length is reserved")]
    TokenLength,
    /// A code of the classes 1, 6 and 7.
    #[error("the code's class is reserved")]
    ReservedClass,
    /// A 15 where an option's delta or length should be.
    #[error("an option's delta or length is reserved")]
    ReservedNibble,
    /// Option numbers that add up to more than 65535.
    #[error("an option number exceeds 65535")]
    OptionNumber,
    /// A payload marker and nothing after it.
    #[error("a payload marker without a payload")]
    EmptyPayload,
    /// Code 0.00 and more than a header.
    #[error("an empty message with content")]
    NotEmpty,
}

/// An option as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawOption<'a> {
    /// Its number; see [`number`].
    pub number: u16,
    /// Its value.
    pub value: &'a [u8],
}

/// The options of a [`Message`], in the order of their numbers.
#[derive(Clone)]
pub struct Options<'a> {
    rest: &'a [u8],
    number: u16,
}

/// Appends a message to a buffer: header and token at once, then options by ascending number, then the payload.
#[derive(Debug)]
pub struct MessageWriter<'b> {
    out: &'b mut Vec<u8>,
    number: u16,
}

/// The option numbers used here.
pub mod number {
    /// If-Match.
    pub const IF_MATCH: u16 = 1;
    /// Uri-Host.
    pub const URI_HOST: u16 = 3;
    /// ETag.
    pub const ETAG: u16 = 4;
    /// If-None-Match.
    pub const IF_NONE_MATCH: u16 = 5;
    /// Observe (RFC 7641).
    pub const OBSERVE: u16 = 6;
    /// Uri-Port.
    pub const URI_PORT: u16 = 7;
    /// Uri-Path.
    pub const URI_PATH: u16 = 11;
    /// Content-Format.
    pub const CONTENT_FORMAT: u16 = 12;
    /// Max-Age.
    pub const MAX_AGE: u16 = 14;
    /// Uri-Query.
    pub const URI_QUERY: u16 = 15;
    /// Accept.
    pub const ACCEPT: u16 = 17;
    /// Block2 (RFC 7959).
    pub const BLOCK2: u16 = 23;
    /// Block1 (RFC 7959).
    pub const BLOCK1: u16 = 27;
    /// Size2 (RFC 7959).
    pub const SIZE2: u16 = 28;
    /// Proxy-Uri.
    pub const PROXY_URI: u16 = 35;
    /// Proxy-Scheme.
    pub const PROXY_SCHEME: u16 = 39;
    /// Size1.
    pub const SIZE1: u16 = 60;

    /// Whether an option that is not understood may not be ignored (RFC 7252 section 5.4.6).
    #[must_use]
    pub const fn is_critical(number: u16) -> bool {
        number & 1 == 1
    }
}

impl<'a> Message<'a> {
    /// Reads a message; `bytes` is one datagram's.
    ///
    /// # Errors
    ///
    /// [`FormatError`] for everything that RFC 7252 section 3 calls a message format error.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let [first, code, mid_high, mid_low, rest @ ..] = bytes else {
            return Err(FormatError::Truncated);
        };
        //= RFC 7252 section 3
        //# Messages with unknown version numbers MUST be silently ignored.
        if first >> 6 != VERSION {
            return Err(FormatError::Version);
        }
        let code = Code::from_byte(*code);
        let token_len = usize::from(first & 0x0f);
        //= RFC 7252 section 4.1
        //# An Empty message has the Code field set to 0.00.  The Token Length field MUST be set to 0 and bytes of
        //# data MUST NOT be present after the Message ID field.  If there are any bytes, they MUST be processed as
        //# a message format error.
        if code == Code::EMPTY && (token_len > 0 || !rest.is_empty()) {
            return Err(FormatError::NotEmpty);
        }
        //= RFC 7252 section 4.2
        //# uses a Code with a reserved class (1, 6, or 7)
        if matches!(code.class(), 1 | 6 | 7) {
            return Err(FormatError::ReservedClass);
        }
        //= RFC 7252 section 3
        //# Lengths 9-15 are reserved, MUST NOT be sent, and MUST be processed as a message format error.
        if token_len > 8 {
            return Err(FormatError::TokenLength);
        }
        let (token, rest) = rest.split_at_checked(token_len).ok_or(FormatError::Truncated)?;
        let options_len = Options::check(rest)?;
        let (options, rest) = rest.split_at(options_len);
        let payload = match rest {
            [] => rest,
            //= RFC 7252 section 3
            //# The presence of a marker followed by a zero-length payload MUST be processed as a message format error.
            [_] => return Err(FormatError::EmptyPayload),
            [_, payload @ ..] => payload,
        };
        Ok(Self {
            kind: Kind::from_bits(first >> 4),
            code,
            mid: MessageId(u16::from_be_bytes([*mid_high, *mid_low])),
            token: Token::new(token).ok_or(FormatError::TokenLength)?,
            payload,
            options,
        })
    }

    /// Its options.
    #[must_use]
    pub fn options(&self) -> Options<'a> {
        Options {
            rest: self.options,
            number: 0,
        }
    }

    /// The value of the first option with this number.
    #[must_use]
    pub fn option(&self, number: u16) -> Option<&'a [u8]> {
        self.options()
            .find(|option| option.number == number)
            .map(|option| option.value)
    }
}

impl<'a> Options<'a> {
    /// Walks over the options at the start of `bytes` and returns how long they are, without the payload marker.
    fn check(bytes: &'a [u8]) -> Result<usize, FormatError> {
        let mut options = Self {
            rest: bytes,
            number: 0,
        };
        loop {
            match options.rest.first() {
                None | Some(&PAYLOAD_MARKER) => return Ok(bytes.len() - options.rest.len()),
                Some(_) => options.step()?,
            };
        }
    }

    /// Takes one option; `rest` is not empty.
    fn step(&mut self) -> Result<RawOption<'a>, FormatError> {
        let (first, mut rest) = self.rest.split_first().ok_or(FormatError::Truncated)?;
        let delta = extended(first >> 4, &mut rest)?;
        let length = extended(first & 0x0f, &mut rest)?;
        let number = u32::from(self.number) + delta;
        self.number = u16::try_from(number).map_err(|_| FormatError::OptionNumber)?;
        let (value, rest) = rest
            .split_at_checked(length as usize)
            .ok_or(FormatError::Truncated)?;
        self.rest = rest;
        Ok(RawOption {
            number: self.number,
            value,
        })
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = RawOption<'a>;

    fn next(&mut self) -> Option<RawOption<'a>> {
        // Message::parse has been over them: there is no error left to find.
        if self.rest.is_empty() {
            None
        } else {
            self.step().ok()
        }
    }
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

impl<'b> MessageWriter<'b> {
    /// Writes the header and the token.
    #[must_use]
    pub fn new(out: &'b mut Vec<u8>, kind: Kind, code: Code, mid: MessageId, token: Token) -> Self {
        let token = token.as_bytes();
        let [mid_high, mid_low] = mid.0.to_be_bytes();
        out.extend_from_slice(&[
            VERSION << 6 | kind.bits() << 4 | token.len() as u8,
            code.byte(),
            mid_high,
            mid_low,
        ]);
        out.extend_from_slice(token);
        Self { out, number: 0 }
    }

    /// Writes an option.
    ///
    /// # Panics
    ///
    /// If `number` is lower than one written before, or the value longer than 65804 bytes.
    pub fn option(&mut self, number: u16, value: &[u8]) -> &mut Self {
        assert!(
            number >= self.number && value.len() <= VALUE_MAX,
            "options are written in the order of their numbers"
        );
        let (delta, delta_bytes) = nibble(u32::from(number - self.number));
        let (length, length_bytes) = nibble(value.len() as u32);
        self.out.push(delta << 4 | length);
        delta_bytes.write(self.out);
        length_bytes.write(self.out);
        self.out.extend_from_slice(value);
        self.number = number;
        self
    }

    /// Writes an option whose value is a number, in as few bytes as it needs.
    ///
    /// # Panics
    ///
    /// As [`Self::option`].
    pub fn uint(&mut self, number: u16, value: u32) -> &mut Self {
        let bytes = value.to_be_bytes();
        self.option(number, &bytes[value.leading_zeros() as usize / 8..])
    }

    /// Writes the payload and its marker, or nothing for an empty one, and ends the message.
    pub fn payload(self, payload: &[u8]) {
        if !payload.is_empty() {
            self.out.reserve(payload.len() + 1);
            self.out.push(PAYLOAD_MARKER);
            self.out.extend_from_slice(payload);
        }
    }

    /// As [`Self::payload`], for `len` bytes that are yet to be filled in: they are returned, and zero.
    #[must_use]
    pub fn payload_space(self, len: usize) -> &'b mut [u8] {
        if len > 0 {
            self.out.push(PAYLOAD_MARKER);
        }
        let start = self.out.len();
        self.out.resize(start + len, 0);
        &mut self.out[start..]
    }
}

/// Appends an empty message: an acknowledgement, a reset or a ping.
pub fn write_empty(out: &mut Vec<u8>, kind: Kind, mid: MessageId) {
    let _ = MessageWriter::new(out, kind, Code::EMPTY, mid, Token::EMPTY);
}

/// Reads an option value as a number. Leading zeros are accepted, because devices write them: `None` only for a number of
/// more than 32 bits.
#[must_use]
pub fn uint(value: &[u8]) -> Option<u32> {
    let significant = &value[value.iter().take_while(|byte| **byte == 0).count()..];
    (significant.len() <= 4).then(|| {
        significant
            .iter()
            .fold(0, |number, byte| number << 8 | u32::from(*byte))
    })
}

/// Reads what a delta's or length's nibble stands for, with the bytes that extend it.
fn extended(nibble: u8, rest: &mut &[u8]) -> Result<u32, FormatError> {
    match (nibble, *rest) {
        (0..=12, _) => Ok(u32::from(nibble)),
        (13, [byte, after @ ..]) => {
            *rest = after;
            Ok(u32::from(*byte) + 13)
        }
        (14, [high, low, after @ ..]) => {
            *rest = after;
            Ok(u32::from(u16::from_be_bytes([*high, *low])) + 269)
        }
        (13 | 14, _) => Err(FormatError::Truncated),
        //= RFC 7252 section 3.1
        //# 15:  Reserved for the Payload Marker.  If the field is set to this value but the entire byte is not the
        //# payload marker, this MUST be processed as a message format error.
        _ => Err(FormatError::ReservedNibble),
    }
}

/// The bytes that extend a nibble.
enum Extension {
    None,
    One(u8),
    Two(u16),
}

impl Extension {
    fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::None => {}
            Self::One(byte) => out.push(byte),
            Self::Two(bytes) => out.extend_from_slice(&bytes.to_be_bytes()),
        }
    }
}

fn nibble(value: u32) -> (u8, Extension) {
    match value {
        0..=12 => (value as u8, Extension::None),
        13..=268 => (13, Extension::One((value - 13) as u8)),
        _ => (14, Extension::Two((value - 269) as u16)),
    }
}

const VERSION: u8 = 1;
const PAYLOAD_MARKER: u8 = 0xff;
/// The longest option value that a length can name.
const VALUE_MAX: usize = 65535 + 269;

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
