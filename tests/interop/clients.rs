//! The foreign clients, by what they can be asked to offer.

use std::net::SocketAddr;
use std::process::Command;

use tessera::dtls::CipherSuite;

use crate::server::{GREETING, SILENT};
use crate::tool::Tool;
use crate::{CA, DEVICE_KEY, DEVICE_PUBLIC_KEY, IDENTITY, KEY, SERVER_NAME, pem};

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
    pub credential: Credential,
    pub special: Special,
}

/// What a client has to show for itself.
#[derive(Clone, Copy, Debug)]
pub enum Credential {
    Psk {
        identity: &'static str,
        /// In hexadecimal.
        key: &'static str,
    },
    /// This one of the certificates in `src/dtls/tests/certificates`; all are for the same key. It wants one of the server
    /// too, and checks it.
    Certificate(&'static str),
    /// None, but it offers suites with certificates.
    NoCertificate,
    /// The certificates' key by itself (RFC 7250).
    RawKey,
}

impl Credential {
    pub const OURS: Self = Self::Psk {
        identity: IDENTITY,
        key: KEY,
    };
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
            credential: Credential::OURS,
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

    /// The suites with pre-shared keys that it has and can be told to offer alone.
    pub fn psk_suites(self) -> Vec<CipherSuite> {
        CipherSuite::ALL
            .into_iter()
            .filter(|suite| suite.has_psk() && self.suite(*suite).is_ok())
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
                CipherSuite::EcdheEcdsaAes128GcmSha256 => Ok("ECDHE-ECDSA-AES128-GCM-SHA256"),
                CipherSuite::EcdheEcdsaAes128Ccm => Ok("ECDHE-ECDSA-AES128-CCM"),
                CipherSuite::EcdheEcdsaAes128Ccm8 => Ok("ECDHE-ECDSA-AES128-CCM8"),
                CipherSuite::EcdhePskAes128GcmSha256 | CipherSuite::EcdhePskAes128CcmSha256 => Err(NO_SUITE),
            },
            Self::GnuTls => match suite {
                CipherSuite::PskAes128GcmSha256 => Ok("+PSK:+AES-128-GCM"),
                CipherSuite::PskAes128Ccm => Ok("+PSK:+AES-128-CCM"),
                CipherSuite::PskAes128Ccm8 => Ok("+PSK:+AES-128-CCM-8"),
                CipherSuite::PskAes128CbcSha256 => Ok("+PSK:+AES-128-CBC:-MAC-ALL:+SHA256:+AEAD"),
                CipherSuite::EcdheEcdsaAes128GcmSha256 => Ok("+ECDHE-ECDSA:+AES-128-GCM"),
                CipherSuite::EcdheEcdsaAes128Ccm => Ok("+ECDHE-ECDSA:+AES-128-CCM"),
                CipherSuite::EcdheEcdsaAes128Ccm8 => Ok("+ECDHE-ECDSA:+AES-128-CCM-8"),
                CipherSuite::EcdhePskAes128GcmSha256 | CipherSuite::EcdhePskAes128CcmSha256 => Err(NO_SUITE),
            },
            Self::CoapOpenSsl => match suite {
                CipherSuite::EcdhePskAes128GcmSha256 | CipherSuite::EcdhePskAes128CcmSha256 => Err(NO_SUITE),
                CipherSuite::PskAes128GcmSha256
                | CipherSuite::PskAes128Ccm
                | CipherSuite::PskAes128Ccm8
                | CipherSuite::PskAes128CbcSha256
                | CipherSuite::EcdheEcdsaAes128GcmSha256
                | CipherSuite::EcdheEcdsaAes128Ccm
                | CipherSuite::EcdheEcdsaAes128Ccm8 => Err(Cannot("libcoap cannot choose suites")),
            },
            // By forbidding GnuTLS all others.
            Self::CoapGnuTls => match suite {
                CipherSuite::PskAes128GcmSha256 | CipherSuite::EcdheEcdsaAes128GcmSha256 => Ok("AES-128-GCM"),
                CipherSuite::PskAes128Ccm | CipherSuite::EcdheEcdsaAes128Ccm => Ok("AES-128-CCM"),
                CipherSuite::PskAes128Ccm8 | CipherSuite::EcdheEcdsaAes128Ccm8 => Ok("AES-128-CCM-8"),
                CipherSuite::PskAes128CbcSha256 => Ok("AES-128-CBC"),
                CipherSuite::EcdhePskAes128GcmSha256 | CipherSuite::EcdhePskAes128CcmSha256 => Err(NO_SUITE),
            },
            Self::TinyDtls => match suite {
                CipherSuite::PskAes128Ccm => Ok("c0a4"),
                CipherSuite::PskAes128Ccm8 => Ok("c0a8"),
                CipherSuite::EcdheEcdsaAes128Ccm | CipherSuite::EcdheEcdsaAes128Ccm8 => Err(NO_CERTIFICATES),
                CipherSuite::PskAes128GcmSha256
                | CipherSuite::PskAes128CbcSha256
                | CipherSuite::EcdhePskAes128GcmSha256
                | CipherSuite::EcdhePskAes128CcmSha256
                | CipherSuite::EcdheEcdsaAes128GcmSha256 => Err(NO_SUITE),
            },
            Self::MbedTls => match suite {
                CipherSuite::PskAes128GcmSha256 => Ok("TLS-PSK-WITH-AES-128-GCM-SHA256"),
                CipherSuite::PskAes128Ccm => Ok("TLS-PSK-WITH-AES-128-CCM"),
                CipherSuite::PskAes128Ccm8 => Ok("TLS-PSK-WITH-AES-128-CCM-8"),
                CipherSuite::PskAes128CbcSha256 => Ok("TLS-PSK-WITH-AES-128-CBC-SHA256"),
                CipherSuite::EcdheEcdsaAes128GcmSha256 => Ok("TLS-ECDHE-ECDSA-WITH-AES-128-GCM-SHA256"),
                CipherSuite::EcdheEcdsaAes128Ccm => Ok("TLS-ECDHE-ECDSA-WITH-AES-128-CCM"),
                CipherSuite::EcdheEcdsaAes128Ccm8 => Ok("TLS-ECDHE-ECDSA-WITH-AES-128-CCM-8"),
                CipherSuite::EcdhePskAes128GcmSha256 | CipherSuite::EcdhePskAes128CcmSha256 => Err(NO_SUITE),
            },
            Self::WolfSsl => match suite {
                CipherSuite::EcdhePskAes128GcmSha256 => Ok("ECDHE-PSK-AES128-GCM-SHA256"),
                CipherSuite::EcdheEcdsaAes128GcmSha256 => Ok("ECDHE-ECDSA-AES128-GCM-SHA256"),
                CipherSuite::EcdheEcdsaAes128Ccm => Ok("ECDHE-ECDSA-AES128-CCM"),
                CipherSuite::EcdheEcdsaAes128Ccm8 => Ok("ECDHE-ECDSA-AES128-CCM8"),
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
            Self::WolfSsl => wolfssl_client(suite, offer, server),
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
    match offer.credential {
        Credential::Psk { identity, key } => {
            command.args(["-psk_identity", identity, "-psk", key]);
        }
        Credential::Certificate(certificate) => {
            command.args(["-cert", &pem(certificate), "-key", &pem(DEVICE_KEY)]);
            command.args(["-CAfile", &pem(CA), "-verify_return_error"]);
        }
        Credential::NoCertificate => {
            command.args(["-CAfile", &pem(CA), "-verify_return_error"]);
        }
        Credential::RawKey => return Err(NO_RAW_KEYS),
    }
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
    let mut command = Command::new("gnutls-cli");
    command.arg("--udp");
    let mut all = "+PSK";
    match offer.credential {
        Credential::Psk { identity, key } => {
            command.args(["--pskusername", identity, "--pskkey", key]);
        }
        Credential::Certificate(certificate) => {
            all = "+ECDHE-ECDSA";
            command.args([
                "--x509certfile",
                &pem(certificate),
                "--x509keyfile",
                &pem(DEVICE_KEY),
            ]);
            command.args(["--x509cafile", &pem(CA), "--verify-hostname", SERVER_NAME]);
        }
        Credential::NoCertificate => {
            all = "+ECDHE-ECDSA";
            command.args(["--x509cafile", &pem(CA), "--verify-hostname", SERVER_NAME]);
        }
        Credential::RawKey => {
            all = "+ECDHE-ECDSA:-CTYPE-ALL:+CTYPE-CLI-RAWPK:+CTYPE-SRV-RAWPK";
            command.args([
                "--rawpkfile",
                &pem(DEVICE_PUBLIC_KEY),
                "--rawpkkeyfile",
                &pem(DEVICE_KEY),
            ]);
            command.arg("--no-ca-verification");
        }
    }
    let mut priority = gnutls_priority(suite, all);
    match offer.special {
        Special::None | Special::Silence => {}
        Special::NoEncryptThenMac(other) => {
            let names = with_another(Client::GnuTls, other)?.join(":");
            priority = gnutls_priority(Some(&names), all) + ":%NO_ETM";
        }
        Special::MaxFragmentLength => return Err(Cannot("gnutls-cli asks for no max_fragment_length")),
        Special::ConnectionId(_) => return Err(NO_CONNECTION_ID),
        Special::NothingOfOurs => priority = gnutls_priority(Some("+PSK:+AES-256-GCM"), all),
        Special::Dtls10 => priority = "NORMAL:-VERS-ALL:+VERS-DTLS1.0:-KX-ALL:+PSK".into(),
    }
    if !offer.extended_master_secret {
        priority += ":%NO_SESSION_HASH";
    }
    command.args(["--priority", &priority]);
    command.args(["--port", &server.port().to_string(), &server.ip().to_string()]);
    Ok(Tool::spawn("gnutls-cli", command))
}

/// With one suite, or with all of a key exchange.
pub fn gnutls_priority(suite: Option<&str>, all: &str) -> String {
    let ciphers = suite.map_or_else(|| all.to_owned(), |suite| format!("-CIPHER-ALL:{suite}"));
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
    let mut command = Command::new(program);
    command.args(["-w", "-B", "20"]);
    match offer.credential {
        Credential::Psk { identity, key } => {
            let key = data_encoding::HEXLOWER.decode(key.as_bytes()).unwrap();
            let key = String::from_utf8(key).expect("keys of these tests can be typed");
            command.args(["-u", identity, "-k", &key]);
        }
        Credential::Certificate(certificate) => {
            command.args(["-c", &pem(certificate), "-j", &pem(DEVICE_KEY), "-C", &pem(CA)]);
        }
        Credential::NoCertificate => {
            command.args(["-R", &pem(CA)]);
        }
        Credential::RawKey => return Err(NO_RAW_KEYS),
    }
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
        .arg(server.port().to_string());
    match offer.credential {
        Credential::Psk { identity, key } => {
            command.args([suite.unwrap_or("c0a8:c0a4"), "psk", identity, key]);
        }
        Credential::Certificate(_) | Credential::NoCertificate => return Err(NO_CERTIFICATES),
        Credential::RawKey => {
            command.args(["c0ae:c0ac", "raw"]).args(raw_key());
        }
    }
    Ok(Tool::spawn("tinydtls.py", command))
}

fn mbedtls(suite: Option<&str>, offer: &Offer, server: SocketAddr) -> Result<Tool, Cannot> {
    let mut suites = suite.map(str::to_owned);
    let mut command = mbedtls_command(server);
    match offer.credential {
        Credential::Psk { identity, key } => {
            command.args(["--psk", identity, key]);
        }
        Credential::Certificate(certificate) => {
            command.args([
                "--certificate",
                &pem(certificate),
                "--key",
                &pem(DEVICE_KEY),
                "--ca",
                &pem(CA),
            ]);
        }
        Credential::NoCertificate => {
            command.args(["--ca", &pem(CA)]);
        }
        Credential::RawKey => return Err(NO_RAW_KEYS),
    }
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

/// The client on Mbed TLS, with no option yet.
pub fn mbedtls_command(server: SocketAddr) -> Command {
    let mut command = Command::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/target/interop-mbedtls/debug/mbedtls-client"
    ));
    command.arg(server.to_string());
    command
}

fn wolfssl_client(suite: Option<&str>, offer: &Offer, server: SocketAddr) -> Result<Tool, Cannot> {
    let (ca, device_key) = (pem(CA), pem(DEVICE_KEY));
    let mut options: Vec<&str> = Vec::new();
    let (mut identity, mut key, mut suites) = ("", "", WOLFSSL_CERTIFIED);
    let shown;
    match offer.credential {
        Credential::Psk {
            identity: own,
            key: its,
        } => (identity, key, suites) = (own, its, WOLFSSL_PSK),
        Credential::Certificate(certificate) => {
            shown = pem(certificate);
            options.extend(["--certificate", &shown, &device_key, "--ca", &ca]);
        }
        Credential::NoCertificate => options.extend(["--ca", &ca]),
        Credential::RawKey => return Err(NO_RAW_KEYS),
    }
    if let Some(suite) = suite {
        suites = suite;
    }
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
    Ok(wolfssl("client", server.port(), identity, key, suites, &options))
}

/// wolfSSL by way of a script, as nothing of it comes as a program.
pub fn wolfssl(role: &str, port: u16, identity: &str, key: &str, suites: &str, options: &[&str]) -> Tool {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/wolfssl.py");
    let mut command = Command::new("python3");
    command.args([script, role, &port.to_string(), identity, key, suites]);
    command.args(options);
    Tool::spawn("wolfssl.py", command)
}

/// The device's key in the parts that tinydtls takes: RFC 5915 has the secret at 7 and the point's x and y at its end.
fn raw_key() -> [String; 3] {
    let text = std::fs::read_to_string(pem("device.sec1.pem")).unwrap();
    let base64: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    let der = data_encoding::BASE64.decode(base64.as_bytes()).unwrap();
    let (d, point) = (&der[7..39], &der[der.len() - 64..]);
    [d, &point[..32], &point[32..]].map(|part| data_encoding::HEXLOWER.encode(part))
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
pub const NO_CONNECTION_ID: Cannot = Cannot("it has no connection IDs");
const NO_CERTIFICATES: Cannot = Cannot("it has raw public keys and no certificates");
const NO_RAW_KEYS: Cannot = Cannot("it has no raw public keys");
/// All suites of ours that wolfSSL has, with each credential.
const WOLFSSL_PSK: &str = "ECDHE-PSK-AES128-GCM-SHA256";
const WOLFSSL_CERTIFIED: &str =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-CCM:ECDHE-ECDSA-AES128-CCM8";
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
