//! A DTLS 1.2 client on Mbed TLS, for what no client that comes as a program can do: connection IDs, with a change of the
//! source port in mid-session, and certificates on a device's usual stack.
//!
//! ```text
//! mbedtls-client ADDRESS [--psk IDENTITY KEY-IN-HEX] [--certificate PEM --key PEM] [--ca PEM] [--suites NAME:NAME…]
//!                [--connection-id HEX-OR-NOTHING] [--max-fragment-length BYTES] [--no-extended-master-secret]
//!                [--no-encrypt-then-mac] [--hex]
//! ```
//!
//! It says `established SUITE` and, where there is one, `connection ID HEX.` with what the server wants to be called; then it
//! sends each line of its input and prints each answer. The line `MOVE` goes nowhere: it takes another source port. The end
//! of the input closes the session. With `--hex` the lines and the answers are bytes in hexadecimal. Whatever fails is said in one line, with Mbed TLS's number and name for it.

mod mbedtls;

use std::fmt::Write as _;
use std::io::BufRead;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::mpsc::{self, TryRecvError};

use mbedtls::{Client, Config, Error, Received};

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            println!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut arguments: impl Iterator<Item = String>) -> Result<(), String> {
    let server: SocketAddr = value(arguments.next(), "the server's address")?;
    let mut config = Config::default();
    let mut in_hex = false;
    while let Some(option) = arguments.next() {
        match option.as_str() {
            "--psk" => {
                let identity = value(arguments.next(), "an identity")?;
                config.psk = Some((identity, hex(&value::<String>(arguments.next(), "a key")?)?));
            }
            "--certificate" => config.certificate = Some(pem(arguments.next())?),
            "--key" => config.key = Some(pem(arguments.next())?),
            "--ca" => config.ca = Some(pem(arguments.next())?),
            "--suites" => {
                let names: String = value(arguments.next(), "a list of suites")?;
                config.suites = names.split(':').map(str::to_owned).collect();
            }
            "--connection-id" => {
                let id: String = value(arguments.next(), "a connection ID, or nothing")?;
                config.connection_id = Some(hex(&id)?);
            }
            "--max-fragment-length" => {
                config.max_fragment_length = Some(value(arguments.next(), "a number of bytes")?);
            }
            "--no-extended-master-secret" => config.extended_master_secret = false,
            "--no-encrypt-then-mac" => config.encrypt_then_mac = false,
            "--hex" => in_hex = true,
            other => return Err(format!("{other:?} is none of the options")),
        }
    }

    let mut client = Client::connect(server, &config).map_err(|error| error.to_string())?;
    println!("established {}", client.suite());
    if let Some(id) = client.connection_id_of_server().map_err(said)? {
        println!("connection ID {}.", in_digits(&id));
    }
    talk(&mut client, in_hex)
}

/// Sends what comes in and prints what comes back, until there is no more of either.
fn talk(client: &mut Client, in_hex: bool) -> Result<(), String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    loop {
        match lines.try_recv() {
            Ok(line) if line == "MOVE" => println!("moved to port {}", client.change_port().map_err(said)?),
            Ok(line) if in_hex => client.send(&hex(&line)?).map_err(said)?,
            Ok(line) => client.send(line.as_bytes()).map_err(said)?,
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return client.close().map_err(said),
        }
        match client.receive().map_err(said)? {
            Received::Data(data) if in_hex => println!("{}", in_digits(&data)),
            Received::Data(data) => println!("{}", String::from_utf8_lossy(&data).trim_end()),
            Received::Nothing => {}
            Received::Closed => {
                println!("closed by the server");
                return Ok(());
            }
        }
    }
}

fn value<T: std::str::FromStr>(argument: Option<String>, what: &str) -> Result<T, String> {
    let text = argument.ok_or_else(|| format!("{what} is missing"))?;
    text.parse().map_err(|_| format!("{text:?} is not {what}"))
}

fn pem(path: Option<String>) -> Result<Vec<u8>, String> {
    let path: String = value(path, "a PEM file")?;
    std::fs::read(&path).map_err(|error| format!("{path}: {error}"))
}

fn hex(text: &str) -> Result<Vec<u8>, String> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return Err(format!("{text:?} is not hexadecimal"));
    }
    (0..text.len())
        .step_by(2)
        .map(|at| {
            u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| format!("{text:?} is not hexadecimal"))
        })
        .collect()
}

fn in_digits(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn said(error: Error) -> String {
    error.to_string()
}
