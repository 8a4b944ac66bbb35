//! The foreign clients, by what they can be asked to offer.

use std::net::SocketAddr;
use std::process::Command;

use tessera::dtls::CipherSuite;

use crate::server::{GREETING, SILENT};
use crate::tool::Tool;
use crate::{IDENTITY, KEY};

/// A foreign client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// `openssl s_client`.
    OpenSsl,
    /// `gnutls-cli`.
    GnuTls,
    /// `coap-client-openssl`.
    CoapOpenSsl,
    /// `coap-client-gnutls`.
    CoapGnuTls,
    /// `tests/support/tinydtls.py`.
    TinyDtls,
    /// `tests/interop/mbedtls`.
    MbedTls,
    /// `tests/support/wolfssl.py`.
    WolfSsl,
}

/// What a client is to offer.
#[derive(Clone, Debug)]
pub struct Offer {
    /// One suite and no other; otherwise all that it has.
    pub suite: Option<CipherSuite>,
    pub extended_master_secret: bool,
    pub identity: &'static str,
    pub key: &'static str,
    pub special: Special,
}

/// What else there may be about an offer.
#[derive(Clone, Copy, Debug)]
pub enum Special {
    None,
    /// CBC without encrypt_then_mac, and then maybe a suite that does not need it.
    NoEncryptThenMac(Option<CipherSuite>),
    /// Of 512 bytes.
    MaxFragmentLength,
    /// A connection ID on what it receives, in hexadecimal; maybe an empty one.
    ConnectionId(&'static str),
    /// No suite that the server has.
    NothingOfOurs,
    /// DTLS 1.0 and nothing newer.
    Dtls10,
    /// In CoAP, it asks what is never answered.
    Silence,
}

/// Why a client cannot do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cannot(pub &'static str);

impl Default for Offer {
    fn default() -> Self {
        Self {
            suite: None,
            extended_master_secret: true,
            identity: IDENTITY,
            key: KEY,
            special: Special::None,
        }
    }
}

impl Client {
    pub const ALL: [Self; 7] = [
        Self::OpenSsl,
        Self::GnuTls,
        Self::CoapOpenSsl,
        Self::CoapGnuTls,
        Self::TinyDtls,
        Self::MbedTls,
        Self::WolfSsl,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::OpenSsl => "OpenSSL",
            Self::GnuTls => "GnuTLS",
            Self::CoapOpenSsl => "libcoap/OpenSSL",
            Self::CoapGnuTls => "libcoap/GnuTLS",
            Self::TinyDtls => "tinydtls",
            Self::MbedTls => "Mbed TLS",
            Self::WolfSsl => "wolfSSL",
        }
    }

    /// The suites that it has and can be told to offer alone.
    pub fn suites(self) -> Vec<CipherSuite> {
        CipherSuite::ALL
            .into_iter()
            .filter(|suite| self.suite(*suite).is_ok())
            .collect()
    }

    /// Its own name for a suite, by which it is told to offer that alone.
    pub fn suite(self, suite: CipherSuite) -> Result<&'static str, Cannot> {
        match self {
            Self::OpenSsl => match suite {
                CipherSuite::PskAes128GcmSha256 => Ok("PSK-AES128-GCM-SHA256"),
                CipherSuite::PskAes128Ccm => Ok("PSK-AES128-CCM"),
                CipherSuite::PskAes128Ccm8 => Ok("PSK-AES128-CCM8"),
                CipherSuite::PskAes128CbcSha256 => Ok("PSK-AES128-CBC-SHA256"),
                CipherSuite::EcdhePskAes128GcmSha256 | CipherSuite::EcdhePskAes128CcmSha256 => Err(NO_SUITE),
            },
            Self::GnuTls => match suite {
                CipherSuite::PskAes128GcmSha256 => Ok("+PSK:+AES-128-GCM"),
                CipherSuite::PskAes128Ccm => Ok("+PSK:+AES-128-CCM"),
                CipherSuite::PskAes128Ccm8 => Ok("+PSK:+AES-128-CCM-8"),
                CipherSuite::PskAes128CbcSha256 => Ok("+PSK:+AES-128-CBC:-MAC-ALL:+SHA256:+AEAD"),
                CipherSuite::EcdhePskAes128GcmSha256 | CipherSuite::EcdhePskAes128CcmSha256 => Err(NO_SUITE),
            },
            Self::CoapOpenSsl => match suite {
                CipherSuite::EcdhePskAes128GcmSha256 | CipherSuite::EcdhePskAes128CcmSha256 => Err(NO_SUITE),
                CipherSuite::PskAes128GcmSha256
                | CipherSuite::PskAes128Ccm
                | CipherSuite::PskAes128Ccm8
                | CipherSuite::PskAes128CbcSha256 => Err(Cannot("libcoap cannot choose suites")),
            },
            // By forbidding GnuTLS all others.
            Self::CoapGnuTls => match suite {
                CipherSuite::PskAes128GcmSha256 => Ok("AES-128-GCM"),
                CipherSuite::PskAes128Ccm => Ok("AES-128-CCM"),
                CipherSuite::PskAes128Ccm8 => Ok("AES-128-CCM-8"),
                CipherSuite::PskAes128CbcSha256 => Ok("AES-128-CBC"),
                CipherSuite::EcdhePskAes128GcmSha256 | CipherSuite::EcdhePskAes128CcmSha256 => Err(NO_SUITE),
            },
            Self::TinyDtls => match suite {
                CipherSuite::PskAes128Ccm => Ok("c0a4"),
                CipherSuite::PskAes128Ccm8 => Ok("c0a8"),
                CipherSuite::PskAes128GcmSha256
                | CipherSuite::PskAes128CbcSha256
                | CipherSuite::EcdhePskAes128GcmSha256
                | CipherSuite::EcdhePskAes128CcmSha256 => Err(NO_SUITE),
            },
            Self::MbedTls => match suite {
                CipherSuite::PskAes128GcmSha256 => Ok("TLS-PSK-WITH-AES-128-GCM-SHA256"),
                CipherSuite::PskAes128Ccm => Ok("TLS-PSK-WITH-AES-128-CCM"),
                CipherSuite::PskAes128Ccm8 => Ok("TLS-PSK-WITH-AES-128-CCM-8"),
                CipherSuite::PskAes128CbcSha256 => Ok("TLS-PSK-WITH-AES-128-CBC-SHA256"),
                CipherSuite::EcdhePskAes128GcmSha256 | CipherSuite::EcdhePskAes128CcmSha256 => Err(NO_SUITE),
            },
            Self::WolfSsl => match suite {
                CipherSuite::EcdhePskAes128GcmSha256 => Ok("ECDHE-PSK-AES128-GCM-SHA256"),
                CipherSuite::PskAes128GcmSha256
                | CipherSuite::PskAes128Ccm
                | CipherSuite::PskAes128Ccm8
                | CipherSuite::PskAes128CbcSha256
                | CipherSuite::EcdhePskAes128CcmSha256 => {
                    Err(Cannot("Debian's build of it does not have the suite"))
                }
            },
        }
    }

    /// Starts it.
    pub fn spawn(self, offer: &Offer, server: SocketAddr) -> Result<Tool, Cannot> {
        let suite = offer.suite.map(|suite| self.suite(suite)).transpose()?;
        match self {
            Self::OpenSsl => openssl(suite, offer, server),
            Self::GnuTls => gnutls(suite, offer, server),
            Self::CoapOpenSsl => coap_openssl(offer, server),
            Self::CoapGnuTls => coap_gnutls(suite, offer, server),
            Self::TinyDtls => tinydtls(suite, offer, server),
            Self::MbedTls => mbedtls(suite, offer, server),
            Self::WolfSsl => {
                let suite = suite.unwrap_or(WOLFSSL_ALL);
                wolfssl_client(suite, offer, server)
            }
        }
    }

    /// Something goes there and comes back.
    pub fn assert_echo(self, tool: &mut Tool) {
        match self {
            Self::CoapOpenSsl | Self::CoapGnuTls => tool.assert_line(GREETING),
            Self::OpenSsl | Self::GnuTls | Self::TinyDtls | Self::MbedTls | Self::WolfSsl => {
                tool.assert_echo();
            }
        }
    }

    /// Asks it to close its session.
    pub fn close(self, tool: &mut Tool) {
        match self {
            Self::OpenSsl => tool.say("Q"),
            // It does so by itself.
            Self::CoapOpenSsl | Self::CoapGnuTls => {}
            Self::GnuTls | Self::TinyDtls | Self::MbedTls | Self::WolfSsl => tool.hang_up(),
        }
    }
}

fn openssl(suite: Option<&str>, offer: &Offer, server: SocketAddr) -> Result<Tool, Cannot> {
    let mut version = "-dtls1_2";
    let mut ciphers = suite.map(str::to_owned);
    let mut arguments: Vec<&str> = Vec::new();
    match offer.special {
        Special::None | Special::Silence => {}
        Special::NoEncryptThenMac(other) => {
            arguments.push("-no_etm");
            ciphers = Some(with_another(Client::OpenSsl, other)?.join(":"));
        }
        Special::MaxFragmentLength => arguments.extend(["-maxfraglen", "512"]),
        Special::ConnectionId(_) => return Err(NO_CONNECTION_ID),
        Special::NothingOfOurs => ciphers = Some("ECDHE-RSA-AES128-GCM-SHA256".into()),
        Special::Dtls10 => {
            version = "-dtls1";
            ciphers = Some("ALL:@SECLEVEL=0".into());
        }
    }
    let mut command = Command::new("openssl");
    command.args(["s_client", version, "-timeout", "-connect", &server.to_string()]);
    command.args(["-psk_identity", offer.identity, "-psk", offer.key]);
    if let Some(ciphers) = &ciphers {
        command.args(["-cipher", ciphers]);
    }
    command.args(arguments);
    Ok(without_extended_master_secret_in_openssl(
        "openssl", command, offer,
    ))
}

/// OpenSSL is told so by its configuration, whoever uses it.
fn without_extended_master_secret_in_openssl(
    program: &'static str,
    mut command: Command,
    offer: &Offer,
) -> Tool {
    let config = (!offer.extended_master_secret).then(|| {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "openssl_conf = init\n[init]\nssl_conf = ssl\n[ssl]\nsystem_default = default\n[default]\n\
                    Options = -ExtendedMasterSecret\n";
        std::fs::write(file.path(), text).unwrap();
        command.env("OPENSSL_CONF", file.path());
        file
    });
    let mut tool = Tool::spawn(program, command);
    tool.config = config;
    tool
}

fn gnutls(suite: Option<&str>, offer: &Offer, server: SocketAddr) -> Result<Tool, Cannot> {
    let mut priority = gnutls_priority(suite);
    match offer.special {
        Special::None | Special::Silence => {}
        Special::NoEncryptThenMac(other) => {
            let names = with_another(Client::GnuTls, other)?.join(":");
            priority = gnutls_priority(Some(&names)) + ":%NO_ETM";
        }
        Special::MaxFragmentLength => return Err(Cannot("gnutls-cli asks for no max_fragment_length")),
        Special::ConnectionId(_) => return Err(NO_CONNECTION_ID),
        Special::NothingOfOurs => priority = gnutls_priority(Some("+PSK:+AES-256-GCM")),
        Special::Dtls10 => priority = "NORMAL:-VERS-ALL:+VERS-DTLS1.0:-KX-ALL:+PSK".into(),
    }
    if !offer.extended_master_secret {
        priority += ":%NO_SESSION_HASH";
    }
    let mut command = Command::new("gnutls-cli");
    command.args(["--udp", "--pskusername", offer.identity, "--pskkey", offer.key]);
    command.args(["--priority", &priority]);
    command.args(["--port", &server.port().to_string(), &server.ip().to_string()]);
    Ok(Tool::spawn("gnutls-cli", command))
}

/// With one suite, or with all that have a pre-shared key.
pub fn gnutls_priority(suite: Option<&str>) -> String {
    let ciphers = suite.map_or_else(|| "+PSK".into(), |suite| format!("-CIPHER-ALL:{suite}"));
    format!("NORMAL:-VERS-ALL:+VERS-DTLS1.2:-KX-ALL:{ciphers}")
}

fn coap_openssl(offer: &Offer, server: SocketAddr) -> Result<Tool, Cannot> {
    let command = coap("coap-client-openssl", offer, server)?;
    Ok(without_extended_master_secret_in_openssl(
        "coap-client-openssl",
        command,
        offer,
    ))
}

fn coap_gnutls(suite: Option<&str>, offer: &Offer, server: SocketAddr) -> Result<Tool, Cannot> {
    if !offer.extended_master_secret {
        return Err(Cannot(
            "libcoap cannot leave extended_master_secret out of GnuTLS's offer",
        ));
    }
    let mut command = coap("coap-client-gnutls", offer, server)?;
    let config = suite.map(|suite| {
        let file = tempfile::NamedTempFile::new().unwrap();
        let others = GNUTLS_CIPHERS.iter().filter(|cipher| **cipher != suite);
        let text = others.fold("[overrides]\n".to_owned(), |text, cipher| {
            text + "tls-disabled-cipher = " + cipher + "\n"
        });
        std::fs::write(file.path(), text).unwrap();
        command.env("GNUTLS_SYSTEM_PRIORITY_FILE", file.path());
        file
    });
    let mut tool = Tool::spawn("coap-client-gnutls", command);
    tool.config = config;
    Ok(tool)
}

/// libcoap's client asks for one thing, says what it got, and closes its session.
fn coap(program: &str, offer: &Offer, server: SocketAddr) -> Result<Command, Cannot> {
    let path = match offer.special {
        Special::None => "hello",
        Special::Silence => SILENT,
        Special::ConnectionId(_) => return Err(NO_CONNECTION_ID),
        Special::NoEncryptThenMac(_) | Special::MaxFragmentLength => {
            return Err(Cannot("libcoap has no say in extensions"));
        }
        Special::NothingOfOurs | Special::Dtls10 => {
            return Err(Cannot("libcoap has no say in suites and versions"));
        }
    };
    let key = data_encoding::HEXLOWER.decode(offer.key.as_bytes()).unwrap();
    let key = String::from_utf8(key).expect("keys of these tests can be typed");
    let mut command = Command::new(program);
    command.args(["-w", "-B", "20", "-u", offer.identity, "-k", &key]);
    command.arg(format!("coaps://{server}/{path}"));
    Ok(command)
}

fn tinydtls(suite: Option<&str>, offer: &Offer, server: SocketAddr) -> Result<Tool, Cannot> {
    match offer.special {
        Special::None | Special::Silence => {}
        Special::NoEncryptThenMac(_) => return Err(NO_CBC),
        Special::MaxFragmentLength => return Err(Cannot("it has no max_fragment_length")),
        Special::ConnectionId(_) => return Err(NO_CONNECTION_ID),
        Special::NothingOfOurs => return Err(Cannot("all that it has is ours")),
        Special::Dtls10 => return Err(Cannot("it has no DTLS 1.0")),
    }
    if !offer.extended_master_secret {
        return Err(Cannot("it always offers extended_master_secret"));
    }
    let root = env!("CARGO_MANIFEST_DIR");
    let mut command = Command::new(format!("{root}/target/tools/bin/python3"));
    command
        .arg(format!("{root}/tests/support/tinydtls.py"))
        .args([&server.port().to_string(), suite.unwrap_or("c0a8:c0a4"), "psk"])
        .args([offer.identity, offer.key]);
    Ok(Tool::spawn("tinydtls.py", command))
}

fn mbedtls(suite: Option<&str>, offer: &Offer, server: SocketAddr) -> Result<Tool, Cannot> {
    let mut suites = suite.map(str::to_owned);
    let mut command = Command::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/target/interop-mbedtls/debug/mbedtls-client"
    ));
    command.arg(server.to_string());
    command.args(["--psk", offer.identity, offer.key]);
    match offer.special {
        Special::None | Special::Silence => {}
        Special::NoEncryptThenMac(other) => {
            suites = Some(with_another(Client::MbedTls, other)?.join(":"));
            command.arg("--no-encrypt-then-mac");
        }
        Special::MaxFragmentLength => {
            command.args(["--max-fragment-length", "512"]);
        }
        Special::ConnectionId(id) => {
            command.args(["--connection-id", id]);
        }
        Special::NothingOfOurs => suites = Some("TLS-PSK-WITH-AES-256-CCM".into()),
        Special::Dtls10 => return Err(Cannot("it has no DTLS 1.0")),
    }
    if let Some(suites) = suites {
        command.args(["--suites", &suites]);
    }
    if !offer.extended_master_secret {
        command.arg("--no-extended-master-secret");
    }
    Ok(Tool::spawn("mbedtls-client", command))
}

fn wolfssl_client(suites: &str, offer: &Offer, server: SocketAddr) -> Result<Tool, Cannot> {
    let mut suites = suites;
    let mut options: Vec<&str> = Vec::new();
    match offer.special {
        Special::None | Special::Silence => {}
        Special::NoEncryptThenMac(_) => return Err(NO_CBC),
        Special::MaxFragmentLength => options.push("--max-fragment-length-512"),
        Special::ConnectionId(_) => return Err(NO_CONNECTION_ID),
        Special::NothingOfOurs => suites = "DHE-PSK-AES128-GCM-SHA256",
        Special::Dtls10 => return Err(Cannot("Debian's build of it has no DTLS 1.0")),
    }
    if !offer.extended_master_secret {
        options.push("--no-extended-master-secret");
    }
    Ok(wolfssl(
        "client",
        server.port(),
        offer.identity,
        offer.key,
        suites,
        &options,
    ))
}

/// wolfSSL by way of a script, as nothing of it comes as a program.
pub fn wolfssl(role: &str, port: u16, identity: &str, key: &str, suites: &str, options: &[&str]) -> Tool {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/wolfssl.py");
    let mut command = Command::new("python3");
    command.args([script, role, &port.to_string(), identity, key, suites]);
    command.args(options);
    Tool::spawn("wolfssl.py", command)
}

fn with_another(client: Client, other: Option<CipherSuite>) -> Result<Vec<&'static str>, Cannot> {
    [Some(CipherSuite::PskAes128CbcSha256), other]
        .into_iter()
        .flatten()
        .map(|suite| client.suite(suite))
        .collect()
}

const NO_SUITE: Cannot = Cannot("it does not have the suite");
const NO_CBC: Cannot = Cannot("it has no CBC of ours");
const NO_CONNECTION_ID: Cannot = Cannot("it has no connection IDs");
/// All suites of ours that wolfSSL has.
const WOLFSSL_ALL: &str = "ECDHE-PSK-AES128-GCM-SHA256";
/// What GnuTLS may be forbidden.
const GNUTLS_CIPHERS: [&str; 9] = [
    "AES-128-GCM",
    "AES-256-GCM",
    "AES-128-CCM",
    "AES-256-CCM",
    "AES-128-CCM-8",
    "AES-256-CCM-8",
    "AES-128-CBC",
    "AES-256-CBC",
    "CHACHA20-POLY1305",
];
