//! Reasoning before tool calls, remembered for models that do better when it comes back and for
//! clients that drop it (iFlow's GLM and MiniMax): by the client and the id of the call.
//!
//! Plain text, unlike the signed [`thoughts`](crate::gateway::thoughts) of other vendors, so any
//! credential may send it. Within the limits of [`Kind::Reasoning`], in memory and, unless the client
//! said `store: false`, in the file of what is kept.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::dialects::edit::Members;
use crate::dialects::mend::Thoughts;
use crate::dialects::openai_responses::store::wants_store;
use crate::gateway::shelf::{Noted, Shelf};
use crate::state::kept::{self, Kept, Kind};
use crate::time::Timestamp;

/// A client and the id of a call.
type Key = (Arc<str>, String);

/// What is remembered. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct Reasoning {
    shelf: Arc<Mutex<Shelf<Key, Arc<Thought>>>>,
    kept: Option<Kept>,
}

#[derive(Debug)]
struct Thought {
    text: Box<str>,
    /// When the file was last told that it is in use; `None` if it is not in the file.
    noted: Option<Noted>,
}

impl Default for Reasoning {
    fn default() -> Self {
        Self {
            shelf: Arc::new(Mutex::new(Shelf::new(Kind::Reasoning.limits()))),
            kept: None,
        }
    }
}

fn key_in_file(owner: &Arc<str>, call: &str) -> kept::Key {
    kept::Key {
        kind: Kind::Reasoning,
        owner: owner.to_string(),
        name: call.to_owned(),
    }
}

impl Reasoning {
    /// With what is kept of before, and to be kept from now on. Reads the file.
    pub fn kept_in(kept: Option<Kept>, now: Timestamp) -> Self {
        let reasoning = Self {
            kept,
            ..Self::default()
        };
        let rows = reasoning
            .kept
            .iter()
            .flat_map(|kept| kept.all(Kind::Reasoning, now));
        for row in rows {
            let used = row.until - Kind::Reasoning.limits().idle;
            if let Ok(text) = String::from_utf8(row.value) {
                let noted = Some(Noted::at(used));
                let text = text.into();
                reasoning.put((row.owner.into(), row.name), Thought { text, noted }, used);
            }
        }
        reasoning
    }

    /// One that keeps for the client of this request.
    pub fn keeper(&self, owner: &Arc<str>, request: &[u8]) -> Keeper {
        Keeper {
            reasoning: self.clone(),
            owner: Arc::clone(owner),
            may_be_kept: self.kept.is_some() && wants_store(request),
        }
    }

    /// A Chat Completions body with the reasoning of its turns that call tools, where it is known
    /// and they lack it. Without any the body comes back as it is, not copied.
    pub fn restore(&self, owner: &Arc<str>, body: Bytes, now: Timestamp) -> Bytes {
        let restored = Members::parse(&body).and_then(|mut members| {
            let messages: Vec<&RawValue> = serde_json::from_str(members.raw("messages")?).ok()?;
            let mut is_changed = false;
            let mut all = Vec::with_capacity(messages.len());
            for message in messages {
                let restored = self.restored(owner, message, now);
                is_changed |= restored.is_some();
                all.push(restored.map_or(Cow::Borrowed(message.get()), Cow::Owned));
            }
            let messages = is_changed.then(|| format!("[{}]", all.join(",")))?;
            members.set("messages", messages);
            members.into_changed()
        });
        restored.map_or(body, Bytes::from)
    }

    fn restored(&self, owner: &Arc<str>, message: &RawValue, now: Timestamp) -> Option<String> {
        let mut members = Members::parse(message.get().as_bytes())?;
        let lacks = members
            .text("reasoning_content")
            .is_none_or(|text| text.is_empty());
        if members.text("role")? != "assistant" || !lacks {
            return None;
        }
        let calls: Vec<&RawValue> = serde_json::from_str(members.raw("tool_calls")?).ok()?;
        let known = calls.into_iter().find_map(|call| {
            let id = Members::parse(call.get().as_bytes())?.text("id")?;
            self.get(owner, id, now)
        })?;
        members.set("reasoning_content", Value::from(&*known.text).to_string());
        members.into_changed()
    }

    fn get(&self, owner: &Arc<str>, call: String, now: Timestamp) -> Option<Arc<Thought>> {
        let key = (Arc::clone(owner), call);
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        let found = shelf.get(&key, now)?;
        let is_due = found.noted.as_ref().is_some_and(|noted| noted.is_due(now));
        if let (Some(kept), true) = (&self.kept, is_due) {
            kept.used(key_in_file(owner, &key.1), now);
        }
        Some(found)
    }

    fn put(&self, key: Key, thought: Thought, now: Timestamp) {
        let bytes = thought.text.len();
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.put(key, Arc::new(thought), bytes, now);
    }
}

/// Keeps the reasoning of one client's answers.
#[derive(Clone, Debug)]
pub struct Keeper {
    reasoning: Reasoning,
    owner: Arc<str>,
    may_be_kept: bool,
}

impl Keeper {
    /// Remembers what was thought before calls.
    pub fn keep(&self, all: Vec<Thoughts>, now: Timestamp) {
        let kept = self.reasoning.kept.as_ref().filter(|_| self.may_be_kept);
        for thoughts in all {
            for call in thoughts.calls {
                if let Some(kept) = kept {
                    let value = thoughts.reasoning.clone().into_bytes();
                    kept.put(key_in_file(&self.owner, &call), value, now);
                }
                let thought = Thought {
                    text: thoughts.reasoning.as_str().into(),
                    noted: kept.map(|_| Noted::at(now)),
                };
                self.reasoning
                    .put((Arc::clone(&self.owner), call), thought, now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn remembered() -> (Reasoning, Arc<str>) {
        let reasoning = Reasoning::default();
        let owner: Arc<str> = "laptop".into();
        let thoughts = Thoughts {
            calls: vec!["t1".to_owned(), "t2".to_owned()],
            reasoning: "need \"time\"".to_owned(),
        };
        reasoning
            .keeper(&owner, b"{}")
            .keep(vec![thoughts], Timestamp::from_secs(0));
        (reasoning, owner)
    }

    fn restored(reasoning: &Reasoning, owner: &Arc<str>, messages: &Value) -> Value {
        let body = Bytes::from(json!({"messages": messages}).to_string());
        let body = reasoning.restore(owner, body, Timestamp::from_secs(1));
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        body["messages"].clone()
    }

    #[test]
    fn a_turn_gets_its_reasoning_back_by_the_id_of_a_call() {
        let (reasoning, owner) = remembered();
        let turn = |id: &str| json!({"role": "assistant", "tool_calls": [{"id": id}]});
        let messages = json!([
            {"role": "user", "content": "t1"},
            turn("t2"),
            turn("other"),
            {"role": "assistant", "reasoning_content": "own", "tool_calls": [{"id": "t1"}]},
            {"role": "tool", "tool_call_id": "t1", "content": ""},
        ]);
        let mut wanted = messages.clone();
        wanted[1]["reasoning_content"] = json!("need \"time\"");
        assert_eq!(restored(&reasoning, &owner, &messages), wanted);
    }

    #[test]
    fn no_client_gets_what_another_ones_model_thought() {
        let (reasoning, _) = remembered();
        let messages = json!([{"role": "assistant", "tool_calls": [{"id": "t1"}]}]);
        let other: Arc<str> = "phone".into();
        assert_eq!(restored(&reasoning, &other, &messages), messages);
    }

    #[test]
    fn a_body_without_such_turns_is_not_copied() {
        let (reasoning, owner) = remembered();
        for body in ["{ \"messages\" : [ 7, null ] }", "{}", "nothing"] {
            let body = Bytes::from_static(body.as_bytes());
            let same = reasoning.restore(&owner, body.clone(), Timestamp::from_secs(1));
            assert_eq!((same.as_ptr(), same.len()), (body.as_ptr(), body.len()));
        }
    }
}
