//! `windows` and `caps` of a provider: limits counted here before the provider refuses.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use crate::config::models::Pattern;
use crate::config::{duration, text};
use crate::time::parse_duration;

/// `[[providers.NAME.windows]]`: a limit the provider is known to have, for each credential.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Models or quota groups; empty: each model class on its own.
    #[serde(default)]
    pub models: Vec<Pattern>,
    /// Most requests in a window; 0: not limited.
    #[serde(default)]
    pub requests: u64,
    /// Most tokens in a window; 0: not limited.
    #[serde(default)]
    pub tokens: u64,
    /// The window's length.
    #[serde(with = "duration")]
    pub every: Duration,
    /// When it begins.
    #[serde(default)]
    pub anchor: Anchor,
}

/// When a window begins.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Anchor {
    /// With the first request after the last one ended.
    #[default]
    FirstUse,
    /// At midnight in California.
    PacificMidnight,
    /// It always ends now.
    Rolling,
    /// At midnight UTC.
    UtcMidnight,
    /// On Monday, midnight UTC.
    Weekly,
}

/// `[[providers.NAME.caps]]`: stay under the provider's own limit.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Cap {
    /// Tiers it holds for, by name, or by priority number; empty: all.
    #[serde(default)]
    pub tier: Vec<String>,
    /// Models or quota groups; empty: each model class on its own.
    #[serde(default)]
    pub models: Vec<Pattern>,
    /// Requests in the current window.
    pub limit: Limit,
    /// How long the model class rests once the cap is reached.
    #[serde(default)]
    pub cooldown: CapCooldown,
}

/// How much a [`Cap`] allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `"-20"`: that many requests less than the window's limit.
    Below(u64),
    /// `100`: that many requests.
    Number(u64),
    /// `"80%"` of the window's limit.
    Percent(u8),
}

impl Limit {
    /// Reads `100`, `80%` or `-20`. Zero and more than 100 % are refused: the first would block
    /// the model for good, the second would never apply.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a limit (write 100, \"80%\" or \"-20\")");
        let trimmed = text.trim();
        if let Some(percent) = trimmed.strip_suffix('%') {
            let percent: u64 = percent.trim().parse().map_err(|_| bad())?;
            return match u8::try_from(percent) {
                Ok(0) => Err("a cap of 0% would never let a request through".to_owned()),
                Ok(percent @ 1..=100) => Ok(Self::Percent(percent)),
                _ => Err(format!(
                    "a cap of {percent}% is above the provider's own limit"
                )),
            };
        }
        if let Some(less) = trimmed.strip_prefix('-') {
            return less.parse().map(Self::Below).map_err(|_| bad());
        }
        Self::number(trimmed.parse().map_err(|_| bad())?)
    }

    fn number(requests: u64) -> Result<Self, String> {
        if requests == 0 {
            return Err("a cap of 0 would never let a request through".to_owned());
        }
        Ok(Self::Number(requests))
    }

    /// The cap in requests, never above the provider's own limit. `window_limit` is that limit
    /// where it is known; a relative cap says nothing (`None`) while it is not.
    pub fn requests(self, window_limit: Option<u64>) -> Option<u64> {
        match (self, window_limit) {
            (Self::Below(less), Some(limit)) => Some(limit.saturating_sub(less)),
            (Self::Number(number), limit) => Some(limit.map_or(number, |limit| limit.min(number))),
            (Self::Percent(percent), Some(limit)) => {
                let share = u128::from(limit) * u128::from(percent) / 100;
                Some(u64::try_from(share).unwrap_or(limit))
            }
            (Self::Below(_) | Self::Percent(_), None) => None,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Below(less) => write!(f, "-{less}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LimitVisitor)
    }
}

struct LimitVisitor;

impl Visitor<'_> for LimitVisitor {
    type Value = Limit;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of requests, or a share such as \"80%\"")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Limit, E> {
        match u64::try_from(number) {
            Ok(number) => Limit::number(number).map_err(E::custom),
            Err(_) => Ok(Limit::Below(number.unsigned_abs())),
        }
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Limit, E> {
        Limit::number(number).map_err(E::custom)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Limit, E> {
        Limit::parse(text).map_err(E::custom)
    }
}

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_u64(*number),
            relative => serializer.collect_str(relative),
        }
    }
}

/// How long a model class rests once its cap is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CapCooldown {
    /// `"fixed:1h"`: that long.
    Fixed(Duration),
    /// `"offset:1h"`: that long after the provider's reset.
    Offset(Duration),
    /// `"quota_reset"`: until the provider's reset.
    #[default]
    QuotaReset,
}

impl CapCooldown {
    /// Reads `quota_reset`, `offset:1h` or `fixed:1h`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let time = |text| parse_duration(text).map_err(|error| error.to_string());
        match text.trim().split_once(':') {
            None if text.trim() == "quota_reset" => Ok(Self::QuotaReset),
            Some(("fixed", rest)) => time(rest).map(Self::Fixed),
            Some(("offset", rest)) => time(rest).map(Self::Offset),
            _ => Err(format!(
                "`{text}` is not a cooldown (write \"quota_reset\", \"offset:1h\" or \"fixed:1h\")"
            )),
        }
    }
}

impl<'de> Deserialize<'de> for CapCooldown {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::parsed(
            deserializer,
            "\"quota_reset\", \"offset:1h\" or \"fixed:1h\"",
            Self::parse,
        )
    }
}

impl Serialize for CapCooldown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fixed(time) => {
                serializer.collect_str(&format!("fixed:{}", duration::format(*time)))
            }
            Self::Offset(time) => {
                serializer.collect_str(&format!("offset:{}", duration::format(*time)))
            }
            Self::QuotaReset => serializer.serialize_str("quota_reset"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_numbers_or_shares() {
        for (text, limit) in [
            ("100", Limit::Number(100)),
            ("80%", Limit::Percent(80)),
            ("100 %", Limit::Percent(100)),
            ("-20", Limit::Below(20)),
        ] {
            assert_eq!(Limit::parse(text), Ok(limit), "{text}");
        }
        for text in [
            "", "0", "0%", "101%", "400%", "300000%", "80.5%", "x", "-", "--1", "-5%",
        ] {
            assert!(Limit::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_cap_is_never_above_the_known_limit() {
        for (limit, window, requests) in [
            (Limit::Number(100), None, Some(100)),
            (Limit::Number(100), Some(50), Some(50)),
            (Limit::Percent(80), Some(50), Some(40)),
            (Limit::Percent(80), None, None),
            (Limit::Percent(100), Some(u64::MAX), Some(u64::MAX)),
            (Limit::Below(20), Some(50), Some(30)),
            (Limit::Below(20), Some(5), Some(0)),
            (Limit::Below(20), None, None),
        ] {
            assert_eq!(limit.requests(window), requests, "{limit} of {window:?}");
        }
    }

    #[test]
    fn cap_cooldowns_are_read() {
        let hour = Duration::from_hours(1);
        for (text, cooldown) in [
            ("quota_reset", CapCooldown::QuotaReset),
            ("offset:1h", CapCooldown::Offset(hour)),
            ("fixed:1h", CapCooldown::Fixed(hour)),
        ] {
            assert_eq!(CapCooldown::parse(text), Ok(cooldown));
        }
        for text in ["", "never", "fixed", "fixed:", "offset:soon"] {
            assert!(CapCooldown::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_limit_may_be_a_toml_number() {
        let cap: Cap = toml::from_str("limit = 5").expect("a cap");
        assert_eq!(cap.limit, Limit::Number(5));
        assert!(toml::from_str::<Cap>("limit = 0").is_err());
        assert!(toml::from_str::<Cap>("limit = true").is_err());
    }
}
