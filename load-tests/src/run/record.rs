//! The gateway's word beside the devices': what it has on record of what they run.

use std::collections::{BTreeSet, HashMap};

use crate::gateway::{Api, ApiError};
use crate::measure::Recorder;
use crate::plan::Plan;
use crate::scenario::Scenario;

/// Good devices whose version the gateway has on record as they run it.
pub fn agrees(api: &Api, scenario: &Scenario, plan: &Plan, recorder: &Recorder) -> Result<u64, ApiError> {
    let good = |kind: usize| scenario.kinds[kind].credential.is_good();
    let devices = plan.devices.iter().enumerate();
    let devices: HashMap<&str, usize> = devices
        .filter(|(_, device)| good(device.kind))
        .map(|(place, device)| (device.name.as_str(), place))
        .collect();
    // A set: a device that is moved while it is read could be met twice.
    let mut agreeing = BTreeSet::new();
    let mut compare = |name: &str, package: &str, version: &str| {
        if let Some(&place) = devices.get(name)
            && recorder.runs(place, package, version)
        {
            agreeing.insert(place);
        }
    };
    let is_anywhere = scenario
        .kinds
        .iter()
        .any(|kind| kind.cohort.is_none() && kind.credential.is_good());
    if is_anywhere {
        api.each_report(None, &mut compare)?;
    } else {
        for cohort in &scenario.cohorts {
            api.each_report(Some(&cohort.name), &mut compare)?;
        }
    }
    Ok(agreeing.len() as u64)
}
