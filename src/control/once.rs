//! Requests that name themselves, so that each has one effect however often it is sent.
//!
//! 1. [`Control::once`] says what became of the request before, and holds its place while it is under way.
//! 2. The first command that [`Claim::carry_out`]'s work orders notes the request in its own commit: there is no moment
//!    in which the effect is kept and the request is not.
//! 3. [`Claim::answered`] keeps the answer beside it. Between the two a crash loses the answer, never the note.
//!
//! How the command gets to know is the one thing that goes past the arguments: a variable of the task that carries the
//! request out. So no command can forget to pass it on.

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinHandle;

use super::batch::{Batch, Decision, Stop};
use super::error::ControlError;
use super::handle::Control;
use crate::clock;
use crate::fleet::{Actor, Digest};
use crate::store::{KeptAnswer, OnceKey};

tokio::task_local! {
    /// The request that is being carried out, until its first command has taken it.
    static CARRIED_OUT: Cell<Option<OnceKey>>;
}

/// The scopes of requests under way.
pub type UnderWay = Arc<Mutex<HashSet<Digest>>>;

/// What became of a request before.
#[derive(Debug)]
pub enum Before {
    /// Nothing: it is to be carried out, by whoever holds this.
    New(Claim),
    /// It is being carried out.
    UnderWay,
    /// Another request had this name.
    Other,
    /// It had its effect, and was answered so.
    Answered(KeptAnswer),
    /// It had its effect, and the process ended before its answer was kept.
    AnswerLost,
}

/// A request's place while it is carried out.
#[derive(Debug)]
pub struct Claim {
    key: OnceKey,
    control: Control,
}

impl Control {
    /// What became of a request before, in the last [`KEPT_MS`].
    ///
    /// # Errors
    /// The store fails.
    pub async fn once(&self, key: OnceKey) -> Result<Before, ControlError> {
        let place = {
            let mut under_way = self
                .shared
                .under_way
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            under_way.insert(key.scope)
        };
        if !place {
            return Ok(Before::UnderWay);
        }
        // First the place, then the look: who had the place before has noted everything.
        let claim = Claim {
            key,
            control: self.clone(),
        };
        let expired_ms = clock::unix_ms() - KEPT_MS;
        let found = self.shared.store.first_answer(&key.scope, expired_ms).await?;
        Ok(match found {
            None => Before::New(claim),
            Some(found) if found.request != key.request => Before::Other,
            Some(found) => found.answer.map_or(Before::AnswerLost, Before::Answered),
        })
    }
}

impl Claim {
    /// Runs `work`, whose first command is noted as this request's.
    pub async fn carry_out<T>(&self, work: impl Future<Output = T>) -> T {
        CARRIED_OUT.scope(Cell::new(Some(self.key)), work).await
    }

    /// Keeps what the request was answered, if it had an effect; `None` if it had none after all. The place is free then.
    ///
    /// # Errors
    /// The store fails.
    pub async fn answered(self, answer: Option<KeptAnswer>) -> Result<(), ControlError> {
        let key = self.key;
        self.control.order(KeepAnswer { key, answer }).await
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let shared = &self.control.shared;
        let mut under_way = shared.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.remove(&self.key.scope);
    }
}

/// The request that the current task carries out, for its first command.
pub fn carried_out() -> Option<OnceKey> {
    CARRIED_OUT.try_with(Cell::take).ok().flatten()
}

/// Has some work go on whether or not anybody waits for it, as a part of the request that the current task carries out.
pub fn go_on<F>(work: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    match carried_out() {
        Some(key) => tokio::spawn(CARRIED_OUT.scope(Cell::new(Some(key)), work)),
        None => tokio::spawn(work),
    }
}

/// Notes in the batch that a request has its effect there.
///
/// # Errors
/// The store fails.
pub async fn note(key: OnceKey, batch: &mut Batch) -> Result<(), Stop> {
    let at_ms = batch.at_ms;
    Ok(batch.tx.insert_first_answer(key, at_ms, at_ms - KEPT_MS).await?)
}

struct KeepAnswer {
    key: OnceKey,
    answer: Option<KeptAnswer>,
}

impl Decision for KeepAnswer {
    type Answer = ();

    fn actor(&self) -> Option<&Actor> {
        None
    }

    // Of a request that had its effect: it is as long as that.
    fn is_vital(&self) -> bool {
        true
    }

    async fn decide(self, batch: &mut Batch) -> Result<(), Stop> {
        match &self.answer {
            Some(answer) => batch.tx.set_first_answer(self.key, answer).await?,
            None => batch.tx.delete_first_answer(self.key).await?,
        }
        Ok(())
    }
}

/// How long an answer is given again: a day, as the API promises.
const KEPT_MS: i64 = 24 * 3600 * 1000;
