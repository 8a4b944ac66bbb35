//! The whole transport over real UDP on loopback: sockets, threads, both halves of DTLS.

mod addresses;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::journal::{Entry, SavedCredential, SessionJournal};
use super::testing::{CREDENTIAL, Device, House, SLOW_CREDENTIAL, Seen, Thing, Told, big, secret};
use super::{Bound, EndReason, Shards, TransportConfig, Upstairs, Wake};
use crate::clock;
use crate::coap::{Code, Kind, ResponseHead};
use crate::dtls::{Identity, Psk};

#[test]
fn many_devices_on_two_shards_are_answered_and_notified() {
    let gateway = Gateway::start(2, None);
    let mut devices: Vec<_> = (1..=24)
        .map(|number| Client::connect(number, gateway.address))
        .collect();
    for client in &mut devices {
        let answer = client.ask(Code::GET, "version", Some(0));
        assert_eq!(answer.payload, format!("{}:1", client.device.number));
    }
    gateway.house.version.store(2, Ordering::SeqCst);
    gateway.shards.wake(Wake::Everyone);
    for client in &mut devices {
        let notification = client.receive();
        assert_eq!(
            (notification.kind, notification.payload.clone()),
            (Kind::Confirmable, format!("{}:2", client.device.number))
        );
        client.acknowledge(&notification);
    }
    gateway.shards.wake(Wake::Push(7));
    assert_eq!(devices[6].receive().payload, "7:2");
    gateway.wait_for(|seen| {
        seen.iter()
            .filter(|seen| matches!(seen, Seen::Acknowledged { .. }))
            .count()
            >= 24
    });
    gateway.stop();
}

#[test]
fn a_device_that_rebooted_comes_back_on_the_same_port() {
    let gateway = Gateway::start(2, None);
    let mut client = Client::connect(1, gateway.address);
    client.ask(Code::GET, "version", Some(0));
    client.shake_hands();
    assert_eq!(client.ask(Code::GET, "version", None).payload, "1:1");
    gateway.wait_for(|seen| {
        seen.contains(&Seen::Disconnected {
            device: 1,
            serial: 1,
            why: EndReason::Replaced,
        })
    });
    gateway.stop();
}

#[test]
fn a_wrong_key_gets_no_session() {
    let gateway = Gateway::start(1, None);
    let mut client = Client::new(1, gateway.address);
    client
        .device
        .boot_as(clock::now(), "device-1", &Psk::new(b"wrong").unwrap());
    client.exchange(Duration::from_millis(300), |device| device.session.is_some());
    assert!(client.device.session.is_none());
    assert!(
        gateway
            .house
            .seen()
            .iter()
            .all(|seen| !matches!(seen, Seen::Connected { .. }))
    );
    gateway.stop();
}

#[test]
fn a_report_is_answered_from_another_thread() {
    let gateway = Gateway::start(1, None);
    let mut client = Client::connect(1, gateway.address);
    client.device.request(Code::POST, "later", None, None);
    client.exchange(PATIENCE, |_| !gateway.house.tickets.lock().unwrap().is_empty());
    let ticket = gateway.house.tickets.lock().unwrap().pop().unwrap();
    std::thread::spawn(move || ticket.complete(Code::CHANGED))
        .join()
        .unwrap();
    assert_eq!(client.receive().code, Code::CHANGED);
    gateway.stop();
}

#[test]
fn answers_leave_from_the_address_that_was_asked() {
    let gateway = Gateway::listening("[::]:0", 2);
    let port = gateway.address.port();
    // A connected socket takes datagrams from nowhere else.
    for (number, address) in [(1, "127.0.0.1"), (2, "127.0.0.2"), (3, "127.9.9.9"), (4, "::1")].into_iter() {
        let address: IpAddr = address.parse().unwrap();
        let mut client = Client::connect(number, SocketAddr::new(address, port));
        assert_eq!(
            client.ask(Code::GET, "version", None).payload,
            format!("{number}:1")
        );
    }
    gateway.stop();
}

#[test]
fn a_port_that_somebody_holds_is_refused_and_named() {
    let gateway = Gateway::start(1, None);
    let config = TransportConfig {
        coaps: vec![gateway.address],
        ..TransportConfig::default()
    };
    let error = Bound::open(config).unwrap_err();
    assert_eq!(error.address, gateway.address);
    assert!(
        error.to_string().contains(&gateway.address.port().to_string()),
        "{error}"
    );
    assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
    gateway.stop();
}

#[test]
fn a_stopping_gateway_says_goodbye() {
    let gateway = Gateway::start(2, None);
    let mut clients: Vec<_> = (1..=8)
        .map(|number| Client::connect(number, gateway.address))
        .collect();
    gateway.stop();
    for client in &mut clients {
        client.exchange(PATIENCE, |device| device.closed);
        assert!(client.device.closed);
    }
}

#[test]
fn a_disabled_device_is_told_and_gone() {
    let gateway = Gateway::start(2, None);
    let mut client = Client::connect(1, gateway.address);
    client.ask(Code::GET, "version", None);
    gateway.shards.disconnect(1);
    client.exchange(PATIENCE, |device| device.closed);
    gateway.wait_for(|seen| {
        seen.contains(&Seen::Disconnected {
            device: 1,
            serial: 1,
            why: EndReason::Revoked,
        })
    });
    gateway.stop();
}

/// Both gateways live in this process, so the first is not killed; but the second sees only what was synced to the log, and
/// the first is not told. `tests/` kills a real one.
#[test]
fn a_session_in_the_log_goes_on_with_no_handshake() {
    let log = MemoryLog::default();
    let first = Gateway::start(2, Some(log.clone()));
    let mut client = Client::connect(1, first.address);
    client.ask(Code::GET, "version", Some(0));
    // More than half of a range, so that another has been reserved, and one that crosses it.
    for _ in 0..1100 {
        assert_eq!(client.ask(Code::GET, "version", None).payload, "1:1");
    }
    log.wait_for(|entries| entries.iter().any(|entry| entry[0] == 4));

    let second = Gateway::start(2, Some(log.copy()));
    client.socket.connect(second.address).unwrap();
    assert_eq!(client.ask(Code::GET, "version", None).payload, "1:1");
    assert_eq!(
        second.house.seen(),
        [Seen::Connected {
            device: 1,
            serial: 1,
            restored: true
        }]
    );
    second.house.version.store(5, Ordering::SeqCst);
    second.shards.wake(Wake::Devices(vec![1]));
    let notification = client.receive();
    assert_eq!(notification.payload, "1:5", "the observation is in place");
    client.acknowledge(&notification);
    let mut another = Client::connect(2, second.address);
    another.ask(Code::GET, "version", None);
    second.wait_for(|seen| {
        seen.contains(&Seen::Connected {
            device: 2,
            serial: 2,
            restored: false,
        })
    });
    first.stop();
    second.stop();
}

#[test]
fn a_block_that_was_waited_for_when_the_gateway_ended_is_answered_by_the_next_one() {
    let log = MemoryLog::default();
    let first = Gateway::start(1, Some(log.clone()));
    let mut client = Client::connect(1, first.address);
    let mid = client.device.request(Code::GET, "cold", None, None);
    client.exchange(PATIENCE, |_| !first.house.tickets.lock().unwrap().is_empty());
    log.wait_for(|entries| !entries.is_empty());
    let second = Gateway::start(1, Some(log.copy()));

    first.house.tickets.lock().unwrap().clear();
    first.stop();
    client.exchange(Duration::from_millis(50), |device| !device.messages.is_empty());
    assert_eq!(client.device.told(), None, "neither bytes nor an error");

    // Its next transmission.
    client.device.mid -= 1;
    assert_eq!(client.device.request(Code::GET, "cold", None, None), mid);
    client.socket.connect(second.address).unwrap();
    client.exchange(PATIENCE, |_| !second.house.tickets.lock().unwrap().is_empty());
    let ticket = second.house.tickets.lock().unwrap().pop().unwrap();
    std::thread::spawn(move || {
        ticket.complete_with(|reply| reply.respond(&ResponseHead::new(Code::CONTENT), b"bytes"));
    })
    .join()
    .unwrap();
    let answer = client.receive();
    assert_eq!((answer.mid, answer.payload.as_str()), (mid, "bytes"));
    second.stop();
}

#[test]
fn a_session_that_ended_is_not_restored() {
    let log = MemoryLog::default();
    let first = Gateway::start(1, Some(log.clone()));
    let mut client = Client::connect(1, first.address);
    client.ask(Code::GET, "version", None);
    first.shards.disconnect(1);
    client.exchange(PATIENCE, |device| device.closed);
    log.wait_for(|entries| entries.iter().any(|entry| entry[0] == 5));
    first.stop();
    let second = Gateway::start(1, Some(log.clone()));
    assert_eq!(log.entries.lock().unwrap().len(), 0);
    second.stop();
}

#[test]
fn a_session_whose_credential_is_gone_is_not_restored_whatever_else_its_device_has() {
    let log = MemoryLog::default();
    let first = Gateway::start(1, Some(log.clone()));
    let mut client = Client::connect(1, first.address);
    client.ask(Code::GET, "version", Some(0));
    first.stop();
    let second = Gateway::start(1, Some(log.clone()));
    client.socket.connect(second.address).unwrap();
    assert_eq!(client.ask(Code::GET, "version", None).payload, "1:1");
    second.stop();
    let house = House::new();
    house.retired.lock().unwrap().push(CREDENTIAL + 1);
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let third = Gateway::of(house, anywhere, 1, Some(Box::new(log.clone())));
    log.wait_for(|entries| entries.iter().any(|entry| entry[0] == 5));
    assert_eq!(third.house.seen(), [], "it was nobody's");
    third.stop();
}

#[test]
fn a_session_of_a_log_of_version_1_goes_on_by_its_identity() {
    let log = MemoryLog::default();
    let first = Gateway::start(1, Some(log.clone()));
    let mut client = Client::connect(1, first.address);
    let mut other = Client::connect(2, first.address);
    client.ask(Code::GET, "version", Some(0));
    other.ask(Code::GET, "version", Some(0));
    first.stop();
    for entry in &mut *log.entries.lock().unwrap() {
        if let Entry::Established(mut peer) = Entry::from_bytes(entry).unwrap() {
            let identity = if peer.device == 1 { "device-1" } else { "nobody" };
            peer.credential = SavedCredential::Identity(Identity::new(identity.as_bytes()).unwrap());
            *entry = Entry::Established(peer).to_bytes().to_vec();
        }
    }
    let second = Gateway::start(1, Some(log.clone()));
    log.wait_for(|entries| {
        entries
            .iter()
            .any(|entry| *entry == *Entry::Ended { serial: 2 }.to_bytes())
    });
    client.socket.connect(second.address).unwrap();
    assert_eq!(client.ask(Code::GET, "version", None).payload, "1:1");
    second.shards.retire(1, CREDENTIAL + 1);
    client.exchange(PATIENCE, |device| device.closed);
    assert!(client.device.closed);
    second.stop();
}

#[test]
fn a_credential_retired_after_a_restart_ends_the_session_that_it_established_before() {
    let log = MemoryLog::default();
    let first = Gateway::start(2, Some(log.clone()));
    let mut client = Client::connect(1, first.address);
    client.ask(Code::GET, "version", Some(0));
    first.stop();
    let second = Gateway::start(2, Some(log));
    client.socket.connect(second.address).unwrap();
    assert_eq!(client.ask(Code::GET, "version", None).payload, "1:1");
    second.shards.retire(1, CREDENTIAL + 9);
    assert_eq!(client.ask(Code::GET, "version", None).payload, "1:1");
    second.shards.retire(1, CREDENTIAL + 1);
    client.exchange(PATIENCE, |device| device.closed);
    assert!(client.device.closed);
    second.stop();
}

#[test]
fn a_restored_session_is_looked_up_again_if_a_credential_was_retired_meanwhile() {
    let log = MemoryLog::default();
    let first = Gateway::start(1, Some(log.clone()));
    let mut client = Client::new(1, first.address);
    client.device.boot_as(clock::now(), "slow-1", &secret(1));
    client.exchange(PATIENCE, |device| {
        if let Some((number, ticket)) = first.house.slow.lock().unwrap().pop() {
            ticket.found(Thing(number), number + SLOW_CREDENTIAL, secret(number));
        }
        device.session.is_some()
    });
    client.ask(Code::GET, "version", None);
    first.stop();

    let second = Gateway::start(1, Some(log));
    client.socket.connect(second.address).unwrap();
    let asked = || {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(ticket) = second.house.slow_restored.lock().unwrap().pop() {
                return ticket;
            }
            assert!(Instant::now() < deadline, "nobody asks whose session it is");
            std::thread::yield_now();
        }
    };
    let ticket = asked();
    second.shards.retire(1, SLOW_CREDENTIAL + 1);
    // Read before the retirement, told after it.
    ticket.found(Thing(1));
    asked().gone();
    client.exchange(PATIENCE, |device| device.closed);
    assert!(client.device.closed);
    assert_eq!(second.house.seen(), [], "it was never anybody's");
    second.stop();
}

#[test]
fn a_planned_restart_closes_no_session() {
    let log = MemoryLog::default();
    let first = Gateway::start(1, Some(log.clone()));
    let mut client = Client::connect(1, first.address);
    client.ask(Code::GET, "version", Some(0));
    first.stop();
    client.exchange(Duration::from_millis(50), |device| device.closed);
    assert!(!client.device.closed);
    let second = Gateway::start(1, Some(log));
    client.socket.connect(second.address).unwrap();
    assert_eq!(client.ask(Code::GET, "version", None).payload, "1:1");
    second.stop();
}

/// A client that knows nothing of us, in the middle of a download when the process is killed.
#[test]
fn kill_9_costs_a_live_coap_client_no_handshake() {
    for client in ["coap-client-openssl", "coap-client-gnutls"] {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("sessions.log");
        let body = folder.path().join("body");
        // Half of a block size of 32 is 625 requests, so that a second range of record numbers is in use.
        let mut first = Process::start(&log, "127.0.0.1:0", 700);
        let address = first.line_after("listening ");
        let mut download = Command::new(client)
            .args(["-m", "get", "-b", "32", "-u", "device-1", "-k", "secret-1", "-o"])
            .arg(&body)
            .arg(format!("coaps://{address}/big"))
            .spawn()
            .unwrap_or_else(|error| panic!("{client} does not start: {error}; tests/run installs it"));
        // The client has sent a request that nobody will answer, so it meets the second process when it repeats it.
        first.line_after("stalled");
        first.kill();

        let mut second = Process::start(&log, &address, u32::MAX);
        second.line_after("listening ");
        assert!(download.wait().unwrap().success(), "{client}");
        assert_eq!(std::fs::read(&body).unwrap(), big(), "{client}");
        let said = second.kill();
        let connected: Vec<_> = said.iter().filter(|line| line.contains("Connected {")).collect();
        assert!(
            connected.len() == 1 && connected[0].contains("restored: true"),
            "{client}: no handshake but this: {said:?}"
        );
    }
}

/// Not a test: the process that the test above kills, which is this program started again.
#[test]
fn gateway_process() {
    let Ok(log) = std::env::var(PROCESS_LOG) else {
        return;
    };
    let address = std::env::var(PROCESS_ADDRESS).unwrap().parse().unwrap();
    let stall_after = std::env::var(PROCESS_STALL).unwrap().parse().unwrap();
    let gateway = Gateway::with(address, 2, Some(Box::new(FileLog::new(log.as_ref()))));
    gateway.house.stall_after.store(stall_after, Ordering::SeqCst);
    println!("\nlistening {}", gateway.address);
    loop {
        std::thread::park();
    }
}

/// A gateway in a process of its own.
struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
    said: Vec<String>,
}

impl Process {
    fn start(log: &Path, address: &str, stall_after: u32) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["transport::tests::gateway_process", "--exact", "--nocapture"])
            .env(PROCESS_LOG, log)
            .env(PROCESS_ADDRESS, address)
            .env(PROCESS_STALL, stall_after.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            output,
            said: Vec::new(),
        }
    }

    /// The rest of the next line that starts so.
    fn line_after(&mut self, prefix: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(
                self.output.read_line(&mut line).unwrap() > 0,
                "no {prefix} in {:?}",
                self.said
            );
            self.said.push(line.trim_end().to_owned());
            if let Some(rest) = line.strip_prefix(prefix) {
                return rest.trim_end().to_owned();
            }
        }
    }

    /// Kills it, and returns everything it said.
    fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let mut said = std::mem::take(&mut self.said);
        said.extend(self.output.by_ref().lines().map(Result::unwrap));
        said
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Gateway {
    house: Arc<House>,
    shards: Shards<Thing>,
    address: SocketAddr,
}

impl Gateway {
    fn start(shards: usize, journal: Option<MemoryLog>) -> Self {
        let journal = journal.map(|log| Box::new(log) as Box<dyn SessionJournal>);
        Self::with(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), shards, journal)
    }

    fn listening(address: &str, shards: usize) -> Self {
        Self::with(address.parse().unwrap(), shards, None)
    }

    fn with(address: SocketAddr, shards: usize, journal: Option<Box<dyn SessionJournal>>) -> Self {
        Self::of(House::new(), address, shards, journal)
    }

    fn of(
        house: Arc<House>,
        address: SocketAddr,
        shards: usize,
        journal: Option<Box<dyn SessionJournal>>,
    ) -> Self {
        let config = TransportConfig {
            coaps: vec![address],
            shards,
            ..TransportConfig::default()
        };
        let upstairs = Upstairs {
            handler: house.clone(),
            keys: house.clone(),
            journal,
        };
        let bound = Bound::open(config).unwrap();
        let address = bound.local_addrs()[0];
        Self {
            house,
            shards: bound.start(upstairs).unwrap(),
            address,
        }
    }

    fn wait_for(&self, done: impl Fn(&[Seen]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(&self.house.seen()) {
            assert!(Instant::now() < deadline, "{:?}", self.house.seen());
            std::thread::yield_now();
        }
    }

    fn stop(self) {
        self.shards.stop_accepting();
        self.shards.drain(clock::now() + PATIENCE);
        self.shards.join().unwrap();
    }
}

struct Client {
    socket: UdpSocket,
    device: Device,
    handshakes: u32,
}

impl Client {
    fn new(number: u64, gateway: SocketAddr) -> Self {
        let any: SocketAddr = if gateway.is_ipv4() {
            "127.0.0.1:0"
        } else {
            "[::1]:0"
        }
        .parse()
        .unwrap();
        let socket = UdpSocket::bind(any).unwrap();
        socket.connect(gateway).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        Self {
            socket,
            device: Device::new(number),
            handshakes: 0,
        }
    }

    fn connect(number: u64, gateway: SocketAddr) -> Self {
        let mut client = Self::new(number, gateway);
        client.shake_hands();
        client
    }

    fn shake_hands(&mut self) {
        let key = secret(self.device.number);
        let identity = format!("device-{}", self.device.number);
        self.device.boot_as(clock::now(), &identity, &key);
        self.handshakes += 1;
        self.exchange(PATIENCE, |device| device.session.is_some());
        assert!(
            self.device.session.is_some(),
            "no session for device {}",
            self.device.number
        );
    }

    fn ask(&mut self, method: Code, path: &str, observe: Option<u32>) -> Told {
        let mid = self.device.request(method, path, observe, None);
        self.exchange(REPEATED_AFTER, |device| !device.messages.is_empty());
        if self.device.messages.is_empty() {
            // While the session log is behind there is no record number to answer with, and then it is for the device to ask
            // again. Here the log's thread may be behind for as long as other tests have the processors.
            self.device.mid -= 1;
            self.device.request(method, path, observe, None);
        }
        loop {
            let answer = self.receive();
            assert_eq!(answer.kind, Kind::Acknowledgement);
            if answer.mid == mid {
                return answer;
            }
            assert_eq!(answer.mid.0 + 1, mid.0, "or it is what was said twice before");
        }
    }

    /// The next message; a ping is acknowledged and no message.
    fn receive(&mut self) -> Told {
        loop {
            self.exchange(PATIENCE, |device| !device.messages.is_empty());
            let told = self.device.told().expect("a message in time");
            if (told.kind, told.code) != (Kind::Confirmable, Code::EMPTY) {
                return told;
            }
            self.acknowledge(&told);
        }
    }

    fn acknowledge(&mut self, notification: &Told) {
        self.device.acknowledge(notification.mid);
        self.exchange(Duration::ZERO, |_| true);
    }

    /// Sends and receives until `done` or out of patience.
    fn exchange(&mut self, patience: Duration, done: impl Fn(&Device) -> bool) {
        let deadline = Instant::now() + patience;
        let mut buffer = [0; 2048];
        loop {
            for datagram in self.device.out.drain(..) {
                // The gateway may be gone; that shows in what does not come back.
                let _ = self.socket.send(&datagram);
            }
            if done(&self.device) || Instant::now() > deadline {
                return;
            }
            if let Ok(length) = self.socket.recv(&mut buffer) {
                self.device.handle(clock::now(), &mut buffer[..length]);
            }
        }
    }
}

/// A session log in memory: what was synced, and what only might have been.
#[derive(Clone, Debug, Default)]
struct MemoryLog {
    entries: Arc<Mutex<Vec<Vec<u8>>>>,
    unsynced: Vec<Vec<u8>>,
}

impl MemoryLog {
    fn copy(&self) -> Self {
        let entries = self.entries.lock().unwrap().clone();
        Self {
            entries: Arc::new(Mutex::new(entries)),
            unsynced: Vec::new(),
        }
    }

    fn wait_for(&self, done: impl Fn(&[Vec<u8>]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(&self.entries.lock().unwrap()) {
            assert!(
                Instant::now() < deadline,
                "the log has {} entries",
                self.entries.lock().unwrap().len()
            );
            std::thread::yield_now();
        }
    }
}

impl SessionJournal for MemoryLog {
    fn read(&mut self, each: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<u64> {
        for entry in self.entries.lock().unwrap().iter() {
            each(entry)?;
        }
        Ok(0)
    }

    fn rewrite(&mut self, entries: &mut dyn Iterator<Item = Zeroizing<Vec<u8>>>) -> io::Result<()> {
        *self.entries.lock().unwrap() = entries.map(|entry| entry.to_vec()).collect();
        Ok(())
    }

    fn append(&mut self, entry: &[u8]) -> io::Result<()> {
        self.unsynced.push(entry.to_vec());
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.entries.lock().unwrap().append(&mut self.unsynced);
        Ok(())
    }

    fn clear(&mut self) -> io::Result<()> {
        self.entries.lock().unwrap().clear();
        Ok(())
    }

    fn size(&self) -> u64 {
        self.entries
            .lock()
            .unwrap()
            .iter()
            .map(|entry| entry.len() as u64)
            .sum()
    }
}

/// A session log in a file, in clear: lengths and entries.
struct FileLog {
    path: PathBuf,
    file: File,
    size: u64,
}

impl FileLog {
    fn new(path: &Path) -> Self {
        let file = File::options().create(true).append(true).open(path).unwrap();
        Self {
            path: path.to_owned(),
            file,
            size: 0,
        }
    }
}

impl SessionJournal for FileLog {
    fn read(&mut self, each: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<u64> {
        let bytes = std::fs::read(&self.path)?;
        let mut rest = &bytes[..];
        while let Some((length, after)) = rest.split_first_chunk()
            && let Some((entry, after)) = after.split_at_checked(u32::from_be_bytes(*length) as usize)
        {
            each(entry)?;
            rest = after;
        }
        Ok(rest.len() as u64)
    }

    fn rewrite(&mut self, entries: &mut dyn Iterator<Item = Zeroizing<Vec<u8>>>) -> io::Result<()> {
        self.file.set_len(0)?;
        self.size = 0;
        for entry in entries {
            self.append(&entry)?;
        }
        self.sync()
    }

    fn append(&mut self, entry: &[u8]) -> io::Result<()> {
        self.size += 4 + entry.len() as u64;
        self.file.write_all(&(entry.len() as u32).to_be_bytes())?;
        self.file.write_all(entry)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)
    }

    fn size(&self) -> u64 {
        self.size
    }
}

const PROCESS_LOG: &str = "TESSERA_TEST_SESSION_LOG";
const PROCESS_ADDRESS: &str = "TESSERA_TEST_ADDRESS";
const PROCESS_STALL: &str = "TESSERA_TEST_STALL_AFTER";

const PATIENCE: Duration = Duration::from_secs(10);
/// RFC 7252 section 4.8: ACK_TIMEOUT.
const REPEATED_AFTER: Duration = Duration::from_secs(2);
