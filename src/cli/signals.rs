//! The signals that commands hear instead of dying of them, on each platform what it has.

use std::io;

use crate::cli::exit::Failure;

/// What a refusal to hear signals means.
pub(super) fn deaf(error: &io::Error) -> Failure {
    Failure::failed(
        format!("cannot listen to signals: {error}"),
        "check the limits on open files (ulimit -n)",
    )
}

#[cfg(unix)]
mod platform {
    use std::io;

    use rustix::process::{Pid, Signal as Number, kill_process};
    use tokio::signal::unix::{Signal, SignalKind, signal};

    /// Requests to stop: SIGTERM and SIGINT.
    pub(in crate::cli) struct Stops {
        term: Signal,
        interrupt: Signal,
    }

    impl Stops {
        /// Begins to listen; from now on they no longer end the process.
        pub(in crate::cli) fn listen() -> io::Result<Self> {
            Ok(Self {
                term: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            })
        }

        /// Waits for the next one.
        pub(in crate::cli) async fn next(&mut self) {
            tokio::select! {
                _ = self.term.recv() => {}
                _ = self.interrupt.recv() => {}
            }
        }
    }

    /// Requests to read everything again: SIGHUP.
    pub(in crate::cli) struct Hangups(Option<Signal>);

    impl Hangups {
        /// Begins to listen; from now on SIGHUP no longer ends the process.
        pub(in crate::cli) fn listen() -> io::Result<Self> {
            signal(SignalKind::hangup()).map(|signal| Self(Some(signal)))
        }

        /// Hears none: SIGHUP is somebody else's.
        pub(in crate::cli) fn none() -> Self {
            Self(None)
        }

        /// Waits for the next one.
        pub(in crate::cli) async fn next(&mut self) {
            match &mut self.0 {
                Some(signal) => {
                    signal.recv().await;
                }
                None => std::future::pending().await,
            }
        }
    }

    /// Signals meant for the program that `llmproxy run` stands in front of.
    pub(in crate::cli) struct Passed {
        hangup: Signal,
        interrupt: Signal,
        quit: Signal,
        term: Signal,
        user_1: Signal,
        user_2: Signal,
    }

    impl Passed {
        /// Begins to listen; from now on none of them ends this process.
        pub(in crate::cli) fn listen() -> io::Result<Self> {
            Ok(Self {
                hangup: signal(SignalKind::hangup())?,
                interrupt: signal(SignalKind::interrupt())?,
                quit: signal(SignalKind::quit())?,
                term: signal(SignalKind::terminate())?,
                user_1: signal(SignalKind::user_defined1())?,
                user_2: signal(SignalKind::user_defined2())?,
            })
        }

        /// Waits for the next signal and sends it on. `on_terminal` says that Ctrl-C reaches the
        /// child by itself, because terminals signal the whole process group.
        pub(in crate::cli) async fn pass(&mut self, child: Option<u32>, on_terminal: bool) {
            let (number, from_keys) = tokio::select! {
                _ = self.hangup.recv() => (Number::HUP, false),
                _ = self.interrupt.recv() => (Number::INT, true),
                _ = self.quit.recv() => (Number::QUIT, true),
                _ = self.term.recv() => (Number::TERM, false),
                _ = self.user_1.recv() => (Number::USR1, false),
                _ = self.user_2.recv() => (Number::USR2, false),
            };
            if from_keys && on_terminal {
                return;
            }
            let pid = child.and_then(|id| i32::try_from(id).ok());
            if let Some(pid) = pid.and_then(Pid::from_raw) {
                // A child that has just ended needs no signal.
                let _ = kill_process(pid, number);
            }
        }
    }
}

#[cfg(not(unix))]
mod platform {
    use std::io;

    /// Requests to stop: Ctrl-C and Ctrl-Break.
    pub(in crate::cli) struct Stops(());

    impl Stops {
        /// Nothing to prepare here.
        pub(in crate::cli) fn listen() -> io::Result<Self> {
            Ok(Self(()))
        }

        /// Waits for the next one.
        pub(in crate::cli) async fn next(&mut self) {
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// There is no SIGHUP here.
    pub(in crate::cli) struct Hangups(());

    impl Hangups {
        /// Nothing to prepare here.
        pub(in crate::cli) fn listen() -> io::Result<Self> {
            Ok(Self(()))
        }

        /// The same.
        pub(in crate::cli) fn none() -> Self {
            Self(())
        }

        /// Waits for ever.
        pub(in crate::cli) async fn next(&mut self) {
            std::future::pending().await
        }
    }

    /// Ctrl-C, which the console sends to the child as well.
    pub(in crate::cli) struct Passed(());

    impl Passed {
        /// Nothing to prepare here.
        pub(in crate::cli) fn listen() -> io::Result<Self> {
            Ok(Self(()))
        }

        /// Keeps Ctrl-C from ending this process before the child.
        pub(in crate::cli) async fn pass(&mut self, _child: Option<u32>, _on_terminal: bool) {
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

pub(super) use platform::{Hangups, Passed, Stops};
