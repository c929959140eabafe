//! A JSON object whose members are edited while all others keep their bytes.

use std::borrow::Cow;

use crate::dialects::fields::Fields;

/// The members in their order; values are raw JSON.
#[derive(Clone, Debug, Default)]
pub struct Members<'a> {
    members: Vec<(String, Cow<'a, str>)>,
    is_changed: bool,
}

impl<'a> Members<'a> {
    /// Reads an object; `None` for anything else.
    pub fn parse(json: &'a [u8]) -> Option<Self> {
        let fields = Fields::parse(json).ok()?;
        let members = fields
            .iter()
            .map(|(name, raw)| (name.to_owned(), Cow::Borrowed(raw.get())))
            .collect();
        Some(Self {
            members,
            is_changed: false,
        })
    }

    /// A member's raw value; `None` also for `null`, which asks for nothing.
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.members
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_ref())
            .filter(|value| *value != "null")
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|(name, _)| name.as_str())
    }

    /// A member that is a string.
    pub fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.raw(name)?).ok()
    }

    /// Replaces a member's value, or adds the member at the end.
    pub fn set(&mut self, name: &str, json: String) {
        self.is_changed = true;
        match self.members.iter_mut().rev().find(|(key, _)| key == name) {
            Some((_, value)) => *value = Cow::Owned(json),
            None => self.members.push((name.to_owned(), Cow::Owned(json))),
        }
    }

    /// Adds a member that is not there yet.
    pub fn set_if_absent(&mut self, name: &str, json: String) {
        if self.raw(name).is_none() {
            self.set(name, json);
        }
    }

    /// Takes a member out.
    pub fn remove(&mut self, name: &str) {
        let before = self.members.len();
        self.members.retain(|(key, _)| key != name);
        self.is_changed |= self.members.len() != before;
    }

    /// Gives a member another name; where that is taken already, the member goes.
    pub fn rename(&mut self, from: &str, to: &str) {
        if self.raw(to).is_some() {
            self.remove(from);
            return;
        }
        if !self.members.iter().any(|(key, _)| key == from) {
            return;
        }
        self.remove(to);
        self.is_changed = true;
        for (key, _) in self.members.iter_mut().filter(|(key, _)| key == from) {
            to.clone_into(key);
        }
    }

    /// The object as JSON if anything was changed.
    pub fn into_changed(self) -> Option<String> {
        self.is_changed.then(|| self.to_json())
    }

    /// `true` if anything was changed.
    pub const fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// The object as JSON.
    pub fn to_json(&self) -> String {
        let bytes: usize = self
            .members
            .iter()
            .map(|(name, value)| name.len() + value.len() + 4)
            .sum();
        let mut json = String::with_capacity(bytes + 2);
        for (name, value) in &self.members {
            json.push(if json.is_empty() { '{' } else { ',' });
            json.push_str(&serde_json::Value::from(name.as_str()).to_string());
            json.push(':');
            json.push_str(value);
        }
        if json.is_empty() {
            json.push('{');
        }
        json.push('}');
        json
    }
}
