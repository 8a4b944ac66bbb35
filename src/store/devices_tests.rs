use sqlx::{AssertSqlSafe, Row};

use super::{
    CENSUS_AFTER, CENSUS_OF, DeviceFilter, DeviceOrder, DevicePlace, KeyFilter, select_devices, select_keys,
};
use crate::fleet::{CohortId, DeviceId, DeviceName, ProjectId, Tag};
use crate::store::Store;

/// SQLite enters an index at one lower bound and walks from there: of two it takes the first, however far behind it is.
#[test]
fn a_list_by_name_goes_on_from_its_place_and_not_from_where_the_prefix_begins() {
    for (place, bounds) in [(None, 1), (Some("lamp-7"), 1), (Some("lam"), 2)] {
        let name = place.map(|name| DeviceName::parse(name).unwrap());
        let by_name = DeviceFilter {
            prefix: Some("lamp".into()),
            order: DeviceOrder::Name(name.clone()),
            ..DeviceFilter::default()
        };
        let devices = select_devices(ProjectId::new(1), &by_name).unwrap();
        let keys = KeyFilter {
            prefix: Some("lamp"),
            tag: None,
        };
        let after = name.map(DevicePlace::Name);
        let keys = select_keys(ProjectId::new(1), keys, after.as_ref(), 100);
        for select in [devices, keys] {
            let sql = select.sql();
            assert_eq!(
                sql.as_str().matches("d.name >").count(),
                bounds,
                "{place:?}: {}",
                sql.as_str()
            );
        }
    }
}

/// Every list that a page or a call asks for begins at an index, whatever else it is filtered by: with a million devices on record
/// nothing may look at all of them, nor sort them.
#[tokio::test]
async fn no_list_of_devices_scans_or_sorts() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).await.unwrap();
    let order = DeviceOrder::Id(Some(DeviceId::new(5)));
    let by_name = DeviceOrder::Name(Some(DeviceName::parse("lamp-7").unwrap()));
    let cohort = Some(Some(CohortId::new(2)));
    let among = Some(vec![DeviceId::new(7)]);
    let filters = [
        ("all", DeviceFilter::default()),
        (
            "a cohort",
            DeviceFilter {
                cohort,
                order: order.clone(),
                ..DeviceFilter::default()
            },
        ),
        (
            "no cohort",
            DeviceFilter {
                cohort: Some(None),
                order: order.clone(),
                ..DeviceFilter::default()
            },
        ),
        (
            "a name",
            DeviceFilter {
                name: Some(DeviceName::parse("d").unwrap()),
                ..DeviceFilter::default()
            },
        ),
        (
            "a prefix",
            DeviceFilter {
                prefix: Some("lamp".into()),
                order: by_name.clone(),
                ..DeviceFilter::default()
            },
        ),
        (
            "a tag",
            DeviceFilter {
                tag: Some(Tag::parse("t").unwrap()),
                order: order.clone(),
                ..DeviceFilter::default()
            },
        ),
        (
            "some",
            DeviceFilter {
                among: among.clone(),
                order: order.clone(),
                ..DeviceFilter::default()
            },
        ),
        (
            "some of a cohort",
            DeviceFilter {
                among: among.clone(),
                cohort,
                order: order.clone(),
                ..DeviceFilter::default()
            },
        ),
        (
            "some of a tag",
            DeviceFilter {
                among: among.clone(),
                tag: Some(Tag::parse("t").unwrap()),
                order: order.clone(),
                ..DeviceFilter::default()
            },
        ),
        (
            "some of a prefix",
            DeviceFilter {
                among,
                prefix: Some("lamp".into()),
                order: order.clone(),
                ..DeviceFilter::default()
            },
        ),
    ];
    for (what, filter) in filters {
        let filter = DeviceFilter { limit: 100, ..filter };
        let select = select_devices(ProjectId::new(1), &filter).unwrap();
        let plan = plan(&store, select.sql().as_str()).await;
        assert!(
            !plan.contains("SCAN d") && !plan.contains("USE TEMP B-TREE"),
            "{what}:\n{plan}"
        );
        if what.starts_with("some") {
            assert!(
                plan.contains("id=?") || plan.contains("rowid=?"),
                "{what}:\n{plan}"
            );
        }
    }
    let tag = Tag::parse("t").unwrap();
    let (id, name) = (
        DevicePlace::Id(DeviceId::new(5)),
        DevicePlace::Name(DeviceName::parse("lamp-7").unwrap()),
    );
    for (prefix, tag, after) in [
        (None, None, &id),
        (None, Some(&tag), &id),
        (Some("lamp"), None, &name),
        (Some("lamp"), Some(&tag), &name),
    ] {
        let filter = KeyFilter { prefix, tag };
        let select = select_keys(ProjectId::new(1), filter, Some(after), 100);
        let plan = plan(&store, select.sql().as_str()).await;
        assert!(
            plan.contains("COVERING INDEX") && !plan.contains("SCAN d") && !plan.contains("USE TEMP B-TREE"),
            "{filter:?}:\n{plan}"
        );
    }
    for census in [CENSUS_OF, CENSUS_AFTER] {
        let plan = plan(&store, census).await;
        assert!(
            !plan.contains("SCAN devices") && !plan.contains("SCAN s") && !plan.contains("SCAN g"),
            "{plan}"
        );
    }
}

async fn plan(store: &Store, sql: &str) -> String {
    let explain = format!("EXPLAIN QUERY PLAN {sql}");
    let rows = sqlx::query(AssertSqlSafe(explain))
        .fetch_all(&store.inner.readers)
        .await
        .unwrap();
    let lines: Vec<String> = rows.iter().map(|row| row.try_get(3).unwrap()).collect();
    lines.join("\n")
}
