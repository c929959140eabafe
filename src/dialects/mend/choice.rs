//! One choice of an answer on its way through the [`Mender`](super::Mender).

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::dialects::edit::Members;
use crate::dialects::ids::IdSource;
use crate::dialects::mend::calls::{Calls, Piece as CallPiece};
use crate::dialects::mend::{Mending, Thoughts};
use crate::dialects::think::{self, Piece, ThinkTags};

/// Reasoning kept of one turn; what is longer is not kept at all.
const MAX_THOUGHTS_BYTES: usize = 256 << 10;

/// What a delta says once, at the beginning.
const LEADING: [&str; 4] = [
    "role",
    "reasoning_content",
    "reasoning",
    "reasoning_details",
];

/// What comes after the text of a delta.
const TRAILING: [&str; 2] = ["tool_calls", "function_call"];

/// The state of one choice.
#[derive(Debug, Default)]
pub(super) struct Choice {
    tags: ThinkTags,
    calls: Calls,
    /// Text is held back.
    holds: bool,
    /// The reason why it ends was seen.
    has_ended: bool,
    reasoning: String,
}

impl Choice {
    /// The choices that take this one's place, in order; `None` if it stays as it is. All but the
    /// last go into chunks of their own.
    pub(super) fn chunk(
        &mut self,
        choice: &Members<'_>,
        mending: Mending,
        ids: &mut IdSource,
    ) -> Option<Vec<String>> {
        let mut last = choice.clone();
        let delta = choice.raw("delta").unwrap_or("{}");
        let mut delta = Members::parse(delta.as_bytes())?;
        let before = delta.text("content");
        let finish = finish_of(choice);
        self.mend_thoughts(&mut delta, mending);
        self.mend_delta_calls(&mut delta, finish.as_deref(), mending, ids);
        let ends = finish.is_some();
        self.has_ended |= ends;
        let mut pieces = Vec::new();
        if mending.think_tags {
            self.tags.push(before.as_deref().unwrap_or(""), &mut pieces);
            if ends || TRAILING.iter().any(|name| delta.raw(name).is_some()) {
                self.tags.flush(&mut pieces);
            }
            self.holds = self.tags.holds();
            for piece in &pieces {
                if let Piece::Thinking(text) = piece {
                    self.think(text, mending);
                }
            }
        }
        self.mend_finish(&mut last, mending);
        let stays = !mending.think_tags || is_same(&pieces, before.as_deref());
        let mut deltas = if stays {
            vec![delta]
        } else {
            with_pieces(&delta, pieces)
        };
        let end = deltas.pop()?;
        if deltas.is_empty() && !end.is_changed() && !last.is_changed() {
            return None;
        }
        let mut choices = Vec::with_capacity(deltas.len() + 1);
        for (at, delta) in deltas.iter().enumerate() {
            let mut early = choice.clone();
            early.set("delta", delta.to_json());
            early.set("finish_reason", "null".to_owned());
            if at > 0 {
                early.remove("logprobs");
            }
            choices.push(early.to_json());
        }
        if !deltas.is_empty() {
            last.remove("logprobs");
        }
        if end.is_changed() {
            last.set("delta", end.to_json());
        }
        choices.push(last.to_json());
        Some(choices)
    }

    /// The deltas with what is still held back when the stream ends without a finish.
    pub(super) fn rest(&mut self) -> Vec<String> {
        let mut pieces = Vec::new();
        self.tags.flush(&mut pieces);
        let delta = |piece| {
            let mut delta = Members::default();
            put(&mut delta, piece);
            delta.to_json()
        };
        pieces.into_iter().map(delta).collect()
    }

    /// The choice of a whole answer, if it changes.
    pub(super) fn whole(
        &mut self,
        mut choice: Members<'_>,
        mending: Mending,
        ids: &mut IdSource,
    ) -> Option<String> {
        let raw = choice.raw("message")?.to_owned();
        let mut message = Members::parse(raw.as_bytes())?;
        let ends_well = ends_well(finish_of(&choice).as_deref());
        self.mend_thoughts(&mut message, mending);
        self.mend_calls(&mut message, |calls, call| {
            calls.whole(call, ends_well, mending, ids)
        });
        if mending.think_tags
            && let Some(content) = message.text("content")
        {
            let pieces = think::split_whole(&content);
            if !is_same(&pieces, Some(&content)) {
                self.put_whole(&mut message, pieces, mending);
            }
        }
        self.has_ended = true;
        self.mend_finish(&mut choice, mending);
        if let Some(message) = message.into_changed() {
            choice.set("message", message);
        }
        choice.into_changed()
    }

    /// What was thought before tools were called; nothing until it is over.
    pub(super) fn thoughts(&mut self) -> Option<Thoughts> {
        if !self.has_ended {
            return None;
        }
        let thoughts = Thoughts {
            calls: self.calls.ids().map(str::to_owned).collect(),
            reasoning: std::mem::take(&mut self.reasoning),
        };
        let is_whole = thoughts.reasoning.len() <= MAX_THOUGHTS_BYTES;
        let counts = !thoughts.calls.is_empty() && !thoughts.reasoning.is_empty() && is_whole;
        counts.then_some(thoughts)
    }

    /// `true` while text is held back.
    pub(super) const fn holds(&self) -> bool {
        self.holds
    }

    /// What was thought outside of the text: the same for deltas and messages.
    fn mend_thoughts(&mut self, message: &mut Members<'_>, mending: Mending) {
        let native = message.text("reasoning_content").unwrap_or_default();
        self.think(&native, mending);
        if mending.tidies && !native.is_empty() && message.raw("reasoning_details").is_some() {
            message.remove("reasoning_details");
        }
    }

    /// The calls of a delta; what they lack comes with the finish.
    fn mend_delta_calls(
        &mut self,
        delta: &mut Members<'_>,
        finish: Option<&str>,
        mending: Mending,
        ids: &mut IdSource,
    ) {
        self.mend_calls(delta, |calls, call| calls.piece(call, mending, ids));
        if finish.is_none() || !ends_well(finish) || !mending.tidies {
            return;
        }
        let rest = self.calls.rest();
        if rest.is_empty() {
            return;
        }
        let rest = rest.join(",");
        let said = delta.raw("tool_calls").and_then(|calls| {
            let calls = calls.trim().strip_suffix(']')?.trim_end();
            Some(calls.to_owned()).filter(|calls| calls.len() > 1)
        });
        let all = match said {
            Some(calls) => format!("{calls},{rest}]"),
            None => format!("[{rest}]"),
        };
        delta.set("tool_calls", all);
    }

    fn mend_calls(
        &mut self,
        message: &mut Members<'_>,
        mut mend: impl FnMut(&mut Calls, &RawValue) -> CallPiece,
    ) {
        let Some(calls) = message.raw("tool_calls") else {
            return;
        };
        let Ok(calls) = serde_json::from_str::<Vec<&RawValue>>(calls) else {
            return;
        };
        let mut kept = Vec::with_capacity(calls.len());
        let mut is_changed = false;
        for call in calls {
            match mend(&mut self.calls, call) {
                CallPiece::Changed(call) => {
                    is_changed = true;
                    kept.push(Cow::Owned(call));
                }
                CallPiece::Gone => is_changed = true,
                CallPiece::Same => kept.push(Cow::Borrowed(call.get())),
            }
        }
        if !is_changed {
            return;
        }
        if kept.is_empty() {
            message.remove("tool_calls");
        } else {
            let kept = format!("[{}]", kept.join(","));
            message.set("tool_calls", kept);
        }
    }

    /// The reason fits what the client saw.
    fn mend_finish(&self, choice: &mut Members<'_>, mending: Mending) {
        match choice.text("finish_reason").as_deref() {
            Some("stop") if mending.tidies && self.calls.any() => {
                choice.set("finish_reason", r#""tool_calls""#.to_owned());
            }
            Some("tool_calls") if mending.hidden_tool.is_some() && !self.calls.any() => {
                choice.set("finish_reason", r#""stop""#.to_owned());
            }
            Some("" | "null") if mending.tidies => {
                choice.set("finish_reason", "null".to_owned());
            }
            _ => {}
        }
    }

    /// Puts the pieces of a whole answer into its message.
    fn put_whole(&mut self, message: &mut Members<'_>, pieces: Vec<Piece>, mending: Mending) {
        let mut thinking = message.text("reasoning_content").unwrap_or_default();
        let mut text = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(piece) => text.push_str(&piece),
                Piece::Thinking(piece) => {
                    self.think(&piece, mending);
                    thinking.push_str(&piece);
                }
            }
        }
        message.set("content", json(&text));
        if !thinking.is_empty() {
            message.set("reasoning_content", json(&thinking));
        }
    }

    fn think(&mut self, text: &str, mending: Mending) {
        if mending.keeps_thoughts && self.reasoning.len() <= MAX_THOUGHTS_BYTES {
            self.reasoning.push_str(text);
        }
    }
}

/// Why a choice ends; `None` while it goes on, for which Qwen also writes `""` and `"null"`.
fn finish_of(choice: &Members<'_>) -> Option<String> {
    let finish = choice.text("finish_reason");
    finish.filter(|word| !matches!(word.as_str(), "" | "null"))
}

/// `false` for an end in the middle: what was cut off there must look so.
fn ends_well(finish: Option<&str>) -> bool {
    !matches!(finish, Some("length" | "content_filter"))
}

/// `true` if the pieces say what the text says.
fn is_same(pieces: &[Piece], text: Option<&str>) -> bool {
    match pieces {
        [] => text.unwrap_or("").is_empty(),
        [Piece::Text(piece)] => Some(piece.as_str()) == text,
        _ => false,
    }
}

/// One delta a piece: what leads is in the first, what trails in the last.
fn with_pieces<'m>(delta: &Members<'m>, pieces: Vec<Piece>) -> Vec<Members<'m>> {
    let count = pieces.len();
    if count == 0 {
        let mut delta = delta.clone();
        delta.set("content", r#""""#.to_owned());
        return vec![delta];
    }
    let piece = |(at, piece)| {
        let mut delta = delta.clone();
        if at > 0 {
            for name in LEADING {
                delta.remove(name);
            }
        }
        if at + 1 < count {
            for name in TRAILING {
                delta.remove(name);
            }
        }
        put(&mut delta, piece);
        delta
    };
    pieces.into_iter().enumerate().map(piece).collect()
}

/// Puts a piece into a delta, in the place of its content.
fn put(delta: &mut Members<'_>, piece: Piece) {
    match piece {
        Piece::Text(text) => delta.set("content", json(&text)),
        Piece::Thinking(text) => {
            delta.remove("content");
            let before = delta.text("reasoning_content").unwrap_or_default();
            delta.set("reasoning_content", json(&(before + &text)));
        }
    }
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
