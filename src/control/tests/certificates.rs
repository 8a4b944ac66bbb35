//! The CAs that are believed, and the devices that come with a certificate.

use std::sync::Arc;

use super::{Given, credential, me, new_device, session};
use crate::control::{
    CertificateRefusal, Change, ControlError, DevicePatch, NewCredential, NewDevice, PresentedCertificate,
    SessionFacts,
};
use crate::fleet::{
    CaCertificate, CaName, CaOutcome, CertificateFacts, CertificateSubject, CohortName, CredentialId,
    DeviceCa, DeviceCertificate, DeviceId, DeviceName, Digest, NewCa, Refusal,
};

#[tokio::test]
async fn a_certificate_of_a_believed_ca_is_noted_as_a_credential_of_the_device_it_names() {
    let given = Given::new().await;
    let device = given.device("lamp-1", None).await;
    let ca = given.ca(false).await;
    let first = given
        .present(&ca, presented("default", "lamp-1", 1))
        .await
        .unwrap();
    assert_eq!(first.0, device);
    let again = given
        .present(&ca, presented("default", "lamp-1", 1))
        .await
        .unwrap();
    assert_eq!(again, first, "it is noted once");
    let twin = PresentedCertificate {
        sha256: sha256(100),
        ..presented("default", "lamp-1", 1)
    };
    assert_eq!(
        given.present(&ca, twin).await,
        Ok(first),
        "with another form of its signature it is the same"
    );

    let given = given.killed().await;
    let record = given
        .control
        .device(given.project, device)
        .await
        .unwrap()
        .unwrap();
    let [noted] = record.credentials.as_slice() else {
        panic!("{record:?}")
    };
    assert_eq!((noted.id, noted.is_given()), (first.1, false));
    assert_eq!(
        given.present(&ca, presented("default", "lamp-1", 1)).await,
        Ok(first)
    );
}

#[tokio::test]
async fn a_certificate_opens_nothing_in_another_project_for_nobody_or_for_a_disabled_device() {
    let given = Given::new().await;
    let device = given.device("lamp-1", None).await;
    let ca = given.ca(false).await;
    for (organization, name) in [
        ("other", "lamp-1"),
        ("default", "lamp-2"),
        ("default", "no name of a device"),
        ("", "lamp-1"),
    ] {
        assert_eq!(
            given.present(&ca, presented(organization, name, 1)).await,
            Err(CertificateRefusal::UnknownDevice),
            "{organization}/{name}"
        );
    }
    given.enable(device, false).await;
    assert_eq!(
        given.present(&ca, presented("default", "lamp-1", 1)).await,
        Err(CertificateRefusal::UnknownDevice)
    );
    given.enable(device, true).await;
    assert!(
        given
            .present(&ca, presented("default", "lamp-1", 1))
            .await
            .is_ok()
    );
    given.enable(device, false).await;
    assert_eq!(
        given.present(&ca, presented("default", "lamp-1", 1)).await,
        Err(CertificateRefusal::UnknownDevice)
    );
}

#[tokio::test]
async fn zero_touch_makes_the_device_in_the_cas_cohort_once() {
    let given = Given::new().await;
    let cohort = given.cohort("lamps").await;
    let ca = given.ca(true).await;
    let (one, two) = tokio::join!(
        given.present(&ca, presented("default", "lamp-1", 1)),
        given.present(&ca, presented("default", "lamp-1", 1))
    );
    let (device, credential) = one.unwrap();
    assert_eq!(two, Ok((device, credential)));
    let record = given
        .control
        .device(given.project, device)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(record.device.cohort, Some(cohort));
    assert_eq!(record.credentials.len(), 1);
    let view = given.control.view();
    assert_eq!(view.default_project().devices, 1);
    assert_eq!(view.default_project().cohort(cohort).unwrap().devices, 1);
    drop(view);
    let refused = given.control.delete_cohort(&me(), given.project, cohort).await;
    assert!(
        refused.unwrap_err().to_string().contains("device CA \"factory\""),
        "a cohort that devices are to be put in stays"
    );
}

#[tokio::test]
async fn zero_touch_makes_no_device_that_is_called_as_another_ones_id() {
    let given = Given::new().await;
    let innocent = given.device("lamp-1", None).await;
    let ca = given.ca(true).await;
    let refused = given
        .present(&ca, presented("default", &innocent.to_string(), 1))
        .await;
    assert_eq!(refused, Err(CertificateRefusal::UnknownDevice));
    let named = DeviceName::parse(&innocent.to_string()).unwrap();
    let there = given.control.device_by_name(given.project, &named).await.unwrap();
    assert!(there.is_none());
}

#[tokio::test]
async fn a_device_that_is_called_as_an_id_goes_on() {
    let given = Given::new().await;
    let device = given.device("dev-1", None).await;
    let ca = given.ca(true).await;
    let (noted, _) = given
        .present(&ca, presented("default", "dev-1", 1))
        .await
        .unwrap();
    assert_eq!(noted, device);
    // As a former version let it be called.
    let given = given.rewritten("dev-1", "dev_1").await;
    let ca = given.control.view().device_cas()[0].clone();
    let (known, _) = given
        .present(&ca, presented("default", "dev_1", 1))
        .await
        .unwrap();
    assert_eq!(known, device, "with the certificate that was noted");
    let (renewed, _) = given
        .present(&ca, presented("default", "dev_1", 2))
        .await
        .unwrap();
    assert_eq!(renewed, device, "with its next one");
}

#[tokio::test]
async fn a_revoked_certificate_stays_so_though_its_device_is_deleted_and_made_anew() {
    let given = Given::new().await;
    let ca = given.ca(true).await;
    let mut changes = given.control.changes();
    let (device, credential) = given
        .present(&ca, presented("default", "lamp-1", 1))
        .await
        .unwrap();
    given
        .control
        .remove_credential(&me(), given.project, device, credential)
        .await
        .unwrap();
    assert_eq!(
        changes.recv().await.unwrap(),
        Change::CredentialRetired { device, credential }
    );
    let revoked = Err(CertificateRefusal::Revoked);
    assert_eq!(
        given.present(&ca, presented("default", "lamp-1", 1)).await,
        revoked
    );
    // So does what its owner makes of it: the same with another form of the signature.
    let twin = PresentedCertificate {
        sha256: sha256(100),
        ..presented("default", "lamp-1", 1)
    };
    assert_eq!(given.present(&ca, twin).await, revoked);
    // Another one of the same device is another one.
    assert!(
        given
            .present(&ca, presented("default", "lamp-1", 2))
            .await
            .is_ok()
    );

    given
        .control
        .delete_device(&me(), given.project, device)
        .await
        .unwrap();
    let given = given.killed().await;
    assert_eq!(
        given.present(&ca, presented("default", "lamp-1", 1)).await,
        revoked
    );
    let device = given.device("lamp-1", None).await;
    assert_eq!(
        given.present(&ca, presented("default", "lamp-1", 1)).await,
        revoked
    );
    let pinned = NewCredential::Certificate(DeviceCertificate::pinned(sha256(1)));
    let refused = given
        .control
        .add_credential(&me(), given.project, device, pinned)
        .await;
    assert!(matches!(
        refused,
        Err(ControlError::Refused(Refusal::CertificateRevoked { .. }))
    ));
}

#[tokio::test]
async fn a_ca_that_is_removed_takes_with_it_what_it_vouched_for() {
    let given = Given::new().await;
    let ca = given.ca(true).await;
    let (one, first) = given
        .present(&ca, presented("default", "lamp-1", 1))
        .await
        .unwrap();
    let pinned = given
        .device_with(
            "lamp-2",
            NewCredential::Certificate(DeviceCertificate::pinned(sha256(2))),
        )
        .await;
    let (two, second) = given
        .present(&ca, presented("default", "other name", 2))
        .await
        .unwrap();
    assert_eq!(two, pinned, "whose it is was said");

    let entry = given.entry("lamp-2").await;
    given.control.connected(&entry, connected_with(second));
    let mut changes = given.control.changes();
    let removed = given
        .control
        .remove_device_ca(&me(), given.project, ca.id)
        .await
        .unwrap();
    assert_eq!(removed.devices, 2);
    assert_eq!(
        changes.recv().await.unwrap(),
        Change::CredentialsRetired(Arc::new([(one, first), (two, second)]))
    );
    assert_eq!(given.control.retired_in_use().await.unwrap(), [(two, second)]);
    assert_eq!(
        given.present(&ca, presented("default", "lamp-1", 1)).await,
        Err(CertificateRefusal::Untrusted)
    );
    // Added again, it vouches again.
    let ca = given.ca(false).await;
    assert_eq!(
        given.present(&ca, presented("default", "other name", 2)).await,
        Ok((two, second))
    );
    assert_eq!(given.control.retired_in_use().await.unwrap(), []);
    assert_eq!(
        given
            .present(&ca, presented("default", "lamp-1", 1))
            .await
            .unwrap()
            .0,
        one
    );
}

#[tokio::test]
async fn the_certificate_noted_first_gives_way_to_the_newest_but_not_the_one_in_use() {
    let given = Given::new().await;
    let device = given.device("lamp-1", None).await;
    let ca = given.ca(false).await;
    let mut noted = Vec::new();
    for number in 0..8 {
        noted.push(
            given
                .present(&ca, presented("default", "lamp-1", number))
                .await
                .unwrap()
                .1,
        );
    }
    let entry = given.entry("lamp-1").await;
    given.control.connected(&entry, connected_with(noted[0]));
    let newest = given
        .present(&ca, presented("default", "lamp-1", 8))
        .await
        .unwrap()
        .1;
    let record = given
        .control
        .device(given.project, device)
        .await
        .unwrap()
        .unwrap();
    let there: Vec<_> = record
        .credentials
        .iter()
        .map(|credential| credential.id)
        .collect();
    noted.remove(1);
    noted.push(newest);
    assert_eq!(there, noted);
    // They do not take the place of what an operator gives the device.
    for number in 0..8 {
        let new = credential(&format!("id-{number}"), None);
        given
            .control
            .add_credential(&me(), given.project, device, new)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_certificate_that_expires_is_found_once_while_its_device_is_talked_to() {
    let given = Given::new().await;
    given.device("lamp-1", None).await;
    let ca = given.ca(false).await;
    let mut presented = presented("default", "lamp-1", 1);
    presented.facts.not_after_s = 1000;
    let (device, credential) = given.present(&ca, presented).await.unwrap();
    let expired = async |after, until| given.control.expired_in_use(after, until).await.unwrap();
    assert_eq!(expired(0, 2000).await, [], "nobody talks to it");
    let entry = given.entry("lamp-1").await;
    assert_eq!(expired(0, 999).await, []);
    assert_eq!(expired(999, 1000).await, [(device, credential)]);
    assert_eq!(expired(1000, 2000).await, []);
    drop(entry);
}

#[tokio::test]
async fn a_ca_is_there_once_and_on_one_set_of_terms() {
    let given = Given::new().await;
    let ca = given.ca(false).await;
    let add = async |name: Option<&str>, zero_touch| {
        let new = NewCa {
            name: name.map(|name| CaName::parse(name).unwrap()),
            certificate: CaCertificate::from_pem(CA_PEM).unwrap(),
            zero_touch,
            cohort: None,
        };
        given.control.add_device_ca(&me(), given.project, new).await
    };
    for same in [None, Some("factory")] {
        let there = add(same, false).await.unwrap();
        assert!(matches!(there, CaOutcome::Existing(there) if there == ca));
    }
    for (name, zero_touch) in [(None, true), (Some("other"), false)] {
        let refused = add(name, zero_touch).await.unwrap_err().to_string();
        assert!(refused.contains("as \"factory\", on other terms"), "{refused}");
    }
}

#[tokio::test]
async fn a_raw_public_key_is_one_devices() {
    let given = Given::new().await;
    let device = given
        .device_with("lamp-1", NewCredential::RawPublicKey(sha256(7)))
        .await;
    let access = given
        .control
        .device_by_raw_public_key(sha256(7))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(access.entry.id(), device);
    assert!(
        given
            .control
            .device_by_raw_public_key(sha256(8))
            .await
            .unwrap()
            .is_none()
    );
    let other = NewDevice {
        credentials: vec![NewCredential::RawPublicKey(sha256(7))],
        ..new_device("lamp-2", None)
    };
    let refused = given
        .control
        .create_device(&me(), given.project, other)
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("exists already (device \"lamp-1\")"),
        "{refused}"
    );
    given
        .control
        .remove_credential(&me(), given.project, device, access.credential)
        .await
        .unwrap();
    assert!(
        given
            .control
            .device_by_raw_public_key(sha256(7))
            .await
            .unwrap()
            .is_none()
    );
}

impl Given {
    async fn device_with(&self, name: &str, credential: NewCredential) -> DeviceId {
        let new = NewDevice {
            credentials: vec![credential],
            ..new_device(name, None)
        };
        self.control
            .create_device(&me(), self.project, new)
            .await
            .unwrap()
            .device
            .id
    }

    async fn enable(&self, device: DeviceId, enabled: bool) {
        let patch = DevicePatch {
            enabled: Some(enabled),
            ..DevicePatch::default()
        };
        self.control
            .update_device(&me(), self.project, device, patch)
            .await
            .unwrap();
    }

    /// The CA `factory`; unknown devices are put in the cohort `lamps`, if there is one.
    async fn ca(&self, zero_touch: bool) -> Arc<DeviceCa> {
        let lamps = CohortName::parse("lamps").unwrap();
        let view = self.control.view();
        let cohort = view.default_project().find_cohort(&lamps).map(|cohort| cohort.id);
        drop(view);
        let new = NewCa {
            name: None,
            certificate: CaCertificate::from_pem(CA_PEM).unwrap(),
            zero_touch,
            cohort,
        };
        match self
            .control
            .add_device_ca(&me(), self.project, new)
            .await
            .unwrap()
        {
            CaOutcome::Created(ca) => ca,
            CaOutcome::Existing(ca) => panic!("{ca:?} is there"),
        }
    }

    /// Whose a certificate that `ca` vouches for is.
    async fn present(
        &self,
        ca: &DeviceCa,
        presented: PresentedCertificate,
    ) -> Result<(DeviceId, CredentialId), CertificateRefusal> {
        let access = self
            .control
            .device_by_certificate(presented, ca.certificate.sha256())
            .await;
        access
            .unwrap()
            .map(|access| (access.entry.id(), access.credential))
    }
}

fn presented(organization: &str, common_name: &str, number: u8) -> PresentedCertificate {
    PresentedCertificate {
        sha256: sha256(number),
        signed: Digest::of(&[b's', number]),
        facts: CertificateFacts {
            subject: CertificateSubject {
                organization: Some(organization.to_owned()),
                common_name: Some(common_name.to_owned()),
            },
            serial: format!("{number:02x}"),
            not_before_s: 0,
            not_after_s: i64::from(u32::MAX),
        },
    }
}

fn sha256(number: u8) -> Digest {
    Digest::of(&[number])
}

fn connected_with(credential: CredentialId) -> SessionFacts {
    SessionFacts {
        credential: Some(credential),
        ..session(1)
    }
}

/// A self-signed root, O=default, CN=factory.
const CA_PEM: &str = "-----BEGIN CERTIFICATE-----\n\
MIIBezCCASKgAwIBAgICEjQwCgYIKoZIzj0EAwIwJDEQMA4GA1UECgwHZGVmYXVs\n\
dDEQMA4GA1UEAwwHZmFjdG9yeTAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAw\n\
MDAwMFowJDEQMA4GA1UECgwHZGVmYXVsdDEQMA4GA1UEAwwHZmFjdG9yeTBZMBMG\n\
ByqGSM49AgEGCCqGSM49AwEHA0IABD6savzBaebmpoKWYK3u09gJcDbYYIMy/QE4\n\
ukaTvOEsldsE8FEKNvhK30TxDbPI1ikzSyuxOF3jPNzclrAqwW+jQjBAMA8GA1Ud\n\
EwEB/wQFMAMBAf8wDgYDVR0PAQH/BAQDAgEGMB0GA1UdDgQWBBQ/QrIDho7qTVbj\n\
mLAe//vG0Xp5hzAKBggqhkjOPQQDAgNHADBEAiA3pHTJXPLIU+Va8SMOj+ELFbIq\n\
dRAWZJISynKPqy9ocgIgG3NcTvBo2ULHUyQUjepgnYfDjcBz1PnR6x4vS5nne9Y=\n\
-----END CERTIFICATE-----\n\
";
