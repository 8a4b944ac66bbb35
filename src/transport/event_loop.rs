//! A shard's thread: waits for sockets, messages and timers, and gives each its turn.
//!
//! A turn does its work in this order, each step with a budget, so that none starves another:
//!
//! 1. completions and commands from other threads,
//! 2. timers that are due,
//! 3. datagrams, a few batches per socket, answers leaving after each batch,
//! 4. datagrams that other shards passed on,
//! 5. notifications to observers.
//!
//! Only when nothing of it is left does the thread wait.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;
use tracing::debug;

use super::handler::{Handler, KeySource};
use super::inbox::{Forwarded, Inbox, Message};
use super::shard::Shard;
use super::udp::{Path, ReceiveBatch, SendQueue, Socket, WatchedSocket};
use crate::clock;
use crate::telemetry::{DropReason, GatewayEvent};

/// Runs `shard` on `sockets` until it is drained.
///
/// # Errors
/// When a socket cannot be watched or fails for good.
pub async fn run<H: Handler, K: KeySource<Device = H::Device>>(
    shard: &mut Shard<H, K>,
    sockets: Vec<Socket>,
    mut inbox: Inbox<H::Device>,
) -> io::Result<()> {
    let sockets = sockets
        .into_iter()
        .map(Socket::watch)
        .collect::<io::Result<Vec<_>>>()?;
    let mut batches: Vec<ReceiveBatch> = sockets.iter().map(|_| ReceiveBatch::new()).collect();
    let mut out = SendQueue::new();
    let mut sleep = Box::pin(tokio::time::sleep_until(clock::now().into()));
    let mut woken = Woken {
        message: None,
        forwarded: None,
    };
    let mut blocked = None;

    while !shard.is_over() || !out.is_empty() {
        let mut more = false;

        shard.set_time(clock::now(), clock::unix_ms());
        let mut budget = MESSAGES_PER_TURN;
        while let Some(message) = woken.message.take().or_else(|| inbox.messages.try_recv().ok()) {
            shard.handle_message(message, &mut out);
            budget -= 1;
            if budget == 0 {
                more = true;
                break;
            }
        }
        more |= shard.handle_timers(TIMERS_PER_TURN, &mut out);
        flush(shard, &sockets, &mut out, &mut blocked);

        for (listener, (socket, batch)) in sockets.iter().zip(&mut batches).enumerate() {
            let mut reads = 0;
            while blocked.is_none() {
                match socket.receive(batch) {
                    Ok(dropped) => {
                        shard.set_time(clock::now(), clock::unix_ms());
                        receive(shard, batch, dropped, listener as u8, &mut out);
                        flush(shard, &sockets, &mut out, &mut blocked);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // The kernel may report on a read that something sent earlier did not arrive; nothing follows from it.
                    Err(error) => debug!(%error, "read failed"),
                }
                reads += 1;
                if reads == READS_PER_TURN {
                    more = true;
                    break;
                }
            }
        }

        let mut budget = FORWARDS_PER_TURN;
        while let Some(mut forwarded) = woken.forwarded.take().or_else(|| inbox.forwards.try_recv().ok()) {
            shard.handle_forwarded(&mut forwarded, &mut out);
            budget -= 1;
            if budget == 0 {
                more = true;
                break;
            }
        }
        if blocked.is_none() {
            more |= shard.notify_observers(NOTIFICATIONS_PER_TURN, &mut out);
        }
        flush(shard, &sockets, &mut out, &mut blocked);

        if more && blocked.is_none() {
            // Lets the runtime look at the sockets and timers.
            tokio::task::yield_now().await;
        } else if !shard.is_over() || blocked.is_some() {
            let deadline = shard.next_deadline();
            wait(&sockets, &mut inbox, &mut woken, blocked, deadline, &mut sleep).await?;
            blocked = None;
        }
    }
    Ok(())
}

struct Woken<D> {
    message: Option<Message<D>>,
    forwarded: Option<Forwarded>,
}

fn receive<H: Handler, K: KeySource<Device = H::Device>>(
    shard: &mut Shard<H, K>,
    batch: &mut ReceiveBatch,
    dropped: u32,
    listener: u8,
    out: &mut SendQueue,
) {
    for _ in 0..dropped {
        shard.count(GatewayEvent::DatagramDropped(DropReason::ReceiveOverflow));
    }
    shard.count(GatewayEvent::DatagramsReceived(batch.len() as u32));
    for index in 0..batch.len() {
        let (received, bytes) = batch.datagram(index);
        if received.length.is_none() {
            shard.count(GatewayEvent::DatagramDropped(DropReason::Truncated));
            continue;
        }
        let path = Path {
            peer: received.peer,
            local: received.local,
            listener,
        };
        shard.handle_datagram(path, bytes, out);
    }
}

fn flush<H: Handler, K: KeySource<Device = H::Device>>(
    shard: &mut Shard<H, K>,
    sockets: &[WatchedSocket],
    out: &mut SendQueue,
    blocked: &mut Option<u8>,
) {
    if out.is_empty() || blocked.is_some() {
        return;
    }
    let flushed = out.flush(sockets);
    *blocked = flushed.blocked;
    shard.count(GatewayEvent::DatagramsSent(flushed.sent));
    for _ in 0..flushed.refused {
        shard.count(GatewayEvent::DatagramDropped(DropReason::SendFailed));
    }
}

/// Waits until something is to be done, without allocating and without taking a side.
async fn wait<D>(
    sockets: &[WatchedSocket],
    inbox: &mut Inbox<D>,
    woken: &mut Woken<D>,
    blocked: Option<u8>,
    deadline: Instant,
    sleep: &mut Pin<Box<Sleep>>,
) -> io::Result<()> {
    sleep.as_mut().reset(deadline.into());
    std::future::poll_fn(|context| {
        let mut ready = sleep.as_mut().poll(context).is_ready();
        ready |= poll_inbox(inbox, woken, context);
        match blocked {
            // While the kernel takes no more, reading on would only fill our own memory.
            Some(listener) => {
                if let Poll::Ready(outcome) = sockets[usize::from(listener)].poll_writable(context) {
                    outcome?;
                    ready = true;
                }
            }
            None => {
                for socket in sockets {
                    if let Poll::Ready(outcome) = socket.poll_readable(context) {
                        outcome?;
                        ready = true;
                    }
                }
            }
        }
        if ready { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

fn poll_inbox<D>(inbox: &mut Inbox<D>, woken: &mut Woken<D>, context: &mut Context<'_>) -> bool {
    if let Poll::Ready(Some(message)) = inbox.messages.poll_recv(context) {
        woken.message = Some(message);
    }
    if let Poll::Ready(Some(forwarded)) = inbox.forwards.poll_recv(context) {
        woken.forwarded = Some(forwarded);
    }
    woken.message.is_some() || woken.forwarded.is_some()
}

// The budgets of a turn. Guesses: each step takes well under a millisecond, so that a turn stays below two.
const MESSAGES_PER_TURN: usize = 256;
const TIMERS_PER_TURN: usize = 256;
const READS_PER_TURN: usize = 4;
const FORWARDS_PER_TURN: usize = 64;
const NOTIFICATIONS_PER_TURN: usize = 128;
