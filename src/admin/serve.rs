//! The HTTP listener and its end: connections with bounds, closed in order.
//!
//! 1. A connection takes a seat (see [`super::seats`]); where there is none, it is told so and closed. With [`Tls`] it shakes hands
//!    then, as nobody yet.
//! 2. The head of a request has [`HEADER_TIMEOUT`], counted from the moment it is waited for and not from its last byte,
//!    and bounds on its bytes, its headers and its address.
//! 3. Bodies and answers keep a pace (see [`super::pace`]).
//! 4. When the listener ends, calls under way are finished. What has no end is told so ([`Ending`]), and cut off a moment later
//!    if its reader does not take that.
//! 5. A connection that ends with something unread lingers for a moment, so that its last answer is not lost.
//!
//! What cannot be parsed at all, the library answers with a bare status and closes.
//!
//! What a connection can hold in memory is bounded: [`BUFFER_BYTES`] each for what comes and what goes, beside what a
//! handler holds.

use std::future::{pending, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Request, Response, Version, header};
use axum::middleware;
use axum::response::IntoResponse;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::pace::{PacedBody, PacedStream};
use super::problem::Problem;
use super::seats::{Holder, Seat, Seats};
use super::tls::{NoHandshake, Tls};
use crate::clock;
use crate::telemetry::{self, ConnectionLoss, GatewayEvent};

/// Serves `router` on `listener`, with `tls` if there is one, `max_connections` at a time, until `shutdown` ends; calls under way are finished first.
///
/// # Errors
/// The listener fails for good.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    max_connections: usize,
    tls: Option<Tls>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let mut shutdown = pin!(shutdown);
    let router = match &tls {
        Some(_) => router.layer(middleware::map_response(over_tls_only)),
        None => router,
    };
    let seats = Seats::new(max_connections);
    let mut turned_away = Counted::default();
    // Dropping the sender tells every connection to end; when all receivers are gone, all have.
    let (ending, end) = watch::channel(());
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // The peer went away, or there are no file descriptors left: a connection that waits gives up its own,
                // which devices and the store may need as well.
                warn!(%error, "a connection could not be accepted");
                seats.make_room();
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "TCP_NODELAY was refused");
        }
        match seats.take(address.ip()) {
            Some(seat) => {
                tokio::spawn(converse(stream, tls.clone(), router.clone(), seat, end.clone()));
            }
            None => turn_away(&stream, address.ip(), tls.is_some(), &mut turned_away),
        }
    }
    drop(listener);
    drop(end);
    let _ = ending.send(());
    ending.closed().await;
    Ok(())
}

/// Has browsers come over TLS only from here on (RFC 6797). Those that do not believe the certificate take no notice.
async fn over_tls_only(mut response: Response<Body>) -> Response<Body> {
    let age = HeaderValue::from_static(TLS_ONLY);
    response
        .headers_mut()
        .insert(header::STRICT_TRANSPORT_SECURITY, age);
    response
}

/// Says that there is no room, as far as that can be said without waiting.
fn turn_away(stream: &TcpStream, address: IpAddr, tls: bool, turned_away: &mut Counted) {
    if let Some(count) = turned_away.one_more(clock::now()) {
        warn!(%address, count, "every connection is in use: somebody was turned away");
    }
    telemetry::emit(GatewayEvent::ConnectionLost(ConnectionLoss::TurnedAway));
    if !tls {
        let _ = stream.try_write(NO_ROOM);
    }
}

/// Counts what is told of now and then, so that who causes it does not fill the log with it.
#[derive(Debug, Default)]
struct Counted {
    told: Option<Instant>,
    untold: u64,
}

impl Counted {
    /// How many there were since it was last told, where it is to be told now.
    fn one_more(&mut self, now: Instant) -> Option<u64> {
        self.untold += 1;
        if self
            .told
            .is_some_and(|told| now.duration_since(told) < TOLD_EVERY)
        {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

/// Whether the listener is ending, for answers that would go on for ever.
#[derive(Debug, Clone)]
pub struct Ending(watch::Receiver<()>);

impl Ending {
    /// Whether it is.
    pub fn has_come(&self) -> bool {
        self.0.has_changed().unwrap_or(true)
    }

    /// Returns when it is.
    pub async fn comes(&mut self) {
        // An error means that the listener is gone altogether.
        let _ = self.0.changed().await;
    }
}

async fn converse<T>(stream: T, tls: Option<Tls>, router: Router, seat: Seat, mut end: watch::Receiver<()>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let holder = seat.holder();
    // The answer's last byte is with hyper; idle is who has been sent it.
    let answered = Arc::new(AtomicBool::new(false));
    let stream = PacedStream::new(stream, {
        let (holder, answered) = (holder.clone(), Arc::clone(&answered));
        move || {
            if answered.swap(false, Ordering::Relaxed) {
                holder.idle();
            }
        }
    });
    let Some(tls) = tls else {
        return talk(stream, router, seat, end, answered).await;
    };
    // The pace is that of what goes over the wire, so it is below the encryption.
    let shaken = tokio::select! {
        shaken = tls.accept(stream) => shaken,
        () = seat.lost() => {
            telemetry::emit(GatewayEvent::ConnectionLost(ConnectionLoss::GaveWay));
            return;
        }
        _ = end.changed() => return,
    };
    match shaken {
        Ok(stream) => talk(stream, router, seat, end, answered).await,
        Err(NoHandshake::Failed(error)) => debug!(%error, "a TLS handshake failed"),
        Err(NoHandshake::Plain(mut stream)) => {
            let told = async {
                stream.write_all(SPEAK_TLS).await?;
                linger(&mut stream).await;
                io::Result::Ok(())
            };
            tokio::select! {
                _ = told => {}
                () = seat.lost() => {}
                _ = end.changed() => {}
            }
        }
    }
}

/// Requests and their answers, as long as there are any. `answered` tells who watches the stream that an answer is whole.
async fn talk<T>(
    stream: T,
    router: Router,
    seat: Seat,
    mut end: watch::Receiver<()>,
    answered: Arc<AtomicBool>,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let holder = seat.holder();
    let router = TowerToHyperService::new(router);
    let service = service_fn({
        let (holder, ending) = (holder.clone(), Ending(end.clone()));
        move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(holder.clone());
            request.extensions_mut().insert(ending.clone());
            Box::pin(answer(
                request,
                router.clone(),
                holder.clone(),
                Arc::clone(&answered),
            ))
        }
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD_BYTES)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut ending = false;
    let mut cut_off = None;
    let ended = loop {
        tokio::select! {
            ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => break ended,
            () = seat.lost() => {
                telemetry::emit(GatewayEvent::ConnectionLost(ConnectionLoss::GaveWay));
                debug!("a connection gave way to another one");
                return;
            }
            () = async {
                match &mut cut_off {
                    Some(sleep) => sleep.await,
                    None => pending().await,
                }
            } => return,
            _ = end.changed(), if !ending => {
                if !holder.is_busy() {
                    return;
                }
                ending = true;
                if holder.is_following() {
                    cut_off = Some(Box::pin(sleep(FAREWELL)));
                }
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection ended early");
    }
    holder.idle();
    let mut stream = connection.into_parts().io.into_inner();
    tokio::select! {
        () = linger(&mut stream) => {}
        () = seat.lost() => {}
        _ = end.changed() => {}
    }
}

/// Closing a socket with something unread resets the connection, and what was answered last is lost with it: so the
/// peer is told that nothing more comes, and what it still says is let go for a moment.
async fn linger<T: AsyncRead + AsyncWrite + Unpin>(stream: &mut T) {
    let drained = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(LINGER_BYTES), &mut tokio::io::sink()).await
    };
    let _ = tokio::time::timeout(LINGER, drained).await;
}

/// One request, from its head to the end of its answer's body.
async fn answer(
    request: Request<Incoming>,
    router: TowerToHyperService<Router>,
    holder: Holder,
    answered: Arc<AtomicBool>,
) -> Result<Response<Body>, std::convert::Infallible> {
    holder.busy();
    let under_way = UnderWay(answered);
    let request = request.map(|body| PacedBody::watch(Body::new(body)));
    let mut answer = match acceptable(&request) {
        Ok(()) => router.call(request).await?,
        Err(problem) => problem.into_response(),
    };
    let headers = answer.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    // Answers show secrets, and what is true of a fleet now.
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    Ok(answer.map(|body| {
        Body::new(Answer {
            body,
            _under_way: under_way,
        })
    }))
}

/// What is wrong with a request whatever it asks for.
fn acceptable<B>(request: &Request<B>) -> Result<(), Problem> {
    let address_bytes = request.uri().path().len() + request.uri().query().map_or(0, str::len);
    if address_bytes > MAX_ADDRESS_BYTES {
        return Err(Problem::address_too_long(address_bytes, MAX_ADDRESS_BYTES));
    }
    let hosts = request.headers().get_all(header::HOST).iter().count();
    //= RFC 9112 section 3.2
    //# A server MUST respond with a 400 (Bad Request) status code to any
    //# HTTP/1.1 request message that lacks a Host header field and to any
    //# request message that contains more than one Host header field line
    //# or a Host header field with an invalid field value.
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        return Err(Problem::malformed(format!(
            "the request has {hosts} Host headers; accepted: one"
        )));
    }
    Ok(())
}

/// The body of an answer, and the end of its request.
struct Answer {
    body: Body,
    _under_way: UnderWay,
}

/// A request until the last of its answer is handed over.
struct UnderWay(Arc<AtomicBool>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// For a month from the last answer on: who turns TLS off again waits no longer than that for the browsers.
const TLS_ONLY: &str = "max-age=2592000";

/// How long a request's head may take, and how long a connection may wait between two requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Headers of a request.
const MAX_HEADERS: usize = 64;

/// A request's head, all of it. A guess: what proxies and browsers add is a tenth of it.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// An address: the longest name in it has 64 bytes, so this leaves room for many filters.
const MAX_ADDRESS_BYTES: usize = 8 * 1024;

/// What is read ahead of a handler, and what is kept of an answer that was not sent yet. Longer than a head, so that one
/// that is too long is answered as that.
const BUFFER_BYTES: usize = 2 * MAX_HEAD_BYTES;

/// After a failed accept: file descriptors take a moment to come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long who follows what happens may take to take the end of it, when the listener ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long a peer may take to stop speaking after its last answer, and how much it may say: what was under way.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 1024 * 1024;

/// How often it is logged, at most, that somebody was turned away.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// As `Problem::unavailable` would say it.
const NO_ROOM: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Content-Type: application/problem+json\r\n\
    Connection: close\r\n\
    Retry-After: 1\r\n\
    Content-Length: 168\r\n\
    \r\n\
    {\"type\":\"urn:tessera:problem:unavailable\",\"title\":\"The gateway cannot do this at the moment\",\
    \"status\":503,\"detail\":\"every connection is in use (admin.max_connections)\"}";

/// For who speaks plain HTTP where TLS is spoken.
const SPEAK_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: application/problem+json\r\n\
    Connection: close\r\n\
    Content-Length: 164\r\n\
    \r\n\
    {\"type\":\"urn:tessera:problem:malformed-request\",\"title\":\"The request cannot be read\",\
    \"status\":400,\"detail\":\"TLS is spoken here; accepted: an address with https://\"}";

#[cfg(test)]
#[path = "serve_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
