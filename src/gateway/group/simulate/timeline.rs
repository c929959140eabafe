//! Virtual time: what happens next, and the tasks that wait for it. One thread, no clock: the same
//! seed gives the same order of everything.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::future::{Either, select};

/// Whose a task is: it ends with its owner, or with its owner's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    /// 0 is the world itself.
    pub(super) owner: u64,
    /// 0 is a task that outlives sessions.
    pub(super) session: u64,
}

type Act = Box<dyn FnOnce()>;

struct Task {
    scope: Scope,
    /// Absent while it runs.
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

/// Times in milliseconds.
#[derive(Default)]
pub(super) struct Timeline {
    now: Cell<i64>,
    /// By time, and of one time in the order in which they were noted.
    due: RefCell<BTreeMap<(i64, u64), Act>>,
    tasks: RefCell<BTreeMap<u64, Task>>,
    awake: Arc<Mutex<VecDeque<u64>>>,
    serial: Cell<u64>,
}

impl Timeline {
    pub(super) fn new(now: i64) -> Rc<Self> {
        let timeline = Self::default();
        timeline.now.set(now);
        Rc::new(timeline)
    }

    pub(super) const fn now(&self) -> i64 {
        self.now.get()
    }

    /// Does something later.
    pub(super) fn at(&self, time: i64, act: impl FnOnce() + 'static) {
        let key = (time.max(self.now()), self.number());
        self.due.borrow_mut().insert(key, Box::new(act));
    }

    /// Begins a task.
    pub(super) fn spawn(&self, scope: Scope, future: impl Future<Output = ()> + 'static) {
        let number = self.number();
        let future: Pin<Box<dyn Future<Output = ()>>> = Box::pin(future);
        let future = Some(future);
        self.tasks
            .borrow_mut()
            .insert(number, Task { scope, future });
        wake(&self.awake, number);
    }

    /// Ends all tasks of an owner, or of a session.
    pub(super) fn end(&self, is_over: impl Fn(Scope) -> bool) {
        let over = {
            let mut tasks = self.tasks.borrow_mut();
            let over = tasks.iter().filter(|(_, task)| is_over(task.scope));
            let over: Vec<u64> = over.map(|(number, _)| *number).collect();
            let over: Vec<_> = over.iter().map(|number| tasks.remove(number)).collect();
            over
        };
        // What they hold may wake others.
        drop(over);
    }

    /// Runs until a time, or until nothing is left to do.
    pub(super) fn run(&self, until: i64) {
        loop {
            while let Some(number) = next(&self.awake) {
                self.poll(number);
            }
            let first = self.due.borrow_mut().pop_first();
            let Some(((time, number), act)) = first else {
                return;
            };
            if time > until {
                self.due.borrow_mut().insert((time, number), act);
                self.now.set(until);
                return;
            }
            self.now.set(time);
            act();
        }
    }

    /// Forgets all that was to happen.
    pub(super) fn clear(&self) {
        self.end(|_| true);
        let due = std::mem::take(&mut *self.due.borrow_mut());
        drop(due);
    }

    pub(super) fn sleep(self: &Rc<Self>, millis: i64) -> Sleep {
        Sleep {
            timeline: Rc::clone(self),
            until: self.now() + millis.max(0),
            is_set: false,
        }
    }

    /// What comes of a future, if it comes in time.
    pub(super) async fn within<T>(
        self: &Rc<Self>,
        millis: i64,
        future: impl Future<Output = T>,
    ) -> Option<T> {
        match select(pin!(future), pin!(self.sleep(millis))).await {
            Either::Left((value, _)) => Some(value),
            Either::Right(_) => None,
        }
    }

    fn number(&self) -> u64 {
        self.serial.replace(self.serial.get() + 1) + 1
    }

    fn poll(&self, number: u64) {
        let future = {
            let mut tasks = self.tasks.borrow_mut();
            tasks.get_mut(&number).and_then(|task| task.future.take())
        };
        let Some(mut future) = future else {
            return;
        };
        let waker = Waker::from(Arc::new(Alarm {
            number,
            awake: Arc::clone(&self.awake),
        }));
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        let mut tasks = self.tasks.borrow_mut();
        if polled.is_ready() {
            tasks.remove(&number);
        } else if let Some(task) = tasks.get_mut(&number) {
            task.future = Some(future);
            return;
        }
        drop(tasks);
        drop(future);
    }
}

struct Alarm {
    number: u64,
    awake: Arc<Mutex<VecDeque<u64>>>,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        wake(&self.awake, self.number);
    }
}

fn wake(awake: &Mutex<VecDeque<u64>>, number: u64) {
    let mut awake = awake.lock().unwrap_or_else(PoisonError::into_inner);
    if !awake.contains(&number) {
        awake.push_back(number);
    }
}

fn next(awake: &Mutex<VecDeque<u64>>) -> Option<u64> {
    let mut awake = awake.lock().unwrap_or_else(PoisonError::into_inner);
    awake.pop_front()
}

/// Resolves at its time.
pub(super) struct Sleep {
    timeline: Rc<Timeline>,
    until: i64,
    is_set: bool,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.timeline.now() >= self.until {
            return Poll::Ready(());
        }
        if !self.is_set {
            self.is_set = true;
            let waker = context.waker().clone();
            self.timeline.at(self.until, move || waker.wake());
        }
        Poll::Pending
    }
}
