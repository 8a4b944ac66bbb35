use super::*;

#[test]
fn a_boot_brings_two_reports_and_the_observation_and_a_reconnection_only_that() {
    let (mut firmware, now) = device(&[]);
    firmware.connected(now);
    assert_eq!(asked(&mut firmware), ["0/0 1", "0/0 1", "observe"]);
    firmware.connected(now);
    assert_eq!(asked(&mut firmware), ["observe"]);
    firmware.manifest(now, manifest("1", b""));
    assert_eq!(asked(&mut firmware), ["0/0 1"], "nothing to do");
}

#[test]
fn an_update_is_fetched_checked_reported_and_booted_after_five_seconds() {
    let (mut firmware, now) = device(&[]);
    firmware.connected(now);
    asked(&mut firmware);
    firmware.manifest(now, manifest("2", b"onetwo"));
    assert_eq!(asked(&mut firmware), ["1/0 1>2", "block 0 of 1"]);
    firmware.block(now, 1, b"one", true, TOOK);
    assert_eq!(asked(&mut firmware), ["block 1 of 1"]);
    firmware.block(now, 1, b"two", false, TOOK);
    assert_eq!(asked(&mut firmware), ["2/0 1>2", "3/0 1>2"]);
    let reboot = now + Duration::from_secs(5);
    assert_eq!(firmware.poll_timeout(), Some(reboot));
    assert!(firmware.handle_timeout(reboot));
    firmware.connected(reboot);
    assert_eq!(asked(&mut firmware), ["3/1 2", "0/0 2", "observe"]);
    let events: Vec<Event> = std::iter::from_fn(|| firmware.poll_event()).collect();
    assert!(events.contains(&Event::Downloaded {
        bytes: 6,
        version: "2".into()
    }));
    assert!(events.contains(&Event::Rebooted { version: "2".into() }));
}

#[test]
fn a_block_that_fails_is_asked_for_again_fifteen_times_and_then_the_update_waits() {
    let (mut firmware, mut now) = device(&[]);
    firmware.connected(now);
    firmware.manifest(now, manifest("2", b"onetwo"));
    firmware.block(now, 1, b"one", true, TOOK);
    asked(&mut firmware);
    for transfer in 1..=15 {
        firmware.block_failed(now, transfer);
        now += Duration::from_secs(15);
        assert!(!firmware.handle_timeout(now));
        let again = format!("block 1 of {}", transfer + 1);
        assert_eq!(asked(&mut firmware), [again.as_str()]);
    }
    firmware.block(now, 15, b"one", true, TOOK);
    assert_eq!(asked(&mut firmware), [""; 0], "of a transfer that is over");
    firmware.block_failed(now, 16);
    assert_eq!(asked(&mut firmware), ["1/8 1>2", "0/0 1>2", "0/11 1>2"]);
    firmware.manifest(now, manifest("2", b"onetwo"));
    assert_eq!(asked(&mut firmware), [""; 0], "it waits");
    now += Duration::from_secs(60);
    assert!(!firmware.handle_timeout(now));
    assert_eq!(asked(&mut firmware), ["1/0 1>2", "block 0 of 17"]);
}

#[test]
fn a_hash_that_disagrees_is_reported_and_no_other_version_waits_for_it() {
    let (mut firmware, now) = device(&[]);
    firmware.connected(now);
    firmware.manifest(now, manifest("2", b"other"));
    firmware.manifest(now, manifest("3", b"third"));
    asked(&mut firmware);
    firmware.block(now, 1, b"bytes", false, TOOK);
    assert_eq!(
        asked(&mut firmware),
        ["1/5 1>2", "0/0 1>2", "0/11 1>2", "1/0 1>3", "block 0 of 2"]
    );
}

#[test]
fn an_image_that_never_connects_is_given_up_and_one_that_says_otherwise_runs() {
    for (boots, reported) in [
        (Boots::Badly, vec!["0/0 1", "0/0 1", "observe"]),
        (Boots::As("1".into()), vec!["3/1 1", "0/0 1", "observe"]),
    ] {
        let (mut firmware, now) = device(&[("2", boots.clone())]);
        firmware.connected(now);
        firmware.manifest(now, manifest("2", b"x"));
        firmware.block(now, 1, b"x", false, TOOK);
        assert!(firmware.handle_timeout(now + Duration::from_secs(5)));
        asked(&mut firmware);
        assert_eq!(firmware.connects(), boots != Boots::Badly);
        if boots == Boots::Badly {
            assert!(!firmware.handle_timeout(now + Duration::from_secs(304)));
            assert!(firmware.handle_timeout(now + Duration::from_secs(305)));
            let events: Vec<Event> = std::iter::from_fn(|| firmware.poll_event()).collect();
            assert!(
                events.contains(&Event::RolledBack { version: "2".into() }),
                "{events:?}"
            );
            assert!(firmware.connects());
        }
        firmware.connected(now);
        assert_eq!(asked(&mut firmware), reported);
    }
}

#[test]
fn a_report_that_does_not_fit_the_buffer_is_not_sent() {
    let (mut firmware, now) = device(&[]);
    firmware.connected(now);
    asked(&mut firmware);
    firmware.manifest(now, manifest(&"2".repeat(41), b"x"));
    assert_eq!(asked(&mut firmware), ["block 0 of 1"], "45 bytes fit, 46 do not");
}

fn device(images: &[(&str, Boots)]) -> (Firmware, Instant) {
    let images = images
        .iter()
        .map(|(version, boots)| ((*version).to_owned(), boots.clone()))
        .collect();
    let pauses = Pauses::of(Port::Zephyr, 1);
    (
        Firmware::new("main", "1", Arc::new(images), pauses),
        Instant::now(),
    )
}

fn manifest(version: &str, artifact: &[u8]) -> Manifest {
    let digest = Sha256::digest(artifact);
    Manifest {
        sequence: Some(1),
        component: Some(Component {
            package: "main".into(),
            version: version.into(),
            hash: digest.iter().map(|byte| format!("{byte:02X}")).collect(),
            size: artifact.len() as u64,
            uri: format!("/.u/c/main@{version}"),
        }),
    }
}

fn asked(firmware: &mut Firmware) -> Vec<String> {
    std::iter::from_fn(|| firmware.poll_ask())
        .map(|ask| match ask {
            Ask::Report(report) => {
                let target = report.target.map_or(String::new(), |target| format!(">{target}"));
                format!(
                    "{}/{} {}{target}",
                    report.state as u8, report.reason as u8, report.version
                )
            }
            Ask::Observe => "observe".to_owned(),
            Ask::Block { number, transfer, .. } => format!("block {number} of {transfer}"),
            Ask::Poll | Ask::Keepalive => format!("{ask:?}"),
        })
        .collect()
}

const TOOK: Duration = Duration::from_millis(1);
