//! The bounded list alone: what is folded, and who loses an entry where there is no room.

use std::sync::Arc;

use super::*;
use crate::fleet::Fleet;

#[test]
fn repeats_from_any_port_are_one_record_with_a_count_and_two_times() {
    let mut failures = Failures::default();
    for (at, port) in [(10, 1000), (20, 2000), (30, 3000)] {
        let peer = SocketAddr::new(ip("192.0.2.1"), port);
        note(&mut failures, at, "lamp", peer, FailureCause::WrongKey);
    }
    let elsewhere = "192.0.2.2:1000".parse().unwrap();
    note(&mut failures, 40, "lamp", elsewhere, FailureCause::WrongKey);
    note(&mut failures, 50, "lamp", elsewhere, FailureCause::TimedOut);
    note(&mut failures, 60, "other", elsewhere, FailureCause::TimedOut);
    let first = "192.0.2.1:4000".parse().unwrap();
    note(&mut failures, 70, "lamp", first, FailureCause::WrongKey);

    let seen: Vec<_> = failures
        .list(ProjectId::new(1))
        .iter()
        .map(|record| {
            (
                record.peer.to_string(),
                record.count,
                record.first_ms,
                record.last_ms,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("192.0.2.1:4000".to_owned(), 4, 10, 70),
            ("192.0.2.2:1000".to_owned(), 1, 60, 60),
            ("192.0.2.2:1000".to_owned(), 1, 50, 50),
            ("192.0.2.2:1000".to_owned(), 1, 40, 40),
        ]
    );
}

#[test]
fn a_network_that_offers_identities_without_end_hides_nobody_elsewhere() {
    let mut failures = Failures::with_room(10);
    for n in 1..=3 {
        let peer = SocketAddr::new(ip(&format!("198.51.{n}.7")), 1);
        note(&mut failures, 0, "quiet", peer, FailureCause::UnknownIdentity);
    }
    for n in 0..1000_u32 {
        let peer = SocketAddr::new(ip(&format!("203.0.113.{}", n % 250)), 1);
        note(
            &mut failures,
            1,
            &format!("noise-{n}"),
            peer,
            FailureCause::UnknownIdentity,
        );
    }
    let seen = failures.list(ProjectId::new(1));
    assert_eq!(seen.len(), 10);
    let is_quiet = |record: &&FailureRecord| identity_of(record) == "quiet";
    assert_eq!(seen.iter().filter(is_quiet).count(), 3);
    assert_eq!(identity_of(&seen[0]), "noise-999", "the newest is there");
}

#[test]
fn a_noisy_device_hides_no_neighbour_behind_the_same_carrier() {
    let mut failures = Failures::with_room(4);
    let (quiet, noisy) = ("192.0.2.1:1".parse().unwrap(), "192.0.2.2:1".parse().unwrap());
    note(&mut failures, 0, "quiet", quiet, FailureCause::UnknownIdentity);
    for n in 0..100 {
        note(
            &mut failures,
            1,
            &format!("noise-{n}"),
            noisy,
            FailureCause::UnknownIdentity,
        );
    }
    let seen = failures.list(ProjectId::new(1));
    assert_eq!(seen.len(), 4);
    assert!(seen.iter().any(|record| identity_of(record) == "quiet"));
}

#[test]
fn strangers_from_everywhere_push_out_no_failure_of_a_device() {
    let mut failures = Failures::with_room(4);
    let peer: SocketAddr = "192.0.2.1:1".parse().unwrap();
    let of_device = failed("lamp", peer, FailureCause::WrongKey);
    failures.note(0, of_device, Some(lamp(1)), false);
    for n in 0..100 {
        let peer = SocketAddr::new(ip(&format!("10.{n}.0.1")), 1);
        note(
            &mut failures,
            1,
            &format!("noise-{n}"),
            peer,
            FailureCause::WrongKey,
        );
    }
    let seen = failures.list(ProjectId::new(1));
    assert_eq!(seen.len(), 5);
    assert_eq!(identity_of(&seen[4]), "lamp");
}

#[test]
fn whose_identity_it_is_says_more_about_the_cause_and_who_may_see_it() {
    let mut failures = Failures::default();
    let peer: SocketAddr = "192.0.2.1:1".parse().unwrap();
    failures.retired(identity("old"), lamp(1));
    for (offered, cause, device, disabled, expected) in [
        (
            "old",
            FailureCause::UnknownIdentity,
            None,
            false,
            FailureCause::CredentialRetired,
        ),
        (
            "off",
            FailureCause::UnknownIdentity,
            Some(lamp(1)),
            true,
            FailureCause::DeviceDisabled,
        ),
        (
            "new",
            FailureCause::UnknownIdentity,
            Some(lamp(1)),
            false,
            FailureCause::UnknownIdentity,
        ),
        (
            "off",
            FailureCause::WrongKey,
            Some(lamp(1)),
            true,
            FailureCause::WrongKey,
        ),
        ("old", FailureCause::WrongKey, None, false, FailureCause::WrongKey),
    ] {
        failures.note(0, failed(offered, peer, cause), device, disabled);
        let seen = failures.list(ProjectId::new(1));
        assert_eq!(seen[0].cause, expected, "{offered}");
        assert_eq!(seen[0].device, Some(lamp(1)), "{offered}");
    }
    assert!(
        failures.list(ProjectId::new(2)).is_empty(),
        "another project's devices"
    );
    note(&mut failures, 0, "nobody", peer, FailureCause::UnknownIdentity);
    assert_eq!(failures.list(ProjectId::new(2)).len(), 1, "nobody's is anybody's");
}

#[test]
fn retired_identities_are_remembered_up_to_a_bound() {
    let mut failures = Failures::default();
    for n in 0..=RETIRED_KEPT {
        failures.retired(identity(&format!("id-{n}")), lamp(1));
        failures.retired(identity("again"), lamp(1));
    }
    assert_eq!(failures.retired.len(), RETIRED_KEPT);
    assert_eq!(failures.retired.back().unwrap().0, identity("again"));
    assert!(
        !failures
            .retired
            .iter()
            .any(|(known, _)| *known == identity("id-0"))
    );
}

#[test]
fn every_cause_has_a_name_that_filters_take_and_a_text() {
    for cause in FailureCause::ALL {
        FailureCause::check_name(cause.as_str()).unwrap();
        let accepted = FailureCause::check_name("nonsense").unwrap_err().accepted;
        assert!(accepted.contains(cause.as_str()), "{cause:?}: {accepted}");
        for device in [None, Some(lamp(1))] {
            let mut failures = Failures::default();
            let peer = "192.0.2.1:1".parse().unwrap();
            failures.note(0, failed("lamp", peer, cause), device, false);
            let text = failures.list(ProjectId::new(1))[0].text(&project());
            assert!(text.contains(';') || text.contains(':'), "{cause:?}: {text}");
        }
    }
}

#[test]
fn a_certificate_that_names_nobody_is_told_what_is_wrong_with_its_subject() {
    let project = project();
    for (organization, common_name, said) in [
        (None, Some("lamp-1"), "its subject has no O"),
        (Some("elsewhere"), Some("lamp-1"), "O=\"elsewhere\""),
        (Some("elsewhere"), None, "O=\"elsewhere\""),
        (Some("default"), None, "its subject has no CN"),
        (
            Some("default"),
            Some("a lamp"),
            "its CN cannot be the name of a device",
        ),
        (
            Some("default"),
            Some("lamp-1"),
            "create lamp-1 --without-credential",
        ),
        (Some(&*project.id.to_string()), Some("lamp-1"), "create lamp-1 "),
    ] {
        let failed = FailedHandshake {
            offered: Some(Offered::Certificate {
                sha256: Digest([1; 32]),
                signed: Digest([2; 32]),
                subject: CertificateSubject {
                    organization: organization.map(Into::into),
                    common_name: common_name.map(Into::into),
                },
            }),
            peer: "192.0.2.1:1".parse().unwrap(),
            cause: FailureCause::UnknownDevice,
        };
        let mut failures = Failures::default();
        failures.note(0, failed, None, false);
        let text = failures.list(project.id)[0].text(&project);
        assert!(text.contains(said), "{organization:?}, {common_name:?}: {text}");
    }
}

#[test]
fn networks_are_those_of_the_seats() {
    for (address, network) in [
        ("192.0.2.77", "192.0.2.0"),
        ("::ffff:192.0.2.77", "192.0.2.0"),
        ("2001:db8:1:2::3", "2001:db8:1::"),
    ] {
        assert_eq!(network_of(ip(address)), ip(network));
    }
}

fn note(failures: &mut Failures, at: i64, offered: &str, peer: SocketAddr, cause: FailureCause) {
    failures.note(at, failed(offered, peer, cause), None, false);
}

fn failed(offered: &str, peer: SocketAddr, cause: FailureCause) -> FailedHandshake {
    FailedHandshake {
        offered: Some(Offered::Psk(identity(offered))),
        peer,
        cause,
    }
}

fn lamp(project: i64) -> FailedDevice {
    FailedDevice {
        id: DeviceId::new(7),
        project: ProjectId::new(project),
        name: DeviceName::parse("lamp-1").unwrap(),
    }
}

fn identity(text: &str) -> PskIdentity {
    PskIdentity::new(text.as_bytes()).unwrap()
}

fn identity_of(record: &FailureRecord) -> String {
    record.offered.as_ref().unwrap().identity().unwrap().to_string()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn project() -> Arc<Project> {
    let name = "default".parse().unwrap();
    Fleet::default().create_project(name, 0).unwrap()
}
