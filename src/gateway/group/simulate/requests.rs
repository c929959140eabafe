//! Requests of an instance's clients: asked of the pool, confirmed by the group, answered by an
//! upstream that misbehaves as the scenario says.

use std::rc::Rc;
use std::sync::Arc;

use super::instance::{Instance, name, patience};
use super::laws::leases::Claim;
use super::laws::rests::{assert_may_serve, outs};
use super::scenario::{WITH_ACCOUNTS, millis};
use super::{TRAFFIC_ENDS_MS, UPSTREAMS};
use crate::dialects::usage::Usage;
use crate::gateway::group::admit::{counts, give_back, heeded, limits};
use crate::pool::{Acquire, Ask, Lease, Next, Outcome};
use crate::providers::verdict::{Blame, Failure};
use crate::state::redis::model::{Asked, Store};
use crate::state::redis::{Admission, Away, COMMAND_PATIENCE, Limits, Served};
use crate::telemetry::spending::day_of;

/// How long a request waits for a token.
const TOKEN_TRIES: usize = 100;
const TOKEN_TRY_MS: i64 = 50;

/// A lease in use: the credential's place, what the group calls the lease, and since when, by true
/// time, its request counts.
struct Held {
    lease: Lease,
    key: usize,
    ticket: Option<String>,
    chosen_at: i64,
}

impl Instance {
    /// The requests of its clients, at random.
    pub(super) async fn traffic(self: Rc<Self>) {
        let world = Rc::clone(&self.world);
        let ends = world.scenario.start_ms + TRAFFIC_ENDS_MS;
        loop {
            let gap = world.rng.borrow_mut().i64(0..2 * world.scenario.gap_ms);
            world.time.sleep(gap).await;
            if world.now() >= ends {
                return;
            }
            let upstream = world.rng.borrow_mut().usize(0..UPSTREAMS);
            let patience = world.rng.borrow_mut().i64(200..6_000);
            let request = Rc::clone(&self).request(upstream, patience);
            world.time.spawn(self.scope(0), request);
        }
    }

    async fn request(self: Rc<Self>, upstream: usize, patience_ms: i64) {
        let world = &self.world;
        world.laws.borrow_mut().began(self.owner);
        let pool = &self.pools[upstream];
        let deadline = self.now() + millis(patience_ms);
        let mut ask = Ask::new("m", None, deadline);
        loop {
            match pool.acquire(&mut ask, self.now()) {
                Acquire::Lease(lease) => {
                    assert_may_serve(&self, upstream, &lease);
                    let Some(held) = self.confirm(upstream, lease).await else {
                        continue;
                    };
                    match self.send(upstream, held, &mut ask).await {
                        Some(Next::Again { after, .. }) => {
                            world.time.sleep(patience(after)).await;
                        }
                        Some(Next::Answer(_)) | None => break,
                    }
                }
                Acquire::Wait(waiting) => {
                    let until = self.truly(waiting.until().as_millis());
                    let wait = until - world.now();
                    world.time.within(wait, waiting.woken()).await;
                    assert!(self.now() <= deadline, "it waited beyond its deadline");
                }
                Acquire::Refused(_) => break,
            }
        }
        world.laws.borrow_mut().ended(self.owner);
    }

    /// Has a lease confirmed, as the gateway does.
    async fn confirm(self: &Rc<Self>, upstream: usize, lease: Lease) -> Option<Held> {
        let (world, cast) = (&self.world, self.cast(upstream));
        let key = cast.key(lease.credential().as_str());
        let chosen_at = world.now();
        let now = self.caller.clock.to_server(self.now());
        let (Some(terms), Some(named)) = (lease.terms(now), cast.names.of(lease.credential()))
        else {
            return Some(Held {
                lease,
                key,
                ticket: None,
                chosen_at,
            });
        };
        let limits = limits(&self.caller.clock, (&name(upstream), named), &terms, now);
        let id = self.caller.next_id();
        let claim = Claim {
            key: (upstream, key),
            lease: id.clone(),
            limited: world.scenario.limits[upstream],
        };
        let (admit, server) = (self.caller.admit(&limits, &id), Rc::clone(world));
        let admit = move |store: &mut Store, now| {
            let answer = admit(store, now);
            let mut laws = server.laws.borrow_mut();
            laws.leases.admitted(claim, &answer, now);
            answer
        };
        let said = self.ask_for(&limits, id, admit).await;
        let is_late = said == Err(true);
        let said = said.map_err(|_| Away);
        let alone = (self.instances.get(), || self.caller.own_ticket());
        let (mut lease, ticket) = heeded(lease, &terms, said, alone, self.now())?;
        if ticket.taken_ms == 0 {
            if self.settled_at.get().is_some() && !is_late {
                let laws = world.laws.borrow();
                laws.leases.decided_alone((upstream, key));
            }
        } else if terms.max > 0 {
            let mut laws = world.laws.borrow_mut();
            laws.leases.held(self.owner, &ticket.lease);
        }
        let (counts, id) = (counts(&ticket), ticket.lease.clone());
        let held = self.ledger.hold(limits, ticket, Arc::from("it"));
        lease.hold(Box::new(held), &terms, &counts);
        Some(Held {
            lease,
            key,
            ticket: Some(id),
            chosen_at,
        })
    }

    /// Asks the group for no longer than a request waits. `Err` with whether the answer is only late.
    async fn ask_for(
        self: &Rc<Self>,
        limits: &Limits,
        id: String,
        admit: impl Asked<Vec<i64>>,
    ) -> Result<Admission, bool> {
        let (this, asked) = (Rc::clone(self), limits.clone());
        let mut answer = Box::pin(async move {
            let began = this.world.now();
            let answer = this.ask("admit", patience(COMMAND_PATIENCE), admit).await?;
            this.pace.note(millis(this.world.now() - began));
            Ok(this.caller.admission(&answer, &asked, id, this.now()))
        });
        let world = &self.world;
        let said = world
            .time
            .within(patience(self.pace.patience()), answer.as_mut());
        if let Some(said) = said.await {
            return said.map_err(|Away| false);
        }
        let (ledger, limits) = (Arc::clone(&self.ledger), limits.clone());
        let late = async move { give_back(&ledger, limits, answer.await) };
        world.time.spawn(self.scope(0), late);
        Err(true)
    }

    /// Sends a request. What comes next; `None` where nothing does.
    async fn send(&self, upstream: usize, held: Held, ask: &mut Ask) -> Option<Next> {
        let (world, one) = (&self.world, (upstream, held.key));
        if upstream == WITH_ACCOUNTS && !self.has_token(held.key).await {
            self.end(held);
            return None;
        }
        let call = {
            let mut laws = world.laws.borrow_mut();
            laws.leases.called(one, held.chosen_at)
        };
        let (after, failure) = world.scenario.reply(one, &mut world.rng.borrow_mut());
        if world.rng.borrow_mut().u8(0..12) == 0 {
            // The client leaves.
            world.time.sleep(after / 2).await;
            self.end(held);
            return None;
        }
        world.time.sleep(after).await;
        let lease = self.end(held);
        let before = outs(self, upstream);
        let Some(failure) = failure else {
            self.count(upstream, &lease);
            let usage = Some(Usage::default());
            lease.finish(Outcome::Success { usage }, self.now());
            world.laws.borrow_mut().rests.settled(self, one, &before);
            return None;
        };
        if failure.verdict.blame() == Blame::Provider {
            world.laws.borrow_mut().leases.taken_back(one, call);
        }
        let next = self.fail(lease, ask, &failure);
        if world.laws.borrow_mut().rests.settled(self, one, &before) {
            self.expect_spread(one);
        }
        Some(next)
    }

    fn fail(&self, lease: Lease, ask: &mut Ask, failure: &Failure) -> Next {
        let outcome = Outcome::Failed {
            failure,
            after_content: false,
        };
        lease.settle(ask, outcome, self.now())
    }

    /// Notes that a lease is about to be given back.
    fn end(&self, held: Held) -> Lease {
        if let Some(ticket) = &held.ticket {
            self.world.laws.borrow_mut().leases.let_go(ticket);
        }
        held.lease
    }

    /// Counts what was served.
    fn count(&self, upstream: usize, lease: &Lease) {
        let named = self.cast(upstream).names.of(lease.credential());
        let served = Served {
            provider: name(upstream),
            model: "m".to_owned(),
            name: named.map_or_else(String::new, |name| name.to_string()),
            credential: lease.credential().to_string(),
            client: String::new(),
        };
        let day = day_of(self.now());
        self.unwritten.borrow_mut().push((day, served));
    }

    /// Waits for a token that can be used; whether there is one.
    async fn has_token(&self, key: usize) -> bool {
        for _ in 0..TOKEN_TRIES {
            if self.is_usable(key) {
                return true;
            }
            if !self.flights.borrow()[key] && !self.take_off(key) {
                return false;
            }
            self.world.time.sleep(TOKEN_TRY_MS).await;
        }
        false
    }
}
