//! State reports: what a device says about a package. Answered 2.04 only once it is on disk; but for one that may be a repetition
//! from before a restart, and whose device does not soon show that it is there: that one is answered and kept ([`Unproven`]).
//!
//! Devices transmit a request again until it is answered, and never repeat a report that was refused. So a report that
//! there is no room for gets no answer: its next transmission, seconds later, may find room.

use std::sync::Arc;

use super::unproven::Unproven;
use crate::coap::{Code, ContentFormat, Reply, Request};
use crate::control::{Control, DeviceEntry, QueueFull, Report};
use crate::manifest::StateReport;
use crate::telemetry::{self, GatewayEvent, Rejection, ReportReason, ReportState, Route};
use crate::transport::{Disposition, Overdue, RequestContext, Ticket};

/// Hands the report to the writer.
pub fn answer(
    control: &Control,
    unproven: &Unproven,
    context: &RequestContext<'_, Arc<DeviceEntry>>,
    path: Option<&str>,
    request: &Request<'_>,
    reply: &mut Reply<'_>,
) -> Disposition {
    let (package, said) = match read(path, request) {
        Ok(read) => read,
        Err(code) => {
            reply.code(code);
            return Disposition::Answered { route: Route::Report };
        }
    };
    let (state, reason) = (said.state, said.reason);
    let make = || {
        let pending = Pending(Some(context.defer()));
        Report {
            device: Arc::clone(context.device),
            package,
            state,
            reason,
            version: said.version,
            target: said.target,
            at_ms: context.unix_ms,
            done: Box::new(move |stored| pending.settle(stored)),
        }
    };
    let taken = if context.is_proven {
        control.report_slot().map(|slot| slot.take(make()))
    } else {
        unproven.keep(context.serial, make)
    };
    if let Err(error @ QueueFull) = taken {
        tracing::debug!(%error, device = %context.device.name(), "a report was put off");
        telemetry::emit(GatewayEvent::RequestRejected(Rejection::QueueFull));
        if request.confirmable {
            return Disposition::NotNow;
        }
        // It comes once only.
        reply.code(Code::SERVICE_UNAVAILABLE);
        return Disposition::Answered { route: Route::Report };
    }
    telemetry::emit(GatewayEvent::Reported {
        state: ReportState::from_number(state),
        reason: ReportReason::from_number(reason),
    });
    Disposition::Deferred {
        route: Route::Report,
        overdue: if context.is_proven {
            Overdue::Unavailable
        } else {
            Overdue::Taken
        },
    }
}

/// The report and the package it is about. Content-Format decides on the form. Without one, JSON is known by its first byte,
/// which no CBOR map has, and a report without a payload is said in the queries.
fn read(path: Option<&str>, request: &Request<'_>) -> Result<(String, StateReport), Code> {
    let payload = &request.payload;
    let report = match request.content_format {
        Some(ContentFormat::CBOR) => StateReport::from_cbor(payload),
        Some(ContentFormat::JSON) => StateReport::from_json(payload),
        None if payload.is_empty() => StateReport::from_queries(request.queries()),
        None if payload.first() == Some(&b'{') => StateReport::from_json(payload),
        None => StateReport::from_cbor(payload),
        Some(_) => return Err(Code::UNSUPPORTED_CONTENT_FORMAT),
    };
    let read = report.and_then(|report| Ok((report.about(path)?, report)));
    read.map_err(|error| {
        tracing::debug!(%error, "a report cannot be read");
        Code::BAD_REQUEST
    })
}

/// The answer that a device waits for. A report that was not stored, for want of space or because it never reached the
/// writer, is 5.03: the device may try again.
struct Pending(Option<Ticket<Arc<DeviceEntry>>>);

impl Pending {
    fn settle(mut self, stored: Result<(), ()>) {
        let code = if stored.is_ok() {
            Code::CHANGED
        } else {
            Code::SERVICE_UNAVAILABLE
        };
        self.complete(code);
    }

    fn complete(&mut self, code: Code) {
        if let Some(ticket) = self.0.take() {
            ticket.complete(code);
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.complete(Code::SERVICE_UNAVAILABLE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coap::Message;

    #[test]
    fn a_report_is_read_in_the_form_that_it_says_it_has() {
        let cbor = b"\x40\x02\0\x01\xC1\x3C\xFF\xA2\x61s\x01\x61v\x611";
        let expected = StateReport {
            state: 1,
            version: Some("1".into()),
            ..StateReport::default()
        };
        assert_eq!(read_bytes(cbor), Ok(expected.clone()));
        let json = b"\x40\x02\0\x01\xC1\x32\xFF{\"state\":1,\"version\":\"1\"}";
        assert_eq!(read_bytes(json), Ok(expected.clone()));
        let unsaid = b"\x40\x02\0\x01\xFF{\"s\":1,\"v\":\"1\"}";
        assert_eq!(read_bytes(unsaid), Ok(expected.clone()));
        let queries = b"\x40\x02\0\x01\xD7\x02state=1\x03v=1";
        assert_eq!(read_bytes(queries), Ok(expected));
        assert_eq!(read_bytes(b"\x40\x02\0\x01"), Ok(StateReport::default()), "idle");
    }

    #[test]
    fn what_is_no_report_is_refused_with_the_code_that_says_why() {
        assert_eq!(
            read_bytes(b"\x40\x02\0\x01\xC1\x2A\xFFx"),
            Err(Code::UNSUPPORTED_CONTENT_FORMAT)
        );
        assert_eq!(
            read_bytes(b"\x40\x02\0\x01\xC1\x3C\xFF\xBF\x61s"),
            Err(Code::BAD_REQUEST)
        );
        assert_eq!(read_bytes(b"\x40\x02\0\x01\xC1\x3C"), Err(Code::BAD_REQUEST));
    }

    fn read_bytes(bytes: &[u8]) -> Result<StateReport, Code> {
        let message = Message::parse(bytes).unwrap();
        read(None, &Request::new(&message).unwrap()).map(|(_, report)| report)
    }
}
