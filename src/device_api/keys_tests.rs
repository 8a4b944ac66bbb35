//! What becomes of failed handshakes.

use super::*;
use crate::control::Options;
use crate::store::Store;

#[tokio::test]
async fn a_flood_of_failures_waits_for_nothing_and_begins_a_bounded_number_of_tasks() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).await.unwrap();
    let control = Control::start(store, Options::default()).await.unwrap().control;
    let keys = Keys::new(control.clone(), Handle::current());
    let failed = |n: usize| {
        let identity = Identity::new(format!("id-{n}").as_bytes()).unwrap();
        let peer = "192.0.2.1:1".parse().unwrap();
        keys.handshake_failed(Some(&Claim::Psk(identity)), peer, FailureReason::PeerAlert(40));
    };
    let all_noted = async || {
        let all = u32::try_from(NOTED_AT_ONCE).unwrap();
        drop(keys.noting.acquire_many(all).await.unwrap());
        control.handshake_failures(control.view().default_project().id)
    };
    // Nothing else runs on this thread meanwhile.
    (0..10 * NOTED_AT_ONCE).for_each(failed);
    assert_eq!(keys.noting.available_permits(), 0);
    let noted = all_noted().await;
    assert_eq!(noted.len(), NOTED_AT_ONCE);
    assert_eq!(noted[0].cause, FailureCause::ClientAlert(40));

    failed(10 * NOTED_AT_ONCE);
    assert_eq!(all_noted().await.len(), NOTED_AT_ONCE + 1, "there is room again");
}

#[test]
fn a_log_tells_of_so_many_failed_handshakes_at_a_time_and_of_how_many_it_does_not() {
    let mut told = Told::default();
    let began = clock::now();
    let tell = |told: &mut Told, times: u32, at| {
        (0..times)
            .filter_map(|_| told.one_more(began + at))
            .collect::<Vec<_>>()
    };
    assert_eq!(tell(&mut told, 100, Duration::ZERO), [0; TOLD_AT_ONCE as usize]);
    assert_eq!(tell(&mut told, 5, TOLD_EVERY / 2), [0; 0]);
    let mut later = [0; TOLD_AT_ONCE as usize];
    later[0] = 100 - u64::from(TOLD_AT_ONCE) + 5;
    assert_eq!(tell(&mut told, 50, TOLD_EVERY), later);
}
