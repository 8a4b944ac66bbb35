//! The client's flight where it proves itself by a certificate: Certificate, ClientKeyExchange, CertificateVerify.

use crate::dtls::certificate::PeerKey;
use crate::dtls::crypto::{EphemeralKey, SharedSecret};
use crate::dtls::handshake::Fault;
use crate::dtls::handshake::messages::certificates::{
    parse_certificate, parse_certificate_verify, parse_client_point, parse_raw_key,
};
use crate::dtls::handshake::messages::{
    CERTIFICATE, CERTIFICATE_VERIFY, CLIENT_KEY_EXCHANGE, CertificateTypes,
};
use crate::dtls::handshake::reassembly::Message;
use crate::dtls::{ChainFault, Claim, KeyDigest, PeerChain};

/// How far the client's flight has come.
#[derive(Debug)]
pub struct CertifiedFlight {
    stage: Stage,
    /// Every message of the handshake so far, for the signature over them.
    said: Vec<u8>,
}

#[derive(Debug)]
enum Stage {
    Certificate {
        ours: Box<EphemeralKey>,
        kind: CertificateTypes,
    },
    KeyExchange {
        ours: Box<EphemeralKey>,
        shown: Shown,
    },
    Verify {
        shared: SharedSecret,
        shown: Shown,
    },
}

/// What the client showed.
#[derive(Debug)]
pub struct Shown {
    pub presented: Presented,
    pub claim: Claim,
    key: PeerKey,
}

/// What somebody else has to judge.
#[derive(Debug)]
pub enum Presented {
    Chain(PeerChain),
    RawKey(KeyDigest),
}

/// What a message of the flight leads to.
#[derive(Debug)]
pub enum Progress {
    /// More is to come.
    More(CertifiedFlight),
    /// The client has the key of what it showed.
    Proven { shown: Shown, shared: SharedSecret },
}

impl CertifiedFlight {
    /// Waits for it. `kind` is what the client agreed to show.
    pub fn new(ours: EphemeralKey, kind: CertificateTypes) -> Self {
        let ours = Box::new(ours);
        Self {
            stage: Stage::Certificate { ours, kind },
            said: Vec::new(),
        }
    }

    /// Notes a message that went before.
    pub fn hear(&mut self, message: &[u8]) {
        self.said.extend_from_slice(message);
    }

    /// Takes the next message.
    ///
    /// # Errors
    /// What is wrong with it, and who the client has said it is.
    pub fn take(self, message: &Message) -> Result<Progress, (Fault, Option<Claim>)> {
        let Self { stage, mut said } = self;
        let body = message.body();
        let stage = match (stage, message.kind) {
            (Stage::Certificate { ours, kind }, CERTIFICATE) => {
                let shown = read_shown(kind, body).map_err(|fault| (fault, None))?;
                Stage::KeyExchange { ours, shown }
            }
            (Stage::KeyExchange { ours, shown }, CLIENT_KEY_EXCHANGE) => match read_shared(*ours, body) {
                Ok(shared) => Stage::Verify { shared, shown },
                Err(fault) => return Err((fault, Some(shown.claim))),
            },
            (Stage::Verify { shared, shown }, CERTIFICATE_VERIFY) => {
                //= RFC 5246 section 7.4.8
                //# Here handshake_messages refers to all handshake messages sent or received, starting at client hello
                //# and up to, but not including, this message
                return match check_signature(&shown.key, &said, body) {
                    Ok(()) => Ok(Progress::Proven { shown, shared }),
                    Err(fault) => Err((fault, Some(shown.claim))),
                };
            }
            (stage, _) => return Err((Fault::UNEXPECTED_MESSAGE, stage.into_claim())),
        };
        said.extend_from_slice(&message.bytes);
        Ok(Progress::More(Self { stage, said }))
    }

    /// Who the client has said it is.
    pub fn into_claim(self) -> Option<Claim> {
        self.stage.into_claim()
    }
}

impl Stage {
    fn into_claim(self) -> Option<Claim> {
        match self {
            Self::Certificate { .. } => None,
            Self::KeyExchange { shown, .. } | Self::Verify { shown, .. } => Some(shown.claim),
        }
    }
}

fn read_shown(kind: CertificateTypes, body: &[u8]) -> Result<Shown, Fault> {
    match kind {
        CertificateTypes::X509 => {
            let certificates = parse_certificate(body).ok_or(Fault::MALFORMED)?;
            let chain = PeerChain::new(certificates).map_err(Fault::of_certificate)?;
            let facts = chain.facts().map_err(Fault::of_certificate)?;
            let key = PeerKey::of_certificate(chain.leaf()).map_err(Fault::of_certificate)?;
            Ok(Shown {
                presented: Presented::Chain(chain),
                claim: Claim::Certificate(facts),
                key,
            })
        }
        CertificateTypes::RawKey => {
            let info = parse_raw_key(body).ok_or(Fault::MALFORMED)?;
            if info.is_empty() {
                return Err(Fault::of_certificate(ChainFault::NoCertificate));
            }
            let key = PeerKey::of_public_key_info(info).map_err(Fault::of_certificate)?;
            let digest = KeyDigest::of(info);
            Ok(Shown {
                presented: Presented::RawKey(digest),
                claim: Claim::RawKey(digest),
                key,
            })
        }
        CertificateTypes::Other => Err(Fault::of_certificate(ChainFault::Unsupported)),
    }
}

fn read_shared(ours: EphemeralKey, body: &[u8]) -> Result<SharedSecret, Fault> {
    let point = parse_client_point(body).ok_or(Fault::MALFORMED)?;
    ours.agree(point).ok_or(Fault::ILLEGAL_PARAMETER)
}

fn check_signature(key: &PeerKey, said: &[u8], body: &[u8]) -> Result<(), Fault> {
    let signature = parse_certificate_verify(body)?;
    if key.verify(signature.hash, said, signature.bytes) {
        Ok(())
    } else {
        Err(Fault::BAD_SIGNATURE)
    }
}
