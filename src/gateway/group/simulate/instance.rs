//! One instance: its pools and what it keeps in memory, its disk, and its connection to the group.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::future::select_all;
use tokio::sync::{Notify, oneshot};

use super::network::Way;
use super::scenario::{Cast, cast, provider};
use super::timeline::Scope;
use super::{KEYS, UPSTREAMS, World};
use crate::credentials::Account;
use crate::gateway::group::ledger::Ledger;
use crate::gateway::group::outbox::{Heard, Outbox};
use crate::pool::{Change, Pool};
use crate::state::redis::model::{Asked, Caller};
use crate::state::redis::{Away, BACKGROUND_PATIENCE, Pace, Served};
use crate::state::rows::UsageSums;
use crate::time::Timestamp;

/// How long changes that are not urgent may wait before they are written down.
const INTERVAL_MS: i64 = 1_000;

/// What survives a crash.
#[derive(Default)]
pub(super) struct Disk {
    pub(super) changes: BTreeMap<(usize, String), Change>,
    pub(super) usage: BTreeMap<i64, BTreeMap<Served, UsageSums>>,
    pub(super) accounts: [Account; KEYS],
}

pub(super) struct Instance {
    pub(super) world: Rc<World>,
    pub(super) place: usize,
    /// Counts lives: another one after each start.
    pub(super) owner: u64,
    pub(super) pools: Vec<Arc<Pool>>,
    pub(super) caller: Caller,
    pub(super) pace: Pace,
    pub(super) ledger: Arc<Ledger>,
    pub(super) outbox: RefCell<Outbox>,
    pub(super) heard: RefCell<Heard>,
    pub(super) posted: Notify,
    pub(super) lost: Notify,
    /// The present connection.
    pub(super) link: Cell<Option<u64>>,
    pub(super) is_joined: Cell<bool>,
    /// Since when all that the group knew has been read.
    pub(super) settled_at: Cell<Option<i64>>,
    pub(super) instances: Cell<u32>,
    pub(super) accounts: RefCell<[Account; KEYS]>,
    /// Which of them are being refreshed.
    pub(super) flights: RefCell<[bool; KEYS]>,
    pub(super) disk: Rc<RefCell<Disk>>,
    /// What was served since it was last written down.
    pub(super) unwritten: RefCell<Vec<(i64, Served)>>,
}

impl Instance {
    /// Starts one from what is on its disk.
    pub(super) fn start(world: &Rc<World>, place: usize) -> Rc<Self> {
        let owner = world.lives.replace(world.lives.get() + 1) + 1;
        let scenario = &world.scenario;
        let disk = Rc::clone(&world.disks[place]);
        let now = Timestamp::from_millis(world.now() + scenario.skews_ms[place]);
        let pools = (0..UPSTREAMS).map(|upstream| {
            let settings = scenario.settings(upstream);
            let seed = world.rng.borrow_mut().u64(..);
            let pool = Pool::new(provider(upstream), settings.clone(), seed);
            pool.configure(settings, cast(place, upstream).members(), now);
            let saved = disk.borrow();
            let saved = saved.changes.iter();
            let saved = saved.filter(|((of, _), _)| *of == upstream);
            pool.restore(saved.map(|(_, change)| change.clone()).collect(), now);
            pool
        });
        let pools = pools.collect();
        let accounts = RefCell::new(disk.borrow().accounts.clone());
        let instance = Rc::new(Self {
            pools,
            accounts,
            world: Rc::clone(world),
            place,
            owner,
            caller: Caller::new(format!("i{owner}")),
            pace: Pace::default(),
            ledger: Arc::default(),
            outbox: RefCell::default(),
            heard: RefCell::default(),
            posted: Notify::new(),
            lost: Notify::new(),
            link: Cell::new(None),
            is_joined: Cell::new(false),
            settled_at: Cell::new(None),
            instances: Cell::new(1),
            flights: RefCell::default(),
            disk,
            unwritten: RefCell::default(),
        });
        *world.instances[place].borrow_mut() = Some(Rc::clone(&instance));
        let scope = instance.scope(0);
        world.time.spawn(scope, Rc::clone(&instance).keep_writing());
        world.time.spawn(scope, Rc::clone(&instance).belong());
        world.time.spawn(scope, Rc::clone(&instance).traffic());
        instance
    }

    /// Ends it at once, with all that it had in memory.
    pub(super) fn crash(&self) {
        let owner = self.owner;
        *self.world.instances[self.place].borrow_mut() = None;
        self.world.laws.borrow_mut().crashed(owner);
        self.world.time.end(|scope| scope.owner == owner);
    }

    pub(super) const fn scope(&self, session: u64) -> Scope {
        Scope {
            owner: self.owner,
            session,
        }
    }

    /// Its own clock.
    pub(super) fn now(&self) -> Timestamp {
        let skew = self.world.scenario.skews_ms[self.place];
        Timestamp::from_millis(self.world.now() + skew)
    }

    /// A time of its own clock in true time.
    pub(super) fn truly(&self, own_ms: i64) -> i64 {
        own_ms - self.world.scenario.skews_ms[self.place]
    }

    pub(super) fn cast(&self, upstream: usize) -> &'static Cast {
        cast(self.place, upstream)
    }

    /// Asks the server something; see [`Link::ask`](crate::state::redis).
    pub(super) async fn ask<T: Debug + 'static>(
        &self,
        what: &'static str,
        patience_ms: i64,
        asked: impl Asked<T>,
    ) -> Result<T, Away> {
        let connection = self.link.get().ok_or(Away)?;
        let answer = self.call(what, patience_ms, asked).await;
        if answer.is_none() {
            self.lose(connection);
        }
        answer.ok_or(Away)
    }

    /// The same where no request waits.
    pub(super) async fn ask_calmly<T: Debug + 'static>(
        &self,
        what: &'static str,
        asked: impl Asked<T>,
    ) -> Result<T, Away> {
        self.ask(what, patience(BACKGROUND_PATIENCE), asked).await
    }

    /// Sends a call and waits for its answer, there or not.
    pub(super) async fn call<T: Debug + 'static>(
        &self,
        what: &'static str,
        patience_ms: i64,
        asked: impl Asked<T>,
    ) -> Option<T> {
        let (tell, told) = oneshot::channel();
        let (place, owner) = (self.place, self.owner);
        let packet = move |world: &Rc<World>| {
            world.laws.borrow_mut().arrived(owner, world.now());
            let answer = world.serve(what, asked);
            // Who asked may have stopped waiting.
            let back = move |_: &Rc<World>| drop(tell.send(answer));
            world.send(place, Way::Back, Box::new(back));
        };
        self.world.send(place, Way::There, Box::new(packet));
        let told = async {
            match told.await {
                Ok(answer) => answer,
                // Lost on its way: nobody says so.
                Err(_) => pending().await,
            }
        };
        self.world.time.within(patience_ms, told).await.flatten()
    }

    /// Notes that a connection is of no use any more.
    pub(super) fn lose(&self, connection: u64) {
        if self.link.get() == Some(connection) {
            self.link.set(None);
            self.lost.notify_one();
        }
    }

    /// Writes down what changes in the pools, and has it told.
    async fn keep_writing(self: Rc<Self>) {
        loop {
            let urgent = self.pools.iter();
            let urgent = urgent.map(|pool| Box::pin(pool.urgent_changes()));
            self.world
                .time
                .within(INTERVAL_MS, select_all(urgent))
                .await;
            for (upstream, pool) in self.pools.iter().enumerate() {
                for change in pool.drain_changes() {
                    self.tell(upstream, &change);
                    let mut disk = self.disk.borrow_mut();
                    disk.changes.insert((upstream, change.key()), change);
                }
            }
            self.write_usage();
        }
    }

    fn write_usage(&self) {
        let mut disk = self.disk.borrow_mut();
        for (day, served) in self.unwritten.borrow_mut().drain(..) {
            let rows = disk.usage.entry(day).or_default();
            let one = UsageSums {
                requests: 1,
                ..UsageSums::default()
            };
            *rows.entry(served).or_default() += &one;
        }
    }

    fn tell(&self, upstream: usize, change: &Change) {
        if self.is_joined.get() && self.outbox.borrow_mut().post(&name(upstream), change) {
            self.posted.notify_one();
        }
    }
}

/// What an upstream is called.
pub(super) fn name(upstream: usize) -> String {
    format!("u{upstream}")
}

pub(super) fn patience(patience: std::time::Duration) -> i64 {
    i64::try_from(patience.as_millis()).expect("a short time")
}
