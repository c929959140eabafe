//! `llmproxy simulate`.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;

use crate::cli::Context;
use crate::cli::boot::Boot;
use crate::cli::exit::Failure;
use crate::cli::table::{Cell, Table};
use crate::config::load::Flags;
use crate::gateway::build;
use crate::ids::ProviderId;
use crate::pool::simulate::{self, Report, Workload};
use crate::pool::{Member, Settings};
use crate::time::{Timestamp, humanize, parse_duration};

/// Play a workload against your own pools in virtual time
///
/// Shows when each credential would run dry by the windows and caps of the config, how long callers
/// would wait and what share would be refused. The run begins at the last midnight, UTC, with
/// nothing used yet. Calls nobody, changes nothing.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  llmproxy simulate
  llmproxy simulate --for 24h --rpm 20
  llmproxy simulate --seed 7 --json | jq '.[].refused_share'")]
pub(super) struct SimulateArgs {
    /// Virtual time to play
    #[arg(long = "for", value_name = "TIME", default_value = "7d", value_parser = parse_duration)]
    span: Duration,

    /// Requests a minute, coming at random
    #[arg(long, value_name = "N", default_value_t = 10.0)]
    rpm: f64,

    /// The same seed gives the same run
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,

    /// Print a JSON array, an object a provider
    #[arg(long)]
    json: bool,
}

/// Virtual requests of one run: beyond, minutes of real time.
const MAX_REQUESTS: f64 = 2_000_000.0;

/// Runs the command.
pub(super) fn run(args: &SimulateArgs, context: &Context) -> Result<(), Failure> {
    let requests = args.rpm * args.span.as_secs_f64() / 60.0;
    if !(args.rpm.is_finite() && args.rpm > 0.0 && requests <= MAX_REQUESTS) {
        return Err(Failure::usage(
            format!(
                "{} requests a minute for {} cannot be played",
                args.rpm,
                humanize(args.span)
            ),
            "choose --rpm above 0, and with --for at most two million requests in all",
        ));
    }
    let boot = Boot::read(context, Flags::default())?;
    let pools = build::pools(
        &boot.loaded.config,
        &boot.credentials,
        &boot.fingerprint_key,
    );
    if pools.is_empty() {
        return Err(Failure::no_credential(
            "there is no credential to play with",
            "add one with `llmproxy creds add PROVIDER`",
        ));
    }
    let deadline = boot.loaded.config.routing.deadline;
    let waiting = context.printer.waiting("playing");
    let reports: Vec<Report> = pools
        .into_iter()
        .map(|(provider, settings, members)| play(args, deadline, provider, settings, members))
        .collect();
    drop(waiting);
    if args.json {
        return context.printer.json(&reports);
    }
    reports
        .iter()
        .try_for_each(|report| print(args, context, report))
}

fn play(
    args: &SimulateArgs,
    deadline: Duration,
    provider: ProviderId,
    settings: Settings,
    members: Vec<Member>,
) -> Report {
    let workload = Workload {
        duration: args.span,
        requests_per_minute: args.rpm,
        seed: args.seed,
        models: models(&settings),
        deadline,
        ..Workload::new("any", today(Timestamp::now()))
    };
    simulate::run(&workload, provider, settings, members)
}

/// The last midnight, UTC: the same seed gives the same run all day, and windows begin whole.
fn today(now: Timestamp) -> Timestamp {
    let day = i64::try_from(Duration::from_hours(24).as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(now.as_millis() - now.as_millis().rem_euclid(day))
}

/// The models that limits speak of, one for each; any model where there are no limits.
fn models(settings: &Settings) -> Vec<String> {
    let windows = settings.windows.iter().flat_map(|window| &window.models);
    let caps = settings.caps.iter().flat_map(|cap| &cap.models);
    let named = windows.chain(caps).map(|name| {
        // A quota group is played by one of its models.
        let group = settings
            .quota_groups
            .iter()
            .find(|group| group.name == *name);
        group
            .and_then(|group| group.models.first())
            .unwrap_or(name)
            .replace('*', "x")
    });
    let named: BTreeSet<String> = named.collect();
    if named.is_empty() {
        vec!["any".to_owned()]
    } else {
        named.into_iter().collect()
    }
}

/// Why requests were refused, most frequent first.
fn reasons(report: &Report) -> String {
    let mut reasons: Vec<_> = report.refusals.iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let words: Vec<_> = reasons
        .into_iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    if words.is_empty() {
        return String::new();
    }
    format!(": {}", words.join(", "))
}

fn print(args: &SimulateArgs, context: &Context, report: &Report) -> Result<(), Failure> {
    let millis = |millis: u64| humanize(Duration::from_millis(millis));
    let models = report.models.join(", ");
    let summary = format!(
        "{}: {} requests in {} for {models}: {} served, {} refused ({:.1} %){}",
        report.provider,
        report.requests,
        humanize(args.span),
        report.served,
        report.refused,
        report.refused_share * 100.0,
        reasons(report),
    );
    context.printer.line(&summary)?;
    let waits = format!(
        "Callers waited {} (median), {} (99 of 100), {} at most",
        millis(report.waits.p50_ms),
        millis(report.waits.p99_ms),
        millis(report.waits.max_ms),
    );
    context.printer.line(&waits)?;
    let mut table = Table::new()
        .column("ID")
        .number("REQUESTS")
        .number("TOKENS")
        .number("DRY")
        .column("DRY IN ALL")
        .column("FIRST DRY");
    for credential in &report.credentials {
        let first = credential
            .spells
            .first()
            .map_or_else(String::new, |spell| spell.from.clone());
        table.row([
            Cell::from(credential.id.as_str()),
            Cell::from(credential.requests.to_string()),
            Cell::from(credential.tokens.to_string()),
            Cell::from(credential.dry_spells.to_string()),
            Cell::from(millis(credential.dry_ms)),
            Cell::from(first),
        ]);
    }
    context.printer.table(&table)
}
