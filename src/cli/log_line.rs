//! One line of the log for people: when, how bad, what, and the rest as `name=value`.
//!
//! A server writes one for each request, so it is written straight into the line, without a style
//! for every piece.

use std::fmt::{self, Debug, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use crate::telemetry::request_line::RequestLine;

/// What the line of a request takes.
const TYPICAL_BYTES: usize = 384;

/// How a line looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    /// With colours.
    pub(super) ansi: bool,
    /// With the module that speaks.
    pub(super) target: bool,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut whole: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // Into a string of its own: `Writer` calls through a pointer for every piece.
        let mut line = String::with_capacity(TYPICAL_BYTES);
        let (dim, plain) = if self.ansi {
            ("\x1b[2m", "\x1b[0m")
        } else {
            ("", "")
        };
        line.write_str(dim)?;
        write_time(&mut line, now())?;
        line.write_str(plain)?;
        let (word, colour) = word_of(*event.metadata().level());
        if self.ansi {
            write!(line, " \x1b[{colour}m{word}{plain}")?;
        } else {
            line.write_char(' ')?;
            line.write_str(word)?;
        }
        if self.target {
            write!(line, " {dim}{}:{plain}", event.metadata().target())?;
        }
        let mut fields = Fields {
            line: Tame(&mut line),
            dim,
            plain,
            result: Ok(()),
        };
        event.record(&mut fields);
        fields.result?;
        line.push('\n');
        whole.write_str(&line)
    }
}

impl Line {
    /// The line that a request's event would become, put together from its pieces; `None` where colours,
    /// the module or an odd character ask for more.
    pub(super) fn of_request(self, request: &RequestLine<'_>) -> Option<String> {
        let RequestLine {
            client,
            provider,
            model,
            credential,
            ..
        } = *request;
        let texts = [client, provider, model, credential];
        if self.ansi || self.target || !texts.iter().all(|text| is_plain(text)) {
            return None;
        }
        let id = request.id.to_hex();
        let quote = if is_word(client) { "" } else { "\"" };
        let mut digits = [itoa::Buffer::new(); 4];
        let [status, attempts, duration_ms, tokens] = &mut digits;
        let (status, attempts) = (
            status.format(request.status),
            attempts.format(request.attempts),
        );
        let (duration_ms, tokens) = (
            duration_ms.format(request.duration_ms),
            tokens.format(request.tokens),
        );
        let mut line = String::with_capacity(TYPICAL_BYTES);
        write_time(&mut line, now()).ok()?;
        for piece in [
            "  INFO ",
            status,
            " ",
            provider,
            "/",
            model,
            " by ",
            credential,
            " in ",
            duration_ms,
            " ms, attempt ",
            attempts,
            " request=",
            str::from_utf8(&id).ok()?,
            " client=",
            quote,
            client,
            quote,
            " provider=\"",
            provider,
            "\" model=\"",
            model,
            "\" credential=\"",
            credential,
            "\" status=",
            status,
            " ending=\"",
            request.ending,
            "\" attempts=",
            attempts,
            " duration_ms=",
            duration_ms,
            " tokens=",
            tokens,
            "\n",
        ] {
            line.push_str(piece);
        }
        Some(line)
    }
}

/// The latest second that a line was written in, and its words as RFC 3339 has them, up to the dot:
/// a busy server writes thousands of lines in one.
static SECOND: Mutex<(u64, String)> = Mutex::new((0, String::new()));

fn now() -> Duration {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since_epoch.unwrap_or_default()
}

/// Writes a time since the epoch to the microsecond.
fn write_time(line: &mut impl Write, time: Duration) -> fmt::Result {
    let mut second = SECOND.lock().unwrap_or_else(PoisonError::into_inner);
    if second.0 != time.as_secs() || second.1.is_empty() {
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let words = jiff::Timestamp::from_second(seconds).unwrap_or_default();
        let words = words.to_string();
        *second = (time.as_secs(), words.trim_end_matches('Z').to_owned());
    }
    line.write_str(&second.1)?;
    // Counted from a million, the digits have their zeros.
    let mut digits = itoa::Buffer::new();
    let micros = digits.format(1_000_000 + time.subsec_micros());
    line.write_char('.')?;
    line.write_str(micros.get(1..).unwrap_or_default())?;
    line.write_char('Z')
}

/// The level in five characters, and its colour.
const fn word_of(level: Level) -> (&'static str, u8) {
    match level {
        Level::ERROR => ("ERROR", 31),
        Level::WARN => (" WARN", 33),
        Level::INFO => (" INFO", 32),
        Level::DEBUG => ("DEBUG", 34),
        Level::TRACE => ("TRACE", 35),
    }
}

/// Writes the fields of an event, its message first and without a name.
struct Fields<'a, W> {
    line: Tame<'a, W>,
    dim: &'static str,
    plain: &'static str,
    result: fmt::Result,
}

impl<W: Write> Fields<'_, W> {
    fn field(&mut self, field: &Field, write: impl FnOnce(&mut Tame<'_, W>) -> fmt::Result) {
        if self.result.is_ok() {
            self.result = self.name(field.name()).and_then(|()| write(&mut self.line));
        }
    }

    fn name(&mut self, name: &str) -> fmt::Result {
        let line = &mut *self.line.0;
        line.write_char(' ')?;
        if name == "message" {
            return Ok(());
        }
        for piece in [self.dim, name, "=", self.plain] {
            line.write_str(piece)?;
        }
        Ok(())
    }
}

impl<W: Write> Visit for Fields<'_, W> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.field(field, |line| write!(line, "{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, |line| match field.name() {
            "message" => line.write_str(value),
            "client" | "request" if is_word(value) => line.0.write_str(value),
            _ if is_plain(value) => {
                line.0.write_char('"')?;
                line.0.write_str(value)?;
                line.0.write_char('"')
            }
            _ => write!(line, "{value:?}"),
        });
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field, |line| {
            line.0.write_str(itoa::Buffer::new().format(value))
        });
    }
}

/// `true` for text that can stand without quotes.
fn is_word(text: &str) -> bool {
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !text.is_empty() && text.bytes().all(is_usual)
}

/// `true` for text that stands between quotes as it is.
fn is_plain(text: &str) -> bool {
    let is_printable = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    text.bytes().all(is_printable)
}

/// Text in which nothing moves the cursor: what comes from outside cannot make a line look like
/// two, or like another one.
struct Tame<'a, W>(&'a mut W);

impl<W: Write> Write for Tame<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let is_wild = |character: char| character.is_control();
        // All control characters start with one of these bytes.
        if !text
            .bytes()
            .any(|byte| byte < b' ' || byte == 0x7f || byte == 0xc2)
        {
            return self.0.write_str(text);
        }
        for piece in text.split_inclusive(is_wild) {
            match piece.chars().next_back().filter(|last| is_wild(*last)) {
                Some(last) => {
                    self.0
                        .write_str(piece.strip_suffix(last).unwrap_or(piece))?;
                    write!(self.0, "{}", last.escape_default())?;
                }
                None => self.0.write_str(piece)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::ids::RequestId;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Kept {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    /// What is logged, without the time.
    fn logged(line: Line, say: impl FnOnce()) -> String {
        let kept = Kept::default();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(kept.clone())
            .event_format(line);
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, say);
        let bytes = kept.0.lock().expect("no panic").clone();
        let text = String::from_utf8(bytes).expect("UTF-8");
        let (_time, rest) = text.split_once('Z').expect("a time");
        rest.to_owned()
    }

    const PLAIN: Line = Line {
        ansi: false,
        target: false,
    };

    #[test]
    fn the_message_comes_first_and_numbers_are_bare() {
        let line = logged(PLAIN, || {
            let quoted = "a \"b\"";
            tracing::info!(client = "a b", request = "0f", quoted, count = 7_u64, id = %"x/1", "done");
        });
        let expected = r#"  INFO done client="a b" request=0f quoted="a \"b\"" count=7 id=x/1"#;
        assert_eq!(line.trim_end_matches('\n'), expected);
    }

    #[test]
    fn a_requests_line_is_what_its_event_would_be() {
        let mut request = RequestLine {
            id: RequestId(0x0f),
            client: "laptop",
            provider: "groq",
            model: "llama-3",
            credential: "groq/1",
            status: 200,
            ending: "served",
            attempts: 2,
            duration_ms: 312,
            tokens: 40,
        };
        let plain = "  INFO 200 groq/llama-3 by groq/1 in 312 ms, attempt 2 \
                     request=0000000000000000000000000000000f client=laptop provider=\"groq\" \
                     model=\"llama-3\" credential=\"groq/1\" status=200 ending=\"served\" attempts=2 \
                     duration_ms=312 tokens=40\n";
        assert_eq!(logged(PLAIN, || request.event()), plain);
        for client in ["laptop", "a b", ""] {
            request.client = client;
            let line = PLAIN.of_request(&request).expect("all of it is plain");
            let (_time, direct) = line.split_once('Z').expect("a time");
            assert_eq!(direct, logged(PLAIN, || request.event()));
        }
        for model in ["a\"b", "a\n", "\u{9b}2J", "ü"] {
            request.model = model;
            assert_eq!(PLAIN.of_request(&request), None, "{model}");
        }
    }

    #[test]
    fn times_are_rfc_3339_to_the_microsecond_whatever_second_was_before() {
        for (time, words) in [
            (
                Duration::from_micros(1_767_225_599_000_007),
                "2025-12-31T23:59:59.000007Z",
            ),
            (
                Duration::from_micros(1_767_225_600_999_999),
                "2026-01-01T00:00:00.999999Z",
            ),
            (Duration::ZERO, "1970-01-01T00:00:00.000000Z"),
        ] {
            let mut line = String::new();
            write_time(&mut line, time).expect("a string takes all");
            assert_eq!(line, words);
        }
    }

    #[test]
    fn nothing_from_outside_moves_the_cursor() {
        let evil = "a\n2026 INFO forged\u{1b}[2J\u{9b}2Jü";
        let line = logged(PLAIN, || tracing::warn!(id = %evil, "{evil}"));
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert!(!line.trim_end().contains(char::is_control), "{line}");
        assert!(
            line.contains(r"a\n2026 INFO forged\u{1b}[2J\u{9b}2Jü"),
            "{line}"
        );
    }

    #[test]
    fn colours_and_the_module_are_shown_where_wanted() {
        let line = Line {
            ansi: true,
            target: true,
        };
        let line = logged(line, || tracing::error!("no"));
        assert!(line.contains("\u{1b}[31mERROR\u{1b}[0m"), "{line}");
        assert!(line.contains("llmproxy::cli::log_line::tests:"), "{line}");
    }
}
