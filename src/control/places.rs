//! Places for what lasts, and who has them: so that nobody takes all of them.
//!
//! There are so many places in all, and one actor, which is whoever has one key, has a share of them at most.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Duration, sleep};

use crate::fleet::Actor;

/// Places.
#[derive(Debug)]
pub struct Places {
    bound: usize,
    share: usize,
    all: Arc<Semaphore>,
    /// What is left to each who has a place, or waits for one.
    shares: Mutex<HashMap<Actor, Arc<Semaphore>>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Place {
    _own: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

/// There is no place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Full {
    /// All are taken, this many.
    All(usize),
    /// Whoever asks has as many as one may have.
    Share {
        /// Who.
        actor: Actor,
        /// How many.
        share: usize,
    },
}

impl Places {
    /// So many places, of which one actor may have `share`.
    #[must_use]
    pub fn new(bound: usize, share: usize) -> Places {
        Places {
            bound,
            share,
            all: Arc::new(Semaphore::new(bound)),
            shares: Mutex::default(),
        }
    }

    /// A place, if there is one.
    ///
    /// # Errors
    /// There is none.
    pub fn take(&self, actor: &Actor) -> Result<Place, Full> {
        let own = self.share_of(actor).try_acquire_owned();
        let own = own.map_err(|_| self.no_share(actor))?;
        let of_all = Arc::clone(&self.all).try_acquire_owned();
        Ok(Place {
            _own: own,
            _of_all: of_all.map_err(|_| Full::All(self.bound))?,
        })
    }

    /// A place, as soon as there is one.
    ///
    /// # Errors
    /// There is none for so long.
    pub async fn wait(&self, actor: &Actor, at_most: Duration) -> Result<Place, Full> {
        let mut over = pin!(sleep(at_most));
        // Who waits for what another one of his own has, stands in nobody's way.
        let own = tokio::select! {
            biased;
            own = self.share_of(actor).acquire_owned() => own.expect(NEVER_CLOSED),
            () = &mut over => return Err(self.no_share(actor)),
        };
        let of_all = tokio::select! {
            biased;
            of_all = Arc::clone(&self.all).acquire_owned() => of_all.expect(NEVER_CLOSED),
            () = &mut over => return Err(Full::All(self.bound)),
        };
        Ok(Place {
            _own: own,
            _of_all: of_all,
        })
    }

    fn share_of(&self, actor: &Actor) -> Arc<Semaphore> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        // Each place and each who waits has a part of it.
        shares.retain(|_, share| Arc::strong_count(share) > 1);
        let share = shares.entry(actor.clone());
        Arc::clone(share.or_insert_with(|| Arc::new(Semaphore::new(self.share))))
    }

    fn no_share(&self, actor: &Actor) -> Full {
        Full::Share {
            actor: actor.clone(),
            share: self.share,
        }
    }
}

const NEVER_CLOSED: &str = "nobody closes a semaphore of places";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_who_takes_all_that_he_may_leaves_places_for_others() {
        let places = Places::new(4, 3);
        let [greedy, other] = ["greedy", "other"].map(Actor::named);
        let mut taken: Vec<Place> = (0..3).map(|_| places.take(&greedy).unwrap()).collect();
        let share = Full::Share {
            actor: greedy.clone(),
            share: 3,
        };
        assert_eq!(places.take(&greedy).unwrap_err(), share);
        let last = places.take(&other).unwrap();
        assert_eq!(places.take(&other).unwrap_err(), Full::All(4));
        taken.pop();
        taken.push(places.take(&greedy).unwrap());
        assert_eq!(places.take(&other).unwrap_err(), Full::All(4));
        drop((taken, last));
        places.take(&other).unwrap();
        assert_eq!(
            places.shares.lock().unwrap().len(),
            1,
            "who has left is forgotten"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_his_own_is_told_so_and_keeps_nobody_from_a_place() {
        const LONG: Duration = Duration::from_secs(10);
        let places = Places::new(4, 2);
        let [greedy, other] = ["greedy", "other"].map(Actor::named);
        let taken = [(); 2].map(|()| places.take(&greedy).unwrap());
        let (refused, place) = tokio::join!(places.wait(&greedy, LONG), places.wait(&other, Duration::ZERO));
        let share = Full::Share {
            actor: greedy.clone(),
            share: 2,
        };
        assert_eq!(refused.unwrap_err(), share);
        place.unwrap();
        let (place, ()) = tokio::join!(places.wait(&greedy, LONG), async { drop(taken) });
        place.unwrap();
    }
}
