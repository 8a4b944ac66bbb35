//! One DTLS session of Mbed TLS behind a safe interface. Everything `unsafe` of this program is in here.
//!
//! Mbed TLS keeps pointers to what it is given: its contexts to each other, the session to the socket and the timer. So
//! all of that lives in one [`State`] on the heap that never moves, is reached through raw pointers only, and goes
//! with the [`Client`], which is not `Send`: one thread has it for life.

#![allow(unsafe_code, reason = "Mbed TLS is a library in C")]

use std::ffi::{CStr, CString, c_int, c_uchar, c_void};
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, UdpSocket};
use std::ptr::{self, NonNull, addr_of, addr_of_mut};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use mbedtls_rs_sys as sys;
use sys::hook::backend::std::timer::StdTimer;
use sys::hook::backend::std::wall_clock::StdWallClock;

/// What a client offers.
#[derive(Debug)]
pub struct Config {
    /// An identity and its key.
    pub psk: Option<(String, Vec<u8>)>,
    /// Its chain, in PEM.
    pub certificate: Option<Vec<u8>>,
    /// The key of its certificate, in PEM.
    pub key: Option<Vec<u8>>,
    /// Who may have signed the server's certificate, in PEM.
    pub ca: Option<Vec<u8>>,
    /// By Mbed TLS's names for them; none of them is all that there are.
    pub suites: Vec<String>,
    /// What to ask for in max_fragment_length: 512, 1024, 2048 or 4096.
    pub max_fragment_length: Option<u16>,
    /// What it wants to be called (RFC 9146), maybe with no bytes at all; `None` is not to offer the extension.
    pub connection_id: Option<Vec<u8>>,
    /// Whether extended_master_secret is offered.
    pub extended_master_secret: bool,
    /// Whether encrypt_then_mac is offered.
    pub encrypt_then_mac: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            psk: None,
            certificate: None,
            key: None,
            ca: None,
            suites: Vec::new(),
            max_fragment_length: None,
            connection_id: None,
            extended_master_secret: true,
            encrypt_then_mac: true,
        }
    }
}

/// What [`Client::receive`] found.
#[derive(Debug)]
pub enum Received {
    /// Application data.
    Data(Vec<u8>),
    /// Nothing for a while.
    Nothing,
    /// The server's close_notify.
    Closed,
}

/// An established session.
#[derive(Debug)]
pub struct Client {
    state: NonNull<State>,
}

impl Client {
    /// A handshake with a server, to its end.
    pub fn connect(server: SocketAddr, config: &Config) -> Result<Self, Error> {
        set_up_once()?;
        let wire = Wire {
            socket: socket(server)?,
            timer: Timer::default(),
        };
        // SAFETY: every context of Mbed TLS is plain old data, all zeroes are a value of it, and its `_init` follows below
        // before anything else is done with it.
        let (ssl, ssl_config, certificate, ca, key) = unsafe { std::mem::zeroed() };
        let state = Box::new(State {
            ssl,
            config: ssl_config,
            certificate,
            ca,
            key,
            suites: Vec::new(),
            wire,
            server,
        });
        let client = Self {
            // SAFETY: what a box gives up is not null.
            state: unsafe { NonNull::new_unchecked(Box::into_raw(state)) },
        };
        let state = client.state.as_ptr();
        // SAFETY: the state is on the heap, nobody else has it, and each pointer is to one of its fields.
        unsafe {
            sys::mbedtls_ssl_init(addr_of_mut!((*state).ssl));
            sys::mbedtls_ssl_config_init(addr_of_mut!((*state).config));
            sys::mbedtls_x509_crt_init(addr_of_mut!((*state).certificate));
            sys::mbedtls_x509_crt_init(addr_of_mut!((*state).ca));
            sys::mbedtls_pk_init(addr_of_mut!((*state).key));
        }
        client.configure(config)?;
        client.shake_hands()?;
        Ok(client)
    }

    /// Mbed TLS's name for the suite agreed on.
    pub fn suite(&self) -> String {
        // SAFETY: the context is set up; the answer is null or a static string.
        let name = unsafe { sys::mbedtls_ssl_get_ciphersuite(addr_of!((*self.state.as_ptr()).ssl)) };
        if name.is_null() {
            return "no suite".into();
        }
        // SAFETY: not null, and a string constant of the library.
        unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
    }

    /// What the server wants to be called, where connection IDs were agreed on.
    pub fn connection_id_of_server(&self) -> Result<Option<Vec<u8>>, Error> {
        let mut enabled: c_int = 0;
        let mut id = [0; sys::MBEDTLS_SSL_CID_OUT_LEN_MAX as usize];
        let mut length = 0;
        // SAFETY: the buffer has the size that the function expects of it, and is written to alone.
        checked("mbedtls_ssl_get_peer_cid", unsafe {
            sys::mbedtls_ssl_get_peer_cid(self.ssl(), &raw mut enabled, id.as_mut_ptr(), &raw mut length)
        })?;
        Ok((enabled == sys::MBEDTLS_SSL_CID_ENABLED as c_int).then(|| id[..length].to_vec()))
    }

    /// Sends one record.
    pub fn send(&mut self, data: &[u8]) -> Result<(), Error> {
        // SAFETY: the pointer and the length are of one slice, which is read.
        let sent = unsafe { sys::mbedtls_ssl_write(self.ssl(), data.as_ptr(), data.len()) };
        checked("mbedtls_ssl_write", sent)
    }

    /// Waits a little for a record.
    pub fn receive(&mut self) -> Result<Received, Error> {
        let mut buffer = [0; 2048];
        // SAFETY: the pointer and the length are of one buffer, which is written to.
        let read = unsafe { sys::mbedtls_ssl_read(self.ssl(), buffer.as_mut_ptr(), buffer.len()) };
        match read {
            sys::MBEDTLS_ERR_SSL_TIMEOUT | sys::MBEDTLS_ERR_SSL_WANT_READ => Ok(Received::Nothing),
            sys::MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY => Ok(Received::Closed),
            read => {
                checked("mbedtls_ssl_read", read)?;
                Ok(Received::Data(buffer[..read.unsigned_abs() as usize].to_vec()))
            }
        }
    }

    /// Goes on from another source port, which it returns, as a device behind a NAT does without knowing.
    pub fn change_port(&mut self) -> Result<u16, Error> {
        let state = self.state.as_ptr();
        // SAFETY: the callbacks, which also reach the wire, run only within a call to Mbed TLS, and none is under way.
        let (wire, server) = unsafe { (&mut (*state).wire, (*state).server) };
        wire.socket = socket(server)?;
        Ok(wire.socket.local_addr()?.port())
    }

    /// Sends close_notify.
    pub fn close(&mut self) -> Result<(), Error> {
        // SAFETY: the context is set up.
        checked("mbedtls_ssl_close_notify", unsafe {
            sys::mbedtls_ssl_close_notify(self.ssl())
        })
    }

    fn configure(&self, config: &Config) -> Result<(), Error> {
        let state = self.state.as_ptr();
        // SAFETY: all contexts are initialised, and live as long as each other. What is passed in as a slice is copied by
        // Mbed TLS, except for the suites, which are the state's own.
        unsafe {
            let ssl_config = addr_of_mut!((*state).config);
            checked(
                "mbedtls_ssl_config_defaults",
                sys::mbedtls_ssl_config_defaults(
                    ssl_config,
                    sys::MBEDTLS_SSL_IS_CLIENT as c_int,
                    sys::MBEDTLS_SSL_TRANSPORT_DATAGRAM as c_int,
                    sys::MBEDTLS_SSL_PRESET_DEFAULT as c_int,
                ),
            )?;
            sys::mbedtls_ssl_conf_rng(ssl_config, Some(random), ptr::null_mut());
            sys::mbedtls_ssl_conf_handshake_timeout(ssl_config, 1000, 8000);
            sys::mbedtls_ssl_conf_read_timeout(ssl_config, POLL.as_millis() as u32);
            sys::mbedtls_ssl_conf_extended_master_secret(ssl_config, config.extended_master_secret.into());
            sys::mbedtls_ssl_conf_encrypt_then_mac(ssl_config, config.encrypt_then_mac.into());
            if !config.suites.is_empty() {
                for name in &config.suites {
                    (*state).suites.push(number_of(name)?);
                }
                (*state).suites.push(0);
                sys::mbedtls_ssl_conf_ciphersuites(ssl_config, (*state).suites.as_ptr());
            }
            if let Some(bytes) = config.max_fragment_length {
                let code = match bytes {
                    512 => sys::MBEDTLS_SSL_MAX_FRAG_LEN_512,
                    1024 => sys::MBEDTLS_SSL_MAX_FRAG_LEN_1024,
                    2048 => sys::MBEDTLS_SSL_MAX_FRAG_LEN_2048,
                    _ => sys::MBEDTLS_SSL_MAX_FRAG_LEN_4096,
                };
                checked(
                    "mbedtls_ssl_conf_max_frag_len",
                    sys::mbedtls_ssl_conf_max_frag_len(ssl_config, code as c_uchar),
                )?;
            }
            if let Some((identity, key)) = &config.psk {
                checked(
                    "mbedtls_ssl_conf_psk",
                    sys::mbedtls_ssl_conf_psk(
                        ssl_config,
                        key.as_ptr(),
                        key.len(),
                        identity.as_ptr(),
                        identity.len(),
                    ),
                )?;
            }
            if let Some(ca) = &config.ca {
                parse_chain(addr_of_mut!((*state).ca), ca)?;
                sys::mbedtls_ssl_conf_ca_chain(ssl_config, addr_of_mut!((*state).ca), ptr::null_mut());
            } else {
                sys::mbedtls_ssl_conf_authmode(ssl_config, sys::MBEDTLS_SSL_VERIFY_NONE as c_int);
            }
            if let (Some(certificate), Some(key)) = (&config.certificate, &config.key) {
                parse_chain(addr_of_mut!((*state).certificate), certificate)?;
                let key = with_nul(key);
                checked(
                    "mbedtls_pk_parse_key",
                    sys::mbedtls_pk_parse_key(
                        addr_of_mut!((*state).key),
                        key.as_ptr(),
                        key.len(),
                        ptr::null(),
                        0,
                        Some(random),
                        ptr::null_mut(),
                    ),
                )?;
                checked(
                    "mbedtls_ssl_conf_own_cert",
                    sys::mbedtls_ssl_conf_own_cert(
                        ssl_config,
                        addr_of_mut!((*state).certificate),
                        addr_of_mut!((*state).key),
                    ),
                )?;
            }
            if let Some(id) = &config.connection_id {
                let others = sys::MBEDTLS_SSL_UNEXPECTED_CID_IGNORE as c_int;
                checked(
                    "mbedtls_ssl_conf_cid",
                    sys::mbedtls_ssl_conf_cid(ssl_config, id.len(), others),
                )?;
            }
            let ssl = self.ssl();
            checked("mbedtls_ssl_setup", sys::mbedtls_ssl_setup(ssl, ssl_config))?;
            // Without a name to compare with: devices know their server by its CA.
            checked(
                "mbedtls_ssl_set_hostname",
                sys::mbedtls_ssl_set_hostname(ssl, ptr::null()),
            )?;
            if let Some(id) = &config.connection_id {
                let on = sys::MBEDTLS_SSL_CID_ENABLED as c_int;
                checked(
                    "mbedtls_ssl_set_cid",
                    sys::mbedtls_ssl_set_cid(ssl, on, id.as_ptr(), id.len()),
                )?;
            }
            let wire: *mut c_void = addr_of_mut!((*state).wire).cast();
            sys::mbedtls_ssl_set_bio(ssl, wire, Some(send), None, Some(receive));
            sys::mbedtls_ssl_set_timer_cb(ssl, wire, Some(set_timer), Some(get_timer));
        }
        Ok(())
    }

    fn shake_hands(&self) -> Result<(), Error> {
        loop {
            // SAFETY: the context is set up, with its callbacks.
            match unsafe { sys::mbedtls_ssl_handshake(self.ssl()) } {
                sys::MBEDTLS_ERR_SSL_WANT_READ | sys::MBEDTLS_ERR_SSL_WANT_WRITE => {}
                done => return checked("mbedtls_ssl_handshake", done),
            }
        }
    }

    fn ssl(&self) -> *mut sys::mbedtls_ssl_context {
        // SAFETY: the state lives as long as `self`; no reference is made.
        unsafe { addr_of_mut!((*self.state.as_ptr()).ssl) }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let state = self.state.as_ptr();
        // SAFETY: every context was initialised by `connect`, the session goes before what it points to, and the state was
        // a box's.
        unsafe {
            sys::mbedtls_ssl_free(addr_of_mut!((*state).ssl));
            sys::mbedtls_ssl_config_free(addr_of_mut!((*state).config));
            sys::mbedtls_x509_crt_free(addr_of_mut!((*state).certificate));
            sys::mbedtls_x509_crt_free(addr_of_mut!((*state).ca));
            sys::mbedtls_pk_free(addr_of_mut!((*state).key));
            drop(Box::from_raw(state));
        }
    }
}

/// What went wrong.
#[derive(Debug)]
pub enum Error {
    /// Mbed TLS said so.
    Mbedtls {
        /// The function that failed.
        function: &'static str,
        /// What it returned.
        code: c_int,
    },
    /// No suite has this name, or it was not compiled in.
    UnknownSuite(String),
    /// The operating system said so.
    Io(std::io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Mbedtls { function, code } => {
                write!(f, "{function}: Mbed TLS error -0x{:04x}", code.unsigned_abs())?;
                match *code {
                    sys::MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE => f.write_str(", fatal alert"),
                    sys::MBEDTLS_ERR_SSL_TIMEOUT => f.write_str(", timeout"),
                    sys::MBEDTLS_ERR_SSL_INVALID_MAC => f.write_str(", invalid MAC"),
                    _ => Ok(()),
                }
            }
            Error::UnknownSuite(name) => write!(f, "this Mbed TLS has no {name}"),
            Error::Io(error) => error.fmt(f),
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Error::Io(error)
    }
}

/// Everything that Mbed TLS keeps a pointer to.
struct State {
    ssl: sys::mbedtls_ssl_context,
    config: sys::mbedtls_ssl_config,
    certificate: sys::mbedtls_x509_crt,
    ca: sys::mbedtls_x509_crt,
    key: sys::mbedtls_pk_context,
    /// Ended by a zero.
    suites: Vec<c_int>,
    wire: Wire,
    server: SocketAddr,
}

/// What the callbacks work on.
struct Wire {
    socket: UdpSocket,
    timer: Timer,
}

/// When Mbed TLS wants to be told that time has passed.
#[derive(Default)]
struct Timer {
    /// The intermediate and the final one; none while it is off.
    ends: Option<(Instant, Instant)>,
}

fn socket(server: SocketAddr) -> Result<UdpSocket, std::io::Error> {
    let socket = UdpSocket::bind(("127.0.0.1", 0))?;
    socket.connect(server)?;
    Ok(socket)
}

/// The library's own globals: its clocks and its key store.
fn set_up_once() -> Result<(), Error> {
    static DONE: OnceLock<c_int> = OnceLock::new();
    let done = DONE.get_or_init(|| {
        // SAFETY: both clocks are static, and nothing of Mbed TLS has run before.
        unsafe {
            sys::hook::timer::hook_timer(Some(&StdTimer));
            sys::hook::wall_clock::hook_wall_clock(Some(&StdWallClock));
            sys::psa_crypto_init()
        }
    });
    checked("psa_crypto_init", *done)
}

fn number_of(suite: &str) -> Result<c_int, Error> {
    let name = CString::new(suite).map_err(|_| Error::UnknownSuite(suite.to_owned()))?;
    // SAFETY: a string that ends as C expects it, and is read.
    match unsafe { sys::mbedtls_ssl_get_ciphersuite_id(name.as_ptr()) } {
        0 => Err(Error::UnknownSuite(suite.to_owned())),
        number => Ok(number),
    }
}

/// # Safety
/// The chain is initialised.
unsafe fn parse_chain(chain: *mut sys::mbedtls_x509_crt, pem: &[u8]) -> Result<(), Error> {
    let pem = with_nul(pem);
    // SAFETY: the pointer and the length are of one buffer, which is read; the caller answers for the chain.
    checked("mbedtls_x509_crt_parse", unsafe {
        sys::mbedtls_x509_crt_parse(chain, pem.as_ptr(), pem.len())
    })
}

/// Mbed TLS takes a buffer for PEM only if it ends as a string in C does.
fn with_nul(pem: &[u8]) -> Vec<u8> {
    [pem, &[0]].concat()
}

fn checked(function: &'static str, code: c_int) -> Result<(), Error> {
    if code < 0 {
        return Err(Error::Mbedtls { function, code });
    }
    Ok(())
}

/// # Safety
/// Called by Mbed TLS with the wire that `configure` gave it, and a buffer with its length.
unsafe extern "C" fn send(wire: *mut c_void, data: *const c_uchar, length: usize) -> c_int {
    // SAFETY: see above; the wire is not moved, and nobody else uses it during a call.
    let (wire, data) = unsafe { (&*wire.cast::<Wire>(), std::slice::from_raw_parts(data, length)) };
    // Refused where nobody listens: lost, like any other datagram.
    let _ = wire.socket.send(data);
    c_int::try_from(length).unwrap_or(c_int::MAX)
}

/// # Safety
/// As for [`send`].
unsafe extern "C" fn receive(
    wire: *mut c_void,
    buffer: *mut c_uchar,
    length: usize,
    timeout_ms: u32,
) -> c_int {
    // SAFETY: as for `send`.
    let (wire, buffer) = unsafe {
        (
            &*wire.cast::<Wire>(),
            std::slice::from_raw_parts_mut(buffer, length),
        )
    };
    let timeout = match timeout_ms {
        // For ever, says Mbed TLS. It would be deaf to everything else.
        0 => POLL,
        ms => Duration::from_millis(ms.into()),
    };
    if wire.socket.set_read_timeout(Some(timeout)).is_err() {
        return sys::MBEDTLS_ERR_SSL_INTERNAL_ERROR;
    }
    match wire.socket.recv(buffer) {
        Ok(length) => c_int::try_from(length).unwrap_or(c_int::MAX),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            sys::MBEDTLS_ERR_SSL_TIMEOUT
        }
        // Interrupted, or an ICMP error of what was sent before.
        Err(_) => sys::MBEDTLS_ERR_SSL_WANT_READ,
    }
}

/// # Safety
/// As for [`send`].
unsafe extern "C" fn set_timer(wire: *mut c_void, intermediate_ms: u32, final_ms: u32) {
    // SAFETY: as for `send`.
    let wire = unsafe { &mut *wire.cast::<Wire>() };
    let after = |ms: u32| Instant::now() + Duration::from_millis(ms.into());
    wire.timer.ends = (final_ms != 0).then(|| (after(intermediate_ms), after(final_ms)));
}

/// # Safety
/// As for [`send`].
unsafe extern "C" fn get_timer(wire: *mut c_void) -> c_int {
    // SAFETY: as for `send`.
    let wire = unsafe { &*wire.cast::<Wire>() };
    let now = Instant::now();
    match wire.timer.ends {
        None => -1,
        Some((_, end)) if now >= end => 2,
        Some((intermediate, _)) if now >= intermediate => 1,
        Some(_) => 0,
    }
}

/// # Safety
/// Called by Mbed TLS with a buffer and its length.
unsafe extern "C" fn random(_: *mut c_void, output: *mut c_uchar, length: usize) -> c_int {
    // SAFETY: the caller's.
    match unsafe { fill(output, length) } {
        Ok(()) => 0,
        Err(_) => sys::MBEDTLS_ERR_SSL_INTERNAL_ERROR,
    }
}

/// The random source of Mbed TLS's key store, by the name under which it looks for it.
///
/// # Safety
/// Called by Mbed TLS with a buffer and its length, and where to say how much of it was filled.
#[unsafe(no_mangle)]
unsafe extern "C" fn mbedtls_psa_external_get_random(
    _: *mut sys::mbedtls_psa_external_random_context_t,
    output: *mut u8,
    length: usize,
    filled: *mut usize,
) -> sys::psa_status_t {
    // SAFETY: the caller's.
    unsafe {
        if fill(output, length).is_err() {
            return PSA_ERROR_INSUFFICIENT_ENTROPY;
        }
        *filled = length;
    }
    0
}

/// # Safety
/// There is room for so many bytes.
unsafe fn fill(output: *mut u8, length: usize) -> std::io::Result<()> {
    // By way of a buffer of our own: nobody says that theirs has been written to before.
    let mut bytes = vec![0; length];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    // SAFETY: the caller answers for the room, and the two cannot overlap.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), output, length) };
    Ok(())
}

/// From `psa/crypto_values.h`: a macro with a cast, which the bindings do not have.
const PSA_ERROR_INSUFFICIENT_ENTROPY: sys::psa_status_t = -148;
/// How long a call waits for a record before the program looks at its input again.
const POLL: Duration = Duration::from_millis(20);
