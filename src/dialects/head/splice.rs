//! Changes a request body in place: a new model name, a few members more, all else as it was.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::dialects::head::Head;
use crate::dialects::head::scanner::Scanner;

/// Returns `body` with its model name replaced and the members of `extra` set at the top level,
/// in one allocation; every other byte stays as the client wrote it.
///
/// `head` must come from scanning this `body`. A member of `extra` that the body has gets the new
/// value where it stands; one that it lacks goes last. `model` in `extra` is ignored where the
/// body has one, and a body without `model` (Gemini's) gets none. Returns `body` itself, without
/// a copy, if nothing changes.
pub fn splice(body: &Bytes, head: &Head<'_>, model: &str, extra: &[(&str, &RawValue)]) -> Bytes {
    let mut edits: Vec<(Range<usize>, &str)> = Vec::new();
    let quoted;
    if let Some(old) = head.model.as_ref().filter(|old| old.name != model) {
        quoted = Value::from(model).to_string();
        edits.push((old.span.clone(), &quoted));
    }
    let added;
    if !extra.is_empty() {
        added = override_members(body, head, extra, &mut edits);
        edits.push((head.end..head.end, &added));
    }
    edits.retain(|(span, text)| !(span.is_empty() && text.is_empty()));
    if edits.is_empty() {
        return body.clone();
    }
    edits.sort_by_key(|(span, _)| span.start);
    write(body, &edits)
}

/// Notes the members of `extra` that the body has as edits, and returns the text of the others.
fn override_members<'e>(
    body: &Bytes,
    head: &Head<'_>,
    extra: &[(&str, &'e RawValue)],
    edits: &mut Vec<(Range<usize>, &'e str)>,
) -> String {
    let mut missing: Vec<_> = extra.to_vec();
    let text = std::str::from_utf8(body).unwrap_or("");
    let mut scanner = Scanner::new(text);
    let mut is_empty = true;
    // The body was checked by the scan that made `head`, so this goes to its end.
    while let Ok(Some(name)) = scanner.next_member(is_empty) {
        is_empty = false;
        scanner.peek();
        let start = scanner.at();
        if scanner.skip().is_err() {
            break;
        }
        let Some(name) = name.decode() else { continue };
        let Some((_, value)) = extra.iter().rfind(|(wanted, _)| *wanted == name) else {
            continue;
        };
        missing.retain(|(wanted, _)| *wanted != name);
        if head.model.is_none() || name != "model" {
            edits.push((start..scanner.at(), value.get()));
        }
    }
    let mut added = String::new();
    for (at, (name, value)) in missing.iter().enumerate() {
        if missing.iter().skip(at + 1).any(|(later, _)| later == name) {
            continue;
        }
        if !(is_empty && added.is_empty()) {
            added.push(',');
        }
        added.push_str(&Value::from(*name).to_string());
        added.push(':');
        added.push_str(value.get());
    }
    added
}

/// Copies `body` with the (sorted, disjoint) edits applied.
fn write(body: &Bytes, edits: &[(Range<usize>, &str)]) -> Bytes {
    let grown: usize = edits.iter().map(|(_, text)| text.len()).sum();
    let mut out = BytesMut::with_capacity(body.len() + grown);
    let mut at = 0;
    for (span, text) in edits {
        out.put_slice(body.get(at..span.start).unwrap_or_default());
        out.put_slice(text.as_bytes());
        at = span.end;
    }
    out.put_slice(body.get(at..).unwrap_or_default());
    out.freeze()
}
