//! The tool calls of one choice on their way through: as OpenAI's clients expect them, whatever the
//! vendor's stream did.
//!
//! Seen of Qwen's models (QwenLM/qwen-code `streamingToolCallParser.ts`, read 2026-11-22): several
//! calls under one index, calls without an id, ids and names in every chunk, arguments that are
//! empty, repeated or left open. Clients join what comes under one index, so each of these would
//! make a call nobody can read.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::dialects::edit::Members;
use crate::dialects::ids::IdSource;
use crate::dialects::mend::Mending;
use crate::dialects::mend::arguments::Arguments;

/// Calls of one turn beyond this pass as they are.
const MAX_CALLS: usize = 128;

/// The calls so far.
#[derive(Debug, Default)]
pub(super) struct Calls {
    all: Vec<Call>,
    /// How many the client sees.
    shown: u64,
}

#[derive(Debug)]
struct Call {
    /// The vendor's index.
    index: Option<u64>,
    /// The vendor's id.
    given_id: Option<String>,
    /// The id the client sees.
    id: Option<String>,
    has_name: bool,
    /// The index the client sees; `None` for a call that is taken out.
    place: Option<u64>,
    arguments: Arguments,
}

/// What becomes of a piece of a call.
pub(super) enum Piece {
    Changed(String),
    Gone,
    Same,
}

/// What a piece says.
struct Said<'m> {
    members: Members<'m>,
    index: Option<u64>,
    id: Option<String>,
    name: Option<String>,
    arguments: String,
}

impl Calls {
    /// `true` if the client saw a call.
    pub(super) const fn any(&self) -> bool {
        self.shown > 0
    }

    /// The ids that the client sees.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.all.iter().filter_map(|call| call.id.as_deref())
    }

    /// Takes a piece of a call as a delta has it.
    pub(super) fn piece(&mut self, raw: &RawValue, mending: Mending, ids: &mut IdSource) -> Piece {
        let Some(said) = Said::read(raw) else {
            return Piece::Same;
        };
        let (at, is_new) = match self.find(&said) {
            Some(at) => (at, false),
            None if self.all.len() < MAX_CALLS => (self.add(&said, mending), true),
            None => return Piece::Same,
        };
        match self.all.get_mut(at) {
            Some(call) => call.piece(said, is_new, mending, ids),
            None => Piece::Same,
        }
    }

    /// Takes a call as a whole message has it. `ends_well`: nothing was cut off.
    pub(super) fn whole(
        &mut self,
        raw: &RawValue,
        ends_well: bool,
        mending: Mending,
        ids: &mut IdSource,
    ) -> Piece {
        let Some(said) = Said::read(raw) else {
            return Piece::Same;
        };
        let index = said.members.raw("index").is_some();
        let at = self.add(&said, mending);
        let Some(call) = self.all.get_mut(at) else {
            return Piece::Same;
        };
        let Some(_) = call.place else {
            return Piece::Gone;
        };
        let mut members = said.members.clone();
        call.name_it(&mut members, mending, ids);
        let mut text = call.arguments.push(&said.arguments).to_owned();
        if ends_well {
            text.push_str(&call.arguments.rest().unwrap_or_default());
        }
        if mending.tidies {
            set_arguments(&mut members, &said.arguments, &text);
            if index {
                members.remove("index");
            }
        }
        members.into_changed().map_or(Piece::Same, Piece::Changed)
    }

    /// Pieces that make the arguments of all calls valid, where the vendor left them open.
    pub(super) fn rest(&mut self) -> Vec<String> {
        let mut pieces = Vec::new();
        for call in &mut self.all {
            if let (Some(place), Some(rest)) = (call.place, call.arguments.rest()) {
                call.arguments.push(&rest);
                let function = serde_json::json!({ "arguments": rest });
                let piece = serde_json::json!({ "index": place, "function": function });
                pieces.push(piece.to_string());
            }
        }
        pieces
    }

    /// The call that a piece goes on with.
    fn find(&self, said: &Said<'_>) -> Option<usize> {
        let has_id = |call: &Call| said.id.is_some() && call.given_id == said.id;
        let at = match said.index {
            Some(index) => {
                let mut own = self.all.iter().rposition(|call| call.index == Some(index));
                if said.id.is_some() {
                    // Where several share an index, the id tells.
                    let both = |call: &Call| call.index == Some(index) && has_id(call);
                    own = self.all.iter().rposition(both).or(own);
                }
                own?
            }
            None if said.id.is_some() => self.all.iter().rposition(has_id)?,
            None if said.name.is_some() => return None,
            None => self.all.len().checked_sub(1)?,
        };
        let call = self.all.get(at)?;
        (!call.is_followed_by(said)).then_some(at)
    }

    fn add(&mut self, said: &Said<'_>, mending: Mending) -> usize {
        let is_hidden =
            mending.hidden_tool.is_some() && said.name.as_deref() == mending.hidden_tool;
        let place = (!is_hidden).then_some(self.shown);
        self.shown += u64::from(!is_hidden);
        self.all.push(Call {
            index: said.index,
            given_id: said.id.clone(),
            id: None,
            has_name: false,
            place,
            arguments: Arguments::default(),
        });
        self.all.len() - 1
    }
}

impl Call {
    /// `true` if what is said at this call's index is another call: it has another id, and a name
    /// or arguments of its own.
    fn is_followed_by(&self, said: &Said<'_>) -> bool {
        let is_other = said.id.is_some() && self.given_id.is_some() && said.id != self.given_id;
        let is_done = self.arguments.is_whole() && !said.arguments.trim().is_empty();
        is_other && (is_done || (self.has_name && said.name.is_some()))
    }

    fn piece(
        &mut self,
        said: Said<'_>,
        is_new: bool,
        mending: Mending,
        ids: &mut IdSource,
    ) -> Piece {
        let Some(place) = self.place else {
            return Piece::Gone;
        };
        let kept = self.arguments.push(&said.arguments).to_owned();
        let had_name = self.has_name;
        self.has_name |= said.name.is_some();
        let mut members = said.members;
        if is_new {
            self.name_it(&mut members, mending, ids);
        }
        if !mending.tidies {
            return Piece::Same;
        }
        if said.index != Some(place) {
            members.set("index", place.to_string());
        }
        if !is_new {
            members.remove("id");
            if had_name {
                remove_name(&mut members);
            }
        }
        if kept.len() != said.arguments.len() {
            set_arguments(&mut members, &said.arguments, &kept);
        }
        members.into_changed().map_or(Piece::Same, Piece::Changed)
    }

    /// Keeps the id, and gives the call one if it has none.
    fn name_it(&mut self, members: &mut Members<'_>, mending: Mending, ids: &mut IdSource) {
        self.id.clone_from(&self.given_id);
        if self.id.is_none() && mending.tidies {
            let id = ids.make_call();
            members.set("id", Value::from(id.as_str()).to_string());
            self.id = Some(id);
        }
    }
}

impl<'m> Said<'m> {
    fn read(raw: &'m RawValue) -> Option<Self> {
        let members = Members::parse(raw.get().as_bytes())?;
        let function = Members::parse(members.raw("function").unwrap_or("{}").as_bytes())?;
        let (name, arguments) = (function.text("name"), function.text("arguments"));
        Some(Self {
            index: members.raw("index").and_then(|index| index.parse().ok()),
            id: members.text("id").filter(|id| !id.is_empty()),
            name: name.filter(|name| !name.is_empty()),
            arguments: arguments.unwrap_or_default(),
            members,
        })
    }
}

/// Takes out a name that was said before.
fn remove_name(members: &mut Members<'_>) {
    let raw = members.raw("function").unwrap_or("{}").to_owned();
    if let Some(mut function) = Members::parse(raw.as_bytes()) {
        function.remove("name");
        if let Some(function) = function.into_changed() {
            members.set("function", function);
        }
    }
}

/// Puts other arguments into a call, if they are others.
fn set_arguments(members: &mut Members<'_>, before: &str, now: &str) {
    if before == now {
        return;
    }
    let raw = members.raw("function").unwrap_or("{}").to_owned();
    if let Some(mut function) = Members::parse(raw.as_bytes()) {
        function.set("arguments", Value::from(now).to_string());
        members.set("function", function.to_json());
    }
}
