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
        let mut devices = Vec::new();
        // A page may be short, and even empty, though more follow: it is what was found while so many were looked at.
        for page in client.pages_of(&format!("devices?cohort={cohort}&state=failed"), DEVICES) {
            devices.extend(page?);
            if devices.len() >= DEVICES {
                break;
            }
        }
        let mut failing = Vec::new();
        for device in devices.iter().take(DEVICES) {
            for package in device["packages"].as_array().into_iter().flatten() {
                if let Some(reason) = package["failure"].as_str() {
                    failing.push(Self {
                        device: field(device, "/name"),
                        package: field(package, "/package"),
                        reason: reason.to_owned(),
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

/// Devices that are named: what somebody reads.
const DEVICES: usize = 10;
