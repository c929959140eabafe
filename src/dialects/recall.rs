//! What of a turn's thinking is lost with a client that sends back only texts and calls, and how
//! it is put back. Pure; the gateway remembers ([`crate::gateway::thoughts`]).
//!
//! A turn is known again by the ids of its calls, which are one conversation's alone, or else by
//! its text and how the conversation began.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;

use crate::dialects::chat::{ChatRequest, Message, Part, Role, Text, Thinking};
use crate::dialects::fields::{Extra, Raw};
use crate::dialects::ids::call_identity;

/// The signatures of one turn, with the thinking that they sign.
#[derive(Clone, Debug, Default)]
pub struct TurnThoughts {
    /// Thinking parts in order, each with the id of the call it stood before.
    thoughts: Vec<(Option<String>, Part)>,
    /// Signatures by the id of the call that bore them.
    calls: Vec<(String, String)>,
    /// The signature of the turn's last text.
    text: Option<String>,
}

impl TurnThoughts {
    /// What is worth remembering of an answer; `None` without any signature.
    pub fn of(parts: &[Part]) -> Option<Self> {
        if is_bare(parts) {
            return None;
        }
        let mut turn = Self::default();
        // From the end, so that a thought meets the call after it first.
        let mut next_call = None;
        for part in parts.iter().rev() {
            match part {
                Part::ToolCall(call) => {
                    next_call = Some(call.id.clone());
                    if let Some(signed) = &call.signature {
                        turn.calls.push((call.id.clone(), signed.clone()));
                    }
                }
                Part::Text(text) if turn.text.is_none() => turn.text.clone_from(&text.signature),
                Part::Thinking(thinking) if thinking.signature.is_some() => {
                    turn.thoughts.push((next_call.clone(), part.clone()));
                }
                Part::RedactedThinking { .. } => {
                    turn.thoughts.push((next_call.clone(), part.clone()));
                }
                _ => {}
            }
        }
        turn.thoughts.reverse();
        Some(turn)
    }

    /// Puts thinking and signatures back where they were. Thinking that the client sent back
    /// without its signature is replaced.
    pub fn put_back(&self, parts: &mut Vec<Part>) {
        if !self.thoughts.is_empty() {
            parts.retain(|part| !matches!(part, Part::Thinking(_)));
        }
        let mut leading = 0;
        for (before, thought) in &self.thoughts {
            let place = before.as_deref().and_then(|id| position(parts, id));
            // A turn's first call is seldom its first part: thinking leads unless calls parted it.
            let at = match place {
                Some(at) if follows_call(parts, at) => at,
                _ => {
                    leading += 1;
                    leading - 1
                }
            };
            parts.insert(at.min(parts.len()), thought.clone());
        }
        for part in parts.iter_mut() {
            if let Part::ToolCall(call) = part
                && let Some((_, signed)) = self.calls.iter().find(|(id, _)| is_same(id, &call.id))
            {
                call.signature = Some(signed.clone());
            }
        }
        let Some(signed) = &self.text else { return };
        let last = parts.iter_mut().rev().find_map(|part| match part {
            Part::Text(text) => Some(text),
            _ => None,
        });
        match last {
            Some(text) => text.signature = Some(signed.clone()),
            None => parts.push(Part::Text(Text {
                signature: Some(signed.clone()),
                ..Text::default()
            })),
        }
    }

    /// All signatures, tagged.
    pub fn signatures(&self) -> impl Iterator<Item = &str> {
        let thoughts = self.thoughts.iter().filter_map(|(_, part)| of_part(part));
        let calls = self.calls.iter().map(|(_, signed)| signed.as_str());
        thoughts.chain(calls).chain(self.text.as_deref())
    }

    /// The bytes it takes.
    pub fn size(&self) -> usize {
        let thoughts = self.thoughts.iter().map(|(_, part)| match part {
            Part::Thinking(thinking) => {
                thinking.text.len() + thinking.signature.as_ref().map_or(0, String::len)
            }
            Part::RedactedThinking { data } => data.len(),
            _ => 0,
        });
        let calls = self
            .calls
            .iter()
            .map(|(id, signed)| id.len() + signed.len());
        let text = self.text.as_ref().map_or(0, String::len);
        thoughts.chain(calls).sum::<usize>() + text + size_of::<Self>()
    }
}

/// [`TurnThoughts`] as they are written down.
#[derive(Deserialize, Serialize)]
struct Written {
    thoughts: Vec<WrittenThought>,
    calls: Vec<(String, String)>,
    text: Option<String>,
}

#[derive(Deserialize, Serialize)]
struct WrittenThought {
    before: Option<String>,
    /// Redacted thinking; `text` and `signature` are another's.
    data: Option<String>,
    text: Option<String>,
    signature: Option<String>,
    extra: Vec<(String, Raw)>,
}

impl TurnThoughts {
    /// As JSON, for [`Self::from_json`].
    pub fn to_json(&self) -> Option<Raw> {
        let thoughts = self.thoughts.iter().map(|(before, part)| {
            let mut written = WrittenThought {
                before: before.clone(),
                data: None,
                text: None,
                signature: None,
                extra: Vec::new(),
            };
            match part {
                Part::RedactedThinking { data } => written.data = Some(data.clone()),
                Part::Thinking(thinking) => {
                    written.text = Some(thinking.text.clone());
                    written.signature.clone_from(&thinking.signature);
                    written.extra.clone_from(&thinking.extra.0);
                }
                _ => {}
            }
            written
        });
        let written = Written {
            thoughts: thoughts.collect(),
            calls: self.calls.clone(),
            text: self.text.clone(),
        };
        to_raw_value(&written).ok()
    }

    /// What [`Self::to_json`] wrote; `None` for anything else.
    pub fn from_json(json: &str) -> Option<Self> {
        let written: Written = serde_json::from_str(json).ok()?;
        let thoughts = written.thoughts.into_iter().map(|thought| {
            let part = match (thought.data, thought.text) {
                (Some(data), _) => Part::RedactedThinking { data },
                (None, text) => Part::Thinking(Thinking {
                    text: text.unwrap_or_default(),
                    signature: thought.signature,
                    extra: Extra(thought.extra),
                }),
            };
            (thought.before, part)
        });
        Some(Self {
            thoughts: thoughts.collect(),
            calls: written.calls,
            text: written.text,
        })
    }
}

/// Where a call stands.
fn position(parts: &[Part], id: &str) -> Option<usize> {
    parts
        .iter()
        .position(|part| matches!(part, Part::ToolCall(call) if is_same(&call.id, id)))
}

fn is_same(id: &str, other: &str) -> bool {
    call_identity(id) == call_identity(other)
}

fn follows_call(parts: &[Part], at: usize) -> bool {
    let before = parts.get(..at).unwrap_or_default();
    before.iter().any(|part| matches!(part, Part::ToolCall(_)))
}

/// `true` if nothing in a turn is signed.
pub fn is_bare(parts: &[Part]) -> bool {
    parts.iter().all(|part| of_part(part).is_none())
}

/// The signature of a part, tagged with its maker.
pub fn of_part(part: &Part) -> Option<&str> {
    match part {
        Part::RedactedThinking { data } => Some(data),
        Part::Text(text) => text.signature.as_deref(),
        Part::Thinking(thinking) => thinking.signature.as_deref(),
        Part::ToolCall(call) => call.signature.as_deref(),
        _ => None,
    }
}

/// Takes out of a request the signatures that are `unwanted`, with the thinking that they sign.
pub fn drop_signatures(request: &mut ChatRequest, unwanted: impl Fn(&str) -> bool) {
    for Message { parts, .. } in &mut request.messages {
        parts.retain(|part| match part {
            Part::RedactedThinking { .. } | Part::Thinking(_) => {
                !of_part(part).is_some_and(&unwanted)
            }
            _ => true,
        });
        for part in parts {
            let signature = match part {
                Part::Text(text) => &mut text.signature,
                Part::ToolCall(call) => &mut call.signature,
                _ => continue,
            };
            if signature.as_deref().is_some_and(&unwanted) {
                *signature = None;
            }
        }
    }
}

/// Names the turns of one conversation.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// How the conversation began.
    opening: u64,
}

impl Names {
    /// For the conversation of a request.
    pub fn of(request: &ChatRequest) -> Self {
        let opening = request
            .messages
            .iter()
            .find(|message| message.role == Role::User)
            .map(|message| said(&message.parts))
            .unwrap_or_default();
        Self {
            opening: hashed("opening", &opening),
        }
    }

    /// The names a turn is remembered by: of its calls, or of its text; none if it has neither.
    pub fn of_turn(self, parts: &[Part]) -> Vec<u64> {
        let calls: Vec<u64> = parts
            .iter()
            .filter_map(|part| match part {
                Part::ToolCall(call) => Some(hashed("call", call_identity(&call.id))),
                _ => None,
            })
            .collect();
        if !calls.is_empty() {
            return calls;
        }
        let text = said(parts);
        if text.is_empty() {
            return Vec::new();
        }
        vec![hashed("text", &text).rotate_left(1) ^ self.opening]
    }
}

/// The name of a signature, to remember who made it.
pub fn name_of(signature: &str) -> u64 {
    hashed("signature", signature)
}

/// All text of a turn, without the white space around it that clients drop.
fn said(parts: &[Part]) -> String {
    let texts = parts.iter().filter_map(|part| match part {
        Part::Text(text) => Some(text.text.as_str()),
        _ => None,
    });
    texts.collect::<String>().trim().to_owned()
}

/// Changes when names are made otherwise, as another compiler's library may: those that were
/// written down with another mark name nothing.
pub fn naming() -> u64 {
    hashed("naming", "1")
}

/// Only to find things again: in memory, and in a file beside [`naming`].
fn hashed(kind: &str, text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (kind, text).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialects::Dialect;
    use crate::dialects::chat::{Thinking, ToolCall};
    use crate::dialects::fields::Extra;

    fn thought(text: &str, signed: Option<&str>) -> Part {
        Part::Thinking(Thinking {
            text: text.to_owned(),
            signature: signed.map(str::to_owned),
            extra: Extra::default(),
        })
    }

    fn call(id: &str, signed: Option<&str>) -> Part {
        Part::ToolCall(ToolCall {
            signature: signed.map(str::to_owned),
            ..ToolCall::function(id, "f", "{}")
        })
    }

    fn sketch(parts: &[Part]) -> String {
        let words = parts.iter().map(|part| {
            let signed = of_part(part).unwrap_or("-");
            match part {
                Part::Thinking(thinking) => format!("{}/{signed}", thinking.text),
                Part::ToolCall(call) => format!("{}/{signed}", call.id),
                Part::Text(text) => format!("{}/{signed}", text.text),
                _ => format!("?/{signed}"),
            }
        });
        words.collect::<Vec<_>>().join(" ")
    }

    /// What a client sends back that keeps texts and calls only.
    fn forgotten(parts: &[Part]) -> Vec<Part> {
        let mut parts = parts.to_vec();
        parts.retain(|part| !matches!(part, Part::Thinking(_) | Part::RedactedThinking { .. }));
        for part in &mut parts {
            match part {
                Part::Text(text) => text.signature = None,
                Part::ToolCall(call) => call.signature = None,
                _ => {}
            }
        }
        parts
    }

    #[test]
    fn what_a_client_forgot_comes_back_in_its_place() {
        let signed_text = Part::Text(Text {
            text: "so".into(),
            signature: Some("T".into()),
            ..Text::default()
        });
        let redacted = Part::RedactedThinking { data: "D".into() };
        for turn in [
            vec![thought("a", Some("S")), Part::text("so"), call("1", None)],
            vec![call("1", Some("G")), call("2", None)],
            vec![
                thought("a", Some("S")),
                call("1", None),
                thought("b", Some("Z")),
                call("2", None),
            ],
            vec![redacted, thought("a", Some("S")), signed_text],
        ] {
            let mut back = forgotten(&turn);
            let thoughts = TurnThoughts::of(&turn).expect("signed");
            thoughts.put_back(&mut back);
            assert_eq!(sketch(&back), sketch(&turn));
            let written = thoughts.to_json().expect("JSON");
            let read = TurnThoughts::from_json(written.get()).expect("our own");
            let mut back = forgotten(&turn);
            read.put_back(&mut back);
            assert_eq!(sketch(&back), sketch(&turn), "from {written}");
        }
    }

    #[test]
    fn thinking_that_came_back_without_its_signature_is_replaced() {
        let turn = [thought("a b", Some("S")), call("1", None)];
        let mut back = vec![thought("a b", None), call("1", None)];
        TurnThoughts::of(&turn).expect("signed").put_back(&mut back);
        assert_eq!(sketch(&back), "a b/S 1/-");
    }

    #[test]
    fn an_answer_without_signatures_leaves_nothing_to_remember() {
        assert!(TurnThoughts::of(&[thought("a", None), call("1", None)]).is_none());
    }

    #[test]
    fn a_turn_is_known_by_its_calls_or_by_its_text_and_the_opening() {
        let mut request = ChatRequest::new(Dialect::OpenAiChat, "m");
        request.messages.push(Message {
            role: Role::User,
            parts: vec![Part::text("hi")],
            extra: Extra::default(),
        });
        let mut other = request.clone();
        other.messages[0].parts = vec![Part::text("hello")];
        let (one, two) = (Names::of(&request), Names::of(&other));
        let calls = [Part::text("x"), call("1", None)];
        assert_eq!(one.of_turn(&calls), two.of_turn(&calls));
        let text = [Part::text(" x\n")];
        assert_eq!(one.of_turn(&text), one.of_turn(&[Part::text("x")]));
        assert_ne!(one.of_turn(&text), two.of_turn(&text));
        assert_eq!(one.of_turn(&[]), Vec::<u64>::new());
    }

    #[test]
    fn unwanted_signatures_go_and_others_stay() {
        let mut request = ChatRequest::new(Dialect::OpenAiChat, "m");
        request.messages.push(Message {
            role: Role::Assistant,
            parts: vec![
                thought("a", Some("bad")),
                thought("b", Some("good")),
                thought("c", None),
                call("1", Some("bad")),
            ],
            extra: Extra::default(),
        });
        drop_signatures(&mut request, |signed| signed == "bad");
        assert_eq!(sketch(&request.messages[0].parts), "b/good c/- 1/-");
    }
}
