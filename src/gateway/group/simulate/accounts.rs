//! Accounts whose tokens end: refreshed by one instance at a time, handed over to the others.

use std::rc::Rc;

use super::KEYS;
use super::instance::{Instance, patience};
use super::laws::tokens::Lock;
use super::scenario::WITH_ACCOUNTS;
use crate::credentials::Account;
use crate::credentials::refresh::is_newer;
use crate::secret::{Fingerprint, Secret};
use crate::state::redis::{Away, BACKGROUND_PATIENCE};

/// As the gateway's own: how long a lock is waited for, how often it is tried, and how long a group
/// that is away is waited for.
const LOCK_PATIENCE_MS: i64 = 35_000;
const LOCK_RETRY_MS: i64 = 50;
const AWAY_PATIENCE_MS: i64 = 2_000;

/// A token with less life left is renewed.
const MARGIN_MS: i64 = 3_000;

/// How a turn was come by.
enum Turn {
    /// With the lock, by its holder.
    Locked(String, Lock),
    /// The group is away.
    Alone,
    /// Another took too long.
    Never,
}

/// An account at the vendor's; it gives new tokens for the latest refresh token only, if it is
/// strict.
#[derive(Clone, Copy, Default)]
pub(super) struct Vendor {
    latest: u64,
}

impl Vendor {
    /// The next refresh token; `None` if it refuses.
    fn refresh(&mut self, shown: u64, is_strict: bool) -> Option<u64> {
        if shown != self.latest && is_strict {
            return None;
        }
        self.latest += 1;
        Some(self.latest)
    }
}

/// What accounts begin with.
pub(super) fn first(now_ms: i64) -> [Account; KEYS] {
    [1, 6, 20].map(|seconds| account(0, 0, now_ms + 1_000 * seconds + MARGIN_MS))
}

/// Ends of tokens are in true time.
fn account(generation: u64, serial: u64, ends_ms: i64) -> Account {
    Account {
        access_token: Some(Secret::new(&ends_ms.to_string())),
        refresh_token: Some(Secret::new(&serial.to_string())),
        generation,
        ..Account::default()
    }
}

fn number(secret: Option<&Secret>) -> i64 {
    let number = secret.and_then(|secret| secret.expose().parse().ok());
    number.expect("a number of ours")
}

impl Instance {
    pub(super) fn is_usable(&self, key: usize) -> bool {
        let ends = number(self.accounts.borrow()[key].access_token.as_ref());
        ends > self.world.now() + MARGIN_MS
    }

    /// Begins a refresh; `false` if there is no use in it.
    pub(super) fn take_off(&self, key: usize) -> bool {
        let instance = self.world.instances[self.place].borrow().clone();
        let Some(instance) = instance.filter(|_| self.known(key).expired_reason.is_none()) else {
            return false;
        };
        self.flights.borrow_mut()[key] = true;
        self.world.time.spawn(self.scope(0), instance.refresh(key));
        true
    }

    async fn refresh(self: Rc<Self>, key: usize) {
        let generation = self.known(key).generation;
        let turn = self.turn(key).await;
        if !matches!(turn, Turn::Never) {
            let known = self.known(key);
            let mut is_done = known.generation > generation;
            if let Ok(Some(handed)) = self.fetch(key).await {
                is_done |= is_newer(&handed, &known);
                self.take_over(key, handed);
            }
            if !is_done || !self.is_usable(key) {
                let lock = match &turn {
                    Turn::Locked(_, lock) => Some(*lock),
                    Turn::Alone | Turn::Never => None,
                };
                let (owner, now) = (self.owner, self.world.servers_now());
                let laws = &self.world.laws;
                laws.borrow_mut().tokens.refreshing(key, owner, lock, now);
                self.exchange(key).await;
                laws.borrow_mut().tokens.refreshed(key, owner);
            }
        }
        if let Turn::Locked(holder, _) = turn {
            let unlock = self.caller.unlock(self.account_name(key), &holder);
            // Where it cannot be given back it ends by itself.
            let _ = self.ask_calmly("unlock", unlock).await;
        }
        self.flights.borrow_mut()[key] = false;
    }

    async fn turn(&self, key: usize) -> Turn {
        let time = &self.world.time;
        let began = time.now();
        while time.now() - began < LOCK_PATIENCE_MS {
            let holder = self.caller.next_id();
            let lock = self.caller.lock(self.account_name(key), &holder);
            let world = Rc::clone(&self.world);
            let lock = move |store: &mut _, now| {
                let ends = lock(store, now)?;
                Some(world.laws.borrow().tokens.locked(ends))
            };
            match self.ask_calmly("lock", lock).await {
                Ok(Some(lock)) => return Turn::Locked(holder, lock),
                Err(Away) if time.now() - began > AWAY_PATIENCE_MS => return Turn::Alone,
                Ok(None) | Err(Away) => time.sleep(LOCK_RETRY_MS).await,
            }
        }
        Turn::Never
    }

    /// Shows the refresh token; new tokens are on disk before anybody has them.
    async fn exchange(&self, key: usize) {
        let (world, known) = (&self.world, self.known(key));
        if known.expired_reason.is_some() {
            return;
        }
        let (there, back) = {
            let mut rng = world.rng.borrow_mut();
            (rng.i64(10..600), rng.i64(10..600))
        };
        world.time.sleep(there).await;
        let shown = u64::try_from(number(known.refresh_token.as_ref())).expect("a serial");
        let life = world.rng.borrow_mut().i64(8_000..25_000);
        let next = {
            let mut vendors = world.vendors.borrow_mut();
            world.laws.borrow().tokens.shown(shown, vendors[key].latest);
            vendors[key].refresh(shown, world.scenario.is_strict)
        };
        world.time.sleep(back).await;
        let Some(serial) = next else {
            match self.fetch(key).await {
                Ok(Some(handed)) if is_newer(&handed, &known) => self.take_over(key, handed),
                _ => {
                    let reason = Some("refused".to_owned());
                    self.accounts.borrow_mut()[key].expired_reason = reason;
                }
            }
            return;
        };
        let mut renewed = account(known.generation + 1, serial, world.now() + life);
        let stored = self.disk.borrow().accounts[key].clone();
        if stored.generation >= renewed.generation {
            // Taken over from another instance meanwhile: those are the tokens to use.
            renewed = stored;
        }
        self.disk.borrow_mut().accounts[key] = renewed.clone();
        self.hand_over(key, &renewed).await;
        self.set(key, renewed);
    }

    /// Takes over what the group has of all accounts, and gives it what it lacks.
    pub(super) async fn meet_accounts(&self) {
        for key in 0..KEYS {
            if let Ok(Some(handed)) = self.fetch(key).await {
                self.take_over(key, handed);
            }
            let account = self.known(key);
            self.hand_over(key, &account).await;
        }
    }

    async fn fetch(&self, key: usize) -> Result<Option<Account>, Away> {
        let fetch = self.caller.fetch(self.account_name(key));
        let handed = self.ask_calmly("fetch", fetch).await?;
        Ok(handed.map(|(generation, text)| {
            let (serial, ends) = text.split_once(' ').expect("a text of ours");
            let serial = serial.parse().expect("a serial");
            account(generation, serial, ends.parse().expect("a time"))
        }))
    }

    async fn hand_over(&self, key: usize, account: &Account) {
        if account.expired_reason.is_some() {
            return;
        }
        let serial = number(account.refresh_token.as_ref());
        let ends = number(account.access_token.as_ref());
        let (named, generation) = (self.account_name(key), account.generation);
        let offer = self
            .caller
            .offer(named, generation, &format!("{serial} {ends}"));
        let (world, fetch) = (Rc::clone(&self.world), self.caller.fetch(named));
        let offer = move |store: &mut _, now| {
            offer(store, now);
            let there = fetch(store, now).map_or(0, |(generation, _)| generation);
            world.laws.borrow_mut().tokens.offered(key, there);
        };
        let patience = patience(BACKGROUND_PATIENCE);
        // Where it is away they are given when it is back.
        let _ = self.ask("offer", patience, offer).await;
    }

    fn take_over(&self, key: usize, handed: Account) {
        if is_newer(&handed, &self.known(key)) {
            self.disk.borrow_mut().accounts[key] = handed.clone();
            self.set(key, handed);
        }
    }

    fn set(&self, key: usize, account: Account) {
        let mut accounts = self.accounts.borrow_mut();
        let (old, new) = (accounts[key].generation, account.generation);
        assert!(old <= new, "tokens of generation {old} replaced by {new}");
        accounts[key] = account;
    }

    fn known(&self, key: usize) -> Account {
        self.accounts.borrow()[key].clone()
    }

    fn account_name(&self, key: usize) -> Fingerprint {
        let cast = self.cast(WITH_ACCOUNTS);
        cast.names.of(&cast.ids[key]).expect("it has a name")
    }
}
