//! Connections over pipes, on a clock of the test's own; the listener and its end over loopback.

use axum::body::to_bytes;
use axum::extract::{Extension, Path, Request as Call};
use axum::routing::{get, post};
use futures_util::stream;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::super::body::broken_off;
use super::super::pace::{PACE_BYTES, PACE_WITHIN};
use super::*;
use crate::fleet::{KeyId, Role};

#[tokio::test]
async fn a_call_under_way_is_finished_and_an_idle_connection_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (end, ended) = oneshot::channel::<()>();
    let echo = Router::new().route("/", post(async |body: Bytes| body));
    let serving = tokio::spawn(serve(listener, echo, 8, None, async {
        ended.await.unwrap();
    }));

    let mut silent = TcpStream::connect(address).await.unwrap();
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
    silent.read_to_end(&mut rest).await.unwrap();
    idle.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"", "who waits is closed without a word");
    busy.write_all(b"hello").await.unwrap();
    busy.read_to_end(&mut rest).await.unwrap();
    let answer = String::from_utf8(rest).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"),
        "{answer}"
    );
    drop(busy);
    serving.await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "the port is closed");
}

#[tokio::test(start_paused = true)]
async fn a_head_has_its_time_however_it_drips() {
    let (mut peer, ended) = conversation();
    let begun = Instant::now();
    peer.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
    while peer.write_all(b"y").await.is_ok() {
        sleep(Duration::from_secs(1)).await;
    }
    ended.await.unwrap();
    assert!(
        begun.elapsed() <= HEADER_TIMEOUT + LINGER + Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    assert!(begun.elapsed() >= HEADER_TIMEOUT, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stands_still_is_a_408_and_the_end() {
    let (mut peer, ended) = conversation();
    let begun = Instant::now();
    let head = b"POST /body HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\nbegun";
    peer.write_all(head).await.unwrap();
    let answer = read_all(&mut peer).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(
        answer.contains("connection: close") && answer.contains("within 20 s"),
        "{answer}"
    );
    assert_eq!(begun.elapsed().as_secs(), PACE_WITHIN.as_secs());
    drop(peer);
    ended.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_is_a_408_and_a_slow_and_steady_one_arrives() {
    // A byte a second, for ever: past the pace.
    let (mut peer, _ended) = conversation();
    let head = b"POST /body HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n";
    peer.write_all(head).await.unwrap();
    let begun = Instant::now();
    let (mut hears, mut speaks) = tokio::io::split(peer);
    let dripping = tokio::spawn(async move {
        while speaks.write_all(b"1\r\nx\r\n").await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
    });
    let answer = read_all(&mut hears).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(
        begun.elapsed() <= PACE_WITHIN + Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    dripping.await.unwrap();

    // 64 KB/s for five minutes: far more than any time limit on the whole would allow.
    let (mut peer, _ended) = conversation();
    let (second, seconds) = (64_000, 300);
    let head = format!(
        "POST /body HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        second * seconds
    );
    peer.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..seconds {
        peer.write_all(&vec![b'x'; second]).await.unwrap();
        sleep(Duration::from_secs(1)).await;
    }
    let answer = read_all(&mut peer).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with(&format!("\r\n\r\n{}", second * seconds)),
        "{answer}"
    );
}

#[tokio::test(start_paused = true)]
async fn who_does_not_take_an_answer_is_not_waited_for_and_who_takes_it_slowly_gets_all() {
    let (mut peer, ended) = conversation();
    let begun = Instant::now();
    peer.write_all(b"GET /large HTTP/1.1\r\nHost: t\r\n\r\n")
        .await
        .unwrap();
    ended.await.unwrap();
    let waited = begun.elapsed();
    assert!(
        (PACE_WITHIN..PACE_WITHIN + 2 * LINGER).contains(&waited),
        "{waited:?}"
    );

    let (mut peer, _ended) = conversation();
    peer.write_all(b"GET /large HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let (mut taken, mut piece) = (0, vec![0; PACE_BYTES]);
    loop {
        let length = peer.read(&mut piece).await.unwrap();
        if length == 0 {
            break;
        }
        taken += length;
        sleep(Duration::from_secs(5)).await;
    }
    assert!(taken > LARGE, "{taken}");
}

#[tokio::test(start_paused = true)]
async fn a_head_past_its_bounds_is_431_or_414() {
    for (head, status) in [
        (
            format!(
                "GET /{} HTTP/1.1\r\nHost: t\r\n\r\n",
                "x".repeat(MAX_ADDRESS_BYTES)
            ),
            414,
        ),
        (
            format!(
                "GET /{} HTTP/1.1\r\nHost: t\r\n\r\n",
                "x".repeat(2 * MAX_HEAD_BYTES)
            ),
            431,
        ),
        (
            format!(
                "GET / HTTP/1.1\r\nHost: t\r\nX: {}\r\n\r\n",
                "y".repeat(MAX_HEAD_BYTES)
            ),
            431,
        ),
        (
            format!(
                "GET / HTTP/1.1\r\nHost: t\r\n{}\r\n",
                "X: y\r\n".repeat(MAX_HEADERS)
            ),
            431,
        ),
        (
            format!(
                "GET / HTTP/1.1\r\nHost: t\r\n{}\r\n",
                "X: y\r\n".repeat(MAX_HEADERS - 2)
            ),
            404,
        ),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), 404),
    ] {
        let (peer, _ended) = conversation();
        let (mut hears, mut speaks) = tokio::io::split(peer);
        let speaking = tokio::spawn(async move {
            let _ = speaks.write_all(head.as_bytes()).await;
            head
        });
        let mut answer = [0; 12];
        hears.read_exact(&mut answer).await.unwrap();
        let shown = String::from_utf8_lossy(&answer).into_owned();
        drop(hears);
        let head = speaking.await.unwrap();
        assert!(
            shown.ends_with(&status.to_string()),
            "{shown}: {}…",
            &head[..40.min(head.len())]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_busy_from_the_head_to_the_last_byte_of_the_answer() {
    let seats = Seats::new(1);
    let seat = seats.take(IpAddr::from([192, 0, 2, 1])).unwrap();
    let holder = seat.holder();
    let (mut peer, _ended) = conversation_on(seat);
    peer.write_all(b"GET /large HTTP/1.1\r\n").await.unwrap();
    sleep(Duration::from_millis(1)).await;
    assert!(!holder.is_busy(), "a head that has not ended is no request");
    peer.write_all(b"Host: t\r\n\r\n").await.unwrap();
    sleep(Duration::from_millis(1)).await;
    assert!(holder.is_busy());
    let mut taken = 0;
    while taken <= LARGE {
        assert!(holder.is_busy());
        taken += peer.read(&mut vec![0; 1 << 16]).await.unwrap();
    }
    sleep(Duration::from_millis(1)).await;
    assert!(!holder.is_busy());
}

#[tokio::test(start_paused = true)]
async fn a_seat_that_is_lost_ends_its_connection_at_once() {
    let seats = Seats::new(1);
    let (mut peer, ended) = conversation_on(seats.take(IpAddr::from([192, 0, 2, 1])).unwrap());
    let begun = Instant::now();
    let _newcomer = seats.take(IpAddr::from([192, 0, 2, 2])).unwrap();
    ended.await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(peer.read(&mut [0; 1]).await.unwrap(), 0);
}

#[test]
fn who_is_turned_away_is_counted_and_does_not_fill_the_log() {
    let begun = std::time::Instant::now();
    let mut counted = Counted::default();
    assert_eq!(counted.one_more(begun), Some(1));
    for _ in 0..1000 {
        assert_eq!(counted.one_more(begun + TOLD_EVERY / 2), None);
    }
    assert_eq!(counted.one_more(begun + TOLD_EVERY), Some(1001));
    assert_eq!(counted.one_more(begun + TOLD_EVERY), None);
}

#[tokio::test]
async fn the_words_for_no_room_are_those_of_a_problem() {
    let told = std::str::from_utf8(NO_ROOM).unwrap();
    let (head, body) = told.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains(&format!("Content-Length: {}", body.len())),
        "{told}"
    );
    let problem = Problem::unavailable("every connection is in use (admin.max_connections)").into_response();
    let same = to_bytes(problem.into_body(), usize::MAX).await.unwrap();
    let read = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).unwrap();
    assert_eq!(read(body.as_bytes()), read(&same));
}

#[tokio::test(start_paused = true)]
async fn who_follows_is_left_alone_however_little_there_is_to_say() {
    let (mut peer, _ended) = conversation();
    peer.write_all(b"GET /follow/2/15 HTTP/1.1\r\nHost: t\r\n\r\n")
        .await
        .unwrap();
    let begun = Instant::now();
    let mut read = String::new();
    while begun.elapsed() < Duration::from_secs(3600) {
        let mut piece = [0; 512];
        let length = peer.read(&mut piece).await.unwrap();
        assert!(length > 0, "ended after {:?}", begun.elapsed());
        read.push_str(std::str::from_utf8(&piece[..length]).unwrap());
    }
    assert_eq!(read.matches("\r\nxx\r\n").count(), 3600 / 15, "each at its time");
}

#[tokio::test(start_paused = true)]
async fn who_follows_hears_the_end_of_the_listener_and_who_does_not_take_it_is_cut_off() {
    // One that reads: the answer ends as it should.
    let (mut peer, ended, ending) = conversation_to_its_end(a_seat());
    peer.write_all(b"GET /follow/2/15 HTTP/1.1\r\nHost: t\r\n\r\n")
        .await
        .unwrap();
    sleep(Duration::from_secs(20)).await;
    let begun = Instant::now();
    drop(ending);
    let answer = read_all(&mut peer).await;
    assert!(answer.ends_with("xx\r\n0\r\n\r\n"), "{answer}");
    ended.await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);

    // One that does not, and more has been said than goes into its buffer.
    let (mut peer, ended, ending) = conversation_to_its_end(a_seat());
    peer.write_all(b"GET /follow/65536/1 HTTP/1.1\r\nHost: t\r\n\r\n")
        .await
        .unwrap();
    sleep(Duration::from_secs(5)).await;
    let begun = Instant::now();
    drop(ending);
    ended.await.unwrap();
    assert_eq!(begun.elapsed(), FAREWELL);
}

#[tokio::test(start_paused = true)]
async fn who_follows_and_does_not_read_is_let_go() {
    let (mut peer, ended) = conversation();
    peer.write_all(b"GET /follow/65536/1 HTTP/1.1\r\nHost: t\r\n\r\n")
        .await
        .unwrap();
    let begun = Instant::now();
    ended.await.unwrap();
    let waited = begun.elapsed();
    assert!(
        (PACE_WITHIN..PACE_WITHIN + 4 * LINGER).contains(&waited),
        "{waited:?}"
    );
}

#[tokio::test]
async fn the_words_for_speaking_without_tls_are_those_of_a_problem() {
    let told = std::str::from_utf8(SPEAK_TLS).unwrap();
    let (head, body) = told.split_once("\r\n\r\n").unwrap();
    assert!(
        head.ends_with(&format!("Content-Length: {}", body.len())),
        "{} bytes: {told}",
        body.len()
    );
    let problem =
        Problem::malformed("TLS is spoken here; accepted: an address with https://").into_response();
    let same = to_bytes(problem.into_body(), usize::MAX).await.unwrap();
    let read = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).unwrap();
    assert_eq!(read(body.as_bytes()), read(&same));
}

/// So many bytes every so many seconds, until the listener ends.
async fn follow(
    Path((bytes, seconds)): Path<(usize, u64)>,
    Extension(holder): Extension<Holder>,
    Extension(ending): Extension<Ending>,
) -> Body {
    holder.known(KeyId::new(1), Role::Read).unwrap();
    holder.follows();
    Body::from_stream(stream::unfold(ending, move |mut ending| async move {
        tokio::select! {
            () = ending.comes() => None,
            () = sleep(Duration::from_secs(seconds)) => Some((Ok::<_, io::Error>(vec![b'x'; bytes]), ending)),
        }
    }))
}

/// A connection with a seat of its own, and when it has ended.
fn conversation() -> (DuplexStream, JoinHandle<()>) {
    conversation_on(a_seat())
}

fn a_seat() -> Seat {
    Seats::new(1).take(IpAddr::from([192, 0, 2, 1])).unwrap()
}

fn conversation_on(seat: Seat) -> (DuplexStream, JoinHandle<()>) {
    let (peer, ended, ending) = conversation_to_its_end(seat);
    let ended = tokio::spawn(async move {
        ended.await.unwrap();
        drop(ending);
    });
    (peer, ended)
}

/// With what is dropped when the listener ends.
fn conversation_to_its_end(seat: Seat) -> (DuplexStream, JoinHandle<()>, watch::Sender<()>) {
    let router = Router::new()
        .route(
            "/body",
            post(
                async |call: Call| match to_bytes(call.into_body(), usize::MAX).await {
                    Ok(bytes) => bytes.len().to_string().into_response(),
                    Err(error) => broken_off(&error).into_response(),
                },
            ),
        )
        .route("/large", get(async || vec![b'x'; LARGE]))
        .route("/follow/{bytes}/{seconds}", get(follow));
    let (peer, ours) = duplex(16 * 1024);
    let (ending, end) = watch::channel(());
    let ended = tokio::spawn(converse(ours, None, router, seat, end));
    (peer, ended, ending)
}

async fn read_until(stream: &mut TcpStream, end: &str) {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        read.push(stream.read_u8().await.unwrap());
    }
}

async fn read_all(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    String::from_utf8(all).unwrap()
}

const LARGE: usize = 512 * 1024;
