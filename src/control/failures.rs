//! Recent handshake failures, for the operator: who could not get in, from where, why, and what to do about it.
//!
//! 1. A handshake whose cookie was returned fails; the store says whose identity it offered, and that says more about the cause.
//! 2. [`Failures`] counts it where the same happened before, and makes an entry of it otherwise.
//! 3. Where there is no room, the network with the most entries loses one, so nobody can hide what happens elsewhere.
//!
//! In memory only: it helps with devices that try again, and they fill it again after a restart. On disk it would be writes that
//! strangers can cause.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{MutexGuard, PoisonError};

use super::handle::Control;
use crate::clock;
use crate::fleet::{
    CertificateSubject, Device, DeviceId, DeviceName, Digest, Invalid, Project, ProjectId, PskIdentity,
};
use crate::store::StoreError;

/// A handshake that failed, as it was seen on the wire.
#[derive(Debug, Clone)]
pub struct FailedHandshake {
    /// What was offered, where it came to that. Nothing proves that its owner offered it.
    pub offered: Option<Offered>,
    /// Where it came from.
    pub peer: SocketAddr,
    /// Why it failed.
    pub cause: FailureCause,
}

/// Who a client said it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offered {
    /// A PSK identity.
    Psk(PskIdentity),
    /// A certificate.
    Certificate {
        /// The SHA-256 of its DER.
        sha256: Digest,
        /// The SHA-256 of what was signed.
        signed: Digest,
        /// Whom it says it is for.
        subject: CertificateSubject,
    },
    /// A public key without a certificate, by the SHA-256 of its SubjectPublicKeyInfo.
    RawPublicKey(Digest),
}

/// Why a handshake failed, in the operator's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureCause {
    /// Nobody has the identity.
    UnknownIdentity,
    /// The identity was a device's until its credential was retired.
    CredentialRetired,
    /// The device may not connect.
    DeviceDisabled,
    /// A certificate was asked for and none came.
    NoCertificate,
    /// A certificate that cannot be read, or is of a kind that is not supported.
    CertificateMalformed,
    /// No CA vouches for the certificate.
    CertificateUntrusted,
    /// The certificate is past its validity.
    CertificateExpired,
    /// The certificate's validity has not begun.
    CertificateNotYetValid,
    /// The certificate says itself that it is for something else.
    CertificateNotForClients,
    /// The certificate was taken back.
    CertificateRevoked,
    /// The certificate, or the public key, is no known device's.
    UnknownDevice,
    /// The store did not say whose the credential is.
    NotLookedUp,
    /// The identity is known and the key was another.
    WrongKey,
    /// The key was right and the handshake not the same on both sides.
    BadFinished,
    /// No cipher suite in common.
    NoCommonSuite,
    /// No DTLS 1.2.
    UnsupportedVersion,
    /// Something that DTLS does not allow.
    Malformed,
    /// A message out of place.
    UnexpectedMessage,
    /// The client gave up and said why, with the number of an alert.
    ClientAlert(u8),
    /// The client fell silent.
    TimedOut,
    /// The client began another handshake, or this one gave way to others.
    Superseded,
}

/// What happened once or several times in the same way: the same offer, address and cause.
#[derive(Debug, Clone)]
pub struct FailureRecord {
    /// Orders records; rises with every repetition.
    pub seq: u64,
    /// What was offered.
    pub offered: Option<Offered>,
    /// The device that has, or had, this identity or certificate, or that the certificate names.
    pub device: Option<FailedDevice>,
    /// Where it last came from; the port may have been another before.
    pub peer: SocketAddr,
    /// Why it failed.
    pub cause: FailureCause,
    /// How often.
    pub count: u64,
    /// The first time, in milliseconds of Unix time.
    pub first_ms: i64,
    /// The last time.
    pub last_ms: i64,
}

/// A device whose identity was offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedDevice {
    /// Its id.
    pub id: DeviceId,
    /// Its project.
    pub project: ProjectId,
    /// Its name.
    pub name: DeviceName,
}

/// What is kept of recent failures.
#[derive(Debug)]
pub struct Failures {
    /// Of identities that devices have: strangers without one cannot push them out.
    of_devices: Shelf,
    of_strangers: Shelf,
    /// Identities that were retired, oldest first, and whose they were.
    retired: VecDeque<(PskIdentity, FailedDevice)>,
    next: u64,
}

/// Records, and how many there may be.
#[derive(Debug)]
struct Shelf {
    records: Vec<FailureRecord>,
    room: usize,
}

impl Control {
    /// Notes that a handshake failed.
    pub async fn handshake_failed(&self, failed: FailedHandshake) {
        let found = match &failed.offered {
            None => Ok(Owner::default()),
            Some(offered) => self.owner(offered).await,
        };
        let Owner { device, disabled } = found.unwrap_or_else(|error| {
            tracing::debug!(%error, "whose identity failed a handshake cannot be read");
            Owner::default()
        });
        let now_ms = clock::unix_ms();
        self.failures().note(now_ms, failed, device, disabled);
    }

    /// Recent failures that concern a project, newest first: of its devices, and of identities that nobody has, which any
    /// project may be missing.
    #[must_use]
    pub fn handshake_failures(&self, project: ProjectId) -> Vec<FailureRecord> {
        self.failures().list(project)
    }

    async fn owner(&self, offered: &Offered) -> Result<Owner, StoreError> {
        let store = &self.shared.store;
        match offered {
            Offered::Psk(identity) => {
                let found = store.device_by_identity(identity.as_bytes()).await?;
                Ok(Owner::of(found.map(|found| found.device)))
            }
            Offered::RawPublicKey(sha256) => {
                let found = store.device_by_raw_public_key(*sha256).await?;
                Ok(Owner::of(found.map(|(device, _)| device)))
            }
            Offered::Certificate {
                sha256,
                signed,
                subject,
            } => {
                let view = self.shared.view.load_full();
                let named = subject.organization.as_deref();
                // One that names no project of ours may still be known in the one that there is.
                let project = named.and_then(|name| view.find_project(name));
                let project = project.unwrap_or_else(|| view.default_project()).id;
                if let Some(holder) = store.certificate_holder(project, *sha256, *signed).await? {
                    return Ok(Owner::of(Some(holder.device)));
                }
                if let Some(revoked) = store.revoked_certificate(project, *sha256, *signed).await? {
                    let device = FailedDevice {
                        id: revoked.device,
                        project,
                        name: revoked.name,
                    };
                    return Ok(Owner {
                        device: Some(device),
                        disabled: false,
                    });
                }
                let name = subject.common_name.as_deref();
                match name.and_then(|name| DeviceName::parse(name).ok()) {
                    Some(name) if named.is_some() => {
                        Ok(Owner::of(store.device_by_name(project, &name).await?))
                    }
                    Some(_) | None => Ok(Owner::default()),
                }
            }
        }
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        let failures = &self.shared.failures;
        failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whose an offer is.
#[derive(Default)]
struct Owner {
    device: Option<FailedDevice>,
    disabled: bool,
}

impl Owner {
    fn of(device: Option<Device>) -> Self {
        Self {
            disabled: device.as_ref().is_some_and(|device| !device.enabled),
            device: device.map(|device| FailedDevice {
                id: device.id,
                project: device.project,
                name: device.name,
            }),
        }
    }
}

impl Default for Failures {
    fn default() -> Self {
        Self::with_room(ROOM)
    }
}

impl Failures {
    fn with_room(room: usize) -> Self {
        let shelf = || Shelf {
            records: Vec::new(),
            room,
        };
        Self {
            of_devices: shelf(),
            of_strangers: shelf(),
            retired: VecDeque::new(),
            next: 1,
        }
    }

    /// Remembers whose identity this was. Somebody else may get it, and is found first then.
    pub fn retired(&mut self, identity: PskIdentity, device: FailedDevice) {
        self.retired.retain(|(other, _)| *other != identity);
        if self.retired.len() >= RETIRED_KEPT {
            self.retired.pop_front();
        }
        self.retired.push_back((identity, device));
    }

    fn note(&mut self, now_ms: i64, failed: FailedHandshake, device: Option<FailedDevice>, disabled: bool) {
        let FailedHandshake {
            offered,
            peer,
            mut cause,
        } = failed;
        let mut device = device;
        match (cause, &device) {
            (FailureCause::UnknownIdentity | FailureCause::UnknownDevice, Some(_)) if disabled => {
                cause = FailureCause::DeviceDisabled
            }
            (_, None) => {
                let retired = self
                    .retired
                    .iter()
                    .find(|(other, _)| matches!(&offered, Some(Offered::Psk(identity)) if identity == other));
                if let Some((_, owner)) = retired {
                    device = Some(owner.clone());
                    if cause == FailureCause::UnknownIdentity {
                        cause = FailureCause::CredentialRetired;
                    }
                }
            }
            (_, Some(_)) => {}
        }
        let record = FailureRecord {
            seq: self.next,
            offered,
            device,
            peer,
            cause,
            count: 1,
            first_ms: now_ms,
            last_ms: now_ms,
        };
        self.next += 1;
        match record.device {
            Some(_) => self.of_devices.put(record),
            None => self.of_strangers.put(record),
        }
    }

    fn list(&self, project: ProjectId) -> Vec<FailureRecord> {
        let all = self.of_devices.records.iter().chain(&self.of_strangers.records);
        let concerns = |record: &&FailureRecord| match &record.device {
            Some(device) => device.project == project,
            None => true,
        };
        let mut records: Vec<_> = all.filter(concerns).cloned().collect();
        records.sort_unstable_by_key(|record| Reverse(record.seq));
        records
    }
}

impl Shelf {
    /// Looks at every record: a failed handshake has cost far more than that.
    fn put(&mut self, record: FailureRecord) {
        let same = |other: &&mut FailureRecord| {
            other.cause == record.cause
                && other.peer.ip() == record.peer.ip()
                && other.offered == record.offered
        };
        if let Some(known) = self.records.iter_mut().find(same) {
            let (count, first_ms) = (known.count + 1, known.first_ms);
            *known = FailureRecord {
                count,
                first_ms,
                ..record
            };
            return;
        }
        if self.records.len() >= self.room
            && let Some(at) = self.dispensable()
        {
            self.records.swap_remove(at);
        }
        self.records.push(record);
    }

    /// The oldest record of the address with the most of them in the network with the most of them.
    fn dispensable(&self) -> Option<usize> {
        let mut networks: HashMap<IpAddr, usize> = HashMap::new();
        let mut addresses: HashMap<IpAddr, usize> = HashMap::new();
        for record in &self.records {
            *networks.entry(network_of(record.peer.ip())).or_default() += 1;
            *addresses.entry(record.peer.ip()).or_default() += 1;
        }
        let weight = |record: &FailureRecord| {
            let address = record.peer.ip();
            (
                networks.get(&network_of(address)),
                addresses.get(&address),
                Reverse(record.seq),
            )
        };
        let heaviest = self.records.iter().enumerate();
        heaviest
            .max_by_key(|(_, record)| weight(record))
            .map(|(at, _)| at)
    }
}

impl Offered {
    /// The PSK identity, if it is one.
    #[must_use]
    pub fn identity(&self) -> Option<&PskIdentity> {
        match self {
            Self::Psk(identity) => Some(identity),
            Self::Certificate { .. } | Self::RawPublicKey(_) => None,
        }
    }

    /// Whether it goes by this: a PSK identity, a certificate's CN or SHA-256, a public key's SHA-256.
    #[must_use]
    pub fn goes_by(&self, text: &str) -> bool {
        match self {
            Self::Psk(identity) => identity.to_string() == text,
            Self::Certificate { sha256, subject, .. } => {
                subject.common_name.as_deref() == Some(text) || text.parse() == Ok(*sha256)
            }
            Self::RawPublicKey(sha256) => text.parse() == Ok(*sha256),
        }
    }
}

impl FailureRecord {
    /// What happened and what may be done about it, as a sentence or two, to somebody of that project.
    #[must_use]
    pub fn text(&self, project: &Project) -> String {
        let name = self.device.as_ref().map(|device| device.name.as_str());
        match (self.cause, name) {
            (FailureCause::UnknownIdentity, Some(name)) => {
                format!("nobody could connect with this identity then; by now it is {name}'s, whose next attempt may succeed")
            }
            (FailureCause::UnknownIdentity, None) if self.offered.is_none() => {
                "the identity is empty or longer than 64 bytes, which no device of ours has; look at the device's settings".into()
            }
            (FailureCause::UnknownIdentity, None) => "no device has this identity; compare it, to the letter, with \
                 `tessera device credential list NAME`, or create the device"
                .into(),
            (FailureCause::CredentialRetired, name) => format!(
                "this credential of {0} was retired; give the device a current one (`tessera device credential list {0}`)",
                name.unwrap_or("NAME")
            ),
            (FailureCause::DeviceDisabled, name) => {
                let name = name.unwrap_or("NAME");
                format!("{name} is disabled; `tessera device enable {name}` lets it in")
            }
            (FailureCause::NoCertificate, _) => {
                "the client holds no certificate, and offers no cipher suite with a pre-shared key; give it one or the other".into()
            }
            (FailureCause::CertificateMalformed, _) => {
                "the client's certificate cannot be read, or is of a kind that is not supported; accepted: X.509 for an ECDSA key on \
                 P-256, with a chain of at most 8"
                    .into()
            }
            (FailureCause::CertificateUntrusted, _) => {
                "no CA that is believed vouches for this certificate; compare its issuer with `tessera ca list`, or add its CA \
                 (`tessera ca add FILE`)"
                    .into()
            }
            (FailureCause::CertificateExpired, _) => {
                "the certificate, or one between it and its CA, has expired; give the device a new one".into()
            }
            (FailureCause::CertificateNotYetValid, _) => {
                "the certificate's validity has not begun; look at the clocks of this machine and of the one that signed it".into()
            }
            (FailureCause::CertificateNotForClients, _) => {
                "the certificate may not authenticate a client; its keyUsage needs digitalSignature, its extendedKeyUsage \
                 clientAuth, each where it is there at all"
                    .into()
            }
            (FailureCause::CertificateRevoked, name) => format!(
                "this certificate of {} was revoked, which is for good; give the device another one",
                name.unwrap_or("a device")
            ),
            (FailureCause::UnknownDevice, Some(name)) => {
                format!("nobody could connect with this then; by now {name} is known by it, whose next attempt may succeed")
            }
            (FailureCause::UnknownDevice, None) => match &self.offered {
                Some(Offered::Certificate { subject, .. }) => names_nobody(subject, project),
                Some(Offered::Psk(_) | Offered::RawPublicKey(_)) | None => "no device has this public key; give it to one \
                     (`tessera device credential add NAME --public-key-sha256 …`)"
                    .into(),
            },
            (FailureCause::NotLookedUp, _) => {
                "the gateway could not read or note whose credential it is (its own log says why); the device tries again by itself".into()
            }
            (FailureCause::WrongKey, _) if self.offered.as_ref().is_some_and(|offered| offered.identity().is_none()) => {
                "the client does not have the private key of what it shows: its certificate and its key do not belong together".into()
            }
            (FailureCause::WrongKey, name) => format!(
                "the key is not the one of this identity; correct it in the device, or give it another credential \
                 (`tessera device credential add {}`)",
                name.unwrap_or("NAME")
            ),
            (FailureCause::BadFinished, _) => {
                "the key is right, but both sides saw another handshake: something between them changes datagrams, or the \
                 client's DTLS is at fault"
                    .into()
            }
            (FailureCause::NoCommonSuite, _) => {
                "the client offers no cipher suite that this gateway takes; turn on \
                 TLS_PSK_WITH_AES_128_GCM_SHA256 or another of those that it takes"
                    .into()
            }
            (FailureCause::UnsupportedVersion, _) => {
                "the client does not offer DTLS 1.2; turn that on in it".into()
            }
            (FailureCause::Malformed, _) => {
                "the client sent what DTLS does not allow; look at its DTLS library and settings".into()
            }
            (FailureCause::UnexpectedMessage, _) => {
                "the client sent a message out of place; look at its DTLS library and settings".into()
            }
            (FailureCause::ClientAlert(number), _) => format!(
                "the client gave up with the alert {} ({number}); its own log says why",
                alert_name(number).unwrap_or("of an unknown name")
            ),
            (FailureCause::TimedOut, _) => {
                "the client fell silent half-way; if that repeats, look for what loses datagrams between (a firewall, a NAT), \
                 and on slow networks raise coaps.handshake_initial_timeout"
                    .into()
            }
            (FailureCause::Superseded, _) => {
                "the client began anew before this handshake was done, or it had to give way; if that repeats, it does not \
                 get our answers in time"
                    .into()
            }
        }
    }
}

impl FailureCause {
    /// Every cause; of alerts, one stands for all.
    pub const ALL: [Self; 21] = [
        Self::UnknownIdentity,
        Self::CredentialRetired,
        Self::DeviceDisabled,
        Self::NoCertificate,
        Self::CertificateMalformed,
        Self::CertificateUntrusted,
        Self::CertificateExpired,
        Self::CertificateNotYetValid,
        Self::CertificateNotForClients,
        Self::CertificateRevoked,
        Self::UnknownDevice,
        Self::NotLookedUp,
        Self::WrongKey,
        Self::BadFinished,
        Self::NoCommonSuite,
        Self::UnsupportedVersion,
        Self::Malformed,
        Self::UnexpectedMessage,
        Self::ClientAlert(0),
        Self::TimedOut,
        Self::Superseded,
    ];

    /// Its name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownIdentity => "unknownIdentity",
            Self::CredentialRetired => "credentialRetired",
            Self::DeviceDisabled => "deviceDisabled",
            Self::NoCertificate => "noCertificate",
            Self::CertificateMalformed => "certificateMalformed",
            Self::CertificateUntrusted => "certificateUntrusted",
            Self::CertificateExpired => "certificateExpired",
            Self::CertificateNotYetValid => "certificateNotYetValid",
            Self::CertificateNotForClients => "certificateNotForClients",
            Self::CertificateRevoked => "certificateRevoked",
            Self::UnknownDevice => "unknownDevice",
            Self::NotLookedUp => "notLookedUp",
            Self::WrongKey => "wrongKey",
            Self::BadFinished => "badFinished",
            Self::NoCommonSuite => "noCommonSuite",
            Self::UnsupportedVersion => "unsupportedVersion",
            Self::Malformed => "malformed",
            Self::UnexpectedMessage => "unexpectedMessage",
            Self::ClientAlert(_) => "clientAlert",
            Self::TimedOut => "timedOut",
            Self::Superseded => "superseded",
        }
    }

    /// Whether it is called this.
    ///
    /// # Errors
    /// No cause is.
    pub fn check_name(text: &str) -> Result<(), Invalid> {
        match Self::ALL.iter().any(|cause| cause.as_str() == text) {
            true => Ok(()),
            false => Err(Invalid::new(
                "reason",
                text,
                "is not one that handshakes fail for",
                "unknownIdentity, credentialRetired, deviceDisabled, noCertificate, certificateMalformed, \
                 certificateUntrusted, certificateExpired, certificateNotYetValid, certificateNotForClients, \
                 certificateRevoked, unknownDevice, notLookedUp, wrongKey, badFinished, noCommonSuite, \
                 unsupportedVersion, malformed, unexpectedMessage, clientAlert, timedOut or superseded",
            )),
        }
    }

    /// The client's alert, by the name that RFC 5246 section 7.2 gives it.
    #[must_use]
    pub fn alert(self) -> Option<String> {
        match self {
            Self::ClientAlert(number) => {
                Some(alert_name(number).map_or_else(|| number.to_string(), str::to_owned))
            }
            Self::UnknownIdentity
            | Self::CredentialRetired
            | Self::DeviceDisabled
            | Self::NoCertificate
            | Self::CertificateMalformed
            | Self::CertificateUntrusted
            | Self::CertificateExpired
            | Self::CertificateNotYetValid
            | Self::CertificateNotForClients
            | Self::CertificateRevoked
            | Self::UnknownDevice
            | Self::NotLookedUp
            | Self::WrongKey
            | Self::BadFinished
            | Self::NoCommonSuite
            | Self::UnsupportedVersion
            | Self::Malformed
            | Self::UnexpectedMessage
            | Self::TimedOut
            | Self::Superseded => None,
        }
    }
}

/// Of a certificate that a CA vouches for, and that is for no device of the project.
fn names_nobody(subject: &CertificateSubject, project: &Project) -> String {
    let (id, name) = (project.id.to_string(), &project.name);
    let wrong = match (subject.organization.as_deref(), subject.common_name.as_deref()) {
        (None, _) => format!("its subject has no O, which has to be the id of the project, {name}"),
        (Some(other), _) if other != &**name && other != id => {
            format!("its subject has O={other:?}, where the id of the project is {name}")
        }
        (Some(_), None) => "its subject has no CN, which has to be the name of the device".to_owned(),
        (Some(_), Some(device)) => match DeviceName::parse(device).and_then(DeviceName::for_new) {
            Err(invalid) => format!("its CN cannot be the name of a device: {invalid}"),
            Ok(device) => {
                return format!(
                    "a CA vouches for this certificate, and no device is called as its CN says; create the device (`tessera device \
                     create {device} --without-credential`), or have the CA create those whose subject is right (`tessera ca remove`, \
                     then `tessera ca add --zero-touch`)"
                );
            }
        },
    };
    format!(
        "a CA vouches for this certificate, but {wrong}; give the device another one, or say whose this is (`tessera device \
         credential add NAME --certificate FILE`)"
    )
}

/// RFC 5246 section 7.2, and RFC 4279 section 2 and RFC 6066 section 9 for what they add.
fn alert_name(number: u8) -> Option<&'static str> {
    Some(match number {
        0 => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        22 => "record_overflow",
        40 => "handshake_failure",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        90 => "user_canceled",
        100 => "no_renegotiation",
        109 => "missing_extension",
        110 => "unsupported_extension",
        112 => "unrecognized_name",
        115 => "unknown_psk_identity",
        _ => return None,
    })
}

/// An IPv4 /24 or an IPv6 /48, by its first address: what one owner can be expected to have, as where seats are given.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & (!0 << 8)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (!0 << 80)).into(),
    }
}

/// Records of devices, and as many of strangers. A guess: more than an operator reads, and some hundred KiB.
const ROOM: usize = 500;
/// Retired identities that are remembered: to be told apart from unknown ones while the devices that still use them are looked
/// for. A guess.
const RETIRED_KEPT: usize = 1000;

#[cfg(test)]
#[path = "failures_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
