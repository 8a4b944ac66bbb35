//! The DTLS core against foreign implementations.
//!
//! 1. `the_matrix_…`: every foreign client against our server half, row by row; it prints a table in which each cell has the
//!    suite agreed on, or why the client cannot do what the row wants. The table is also left in
//!    `target/tmp/interop-matrix.txt`. Its last rows are the clients that can speak CoAP, before a real `tessera serve`
//!    ([`gateway`]).
//! 2. [`servers`]: foreign servers against our client half.
//! 3. [`certificates`]: as `openssl` makes them, both ways.
//!
//! Nobody here speaks `TLS_ECDHE_PSK_WITH_AES_128_CCM_SHA256` with us. Botan does, and did (2.19, by hand: its library is
//! C++ alone); what the suite is made of is held by the two suites that share its halves, and by the computed bytes in
//! `src/dtls/tests/known_answers.rs`.
//!
//! A missing tool fails the test: `tests/run` installs them.

#![allow(clippy::unwrap_used)]

mod certificates;
mod clients;
mod gateway;
mod network;
mod server;
mod servers;
#[path = "../support/mod.rs"]
mod support;
mod tool;

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use clients::{Cannot, Client, Credential, Offer, Special};
use network::{Faults, Network};
use server::{Agreed, Server};
use tessera::dtls::{ChainFault, CipherSuite, FailureReason, Psk};

#[test]
fn the_matrix_of_foreign_clients_agrees_with_us_or_says_why_not() {
    let rows = rows();
    let columns: Vec<Vec<Cell>> = std::thread::scope(|scope| {
        let columns = Client::ALL.map(|client| {
            let rows = &rows;
            scope.spawn(move || rows.iter().map(|row| row.run(client)).collect())
        });
        columns.map(|column| column.join().unwrap()).into()
    });
    let table = table(&rows, &columns);
    println!("{table}");
    std::fs::write(
        concat!(env!("CARGO_TARGET_TMPDIR"), "/interop-matrix.txt"),
        &table,
    )
    .unwrap();
    let failed: Vec<String> = Client::ALL
        .into_iter()
        .zip(&columns)
        .flat_map(|(client, column)| {
            column
                .iter()
                .zip(&rows)
                .filter_map(move |(cell, row)| match cell {
                    Cell::Failed(why) => Some(format!("{}, {}: {why}", client.name(), row.name)),
                    Cell::Works(_) | Cell::Cannot(_) => None,
                })
        })
        .collect();
    assert!(failed.is_empty(), "these cells fail:\n{}", failed.join("\n"));
}

/// One thing that all clients are put through.
struct Row {
    name: String,
    try_it: Box<dyn Fn(Client) -> Result<String, Cannot> + Sync>,
}

enum Cell {
    Works(String),
    Cannot(&'static str),
    Failed(String),
}

impl Row {
    fn new(
        name: impl Into<String>,
        try_it: impl Fn(Client) -> Result<String, Cannot> + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            try_it: Box::new(try_it),
        }
    }

    fn run(&self, client: Client) -> Cell {
        match catch_unwind(AssertUnwindSafe(|| (self.try_it)(client))) {
            Ok(Ok(agreed)) => Cell::Works(agreed),
            Ok(Err(Cannot(why))) => Cell::Cannot(why),
            Err(panic) => Cell::Failed(
                panic
                    .downcast_ref::<String>()
                    .cloned()
                    .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                    .unwrap_or_else(|| "a panic".into()),
            ),
        }
    }
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let psk = Offer::default();
    let certified = Offer {
        credential: Credential::Certificate(DEVICE),
        ..Offer::default()
    };
    for suite in CipherSuite::ALL {
        for extended_master_secret in [true, false] {
            let with = if extended_master_secret {
                ""
            } else {
                ", without EMS"
            };
            rows.push(Row::new(short(&suite.to_string()) + with, move |client| {
                agrees_on(client, suite, extended_master_secret)
            }));
        }
    }
    // The server's datagrams: HelloVerifyRequest, the flight of its ServerHello in one or two, Finished.
    let servers = [
        ("PSK", psk, Server::start as fn() -> Server, 3),
        ("certificates", certified, Server::with_long_chain, 4),
    ];
    for (with, offer, start, datagrams) in servers {
        let lost = (0..datagrams).map(|lost| {
            let lose = Some(lost);
            (
                format!("server datagram {lost} lost"),
                Faults {
                    lose,
                    ..Faults::default()
                },
            )
        });
        let duplicate = Faults {
            duplicate: true,
            ..Faults::default()
        };
        let swapped = Faults {
            swap_records: true,
            ..Faults::default()
        };
        let others = [
            ("whatever it offers", Faults::default()),
            ("every datagram twice", duplicate),
            ("records apart and backwards", swapped),
        ];
        for (name, faults) in others
            .map(|(name, faults)| (name.to_owned(), faults))
            .into_iter()
            .chain(lost)
        {
            let offer = offer.clone();
            rows.push(Row::new(format!("{with}: {name}"), move |client| {
                // Its program was seen to give up at once ("cannot send CoAP pdu") on a busy machine, when a flight was
                // lost and both sides repeated theirs; a device begins again then.
                if matches!(client, Client::CoapGnuTls) && faults.lose.is_some() {
                    let first = || through(client, start(), faults, &offer);
                    if let Ok(agreed) = catch_unwind(AssertUnwindSafe(first)) {
                        return agreed;
                    }
                }
                through(client, start(), faults, &offer)
            }));
        }
    }
    rows.push(Row::new("a certificate of version 1", |client| {
        let credential = Credential::Certificate("device_v1.pem");
        through(
            client,
            Server::start(),
            Faults::default(),
            &Offer {
                credential,
                ..Offer::default()
            },
        )
    }));
    let strangers = [
        (
            "no client certificate",
            Credential::NoCertificate,
            ChainFault::NoCertificate,
        ),
        (
            "an untrusted client certificate",
            Credential::Certificate("device_by_sub.pem"),
            ChainFault::Untrusted,
        ),
        (
            "a server's certificate of its own",
            Credential::Certificate("device_server_use.pem"),
            ChainFault::NotForClientUse,
        ),
    ];
    for (name, credential, fault) in strangers {
        let offer = Offer {
            credential,
            ..Offer::default()
        };
        rows.push(Row::new(name, move |client| {
            refused(client, &offer, FailureReason::Certificate(fault))
        }));
    }
    rows.push(Row::new("a raw public key", |client| {
        let credential = Credential::RawKey;
        through(
            client,
            Server::start(),
            Faults::default(),
            &Offer {
                credential,
                ..Offer::default()
            },
        )
    }));
    rows.push(Row::new("CBC, records apart and backwards", |client| {
        let swap_records = true;
        let offer = Offer {
            suite: Some(CipherSuite::PskAes128CbcSha256),
            ..Offer::default()
        };
        through(
            client,
            Server::start(),
            Faults {
                swap_records,
                ..Faults::default()
            },
            &offer,
        )
    }));
    rows.push(Row::new("a wrong key", |client| {
        refused_stranger(client, IDENTITY, WRONG_KEY, FailureReason::WrongKey).map(|_| "refused".into())
    }));
    rows.push(Row::new(
        "an unknown identity",
        unknown_identity_looks_like_a_wrong_key,
    ));
    rows.push(Row::new("rebooted, on the same port", rebooted));
    rows.push(Row::new("closed and back on the same port", closed_and_back));
    for (id, what) in [("", "empty"), ("c1d2", "its own")] {
        for credential in [Credential::OURS, Credential::Certificate(DEVICE)] {
            let with = match credential {
                Credential::Certificate(_) => ", certificates",
                Credential::Psk { .. } | Credential::NoCertificate | Credential::RawKey => "",
            };
            let name = format!("connection ID, {what}{with}; another port");
            rows.push(Row::new(name, move |client| moves(client, id, credential)));
        }
    }
    rows.push(Row::new("max_fragment_length 512", |client| {
        let special = Special::MaxFragmentLength;
        through(
            client,
            Server::start(),
            Faults::default(),
            &Offer {
                special,
                ..Offer::default()
            },
        )
    }));
    rows.push(Row::new("CBC without encrypt_then_mac", |client| {
        refused_special(
            client,
            Special::NoEncryptThenMac(None),
            FailureReason::NoCommonSuite,
        )
    }));
    rows.push(Row::new("CBC without encrypt_then_mac, then CCM_8", |client| {
        let ccm_8 = CipherSuite::PskAes128Ccm8;
        let special = Special::NoEncryptThenMac(Some(ccm_8));
        let server = Server::start();
        let mut tool = client.spawn(
            &Offer {
                special,
                ..Offer::default()
            },
            server.address,
        )?;
        client.assert_echo(&mut tool);
        let agreed = server.established();
        assert_eq!(agreed.suite, ccm_8);
        Ok(said(&agreed))
    }));
    rows.push(Row::new("no suite of ours", |client| {
        refused_special(client, Special::NothingOfOurs, FailureReason::NoCommonSuite)
    }));
    rows.push(Row::new("DTLS 1.0 alone", |client| {
        refused_special(client, Special::Dtls10, FailureReason::UnsupportedVersion)
    }));
    rows.push(Row::new(
        "tessera serve: connection ID, CoAP, another port",
        gateway::moves,
    ));
    rows.push(Row::new(
        "tessera serve: certificates, CoAP",
        gateway::lets_in_by_certificate,
    ));
    rows
}

/// Offers one suite alone.
fn agrees_on(client: Client, suite: CipherSuite, extended_master_secret: bool) -> Result<String, Cannot> {
    let server = Server::start();
    let credential = match suite.has_psk() {
        true => Credential::OURS,
        false => Credential::Certificate(DEVICE),
    };
    let offer = Offer {
        suite: Some(suite),
        extended_master_secret,
        credential,
        ..Offer::default()
    };
    let mut tool = client.spawn(&offer, server.address)?;
    client.assert_echo(&mut tool);
    let agreed = server.established();
    assert_eq!(
        (agreed.suite, agreed.extended_master_secret),
        (suite, extended_master_secret)
    );
    client.close(&mut tool);
    server.assert_closed();
    Ok(said(&agreed))
}

/// Over a network with faults.
fn through(client: Client, server: Server, faults: Faults, offer: &Offer) -> Result<String, Cannot> {
    let network = Network::start(server.address, faults);
    let mut tool = client.spawn(offer, network.address)?;
    client.assert_echo(&mut tool);
    Ok(said(&server.established()))
}

/// Who is not known by his key gets nothing; what he got to see, by the sizes of the datagrams.
fn refused_stranger(
    client: Client,
    identity: &'static str,
    key: &'static str,
    reason: FailureReason,
) -> Result<Vec<usize>, Cannot> {
    let server = Server::with_deadline(Duration::from_secs(3));
    let network = Network::start(server.address, Faults::default());
    let offer = Offer {
        credential: Credential::Psk { identity, key },
        ..Offer::default()
    };
    let _tool = client.spawn(&offer, network.address)?;
    let refused = server.failed();
    assert_eq!(
        (refused.reason, refused.claim.as_deref()),
        (reason, Some(identity))
    );
    // HelloVerifyRequest and the ServerHello's flight: what comes again after those depends on how long anybody waits.
    Ok(network.sizes()[..2].to_vec())
}

fn unknown_identity_looks_like_a_wrong_key(client: Client) -> Result<String, Cannot> {
    let unknown = refused_stranger(client, "nobody", KEY, FailureReason::UnknownIdentity)?;
    let wrong = refused_stranger(client, IDENTITY, WRONG_KEY, FailureReason::WrongKey)?;
    assert_eq!(unknown, wrong, "the sizes of what the client was sent");
    Ok("refused alike".into())
}

/// Refused for what is known at once, and told so.
fn refused(client: Client, offer: &Offer, reason: FailureReason) -> Result<String, Cannot> {
    let server = Server::start();
    let mut tool = client.spawn(offer, server.address)?;
    assert_eq!(server.failed().reason, reason);
    tool.assert_alert();
    Ok("alert".into())
}

fn refused_special(client: Client, special: Special, reason: FailureReason) -> Result<String, Cannot> {
    refused(
        client,
        &Offer {
            special,
            ..Offer::default()
        },
        reason,
    )
}

/// Killed in mid-session, and back from the same address at once.
fn rebooted(client: Client) -> Result<String, Cannot> {
    let server = Server::start();
    let network = Network::start(server.address, Faults::default());
    let special = Special::Silence;
    let mut tool = client.spawn(
        &Offer {
            special,
            ..Offer::default()
        },
        network.address,
    )?;
    server.established();
    tool.kill();
    let mut tool = client.spawn(&Offer::default(), network.address)?;
    client.assert_echo(&mut tool);
    Ok(said(&server.established()))
}

fn closed_and_back(client: Client) -> Result<String, Cannot> {
    let server = Server::start();
    let network = Network::start(server.address, Faults::default());
    for _ in 0..2 {
        let mut tool = client.spawn(&Offer::default(), network.address)?;
        client.assert_echo(&mut tool);
        server.established();
        client.close(&mut tool);
        server.assert_closed();
    }
    let mut tool = client.spawn(&Offer::default(), network.address)?;
    client.assert_echo(&mut tool);
    Ok(said(&server.established()))
}

/// The session goes on from another port, and again from a third.
fn moves(client: Client, id: &'static str, credential: Credential) -> Result<String, Cannot> {
    let server = Server::start();
    let offer = Offer {
        special: Special::ConnectionId(id),
        credential,
        ..Offer::default()
    };
    let mut tool = client.spawn(&offer, server.address)?;
    let agreed = server.established();
    let ours = agreed.connection_id.expect("a connection ID was offered");
    tool.assert_line(&format!("connection ID {ours}."));
    client.assert_echo(&mut tool);
    for _ in 0..2 {
        tool.say("MOVE");
        tool.assert_line("moved to port");
        tool.forget();
        client.assert_echo(&mut tool);
        server.assert_moved();
    }
    client.close(&mut tool);
    server.assert_closed();
    Ok(said(&agreed))
}

fn said(agreed: &Agreed) -> String {
    short(&agreed.suite.to_string())
}

/// Without what all our suites have in common.
fn short(suite: &str) -> String {
    suite
        .replace("TLS_", "")
        .replace("WITH_AES_128_", "")
        .replace("_SHA256", "")
}

/// The reasons stand below it, by number.
fn table(rows: &[Row], columns: &[Vec<Cell>]) -> String {
    let mut reasons: Vec<&str> = Vec::new();
    let mut lines = vec![
        std::iter::once("")
            .chain(Client::ALL.map(Client::name))
            .map(str::to_owned)
            .collect::<Vec<_>>(),
    ];
    for (nth, row) in rows.iter().enumerate() {
        let mut line = vec![row.name.clone()];
        for column in columns {
            line.push(match &column[nth] {
                Cell::Works(agreed) => agreed.clone(),
                Cell::Failed(_) => "FAILS".into(),
                Cell::Cannot(why) => {
                    let at = reasons.iter().position(|known| known == why).unwrap_or_else(|| {
                        reasons.push(why);
                        reasons.len() - 1
                    });
                    format!("- ({})", at + 1)
                }
            });
        }
        lines.push(line);
    }
    let widths: Vec<usize> = (0..=columns.len())
        .map(|at| lines.iter().map(|line| line[at].len()).max().unwrap_or(0))
        .collect();
    let mut table = String::new();
    for line in lines {
        for (text, width) in line.iter().zip(&widths) {
            let _ = write!(table, "{text:width$}  ");
        }
        table.truncate(table.trim_end().len());
        table.push('\n');
    }
    for (nth, why) in reasons.iter().enumerate() {
        let _ = writeln!(table, "({}) {why}", nth + 1);
    }
    table
}

fn our_key() -> Psk {
    Psk::new(&data_encoding::HEXLOWER.decode(KEY.as_bytes()).unwrap()).unwrap()
}

const IDENTITY: &str = "device-id@project-id";
/// In hexadecimal, and in letters, as libcoap takes it.
const KEY: &str = "73656372657420736563726574";
const WRONG_KEY: &str = "6e6f7420746865206b6579";

/// A file of the certificates that the core's own tests have, too; `make.sh` there says how they came to be.
fn pem(name: &str) -> String {
    format!(
        "{}/src/dtls/tests/certificates/{name}",
        env!("CARGO_MANIFEST_DIR")
    )
}

const CA: &str = "ca.pem";
const SERVER: &str = "server.pem";
const SERVER_KEY: &str = "server.key.pem";
const SERVER_NAME: &str = "gateway.example";
const DEVICE: &str = "device.pem";
const DEVICE_KEY: &str = "device.key.pem";
const DEVICE_PUBLIC_KEY: &str = "device.pub.pem";
