//! Requests that wait for a credential: those of one client in the order in which they came, clients
//! in turn.
//!
//! A request that comes gets the next turn after its client's last one, at the earliest the turn that
//! is being served. So whoever asks now and then waits for one request of each other client, however
//! many those have sent before.

use std::collections::{BTreeMap, HashMap};

use crate::time::Timestamp;

use super::ask::Memory;
use super::class::{Route, TierLane};
use super::lane::{NEVER, Status};
use super::select;
use super::state::{Request, State};

/// The waiters of one lane; the first is the next.
pub(super) type Queue = BTreeMap<Ticket, Waiter>;

/// A place in the line: no two are alike, lower ones are served first.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket {
    turn: u64,
    number: u64,
}

/// The line that all lanes of a pool share.
#[derive(Debug, Default)]
pub(super) struct Line {
    number: u64,
    /// The turn that is being served.
    turn: u64,
    /// The last turn of each client that waits; of others nothing is known.
    last: HashMap<u64, u64>,
}

impl Line {
    fn draw(&mut self, client: u64) -> Ticket {
        self.number += 1;
        let turn = match self.last.get(&client) {
            Some(last) => self.turn.max(last + 1),
            None => self.turn,
        };
        self.last.insert(client, turn);
        Ticket {
            turn,
            number: self.number,
        }
    }

    /// Notes whose turn it is now; `is_over` if nobody waits any longer.
    fn served(&mut self, ticket: Ticket, is_over: bool) {
        self.turn = self.turn.max(ticket.turn);
        if is_over {
            self.last.clear();
        }
    }
}

/// One waiting request, as far as the choice of its credential needs it.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) model: Box<str>,
    pub(super) session: Option<u64>,
    pub(super) deadline: Timestamp,
    pub(super) memory: Memory,
    /// Whether it was told that nobody can serve it in time: it is about to ask why.
    pub(super) is_told: bool,
}

impl TierLane {
    /// Puts a request into the queue.
    pub(super) fn line_up(&mut self, ticket: Ticket, waiter: Waiter) {
        self.earliest = self.earliest.min(waiter.deadline);
        self.queue.insert(ticket, waiter);
    }
}

impl State {
    /// Gives what has become free to those who wait.
    pub(super) fn serve(&mut self) {
        while self.waiting > 0 {
            let Some((route, ticket)) = self.next_served() else {
                return;
            };
            let lane = &mut self.classes[route.class as usize].lanes[route.lane];
            let Some(waiter) = lane.queue.remove(&ticket) else {
                return;
            };
            self.waiting -= 1;
            self.line.served(ticket, self.waiting == 0);
            let Some(slot) = self.pick(route, &waiter.memory, waiter.session) else {
                return;
            };
            let grant = self.take(route, slot, &waiter.memory, waiter.session);
            self.granted.insert(ticket, grant);
            self.woken.push(ticket);
        }
    }

    /// The first in the line that can be served now.
    fn next_served(&mut self) -> Option<(Route, Ticket)> {
        let mut first: Option<(Route, Ticket)> = None;
        for class in 0..u32::try_from(self.classes.len()).unwrap_or(u32::MAX) {
            for lane in 0..self.classes[class as usize].lanes.len() {
                let route = Route { class, lane };
                if self.lane(route).queue.is_empty() {
                    continue;
                }
                self.work_off_due(route);
                let TierLane { lane, queue, .. } = self.lane(route);
                if self.is_gated(class) || !lane.root().has_any() {
                    continue;
                }
                let servable = queue.iter().find(|(_, waiter)| {
                    waiter.deadline >= self.now && select::can_serve(lane, &waiter.memory)
                });
                if let Some((ticket, _)) = servable
                    && first.is_none_or(|(_, earliest)| *ticket < earliest)
                {
                    first = Some((route, *ticket));
                }
            }
        }
        first
    }

    /// Wakes those whom nobody can serve in time any longer, so that they need not wait to be told:
    /// what they waited for rests for longer than they have, is refused, or is gone.
    pub(super) fn tell_hopeless(&mut self) {
        if self.waiting == 0 {
            return;
        }
        for class in 0..u32::try_from(self.classes.len()).unwrap_or(u32::MAX) {
            for lane in 0..self.classes[class as usize].lanes.len() {
                let route = Route { class, lane };
                if self.has_hopeless(route) {
                    self.tell_lane(route);
                }
            }
        }
    }

    /// Whether it is worth looking at everybody in a queue: each look leaves only those who hope for
    /// something that comes before the earliest of their deadlines.
    fn has_hopeless(&self, route: Route) -> bool {
        let TierLane {
            lane,
            queue,
            earliest,
            ..
        } = self.lane(route);
        if queue.is_empty() || lane.count(Status::Busy) > 0 {
            return false;
        }
        let gate = self.gate(route.class);
        let soonest = if lane.root().has_any() && gate > self.now {
            gate
        } else {
            lane.root().wake.max(gate)
        };
        soonest > *earliest
    }

    fn tell_lane(&mut self, route: Route) {
        let mut told = Vec::new();
        let mut earliest = NEVER;
        for (ticket, waiter) in &self.lane(route).queue {
            if waiter.is_told {
                continue;
            }
            match self.soonest(route, &waiter.memory, waiter.deadline) {
                Ok(_) => earliest = earliest.min(waiter.deadline),
                Err(_) => told.push(*ticket),
            }
        }
        let lane = &mut self.classes[route.class as usize].lanes[route.lane];
        lane.earliest = earliest;
        for ticket in &told {
            if let Some(waiter) = lane.queue.get_mut(ticket) {
                waiter.is_told = true;
            }
        }
        self.woken.append(&mut told);
    }

    /// A request leaves the queue; what was granted to it goes to the next.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        self.dequeue(Some(ticket));
        if let Some(grant) = self.granted.remove(&ticket) {
            self.take_back(grant);
            self.return_probe(grant);
            self.release(grant);
        }
        self.serve();
    }

    /// Queues a request; one that is queued already keeps its place.
    pub(super) fn enqueue(&mut self, route: Route, request: &Request<'_>) -> Ticket {
        let lane = &mut self.classes[route.class as usize].lanes[route.lane];
        if let Some(ticket) = request.ticket
            && let Some(waiter) = lane.queue.get_mut(&ticket)
        {
            waiter.deadline = request.deadline;
            waiter.is_told = false;
            lane.earliest = lane.earliest.min(request.deadline);
            return ticket;
        }
        self.dequeue(request.ticket);
        // Whoever loses what was set aside for it keeps its place in the line.
        let ticket = request
            .ticket
            .unwrap_or_else(|| self.line.draw(request.client));
        let waiter = Waiter {
            model: request.model.into(),
            session: request.session,
            deadline: request.deadline,
            memory: request.memory.clone(),
            is_told: false,
        };
        self.classes[route.class as usize].lanes[route.lane].line_up(ticket, waiter);
        self.waiting += 1;
        ticket
    }

    /// Takes a request out of the queue.
    pub(super) fn dequeue(&mut self, ticket: Option<Ticket>) {
        let Some(ticket) = ticket.filter(|_| self.waiting > 0) else {
            return;
        };
        for lane in self.classes.iter_mut().flat_map(|class| &mut class.lanes) {
            if lane.queue.remove(&ticket).is_some() {
                self.waiting -= 1;
                if self.waiting == 0 {
                    self.line.last.clear();
                }
                return;
            }
        }
    }
}
