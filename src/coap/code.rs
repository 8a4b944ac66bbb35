//! What a message is ([`Kind`]) and what it asks or answers ([`Code`], [`Method`]).

use std::fmt;

/// The message type (RFC 7252 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// CON: wants an acknowledgement.
    Confirmable,
    /// NON: wants none.
    NonConfirmable,
    /// ACK.
    Acknowledgement,
    /// RST.
    Reset,
}

/// A method or response code: three bits of class, five of detail (RFC 7252 section 12.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(u8);

/// The methods this implementation knows; others are answered 4.05.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// 0.01, safe and idempotent.
    Get,
    /// 0.02, neither.
    Post,
    /// 0.03, idempotent.
    Put,
    /// 0.04, idempotent.
    Delete,
}

impl Kind {
    /// From the two bits of the first byte; the others are ignored.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 0b11 {
            0 => Self::Confirmable,
            1 => Self::NonConfirmable,
            2 => Self::Acknowledgement,
            _ => Self::Reset,
        }
    }

    /// The two bits of the first byte.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::Confirmable => 0,
            Self::NonConfirmable => 1,
            Self::Acknowledgement => 2,
            Self::Reset => 3,
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $class:literal . $detail:literal, $text:literal;)*) => {
        impl Code {
            $($(#[$doc])* pub const $name: Self = Self::new($class, $detail);)*

            /// `2.05` for the codes named here, `other` for all others: bounded, so fit for a metric label.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                    _ => "other",
                }
            }
        }
    };
}

codes! {
    /// No code: an empty message.
    EMPTY = 0 . 0, "0.00";
    /// GET.
    GET = 0 . 1, "0.01";
    /// POST.
    POST = 0 . 2, "0.02";
    /// PUT.
    PUT = 0 . 3, "0.03";
    /// DELETE.
    DELETE = 0 . 4, "0.04";
    /// 2.01 Created.
    CREATED = 2 . 1, "2.01";
    /// 2.02 Deleted.
    DELETED = 2 . 2, "2.02";
    /// 2.03 Valid.
    VALID = 2 . 3, "2.03";
    /// 2.04 Changed.
    CHANGED = 2 . 4, "2.04";
    /// 2.05 Content.
    CONTENT = 2 . 5, "2.05";
    /// 2.31 Continue (RFC 7959).
    CONTINUE = 2 . 31, "2.31";
    /// 4.00 Bad Request.
    BAD_REQUEST = 4 . 0, "4.00";
    /// 4.01 Unauthorized.
    UNAUTHORIZED = 4 . 1, "4.01";
    /// 4.02 Bad Option.
    BAD_OPTION = 4 . 2, "4.02";
    /// 4.03 Forbidden.
    FORBIDDEN = 4 . 3, "4.03";
    /// 4.04 Not Found.
    NOT_FOUND = 4 . 4, "4.04";
    /// 4.05 Method Not Allowed.
    METHOD_NOT_ALLOWED = 4 . 5, "4.05";
    /// 4.06 Not Acceptable.
    NOT_ACCEPTABLE = 4 . 6, "4.06";
    /// 4.08 Request Entity Incomplete (RFC 7959).
    REQUEST_ENTITY_INCOMPLETE = 4 . 8, "4.08";
    /// 4.12 Precondition Failed.
    PRECONDITION_FAILED = 4 . 12, "4.12";
    /// 4.13 Request Entity Too Large.
    REQUEST_ENTITY_TOO_LARGE = 4 . 13, "4.13";
    /// 4.15 Unsupported Content-Format.
    UNSUPPORTED_CONTENT_FORMAT = 4 . 15, "4.15";
    /// 4.29 Too Many Requests (RFC 8516).
    TOO_MANY_REQUESTS = 4 . 29, "4.29";
    /// 5.00 Internal Server Error.
    INTERNAL_SERVER_ERROR = 5 . 0, "5.00";
    /// 5.01 Not Implemented.
    NOT_IMPLEMENTED = 5 . 1, "5.01";
    /// 5.03 Service Unavailable.
    SERVICE_UNAVAILABLE = 5 . 3, "5.03";
    /// 5.04 Gateway Timeout.
    GATEWAY_TIMEOUT = 5 . 4, "5.04";
    /// 5.05 Proxying Not Supported.
    PROXYING_NOT_SUPPORTED = 5 . 5, "5.05";
}

impl Code {
    const fn new(class: u8, detail: u8) -> Self {
        Self(class << 5 | detail)
    }

    /// From the second byte of a message.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Self {
        Self(byte)
    }

    /// As in the second byte of a message.
    #[must_use]
    pub const fn byte(self) -> u8 {
        self.0
    }

    /// 0 for methods, 2, 4 and 5 for responses; 1, 3, 6 and 7 are not used (RFC 7252 section 12.1).
    #[must_use]
    pub const fn class(self) -> u8 {
        self.0 >> 5
    }

    /// 0 to 31.
    #[must_use]
    pub const fn detail(self) -> u8 {
        self.0 & 0x1f
    }

    /// Whether it is a method, known here or not.
    #[must_use]
    pub const fn is_request(self) -> bool {
        self.class() == 0 && self.0 != 0
    }

    /// Whether it answers a request.
    #[must_use]
    pub const fn is_response(self) -> bool {
        matches!(self.class(), 2..=5)
    }

    /// Whether it is a 2.xx.
    #[must_use]
    pub const fn is_success(self) -> bool {
        self.class() == 2
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.class(), self.detail())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Method {
    /// The method that a code names; `None` for those not known here, and for what is no method.
    #[must_use]
    pub const fn from_code(code: Code) -> Option<Self> {
        match code {
            Code::GET => Some(Self::Get),
            Code::POST => Some(Self::Post),
            Code::PUT => Some(Self::Put),
            Code::DELETE => Some(Self::Delete),
            _ => None,
        }
    }

    /// Its code.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Get => Code::GET,
            Self::Post => Code::POST,
            Self::Put => Code::PUT,
            Self::Delete => Code::DELETE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc7252_12_1_codes_read_as_class_and_detail() {
        let table = [
            (0x01, Code::GET, "0.01"),
            (0x45, Code::CONTENT, "2.05"),
            (0x5f, Code::CONTINUE, "2.31"),
            (0x82, Code::BAD_OPTION, "4.02"),
            (0x88, Code::REQUEST_ENTITY_INCOMPLETE, "4.08"),
            (0x8d, Code::REQUEST_ENTITY_TOO_LARGE, "4.13"),
            (0xa3, Code::SERVICE_UNAVAILABLE, "5.03"),
        ];
        for (byte, code, text) in table {
            assert_eq!(Code::from_byte(byte), code);
            assert_eq!(
                (code.byte(), code.to_string(), code.as_str()),
                (byte, text.to_owned(), text)
            );
        }
        assert_eq!(Code::from_byte(0xff).as_str(), "other");
    }

    #[test]
    fn kinds_are_two_bits() {
        for bits in 0..4 {
            assert_eq!(Kind::from_bits(bits).bits(), bits);
        }
    }
}
