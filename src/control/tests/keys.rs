use tracing::Level;

use super::log::Lines;
use super::{Given, me, start};
use crate::clock;
use crate::control::{ControlError, Options, is_made};
use crate::fleet::{KeyName, Kind, Refusal, Role};
use crate::store::Store;

#[tokio::test]
async fn the_first_key_is_shown_once_and_kept_as_a_hash() {
    let folder = tempfile::tempdir().unwrap();
    let started = start(folder.path(), Options::default()).await;
    let first = started.first_admin_key.unwrap();
    assert_eq!(first.key.role, Role::Admin);
    let found = started.control.authenticate(&first.text, 0).unwrap();
    assert_eq!(found.id, first.key.id);
    assert!(started.control.authenticate("tsk_", 0).is_none());
    assert!(is_made(&first.text));
    let cut = &first.text[..first.text.len() - 1];
    for chosen in ["tsk_", "tsk_chosen", "a-bootstrap-key-for-tests", cut] {
        assert!(!is_made(chosen), "{chosen}");
    }
    started.control.close().await;
    drop(started.control);

    let started = start(folder.path(), Options::default()).await;
    assert!(started.first_admin_key.is_none());
    assert!(started.control.authenticate(&first.text, 0).is_some());
    let database = std::fs::read(folder.path().join("tessera.db")).unwrap();
    assert!(
        !database
            .windows(first.text.len())
            .any(|window| window == first.text.as_bytes())
    );
}

#[tokio::test]
async fn a_bootstrap_key_holds_as_long_as_it_is_configured() {
    let folder = tempfile::tempdir().unwrap();
    for (configured, holds) in [
        (Some("first"), [true, false]),
        (Some("second"), [false, true]),
        (None, [false, true]),
    ] {
        let options = Options {
            bootstrap_key: configured.map(str::to_owned),
        };
        let started = start(folder.path(), options).await;
        assert!(started.first_admin_key.is_none());
        let now = ["first", "second"].map(|text| started.control.authenticate(text, 0).is_some());
        assert_eq!(now, holds, "{configured:?}");
        started.control.close().await;
    }
}

#[tokio::test]
async fn a_bootstrap_key_that_was_revoked_is_started_without_and_said_so() {
    let lines = Lines::of(Level::WARN);
    let _second = tracing::Dispatch::new(lines.clone());
    let _heard = tracing::subscriber::set_default(lines.clone());
    let folder = tempfile::tempdir().unwrap();
    let with = |text: &str| Options {
        bootstrap_key: Some(text.to_owned()),
    };
    let started = start(folder.path(), with("first")).await;
    let bootstrap = started.control.view().keys()[0].clone();
    let name = KeyName::parse("operations").unwrap();
    let other = started.control.create_key(&me(), name, Role::Admin, None).await;
    let other = other.unwrap();
    started.control.revoke_key(&me(), bootstrap.id).await.unwrap();
    started.control.close().await;
    drop(started.control);
    assert_eq!(*lines.0.lock().unwrap(), [""; 0]);

    let started = start(folder.path(), with("first")).await;
    assert!(started.first_admin_key.is_none());
    assert!(started.control.authenticate("first", 0).is_none());
    assert!(started.control.authenticate(&other.text, 0).is_some());
    let said = std::mem::take(&mut *lines.0.lock().unwrap());
    let [line] = &said[..] else { panic!("{said:?}") };
    assert!(line.contains(&format!("id={}", bootstrap.id)), "{line}");
    assert!(line.contains("name=bootstrap"), "{line}");
    assert!(!line.contains("first"), "{line}");
}

#[tokio::test]
async fn a_bootstrap_key_that_is_taken_back_for_its_former_one_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    for (configured, holds) in [
        ("first", [true, false]),
        ("second", [false, true]),
        // Revoked is for good, and nobody is shut out by an older configuration.
        ("first", [false, true]),
        ("second", [false, true]),
    ] {
        let options = Options {
            bootstrap_key: Some(configured.to_owned()),
        };
        let started = start(folder.path(), options).await;
        let now = ["first", "second"].map(|text| started.control.authenticate(text, 0).is_some());
        assert_eq!(now, holds, "{configured}");
        started.control.close().await;
    }
}

#[tokio::test]
async fn the_last_admin_key_is_the_one_that_lasts_the_longest() {
    let given = Given::new().await;
    let first = given.control.view().keys()[0].id;
    let now_ms = clock::unix_ms();
    let admin = async |name: &str, in_s: Option<i64>| {
        let expires_ms = in_s.map(|in_s| now_ms + in_s * 1000);
        let name = KeyName::parse(name).unwrap();
        let actor = me();
        let made = given.control.create_key(&actor, name, Role::Admin, expires_ms);
        made.await.unwrap().key.id
    };
    let revoke = async |id| given.control.revoke_key(&me(), id).await.map(|key| key.id);
    let hour = admin("for an hour", Some(3600)).await;
    let day = admin("for a day", Some(86_400)).await;
    let refused = revoke(first).await.unwrap_err();
    assert!(refused.to_string().contains("all others end sooner"), "{refused}");
    assert_eq!(revoke(hour).await.unwrap(), hour, "others last longer");
    let lasting = admin("for good", None).await;
    assert_eq!(revoke(first).await.unwrap(), first);
    assert_eq!(revoke(day).await.unwrap(), day);
    let refused = revoke(lasting).await.unwrap_err().to_string();
    assert!(!refused.contains("others"), "{refused}");
}

#[tokio::test]
async fn a_start_says_that_no_admin_key_is_left() {
    let lines = Lines::of(Level::WARN);
    let _second = tracing::Dispatch::new(lines.clone());
    let _heard = tracing::subscriber::set_default(lines.clone());
    let Given { folder, control, .. } = Given::new().await;
    let name = KeyName::parse("reader").unwrap();
    control.create_key(&me(), name, Role::Read, None).await.unwrap();
    let admin = control.view().keys()[0].id;
    control.close().await;
    drop(control);
    assert_eq!(*lines.0.lock().unwrap(), [""; 0]);
    let store = Store::open(folder.path()).await.unwrap();
    let mut tx = store.begin().await.unwrap();
    tx.revoke_key(admin, 1).await.unwrap();
    tx.commit().await.unwrap();
    store.close().await;
    drop(store);

    let started = start(folder.path(), Options::default()).await;
    assert!(started.first_admin_key.is_none());
    let said = std::mem::take(&mut *lines.0.lock().unwrap());
    let [line] = &said[..] else { panic!("{said:?}") };
    assert!(line.contains("no admin key is left"), "{line}");
    assert!(line.contains("admin.bootstrap_key"), "{line}");
}

#[tokio::test]
async fn keys_expire_and_can_be_revoked_all_but_the_last_that_administers() {
    let given = Given::new().await;
    let name = |text| KeyName::parse(text).unwrap();
    let short = given
        .control
        .create_key(&me(), name("ci"), Role::Deploy, Some(1000))
        .await
        .unwrap();
    assert!(given.control.authenticate(&short.text, 999).is_some());
    assert!(given.control.authenticate(&short.text, 1000).is_none());
    let again = given
        .control
        .create_key(&me(), name("ci"), Role::Read, None)
        .await;
    assert!(matches!(
        again,
        Err(ControlError::Refused(Refusal::Taken {
            kind: Kind::ApiKey,
            ..
        }))
    ));

    let first = given.control.view().keys()[0].id;
    let last = given.control.revoke_key(&me(), first).await;
    assert!(matches!(
        last,
        Err(ControlError::Refused(Refusal::LastAdminKey { .. }))
    ));
    let admin = given
        .control
        .create_key(&me(), name("admin"), Role::Admin, None)
        .await
        .unwrap();
    given.control.revoke_key(&me(), first).await.unwrap();
    assert!(given.control.revoke_key(&me(), first).await.is_err());

    let given = given.killed().await;
    assert!(given.control.authenticate(&admin.text, 0).is_some());
    assert!(given.control.view().key(first).is_none());
}
