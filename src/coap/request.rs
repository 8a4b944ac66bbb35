//! A request as handlers see it: every option typed and checked in one pass.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hasher};

use super::block::{Block, BlockError};
use super::code::{Code, Kind, Method};
use super::id::{ETag, MessageId, Token};
use super::wire::{Message, Options, RawOption, number, uint};

/// A request.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// What is to be done.
    pub method: Method,
    /// Whether it came as CON, and so gets its answer in the ACK.
    pub confirmable: bool,
    /// Its message ID.
    pub mid: MessageId,
    /// Its token.
    pub token: Token,
    /// Whether an observation begins or ends.
    pub observe: Option<ObserveRequest>,
    /// The format wanted.
    pub accept: Option<ContentFormat>,
    /// The payload's format.
    pub content_format: Option<ContentFormat>,
    /// The last block of an upload has this; the payload is the whole body nevertheless.
    pub block1: Option<Block>,
    /// The block wanted.
    pub block2: Option<Block>,
    /// How large an upload will be, in bytes.
    pub size1: Option<u32>,
    /// The whole body, put together if it came in blocks.
    pub payload: Cow<'a, [u8]>,
    options: Options<'a>,
    /// The payload of this one message.
    piece: &'a [u8],
}

/// The value of a request's Observe option (RFC 7641 section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObserveRequest {
    /// 0.
    Register,
    /// 1.
    Deregister,
}

/// A media type's number (RFC 7252 section 12.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContentFormat(pub u16);

impl ContentFormat {
    /// text/plain; charset=utf-8.
    pub const TEXT: Self = Self(0);
    /// application/link-format.
    pub const LINK_FORMAT: Self = Self(40);
    /// application/octet-stream.
    pub const OCTET_STREAM: Self = Self(42);
    /// application/json.
    pub const JSON: Self = Self(50);
    /// application/cbor.
    pub const CBOR: Self = Self(60);
}

/// Why a request gets no handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// A critical option that is unknown, has an impossible value or stands there once too often: 4.02.
    BadOption {
        /// Its number.
        number: u16,
    },
    /// A block size that does not exist: 4.00.
    ReservedBlockSize,
    /// A method that is unknown: 4.05.
    UnknownMethod,
    /// It is for somebody else: 5.05.
    Proxying,
}

impl Refusal {
    /// The answer's code.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::BadOption { .. } => Code::BAD_OPTION,
            Self::ReservedBlockSize => Code::BAD_REQUEST,
            Self::UnknownMethod => Code::METHOD_NOT_ALLOWED,
            Self::Proxying => Code::PROXYING_NOT_SUPPORTED,
        }
    }
}

impl<'a> Request<'a> {
    /// Reads a message whose code is a method.
    ///
    /// # Errors
    ///
    /// [`Refusal`], with the code to answer.
    pub fn new(message: &Message<'a>) -> Result<Self, Refusal> {
        //= RFC 7252 section 5.8
        //# A request with an unrecognized or unsupported Method Code MUST generate a 4.05 (Method Not Allowed)
        //# piggybacked response.
        let method = Method::from_code(message.code).ok_or(Refusal::UnknownMethod)?;
        let mut request = Self {
            method,
            confirmable: message.kind == Kind::Confirmable,
            mid: message.mid,
            token: message.token,
            observe: None,
            accept: None,
            content_format: None,
            block1: None,
            block2: None,
            size1: None,
            payload: Cow::Borrowed(message.payload),
            options: message.options(),
            piece: message.payload,
        };
        let mut previous = None;
        for option in message.options() {
            request.take(option, previous == Some(option.number))?;
            previous = Some(option.number);
        }
        Ok(request)
    }

    /// The segments of the path, each as it stands in its option.
    pub fn path(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.texts(number::URI_PATH)
    }

    /// Whether the path has exactly these segments.
    #[must_use]
    pub fn path_is(&self, segments: &[&str]) -> bool {
        self.path().eq(segments.iter().copied())
    }

    /// What follows these segments at the start of the path, joined by `/`; `None` if the path begins otherwise or ends
    /// there. Borrows unless it has to join.
    #[must_use]
    pub fn path_after(&self, segments: &[&str]) -> Option<Cow<'a, str>> {
        let mut path = self.path();
        for segment in segments {
            if path.next()? != *segment {
                return None;
            }
        }
        let first = path.next()?;
        let Some(second) = path.next() else {
            return Some(Cow::Borrowed(first));
        };
        let mut joined = format!("{first}/{second}");
        for segment in path {
            joined.push('/');
            joined.push_str(segment);
        }
        Some(Cow::Owned(joined))
    }

    /// The Uri-Query options, usually `name=value`.
    pub fn queries(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.texts(number::URI_QUERY)
    }

    /// The value of the first query that says `name=value`.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&'a str> {
        self.queries()
            .find_map(|query| query.strip_prefix(name)?.strip_prefix('='))
    }

    /// The representations that the client has.
    pub fn etags(&self) -> impl Iterator<Item = ETag> + use<'a> {
        self.values(number::ETAG).filter_map(ETag::new)
    }

    /// The format to answer in: Accept, or where that is missing Content-Format, as the oldest SDKs have it.
    #[must_use]
    pub fn wanted_format(&self) -> Option<ContentFormat> {
        self.accept.or(self.content_format)
    }

    /// Tells requests for the same thing from others: method, path, query and format, but neither block nor payload.
    pub(super) fn target(&self) -> u64 {
        self.hash_target().finish()
    }

    /// Tells messages that ask for exactly the same from others, blocks and payload included.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = self.hash_target();
        hasher.write_u32(self.block1.map_or(u32::MAX, Block::bits));
        hasher.write_u32(self.block2.map_or(u32::MAX, Block::bits));
        hasher.write(self.piece);
        hasher.finish()
    }

    fn hash_target(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(self.method.code().byte());
        for option in self.options.clone() {
            if !matches!(
                option.number,
                number::BLOCK1 | number::BLOCK2 | number::SIZE1 | number::OBSERVE
            ) {
                hasher.write_u16(option.number);
                hasher.write_usize(option.value.len());
                hasher.write(option.value);
            }
        }
        hasher
    }

    fn take(&mut self, option: RawOption<'a>, repeated: bool) -> Result<(), Refusal> {
        let RawOption { number, value } = option;
        let bad = Refusal::BadOption { number };
        //= RFC 7252 section 5.4.5
        //# If a message includes an option with more occurrences than the option is defined for, each supernumerary
        //# option occurrence that appears subsequently in the message MUST be treated like an unrecognized option
        let repeatable = matches!(number, number::ETAG | number::URI_PATH | number::URI_QUERY);
        if repeated && !repeatable {
            return if number::is_critical(number) {
                Err(bad)
            } else {
                Ok(())
            };
        }
        let format = || {
            uint(value)
                .and_then(|value| u16::try_from(value).ok())
                .map(ContentFormat)
        };
        // RFC 7252 section 5.4.3: a value outside the option's range makes it an unrecognized option.
        let fits = match number {
            number::URI_PATH | number::URI_QUERY => value.len() <= 255 && str::from_utf8(value).is_ok(),
            number::URI_HOST => (1..=255).contains(&value.len()),
            number::URI_PORT => format().is_some(),
            _ => true,
        };
        if !fits {
            return Err(bad);
        }
        match number {
            number::URI_PATH | number::URI_QUERY | number::URI_HOST | number::URI_PORT => {}
            number::OBSERVE => {
                self.observe = match uint(value) {
                    Some(0) => Some(ObserveRequest::Register),
                    Some(1) => Some(ObserveRequest::Deregister),
                    Some(_) | None => None,
                };
            }
            number::CONTENT_FORMAT => self.content_format = format(),
            number::ACCEPT => self.accept = Some(format().ok_or(bad)?),
            number::BLOCK1 => self.block1 = Some(block(value, bad)?),
            number::BLOCK2 => self.block2 = Some(block(value, bad)?),
            number::SIZE1 => self.size1 = uint(value),
            //= RFC 7252 section 5.10.2
            //# An endpoint receiving a request with a Proxy-Uri Option that is unable or unwilling to act as a
            //# forward-proxy for the request MUST cause the return of a 5.05 (Proxying Not Supported) response.
            number::PROXY_URI | number::PROXY_SCHEME => return Err(Refusal::Proxying),
            //= RFC 7252 section 5.4.1
            //# Unrecognized options of class "critical" that occur in a Confirmable request MUST cause the return of
            //# a 4.02 (Bad Option) response.
            _ if number::is_critical(number) => return Err(bad),
            _ => {}
        }
        Ok(())
    }

    fn texts(&self, number: u16) -> impl Iterator<Item = &'a str> + use<'a> {
        self.values(number).filter_map(|value| str::from_utf8(value).ok())
    }

    fn values(&self, number: u16) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.options
            .clone()
            .filter(move |option| option.number == number)
            .map(|option| option.value)
    }
}

fn block(value: &[u8], bad: Refusal) -> Result<Block, Refusal> {
    Block::parse(value).map_err(|error| match error {
        BlockError::ReservedSize => Refusal::ReservedBlockSize,
        BlockError::TooLong => bad,
    })
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
