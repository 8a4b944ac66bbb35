use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::{Directory, Download, SessionFacts};
use crate::fleet::{ArtifactId, CohortId, Device, DeviceId, DeviceName, ProjectId};

#[test]
fn all_holders_share_one_entry_and_the_directory_keeps_none() {
    let directory = Arc::new(Directory::default());
    let one = directory.enter(&device(1, 0, None));
    let two = directory.enter(&device(1, 0, None));
    assert!(Arc::ptr_eq(&one, &two));
    assert!(directory.get(DeviceId::new(1)).is_some());
    drop((one, two));
    assert!(directory.get(DeviceId::new(1)).is_none());
    assert!(directory.entries.is_empty());
}

#[test]
fn an_older_record_never_overwrites_a_newer_one() {
    let directory = Arc::new(Directory::default());
    let entry = directory.enter(&device(1, 5, Some(7)));
    directory.committed(&[device(1, 4, Some(6))]);
    assert_eq!(entry.cohort(), Some(CohortId::new(7)));
    directory.committed(&[device(1, 6, None)]);
    assert_eq!(entry.cohort(), None);
    directory.enter(&device(1, 5, Some(7)));
    assert_eq!(entry.cohort(), None);
}

#[test]
fn a_change_between_reading_and_entering_moves_the_generation() {
    let directory = Arc::new(Directory::default());
    let generation = directory.generation();
    let read = device(1, 0, None);
    directory.committed(&[device(1, 1, Some(9))]);
    let entry = directory.enter(&read);
    assert_eq!(entry.cohort(), None, "the entry was not there to be told");
    assert_ne!(
        directory.generation(),
        generation,
        "and so the reader reads again"
    );
    directory.enter(&device(1, 1, Some(9)));
    assert_eq!(entry.cohort(), Some(CohortId::new(9)));
}

#[test]
fn a_late_end_of_an_old_session_leaves_the_new_one() {
    let directory = Arc::new(Directory::default());
    let entry = directory.enter(&device(1, 0, None));
    directory.connected(&entry, session(1));
    directory.connected(&entry, session(2));
    directory.connected(&entry, session(1));
    assert_eq!(directory.online(), 1);
    directory.disconnected(&entry, 1);
    assert_eq!(entry.session(), Some(session(2)));
    directory.disconnected(&entry, 2);
    directory.disconnected(&entry, 2);
    assert_eq!((entry.session(), directory.online()), (None, 0));
    directory.connected(&entry, session(3));
    drop(entry);
    assert_eq!(directory.online(), 0);
}

#[test]
fn bytes_served_outlive_the_device_that_got_them() {
    let directory = Arc::new(Directory::default());
    let (one, two, cohort) = (ArtifactId::new(1), ArtifactId::new(2), CohortId::new(9));
    let entry = directory.enter(&device(1, 0, Some(9)));
    entry.note_block(one, 0, 1024, 4096);
    entry.note_block(one, 1024, 2048, 4096);
    entry.note_block(one, 0, 1024, 4096);
    assert_eq!(entry.transfer(), Some((one, 2048)));
    entry.note_block(two, 0, 16, 16);
    assert_eq!(entry.transfer(), Some((two, 16)));
    assert_eq!(directory.bytes_served(cohort, &[one]), 3072);
    assert_eq!(directory.bytes_served(cohort, &[one, two]), 3088);
    drop(entry);
    assert_eq!(directory.bytes_served(cohort, &[one, two]), 3088);
    assert_eq!(directory.bytes_served(CohortId::new(8), &[one, two]), 0);
}

#[test]
fn a_download_begins_with_its_first_block_and_finishes_with_its_last() {
    let directory = Arc::new(Directory::default());
    let entry = directory.enter(&device(1, 0, None));
    let (one, two) = (ArtifactId::new(1), ArtifactId::new(2));
    let mut blocks = Vec::new();
    for (artifact, start, end, size) in [
        (one, 0, 1024, 2000),
        (one, 0, 1024, 2000),
        (one, 1024, 2000, 2000),
        (one, 1024, 2000, 2000),
        (one, 0, 1024, 2000),
        (one, 1024, 2000, 2000),
        (two, 0, 10, 10),
        (two, 0, 10, 10),
        (one, 1024, 2000, 2000),
    ] {
        let Download {
            begun,
            finished,
            repeated,
        } = entry.note_block(artifact, start, end, size);
        blocks.push((begun, finished, repeated));
    }
    assert_eq!(
        blocks,
        [
            (true, false, false),
            (false, false, true), // asked for twice
            (false, true, false),
            (false, false, true),
            (true, false, true), // from the beginning once more
            (false, true, true),
            (true, true, false),
            (false, false, true),
            (true, true, false), // resumed at its last block
        ]
    );
}

#[test]
fn an_entry_is_small() {
    let size = size_of::<super::DeviceEntry>();
    assert!(size <= 256, "{size} bytes");
}

#[test]
fn a_page_of_those_connected_is_in_the_order_of_their_ids_and_of_one_project() {
    let directory = Arc::new(Directory::default());
    let entries: Vec<_> = [5, 3, 9, 1, 7]
        .into_iter()
        .map(|id| {
            let entry = directory.enter(&device(id, 0, None));
            directory.connected(&entry, session(1));
            directory.connected(&entry, session(2));
            entry
        })
        .collect();
    let stranger = directory.enter(&Device {
        project: ProjectId::new(2),
        ..device(4, 0, None)
    });
    directory.connected(&stranger, session(1));
    let page = |after: Option<i64>, limit| -> Vec<_> {
        let found = directory.connected_after(ProjectId::new(1), after.map(DeviceId::new), limit);
        found.into_iter().map(DeviceId::get).collect()
    };
    assert_eq!(page(None, 2), [1, 3]);
    assert_eq!(page(Some(3), 9), [5, 7, 9]);
    directory.disconnected(&entries[1], 1);
    assert_eq!(page(None, 9), [1, 3, 5, 7, 9], "its later session is there");
    directory.disconnected(&entries[1], 2);
    assert_eq!(page(None, 9), [1, 5, 7, 9]);
    drop(entries);
    assert_eq!(page(None, 9), [0; 0]);
    assert_eq!(
        directory.connected_after(ProjectId::new(2), None, 9),
        [DeviceId::new(4)]
    );
}

#[test]
fn a_session_observes_until_it_says_otherwise_or_another_takes_its_place() {
    let directory = Arc::new(Directory::default());
    let entry = directory.enter(&device(1, 0, None));
    directory.connected(&entry, session(1));
    assert!(!entry.is_observing());
    entry.note_observing(1, true);
    assert!(entry.is_observing());
    directory.connected(&entry, session(2));
    assert!(!entry.is_observing());
    entry.note_observing(2, true);
    entry.note_observing(1, false);
    assert!(
        entry.is_observing(),
        "what an earlier session stops is over already"
    );
    entry.note_observing(2, false);
    assert!(!entry.is_observing());
    entry.note_observing(2, true);
    directory.disconnected(&entry, 2);
    assert!(!entry.is_observing());
}

#[test]
fn a_device_downloads_from_its_first_block_to_its_last_unless_it_stops_to_ask() {
    let directory = Arc::new(Directory::default());
    let entry = directory.enter(&device(1, 0, None));
    let one = ArtifactId::new(1);
    let now_ms = 1_700_000_000_000;
    assert!(!entry.is_downloading(now_ms));
    entry.note_seen(now_ms);
    entry.note_block(one, 0, 1024, 4096);
    assert!(entry.is_downloading(now_ms) && entry.is_downloading(now_ms + 30_000));
    assert!(!entry.is_downloading(now_ms + 32_000));
    entry.note_block(one, 3072, 4096, 4096);
    assert!(!entry.is_downloading(now_ms));
    assert_eq!(directory.traffic(ProjectId::new(1)), 2048);
    drop(entry);
    assert_eq!(directory.traffic(ProjectId::new(1)), 2048);
}

fn device(id: i64, revision: i64, cohort: Option<i64>) -> Device {
    Device {
        id: DeviceId::new(id),
        project: ProjectId::new(1),
        name: DeviceName::parse("d").unwrap(),
        cohort: cohort.map(CohortId::new),
        tags: Vec::new(),
        enabled: true,
        revision,
        created_ms: 0,
    }
}

#[test]
fn a_session_moves_and_an_earlier_one_of_the_device_does_not_move_it() {
    let directory = Arc::new(Directory::default());
    let entry = directory.enter(&device(1, 1, None));
    let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    directory.moved(&entry, 1, address(2));
    assert_eq!(entry.session(), None);
    directory.connected(&entry, session(2));
    directory.moved(&entry, 1, address(2));
    assert_eq!(entry.session().unwrap().peer, address(1));
    directory.moved(&entry, 2, address(2));
    assert_eq!(
        entry.session(),
        Some(SessionFacts {
            peer: address(2),
            ..session(2)
        })
    );
}

fn session(serial: u64) -> SessionFacts {
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    SessionFacts {
        shard: 0,
        peer,
        suite: "none",
        connection_id: None,
        credential: None,
        since_ms: 0,
        serial,
    }
}
