//! The network between a client and a server: what it does to what the server sends, and a NAT's constant address.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tessera::dtls::records;

/// What happens to what the server sends.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    /// The n-th datagram is lost.
    pub lose: Option<usize>,
    /// Every datagram arrives twice.
    pub duplicate: bool,
    /// Every record travels in a datagram of its own, the last one first.
    pub swap_records: bool,
}

/// Whoever speaks to it speaks to the server, always from the same address and port: a client that starts again has the port
/// that it had before.
pub struct Network {
    pub address: SocketAddr,
    sizes: Arc<Mutex<Vec<usize>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Network {
    pub fn start(server: SocketAddr, faults: Faults) -> Self {
        let [near, far] = [0; 2].map(|_| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            Arc::new(socket)
        });
        far.connect(server).unwrap();
        let address = near.local_addr().unwrap();
        let client: Arc<Mutex<Option<SocketAddr>>> = Arc::default();
        let sizes: Arc<Mutex<Vec<usize>>> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));

        let there = {
            let (near, far, stop, client) = (near.clone(), far.clone(), stop.clone(), client.clone());
            move || {
                let mut datagram = [0; 2048];
                while !stop.load(Ordering::Relaxed) {
                    if let Ok((length, from)) = near.recv_from(&mut datagram) {
                        *client.lock().unwrap() = Some(from);
                        let _ = far.send(&datagram[..length]);
                    }
                }
            }
        };
        let back = {
            let (sizes, stop) = (sizes.clone(), stop.clone());
            move || {
                let mut datagram = [0; 2048];
                while !stop.load(Ordering::Relaxed) {
                    let Ok(length) = far.recv(&mut datagram) else {
                        continue;
                    };
                    let nth = sizes.lock().unwrap().len();
                    sizes.lock().unwrap().push(length);
                    if faults.lose == Some(nth) {
                        continue;
                    }
                    let mut datagrams = vec![datagram[..length].to_vec()];
                    if faults.swap_records {
                        datagrams = records(&mut datagram[..length]).map(|r| r.to_vec()).collect();
                        datagrams.reverse();
                    }
                    let client = client.lock().unwrap().unwrap();
                    for datagram in datagrams {
                        for _ in 0..if faults.duplicate { 2 } else { 1 } {
                            let _ = near.send_to(&datagram, client);
                        }
                    }
                }
            }
        };
        Self {
            address,
            sizes,
            stop,
            threads: vec![std::thread::spawn(there), std::thread::spawn(back)],
        }
    }

    /// How long the datagrams were that the server has sent.
    pub fn sizes(&self) -> Vec<usize> {
        self.sizes.lock().unwrap().clone()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let joined = thread.join();
            assert!(joined.is_ok() || std::thread::panicking(), "the network panicked");
        }
    }
}
