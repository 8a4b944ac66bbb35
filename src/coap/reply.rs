//! The handler's pen: writes one answer or notification whose kind, message ID, token and numbers are already decided.

use std::io;

use super::block::Block;
use super::code::{Code, Kind};
use super::id::{ETag, MessageId, Token};
use super::observe::ObserveSeq;
use super::request::ContentFormat;
use super::wire::{MessageWriter, number};

/// Writes at most one message to the end of a buffer; answering again replaces what was written.
///
/// Not written to means not answered: [`Reply::finish`] then says `None`.
#[derive(Debug)]
pub struct Reply<'b> {
    out: &'b mut Vec<u8>,
    start: usize,
    /// The longest message that the peer takes.
    room: usize,
    address: Address,
    written: Option<Code>,
}

/// What an answer says besides its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// The code.
    pub code: Code,
    /// The representation's name.
    pub etag: Option<ETag>,
    /// Whether the answer belongs to an observation. The number is put in here; it is left out, whatever this says, if
    /// the request did not ask for an observation.
    pub observe: bool,
    /// The payload's format.
    pub content_format: Option<ContentFormat>,
    /// For how long it may be kept, in seconds.
    pub max_age: Option<u32>,
    /// Which block of the body the payload is. (Block1 is none of the handler's business: it is echoed here.)
    pub block2: Option<Block>,
    /// The body's length in bytes.
    pub size2: Option<u32>,
}

/// What has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The answer's code.
    pub code: Code,
    /// Its message ID.
    pub mid: MessageId,
    /// The number of the observation that stands in it or would have, had the handler wanted it.
    pub observe: Option<ObserveSeq>,
}

/// Everything about a message that its author does not decide.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    pub kind: Kind,
    pub mid: MessageId,
    pub token: Token,
    pub observe: Option<ObserveSeq>,
    pub block1: Option<Block>,
}

impl ResponseHead {
    /// Nothing but a code.
    #[must_use]
    pub const fn new(code: Code) -> Self {
        Self {
            code,
            etag: None,
            observe: false,
            content_format: None,
            max_age: None,
            block2: None,
            size2: None,
        }
    }

    /// 2.05 in this format.
    #[must_use]
    pub const fn content(format: ContentFormat) -> Self {
        Self {
            content_format: Some(format),
            ..Self::new(Code::CONTENT)
        }
    }
}

impl<'b> Reply<'b> {
    pub(super) fn new(out: &'b mut Vec<u8>, address: Address) -> Self {
        Self {
            start: out.len(),
            out,
            room: usize::MAX,
            address,
            written: None,
        }
    }

    /// The peer takes no message of more than `bytes`, header and options included.
    #[must_use]
    pub fn within(mut self, bytes: usize) -> Self {
        self.limit(bytes);
        self
    }

    /// As [`Self::within`].
    pub fn limit(&mut self, bytes: usize) {
        self.room = bytes;
    }

    /// Whether what is written is short enough for the peer.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.message_len() <= self.room
    }

    /// Whether the peer has room for this head and a payload of `len` bytes. Takes back what is written.
    #[must_use]
    pub fn has_room_for(&mut self, head: &ResponseHead, len: usize) -> bool {
        if len + MAX_HEAD_LEN <= self.room {
            return true;
        }
        self.head(head);
        let message_len = self.message_len() + PAYLOAD_MARKER_LEN + len;
        self.clear();
        message_len <= self.room
    }

    /// Answers with a code and nothing else.
    pub fn code(&mut self, code: Code) {
        self.respond(&ResponseHead::new(code), &[]);
    }

    /// Answers. A payload above [`MAX_PAYLOAD`] would make devices abort: 5.00 goes out in its place.
    pub fn respond(&mut self, head: &ResponseHead, payload: &[u8]) {
        if payload.len() > MAX_PAYLOAD {
            self.code(Code::INTERNAL_SERVER_ERROR);
            return;
        }
        self.head(head).payload(payload);
        self.written = Some(head.code);
    }

    /// Answers with `len` bytes of payload that `fill` puts into place.
    ///
    /// # Errors
    ///
    /// What `fill` returned, or [`io::ErrorKind::InvalidInput`] for a `len` above [`MAX_PAYLOAD`]. Nothing is written
    /// then, so there is still an answer to give.
    pub fn respond_with<F>(&mut self, head: &ResponseHead, len: usize, fill: F) -> io::Result<()>
    where
        F: FnOnce(&mut [u8]) -> io::Result<()>,
    {
        self.clear();
        if len > MAX_PAYLOAD {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        match fill(self.head(head).payload_space(len)) {
            Ok(()) => {
                self.written = Some(head.code);
                Ok(())
            }
            Err(error) => {
                self.clear();
                Err(error)
            }
        }
    }

    /// How long the message is so far, in bytes; 0 if nothing is written.
    #[must_use]
    pub fn message_len(&self) -> usize {
        self.out.len() - self.start
    }

    /// The number that the answer carries if it belongs to an observation.
    #[must_use]
    pub fn observe_seq(&self) -> Option<ObserveSeq> {
        self.address.observe
    }

    /// What has been written; `None` for nothing.
    #[must_use]
    pub fn finish(self) -> Option<Written> {
        self.written.map(|code| Written {
            code,
            mid: self.address.mid,
            observe: self.address.observe,
        })
    }

    /// Takes back what is written.
    pub fn clear(&mut self) {
        self.out.truncate(self.start);
        self.written = None;
    }

    /// Writes everything before the payload, in the order of the option numbers.
    fn head(&mut self, head: &ResponseHead) -> MessageWriter<'_> {
        self.clear();
        let Address {
            kind,
            mid,
            token,
            observe,
            block1,
        } = self.address;
        let mut writer = MessageWriter::new(self.out, kind, head.code, mid, token);
        if let Some(etag) = &head.etag {
            writer.option(number::ETAG, etag.as_bytes());
        }
        if let Some(seq) = observe.filter(|_| head.observe) {
            writer.uint(number::OBSERVE, seq.get());
        }
        if let Some(format) = head.content_format {
            writer.uint(number::CONTENT_FORMAT, format.0.into());
        }
        if let Some(max_age) = head.max_age {
            writer.uint(number::MAX_AGE, max_age);
        }
        if let Some(block) = head.block2 {
            writer.uint(number::BLOCK2, block.bits());
        }
        if let Some(block) = block1.filter(|_| head.code.is_success()) {
            writer.uint(number::BLOCK1, block.bits());
        }
        if let Some(size) = head.size2 {
            writer.uint(number::SIZE2, size);
        }
        writer
    }
}

/// The largest payload devices take, in bytes: the largest block. Some abort on more (`CONTRACT`, rule 4).
pub const MAX_PAYLOAD: usize = 1024;
/// More than any head has, in bytes: the header and a token 12, all options 34 and an extended delta or two, the marker 1.
const MAX_HEAD_LEN: usize = 64;
/// One byte, FF (RFC 7252 section 3).
const PAYLOAD_MARKER_LEN: usize = 1;

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
