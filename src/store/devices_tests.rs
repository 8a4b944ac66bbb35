use sqlx::{AssertSqlSafe, Row};

use super::{CENSUS_AFTER, CENSUS_OF, DeviceFilter, select_devices};
use crate::fleet::{CohortId, DeviceId, DeviceName, ProjectId, Tag};
use crate::store::Store;

/// Every list that a page or a call asks for begins at an index, whatever else it is filtered by: with a million devices on record
/// nothing may look at all of them, nor sort them.
#[tokio::test]
async fn no_list_of_devices_scans_or_sorts() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).await.unwrap();
    let after = Some(DeviceId::new(5));
    let cohort = Some(Some(CohortId::new(2)));
    let among = Some(vec![DeviceId::new(7)]);
    let filters = [
        ("all", DeviceFilter::default()),
        (
            "a cohort",
            DeviceFilter {
                cohort,
                after,
                ..DeviceFilter::default()
            },
        ),
        (
            "no cohort",
            DeviceFilter {
                cohort: Some(None),
                after,
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
                by_name: true,
                after,
                ..DeviceFilter::default()
            },
        ),
        (
            "a tag",
            DeviceFilter {
                tag: Some(Tag::parse("t").unwrap()),
                after,
                ..DeviceFilter::default()
            },
        ),
        (
            "some",
            DeviceFilter {
                among: among.clone(),
                after,
                ..DeviceFilter::default()
            },
        ),
        (
            "some of a cohort",
            DeviceFilter {
                among: among.clone(),
                cohort,
                after,
                ..DeviceFilter::default()
            },
        ),
        (
            "some of a prefix",
            DeviceFilter {
                among,
                prefix: Some("lamp".into()),
                after,
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
