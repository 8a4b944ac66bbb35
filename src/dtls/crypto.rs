//! The only file that names the crypto libraries: `ring` for GCM, SHA-256, HMAC, P-256 and ECDSA, `ccm` and `cbc` over `aes`
//! for CCM and CBC, and `subtle` for comparing secrets. Nothing here knows what a handshake is.

use aes::cipher::{BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use aes::{Aes128, Block};
use ccm::aead::AeadInOut;
use ccm::aead::consts::{U8, U12, U16};
use ccm::{Ccm, KeyInit};
use ring::signature::{self, KeyPair};
use ring::{aead, agreement, digest, hmac, rand};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Length of a SHA-256 hash, in bytes.
pub const HASH_LEN: usize = 32;
/// Length of an AES-128 key, in bytes.
pub const KEY_LEN: usize = 16;
/// Length of the nonce of every AEAD used here, in bytes.
pub const NONCE_LEN: usize = 12;
/// The longest tag of all AEADs, in bytes.
pub const MAX_TAG_LEN: usize = 16;
/// Length of a block of AES, in bytes.
pub const BLOCK_LEN: usize = 16;
/// Length of a point of P-256 as it travels, in bytes: 4 for "uncompressed", then both coordinates (RFC 8422 5.4.1).
pub const POINT_LEN: usize = 65;
/// Length of what two sides of a P-256 exchange share, in bytes: the x coordinate (RFC 8422 section 5.10).
pub const SHARED_SECRET_LEN: usize = 32;

/// An AEAD with a 128-bit key and a 96-bit nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aead {
    /// AES-128-GCM.
    Gcm,
    /// AES-128-CCM with a tag of 16 bytes.
    Ccm,
    /// AES-128-CCM with a tag of 8 bytes.
    Ccm8,
}

impl Aead {
    /// Length of the authentication tag, in bytes.
    pub fn tag_len(self) -> usize {
        match self {
            Self::Gcm | Self::Ccm => 16,
            Self::Ccm8 => 8,
        }
    }
}

/// The running hash over the messages of a handshake.
#[derive(Clone)]
pub struct Transcript(digest::Context);

impl Transcript {
    /// Nothing hashed yet.
    pub fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    /// Appends bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of everything so far.
    pub fn hash(&self) -> [u8; HASH_LEN] {
        let mut hash = [0; HASH_LEN];
        hash.copy_from_slice(self.0.clone().finish().as_ref());
        hash
    }
}

/// A key for HMAC-SHA256, prepared once.
#[derive(Clone)]
pub struct MacKey(hmac::Key);

impl MacKey {
    /// Prepares a key.
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The MAC over the concatenation of `parts`.
    pub fn mac(&self, parts: &[&[u8]]) -> [u8; HASH_LEN] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(part);
        }
        let mut mac = [0; HASH_LEN];
        mac.copy_from_slice(context.sign().as_ref());
        mac
    }
}

/// The PRF of TLS 1.2 with SHA-256, filling `out`.
//= RFC 5246 section 5
//# PRF(secret, label, seed) = P_<hash>(secret, label + seed)
pub fn prf(secret: &[u8], label: &[u8], seed: [&[u8]; 2], out: &mut [u8]) {
    let key = MacKey::new(secret);
    let mut a = key.mac(&[label, seed[0], seed[1]]);
    for chunk in out.chunks_mut(HASH_LEN) {
        let block = key.mac(&[&a, label, seed[0], seed[1]]);
        chunk.copy_from_slice(&block[..chunk.len()]);
        a = key.mac(&[&a]);
    }
}

/// Whether two secrets are equal, in a time that does not tell where they differ.
pub fn equal(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

/// Encrypts `plaintext` in place and returns the tag with its length.
///
/// The key schedule is expanded here and dropped again: 70 ns a record, for an idle session that is some 700 bytes
/// a direction smaller.
pub fn seal(
    algorithm: Aead,
    key: &[u8; KEY_LEN],
    nonce: [u8; NONCE_LEN],
    additional: &[u8],
    plaintext: &mut [u8],
) -> ([u8; MAX_TAG_LEN], usize) {
    let mut tag = [0; MAX_TAG_LEN];
    match algorithm {
        Aead::Gcm => {
            let sealed = gcm(key)
                .seal_in_place_separate_tag(
                    aead::Nonce::assume_unique_for_key(nonce),
                    aead::Aad::from(additional),
                    plaintext,
                )
                .expect("a record is far shorter than what GCM can seal");
            tag.copy_from_slice(sealed.as_ref());
        }
        Aead::Ccm => {
            let sealed = Ccm::<Aes128, U16, U12>::new(key.into())
                .encrypt_inout_detached(&nonce.into(), additional, plaintext.into())
                .expect("a record is far shorter than what CCM can seal");
            tag.copy_from_slice(&sealed);
        }
        Aead::Ccm8 => {
            let sealed = Ccm::<Aes128, U8, U12>::new(key.into())
                .encrypt_inout_detached(&nonce.into(), additional, plaintext.into())
                .expect("a record is far shorter than what CCM can seal");
            tag[..8].copy_from_slice(&sealed);
        }
    }
    (tag, algorithm.tag_len())
}

/// Checks and decrypts `ciphertext` in place; whether it was authentic. Its content is undefined where it was not.
pub fn open(
    algorithm: Aead,
    key: &[u8; KEY_LEN],
    nonce: [u8; NONCE_LEN],
    additional: &[u8],
    ciphertext: &mut [u8],
    tag: &[u8],
) -> bool {
    match algorithm {
        Aead::Gcm => {
            let Ok(tag) = aead::Tag::try_from(tag) else {
                return false;
            };
            gcm(key)
                .open_in_place_separate_tag(
                    aead::Nonce::assume_unique_for_key(nonce),
                    aead::Aad::from(additional),
                    tag,
                    ciphertext,
                    0..,
                )
                .is_ok()
        }
        Aead::Ccm => {
            let Ok(tag) = <[u8; 16]>::try_from(tag) else {
                return false;
            };
            Ccm::<Aes128, U16, U12>::new(key.into())
                .decrypt_inout_detached(&nonce.into(), additional, ciphertext.into(), &tag.into())
                .is_ok()
        }
        Aead::Ccm8 => {
            let Ok(tag) = <[u8; 8]>::try_from(tag) else {
                return false;
            };
            Ccm::<Aes128, U8, U12>::new(key.into())
                .decrypt_inout_detached(&nonce.into(), additional, ciphertext.into(), &tag.into())
                .is_ok()
        }
    }
}

/// Encrypts whole blocks in place, in CBC mode.
pub fn cbc_encrypt(key: &[u8; KEY_LEN], iv: &[u8; BLOCK_LEN], text: &mut [u8]) {
    let (blocks, rest) = Block::slice_as_chunks_mut(text);
    debug_assert!(rest.is_empty(), "the text is padded to whole blocks");
    cbc::Encryptor::<Aes128>::new(key.into(), iv.into()).encrypt_blocks(blocks);
}

/// Decrypts whole blocks in place, in CBC mode. Nothing is checked: that is the MAC's to do, before.
pub fn cbc_decrypt(key: &[u8; KEY_LEN], iv: &[u8; BLOCK_LEN], text: &mut [u8]) {
    let (blocks, rest) = Block::slice_as_chunks_mut(text);
    debug_assert!(rest.is_empty(), "a text of broken blocks is refused before");
    cbc::Decryptor::<Aes128>::new(key.into(), iv.into()).decrypt_blocks(blocks);
}

/// Encrypts a single block: AES itself.
pub fn encrypt_block(key: &[u8; KEY_LEN], block: [u8; BLOCK_LEN]) -> [u8; BLOCK_LEN] {
    let mut block = Block::from(block);
    Aes128::new(key.into()).encrypt_block(&mut block);
    block.into()
}

/// Our half of one Diffie-Hellman exchange on P-256: used once, and gone.
///
/// The one place where chance is not an argument: `ring` makes such a key from the operating system's generator alone (its
/// trait for sources is sealed). Nothing is decided by the key's value, so a simulation takes the same course whatever it
/// is; only the bytes of the points differ from run to run.
pub struct EphemeralKey {
    private: agreement::EphemeralPrivateKey,
    public: [u8; POINT_LEN],
}

/// What the two sides of a Diffie-Hellman exchange share.
pub type SharedSecret = Zeroizing<[u8; SHARED_SECRET_LEN]>;

impl EphemeralKey {
    /// Makes a key.
    pub fn generate() -> Self {
        let system = rand::SystemRandom::new();
        let private = agreement::EphemeralPrivateKey::generate(&agreement::ECDH_P256, &system)
            .expect("the generator that seeded everything at the start does not fail later");
        let point = private.compute_public_key().expect("a private key has a point");
        let mut public = [0; POINT_LEN];
        public.copy_from_slice(point.as_ref());
        Self { private, public }
    }

    /// The point to send to the peer.
    pub fn public(&self) -> &[u8; POINT_LEN] {
        &self.public
    }

    /// What we share with the owner of the peer's point; `None` where that is no uncompressed point on the curve.
    pub fn agree(self, peer: &[u8]) -> Option<SharedSecret> {
        let peer = agreement::UnparsedPublicKey::new(&agreement::ECDH_P256, peer);
        agreement::agree_ephemeral(self.private, &peer, |x| {
            let mut shared = SharedSecret::default();
            shared.copy_from_slice(x);
            shared
        })
        .ok()
    }
}

impl std::fmt::Debug for EphemeralKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EphemeralKey(..)")
    }
}

/// A curve that a certificate's key may be on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// secp256r1.
    P256,
    /// secp384r1.
    P384,
}

/// A hash under a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureHash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
}

/// Whether the owner of `point` signed `message` with ECDSA.
pub fn verify_ecdsa(
    curve: Curve,
    hash: SignatureHash,
    point: &[u8],
    message: &[u8],
    signature: &[u8],
) -> bool {
    let algorithm = match (curve, hash) {
        (Curve::P256, SignatureHash::Sha256) => &signature::ECDSA_P256_SHA256_ASN1,
        (Curve::P256, SignatureHash::Sha384) => &signature::ECDSA_P256_SHA384_ASN1,
        (Curve::P384, SignatureHash::Sha256) => &signature::ECDSA_P384_SHA256_ASN1,
        (Curve::P384, SignatureHash::Sha384) => &signature::ECDSA_P384_SHA384_ASN1,
    };
    signature::UnparsedPublicKey::new(algorithm, point)
        .verify(message, signature)
        .is_ok()
}

/// A P-256 key that signs with SHA-256.
pub struct SigningKey(signature::EcdsaKeyPair);

impl SigningKey {
    /// Reads a PKCS #8 document; `None` where it is none of a P-256 key with its public half.
    pub fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let system = rand::SystemRandom::new();
        let algorithm = &signature::ECDSA_P256_SHA256_ASN1_SIGNING;
        signature::EcdsaKeyPair::from_pkcs8(algorithm, der, &system)
            .ok()
            .map(Self)
    }

    /// The public half, as an uncompressed point.
    pub fn public(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    /// Signs. As with [`EphemeralKey`], the chance in it is the operating system's.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let system = rand::SystemRandom::new();
        let signature = self.0.sign(&system, message);
        signature
            .expect("the generator that seeded everything at the start does not fail later")
            .as_ref()
            .to_vec()
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

/// The SHA-256 hash of bytes.
pub fn sha256(bytes: &[u8]) -> [u8; HASH_LEN] {
    let mut hash = [0; HASH_LEN];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

fn gcm(key: &[u8; KEY_LEN]) -> aead::LessSafeKey {
    let key = aead::UnboundKey::new(&aead::AES_128_GCM, key).expect("the key has the algorithm's length");
    aead::LessSafeKey::new(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The TLS 1.2 SHA-256 vector published on the TLS working group's list (P_SHA256, 100 bytes).
    #[test]
    fn rfc5246_5_prf_gives_the_published_vector() {
        let secret = hex("9bbe436ba940f017b17652849a71db35");
        let seed = hex("a0ba9f936cda311827a6f796ffd5198c");
        let expected = hex(
            "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e14baf9af0f\
             a022f7077def17abfd3797c0564bab4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff70187347b66",
        );
        let mut out = [0; 100];
        prf(&secret, b"test label", [&seed, &[]], &mut out);
        assert_eq!(out[..], expected);

        let mut split = [0; 100];
        prf(&secret, b"test label", [&seed[..5], &seed[5..]], &mut split);
        assert_eq!(split, out);
    }

    /// Test case 4 of the GCM specification has AES-128, 60 bytes of plaintext and 20 of additional data.
    #[test]
    fn gcm_gives_the_specifications_vector() {
        let key = array("feffe9928665731c6d6a8f9467308308");
        let nonce = array("cafebabefacedbaddecaf888");
        let additional = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let plaintext = hex(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16a\
             edf5aa0de657ba637b39",
        );
        let mut text = plaintext.clone();
        let (tag, len) = seal(Aead::Gcm, &key, nonce, &additional, &mut text);
        assert_eq!(
            text,
            hex(
                "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa05\
                 1ba30b396a0aac973d58e091"
            )
        );
        assert_eq!(tag[..len], hex("5bc94fbc3221a5db94fae95ae7121a47"));
        assert!(open(Aead::Gcm, &key, nonce, &additional, &mut text, &tag));
        assert_eq!(text, plaintext);
    }

    /// NIST SP 800-38C example 3: 12-byte nonce, 8-byte tag.
    #[test]
    fn ccm_8_gives_the_specifications_vector() {
        let key = array("404142434445464748494a4b4c4d4e4f");
        let nonce = array("101112131415161718191a1b");
        let additional = hex("000102030405060708090a0b0c0d0e0f10111213");
        let mut text = hex("202122232425262728292a2b2c2d2e2f3031323334353637");
        let (tag, len) = seal(Aead::Ccm8, &key, nonce, &additional, &mut text);
        assert_eq!(text, hex("e3b201a9f5b71a7a9b1ceaeccd97e70b6176aad9a4428aa5"));
        assert_eq!(tag[..len], hex("484392fbc1b09951"));
    }

    /// NIST SP 800-38A F.2.1, its first two blocks, and F.1.1's first.
    #[test]
    fn cbc_and_a_single_block_give_the_specifications_vectors() {
        let key = array("2b7e151628aed2a6abf7158809cf4f3c");
        let iv = array("000102030405060708090a0b0c0d0e0f");
        let plaintext = hex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51");
        let mut text = plaintext.clone();
        cbc_encrypt(&key, &iv, &mut text);
        assert_eq!(
            text,
            hex("7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2")
        );
        cbc_decrypt(&key, &iv, &mut text);
        assert_eq!(text, plaintext);

        let block = encrypt_block(&key, array("6bc1bee22e409f96e93d7e117393172a"));
        assert_eq!(block[..], hex("3ad77bb40d7a3660a89ecaf32466ef97"));
    }

    #[test]
    fn both_sides_of_an_exchange_share_the_same_and_strangers_something_else() {
        let (ours, theirs, other) = (
            EphemeralKey::generate(),
            EphemeralKey::generate(),
            EphemeralKey::generate(),
        );
        let (our_point, their_point) = (*ours.public(), *theirs.public());
        let shared = ours.agree(&their_point).unwrap();
        assert_eq!(shared, theirs.agree(&our_point).unwrap());
        assert_ne!(shared, other.agree(&our_point).unwrap());
    }

    #[test]
    fn what_is_no_uncompressed_point_on_the_curve_is_refused() {
        let good = *EphemeralKey::generate().public();
        let mut off_the_curve = good;
        off_the_curve[64] ^= 1;
        let compressed = [&[2 + (good[64] & 1)], &good[1..33]].concat();
        let hybrid = [&[6 + (good[64] & 1)], &good[1..]].concat();
        let mut beyond_the_field = good;
        beyond_the_field[1..33].fill(0xff);
        let longer = [&good[..], &[0]].concat();
        let points: [(&str, &[u8]); 9] = [
            ("nothing", &[]),
            ("infinity", &[0]),
            ("off the curve", &off_the_curve),
            ("compressed", &compressed),
            ("hybrid", &hybrid),
            ("beyond the field", &beyond_the_field),
            ("the origin", &[&[4][..], &[0; 64]].concat()),
            ("too short", &good[..64]),
            ("too long", &longer),
        ];
        for (name, point) in points {
            assert!(EphemeralKey::generate().agree(point).is_none(), "{name}");
        }
        assert!(EphemeralKey::generate().agree(&good).is_some());
    }

    /// RFC 6979 appendix A.2.5: P-256 with SHA-256 over "sample" and "test".
    #[test]
    fn ecdsa_takes_the_published_signature_and_no_other() {
        let point = hex(
            "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb67903fe1008b8bc99a41ae9e95628bc64f2f\
             1b20c2d7e9f5177a3c294d4462299",
        );
        let signature = hex(
            "3046022100efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716022100f7cb1c942d657c41d436c7\
             a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
        );
        let good = |hash, message: &[u8]| verify_ecdsa(Curve::P256, hash, &point, message, &signature);
        assert!(good(SignatureHash::Sha256, b"sample"));
        assert!(!good(SignatureHash::Sha384, b"sample"));
        assert!(!good(SignatureHash::Sha256, b"test"));
        assert!(!verify_ecdsa(
            Curve::P384,
            SignatureHash::Sha256,
            &point,
            b"sample",
            &signature
        ));
    }

    #[test]
    fn every_aead_opens_what_it_sealed_and_nothing_else() {
        for algorithm in [Aead::Gcm, Aead::Ccm, Aead::Ccm8] {
            let (key, nonce) = ([1; KEY_LEN], [2; NONCE_LEN]);
            let mut text = *b"thirteen bytes";
            let (tag, len) = seal(algorithm, &key, nonce, b"header", &mut text);
            assert_eq!(len, algorithm.tag_len());
            assert!(!open(
                algorithm,
                &key,
                nonce,
                b"hEader",
                &mut text.clone(),
                &tag[..len]
            ));
            assert!(!open(
                algorithm,
                &key,
                [3; NONCE_LEN],
                b"header",
                &mut text.clone(),
                &tag[..len]
            ));
            assert!(!open(
                algorithm,
                &[4; KEY_LEN],
                nonce,
                b"header",
                &mut text.clone(),
                &tag[..len]
            ));
            assert!(!open(
                algorithm,
                &key,
                nonce,
                b"header",
                &mut text.clone(),
                &tag[..len - 1]
            ));
            assert!(open(algorithm, &key, nonce, b"header", &mut text, &tag[..len]));
            assert_eq!(&text, b"thirteen bytes");
        }
    }

    fn hex(digits: &str) -> Vec<u8> {
        data_encoding::HEXLOWER.decode(digits.as_bytes()).unwrap()
    }

    fn array<const N: usize>(digits: &str) -> [u8; N] {
        hex(digits).try_into().unwrap()
    }
}
