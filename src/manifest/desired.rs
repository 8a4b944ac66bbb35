//! The manifest: what devices of a cohort should run.
//!
//! ```text
//! { 1: sequence, 2: hash, 3: [ { 1: package, 2: version, 3: sha256, 4: size, 5: uri, 6: type } ] }
//! ```
//!
//! Devices decode with a fixed buffer and a strict decoder, so: definite lengths, shortest integers, all six keys in
//! every component (key 6 is needed by SDK 0.11 to 0.21), hashes as 64 hexadecimal digits of text.

use bytes::Bytes;
use serde_json::json;

use super::cbor::{Item, encode};
use crate::fleet::{DeployedArtifact, Deployment, Digest, Sequence};

/// "Nothing for you" for devices that read CBOR: the empty map, the only form every decoder takes as that.
pub const NOTHING_CBOR: &[u8] = &[0xa0];

/// "Nothing for you" for devices that read JSON.
pub const NOTHING_JSON: &[u8] = b"{}";

/// A deployment as devices read it, in both forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The deployment's sequence number.
    pub sequence: Sequence,
    /// The manifest's own hash: SHA-256 of its CBOR form without key 2.
    pub hash: Digest,
    /// The CBOR form.
    pub cbor: Bytes,
    /// An entity tag for the CBOR form.
    pub cbor_etag: [u8; 8],
    /// The JSON form.
    pub json: Bytes,
    /// An entity tag for the JSON form.
    pub json_etag: [u8; 8],
}

impl Manifest {
    /// Encodes a deployment. The caller decides whether the result is small enough.
    #[must_use]
    pub fn encode(deployment: &Deployment) -> Self {
        let hash = Digest::of(&cbor(deployment, None));
        let cbor = cbor(deployment, Some(&hash));
        let json = json(deployment, &hash);
        Self {
            sequence: deployment.sequence,
            hash,
            cbor_etag: Digest::of(&cbor).etag(),
            cbor: cbor.into(),
            json_etag: Digest::of(&json).etag(),
            json: json.into(),
        }
    }
}

fn cbor(deployment: &Deployment, hash: Option<&Digest>) -> Vec<u8> {
    let component = |artifact: &DeployedArtifact| {
        Item::Map(vec![
            (1, Item::Text(artifact.package.to_string())),
            (2, Item::Text(artifact.version.to_string())),
            (3, Item::Text(artifact.digest.to_string())),
            (4, Item::Number(artifact.size.get())),
            (5, Item::Text(artifact.uri())),
            (6, Item::Text(artifact.kind.manifest_type().to_owned())),
        ])
    };
    let mut map = vec![(1, Item::Number(deployment.sequence.get().into()))];
    map.extend(hash.map(|hash| (2, Item::Text(hash.to_string()))));
    map.push((
        3,
        Item::List(deployment.artifacts.iter().map(component).collect()),
    ));
    encode(Item::Map(map))
}

fn json(deployment: &Deployment, hash: &Digest) -> Vec<u8> {
    let component = |artifact: &DeployedArtifact| {
        json!({
            "package": artifact.package,
            "version": artifact.version,
            "hash": artifact.digest,
            "size": artifact.size.get(),
            "uri": artifact.uri(),
            "type": artifact.kind.manifest_type(),
        })
    };
    let manifest = json!({
        "sequenceNumber": deployment.sequence.get(),
        "hash": hash,
        "components": deployment.artifacts.iter().map(component).collect::<Vec<_>>(),
    });
    manifest.to_string().into_bytes()
}

#[cfg(test)]
#[path = "desired_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
