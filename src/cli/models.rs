//! `llmproxy models`.

use clap::Args;
use futures_util::future::join_all;

use crate::cli::Context;
use crate::cli::boot::{Boot, Core};
use crate::cli::exit::Failure;
use crate::cli::output::Style;
use crate::cli::table::{Cell, Table};
use crate::config::load::Flags;
use crate::config::models::Pattern;
use crate::dialects::Dialect;
use crate::dialects::model_list::{ListedEntry, write_list};
use crate::gateway::catalog::{self, entries};
use crate::gateway::snapshot::Snapshot;
use crate::near::did_you_mean;
use crate::time::{Timestamp, humanize};

/// List the models that can be used now
///
/// One `provider/model` a line when piped; names from [models] come first.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  llmproxy models
  llmproxy models flash
  llmproxy models 'gemini/*pro*' --json | jq -r '.data[].id'")]
pub(super) struct ModelsArgs {
    /// Part of a name, or a pattern with *
    #[arg(value_name = "FILTER")]
    filter: Option<String>,

    /// Only this provider's models
    #[arg(long, value_name = "PROVIDER")]
    provider: Option<String>,

    /// Ask the providers anew
    #[arg(long)]
    refresh: bool,

    /// Print what GET /v1/models answers
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(args: &ModelsArgs, context: &Context) -> Result<(), Failure> {
    let boot = Boot::read(context, Flags::default())?;
    context.block_on(list(args, context, boot))
}

async fn list(args: &ModelsArgs, context: &Context, boot: Boot) -> Result<(), Failure> {
    let wants_demo = boot.has_nothing() || args.provider.as_deref() == Some("demo");
    if boot.has_nothing() && args.provider.is_none() {
        context.printer.note(
            "no credential yet: these are the models of the built-in demo (add a provider with `llmproxy creds \
             add PROVIDER`)",
        );
    }
    let core = Core::start(boot, wants_demo).await?;
    let snapshot = core.gateway.snapshot();
    check_provider(args, &snapshot)?;
    refresh(args, context, &snapshot).await;
    let mut entries = entries(&snapshot, &|_, _, _| true);
    let names: Vec<String> = entries.iter().map(|entry| entry.id.clone()).collect();
    entries.retain(|entry| is_wanted(args, entry));
    if entries.is_empty()
        && let Some(filter) = &args.filter
    {
        let hint = did_you_mean(filter, names.iter().map(String::as_str))
            .unwrap_or_else(|| "`llmproxy models` lists all there are".to_owned());
        return Err(Failure::failed(
            format!("no model matches `{filter}`"),
            hint,
        ));
    }
    print(args, context, &entries)?;
    tell_ages(args, context, &snapshot);
    Ok(())
}

fn check_provider(args: &ModelsArgs, snapshot: &Snapshot) -> Result<(), Failure> {
    let Some(provider) = &args.provider else {
        return Ok(());
    };
    if snapshot.providers.contains_key(provider) {
        return Ok(());
    }
    if crate::providers::find(provider).is_some() {
        return Err(Failure::no_credential(
            format!("the provider {provider} has no credential"),
            format!("add one with `llmproxy creds add {provider}`"),
        ));
    }
    let known = crate::providers::all().map(|known| known.spec().id);
    let hint = did_you_mean(
        provider,
        known.chain(snapshot.providers.keys().map(String::as_str)),
    )
    .unwrap_or_else(|| "`llmproxy creds list` shows the providers in use".to_owned());
    Err(Failure::failed(
        format!("there is no provider `{provider}`"),
        hint,
    ))
}

async fn refresh(args: &ModelsArgs, context: &Context, snapshot: &Snapshot) {
    let wanted = |id: &str| {
        args.provider
            .as_deref()
            .is_none_or(|provider| provider == id)
    };
    let runtimes = snapshot
        .providers
        .values()
        .filter(|runtime| wanted(runtime.id.as_str()));
    let refreshes = runtimes
        .map(|runtime| async move { (runtime, catalog::refresh(runtime, args.refresh).await) });
    let waiting = context.printer.waiting("listing models");
    let (refreshed, priced) =
        futures_util::join!(join_all(refreshes), snapshot.facts.refresh(args.refresh));
    drop(waiting);
    for (runtime, result) in refreshed {
        let Err(failure) = result else { continue };
        let shown = match age(runtime.models.listing().fetched_ms) {
            Some(age) => format!("; showing the list of {age}"),
            None => String::new(),
        };
        context.printer.warn(&format!(
            "cannot list the models of {}: {}{shown}",
            runtime.id, failure.message
        ));
    }
    for error in priced.err().into_iter().flatten() {
        context
            .printer
            .warn(&format!("cannot refresh prices: {error}"));
    }
}

/// `3 h ago`; `None` for never.
fn age(fetched_ms: i64) -> Option<String> {
    let age = Timestamp::now().since(Timestamp::from_millis(fetched_ms));
    (fetched_ms > 0).then(|| match age.as_secs() {
        0..60 => "just now".to_owned(),
        _ => format!("{} ago", humanize(age)),
    })
}

/// Says on stderr how old what is shown is.
fn tell_ages(args: &ModelsArgs, context: &Context, snapshot: &Snapshot) {
    let wanted = |id: &str| {
        args.provider
            .as_deref()
            .is_none_or(|provider| provider == id)
    };
    let lists = snapshot
        .providers
        .values()
        .filter(|runtime| wanted(runtime.id.as_str()))
        .filter_map(|runtime| {
            let age = age(runtime.models.listing().fetched_ms)?;
            Some(format!("{} {age}", runtime.id))
        });
    let lists: Vec<String> = lists.collect();
    if !lists.is_empty() {
        context
            .printer
            .note(&format!("lists read: {}", lists.join(", ")));
    }
    if snapshot.facts.is_online() {
        let fetched = snapshot.facts.fetched().map(Timestamp::as_millis);
        let age = fetched.and_then(age).unwrap_or_else(|| "never".to_owned());
        context.printer.note(&format!(
            "prices read from models.dev and OpenRouter: {age}"
        ));
    }
}

fn is_wanted(args: &ModelsArgs, entry: &ListedEntry) -> bool {
    let from_provider = args.provider.as_deref().is_none_or(|provider| {
        entry
            .id
            .strip_prefix(provider)
            .is_some_and(|rest| rest.starts_with('/'))
    });
    let matches = args.filter.as_deref().is_none_or(|filter| {
        if filter.contains(['*', '?']) {
            let bare = entry
                .id
                .split_once('/')
                .map_or(entry.id.as_str(), |(_, model)| model);
            let pattern = Pattern::new(filter);
            pattern.matches(&entry.id) || pattern.matches(bare)
        } else {
            entry.id.to_lowercase().contains(&filter.to_lowercase())
        }
    });
    from_provider && matches
}

fn print(args: &ModelsArgs, context: &Context, entries: &[ListedEntry]) -> Result<(), Failure> {
    let printer = &context.printer;
    if args.json {
        let list = String::from_utf8(write_list(Dialect::OpenAiChat, entries)).unwrap_or_default();
        return printer.line(&list);
    }
    if !printer.is_terminal() {
        return entries.iter().try_for_each(|entry| printer.line(&entry.id));
    }
    let mut table = Table::new()
        .column("MODEL")
        .number("CONTEXT")
        .number("OUTPUT");
    let count = |tokens: Option<u64>| tokens.map_or_else(String::new, |tokens| tokens.to_string());
    for entry in entries {
        table.row([
            Cell::from(entry.id.as_str()),
            Cell::styled(count(entry.input_limit), Style::Dim),
            Cell::styled(count(entry.output_limit), Style::Dim),
        ]);
    }
    printer.table(&table)
}
