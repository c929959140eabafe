//! Logged requests, found and read again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::dialects::{Dialect, Operation};
use crate::telemetry::request_log::retention::is_ours;

/// A request as it was logged.
#[derive(Debug)]
pub struct Logged {
    pub id: String,
    pub dialect: Dialect,
    pub operation: Operation,
    pub path_model: Option<String>,
    pub path_stream: Option<bool>,
    pub batch: bool,
    pub array_stream: bool,
    pub strict: bool,
    /// Text headers; secret ones hold no value.
    pub headers: Map<String, Value>,
    /// The client's body; `None` if it was too large to keep.
    pub body: Option<String>,
    /// How many secrets were taken out of what the client sent.
    pub redacted: usize,
    /// The decision trail; `Null` if the client left before there was an answer.
    pub trail: Value,
    /// What the client got.
    pub answer: Option<LoggedAnswer>,
}

/// See [`Logged::answer`].
#[derive(Debug)]
pub struct LoggedAnswer {
    pub status: u16,
    /// The body, or all events of the stream as they came.
    pub body: String,
    pub streamed: bool,
    /// Until the head was there.
    pub after: Duration,
    /// Until the last event of a stream.
    pub until: Duration,
    /// Not all of it was kept.
    pub is_cut: bool,
}

/// Why a logged request cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    #[error("{path} cannot be read: {error}", path = path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("{path} is damaged: {why}", path = path.display())]
    Damaged { path: PathBuf, why: String },
}

/// The names of all logged requests, newest first.
pub fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| is_ours(name))
        .collect();
    names.sort_unstable_by(|a, b| b.cmp(a));
    names
}

/// The id in the name of a logged request.
pub fn id_of(name: &str) -> &str {
    name.split_once('-').map_or("", |(_, id)| id)
}

/// Where a request is logged whose id is this, or begins so: the newest of them.
pub fn find(dir: &Path, id: &str) -> Option<PathBuf> {
    let id = id.trim().to_ascii_lowercase();
    if id.is_empty() {
        return None;
    }
    let names = names(dir);
    let exact = names.iter().find(|name| id_of(name) == id);
    let found = exact.or_else(|| names.iter().find(|name| id_of(name).starts_with(&id)));
    found.map(|name| dir.join(name))
}

#[derive(Deserialize)]
struct RequestFile {
    dialect: String,
    operation: String,
    path_model: Option<String>,
    path_stream: Option<bool>,
    batch: bool,
    array_stream: bool,
    strict: bool,
    headers: Map<String, Value>,
    body: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct AnswerFile {
    after_ms: u64,
    status: Option<u16>,
    body: Option<Box<RawValue>>,
    is_cut: bool,
}

#[derive(Deserialize)]
struct MetaFile {
    id: String,
    redacted: usize,
    trail: Value,
}

#[derive(Deserialize)]
struct EventLine {
    after_ms: u64,
    event: String,
}

/// Reads the request that is logged in a directory.
pub fn read(directory: &Path) -> Result<Logged, ReadError> {
    let request: RequestFile = json(&directory.join("request.json"))?;
    let meta: MetaFile = json(&directory.join("meta.json"))?;
    let unknown = |why: String| ReadError::Damaged {
        path: directory.join("request.json"),
        why,
    };
    let dialect = Dialect::ALL
        .into_iter()
        .find(|dialect| dialect.as_str() == request.dialect)
        .ok_or_else(|| unknown(format!("there is no dialect `{}`", request.dialect)))?;
    let operation = Operation::ALL
        .into_iter()
        .find(|operation| operation.as_str() == request.operation)
        .ok_or_else(|| unknown(format!("there is no operation `{}`", request.operation)))?;
    Ok(Logged {
        id: meta.id,
        dialect,
        operation,
        path_model: request.path_model,
        path_stream: request.path_stream,
        batch: request.batch,
        array_stream: request.array_stream,
        strict: request.strict,
        headers: request.headers,
        body: request.body.as_deref().map(unquoted),
        redacted: meta.redacted,
        trail: meta.trail,
        answer: answer(directory)?,
    })
}

fn answer(directory: &Path) -> Result<Option<LoggedAnswer>, ReadError> {
    let path = directory.join("response.json");
    if !path.exists() {
        return Ok(None);
    }
    let file: AnswerFile = json(&path)?;
    let Some(status) = file.status else {
        return Ok(None);
    };
    let after = Duration::from_millis(file.after_ms);
    let events = directory.join("response-events.jsonl");
    let streamed = events.exists();
    let (mut body, mut until) = (
        file.body.as_deref().map_or_else(String::new, unquoted),
        after,
    );
    if streamed {
        for line in text(&events)?.lines() {
            let line: EventLine = parsed(&events, line)?;
            body.push_str(&line.event);
            body.push_str("\n\n");
            until = Duration::from_millis(line.after_ms);
        }
    }
    Ok(Some(LoggedAnswer {
        status,
        body,
        streamed,
        after,
        until,
        is_cut: file.is_cut,
    }))
}

/// A body as it was: what was no JSON is kept as a JSON string.
fn unquoted(body: &RawValue) -> String {
    serde_json::from_str(body.get()).unwrap_or_else(|_| body.get().to_owned())
}

fn json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, ReadError> {
    parsed(path, &text(path)?)
}

fn text(path: &Path) -> Result<String, ReadError> {
    fs::read_to_string(path).map_err(|error| ReadError::File {
        path: path.to_owned(),
        error,
    })
}

fn parsed<T: for<'de> Deserialize<'de>>(path: &Path, text: &str) -> Result<T, ReadError> {
    serde_json::from_str(text).map_err(|error| ReadError::Damaged {
        path: path.to_owned(),
        why: error.to_string(),
    })
}
