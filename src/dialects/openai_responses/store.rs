//! What a gateway needs to keep responses for `previous_response_id`: pure functions of bodies.
//!
//! The caller holds the store (bounded, expiring, one per client): under a response's id it keeps
//! [`conversation`]'s list, and hands it to [`expand`] when the id comes back. Instructions are
//! never inherited (OpenAI API reference, read 2026-11-22).

use serde_json::value::RawValue;

use crate::dialects::error::{ErrorKind, ErrorReply, ReadError};
use crate::dialects::fields::{Fields, Raw};
use crate::dialects::json::{object, raw_object};
use crate::dialects::openai_responses::content::wrong;

/// The id of the response that a request goes on from, if it names one.
pub fn previous_response_id(body: &[u8]) -> Option<String> {
    let mut fields = Fields::parse(body).ok()?;
    fields.take_as("previous_response_id").ok().flatten()
}

/// `true` unless the request says `store: false`: storing is the default.
pub fn wants_store(body: &[u8]) -> bool {
    let stored = Fields::parse(body)
        .ok()
        .and_then(|mut fields| fields.take("store"));
    stored.is_none_or(|stored| stored.get() != "false")
}

/// The answer to an id that is not, or no longer, in the store.
pub fn not_found(id: &str) -> ErrorReply {
    let mut shown: String = id.chars().take(80).collect();
    if shown.len() < id.len() {
        shown.push('…');
    }
    ErrorReply::new(
        400,
        ErrorKind::InvalidRequest,
        "previous_response_not_found",
        format!("Previous response with id '{shown}' not found."),
    )
    .with_param("previous_response_id")
}

/// Returns the body with the earlier items in front of its own, references to them resolved, and
/// without `previous_response_id`. All other members keep their bytes.
pub fn expand(previous: &[Raw], body: &[u8]) -> Result<Vec<u8>, ReadError> {
    let fields = Fields::parse(body)?;
    let own = input_items(fields.raw("input"))?;
    let mut out =
        Vec::with_capacity(body.len() + previous.iter().map(|i| i.get().len() + 1).sum::<usize>());
    object(&mut out, |o| {
        for (name, value) in fields.iter() {
            if name != "previous_response_id" && name != "input" {
                o.raw(name, value);
            }
        }
        o.array("input", |items| {
            for item in previous {
                items.raw(item);
            }
            for item in &own {
                items.raw(resolved(item, previous).unwrap_or(item));
            }
        });
    });
    Ok(out)
}

/// All items of a conversation after an answer: the (expanded) request's and the response's.
/// `response` is the response object, or the event that ended the stream.
pub fn conversation(body: &[u8], response: &[u8]) -> Result<Vec<Raw>, ReadError> {
    let fields = Fields::parse(body)?;
    let mut items = input_items(fields.raw("input"))?;
    let mut response = Fields::parse(response)?;
    if let Some(inner) = response.take("response") {
        response = Fields::parse_raw(inner)?;
    }
    if let Some(output) = response.take("output") {
        let output: Vec<Raw> = serde_json::from_str(output.get())?;
        items.extend(output);
    }
    Ok(items)
}

/// The id of a response object, or of the one in an event.
pub fn response_id(response: &[u8]) -> Option<String> {
    let mut fields = Fields::parse(response).ok()?;
    if let Some(inner) = fields.take("response") {
        fields = Fields::parse_raw(inner).ok()?;
    }
    fields.take_as("id").ok().flatten()
}

/// `input` as items: a text is one user message.
fn input_items(raw: Option<&RawValue>) -> Result<Vec<Raw>, ReadError> {
    let Some(raw) = raw.filter(|raw| raw.get() != "null") else {
        return Ok(Vec::new());
    };
    if raw.get().starts_with('"') {
        return Ok(vec![raw_object(|o| {
            o.put("type", "message");
            o.put("role", "user");
            o.raw("content", raw);
        })]);
    }
    serde_json::from_str(raw.get()).map_err(|error| wrong("input", &error))
}

/// What an `item_reference` refers to.
fn resolved<'p>(item: &RawValue, previous: &'p [Raw]) -> Option<&'p RawValue> {
    let mut fields = Fields::parse_raw(item).ok()?;
    if fields.take("type")?.get() != "\"item_reference\"" {
        return None;
    }
    let id = fields.take("id")?;
    let found = previous.iter().find(|item| {
        let held = Fields::parse_raw(item)
            .ok()
            .and_then(|mut fields| fields.take("id"));
        held.is_some_and(|held| held.get() == id.get())
    });
    found.map(AsRef::as_ref)
}
