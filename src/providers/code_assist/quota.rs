//! What the account's quota is: the answers of `retrieveUserQuota`, `retrieveUserQuotaSummary` and
//! `fetchAvailableModels`.

use std::time::Duration;

use serde_json::Value;

use crate::providers::account::QuotaReading;
use crate::time::Timestamp;

const FIVE_HOURS: Duration = Duration::from_hours(5);
const DAY: Duration = Duration::from_hours(24);
const WEEK: Duration = Duration::from_hours(7 * 24);

/// Models and groups by a model's name.
pub(super) type GroupOf = fn(&str) -> Option<&'static str>;

/// Reads `retrieveUserQuota`: a bucket a model, of fixed windows of 24 hours.
pub(super) fn user_quota(body: &[u8], group_of: GroupOf) -> Vec<QuotaReading> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let mut readings = Vec::new();
    for bucket in items(&body, "buckets") {
        let Some(model) = text(bucket, "modelId") else {
            continue;
        };
        let is_requests = text(bucket, "tokenType").is_none_or(|kind| kind == "REQUESTS");
        if is_requests {
            // A missing fraction is none: protobuf-JSON leaves zeros out.
            let remaining = fraction(bucket).unwrap_or(0.0);
            let group = group_of(model).unwrap_or(model);
            add(&mut readings, group, remaining, resets(bucket), DAY);
        }
    }
    readings
}

/// Reads `retrieveUserQuotaSummary`: for each group of models a window of five hours and one of a
/// week; both must have room. The one with the least room comes last, so that it is the one that is
/// kept where one window a group is.
pub(super) fn summary(body: &[u8]) -> Vec<QuotaReading> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let body = body.get("quotaSummary").unwrap_or(&body);
    let groups = items(body, "groups").map(|group| (group_name(group), group));
    let loose = std::iter::once((None, body));
    let mut readings = Vec::new();
    for (name, holder) in groups.chain(loose) {
        for bucket in items(holder, "buckets") {
            if bucket.get("disabled") == Some(&Value::Bool(true)) {
                continue;
            }
            let id = text(bucket, "bucketId").unwrap_or_default();
            let Some(group) = id_group(id).or(name) else {
                continue;
            };
            let window = text(bucket, "window").unwrap_or(id).to_ascii_lowercase();
            let every = if window.contains("week") {
                WEEK
            } else {
                FIVE_HOURS
            };
            let remaining = fraction(bucket).unwrap_or(0.0);
            add(&mut readings, group, remaining, resets(bucket), every);
        }
    }
    readings.sort_by(|a, b| {
        let by_room = b.remaining.total_cmp(&a.remaining);
        by_room.then_with(|| a.resets.cmp(&b.resets))
    });
    readings
}

/// Reads the quotas in `fetchAvailableModels`: the window of five hours. A row without a fraction is
/// used up, except Claude's and GPT-OSS's, which lack it on the free tier even when fresh.
pub(super) fn of_catalogue(body: &[u8], group_of: GroupOf, unsure: &str) -> Vec<QuotaReading> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let models = body.get("models").and_then(Value::as_object);
    let mut readings = Vec::new();
    for (model, entry) in models.into_iter().flatten() {
        let Some(quota) = entry.get("quotaInfo").filter(|quota| quota.is_object()) else {
            continue;
        };
        let Some(group) = group_of(model) else {
            continue;
        };
        let remaining = match fraction(quota) {
            Some(remaining) => remaining,
            None if group == unsure => continue,
            None => 0.0,
        };
        add(&mut readings, group, remaining, resets(quota), FIVE_HOURS);
    }
    readings
}

/// Adds a reading; of several of one group and window the least remains.
fn add(
    readings: &mut Vec<QuotaReading>,
    group: &str,
    remaining: f64,
    resets: Option<Timestamp>,
    every: Duration,
) {
    let same = |known: &&mut QuotaReading| known.group == group && known.every == Some(every);
    let Some(known) = readings.iter_mut().find(same) else {
        readings.push(QuotaReading {
            group: group.to_owned(),
            remaining,
            limit: None,
            resets,
            every: Some(every),
        });
        return;
    };
    if remaining < known.remaining {
        known.remaining = remaining;
        known.resets = resets.or(known.resets);
    }
}

/// `gemini-weekly` is of the group `gemini`, `3p-5h` of `3p`.
fn id_group(id: &str) -> Option<&'static str> {
    ["gemini", "3p"].into_iter().find(|group| {
        id.strip_prefix(group)
            .is_some_and(|rest| rest.starts_with('-'))
    })
}

fn group_name(group: &Value) -> Option<&'static str> {
    let name = text(group, "displayName")?.to_ascii_lowercase();
    if name.contains("claude") || name.contains("gpt") {
        Some("3p")
    } else if name.contains("gemini") {
        Some("gemini")
    } else {
        None
    }
}

fn items<'v>(holder: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    holder
        .get(name)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn text<'v>(holder: &'v Value, name: &str) -> Option<&'v str> {
    holder.get(name)?.as_str()
}

fn fraction(holder: &Value) -> Option<f64> {
    let fraction = holder.get("remainingFraction")?.as_f64()?;
    Some(fraction.clamp(0.0, 1.0))
}

fn resets(holder: &Value) -> Option<Timestamp> {
    Timestamp::parse_rfc3339(text(holder, "resetTime")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group_of(model: &str) -> Option<&'static str> {
        if model.starts_with("gemini") {
            Some("gemini")
        } else {
            model.starts_with("claude").then_some("3p")
        }
    }

    fn told(readings: &[QuotaReading]) -> Vec<(&str, f64, Option<Duration>)> {
        readings
            .iter()
            .map(|reading| (reading.group.as_str(), reading.remaining, reading.every))
            .collect()
    }

    #[test]
    fn a_summary_has_two_windows_a_group() {
        let body = br#"{"quotaSummary":{"groups":[{"displayName":"Gemini Models","buckets":[{"bucketId":"gemini-weekly","window":"WEEKLY","resetTime":"2026-11-30T00:00:00Z","remainingFraction":0.73},{"bucketId":"gemini-5h","window":"FIVE_HOUR","remainingFraction":1}]},{"displayName":"Claude and GPT models","buckets":[{"bucketId":"3p-weekly","window":"weekly"},{"bucketId":"3p-5h","window":"5h","remainingFraction":0.5,"disabled":true}]}]}}"#;
        let readings = summary(body);
        assert_eq!(
            told(&readings),
            [
                ("gemini", 1.0, Some(FIVE_HOURS)),
                ("gemini", 0.73, Some(WEEK)),
                ("3p", 0.0, Some(WEEK)),
            ]
        );
        let resets = Timestamp::parse_rfc3339("2026-11-30T00:00:00Z");
        assert_eq!(readings[1].resets, resets);
        let flat = br#"{"buckets":[{"bucketId":"3p-5h","remainingFraction":0.25}]}"#;
        assert_eq!(told(&summary(flat)), [("3p", 0.25, Some(FIVE_HOURS))]);
    }

    #[test]
    fn of_a_groups_models_the_least_counts() {
        let body = br#"{"buckets":[{"modelId":"gemini-a","tokenType":"REQUESTS","remainingFraction":0.91},{"modelId":"gemini-b","remainingFraction":0.4},{"modelId":"other"},{"modelId":"gemini-c","tokenType":"TOKENS","remainingFraction":0.1}]}"#;
        assert_eq!(
            told(&user_quota(body, group_of)),
            [("gemini", 0.4, Some(DAY)), ("other", 0.0, Some(DAY))]
        );
    }

    #[test]
    fn a_catalogue_row_without_a_fraction_is_used_up_or_unknown() {
        let body = br#"{"models":{"claude-x":{"quotaInfo":{}},"gemini-x":{"quotaInfo":{"resetTime":"2026-11-25T05:00:00Z"}},"tab_x":{"quotaInfo":{}},"gemini-y":{}}}"#;
        assert_eq!(
            told(&of_catalogue(body, group_of, "3p")),
            [("gemini", 0.0, Some(FIVE_HOURS))]
        );
    }

    #[test]
    fn garbage_says_nothing() {
        for body in [
            &b""[..],
            b"[]",
            b"{\"groups\":7}",
            b"{\"buckets\":[1,{}]}",
            b"\xff",
        ] {
            assert_eq!(summary(body), []);
            assert_eq!(user_quota(body, group_of), []);
            assert_eq!(of_catalogue(body, group_of, "3p"), []);
        }
    }
}
