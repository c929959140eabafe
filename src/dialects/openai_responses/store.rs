//! What a gateway needs to keep responses for `previous_response_id`: pure functions of bodies.
//!
//! The caller holds the store (bounded, expiring, one per client): under a response's id it keeps
//! what [`stored`] made, and hands the items to [`expand`] when the id comes back. Instructions are
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

/// A response, and the conversation it ends.
#[derive(Clone, Debug)]
pub struct Stored {
    /// All items, the response's output last.
    pub items: Vec<Raw>,
    /// How many of them the response was given.
    pub inputs: usize,
    pub id: String,
    /// The response object.
    pub object: Raw,
}

impl Stored {
    /// As JSON, for [`Self::from_json`]: the response object and what it was given.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::new();
        object(&mut out, |o| {
            o.array("input", |list| {
                for item in self.items.iter().take(self.inputs) {
                    list.raw(item);
                }
            });
            o.raw("object", &self.object);
        });
        out
    }

    /// What [`Self::to_json`] wrote of the response with this id; `None` for anything else.
    pub fn from_json(id: &str, json: &[u8]) -> Option<Self> {
        let mut fields = Fields::parse(json).ok()?;
        let mut items: Vec<Raw> = fields.take_as("input").ok()??;
        let inputs = items.len();
        let object: Raw = fields.take_as("object").ok()??;
        let output = Fields::parse_raw(&object).ok()?.take("output");
        if let Some(output) = output {
            items.extend(serde_json::from_str::<Vec<Raw>>(output.get()).ok()?);
        }
        Some(Self {
            items,
            inputs,
            id: id.to_owned(),
            object,
        })
    }
}

/// What is stored of an answer to an (expanded) request: `answer` is the response object, or the
/// event that ended the stream. `None` for a response without an id.
pub fn stored(body: &[u8], answer: &[u8]) -> Result<Option<Stored>, ReadError> {
    let mut items = input_items(Fields::parse(body)?.raw("input"))?;
    let inputs = items.len();
    let whole: &RawValue = serde_json::from_slice(answer)?;
    let object = Fields::parse_raw(whole)?.take("response").unwrap_or(whole);
    let mut fields = Fields::parse_raw(object)?;
    let Ok(Some(id)) = fields.take_as::<String>("id") else {
        return Ok(None);
    };
    if let Some(output) = fields.take("output") {
        let output: Vec<Raw> = serde_json::from_str(output.get())?;
        items.extend(output);
    }
    Ok(Some(Stored {
        items,
        inputs,
        id,
        object: object.to_owned(),
    }))
}

/// The answer to a look at, or the deletion of, a response that is not kept.
pub fn absent(id: &str) -> ErrorReply {
    let shown: String = id.chars().take(80).collect();
    ErrorReply::new(
        404,
        ErrorKind::InvalidRequest,
        "not_found",
        format!("Response with id '{shown}' not found."),
    )
}

/// The answer to a deletion.
pub fn deleted(id: &str) -> Vec<u8> {
    let mut out = Vec::new();
    object(&mut out, |o| {
        o.put("id", id);
        o.put("object", "response");
        o.put("deleted", &true);
    });
    out
}

/// Which part of a list is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The item after which it begins; `None` begins at the beginning.
    pub after: Option<String>,
    /// The oldest first.
    pub ascending: bool,
    /// Most items.
    pub limit: usize,
}

impl Default for Page {
    /// The newest twenty (OpenAI API reference, read 2026-11-22).
    fn default() -> Self {
        Self {
            after: None,
            ascending: false,
            limit: 20,
        }
    }
}

/// A list of a response's input items. Items that came without an id get one of their place.
pub fn item_list(response: &str, items: &[Raw], page: &Page) -> Vec<u8> {
    let mut listed: Vec<(String, Raw)> = items
        .iter()
        .enumerate()
        .map(|(at, item)| listed_item(response, at, item))
        .collect();
    if !page.ascending {
        listed.reverse();
    }
    let start = page.after.as_ref().map_or(0, |after| {
        let found = listed.iter().position(|(id, _)| id == after);
        found.map_or(listed.len(), |at| at + 1)
    });
    let rest = listed.get(start..).unwrap_or_default();
    let shown = rest.get(..page.limit).unwrap_or(rest);
    let mut out = Vec::new();
    object(&mut out, |o| {
        o.put("object", "list");
        o.array("data", |list| {
            for (_, item) in shown {
                list.raw(item);
            }
        });
        o.put("first_id", &shown.first().map(|(id, _)| id));
        o.put("last_id", &shown.last().map(|(id, _)| id));
        o.put("has_more", &(shown.len() < rest.len()));
    });
    out
}

/// An item with an id, and its text as a list of parts, as the API lists it.
fn listed_item(response: &str, at: usize, item: &RawValue) -> (String, Raw) {
    let Ok(fields) = Fields::parse_raw(item) else {
        return (String::new(), item.to_owned());
    };
    let text_of = |name: &str| -> Option<String> {
        fields
            .raw(name)
            .and_then(|raw| serde_json::from_str(raw.get()).ok())
    };
    let id = text_of("id").unwrap_or_else(|| format!("item_{response}_{at}"));
    let role = text_of("role");
    let listed = raw_object(|o| {
        o.put("id", &id);
        if fields.raw("type").is_none() && role.is_some() {
            o.put("type", "message");
        }
        for (name, value) in fields.iter().filter(|(name, _)| *name != "id") {
            match text_of(name).filter(|_| name == "content" && role.is_some()) {
                Some(text) => o.array("content", |list| {
                    list.object(|o| {
                        let is_answer = role.as_deref() == Some("assistant");
                        o.put(
                            "type",
                            if is_answer {
                                "output_text"
                            } else {
                                "input_text"
                            },
                        );
                        o.put("text", &text);
                        if is_answer {
                            o.array("annotations", |_| {});
                        }
                    });
                }),
                None => o.raw(name, value),
            }
        }
    });
    (id, listed)
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
