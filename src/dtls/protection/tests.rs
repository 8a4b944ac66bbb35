//! Records in CBC against whoever alters them, and against a peer that pads as it likes.

use std::collections::HashSet;

use super::*;

#[test]
fn rfc7366_3_a_record_is_iv_ciphertext_and_mac_with_the_least_padding() {
    let (client, server) = keys();
    for len in 0..50_usize {
        let text: Vec<u8> = (0..len).map(|byte| byte as u8).collect();
        let body = sealed(&client, 7, &text);
        assert_eq!(body.len(), 16 + (len + 1).next_multiple_of(16) + 32, "{len}");
        assert!(body.len() <= len + client.overhead());
        assert_eq!(open(&server, 7, &body), Ok(text));
    }
    assert_eq!(
        sealed(&client, 7, &[1; 15]).len(),
        15 + client.overhead() - 15,
        "one byte of padding"
    );
    assert_eq!(sealed(&client, 7, &[1; 16]).len(), 16 + client.overhead());
}

#[test]
fn any_altered_bit_and_any_cut_is_refused_alike() {
    let (client, server) = keys();
    let body = sealed(&client, 7, b"twenty bytes of text");
    for bit in 0..8 * body.len() {
        let mut altered = body.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            open(&server, 7, &altered),
            Err(NotOpened::Unauthentic),
            "bit {bit}"
        );
    }
    for len in 0..body.len() {
        let whole_blocks = len >= 64 && len.is_multiple_of(16);
        let expected = if whole_blocks {
            NotOpened::Unauthentic
        } else {
            NotOpened::Length
        };
        assert_eq!(open(&server, 7, &body[..len]), Err(expected), "{len} bytes");
    }
    assert_eq!(open(&server, 7, &body), Ok(b"twenty bytes of text".to_vec()));
}

#[test]
fn the_mac_covers_number_and_type_and_length() {
    let (client, server) = keys();
    let body = sealed(&client, 7, b"text");
    assert_eq!(open(&server, 8, &body), Err(NotOpened::Unauthentic));
    let mut as_alert = body.clone();
    let as_alert = server.open(Framing::Plain(ContentType::Alert), 7, &mut as_alert);
    assert_eq!(as_alert.unwrap_err(), NotOpened::Unauthentic);
    // A block moved from one side of the MAC's beginning to the other.
    let longer = [&body[..16], &body[..]].concat();
    assert_eq!(open(&server, 7, &longer), Err(NotOpened::Unauthentic));
    assert_eq!(
        open(&client, 7, &body),
        Err(NotOpened::Unauthentic),
        "sent back to its sender"
    );
}

/// The MAC is right in each of these: only somebody with the keys can have written them.
#[test]
fn padding_may_be_long_but_not_wrong() {
    let (client, server) = keys();
    for blocks in 0..16 {
        let padding = vec![16 * blocks + 11; usize::from(16 * blocks) + 12];
        let body = with_padding(&client, 7, b"four", &padding);
        assert_eq!(open(&server, 7, &body), Ok(b"four".to_vec()), "{}", padding.len());
    }
    let nothing_but_padding = with_padding(&client, 7, b"", &[15; 16]);
    assert_eq!(open(&server, 7, &nothing_but_padding), Ok(Vec::new()));
    let wrong = |index: usize, value: u8| {
        let mut padding = [11; 12];
        padding[index] = value;
        padding
    };
    for padding in [
        wrong(0, 12),
        wrong(10, 0),
        wrong(11, 12),
        wrong(11, 16),
        wrong(11, 255),
        [16; 12],
    ] {
        let body = with_padding(&client, 7, b"four", &padding);
        assert_eq!(
            open(&server, 7, &body),
            Err(NotOpened::Unauthentic),
            "{padding:?}"
        );
    }
}

#[test]
fn no_two_records_of_either_side_have_the_same_iv() {
    let (client, server) = keys();
    let mut seen = HashSet::new();
    for number in 0..1000 {
        for side in [&client, &server] {
            let iv: [u8; BLOCK_LEN] = sealed(side, number, b"")[..BLOCK_LEN].try_into().unwrap();
            assert!(seen.insert(iv), "number {number}");
        }
    }
    // Counting up is not visible: about half of the bits change.
    let [first, second] = [0, 1].map(|number| sealed(&client, number, b""));
    let changed: u32 = (0..BLOCK_LEN)
        .map(|at| (first[at] ^ second[at]).count_ones())
        .sum();
    assert!((30..98).contains(&changed), "{changed} of 128 bits");
}

#[test]
fn a_key_block_is_cut_in_the_order_of_rfc5246_6_3() {
    let block: Vec<u8> = (0..MAX_KEY_BLOCK_LEN).map(|byte| byte as u8).collect();
    let (Keys::CbcThenMac(client), Keys::CbcThenMac(server)) =
        Keys::of_both_sides(Protection::CbcThenMac, &block)
    else {
        panic!("keys of another kind")
    };
    assert_eq!(client.write.mac[..], block[..32]);
    assert_eq!(client.read.mac[..], block[32..64]);
    assert_eq!(client.write.key[..], block[64..80]);
    assert_eq!(client.read.key[..], block[80..96]);
    assert_eq!(
        (server.write.mac, server.read.mac),
        (client.read.mac, client.write.mac)
    );
    assert_eq!(
        (server.write.key, server.read.key),
        (client.read.key, client.write.key)
    );
    assert_ne!(client.iv, server.iv);
}

fn keys() -> (Keys, Keys) {
    let block: Vec<u8> = (0..MAX_KEY_BLOCK_LEN)
        .map(|byte| (3 * byte % 251) as u8)
        .collect();
    Keys::of_both_sides(Protection::CbcThenMac, &block)
}

fn sealed(keys: &Keys, number: u64, text: &[u8]) -> Vec<u8> {
    let mut out = vec![0; keys.prefix_len()];
    out.extend_from_slice(text);
    keys.seal(DATA, number, 0, &mut out);
    out
}

fn open(keys: &Keys, number: u64, body: &[u8]) -> Result<Vec<u8>, NotOpened> {
    keys.open(DATA, number, &mut body.to_vec())
        .map(|text| text.to_vec())
}

/// What a peer makes that pads in its own way.
fn with_padding(keys: &Keys, number: u64, text: &[u8], padding: &[u8]) -> Vec<u8> {
    let Keys::CbcThenMac(keys) = keys else {
        panic!("keys of another kind")
    };
    let iv = [9; BLOCK_LEN];
    let mut body = [&iv[..], text, padding].concat();
    crypto::cbc_encrypt(&keys.write.key, &iv, &mut body[BLOCK_LEN..]);
    let mac = keys.write.mac(DATA, number, &body);
    body.extend_from_slice(&mac);
    body
}

const DATA: Framing<'static> = Framing::Plain(ContentType::ApplicationData);
