//! `llmproxy test-keys`.

mod deep;

use std::time::{Duration, Instant};

use clap::Args;
use futures_util::StreamExt;
use futures_util::stream;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::cli::Context;
use crate::cli::boot::{Boot, Core};
use crate::cli::exit::{Failure, Kind};
use crate::cli::output::Style;
use crate::cli::table::{Cell, Table};
use crate::cli::test_keys::deep::{Deep, ModelReport};
use crate::config::load::Flags;
use crate::credentials::Credential;
use crate::gateway::probe;
use crate::gateway::snapshot::Snapshot;
use crate::near::did_you_mean;
use crate::providers::verdict::KeyStatus;

/// Check every credential, side by side
///
/// Each is checked with its provider's cheapest call. Exit code 0 if all are ok or only limited
/// just now, 1 if not, 3 if there was nothing to check. --deep asks each for real answers, at most
/// seven small ones a model.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  llmproxy test-keys
  llmproxy test-keys gemini openai/work
  llmproxy test-keys gemini --deep --model 'gemini-2.5-*'
  llmproxy test-keys --json | jq -r '.[] | select(.status != \"ok\") | .id'")]
pub(super) struct TestKeysArgs {
    /// Providers or credential IDs to check (all by default)
    #[arg(value_name = "PROVIDER|ID")]
    only: Vec<String>,

    /// Print a JSON array
    #[arg(long)]
    json: bool,

    /// Checks at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,

    /// Seconds to wait for one check
    #[arg(long, value_name = "S", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,

    /// Also try what its models do: chat, stream, tools, image, JSON schema, thinking
    #[arg(long)]
    deep: bool,

    /// Models to try with --deep, with * wildcards (can be repeated) [default: the cheapest]
    #[arg(long, value_name = "MODEL", requires = "deep")]
    model: Vec<String>,
}

/// What was found out about one credential.
#[derive(Debug, Serialize)]
struct Report {
    id: String,
    provider: String,
    status: KeyStatus,
    latency_ms: u64,
    /// How many models it can list.
    models: Option<usize>,
    detail: Option<String>,
    /// What its models do, with --deep.
    #[serde(skip_serializing_if = "Option::is_none")]
    deep: Option<Vec<ModelReport>>,
}

/// Runs the command.
pub(super) fn run(args: &TestKeysArgs, context: &Context) -> Result<(), Failure> {
    let boot = Boot::read(context, Flags::default())?;
    let chosen = choose(args, &boot.credentials)?;
    context.block_on(check_all(args, context, boot, chosen))
}

/// The credentials meant; a name that is neither a provider nor an ID is exit 1.
fn choose(args: &TestKeysArgs, all: &[Credential]) -> Result<Vec<Credential>, Failure> {
    for name in &args.only {
        let fits = |credential: &Credential| is_meant(name, credential);
        if all.iter().any(fits) {
            continue;
        }
        if crate::providers::find(name).is_some() {
            let hint = format!("add one with `llmproxy creds add {name}`");
            return Err(Failure::no_credential(
                format!("the provider {name} has no credential"),
                hint,
            ));
        }
        let known = all
            .iter()
            .flat_map(|credential| [credential.id.as_str(), credential.id.provider()]);
        let hint = did_you_mean(
            name,
            known.chain(crate::providers::all().map(|known| known.spec().id)),
        )
        .unwrap_or_else(|| "`llmproxy creds list` shows what there is".to_owned());
        return Err(Failure::failed(
            format!("`{name}` is neither a provider nor a credential ID"),
            hint,
        ));
    }
    let meant = |credential: &&Credential| {
        args.only.is_empty() || args.only.iter().any(|name| is_meant(name, credential))
    };
    let chosen: Vec<Credential> = all.iter().filter(meant).cloned().collect();
    if chosen.is_empty() {
        return Err(Failure::no_credential(
            "there is no credential to test",
            "add one with `llmproxy creds add PROVIDER`",
        ));
    }
    Ok(chosen)
}

fn is_meant(name: &str, credential: &Credential) -> bool {
    credential.id.as_str() == name || credential.id.provider() == name
}

async fn check_all(
    args: &TestKeysArgs,
    context: &Context,
    boot: Boot,
    chosen: Vec<Credential>,
) -> Result<(), Failure> {
    let core = Core::start(boot, false).await?;
    let snapshot = core.gateway.snapshot();
    let deep = args.deep.then(|| Deep::new(&core.boot, args));
    let bar = progress(context, chosen.len());
    let timeout = Duration::from_secs(args.timeout);
    let checks = chosen.iter().map(|credential| {
        let (snapshot, bar, deep) = (&snapshot, &bar, &deep);
        async move {
            let mut report = check(snapshot, credential, timeout).await;
            if let Some(deep) = deep
                && report.status == KeyStatus::Ok
            {
                report.deep = Some(deep.try_out(credential).await);
            }
            bar.inc(1);
            report
        }
    });
    let reports: Vec<Report> = stream::iter(checks)
        .buffered(usize::from(args.concurrency))
        .collect()
        .await;
    bar.finish_and_clear();
    print(args, context, &reports)?;
    let fine = |report: &Report| {
        let answers = report.deep.iter().flatten().all(ModelReport::answers);
        matches!(report.status, KeyStatus::Ok | KeyStatus::RateLimited) && answers
    };
    if reports.iter().all(fine) {
        Ok(())
    } else {
        Err(Failure::reported(Kind::Failed))
    }
}

async fn check(snapshot: &Snapshot, credential: &Credential, timeout: Duration) -> Report {
    let started = Instant::now();
    let provider = credential.id.provider().to_owned();
    let runtime = snapshot.providers.get(&provider);
    let (status, models, detail) = match runtime {
        Some(runtime) => match probe::check(runtime, &credential.id, timeout).await {
            Ok(models) => (KeyStatus::Ok, models, None),
            Err(failure) => (failure.verdict.key_status(), None, Some(failure.message)),
        },
        None => (
            KeyStatus::Error,
            None,
            Some("the provider is switched off".to_owned()),
        ),
    };
    Report {
        id: credential.id.to_string(),
        provider,
        status,
        latency_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        models,
        detail: detail.filter(|text| !text.is_empty()),
        deep: None,
    }
}

fn progress(context: &Context, credentials: usize) -> ProgressBar {
    if !context.printer.shows_progress() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(credentials as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} checked") {
        bar.set_style(style);
    }
    bar
}

fn print(args: &TestKeysArgs, context: &Context, reports: &[Report]) -> Result<(), Failure> {
    if args.json {
        return context.printer.json(&reports);
    }
    let mut table = Table::new()
        .column("ID")
        .column("STATUS")
        .number("MS")
        .number("MODELS")
        .prose("DETAIL");
    for report in reports {
        table.row([
            Cell::from(report.id.as_str()),
            Cell::styled(report.status.as_str(), style(report.status)),
            Cell::from(report.latency_ms.to_string()),
            Cell::from(
                report
                    .models
                    .map_or_else(String::new, |count| count.to_string()),
            ),
            Cell::from(report.detail.clone().unwrap_or_default()),
        ]);
    }
    context.printer.table(&table)?;
    deep::print(reports, context)
}

const fn style(status: KeyStatus) -> Style {
    match status {
        KeyStatus::Ok => Style::Good,
        KeyStatus::RateLimited => Style::Warning,
        KeyStatus::Error
        | KeyStatus::Forbidden
        | KeyStatus::Invalid
        | KeyStatus::NoQuota
        | KeyStatus::Unreachable => Style::Bad,
    }
}
