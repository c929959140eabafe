//! A `generateContent` body taken apart as far as the rules of Code Assist need it, and put
//! together again in the order its own clients write. What no rule is about keeps its bytes.

use serde_json::value::{RawValue, to_raw_value};

use crate::dialects::fields::{Extra, Fields, Raw};
use crate::dialects::json::{Array, Object, array, object, raw_array, raw_object};

/// The parts of a body.
#[derive(Debug, Default)]
pub(super) struct Body {
    /// The texts of `systemInstruction`, as parts.
    pub(super) system: Vec<Part>,
    pub(super) contents: Vec<Content>,
    pub(super) tools: Option<Raw>,
    pub(super) tool_config: Option<Raw>,
    pub(super) config: Members,
    /// Everything else, in its order.
    pub(super) rest: Extra,
}

/// One turn.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) role: String,
    pub(super) parts: Vec<Part>,
}

/// One part of a turn.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Part(Members);

/// The members of a JSON object in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Members(Extra);

impl Body {
    /// Takes a body apart; `None` for what is no `generateContent` request.
    pub(super) fn parse(json: &[u8]) -> Option<Self> {
        let mut fields = Fields::parse(json).ok()?;
        let contents: Vec<Fields<'_>> =
            serde_json::from_str(fields.take("contents")?.get()).ok()?;
        let contents = contents.into_iter().map(Content::read);
        let mut body = Self {
            contents: contents.collect::<Option<_>>()?,
            ..Self::default()
        };
        if let Some(system) = fields.take("systemInstruction") {
            body.system = Content::read(Fields::parse_raw(system).ok()?)?.parts;
        }
        let take = |fields: &mut Fields<'_>, name| fields.take(name).map(ToOwned::to_owned);
        body.tools = take(&mut fields, "tools");
        body.tool_config = take(&mut fields, "toolConfig");
        if let Some(config) = fields.take("generationConfig") {
            body.config = Members::parse(config)?;
        }
        body.rest = fields.into_extra();
        Some(body)
    }

    /// The body again. `session` is one more member at its end.
    pub(super) fn write(&self, session: Option<(&str, &str)>) -> Vec<u8> {
        let mut out = Vec::with_capacity(4096);
        object(&mut out, |o| {
            if !self.system.is_empty() {
                o.object("systemInstruction", |o| {
                    o.put("role", "user");
                    o.array("parts", |list| parts(list, &self.system));
                });
            }
            o.array("contents", |list| {
                for content in &self.contents {
                    list.object(|o| content.write(o));
                }
            });
            o.raw_some("tools", self.tools.as_ref());
            o.raw_some("toolConfig", self.tool_config.as_ref());
            if !self.config.0.is_empty() {
                o.raw("generationConfig", &self.config.to_raw());
            }
            o.extra(&self.rest);
            if let Some((name, value)) = session {
                o.put(name, value);
            }
        });
        out
    }

    /// Only the turns, as JSON.
    pub(super) fn contents_json(&self) -> Raw {
        raw_array(|list| {
            for content in &self.contents {
                list.object(|o| content.write(o));
            }
        })
    }

    /// The text that a conversation begins with: the first one of its first user turn.
    pub(super) fn first_user_text(&self) -> Option<String> {
        let first = self.contents.iter().find(|content| content.is_user())?;
        first
            .parts
            .iter()
            .filter_map(Part::text)
            .find(|text| !text.trim().is_empty())
    }

    /// `true` if functions are declared.
    pub(super) fn has_functions(&self) -> bool {
        self.tools
            .as_ref()
            .is_some_and(|tools| tools.get().contains("\"functionDeclarations\""))
    }
}

impl Content {
    fn read(mut fields: Fields<'_>) -> Option<Self> {
        let role = fields.take_as::<String>("role").ok()?;
        let parts: Vec<Fields<'_>> = match fields.take("parts") {
            Some(parts) => serde_json::from_str(parts.get()).ok()?,
            None => Vec::new(),
        };
        let parts = parts
            .into_iter()
            .map(|part| Part(Members(part.into_extra())));
        Some(Self {
            role: role.unwrap_or_else(|| "user".to_owned()),
            parts: parts.collect(),
        })
    }

    /// A user's turn of one text.
    pub(super) fn user(text: &str) -> Self {
        Self {
            role: "user".to_owned(),
            parts: vec![Part::of_text(text)],
        }
    }

    /// A model's turn of one text.
    pub(super) fn model(text: &str) -> Self {
        Self {
            role: "model".to_owned(),
            ..Self::user(text)
        }
    }

    pub(super) fn is_user(&self) -> bool {
        self.role == "user"
    }

    pub(super) fn is_model(&self) -> bool {
        self.role == "model"
    }

    fn write(&self, o: &mut Object<'_>) {
        o.put("role", &self.role);
        o.array("parts", |list| parts(list, &self.parts));
    }
}

fn parts(list: &mut Array<'_>, parts: &[Part]) {
    for part in parts {
        list.raw(&part.0.to_raw());
    }
}

impl Part {
    /// A text part.
    pub(super) fn of_text(text: &str) -> Self {
        let mut part = Self::default();
        part.0.set("text", text);
        part
    }

    /// The text of a text or thought part.
    pub(super) fn text(&self) -> Option<String> {
        self.0.text("text")
    }

    pub(super) fn is_thought(&self) -> bool {
        self.0.get("thought").is_some_and(|raw| raw.get() == "true")
    }

    pub(super) fn is_call(&self) -> bool {
        self.0.get("functionCall").is_some()
    }

    pub(super) fn is_response(&self) -> bool {
        self.0.get("functionResponse").is_some()
    }

    /// `true` if the part says anything beside marks and an empty text.
    pub(super) fn has_data(&self) -> bool {
        self.0.0.0.iter().any(|(name, value)| match name.as_str() {
            "thought" | "thoughtSignature" => false,
            "text" => value.get() != "\"\"",
            _ => value.get() != "null",
        })
    }

    pub(super) fn signature(&self) -> Option<String> {
        self.0.text("thoughtSignature")
    }

    pub(super) fn remove_signature(&mut self) {
        self.0.remove("thoughtSignature");
    }

    /// Puts another name into the call or response that the part is.
    pub(super) fn rename(&mut self, new_name: impl Fn(&str) -> Option<String>) {
        for kind in ["functionCall", "functionResponse"] {
            let Some(mut inner) = self.0.get(kind).and_then(Members::parse) else {
                continue;
            };
            if let Some(name) = inner.text("name").and_then(|name| new_name(&name)) {
                inner.set("name", name.as_str());
                self.0.set_raw(kind, inner.to_raw());
            }
        }
    }
}

impl Members {
    /// Reads an object; `None` for anything else.
    pub(super) fn parse(json: &RawValue) -> Option<Self> {
        Some(Self(Fields::parse_raw(json).ok()?.into_extra()))
    }

    pub(super) fn get(&self, name: &str) -> Option<&RawValue> {
        self.0.get(name)
    }

    /// A member that is a string.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.get(name)?.get()).ok()
    }

    /// A member that is a whole number.
    pub(super) fn number(&self, name: &str) -> Option<i64> {
        serde_json::from_str(self.get(name)?.get()).ok()
    }

    /// Replaces a member in its place, or adds it at the end.
    pub(super) fn set(&mut self, name: &str, value: impl serde::Serialize) {
        if let Ok(raw) = to_raw_value(&value) {
            self.set_raw(name, raw);
        }
    }

    /// [`Members::set`] with JSON.
    pub(super) fn set_raw(&mut self, name: &str, raw: Raw) {
        match self.0.0.iter_mut().find(|(key, _)| key == name) {
            Some((_, value)) => *value = raw,
            None => self.0.0.push((name.to_owned(), raw)),
        }
    }

    /// Replaces a member in its place, or adds it in front.
    pub(super) fn set_first(&mut self, name: &str, value: impl serde::Serialize) {
        let Ok(raw) = to_raw_value(&value) else {
            return;
        };
        if self.get(name).is_some() {
            self.set_raw(name, raw);
        } else {
            self.0.0.insert(0, (name.to_owned(), raw));
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.0.retain(|(key, _)| key != name);
    }

    /// The object as JSON.
    pub(super) fn to_raw(&self) -> Raw {
        raw_object(|o| {
            o.extra(&self.0);
        })
    }
}

/// The items of a JSON array as objects; empty for anything else.
pub(super) fn objects(json: &RawValue) -> Vec<Members> {
    let items: Vec<Fields<'_>> = serde_json::from_str(json.get()).unwrap_or_default();
    items
        .into_iter()
        .map(|item| Members(item.into_extra()))
        .collect()
}

/// Objects as a JSON array.
pub(super) fn list(items: &[Members]) -> Raw {
    let mut out = Vec::new();
    array(&mut out, |list| {
        for item in items {
            list.raw(&item.to_raw());
        }
    });
    String::from_utf8(out)
        .ok()
        .and_then(|json| RawValue::from_string(json).ok())
        .unwrap_or_else(|| RawValue::NULL.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_rule_is_about_keeps_its_bytes() {
        let json = r#"{"systemInstruction":{"role":"user","parts":[{"text":"Be brief."}]},"contents":[{"role":"user","parts":[{"text":"\u0041","x":1.0}]}],"tools":[{"z":1,"a":12345678901234567890123}],"generationConfig":{"seed":1e3},"labels":{}}"#;
        let body = Body::parse(json.as_bytes()).expect("a body");
        assert_eq!(String::from_utf8(body.write(None)).expect("text"), json);
        assert_eq!(body.first_user_text().as_deref(), Some("A"));
        assert!(Body::parse(b"[]").is_none());
        assert!(Body::parse(br#"{"contents":[1]}"#).is_none());
    }

    #[test]
    fn calls_and_responses_are_renamed_and_nothing_else() {
        let json = r#"{"contents":[{"role":"model","parts":[{"functionCall":{"name":"f","args":{"name":"f"}},"thoughtSignature":"S"}]}]}"#;
        let mut body = Body::parse(json.as_bytes()).expect("a body");
        for part in body
            .contents
            .iter_mut()
            .flat_map(|content| &mut content.parts)
        {
            part.rename(|name| (name == "f").then(|| "g".to_owned()));
        }
        let out = String::from_utf8(body.write(None)).expect("text");
        assert!(out.contains(r#"{"name":"g","args":{"name":"f"}}"#), "{out}");
    }
}
