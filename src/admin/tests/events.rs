//! The event stream: what was committed is told once and in order, what is bounded is bounded.

use std::sync::Arc;

use axum::body::BodyDataStream;
use futures_util::FutureExt;
use tokio::time::{Duration, Instant, timeout};

use super::*;
use crate::admin::events::{FLEET_AT_MOST_EVERY, HEARTBEAT, PAGE, STREAMS_AT_ONCE, STREAMS_OF_ONE};
use crate::clock;
use crate::control::{DeviceEntry, Report};
use crate::fleet::ProjectId;

#[tokio::test]
async fn what_changes_is_told_once_in_order_and_as_the_audit_has_it() {
    let api = Api::start().await;
    api.post("packages", &json!({"name": "before"})).await.expect(201);
    let mut events = api.events("", &[]).await;
    let opening = events.opening().await;
    assert!((1000..=2000).contains(&opening.retry.unwrap()), "{opening:?}");
    let from = opening.id.unwrap();
    assert_eq!(from, api.last_audited(), "from now on");

    api.post("packages", &json!({"name": "main"})).await.expect(201);
    api.post("cohorts", &json!({"name": "lamps"})).await.expect(201);
    api.delete("packages/main").await.expect(204);
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(events.line().await);
    }
    let actions: Vec<_> = told.iter().map(|line| line.event.as_deref().unwrap()).collect();
    assert_eq!(actions, ["package.create", "cohort.create", "package.delete"]);
    let ids: Vec<_> = told.iter().map(|line| line.id.unwrap()).collect();
    assert_eq!(ids, [from + 1, from + 2, from + 3]);
    let (made, gone) = (told[0].json(), told[2].json());
    assert_eq!(made["id"], (from + 1).to_string());
    assert_eq!(made["action"], "package.create");
    assert_eq!(made["after"]["name"], "main");
    assert_eq!((&made["before"], &gone["after"]), (&Value::Null, &Value::Null));
    assert_eq!(made["actor"], gone["actor"]);
    assert!(made["at"].as_str().unwrap().ends_with('Z'), "{made}");
    assert_eq!(
        events.headers[header::CONTENT_TYPE],
        "text/event-stream",
        "what a browser's EventSource wants"
    );
}

#[tokio::test]
async fn an_id_resumes_exactly_there_and_over_a_restart() {
    let api = Api::start().await;
    let from = api.last_audited();
    let many = i64::try_from(3 * PAGE).unwrap() + 7;
    for n in 0..many / 2 {
        api.cohort(n).await;
    }
    let folder = api.close().await;
    let api = Api::over(folder).await;
    let mut events = api
        .events("", &[("last-event-id", &(from + 1).to_string())])
        .await;
    assert_eq!(events.opening().await.id, Some(from + 1));
    // What is committed while it reads is told after what was.
    let (told, ()) = tokio::join!(
        async {
            let mut told = Vec::new();
            while told.len() < usize::try_from(many - 1).unwrap() {
                told.push(events.line().await);
            }
            told
        },
        async {
            for n in many / 2..many {
                api.cohort(n).await;
            }
        }
    );
    for (n, line) in (1..).zip(&told) {
        assert_eq!(line.id, Some(from + 1 + n));
        assert_eq!(line.json()["after"]["name"], format!("cohort-{n}"));
    }
    // The parameter does the same, and the header counts before it.
    let mut by_parameter = api.events(&format!("?lastEventId={from}"), &[]).await;
    by_parameter.opening().await;
    assert_eq!(by_parameter.line().await.id, Some(from + 1));
    let header = (from + 5).to_string();
    let mut by_both = api
        .events(&format!("?lastEventId={from}"), &[("last-event-id", &header)])
        .await;
    by_both.opening().await;
    assert_eq!(by_both.line().await.id, Some(from + 6));
}

#[tokio::test]
async fn an_id_that_is_none_is_a_400_and_one_of_another_past_has_everything_read_anew() {
    let api = Api::start().await;
    for wrong in ["", "x", "-1", "1.5", "99999999999999999999"] {
        let answer = api
            .send("GET", "events", &[("last-event-id", wrong)], Body::empty())
            .await;
        let problem = answer.problem(400, "malformed-request");
        assert_eq!(problem["errors"][0]["field"], "Last-Event-ID");
        assert_eq!(problem["errors"][0]["value"], wrong);
        let accepted = problem["errors"][0]["accepted"].as_str().unwrap();
        assert!(accepted.contains("the id of the last event"), "{accepted}");
    }
    let problem = api
        .get("events?lastEventId=x")
        .await
        .problem(400, "malformed-request");
    assert_eq!(problem["errors"][0]["field"], "lastEventId");
    // A header that counts is no reason not to look at the parameter.
    let problem = api
        .send(
            "GET",
            "events?lastEventId=x",
            &[("last-event-id", "0")],
            Body::empty(),
        )
        .await
        .problem(400, "malformed-request");
    assert_eq!(problem["errors"][0]["field"], "lastEventId");

    let end = api.last_audited();
    let mut events = api
        .events("", &[("last-event-id", &(end + 1000).to_string())])
        .await;
    assert_eq!(events.opening().await.id, Some(end), "from here it resumes");
    let fleet = events.next().await.unwrap();
    assert_eq!((fleet.event.as_deref(), fleet.id), (Some("fleet"), None));
    api.cohort(1).await;
    assert_eq!(events.line().await.id, Some(end + 1));
}

#[tokio::test]
async fn keys_are_told_of_to_administrators_alone() {
    let api = Api::start().await;
    let from = api.last_audited();
    let reader = api.key("looks", "read").await;
    let after_key = from + 1;
    api.cohort(1).await;
    let resumed = ("last-event-id", from.to_string());
    let bearer = format!("Bearer {reader}");
    let mut to_reader = api
        .events("", &[(resumed.0, &resumed.1), ("authorization", &bearer)])
        .await;
    to_reader.opening().await;
    let first = to_reader.line().await;
    assert_eq!(
        (first.event.as_deref(), first.id),
        (Some("cohort.create"), Some(after_key + 1))
    );
    let mut to_admin = api.events("", &[(resumed.0, &resumed.1)]).await;
    to_admin.opening().await;
    let first = to_admin.line().await;
    assert_eq!(
        (first.event.as_deref(), first.id),
        (Some("key.create"), Some(after_key))
    );
    assert!(
        !first.data.unwrap().contains(&reader),
        "the key itself is shown once"
    );
}

#[tokio::test]
async fn what_else_moves_is_told_twice_a_second_at_most_and_only_if_it_does() {
    let api = Api::start().await;
    let lamp = api.talked_to("lamp").await;
    let mut counts = api.control.counts();
    let figures = || api.control.figures(ProjectId::new(1));
    while figures().devices == 0 {
        counts.changed().await.unwrap();
    }
    let mut events = api.events("", &[]).await;
    events.opening().await;
    let _clock = StoppedClock::new();
    let reports = async |count: u64| {
        while api.control.pulse().reports < count {
            tokio::task::yield_now().await;
        }
    };

    let quiet = events.during(Duration::from_secs(5)).await;
    assert!(quiet.is_empty(), "{quiet:?}");
    let mut told = Vec::new();
    for n in 1..=40 {
        api.report(&lamp, n);
        reports(n.into()).await;
        told.extend(events.during(Duration::from_millis(50)).await);
    }
    let seen = api.control.pulse().sightings;
    api.control.connected(&lamp, session());
    told.extend(events.during(Duration::from_secs(2)).await);
    while api.control.pulse().sightings == seen {
        tokio::task::yield_now().await;
    }
    told.extend(events.during(Duration::from_secs(2)).await);
    // The counter comes after what it counts, and what it has found is told as well.
    while figures().online != 1 {
        told.extend(events.during(Duration::from_millis(50)).await);
    }
    told.extend(events.during(Duration::from_secs(2)).await);

    let fleets: Vec<Value> = told.iter().map(|(_, event)| event.json()).collect();
    assert!(
        told.iter()
            .all(|(_, event)| event.event.as_deref() == Some("fleet") && event.id.is_none()),
        "{told:?}"
    );
    let counted: u64 = fleets
        .iter()
        .map(|fleet| fleet["reports"].as_u64().unwrap())
        .sum();
    assert_eq!(counted, 40, "{fleets:?}");
    assert_eq!(fleets.last().unwrap()["online"], 1, "{fleets:?}");
    assert!(told.len() >= 4, "{told:?}");
    for pair in told.windows(2) {
        assert!(pair[1].0 - pair[0].0 >= FLEET_AT_MOST_EVERY, "{told:?}");
    }

    // Where nothing moves there is a beat, and nothing else. The store is looked at for each, and takes its own time; a timer
    // fires within the millisecond after its time.
    for _ in 0..20 {
        tokio::time::advance(HEARTBEAT + Duration::from_millis(10)).await;
        let beat = events.next().await.unwrap();
        assert_eq!(beat.comment.as_deref(), Some(""), "{beat:?}");
        assert!(events.next().now_or_never().is_none());
    }
}

#[tokio::test]
async fn streams_are_bounded_and_a_place_given_back_is_free() {
    let api = Api::start().await;
    let mut open = Vec::new();
    for _ in 0..STREAMS_OF_ONE {
        open.push(api.events("", &[]).await);
    }
    let refused = api.get("events").await;
    let problem = refused.problem(503, "unavailable");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("as many as one key may have"), "{detail}");
    assert!(detail.contains(&STREAMS_OF_ONE.to_string()), "{detail}");
    // Others have theirs all the same.
    let other = format!("Bearer {}", api.key("looks", "read").await);
    for _ in STREAMS_OF_ONE..STREAMS_AT_ONCE {
        open.push(api.events("", &[("authorization", &other)]).await);
    }
    let third = format!("Bearer {}", api.key("looks on", "read").await);
    let headers = [("authorization", third.as_str())];
    let refused = api.send("GET", "events", &headers, Body::empty()).await;
    let problem = refused.problem(503, "unavailable");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains(&STREAMS_AT_ONCE.to_string()), "{detail}");
    assert!(refused.headers.contains_key(header::RETRY_AFTER));
    open.pop();
    api.events("", &headers).await.opening().await;
}

#[tokio::test]
async fn a_stream_ends_with_its_key() {
    let api = Api::start().await;
    let made = api
        .post("keys", &json!({"name": "looks", "role": "read"}))
        .await
        .expect(201);
    let bearer = format!("Bearer {}", made["key"].as_str().unwrap());
    let mut events = api.events("", &[("authorization", &bearer)]).await;
    events.opening().await;
    let begun = Instant::now();
    api.delete(&format!("keys/{}", made["id"].as_str().unwrap()))
        .await
        .expect(204);
    events.ends().await;
    assert!(begun.elapsed() < HEARTBEAT, "{:?}", begun.elapsed());

    let ends = clock::unix_ms() + 300;
    let expires = crate::admin::shapes::time(ends);
    let body = json!({"name": "ends", "role": "read", "expiresAt": expires});
    let made = api.post("keys", &body).await.expect(201);
    let bearer = format!("Bearer {}", made["key"].as_str().unwrap());
    let mut events = api.events("", &[("authorization", &bearer)]).await;
    events.opening().await;
    let _clock = StoppedClock::new();
    // The clock on the wall runs on.
    while clock::unix_ms() < ends {
        tokio::task::yield_now().await;
    }
    events.during(HEARTBEAT + FLEET_AT_MOST_EVERY).await;
    assert!(events.ended);
}

#[tokio::test]
async fn a_stream_of_a_page_ends_with_the_session_of_the_page() {
    let api = Api::start().await;
    let key = api.control.view().keys()[0].id;
    let session = api.control.open_console_session(key).await.unwrap();
    let other = api.control.open_console_session(key).await.unwrap();
    let mut events = api.events_of_a_page(&session.text).await;
    let mut stays = api.events_of_a_page(&other.text).await;
    events.opening().await;
    stays.opening().await;
    let closed = api.control.close_console_session(&session.text).await;
    closed.unwrap();
    // The key is as good as before, and so is the other session.
    events.ends().await;
    assert_eq!(stays.line().await.event.as_deref(), Some("session.close"));
    api.cohort(1).await;
    assert_eq!(stays.line().await.event.as_deref(), Some("cohort.create"));

    let ends = clock::unix_ms() + 300;
    let expires = crate::admin::shapes::time(ends);
    let body = json!({"name": "ends", "role": "read", "expiresAt": expires});
    api.post("keys", &body).await.expect(201);
    let key = api.control.view().keys().last().unwrap().id;
    let session = api.control.open_console_session(key).await.unwrap();
    assert_eq!(session.expires_ms, ends);
    let mut events = api.events_of_a_page(&session.text).await;
    events.opening().await;
    let _clock = StoppedClock::new();
    // The clock on the wall runs on.
    while clock::unix_ms() < ends {
        tokio::task::yield_now().await;
    }
    events.during(HEARTBEAT + FLEET_AT_MOST_EVERY).await;
    assert!(events.ended);
}

/// While it is there the runtime's clock moves only when it is told to, though the store's threads take their time.
struct StoppedClock {
    _keeps_it: std::sync::mpsc::Sender<()>,
}

impl StoppedClock {
    fn new() -> Self {
        // A clock that is stopped jumps to the next timer when there is nothing to do, except while a thread is at work.
        let (keeps, kept) = std::sync::mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || kept.recv());
        tokio::time::pause();
        Self { _keeps_it: keeps }
    }
}

impl Api {
    async fn events(&self, query: &str, headers: &[(&str, &str)]) -> Events {
        let request = Api::request(
            "GET",
            &format!("/v1/projects/default/events{query}"),
            headers,
            Body::empty(),
        );
        self.events_of(request).await
    }

    /// As a page of the console asks for them.
    async fn events_of_a_page(&self, session: &str) -> Events {
        let request = Request::builder()
            .uri("/v1/projects/default/events")
            .header("cookie", format!("tessera_session={session}"));
        self.events_of(request.body(Body::empty()).unwrap()).await
    }

    async fn events_of(&self, request: Request<Body>) -> Events {
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        assert_eq!(parts.status, 200);
        Events {
            headers: parts.headers,
            body: body.into_data_stream(),
            read: String::new(),
            ended: false,
        }
    }

    fn last_audited(&self) -> i64 {
        *self.control.audited().borrow()
    }

    async fn cohort(&self, n: i64) {
        let body = json!({"name": format!("cohort-{n}")});
        self.post("cohorts", &body).await.expect(201);
    }

    async fn key(&self, name: &str, role: &str) -> String {
        let made = self
            .post("keys", &json!({"name": name, "role": role}))
            .await
            .expect(201);
        made["key"].as_str().unwrap().to_owned()
    }

    /// A device that somebody is talking to.
    async fn talked_to(&self, name: &str) -> Arc<DeviceEntry> {
        let body = json!({"name": name, "credentials": [{"type": "psk", "secret": "s"}]});
        self.post("devices", &body).await.expect(201);
        let identity = format!("{name}-id@default");
        let access = self
            .control
            .device_by_identity(identity.as_bytes())
            .await
            .unwrap();
        access.unwrap().entry
    }

    fn report(&self, device: &Arc<DeviceEntry>, n: u8) {
        self.control.report_slot().unwrap().take(Report {
            device: Arc::clone(device),
            package: "main".to_owned(),
            state: 0,
            reason: 0,
            version: Some(format!("1.{n}")),
            target: None,
            at_ms: clock::unix_ms(),
            done: Box::new(|stored| stored.unwrap()),
        });
    }

    async fn close(self) -> TempDir {
        self.control.close().await;
        let Api { folder, .. } = self;
        folder
    }
}

fn session() -> SessionFacts {
    SessionFacts {
        shard: 0,
        peer: "192.0.2.1:40000".parse().unwrap(),
        suite: "TLS_PSK_WITH_AES_128_CCM_8",
        connection_id: None,
        credential: None,
        since_ms: clock::unix_ms(),
        serial: 1,
    }
}

/// A stream that is being read.
struct Events {
    headers: HeaderMap,
    body: BodyDataStream,
    read: String,
    ended: bool,
}

/// A block of the stream, as the HTML standard has it.
#[derive(Debug, Default)]
struct Block {
    id: Option<i64>,
    event: Option<String>,
    data: Option<String>,
    comment: Option<String>,
    retry: Option<u64>,
}

impl Block {
    fn json(&self) -> Value {
        serde_json::from_str(self.data.as_deref().unwrap()).unwrap()
    }
}

impl Events {
    async fn opening(&mut self) -> Block {
        let opening = self.next().await.unwrap();
        assert!(opening.data.is_none() && opening.event.is_none(), "{opening:?}");
        opening
    }

    /// The next line of the audit.
    async fn line(&mut self) -> Block {
        loop {
            let block = self.next().await.unwrap();
            if block.id.is_some() {
                return block;
            }
        }
    }

    /// Nothing comes any more, but perhaps that something had moved.
    async fn ends(&mut self) {
        while let Some(block) = self.next().await {
            assert_eq!(block.event.as_deref(), Some("fleet"), "{block:?}");
        }
    }

    async fn next(&mut self) -> Option<Block> {
        while !self.ended {
            if let Some((block, rest)) = self.read.split_once("\n\n") {
                let block = Self::parse(block);
                self.read = rest.to_owned();
                return Some(block);
            }
            let piece = timeout(Duration::from_secs(60), self.body.next());
            let Some(piece) = piece.await.unwrap() else {
                self.ended = true;
                break;
            };
            let piece = piece.unwrap();
            self.read.push_str(std::str::from_utf8(&piece).unwrap());
        }
        None
    }

    /// What comes while the stopped clock moves on in small steps.
    async fn during(&mut self, time: Duration) -> Vec<(Instant, Block)> {
        let until = Instant::now() + time;
        let mut came = Vec::new();
        while Instant::now() < until && !self.ended {
            tokio::time::advance(Duration::from_millis(50)).await;
            for _ in 0..10 {
                while let Some(Some(block)) = self.next().now_or_never() {
                    came.push((Instant::now(), block));
                }
                tokio::task::yield_now().await;
            }
        }
        came
    }

    fn parse(text: &str) -> Block {
        let mut block = Block::default();
        for line in text.lines() {
            let (name, value) = line.split_once(':').unwrap();
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "" => block.comment = Some(value.to_owned()),
                "id" => block.id = Some(value.parse().unwrap()),
                "event" => block.event = Some(value.to_owned()),
                "data" => block.data = Some(value.to_owned()),
                "retry" => block.retry = Some(value.parse().unwrap()),
                other => panic!("{other:?} in {text:?}"),
            }
        }
        block
    }
}
