//! `/events`: what happens to the fleet, as it happens (server-sent events of the HTML standard).
//!
//! 1. Lasting ones are the lines of the audit. Their `id` is the line's number, their `event` its action, their data the row
//!    that `/audit` lists. `Last-Event-ID` resumes exactly after it, over a restart too.
//! 2. Passing ones have no id: `fleet` says, at most twice a second, that something has moved since the one before it. Who misses
//!    one has missed nothing that the next one, or a look, would not show.
//! 3. A reader follows the store by the number of the last line that was looked at for it, a page at a time; a notification only wakes it.
//!    So a slow one costs a page and not a queue, and is told everything all the same.
//! 4. It ends with the listener, with its key, and with its connection. A client comes back by itself and resumes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{FutureExt, stream};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::warn;

use super::auth::Onlooker;
use super::problem::{FieldError, Problem};
use super::seats::Holder;
use super::serve::Ending;
use super::{AdminState, audit, shapes};
use crate::clock;
use crate::control::{AuditAhead, AuditRecord, Full, Place, Places, Pulse};

/// A place for each stream.
#[derive(Debug, Clone)]
pub struct StreamPlaces(Arc<Places>);

impl Default for StreamPlaces {
    fn default() -> Self {
        Self(Arc::new(Places::new(STREAMS_AT_ONCE, STREAMS_OF_ONE)))
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct From {
    /// For tools that cannot set the header.
    last_event_id: Option<String>,
}

pub async fn stream(
    State(state): State<AdminState>,
    onlooker: Onlooker,
    Extension(places): Extension<StreamPlaces>,
    holder: Option<Extension<Holder>>,
    ending: Option<Extension<Ending>>,
    Query(from): Query<From>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let last = last_event_id(&headers, from.last_event_id.as_deref())?;
    let place = places.0.take(&onlooker.actor()).map_err(|full| {
        Problem::unavailable(match full {
            Full::All(bound) => format!("{bound} event streams are open, as many as there may be"),
            Full::Share { actor, share } => {
                format!("{share} event streams of {actor} are open, as many as one key may have")
            }
        })
    })?;
    if let Some(Extension(holder)) = holder {
        holder.follows();
    }
    let feed = Feed::open(
        state,
        onlooker,
        last,
        ending.map(|Extension(ending)| ending),
        place,
    );
    let events = stream::unfold(feed, |mut feed| async {
        let event = feed.next().await?;
        Some((Ok::<_, std::convert::Infallible>(event), feed))
    });
    let mut response = Sse::new(events).into_response();
    response.headers_mut().insert(UNBUFFERED.0, UNBUFFERED.1);
    Ok(response)
}

/// The number of the last line that the client was sent. The header counts where both are given: a browser that comes back
/// sends it to the address that it was opened with. Both have to be readable all the same.
fn last_event_id(headers: &HeaderMap, parameter: Option<&str>) -> Result<Option<i64>, Problem> {
    let header = headers
        .get(LAST_EVENT_ID)
        .map(|header| String::from_utf8_lossy(header.as_bytes()));
    let header = header.map(|text| number_of("Last-Event-ID", &text)).transpose()?;
    let parameter = parameter.map(|text| number_of("lastEventId", text)).transpose()?;
    Ok(header.or(parameter))
}

fn number_of(field: &str, text: &str) -> Result<i64, Problem> {
    let number = text.parse().ok().filter(|&number: &i64| number >= 0);
    number.ok_or_else(|| {
        Problem::unreadable(FieldError {
            field: field.into(),
            detail: "it is not the id of an event".into(),
            value: Some(text.into()),
            accepted: Some("the id of the last event received, or 0 for all that is in the audit, or none for what happens from now on".into()),
        })
    })
}

/// What one reader is sent.
struct Feed {
    state: AdminState,
    onlooker: Onlooker,
    /// The last line that was looked at. What comes before it was sent, waits in `page`, or is not for this reader.
    seen: i64,
    opened: bool,
    /// Read, and to be sent next.
    page: VecDeque<AuditRecord>,
    /// Wakes, and says how far the audit goes.
    audited: watch::Receiver<i64>,
    /// Whether to look at the store.
    look: bool,
    /// As it was at the last `fleet`; none where one is due whatever has moved.
    told: Option<(Pulse, i64)>,
    tick: Interval,
    beat: Interval,
    ending: Option<Ending>,
    _place: Place,
}

/// What a reader waited for.
enum Woken {
    Audited,
    Ticked,
    Beat,
    Over,
}

impl Feed {
    fn open(
        state: AdminState,
        onlooker: Onlooker,
        last: Option<i64>,
        ending: Option<Ending>,
        place: Place,
    ) -> Self {
        let audited = state.control.audited();
        let end = *audited.borrow();
        // An id that is ahead is one of another past: the data folder was put back to what it was before. Nothing can be
        // resumed then, and the first `fleet` has the client read everything anew.
        let ahead = last.is_some_and(|last| last > end);
        Self {
            seen: last.filter(|_| !ahead).unwrap_or(end),
            opened: false,
            page: VecDeque::new(),
            audited,
            look: true,
            told: Some((state.control.pulse(), end)).filter(|_| !ahead),
            tick: every(FLEET_AT_MOST_EVERY),
            beat: every(HEARTBEAT),
            ending,
            state,
            onlooker,
            _place: place,
        }
    }

    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        if !self.opened {
            self.opened = true;
            // An id without data is kept by the client and shown to nobody: who is cut off before the first line resumes here.
            return Some(Event::default().retry(RETRY).id(self.seen.to_string()));
        }
        loop {
            if self.tick.tick().now_or_never().is_some()
                && let Some(event) = self.fleet()
            {
                return Some(event);
            }
            if let Some(record) = self.page.pop_front() {
                self.beat.reset();
                return Some(line(&record));
            }
            if self.ending.as_ref().is_some_and(Ending::has_come) || !self.onlooker.may_stay(&self.state) {
                return None;
            }
            if std::mem::take(&mut self.look) {
                self.read_on().await?;
                continue;
            }
            match self.wake().await {
                Woken::Audited => self.look = true,
                Woken::Ticked => {
                    if let Some(event) = self.fleet() {
                        return Some(event);
                    }
                }
                Woken::Beat => {
                    self.look = true;
                    if self.onlooker.may_stay(&self.state) {
                        return Some(Event::default().comment(""));
                    }
                }
                Woken::Over => return None,
            }
        }
    }

    async fn wake(&mut self) -> Woken {
        let over = async {
            match &mut self.ending {
                Some(ending) => ending.comes().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = over => Woken::Over,
            changed = self.audited.changed() => match changed {
                Ok(()) => Woken::Audited,
                Err(_) => Woken::Over,
            },
            _ = self.beat.tick() => Woken::Beat,
            _ = self.tick.tick() => Woken::Ticked,
        }
    }

    /// Reads a page, and whether there may be another.
    async fn read_on(&mut self) -> Option<()> {
        let end = *self.audited.borrow_and_update();
        let scope = self.onlooker.audit_scope();
        match self.state.control.audit_after(scope, self.seen, end, PAGE).await {
            Ok(AuditAhead { records, seen, more }) => {
                self.look = more;
                self.seen = seen;
                self.page = records.into();
                Some(())
            }
            Err(error) => {
                // The client comes back and resumes; perhaps the store has recovered by then.
                warn!(
                    error = &error as &dyn std::error::Error,
                    "an event stream was ended"
                );
                None
            }
        }
    }

    /// What else has moved since it was last told, if anything has.
    fn fleet(&mut self) -> Option<Event> {
        let pulse = self.state.control.pulse();
        // What is in the audit has an event of its own; this one too, for who only wants to know when to look again.
        let moved = (pulse, *self.audited.borrow());
        let told = self.told.replace(moved);
        if told == Some(moved) {
            return None;
        }
        let data = json!({
            "at": shapes::time(clock::unix_ms()),
            "reports": told.map_or(0, |(told, _)| pulse.reports - told.reports),
            "online": self.state.control.online(),
        });
        self.beat.reset();
        Some(Event::default().event("fleet").data(data.to_string()))
    }
}

fn line(record: &AuditRecord) -> Event {
    Event::default()
        .id(record.id.to_string())
        .event(&record.action)
        .json_data(audit::shape(record))
        .expect("a line of the audit is JSON")
}

/// From one period on, never faster.
fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.reset();
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Streams at a time. A guess: every operator of a large team with several pages open; each costs a page of the audit and two
/// timers.
pub const STREAMS_AT_ONCE: usize = 128;

/// Streams of one key.
pub const STREAMS_OF_ONE: usize = STREAMS_AT_ONCE / 2;

/// Lines read at a time: some tens of KiB.
pub const PAGE: usize = 64;

/// A page that shows what moves needs no more.
pub const FLEET_AT_MOST_EVERY: Duration = Duration::from_millis(500);

/// Proxies give up on a connection that is silent for a minute as a rule.
pub const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a client is to wait before it comes back.
const RETRY: Duration = Duration::from_millis(1500);

const LAST_EVENT_ID: &str = "last-event-id";

/// What nginx and its kin look at before they hold an answer back until it is whole.
const UNBUFFERED: (HeaderName, HeaderValue) = (
    HeaderName::from_static("x-accel-buffering"),
    HeaderValue::from_static("no"),
);
