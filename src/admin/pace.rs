//! How slow a peer may be. Not how long it may take: an image of 1 GiB over a thin line takes hours and is welcome, a
//! peer that keeps a connection without using it is not. So the rule is one of progress: so many bytes within so long.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::BoxError;
use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Watches that bytes keep moving.
#[derive(Debug)]
pub struct Pace {
    /// Runs while the peer is waited for, from the first wait since enough has moved.
    timer: Option<Pin<Box<Sleep>>>,
    /// Since then.
    moved: usize,
}

impl Pace {
    /// A pace at which nothing was waited for yet.
    pub fn new() -> Pace {
        Pace {
            timer: None,
            moved: 0,
        }
    }

    /// So many bytes have moved.
    fn moved(&mut self, bytes: usize) {
        self.moved = self.moved.saturating_add(bytes);
        if self.moved >= PACE_BYTES {
            self.moved = 0;
            self.timer = None;
        }
    }

    /// To be asked when the peer has to be waited for: ready when that has taken too long.
    fn poll_too_slow(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(PACE_WITHIN)));
        ready!(timer.as_mut().poll(cx));
        *self = Pace::new();
        Poll::Ready(())
    }
}

/// The body of a request came too slowly.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("less than {PACE_BYTES} bytes came within {} s", PACE_WITHIN.as_secs())]
pub struct TooSlow;

impl TooSlow {
    /// Whether `error`, or what is behind it, is this.
    pub fn is_behind(error: &(dyn std::error::Error + 'static)) -> bool {
        std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<TooSlow>())
    }
}

/// The body of a request, which fails with [`TooSlow`] when it does not keep its pace.
#[derive(Debug)]
pub struct PacedBody {
    body: Body,
    pace: Pace,
}

impl PacedBody {
    /// `body`, watched.
    pub fn watch(body: Body) -> Body {
        Body::new(PacedBody {
            body,
            pace: Pace::new(),
        })
    }
}

impl HttpBody for PacedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.pace.moved(frame.data_ref().map_or(0, Bytes::len));
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                ready!(self.pace.poll_too_slow(cx));
                Poll::Ready(Some(Err(TooSlow.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection whose peer has to take what it is sent at a pace, and that says when everything has gone out.
pub struct PacedStream<T, F> {
    stream: T,
    pace: Pace,
    flushed: F,
}

impl<T, F: FnMut()> PacedStream<T, F> {
    /// `stream`, watched; `flushed` is called whenever nothing is left to be sent.
    pub fn new(stream: T, flushed: F) -> Self {
        PacedStream {
            stream,
            pace: Pace::new(),
            flushed,
        }
    }

    fn written(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.pace.moved(bytes);
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                ready!(self.pace.poll_too_slow(cx));
                let said = format!(
                    "less than {PACE_BYTES} bytes were taken within {} s",
                    PACE_WITHIN.as_secs()
                );
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, said)))
            }
        }
    }
}

impl<T: AsyncRead + Unpin, F: Unpin> AsyncRead for PacedStream<T, F> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin, F: FnMut() + Unpin> AsyncWrite for PacedStream<T, F> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        // What comes after this is another answer, waited for anew.
        self.pace = Pace::new();
        (self.flushed)();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// How much has to move within [`PACE_WITHIN`]: together some 800 bytes a second. A guess: below what the slowest line
/// of an operator's does, and far below the 64 KB/s at which an artifact of 1 GiB is still an upload of one night.
pub const PACE_BYTES: usize = 16 * 1024;

/// Longer than any retransmission of TCP that still succeeds on such a line.
pub const PACE_WITHIN: Duration = Duration::from_secs(20);
