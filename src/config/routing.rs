//! `[routing]`, `[cooldown]` and `[timeouts]`: how often to try, and how long to wait for what.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::{duration, text};
use crate::time::parse_duration;

/// `[routing]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Routing {
    /// No wait and no new attempt goes beyond it.
    #[serde(with = "duration")]
    pub deadline: Duration,
    /// Upstream calls that one request may lose to the provider or the network.
    pub max_attempts: u32,
    /// Retries with the same credential after a transient failure.
    pub same_key_retries: u32,
    /// Keep one conversation on one credential.
    pub affinity: bool,
    /// Share of requests that may be retries once a provider is busy, 0 to 1.
    pub retry_budget: f64,
    /// Answer 400 when a field cannot be translated, instead of naming the loss.
    pub strict_translation: bool,
    /// Past it, before any byte went out, the next credential is tried; `"0s"` (`None`): off.
    #[serde(with = "duration::or_off")]
    pub first_token_timeout: Option<Duration>,
    /// Past it a second credential is started and the faster kept; `"0s"` (`None`): off.
    #[serde(with = "duration::or_off")]
    pub hedge_after: Option<Duration>,
    /// What becomes of `temperature = 0` in requests.
    pub temperature_zero: TemperatureZero,
    /// `[[routing.errors]]`: the user's own rules; the first that matches wins.
    pub errors: Vec<ErrorRule>,
}

impl Default for Routing {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(30),
            max_attempts: 8,
            same_key_retries: 2,
            affinity: true,
            retry_budget: 0.2,
            strict_translation: false,
            first_token_timeout: None,
            hedge_after: None,
            temperature_zero: TemperatureZero::Keep,
            errors: Vec::new(),
        }
    }
}

/// What becomes of a request's `temperature` of exactly 0, which some models answer badly to
/// (LLM-API-Key-Proxy's `OVERRIDE_TEMPERATURE_ZERO`).
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum TemperatureZero {
    /// It is sent as it is.
    #[default]
    Keep,
    /// The field is left out.
    Remove,
    /// 1.0 is sent in its place.
    Set,
}

/// `[[routing.errors]]`: what an upstream's error means, by the user. All conditions must hold.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorRule {
    /// The provider it is about; unset: any.
    #[serde(default)]
    pub provider: Option<String>,
    /// The HTTP status; unset: any.
    #[serde(default)]
    pub status: Option<u16>,
    /// Text the body holds, letter case ignored; unset: any body.
    #[serde(default)]
    pub body_contains: Option<String>,
    /// What to do.
    pub action: Action,
}

/// What an [`ErrorRule`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `"cool:60s"`: the credential rests that long; the next one is tried.
    Cool(Duration),
    /// `"dead"`: the credential is not used again until the user enables it.
    Dead,
    /// `"fail"`: the request is at fault; answer at once.
    Fail,
    /// `"retry"`: the same credential once more.
    Retry,
    /// `"rotate"`: the next credential, without blame.
    Rotate,
}

impl Action {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "dead" => Ok(Self::Dead),
            "fail" => Ok(Self::Fail),
            "retry" => Ok(Self::Retry),
            "rotate" => Ok(Self::Rotate),
            _ => {
                let time = text.strip_prefix("cool:").ok_or_else(|| {
                    format!(
                        "`{text}` is not an action \
                         (write \"fail\", \"rotate\", \"retry\", \"cool:60s\" or \"dead\")"
                    )
                })?;
                parse_duration(time)
                    .map(Self::Cool)
                    .map_err(|error| error.to_string())
            }
        }
    }
}

impl<'de> Deserialize<'de> for Action {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::parsed(
            deserializer,
            "\"fail\", \"rotate\", \"retry\", \"cool:60s\" or \"dead\"",
            Self::parse,
        )
    }
}

impl Serialize for Action {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Cool(time) => {
                serializer.collect_str(&format!("cool:{}", duration::format(*time)))
            }
            Self::Dead => serializer.serialize_str("dead"),
            Self::Fail => serializer.serialize_str("fail"),
            Self::Retry => serializer.serialize_str("retry"),
            Self::Rotate => serializer.serialize_str("rotate"),
        }
    }
}

/// `[cooldown]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cooldown {
    /// Rests after the first, second, … failure in a row of a credential with a model class.
    #[serde(with = "duration::list")]
    pub steps: Vec<Duration>,
    /// The rest after all steps are used up.
    #[serde(with = "duration")]
    pub max: Duration,
    /// A longer wait given by the provider lets one request through this often, doubling.
    #[serde(with = "duration")]
    pub probe_after: Duration,
    /// That many credentials failing alike within 10 s cool the provider instead; 0: never.
    pub provider_wide_after: u32,
    /// The rest after a rate limit that names no time.
    #[serde(with = "duration")]
    pub rate_limit_default: Duration,
    /// The rest after a refused key.
    #[serde(with = "duration")]
    pub auth_error: Duration,
}

impl Default for Cooldown {
    fn default() -> Self {
        Self {
            steps: [10, 30, 60, 120].map(Duration::from_secs).to_vec(),
            max: Duration::from_mins(5),
            probe_after: Duration::from_mins(15),
            provider_wide_after: 3,
            rate_limit_default: Duration::from_mins(1),
            auth_error: Duration::from_mins(5),
        }
    }
}

/// `[timeouts]` of one upstream call.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// Until the connection stands, TLS included.
    #[serde(with = "duration")]
    pub connect: Duration,
    /// From the sent request to the first byte of the answer.
    #[serde(with = "duration")]
    pub first_byte: Duration,
    /// Between two pieces of a stream.
    #[serde(with = "duration")]
    pub stream_idle: Duration,
    /// The whole call.
    #[serde(with = "duration")]
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            first_byte: Duration::from_mins(2),
            stream_idle: Duration::from_mins(3),
            total: Duration::from_mins(10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_read_and_written_alike() {
        for (text, action) in [
            ("cool:60s", Action::Cool(Duration::from_mins(1))),
            ("dead", Action::Dead),
            ("fail", Action::Fail),
            ("retry", Action::Retry),
            ("rotate", Action::Rotate),
        ] {
            assert_eq!(Action::parse(text), Ok(action));
        }
        for text in ["", "explode", "cool", "cool:", "cool:soon", "FAIL"] {
            assert!(Action::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn zero_switches_hedging_off() {
        let routing: Routing = toml::from_str("hedge_after = \"0s\"\nfirst_token_timeout = \"2s\"")
            .expect("a valid section");
        assert_eq!(routing.hedge_after, None);
        assert_eq!(routing.first_token_timeout, Some(Duration::from_secs(2)));
    }
}
