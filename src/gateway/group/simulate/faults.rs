//! What goes wrong, and when: all of it by the seed, and all of it over by the same time.

use std::rc::Rc;

use super::instance::Instance;
use super::network::{Flow, Way};
use super::{FAULTS_END_MS, PLACES, World};
use crate::state::redis::LEASE;

/// How far behind a replica may be that takes over.
const BEHIND_MS: i64 = 3_000;

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// An instance ends, and starts again from its disk.
    Crash(usize),
    /// Packets of an instance are lost, or held up: there, back.
    Disturbed(usize, Flow, Flow),
    /// A replica takes over that lacks the last words.
    Failover,
    /// The server forgets everything.
    Flush,
    /// It answers nobody for a while.
    Freeze,
    /// It ends, and is back empty.
    Kill,
    /// An instance's packets take so much longer.
    Slow(usize, i64),
}

impl World {
    /// Plans all that will go wrong.
    pub(super) fn plan_faults(self: &Rc<Self>) {
        let start = self.scenario.start_ms;
        for _ in 0..self.scenario.faults {
            let (at, lasts, fault) = {
                let mut rng = self.rng.borrow_mut();
                let lasts = if rng.bool() {
                    rng.i64(100..3_000)
                } else {
                    rng.i64(3_000..18_000)
                };
                let at = start + rng.i64(BEHIND_MS..FAULTS_END_MS - 1_000);
                (at, lasts, fault(&mut rng))
            };
            if matches!(fault, Fault::Failover) {
                let world = Rc::clone(self);
                self.time.at(at - lasts.min(BEHIND_MS), move || {
                    let store = world.network.store.borrow().clone();
                    *world.network.replica.borrow_mut() = store;
                });
            }
            let world = Rc::clone(self);
            self.time.at(at, move || world.begin(fault));
            let world = Rc::clone(self);
            let end = (at + lasts).min(start + FAULTS_END_MS);
            self.time.at(end, move || world.end(fault));
        }
    }

    fn begin(self: &Rc<Self>, fault: Fault) {
        self.laws.borrow_mut().trace(self.now(), "fault", &fault);
        self.laws.borrow_mut().rests.trouble_begins(self.now());
        match fault {
            Fault::Crash(place) => self.crash(place),
            Fault::Disturbed(place, there, back) => {
                self.set_flow(place, Way::There, there);
                self.set_flow(place, Way::Back, back);
            }
            Fault::Failover => {
                let replica = self.network.replica.borrow().clone();
                *self.network.store.borrow_mut() = replica;
                self.network.hang_up();
                self.laws.borrow_mut().amnesia();
            }
            Fault::Flush => {
                self.network.store.borrow_mut().flush();
                self.laws.borrow_mut().amnesia();
            }
            Fault::Freeze => {
                for place in 0..PLACES {
                    self.set_flow(place, Way::There, Flow::Held);
                }
            }
            Fault::Kill => {
                self.network.is_down.set(true);
                self.network.store.borrow_mut().flush();
                self.network.hang_up();
                self.laws.borrow_mut().amnesia();
            }
            Fault::Slow(place, by_ms) => self.set_slow(place, by_ms),
        }
    }

    fn end(self: &Rc<Self>, fault: Fault) {
        self.laws.borrow_mut().rests.trouble_ends(self.now());
        match fault {
            Fault::Crash(place) => {
                if self.instances[place].borrow().is_none() {
                    Instance::start(self, place);
                }
            }
            Fault::Disturbed(place, ..) => {
                self.set_flow(place, Way::There, Flow::Arrives);
                self.set_flow(place, Way::Back, Flow::Arrives);
            }
            Fault::Failover | Fault::Flush => {}
            Fault::Freeze => {
                for place in 0..PLACES {
                    self.set_flow(place, Way::There, Flow::Arrives);
                }
            }
            Fault::Kill => self.network.is_down.set(false),
            Fault::Slow(place, _) => self.set_slow(place, 0),
        }
    }

    fn crash(self: &Rc<Self>, place: usize) {
        let instance = self.instances[place].borrow().clone();
        let Some(instance) = instance else {
            return;
        };
        instance.crash();
        let (world, owner) = (Rc::clone(self), instance.owner);
        let crashed = self.now();
        let life = i64::try_from(LEASE.as_millis()).expect("a short time");
        self.time.at(crashed + life + 1, move || {
            world.assert_leases_are_back(owner, crashed);
        });
    }

    /// Leases of an instance that died are free, unless a word of it came later still.
    fn assert_leases_are_back(&self, owner: u64, crashed: i64) {
        if self.laws.borrow().last_arrival(owner) <= crashed {
            let left = self.leases_of(owner);
            assert_eq!(left, 0, "leases of i{owner}, which died at {crashed}");
        }
    }
}

fn fault(rng: &mut fastrand::Rng) -> Fault {
    let place = rng.usize(0..PLACES);
    let flow = |rng: &mut fastrand::Rng| {
        let flows = [Flow::Arrives, Flow::Cut, Flow::Held];
        flows[rng.usize(0..flows.len())]
    };
    match rng.u8(0..12) {
        0..5 => Fault::Disturbed(place, flow(rng), flow(rng)),
        5 | 6 => Fault::Crash(place),
        7 => Fault::Failover,
        8 => Fault::Flush,
        9 => Fault::Freeze,
        10 => Fault::Kill,
        _ => Fault::Slow(place, rng.i64(20..400)),
    }
}
