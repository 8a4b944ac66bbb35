//! Wrong keys: counted by where they come from, and answered 429 when there were too many.

use std::net::IpAddr;

use super::*;
use crate::admin::seats::Seats;

#[tokio::test]
async fn wrong_keys_from_one_address_are_slowed_and_nobody_else_is() {
    let api = Api::start().await;
    let made = api
        .post("keys", &json!({"name": "ci", "role": "read"}))
        .await
        .expect(201);
    let good = made["key"].as_str().unwrap();
    let [here, elsewhere] = ["192.0.2.1", "198.51.100.1"].map(|text| text.parse::<IpAddr>().unwrap());
    api.guess(here).await;
    let answer = api.asks(here, "tsk_guess_11").await;
    let problem = answer.problem(429, "too-many-wrong-keys");
    assert_eq!(answer.headers[header::RETRY_AFTER], "1");
    assert!(problem["detail"].as_str().unwrap().contains("1 s"), "{problem}");
    assert_eq!(api.asks(here, good).await.status, 200, "nobody guesses that");
    assert_eq!(api.asks(here, KEY).await.status, 429, "right, and may be guessed");
    assert_eq!(api.asks(elsewhere, good).await.status, 200);
    assert_eq!(api.asks(elsewhere, KEY).await.status, 200);
}

#[tokio::test]
async fn a_chosen_key_goes_on_where_it_was_good() {
    let api = Api::start().await;
    let here = "192.0.2.1".parse().unwrap();
    assert_eq!(api.asks(here, KEY).await.status, 200);
    api.guess(here).await;
    api.asks(here, "tsk_guess_11")
        .await
        .problem(429, "too-many-wrong-keys");
    assert_eq!(api.asks(here, KEY).await.status, 200);
}

impl Api {
    /// Until whoever is there has to wait.
    async fn guess(&self, from: IpAddr) {
        for n in 0..11 {
            let answer = self.asks(from, &format!("tsk_guess_{n}")).await;
            answer.problem(401, "unauthenticated");
        }
    }

    async fn asks(&self, from: IpAddr, key: &str) -> Answer {
        let bearer = format!("Bearer {key}");
        let uri = "/v1/projects/default/cohorts";
        let mut request = Api::request("GET", uri, &[("authorization", &bearer)], Body::empty());
        let seat = Seats::new(1).take(from).unwrap();
        request.extensions_mut().insert(seat.holder());
        self.call(request).await
    }
}
