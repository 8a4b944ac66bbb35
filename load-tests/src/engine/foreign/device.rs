//! One device: a task that waits for whatever comes next, and the three parts that decide what to do about it.
//!
//! 1. down: not switched on yet, booting, or between two attempts
//! 2. handshaking, over a socket of its own
//! 3. up: the port's [`Client`] carries what the [`Firmware`] asks
//!
//! All that happens is one of [`Next`]; then [`Device::turn`] hands on what the parts have for each other until they are quiet.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tessera::clock;
use tessera::virtual_device::{Code, Ending, Event, Port};
use tokio::sync::mpsc;
use webrtc_dtls::conn::DTLSConn;
use webrtc_util::conn::Conn;

use super::super::{Desk, ForeignSeat, Happened, Order};
use super::air::{Air, SharedLink, Spot, at};
use super::cbor;
use super::client::{Ask, Client, Token, Told};
use super::firmware::{Firmware, Pauses};

/// A device at work.
pub struct Device {
    seat: ForeignSeat,
    dtls: webrtc_dtls::config::Config,
    gateway: std::net::SocketAddr,
    spot: Spot,
    link: SharedLink,
    desk: Arc<Desk>,
    orders: mpsc::Receiver<Order>,
    story: mpsc::Sender<Happened>,
    pauses: Pauses,
    rng: StdRng,
    firmware: Firmware,
    contact: Contact,
    /// The next token: the SDK counts up from a random start per boot.
    token: u64,
    /// The observation keeps its token from session to session, until the next boot.
    observation: Option<Token>,
    /// The blocks of one transfer have one token.
    transfer: Option<(u32, Token)>,
    /// When the last block was asked for.
    block_asked: Option<Instant>,
}

/// What a device is built of.
pub struct Parts {
    /// Who it is.
    pub seat: ForeignSeat,
    /// How it shakes hands.
    pub dtls: webrtc_dtls::config::Config,
    /// Where the gateway is.
    pub gateway: std::net::SocketAddr,
    /// Where its sockets come from.
    pub spot: Spot,
    /// Its network.
    pub link: SharedLink,
    /// Where its thread leaves its figures.
    pub desk: Arc<Desk>,
    /// What the run has it do.
    pub orders: mpsc::Receiver<Order>,
    /// Takes what happens.
    pub story: mpsc::Sender<Happened>,
}

enum Contact {
    /// Tries at this time; never while an image runs that does not connect.
    Down { until: Option<Instant> },
    /// Shakes hands.
    Handshaking {
        began: Instant,
        air: Arc<Air>,
        handshake: Handshake,
    },
    /// Has a session.
    Up(Box<Online>),
}

type Handshake = Pin<Box<dyn Future<Output = Result<DTLSConn, webrtc_dtls::Error>> + Send>>;

struct Online {
    conn: DTLSConn,
    air: Arc<Air>,
    client: Client,
    /// The gateway said goodbye, or `webrtc-dtls` reads no more for another reason.
    deaf: bool,
}

enum Next {
    Order(Order),
    /// The fleet is gone.
    Over,
    /// The time has come to try.
    Attempt {
        due: Instant,
    },
    Established(Box<DTLSConn>),
    Refused(Ending),
    Message(usize),
    Deaf,
    Due {
        due: Instant,
    },
}

impl Device {
    pub fn new(parts: Parts) -> Self {
        let Parts {
            seat,
            dtls,
            gateway,
            spot,
            link,
            desk,
            orders,
            story,
        } = parts;
        let pauses = Pauses::of(seat.port, seat.faster);
        let mut rng = StdRng::seed_from_u64(seat.seed);
        Self {
            firmware: Firmware::new(&seat.package, &seat.version, Arc::clone(&seat.images), pauses),
            contact: Contact::Down {
                until: Some(seat.start),
            },
            token: rng.random::<u32>().into(),
            observation: None,
            transfer: None,
            block_asked: None,
            pauses,
            rng,
            seat,
            dtls,
            gateway,
            spot,
            link,
            desk,
            orders,
            story,
        }
    }

    /// Lives until the fleet is gone.
    pub async fn live(mut self) {
        let mut buffer = vec![0; MESSAGE_MAX];
        loop {
            let next = self.next(&mut buffer).await;
            let now = clock::now();
            match next {
                Next::Over => return,
                Next::Order(order) => self.obey(now, order).await,
                Next::Attempt { due } => {
                    self.desk.figures().late(now.saturating_duration_since(due));
                    self.attempt(now).await;
                }
                Next::Established(conn) => self.established(now, *conn).await,
                Next::Refused(why) => {
                    self.down(now, self.pauses.refused);
                    self.tell(now, Event::Disconnected(why)).await;
                }
                Next::Message(len) => {
                    if let Contact::Up(online) = &mut self.contact {
                        online.client.receive(now, &buffer[..len]);
                    }
                }
                Next::Deaf => self.deafened(),
                Next::Due { due } => {
                    self.desk.figures().late(now.saturating_duration_since(due));
                    if let Contact::Up(online) = &mut self.contact
                        && online.client.poll_timeout() <= now
                    {
                        online.client.handle_timeout(now);
                    }
                    if self.firmware.handle_timeout(now) {
                        self.boot(now);
                    }
                }
            }
            self.turn(now).await;
        }
    }

    async fn next(&mut self, buffer: &mut [u8]) -> Next {
        let client = match &self.contact {
            Contact::Up(online) => Some(online.client.poll_timeout()),
            Contact::Down { .. } | Contact::Handshaking { .. } => None,
        };
        let due = client.into_iter().chain(self.firmware.poll_timeout()).min();
        let patience = self.patience();
        tokio::select! {
            biased;
            order = self.orders.recv() => order.map_or(Next::Over, Next::Order),
            next = self.contact.next(patience, buffer) => next,
            () = at(due) => Next::Due { due: due.unwrap_or(self.seat.start) },
        }
    }

    async fn obey(&mut self, now: Instant, order: Order) {
        match order {
            Order::Rebind => match &mut self.contact {
                // The next attempt has a socket of its own anyway.
                Contact::Down { .. } => {}
                Contact::Handshaking { air, .. } => air.rebind().await,
                Contact::Up(online) => online.air.rebind().await,
            },
            // One that has not been switched on has nothing to switch off.
            Order::Reboot if now < self.seat.start => {}
            Order::Reboot => {
                self.firmware.reboot();
                self.boot(now);
            }
            Order::Outage(lasts) => self
                .link
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .outage(now + lasts),
        }
    }

    async fn attempt(&mut self, now: Instant) {
        match Air::open(&self.spot, self.gateway, &self.link, &self.desk).await {
            Ok(air) => {
                let carrier: Arc<dyn Conn + Send + Sync> = air.clone();
                self.contact = Contact::Handshaking {
                    began: now,
                    air,
                    handshake: Box::pin(DTLSConn::new(carrier, self.dtls.clone(), true, None)),
                };
            }
            Err(_) => {
                self.desk.figures().counts.send_errors += 1;
                self.down(now, self.pauses.refused);
                self.tell(now, Event::Disconnected(Ending::HandshakeUnanswered))
                    .await;
            }
        }
    }

    async fn established(&mut self, now: Instant, conn: DTLSConn) {
        let Contact::Handshaking { began, air, .. } =
            std::mem::replace(&mut self.contact, Contact::Down { until: None })
        else {
            return;
        };
        let (port, block_size) = (self.seat.port, self.seat.block_size);
        self.contact = Contact::Up(Box::new(Online {
            conn,
            air,
            client: Client::new(port, block_size, self.rng.random(), began, now),
            deaf: false,
        }));
        self.tell(now, Event::Established { took: now - began }).await;
    }

    /// Nothing can be read any more. libcoap's port does not notice, and finds out by its next request.
    fn deafened(&mut self) {
        if let Contact::Up(online) = &mut self.contact {
            online.deaf = true;
            match self.seat.port {
                Port::Libcoap => {}
                Port::Zephyr => online.client.end(Ending::Closed),
            }
        }
    }

    /// The firmware has started again: whatever there was is dropped without a word.
    fn boot(&mut self, now: Instant) {
        self.contact = Contact::Down {
            until: self.firmware.connects().then(|| now + self.pauses.start),
        };
        self.token = self.rng.random::<u32>().into();
        self.observation = None;
        self.transfer = None;
    }

    fn down(&mut self, now: Instant, pause: Duration) {
        self.contact = Contact::Down {
            until: Some(now + pause),
        };
    }

    /// Hands on what the client tells, what the firmware asks and what is to be sent, until there is nothing left.
    async fn turn(&mut self, now: Instant) {
        loop {
            while let Some(event) = self.firmware.poll_event() {
                self.tell(now, event).await;
            }
            if let Contact::Up(online) = &mut self.contact
                && let Some(told) = online.client.poll_told()
            {
                self.told(now, told).await;
            } else if let Some(ask) = self.firmware.poll_ask() {
                self.ask(now, ask).await;
            } else {
                break;
            }
        }
        if let Contact::Up(online) = &mut self.contact {
            while let Some(message) = online.client.poll_transmit() {
                if online.conn.send(&message).await.is_err() {
                    online.deaf = true;
                }
            }
        }
    }

    async fn told(&mut self, now: Instant, told: Told) {
        match told {
            Told::Connected => {
                self.firmware.connected(now);
                self.tell(now, Event::Connected).await;
            }
            Told::Answered(ask, answer) => match ask {
                Ask::Keepalive => {}
                Ask::Observe | Ask::Poll if answer.code.is_success() => {
                    if ask == Ask::Observe {
                        self.tell(now, Event::Observing).await;
                    }
                    self.manifest(now, &answer.payload).await;
                }
                Ask::Observe => self.tell(now, Event::ObservationRefused(answer.code)).await,
                Ask::Poll => {}
                Ask::Report(report) => {
                    let (code, took) = (answer.code, answer.took);
                    self.tell(now, Event::Reported { report, code, took }).await;
                }
                Ask::Block { transfer, .. } if answer.code == Code::CONTENT => {
                    self.firmware
                        .block(now, transfer, &answer.payload, answer.more, answer.took);
                }
                Ask::Block { transfer, .. } => self.firmware.block_failed(now, transfer),
            },
            Told::Failed(ask) => {
                if let Ask::Block { transfer, .. } = ask {
                    self.firmware.block_failed(now, transfer);
                    let asked = self.block_asked.unwrap_or(now);
                    let waited = now.saturating_duration_since(asked);
                    self.tell(now, Event::BlockFailed { waited }).await;
                } else {
                    self.tell(now, Event::RequestFailed).await;
                }
            }
            Told::Notified(payload) => self.manifest(now, &payload).await,
            Told::Retransmitted => self.tell(now, Event::Retransmitted).await,
            Told::Crashed => {
                self.tell(now, Event::Crashed).await;
                self.firmware.reboot();
                self.boot(now);
            }
            Told::Ended(why) => {
                if let Contact::Up(online) =
                    std::mem::replace(&mut self.contact, Contact::Down { until: None })
                {
                    // Both ports say goodbye when they end a session themselves.
                    let _ = online.conn.close().await;
                }
                self.down(now, self.pauses.reconnect);
                self.tell(now, Event::Disconnected(why)).await;
            }
        }
    }

    async fn manifest(&mut self, now: Instant, payload: &[u8]) {
        match cbor::manifest(payload) {
            Ok(manifest) => self.firmware.manifest(now, manifest),
            Err(error) => {
                let error = tessera::virtual_device::ManifestError::Malformed(error.to_string());
                self.tell(now, Event::ManifestRejected(error)).await;
            }
        }
    }

    /// Asks, if there is a session that the port calls connected; else the request has come to nothing at once.
    async fn ask(&mut self, now: Instant, ask: Ask) {
        let token = self.token_of(&ask);
        match &mut self.contact {
            Contact::Up(online) if online.client.is_connected() => {
                if let Ask::Block { .. } = ask {
                    self.block_asked = Some(now);
                }
                online.client.ask(now, ask, token);
            }
            Contact::Down { .. } | Contact::Handshaking { .. } | Contact::Up(_) => match ask {
                Ask::Block { transfer, .. } => {
                    self.firmware.block_failed(now, transfer);
                    self.tell(now, Event::RequestFailed).await;
                }
                // Nobody waits for those, and what matters of them is said at the next connection.
                Ask::Report(_) | Ask::Poll | Ask::Observe | Ask::Keepalive => {}
            },
        }
    }

    fn token_of(&mut self, ask: &Ask) -> Token {
        match (ask, self.observation, self.transfer) {
            (Ask::Observe, Some(token), _) => token,
            (Ask::Block { transfer, .. }, _, Some((of, token))) if of == *transfer => token,
            (Ask::Observe | Ask::Poll | Ask::Report(_) | Ask::Block { .. } | Ask::Keepalive, ..) => {
                self.token = self.token.wrapping_add(1);
                let token = self.token.to_le_bytes();
                match ask {
                    Ask::Observe => self.observation = Some(token),
                    Ask::Block { transfer, .. } => self.transfer = Some((*transfer, token)),
                    Ask::Poll | Ask::Report(_) | Ask::Keepalive => {}
                }
                token
            }
        }
    }

    /// Waits where nobody takes it: then the device falls behind, which its lateness tells.
    async fn tell(&mut self, now: Instant, event: Event) {
        // Nobody listens once the run is over.
        let _ = self
            .story
            .send(Happened {
                device: self.seat.device,
                at: now,
                event,
            })
            .await;
    }

    /// How long a handshake may take (`CONTRACT.md` 0, rule 3).
    fn patience(&self) -> Duration {
        match self.seat.port {
            Port::Libcoap => Duration::from_secs(10),
            Port::Zephyr => Duration::from_millis(3001),
        }
    }
}

impl Contact {
    /// Nothing is lost when this is dropped half-way.
    async fn next(&mut self, patience: Duration, buffer: &mut [u8]) -> Next {
        match self {
            Self::Down { until } => {
                at(*until).await;
                match *until {
                    Some(due) => Next::Attempt { due },
                    None => std::future::pending().await,
                }
            }
            Self::Handshaking {
                began,
                handshake,
                air,
            } => {
                let deadline = (*began + patience).into();
                match tokio::time::timeout_at(deadline, handshake.as_mut()).await {
                    Ok(Ok(conn)) => Next::Established(Box::new(conn)),
                    Ok(Err(_)) if air.has_heard() => {
                        Next::Refused(Ending::HandshakeFailed("webrtc-dtls gave up"))
                    }
                    Ok(Err(_)) => Next::Refused(Ending::HandshakeUnanswered),
                    Err(_) if air.has_heard() => Next::Refused(Ending::HandshakeFailed("no end in time")),
                    Err(_) => Next::Refused(Ending::HandshakeUnanswered),
                }
            }
            Self::Up(online) if online.deaf => std::future::pending().await,
            Self::Up(online) => match online.conn.recv(buffer).await {
                Ok(len) => Next::Message(len),
                Err(_) => Next::Deaf,
            },
        }
    }
}

/// A record's content, and more than any message.
const MESSAGE_MAX: usize = 4096;
