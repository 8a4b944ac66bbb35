//! An established session against everybody who can write its peer's address on a datagram.

use proptest::prelude::*;

use super::*;
use crate::dtls::record::write_plaintext;
use crate::dtls::suite::Protection;
use crate::dtls::tests::{assert_speaking, data, sessions};
use crate::dtls::{RestoreError, SavedSession};

#[test]
fn a_session_is_small() {
    let size = size_of::<Session>();
    assert!(size <= 96, "{size} bytes");
    let beside = size_of::<crate::dtls::protection::CbcKeys>();
    assert!(beside <= 112, "{beside} bytes of keys in CBC");
    let with_ids = size_of::<Rarely>();
    assert!(with_ids <= 40, "{with_ids} bytes of connection IDs");
    let (_, server) = sessions(CipherSuite::PskAes128Ccm8);
    assert!(server.rarely.is_some(), "its last flight may be asked for again");
    let (mut client, mut server) = sessions(CipherSuite::PskAes128Ccm8);
    assert_speaking(&mut client, &mut server);
    assert!(server.rarely.is_none() && client.rarely.is_none());
}

#[test]
fn a_record_is_what_the_rfcs_say() {
    let (mut client, mut server) = sessions(CipherSuite::PskAes128Ccm8);
    let mut datagram = Vec::new();
    assert_eq!(client.seal(b"four", &mut datagram), Ok(1), "the Finished was 0");
    #[rustfmt::skip]
    let expected = [
        23, 0xfe, 0xfd,
        0, 1, 0, 0, 0, 0, 0, 1,     // epoch and number
        0, 8 + 4 + 8,
        0, 1, 0, 0, 0, 0, 0, 1,     // the nonce counts too
    ];
    assert_eq!(datagram[..21], expected);
    assert_eq!(datagram.len(), 4 + client.overhead());
    assert_eq!(server.handle_record(&mut datagram), data(b"four"));
}

#[test]
fn a_record_is_written_straight_behind_others() {
    let (mut client, mut server) = sessions(CipherSuite::PskAes128GcmSha256);
    let mut datagram = b"before".to_vec();
    let start = server.begin_record(&mut datagram);
    datagram.extend_from_slice(b"an answer");
    let number = server.next_record_number();
    assert_eq!(server.finish_record(start, &mut datagram), Ok(number));
    assert_eq!(client.handle_record(&mut datagram[6..]), data(b"an answer"));
    assert_eq!(datagram[..6], *b"before");
}

#[test]
fn nothing_a_stranger_sends_ends_or_changes_a_session() {
    for suite in CipherSuite::ALL {
        let (mut client, mut server) = sessions(suite);
        let plaintext = |kind, body: &[u8]| {
            let mut datagram = Vec::new();
            write_plaintext(kind, 0xfefd, 77, body, &mut datagram);
            datagram
        };
        let protected = |epoch: u8, len: usize| {
            let mut datagram = vec![23, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 9, 0, len as u8];
            datagram.extend(std::iter::repeat_n(0x5a, len));
            datagram
        };
        let shortest = match suite.protection() {
            Protection::Aead(aead) => 8 + aead.tag_len(),
            Protection::CbcThenMac => 16 + 16 + 32,
        };
        let mut other_version = protected(1, 80);
        other_version[2] = 0xff;
        let attacks = [
            ("undecryptable", protected(1, 80), Ignored::Unauthentic),
            ("of 10 bytes", protected(1, 10), Ignored::Malformed),
            ("of no bytes", protected(1, 0), Ignored::Malformed),
            ("a byte too short", protected(1, shortest - 1), Ignored::Malformed),
            ("of a future epoch", protected(2, 60), Ignored::WrongEpoch),
            ("of a far epoch", protected(0xff, 60), Ignored::WrongEpoch),
            ("of DTLS 1.0", other_version, Ignored::Malformed),
            (
                "plaintext close_notify",
                plaintext(ContentType::Alert, &[1, 0]),
                Ignored::Plaintext,
            ),
            (
                "plaintext fatal alert",
                plaintext(ContentType::Alert, &[2, 40]),
                Ignored::Plaintext,
            ),
            (
                "plaintext data",
                plaintext(ContentType::ApplicationData, b"let me in"),
                Ignored::Plaintext,
            ),
            (
                "ChangeCipherSpec",
                plaintext(ContentType::ChangeCipherSpec, &[1]),
                Ignored::Plaintext,
            ),
            (
                "ClientHello",
                plaintext(ContentType::Handshake, &[1; 60]),
                Ignored::Plaintext,
            ),
            (
                "plaintext Finished",
                plaintext(ContentType::Handshake, &[20; 24]),
                Ignored::Plaintext,
            ),
            ("not DTLS", b"\x40\x01\x12\x34".to_vec(), Ignored::Malformed),
            ("empty", Vec::new(), Ignored::Malformed),
        ];
        for (name, mut record, expected) in attacks {
            for session in [&mut server, &mut client] {
                let before = session.save().to_bytes();
                assert_eq!(
                    session.handle_record(&mut record.clone()),
                    Incoming::Ignored(expected),
                    "{name}"
                );
                assert_eq!(*session.save().to_bytes(), *before, "{name}");
            }
            record.clear();
            assert_speaking(&mut client, &mut server);
            assert_speaking(&mut server, &mut client);
        }
        assert_eq!(server.failures(), 1);
    }
}

#[test]
fn rfc6347_4_1_2_6_a_replayed_record_is_ignored() {
    let (mut client, mut server) = sessions(CipherSuite::PskAes128GcmSha256);
    let mut recorded = Vec::new();
    client.seal(b"open the door", &mut recorded).unwrap();
    assert_eq!(
        server.handle_record(&mut recorded.clone()),
        data(b"open the door")
    );
    for _ in 0..100 {
        assert_eq!(
            server.handle_record(&mut recorded.clone()),
            Incoming::Ignored(Ignored::Replayed)
        );
        assert_speaking(&mut client, &mut server);
    }
}

#[test]
fn a_forged_record_with_a_high_number_does_not_move_the_window() {
    let (mut client, mut server) = sessions(CipherSuite::PskAes128Ccm);
    let mut forged = vec![23, 0xfe, 0xfd, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 40];
    forged.extend_from_slice(&[1; 40]);
    assert_eq!(
        server.handle_record(&mut forged),
        Incoming::Ignored(Ignored::Unauthentic)
    );
    assert_speaking(&mut client, &mut server);
}

#[test]
fn renegotiation_and_warnings_from_the_peer_itself_change_nothing() {
    let (mut client, mut server) = sessions(CipherSuite::PskAes128Ccm8);
    for (kind, body) in [
        (ContentType::Handshake, &[1; 50][..]),
        (ContentType::Handshake, &[0; 12]),
        (ContentType::Handshake, &[]),
        (ContentType::ChangeCipherSpec, &[1]),
        (ContentType::Alert, &[1, 90]),
        (ContentType::Alert, &[9, 9, 9]),
    ] {
        let mut datagram = Vec::new();
        client.seal_as(kind, body, &mut datagram).unwrap();
        assert_eq!(
            server.handle_record(&mut datagram),
            Incoming::Ignored(Ignored::Unexpected),
            "{kind:?}"
        );
    }
    let mut datagram = Vec::new();
    client
        .seal_as(ContentType::Alert, &[2, 40], &mut datagram)
        .unwrap();
    assert_eq!(
        server.handle_record(&mut datagram),
        Incoming::Closed,
        "an authentic fatal alert"
    );
}

#[test]
fn only_the_last_of_two_to_the_32_failures_ends_a_session() {
    let (mut client, mut server) = sessions(CipherSuite::PskAes128Ccm8);
    server.failures = u32::MAX - 1;
    let mut forged = vec![23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 1, 9, 0, 40];
    forged.extend_from_slice(&[1; 40]);
    assert_eq!(
        server.handle_record(&mut forged.clone()),
        Incoming::Ignored(Ignored::Unauthentic)
    );
    assert_speaking(&mut client, &mut server);
    assert_eq!(server.handle_record(&mut forged), Incoming::Closed);
}

#[test]
fn record_numbers_end_before_they_wrap() {
    let (_, mut server) = sessions(CipherSuite::PskAes128GcmSha256);
    server.next_number = MAX_RECORD_NUMBER - 1;
    let mut out = Vec::new();
    assert_eq!(server.seal(b"last", &mut out), Ok(MAX_RECORD_NUMBER - 1));
    out.clear();
    assert_eq!(
        server.seal(b"one too many", &mut out),
        Err(SealError::OutOfNumbers)
    );
    server.close(&mut out);
    assert!(out.is_empty());
    server.reserve(u64::MAX);
    assert_eq!(server.reservation(), MAX_RECORD_NUMBER);
}

#[test]
fn a_journalled_session_sends_only_what_is_reserved() {
    let (_, mut server) = sessions(CipherSuite::PskAes128Ccm8);
    server.reserve(RESERVATION);
    let mut out = Vec::new();
    for number in 1..RESERVATION {
        out.clear();
        assert_eq!(server.seal(b"", &mut out), Ok(number));
    }
    assert_eq!(server.seal(b"", &mut out), Err(SealError::OutOfNumbers));
    server.reserve(2 * RESERVATION);
    assert_eq!(server.seal(b"", &mut out), Ok(RESERVATION));
}

#[test]
fn a_restored_session_reuses_no_number_and_takes_no_old_record() {
    for suite in CipherSuite::ALL {
        let (mut client, mut server) = sessions(suite);
        server.reserve(RESERVATION);
        let mut seen = Vec::new();
        client.seal(b"seen before", &mut seen).unwrap();
        assert_eq!(server.handle_record(&mut seen.clone()), data(b"seen before"));
        let mut late = Vec::new();
        client.seal(b"on the way during the crash", &mut late).unwrap();
        assert_speaking(&mut client, &mut server);
        assert_speaking(&mut server, &mut client);

        let bytes = server.save().to_bytes();
        drop(server);
        let mut server = Session::restore(SavedSession::from_bytes(&bytes).unwrap());

        assert_eq!(server.suite(), suite);
        assert!(server.extended_master_secret());
        assert_eq!(
            server.handle_record(&mut seen),
            Incoming::Ignored(Ignored::Replayed)
        );
        assert_eq!(
            server.handle_record(&mut late),
            Incoming::Ignored(Ignored::Replayed),
            "below the mark"
        );
        let mut out = Vec::new();
        assert_eq!(server.seal(b"too soon", &mut out), Err(SealError::OutOfNumbers));
        server.reserve(2 * RESERVATION);
        assert_eq!(server.next_record_number(), RESERVATION);
        assert_speaking(&mut client, &mut server);
        assert_speaking(&mut server, &mut client);
    }
}

#[test]
fn later_journal_entries_only_raise_the_marks() {
    let (_, server) = sessions(CipherSuite::PskAes128Ccm8);
    let mut saved = server.save();
    assert_eq!(saved.receive_mark(), 1);
    saved.raise_receive_mark(500);
    saved.raise_receive_mark(400);
    assert_eq!(saved.receive_mark(), 500);
    let mut saved = SavedSession {
        reservation: 1024,
        ..saved
    };
    saved.raise_reservation(3072);
    saved.raise_reservation(2048);
    assert_eq!(saved.reservation(), 3072);
    assert_eq!(Session::restore(saved).receive_mark(), 500);
}

#[test]
fn what_is_not_a_saved_session_is_refused() {
    for (suite, expected_len) in [
        (CipherSuite::PskAes128CbcSha256, 134),
        (CipherSuite::PskAes128Ccm8, 62),
    ] {
        let (_, server) = sessions(suite);
        let bytes = server.save().to_bytes();
        assert_eq!(bytes.len(), expected_len);
        for len in 0..bytes.len() {
            assert_eq!(
                SavedSession::from_bytes(&bytes[..len]).unwrap_err(),
                RestoreError::Malformed,
                "{len}"
            );
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(
            SavedSession::from_bytes(&longer).unwrap_err(),
            RestoreError::Malformed
        );
        // Nor do the keys of one suite pass for another's.
        let mut other = bytes.to_vec();
        let id: u16 = if expected_len == 62 { 0x00ae } else { 0xc0a8 };
        other[1..3].copy_from_slice(&id.to_be_bytes());
        assert_eq!(
            SavedSession::from_bytes(&other).unwrap_err(),
            RestoreError::Malformed
        );
    }
    let (_, server) = sessions(CipherSuite::PskAes128Ccm8);
    let bytes = server.save().to_bytes();
    for (index, value, expected) in [
        (0, 0, RestoreError::Version(0)),
        (0, 3, RestoreError::Version(3)),
        (1, 0xaa, RestoreError::Suite(0xaaa8)),
        (3, 3, RestoreError::Malformed),
        (3, 5, RestoreError::Malformed),
        (3, 9, RestoreError::Malformed),
        (3, 16, RestoreError::Malformed),
        (4, 0xff, RestoreError::Malformed),
        (46, 1, RestoreError::Malformed),
        (54, 1, RestoreError::Malformed),
    ] {
        let mut altered = bytes.to_vec();
        altered[index] = value;
        assert_eq!(
            SavedSession::from_bytes(&altered).unwrap_err(),
            expected,
            "{index}"
        );
    }
}

/// Written by the first release: format 1, CCM_8, extended master secret, and keys that count.
#[test]
fn a_session_saved_by_an_earlier_version_is_still_read() {
    let mut bytes = vec![1, 0xc0, 0xa8, 1, 0x40, 0];
    bytes.extend(0..40);
    bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 4, 0]);
    bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 9]);
    let saved = SavedSession::from_bytes(&bytes).unwrap();
    assert_eq!(
        (saved.suite(), saved.reservation(), saved.receive_mark()),
        (CipherSuite::PskAes128Ccm8, 1024, 9)
    );
    assert_eq!(saved.connection_id(), None);
    // The second format has more to say only where there are connection IDs.
    assert_eq!((saved.to_bytes()[0], &saved.to_bytes()[1..]), (2, &bytes[1..]));
    for flags in [2, 3, 4, 8, 15] {
        let mut altered = bytes.clone();
        altered[3] = flags;
        assert_eq!(
            SavedSession::from_bytes(&altered).unwrap_err(),
            RestoreError::Malformed
        );
    }
    let Keys::Aead { write, read, .. } = &saved.keys else {
        panic!("keys of another kind")
    };
    assert_eq!(
        (write.key[0], write.salt[0], read.key[0], read.salt[0]),
        (0, 16, 20, 36)
    );
}

#[test]
fn a_session_in_cbc_makes_no_iv_twice_over_a_restart() {
    let (mut client, mut server) = sessions(CipherSuite::PskAes128CbcSha256);
    server.reserve(RESERVATION);
    let mut before = Vec::new();
    server.seal(b"before", &mut before).unwrap();
    assert_eq!(client.handle_record(&mut before.clone()), data(b"before"));
    let bytes = server.save().to_bytes();
    let mut server = Session::restore(SavedSession::from_bytes(&bytes).unwrap());
    server.reserve(2 * RESERVATION);
    let mut after = Vec::new();
    server.seal(b"before", &mut after).unwrap();
    assert_ne!(before[13..29], after[13..29]);
    assert_eq!(client.handle_record(&mut after), data(b"before"));
}

#[test]
fn neither_form_of_a_session_prints_its_keys() {
    for suite in [CipherSuite::PskAes128Ccm8, CipherSuite::PskAes128CbcSha256] {
        let (_, server) = sessions(suite);
        let key = match &server.keys {
            Keys::Aead { write, .. } => format!("{:?}", write.key),
            Keys::CbcThenMac(keys) => format!("{:?}", keys.write.key),
        };
        for printed in [format!("{server:?}"), format!("{:?}", server.save())] {
            assert!(!printed.contains("key") && !printed.contains(&key), "{printed}");
        }
        assert!(!format!("{:?}", server.keys).contains(&key));
    }
}

proptest! {
    #[test]
    fn no_alteration_of_a_recorded_datagram_is_taken(
        text in proptest::collection::vec(any::<u8>(), 0..80),
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), 0..8_u8), 1..4),
        cut in proptest::option::of(any::<proptest::sample::Index>()),
        nth in 0..CipherSuite::ALL.len(),
    ) {
        let (mut client, mut server) = sessions(CipherSuite::ALL[nth]);
        let mut recorded = Vec::new();
        client.seal(&text, &mut recorded).unwrap();
        let mut altered = recorded.clone();
        for (index, bit) in flips {
            let index = index.index(altered.len());
            altered[index] ^= 1 << bit;
        }
        if let Some(cut) = cut {
            altered.truncate(cut.index(altered.len()));
        }
        if altered != recorded {
            prop_assert!(matches!(server.handle_record(&mut altered), Incoming::Ignored(_)));
        }
        prop_assert_eq!(server.handle_record(&mut recorded), data(&text));
    }

    #[test]
    fn garbage_is_ignored(mut garbage in proptest::collection::vec(any::<u8>(), 0..120), nth in 0..CipherSuite::ALL.len()) {
        let (mut client, mut server) = sessions(CipherSuite::ALL[nth]);
        for header in [0, 5, 13] {
            // As it is, then with more and more of a plausible header.
            let plausible = [23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 7, 0, garbage.len().saturating_sub(13) as u8];
            let len = header.min(garbage.len());
            garbage[..len].copy_from_slice(&plausible[..len]);
            prop_assert!(matches!(server.handle_record(&mut garbage.clone()), Incoming::Ignored(_)));
        }
        assert_speaking(&mut client, &mut server);
    }

    #[test]
    fn what_is_sealed_is_opened_in_any_order(order in Just((0..64_usize).collect::<Vec<_>>()).prop_shuffle(), nth in 0..CipherSuite::ALL.len()) {
        let (mut client, mut server) = sessions(CipherSuite::ALL[nth]);
        let mut datagrams: Vec<Vec<u8>> = (0..64_u8)
            .map(|text| {
                let mut datagram = Vec::new();
                client.seal(&[text; 9], &mut datagram).unwrap();
                datagram
            })
            .collect();
        let mut highest = None;
        for index in order {
            let expected = Incoming::Data { message: &[index as u8; 9], newest: highest.is_none_or(|highest| index > highest) };
            prop_assert_eq!(server.handle_record(&mut datagrams[index]), expected);
            highest = highest.max(Some(index));
        }
    }

    #[test]
    fn saving_is_the_inverse_of_restoring(
        reservation in 0..MAX_RECORD_NUMBER, mark in 0..MAX_RECORD_NUMBER, nth in 0..CipherSuite::ALL.len(),
    ) {
        let (_, server) = sessions(CipherSuite::ALL[nth]);
        let mut saved = SavedSession { reservation: 0, ..server.save() };
        saved.raise_reservation(reservation);
        saved.raise_receive_mark(mark);
        let bytes = saved.to_bytes();
        prop_assert_eq!(&*SavedSession::from_bytes(&bytes).unwrap().to_bytes(), &*bytes);
        prop_assert_eq!(&*Session::restore(saved).save().to_bytes(), &*bytes);
    }
}
