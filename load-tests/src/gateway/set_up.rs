//! A scenario's fleet, as the gateway is told of it before the first device is switched on.
//!
//! 1. Packages and their artifacts, whose bytes the seed makes.
//! 2. Cohorts, and what is deployed to them.
//! 3. CAs, if there are devices with certificates.
//! 4. Devices, thousands in a call.
//!
//! Devices whose credentials are bad on purpose are known as it takes for them to be bad: nobody, another key, no such CA.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Read};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use ring::digest::{SHA256, digest};

use super::PROJECT;
use super::api::{Api, ApiError, Deployed, Row};
use super::pki::{Authority, Issued, PkiError, Validity};
use super::process::GatewayError;
use crate::plan::DevicePlan;
use crate::scenario::{Credential, ImageName, Kind, Scenario};

/// What the devices prove themselves by, each at its place in the plan, and what they may believe about the gateway.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Of each device.
    pub devices: Vec<DeviceCredential>,
    /// What was deployed to each cohort, at its place in the scenario.
    pub deployed: Vec<Option<Deployed>>,
    /// The CA that vouches for the gateway's certificate, as PEM; `None` for a gateway of somebody else.
    pub server_ca: Option<String>,
}

/// What a device proves itself by.
#[derive(Clone, Debug)]
pub enum DeviceCredential {
    /// A pre-shared key.
    Psk {
        /// Its name.
        identity: String,
        /// The key, as the bytes of this text.
        secret: String,
    },
    /// A certificate.
    Certificate(Issued),
}

/// How far the set-up is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// Artifacts are uploaded.
    Artifacts {
        /// This one.
        image: &'a ImageName,
        /// Its size in bytes.
        bytes: u64,
    },
    /// Certificates are issued.
    Certificates {
        /// So many.
        of: usize,
    },
    /// Devices are made known.
    Devices {
        /// So many so far.
        done: usize,
        /// Of so many.
        of: usize,
    },
}

/// Tells a gateway of everything that a scenario has.
pub fn set_up(
    api: &Api,
    scenario: &Scenario,
    devices: &[DevicePlan],
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(Vec<DeviceCredential>, Vec<Option<Deployed>>), GatewayError> {
    let packages: BTreeSet<&str> = scenario
        .images
        .keys()
        .map(|image| image.package.as_str())
        .collect();
    for package in packages {
        api.package(package)?;
    }
    for (name, image) in &scenario.images {
        progress(Progress::Artifacts {
            image: name,
            bytes: image.size,
        });
        let uploaded = api.artifact(name, image.size, Bytes::of(scenario.seed, name, image.size));
        uploaded.map_err(|error| match error {
            ApiError::Refused { status: 409, .. } => GatewayError::OtherArtifact {
                image: name.clone(),
                seed: scenario.seed,
                source: Box::new(error),
            },
            other => other.into(),
        })?;
    }
    let mut deployed = Vec::new();
    for cohort in &scenario.cohorts {
        api.cohort(&cohort.name)?;
        deployed.push(if cohort.deployed.is_empty() {
            None
        } else {
            Some(api.deploy(&cohort.name, &cohort.deployed)?)
        });
    }
    let credentials = credentials(api, scenario, devices, progress)?;
    let known: Vec<Row<'_>> = devices
        .iter()
        .filter_map(|device| row(scenario, device))
        .collect();
    let mut done = 0;
    for some in known.chunks(DEVICES_AT_ONCE) {
        api.import(some)?;
        done += some.len();
        progress(Progress::Devices {
            done,
            of: known.len(),
        });
    }
    Ok((credentials, deployed))
}

/// Refuses what would touch devices of somebody else: a cohort in which there are any, and names that are theirs.
pub fn touches_nobody_else(
    api: &Api,
    scenario: &Scenario,
    devices: &[DevicePlan],
) -> Result<(), GatewayError> {
    let ours: HashMap<&str, &DevicePlan> = devices
        .iter()
        .map(|device| (device.name.as_str(), device))
        .collect();
    let mut strangers: BTreeMap<String, (u64, String)> = BTreeMap::new();
    let mut namesakes: Option<(u64, String, Option<String>)> = None;
    api.each_device(|name, cohort| {
        let is_of_the_scenario = |cohort: &str| scenario.cohorts.iter().any(|known| known.name == cohort);
        match (ours.get(name), cohort) {
            (None, Some(cohort)) if is_of_the_scenario(cohort) => {
                let (devices, _) = strangers
                    .entry(cohort.to_owned())
                    .or_insert_with(|| (0, name.to_owned()));
                *devices += 1;
            }
            (None, _) => {}
            // An earlier run has left it there, or may have moved it there.
            (Some(_), Some(cohort)) if is_of_the_scenario(cohort) => {}
            (Some(device), None) if kind(scenario, device).cohort.is_none() => {}
            (Some(_), cohort) => {
                let first = || (0, name.to_owned(), cohort.map(str::to_owned));
                namesakes.get_or_insert_with(first).0 += 1;
            }
        }
    })?;
    if let Some((cohort, (devices, first))) = strangers.pop_first() {
        return Err(GatewayError::Strangers {
            cohort,
            devices,
            first,
        });
    }
    match namesakes {
        Some((devices, first, cohort)) => Err(GatewayError::Namesakes {
            devices,
            first,
            cohort: cohort.map_or_else(|| "no cohort".to_owned(), |name| format!("cohort {name:?}")),
        }),
        None => Ok(()),
    }
}

/// Makes certificates for those that need them, and has their CA believed.
fn credentials(
    api: &Api,
    scenario: &Scenario,
    devices: &[DevicePlan],
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Vec<DeviceCredential>, GatewayError> {
    let mut credentials: Vec<DeviceCredential> = devices
        .iter()
        .map(|device| DeviceCredential::Psk {
            identity: identity(&device.name),
            secret: device.secret.clone(),
        })
        .collect();
    let with = |wanted: Paper| -> Vec<usize> {
        let all = devices.iter().enumerate();
        all.filter(|(_, device)| paper(kind(scenario, device).credential) == wanted)
            .map(|(place, _)| place)
            .collect()
    };
    let (good, expired, untrusted) = (with(Paper::Good), with(Paper::Expired), with(Paper::Untrusted));
    let all = good.len() + expired.len() + untrusted.len();
    if all == 0 {
        return Ok(credentials);
    }
    progress(Progress::Certificates { of: all });
    let mut issue = |ca: &Authority, places: &[usize], validity| -> Result<(), PkiError> {
        let names: Vec<&str> = places.iter().map(|&place| devices[place].name.as_str()).collect();
        let issued = ca.devices(PROJECT, &names, validity)?;
        for (&place, issued) in places.iter().zip(issued) {
            credentials[place] = DeviceCredential::Certificate(issued);
        }
        Ok(())
    };
    if !(good.is_empty() && expired.is_empty()) {
        let ca = Authority::new("Simulated fleet")?;
        issue(&ca, &good, Validity::Good)?;
        issue(&ca, &expired, Validity::Over)?;
        // A gateway that has seen a run before has that one's CA still.
        let name = format!(
            "simulated fleet {}",
            hex(&digest(&SHA256, ca.der()).as_ref()[..6])
        );
        api.device_ca(&name, &ca.pem())?;
    }
    if !untrusted.is_empty() {
        issue(&Authority::new("Nobody's CA")?, &untrusted, Validity::Good)?;
    }
    Ok(credentials)
}

/// What kind of certificate a device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Paper {
    /// None: it has a key.
    None,
    /// One that is good.
    Good,
    /// One that was.
    Expired,
    /// One of a CA that nobody knows.
    Untrusted,
}

fn paper(credential: Credential) -> Paper {
    match credential {
        Credential::Psk | Credential::UnknownIdentity | Credential::WrongKey | Credential::Disabled => {
            Paper::None
        }
        Credential::Certificate => Paper::Good,
        Credential::UntrustedCertificate => Paper::Untrusted,
        Credential::ExpiredCertificate => Paper::Expired,
    }
}

/// What the gateway is told of a device; `None` of one that it must not know.
fn row<'a>(scenario: &'a Scenario, device: &'a DevicePlan) -> Option<Row<'a>> {
    let kind = kind(scenario, device);
    let secret = match kind.credential {
        Credential::UnknownIdentity => return None,
        Credential::Psk | Credential::Disabled => Some(device.secret.clone()),
        Credential::WrongKey => Some(other_secret(&device.secret)),
        // The gateway meets a certificate when it is used.
        Credential::Certificate | Credential::UntrustedCertificate | Credential::ExpiredCertificate => None,
    };
    Some(Row {
        name: &device.name,
        cohort: kind.cohort.map(|cohort| scenario.cohorts[cohort].name.as_str()),
        enabled: kind.credential != Credential::Disabled,
        psk: secret.map(|secret| (identity(&device.name), secret)),
    })
}

fn kind<'a>(scenario: &'a Scenario, device: &DevicePlan) -> &'a Kind {
    &scenario.kinds[device.kind]
}

fn identity(name: &str) -> String {
    format!("{name}-id@{PROJECT}")
}

/// As long as the device's own, and never the same.
fn other_secret(secret: &str) -> String {
    hex(&digest(&SHA256, secret.as_bytes()).as_ref()[..16])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An artifact's bytes: noise that neither compresses nor repeats, the same for the same seed and name, made as it is read.
struct Bytes {
    noise: StdRng,
    left: u64,
}

impl Bytes {
    fn of(seed: u64, name: &ImageName, size: u64) -> Self {
        let text = format!("{seed} {name}");
        let mut start = [0; 32];
        start.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        Self {
            noise: StdRng::from_seed(start),
            left: size,
        }
    }
}

impl Read for Bytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        self.noise.fill_bytes(&mut buffer[..wanted]);
        self.left -= wanted as u64;
        Ok(wanted)
    }
}

impl From<ApiError> for GatewayError {
    fn from(error: ApiError) -> Self {
        Self::Api(Box::new(error))
    }
}

/// Devices of one import: some megabytes of rows, a second or so of the gateway's time.
const DEVICES_AT_ONCE: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifact_is_the_same_for_the_same_seed_and_name_and_its_size_is_exact() {
        let read = |seed, version: &str, size| {
            let mut bytes = Vec::new();
            let read = Bytes::of(seed, &image(version), size).read_to_end(&mut bytes);
            assert_eq!(read.unwrap() as u64, size);
            bytes
        };
        let one = read(1, "1.0.0", 100_000);
        assert_eq!(one, read(1, "1.0.0", 100_000));
        assert_eq!(one[..10], read(1, "1.0.0", 10));
        assert_ne!(one, read(2, "1.0.0", 100_000));
        assert_ne!(one, read(1, "1.1.0", 100_000));
        let blocks: BTreeSet<&[u8]> = one.chunks(64).collect();
        assert_eq!(blocks.len(), one.len().div_ceil(64), "no block comes twice");
        assert_eq!(read(1, "1.0.0", 0).len(), 0);
    }

    #[test]
    fn a_gibibyte_is_made_as_it_is_read() {
        let mut artifact = Bytes::of(1, &image("1.0.0"), 1 << 30);
        let mut some = [0; 4096];
        assert_eq!(artifact.read(&mut some).unwrap(), some.len());
        assert_eq!(artifact.left, (1 << 30) - 4096);
    }

    #[test]
    fn a_wrong_key_is_as_long_as_the_right_one() {
        let secret = "00112233445566778899aabbccddeeff";
        assert_ne!(other_secret(secret), secret);
        assert_eq!(other_secret(secret).len(), secret.len());
    }

    fn image(version: &str) -> ImageName {
        ImageName {
            package: "main".to_owned(),
            version: version.to_owned(),
        }
    }
}
