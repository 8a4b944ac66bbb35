//! A device that shares no code with the gateway, against a real one: DTLS by `webrtc-dtls`, CoAP by `coap-lite`. A
//! mistake that both of our halves make cannot cancel itself out here.

#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use coap_lite::{CoapOption, MessageClass, MessageType, Packet, RequestType, ResponseType};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tessera::app::Gateway;
use tessera::config::Config;
use tokio::net::UdpSocket;
use tokio::time::timeout;
use webrtc_dtls::cipher_suite::CipherSuiteId;
use webrtc_dtls::config::Config as DtlsConfig;
use webrtc_dtls::conn::DTLSConn;
use webrtc_util::conn::Conn;

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_device_is_pushed_a_deployment_fetches_it_and_reports_over_gcm() {
    is_pushed_fetches_and_reports(CipherSuiteId::Tls_Psk_With_Aes_128_Gcm_Sha256).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_device_is_pushed_a_deployment_fetches_it_and_reports_over_ccm_8() {
    is_pushed_fetches_and_reports(CipherSuiteId::Tls_Psk_With_Aes_128_Ccm_8).await;
}

async fn is_pushed_fetches_and_reports(suite: CipherSuiteId) {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.data.dir = folder.path().join("data");
    config.coaps.listen = vec!["127.0.0.1:0".parse().unwrap()];
    config.admin.listen = "127.0.0.1:0".parse().unwrap();
    let gateway = Gateway::start(&config).await.unwrap();
    let api = Api {
        base: format!("http://{}/v1/projects/default", gateway.admin_addr),
        key: gateway.first_admin_key.as_ref().unwrap().text.as_str().to_owned(),
    };
    let artifact: Vec<u8> = (0..70_000_u32)
        .map(|byte| (byte.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    api.post("packages", json!({ "name": "main" }));
    api.put("packages/main/artifacts/1.0.1", &artifact);
    let cohort = api.post("cohorts", json!({ "name": "foreign" }))["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let credential = json!({ "type": "psk", "identity": "foreign-id@default", "secret": "open sesame" });
    api.post(
        "devices",
        json!({ "name": "foreign", "cohort": cohort, "credentials": [credential] }),
    );

    let mut device = Device::connect(gateway.device_addrs[0], suite).await;
    let registered = device.observe(b"observer").await;
    assert_eq!(
        (response(&registered), &registered.payload[..]),
        (ResponseType::Content, &[0xA0][..])
    );
    assert!(
        registered.get_observe_value().is_some(),
        "the registration is accepted"
    );

    let order = json!({ "name": "first", "artifacts": [{ "package": "main", "version": "1.0.1" }] });
    api.post(&format!("cohorts/{cohort}/deployments"), order);
    let pushed = device.notification().await;
    assert_eq!(pushed.get_token(), b"observer");
    let digest: String = Sha256::digest(&artifact)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    for text in ["main", "1.0.1", "/.u/c/main@1.0.1", &digest] {
        assert!(
            contains(&pushed.payload, text.as_bytes()),
            "the manifest names {text}: {:02x?}",
            pushed.payload
        );
    }

    for size in [16, 512, 1024] {
        assert!(
            device.download(".u/c/main@1.0.1", size).await == artifact,
            "the artifact in blocks of {size}"
        );
    }

    // {"s": 3, "r": 1, "pkg": "main", "v": "1.0.1"}, indefinite.
    let report = b"\xBF\x61s\x03\x61r\x01\x63pkg\x64main\x61v\x651.0.1\xFF";
    let answer = device.post(".u/c/main", 60, report).await;
    assert_eq!(
        (response(&answer), answer.payload.len()),
        (ResponseType::Changed, 0)
    );
    let known = &api.get("devices/foreign")["packages"][0];
    assert_eq!(
        (&known["version"], &known["reasonNumber"], &known["want"]),
        (&json!("1.0.1"), &json!(1), &json!("1.0.1"))
    );

    let unknown = device.exchange(request(RequestType::Get, "nowhere", b"u")).await;
    assert_eq!(response(&unknown), ResponseType::NotFound);
    let keepalive = device.exchange(request(RequestType::Delete, "", &[0; 8])).await;
    assert_eq!(response(&keepalive), ResponseType::Deleted);

    device.conn.close().await.unwrap();
    gateway.stop().await.unwrap();
}

/// One foreign device.
struct Device {
    conn: DTLSConn,
    mid: u16,
    notifications: VecDeque<Packet>,
}

impl Device {
    async fn connect(gateway: std::net::SocketAddr, suite: CipherSuiteId) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(gateway).await.unwrap();
        let config = DtlsConfig {
            cipher_suites: vec![suite],
            psk: Some(Arc::new(|_| Ok(b"open sesame".to_vec()))),
            // What a client of this library sends as its identity.
            psk_identity_hint: Some(b"foreign-id@default".to_vec()),
            ..DtlsConfig::default()
        };
        let handshake = DTLSConn::new(Arc::new(socket), config, true, None);
        let conn = timeout(PATIENCE, handshake)
            .await
            .expect("the handshake ends")
            .unwrap();
        Self {
            conn,
            mid: 1,
            notifications: VecDeque::new(),
        }
    }

    async fn observe(&mut self, token: &[u8]) -> Packet {
        let mut packet = request(RequestType::Get, ".u/desired", token);
        packet.set_observe_value(0);
        packet.add_option(CoapOption::Accept, vec![60]);
        self.exchange(packet).await
    }

    async fn post(&mut self, path: &str, format: u8, payload: &[u8]) -> Packet {
        let mut packet = request(RequestType::Post, path, b"post");
        packet.add_option(CoapOption::ContentFormat, vec![format]);
        packet.payload = payload.to_vec();
        self.exchange(packet).await
    }

    async fn download(&mut self, path: &str, size: usize) -> Vec<u8> {
        let mut body = Vec::new();
        for number in 0.. {
            let mut packet = request(RequestType::Get, path, b"download");
            packet.add_option(CoapOption::Accept, vec![42]);
            packet.add_option(
                CoapOption::Block2,
                block(number, false, size).to_be_bytes()[1..].to_vec(),
            );
            let answer = self.exchange(packet).await;
            assert_eq!(response(&answer), ResponseType::Content);
            let given = answer.get_first_option(CoapOption::Block2).unwrap();
            let given = given.iter().fold(0, |value, byte| value << 8 | u32::from(*byte));
            body.extend_from_slice(&answer.payload);
            if given == block(number, false, size) {
                return body;
            }
            assert_eq!(
                (given, answer.payload.len()),
                (block(number, true, size), size),
                "exactly the block asked for"
            );
        }
        body
    }

    /// Sends a request, again as long as nobody answers, and waits for its piggybacked answer.
    async fn exchange(&mut self, mut request: Packet) -> Packet {
        self.mid += 1;
        request.header.message_id = self.mid;
        let request = (request.to_bytes().unwrap(), request.get_token().to_vec());
        for _ in 0..=MAX_RETRANSMIT {
            self.conn.send(&request.0).await.unwrap();
            while let Ok(packet) = timeout(ACK_TIMEOUT, self.receive()).await {
                match packet.header.get_type() {
                    MessageType::Acknowledgement if packet.header.message_id == self.mid => {
                        assert_eq!(packet.get_token(), request.1);
                        return packet;
                    }
                    // The answer to an earlier transmission.
                    MessageType::Acknowledgement => {}
                    _ => self.notifications.push_back(packet),
                }
            }
        }
        panic!("nobody answers message {}", self.mid);
    }

    /// The next confirmable notification, acknowledged.
    async fn notification(&mut self) -> Packet {
        let packet = match self.notifications.pop_front() {
            Some(packet) => packet,
            None => self.receive().await,
        };
        assert_eq!(packet.header.get_type(), MessageType::Confirmable);
        let mut acknowledgement = Packet::new();
        acknowledgement.header.set_type(MessageType::Acknowledgement);
        acknowledgement.header.code = MessageClass::Empty;
        acknowledgement.header.message_id = packet.header.message_id;
        self.conn
            .send(&acknowledgement.to_bytes().unwrap())
            .await
            .unwrap();
        packet
    }

    async fn receive(&mut self) -> Packet {
        let mut buffer = [0; 2048];
        let len = timeout(PATIENCE, self.conn.recv(&mut buffer))
            .await
            .expect("an answer comes")
            .unwrap();
        Packet::from_bytes(&buffer[..len]).unwrap()
    }
}

/// The operator's side.
struct Api {
    base: String,
    key: String,
}

impl Api {
    fn get(&self, path: &str) -> Value {
        let call = ureq::get(format!("{}/{path}", self.base))
            .header("Authorization", format!("Bearer {}", self.key));
        tokio::task::block_in_place(|| call.call().unwrap().body_mut().read_json().unwrap())
    }

    fn post(&self, path: &str, body: Value) -> Value {
        let call = ureq::post(format!("{}/{path}", self.base))
            .header("Authorization", format!("Bearer {}", self.key));
        tokio::task::block_in_place(|| call.send_json(body).unwrap().body_mut().read_json().unwrap())
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        let call = ureq::put(format!("{}/{path}", self.base))
            .header("Authorization", format!("Bearer {}", self.key))
            .header("Content-Type", "application/octet-stream");
        tokio::task::block_in_place(|| call.send(bytes).unwrap());
    }
}

fn request(method: RequestType, path: &str, token: &[u8]) -> Packet {
    let mut packet = Packet::new();
    packet.header.set_type(MessageType::Confirmable);
    packet.header.code = MessageClass::Request(method);
    packet.set_token(token.to_vec());
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        packet.add_option(CoapOption::UriPath, segment.as_bytes().to_vec());
    }
    packet
}

/// The value of a Block2 option. `coap-lite`'s own type holds twelve bits of the number: block 4096 goes out as block 0.
fn block(number: u32, more: bool, size: usize) -> u32 {
    number << 4 | u32::from(more) << 3 | (size.trailing_zeros() - 4)
}

fn response(packet: &Packet) -> ResponseType {
    match packet.header.code {
        MessageClass::Response(code) => code,
        other => panic!("{other:?} is no answer"),
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// RFC 7252 section 4.8: a gateway whose session log is behind its sessions may leave a request to be repeated.
const ACK_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_RETRANSMIT: u32 = 4;
/// Long enough for a busy machine; nothing waits it out when all is well.
const PATIENCE: Duration = Duration::from_secs(20);
