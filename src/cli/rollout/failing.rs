//! Which devices failed, and why.

use serde_json::{Value, json};

use crate::cli::client::{Client, segment};
use crate::cli::failure::Failure;
use crate::cli::output::field;

/// A device that failed with a package, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// The device's name.
    pub device: String,
    /// The package.
    pub package: String,
    /// The API's words for the reason.
    pub reason: String,
}

impl Failing {
    /// The first few of the devices of the cohort with this id that failed with its active deployment.
    pub fn of(client: &Client, cohort: &str) -> Result<Vec<Self>, Failure> {
        let cohort = segment(cohort);
        let devices = client.get(&format!("devices?cohort={cohort}&state=failed&limit={DEVICES}"))?;
        let mut failing = Vec::new();
        for device in items(&devices) {
            for package in device["packages"].as_array().into_iter().flatten() {
                if has_failed(package) {
                    failing.push(Self {
                        device: field(device, "/name"),
                        package: field(package, "/package"),
                        reason: reason(client, device, package)?,
                    });
                }
            }
        }
        Ok(failing)
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        json!({ "device": self.device, "package": self.package, "reason": self.reason })
    }
}

/// Why it failed. That it will try again says nothing of it: the report before does.
fn reason(client: &Client, device: &Value, package: &Value) -> Result<String, Failure> {
    let said = field(package, "/reason");
    if said != AWAITING_RETRY {
        return Ok(said);
    }
    let id = field(device, "/id");
    match client.get(&format!("devices/{id}/events?type=report&limit={REPORTS}")) {
        Ok(reports) => Ok(cause(&reports, package).unwrap_or(said)),
        // The device has gone meanwhile.
        Err(Failure::Refused(problem)) if problem.status == 404 => Ok(said),
        Err(failure) => Err(failure),
    }
}

/// The newest reason for a failure on the way to the version that the package should have.
fn cause(reports: &Value, package: &Value) -> Option<String> {
    let says_why = items(reports).iter().find(|report| {
        report["package"] == package["package"]
            && report["target"] == package["target"]
            && is_failure(report)
            && report["reason"] != AWAITING_RETRY
    });
    says_why.map(|report| field(report, "/reason"))
}

/// What it last reported of a package that it should run in another version.
fn has_failed(package: &Value) -> bool {
    !package["want"].is_null() && package["want"] != package["version"] && is_failure(package)
}

/// `none` and `firmware-updated` are none.
fn is_failure(report: &Value) -> bool {
    report["reasonNumber"].as_u64().is_some_and(|number| number > 1)
}

fn items(page: &Value) -> &[Value] {
    page["items"].as_array().map(Vec::as_slice).unwrap_or_default()
}

const AWAITING_RETRY: &str = "awaiting-retry";
/// Devices that are named: what somebody reads, and a call each to find out why.
const DEVICES: usize = 10;
/// An attempt that fails is four reports, so that these go back over several.
const REPORTS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_device_waits_for_its_next_attempt_is_what_it_said_before() {
        let report = |package: &str, target: &str, reason: &str, number: u64| {
            json!({
                "type": "report", "package": package, "target": target, "reason": reason, "reasonNumber": number,
            })
        };
        let reports = json!({"items": [
            report("main", "2", AWAITING_RETRY, 11),
            report("main", "2", "none", 0),
            report("extra", "2", "io-error", 10),
            report("main", "1", "out-of-ram", 3),
            report("main", "2", "integrity-check-failure", 5),
            report("main", "2", "not-enough-flash", 2),
        ]});
        let package = json!({"package": "main", "target": "2"});
        assert_eq!(
            cause(&reports, &package).as_deref(),
            Some("integrity-check-failure")
        );
        assert_eq!(cause(&json!({"items": []}), &package), None);
    }

    #[test]
    fn a_package_has_failed_if_it_should_be_another_and_the_reason_is_one() {
        let package = |want: &str, number: u64| json!({"want": want, "version": "1", "reasonNumber": number});
        assert!(has_failed(&package("2", 5)));
        assert!(!has_failed(&package("1", 5)) && !has_failed(&package("2", 1)));
        assert!(!has_failed(
            &json!({"want": null, "version": "1", "reasonNumber": 5})
        ));
    }
}
