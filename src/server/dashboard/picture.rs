//! What the page shows, as JSON: pools with a page of their credentials, the last hour, the latest
//! requests. Small whatever the number of credentials. Times are milliseconds since the epoch.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::gateway::Gateway;
use crate::gateway::runtime::ProviderRuntime;
use crate::gateway::snapshot::Snapshot;
use crate::pool::{
    Choice, CredentialState, Excerpt, MemberSnapshot, Quota, Rotation, WindowSnapshot,
};
use crate::state::rows::JournalRow;
use crate::telemetry::minutes::{KEPT, Minute};
use crate::time::Timestamp;

/// Credentials on one page of a pool.
pub(in crate::server) const PAGE: usize = 20;

/// Credentials in one picture: with many pools each shows fewer.
const MOST_CREDENTIALS: usize = 400;

/// Requests in one picture.
const REQUESTS: usize = 50;

/// Limits told of one credential; of more the fullest.
const MOST_WINDOWS: usize = 6;

/// Longest text of a vendor's that is shown, in characters.
const MOST_TEXT: usize = 400;

/// Everything at one instant, for all who watch.
#[derive(Debug)]
pub(super) struct Picture {
    /// The pools as JSON.
    pub(super) pools: String,
    /// The last hour as JSON.
    pub(super) traffic: String,
    /// The latest requests, newest first.
    pub(super) requests: Vec<Arc<Row>>,
}

/// A request of the journal.
#[derive(Debug)]
pub(super) struct Row {
    /// Grows with each request seen; from 1.
    pub(super) serial: u64,
    pub(super) id: String,
    /// Who sent it.
    pub(super) client: String,
    pub(super) json: String,
}

/// The requests of the picture before: a trail is read once.
#[derive(Debug, Default)]
pub(super) struct Recent {
    rows: Vec<Arc<Row>>,
    serial: u64,
}

impl Picture {
    /// Takes one. Reads the journal: not for a runtime's own threads.
    pub(super) fn take(gateway: &Gateway, recent: &mut Recent, now: Timestamp) -> Self {
        match gateway.telemetry.latest_requests(REQUESTS) {
            Ok(journal) => recent.update(journal),
            Err(error) => tracing::warn!("cannot read the journal: {error}"),
        }
        Self {
            pools: json(&pools(&gateway.snapshot(), now)),
            traffic: json(&Traffic::of(&gateway.telemetry.minutes.last_hour(now), now)),
            requests: recent.rows.clone(),
        }
    }
}

impl Recent {
    /// Takes over what the journal has now, newest first.
    fn update(&mut self, journal: Vec<JournalRow>) {
        let mut rows = Vec::with_capacity(journal.len());
        // From the oldest on, so that serials grow with time.
        for entry in journal.into_iter().rev() {
            let known = self.rows.iter().find(|row| row.id == entry.id);
            rows.push(known.map_or_else(
                || {
                    self.serial += 1;
                    Arc::new(Row::of(&entry, self.serial))
                },
                Arc::clone,
            ));
        }
        rows.reverse();
        self.rows = rows;
    }
}

impl Row {
    fn of(entry: &JournalRow, serial: u64) -> Self {
        // An entry of another version has other members: what is not there stays empty.
        let trail: Value = serde_json::from_str(&entry.value).unwrap_or_default();
        let client = trail.pointer("/request/client").and_then(Value::as_str);
        Self {
            serial,
            id: entry.id.clone(),
            client: client.unwrap_or_default().to_owned(),
            json: json(&Request::of(entry, &trail)),
        }
    }
}

/// A request in one line; its trail is asked for apart.
#[derive(Serialize)]
struct Request<'a> {
    id: &'a str,
    at: i64,
    client: &'a str,
    dialect: &'a str,
    operation: &'a str,
    /// As the client named it.
    model: String,
    stream: bool,
    /// Who served, or failed last.
    provider: &'a str,
    credential: &'a str,
    status: Option<u64>,
    ending: &'a str,
    attempts: usize,
    ms: Option<u64>,
    first_token_ms: Option<u64>,
    input: Option<u64>,
    output: Option<u64>,
    estimated: bool,
    cost: Option<f64>,
    error: Option<String>,
}

impl<'a> Request<'a> {
    fn of(entry: &'a JournalRow, trail: &'a Value) -> Self {
        let text = |at: &str| trail.pointer(at).and_then(Value::as_str);
        let count = |at: &str| trail.pointer(at).and_then(Value::as_u64);
        let flag = |at: &str| trail.pointer(at) == Some(&Value::Bool(true));
        let list = |name: &str| trail.get(name).and_then(Value::as_array);
        let last = |list: Option<&'a Vec<Value>>, name: &str| {
            let last = list.and_then(|list| list.last());
            let name = last.and_then(|last| last.get(name)).and_then(Value::as_str);
            name.unwrap_or_default()
        };
        let at = text("/request/at").and_then(Timestamp::parse_rfc3339);
        let attempts = list("attempts");
        Self {
            id: &entry.id,
            at: at.unwrap_or(entry.time).as_millis(),
            client: text("/request/client").unwrap_or_default(),
            dialect: text("/request/dialect").unwrap_or_default(),
            operation: text("/request/operation").unwrap_or_default(),
            model: shortened(text("/request/model").unwrap_or_default()),
            stream: flag("/request/stream"),
            provider: last(list("targets"), "provider"),
            credential: last(attempts, "credential"),
            status: count("/status"),
            ending: text("/ending").unwrap_or_default(),
            attempts: attempts.map_or(0, Vec::len),
            ms: count("/ms"),
            first_token_ms: count("/first_token_ms"),
            input: count("/usage/prompt_tokens"),
            output: count("/usage/completion_tokens"),
            estimated: flag("/usage/estimated"),
            cost: trail.get("cost_usd").and_then(Value::as_f64),
            error: text("/error").map(shortened),
        }
    }
}

/// The last hour, oldest minute first.
#[derive(Serialize)]
struct Traffic {
    /// When the last of the minutes began.
    minute: i64,
    requests: Vec<u64>,
    failures: Vec<u64>,
    input: Vec<u64>,
    output: Vec<u64>,
    /// US dollars of the whole hour, at list prices.
    cost: f64,
}

impl Traffic {
    fn of(minutes: &[Minute], now: Timestamp) -> Self {
        let each = |count: fn(&Minute) -> u64| minutes.iter().map(count).collect();
        debug_assert_eq!(minutes.len(), KEPT);
        Self {
            minute: now.as_millis().div_euclid(60_000) * 60_000,
            requests: each(|minute| minute.requests),
            failures: each(|minute| minute.failures),
            input: each(|minute| minute.input_tokens),
            output: each(|minute| minute.output_tokens),
            cost: minutes.iter().map(|minute| minute.cost_usd).sum(),
        }
    }
}

fn pools(snapshot: &Snapshot, now: Timestamp) -> Vec<Pool<'_>> {
    let each = MOST_CREDENTIALS / snapshot.providers.len().max(1);
    let choice = Choice {
        most: each.clamp(1, PAGE),
        ..Choice::default()
    };
    let runtimes = snapshot.providers.values();
    runtimes
        .map(|runtime| Pool::of(runtime, &runtime.pool.excerpt(&choice, now)))
        .collect()
}

/// A page of a provider's credentials as JSON; `None` if there is no such provider.
pub(in crate::server) fn page(
    snapshot: &Snapshot,
    provider: &str,
    choice: &Choice<'_>,
    now: Timestamp,
) -> Option<String> {
    let runtime = snapshot.providers.get(provider)?;
    let excerpt = runtime.pool.excerpt(choice, now);
    Some(json(&Pool::of(runtime, &excerpt)))
}

/// A provider with its pool.
#[derive(Serialize)]
struct Pool<'a> {
    id: &'a str,
    /// The dialect it speaks.
    kind: &'static str,
    rotation: &'static str,
    backoff_until: Option<i64>,
    credentials: u32,
    /// How many are in which state; states that nobody is in are absent.
    states: BTreeMap<&'static str, u32>,
    /// Requests under way upstream.
    leases: u32,
    /// Requests that wait for a credential.
    waiters: u32,
    models: usize,
    requests: u64,
    failures: u64,
    tokens: u64,
    quotas: Vec<Limit>,
    /// Whether its accounts can be asked for their quotas.
    has_accounts: bool,
    /// How many credentials are what was looked for; `page` has some of them.
    matching: usize,
    page: Vec<Credential<'a>>,
}

impl<'a> Pool<'a> {
    fn of(runtime: &'a ProviderRuntime, excerpt: &Excerpt) -> Self {
        let states = CredentialState::ALL.into_iter().filter_map(|state| {
            let count = excerpt.summary.count(state);
            (count > 0).then_some((state.as_str(), count))
        });
        let (totals, summary) = (&excerpt.totals, &excerpt.summary);
        Self {
            id: runtime.id.as_str(),
            kind: runtime.adapter.spec().dialect.as_str(),
            rotation: match excerpt.rotation {
                Rotation::Balanced => "balanced",
                Rotation::Expiring => "expiring",
                Rotation::Sequential => "sequential",
            },
            backoff_until: excerpt.backoff_until.map(Timestamp::as_millis),
            credentials: summary.credentials,
            states: states.collect(),
            leases: summary.leases,
            waiters: summary.waiters,
            models: runtime.listed().len(),
            requests: totals.requests,
            failures: totals.failures,
            tokens: totals.input_tokens.saturating_add(totals.output_tokens),
            quotas: excerpt.quotas.iter().map(Limit::of_all).collect(),
            has_accounts: runtime
                .holders
                .values()
                .any(|holder| holder.account().is_some()),
            matching: excerpt.matching,
            page: excerpt
                .members
                .iter()
                .map(|member| Credential::of(runtime, member))
                .collect(),
        }
    }
}

/// A limit and what is used of it, in requests unless `unit` says tokens.
#[derive(Serialize)]
struct Limit {
    class: String,
    window: String,
    unit: &'static str,
    used: u64,
    allowed: u64,
    resets: Option<i64>,
    /// How many credentials it is the sum of.
    credentials: u32,
}

impl Limit {
    fn of_all(quota: &Quota) -> Self {
        Self {
            class: quota.class.clone(),
            window: quota.window.clone(),
            unit: "requests",
            used: quota.used,
            allowed: quota.limit,
            resets: quota.resets.map(Timestamp::as_millis),
            credentials: quota.credentials,
        }
    }

    fn of_one(class: &str, window: &WindowSnapshot) -> impl Iterator<Item = Self> {
        let counts = [
            ("requests", window.requests, window.limit),
            ("tokens", window.tokens, window.token_limit),
        ];
        let new = move |(unit, used, limit): (&'static str, u64, Option<u64>)| {
            Some(Self {
                class: class.to_owned(),
                window: window.name.clone(),
                unit,
                used,
                allowed: limit?,
                resets: window.resets.map(Timestamp::as_millis),
                credentials: 1,
            })
        };
        counts.into_iter().filter_map(new)
    }

    /// What is used, in millionths of the limit.
    fn share(&self) -> u128 {
        u128::from(self.used) * 1_000_000 / u128::from(self.allowed.max(1))
    }
}

/// A credential of a page.
#[derive(Serialize)]
struct Credential<'a> {
    id: String,
    /// `…last4`; `null` for an account.
    masked: Option<String>,
    email: Option<&'a str>,
    tier: Option<String>,
    priority: u32,
    state: &'static str,
    reason: Option<String>,
    /// A page its owner must open.
    link: Option<String>,
    /// The end of the wait, not the next probe.
    until: Option<i64>,
    active: u32,
    requests: u64,
    failures: u64,
    tokens: u64,
    last_used: Option<i64>,
    limits: Vec<Limit>,
    is_account: bool,
}

impl<'a> Credential<'a> {
    fn of(runtime: &'a ProviderRuntime, member: &MemberSnapshot) -> Self {
        let holder = runtime.holders.get(&member.id);
        let mut limits: Vec<Limit> = member
            .classes
            .iter()
            .flat_map(|class| class.windows.iter().map(move |window| (class, window)))
            .flat_map(|(class, window)| Limit::of_one(&class.class, window))
            .collect();
        if limits.len() > MOST_WINDOWS {
            limits.sort_by_key(|limit| std::cmp::Reverse(limit.share()));
            limits.truncate(MOST_WINDOWS);
        }
        limits.sort_by(|a, b| (&a.class, &a.window).cmp(&(&b.class, &b.window)));
        let totals = &member.totals;
        Self {
            id: member.id.to_string(),
            masked: holder.and_then(|holder| holder.last4()),
            email: holder.and_then(|holder| holder.email.as_deref()),
            tier: member.tier.clone(),
            priority: member.priority,
            state: member.state.as_str(),
            reason: member.state_reason.as_deref().map(shortened),
            link: member.link.clone(),
            until: member.cooling_until.map(Timestamp::as_millis),
            active: member.active,
            requests: totals.requests,
            failures: totals.failures,
            tokens: totals.input_tokens.saturating_add(totals.output_tokens),
            last_used: totals.last_used_ms,
            limits,
            is_account: holder.is_some_and(|holder| holder.account().is_some()),
        }
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MOST_TEXT) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

/// Strings and numbers only: there is nothing that JSON could not hold. On one line, as an event's
/// data must be.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(id: &str, trail: &Value) -> JournalRow {
        JournalRow {
            id: id.to_owned(),
            time: Timestamp::from_secs(100),
            failed: false,
            value: trail.to_string(),
        }
    }

    #[test]
    fn a_row_says_in_one_line_what_happened() {
        let trail = json!({
            "request": {"client": "laptop", "dialect": "anthropic", "operation": "chat",
                        "model": "<img src=x>\n", "stream": true, "at": "1970-01-01T00:01:00Z"},
            "targets": [{"provider": "gemini"}, {"provider": "groq"}],
            "attempts": [{"credential": "gemini/1"}, {"credential": "groq/2"}],
            "status": 200, "ending": "served", "ms": 1200, "first_token_ms": 300,
            "usage": {"prompt_tokens": 11, "completion_tokens": 7, "estimated": true},
            "cost_usd": 0.5, "error": null,
        });
        let row = Row::of(&entry("a", &trail), 1);
        assert!(!row.json.contains('\n'), "{}", row.json);
        let told: Value = serde_json::from_str(&row.json).expect("JSON");
        for (name, value) in [
            ("at", json!(60_000)),
            ("attempts", json!(2)),
            ("client", json!("laptop")),
            ("credential", json!("groq/2")),
            ("estimated", json!(true)),
            ("input", json!(11)),
            ("model", json!("<img src=x>\n")),
            ("provider", json!("groq")),
        ] {
            assert_eq!(told[name], value, "{name}");
        }
    }

    #[test]
    fn an_entry_of_another_version_is_no_panic() {
        for trail in [
            json!([]),
            json!({"attempts": 1, "targets": [3]}),
            json!(null),
        ] {
            let row = Row::of(&entry("a", &trail), 1);
            assert!(row.json.contains("\"at\":100000"), "{}", row.json);
        }
    }

    #[test]
    fn serials_grow_and_known_rows_stay_as_they_are() {
        let mut recent = Recent::default();
        let entries = |ids: &[&str]| ids.iter().map(|id| entry(id, &json!({}))).collect();
        let serials =
            |recent: &Recent| -> Vec<u64> { recent.rows.iter().map(|row| row.serial).collect() };
        recent.update(entries(&["b", "a"]));
        assert_eq!(serials(&recent), [2, 1]);
        recent.update(entries(&["d", "c", "b"]));
        assert_eq!(serials(&recent), [4, 3, 2]);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let long = "ü".repeat(MOST_TEXT + 1);
        assert_eq!(shortened(&long).chars().count(), MOST_TEXT + 1);
        assert!(shortened(&long).ends_with('…'));
        assert_eq!(shortened("short"), "short");
    }
}
