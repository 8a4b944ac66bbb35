//! Return routability checks (RFC 9853): a peer asks whether we receive at the address that we send from.
//!
//! Only the answering half, and the simplest form of it: a challenge is answered where it came from, at once. Whoever
//! asks us does so because he saw our address change; we never ask, as the layer above has proofs of its own (section 3.1
//! leaves that choice).

/// A peer's question, to be answered to the address that it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathChallenge {
    cookie: [u8; COOKIE_LEN],
}

impl PathChallenge {
    /// Reads the body of a record; `None` for anything but a path_challenge.
    //= RFC 9853 section 4
    //# implementations MUST be able to parse and gracefully ignore messages with an unknown msg_type.
    // That, and answers to questions that we never ask, are ignored alike.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let (kind, cookie) = body.split_first()?;
        let cookie = cookie.try_into().ok()?;
        (*kind == PATH_CHALLENGE).then_some(Self { cookie })
    }

    /// The body of the answer.
    //= RFC 9853 section 5.1
    //# responds by echoing the cookie value in a return_routability_check message of type path_response.
    pub fn response(self) -> [u8; 1 + COOKIE_LEN] {
        let mut body = [PATH_RESPONSE; 1 + COOKIE_LEN];
        body[1..].copy_from_slice(&self.cookie);
        body
    }
}

const COOKIE_LEN: usize = 8;
const PATH_CHALLENGE: u8 = 0;
const PATH_RESPONSE: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9853_4_a_challenge_is_told_from_everything_else_and_its_cookie_echoed() {
        let challenge = PathChallenge::parse(&[0, 1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
        assert_eq!(challenge.response(), [1, 1, 2, 3, 4, 5, 6, 7, 8]);
        for other in [
            &[][..],
            &[0],
            &[0, 1, 2, 3, 4, 5, 6, 7],
            &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
            &[1, 1, 2, 3, 4, 5, 6, 7, 8],
            &[2, 1, 2, 3, 4, 5, 6, 7, 8],
            &[3, 1, 2, 3, 4, 5, 6, 7, 8],
        ] {
            assert_eq!(PathChallenge::parse(other), None, "{other:?}");
        }
    }
}
