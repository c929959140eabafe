//! Adding what there is to serve with: keys, log-ins, and what other tools have.

use crate::cli::exit::Failure;
use crate::cli::setup::change::change;
use crate::cli::setup::{ask, read, tried};
use crate::cli::{Context, perform};
use crate::ids::ProviderId;
use crate::providers::{self, Provider};

/// The dialects a server of the user's own may speak, as `kind` spells them.
const KINDS: [(&str, &str); 4] = [
    ("openai", "OpenAI Chat Completions (most servers)"),
    ("openai_responses", "OpenAI Responses"),
    ("anthropic", "Anthropic Messages"),
    ("gemini", "Gemini"),
];

/// The first credential: a key, an account, or what another tool has.
pub(super) fn first(context: &Context) -> Result<(), Failure> {
    let ways = [
        "An API key",
        "An account (log in with the browser)",
        "Import what other tools left on this machine",
        "Later: to the menu",
    ];
    match ask::choose("What do you have?", &ways.map(str::to_owned))? {
        Some(0) => add(context),
        Some(1) => log_in(context),
        Some(2) => import(context),
        _ => Ok(()),
    }
}

/// Adds keys of one provider until there are no more.
pub(super) fn add(context: &Context) -> Result<(), Failure> {
    let Some(provider) = key_provider(context)? else {
        return Ok(());
    };
    loop {
        tried(context, perform(&["creds", "add", &provider], context))?;
        let again = ask::confirm(&format!("Another key for {provider}?"), false)?;
        if again != Some(true) {
            return Ok(());
        }
    }
}

/// A provider that takes keys: built in, of the config, or a new one.
fn key_provider(context: &Context) -> Result<Option<String>, Failure> {
    let boot = read(context)?;
    let mut rows: Vec<(String, String)> = providers::all()
        .map(Provider::spec)
        .filter(|spec| !spec.is_oauth || !spec.key_env.is_empty())
        .filter(|spec| spec.closed_to(false).is_none())
        .map(|spec| (spec.id.to_owned(), format!("{} ({})", spec.id, spec.title)))
        .collect();
    let own = boot.loaded.config.providers.iter();
    let own = own.filter(|(id, settings)| settings.kind.is_some() && id.as_str() != "demo");
    rows.extend(own.map(|(id, _)| (id.to_string(), format!("{id} (of your config)"))));
    rows.sort();
    rows.insert(
        0,
        (
            String::new(),
            "another server: I know its address".to_owned(),
        ),
    );
    let titles: Vec<String> = rows.iter().map(|(_, title)| title.clone()).collect();
    let Some(chosen) = ask::find("Which provider?", &titles)? else {
        return Ok(None);
    };
    match rows.get(chosen) {
        Some((id, _)) if id.is_empty() => new_server(context),
        Some((id, _)) => with_address(context, id),
        None => Ok(None),
    }
}

/// Asks for the address of a provider whose address is the user's own (an Azure resource, say).
fn with_address(context: &Context, id: &str) -> Result<Option<String>, Failure> {
    let boot = read(context)?;
    let known = providers::find(id).map(Provider::spec);
    let mut settings = boot.loaded.config.providers.iter();
    let has_own = settings.any(|(own, one)| own.as_str() == id && !one.base_url.is_empty());
    let Some(hint) = known.and_then(|spec| spec.base_hint).filter(|_| !has_own) else {
        return Ok(Some(id.to_owned()));
    };
    let Some(url) = ask::text(&format!("Its address, like {hint}"), "")? else {
        return Ok(None);
    };
    change(context, |file| {
        file.set(&["providers", id, "base_url"], url)
    })?;
    Ok(Some(id.to_owned()))
}

/// Writes `[providers.NAME]` for a server that is not built in.
fn new_server(context: &Context) -> Result<Option<String>, Failure> {
    let Some(name) = ask::text("A short name for it, like my_vllm", "")? else {
        return Ok(None);
    };
    let id = ProviderId::parse(&name)
        .map_err(|error| Failure::failed(error.to_string(), "use small letters, digits and _"))?;
    let Some(url) = ask::text(
        "Its address, with /v1 where it has one",
        "http://127.0.0.1:8001/v1",
    )?
    else {
        return Ok(None);
    };
    let kinds = KINDS.map(|(_, title)| title.to_owned());
    let Some(kind) = ask::choose("Which API does it speak?", &kinds)? else {
        return Ok(None);
    };
    let kind = KINDS.get(kind).map_or("openai", |(kind, _)| *kind);
    change(context, |file| {
        file.set(&["providers", id.as_str(), "kind"], kind)?;
        file.set(&["providers", id.as_str(), "base_url"], url)
    })?;
    Ok(Some(id.to_string()))
}

/// Logs in to an account of a provider that has them.
pub(super) fn log_in(context: &Context) -> Result<(), Failure> {
    let accounts: Vec<_> = providers::all()
        .map(Provider::spec)
        .filter(|spec| spec.oauth.is_some())
        .collect();
    if accounts.is_empty() {
        context
            .printer
            .note("No provider here is used through accounts.");
        return Ok(());
    }
    let titles: Vec<String> = accounts
        .iter()
        .map(|spec| match &spec.closed {
            Some(closed) => format!(
                "{} ({}; closed since {})",
                spec.id, spec.title, closed.since
            ),
            None => format!("{} ({})", spec.id, spec.title),
        })
        .collect();
    match ask::choose("Whose account?", &titles)?.and_then(|chosen| accounts.get(chosen)) {
        Some(spec) => perform(&["creds", "add", spec.id], context),
        None => Ok(()),
    }
}

/// Shows what could be imported, and imports it if that is wanted.
pub(super) fn import(context: &Context) -> Result<(), Failure> {
    let Some(place) = ask::line("File or directory (empty: the usual places)", "")? else {
        return Ok(());
    };
    let mut words = vec!["creds", "import"];
    if !place.is_empty() {
        words.push(&place);
    }
    let trial = [words.as_slice(), &["--dry-run"]].concat();
    perform(&trial, context)?;
    if ask::confirm("Import them?", true)? == Some(true) {
        return perform(&words, context);
    }
    Ok(())
}
