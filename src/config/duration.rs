//! Durations in the config: `"500ms"`, `"30s"`, `"5m"`, `"24h"`, `"7d"`, `"1h30m"`.

use std::time::Duration;

use serde::{Deserializer, Serializer};

use crate::config::text;
use crate::time::parse_duration;

const EXPECTING: &str = "a duration such as \"500ms\", \"30s\", \"5m\" or \"24h\"";

/// Reads a duration, for `#[serde(with = "duration")]`.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    text::parsed(deserializer, EXPECTING, parse)
}

/// Writes a duration as the config takes it.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*duration))
}

fn parse(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

/// Writes a duration in the largest unit that holds it whole: `30s`, `5m`, `24h`, `7d`, `1500ms`.
/// `parse_duration` reads it back to the millisecond. A day stays `24h`, as the documents write it.
pub fn format(duration: Duration) -> String {
    let millis = duration.as_millis();
    for (unit, size, least) in [
        ("d", 86_400_000, 2),
        ("h", 3_600_000, 1),
        ("m", 60_000, 1),
        ("s", 1000, 0),
    ] {
        if millis.is_multiple_of(size) && millis / size >= least {
            return format!("{}{unit}", millis / size);
        }
    }
    format!("{millis}ms")
}

/// Durations where `"0s"` means off: `None`.
pub mod or_off {
    use std::time::Duration;

    use serde::{Deserializer, Serializer};

    /// Reads a duration; zero is `None`.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        super::deserialize(deserializer).map(|time| (!time.is_zero()).then_some(time))
    }

    /// Writes a duration, `None` as `"0s"`.
    pub fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        super::serialize(&duration.unwrap_or_default(), serializer)
    }
}

/// Lists of durations.
pub mod list {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    /// Reads a list of durations.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Duration>, D::Error> {
        #[derive(Deserialize)]
        struct Item(#[serde(with = "super")] Duration);

        let items = Vec::<Item>::deserialize(deserializer)?;
        Ok(items.into_iter().map(|item| item.0).collect())
    }

    /// Writes a list of durations.
    pub fn serialize<S: Serializer>(
        durations: &[Duration],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(durations.iter().map(|duration| super::format(*duration)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_written_in_the_largest_whole_unit() {
        for (millis, text) in [
            (0, "0s"),
            (500, "500ms"),
            (30_000, "30s"),
            (300_000, "5m"),
            (86_400_000, "24h"),
            (604_800_000, "7d"),
            (5_400_000, "90m"),
        ] {
            assert_eq!(format(Duration::from_millis(millis)), text);
        }
    }

    proptest! {
        #[test]
        fn a_written_duration_reads_back(millis in 0_u64..10_000_000_000) {
            let duration = Duration::from_millis(millis);
            let read = parse_duration(&format(duration)).expect("a duration");
            // Fractions go through floating point: equal to the microsecond.
            prop_assert!(read.abs_diff(duration) < Duration::from_micros(1));
        }
    }
}
