//! Whether it lives, whether it takes work, and what it counts.

use std::error::Error;

use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::AdminState;
use super::auth;
use super::problem::Problem;
use crate::fleet::Role;
use crate::telemetry::{self, GatewayEvent};

/// `GET /livez`: the process answers.
pub async fn live() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the sockets are bound, recovery is done, the store takes writes, and no shutdown is under way.
pub async fn ready(State(state): State<AdminState>) -> Response {
    if !state.readiness.get() {
        return Problem::unavailable("starting or shutting down").into_response();
    }
    match state.control.check().await {
        Ok(()) => "ready\n".into_response(),
        Err(error) => Problem::unavailable(format!("the store does not take writes: {}", reasons(&error)))
            .into_response(),
    }
}

/// An error with what caused it: who asks has no other way to know, and it names no more than files.
fn reasons(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// `GET /metrics`: Prometheus text exposition format.
pub async fn metrics(State(state): State<AdminState>, request: Request) -> Result<Response, Problem> {
    if state.metrics_auth {
        let (parts, _) = request.into_parts();
        auth::authenticate(&parts, &state, Role::Read)?;
    }
    let ready = state.readiness.get() && state.control.last_write_succeeded();
    telemetry::emit(GatewayEvent::ReadinessSeen(ready));
    let text = state.metrics.render();
    Ok((
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
        .into_response())
}
