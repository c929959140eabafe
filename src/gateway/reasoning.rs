//! Reasoning before tool calls, remembered for models that do better when it comes back and for
//! clients that drop it (iFlow's GLM and MiniMax): by the client and the id of the call.
//!
//! Plain text, unlike the signed [`thoughts`](crate::gateway::thoughts) of other vendors, so any
//! credential may send it. Kept in memory only, within bounds.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::dialects::edit::Members;
use crate::dialects::mend::Thoughts;
use crate::gateway::shelf::{Limits, Shelf};
use crate::time::Timestamp;

/// Some hundred long conversations; a day is longer than anybody pauses.
const LIMITS: Limits = Limits {
    entries: 20_000,
    bytes: 32 << 20,
    idle: Duration::from_hours(24),
};

/// A client and the id of a call.
type Key = (Arc<str>, String);

/// What is remembered. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct Reasoning {
    shelf: Arc<Mutex<Shelf<Key, Arc<str>>>>,
}

impl Default for Reasoning {
    fn default() -> Self {
        Self {
            shelf: Arc::new(Mutex::new(Shelf::new(LIMITS))),
        }
    }
}

impl Reasoning {
    /// One that keeps for this client.
    pub fn keeper(&self, owner: &Arc<str>) -> Keeper {
        Keeper {
            reasoning: self.clone(),
            owner: Arc::clone(owner),
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
        members.set("reasoning_content", Value::from(&*known).to_string());
        members.into_changed()
    }

    fn get(&self, owner: &Arc<str>, call: String, now: Timestamp) -> Option<Arc<str>> {
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.get(&(Arc::clone(owner), call), now)
    }
}

/// Keeps the reasoning of one client's answers.
#[derive(Clone, Debug)]
pub struct Keeper {
    reasoning: Reasoning,
    owner: Arc<str>,
}

impl Keeper {
    /// Remembers what was thought before calls.
    pub fn keep(&self, all: Vec<Thoughts>, now: Timestamp) {
        if all.is_empty() {
            return;
        }
        let shelf = &self.reasoning.shelf;
        let mut shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
        for thoughts in all {
            let reasoning: Arc<str> = thoughts.reasoning.into();
            for call in thoughts.calls {
                let key = (Arc::clone(&self.owner), call);
                shelf.put(key, Arc::clone(&reasoning), reasoning.len(), now);
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
            .keeper(&owner)
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
