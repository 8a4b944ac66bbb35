use std::sync::Arc;

use super::{Given, credential, me, new_device, session};
use crate::control::{ControlError, DevicePatch, DeviceQuery, NewCredential, NewDevice, SessionFacts};
use crate::fleet::{CohortId, DeviceName, Kind, Refusal, Tag};

#[tokio::test]
async fn a_device_is_found_by_its_identity_with_its_secret() {
    let given = Given::new().await;
    let new = NewDevice {
        credentials: vec![credential("one", Some(b"pass")), NewCredential::default()],
        ..new_device("d1", None)
    };
    let created = given
        .control
        .create_device(&me(), given.project, new)
        .await
        .unwrap();
    assert_eq!(created.credentials[0].made, None);
    let default = &created.credentials[1];
    assert_eq!(default.credential.proof().to_string(), "d1-id@default");
    let made = default.made.clone().unwrap();

    let given = given.killed().await;
    let one = given.control.device_by_identity(b"one").await.unwrap().unwrap();
    assert_eq!(
        (one.secret.as_bytes(), one.credential),
        (&b"pass"[..], created.credentials[0].credential.id)
    );
    let two = given
        .control
        .device_by_identity(b"d1-id@default")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(two.secret, made);
    assert!(Arc::ptr_eq(&one.entry, &two.entry));
    assert!(given.control.device_by_identity(b"One").await.unwrap().is_none());
    assert!(given.control.device_by_identity(b"").await.unwrap().is_none());

    let by_name = given
        .control
        .device_by_name(given.project, &DeviceName::parse("d1").unwrap())
        .await
        .unwrap();
    assert!(Arc::ptr_eq(&one.entry, &by_name.unwrap()));
}

#[tokio::test]
async fn a_disabled_device_and_a_retired_credential_are_not_let_in() {
    let given = Given::new().await;
    let new = NewDevice {
        credentials: vec![credential("one", Some(b"x"))],
        ..new_device("d1", None)
    };
    let created = given
        .control
        .create_device(&me(), given.project, new)
        .await
        .unwrap();
    let id = created.device.id;
    let entry = given
        .control
        .device_by_identity(b"one")
        .await
        .unwrap()
        .unwrap()
        .entry;
    given
        .update(
            id,
            DevicePatch {
                enabled: Some(false),
                ..DevicePatch::default()
            },
        )
        .await;
    assert!(!entry.enabled(), "who talks to it is told");
    assert_eq!(given.control.unwelcome(), [entry.id()]);
    assert!(given.control.device_by_identity(b"one").await.unwrap().is_none());
    let one = created.credentials[0].credential.id;
    let by_credential = async |id| given.control.device_by_credential(id).await.unwrap();
    assert!(by_credential(one).await.is_none());
    given
        .update(
            id,
            DevicePatch {
                enabled: Some(true),
                ..DevicePatch::default()
            },
        )
        .await;
    assert!(given.control.device_by_identity(b"one").await.unwrap().is_some());
    assert!(Arc::ptr_eq(&by_credential(one).await.unwrap(), &entry));

    let two = given
        .control
        .add_credential(&me(), given.project, id, credential("two", None))
        .await
        .unwrap();
    assert!(two.made.is_some());
    given
        .control
        .remove_credential(&me(), given.project, id, one)
        .await
        .unwrap();
    assert!(given.control.device_by_identity(b"one").await.unwrap().is_none());
    assert!(given.control.device_by_identity(b"two").await.unwrap().is_some());
    assert!(by_credential(one).await.is_none());
    let two = two.credential.id;
    assert!(Arc::ptr_eq(&by_credential(two).await.unwrap(), &entry));
    let again = given
        .control
        .remove_credential(&me(), given.project, id, one)
        .await
        .unwrap_err();
    assert!(matches!(
        again,
        ControlError::Refused(Refusal::Unknown {
            kind: Kind::Credential,
            ..
        })
    ));

    given
        .control
        .delete_device(&me(), given.project, id)
        .await
        .unwrap();
    assert!(!entry.enabled());
    assert!(given.control.device_by_identity(b"two").await.unwrap().is_none());
    assert!(by_credential(two).await.is_none());
}

#[tokio::test]
async fn a_credential_that_is_gone_is_found_among_those_that_sessions_were_opened_with() {
    let given = Given::new().await;
    let mut entries = Vec::new();
    for (serial, name) in ["d1", "d2", "d3"].into_iter().enumerate() {
        let new = NewDevice {
            credentials: vec![credential(name, None)],
            ..new_device(name, None)
        };
        given
            .control
            .create_device(&me(), given.project, new)
            .await
            .unwrap();
        let access = given
            .control
            .device_by_identity(name.as_bytes())
            .await
            .unwrap()
            .unwrap();
        let facts = SessionFacts {
            // The third came without security.
            credential: Some(access.credential).filter(|_| name != "d3"),
            ..session(serial as u64)
        };
        given.control.connected(&access.entry, facts);
        entries.push((access.entry, access.credential));
    }
    assert_eq!(given.control.retired_in_use().await.unwrap(), []);
    for (entry, credential) in &entries[1..] {
        given
            .control
            .remove_credential(&me(), given.project, entry.id(), *credential)
            .await
            .unwrap();
    }
    let (entry, credential) = &entries[1];
    assert_eq!(
        given.control.retired_in_use().await.unwrap(),
        [(entry.id(), *credential)]
    );
}

#[tokio::test]
async fn many_devices_are_each_made_or_refused_by_themselves() {
    let given = Given::new().await;
    let cohort = given.cohort("field").await;
    let first = NewDevice {
        credentials: vec![credential("taken", None)],
        ..new_device("first", None)
    };
    given
        .control
        .create_device(&me(), given.project, first)
        .await
        .unwrap();

    let many = vec![
        NewDevice {
            credentials: vec![credential("a", None)],
            ..new_device("a", Some(cohort))
        },
        new_device("first", None),
        new_device("a", None),
        NewDevice {
            credentials: vec![credential("taken", None)],
            ..new_device("b", None)
        },
        NewDevice {
            credentials: vec![credential("a", None)],
            ..new_device("c", None)
        },
        NewDevice {
            credentials: vec![credential("d", None), credential("d", None)],
            ..new_device("d", None)
        },
        new_device("e", Some(CohortId::new(999))),
        NewDevice {
            credentials: vec![NewCredential::default()],
            ..new_device(&"x".repeat(63), None)
        },
        NewDevice {
            tags: vec![Tag::parse("north").unwrap(); 3],
            ..new_device("f", Some(cohort))
        },
    ];
    let answers = given
        .control
        .create_devices(&me(), given.project, many)
        .await
        .unwrap();
    let words: Vec<_> = answers
        .iter()
        .map(|answer| answer.as_ref().map_or_else(|refusal| refusal.name(), |_| "made"))
        .collect();
    assert_eq!(
        words,
        [
            "made",
            "name-taken",
            "name-taken",
            "identity-taken",
            "identity-taken",
            "identity-taken",
            "not-found",
            "invalid-value",
            "made"
        ]
    );
    assert_eq!(
        answers[3].as_ref().unwrap_err().to_string(),
        "PSK identity \"taken\" is in use already (device \"first\"); identities are unique over all projects"
    );
    assert_eq!(answers[8].as_ref().unwrap().device.tags.len(), 1);

    let given = given.killed().await;
    let view = given.control.view();
    let project = view.default_project();
    assert_eq!((project.devices, project.cohort(cohort).unwrap().devices), (3, 2));
}

#[tokio::test]
async fn devices_are_listed_a_page_at_a_time() {
    let given = Given::new().await;
    let cohort = given.cohort("field").await;
    let many = (0..25).map(|i| {
        let tags = if i % 5 == 0 {
            vec![Tag::parse("fifth").unwrap()]
        } else {
            Vec::new()
        };
        NewDevice {
            tags,
            ..new_device(&format!("d{i:02}"), (i % 2 == 0).then_some(cohort))
        }
    });
    given
        .control
        .create_devices(&me(), given.project, many.collect())
        .await
        .unwrap();

    let mut seen = Vec::new();
    let mut query = DeviceQuery {
        limit: 10,
        ..DeviceQuery::default()
    };
    loop {
        let page = given.control.devices(given.project, &query).await.unwrap();
        assert!(page.devices.len() <= 10);
        seen.extend(page.devices.iter().map(|record| record.device.name.to_string()));
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    assert_eq!(seen, (0..25).map(|i| format!("d{i:02}")).collect::<Vec<_>>());

    let all = DeviceQuery {
        limit: 100,
        ..DeviceQuery::default()
    };
    let count = async |query: DeviceQuery| {
        given
            .control
            .devices(given.project, &query)
            .await
            .unwrap()
            .devices
            .len()
    };
    assert_eq!(
        count(DeviceQuery {
            cohort: Some(Some(cohort)),
            ..all.clone()
        })
        .await,
        13
    );
    assert_eq!(
        count(DeviceQuery {
            cohort: Some(None),
            ..all.clone()
        })
        .await,
        12
    );
    assert_eq!(
        count(DeviceQuery {
            tag: Some(Tag::parse("fifth").unwrap()),
            ..all.clone()
        })
        .await,
        5
    );
    assert_eq!(
        count(DeviceQuery {
            prefix: Some("d1".to_owned()),
            ..all.clone()
        })
        .await,
        10
    );
    assert_eq!(
        count(DeviceQuery {
            name: Some(DeviceName::parse("d07").unwrap()),
            ..all.clone()
        })
        .await,
        1
    );
    assert_eq!(
        count(DeviceQuery {
            prefix: Some("%".to_owned()),
            ..all.clone()
        })
        .await,
        0
    );

    let mut query = DeviceQuery {
        prefix: Some("d1".to_owned()),
        limit: 4,
        ..DeviceQuery::default()
    };
    let mut seen = Vec::new();
    loop {
        let page = given.control.devices(given.project, &query).await.unwrap();
        seen.extend(page.devices.iter().map(|record| record.device.name.to_string()));
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    assert_eq!(seen, (10..20).map(|i| format!("d{i}")).collect::<Vec<_>>());
    let tagged = DeviceQuery {
        tag: Some(Tag::parse("fifth").unwrap()),
        limit: 3,
        ..DeviceQuery::default()
    };
    let first = given.control.devices(given.project, &tagged).await.unwrap();
    assert_eq!(first.devices[0].device.tags, [Tag::parse("fifth").unwrap()]);
    let rest = given
        .control
        .devices(
            given.project,
            &DeviceQuery {
                after: first.next,
                ..tagged
            },
        )
        .await
        .unwrap();
    assert_eq!((first.devices.len(), rest.devices.len(), rest.next), (3, 2, None));

    let mut entries = Vec::new();
    for (serial, name) in ["d03", "d20", "d21"].iter().enumerate() {
        let name = DeviceName::parse(name).unwrap();
        let entry = given
            .control
            .device_by_name(given.project, &name)
            .await
            .unwrap()
            .unwrap();
        given.control.connected(&entry, session(serial as u64));
        entries.push(entry);
    }
    let online = DeviceQuery {
        online: Some(true),
        limit: 2,
        ..DeviceQuery::default()
    };
    let page = given.control.devices(given.project, &online).await.unwrap();
    assert_eq!(
        page.devices
            .iter()
            .map(|record| &*record.device.name)
            .collect::<Vec<_>>(),
        ["d03", "d20"]
    );
    assert!(page.devices.iter().all(|record| record.session.is_some()));
    let page = given
        .control
        .devices(
            given.project,
            &DeviceQuery {
                after: page.next,
                ..online
            },
        )
        .await
        .unwrap();
    assert_eq!((page.devices.len(), page.next), (1, None));
    assert_eq!(
        count(DeviceQuery {
            online: Some(false),
            ..all.clone()
        })
        .await,
        22
    );
    let offline = DeviceQuery {
        online: Some(false),
        limit: 21,
        ..all
    };
    assert!(
        given
            .control
            .devices(given.project, &offline)
            .await
            .unwrap()
            .next
            .is_some()
    );
    assert_eq!((given.control.online(), given.control.online_in(cohort)), (3, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_connects_while_being_moved_ends_up_in_the_new_cohort() {
    let given = Given::new().await;
    let cohort = given.cohort("field").await;
    let many = (0..40).map(|i| NewDevice {
        credentials: vec![credential(&format!("i{i}"), None)],
        ..new_device(&format!("d{i}"), None)
    });
    let created = given
        .control
        .create_devices(&me(), given.project, many.collect())
        .await
        .unwrap();
    let mut tasks = Vec::new();
    for (i, created) in created.into_iter().enumerate() {
        let (control, project, id) = (given.control.clone(), given.project, created.unwrap().device.id);
        let connecting = tokio::spawn(async move {
            control
                .device_by_identity(format!("i{i}").as_bytes())
                .await
                .unwrap()
                .unwrap()
                .entry
        });
        let control = given.control.clone();
        let patch = DevicePatch {
            cohort: Some(Some(cohort)),
            ..DevicePatch::default()
        };
        let moving =
            tokio::spawn(async move { control.update_device(&me(), project, id, patch).await.unwrap() });
        tasks.push((connecting, moving));
    }
    for (connecting, moving) in tasks {
        let entry = connecting.await.unwrap();
        moving.await.unwrap();
        assert_eq!(entry.cohort(), Some(cohort));
    }
}
