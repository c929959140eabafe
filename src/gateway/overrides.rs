//! What the configuration changes in a client's request: defaults of a configured model, and a
//! temperature of exactly zero.

use bytes::Bytes;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

use crate::config::routing::TemperatureZero;
use crate::dialects::Dialect;
use crate::dialects::fields::Fields;
use crate::dialects::head;

/// Applies both to a body in its upstream's dialect. Without anything to do the body comes back
/// as it is, not copied.
pub(super) fn apply(
    body: Bytes,
    dialect: Dialect,
    options: Option<&Map<String, Value>>,
    zero: TemperatureZero,
) -> Bytes {
    if options.is_none() && zero == TemperatureZero::Keep {
        return body;
    }
    let Ok(fields) = Fields::parse(&body) else {
        return body;
    };
    let absent: Vec<(&str, Box<RawValue>)> = options
        .into_iter()
        .flatten()
        .filter(|(name, _)| fields.raw(name).is_none())
        .filter_map(|(name, value)| Some((name.as_str(), to_raw_value(value).ok()?)))
        .collect();
    let is_zero = fields
        .raw("temperature")
        .is_some_and(|raw| raw.get().parse() == Ok(0.0));
    let mut changes: Vec<(&str, &RawValue)> = absent
        .iter()
        .map(|(name, value)| (*name, value.as_ref()))
        .collect();
    let one = to_raw_value(&1.0).unwrap_or_default();
    match zero {
        TemperatureZero::Set if is_zero => changes.push(("temperature", &one)),
        TemperatureZero::Remove if is_zero => return without_temperature(&fields),
        TemperatureZero::Keep | TemperatureZero::Remove | TemperatureZero::Set => {}
    }
    if changes.is_empty() {
        return body;
    }
    match head::scan(&body, dialect) {
        Ok(head) => {
            let model = head
                .model
                .as_ref()
                .map_or_else(String::new, |span| span.name.to_string());
            head::splice(&body, &head, &model, &changes)
        }
        Err(_) => body,
    }
}

/// The body without its temperature; every other value as it was written.
fn without_temperature(fields: &Fields<'_>) -> Bytes {
    let mut kept = String::from("{");
    for (name, value) in fields.iter().filter(|(name, _)| *name != "temperature") {
        if kept.len() > 1 {
            kept.push(',');
        }
        kept.push_str(&Value::from(name).to_string());
        kept.push(':');
        kept.push_str(value.get());
    }
    kept.push('}');
    kept.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(body: &'static str, options: &str, zero: TemperatureZero) -> String {
        let options: Map<String, Value> = serde_json::from_str(options).expect("an object");
        let options = Some(&options).filter(|options| !options.is_empty());
        let body = apply(
            Bytes::from_static(body.as_bytes()),
            Dialect::OpenAiChat,
            options,
            zero,
        );
        String::from_utf8(body.to_vec()).expect("UTF-8")
    }

    #[test]
    fn model_options_fill_in_what_is_absent() {
        let filled = applied(
            r#"{"model":"m","top_p":0.5}"#,
            r#"{"top_p":1,"seed":7}"#,
            TemperatureZero::Keep,
        );
        let value: Value = serde_json::from_str(&filled).expect("JSON");
        assert_eq!(
            value,
            serde_json::json!({"model": "m", "top_p": 0.5, "seed": 7})
        );
    }

    #[test]
    fn a_zero_temperature_is_removed_or_set_and_others_stay() {
        let zero = r#"{"model":"m","temperature":0.0,"n":1e2}"#;
        assert_eq!(
            applied(zero, "{}", TemperatureZero::Remove),
            r#"{"model":"m","n":1e2}"#
        );
        let set: Value =
            serde_json::from_str(&applied(zero, "{}", TemperatureZero::Set)).expect("JSON");
        assert_eq!(set["temperature"], serde_json::json!(1.0));
        let other = r#"{"model":"m","temperature":0.1}"#;
        assert_eq!(applied(other, "{}", TemperatureZero::Remove), other);
        assert_eq!(applied(zero, "{}", TemperatureZero::Keep), zero);
    }
}
