//! Guessing API keys, slowed: by network, because who guesses has many connections.
//!
//! 1. A network, which is an IPv4 address or the /64 of an IPv6 one, may be wrong [`FREE`] times. With every further wrong key it
//!    has to wait, twice as long as before, from a second to [`LONGEST`]; what it sends meanwhile is not looked at and not counted.
//!    The same goes for a site, which is a /48 and has 65 536 such networks, after [`FREE_OF_SITE`] times.
//! 2. The same wrong key again is no guess: a script that was left with a revoked one does not shut its neighbours out.
//! 3. Behind one address there may be many, all operators of a gateway behind a proxy among them. So a key that the gateway made
//!    goes on being good while that network waits: nobody guesses 256 random bits, whatever the answers tell.
//! 4. A key that somebody has chosen may be guessed. It goes on being good where it was good within [`STANDING`]; elsewhere it
//!    waits with the wrong ones, right or not: or else the wait would tell which.
//! 5. No network of another site ever notices.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

use super::seats::{network, site};
use crate::clock;
use crate::fleet::KeyId;
use crate::telemetry::{self, GatewayEvent, KeyRefusal};

/// What everybody who takes keys asks.
#[derive(Debug, Clone, Default)]
pub struct Guard(Arc<Mutex<Guesses>>);

impl Guard {
    /// Whether the answer to a key from `address` may be given: `found` is the key that `secret` is, if it is one, and
    /// whether it can be guessed.
    ///
    /// # Errors
    /// Who is there has to wait, and is not told whether it was right.
    pub fn judge(&self, address: IpAddr, secret: &str, found: Option<Found>) -> Result<(), Wait> {
        let mut guesses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        guesses.judge(address, secret, found, clock::now())
    }

    /// Whether one more may sign in to the console with a key.
    ///
    /// # Errors
    /// Too many have of late.
    pub fn sign_in(&self, key: KeyId) -> Result<(), Wait> {
        let mut guesses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        guesses.sign_in(key, clock::now())
    }
}

/// A key that was asked with.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// Which one.
    pub key: KeyId,
    /// Whether somebody has chosen it, and somebody else may guess it.
    pub chosen: bool,
}

/// Who has been wrong of late, and who right.
#[derive(Debug, Default)]
pub struct Guesses {
    wrong: HashMap<Area, Wrong>,
    /// When a key was last good from a network.
    good: HashMap<(IpAddr, KeyId), Instant>,
    /// Up to when the sign-ins of a key are spent, at one every [`SIGN_IN_EVERY`].
    signed_in: HashMap<KeyId, Instant>,
    hasher: RandomState,
}

/// Where somebody is who may have more than one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Area {
    Network(IpAddr),
    /// The /48 that a subscriber with many networks is given.
    Site(IpAddr),
}

impl Area {
    /// Those that an address is in.
    fn around(address: IpAddr) -> impl Iterator<Item = Self> {
        let network = network(address);
        let site = network.is_ipv6().then(|| Self::Site(site(network)));
        std::iter::once(Self::Network(network)).chain(site)
    }

    /// How many wrong keys cost it nothing.
    fn free(self) -> u32 {
        match self {
            Self::Network(_) => FREE,
            Self::Site(_) => FREE_OF_SITE,
        }
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(IpAddr::V4(address)) => address.fmt(f),
            Self::Network(IpAddr::V6(network)) => write!(f, "{network}/64"),
            Self::Site(site) => write!(f, "{site}/48"),
        }
    }
}

/// What somebody there has got wrong.
#[derive(Debug)]
struct Wrong {
    times: u32,
    last: Instant,
    /// The last different ones, hashed.
    seen: VecDeque<u64>,
    until: Instant,
}

/// How long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait(pub Duration);

impl Guesses {
    /// See [`Guard::judge`].
    pub fn judge(
        &mut self,
        address: IpAddr,
        secret: &str,
        found: Option<Found>,
        now: Instant,
    ) -> Result<(), Wait> {
        let waits = self.check(address, now);
        match found {
            Some(Found { chosen: false, .. }) => Ok(()),
            Some(Found { key, .. }) if waits.is_ok() || self.is_in_standing(address, key, now) => {
                self.passed(address, key, now);
                Ok(())
            }
            None if waits.is_ok() => {
                telemetry::emit(GatewayEvent::KeyRefused(KeyRefusal::Wrong));
                self.failed(address, secret, now);
                Ok(())
            }
            Some(_) | None => {
                telemetry::emit(GatewayEvent::KeyRefused(KeyRefusal::NotLookedAt));
                waits
            }
        }
    }

    /// Whether who is there has to wait.
    ///
    /// # Errors
    /// It has to.
    pub fn check(&self, address: IpAddr, now: Instant) -> Result<(), Wait> {
        let wrong = Area::around(address).filter_map(|area| self.wrong.get(&area));
        match wrong
            .map(|wrong| wrong.until.saturating_duration_since(now))
            .max()
        {
            None | Some(Duration::ZERO) => Ok(()),
            Some(left) => Err(Wait(left)),
        }
    }

    /// A wrong key came.
    pub fn failed(&mut self, address: IpAddr, secret: &str, now: Instant) {
        let hash = self.hasher.hash_one(secret);
        for area in Area::around(address) {
            self.failed_in(area, hash, now);
        }
    }

    fn failed_in(&mut self, area: Area, hash: u64, now: Instant) {
        if !self.wrong.contains_key(&area) && self.wrong.len() >= NETWORKS {
            // Those that wait stay, or else who has as many addresses would have new guesses with each.
            forget_oldest(&mut self.wrong, |wrong| (wrong.until > now, wrong.last));
        }
        let wrong = self.wrong.entry(area).or_insert_with(|| Wrong {
            times: 0,
            last: now,
            seen: VecDeque::new(),
            until: now,
        });
        if now.saturating_duration_since(wrong.last) >= FORGIVEN {
            wrong.times = 0;
        }
        wrong.last = now;
        if wrong.seen.contains(&hash) {
            return;
        }
        if wrong.seen.len() == SEEN {
            wrong.seen.pop_front();
        }
        wrong.seen.push_back(hash);
        wrong.times = wrong.times.saturating_add(1);
        if let Some(beyond @ 1..) = wrong.times.checked_sub(area.free()) {
            let doubled = 1_u32.checked_shl(beyond - 1).unwrap_or(u32::MAX);
            wrong.until = now + SHORTEST.saturating_mul(doubled).min(LONGEST);
            if beyond == 1 {
                warn!(network = %area, times = wrong.times, "wrong API keys; who is there has to wait from here on");
            }
        }
    }

    /// A good key came.
    pub fn passed(&mut self, address: IpAddr, key: KeyId, now: Instant) {
        let place = (network(address), key);
        if !self.good.contains_key(&place) && self.good.len() >= IN_STANDING {
            forget_oldest(&mut self.good, |last| *last);
        }
        self.good.insert(place, now);
    }

    /// See [`Guard::sign_in`].
    pub fn sign_in(&mut self, key: KeyId, now: Instant) -> Result<(), Wait> {
        self.signed_in.retain(|_, spent| *spent > now);
        let spent = self.signed_in.entry(key).or_insert(now);
        let after = *spent + SIGN_IN_EVERY;
        let wait = after.saturating_duration_since(now + SIGN_IN_EVERY * SIGN_INS_AT_ONCE);
        if wait.is_zero() {
            *spent = after;
            return Ok(());
        }
        Err(Wait(wait))
    }

    fn is_in_standing(&self, address: IpAddr, key: KeyId, now: Instant) -> bool {
        let last = self.good.get(&(network(address), key));
        last.is_some_and(|&last| now.saturating_duration_since(last) < STANDING)
    }
}

fn forget_oldest<K: Copy + Eq + std::hash::Hash, V, L: Ord>(map: &mut HashMap<K, V>, last: impl Fn(&V) -> L) {
    let oldest = map
        .iter()
        .min_by_key(|(_, value)| last(value))
        .map(|(key, _)| *key);
    if let Some(oldest) = oldest {
        map.remove(&oldest);
    }
}

/// Different wrong keys that cost nothing: somebody who pastes the wrong thing, or from the wrong installation.
const FREE: u32 = 10;
/// The same of a whole site, in which many may be.
const FREE_OF_SITE: u32 = 100;

/// The first wait, doubled with each further wrong key up to the longest: 288 guesses a day then.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);

/// After so long without a wrong key all is forgiven.
const FORGIVEN: Duration = Duration::from_secs(3600);

/// How long a good key is remembered where it came from.
const STANDING: Duration = Duration::from_secs(24 * 3600);

/// Networks and sites that were wrong: some hundred bytes each. Past that one is forgotten that need not wait, the one that was wrong
/// longest ago: who has more addresses than that gets [`FREE`] guesses from each in turn, which is what a key has to withstand.
const NETWORKS: usize = if cfg!(test) { 4096 } else { 16_384 };

/// Chosen keys in standing, each with a network: more than any team has.
const IN_STANDING: usize = 4096;

/// Sign-ins with a key: each has a commit and a line in the audit. A reasoned guess: so many at once for whoever shares a key and
/// comes to work, and one in so much time on the average.
const SIGN_INS_AT_ONCE: u32 = 30;
const SIGN_IN_EVERY: Duration = Duration::from_secs(20);

/// Wrong keys of a network that are known again.
const SEEN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn a_network_waits_twice_as_long_each_time_and_up_to_a_bound() {
        let (mut guesses, mut now) = (Guesses::default(), clock::now());
        for n in 0..FREE {
            assert_eq!(guesses.judge(A, &n.to_string(), None, now), Ok(()));
            assert_eq!(guesses.check(A, now), Ok(()));
        }
        let mut waits = Vec::new();
        for n in 100..112 {
            guesses.judge(A, &format!("{n}"), None, now).unwrap();
            let Wait(wait) = guesses.check(A, now).unwrap_err();
            waits.push(wait.as_secs());
            let almost = now + wait - Duration::from_millis(1);
            // What comes meanwhile is not looked at, and does not make it longer.
            assert_eq!(
                guesses.judge(A, "x", None, almost),
                Err(Wait(Duration::from_millis(1)))
            );
            assert_eq!(guesses.judge(B, &format!("{n}"), Some(chosen(1)), almost), Ok(()));
            now += wait;
            assert_eq!(guesses.check(A, now), Ok(()));
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        now += FORGIVEN;
        for n in 0..FREE {
            guesses.judge(A, &format!("late {n}"), None, now).unwrap();
        }
        assert_eq!(guesses.check(A, now), Ok(()), "forgiven");
    }

    #[test]
    fn who_was_right_before_goes_on_and_who_is_right_for_the_first_time_waits_too() {
        let (mut guesses, now) = (Guesses::default(), clock::now());
        let [known, other] = [1, 2].map(chosen);
        guesses.judge(A, "known", Some(known), now).unwrap();
        shut_out(&mut guesses, A, now);
        assert_eq!(guesses.judge(A, "known", Some(known), now), Ok(()));
        assert!(
            guesses.judge(A, "other", Some(other), now).is_err(),
            "right, and not told so"
        );
        assert_eq!(guesses.judge(B, "other", Some(other), now), Ok(()));
        let later = now + SHORTEST;
        assert_eq!(guesses.judge(A, "other", Some(other), later), Ok(()));

        let much_later = later + STANDING;
        shut_out(&mut guesses, A, much_later);
        assert!(
            guesses.judge(A, "known", Some(known), much_later).is_err(),
            "not seen for long"
        );
    }

    #[test]
    fn what_nobody_can_guess_never_waits() {
        let (mut guesses, now) = (Guesses::default(), clock::now());
        shut_out(&mut guesses, A, now);
        let made = Found {
            key: KeyId::new(1),
            chosen: false,
        };
        assert_eq!(guesses.judge(A, "tsk_", Some(made), now), Ok(()));
        assert!(guesses.judge(A, "tsk_", None, now).is_err(), "wrong ones do");
        assert!(guesses.good.is_empty(), "it needs no standing");
    }

    #[test]
    fn the_same_wrong_key_again_is_no_guess() {
        let (mut guesses, now) = (Guesses::default(), clock::now());
        for n in 0..10_000 {
            guesses
                .judge(A, &format!("revoked {}", n % 3), None, now)
                .unwrap();
        }
        assert_eq!(guesses.check(A, now), Ok(()));
    }

    #[test]
    fn a_key_signs_in_so_often_at_once_and_then_in_its_time() {
        let (mut guesses, now) = (Guesses::default(), clock::now());
        let [busy, other] = [1, 2].map(KeyId::new);
        for _ in 0..SIGN_INS_AT_ONCE {
            assert_eq!(guesses.sign_in(busy, now), Ok(()));
        }
        assert_eq!(guesses.sign_in(busy, now), Err(Wait(SIGN_IN_EVERY)));
        assert_eq!(guesses.sign_in(other, now), Ok(()));
        let later = now + SIGN_IN_EVERY;
        assert_eq!(guesses.sign_in(busy, later), Ok(()));
        assert!(
            guesses.sign_in(busy, later).is_err(),
            "refused ones are not made up for"
        );
        let much_later = now + SIGN_IN_EVERY * (SIGN_INS_AT_ONCE + 1);
        assert_eq!(guesses.sign_in(other, much_later), Ok(()));
        assert_eq!(guesses.signed_in.len(), 1, "who has all of it again is forgotten");
    }

    #[test]
    fn a_slash_64_is_one_network() {
        let (mut guesses, now) = (Guesses::default(), clock::now());
        let of = |text: &str| text.parse::<IpAddr>().unwrap();
        shut_out(&mut guesses, of("2001:db8:0:1::1"), now);
        assert!(guesses.check(of("2001:db8:0:1:9:9:9:9"), now).is_err());
        assert!(guesses.check(of("2001:db8:0:2::1"), now).is_ok());
        shut_out(&mut guesses, of("::ffff:192.0.2.1"), now);
        assert!(guesses.check(A, now).is_err());
    }

    #[test]
    fn a_flood_from_many_networks_holds_a_bounded_memory() {
        let (mut guesses, now) = (Guesses::default(), clock::now());
        for n in 0..3 * NETWORKS as u32 {
            let address = IpAddr::V4(n.into());
            let now = now + Duration::from_millis(n.into());
            guesses.judge(address, "x", None, now).unwrap();
            guesses.judge(address, "y", Some(chosen(1)), now).unwrap();
        }
        assert_eq!((guesses.wrong.len(), guesses.good.len()), (NETWORKS, IN_STANDING));
        let newest = IpAddr::V4((3 * NETWORKS as u32 - 1).into());
        assert!(guesses.wrong.contains_key(&Area::Network(newest)));
    }

    #[test]
    fn who_waits_is_not_forgotten_for_the_guesses_of_others() {
        let (mut guesses, now) = (Guesses::default(), clock::now());
        shut_out(&mut guesses, A, now);
        for n in 0..2 * NETWORKS as u32 {
            let address = IpAddr::V4((n + 1).into());
            let later = now + Duration::from_micros(n.into());
            guesses.judge(address, "x", None, later).unwrap();
        }
        assert_eq!(guesses.wrong.len(), NETWORKS);
        assert!(guesses.check(A, now).is_err());
    }

    #[test]
    fn who_has_many_networks_guesses_no_more_for_it() {
        let (mut guesses, now) = (Guesses::default(), clock::now());
        let of = |site: u16, network: u16| IpAddr::from([0x2001, 0xdb8, site, network, 0, 0, 0, 1]);
        let mut looked_at = 0;
        for n in 0..3 * NETWORKS as u16 {
            let now = now + Duration::from_micros(n.into());
            looked_at += u32::from(guesses.judge(of(1, n), &n.to_string(), None, now).is_ok());
        }
        assert_eq!(looked_at, FREE_OF_SITE + 1);
        assert!(guesses.judge(of(1, 9999), "right", Some(chosen(1)), now).is_err());
        assert_eq!(guesses.judge(of(2, 1), "right", Some(chosen(1)), now), Ok(()));
    }

    fn chosen(number: i64) -> Found {
        Found {
            key: KeyId::new(number),
            chosen: true,
        }
    }

    fn shut_out(guesses: &mut Guesses, address: IpAddr, now: Instant) {
        for n in 0..=FREE {
            guesses.failed(address, &format!("wrong {n}"), now);
        }
        assert_eq!(guesses.check(address, now), Err(Wait(SHORTEST)));
    }
}
