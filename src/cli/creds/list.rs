//! `llmproxy creds list`.

use std::collections::HashMap;

use clap::Args;
use serde::Serialize;

use crate::cli::Context;
use crate::cli::boot::Boot;
use crate::cli::creds;
use crate::cli::exit::Failure;
use crate::cli::output::Style;
use crate::cli::table::{Cell, Table};
use crate::credentials::Credential;
use crate::ids::CredentialId;
use crate::pool::{CredentialState, MemberSnapshot, WindowSnapshot};
use crate::state::rows::UsageSums;
use crate::time::{Timestamp, humanize};

/// List all credentials with their state; keys are never shown whole
#[derive(Args)]
#[command(after_help = "Examples:
  llmproxy creds list
  llmproxy creds list --json")]
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
    /// What is left of each quota: `gemini 50%, 3p 25%`.
    #[serde(skip)]
    left: String,
}

/// Runs the command.
pub(super) fn run(args: &ListArgs, context: &Context) -> Result<(), Failure> {
    let boot = creds::boot(context)?;
    let only = args
        .provider
        .as_deref()
        .map(|name| creds::provider(&boot, name).map(|named| named.id))
        .transpose()?;
    let now = Timestamp::now();
    let known = Known::read(&boot, context, now)?;
    let mut entries: Vec<Entry> = boot
        .credentials
        .iter()
        .filter(|one| {
            only.as_ref()
                .is_none_or(|only| one.id.provider() == only.as_str())
        })
        .map(|one| entry(&boot, one, &known))
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
    context.printer.table(&table(&entries, now))
}

/// What the state knows of credentials.
struct Known {
    /// By id.
    members: HashMap<CredentialId, MemberSnapshot>,
    /// By fingerprint, since the beginning.
    usage: HashMap<String, UsageSums>,
}

impl Known {
    fn read(boot: &Boot, context: &Context, now: Timestamp) -> Result<Self, Failure> {
        let gateway = boot.gateway()?;
        let snapshot = gateway.snapshot();
        let pools = snapshot.providers.values();
        let members = pools.flat_map(|runtime| runtime.pool.snapshot(now).members);
        let members = members.map(|member| (member.id.clone(), member)).collect();
        let mut usage: HashMap<String, UsageSums> = HashMap::new();
        if let Some(persistence) = &gateway.persistence {
            let ever = (Timestamp::default(), Timestamp::from_millis(i64::MAX));
            match persistence.state().usage(ever.0, ever.1) {
                Ok(rows) => {
                    for (key, sums) in rows {
                        *usage.entry(key.fingerprint).or_default() += &sums;
                    }
                }
                Err(error) => context.printer.warn(&error.to_string()),
            }
        }
        Ok(Self { members, usage })
    }
}

fn entry(boot: &Boot, credential: &Credential, known: &Known) -> Entry {
    let fingerprint = credential.fingerprint(&boot.fingerprint_key).to_string();
    let used = known.usage.get(&fingerprint).copied().unwrap_or_default();
    let member = known.members.get(&credential.id);
    let account = credential.account();
    let (state, state_reason) = standing(credential, member);
    let until = member.and_then(|member| member.cooling_until);
    let last_used = (used.requests > 0).then_some(used.last_used);
    let last_used = last_used.max(member.and_then(|member| member.last_used));
    Entry {
        id: credential.id.to_string(),
        provider: credential.id.provider().to_owned(),
        kind: credential.kind().as_str(),
        source: credential.source.as_str(),
        label: credential.label.clone(),
        email: credential.email.clone(),
        tier: credential.tier().map(str::to_owned),
        // Of an account its tier decides, unless the user does.
        priority: credential.priority.or_else(|| {
            let placed = member.filter(|_| account.is_some());
            placed.map(|member| member.priority)
        }),
        state: state.as_str(),
        state_reason,
        cooling_until: until.map(Timestamp::to_rfc3339),
        expires_at: account
            .and_then(|account| account.expires)
            .map(Timestamp::to_rfc3339),
        last_used_at: last_used.map(Timestamp::to_rfc3339),
        requests: used.requests,
        tokens: used.prompt_tokens.saturating_add(used.completion_tokens),
        last4: credential.last4().unwrap_or_default(),
        until,
        left: member.map(left).unwrap_or_default(),
    }
}

/// What is left of each quota that has a limit, of several windows the least.
fn left(member: &MemberSnapshot) -> String {
    let share = |window: &WindowSnapshot| {
        let limit = window.limit.filter(|limit| *limit > 0)?;
        let left = u128::from(limit.saturating_sub(window.requests));
        (left * 100).checked_div(u128::from(limit))
    };
    let classes = member.classes.iter().filter_map(|class| {
        let least = class.windows.iter().filter_map(share).min()?;
        Some(format!("{} {least}%", class.class))
    });
    classes.collect::<Vec<_>>().join(", ")
}

/// The pool's word on a credential; without a pool (its provider is switched off) the file's.
fn standing(
    credential: &Credential,
    member: Option<&MemberSnapshot>,
) -> (CredentialState, Option<String>) {
    if credential.disabled {
        return (CredentialState::Disabled, None);
    }
    let account = credential.account();
    if let Some(reason) = account.and_then(|account| account.expired_reason.clone()) {
        return (CredentialState::Expired, Some(reason));
    }
    member.map_or((CredentialState::Ready, None), |member| {
        (member.state, member.state_reason.clone())
    })
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
        .column("LEFT")
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
            entry.left.as_str().into(),
            wait.map(|until| humanize(now.until(until)))
                .unwrap_or_default()
                .into(),
            entry.state_reason.as_deref().unwrap_or_default().into(),
        ]);
    }
    table
}
