use proptest::prelude::*;

use super::*;

/// What a stock Zephyr device offers: one suite and 00FF; signature_algorithms, max_fragment_length 2048,
    /// encrypt_then_mac, extended_master_secret.
    #[rustfmt::skip]
    const ZEPHYR: [u8; 67] = [
        0xfe, 0xfd,
        1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
        17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32,
        0, 0,
        0, 4, 0x00, 0xa8, 0x00, 0xff,
        1, 0,
        0, 21,
        0, 13, 0, 4, 0, 2, 4, 1,
        0, 1, 0, 1, 3,
        0, 22, 0, 0,
        0, 23, 0, 0,
    ];

#[test]
fn a_zephyr_device_is_understood() {
    let hello = ClientHello::parse(&ZEPHYR).unwrap();
    assert_eq!(hello.version, 0xfefd);
    assert_eq!(hello.random[..3], [1, 2, 3]);
    assert_eq!(hello.suites().collect::<Vec<_>>(), [0x00a8, 0x00ff]);
    let expected = Offer {
        extended_master_secret: true,
        encrypt_then_mac: true,
        max_fragment_length: Some(3),
        // It names RSA, as a client with pre-shared keys may: it will see no signature.
        ecdsa_sha256: Listed::No,
        ..Offer::default()
    };
    assert_eq!(hello.offer(), Ok(expected));
    assert_eq!(expected.max_plaintext(), Some(2048));
}

#[test]
fn no_prefix_of_a_hello_parses_but_the_one_without_extensions() {
    for len in 0..ZEPHYR.len() {
        assert_eq!(ClientHello::parse(&ZEPHYR[..len]).is_some(), len == 44, "{len}");
    }
}

#[test]
fn extensions_are_judged_one_by_one() {
    let ecc = |p256, uncompressed_points| {
        Ok(Offer {
            p256,
            uncompressed_points,
            ..Offer::default()
        })
    };
    let signed = |ecdsa_sha256| {
        Ok(Offer {
            ecdsa_sha256,
            ..Offer::default()
        })
    };
    let showing = |client_certificate| {
        Ok(Offer {
            client_certificate,
            ..Offer::default()
        })
    };
    let id = |id: &[u8]| {
        Ok(Offer {
            connection_id: ChosenId::new(id),
            ..Offer::default()
        })
    };
    let too_long = [&[0, 54, 0, 34, 33], &[7; 33][..]].concat();
    let cases: [(&[u8], Result<Offer, Fault>); 42] = [
        (&[], Ok(Offer::default())),
        (
            &[0xff, 1, 0, 1, 0],
            Ok(Offer {
                renegotiation_info: true,
                ..Offer::default()
            }),
        ),
        (&[0xff, 1, 0, 2, 1, 9], Err(Fault::RENEGOTIATION)),
        (&[0, 23, 0, 1, 0], Err(Fault::MALFORMED)),
        (&[0, 23, 0, 0, 0, 23, 0, 0], Err(Fault::ILLEGAL_PARAMETER)),
        (&[0, 1, 0, 1, 5], Err(Fault::ILLEGAL_PARAMETER)),
        (&[0, 1, 0, 0], Err(Fault::MALFORMED)),
        (
            &[0, 28, 0, 2, 0, 64],
            Ok(Offer {
                record_size_limit: Some(64),
                ..Offer::default()
            }),
        ),
        (&[0, 28, 0, 2, 0, 63], Err(Fault::ILLEGAL_PARAMETER)),
        (&[0, 43, 0, 5, 4, 0xfe, 0xfc, 0xfe, 0xfd], Ok(Offer::default())),
        (&[0, 43, 0, 3, 2, 0xfe, 0xfc], Err(Fault::UNSUPPORTED_VERSION)),
        (&[0, 54, 0, 1, 0], id(&[])),
        (&[0, 54, 0, 4, 3, 7, 8, 9], id(&[7, 8, 9])),
        (&too_long, Ok(Offer::default())),
        (&[0, 54, 0, 0], Err(Fault::MALFORMED)),
        (&[0, 54, 0, 2, 2, 7], Err(Fault::MALFORMED)),
        (&[0, 54, 0, 3, 1, 7, 8], Err(Fault::MALFORMED)),
        (
            &[0, 61, 0, 0],
            Ok(Offer {
                return_routability: true,
                ..Offer::default()
            }),
        ),
        (&[0, 61, 0, 1, 0], Err(Fault::MALFORMED)),
        // server_name with an IP literal, a ticket, the connection ID of a draft, something from the future
        (
            &[
                0, 0, 0, 14, 0, 12, 0, 0, 9, b'1', b'2', b'7', b'.', b'0', b'.', b'0', b'.', b'1',
            ],
            Ok(Offer::default()),
        ),
        (
            &[0, 35, 0, 0, 0, 53, 0, 1, 0, 0xaa, 0xaa, 0, 2, 7, 7],
            Ok(Offer::default()),
        ),
        (&[0, 23, 0], Err(Fault::MALFORMED)),
        (
            &[0, 22, 0, 0],
            Ok(Offer {
                encrypt_then_mac: true,
                ..Offer::default()
            }),
        ),
        (&[0, 22, 0, 1, 0], Err(Fault::MALFORMED)),
        (
            &[0, 10, 0, 6, 0, 4, 0, 29, 0, 23],
            ecc(Listed::Yes, Listed::NoList),
        ),
        (&[0, 10, 0, 4, 0, 2, 0, 29], ecc(Listed::No, Listed::NoList)),
        (&[0, 10, 0, 5, 0, 3, 29, 0, 23], ecc(Listed::No, Listed::NoList)),
        (&[0, 10, 0, 2, 0, 2], Err(Fault::MALFORMED)),
        (&[0, 11, 0, 2, 1, 0], ecc(Listed::NoList, Listed::Yes)),
        (&[0, 11, 0, 3, 2, 1, 2], ecc(Listed::NoList, Listed::No)),
        (&[0, 11, 0, 3, 1, 0, 0], Err(Fault::MALFORMED)),
        (&[0, 11, 0, 0], Err(Fault::MALFORMED)),
        (&[0, 13, 0, 6, 0, 4, 4, 1, 4, 3], signed(Listed::Yes)),
        (&[0, 13, 0, 4, 0, 2, 4, 1], signed(Listed::No)),
        (&[0, 13, 0, 5, 0, 3, 1, 4, 3], signed(Listed::No)),
        (&[0, 13, 0, 2, 4, 3], Err(Fault::MALFORMED)),
        // As GnuTLS lists them: raw keys first, and X.509 wanted.
        (&[0, 19, 0, 3, 2, 2, 0], showing(CertificateTypes::X509)),
        (&[0, 19, 0, 2, 1, 2], showing(CertificateTypes::RawKey)),
        (&[0, 19, 0, 2, 1, 1], showing(CertificateTypes::Other)),
        (&[0, 19, 0, 1, 2], Err(Fault::MALFORMED)),
        (
            &[0, 20, 0, 2, 1, 2],
            Ok(Offer {
                server_certificate: CertificateTypes::RawKey,
                ..Offer::default()
            }),
        ),
        (&[0, 20, 0, 0], Err(Fault::MALFORMED)),
    ];
    for (extensions, expected) in cases {
        let mut body = ZEPHYR[..44].to_vec();
        body.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
        body.extend_from_slice(extensions);
        assert_eq!(
            ClientHello::parse(&body).unwrap().offer(),
            expected,
            "{extensions:02x?}"
        );
    }
}

#[test]
fn a_server_hello_may_answer_only_what_was_offered() {
    let offered = Offer {
        extended_master_secret: true,
        encrypt_then_mac: true,
        record_size_limit: Some(100),
        uncompressed_points: Listed::Yes,
        ..Offer::default()
    };
    let answer = |extensions: &Offer| {
        let message = server_hello(1, &[7; 32], 0xc0a8, extensions);
        ServerHello::parse(&message[MESSAGE_HEADER_LEN..])
            .unwrap()
            .accepted(&offered)
    };
    assert_eq!(answer(&offered), Ok(offered));
    assert_eq!(answer(&Offer::default()), Ok(Offer::default()));
    let unasked = Offer {
        renegotiation_info: true,
        ..Offer::default()
    };
    assert_eq!(answer(&unasked), Err(Fault::ILLEGAL_PARAMETER));
    // supported_groups is the client's alone; a list of point formats has the one that everybody has.
    let groups = Offer {
        p256: Listed::Yes,
        ..Offer::default()
    };
    assert_eq!(answer(&groups), Err(Fault::UNSUPPORTED_EXTENSION));
    let mut compressed = server_hello(1, &[7; 32], 0xc0a8, &Offer::default());
    compressed.extend_from_slice(&[0, 6, 0, 11, 0, 2, 1, 1]);
    let compressed = ServerHello::parse(&compressed[MESSAGE_HEADER_LEN..]).unwrap();
    assert_eq!(compressed.accepted(&offered), Err(Fault::ILLEGAL_PARAMETER));
}

#[test]
fn rfc5489_2_key_exchanges_with_ecdhe_carry_points() {
    let point = [4; POINT_LEN];
    let server = ecdhe_server_key_exchange(2, &point);
    #[rustfmt::skip]
        assert_eq!(server[..18], [
            12, 0, 0, 71, 0, 2, 0, 0, 0, 0, 0, 71,
            0, 0,           // no hint
            3, 0, 23, 65,   // a named curve, P-256, a point of 65 bytes
        ]);
    let body = &server[MESSAGE_HEADER_LEN..];
    assert_eq!(parse_ecdhe_server_key_exchange(body), Ok(&point[..]));
    for len in 0..body.len() {
        assert_eq!(
            parse_ecdhe_server_key_exchange(&body[..len]),
            Err(Fault::MALFORMED),
            "{len}"
        );
    }
    let longer = [body, &[0]].concat();
    assert_eq!(parse_ecdhe_server_key_exchange(&longer), Err(Fault::MALFORMED));
    let hinted = [&[0, 2, b'h', b'i'], &body[2..]].concat();
    assert_eq!(parse_ecdhe_server_key_exchange(&hinted), Ok(&point[..]));
    for (index, value) in [(2, 1), (4, 24), (4, 29)] {
        let mut other = body.to_vec();
        other[index] = value;
        assert_eq!(
            parse_ecdhe_server_key_exchange(&other),
            Err(Fault::ILLEGAL_PARAMETER)
        );
    }

    let client = ecdhe_client_key_exchange(3, b"id", &point);
    #[rustfmt::skip]
        assert_eq!(client[..17], [
            16, 0, 0, 70, 0, 3, 0, 0, 0, 0, 0, 70,
            0, 2, b'i', b'd', 65,
        ]);
    let body = &client[MESSAGE_HEADER_LEN..];
    assert_eq!(
        parse_ecdhe_client_key_exchange(body),
        Some((&b"id"[..], &point[..]))
    );
    for len in 0..body.len() {
        assert_eq!(parse_ecdhe_client_key_exchange(&body[..len]), None, "{len}");
    }
    assert_eq!(
        parse_client_key_exchange(body),
        None,
        "the point is not the identity's"
    );
}

#[test]
fn rfc6347_4_2_2_a_fragment_lies_inside_its_message() {
    let whole = [16, 0, 0, 3, 0, 2, 0, 0, 0, 0, 0, 3, 9, 9, 9];
    let fragment = Fragment::read(&mut &whole[..]).unwrap();
    let expected = Fragment {
        kind: 16,
        length: 3,
        message_seq: 2,
        offset: 0,
        body: &[9, 9, 9],
    };
    assert_eq!(fragment, expected);

    let beyond = [16, 0, 0, 3, 0, 2, 0, 0, 1, 0, 0, 3, 9, 9, 9];
    assert_eq!(Fragment::read(&mut &beyond[..]), None);
    let lying = [16, 0, 0, 4, 0, 2, 0, 0, 0, 0, 0, 4, 9, 9, 9];
    assert_eq!(Fragment::read(&mut &lying[..]), None);
}

#[test]
fn an_identity_fills_its_key_exchange() {
    assert_eq!(parse_client_key_exchange(&[0, 2, b'i', b'd']), Some(&b"id"[..]));
    assert_eq!(parse_client_key_exchange(&[0, 0]), Some(&b""[..]));
    assert_eq!(parse_client_key_exchange(&[0, 1, b'i', b'd']), None);
    assert_eq!(parse_client_key_exchange(&[0, 3, b'i', b'd']), None);
    assert_eq!(parse_client_key_exchange(&[0]), None);
}

proptest! {
    #[test]
    fn reading_never_panics(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut rest = &body[..];
        while Fragment::read(&mut rest).is_some() {}
        if let Some(hello) = ClientHello::parse(&body) {
            let _ = hello.offer();
        }
        if let Some(hello) = ServerHello::parse(&body) {
            let _ = hello.accepted(&Offer::default());
        }
        let _ = parse_hello_verify_request(&body);
        let _ = parse_client_key_exchange(&body);
        let _ = parse_ecdhe_client_key_exchange(&body);
        let _ = parse_ecdhe_server_key_exchange(&body);
    }

    #[test]
    fn extensions_never_panic(extensions in proptest::collection::vec(any::<u8>(), 0..100)) {
        let mut body = ZEPHYR[..44].to_vec();
        body.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
        body.extend_from_slice(&extensions);
        let _ = ClientHello::parse(&body).unwrap().offer();
    }

    #[test]
    fn parsing_is_the_inverse_of_writing(
        random: [u8; 32], cookie in proptest::collection::vec(any::<u8>(), 0..32),
        suites in proptest::collection::vec(any::<u16>(), 1..5),
        extended_master_secret: bool, renegotiation_info: bool, encrypt_then_mac: bool, elliptic: bool, raw: bool,
        max_fragment_length in proptest::option::of(1..=4_u8), record_size_limit in proptest::option::of(64..=16384_u16),
        id in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..=ChosenId::MAX_LEN)), return_routability: bool,
    ) {
        let listed = if elliptic { Listed::Yes } else { Listed::NoList };
        let offer = Offer {
            extended_master_secret, renegotiation_info, encrypt_then_mac, max_fragment_length, record_size_limit,
            p256: listed, uncompressed_points: listed, ecdsa_sha256: listed,
            client_certificate: if raw { CertificateTypes::RawKey } else { CertificateTypes::X509 },
            server_certificate: CertificateTypes::X509,
            connection_id: id.as_deref().and_then(ChosenId::new), return_routability,
        };
        let message = client_hello(3, &random, &cookie, &suites, &offer);
        let fragment = Fragment::read(&mut &message[..]).unwrap();
        prop_assert!(fragment.is_whole());
        prop_assert_eq!((fragment.kind, fragment.message_seq), (CLIENT_HELLO, 3));
        let hello = ClientHello::parse(fragment.body).unwrap();
        prop_assert_eq!(hello.random, &random);
        prop_assert_eq!(hello.cookie, &cookie[..]);
        prop_assert_eq!(hello.suites().collect::<Vec<_>>(), suites);
        prop_assert_eq!(hello.offer(), Ok(offer));
    }
}
