//! Puts answers of OpenAI-compatible vendors right before anybody reads them: reasoning in
//! `<think>` tags, calls of a tool the client never offered, finishes that say the wrong thing.
//!
//! Works on the vendor's own bytes, so that it serves verbatim and translated answers alike. A
//! frame in which nothing is to do passes as it is; in others, everything not concerned keeps its
//! bytes. Requests are `adapt`ed by providers; this is the way back.

mod arguments;
mod calls;
mod choice;
mod tail;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::VecDeque;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::dialects::edit::Members;
use crate::dialects::ids::IdSource;
use crate::dialects::mend::choice::Choice;
use crate::dialects::mend::tail::Tail;
use crate::dialects::sse::Frame;

/// What is to be put right.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "switches that have nothing to do with each other"
)]
pub struct Mending {
    /// Moves `<think>…</think>` of the text to `reasoning_content`.
    pub think_tags: bool,
    /// Takes out calls of this tool: the gateway offered it so that there is one, and nobody is to
    /// call it.
    pub hidden_tool: Option<&'static str>,
    /// Tool calls become what clients can read; a finish of `stop` after them becomes
    /// `tool_calls`; a usage without counts goes, and so do `reasoning_details` that repeat
    /// `reasoning_content`.
    pub tidies: bool,
    /// Usage in a chunk of its own joins the chunk that ends the answer.
    pub joins_usage: bool,
    /// Keeps what was thought before tool calls, for [`Mender::thoughts`].
    pub keeps_thoughts: bool,
}

impl Mending {
    /// Nothing at all.
    pub const NONE: Self = Self {
        think_tags: false,
        hidden_tool: None,
        tidies: false,
        joins_usage: false,
        keeps_thoughts: false,
    };

    /// `true` if there is nothing to do.
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }
}

/// What a model thought before it called tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thoughts {
    /// The ids of the calls.
    pub calls: Vec<String>,
    pub reasoning: String,
}

/// Puts one answer right: a stream frame by frame, or a whole one.
#[derive(Debug)]
pub struct Mender {
    mending: Mending,
    choices: Vec<Choice>,
    /// The last chunk without its choices and usage, while text is held back.
    template: Option<String>,
    tail: Tail,
    /// For calls that come without an id.
    ids: IdSource,
}

/// Choices beyond this are left as they are.
const MAX_CHOICES: usize = 128;

impl Mender {
    /// For one answer.
    pub fn new(mending: Mending) -> Self {
        Self {
            mending,
            choices: Vec::new(),
            template: None,
            tail: Tail::default(),
            ids: IdSource::random(),
        }
    }

    /// Takes the next frame of a stream and gives out what becomes of it: usually one frame.
    pub fn frame(&mut self, frame: Frame, out: &mut VecDeque<Frame>) {
        if !self.mending.joins_usage {
            self.mend(frame, out);
            return;
        }
        let mut mended = VecDeque::new();
        self.mend(frame, &mut mended);
        for frame in mended {
            self.tail.push(frame, out);
        }
    }

    fn mend(&mut self, frame: Frame, out: &mut VecDeque<Frame>) {
        let data = frame.data();
        let data = data.trim_ascii();
        if data.is_empty() {
            out.push_back(frame);
            return;
        }
        let Some(chunk) = Members::parse(data) else {
            if data.starts_with(b"[DONE]") {
                self.flush(out);
            }
            out.push_back(frame);
            return;
        };
        match self.chunk(&chunk) {
            Some(chunks) => out.extend(chunks.iter().map(|chunk| Frame::of_data(chunk.as_bytes()))),
            None => out.push_back(frame),
        }
    }

    /// The stream is over: gives out what was held back.
    pub fn finish(&mut self, out: &mut VecDeque<Frame>) {
        self.flush(out);
        self.tail.finish(out);
    }

    fn flush(&mut self, out: &mut VecDeque<Frame>) {
        let Some(template) = self.template.take() else {
            return;
        };
        for (index, choice) in self.choices.iter_mut().enumerate() {
            for delta in choice.rest() {
                let Some(mut chunk) = Members::parse(template.as_bytes()) else {
                    continue;
                };
                let choices =
                    format!(r#"[{{"index":{index},"delta":{delta},"finish_reason":null}}]"#);
                chunk.set("choices", choices);
                out.push_back(Frame::of_data(chunk.to_json().as_bytes()));
            }
        }
    }

    /// Takes a whole answer; it comes back as it is, not copied, where nothing is to do.
    pub fn whole(&mut self, body: Bytes) -> Bytes {
        let mended = Members::parse(&body).and_then(|mut answer| {
            let choices: Vec<&RawValue> = serde_json::from_str(answer.raw("choices")?).ok()?;
            let mut mended = Vec::with_capacity(choices.len());
            let mut is_changed = false;
            for choice in choices {
                let json = self.choice(choice).and_then(|(at, members)| {
                    self.choices
                        .get_mut(at)?
                        .whole(members, self.mending, &mut self.ids)
                });
                is_changed |= json.is_some();
                mended.push(json.map_or(Cow::Borrowed(choice.get()), Cow::Owned));
            }
            let choices = is_changed.then(|| format!("[{}]", mended.join(",")));
            if let Some(choices) = choices {
                answer.set("choices", choices);
            }
            self.tidy_usage(&mut answer);
            answer.into_changed()
        });
        mended.map_or(body, Bytes::from)
    }

    /// What was thought before tools were called, once the answer is over.
    pub fn thoughts(&mut self) -> Vec<Thoughts> {
        if !self.mending.keeps_thoughts {
            return Vec::new();
        }
        self.choices
            .iter_mut()
            .filter_map(Choice::thoughts)
            .collect()
    }

    /// The chunks that take a chunk's place; `None` if it stays.
    fn chunk(&mut self, chunk: &Members<'_>) -> Option<Vec<String>> {
        let mut last = chunk.clone();
        self.tidy_usage(&mut last);
        let list = chunk.raw("choices").unwrap_or("[]");
        let choices: Vec<&RawValue> = serde_json::from_str(list).ok()?;
        let mut first = Vec::new();
        let mut mended = Vec::with_capacity(choices.len());
        let mut is_changed = false;
        for raw in choices {
            let Some((at, members)) = self.choice(raw) else {
                mended.push(Cow::Borrowed(raw.get()));
                continue;
            };
            let Some(choice) = self.choices.get_mut(at) else {
                continue;
            };
            match choice.chunk(&members, self.mending, &mut self.ids) {
                Some(mut pieces) => {
                    is_changed = true;
                    let end = pieces.pop();
                    first.extend(pieces);
                    mended.push(end.map_or(Cow::Borrowed(raw.get()), Cow::Owned));
                }
                None => mended.push(Cow::Borrowed(raw.get())),
            }
        }
        let template = |choices: String| {
            let mut chunk = chunk.clone();
            if chunk.raw("usage").is_some() {
                chunk.remove("usage");
            }
            chunk.set("choices", choices);
            chunk.to_json()
        };
        if self.choices.iter().any(Choice::holds) {
            self.template = Some(template("[]".to_owned()));
        }
        if is_changed {
            last.set("choices", format!("[{}]", mended.join(",")));
        }
        let mut chunks: Vec<String> = first
            .into_iter()
            .map(|choice| template(format!("[{choice}]")))
            .collect();
        chunks.push(last.into_changed()?);
        Some(chunks)
    }

    /// Reads a choice and finds its place.
    fn choice<'r>(&mut self, raw: &'r RawValue) -> Option<(usize, Members<'r>)> {
        let members = Members::parse(raw.get().as_bytes())?;
        let index = members.raw("index").and_then(|index| index.parse().ok());
        let at: usize = index.unwrap_or(0);
        if at >= MAX_CHOICES {
            return None;
        }
        if self.choices.len() <= at {
            self.choices.resize_with(at + 1, Choice::default);
        }
        Some((at, members))
    }

    /// Takes a `usage` out that counts nothing (MiniMax on iFlow sends `{}`).
    fn tidy_usage(&self, answer: &mut Members<'_>) {
        let is_empty = answer
            .raw("usage")
            .is_some_and(|usage| usage.bytes().all(|b| b" \t\r\n{}".contains(&b)));
        if self.mending.tidies && is_empty {
            answer.remove("usage");
        }
    }
}
