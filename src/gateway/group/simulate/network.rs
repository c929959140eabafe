//! The server of the group and the lines to it: what is sent may be late, held up or lost, each way
//! for itself, and arrives in order. The server may be down, frozen, flushed, or replaced by one that
//! lacks the last words.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::rc::Rc;

use tokio::sync::mpsc::UnboundedSender;

use super::World;
use crate::state::redis::model::{Asked, Store};

/// From an instance to the server, or from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Back,
    There,
}

/// What becomes of what is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Flow {
    #[default]
    Arrives,
    /// Nothing arrives, nobody is told.
    Cut,
    /// All arrives when the line is open again.
    Held,
}

type Packet = Box<dyn FnOnce(&Rc<World>)>;

#[derive(Default)]
struct Line {
    flow: Flow,
    /// Added to each delay.
    slow_ms: i64,
    last: i64,
    backlog: Vec<Packet>,
}

pub(super) struct Network {
    pub(super) store: RefCell<Store>,
    /// What a replica had some time ago.
    pub(super) replica: RefCell<Store>,
    pub(super) is_down: Cell<bool>,
    /// How far the server's clock is ahead.
    pub(super) skew: i64,
    /// By place: there and back.
    lines: Vec<RefCell<[Line; 2]>>,
    /// Who listens, by place: the connection, and where its news go.
    listeners: RefCell<BTreeMap<usize, (u64, UnboundedSender<String>)>>,
    connections: Cell<u64>,
}

impl Network {
    pub(super) fn new(places: usize, skew: i64) -> Self {
        Self {
            store: RefCell::default(),
            replica: RefCell::default(),
            is_down: Cell::new(false),
            skew,
            lines: (0..places).map(|_| RefCell::default()).collect(),
            listeners: RefCell::default(),
            connections: Cell::new(0),
        }
    }

    /// A new connection's number.
    pub(super) fn connect(&self) -> u64 {
        self.connections.replace(self.connections.get() + 1) + 1
    }

    /// Ends all connections.
    pub(super) fn hang_up(&self) {
        let gone = std::mem::take(&mut *self.listeners.borrow_mut());
        drop(gone);
    }
}

impl World {
    /// Sets what becomes of a place's packets. What was held up arrives once they may.
    pub(super) fn set_flow(self: &Rc<Self>, place: usize, way: Way, flow: Flow) {
        let backlog = {
            let mut lines = self.network.lines[place].borrow_mut();
            let line = &mut lines[way as usize];
            line.flow = flow;
            if flow == Flow::Arrives {
                std::mem::take(&mut line.backlog)
            } else {
                Vec::new()
            }
        };
        for packet in backlog {
            self.send(place, way, packet);
        }
    }

    pub(super) fn set_slow(&self, place: usize, slow_ms: i64) {
        for line in self.network.lines[place].borrow_mut().iter_mut() {
            line.slow_ms = slow_ms;
        }
    }

    /// Sends something on its way.
    pub(super) fn send(self: &Rc<Self>, place: usize, way: Way, packet: Packet) {
        let delay = self.rng.borrow_mut().i64(0..=self.scenario.delay_ms);
        let at = {
            let mut lines = self.network.lines[place].borrow_mut();
            let line = &mut lines[way as usize];
            match line.flow {
                Flow::Cut => None,
                Flow::Held => {
                    line.backlog.push(packet);
                    return;
                }
                Flow::Arrives => {
                    line.last = line.last.max(self.now() + delay + line.slow_ms);
                    Some(line.last)
                }
            }
        };
        if let Some(at) = at {
            let world = Rc::clone(self);
            self.time.at(at, move || packet(&world));
        }
    }

    /// What the server does with what it is asked; `None` if it is down.
    pub(super) fn serve<T: Debug>(self: &Rc<Self>, what: &str, asked: impl Asked<T>) -> Option<T> {
        if self.network.is_down.get() {
            return None;
        }
        let (answer, published) = {
            let mut store = self.network.store.borrow_mut();
            let answer = asked(&mut store, self.servers_now());
            (answer, store.take_published())
        };
        self.laws.borrow_mut().trace(self.now(), what, &answer);
        for message in published {
            let listeners: Vec<usize> = self.network.listeners.borrow().keys().copied().collect();
            for place in listeners {
                let connection = self.network.listeners.borrow()[&place].0;
                let message = message.clone();
                self.send(
                    place,
                    Way::Back,
                    Box::new(move |world| world.hear(place, connection, message)),
                );
            }
        }
        Some(answer)
    }

    pub(super) fn listen(&self, place: usize, connection: u64, news: UnboundedSender<String>) {
        let mut listeners = self.network.listeners.borrow_mut();
        listeners.insert(place, (connection, news));
    }

    /// The server's time.
    pub(super) fn servers_now(&self) -> i64 {
        self.now() + self.network.skew
    }

    /// A message arrives, if the connection it was sent on is still there.
    fn hear(&self, place: usize, connection: u64, message: String) {
        let listeners = self.network.listeners.borrow();
        if let Some((known, news)) = listeners.get(&place)
            && *known == connection
        {
            // Nobody listens any more where the session has ended.
            let _ = news.send(message);
        }
    }
}
