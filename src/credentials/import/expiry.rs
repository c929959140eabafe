//! When a token ends, in every spelling that credential files use.

use serde_json::Value;

use crate::time::Timestamp;

/// Numbers below this are seconds, above it milliseconds: 10^11 s is the year 5138.
const MILLIS_FROM: f64 = 1e11;

/// Reads a number (seconds or milliseconds), a number as text, RFC 3339, or the
/// `YYYY-MM-DD HH:MM` of iFlow, which is China's time. `None` for anything else: then the token
/// counts as ended and is refreshed.
pub(super) fn read(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Number(number) => from_number(number.as_f64()?),
        Value::String(text) => {
            let text = text.trim();
            if let Ok(number) = text.parse() {
                return from_number(number);
            }
            Timestamp::parse_rfc3339(text)
                .or_else(|| {
                    Timestamp::parse_rfc3339(&format!("{}:00+08:00", text.replace(' ', "T")))
                })
                .or_else(|| Timestamp::parse_rfc3339(&format!("{text}Z")))
        }
        _ => None,
    }
}

fn from_number(number: f64) -> Option<Timestamp> {
    if !number.is_finite() || number <= 0.0 {
        return None;
    }
    let millis = if number < MILLIS_FROM {
        number * 1000.0
    } else {
        number
    };
    // The year 9999; what is beyond is no time.
    if millis > 2.5e14 {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "checked to be between 0 and 2.5e14 just above"
    )]
    Some(Timestamp::from_millis(millis as i64))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_spelling_is_read() {
        let time = Some(Timestamp::from_secs(1_770_000_000));
        for value in [
            json!(1_770_000_000),
            json!(1_770_000_000_000_i64),
            json!(1_770_000_000_000.0),
            json!("1770000000000"),
            json!("1770000000"),
            json!("2026-02-02T02:40:00Z"),
            json!("2026-02-02T10:40:00+08:00"),
            json!("2026-02-02 10:40"),
            json!("2026-02-02T02:40:00"),
        ] {
            assert_eq!(read(&value), time, "{value}");
        }
    }

    #[test]
    fn the_examples_of_iflows_files_are_read() {
        for (value, time) in [
            (json!(1_766_736_156_814_i64), "2025-12-26T08:02:36.814Z"),
            (json!("2026-02-01T10:00:00+08:00"), "2026-02-01T02:00:00Z"),
            (json!("2026-02-01 10:00"), "2026-02-01T02:00:00Z"),
        ] {
            assert_eq!(read(&value), Timestamp::parse_rfc3339(time), "{value}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for value in [
            json!(null),
            json!(""),
            json!("soon"),
            json!(-1),
            json!(0),
            json!(1e300),
            json!("NaN"),
            json!([]),
        ] {
            assert_eq!(read(&value), None, "{value}");
        }
    }
}
