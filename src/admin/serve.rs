//! The HTTP listener and its end: connections with bounds, closed in order.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tracing::{debug, warn};

/// Serves `router` on `listener` until `shutdown` ends; calls under way are finished first.
///
/// # Errors
/// The listener fails for good.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let mut shutdown = pin!(shutdown);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Dropping the sender tells every connection to end; when all receivers are gone, all have.
    let (ending, end) = watch::channel(());
    loop {
        let place = tokio::select! {
            () = &mut shutdown => break,
            place = Arc::clone(&places).acquire_owned() => place.map_err(io::Error::other)?,
        };
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // The peer went away, or there are no file descriptors left: others may still be served.
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (router, end) = (router.clone(), end.clone());
        tokio::spawn(async move {
            converse(stream, router, end).await;
            drop(place);
        });
    }
    drop(listener);
    drop(end);
    let _ = ending.send(());
    ending.closed().await;
    Ok(())
}

async fn converse(stream: TcpStream, router: Router, mut end: watch::Receiver<()>) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "TCP_NODELAY was refused");
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = end.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection ended early");
    }
}

/// Connections served at a time; past that they wait in the kernel's queue. A guess: a console's worth of
/// operators and their scripts, well below the usual limit of 1024 file descriptors.
const MAX_CONNECTIONS: usize = 512;

/// How long a request's head may take, and how long a connection may wait between two requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Headers of a request.
const MAX_HEADERS: usize = 64;

/// After a failed accept: file descriptors take a moment to come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use axum::routing::post;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_call_under_way_is_finished_and_an_idle_connection_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (end, ended) = oneshot::channel::<()>();
        let echo = Router::new().route("/", post(async |body: Bytes| body));
        let serving = tokio::spawn(serve(listener, echo, async {
            ended.await.unwrap();
        }));

        let mut idle = TcpStream::connect(address).await.unwrap();
        let whole = b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\nhi";
        idle.write_all(whole).await.unwrap();
        read_until(&mut idle, "hi").await;

        let mut busy = TcpStream::connect(address).await.unwrap();
        let head = b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
        busy.write_all(head).await.unwrap();
        read_until(&mut busy, "100 Continue\r\n\r\n").await;

        end.send(()).unwrap();
        let mut rest = Vec::new();
        idle.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"", "an idle connection is closed without a word");
        busy.write_all(b"hello").await.unwrap();
        busy.read_to_end(&mut rest).await.unwrap();
        let answer = String::from_utf8(rest).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"),
            "{answer}"
        );
        serving.await.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err(), "the port is closed");
    }

    async fn read_until(stream: &mut TcpStream, end: &str) {
        let mut read = Vec::new();
        while !read.ends_with(end.as_bytes()) {
            read.push(stream.read_u8().await.unwrap());
        }
    }
}
