//! The two foreign DTLS stacks that are written in Rust, `webrtc-dtls` and `dimpl`, against our server half: each suite that
//! they have in common with it. The columns that the matrix in the root's `tests/interop` lacks, as these come as crates and
//! bring more than a hundred others.

#![allow(clippy::unwrap_used)]

#[path = "../../tests/interop/server.rs"]
#[allow(dead_code, reason = "the matrix uses the rest")]
mod server;

mod tool {
    /// How long anything may take before the test gives up on it.
    pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(15);
}

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::crypto::Dtls12CipherSuite;
use dimpl::{Dtls, DtlsCertificate, Output, PskResolver};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use server::{Agreed, Server};
use tessera::dtls::{CipherSuite, Psk};
use tokio::time::timeout;
use tool::PATIENCE;
use webrtc_dtls::cipher_suite::CipherSuiteId;
use webrtc_dtls::config::Config;
use webrtc_dtls::conn::DTLSConn;
use webrtc_dtls::crypto::{Certificate, CryptoPrivateKey, CryptoPrivateKeyKind};
use webrtc_util::conn::Conn;

#[tokio::test(flavor = "multi_thread")]
async fn webrtc_dtls_agrees_on_every_suite_that_it_has() {
    for (theirs, ours) in [
        (
            CipherSuiteId::Tls_Psk_With_Aes_128_Gcm_Sha256,
            CipherSuite::PskAes128GcmSha256,
        ),
        (CipherSuiteId::Tls_Psk_With_Aes_128_Ccm, CipherSuite::PskAes128Ccm),
        (
            CipherSuiteId::Tls_Psk_With_Aes_128_Ccm_8,
            CipherSuite::PskAes128Ccm8,
        ),
        (
            CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256,
            CipherSuite::EcdheEcdsaAes128GcmSha256,
        ),
        (
            CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Ccm,
            CipherSuite::EcdheEcdsaAes128Ccm,
        ),
        (
            CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Ccm_8,
            CipherSuite::EcdheEcdsaAes128Ccm8,
        ),
    ] {
        let server = Server::start();
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(server.address).await.unwrap();
        let mut config = Config {
            cipher_suites: vec![theirs],
            // It looks for the server's name in ways of its own; the matrix has clients that check the chain.
            insecure_skip_verify: true,
            ..Config::default()
        };
        if ours.has_psk() {
            config.psk = Some(Arc::new(|_| Ok(KEY.to_vec())));
            config.psk_identity_hint = Some(IDENTITY.as_bytes().to_vec());
        } else {
            config.certificates = vec![webrtc_certificate()];
        }
        let handshake = DTLSConn::new(Arc::new(socket), config, true, None);
        let conn = timeout(PATIENCE, handshake).await.expect("it ends").unwrap();
        conn.send(b"is there anybody?").await.unwrap();
        let mut answer = [0; 64];
        let length = timeout(PATIENCE, conn.recv(&mut answer))
            .await
            .expect("an echo")
            .unwrap();
        assert_eq!(&answer[..length], b"is there anybody?");
        let agreed = tokio::task::block_in_place(|| server.established());
        assert_eq!(agreed.suite, ours);
        conn.close().await.unwrap();
        tokio::task::block_in_place(|| server.assert_closed());
        println!("{}", said("webrtc-dtls", &agreed));
    }
}

#[test]
fn dimpl_agrees_on_every_suite_that_it_has() {
    for (theirs, ours) in [
        (Dtls12CipherSuite::PSK_AES128_CCM_8, CipherSuite::PskAes128Ccm8),
        (
            Dtls12CipherSuite::ECDHE_ECDSA_AES128_GCM_SHA256,
            CipherSuite::EcdheEcdsaAes128GcmSha256,
        ),
    ] {
        let server = Server::start();
        let mut provider = dimpl::Config::default().crypto_provider().clone();
        let suites = provider.cipher_suites.iter().copied();
        let alone: Vec<_> = suites.filter(|suite| suite.suite() == theirs).collect();
        assert_eq!(alone.len(), 1, "it has {ours}");
        provider.cipher_suites = Box::leak(alone.into_boxed_slice());
        let config = dimpl::Config::builder().with_crypto_provider(provider);
        let now = Instant::now();
        let mut dtls = if ours.has_psk() {
            let config = config.with_psk_client(IDENTITY.as_bytes().to_vec(), Arc::new(OneKey));
            Dtls::new_12_psk(Arc::new(config.build().unwrap()), now)
        } else {
            let own = DtlsCertificate {
                certificate: CertificateDer::from_pem_file(pem(DEVICE)).unwrap().to_vec(),
                private_key: PrivatePkcs8KeyDer::from_pem_file(pem(DEVICE_KEY))
                    .unwrap()
                    .secret_pkcs8_der()
                    .to_vec(),
            };
            Dtls::new_12(Arc::new(config.build().unwrap()), own, now)
        };
        dtls.set_active(true);
        assert_eq!(echo_through_dimpl(&mut dtls, &server), b"is there anybody?");
        let agreed = server.established();
        assert_eq!(agreed.suite, ours);
        println!("{}", said("dimpl", &agreed));
    }
}

/// Shakes hands, sends a question, and returns what comes back.
fn echo_through_dimpl(dtls: &mut Dtls, server: &Server) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.address).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        dtls.handle_timeout(Instant::now()).unwrap();
        let (mut room, mut connected) = (vec![0; 2048], false);
        loop {
            match dtls.poll_output(&mut room) {
                Output::Packet(datagram) => {
                    socket.send(datagram).unwrap();
                }
                Output::Connected => connected = true,
                Output::ApplicationData(data) => return data.to_vec(),
                Output::BufferTooSmall { needed } => room.resize(needed, 0),
                Output::Timeout(_) => break,
                _ => {}
            }
        }
        if connected {
            dtls.send_application_data(b"is there anybody?").unwrap();
            continue;
        }
        let mut datagram = [0; 2048];
        if let Ok(length) = socket.recv(&mut datagram) {
            dtls.handle_packet(&datagram[..length]).unwrap();
        }
    }
    panic!("no answer through dimpl");
}

struct OneKey;

impl PskResolver for OneKey {
    fn resolve(&self, identity: &[u8]) -> Option<Vec<u8>> {
        (identity == IDENTITY.as_bytes()).then(|| KEY.to_vec())
    }
}

fn webrtc_certificate() -> Certificate {
    let key = PrivatePkcs8KeyDer::from_pem_file(pem(DEVICE_KEY)).unwrap();
    let key = key.secret_pkcs8_der();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key, &SystemRandom::new()).unwrap();
    Certificate {
        certificate: vec![CertificateDer::from_pem_file(pem(DEVICE)).unwrap()],
        private_key: CryptoPrivateKey {
            kind: CryptoPrivateKeyKind::Ecdsa256(pair),
            serialized_der: key.to_vec(),
        },
    }
}

fn said(client: &str, agreed: &Agreed) -> String {
    let with = if agreed.extended_master_secret {
        "with"
    } else {
        "without"
    };
    format!("{client}: {}, {with} extended master secret", agreed.suite)
}

fn our_key() -> Psk {
    Psk::new(KEY).unwrap()
}

fn pem(name: &str) -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    format!("{root}/../src/dtls/tests/certificates/{name}")
}

const IDENTITY: &str = "device-id@project-id";
const KEY: &[u8] = b"open sesame";
const CA: &str = "ca.pem";
const SERVER: &str = "server.pem";
const SERVER_KEY: &str = "server.key.pem";
const DEVICE: &str = "device.pem";
const DEVICE_KEY: &str = "device.key.pem";
