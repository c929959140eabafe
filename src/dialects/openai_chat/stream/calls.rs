//! Puts streamed tool calls together again, however the vendor cut them.
//!
//! Seen in the field: no `index`; index 0 for all calls; the id on each piece, on none, or another
//! one each time; the name before the id; arguments as an object; whole calls in one piece.

use serde_json::value::RawValue;

use crate::dialects::chat::ToolKind;
use crate::dialects::event::{Event, EventKind, SignatureOf};
use crate::dialects::fields::Fields;
use crate::dialects::ids::IdSource;
use crate::dialects::openai_chat::reasoning;

/// The calls of one choice.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: Vec<Call>,
    /// Calls started so far: the next one's index.
    started: u32,
}

#[derive(Debug)]
struct Call {
    /// The vendor's index, where it gives one.
    place: Option<u64>,
    id: String,
    name: String,
    kind: ToolKind,
    signature: Option<String>,
    /// Arguments that came before the call could start.
    held: String,
    /// Set once the start was announced.
    index: Option<u32>,
    balance: Balance,
}

/// One piece of one call, as the vendor sent it.
struct Piece {
    place: Option<u64>,
    id: String,
    name: String,
    arguments: String,
    kind: ToolKind,
    signature: Option<String>,
}

impl Calls {
    /// `true` if any call was seen.
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Reads one `tool_calls` list of a delta.
    pub(super) fn read(
        &mut self,
        raw: &RawValue,
        choice: u32,
        ids: &mut IdSource,
        out: &mut Vec<Event>,
    ) {
        let pieces: Vec<Fields<'_>> = serde_json::from_str(raw.get()).unwrap_or_default();
        for (position, fields) in pieces.into_iter().enumerate() {
            let piece = read_piece(fields);
            let at = self.find(&piece, position);
            self.add(at, piece, choice, ids, out);
        }
    }

    /// Reads the legacy `function_call` of a delta: there is only ever one.
    pub(super) fn read_legacy(
        &mut self,
        raw: &RawValue,
        choice: u32,
        ids: &mut IdSource,
        out: &mut Vec<Event>,
    ) {
        let Ok(fields) = Fields::parse_raw(raw) else {
            return;
        };
        let mut piece = read_function(fields);
        piece.place = Some(0);
        let at = self.find(&piece, 0);
        self.add(at, piece, choice, ids, out);
    }

    /// Ends all calls that are still open, announcing those that never could start.
    pub(super) fn end(&mut self, choice: u32, ids: &mut IdSource, out: &mut Vec<Event>) {
        for call in &mut self.calls {
            if call.index.is_none() && (!call.name.is_empty() || !call.held.is_empty()) {
                call.start(&mut self.started, choice, ids, out);
            }
            if let Some(index) = call.index {
                out.push(Event {
                    choice,
                    kind: EventKind::ToolEnd { index },
                });
            }
        }
        self.calls.clear();
    }

    /// Which call a piece belongs to; `None` begins a new one.
    fn find(&self, piece: &Piece, position: usize) -> Option<usize> {
        let found = match piece.place {
            Some(place) => self
                .calls
                .iter()
                .rposition(|call| call.place == Some(place)),
            None if piece.id.is_empty() && piece.name.is_empty() => {
                let last = self.calls.len().checked_sub(1)?;
                Some(if position < self.calls.len() && position > 0 {
                    position
                } else {
                    last
                })
            }
            None => self
                .calls
                .iter()
                .rposition(|call| !piece.id.is_empty() && call.id == piece.id),
        }?;
        let call = self.calls.get(found)?;
        let is_other = !piece.id.is_empty()
            && !call.id.is_empty()
            && call.id != piece.id
            && !piece.name.is_empty()
            && (call.name != piece.name || call.balance.is_whole());
        (!is_other).then_some(found)
    }

    fn add(
        &mut self,
        at: Option<usize>,
        piece: Piece,
        choice: u32,
        ids: &mut IdSource,
        out: &mut Vec<Event>,
    ) {
        let at = at.unwrap_or_else(|| {
            self.calls.push(Call {
                place: piece.place,
                id: String::new(),
                name: String::new(),
                kind: piece.kind,
                signature: None,
                held: String::new(),
                index: None,
                balance: Balance::default(),
            });
            self.calls.len() - 1
        });
        let Some(call) = self.calls.get_mut(at) else {
            return;
        };
        if call.id.is_empty() {
            call.id = piece.id;
        }
        if call.name.is_empty() {
            call.name = piece.name;
        }
        match (call.index, piece.signature) {
            (_, None) => {}
            (None, signed) => call.signature = signed,
            (Some(index), Some(value)) => out.push(Event {
                choice,
                kind: EventKind::Signature {
                    of: SignatureOf::ToolCall(index),
                    value,
                },
            }),
        }
        call.balance.read(&piece.arguments);
        let can_start =
            !call.name.is_empty() && (!call.id.is_empty() || !piece.arguments.is_empty());
        match call.index {
            Some(index) if !piece.arguments.is_empty() => out.push(Event {
                choice,
                kind: EventKind::ToolArguments {
                    index,
                    delta: piece.arguments,
                },
            }),
            Some(_) => {}
            None => {
                call.held.push_str(&piece.arguments);
                if can_start {
                    call.start(&mut self.started, choice, ids, out);
                }
            }
        }
    }
}

impl Call {
    fn start(&mut self, started: &mut u32, choice: u32, ids: &mut IdSource, out: &mut Vec<Event>) {
        if self.id.is_empty() {
            self.id = ids.make_call();
        }
        let index = *started;
        *started = started.saturating_add(1);
        self.index = Some(index);
        out.push(Event {
            choice,
            kind: EventKind::ToolStart {
                index,
                id: self.id.clone(),
                name: self.name.clone(),
                kind: self.kind,
                signature: self.signature.take(),
            },
        });
        if !self.held.is_empty() {
            out.push(Event {
                choice,
                kind: EventKind::ToolArguments {
                    index,
                    delta: std::mem::take(&mut self.held),
                },
            });
        }
    }
}

fn read_piece(mut fields: Fields<'_>) -> Piece {
    let mut piece = if let Some(custom) = fields.take("custom") {
        let mut custom = Fields::parse_raw(custom).unwrap_or_default();
        Piece {
            name: text(&mut custom, "name"),
            arguments: text(&mut custom, "input"),
            kind: ToolKind::Custom,
            ..read_function(Fields::default())
        }
    } else {
        let function = fields.take("function");
        let function = function.and_then(|raw| Fields::parse_raw(raw).ok());
        read_function(function.unwrap_or_default())
    };
    piece.place = fields.take_count("index").ok().flatten();
    piece.id = text(&mut fields, "id");
    piece.signature = reasoning::take_google_signature(&mut fields);
    piece
}

fn read_function(mut fields: Fields<'_>) -> Piece {
    let arguments = match fields.take("arguments").map(RawValue::get) {
        None | Some("null") => String::new(),
        Some(json) if json.starts_with('"') => serde_json::from_str(json).unwrap_or_default(),
        Some(json) => json.to_owned(),
    };
    Piece {
        place: None,
        id: String::new(),
        name: text(&mut fields, "name"),
        arguments,
        kind: ToolKind::Function,
        signature: None,
    }
}

fn text(fields: &mut Fields<'_>, name: &str) -> String {
    fields
        .take(name)
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default()
}

/// Whether the JSON read so far is one whole value, in constant memory.
#[derive(Debug, Default)]
struct Balance {
    depth: u32,
    has_begun: bool,
    in_text: bool,
    is_escaped: bool,
}

impl Balance {
    fn read(&mut self, json: &str) {
        for byte in json.bytes() {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' if self.in_text => self.is_escaped = true,
                b'"' => self.in_text = !self.in_text,
                _ if self.in_text => {}
                b'{' | b'[' => {
                    self.has_begun = true;
                    self.depth = self.depth.saturating_add(1);
                }
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    const fn is_whole(&self) -> bool {
        self.has_begun && self.depth == 0 && !self.in_text
    }
}
