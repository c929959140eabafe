//! Streams of HTTP/2 whose client takes nothing. The connection lives, so its own limits
//! ([`super::patience`]) say nothing, and hyper asks no stream for more whose window is shut: somebody
//! else has to notice that a stream waits, and to let go of the credential behind it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// The longest a client may take nothing of what is there for it; as long as with HTTP/1.
const STALL: Duration = Duration::from_mins(1);

/// How often streams are looked at.
const LOOK: Duration = Duration::from_secs(15);

/// What can be ended from outside.
pub(super) trait Endable: Send {
    /// Lets go of everything but a last word to the client.
    fn end(&mut self);
}

/// A stream that is minded.
#[derive(Debug)]
pub(super) struct Held<R>(Mutex<Inner<R>>);

#[derive(Debug)]
struct Inner<R> {
    stream: R,
    /// When it gave its last piece, if it has not been asked again.
    gave: Option<Instant>,
}

/// The streams of one connection.
#[derive(Debug)]
pub(super) struct Streams<R> {
    held: Mutex<Vec<Weak<Held<R>>>>,
    is_needed: Notify,
}

impl<R> Default for Streams<R> {
    fn default() -> Self {
        Self {
            held: Mutex::default(),
            is_needed: Notify::new(),
        }
    }
}

impl<R> Held<R> {
    /// Asks the stream for its next piece.
    pub(super) fn poll<T>(&self, ask: impl FnOnce(&mut R) -> Poll<Option<T>>) -> Poll<Option<T>> {
        let mut inner = lock(&self.0);
        let piece = ask(&mut inner.stream);
        inner.gave = matches!(piece, Poll::Ready(Some(_))).then(Instant::now);
        piece
    }
}

impl<R: Endable> Streams<R> {
    /// Minds a stream.
    pub(super) fn hold(&self, stream: R) -> Arc<Held<R>> {
        let inner = Inner { stream, gave: None };
        let stream = Arc::new(Held(Mutex::new(inner)));
        let mut held = lock(&self.held);
        held.retain(|one| one.strong_count() > 0);
        held.push(Arc::downgrade(&stream));
        self.is_needed.notify_one();
        stream
    }

    /// Looks after the streams for as long as it is polled.
    pub(super) async fn mind(&self) {
        self.is_needed.notified().await;
        loop {
            sleep(LOOK).await;
            self.end_stalled(Instant::now());
        }
    }

    fn end_stalled(&self, now: Instant) {
        for stream in lock(&self.held).iter().filter_map(Weak::upgrade) {
            let mut inner = lock(&stream.0);
            if inner.gave.is_some_and(|gave| now - gave >= STALL) {
                inner.gave = None;
                inner.stream.end();
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says whether it was ended.
    struct Fake(Arc<Mutex<bool>>);

    impl Endable for Fake {
        fn end(&mut self) {
            *lock(&self.0) = true;
        }
    }

    fn give(held: &Held<Fake>) {
        let given = held.poll(|_| Poll::Ready(Some(())));
        assert_eq!(given, Poll::Ready(Some(())));
    }

    #[tokio::test(start_paused = true)]
    async fn c06_a_stream_that_nobody_takes_from_is_ended_and_no_other() {
        let streams = Streams::default();
        let ended = [(); 3].map(|()| Arc::new(Mutex::new(false)));
        let held = ended
            .each_ref()
            .map(|ended| streams.hold(Fake(Arc::clone(ended))));
        for one in &held {
            give(one);
        }
        let [_stalled, silent, slow] = &held;
        // Its upstream is silent: the client takes whatever comes.
        assert_eq!(silent.poll(|_| Poll::<Option<()>>::Pending), Poll::Pending);
        let taking = async {
            for _ in 0..10 {
                sleep(STALL / 2).await;
                give(slow);
            }
        };
        tokio::select! {
            () = streams.mind() => {}
            () = taking => {}
        }
        let ended = ended.map(|ended| *lock(&ended));
        assert_eq!(ended, [true, false, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn streams_that_have_ended_are_forgotten() {
        let streams = Streams::default();
        for _ in 0..100 {
            drop(streams.hold(Fake(Arc::default())));
        }
        assert!(lock(&streams.held).len() <= 1);
    }
}
