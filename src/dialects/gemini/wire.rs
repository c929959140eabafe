//! Members under both of protobuf-JSON's spellings, and the laxness of its numbers.

use std::fmt;

use serde::de::{DeserializeOwned, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::dialects::error::ReadError;
use crate::dialects::fields::{Extra, FieldError, Fields};

/// Takes a member out under its camel-case name or the same in snake case; `null` is absent.
pub(super) fn pick<'a>(fields: &mut Fields<'a>, camel: &str) -> Option<&'a RawValue> {
    let found = fields.take(camel).or_else(|| {
        let other = fields
            .iter()
            .find(|(name, _)| is_snake_of(name, camel))
            .map(|(name, _)| name.to_owned())?;
        fields.take(&other)
    });
    found.filter(|raw| raw.get() != "null")
}

/// [`pick`] and parse.
pub(super) fn pick_as<T: DeserializeOwned>(
    fields: &mut Fields<'_>,
    camel: &str,
) -> Result<Option<T>, ReadError> {
    let Some(raw) = pick(fields, camel) else {
        return Ok(None);
    };
    match serde_json::from_str(raw.get()) {
        Ok(value) => Ok(Some(value)),
        Err(error) => Err(wrong(camel, &error.to_string())),
    }
}

/// [`pick`] a whole number; int64 may be written as a string, and floats without fraction count.
pub(super) fn pick_int(fields: &mut Fields<'_>, camel: &str) -> Result<Option<i64>, ReadError> {
    let Some(raw) = pick(fields, camel) else {
        return Ok(None);
    };
    let digits = raw.get().trim_matches('"');
    let whole = digits.parse::<i64>().ok().or_else(|| {
        let (whole, fraction) = digits.split_once('.')?;
        let is_zero = fraction.bytes().all(|digit| digit == b'0');
        is_zero.then(|| whole.parse::<i64>().ok()).flatten()
    });
    whole
        .map(Some)
        .ok_or_else(|| wrong(camel, "expected a whole number"))
}

/// [`pick_int`] where only positive numbers make sense; others are absent.
pub(super) fn pick_count(fields: &mut Fields<'_>, camel: &str) -> Result<Option<u64>, ReadError> {
    Ok(pick_int(fields, camel)?.and_then(|number| u64::try_from(number).ok()))
}

/// Takes a member that is an object.
pub(super) fn pick_object<'a>(
    fields: &mut Fields<'a>,
    camel: &str,
) -> Result<Option<Fields<'a>>, ReadError> {
    match pick(fields, camel) {
        Some(raw) => match Fields::parse_raw(raw) {
            Ok(object) => Ok(Some(object)),
            Err(_) => Err(wrong(camel, "expected an object")),
        },
        None => Ok(None),
    }
}

pub(super) fn wrong(name: &str, reason: &str) -> ReadError {
    ReadError::Field(FieldError {
        name: name.to_owned(),
        reason: reason.to_owned(),
    })
}

/// `true` if `name` is `camel` written with underscores.
fn is_snake_of(name: &str, camel: &str) -> bool {
    name.contains('_')
        && name
            .bytes()
            .filter(|byte| *byte != b'_')
            .eq(camel.bytes().map(|byte| byte.to_ascii_lowercase()))
}

/// A list, or one item where a list belongs.
pub(super) struct Many<T>(pub(super) Vec<T>);

impl<T> Default for Many<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Many<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
            type Value = Many<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of objects")
            }

            fn visit_unit<E>(self) -> Result<Many<T>, E> {
                Ok(Many::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Many<T>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Many(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Many<T>, A::Error> {
                let item = T::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(Many(vec![item]))
            }
        }

        deserializer.deserialize_any(Items(std::marker::PhantomData))
    }
}

/// A `Content` with its parts still as members; read in one pass over the text.
#[derive(Default)]
pub(super) struct Content<'a> {
    pub(super) role: Option<String>,
    pub(super) parts: Vec<Fields<'a>>,
    pub(super) extra: Extra,
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Content<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a Content object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut content = Content::default();
                while let Some(name) = map.next_key::<String>()? {
                    match name.as_str() {
                        "role" => content.role = map.next_value()?,
                        "parts" => content.parts = map.next_value::<Many<Fields<'de>>>()?.0,
                        _ => content.extra.0.push((name, map.next_value()?)),
                    }
                }
                Ok(content)
            }
        }

        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_and_string_numbers_are_read() {
        let mut fields = Fields::parse(br#"{"max_output_tokens":"12","topP":null,"seed":3.0}"#)
            .expect("an object");
        assert_eq!(pick_int(&mut fields, "maxOutputTokens"), Ok(Some(12)));
        assert_eq!(pick_as::<f64>(&mut fields, "topP"), Ok(None));
        assert_eq!(pick_int(&mut fields, "seed"), Ok(Some(3)));
        assert!(fields.into_extra().is_empty());
    }

    #[test]
    fn one_part_may_stand_where_a_list_belongs() {
        let content: Content<'_> =
            serde_json::from_str(r#"{"role":"user","parts":{"text":"x"},"y":1}"#)
                .expect("a content");
        assert_eq!(content.parts.len(), 1);
        assert_eq!(content.extra.0.len(), 1);
    }
}
