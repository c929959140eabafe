//! A JSON object as an ordered list of names and raw values: unknown fields survive untouched,
//! long integers, exponents and escapes included.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// A piece of JSON kept as it was written.
pub type Raw = Box<RawValue>;

/// An object's members in their order, values unparsed. Borrows from the body it was read from.
#[derive(Clone, Debug, Default)]
pub struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// Reads one JSON object.
    pub fn parse(json: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// Reads one JSON object that is itself a raw value.
    pub fn parse_raw(json: &'a RawValue) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json.get())
    }

    /// The raw value of a member; the last one if the name occurs twice.
    pub fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.0
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| *value)
    }

    /// Takes a member out, so that what remains at the end is what nobody knew.
    pub fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        let at = self.0.iter().rposition(|(key, _)| key == name)?;
        Some(self.0.remove(at).1)
    }

    /// Takes a member out and parses it. `null` and absent are both `None`.
    pub fn take_as<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, FieldError> {
        let Some(raw) = self.take(name) else {
            return Ok(None);
        };
        serde_json::from_str::<Option<T>>(raw.get()).map_err(|source| FieldError {
            name: name.to_owned(),
            reason: source.to_string(),
        })
    }

    /// Takes a whole number out, be it written `7`, `7.0` or `"7"` (all three are seen). `null`,
    /// absent and negative are `None`.
    pub fn take_count(&mut self, name: &str) -> Result<Option<u64>, FieldError> {
        let Some(raw) = self.take(name) else {
            return Ok(None);
        };
        let text = raw.get().trim_matches('"');
        if text == "null" || text.starts_with('-') {
            return Ok(None);
        }
        if let Ok(count) = text.parse::<u64>() {
            return Ok(Some(count));
        }
        match text.parse::<f64>() {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the range is checked, and a fraction of a token is none"
            )]
            Ok(count) if (0.0..9e15).contains(&count) => Ok(Some(count as u64)),
            _ => Err(FieldError {
                name: name.to_owned(),
                reason: "not a whole number".to_owned(),
            }),
        }
    }

    /// The members left, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(key, value)| (key.as_ref(), *value))
    }

    /// The members left, owned: for the `extra` of a canonical node.
    pub fn into_extra(self) -> Extra {
        Extra(
            self.0
                .into_iter()
                .map(|(key, value)| (key.into_owned(), value.to_owned()))
                .collect(),
        )
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(map.size_hint().unwrap_or(8));
                while let Some(Key(name)) = map.next_key()? {
                    members.push((name, map.next_value()?));
                }
                Ok(Fields(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// A member name that borrows where it has no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Unknown members of a canonical node, with their raw values, in order.
#[derive(Clone, Debug, Default)]
pub struct Extra(pub Vec<(String, Raw)>);

impl Extra {
    /// The raw value of a member.
    pub fn get(&self, name: &str) -> Option<&RawValue> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_ref())
    }

    /// `true` if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl PartialEq for Extra {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self
                .0
                .iter()
                .zip(&other.0)
                .all(|(a, b)| a.0 == b.0 && a.1.get() == b.1.get())
    }
}

impl Serialize for Extra {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// A member whose value has the wrong type.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{name}`: {reason}")]
pub struct FieldError {
    pub name: String,
    pub reason: String,
}

impl FieldError {
    /// A member at fault, and why.
    pub fn new(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            reason: reason.into(),
        }
    }

    /// The same error seen from the node around: `content` within `messages[3]`.
    #[must_use]
    pub fn within(self, node: &str) -> Self {
        let dot = if self.name.is_empty() || self.name.starts_with('[') {
            ""
        } else {
            "."
        };
        Self {
            name: format!("{node}{dot}{}", self.name),
            reason: self.reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_spelling() {
        let body = br#"{"a":1e400,"b":12345678901234567890123,"c":"\u0041"}"#;
        let fields = Fields::parse(body).expect("an object");
        let spelled: Vec<_> = fields
            .iter()
            .map(|(name, raw)| (name.to_owned(), raw.get()))
            .collect();
        assert_eq!(
            spelled,
            [
                ("a".into(), "1e400"),
                ("b".into(), "12345678901234567890123"),
                ("c".into(), r#""\u0041""#)
            ]
        );
    }

    #[test]
    fn taken_fields_leave_the_unknown_ones() {
        let mut fields =
            Fields::parse(br#"{"model":"m","x":[1],"temperature":null}"#).expect("an object");
        assert_eq!(fields.take_as::<String>("model"), Ok(Some("m".into())));
        assert_eq!(fields.take_as::<f64>("temperature"), Ok(None));
        let extra = fields.into_extra();
        assert_eq!(extra.get("x").map(RawValue::get), Some("[1]"));
        assert_eq!(extra.0.len(), 1);
    }

    #[test]
    fn a_wrong_type_names_the_field() {
        let mut fields = Fields::parse(br#"{"model":7}"#).expect("an object");
        let error = fields
            .take_as::<String>("model")
            .expect_err("a number is no name");
        assert_eq!(error.name, "model");
    }
}
