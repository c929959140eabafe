//! Log lines go to stderr, in the form and amount the global options ask for.

use std::io;

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::cli::log_line::Line;
use crate::cli::log_queue::Queue;
use crate::cli::{Context, LogFormat};
use crate::telemetry::request_line;

/// What a command's log is to its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Only what went wrong: the result is what was asked for.
    Command,
    /// Only errors: the screen belongs to another program.
    Guest,
    /// A line a request.
    Server,
}

/// Starts logging; later calls in one process change nothing.
pub(super) fn install(context: &Context, role: Role) {
    let asked = context.globals.verbose;
    let verbose = asked.saturating_add(u8::from(role == Role::Server));
    let is_quiet = context.globals.quiet || (role == Role::Guest && asked == 0);
    let filter = targets(verbose, is_quiet);
    // A server goes on when nobody reads its log; everybody else's lines come in order with what
    // they print.
    let queue = (role == Role::Server).then(|| Queue::start(io::stderr()));
    let writer = match &queue {
        Some(queue) => BoxMakeWriter::new(queue.clone()),
        None => BoxMakeWriter::new(io::stderr),
    };
    // A stderr that is gone must not make the logger write to stderr about it.
    let layer = fmt::layer().with_writer(writer).log_internal_errors(false);
    let layer = match context.globals.log_format {
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
        LogFormat::Pretty => {
            let form = Line {
                ansi: context.printer.is_err_colored(),
                target: context.globals.verbose > 1,
            };
            if let Some(queue) = queue
                && filter.would_enable(request_line::TARGET, &Level::INFO)
            {
                request_line::take_lines(move |request| {
                    let line = form.of_request(request);
                    line.inspect(|line| queue.take(line.as_bytes())).is_some()
                });
            }
            layer.event_format(form).boxed()
        }
    };
    // Only the first subscriber of a process counts; in tests there may be one already.
    let _ = tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init();
}

/// Our own events at the level asked for; other crates' only when they warn, because HTTP
/// libraries print headers at debug level.
fn targets(verbose: u8, quiet: bool) -> Targets {
    let ours = match (quiet, verbose) {
        (true, _) => Level::ERROR,
        (false, 0) => Level::WARN,
        (false, 1) => Level::INFO,
        (false, 2) => Level::DEBUG,
        (false, _) => Level::TRACE,
    };
    Targets::new()
        .with_default(if quiet { Level::ERROR } else { Level::WARN })
        .with_target("llmproxy", ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_crates_never_log_below_warnings() {
        let filter = targets(3, false);
        assert!(filter.would_enable("llmproxy::pool", &Level::TRACE));
        assert!(!filter.would_enable("hyper::proto", &Level::INFO));
        assert!(filter.would_enable("hyper::proto", &Level::WARN));
    }

    #[test]
    fn quiet_leaves_errors_only() {
        let filter = targets(0, true);
        assert!(!filter.would_enable("llmproxy", &Level::WARN));
        assert!(filter.would_enable("llmproxy", &Level::ERROR));
    }
}
