//! A sign of life for what takes longer than half a second, on terminals only.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::ProgressBar;

/// What is done sooner shows nothing: a flicker helps nobody.
const PATIENCE: Duration = Duration::from_millis(500);

/// How often a spinner turns.
const TURN: Duration = Duration::from_millis(100);

/// A spinner on stderr that comes late and is gone when this is dropped.
pub struct Waiting {
    /// Dropped to have it gone.
    over: Option<Sender<()>>,
    drawing: Option<JoinHandle<()>>,
}

impl Waiting {
    /// Begins to wait. The caller knows that there is a terminal.
    pub(super) fn for_what(message: &str) -> Self {
        let (over, ended) = mpsc::channel();
        let message = message.to_owned();
        let drawing = thread::spawn(move || {
            if ended.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let spinner = ProgressBar::new_spinner();
            spinner.set_message(message);
            spinner.enable_steady_tick(TURN);
            // Nothing is ever sent: it returns when the sender is gone.
            let _ = ended.recv();
            spinner.finish_and_clear();
        });
        Self {
            over: Some(over),
            drawing: Some(drawing),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.over.take());
        if let Some(drawing) = self.drawing.take() {
            // What is printed next must not meet it. It cannot panic, and if it did, it is over.
            let _ = drawing.join();
        }
    }
}
