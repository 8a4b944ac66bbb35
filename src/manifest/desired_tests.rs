use super::{Manifest, NOTHING_CBOR, NOTHING_JSON};
use crate::fleet::{
    ArtifactId, ArtifactSize, Change, CohortId, DeployedArtifact, Deployment, DeploymentId, DeploymentName,
    Digest, ImageKind, PackageName, Sequence, Version,
};

#[test]
fn a_manifest_is_these_bytes_and_no_others() {
    let manifest = Manifest::encode(&deployment(
        7,
        vec![artifact("main", "1.0.1", 0x11, 70_000, ImageKind::McuBoot)],
    ));

    let mut without_hash = vec![0xa2, 0x01, 0x07, 0x03];
    without_hash.extend(hand_written_component());
    let hash = Digest::of(&without_hash);
    assert_eq!(manifest.hash, hash);

    let mut expected = vec![0xa3]; // map of 3
    expected.extend([0x01, 0x07]); // 1: 7
    expected.extend([0x02, 0x78, 0x40]); // 2: text of 64
    expected.extend(hash.to_string().bytes());
    expected.push(0x03); // 3:
    expected.extend(hand_written_component());
    assert_eq!(manifest.cbor, expected);
}

#[test]
fn plain_and_esp_idf_images_are_of_type_default() {
    for (kind, word) in [
        (ImageKind::Plain, "default"),
        (ImageKind::EspIdf, "default"),
        (ImageKind::McuBoot, "mcuboot"),
    ] {
        let manifest = Manifest::encode(&deployment(1, vec![artifact("main", "1", 1, 1, kind)]));
        let mut tail = vec![0x06, 0x60 + u8::try_from(word.len()).unwrap()];
        tail.extend(word.bytes());
        assert!(manifest.cbor.ends_with(&tail), "{kind}");
    }
}

#[test]
fn another_decoder_reads_the_same_from_the_largest_numbers_and_many_components() {
    let artifacts = vec![
        artifact("a", "1", 0xaa, 1, ImageKind::Plain),
        artifact("b", "2", 0xbb, 23, ImageKind::Plain),
        artifact("c", "3", 0xcc, 24, ImageKind::Plain),
        artifact("d", "4", 0xdd, 65_536, ImageKind::McuBoot),
        artifact("e", "5", 0xee, 1 << 30, ImageKind::EspIdf),
    ];
    let deployment = deployment(2_147_483_647, artifacts);
    let manifest = Manifest::encode(&deployment);

    let mut judge = minicbor::Decoder::new(&manifest.cbor);
    assert_eq!(judge.map().unwrap(), Some(3));
    assert_eq!((judge.u8().unwrap(), judge.u32().unwrap()), (1, 2_147_483_647));
    assert_eq!(
        (judge.u8().unwrap(), judge.str().unwrap()),
        (2, manifest.hash.to_string().as_str())
    );
    assert_eq!((judge.u8().unwrap(), judge.array().unwrap()), (3, Some(5)));
    for artifact in &deployment.artifacts {
        assert_eq!(judge.map().unwrap(), Some(6));
        assert_eq!(
            (judge.u8().unwrap(), judge.str().unwrap()),
            (1, artifact.package.as_str())
        );
        assert_eq!(
            (judge.u8().unwrap(), judge.str().unwrap()),
            (2, artifact.version.as_str())
        );
        assert_eq!(
            (judge.u8().unwrap(), judge.str().unwrap()),
            (3, artifact.digest.to_string().as_str())
        );
        assert_eq!(
            (judge.u8().unwrap(), judge.u64().unwrap()),
            (4, artifact.size.get())
        );
        assert_eq!(
            (judge.u8().unwrap(), judge.str().unwrap()),
            (5, artifact.uri().as_str())
        );
        assert_eq!(
            (judge.u8().unwrap(), judge.str().unwrap()),
            (6, artifact.kind.manifest_type())
        );
    }
    assert_eq!(judge.position(), manifest.cbor.len());
}

#[test]
fn the_json_form_says_the_same() {
    let manifest = Manifest::encode(&deployment(
        7,
        vec![artifact("main", "1.0.1", 0x11, 70_000, ImageKind::McuBoot)],
    ));
    let read: serde_json::Value = serde_json::from_slice(&manifest.json).unwrap();
    let expected = serde_json::json!({
        "sequenceNumber": 7,
        "hash": manifest.hash.to_string(),
        "components": [{
            "package": "main", "version": "1.0.1", "hash": "11".repeat(32), "size": 70_000,
            "uri": "/.u/c/main@1.0.1", "type": "mcuboot",
        }],
    });
    assert_eq!(read, expected);
}

#[test]
fn the_two_forms_have_different_entity_tags() {
    let one = Manifest::encode(&deployment(
        1,
        vec![artifact("main", "1", 1, 1, ImageKind::Plain)],
    ));
    let two = Manifest::encode(&deployment(
        2,
        vec![artifact("main", "1", 1, 1, ImageKind::Plain)],
    ));
    assert_ne!(one.cbor_etag, one.json_etag);
    assert_ne!(one.cbor_etag, two.cbor_etag);
}

#[test]
fn nothing_to_do_is_the_empty_map() {
    assert_eq!(NOTHING_CBOR, [0xa0]);
    assert_eq!(NOTHING_JSON, b"{}");
}

#[test]
fn seven_components_with_stock_names_do_not_fit_one_datagram_and_five_do() {
    let of = |n: usize| {
        let artifacts =
            (0..n).map(|i| artifact(&format!("package-{i}"), "1.10.0", 1, 200_000, ImageKind::McuBoot));
        Manifest::encode(&deployment(1000, artifacts.collect()))
            .cbor
            .len()
    };
    assert!(of(5) <= crate::fleet::MANIFEST_LIMIT);
    assert!(of(8) > crate::fleet::MANIFEST_LIMIT);
}

/// `[{1: "main", 2: "1.0.1", 3: "11…11", 4: 70000, 5: "/.u/c/main@1.0.1", 6: "mcuboot"}]`
fn hand_written_component() -> Vec<u8> {
    let mut bytes = vec![0x81, 0xa6];
    bytes.extend([0x01, 0x64, b'm', b'a', b'i', b'n']);
    bytes.extend([0x02, 0x65, b'1', b'.', b'0', b'.', b'1']);
    bytes.extend([0x03, 0x78, 0x40]);
    bytes.extend([b'1'; 64]);
    bytes.extend([0x04, 0x1a, 0x00, 0x01, 0x11, 0x70]);
    bytes.extend([0x05, 0x70]);
    bytes.extend(b"/.u/c/main@1.0.1");
    bytes.extend([0x06, 0x67]);
    bytes.extend(b"mcuboot");
    bytes
}

fn deployment(sequence: i64, artifacts: Vec<DeployedArtifact>) -> Deployment {
    Deployment {
        id: DeploymentId::new(1),
        cohort: CohortId::new(1),
        name: DeploymentName::parse("d").unwrap(),
        sequence: Sequence::new(sequence).unwrap(),
        artifacts,
        author: "somebody".to_owned(),
        created_ms: 0,
    }
}

fn artifact(package: &str, version: &str, digest: u8, size: u64, kind: ImageKind) -> DeployedArtifact {
    DeployedArtifact {
        id: ArtifactId::new(1),
        package: PackageName::parse(package).unwrap(),
        version: Version::parse(version).unwrap(),
        size: ArtifactSize::new(size).unwrap(),
        digest: Digest([digest; 32]),
        kind,
        image_version: None,
        change: Change::Added,
    }
}
