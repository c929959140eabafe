//! What a bug may do: end one request or one round of background work, and print nothing of what it
//! was working on.

use std::time::Duration;

use tracing::error;

use crate::cli::log_queue;

/// The pause before work that panicked is taken up again: whatever it stumbled over may be there
/// still.
const PAUSE: Duration = Duration::from_secs(1);

/// Has panics named by their place only: a message may quote what was being read, which may be a
/// secret. With `RUST_BACKTRACE` set, whoever looks for the bug gets it all.
pub(super) fn name_places_only() {
    if std::env::var_os("RUST_BACKTRACE").is_some_and(|set| set != "0") {
        return;
    }
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let place = place.unwrap_or_default();
        error!(%place, "panicked at {place}; set RUST_BACKTRACE=1 to see why, and report it");
        // The process may end with this thread.
        log_queue::flush();
    }));
}

/// Runs work that has no end in the background, and takes it up again if it panics.
pub(super) fn keep<F>(what: &'static str, work: impl Fn() -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(async move {
        while let Err(ended) = tokio::spawn(work()).await {
            if !ended.is_panic() {
                return;
            }
            error!(what, "{what} panicked and begins again");
            tokio::time::sleep(PAUSE).await;
        }
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn l29_background_work_that_panics_is_taken_up_again() {
        let (begun, ended) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let (counter, done) = (Arc::clone(&begun), Arc::clone(&ended));
        keep("a test", move || {
            let (begun, ended) = (Arc::clone(&counter), Arc::clone(&done));
            async move {
                let round = begun.fetch_add(1, Ordering::Relaxed);
                assert!(round >= 2, "the first two rounds fail");
                ended.notify_one();
            }
        });
        ended.notified().await;
        assert_eq!(begun.load(Ordering::Relaxed), 3);
    }
}
