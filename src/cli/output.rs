//! The only place that writes to the terminal: data to stdout, everything else to stderr.

use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use clap::ValueEnum;
use console::Term;
use serde::Serialize;

use crate::cli::exit::Failure;
use crate::cli::table::Table;
use crate::cli::waiting::Waiting;

/// Writes results to stdout and messages to stderr; knows about colour, width and quietness.
pub struct Printer {
    out: Channel,
    err: Channel,
    quiet: bool,
}

/// `--color WHEN`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    /// Colour always, also into pipes
    Always,
    /// Colour on terminals; the environment may forbid or force it
    #[default]
    Auto,
    /// No colour
    Never,
}

/// How a piece of text stands out. Nothing depends on it: the words say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Bad,
    Bold,
    Dim,
    Good,
    Warning,
}

struct Channel {
    sink: Mutex<Box<dyn Write + Send>>,
    color: bool,
    terminal: bool,
    width: Option<usize>,
}

impl Printer {
    /// The process's own stdout and stderr. `quiet` drops notes, never data, warnings or errors.
    pub fn new(color: ColorWhen, quiet: bool) -> Self {
        let columns = env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let out_terminal = stdout.is_terminal();
        let err_terminal = stderr.is_terminal();
        Self {
            out: Channel {
                color: wants_color(color, out_terminal, |name| env::var_os(name)),
                terminal: out_terminal,
                width: columns.or_else(|| terminal_width(&Term::stdout(), out_terminal)),
                sink: Mutex::new(Box::new(stdout)),
            },
            err: Channel {
                color: wants_color(color, err_terminal, |name| env::var_os(name)),
                terminal: err_terminal,
                width: columns.or_else(|| terminal_width(&Term::stderr(), err_terminal)),
                sink: Mutex::new(Box::new(stderr)),
            },
            quiet,
        }
    }

    /// A printer that drops everything.
    pub fn silent() -> Self {
        let channel = || Channel {
            sink: Mutex::new(Box::new(io::sink())),
            color: false,
            terminal: false,
            width: None,
        };
        Self {
            out: channel(),
            err: channel(),
            quiet: true,
        }
    }

    /// Writes text to stdout as it is and flushes: streamed answers.
    ///
    /// Fails quietly when the reader has left, see [`Kind::ClosedPipe`](super::exit::Kind).
    pub fn write(&self, text: &str) -> Result<(), Failure> {
        let mut sink = self.out.lock();
        sink.write_all(text.as_bytes())
            .and_then(|()| sink.flush())
            .map_err(|error| Failure::from_write(&error))
    }

    /// Writes one line to stdout.
    pub fn line(&self, text: &str) -> Result<(), Failure> {
        self.write(&format!("{text}\n"))
    }

    /// Writes a value to stdout as indented JSON.
    pub fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(|error| {
            Failure::failed(
                format!("cannot write the result as JSON: {error}"),
                "this is a defect of llmproxy; please report it with the command line",
            )
        })?;
        self.line(&text)
    }

    /// Writes a table to stdout, fitted to the terminal; into a pipe at its full width.
    pub fn table(&self, table: &Table) -> Result<(), Failure> {
        self.write(&table.render(self.out.width, self.out.color))
    }

    /// Writes a line to stderr unless `-q` was given: progress, what was done, what to do next.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.err.line(text);
        }
    }

    /// Writes `warning: …` to stderr.
    pub fn warn(&self, text: &str) {
        let label = self.err.paint(Style::Warning, "warning:");
        self.err.line(&format!("{label} {text}"));
    }

    /// Writes to stderr what accompanies a result as it comes: no line of its own.
    pub fn aside(&self, style: Style, text: &str) {
        if self.quiet {
            return;
        }
        let painted = self.err.paint(style, text);
        let mut sink = self.err.lock();
        // A stderr that is gone is no reason to fail.
        let _ = sink
            .write_all(painted.as_bytes())
            .and_then(|()| sink.flush());
    }

    /// Writes an error with its excerpt and hint to stderr.
    pub fn failure(&self, failure: &Failure) {
        if failure.is_silent() {
            return;
        }
        let label = self.err.paint(Style::Bad, "error:");
        let mut text = format!("{label} {}", failure.sentence());
        if let Some(excerpt) = failure.excerpt() {
            text.push('\n');
            text.push_str(excerpt.trim_end());
        }
        if !failure.hint().is_empty() {
            let label = self.err.paint(Style::Good, "hint:");
            text.push('\n');
            text.push_str(&label);
            text.push(' ');
            text.push_str(failure.hint());
        }
        self.err.line(&text);
    }

    /// Text for stdout in the given style, or plain where colour is off.
    pub fn paint(&self, style: Style, text: &str) -> String {
        self.out.paint(style, text)
    }

    /// `true` if results go to a person's terminal.
    pub fn is_terminal(&self) -> bool {
        self.out.terminal
    }

    /// `true` if stdout takes colour.
    pub fn is_colored(&self) -> bool {
        self.out.color
    }

    /// `true` if stderr takes colour: for log lines.
    pub fn is_err_colored(&self) -> bool {
        self.err.color
    }

    /// `true` if progress bars and spinners may be drawn: stderr is a terminal and `-q` is not set.
    pub fn shows_progress(&self) -> bool {
        self.err.terminal && !self.quiet
    }

    /// A sign of life on stderr for what may take longer than half a second, until the guard is
    /// dropped; `None` off a terminal.
    #[must_use]
    pub fn waiting(&self, message: &str) -> Option<Waiting> {
        self.shows_progress().then(|| Waiting::for_what(message))
    }

    /// Columns of stdout's terminal; `None` for a pipe or file.
    pub fn width(&self) -> Option<usize> {
        self.out.width
    }
}

impl Channel {
    fn lock(&self) -> MutexGuard<'_, Box<dyn Write + Send>> {
        self.sink.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One line; a stderr that is gone is no reason to fail.
    fn line(&self, text: &str) {
        let mut sink = self.lock();
        let _ = sink
            .write_all(format!("{text}\n").as_bytes())
            .and_then(|()| sink.flush());
    }

    fn paint(&self, style: Style, text: &str) -> String {
        paint(self.color, style, text)
    }
}

/// Wraps text in the escape codes of a style where `color` is on.
pub(super) fn paint(color: bool, style: Style, text: &str) -> String {
    if !color {
        return text.to_owned();
    }
    let code = match style {
        Style::Bad => "1;31",
        Style::Bold => "1",
        Style::Dim => "2",
        Style::Good => "32",
        Style::Warning => "33",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

/// Whether a channel gets colour: the flag, then `NO_COLOR` (<https://no-color.org>), then
/// `CLICOLOR_FORCE` (<https://bixense.com/clicolors>), then whether it is a capable terminal.
pub(super) fn wants_color(
    when: ColorWhen,
    is_terminal: bool,
    variable: impl Fn(&str) -> Option<OsString>,
) -> bool {
    let is_set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
    match when {
        ColorWhen::Always => true,
        ColorWhen::Never => false,
        ColorWhen::Auto if is_set("NO_COLOR") => false,
        ColorWhen::Auto if is_set("CLICOLOR_FORCE") => {
            variable("CLICOLOR_FORCE").is_some_and(|value| value != "0")
        }
        ColorWhen::Auto => is_terminal && variable("TERM").is_none_or(|term| term != "dumb"),
    }
}

fn terminal_width(term: &Term, is_terminal: bool) -> Option<usize> {
    if !is_terminal {
        return None;
    }
    term.size_checked().map(|(_, columns)| usize::from(columns))
}

#[cfg(test)]
pub(super) mod capture {
    //! A printer that keeps what it prints, for tests.

    use std::sync::Arc;

    use super::*;

    /// What was written to one channel.
    #[derive(Clone, Default)]
    pub(in crate::cli) struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Captured {
        pub(in crate::cli) fn text(&self) -> String {
            String::from_utf8_lossy(&self.0.lock().expect("not poisoned")).into_owned()
        }
    }

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A colourless printer of unlimited width, its stdout and its stderr.
    pub(in crate::cli) fn printer() -> (Printer, Captured, Captured) {
        let (out, err) = (Captured::default(), Captured::default());
        let channel = |sink: &Captured| Channel {
            sink: Mutex::new(Box::new(sink.clone())),
            color: false,
            terminal: false,
            width: None,
        };
        let printer = Printer {
            out: channel(&out),
            err: channel(&err),
            quiet: false,
        };
        (printer, out, err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decides(when: ColorWhen, terminal: bool, set: &[(&str, &str)]) -> bool {
        wants_color(when, terminal, |name| {
            set.iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn colour_follows_flag_then_environment_then_terminal() {
        use ColorWhen::{Always, Auto, Never};
        for (when, terminal, set, expected) in [
            (Auto, true, &[][..], true),
            (Auto, false, &[], false),
            (Auto, true, &[("NO_COLOR", "1")], false),
            (Auto, true, &[("NO_COLOR", "")], true),
            (Auto, false, &[("CLICOLOR_FORCE", "1")], true),
            (Auto, false, &[("CLICOLOR_FORCE", "0")], false),
            (
                Auto,
                false,
                &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")],
                false,
            ),
            (Auto, true, &[("TERM", "dumb")], false),
            (Always, false, &[("NO_COLOR", "1")], true),
            (Never, true, &[("CLICOLOR_FORCE", "1")], false),
        ] {
            assert_eq!(decides(when, terminal, set), expected, "{when:?} {set:?}");
        }
    }

    #[test]
    fn an_error_is_one_sentence_and_one_hint_on_stderr() {
        let (printer, out, err) = capture::printer();
        printer.failure(&Failure::failed("key refused", "create a new one"));
        assert_eq!(err.text(), "error: key refused\nhint: create a new one\n");
        assert_eq!(out.text(), "");
    }

    #[test]
    fn json_goes_to_stdout_with_a_final_newline() {
        let (printer, out, _) = capture::printer();
        printer.json(&["a"]).expect("a buffer takes everything");
        assert_eq!(out.text(), "[\n  \"a\"\n]\n");
    }
}
