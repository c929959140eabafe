//! `llmproxy status`.

mod screen;
mod view;
mod watch;

use std::time::Duration;

use bytes::Bytes;
use clap::Args;

use crate::cli::boot::Boot;
use crate::cli::exit::Failure;
use crate::cli::output::Style;
use crate::cli::presence;
use crate::cli::remote::Remote;
use crate::cli::status::view::View;
use crate::cli::table::{Cell, Table};
use crate::cli::{Context, prompt};
use crate::config::load::Flags;
use crate::gateway::Gateway;
use crate::gateway::quota_stats::document::{
    Credential, Document, Instances, Provider, Today, Window,
};
use crate::gateway::quota_stats::of_gateway;
use crate::gateway::under_way::Listing;
use crate::time::{Timestamp, humanize};

/// How often `--watch` prints where there is no screen.
const INTERVAL: Duration = Duration::from_secs(2);

/// Show every pool: credentials, cooldowns, windows and quotas
///
/// Asks the running server, which also knows what is under way: the one at --url, or the one of this
/// home. Where none runs it reads the state that all of them keep. With --watch on a terminal it
/// fills the screen and stays: keys filter, sort, reset a cooldown, refresh quotas, disable.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  llmproxy status
  llmproxy status --watch
  llmproxy status --json | jq '.providers[].credentials[].state'
  llmproxy status --url http://127.0.0.1:8000")]
pub(super) struct StatusArgs {
    /// Print what GET /v1/quota-stats answers
    #[arg(long)]
    json: bool,

    /// Stay and show it live; again and again where there is no screen
    #[arg(long)]
    watch: bool,

    /// Ask a running gateway at this address (key: `LLMPROXY_API_KEY`)
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// Where the document comes from.
enum Place {
    Here(std::sync::Arc<Gateway>),
    There(Remote),
}

/// Runs the command.
pub(super) fn run(args: &StatusArgs, context: &Context) -> Result<(), Failure> {
    let boot = Boot::read(context, Flags::default())?;
    context.block_on(show(args, context, boot))
}

async fn show(args: &StatusArgs, context: &Context, boot: Boot) -> Result<(), Failure> {
    let has_nothing = boot.has_nothing();
    let (place, source) = find(args, boot).await?;
    if args.watch && !args.json && context.printer.is_terminal() && prompt::can_ask() {
        let view = View {
            source,
            is_ours: args.url.is_none(),
            ..View::default()
        };
        return watch::watch(context, &place, view).await;
    }
    if has_nothing && matches!(place, Place::Here(_)) && !args.json {
        context
            .printer
            .note("there is no credential; `llmproxy creds add PROVIDER` adds one");
    }
    loop {
        let document = place.document().await?;
        if args.json {
            context.printer.json(&document)?;
        } else {
            print(context, &document)?;
        }
        if !args.watch {
            return Ok(());
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Where to look, and how to call it: the address, or nothing for the state file.
async fn find(args: &StatusArgs, boot: Boot) -> Result<(Place, String), Failure> {
    if let Some(url) = &args.url {
        return Ok((Place::There(presence::at(url, &boot)?), url.clone()));
    }
    if let Some((url, remote)) = presence::find(&boot).await {
        // One that does not let us in is no reason not to look into the state.
        if remote.get("/v1/quota-stats").await.is_ok() {
            return Ok((Place::There(remote), url));
        }
    }
    let gateway = boot.gateway_in_group()?;
    if let Some(group) = &gateway.group {
        // Where nobody answers, that is told.
        let _ = group.redis().join().await;
    }
    Ok((Place::Here(gateway), String::new()))
}

impl Place {
    async fn document(&self) -> Result<Document, Failure> {
        match self {
            Self::Here(gateway) => {
                let now = Timestamp::now();
                if let Some(persistence) = &gateway.persistence {
                    persistence.follow(&gateway.snapshot(), now);
                }
                let mut document = of_gateway(gateway, now);
                if let Some(group) = &gateway.group {
                    document.group = Some(group.report(gateway).await);
                }
                Ok(document)
            }
            Self::There(remote) => {
                let body = remote.get("/v1/quota-stats").await?;
                serde_json::from_slice(&body).map_err(|error| {
                    Failure::failed(
                        format!("that is no gateway's status: {error}"),
                        "check the address behind --url",
                    )
                })
            }
        }
    }
}

impl Place {
    /// The requests under way; none where no server is asked, or it does not say.
    async fn requests(&self) -> Listing {
        let Self::There(remote) = self else {
            return Listing::default();
        };
        let asked = remote.get("/v1/requests").await;
        let read = |body: Bytes| serde_json::from_slice(&body).ok();
        asked.ok().and_then(read).unwrap_or_default()
    }
}

fn print(context: &Context, document: &Document) -> Result<(), Failure> {
    let printer = &context.printer;
    let now = document.timestamp;
    for (at, provider) in document.providers.values().enumerate() {
        if at > 0 {
            printer.line("")?;
        }
        let name = printer.paint(Style::Bold, &provider.provider);
        printer.line(&format!("{name}  {}", headline(provider, now)))?;
        printer.table(&credentials(provider, now))?;
        let windows = windows(provider, now);
        if !windows.is_empty() {
            printer.line("")?;
            printer.table(&windows)?;
        }
    }
    if let Some(group) = &document.group {
        printer.line("")?;
        for line in group_lines(group) {
            printer.line(&line)?;
        }
    }
    Ok(())
}

/// Who shares the pools, a line each, with what each holds.
fn group_lines(group: &Instances) -> Vec<String> {
    if !group.is_up {
        let trouble = group.trouble.as_deref().unwrap_or("no answer");
        return vec![format!(
            "the shared state is away ({trouble}): this instance serves alone"
        )];
    }
    let mut lines = vec![format!("{} instances share this", group.instances.len())];
    for one in &group.instances {
        let leases: Vec<String> = one
            .leases
            .iter()
            .map(|(holder, count)| format!("{holder} {count}"))
            .collect();
        let held = if leases.is_empty() {
            "holds no lease".to_owned()
        } else {
            format!("holds {}", leases.join(", "))
        };
        let this = if one.is_this { " (this one)" } else { "" };
        let alike = if one.is_named_alike {
            ""
        } else {
            "; has another token_key, so that nothing is shared"
        };
        lines.push(format!(
            "  {}{this}  {}  {held}{alike}",
            one.id, one.version
        ));
    }
    lines.extend(group.today.as_ref().map(today_line));
    lines
}

/// `together since midnight UTC: 120 requests, 3 failed, 4500 tokens, $0.1200`.
fn today_line(today: &Today) -> String {
    let all = &today.all;
    let tokens = all.prompt_tokens.saturating_add(all.completion_tokens);
    let mut parts = vec![format!("{} requests", all.requests)];
    if all.failures > 0 {
        parts.push(format!("{} failed", all.failures));
    }
    parts.push(format!("{tokens} tokens"));
    if all.approx_cost > 0.0 {
        parts.push(format!("${:.4}", all.approx_cost));
    }
    format!("together since midnight UTC: {}", parts.join(", "))
}

/// `sequential, 2 of 3 ready, 120 requests, $0.1200`, and what is out of the ordinary.
fn headline(provider: &Provider, now: f64) -> String {
    let credentials = || provider.credentials.values();
    let ready = credentials().filter(|one| one.state == "ready").count();
    let mut parts = vec![
        provider.rotation_mode.clone(),
        format!("{ready} of {} ready", provider.credential_count),
        format!("{} requests", provider.total_requests),
    ];
    if let Some(cost) = provider.approx_cost {
        parts.push(format!("${cost:.4}"));
    }
    let active: u32 = credentials().map(|one| one.active_requests).sum();
    if active > 0 {
        parts.push(format!("{active} under way"));
    }
    if provider.waiting_requests > 0 {
        parts.push(format!("{} waiting", provider.waiting_requests));
    }
    if let Some(until) = provider.backoff_until {
        parts.push(format!("backs off for {}", left(until, now)));
    }
    parts.join(", ")
}

fn credentials(provider: &Provider, now: f64) -> Table {
    let mut table = Table::new()
        .column("ID")
        .column("STATE")
        .column("KEY")
        .column("TIER")
        .number("REQUESTS")
        .number("FAILED")
        .number("TOKENS")
        .number("ACTIVE")
        .column("FOR")
        .prose("REASON");
    for credential in provider.credentials.values() {
        let style = match credential.state.as_str() {
            "ready" => Style::Good,
            "cooling" | "exhausted" => Style::Warning,
            "disabled" => Style::Dim,
            _ => Style::Bad,
        };
        let until = credential.cooling_until;
        let totals = &credential.totals;
        table.row([
            Cell::from(credential.stable_id.as_str()),
            Cell::styled(&credential.state, style),
            Cell::from(credential.accessor_masked.clone().unwrap_or_default()),
            Cell::from(credential.tier.clone().unwrap_or_default()),
            Cell::from(totals.request_count.to_string()),
            Cell::styled(unless_zero(totals.failure_count), Style::Bad),
            Cell::from(totals.total_tokens.to_string()),
            Cell::from(unless_zero(credential.active_requests.into())),
            Cell::from(until.map_or_else(String::new, |until| left(until, now))),
            Cell::from(credential.state_reason.clone().unwrap_or_default()),
        ]);
    }
    table
}

/// Windows with a limit; counting alone is no news.
fn windows(provider: &Provider, now: f64) -> Table {
    let mut table = Table::new()
        .column("ID")
        .column("MODELS")
        .column("WINDOW")
        .number("USED")
        .number("LIMIT")
        .number("LEFT")
        .column("RESETS IN");
    for credential in provider.credentials.values() {
        for (class, name, window) in limited(credential) {
            let resets = window.reset_at.map_or_else(String::new, |at| left(at, now));
            let (used, limit) = match (window.limit, window.token_limit) {
                (Some(limit), _) => (window.request_count, limit),
                (None, limit) => (window.total_tokens, limit.unwrap_or(0)),
            };
            let room = limit.saturating_sub(used);
            let style = if room == 0 {
                Style::Warning
            } else {
                Style::Good
            };
            table.row([
                Cell::from(credential.stable_id.as_str()),
                Cell::from(class),
                Cell::from(name),
                Cell::from(used.to_string()),
                Cell::from(limit.to_string()),
                Cell::styled(room.to_string(), style),
                Cell::from(resets),
            ]);
        }
    }
    table
}

fn limited(credential: &Credential) -> impl Iterator<Item = (&str, &str, &Window)> {
    let groups = credential
        .group_usage
        .iter()
        .map(|(class, usage)| (class, &usage.windows));
    let models = credential
        .model_usage
        .iter()
        .map(|(class, usage)| (class, &usage.windows));
    groups
        .chain(models)
        .flat_map(|(class, windows)| {
            windows
                .iter()
                .map(move |(name, window)| (class.as_str(), name.as_str(), window))
        })
        .filter(|(_, _, window)| window.limit.is_some() || window.token_limit.is_some())
}

/// How long until a time in seconds since the epoch; empty once it has come.
fn left(until: f64, now: f64) -> String {
    let seconds = (until - now).ceil();
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|left| !left.is_zero())
        .map_or_else(String::new, humanize)
}

fn unless_zero(count: u64) -> String {
    match count {
        0 => String::new(),
        count => count.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn provider() -> Provider {
        serde_json::from_value(json!({
            "provider": "gemini", "rotation_mode": "sequential", "credential_count": 2,
            "total_requests": 12, "approx_cost": 0.25, "waiting_requests": 3,
            "credentials": {
                "gemini/1": {
                    "stable_id": "gemini/1", "state": "exhausted", "accessor_masked": "…abcd",
                    "state_reason": "pro: quota", "cooling_until": 7300.0,
                    "totals": {"request_count": 12, "failure_count": 1, "total_tokens": 900},
                    "group_usage": {"pro": {"windows": {"daily": {
                        "request_count": 10, "limit": 10, "reset_at": 7300.0
                    }}}},
                    "model_usage": {"flash": {"windows": {"daily": {"request_count": 2}}}},
                },
                "gemini/2": {"stable_id": "gemini/2", "state": "ready", "active_requests": 1},
            },
        }))
        .expect("a provider")
    }

    #[test]
    fn a_provider_is_summed_up_in_one_line() {
        assert_eq!(
            headline(&provider(), 100.0),
            "sequential, 1 of 2 ready, 12 requests, $0.2500, 1 under way, 3 waiting"
        );
    }

    #[test]
    fn credentials_show_state_wait_and_reason() {
        let text = credentials(&provider(), 100.0).render(None, false);
        assert_eq!(
            text,
            "ID        STATE      KEY    REQUESTS  FAILED  TOKENS  ACTIVE  FOR  REASON\n\
             gemini/1  exhausted  …abcd        12       1     900          2h   pro: quota\n\
             gemini/2  ready                    0               0       1\n"
        );
    }

    #[test]
    fn only_windows_with_a_limit_are_shown() {
        let text = windows(&provider(), 100.0).render(None, false);
        assert_eq!(
            text,
            "ID        MODELS  WINDOW  USED  LIMIT  LEFT  RESETS IN\n\
             gemini/1  pro     daily     10     10     0  2h\n"
        );
    }
}
