//! The event queue: requests arrive, wait, are answered, try again, leave.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use crate::dialects::usage::Usage;
use crate::pool::ask::{Memory, Next, Outcome, Refusal, Stop};
use crate::pool::settle::Party;
use crate::pool::state::{Answer, Grant, Request, State};
use crate::pool::waiters::Ticket;
use crate::providers::verdict::Failure;
use crate::time::Timestamp;

/// So many clients ask in turn.
const CLIENTS: u64 = 3;

/// The traffic of a run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// No request arrives after it.
    pub(super) end: Timestamp,
    pub(super) deadline: Duration,
    pub(super) models: Vec<String>,
    pub(super) sessions: u64,
    pub(super) mean_gap: Duration,
    /// How many clients of a hundred leave before they are served.
    pub(super) leave_percent: u64,
    pub(super) max_requests: u64,
}

/// What an upstream does with a call.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// Fails, with or without content before.
    Failure {
        after: Duration,
        failure: Failure,
        after_content: bool,
    },
    Success {
        after: Duration,
        usage: Usage,
    },
}

/// The other side.
pub(super) trait Upstream {
    /// What becomes of a call with this credential at `now`.
    fn reply(&mut self, slot: u32, now: Timestamp, rng: &mut fastrand::Rng) -> Reply;
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Left,
    Refused(Refusal),
    Served,
    Stopped(Stop),
}

/// Somebody who looks on.
pub(super) trait Watch {
    /// A credential was handed out.
    fn granted(&mut self, _state: &State, _grant: Grant) {}

    /// A request was refused.
    fn refused(&mut self, _state: &State, _model: &str, _memory: &Memory, _deadline: Timestamp) {}

    /// An attempt was settled.
    fn settled(&mut self, _state: &State, _grant: Grant, _reply: &Reply, _next: Next) {}

    /// A request has ended after waiting so long for credentials.
    fn ended(&mut self, _state: &State, _end: End, _waited: Duration) {}

    /// An event has been worked off.
    fn stepped(&mut self, _state: &mut State) {}
}

/// A pool, its traffic and its upstream, in virtual time.
#[derive(Debug)]
pub(super) struct Engine<U, W> {
    state: State,
    plan: Plan,
    upstream: U,
    watch: W,
    rng: fastrand::Rng,
    events: BinaryHeap<Reverse<(Timestamp, u64, Event)>>,
    serial: u64,
    trips: Vec<Trip>,
    free: Vec<usize>,
    /// Whose ticket it is.
    tickets: HashMap<Ticket, usize>,
    arrived: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive,
    /// The trip asks for a credential. The number tells it from an event of an earlier trip in the
    /// same place, or of an earlier wait.
    Ask(usize, u64),
    End(usize, u64),
    Leave(usize, u64),
}

/// One request under way.
#[derive(Debug)]
struct Trip {
    /// Changes with every step, so that old events are recognised.
    step: u64,
    /// Tells it from others in the same place.
    serial: u64,
    model: String,
    session: Option<u64>,
    deadline: Timestamp,
    memory: Memory,
    ticket: Option<Ticket>,
    waiting_since: Option<Timestamp>,
    waited: Duration,
    attempt: Option<(Grant, Reply)>,
}

impl<U: Upstream, W: Watch> Engine<U, W> {
    pub(super) fn new(state: State, plan: Plan, upstream: U, watch: W, seed: u64) -> Self {
        Self {
            state,
            plan,
            upstream,
            watch,
            rng: fastrand::Rng::with_seed(seed ^ 0x5eed),
            events: BinaryHeap::new(),
            serial: 0,
            trips: Vec::new(),
            free: Vec::new(),
            tickets: HashMap::new(),
            arrived: 0,
        }
    }

    /// Runs from `start` until the last request has ended.
    pub(super) fn run(&mut self, start: Timestamp) {
        self.push(start, Event::Arrive);
        while let Some(Reverse((now, _, event))) = self.events.pop() {
            match event {
                Event::Arrive => self.arrive(now),
                Event::Ask(at, step) if self.is_at(at, step) => self.ask(at, now),
                Event::End(at, step) if self.is_at(at, step) => self.end_attempt(at, now),
                Event::Leave(at, serial) if self.trips[at].serial == serial => self.leave(at, now),
                Event::Ask(..) | Event::End(..) | Event::Leave(..) => continue,
            }
            self.wake(now);
            self.watch.stepped(&mut self.state);
        }
    }

    pub(super) fn into_parts(self) -> (State, W) {
        (self.state, self.watch)
    }

    #[cfg(test)]
    pub(super) fn unanswered(&self) -> usize {
        self.trips.len() - self.free.len()
    }

    fn push(&mut self, at: Timestamp, event: Event) {
        self.serial += 1;
        self.events.push(Reverse((at, self.serial, event)));
    }

    fn is_at(&self, at: usize, step: u64) -> bool {
        self.trips[at].step == step
    }

    fn arrive(&mut self, now: Timestamp) {
        self.arrived += 1;
        let model = self.rng.usize(0..self.plan.models.len().max(1));
        let trip = Trip {
            step: 0,
            serial: self.arrived,
            model: self.plan.models.get(model).cloned().unwrap_or_default(),
            session: (self.plan.sessions > 0).then(|| self.rng.u64(0..self.plan.sessions)),
            deadline: now + self.plan.deadline,
            memory: Memory::default(),
            ticket: None,
            waiting_since: None,
            waited: Duration::ZERO,
            attempt: None,
        };
        let at = if let Some(at) = self.free.pop() {
            let step = self.trips[at].step + 1;
            self.trips[at] = Trip { step, ..trip };
            at
        } else {
            self.trips.push(trip);
            self.trips.len() - 1
        };
        if self.rng.u64(0..100) < self.plan.leave_percent {
            let after = exponential(self.plan.deadline / 4, &mut self.rng);
            self.push(now + after, Event::Leave(at, self.arrived));
        }
        let gap = exponential(self.plan.mean_gap, &mut self.rng);
        if now + gap < self.plan.end && self.arrived < self.plan.max_requests {
            self.push(now + gap, Event::Arrive);
        }
        self.ask(at, now);
    }

    fn ask(&mut self, at: usize, now: Timestamp) {
        let trip = &mut self.trips[at];
        trip.step += 1;
        if let Some(since) = trip.waiting_since.take() {
            trip.waited += since.until(now);
        }
        if let Some(ticket) = trip.ticket {
            self.tickets.remove(&ticket);
        }
        let answer = self.state.acquire(
            &mut Request {
                model: &trip.model,
                session: trip.session,
                deadline: trip.deadline,
                memory: &mut trip.memory,
                client: trip.serial % CLIENTS,
                ticket: trip.ticket.take(),
            },
            now,
        );
        match answer {
            Answer::Granted(grant) => self.send(at, grant, now),
            Answer::Queued { ticket, until } => {
                trip.ticket = Some(ticket);
                trip.waiting_since = Some(now);
                let step = trip.step;
                self.tickets.insert(ticket, at);
                self.push(until, Event::Ask(at, step));
            }
            Answer::Refused(refusal) => {
                self.watch
                    .refused(&self.state, &trip.model, &trip.memory, trip.deadline);
                self.finish(at, End::Refused(refusal));
            }
        }
    }

    fn send(&mut self, at: usize, grant: Grant, now: Timestamp) {
        self.watch.granted(&self.state, grant);
        let trip = &mut self.trips[at];
        let reply = self.upstream.reply(grant.slot, now, &mut self.rng);
        let (Reply::Failure { after, .. } | Reply::Success { after, .. }) = &reply;
        let (after, step) = (*after, trip.step);
        trip.attempt = Some((grant, reply));
        self.push(now + after, Event::End(at, step));
    }

    fn end_attempt(&mut self, at: usize, now: Timestamp) {
        let trip = &mut self.trips[at];
        trip.step += 1;
        let Some((grant, reply)) = trip.attempt.take() else {
            return;
        };
        let outcome = match &reply {
            Reply::Failure {
                failure,
                after_content,
                ..
            } => {
                if *after_content {
                    self.state.observe(now);
                    self.state.note_success(grant, false);
                }
                Outcome::Failed {
                    failure,
                    after_content: *after_content,
                }
            }
            Reply::Success { usage, .. } => Outcome::Success {
                usage: Some(*usage),
            },
        };
        let party = Party {
            memory: &mut trip.memory,
            deadline: trip.deadline,
        };
        let next = self.state.settle(grant, outcome, Some(party), now);
        self.watch.settled(&self.state, grant, &reply, next);
        match next {
            Next::Again { after, .. } => {
                let step = self.trips[at].step;
                self.push(now + after, Event::Ask(at, step));
            }
            Next::Answer(Stop::Done) => self.finish(at, End::Served),
            Next::Answer(stop) => self.finish(at, End::Stopped(stop)),
        }
    }

    fn leave(&mut self, at: usize, now: Timestamp) {
        let trip = &mut self.trips[at];
        if let Some((grant, _)) = trip.attempt.take() {
            let outcome = Outcome::Cancelled { usage: None };
            self.state.settle(grant, outcome, None, now);
        } else if let Some(ticket) = trip.ticket.take() {
            self.tickets.remove(&ticket);
            self.state.observe(now);
            self.state.leave(ticket);
        }
        self.finish(at, End::Left);
    }

    fn finish(&mut self, at: usize, end: End) {
        let trip = &mut self.trips[at];
        trip.step += 1;
        trip.serial = 0;
        let waited = trip.waited;
        self.free.push(at);
        self.watch.ended(&self.state, end, waited);
    }

    fn wake(&mut self, now: Timestamp) {
        self.state.tell_hopeless();
        for ticket in std::mem::take(&mut self.state.woken) {
            if let Some(at) = self.tickets.get(&ticket).copied() {
                let step = self.trips[at].step;
                self.push(now, Event::Ask(at, step));
            }
        }
    }
}

/// A random span with this mean, as between independent arrivals.
pub(super) fn exponential(mean: Duration, rng: &mut fastrand::Rng) -> Duration {
    // Bounded: the logarithm has no end.
    let factor = -(1.0 - rng.f64()).max(1e-9).ln();
    mean.mul_f64(factor)
}
