//! Alerts (RFC 5246 section 7.2): the few that we send and tell apart.

/// Level and description of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Whether the sender gave up the connection.
    pub fatal: bool,
    /// The description, a number of the IANA registry.
    pub description: u8,
}

impl Alert {
    /// Reads the body of an alert record.
    pub fn parse(body: &[u8]) -> Option<Self> {
        match *body {
            [1, description] => Some(Self {
                fatal: false,
                description,
            }),
            [2, description] => Some(Self {
                fatal: true,
                description,
            }),
            _ => None,
        }
    }

    /// A fatal alert.
    pub fn fatal(description: u8) -> Self {
        Self {
            fatal: true,
            description,
        }
    }

    /// The two bytes on the wire.
    pub fn to_bytes(self) -> [u8; 2] {
        [if self.fatal { 2 } else { 1 }, self.description]
    }
}

pub const CLOSE_NOTIFY: u8 = 0;
pub const UNEXPECTED_MESSAGE: u8 = 10;
pub const HANDSHAKE_FAILURE: u8 = 40;
pub const BAD_CERTIFICATE: u8 = 42;
pub const UNSUPPORTED_CERTIFICATE: u8 = 43;
pub const CERTIFICATE_REVOKED: u8 = 44;
pub const CERTIFICATE_EXPIRED: u8 = 45;
pub const ILLEGAL_PARAMETER: u8 = 47;
pub const UNKNOWN_CA: u8 = 48;
pub const ACCESS_DENIED: u8 = 49;
pub const DECODE_ERROR: u8 = 50;
pub const DECRYPT_ERROR: u8 = 51;
pub const PROTOCOL_VERSION: u8 = 70;
pub const INTERNAL_ERROR: u8 = 80;
pub const UNSUPPORTED_EXTENSION: u8 = 110;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_two_bytes_with_a_known_level() {
        assert_eq!(
            Alert::parse(&[1, 0]),
            Some(Alert {
                fatal: false,
                description: CLOSE_NOTIFY
            })
        );
        assert_eq!(Alert::parse(&[2, 40]), Some(Alert::fatal(HANDSHAKE_FAILURE)));
        assert_eq!(Alert::parse(&[3, 40]), None);
        assert_eq!(Alert::parse(&[2]), None);
        assert_eq!(Alert::parse(&[2, 40, 0]), None);
    }
}
