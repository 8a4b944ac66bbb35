//! A foreign fleet against a gateway in this process, over real sockets.

use std::path::Path;
use std::time::{Duration, Instant};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tessera::app::Gateway;
use tessera::clock;
use tessera::config::Config;
use tessera::virtual_device::{CipherSuite, Ending, Event, Port, Reason, Report, State, Szx};
use tokio::sync::mpsc;
use tokio::time::timeout_at;

use super::*;
use crate::engine::ForeignCredential;
use crate::network::{Delay, Direction, Profile};

#[tokio::test(flavor = "multi_thread")]
async fn a_mixed_fleet_on_a_lossy_network_updates_and_a_wrong_key_never_connects() {
    let site = Site::new().await;
    let way = Direction {
        loss: 0.05,
        duplicate: 0.02,
        reorder: 0.02,
        delay: Delay::Uniform {
            from: Duration::from_millis(1),
            to: Duration::from_millis(10),
        },
        ..Profile::perfect().up
    };
    let network = Arc::new(Profile {
        up: way.clone(),
        down: way,
    });
    let mut seats = Vec::new();
    for (device, port, suite) in [
        (0, Port::Libcoap, CipherSuite::PskAes128GcmSha256),
        (1, Port::Zephyr, CipherSuite::PskAes128GcmSha256),
        (2, Port::Libcoap, CipherSuite::PskAes128Ccm8),
        (3, Port::Zephyr, CipherSuite::PskAes128Ccm),
    ] {
        seats.push(site.with_psk(device, port, suite, &network));
    }
    seats.push(site.with_certificate(4, &network));
    let mut wrong = site.with_psk(5, Port::Zephyr, CipherSuite::PskAes128GcmSha256, &network);
    if let ForeignCredential::Psk { secret, .. } = &mut wrong.credential {
        secret.push('?');
    }
    seats.push(wrong);
    let (fleet, mut story) = site.start(seats);

    story
        .until("all observe", |happened| {
            (0..5).all(|device| saw(happened, device, |event| *event == Event::Observing))
        })
        .await;
    site.deploy("1.0.1");
    story
        .until(
            "all report the new version, and the wrong key was refused",
            |happened| {
                let refused =
                    |event: &Event| matches!(event, Event::Disconnected(Ending::HandshakeFailed(_)));
                (0..5).all(|device| saw(happened, device, |event| proves(event, "1.0.1")))
                    && saw(happened, 5, refused)
            },
        )
        .await;

    for device in 0..5 {
        let downloaded = Event::Downloaded {
            bytes: site.artifact.len() as u64,
            version: "1.0.1".to_owned(),
        };
        assert!(saw(&story.happened, device, |event| *event == downloaded));
        let known = site.api(|api| api.get(&format!("devices/{}", name(device))));
        assert_eq!(known["packages"][0]["version"], "1.0.1", "{known:#}");
    }
    assert!(!saw(&story.happened, 5, |event| matches!(
        event,
        Event::Established { .. }
    )));
    let counts = fleet.counts();
    assert!(
        counts.lost_up > 0 && counts.lost_down > 0 && counts.duplicated > 0,
        "{counts:?}"
    );
    assert!(
        counts.bytes_received > 5 * site.artifact.len() as u64,
        "{counts:?}"
    );
    assert!(fleet.lateness().len() > counts.datagrams_received);
    site.end(fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_reboot_on_order_and_an_outage_is_survived_without_a_handshake() {
    let site = Site::new().await;
    let network = Arc::new(Profile::perfect());
    let suite = CipherSuite::PskAes128GcmSha256;
    let seats = vec![
        site.with_psk(0, Port::Libcoap, suite, &network),
        site.with_psk(1, Port::Zephyr, suite, &network),
    ];
    let (fleet, mut story) = site.start(seats);
    let established = |event: &Event| matches!(event, Event::Established { .. });
    let both = |happened: &[Happened], is: fn(&Event) -> bool, times: usize| {
        (0..2).all(|device| of(happened, device).filter(|event| is(event)).count() == times)
    };
    let observing = |event: &Event| *event == Event::Observing;
    story
        .until("both observe", |happened| both(happened, observing, 1))
        .await;

    for device in 0..2 {
        assert!(fleet.order(device, Order::Reboot));
    }
    story
        .until("both observe again", |happened| both(happened, observing, 2))
        .await;
    assert!(both(&story.happened, established, 2));
    assert!(both(
        &story.happened,
        |event| matches!(event, Event::Rebooted { version } if version == "1.0.0"),
        1
    ));
    let counts = fleet.counts();
    assert_eq!(
        (
            counts.lost_up,
            counts.lost_down,
            counts.send_errors,
            counts.kernel_dropped
        ),
        (0, 0, 0, 0),
        "a perfect network"
    );

    let is_told = |event: &Event| matches!(event, Event::Manifest { sequence: Some(_) });
    let (outage, from) = (Duration::from_secs(4), clock::now());
    for device in 0..2 {
        assert!(fleet.order(device, Order::Outage(outage)));
    }
    // The orders go by way of the threads; a deployment by way of a commit, and then to the devices.
    site.deploy("1.0.1");
    story
        .until("both were told", |happened| {
            (0..2).all(|device| saw(happened, device, is_told))
        })
        .await;
    for device in 0..2 {
        let mut own = story.happened.iter().filter(|happened| happened.device == device);
        let handshakes = own
            .by_ref()
            .take_while(|happened| !is_told(&happened.event))
            .filter(|happened| established(&happened.event))
            .count();
        assert_eq!(handshakes, 2, "the session stands");
        let told = first(&story.happened, device, is_told);
        assert!(
            told >= from + outage,
            "told {:?} after the outage began",
            told - from
        );
    }
    assert!(fleet.counts().lost_down >= 2, "{:?}", fleet.counts());
    story
        .until("both run it", |happened| {
            (0..2).all(|device| saw(happened, device, |event| proves(event, "1.0.1")))
        })
        .await;
    site.end(fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebind_is_a_session_lost_that_the_device_notices() {
    let site = Site::new().await;
    let network = Arc::new(Profile::perfect());
    let seat = site.with_psk(0, Port::Libcoap, CipherSuite::PskAes128Ccm8, &network);
    let (fleet, mut story) = site.start(vec![seat]);
    let times =
        |happened: &[Happened], is: fn(&Event) -> bool| of(happened, 0).filter(|event| is(event)).count();
    let observing = |event: &Event| *event == Event::Observing;
    story
        .until("it observes", |happened| times(happened, observing) == 1)
        .await;
    assert!(fleet.order(0, Order::Rebind));
    // After nine seconds a keepalive, after ten more the end of its patience.
    story
        .until("it observes again", |happened| times(happened, observing) == 2)
        .await;
    assert_eq!(
        times(
            &story.happened,
            |event| matches!(event, Event::Disconnected(ending) if *ending == Ending::NoAnswer)
        ),
        1
    );
    assert_eq!(
        times(&story.happened, |event| matches!(event, Event::Rebooted { .. })),
        0
    );
    site.end(fleet).await;
}

#[tokio::test]
async fn what_the_libraries_cannot_do_is_refused_and_named() {
    let (happened, _story) = mpsc::channel(1);
    let wiring = || Wiring {
        gateway: "127.0.0.1:5684".parse().unwrap(),
        threads: 1,
        ground: Ground::Loopback,
        happened: happened.clone(),
    };
    let network = Arc::new(Profile::perfect());
    let refused = |suites: Vec<CipherSuite>, credential: ForeignCredential| {
        let mut seat = seat(7, Port::Zephyr, credential, &network);
        seat.suites = suites;
        let error = start(vec![seat], wiring()).expect_err("it cannot be done");
        let (mut text, mut cause) = (error.to_string(), std::error::Error::source(&error));
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    };
    let psk = || ForeignCredential::Psk {
        identity: "i".into(),
        secret: "s".into(),
    };
    let cbc = refused(vec![CipherSuite::PskAes128CbcSha256], psk());
    assert!(
        cbc.contains("device 7") && cbc.contains(&CipherSuite::PskAes128CbcSha256.to_string()),
        "{cbc}"
    );
    let none = refused(vec![CipherSuite::EcdheEcdsaAes128GcmSha256], psk());
    assert!(none.contains("none of the suites is one for a PSK"), "{none}");
    let certificate = ForeignCredential::Certificate {
        chain: vec![vec![0]],
        key: vec![0],
    };
    let key = refused(vec![CipherSuite::EcdheEcdsaAes128GcmSha256], certificate);
    assert!(key.contains("PKCS #8"), "{key}");
}

#[test]
fn every_device_has_an_address_of_its_own_that_is_not_the_gateways() {
    let gateway: IpAddr = "127.128.0.5".parse().unwrap();
    let addresses: std::collections::BTreeSet<IpAddr> =
        (0..100_000).map(|device| loopback(device, gateway)).collect();
    assert_eq!(addresses.len(), 100_000);
    assert!(!addresses.contains(&gateway));
    assert!(addresses.iter().all(IpAddr::is_loopback));
}

/// A gateway, and what its operator set up.
struct Site {
    gateway: Gateway,
    base: String,
    key: String,
    cohort: String,
    artifact: Vec<u8>,
    /// Holds the gateway's data.
    _folder: tempfile::TempDir,
}

impl Site {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.data.dir = folder.path().join("data");
        config.coaps.listen = vec!["127.0.0.1:0".parse().unwrap()];
        config.coaps.certificate_file = Some(certificate("server.pem").into());
        config.coaps.private_key_file = Some(certificate("server.key.pem").into());
        config.admin.listen = "127.0.0.1:0".parse().unwrap();
        let gateway = Gateway::start(&config).await.unwrap();
        let mut site = Self {
            base: format!("http://{}/v1/projects/default", gateway.admin_addr),
            key: gateway.first_admin_key.as_ref().unwrap().text.as_str().to_owned(),
            gateway,
            cohort: String::new(),
            artifact: (0..20_000_u32)
                .map(|byte| (byte.wrapping_mul(2_654_435_761) >> 24) as u8)
                .collect(),
            _folder: folder,
        };
        site.cohort = site.api(|api| {
            api.post("packages", json!({ "name": "main" }));
            api.put("packages/main/artifacts/1.0.1", &api.artifact);
            let cohort = api.post("cohorts", json!({ "name": "foreign" }));
            cohort["id"].as_str().unwrap().to_owned()
        });
        site
    }

    fn with_psk(&self, device: u32, port: Port, suite: CipherSuite, network: &Arc<Profile>) -> ForeignSeat {
        let identity = format!("{}-id@default", name(device));
        let secret = format!("secret of {device}");
        self.create(
            device,
            json!({ "type": "psk", "identity": identity, "secret": secret }),
        );
        let mut seat = seat(device, port, ForeignCredential::Psk { identity, secret }, network);
        seat.suites = vec![suite];
        seat
    }

    fn with_certificate(&self, device: u32, network: &Arc<Profile>) -> ForeignSeat {
        let pem = |file| std::fs::read_to_string(certificate(file)).unwrap();
        self.api(|api| api.post("device-cas", json!({ "name": "ca", "pem": pem("ca.pem") })));
        self.create(device, json!({ "type": "certificate", "pem": pem("device.pem") }));
        let credential = ForeignCredential::Certificate {
            chain: vec![
                CertificateDer::from_pem_file(certificate("device.pem"))
                    .unwrap()
                    .to_vec(),
            ],
            key: PrivatePkcs8KeyDer::from_pem_file(certificate("device.key.pem"))
                .unwrap()
                .secret_pkcs8_der()
                .to_vec(),
        };
        let mut seat = seat(device, Port::Zephyr, credential, network);
        seat.suites = vec![CipherSuite::EcdheEcdsaAes128GcmSha256];
        seat
    }

    fn create(&self, device: u32, credential: Value) {
        let device = json!({ "name": name(device), "cohort": self.cohort, "credentials": [credential] });
        self.api(|api| api.post("devices", device));
    }

    fn start(&self, seats: Vec<ForeignSeat>) -> (Fleet, Story) {
        let (happened, story) = mpsc::channel(16);
        let wiring = Wiring {
            gateway: self.gateway.device_addrs[0],
            threads: 2,
            ground: Ground::Loopback,
            happened,
        };
        let story = Story {
            arriving: story,
            happened: Vec::new(),
        };
        (start(seats, wiring).unwrap(), story)
    }

    fn deploy(&self, version: &str) {
        let order = json!({ "name": version, "artifacts": [{ "package": "main", "version": version }] });
        self.api(|api| api.post(&format!("cohorts/{}/deployments", self.cohort), order));
    }

    async fn end(self, fleet: Fleet) {
        tokio::task::block_in_place(|| drop(fleet));
        self.gateway.stop().await.unwrap();
    }

    fn api<T>(&self, call: impl FnOnce(&Self) -> T) -> T {
        tokio::task::block_in_place(|| call(self))
    }

    fn get(&self, path: &str) -> Value {
        let call = ureq::get(format!("{}/{path}", self.base)).header("Authorization", self.bearer());
        call.call().unwrap().body_mut().read_json().unwrap()
    }

    fn post(&self, path: &str, body: Value) -> Value {
        let call = ureq::post(format!("{}/{path}", self.base)).header("Authorization", self.bearer());
        call.send_json(body).unwrap().body_mut().read_json().unwrap()
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        let call = ureq::put(format!("{}/{path}", self.base))
            .header("Authorization", self.bearer())
            .header("Content-Type", "application/octet-stream");
        call.send(bytes).unwrap();
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.key)
    }
}

/// What the fleet tells.
struct Story {
    arriving: mpsc::Receiver<Vec<Happened>>,
    happened: Vec<Happened>,
}

impl Story {
    async fn until(&mut self, what: &str, is_so: impl Fn(&[Happened]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(&self.happened) {
            match timeout_at(deadline.into(), self.arriving.recv()).await {
                Ok(Some(more)) => self.happened.extend(more),
                Ok(None) => panic!("the fleet has ended before {what}"),
                Err(_) => panic!("not within {PATIENCE:?}: {what}; so far {:#?}", self.happened),
            }
        }
    }
}

fn seat(device: u32, port: Port, credential: ForeignCredential, network: &Arc<Profile>) -> ForeignSeat {
    ForeignSeat {
        device,
        credential,
        suites: Vec::new(),
        port,
        block_size: Szx::MAX,
        package: "main".to_owned(),
        version: "1.0.0".to_owned(),
        faster: 50,
        images: Arc::default(),
        start: clock::now(),
        seed: u64::from(device),
        network: Arc::clone(network),
        network_seed: u64::from(device),
    }
}

/// The report that shows that an update went well.
fn proves(event: &Event, new: &str) -> bool {
    matches!(
        event,
        Event::Reported {
            report: Report { state: State::Updating, reason: Reason::Success, version, .. },
            code,
            ..
        } if version == new && code.is_success()
    )
}

fn saw(happened: &[Happened], device: u32, is: impl Fn(&Event) -> bool) -> bool {
    of(happened, device).any(is)
}

fn of(happened: &[Happened], device: u32) -> impl Iterator<Item = &Event> {
    happened
        .iter()
        .filter(move |happened| happened.device == device)
        .map(|happened| &happened.event)
}

fn first(happened: &[Happened], device: u32, is: impl Fn(&Event) -> bool) -> Instant {
    let mut own = happened.iter().filter(|happened| happened.device == device);
    own.find(|happened| is(&happened.event)).unwrap().at
}

fn name(device: u32) -> String {
    format!("foreign-{device}")
}

fn certificate(file: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("../src/dtls/tests/certificates")
        .join(file)
        .display()
        .to_string()
}

/// Long enough for a busy machine; nothing waits it out when all is well.
const PATIENCE: Duration = Duration::from_secs(90);
