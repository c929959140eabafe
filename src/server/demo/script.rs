//! How the simulated provider misbehaves: a few words a rule, so that an outage can be rehearsed.
//!
//! A script is rules separated by `;` or newlines, `WHO: WHAT [WHEN]`; the first that applies to a
//! request counts, none means a normal answer. `#` begins a comment.
//!
//! | part | forms |
//! | --- | --- |
//! | WHO | `key 2`, `keys 1 3`, `all` |
//! | WHAT | `rate-limit 2s`, `slow 400ms`, `quota 3h`, `unauthorized`, `no-money`, `banned`, `action-needed`, `forbidden`, `bad-request`, `context-length`, `not-found`, `overloaded`, `error` (500), `stream-error`, `cut 3` (after three pieces), `empty`, `garbage` (HTML), `stall` |
//! | WHEN | `every 5` (each fifth request of the key), `first 10`, `after 30s`, `until 60s`, `between 30s 60s` |

use std::time::Duration;

use http::StatusCode;
use thiserror::Error;

use crate::time::parse_duration;

/// What plain `--demo` does: the second key is told to wait now and then, the third is slow.
const DEFAULT: &str = "key 2: rate-limit 2s every 3; key 3: slow 400ms";

/// A parsed script.
#[derive(Clone, Debug)]
pub struct Script(Vec<Rule>);

#[derive(Clone, Debug)]
struct Rule {
    /// Key numbers from 1; empty is all.
    keys: Vec<usize>,
    fault: Fault,
    when: When,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Cut {
        after: usize,
    },
    Empty,
    Garbage,
    RateLimit(Duration),
    Slow(Duration),
    Stall,
    Status {
        status: StatusCode,
        code: &'static str,
        message: String,
    },
    StreamError {
        message: &'static str,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum When {
    Always,
    Between(Duration, Duration),
    Every(u64),
    First(u64),
}

/// The circumstances of one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Number of the key, from 1.
    pub(super) key: usize,
    /// How many requests the key has seen, this one included.
    pub(super) nth: u64,
    pub(super) since_start: Duration,
}

/// A rule that cannot be understood.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("demo script: `{rule}`: {reason}")]
pub struct ScriptError {
    pub rule: String,
    pub reason: String,
}

impl Default for Script {
    fn default() -> Self {
        Self::parse(DEFAULT).unwrap_or(Self(Vec::new()))
    }
}

impl Script {
    /// Reads a script.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        text.split(['\n', ';'])
            .map(|line| line.split('#').next().unwrap_or_default().trim())
            .filter(|line| !line.is_empty())
            .map(|line| {
                Rule::parse(line).map_err(|reason| ScriptError {
                    rule: line.to_owned(),
                    reason,
                })
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// What goes wrong with a request, if anything.
    pub(super) fn fault(&self, moment: &Moment) -> Option<&Fault> {
        self.0
            .iter()
            .find(|rule| rule.applies(moment))
            .map(|rule| &rule.fault)
    }
}

impl Rule {
    fn parse(line: &str) -> Result<Self, String> {
        let (who, what) = line
            .split_once(':')
            .ok_or("write WHO: WHAT [WHEN], such as `key 2: error every 3`")?;
        let keys = parse_who(who.trim())?;
        let words: Vec<&str> = what.split_whitespace().collect();
        let (fault, rest) = parse_fault(&words)?;
        Ok(Self {
            keys,
            fault,
            when: parse_when(rest)?,
        })
    }

    fn applies(&self, moment: &Moment) -> bool {
        let concerned = self.keys.is_empty() || self.keys.contains(&moment.key);
        concerned
            && match self.when {
                When::Always => true,
                When::Between(from, to) => (from..to).contains(&moment.since_start),
                When::Every(n) => moment.nth.is_multiple_of(n),
                When::First(n) => moment.nth <= n,
            }
    }
}

fn parse_who(who: &str) -> Result<Vec<usize>, String> {
    if who == "all" {
        return Ok(Vec::new());
    }
    let numbers = who
        .strip_prefix("keys ")
        .or_else(|| who.strip_prefix("key "));
    let numbers = numbers.ok_or_else(|| format!("`{who}` is not `all`, `key N` or `keys N M`"))?;
    numbers
        .split_whitespace()
        .map(|number| match number.parse() {
            Ok(key @ 1..=3) => Ok(key),
            _ => Err(format!("`{number}` is not a key of the demo (1, 2 or 3)")),
        })
        .collect()
}

fn parse_fault<'a>(words: &'a [&'a str]) -> Result<(Fault, &'a [&'a str]), String> {
    let (&name, rest) = words
        .split_first()
        .ok_or("say what happens, such as `error`")?;
    let duration = || match rest.split_first() {
        Some((text, rest)) => parse_duration(text)
            .map(|wait| (wait, rest))
            .map_err(|error| error.to_string()),
        None => Err(format!("`{name}` needs a duration, such as `{name} 2s`")),
    };
    let status = |status: StatusCode, code: &'static str, message: &str| {
        Ok((
            Fault::Status {
                status,
                code,
                message: message.to_owned(),
            },
            rest,
        ))
    };
    match name {
        "action-needed" => status(
            StatusCode::FORBIDDEN,
            "verification_required",
            "verify your account at https://example.com/verify",
        ),
        "bad-request" => status(
            StatusCode::BAD_REQUEST,
            "invalid_value",
            "the demo finds fault with this request",
        ),
        "banned" => status(
            StatusCode::FORBIDDEN,
            "account_deactivated",
            "this account has been disabled",
        ),
        "context-length" => status(
            StatusCode::BAD_REQUEST,
            "context_length_exceeded",
            "the prompt is too long for the model",
        ),
        "cut" => parse_cut(rest),
        "empty" => Ok((Fault::Empty, rest)),
        "error" => status(
            StatusCode::INTERNAL_SERVER_ERROR,
            "server_error",
            "the demo is broken on purpose",
        ),
        "forbidden" => status(
            StatusCode::FORBIDDEN,
            "model_not_found",
            "this project has no access to the model",
        ),
        "garbage" => Ok((Fault::Garbage, rest)),
        "no-money" => status(
            StatusCode::TOO_MANY_REQUESTS,
            "insufficient_quota",
            "you exceeded your current quota",
        ),
        "not-found" => status(
            StatusCode::NOT_FOUND,
            "model_not_found",
            "the model does not exist",
        ),
        "overloaded" => status(
            StatusCode::SERVICE_UNAVAILABLE,
            "overloaded",
            "the demo is overloaded",
        ),
        "quota" => {
            let (wait, rest) = duration()?;
            let message = format!("daily quota exhausted: try again in {}s", wait.as_secs());
            let fault = Fault::Status {
                status: StatusCode::TOO_MANY_REQUESTS,
                code: "rate_limit_exceeded",
                message,
            };
            Ok((fault, rest))
        }
        "rate-limit" => duration().map(|(wait, rest)| (Fault::RateLimit(wait), rest)),
        "slow" => duration().map(|(wait, rest)| (Fault::Slow(wait), rest)),
        "stall" => Ok((Fault::Stall, rest)),
        "stream-error" => Ok((
            Fault::StreamError {
                message: "the demo failed inside a stream",
            },
            rest,
        )),
        "unauthorized" => status(
            StatusCode::UNAUTHORIZED,
            "invalid_api_key",
            "incorrect API key provided",
        ),
        _ => Err(format!("`{name}` is not something the demo can do")),
    }
}

fn parse_cut<'a>(words: &'a [&'a str]) -> Result<(Fault, &'a [&'a str]), String> {
    let (count, rest) = words
        .split_first()
        .ok_or("`cut` needs a number of pieces, such as `cut 3`")?;
    let after = count
        .parse()
        .map_err(|_| format!("`{count}` is not a number of pieces"))?;
    Ok((Fault::Cut { after }, rest))
}

fn parse_when(words: &[&str]) -> Result<When, String> {
    let span = |text: &str| parse_duration(text).map_err(|error| error.to_string());
    match *words {
        [] => Ok(When::Always),
        ["every", n] => match n.parse() {
            Ok(n) if n > 0 => Ok(When::Every(n)),
            _ => Err(format!("`every {n}`: write a number from 1")),
        },
        ["first", n] => n
            .parse()
            .map(When::First)
            .map_err(|_| format!("`first {n}`: write a number")),
        ["after", from] => Ok(When::Between(span(from)?, Duration::MAX)),
        ["until", to] => Ok(When::Between(Duration::ZERO, span(to)?)),
        ["between", from, to] => Ok(When::Between(span(from)?, span(to)?)),
        _ => Err(format!(
            "`{}` is not a time (every N, first N, after T, until T, between T T)",
            words.join(" ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(key: usize, nth: u64, seconds: u64) -> Moment {
        Moment {
            key,
            nth,
            since_start: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn the_default_limits_the_second_key_and_slows_the_third() {
        let script = Script::default();
        assert_eq!(script.fault(&moment(1, 3, 0)), None);
        assert_eq!(
            script.fault(&moment(2, 3, 0)),
            Some(&Fault::RateLimit(Duration::from_secs(2)))
        );
        assert_eq!(script.fault(&moment(2, 4, 0)), None);
        assert_eq!(
            script.fault(&moment(3, 1, 0)),
            Some(&Fault::Slow(Duration::from_millis(400)))
        );
    }

    #[test]
    fn an_outage_can_be_rehearsed_by_time() {
        let script =
            Script::parse("all: error between 30s 60s\nkeys 1 2: cut 3 first 2 # then well")
                .expect("a script");
        assert!(
            matches!(script.fault(&moment(3, 9, 45)), Some(Fault::Status { status, .. }) if *status == 500)
        );
        assert_eq!(
            script.fault(&moment(1, 2, 10)),
            Some(&Fault::Cut { after: 3 })
        );
        assert_eq!(script.fault(&moment(1, 3, 10)), None);
        assert_eq!(script.fault(&moment(1, 3, 61)), None);
    }

    #[test]
    fn a_rule_that_makes_no_sense_is_named() {
        for (rule, word) in [
            ("key 9: error", "9"),
            ("key 1 error", "WHO"),
            ("all: explode", "explode"),
            ("all: slow", "duration"),
            ("all: error every 0", "every"),
            ("all: error sometimes", "sometimes"),
        ] {
            let error = Script::parse(rule).expect_err(rule);
            assert_eq!(error.rule, rule);
            assert!(error.reason.contains(word), "{error}");
        }
    }
}
