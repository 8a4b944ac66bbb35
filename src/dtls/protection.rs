//! What stands in a record for a plaintext, and back: the keys of a session at work (RFC 5246 section 6.2.3).
//!
//! ```text
//! AEAD            explicit nonce 8 | ciphertext                      | tag 8 or 16
//! CBC, then MAC   IV 16            | ciphertext of plaintext, padding | MAC 32
//! ```
//!
//! Keys are kept raw and expanded per record: an idle session is some hundred bytes then, not a thousand.

#[cfg(test)]
mod tests;

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::connection_id::ChosenId;
use super::crypto::{self, Aead, BLOCK_LEN, HASH_LEN, KEY_LEN, MAX_TAG_LEN, MacKey, NONCE_LEN};
use super::record::{ContentType, DTLS_1_2};
use super::suite::Protection;

/// The keys of a session, as one side has them.
#[derive(Clone)]
pub enum Keys {
    /// An AEAD's.
    Aead {
        aead: Aead,
        write: AeadKey,
        read: AeadKey,
    },
    /// Those of CBC and HMAC are three times the size, so only who has them holds them.
    CbcThenMac(Box<CbcKeys>),
}

/// One direction's key and the implicit part of its nonces.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct AeadKey {
    pub key: [u8; KEY_LEN],
    pub salt: [u8; SALT_LEN],
}

/// Both directions' keys for CBC and HMAC, and our own source of IVs.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct CbcKeys {
    pub write: CbcKey,
    pub read: CbcKey,
    /// Makes the IVs of what we write out of the record numbers; used for nothing else, and the peer need not know it.
    pub iv: [u8; KEY_LEN],
}

/// One direction's keys for CBC and HMAC.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct CbcKey {
    pub mac: [u8; HASH_LEN],
    pub key: [u8; KEY_LEN],
}

/// How a record says what it carries.
#[derive(Clone, Copy, Debug)]
pub enum Framing<'a> {
    /// In its header.
    Plain(ContentType),
    /// Inside, and the header has this connection ID.
    WithId(&'a [u8]),
}

/// Why a record did not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOpened {
    /// Its length is none that this protection gives.
    Length,
    /// Anything else: one answer for every cause, so that there is nothing to learn from it.
    Unauthentic,
}

impl Protection {
    /// How much of the key block becomes keys, for both sides together.
    pub fn key_block_len(self) -> usize {
        match self {
            Self::Aead(_) => 2 * (KEY_LEN + SALT_LEN),
            Self::CbcThenMac => 2 * (HASH_LEN + KEY_LEN + KEY_LEN),
        }
    }
}

impl Keys {
    /// Cuts a key block of [`Protection::key_block_len`] bytes into the client's keys and the server's.
    //= RFC 5246 section 6.3
    //# client_write_MAC_key[SecurityParameters.mac_key_length]
    //# server_write_MAC_key[SecurityParameters.mac_key_length]
    //# client_write_key[SecurityParameters.enc_key_length]
    //# server_write_key[SecurityParameters.enc_key_length]
    //# client_write_IV[SecurityParameters.fixed_iv_length]
    //# server_write_IV[SecurityParameters.fixed_iv_length]
    // CBC has no fixed IV in TLS 1.2. What the PRF gives beyond the keys is as secret as they are and not part of the
    // protocol: there each side takes the key that makes its IVs.
    pub fn of_both_sides(protection: Protection, key_block: &[u8]) -> (Self, Self) {
        let mut block = KeyBlock(key_block);
        match protection {
            Protection::Aead(aead) => {
                let keys = (block.take(), block.take());
                let client = AeadKey {
                    key: keys.0,
                    salt: block.take(),
                };
                let server = AeadKey {
                    key: keys.1,
                    salt: block.take(),
                };
                let side = |write: &AeadKey, read: &AeadKey| Self::Aead {
                    aead,
                    write: write.clone(),
                    read: read.clone(),
                };
                (side(&client, &server), side(&server, &client))
            }
            Protection::CbcThenMac => {
                let macs = (block.take(), block.take());
                let client = CbcKey {
                    mac: macs.0,
                    key: block.take(),
                };
                let server = CbcKey {
                    mac: macs.1,
                    key: block.take(),
                };
                let mut side = |write: &CbcKey, read: &CbcKey| {
                    Self::CbcThenMac(Box::new(CbcKeys {
                        write: write.clone(),
                        read: read.clone(),
                        iv: block.take(),
                    }))
                };
                (side(&client, &server), side(&server, &client))
            }
        }
    }

    /// Bytes between a record's header and its ciphertext.
    pub fn prefix_len(&self) -> usize {
        match self {
            Self::Aead { .. } => EXPLICIT_LEN,
            Self::CbcThenMac(_) => BLOCK_LEN,
        }
    }

    /// The most that what stands in a record is longer than its plaintext, in bytes.
    pub fn overhead(&self) -> usize {
        match self {
            Self::Aead { aead, .. } => EXPLICIT_LEN + aead.tag_len(),
            Self::CbcThenMac(_) => BLOCK_LEN + BLOCK_LEN + HASH_LEN,
        }
    }

    /// Protects the plaintext at the end of `out`, which begins [`Keys::prefix_len`] bytes behind `start`: fills the gap,
    /// encrypts in place, appends what authenticates it.
    ///
    /// A number must never come twice with other bytes: the nonce of an AEAD and the IV of CBC are made of it.
    pub fn seal(&self, framing: Framing<'_>, number: u64, start: usize, out: &mut Vec<u8>) {
        match self {
            Self::Aead { aead, write, .. } => {
                let explicit = number_with_epoch(number);
                out[start..start + EXPLICIT_LEN].copy_from_slice(&explicit);
                let text = &mut out[start + EXPLICIT_LEN..];
                let mut buffer = [0; MAX_ADDITIONAL_LEN];
                let additional = additional(framing, number, text.len(), &mut buffer);
                let (tag, len): ([u8; MAX_TAG_LEN], usize) =
                    crypto::seal(*aead, &write.key, write.nonce(&explicit), additional, text);
                out.extend_from_slice(&tag[..len]);
            }
            Self::CbcThenMac(keys) => {
                let iv = keys.next_iv(number);
                out[start..start + BLOCK_LEN].copy_from_slice(&iv);
                let text = start + BLOCK_LEN;
                //= RFC 5246 section 6.2.3.2
                //# Each uint8 in the padding data vector MUST be filled with the padding length value.
                // The last byte is that length, which does not count itself.
                let padding = BLOCK_LEN - (out.len() - text) % BLOCK_LEN;
                out.resize(out.len() + padding, (padding - 1) as u8);
                crypto::cbc_encrypt(&keys.write.key, &iv, &mut out[text..]);
                let mac = keys.write.mac(framing, number, &out[start..]);
                out.extend_from_slice(&mac);
            }
        }
    }

    /// Checks and decrypts in place what stands in a record; the plaintext.
    ///
    /// # Errors
    /// When it is not authentic, or too short to be.
    pub fn open<'d>(
        &self,
        framing: Framing<'_>,
        number: u64,
        body: &'d mut [u8],
    ) -> Result<&'d mut [u8], NotOpened> {
        match self {
            Self::Aead { aead, read, .. } => {
                let text_len = body
                    .len()
                    .checked_sub(EXPLICIT_LEN + aead.tag_len())
                    .ok_or(NotOpened::Length)?;
                let (explicit, body) = body.split_at_mut(EXPLICIT_LEN);
                let (text, tag) = body.split_at_mut(text_len);
                // The nonce is whatever the peer wrote: RFC 5288 lets it choose, though most repeat epoch and number.
                let nonce = read.nonce(explicit);
                let mut buffer = [0; MAX_ADDITIONAL_LEN];
                let additional = additional(framing, number, text.len(), &mut buffer);
                if crypto::open(*aead, &read.key, nonce, additional, text, tag) {
                    Ok(text)
                } else {
                    Err(NotOpened::Unauthentic)
                }
            }
            Self::CbcThenMac(keys) => {
                let text_len = body
                    .len()
                    .checked_sub(BLOCK_LEN + HASH_LEN)
                    .ok_or(NotOpened::Length)?;
                // There is at least the byte that says how much padding there is.
                if text_len == 0 || !text_len.is_multiple_of(BLOCK_LEN) {
                    return Err(NotOpened::Length);
                }
                let (protected, mac) = body.split_at_mut(BLOCK_LEN + text_len);
                // RFC 7366 section 3: the MAC comes first, and where it is wrong nothing else happens, so that no time
                // and no answer depends on what an altered record decrypts to.
                if !crypto::equal(&keys.read.mac(framing, number, protected), mac) {
                    return Err(NotOpened::Unauthentic);
                }
                let Some((iv, text)) = protected.split_first_chunk_mut::<BLOCK_LEN>() else {
                    return Err(NotOpened::Length);
                };
                crypto::cbc_decrypt(&keys.read.key, iv, text);
                without_padding(text).ok_or(NotOpened::Unauthentic)
            }
        }
    }
}

impl AeadKey {
    //= RFC 6655 section 3
    //# In DTLS, the 64-bit seq_num is the 16-bit epoch concatenated with the 48-bit seq_num.
    fn nonce(&self, explicit: &[u8]) -> [u8; NONCE_LEN] {
        let mut nonce = [0; NONCE_LEN];
        nonce[..SALT_LEN].copy_from_slice(&self.salt);
        nonce[SALT_LEN..].copy_from_slice(explicit);
        nonce
    }
}

impl CbcKeys {
    /// The IV of the record with this number.
    ///
    /// A session draws no randomness for a record, so the IV is AES of the record's number: under a key of its own that
    /// nobody else uses, over inputs that never come twice (not after a restart either), it cannot be told from random
    /// blocks. SP 800-38A appendix C would allow the encryption key itself; P. Rogaway ("Evaluation of Some Blockcipher
    /// Modes of Operation", 2011, on appendix C) shows why that is not enough, and that a key of its own is.
    //= RFC 5246 section 6.2.3.2
    //# The Initialization Vector (IV) SHOULD be chosen at random, and MUST be unpredictable.
    fn next_iv(&self, number: u64) -> [u8; BLOCK_LEN] {
        let mut block = [0; BLOCK_LEN];
        block[..8].copy_from_slice(&number_with_epoch(number));
        crypto::encrypt_block(&self.iv, block)
    }
}

impl CbcKey {
    /// The MAC over the record's header, the IV and the ciphertext.
    //= RFC 7366 section 3
    //# MAC(MAC_write_key, seq_num +
    //#     TLSCipherText.type +
    //#     TLSCipherText.version +
    //#     TLSCipherText.length +
    //#     IV +
    //#     ENC(content + padding + padding_length));
    // The length is of what is under the MAC, without the MAC.
    // The length is so too where there is a connection ID: RFC 9146 section 5.2 takes the rest as it is.
    fn mac(&self, framing: Framing<'_>, number: u64, protected: &[u8]) -> [u8; HASH_LEN] {
        let mut buffer = [0; MAX_ADDITIONAL_LEN];
        let additional = additional(framing, number, protected.len(), &mut buffer);
        MacKey::new(&self.mac).mac(&[additional, protected])
    }
}

/// Never a key in a log.
macro_rules! print_nothing_of {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    )*};
}

print_nothing_of!(Keys, AeadKey, CbcKeys, CbcKey);

/// The plaintext before its padding; `None` where the padding is none. Only after the MAC: the peer has written it.
fn without_padding(text: &mut [u8]) -> Option<&mut [u8]> {
    let len = usize::from(*text.last()?);
    let text_len = text.len().checked_sub(len + 1)?;
    let (text, padding) = text.split_at_mut(text_len);
    padding
        .iter()
        .all(|byte| usize::from(*byte) == len)
        .then_some(text)
}

/// What is authenticated beside the text, in `buffer`: the record as the peer counts it. An AEAD has it as additional data,
/// CBC in front of what is under the MAC. Written in place, as a value of this size that is moved costs ten times more.
fn additional<'b>(
    framing: Framing<'_>,
    number: u64,
    text_len: usize,
    buffer: &'b mut [u8; MAX_ADDITIONAL_LEN],
) -> &'b [u8] {
    let number = number_with_epoch(number);
    let version = DTLS_1_2.to_be_bytes();
    let text_len = (text_len as u16).to_be_bytes();
    match framing {
        //= RFC 5246 section 6.2.3.3
        //# additional_data = seq_num + TLSCompressed.type + TLSCompressed.version + TLSCompressed.length;
        Framing::Plain(kind) => {
            buffer[..8].copy_from_slice(&number);
            buffer[8] = kind.wire();
            buffer[9..11].copy_from_slice(&version);
            buffer[11..13].copy_from_slice(&text_len);
            &buffer[..13]
        }
        //= RFC 9146 section 5.3
        //# additional_data = seq_num_placeholder + tls12_cid + cid_length + tls12_cid + DTLSCiphertext.version + epoch +
        //# sequence_number + cid + length_of_DTLSInnerPlaintext;
        // Section 5.2, for CBC, differs in the length alone.
        Framing::WithId(id) => {
            let kind = ContentType::Tls12Cid.wire();
            buffer[..8].copy_from_slice(&SEQ_NUM_PLACEHOLDER);
            buffer[8..11].copy_from_slice(&[kind, id.len() as u8, kind]);
            buffer[11..13].copy_from_slice(&version);
            buffer[13..21].copy_from_slice(&number);
            let end = 21 + id.len();
            buffer[21..end].copy_from_slice(id);
            buffer[end..end + 2].copy_from_slice(&text_len);
            &buffer[..end + 2]
        }
    }
}

fn number_with_epoch(number: u64) -> [u8; EXPLICIT_LEN] {
    (u64::from(EPOCH) << 48 | number).to_be_bytes()
}

/// A key block, cut from the front.
struct KeyBlock<'a>(&'a [u8]);

impl KeyBlock<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (taken, rest) = self
            .0
            .split_first_chunk()
            .expect("a block of the length asked for");
        self.0 = rest;
        *taken
    }
}

/// Stands where records without a connection ID have their number, so that the two can never be taken for each other.
const SEQ_NUM_PLACEHOLDER: [u8; 8] = [0xff; 8];
/// The most that is authenticated beside a text, in bytes.
const MAX_ADDITIONAL_LEN: usize = 8 + 3 + 2 + 8 + ChosenId::MAX_LEN + 2;
/// The only epoch with keys: renegotiation is refused, so there is never a second one.
pub const EPOCH: u16 = 1;
/// The longest key block, in bytes.
pub const MAX_KEY_BLOCK_LEN: usize = 2 * (HASH_LEN + KEY_LEN + KEY_LEN);
/// The part of the nonce that comes out of the key block (RFC 5288, RFC 6655), in bytes.
pub const SALT_LEN: usize = 4;
/// The part of the nonce that travels in the record (RFC 5288, RFC 6655), in bytes.
const EXPLICIT_LEN: usize = 8;
