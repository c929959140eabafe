//! Wrong keys. Whoever sends many is answered later and later; who has a right one is not slowed down,
//! from the same address or any other. A guesser could open more connections instead: what it takes to
//! find a key is the key's own length, and this only keeps the noise down.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::time::Timestamp;

/// Wrong keys that are answered at once: those of a program that somebody is still setting up.
const BURST: f64 = 20.0;

/// How many more of them a second makes good: ten a minute.
const A_SECOND: f64 = 10.0 / 60.0;

/// What each further one adds to the wait.
const STEP: Duration = Duration::from_millis(100);

/// The longest wait. A connection that says nothing at all may stay longer, so nobody can hold more of
/// them by guessing.
const LONGEST: Duration = Duration::from_secs(2);

/// Addresses remembered; further ones share one account.
const MAX_PEERS: usize = 4096;

/// Pause between two looks for accounts that can be closed, where there is no room for more.
const SWEEP_PAUSE: Duration = Duration::from_mins(1);

/// Wrong keys by the address they came from.
#[derive(Debug, Default)]
pub struct Guesses(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    accounts: HashMap<IpAddr, Account>,
    swept: Timestamp,
}

/// What an address has used of its burst.
#[derive(Clone, Copy, Debug)]
struct Account {
    wrong: f64,
    as_of: Timestamp,
}

impl Account {
    fn at(self, now: Timestamp) -> Self {
        let forgiven = now.since(self.as_of).as_secs_f64() * A_SECOND;
        Self {
            wrong: (self.wrong - forgiven).max(0.0),
            as_of: now,
        }
    }
}

impl Guesses {
    /// Counts a wrong key and says how long its answer is to wait.
    pub fn count(&self, peer: IpAddr, now: Timestamp) -> Duration {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = book.place(network(peer), now);
        let account = book.accounts.entry(peer).or_insert(Account {
            wrong: 0.0,
            as_of: now,
        });
        let before = account.at(now).wrong;
        // Beyond what makes the longest wait nothing is owed: one who stops is soon like any other.
        let most = BURST + LONGEST.as_secs_f64() / STEP.as_secs_f64();
        *account = Account {
            wrong: (before + 1.0).min(most),
            as_of: now,
        };
        let beyond = account.wrong - BURST;
        if beyond > 0.0 && before <= BURST {
            tracing::warn!(
                %peer,
                "many wrong client keys from {peer}: they are answered late from now on"
            );
        }
        STEP.mul_f64(beyond.max(0.0)).min(LONGEST)
    }
}

impl Book {
    /// The address itself, or the one that stands for all that are not remembered.
    fn place(&mut self, peer: IpAddr, now: Timestamp) -> IpAddr {
        if self.accounts.len() < MAX_PEERS || self.accounts.contains_key(&peer) {
            return peer;
        }
        if now.since(self.swept) >= SWEEP_PAUSE {
            self.swept = now;
            self.accounts
                .retain(|_, account| account.at(now).wrong > 0.0);
        }
        if self.accounts.len() < MAX_PEERS {
            return peer;
        }
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    }
}

/// One account for all addresses of whoever owns one: an IPv6 network of 64 bits.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1000);

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn is_first_step(wait: Duration) -> bool {
        wait > STEP / 2 && wait < STEP * 2
    }

    #[test]
    fn a7_who_guesses_on_and_on_waits_longer_and_longer_up_to_a_limit() {
        let (guesses, peer) = (Guesses::default(), address("192.0.2.1"));
        let waits: Vec<_> = (0..1000).map(|_| guesses.count(peer, NOW)).collect();
        assert!(waits[..20].iter().all(Duration::is_zero), "{waits:?}");
        assert!(is_first_step(waits[20]), "{waits:?}");
        assert!(waits.is_sorted() && waits[999] == LONGEST, "{waits:?}");
        assert_eq!(guesses.count(address("192.0.2.2"), NOW), Duration::ZERO);
        // Ten a minute are forgiven, and never more than those that made a difference were owed.
        let later = NOW + Duration::from_mins(2);
        assert!(is_first_step(guesses.count(peer, later)));
        let later = NOW + Duration::from_mins(10);
        assert_eq!(guesses.count(peer, later), Duration::ZERO);
    }

    #[test]
    fn all_addresses_of_a_network_are_one_guesser() {
        let guesses = Guesses::default();
        for host in 0..20 {
            guesses.count(address(&format!("2001:db8::{host:x}")), NOW);
        }
        let wait = guesses.count(address("2001:db8::ffff"), NOW);
        assert!(is_first_step(wait), "{wait:?}");
        assert_eq!(
            guesses.count(address("2001:db8:0:1::1"), NOW),
            Duration::ZERO
        );
    }

    #[test]
    fn so_many_addresses_that_no_more_can_be_remembered_are_one_guesser() {
        let guesses = Guesses::default();
        for number in 0..100_000_u32 {
            guesses.count(IpAddr::V4(number.into()), NOW);
        }
        let remembered = guesses.0.lock().expect("nobody else").accounts.len();
        assert_eq!(remembered, MAX_PEERS + 1);
        assert_eq!(guesses.count(address("203.0.113.1"), NOW), LONGEST);
        // One that was remembered keeps its own account.
        assert_eq!(guesses.count(IpAddr::V4(7.into()), NOW), Duration::ZERO);
        let later = NOW + Duration::from_hours(1);
        assert_eq!(guesses.count(address("203.0.113.1"), later), Duration::ZERO);
    }
}
