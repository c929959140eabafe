//! Requests that wait for a credential, in the order in which they came.

use std::collections::BTreeMap;

use crate::time::Timestamp;

use super::ask::Memory;
use super::class::{Route, TierLane};
use super::select;
use super::state::{Request, State};

/// The waiters of one lane by ticket; tickets only grow, so the first is the longest waiting.
pub(super) type Queue = BTreeMap<u64, Waiter>;

/// One waiting request, as far as the choice of its credential needs it.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) model: Box<str>,
    pub(super) session: Option<u64>,
    pub(super) deadline: Timestamp,
    pub(super) memory: Memory,
}

impl State {
    /// Gives what has become free to those who wait, longest waiting first.
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
            let Some(slot) = self.pick(route, &waiter.memory, waiter.session) else {
                return;
            };
            let grant = self.take(route, slot, &waiter.memory, waiter.session);
            self.granted.insert(ticket, grant);
            self.woken.push(ticket);
        }
    }

    /// The longest waiting request that can be served now.
    fn next_served(&mut self) -> Option<(Route, u64)> {
        let mut first: Option<(Route, u64)> = None;
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

    /// A request leaves the queue; what was granted to it goes to the next.
    pub(super) fn leave(&mut self, ticket: u64) {
        self.dequeue(Some(ticket));
        if let Some(grant) = self.granted.remove(&ticket) {
            self.take_back(grant);
            self.return_probe(grant);
            self.release(grant);
        }
        self.serve();
    }

    /// Queues a request; one that is queued already keeps its place.
    pub(super) fn enqueue(&mut self, route: Route, request: &Request<'_>) -> u64 {
        let lane = &mut self.classes[route.class as usize].lanes[route.lane];
        if let Some(ticket) = request.ticket
            && let Some(waiter) = lane.queue.get_mut(&ticket)
        {
            waiter.deadline = request.deadline;
            return ticket;
        }
        self.dequeue(request.ticket);
        // Whoever loses what was set aside for it keeps its place in the line.
        let ticket = request.ticket.unwrap_or_else(|| {
            self.next_ticket += 1;
            self.next_ticket
        });
        let waiter = Waiter {
            model: request.model.into(),
            session: request.session,
            deadline: request.deadline,
            memory: request.memory.clone(),
        };
        let lane = &mut self.classes[route.class as usize].lanes[route.lane];
        lane.queue.insert(ticket, waiter);
        self.waiting += 1;
        ticket
    }

    /// Takes a request out of the queue.
    pub(super) fn dequeue(&mut self, ticket: Option<u64>) {
        let Some(ticket) = ticket.filter(|_| self.waiting > 0) else {
            return;
        };
        for lane in self.classes.iter_mut().flat_map(|class| &mut class.lanes) {
            if lane.queue.remove(&ticket).is_some() {
                self.waiting -= 1;
                return;
            }
        }
    }
}
