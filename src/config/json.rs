//! TOML tables that become part of a JSON request body.

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};
use serde_json::{Map, Number, Value};

/// Reads a table; dates and numbers that JSON cannot write are refused.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Map<String, Value>, D::Error> {
    object(toml::Table::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// Writes the object as a table.
pub(super) fn serialize<S: Serializer>(
    map: &Map<String, Value>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    map.serialize(serializer)
}

fn object(table: toml::Table) -> Result<Map<String, Value>, String> {
    table
        .into_iter()
        .map(|(name, item)| Ok((name, value(item)?)))
        .collect()
}

fn value(item: toml::Value) -> Result<Value, String> {
    Ok(match item {
        toml::Value::Array(items) => items.into_iter().map(value).collect::<Result<_, _>>()?,
        toml::Value::Boolean(truth) => truth.into(),
        toml::Value::Datetime(date) => {
            return Err(format!("JSON has no dates (write \"{date}\" as text)"));
        }
        toml::Value::Float(number) => Number::from_f64(number)
            .map(Value::Number)
            .ok_or_else(|| format!("JSON has no number `{number}`"))?,
        toml::Value::Integer(number) => number.into(),
        toml::Value::String(text) => text.into(),
        toml::Value::Table(table) => Value::Object(object(table)?),
    })
}
