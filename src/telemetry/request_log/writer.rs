//! Writes a finished request down: one directory, complete or not there at all.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::providers::redact::Known;
use crate::telemetry::request_log::Settings;
use crate::telemetry::request_log::record::{Answer, Asked, Attempt, Pieces, Record};
use crate::telemetry::request_log::redaction::{Redactor, millis};
use crate::telemetry::request_log::retention::{PARTIAL, Shelf, stamp};
use crate::time::Timestamp;

/// Requests written between two looks at what is to go.
const TIDY_AFTER: u32 = 500;

/// The writer of one directory.
pub(super) struct Writer {
    settings: Settings,
    known: Arc<ArcSwap<Known>>,
    shelf: Shelf,
    since_tidy: u32,
    /// Requests that could not be written since the last one that could.
    failed: u64,
}

impl Writer {
    pub(super) fn new(settings: Settings, known: Arc<ArcSwap<Known>>) -> Self {
        Self {
            settings,
            known,
            shelf: Shelf::default(),
            since_tidy: 0,
            failed: 0,
        }
    }

    /// Removes what is not to be kept any more.
    pub(super) fn tidy(&mut self) {
        self.since_tidy = 0;
        self.shelf.tidy(&self.settings, Timestamp::now());
    }

    /// Writes a request; `false` if it cannot. Says so once, until it can again.
    pub(super) fn write(&mut self, record: &Record) -> bool {
        let dir = self.settings.dir.display();
        match self.try_write(record) {
            Ok((name, bytes)) => {
                if self.failed > 0 {
                    tracing::info!(
                        "the request log in {dir} works again; {} requests are missing",
                        self.failed
                    );
                }
                self.failed = 0;
                self.shelf.add(name, bytes);
            }
            Err(error) => {
                if self.failed == 0 {
                    tracing::error!(
                        "cannot write the request log in {dir}: {error}; requests are served all the \
                         same, and logged again as soon as it works"
                    );
                }
                self.failed += 1;
            }
        }
        self.since_tidy += 1;
        if self.since_tidy >= TIDY_AFTER || self.shelf.is_full(&self.settings) {
            self.tidy();
        }
        self.failed == 0
    }

    fn try_write(&self, record: &Record) -> io::Result<(String, u64)> {
        create_dir(&self.settings.dir, true)?;
        let name = format!("{}-{}", stamp(record.at), record.asked.id);
        let partial = self.settings.dir.join(format!("{PARTIAL}{name}"));
        create_dir(&partial, false)?;
        let known = self.known.load();
        let redactor = Redactor::new(&known, &record.secrets);
        let mut files = Files {
            directory: &partial,
            redactor,
            bytes: 0,
        };
        let written = files
            .all(record)
            .and_then(|()| fs::rename(&partial, self.settings.dir.join(&name)));
        let bytes = files.bytes;
        if let Err(error) = written {
            // The disk may be full: half a request helps nobody.
            let _ = fs::remove_dir_all(&partial);
            return Err(error);
        }
        Ok((name, bytes))
    }
}

/// The files of one request.
struct Files<'a> {
    directory: &'a Path,
    redactor: Redactor<'a>,
    bytes: u64,
}

/// `request.json`: what it takes to ask again.
#[derive(Serialize)]
struct RequestFile<'a> {
    at: String,
    client: &'a str,
    dialect: &'static str,
    operation: &'static str,
    path_model: Option<&'a str>,
    path_stream: Option<bool>,
    batch: bool,
    array_stream: bool,
    strict: bool,
    headers: Value,
    /// `null` if it was too large to keep.
    body: Option<Box<RawValue>>,
}

/// `attempt-N-request.json`.
#[derive(Serialize)]
struct SentFile<'a> {
    after_ms: u64,
    credential: &'a str,
    method: &'static str,
    url: String,
    headers: Value,
    body: Option<Box<RawValue>>,
}

/// `attempt-N-response.json` and `response.json`.
#[derive(Serialize)]
struct AnswerFile<'a> {
    after_ms: u64,
    status: Option<u16>,
    fault: Option<&'a str>,
    headers: Value,
    /// `null` for a stream, whose events are in a file of their own, and if it was too large.
    body: Option<Box<RawValue>>,
    /// The rest of it was too large to keep.
    is_cut: bool,
}

/// `meta.json`, written last.
#[derive(Serialize)]
struct MetaFile<'a> {
    id: String,
    llmproxy: &'static str,
    /// How many secrets, or what looks like some, were taken out of what the client sent.
    redacted: usize,
    trail: Option<&'a RawValue>,
}

impl Files<'_> {
    fn all(&mut self, record: &Record) -> io::Result<()> {
        self.request(&record.asked, record)?;
        let redacted = self.redactor.places;
        for (number, attempt) in (1..).zip(&record.attempts) {
            self.attempt(number, attempt)?;
        }
        self.answer("response", &record.answer, None)?;
        let trail = record
            .trail
            .as_deref()
            .map(|trail| self.redactor.text(trail));
        let trail = trail
            .as_deref()
            .and_then(|trail| serde_json::from_str(trail).ok());
        let meta = MetaFile {
            id: record.asked.id.to_string(),
            llmproxy: env!("CARGO_PKG_VERSION"),
            redacted,
            trail,
        };
        self.json("meta", &meta)
    }

    fn request(&mut self, asked: &Asked, record: &Record) -> io::Result<()> {
        let headers = self.redactor.headers(&asked.headers);
        let body = (!record.is_cut).then(|| self.redactor.body(&asked.body));
        let file = RequestFile {
            at: record.at.to_rfc3339(),
            client: &asked.client,
            dialect: asked.dialect.as_str(),
            operation: asked.operation.as_str(),
            path_model: asked.path_model.as_deref(),
            path_stream: asked.path_stream,
            batch: asked.batch,
            array_stream: asked.array_stream,
            strict: asked.strict,
            headers,
            body,
        };
        self.json("request", &file)
    }

    fn attempt(&mut self, number: usize, attempt: &Attempt) -> io::Result<()> {
        let file = SentFile {
            after_ms: millis(attempt.after),
            credential: attempt.credential.as_str(),
            method: "POST",
            url: self.redactor.url(&attempt.url),
            headers: self.redactor.headers(&attempt.headers),
            body: self.whole(&attempt.body),
        };
        self.json(&format!("attempt-{number}-request"), &file)?;
        let fault = attempt.fault.as_deref();
        let name = format!("attempt-{number}-response");
        self.answer(&name, &attempt.answer, fault)
    }

    fn answer(&mut self, name: &str, answer: &Answer, fault: Option<&str>) -> io::Result<()> {
        if answer.head.is_none() && fault.is_none() {
            // Nobody waited for it.
            return Ok(());
        }
        let head = answer.head.as_ref();
        let kind = head.and_then(|(_, headers)| headers.get(CONTENT_TYPE));
        let streams = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let body = if streams {
            let events = self.redactor.events(&answer.body);
            self.file(&format!("{name}-events.jsonl"), events.as_bytes())?;
            None
        } else {
            self.whole(&answer.body)
        };
        let fault = fault.map(|fault| self.redactor.text(fault));
        let file = AnswerFile {
            after_ms: millis(answer.after),
            status: head.map(|(status, _)| status.as_u16()),
            fault: fault.as_deref(),
            headers: match head {
                Some((_, headers)) => self.redactor.headers(headers),
                None => Value::Null,
            },
            body,
            is_cut: answer.body.is_cut,
        };
        self.json(name, &file)
    }

    fn whole(&mut self, pieces: &Pieces) -> Option<Box<RawValue>> {
        (!pieces.is_cut).then(|| self.redactor.body(&pieces.joined()))
    }

    fn json(&mut self, name: &str, value: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec(value)?;
        text.push(b'\n');
        self.file(&format!("{name}.json"), &text)
    }

    fn file(&mut self, name: &str, text: &[u8]) -> io::Result<()> {
        let mut options = fs::OpenOptions::new();
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let path = self.directory.join(name);
        let mut file = options.create_new(true).write(true).open(path)?;
        file.write_all(text)?;
        self.bytes += text.len() as u64;
        Ok(())
    }
}

/// A directory for the owner only; with those above it where that is wanted.
fn create_dir(path: &Path, all: bool) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(all).create(path)
}
