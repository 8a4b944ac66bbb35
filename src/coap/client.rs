//! The other side, for the simulated device: one request at a time, what it heard, and downloads block by block.

use std::time::{Duration, Instant};

use rand::{Rng, RngExt};

use super::block::{Block, BlockNum, Szx};
use super::code::{Code, Kind, Method};
use super::id::{MessageId, Token};
use super::observe::ObserveSeq;
use super::request::{ContentFormat, ObserveRequest};
use super::wire::{FormatError, Message, MessageWriter, number, uint};

/// A request to be written.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// What is to be done.
    pub method: Method,
    /// Its token.
    pub token: Token,
    /// The path's segments.
    pub path: &'a [&'a str],
    /// Observe: 0 registers, 1 deregisters.
    pub observe: Option<ObserveRequest>,
    /// The format wanted.
    pub accept: Option<ContentFormat>,
    /// The payload's format.
    pub content_format: Option<ContentFormat>,
    /// The block wanted.
    pub block2: Option<Block>,
    /// The block sent.
    pub block1: Option<Block>,
    /// The payload.
    pub payload: &'a [u8],
}

/// What came from the gateway.
#[derive(Clone, Copy, Debug)]
pub enum Heard<'a> {
    /// An answer or a notification. A confirmable one is to be acknowledged with [`super::wire::write_empty`].
    Response(Response<'a>),
    /// An empty CON or NON: to be reset.
    Ping {
        /// Its message ID.
        mid: MessageId,
    },
    /// An empty ACK: the answer comes separately.
    Acknowledgement {
        /// The request's message ID.
        mid: MessageId,
    },
    /// A reset.
    Reset {
        /// The message ID of what was reset.
        mid: MessageId,
    },
    /// A request: devices serve nothing.
    Request {
        /// Its message ID.
        mid: MessageId,
    },
}

/// An answer or a notification.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// Its type.
    pub kind: Kind,
    /// Its code.
    pub code: Code,
    /// Its message ID.
    pub mid: MessageId,
    /// Its token.
    pub token: Token,
    /// Its place among notifications.
    pub observe: Option<ObserveSeq>,
    /// The payload's format.
    pub content_format: Option<ContentFormat>,
    /// Which block of the body the payload is.
    pub block2: Option<Block>,
    /// The block it answers.
    pub block1: Option<Block>,
    /// The body's length in bytes.
    pub size2: Option<u32>,
    /// The payload.
    pub payload: &'a [u8],
}

/// A confirmable request on its way.
#[derive(Debug)]
pub struct Exchange {
    mid: MessageId,
    token: Token,
    wait: Duration,
    resend_at: Instant,
    give_up_at: Instant,
    /// The gateway said that the answer comes separately.
    acknowledged: bool,
}

/// What an [`Exchange`] wants after a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// The request is to be sent again.
    Resend,
    /// Nobody answered.
    GiveUp,
}

/// Tells newer notifications from older ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct Freshness {
    newest: Option<(ObserveSeq, Instant)>,
}

/// A body fetched block by block.
#[derive(Clone, Copy, Debug)]
pub struct Download {
    wanted: Block,
}

/// What an answer brought to a [`Download`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The payload was the next block; ask for this one.
    More(Block),
    /// The payload was the last block.
    Done,
    /// The answer was an error.
    Refused(Code),
    /// The answer was another block than the one asked for.
    Mismatch,
}

impl Outgoing<'_> {
    /// A request without any option.
    #[must_use]
    pub const fn new(method: Method, token: Token) -> Self {
        Self {
            method,
            token,
            path: &[],
            observe: None,
            accept: None,
            content_format: None,
            block2: None,
            block1: None,
            payload: &[],
        }
    }

    /// Appends it to `out`.
    pub fn write(&self, kind: Kind, mid: MessageId, out: &mut Vec<u8>) {
        let mut writer = MessageWriter::new(out, kind, self.method.code(), mid, self.token);
        if let Some(observe) = self.observe {
            let value = match observe {
                ObserveRequest::Register => 0,
                ObserveRequest::Deregister => 1,
            };
            writer.uint(number::OBSERVE, value);
        }
        for segment in self.path {
            writer.option(number::URI_PATH, segment.as_bytes());
        }
        if let Some(format) = self.content_format {
            writer.uint(number::CONTENT_FORMAT, format.0.into());
        }
        if let Some(format) = self.accept {
            writer.uint(number::ACCEPT, format.0.into());
        }
        if let Some(block) = self.block2 {
            writer.uint(number::BLOCK2, block.bits());
        }
        if let Some(block) = self.block1 {
            writer.uint(number::BLOCK1, block.bits());
        }
        writer.payload(self.payload);
    }
}

impl<'a> Heard<'a> {
    /// Reads a message.
    ///
    /// # Errors
    ///
    /// [`FormatError`] for bytes that are no message.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FormatError> {
        Self::parse_short_sighted(bytes, usize::MAX)
    }

    /// Reads a message as a client does that loses sight of every option from the first one on whose value is longer
    /// than `longest` bytes.
    ///
    /// # Errors
    ///
    /// [`FormatError`] for bytes that are no message.
    pub fn parse_short_sighted(bytes: &'a [u8], longest: usize) -> Result<Self, FormatError> {
        let message = Message::parse(bytes)?;
        let Message {
            kind,
            code,
            mid,
            token,
            payload,
            ..
        } = message;
        if code.is_response() {
            let mut response = Response {
                kind,
                code,
                mid,
                token,
                observe: None,
                content_format: None,
                block2: None,
                block1: None,
                size2: None,
                payload,
            };
            response.read_options(&message, longest);
            return Ok(Self::Response(response));
        }
        Ok(match kind {
            Kind::Reset => Self::Reset { mid },
            Kind::Acknowledgement => Self::Acknowledgement { mid },
            Kind::Confirmable | Kind::NonConfirmable if code == Code::EMPTY => Self::Ping { mid },
            Kind::Confirmable | Kind::NonConfirmable => Self::Request { mid },
        })
    }
}

impl Response<'_> {
    /// A value that cannot be is as good as no option: what matters for the answer then does not fit.
    fn read_options(&mut self, message: &Message<'_>, longest: usize) {
        for option in message
            .options()
            .take_while(|option| option.value.len() <= longest)
        {
            match option.number {
                number::OBSERVE => self.observe = uint(option.value).and_then(ObserveSeq::new),
                number::CONTENT_FORMAT => {
                    let format = uint(option.value).and_then(|format| u16::try_from(format).ok());
                    self.content_format = format.map(ContentFormat);
                }
                number::BLOCK2 => self.block2 = Block::parse(option.value).ok(),
                number::BLOCK1 => self.block1 = Block::parse(option.value).ok(),
                number::SIZE2 => self.size2 = uint(option.value),
                _ => {}
            }
        }
    }
}

impl Exchange {
    /// A request has been sent for the first time; give up after `patience`.
    #[must_use]
    pub fn new(now: Instant, mid: MessageId, token: Token, patience: Duration, rng: &mut dyn Rng) -> Self {
        Self::waiting(now, mid, token, first_wait(rng), patience)
    }

    /// A request has been sent for the first time; it is sent again `times`, and given up when the wait after that is
    /// over (RFC 7252 section 4.2).
    #[must_use]
    pub fn repeated(now: Instant, mid: MessageId, token: Token, times: u32, rng: &mut dyn Rng) -> Self {
        let wait = first_wait(rng);
        // The waits are 1, 2, 4 … times the first one.
        let patience = wait * (2_u32.saturating_pow(times.saturating_add(1)) - 1);
        Self::waiting(now, mid, token, wait, patience)
    }

    fn waiting(now: Instant, mid: MessageId, token: Token, wait: Duration, patience: Duration) -> Self {
        Self {
            mid,
            token,
            wait,
            resend_at: now + wait,
            give_up_at: now + patience,
            acknowledged: false,
        }
    }

    /// Whether `response` answers it: an acknowledgement has its message ID, any answer its token.
    #[must_use]
    pub fn is_answered_by(&self, response: &Response<'_>) -> bool {
        response.token == self.token && (response.kind != Kind::Acknowledgement || response.mid == self.mid)
    }

    /// An empty ACK came: if it is this request's, it is not sent again.
    pub fn acknowledge(&mut self, mid: MessageId) {
        self.acknowledged |= mid == self.mid;
    }

    /// When to call [`Self::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        if self.acknowledged {
            self.give_up_at
        } else {
            self.give_up_at.min(self.resend_at)
        }
    }

    /// What is due at `now`; `None` for nothing.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Overdue> {
        if self.give_up_at <= now {
            return Some(Overdue::GiveUp);
        }
        if self.acknowledged || self.resend_at > now {
            return None;
        }
        self.wait *= 2;
        self.resend_at = now + self.wait;
        Some(Overdue::Resend)
    }

    /// Its message ID.
    #[must_use]
    pub fn mid(&self) -> MessageId {
        self.mid
    }

    /// Its token.
    #[must_use]
    pub fn token(&self) -> Token {
        self.token
    }
}

impl Freshness {
    /// Whether a notification with this number is newer than all before, and remembers it if so.
    //= RFC 7641 section 3.4
    //# (T2 > T1 + 128 seconds)
    pub fn admit(&mut self, now: Instant, seq: ObserveSeq) -> bool {
        let newer = self.newest.is_none_or(|(newest, at)| {
            seq.is_newer_than(newest) || now.saturating_duration_since(at) > Duration::from_secs(128)
        });
        if newer {
            self.newest = Some((seq, now));
        }
        newer
    }
}

impl Download {
    /// Begins at the start of a body.
    #[must_use]
    pub fn new(szx: Szx) -> Self {
        Self::resume(Block::first(szx))
    }

    /// Goes on at a block.
    #[must_use]
    pub fn resume(at: Block) -> Self {
        Self {
            wanted: Block { more: false, ..at },
        }
    }

    /// The block to ask for.
    #[must_use]
    pub fn wanted(&self) -> Block {
        self.wanted
    }

    /// Takes an answer. One without Block2 is the whole body, if the whole was asked for.
    pub fn step(&mut self, response: &Response<'_>) -> Step {
        if response.code != Code::CONTENT {
            return Step::Refused(response.code);
        }
        let Some(block) = response.block2 else {
            return if self.wanted.num == BlockNum::ZERO {
                Step::Done
            } else {
                Step::Mismatch
            };
        };
        let (size, len) = (block.szx.size(), response.payload.len() as u64);
        let as_asked = (block.num, block.szx) == (self.wanted.num, self.wanted.szx);
        if !as_asked || len > size || (block.more && len < size) {
            return Step::Mismatch;
        }
        if !block.more {
            return Step::Done;
        }
        match block.num.next() {
            Some(num) => {
                self.wanted.num = num;
                Step::More(self.wanted)
            }
            None => Step::Mismatch,
        }
    }
}

/// RFC 7252 section 4.8: ACK_TIMEOUT to ACK_TIMEOUT · ACK_RANDOM_FACTOR.
fn first_wait(rng: &mut dyn Rng) -> Duration {
    Duration::from_millis(rng.random_range(2000..=3000))
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
