//! Finding the class and lane of a model, and making them when a model is new.
//!
//! Clients may name any number of models: what is kept for them is bounded.

use super::class::{Class, Route, TierLane, class_of, tier_rule_of};
use super::eligible::{View, assess};
use super::lane::{Lane, NEVER};
use super::state::State;
use super::waiters::Queue;

/// Model names remembered.
const MAX_MODELS: usize = 10_000;
/// Model classes kept; beyond, the one unused for longest makes room, rests and counts and all.
const MAX_CLASSES: usize = 512;
/// Lanes kept: each is brought up to date whenever the load of a credential changes.
const MAX_LANES: usize = 64;
/// Places in all lanes together (about 200 MB); beyond, the lane unused for longest is dropped.
const MAX_LEAVES: usize = 4_000_000;

impl State {
    pub(super) fn lane(&self, route: Route) -> &TierLane {
        &self.classes[route.class as usize].lanes[route.lane]
    }

    /// Finds the class and lane of a model, and makes them if it is new.
    pub(super) fn route(&mut self, model: &str) -> Route {
        if let Some(route) = self.routes.route(model)
            && route.lane < self.classes[route.class as usize].lanes.len()
        {
            self.classes[route.class as usize].used = self.now;
            return route;
        }
        let class = self.class_of_model(model);
        let rule = tier_rule_of(model, &self.settings.tier_rules);
        let lanes = &self.classes[class as usize].lanes;
        let lane = lanes.iter().position(|lane| lane.rule == rule);
        let lane = lane.unwrap_or_else(|| self.add_lane(class, rule));
        let route = Route { class, lane };
        if self.routes.models() >= MAX_MODELS {
            self.routes.clear_models();
        }
        self.routes.add_model(model, route);
        route
    }

    fn class_of_model(&mut self, model: &str) -> u32 {
        let (name, is_group) = class_of(model, &self.settings);
        let name = name.to_owned();
        self.class_named(&name, is_group)
    }

    /// The class of this name, made if it is new.
    pub(super) fn class_named(&mut self, name: &str, is_group: bool) -> u32 {
        if let Some(class) = self.routes.class(name) {
            return class;
        }
        let mut class = Class::new(name, is_group, &self.settings);
        class.used = self.now;
        let places = self.classes.iter().enumerate();
        let at = places
            .filter(|(_, class)| self.classes.len() >= MAX_CLASSES && class.is_idle())
            .min_by_key(|(_, class)| class.used)
            .map(|(at, _)| at);
        let at = if let Some(at) = at {
            self.routes.remove_class(&self.classes[at].name);
            self.routes.clear_models();
            self.classes[at] = class;
            at
        } else {
            self.classes.push(class);
            self.classes.len() - 1
        };
        let at = u32::try_from(at).unwrap_or(u32::MAX);
        self.routes.add_class(name, at);
        self.learn_quota(at);
        at
    }

    fn add_lane(&mut self, at: u32, rule: Option<usize>) -> usize {
        self.drop_cold_lanes();
        let class = &mut self.classes[at as usize];
        let view = View {
            windows: &class.windows,
            rule: rule.and_then(|rule| self.settings.tier_rules.get(rule)),
            order: &self.order,
            now: self.now,
        };
        class.entries.resize_with(self.slots.len(), || None);
        let slots = self.slots.iter().zip(&mut class.entries);
        let leaves = slots.map(|(slot, entry)| assess(slot, entry.as_deref_mut(), view));
        class.lanes.push(TierLane {
            rule,
            lane: Lane::new(leaves.collect()),
            queue: Queue::new(),
            earliest: NEVER,
        });
        class.lanes.len() - 1
    }

    /// Makes room for a lane: clients may name any number of models.
    fn drop_cold_lanes(&mut self) {
        loop {
            let with_lanes = self.classes.iter().filter(|class| !class.lanes.is_empty());
            let lanes: usize = with_lanes.map(|class| class.lanes.len()).sum();
            if lanes < MAX_LANES && (lanes + 1).saturating_mul(self.slots.len()) <= MAX_LEAVES {
                return;
            }
            let is_cold = |class: &&mut Class| {
                !class.lanes.is_empty() && class.lanes.iter().all(|lane| lane.queue.is_empty())
            };
            let cold = self.classes.iter_mut().filter(is_cold);
            let Some(class) = cold.min_by_key(|class| class.used) else {
                return;
            };
            class.lanes.clear();
            // Known routes point into lanes by place.
            self.routes.clear_models();
        }
    }

    /// Reassesses everything.
    pub(super) fn rebuild_lanes(&mut self) {
        self.readiness.changes += 1;
        let lanes: Vec<Queue> = self
            .classes
            .iter_mut()
            .flat_map(|class| class.lanes.drain(..))
            .map(|lane| lane.queue)
            .collect();
        self.routes.clear_models();
        for (ticket, waiter) in lanes.into_iter().flatten() {
            let route = self.route(&waiter.model);
            self.classes[route.class as usize].lanes[route.lane].line_up(ticket, waiter);
        }
    }
}
