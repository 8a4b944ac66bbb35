//! A large fleet, made in a data folder by the gateway's own writer: devices in cohorts of every size, tags, names, what they
//! reported, packages and deployments. What is where follows from a device's number, so that a folder tells its fleet.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tessera::clock;
use tessera::control::{Actor, Control, DeviceEntry, NewDevice, Report, SessionFacts};
use tessera::fleet::{
    ArtifactRef, CohortId, CohortName, Deployment, DeploymentName, DeploymentOrder, DeviceName, PackageName,
    Tag, Version,
};
use tokio::task::JoinSet;

/// The devices that are connected.
pub struct Fleet {
    entries: Vec<Arc<DeviceEntry>>,
}

/// Whether there is no fleet in the folder yet.
pub fn is_missing(control: &Control) -> bool {
    control.view().default_project().devices == 0
}

/// A device's name.
pub fn name(number: usize) -> String {
    let kind = if number % 1000 == 7 { "pump" } else { "lamp" };
    format!("{kind}-{number:07}")
}

/// The cohort that most devices are in: the oldest.
pub fn huge(control: &Control) -> CohortId {
    let view = control.view();
    let oldest = view.default_project().cohorts.keys().next().copied();
    oldest.unwrap_or(CohortId::new(0))
}

/// A place deep in a list by id. Ids are given to credentials as well, but rise with the devices.
pub fn deep_id(control: &Control) -> String {
    let next = control.view().next_id();
    format!("dev_{}", next / 10 * 9)
}

/// Makes the fleet.
///
/// # Errors
/// The writer refuses something.
pub async fn make(
    control: &Control,
    devices: usize,
    talk: &mut dyn FnMut(&str),
) -> Result<(), Box<dyn Error>> {
    let me = Actor::named("bench");
    let project = control.view().default_project().id;
    for (package, versions) in [("main", 2000), ("modem", 50)] {
        for version in 1..=versions {
            upload(control, package, &format!("{version}.0")).await?;
        }
    }
    for package in 0..500 {
        upload(control, &format!("part-{package:03}"), "1").await?;
    }
    let mut cohorts = Vec::new();
    for number in 0..COHORTS {
        let cohort = CohortName::parse(&format!("site-{number:03}"))?;
        cohorts.push(control.create_cohort(&me, project, cohort).await?.id);
    }
    for number in 0..HISTORY {
        deploy(
            control,
            cohorts[0],
            &format!("release {number}"),
            &format!("{}.0", 1 + number % 2000),
        )
        .await?;
    }
    for (number, &cohort) in cohorts.iter().enumerate().skip(1) {
        deploy(control, cohort, "first", &format!("{}.0", 1 + number % 3)).await?;
    }
    talk("packages, cohorts and deployments are made\n");

    let begun = clock::now();
    let mut numbers = 0..devices;
    loop {
        let some: Vec<_> = numbers
            .by_ref()
            .take(1000)
            .map(|number| new_device(number, &cohorts))
            .collect::<Result<_, _>>()?;
        if some.is_empty() {
            break;
        }
        for made in control.create_devices(&me, project, some).await? {
            made?;
        }
        if numbers.start.is_multiple_of(100_000) {
            talk(&format!(
                "{} devices after {:.0} s\n",
                numbers.start,
                begun.elapsed().as_secs_f64()
            ));
        }
    }
    // In the active deployment of most: some done, some failed, some under way, most not heard of it.
    deploy(control, cohorts[0], "wide", "2.0").await?;
    let mut number = 0;
    while number < devices {
        let entries = entries(control, number..(number + 10_000).min(devices)).await?;
        for (place, entry) in entries.into_iter().enumerate() {
            let (state, reason, version, target) = match (number + place) % 100 {
                0 => (0, 5, "1.0", "2.0"),
                1..=30 => (0, 0, "2.0", "2.0"),
                31..=35 => (1, 0, "1.0", "2.0"),
                _ => (0, 0, "1.0", "1.0"),
            };
            report(control, entry, state, reason, version, target).await;
        }
        number += 10_000;
    }
    Ok(())
}

impl Fleet {
    /// The first so many devices connect.
    ///
    /// # Errors
    /// One is not there.
    pub async fn connect(
        control: &Control,
        devices: usize,
        connected: usize,
    ) -> Result<Self, Box<dyn Error>> {
        let entries = entries(control, 0..connected.min(devices)).await?;
        for entry in &entries {
            control.connected(entry, session());
            control.observing(entry, 1, true);
        }
        Ok(Self { entries })
    }

    /// Deploys to most of the fleet.
    ///
    /// # Errors
    /// The writer refuses it.
    pub async fn deploy(&self, control: &Control) -> Result<Arc<Deployment>, Box<dyn Error>> {
        let name = format!("rollout {}", clock::unix_ms());
        deploy(control, huge(control), &name, "3.0").await
    }

    /// All acknowledge at once, and then each reports as it goes along, until it is over. Returns reports a second.
    pub async fn roll_out(self, control: Control, deployment: Arc<Deployment>, over: Arc<AtomicBool>) -> u64 {
        let sequence = deployment.sequence.get();
        let told = |entry: &&Arc<DeviceEntry>| entry.cohort() == Some(deployment.cohort);
        for (number, entry) in self.entries.iter().filter(told).enumerate() {
            control.manifest_sent(entry, sequence);
            control.manifest_acknowledged(entry, sequence);
            if number.is_multiple_of(1000) {
                tokio::task::yield_now().await;
            }
        }
        let begun = clock::now();
        let mut reports = 0;
        let mut ticks = tokio::time::interval(TICK);
        for (state, version) in [(1, "1.0"), (2, "1.0"), (3, "1.0"), (0, "3.0")]
            .into_iter()
            .cycle()
        {
            // Nobody may be connected.
            ticks.tick().await;
            if over.load(Ordering::Relaxed) {
                return (reports as f64 / begun.elapsed().as_secs_f64()) as u64;
            }
            for some in self.entries.chunks(REPORTS_A_TICK) {
                ticks.tick().await;
                for entry in some {
                    report(&control, Arc::clone(entry), state, 0, version, "3.0").await;
                    reports += 1;
                }
                if over.load(Ordering::Relaxed) {
                    return (reports as f64 / begun.elapsed().as_secs_f64()) as u64;
                }
            }
        }
        unreachable!("the states go round")
    }
}

/// The devices of these numbers, each looked up as by its handshake.
async fn entries(
    control: &Control,
    numbers: std::ops::Range<usize>,
) -> Result<Vec<Arc<DeviceEntry>>, Box<dyn Error>> {
    let project = control.view().default_project().id;
    let mut tasks = JoinSet::new();
    let step = numbers.len().div_ceil(LOOKING).max(1);
    for (place, from) in numbers.clone().step_by(step).enumerate() {
        let (control, to) = (control.clone(), (from + step).min(numbers.end));
        tasks.spawn(async move {
            let mut found = Vec::with_capacity(to - from);
            for number in from..to {
                let name = DeviceName::parse(&name(number)).map_err(|error| error.to_string())?;
                let entry = control.device_by_name(project, &name).await;
                let entry = entry.map_err(|error| error.to_string())?;
                found.push(entry.ok_or_else(|| format!("there is no device {name}"))?);
            }
            Ok::<_, String>((place, found))
        });
    }
    let mut parts = Vec::new();
    while let Some(part) = tasks.join_next().await {
        parts.push(part??);
    }
    parts.sort_by_key(|(place, _)| *place);
    Ok(parts.into_iter().flat_map(|(_, found)| found).collect())
}

fn new_device(number: usize, cohorts: &[CohortId]) -> Result<NewDevice, Box<dyn Error>> {
    let cohort = match number % 20 {
        0 => cohorts[1 + number / 20 % (cohorts.len() - 1)],
        _ => cohorts[0],
    };
    let mut tags = vec![format!("row-{}", number / 1000)];
    if number.is_multiple_of(2) {
        tags.push("half".to_owned());
    }
    if number % 10_000 == 5 {
        tags.push("rare".to_owned());
    }
    Ok(NewDevice {
        name: DeviceName::parse(&name(number))?,
        cohort: (number % 1000 != 20).then_some(cohort),
        tags: tags.iter().map(|tag| Tag::parse(tag)).collect::<Result<_, _>>()?,
        enabled: true,
        credentials: Vec::new(),
    })
}

async fn upload(control: &Control, package: &str, version: &str) -> Result<(), Box<dyn Error>> {
    let project = control.view().default_project().id;
    let me = Actor::named("bench");
    let mut upload = control.begin_upload(&me, 1000).await?;
    upload.write(format!("{package} {version}").as_bytes()).await?;
    let (package, version) = (PackageName::parse(package)?, Version::parse(version)?);
    control
        .add_artifact_and_package(&me, project, package, version, upload, None)
        .await?;
    Ok(())
}

async fn deploy(
    control: &Control,
    cohort: CohortId,
    name: &str,
    version: &str,
) -> Result<Arc<Deployment>, Box<dyn Error>> {
    let project = control.view().default_project().id;
    let order = DeploymentOrder {
        cohort,
        name: DeploymentName::parse(name)?,
        artifacts: vec![ArtifactRef {
            package: PackageName::parse("main")?,
            version: Version::parse(version)?,
        }],
        expected_active: None,
    };
    Ok(control
        .create_deployment(&Actor::named("bench"), project, order)
        .await?)
}

/// Hands a report to the writer, once it takes one.
async fn report(
    control: &Control,
    device: Arc<DeviceEntry>,
    state: u64,
    reason: u64,
    version: &str,
    target: &str,
) {
    let report = Report {
        device,
        package: "main".to_owned(),
        state,
        reason,
        version: Some(version.to_owned()),
        target: Some(target.to_owned()),
        at_ms: clock::unix_ms(),
        done: Box::new(|_| ()),
    };
    let slot = loop {
        match control.report_slot() {
            Ok(slot) => break slot,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    slot.take(report);
}

fn session() -> SessionFacts {
    SessionFacts {
        shard: 0,
        peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 5684)),
        suite: "TLS_PSK_WITH_AES_128_CCM_8",
        connection_id: None,
        credential: None,
        since_ms: clock::unix_ms(),
        serial: 1,
    }
}

/// Cohorts, the huge one among them.
const COHORTS: usize = 1000;
/// Deployments of the huge one.
const HISTORY: usize = 1000;
/// Tasks that look devices up.
const LOOKING: usize = 8;
/// How often some of a rollout report.
const TICK: std::time::Duration = std::time::Duration::from_millis(10);
/// How many: what a rollout to a million within some minutes brings.
const REPORTS_A_TICK: usize = 50;
