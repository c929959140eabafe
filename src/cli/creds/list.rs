//! `llmproxy creds list`.

use std::collections::HashMap;

use clap::Args;
use serde::Serialize;

use crate::cli::Context;
use crate::cli::boot::Boot;
use crate::cli::creds::{self, open_state};
use crate::cli::exit::Failure;
use crate::cli::output::Style;
use crate::cli::table::{Cell, Table};
use crate::credentials::Credential;
use crate::state::rows::UsageSums;
use crate::time::{Timestamp, humanize};

/// List all credentials with their state; keys are never shown whole
#[derive(Args)]
pub(super) struct ListArgs {
    /// Only this provider's
    provider: Option<String>,

    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

/// One credential as `--json` shows it; the order of the fields is the contract's.
#[derive(Serialize)]
struct Entry {
    id: String,
    provider: String,
    kind: &'static str,
    source: &'static str,
    label: Option<String>,
    email: Option<String>,
    tier: Option<String>,
    priority: Option<u32>,
    state: &'static str,
    state_reason: Option<String>,
    cooling_until: Option<String>,
    expires_at: Option<String>,
    last_used_at: Option<String>,
    requests: u64,
    tokens: u64,
    #[serde(skip)]
    last4: String,
    #[serde(skip)]
    until: Option<Timestamp>,
}

/// Runs the command.
pub(super) fn run(args: &ListArgs, context: &Context) -> Result<(), Failure> {
    let boot = creds::boot(context)?;
    let only = args
        .provider
        .as_deref()
        .map(|name| creds::provider(&boot, name).map(|named| named.id))
        .transpose()?;
    let usage = totals(&boot, context);
    let mut entries: Vec<Entry> = boot
        .credentials
        .iter()
        .filter(|one| {
            only.as_ref()
                .is_none_or(|only| one.id.provider() == only.as_str())
        })
        .map(|one| entry(&boot, one, &usage))
        .collect();
    entries.sort_by(|a, b| order(a).cmp(&order(b)));
    if args.json {
        return context.printer.json(&entries);
    }
    if entries.is_empty() {
        let of = only.map_or_else(String::new, |only| format!(" for {only}"));
        context.printer.note(&format!(
            "there is no credential{of}; `llmproxy creds add PROVIDER` adds one"
        ));
        return Ok(());
    }
    context.printer.table(&table(&entries, Timestamp::now()))
}

fn entry(boot: &Boot, credential: &Credential, usage: &HashMap<String, UsageSums>) -> Entry {
    let fingerprint = credential.fingerprint(&boot.fingerprint_key).to_string();
    let used = usage.get(&fingerprint).copied().unwrap_or_default();
    let account = credential.account();
    let refused = account.and_then(|account| account.expired_reason.clone());
    let (state, state_reason) = match (credential.disabled, refused) {
        (true, _) => ("disabled", None),
        (false, Some(reason)) => ("expired", Some(reason)),
        (false, None) => ("ready", None),
    };
    Entry {
        id: credential.id.to_string(),
        provider: credential.id.provider().to_owned(),
        kind: credential.kind().as_str(),
        source: credential.source.as_str(),
        label: credential.label.clone(),
        email: credential.email.clone(),
        tier: credential.tier.clone(),
        priority: credential.priority,
        state,
        state_reason,
        cooling_until: None,
        expires_at: account
            .and_then(|account| account.expires)
            .map(Timestamp::to_rfc3339),
        last_used_at: (used.requests > 0).then(|| used.last_used.to_rfc3339()),
        requests: used.requests,
        tokens: used.prompt_tokens.saturating_add(used.completion_tokens),
        last4: credential.last4().unwrap_or_default(),
        until: None,
    }
}

/// Usage by fingerprint since the beginning.
fn totals(boot: &Boot, context: &Context) -> HashMap<String, UsageSums> {
    let mut totals: HashMap<String, UsageSums> = HashMap::new();
    let state = open_state(boot, context);
    let rows = state.usage(Timestamp::default(), Timestamp::from_millis(i64::MAX));
    match rows {
        Ok(rows) => {
            for (key, sums) in rows {
                *totals.entry(key.fingerprint).or_default() += &sums;
            }
        }
        Err(error) => context.printer.warn(&error.to_string()),
    }
    totals
}

/// By provider, then numbers in their order, then names.
fn order(entry: &Entry) -> (&str, u64, &str) {
    let name = entry.id.split_once('/').map_or("", |(_, name)| name);
    (&entry.provider, name.parse().unwrap_or(u64::MAX), name)
}

fn table(entries: &[Entry], now: Timestamp) -> Table {
    let mut table = Table::new()
        .column("ID")
        .column("STATE")
        .column("KEY")
        .column("SOURCE")
        .column("TIER")
        .number("PRIORITY")
        .number("REQUESTS")
        .number("TOKENS")
        .column("FOR")
        .prose("REASON");
    for entry in entries {
        let style = match entry.state {
            "ready" => Style::Good,
            "cooling" | "exhausted" => Style::Warning,
            "disabled" => Style::Dim,
            _ => Style::Bad,
        };
        let number = |number: u64| Cell::from(number.to_string());
        let wait = entry.until.filter(|until| *until > now);
        table.row([
            entry.id.as_str().into(),
            Cell::styled(entry.state, style),
            entry.last4.as_str().into(),
            entry.source.into(),
            entry.tier.as_deref().unwrap_or_default().into(),
            entry
                .priority
                .map(|priority| priority.to_string())
                .unwrap_or_default()
                .into(),
            number(entry.requests),
            number(entry.tokens),
            wait.map(|until| humanize(now.until(until)))
                .unwrap_or_default()
                .into(),
            entry.state_reason.as_deref().unwrap_or_default().into(),
        ]);
    }
    table
}
