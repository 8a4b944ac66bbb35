use std::collections::BTreeMap;

use super::super::port::Port;
use super::*;

#[test]
fn a_boot_reports_idle_twice_and_then_observes() {
    let (mut update, now) = device("1.0.0");
    update.connected(now);
    assert_eq!(said(&mut update), ["0/0", "0/0", "observe"]);
}

#[test]
fn a_reconnect_observes_and_says_nothing_else() {
    let (mut update, now) = booted("1.0.0");
    update.disconnected();
    update.connected(now);
    assert_eq!(said(&mut update), ["observe"]);
}

#[test]
fn a_manifest_that_brings_nothing_new_is_answered_by_idle() {
    let (mut update, now) = booted("1.0.0");
    update.manifest(now, manifest("main", "1.0.0", b"x"));
    update.manifest(now, manifest("other", "2.0.0", b"x"));
    update.manifest(
        now,
        Manifest {
            sequence: None,
            components: Vec::new(),
        },
    );
    assert_eq!(said(&mut update), ["0/0", "0/0", "0/0"]);
}

#[test]
fn an_update_goes_through_every_state_in_order() {
    let (mut update, now) = booted("1.0.0");
    update.manifest(now, manifest("main", "1.0.1", b"abcd"));
    assert_eq!(said(&mut update), ["1/0 t=1.0.1", "block 0"]);
    update.block(now, 0, 1, b"ab", true);
    assert_eq!(update.progress(), Some((2, 4)));
    assert_eq!(said(&mut update), ["block 1"]);
    update.block(now, 1, 1, b"cd", false);
    assert_eq!(said(&mut update), ["downloaded 4", "2/0 t=1.0.1", "3/0 t=1.0.1"]);
    let reboot = now + Duration::from_secs(5);
    assert_eq!(update.poll_timeout(), Some(reboot));
    update.handle_timeout(reboot);
    assert_eq!(said(&mut update), ["reboot 1.0.1"]);
    update.connected(reboot);
    assert_eq!(said(&mut update), ["3/1", "0/0", "observe"]);
    update.manifest(reboot, manifest("main", "1.0.1", b"abcd"));
    assert_eq!(said(&mut update), ["0/0"]);
    assert_eq!(update.version(), "1.0.1");
}

#[test]
fn an_older_version_is_an_update_like_any_other() {
    let (mut update, now) = booted("2.0.0");
    update.manifest(now, manifest("main", "1.0.0", b"x"));
    assert_eq!(said(&mut update), ["1/0 t=1.0.0", "block 0"]);
}

#[test]
fn a_wrong_hash_is_reported_and_tried_again_with_doubling_pauses() {
    let (mut update, mut now) = booted("1.0.0");
    update.manifest(now, manifest("main", "1.0.1", b"abcd"));
    said(&mut update);
    for (transfer, pause) in [(1, 60), (2, 120), (3, 240)] {
        update.block(now, 0, transfer, b"wrong", false);
        assert_eq!(
            said(&mut update),
            ["failed", "1/5 t=1.0.1", "0/0 t=1.0.1", "0/11 t=1.0.1"]
        );
        assert_eq!(update.poll_timeout(), Some(now + Duration::from_secs(pause)));
        now += Duration::from_secs(pause);
        update.handle_timeout(now);
        assert_eq!(said(&mut update), ["1/0 t=1.0.1", "block 0"]);
    }
}

#[test]
fn the_same_target_is_ignored_during_the_pause_and_another_takes_over() {
    let (mut update, now) = booted("1.0.0");
    update.manifest(now, manifest("main", "1.0.1", b"abcd"));
    update.block(now, 0, 1, b"wrong", false);
    said(&mut update);
    update.manifest(now, manifest("main", "1.0.1", b"abcd"));
    assert_eq!(said(&mut update), [""; 0]);
    update.manifest(now, manifest("main", "1.0.2", b"abcd"));
    assert_eq!(said(&mut update), ["1/0 t=1.0.2", "block 0"]);
}

#[test]
fn a_manifest_that_arrives_during_a_failing_download_takes_over_afterwards() {
    let (mut update, now) = booted("1.0.0");
    update.manifest(now, manifest("main", "1.0.1", b"abcd"));
    said(&mut update);
    update.manifest(now, manifest("main", "1.0.2", b"abcd"));
    assert_eq!(said(&mut update), [""; 0]);
    update.block(now, 0, 1, b"wrong", false);
    let expected = [
        "failed",
        "1/5 t=1.0.1",
        "0/0 t=1.0.1",
        "0/11 t=1.0.1",
        "1/0 t=1.0.2",
        "block 0",
    ];
    assert_eq!(said(&mut update), expected);
}

#[test]
fn a_failed_block_is_asked_for_again_from_where_it_failed() {
    let (mut update, now) = booted("1.0.0");
    update.manifest(now, manifest("main", "1.0.1", b"abcd"));
    update.block(now, 0, 1, b"ab", true);
    said(&mut update);
    update.block_failed(now, 1, 1);
    assert_eq!(update.poll_timeout(), Some(now + Duration::from_secs(15)));
    update.handle_timeout(now + Duration::from_secs(15));
    assert_eq!(said(&mut update), ["block 1"]);
    update.block(now, 1, 2, b"cd", false);
    assert_eq!(said(&mut update), ["downloaded 4", "2/0 t=1.0.1", "3/0 t=1.0.1"]);
}

#[test]
fn a_timer_that_goes_off_once_lets_the_retry_take_its_time() {
    let (mut update, now) = booted_with("1.0.0", RetryTimer::OneShot);
    update.manifest(now, manifest("main", "1.0.1", b"abcd"));
    update.block_failed(now, 0, 1);
    update.handle_timeout(now + Duration::from_secs(15));
    said(&mut update);
    update.handle_timeout(now + Duration::from_secs(30));
    update.handle_timeout(now + Duration::from_secs(45));
    assert_eq!(said(&mut update), [""; 0]);
}

#[test]
fn a_periodic_timer_begins_another_transfer_beside_the_retry_and_spoils_the_image() {
    let (mut update, now) = booted_with("1.0.0", RetryTimer::Periodic);
    update.manifest(now, manifest("main", "1.0.1", b"abcd"));
    update.block_failed(now, 0, 1);
    update.handle_timeout(now + Duration::from_secs(15));
    update.block(now, 0, 2, b"ab", true);
    said(&mut update);
    update.handle_timeout(now + Duration::from_secs(30));
    assert_eq!(said(&mut update), ["block 0"], "though block 1 is on its way");
    update.block(now, 0, 3, b"ab", true);
    update.block(now, 1, 2, b"cd", false);
    assert_eq!(
        said(&mut update),
        ["block 1", "failed", "1/5 t=1.0.1", "0/0 t=1.0.1", "0/11 t=1.0.1"]
    );
    update.block(now, 1, 3, b"cd", false);
    assert_eq!(
        said(&mut update),
        [""; 0],
        "the second transfer's end comes too late"
    );
}

#[test]
fn a_periodic_timer_does_no_harm_to_a_retry_that_ends_before_it() {
    let (mut update, now) = booted_with("1.0.0", RetryTimer::Periodic);
    update.manifest(now, manifest("main", "1.0.1", b"abcd"));
    update.block_failed(now, 0, 1);
    update.handle_timeout(now + Duration::from_secs(15));
    update.block(now, 0, 2, b"abcd", false);
    said(&mut update);
    assert_eq!(
        update.poll_timeout(),
        Some(now + Duration::from_secs(5)),
        "the reboot"
    );
}

#[test]
fn a_report_that_does_not_fit_stalls_the_update_for_155_seconds_and_is_never_sent() {
    let package = "sixteen-bytes-ok";
    for (target, fits) in [("2345678901234", true), ("23456789012345", false)] {
        let start = Instant::now();
        let model = Model {
            package: package.to_owned(),
            ..Model::of(Port::Zephyr)
        };
        let mut update = Update::new(Arc::new(model), "1.0.0-rc.1234567");
        update.connected(start);
        said(&mut update);
        update.manifest(start, manifest(package, target, b"abcd"));
        if fits {
            assert_eq!(said(&mut update), [format!("1/0 t={target}"), "block 0".into()]);
            continue;
        }
        assert_eq!(said(&mut update), [""; 0]);
        let later = start + Duration::from_secs(155);
        assert_eq!(update.poll_timeout(), Some(later));
        update.handle_timeout(later);
        assert_eq!(said(&mut update), ["block 0"]);
        // And twice more before the reboot.
        update.block(later, 0, 1, b"abcd", false);
        update.handle_timeout(later + Duration::from_secs(2 * 155));
        assert_eq!(said(&mut update), ["downloaded 4"]);
        update.handle_timeout(later + Duration::from_secs(2 * 155 + 5));
        assert_eq!(said(&mut update), [format!("reboot {target}")]);
    }
}

#[test]
fn the_manifest_is_fetched_once_a_day() {
    let (mut update, now) = booted("1.0.0");
    let day = Duration::from_secs(24 * 3600);
    assert_eq!(update.poll_timeout(), Some(now + day));
    update.handle_timeout(now + day);
    assert_eq!(said(&mut update), ["poll"]);
    assert_eq!(update.poll_timeout(), Some(now + 2 * day));
}

#[test]
fn a_crash_forgets_everything_but_the_version() {
    let (mut update, now) = booted("1.0.0");
    update.manifest(now, manifest("main", "1.0.1", b"abcd"));
    update.block(now, 0, 1, b"wrong", false);
    said(&mut update);
    update.crashed();
    assert_eq!((update.poll_timeout(), update.version()), (None, "1.0.0"));
    update.connected(now);
    assert_eq!(said(&mut update), ["0/0", "0/0", "observe"]);
}

#[test]
fn the_sixteenth_failure_in_a_row_ends_the_download() {
    let (mut update, mut now) = booted("1.0.0");
    update.manifest(now, manifest("main", "1.0.1", b"abcd"));
    said(&mut update);
    for transfer in 1..=15 {
        update.block_failed(now, 0, transfer);
        now = update.poll_timeout().unwrap();
        update.handle_timeout(now);
        assert_eq!(said(&mut update), ["block 0"]);
    }
    update.block_failed(now, 0, 16);
    assert_eq!(
        said(&mut update),
        ["failed", "1/8 t=1.0.1", "0/0 t=1.0.1", "0/11 t=1.0.1"]
    );
}

#[test]
fn an_image_that_the_flash_spoils_is_never_booted_and_fetched_again_after_a_growing_pause() {
    let (mut update, mut now) = checking(BTreeMap::from([("1.0.1".into(), Booting::Spoilt)]));
    update.manifest(now, manifest("main", "1.0.1", b"abcd"));
    for (transfer, seconds) in [(1, 60), (2, 120), (3, 240)] {
        assert_eq!(said(&mut update), ["1/0 t=1.0.1", "block 0"]);
        update.block(now, 0, transfer, b"abcd", false);
        assert_eq!(
            said(&mut update),
            ["failed", "1/5 t=1.0.1", "0/0 t=1.0.1", "0/11 t=1.0.1"]
        );
        now += Duration::from_secs(seconds);
        assert_eq!((update.poll_timeout(), update.version()), (Some(now), "1.0.0"));
        update.handle_timeout(now);
    }
}

#[test]
fn a_lost_session_fails_the_block_and_forgets_reports() {
    let (mut update, now) = booted("1.0.0");
    update.manifest(now, manifest("main", "1.0.1", b"abcd"));
    assert_eq!(
        update.poll_action().map(|action| word(&action)).as_deref(),
        Some("1/0 t=1.0.1")
    );
    assert_eq!(
        update.poll_action().map(|action| word(&action)).as_deref(),
        Some("block 0")
    );
    update.manifest(now, manifest("main", "1.0.1", b"abcd"));
    update.block_failed(now, 0, 1);
    update.disconnected();
    assert_eq!(said(&mut update), [""; 0]);
    update.connected(now);
    update.handle_timeout(now + Duration::from_secs(15));
    assert_eq!(said(&mut update), ["observe", "block 0"]);
}

#[test]
fn a_bad_image_that_is_in_the_slot_already_is_booted_again_after_the_same_countdown() {
    let (mut update, now) = checking(BTreeMap::from([("1.0.1".into(), Booting::Badly)]));
    let mut now = run_through(&mut update, now, "1.0.1");
    assert_eq!(said(&mut update), ["reboot 1.0.1"]);
    for _ in 0..3 {
        assert!(update.never_connects());
        now += Duration::from_secs(301);
        assert_eq!(update.poll_timeout(), Some(now));
        update.handle_timeout(now);
        assert_eq!(said(&mut update), ["rolled back 1.0.1", "reboot 1.0.0"]);
        assert!(!update.never_connects());
        update.connected(now);
        assert_eq!(said(&mut update), ["0/0", "0/0", "observe"]);
        update.manifest(now, manifest("main", "1.0.1", b"1.0.1"));
        assert_eq!(said(&mut update), ["3/0 t=1.0.1"]);
        now += Duration::from_secs(5);
        assert_eq!(update.poll_timeout(), Some(now));
        update.handle_timeout(now);
        assert_eq!(said(&mut update), ["reboot 1.0.1"]);
    }
}

#[test]
fn what_ran_before_the_last_update_is_in_the_slot_and_comes_back_without_a_download() {
    let (mut update, now) = checking(BTreeMap::new());
    let mut now = now;
    for version in ["1.0.1", "1.0.2"] {
        now = run_through(&mut update, now, version);
        update.connected(now);
    }
    said(&mut update);
    update.manifest(now, manifest("main", "1.0.1", b"1.0.1"));
    assert_eq!(said(&mut update), ["3/0 t=1.0.1"]);
    now += Duration::from_secs(5);
    update.handle_timeout(now);
    assert_eq!(said(&mut update), ["reboot 1.0.1"]);
    update.connected(now);
    said(&mut update);
    update.manifest(now, manifest("main", "1.0.2", b"other bytes"));
    assert_eq!(
        said(&mut update),
        ["1/0 t=1.0.2", "block 0"],
        "the bytes count, not the name"
    );
    update.reboot();
    update.connected(now);
    said(&mut update);
    update.manifest(now, manifest("main", "1.0.2", b"1.0.2"));
    assert_eq!(
        said(&mut update),
        ["1/0 t=1.0.2", "block 0"],
        "a download begins by erasing the slot"
    );
}

#[test]
fn the_loop_of_a_wrong_version_downloads_twice_and_then_only_swaps_slots() {
    let (mut update, now) = checking(BTreeMap::from([("1.0.1".into(), Booting::As("1.0.9".into()))]));
    let mut now = now;
    for _ in 0..2 {
        now = run_through(&mut update, now, "1.0.1");
        update.connected(now);
        assert_eq!(said(&mut update), ["reboot 1.0.9", "3/1", "0/0", "observe"]);
    }
    for _ in 0..3 {
        update.manifest(now, manifest("main", "1.0.1", b"1.0.1"));
        assert_eq!(said(&mut update), ["3/0 t=1.0.1"]);
        now += Duration::from_secs(5);
        update.handle_timeout(now);
        update.connected(now);
        assert_eq!(said(&mut update), ["reboot 1.0.9", "3/1", "0/0", "observe"]);
    }
}

#[test]
fn a_reboot_forgets_a_download_and_a_pause_and_an_image_that_has_not_connected() {
    let (mut update, now) = booted("1.0.0");
    update.manifest(now, manifest("main", "1.0.1", b"abcd"));
    update.block(now, 0, 1, b"wrong", false);
    update.manifest(now, manifest("main", "1.0.2", b"1.0.2"));
    said(&mut update);
    update.reboot();
    assert_eq!(said(&mut update), ["reboot 1.0.0"]);
    assert_eq!((update.poll_timeout(), update.progress()), (None, None));
    update.connected(now);
    said(&mut update);
    let now = run_through(&mut update, now, "1.0.1");
    said(&mut update);
    update.reboot();
    assert_eq!(said(&mut update), ["rolled back 1.0.1", "reboot 1.0.0"]);
    update.connected(now);
    assert_eq!(said(&mut update), ["0/0", "0/0", "observe"]);
    let now = run_through(&mut update, now, "1.0.1");
    update.connected(now);
    said(&mut update);
    update.reboot();
    assert_eq!(
        said(&mut update),
        ["reboot 1.0.1"],
        "one that has connected stays"
    );
}

#[test]
fn only_an_image_that_never_connects_is_given_up_sooner_by_a_faster_device() {
    for (booting, seconds) in [(Booting::Well, 300), (Booting::Badly, 3)] {
        let model = Model {
            images: BTreeMap::from([("1.0.1".into(), booting)]),
            pace: Pace::of(Port::Zephyr).faster(100),
            ..Model::of(Port::Zephyr)
        };
        let (mut update, now) = (Update::new(Arc::new(model), "1.0.0"), Instant::now());
        update.connected(now);
        let installed = run_through(&mut update, now, "1.0.1");
        let wait = update.poll_timeout().map(|at| at - installed);
        assert_eq!(
            wait,
            Some(Duration::from_secs(seconds) + Duration::from_millis(10))
        );
    }
}

/// A device that looks into its second slot first, connected.
fn checking(images: BTreeMap<String, Booting>) -> (Update, Instant) {
    let model = Model {
        images,
        checks_candidate: true,
        ..Model::of(Port::Zephyr)
    };
    let (mut update, now) = (Update::new(Arc::new(model), "1.0.0"), Instant::now());
    update.connected(now);
    said(&mut update);
    (update, now)
}

/// An update to an image whose bytes are its version, with a whole download, up to the reboot; when that is.
fn run_through(update: &mut Update, now: Instant, version: &str) -> Instant {
    update.manifest(now, manifest("main", version, version.as_bytes()));
    let transfer = update.transfer;
    assert_eq!(update.progress(), Some((0, version.len() as u64)));
    update.block(now, 0, transfer, version.as_bytes(), false);
    let reboot = now + update.model.pace.reboot;
    update.handle_timeout(reboot);
    reboot
}

fn device(version: &str) -> (Update, Instant) {
    device_with(version, RetryTimer::OneShot)
}

fn device_with(version: &str, timer: RetryTimer) -> (Update, Instant) {
    let port = match timer {
        RetryTimer::OneShot => Port::Zephyr,
        RetryTimer::Periodic => Port::Libcoap,
    };
    (Update::new(Arc::new(Model::of(port)), version), Instant::now())
}

fn booted(version: &str) -> (Update, Instant) {
    booted_with(version, RetryTimer::OneShot)
}

fn booted_with(version: &str, timer: RetryTimer) -> (Update, Instant) {
    let (mut update, now) = device_with(version, timer);
    update.connected(now);
    said(&mut update);
    (update, now)
}

fn manifest(package: &str, version: &str, bytes: &[u8]) -> Manifest {
    let component = Component {
        package: package.into(),
        version: version.into(),
        sha256: Sha256::digest(bytes).into(),
        size: bytes.len() as u64,
        uri: format!("/.u/c/{package}@{version}"),
    };
    Manifest {
        sequence: Some(1),
        components: vec![component],
    }
}

fn said(update: &mut Update) -> Vec<String> {
    std::iter::from_fn(|| update.poll_action())
        .map(|action| word(&action))
        .collect()
}

fn word(action: &Action) -> String {
    match action {
        Action::Report(report) => {
            let target = report
                .target
                .as_ref()
                .map(|target| format!(" t={target}"))
                .unwrap_or_default();
            format!("{}/{}{target}", report.state as u8, report.reason as u8)
        }
        Action::Observe => "observe".into(),
        Action::Poll => "poll".into(),
        Action::Fetch { block, .. } => format!("block {block}"),
        Action::Downloaded { bytes, .. } => format!("downloaded {bytes}"),
        Action::Failed(_) => "failed".into(),
        Action::RolledBack { version } => format!("rolled back {version}"),
        Action::Reboot { version } => format!("reboot {version}"),
    }
}
