//! What the fleet is doing, as the API tells it.

use super::*;

#[tokio::test]
async fn figures_cohorts_and_progress_say_the_same_and_when_it_was_counted() {
    let api = Api::start().await;
    api.artifact("main", "1.0.0", 10).await;
    let cohort = api.post("cohorts", &json!({"name": "lamps"})).await.expect(201);
    let id = cohort["id"].as_str().unwrap();
    for name in ["a", "b"] {
        api.post("devices", &json!({"name": name, "cohort": id}))
            .await
            .expect(201);
    }
    let order = json!({"name": "1", "artifacts": [{"package": "main", "version": "1.0.0"}]});
    let deployments = format!("cohorts/{id}/deployments");
    let made = api.post(&deployments, &order).await.expect(201);
    let mut counts = api.control.counts();
    for _ in 0..2 {
        counts.changed().await.unwrap();
    }

    let figures = api.get("figures").await.expect(200);
    assert!(
        figures["countedAt"].as_str().unwrap().ends_with('Z'),
        "{figures:#}"
    );
    assert_eq!((&figures["devices"], &figures["online"]), (&json!(2), &json!(0)));
    assert_eq!(figures["bytesPerSecond"], json!(0.0));
    let active = &figures["activeDeployments"][0];
    assert_eq!(
        (&active["id"], &active["cohort"]["name"]),
        (&made["id"], &json!("lamps"))
    );
    assert_eq!(active["progress"]["pending"], 2);
    let shown = api.get(&format!("cohorts/{id}")).await.expect(200);
    assert_eq!(
        (&shown["onlineCount"], &shown["progress"]["pending"]),
        (&json!(0), &json!(2))
    );
    assert_eq!(
        api.get("cohorts").await.expect(200)["items"][0]["progress"],
        active["progress"]
    );

    let progress = format!("deployments/{}/progress", made["id"].as_str().unwrap());
    let counted = api.get(&progress).await.expect(200);
    assert!(
        counted["countedAt"].as_str().unwrap().ends_with('Z'),
        "{counted:#}"
    );
    let history = api.get(&format!("{progress}/history")).await.expect(200);
    assert_eq!(history["points"][0]["at"], made["createdAt"], "{history:#}");
    assert_eq!(history["points"][0]["pending"], 2);
    api.get("deployments/dep_999999/progress/history")
        .await
        .problem(404, "not-found");

    for (span, step_ms) in [("", 10_000), ("?span=day", 240_000), ("?span=week", 1_680_000)] {
        let history = api.get(&format!("figures/history{span}")).await.expect(200);
        assert_eq!(history["stepMs"], step_ms);
        assert_eq!(history["points"][0]["connected"], 0, "{history:#}");
    }
    let wrong = api
        .get("figures/history?span=year")
        .await
        .problem(422, "invalid-value");
    assert_eq!(wrong["errors"][0]["field"], "span");
    assert_eq!(wrong["errors"][0]["value"], "year");
}

#[tokio::test]
async fn a_wrong_state_or_version_to_list_devices_by_is_named_with_what_is_accepted() {
    let api = Api::start().await;
    for (query, field, accepted) in [
        ("state=lost", "state", "pending"),
        ("version=1.0", "version", "package@version"),
        ("version=main@", "version", "1 to 63"),
        ("version=a/b@1", "version", "1 to 63"),
    ] {
        let wrong = api
            .get(&format!("devices?{query}"))
            .await
            .problem(422, "invalid-value");
        let error = &wrong["errors"][0];
        assert_eq!(error["field"], field, "{wrong:#}");
        assert!(
            error["accepted"].as_str().unwrap().contains(accepted),
            "{wrong:#}"
        );
    }
    for query in [
        "state=failed",
        "version=main@1.0",
        "state=done&online=false&search=a",
    ] {
        assert_eq!(
            api.get(&format!("devices?{query}")).await.expect(200)["items"],
            json!([])
        );
    }
}
