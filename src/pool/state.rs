//! The pool's whole memory and the choice of a credential. Pure: time and randomness come in.
//!
//! What a failure does to it is in `blame.rs`; what survives a restart in `saved.rs`.

use std::collections::{BTreeMap, HashMap};

use crate::ids::{CredentialId, ProviderId};
use crate::time::Timestamp;

use super::affinity::{self, Affinity};
use super::ask::{Memory, Refusal};
use super::blast::Blast;
use super::budget::Budget;
use super::caps;
use super::class::{Class, Route, Routes, TierLane};
use super::cooldown::{Cooldown, Reason};
use super::eligible::{View, assess};
use super::fair_cycle::Turns;
use super::lane::Status;
use super::select::{self, Order, Wish};
use super::settings::Settings;
use super::slot::{Slot, Standing};
use super::summary::Readiness;
use super::waiters::{Line, Ticket};

/// Conversations waiting to be written down; where nobody writes they must not pile up.
const MAX_CONVERSATIONS: usize = 100_000;

/// One provider's pool.
#[derive(Debug)]
pub(super) struct State {
    pub(super) provider: ProviderId,
    pub(super) settings: Settings,
    pub(super) order: Order,
    pub(super) slots: Vec<Slot>,
    pub(super) by_id: HashMap<CredentialId, u32>,
    pub(super) routes: Routes,
    pub(super) classes: Vec<Class>,
    pub(super) affinity: Affinity,
    pub(super) blast: Blast,
    pub(super) budget: Budget,
    /// Whose turns are over in the fair cycle, where that counts whole credentials.
    pub(super) turns: Turns,
    /// How many take turns in the fair cycle, by the place of their tier.
    pub(super) peers: Vec<u32>,
    pub(super) rng: fastrand::Rng,
    /// The latest time seen.
    pub(super) now: Timestamp,
    /// Requests in queues.
    pub(super) waiting: u32,
    pub(super) line: Line,
    pub(super) granted: HashMap<Ticket, Grant>,
    /// Tickets whose holders are to be woken.
    pub(super) woken: Vec<Ticket>,
    pub(super) dirt: Dirt,
    /// Rests begun since the start, for metrics.
    pub(super) rests: BTreeMap<Reason, u64>,
    pub(super) readiness: Readiness,
}

/// What is still to be written down.
#[derive(Debug, Default)]
pub(super) struct Dirt {
    pub(super) slots: Vec<u32>,
    pub(super) entries: Vec<(u32, u32)>,
    pub(super) conversations: Vec<(u64, u32, Timestamp)>,
    /// Whether the provider's own pause has changed.
    pub(super) is_pause_changed: bool,
    /// Whether something in it must not be lost (a cooldown or state, not a mere count).
    pub(super) is_urgent: bool,
}

/// The right to send one request: what a lease holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) slot: u32,
    pub(super) class: u32,
    pub(super) acquired: Timestamp,
    /// Whether it is the one request through a half-open door.
    pub(super) is_probe: bool,
    /// Whether the request has failed on this credential before.
    pub(super) is_repeat: bool,
}

/// What [`State::acquire`] is asked.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) model: &'a str,
    pub(super) session: Option<u64>,
    pub(super) deadline: Timestamp,
    pub(super) memory: &'a mut Memory,
    /// Who asks.
    pub(super) client: u64,
    pub(super) ticket: Option<Ticket>,
}

/// What [`State::acquire`] answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Granted(Grant),
    Queued { ticket: Ticket, until: Timestamp },
    Refused(Refusal),
}

impl State {
    pub(super) fn new(provider: ProviderId, settings: Settings, seed: u64) -> Self {
        Self {
            provider,
            order: Order::new(&settings),
            settings,
            slots: Vec::new(),
            by_id: HashMap::new(),
            routes: Routes::default(),
            classes: Vec::new(),
            affinity: Affinity::default(),
            blast: Blast::default(),
            budget: Budget::default(),
            turns: Turns::default(),
            peers: Vec::new(),
            rng: fastrand::Rng::with_seed(seed),
            now: Timestamp::default(),
            waiting: 0,
            line: Line::default(),
            granted: HashMap::new(),
            woken: Vec::new(),
            dirt: Dirt::default(),
            rests: BTreeMap::new(),
            readiness: Readiness::default(),
        }
    }

    /// Grants a credential, queues the request, or refuses it.
    pub(super) fn acquire(&mut self, request: &mut Request<'_>, now: Timestamp) -> Answer {
        self.observe(now);
        let route = self.route(request.model);
        self.work_off_due(route);
        self.serve();
        if let Some(grant) = request
            .ticket
            .and_then(|ticket| self.granted.remove(&ticket))
        {
            if self.is_good(grant) {
                return Answer::Granted(grant);
            }
            self.take_back(grant);
            self.return_probe(grant);
            self.release(grant);
            let answer = self.choose(route, request);
            self.serve();
            return answer;
        }
        self.choose(route, request)
    }

    /// Grants, queues or refuses, once those who came earlier are served.
    fn choose(&mut self, route: Route, request: &mut Request<'_>) -> Answer {
        let now = self.now;
        if !request.memory.counted {
            request.memory.counted = true;
            self.budget.note_request(now);
        }
        let is_in_time = now <= request.deadline;
        if is_in_time
            && !self.is_gated(route.class)
            && let Some(slot) = self.pick(route, request.memory, request.session)
        {
            let grant = self.take(route, slot, request.memory, request.session);
            self.dequeue(request.ticket);
            return Answer::Granted(grant);
        }
        match self.soonest(route, request.memory, request.deadline) {
            Ok(until) if is_in_time && until > now => {
                let ticket = self.enqueue(route, request);
                Answer::Queued { ticket, until }
            }
            Ok(_) => {
                self.dequeue(request.ticket);
                Answer::Refused(self.refusal(route, request.memory))
            }
            Err(refusal) => {
                self.dequeue(request.ticket);
                Answer::Refused(refusal)
            }
        }
    }

    /// `false` if the credential has failed elsewhere since it was set aside.
    fn is_good(&self, grant: Grant) -> bool {
        let slot = &self.slots[grant.slot as usize];
        let entry = self.classes[grant.class as usize].entry(grant.slot);
        let entry = entry.and_then(|entry| entry.cooldown.as_deref());
        let rests = [slot.cooldown.as_deref(), entry].into_iter().flatten();
        let is_new = |rest: &Cooldown| {
            // Its own cap may be reached by this very request.
            rest.holds(self.now) && rest.reason != Reason::Cap && rest.since >= grant.acquired
        };
        !slot.is_gone
            && !slot.member.disabled
            && slot.standing == Standing::Usable
            && !rests.into_iter().any(is_new)
    }

    /// A second credential for a request that has one already, at once or not at all: for hedging.
    pub(super) fn hedge(
        &mut self,
        request: &Request<'_>,
        busy: u32,
        now: Timestamp,
    ) -> Option<Grant> {
        self.observe(now);
        let route = self.route(request.model);
        self.work_off_due(route);
        if now > request.deadline || self.is_gated(route.class) || self.waiting > 0 {
            return None;
        }
        let mut memory = request.memory.clone();
        let record = memory.record(busy);
        (record.is_out, record.may_return) = (true, false);
        memory.prefer = None;
        let slot = self.pick(route, &memory, None)?;
        if !self.budget.take(self.settings.retry.budget, now) {
            return None;
        }
        Some(self.take(route, slot, request.memory, None))
    }

    /// `true` while the provider, or its capacity for the class, is backing off.
    pub(super) fn is_gated(&self, class: u32) -> bool {
        self.gate(class) > self.now
    }

    pub(super) fn gate(&self, class: u32) -> Timestamp {
        let class = self.classes[class as usize].backoff.until;
        class.max(self.blast.backoff.until)
    }

    /// When the request may be served at the soonest, if that is in time.
    pub(super) fn soonest(
        &self,
        route: Route,
        memory: &Memory,
        deadline: Timestamp,
    ) -> Result<Timestamp, Refusal> {
        let TierLane { lane, .. } = self.lane(route);
        let gate = self.gate(route.class);
        let mut soonest = lane.root().wake.max(gate);
        if select::can_serve(lane, memory) {
            soonest = soonest.min(gate);
        }
        if soonest <= deadline {
            return Ok(soonest);
        }
        if lane.count(Status::Busy) > 0 {
            return Ok(deadline);
        }
        Err(self.refusal(route, memory))
    }

    /// Why nobody serves, most telling reason first.
    fn refusal(&self, route: Route, memory: &Memory) -> Refusal {
        let TierLane { lane, .. } = self.lane(route);
        let gate = self.gate(route.class);
        let has = |status| lane.count(status) > 0;
        if has(Status::Eligible) && gate > self.now {
            return if self.blast.is_rate_limited() && gate == self.blast.backoff.until {
                // The provider limits all of them alike: no failure of its own.
                Refusal::Cooling { until: gate }
            } else {
                Refusal::ProviderBackoff { until: gate }
            };
        }
        if memory.losses > 0 || has(Status::Eligible) {
            return Refusal::RetriesSpent;
        }
        if has(Status::Busy) {
            return Refusal::Busy;
        }
        if has(Status::Resting) {
            let until = lane.root().end.max(gate);
            return Refusal::Cooling { until };
        }
        if has(Status::Refused) {
            return Refusal::AllRefused;
        }
        if has(Status::NotAllowed) {
            return Refusal::NotAllowed;
        }
        Refusal::NoCredentials
    }

    pub(super) fn pick(
        &mut self,
        route: Route,
        memory: &Memory,
        session: Option<u64>,
    ) -> Option<u32> {
        let class = &mut self.classes[route.class as usize];
        let wish = Wish {
            memory,
            conversation: session
                .filter(|_| self.settings.affinity)
                .map(|session| affinity::key(session, &class.name)),
            now: self.now,
        };
        let lane = &mut class.lanes[route.lane].lane;
        select::pick(lane, &wish, &self.affinity, &self.order, &mut self.rng)
    }

    /// Hands the credential out.
    pub(super) fn take(
        &mut self,
        route: Route,
        at: u32,
        memory: &Memory,
        session: Option<u64>,
    ) -> Grant {
        let now = self.now;
        self.bind(route, at, session);
        let class = &mut self.classes[route.class as usize];
        class.active += 1;
        let slot = &mut self.slots[at as usize];
        let load = (slot.is_full(), slot.is_optimal());
        slot.active += 1;
        slot.last_used = Some(now);
        let (entry, windows) = class.entry_mut(at);
        let mut is_probe = false;
        for rest in [&mut slot.cooldown, &mut entry.cooldown] {
            if let Some(rest) = rest.as_mut().filter(|rest| rest.holds(now)) {
                is_probe = true;
                rest.take_probe();
            }
        }
        for (counter, spec) in entry.counters.iter_mut().zip(windows) {
            counter.add_request(spec, now);
            let (requests, began) = (counter.requests, counter.started);
            counter.record.note(requests, began, &entry.totals, now);
        }
        if let Some(reported) = &mut entry.reported {
            reported.used = reported.used.saturating_add(1);
        }
        entry.totals.requests = entry.totals.requests.saturating_add(1);
        entry.totals.last_used_ms = Some(now.as_millis());
        entry.totals.first_used_ms.get_or_insert(now.as_millis());
        let capped = caps::apply(class, at, &slot.member, now);
        if capped {
            *self.rests.entry(Reason::Cap).or_default() += 1;
        }
        let is_load_changed = load != (slot.is_full(), slot.is_optimal());
        self.mark_entry(route.class, at, capped);
        self.note_turn(route.class, at);
        if is_load_changed || (is_probe && self.slots[at as usize].cooldown.is_some()) {
            self.refresh_slot(at);
        } else {
            self.refresh_entry(route.class, at);
        }
        Grant {
            slot: at,
            class: route.class,
            acquired: now,
            is_probe,
            is_repeat: memory.has_tried(at),
        }
    }

    /// Lets the newest name of a conversation stand for what an older one stood for.
    pub(super) fn continue_session(
        &mut self,
        model: &str,
        mut keys: impl Iterator<Item = u64>,
        now: Timestamp,
    ) {
        self.observe(now);
        let Some(newest) = keys.next().filter(|_| self.settings.affinity) else {
            return;
        };
        let route = self.route(model);
        let class = &self.classes[route.class as usize];
        let newest = affinity::key(newest, &class.name);
        if self.affinity.find(newest, now).is_some() {
            return;
        }
        let known =
            keys.find_map(|older| self.affinity.find(affinity::key(older, &class.name), now));
        if let Some(slot) = known {
            self.affinity.bind(newest, slot, now);
        }
    }

    /// Ties the conversation to the credential, unless its own is only busy just now.
    fn bind(&mut self, route: Route, slot: u32, session: Option<u64>) {
        let Some(session) = session.filter(|_| self.settings.affinity) else {
            return;
        };
        let class = &self.classes[route.class as usize];
        let key = affinity::key(session, &class.name);
        if let Some(own) = self.affinity.find(key, self.now)
            && own != slot
            && select::keeps_conversation(&class.lanes[route.lane].lane, own, slot)
        {
            self.affinity.touch(key, self.now);
            return;
        }
        if self.affinity.bind(key, slot, self.now)
            && self.dirt.conversations.len() < MAX_CONVERSATIONS
        {
            self.dirt.conversations.push((key, slot, self.now));
        }
    }

    /// Gives the slot of a lease back.
    pub(super) fn release(&mut self, grant: Grant) {
        let class = &mut self.classes[grant.class as usize];
        class.active = class.active.saturating_sub(1);
        let slot = &mut self.slots[grant.slot as usize];
        let load = (slot.is_full(), slot.is_optimal());
        slot.active = slot.active.saturating_sub(1);
        if load == (slot.is_full(), slot.is_optimal()) {
            self.refresh_entry(grant.class, grant.slot);
        } else {
            self.refresh_slot(grant.slot);
        }
    }

    /// Undoes the counts of a lease that was never used.
    pub(super) fn take_back(&mut self, grant: Grant) {
        let class = &mut self.classes[grant.class as usize];
        let (entry, windows) = class.entry_mut(grant.slot);
        for (counter, spec) in entry.counters.iter_mut().zip(windows) {
            counter.take_back(spec, grant.acquired);
        }
        if let Some(reported) = &mut entry.reported {
            reported.used = reported.used.saturating_sub(1);
        }
        entry.totals.requests = entry.totals.requests.saturating_sub(1);
        let member = &self.slots[grant.slot as usize].member;
        caps::apply(class, grant.slot, member, self.now);
        self.mark_entry(grant.class, grant.slot, false);
    }

    /// A probe ended without a verdict: the next request may be it.
    pub(super) fn return_probe(&mut self, grant: Grant) {
        if !grant.is_probe {
            return;
        }
        let (entry, _) = self.classes[grant.class as usize].entry_mut(grant.slot);
        let slot = &mut self.slots[grant.slot as usize];
        let rests = [&mut slot.cooldown, &mut entry.cooldown];
        for rest in rests.into_iter().flatten() {
            rest.return_probe();
        }
        // The door of all its classes.
        self.refresh_slot(grant.slot);
    }

    /// Brings the credentials of a lane up to date whose standing has changed by time alone.
    pub(super) fn work_off_due(&mut self, route: Route) {
        while let Some(slot) = self.lane(route).lane.next_due(self.now) {
            self.refresh_entry(route.class, slot);
        }
    }

    /// Reassesses a credential for one class.
    pub(super) fn refresh_entry(&mut self, class: u32, at: u32) {
        self.readiness.changes += 1;
        let class = &mut self.classes[class as usize];
        let Some(slot) = self.slots.get(at as usize) else {
            return;
        };
        for lane in &mut class.lanes {
            let view = View {
                windows: &class.windows,
                rule: lane
                    .rule
                    .and_then(|rule| self.settings.tier_rules.get(rule)),
                order: &self.order,
                now: self.now,
            };
            let entry = class.entries.get_mut(at as usize);
            let entry = entry.and_then(|entry| entry.as_deref_mut());
            lane.lane.set(at, assess(slot, entry, view));
        }
    }

    /// Reassesses a credential for all classes.
    pub(super) fn refresh_slot(&mut self, slot: u32) {
        self.readiness.changes += 1;
        for class in 0..u32::try_from(self.classes.len()).unwrap_or(u32::MAX) {
            self.refresh_entry(class, slot);
        }
    }

    /// Notes that a credential's own state has changed and is to be written down.
    pub(super) fn mark_slot(&mut self, at: u32) {
        self.dirt.is_urgent = true;
        self.slots[at as usize].changed = self.now;
        self.touch_slot(at);
    }

    /// Notes that the provider's pause has changed.
    pub(super) fn mark_pause(&mut self) {
        self.dirt.is_urgent = true;
        self.dirt.is_pause_changed = true;
    }

    /// Notes that a credential's own state is to be written down.
    pub(super) fn touch_slot(&mut self, at: u32) {
        let slot = &mut self.slots[at as usize];
        if !slot.is_dirty {
            slot.is_dirty = true;
            self.dirt.slots.push(at);
        }
    }

    /// Notes that what is kept for (credential, class) is to be written down.
    pub(super) fn mark_entry(&mut self, class: u32, slot: u32, is_urgent: bool) {
        self.dirt.is_urgent |= is_urgent;
        let entry = self.classes[class as usize].entries.get_mut(slot as usize);
        let Some(entry) = entry.and_then(|entry| entry.as_deref_mut()) else {
            return;
        };
        if is_urgent {
            entry.changed = self.now;
        }
        if !entry.is_dirty {
            entry.is_dirty = true;
            self.dirt.entries.push((class, slot));
        }
    }

    /// The place of a credential.
    pub(super) fn slot_of(&self, credential: &CredentialId) -> Option<u32> {
        self.by_id.get(credential).copied()
    }
}
