//! What handshakes are made of, called as the server calls it, in the libraries that it uses.

use aes::Aes128;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use ccm::Ccm;
use ccm::aead::{AeadInOut, KeyInit};
use ccm::consts::{U12, U16};
use ring::signature::{self, KeyPair};
use ring::{aead, agreement, digest, hmac, rand};

use super::cpu::cost;

/// What each costs, in microseconds.
#[derive(Debug)]
pub struct Primitives {
    /// An HMAC over a ClientHello's fields, the key prepared: a cookie.
    pub cookie: f64,
    /// The PRF and its key made ready, for so many bytes: the master secret, the keys of an AEAD, those of CBC, a Finished.
    pub prf_48: f64,
    pub prf_40: f64,
    pub prf_128: f64,
    pub prf_12: f64,
    /// SHA-256 over a kilobyte of messages, finished three times.
    pub transcript: f64,
    /// A Finished opened and another sealed, key schedules included; CCM costs the same with either tag.
    pub gcm: f64,
    pub ccm: f64,
    pub cbc: f64,
    /// A key of an exchange on P-256 made, and what is shared found.
    pub ecdh: f64,
    /// A signature made with ECDSA on P-256, one checked.
    pub sign: f64,
    pub verify: f64,
}

impl Primitives {
    /// Measures all of them.
    pub fn measure() -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]);
        let system = rand::SystemRandom::new();
        let signer = signer(&system);
        let sign = || signer.sign(&system, &[12; 100]).expect("chance is there");
        let signed = sign();
        let public =
            signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_ASN1, signer.public_key());
        Self {
            cookie: cost(|| {
                std::hint::black_box(hmac::sign(&key, &[2; 120]));
            }),
            prf_48: cost(|| prf(&[3; 46], &mut [0; 48])),
            prf_40: cost(|| prf(&[3; 48], &mut [0; 40])),
            prf_128: cost(|| prf(&[3; 48], &mut [0; 128])),
            prf_12: cost(|| prf(&[3; 48], &mut [0; 12])),
            transcript: cost(transcript),
            gcm: cost(gcm),
            ccm: cost(ccm),
            cbc: cost(cbc),
            ecdh: cost(ecdh),
            sign: cost(|| {
                std::hint::black_box(sign());
            }),
            verify: cost(|| {
                std::hint::black_box(public.verify(&[12; 100], signed.as_ref()).is_ok());
            }),
        }
    }
}

/// P_SHA256 over a label and two hashes or randoms (RFC 5246 section 5).
fn prf(secret: &[u8], out: &mut [u8]) {
    let seed = [4; 77];
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let mut a = hmac::sign(&key, &seed);
    for chunk in out.chunks_mut(32) {
        let mut block = hmac::Context::with_key(&key);
        block.update(a.as_ref());
        block.update(&seed);
        chunk.copy_from_slice(&block.sign().as_ref()[..chunk.len()]);
        a = hmac::sign(&key, a.as_ref());
    }
    std::hint::black_box(out);
}

fn transcript() {
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in [[5; 256]; 4] {
        hash.update(&part);
    }
    for _ in 0..3 {
        std::hint::black_box(hash.clone().finish());
    }
}

/// Not authentic is as dear as authentic: the tag is compared at the end.
fn gcm() {
    let key = || {
        let key = aead::UnboundKey::new(&aead::AES_128_GCM, &[6; 16]).expect("a key of 16 bytes");
        aead::LessSafeKey::new(key)
    };
    let nonce = || aead::Nonce::assume_unique_for_key([7; 12]);
    let mut text = [8; FINISHED];
    let tag = key().seal_in_place_separate_tag(nonce(), aead::Aad::from([9; 13]), &mut text);
    let tag = tag.expect("24 bytes can be sealed");
    let opened = key().open_in_place_separate_tag(nonce(), aead::Aad::from([9; 13]), tag, &mut text, 0..);
    std::hint::black_box(opened.is_ok());
}

fn ccm() {
    let key = || Ccm::<Aes128, U16, U12>::new(&[6; 16].into());
    let mut text = [8; FINISHED];
    let tag = key().encrypt_inout_detached(&[7; 12].into(), &[9; 13], text.as_mut_slice().into());
    let tag = tag.expect("24 bytes can be sealed");
    let opened = key().decrypt_inout_detached(&[7; 12].into(), &[9; 13], text.as_mut_slice().into(), &tag);
    std::hint::black_box(opened.is_ok());
}

/// Encrypted, then authenticated, as RFC 7366 has it; and back.
fn cbc() {
    let mut blocks = [[8; 16].into(), [8; 16].into()];
    let mac = |text: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &[6; 32]), text);
    cbc::Encryptor::<Aes128>::new(&[6; 16].into(), &[7; 16].into()).encrypt_blocks(&mut blocks);
    std::hint::black_box(mac(&[8; 64]));
    std::hint::black_box(mac(&[8; 64]));
    cbc::Decryptor::<Aes128>::new(&[6; 16].into(), &[7; 16].into()).decrypt_blocks(&mut blocks);
    std::hint::black_box(blocks);
}

fn ecdh() {
    let system = rand::SystemRandom::new();
    let make = || {
        let key = agreement::EphemeralPrivateKey::generate(&agreement::ECDH_P256, &system)
            .expect("chance is there");
        let point = key.compute_public_key().expect("a key has a point");
        (key, point)
    };
    let (key, point) = make();
    // With itself, which is as dear as with somebody else.
    let peer = agreement::UnparsedPublicKey::new(&agreement::ECDH_P256, point);
    let shared = agreement::agree_ephemeral(key, &peer, |x| x[0]);
    std::hint::black_box(shared.is_ok());
}

fn signer(system: &rand::SystemRandom) -> signature::EcdsaKeyPair {
    let algorithm = &signature::ECDSA_P256_SHA256_ASN1_SIGNING;
    let key = signature::EcdsaKeyPair::generate_pkcs8(algorithm, system).expect("chance is there");
    signature::EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), system).expect("a key just made")
}

/// Bytes of a Finished.
const FINISHED: usize = 24;
