//! Records that others made: a session that OpenSSL 3.0 held with itself, recorded on the wire, and bytes computed with
//! Python's `hmac` and `cryptography`.

use super::*;
use crate::dtls::connection_id::ConnectionIds;
use crate::dtls::crypto::{SharedSecret, Transcript};
use crate::dtls::handshake::secrets::{MasterSecret, OtherSecret, Randoms, Side};
use crate::dtls::{Ignored, RecordHeader};

/// `openssl s_server` and `s_client` with `PSK-AES128-CBC-SHA256`, encrypt_then_mac, no extended master secret.
#[test]
fn rfc7366_3_a_recorded_session_opens_on_both_sides() {
    let master_secret = MasterSecret::derive(&key(), &OtherSecret::Absent, &randoms(), None);
    let suite = CipherSuite::PskAes128CbcSha256;
    let mut client = master_secret.session(Side::Client, suite, &randoms());
    let mut server = master_secret.session(Side::Server, suite, &randoms());

    let mut transcript = Transcript::new();
    for message in HANDSHAKE {
        transcript.update(&hex(message));
    }
    let verify_data = master_secret.verify_data(Side::Client, transcript.hash());
    let mut finished = hex(CLIENT_FINISHED);
    let opened = server.open(&mut finished).unwrap();
    let expected = [&[20, 0, 0, 12, 0, 3, 0, 0, 0, 0, 0, 12], &verify_data[..]].concat();
    assert_eq!(opened.plaintext, expected);

    let mut finished = hex(SERVER_FINISHED);
    assert_eq!(
        client.open(&mut finished).unwrap().plaintext[..4],
        [20, 0, 0, 12],
        "over a ticket that we would not have given"
    );
    assert_eq!(
        server.handle_record(&mut hex(CLIENT_DATA)),
        data(b"hello from a device\n")
    );
    assert_eq!(
        client.handle_record(&mut hex(SERVER_DATA)),
        data(b"hello from a server\n")
    );
}

/// Computed: key block, the IV from the number, the padding, the MAC over all of it.
#[test]
fn a_record_in_cbc_is_the_computed_one() {
    let suite = CipherSuite::PskAes128CbcSha256;
    let mut server = MasterSecret::derive(&key(), &OtherSecret::Absent, &randoms(), None).session(
        Side::Server,
        suite,
        &randoms(),
    );
    let mut record = Vec::new();
    server.seal(b"hello from a server\n", &mut record).unwrap();
    let expected = "17fefd0001000000000000005007e1f1531f6055251c076c4f7392a96459791210ebd683d66f98bc39915fa37818cc2a884426\
                    793227743648387e18dcc75d82137f0a1e1beecdf39c0493fc49cae00052eabd18e7cbee4d745abcdd73";
    assert_eq!(record, hex(expected));
}

/// Computed over the shared secret of RFC 5903 section 8.1.
#[test]
fn rfc5489_2_keys_from_a_shared_secret_are_the_computed_ones() {
    let shared = hex("d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de");
    let mut z = SharedSecret::default();
    z.copy_from_slice(&shared);
    let session_hash: [u8; 32] = std::array::from_fn(|index| index as u8);
    let cases = [
        (
            CipherSuite::EcdhePskAes128GcmSha256,
            None,
            "a7332d2a408be2f2404988d1b8c310d6e4fdd593db89a27315b477261f216d9bc190f2d9",
        ),
        (
            CipherSuite::EcdhePskAes128CcmSha256,
            None,
            "25f42e154291c9450db3eacf787527939c4712564727cc518dc9577dbeade9f89f8eb316",
        ),
        (
            CipherSuite::EcdhePskAes128GcmSha256,
            Some(session_hash),
            "a8cc31a82300d0facfbf15b3f3c7b8df3be4b590ca142fd79ffe8a13d3ca049121680f3e",
        ),
        (
            CipherSuite::EcdhePskAes128CcmSha256,
            Some(session_hash),
            "a2b636e85516ae2d76d7f57036504df864dcd805beda92e2c19850c6d6e0a87a104e6a63",
        ),
    ];
    for (suite, session_hash, expected) in cases {
        let other = OtherSecret::Shared(z.clone());
        let master_secret = MasterSecret::derive(&key(), &other, &randoms(), session_hash);
        let mut server = master_secret.session(Side::Server, suite, &randoms());
        let mut record = Vec::new();
        server.seal(b"hello from a server\n", &mut record).unwrap();
        let expected = [
            &hex("17fefd0001000000000000002c0001000000000000")[..],
            &hex(expected),
        ]
        .concat();
        assert_eq!(record, expected, "{suite}");
    }
}

/// Computed with Python: the key block as RFC 5246 section 6.3 cuts it, what is authenticated as RFC 9146 sections 5.2 and
/// 5.3 write it down, AES-GCM, AES-CCM, AES-CBC and HMAC of `cryptography`. The client's records are padded to 16 bytes as
/// Mbed TLS does it, the server's are not padded and have an ID of three bytes.
#[test]
fn rfc9146_5_records_with_connection_ids_are_the_computed_ones() {
    for (suite, from_client, from_server) in WITH_IDS {
        let master_secret = MasterSecret::derive(&key(), &OtherSecret::Absent, &randoms(), None);
        let mut server = master_secret.session(Side::Server, suite, &randoms());
        server.use_connection_ids(ConnectionIds {
            ours: Some(SERVER_ID),
            theirs: [0xc0, 0xff, 0xee].into(),
            return_routability: false,
        });
        let from_client = hex(from_client);
        assert_eq!(
            RecordHeader::connection_id(&from_client),
            Some(SERVER_ID),
            "{suite}"
        );
        assert_eq!(
            server.handle_record(&mut from_client.clone()),
            data(b"hello from a device\n"),
            "{suite}"
        );
        let mut record = Vec::new();
        server.seal(b"hello from a server\n", &mut record).unwrap();
        assert_eq!(record, hex(from_server), "{suite}");
    }
}

/// Computed as above: number 0 holds 16 zeros, 1 a single one, 2 a byte of type 24, 3 one of type 25, 4 type 23 alone and 5
/// no byte at all, each under the keys of a client.
#[test]
fn rfc9146_4_an_inner_plaintext_without_a_type_of_ours_changes_nothing() {
    let master_secret = MasterSecret::derive(&key(), &OtherSecret::Absent, &randoms(), None);
    let mut servers = [CipherSuite::PskAes128Ccm8, CipherSuite::PskAes128CbcSha256].map(|suite| {
        let mut server = master_secret.session(Side::Server, suite, &randoms());
        server.use_connection_ids(ConnectionIds {
            ours: Some(SERVER_ID),
            theirs: [].into(),
            return_routability: false,
        });
        server
    });
    for (name, ccm_8, cbc) in INNER_PLAINTEXTS {
        for (server, record) in servers.iter_mut().zip([ccm_8, cbc]) {
            let expected = if name == "no data" {
                data(b"")
            } else {
                Incoming::Ignored(Ignored::Unexpected)
            };
            assert_eq!(server.handle_record(&mut hex(record)), expected, "{name}");
            // It is authentic all the same, so its number is used up.
            assert_eq!(
                server.handle_record(&mut hex(record)),
                Incoming::Ignored(Ignored::Replayed),
                "{name}"
            );
        }
    }
    assert!(servers.iter().all(|server| server.failures() == 0));
}

fn key() -> Psk {
    Psk::new(&hex(KEY)).unwrap()
}

fn randoms() -> Randoms {
    let at = |message: &str| hex(message)[14..46].try_into().unwrap();
    Randoms {
        client: at(HANDSHAKE[0]),
        server: at(HANDSHAKE[1]),
    }
}

fn hex(digits: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(digits.as_bytes()).unwrap()
}

const WITH_IDS: [(CipherSuite, &str, &str); 4] = [
    (
        CipherSuite::PskAes128GcmSha256,
        "19fefd00010000000000005101020304050607003800010000000000007818328e15ee50da19b6aa7b06cdddfb520b1ceee608eb7b9e9d78b1abe03461e2040fa4f07d063bc3e42db65b6b21e8",
        "19fefd0001000000000000c0ffee002d00010000000000005ce2b6cdd2b6c30764e786801eb5c5e565b111cbcd5e79bd38bd1558b5d6adc1fb3bd1c62e",
    ),
    (
        CipherSuite::PskAes128Ccm,
        "19fefd0001000000000000510102030405060700380001000000000000d1074613dea0bbc81e655a97193ea1e5c594c25b802076915679b8913a796a9733fed2807c3da3aa9b3df60a42d6736f",
        "19fefd0001000000000000c0ffee002d00010000000000002b3d08e330f9685b10957f32aaeed8b5c4033e6a8e1ae8232d5a9d9f011589775a4a25a710",
    ),
    (
        CipherSuite::PskAes128Ccm8,
        "19fefd0001000000000000510102030405060700300001000000000000d1074613dea0bbc81e655a97193ea1e5c594c25b802076915679b8913a796a97647e1a3e687b6e74",
        "19fefd0001000000000000c0ffee002500010000000000002b3d08e330f9685b10957f32aaeed8b5c4033e6a8ed8cb4dd67bea8d4b",
    ),
    (
        CipherSuite::PskAes128CbcSha256,
        "19fefd000100000000000051010203040506070060dec1bd58cb50a7208cfff1b516d314d9937eceaa293b1e382b0dcdd3ad7c9fa8d09d868869bbc51b4a41f960b9f5424e663bc1b79e1b7a70db9977b96c30abf6b1b36200623c7d0602fe759350529bb907f7be27cc22edadbb66829a919f5ffd",
        "19fefd0001000000000000c0ffee005007e1f1531f6055251c076c4f7392a96459791210ebd683d66f98bc39915fa3789513c540a25e08bfc05e028b7a1551dcf7e0fdc479a10bf58beb4d3a4e38210e061f4315e3eb3197eb343419d93ff235",
    ),
];
const INNER_PLAINTEXTS: [(&str, &str, &str); 6] = [
    (
        "nothing but zeros",
        "19fefd0001000000000000510102030405060700200001000000000000b9622a7fb180ddba71087af6395ac493e9e3f6fdb19356ae",
        "19fefd000100000000000051010203040506070050dec1bd58cb50a7208cfff1b516d314d974a020d914e718d30a055cbfd003dd593c7bd13cd037739cc79005e3807fcd86e16f2d487e0912443db7e946f3f16326edca39f0fe5d3704e85427fd222bec61",
    ),
    (
        "a single zero",
        "19fefd0001000000000001510102030405060700110001000000000001f79896f2ebf02d2f81",
        "19fefd0001000000000001510102030405060700400c51f6fecae1d0c9ec45f6d68445742eea417d4f494e21eaf018e4e8b3471b6a3d6990b2f5926a7627bf9277969f9c9b2755acc1c758f260a4d0bb8961536d7c",
    ),
    (
        "a heartbeat",
        "19fefd0001000000000002510102030405060700120001000000000002ddf1ad2d2cb245903e2e",
        "19fefd00010000000000025101020304050607004080d3784cc177df3acb1fb8f175c59a4c64b99dcb693c0aa5ec7d150c779675fe7abba9b44ba46d1ca6ca49476a27b2f456692ea799265a9c8e243608154d3dda",
    ),
    (
        "an ID within an ID",
        "19fefd0001000000000003510102030405060700130001000000000003b6cfdd0d08920c6d7e0277",
        "19fefd0001000000000003510102030405060700402b8866c83ab12b08835034e762bc69b76a6c37cd62f89a8c809c4b2b4dba9bfc813ff27824c3685786e2954a05031373b2b16098e8784077c1eee53488462e22",
    ),
    (
        "no data",
        "19fefd0001000000000004510102030405060700110001000000000004d73df0abcf71abed88",
        "19fefd000100000000000451010203040506070040b159e8e2fcd5c027a8a486b947daffa2054ae37e1b24e4c460039057a07499b145a93924e9ca80ab027215b4bac1d938f684a678a86a0278658996be7fb9f9de",
    ),
    (
        "nothing at all",
        "19fefd0001000000000005510102030405060700100001000000000005210013b1446bb865",
        "19fefd000100000000000551010203040506070040ff6a21d840656bb570a282c87e8100718288bf2bf222d7f9c9e8947fe51e8483ba11137dd7d20761c501b0f058d6d21f380dd54ae6568a3bbfbdf4d014487c61",
    ),
];
const KEY: &str = "73656372657420736563726574";
/// The second ClientHello, ServerHello, ServerHelloDone, ClientKeyExchange.
const HANDSHAKE: [&str; 4] = [
    "010000780001000000000078fefd2e1aa0d2e3c9534d7d61d0bd02d37397c9e269956f4eb1196efd65a1e8b7e9ce0014c4a642edb777bd8028f9\
     9656bc583cc15ada0516000400ae00ff010000360023000000160000000d002a0028040305030603080708080809080a080b0804080508060401\
     05010601030303010302040205020602",
    "020000350001000000000035fefd22bc28cc2ce3b868f647a251c2d18714989bf9da55c412f1b1ee159a40be514a0000ae00000dff0100010000\
     23000000160000",
    "0e0000000002000000000000",
    "10000016000200000000001600146465766963652d69644070726f6a6563742d6964",
];
const CLIENT_FINISHED: &str = "16fefd000100000000000000502fdc734020a84e5c85c61f5f4d1241ecf8cde41c5ec4c31207a2541ea403e53ce4\
                               da282f8ea8cfa2a4328c43b44cd56d82f64d95b23825843c4f472d42f4ac165668df48e3dd6dae7539ba14bd2f\
                               5991";
const SERVER_FINISHED: &str = "16fefd0001000000000000005032c4a8adc912e02c0a8ed4df0078a6752cfe101283bc3f7e14b0efa972caaec3ab\
                               30ec06d352aa5b380766e14808b121496a33465b7478d7c0a061d2dfa8d3541ed133a3e1e0bdd105301e6d597c\
                               7362";
const CLIENT_DATA: &str = "17fefd000100000000000100501a92a64c78434d5d7d62cbc710abadbfb53507955d6be49378a38e0af3d34427b2a023\
                           378d60e91d3619519dd4eef627c0cf64127151725124272c5451fdf9fee6a1c2b144eb0aa5c778127b1d2abc93";
const SERVER_DATA: &str = "17fefd0001000000000001005024b2190d29603b55d9bcbe7fb48ab2d09035a887cdb3eecbb45329badf97aa2a17984d\
                           92e7911fcf52ab4854719a3dedf5ead4c3b5f0116ed4348408a0778e899f0b21109c1c77d42c901a724ab8fd76";
