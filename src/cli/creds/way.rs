//! What is added to a provider that has both accounts and keys, and what of it has closed.

use std::time::Duration;

use crate::cli::boot::Boot;
use crate::cli::creds::Named;
use crate::cli::creds::add::AddArgs;
use crate::cli::exit::Failure;
use crate::cli::output::Printer;
use crate::cli::prompt;
use crate::config::provider::Provider;
use crate::credentials::{Credential, Material};
use crate::providers::account::AccountView;
use crate::providers::qwen_code::endpoint::{self, Endpoint};
use crate::providers::spec::Closed;
use crate::secret::Secret;

/// How long a key may take to come down a pipe before the log-in begins.
const PIPE_PATIENCE: Duration = Duration::from_millis(300);

/// What is to be added.
pub(super) enum Way {
    Key {
        /// Given already.
        secret: Option<Secret>,
        /// Where it is good, if that was said.
        endpoint: Option<Endpoint>,
    },
    LogIn,
}

impl Way {
    /// A key that is still to be asked for.
    const KEY: Self = Self::Key {
        secret: None,
        endpoint: None,
    };
}

/// Finds out: by the provider, a flag, a key that is piped in, or by asking.
pub(super) fn choose(boot: &Boot, named: &Named, args: &AddArgs) -> Result<Way, Failure> {
    let spec = named.adapter.spec();
    let endpoints = endpoints(named);
    if let Some(id) = &args.endpoint {
        let found = endpoints.iter().find(|endpoint| endpoint.id == id);
        let endpoint = found.ok_or_else(|| no_endpoint(named, id, endpoints))?;
        return Ok(Way::Key {
            secret: None,
            endpoint: Some(*endpoint),
        });
    }
    if spec.oauth.is_none() {
        return Ok(Way::KEY);
    }
    if spec.key_env.is_empty() {
        return Ok(Way::LogIn);
    }
    if prompt::can_ask() {
        return ask(boot, named, endpoints);
    }
    if args.no_browser {
        // What is piped in is the page's answer.
        return Ok(Way::LogIn);
    }
    let secret = prompt::piped_key(PIPE_PATIENCE);
    Ok(match secret {
        Some(_) => Way::Key {
            secret,
            endpoint: None,
        },
        None => Way::LogIn,
    })
}

/// What of the provider's service has ended, unless the user says that somebody serves it still.
pub(super) fn closed<'n>(boot: &Boot, named: &'n Named, is_account: bool) -> Option<&'n Closed> {
    let settings = boot.loaded.config.providers.get(&named.id);
    let closed = named.adapter.spec().closed_to(is_account);
    closed.filter(|_| !settings.is_some_and(Provider::is_elsewhere))
}

/// Says what has ended; goes on only where the user insists: with `--yes`, or when asked.
pub(super) fn confirm_closed(
    named: &Named,
    closed: &Closed,
    yes: bool,
    printer: &Printer,
) -> Result<(), Failure> {
    let sentence = closed.sentence(named.adapter.spec().title);
    if yes || prompt::can_ask() {
        printer.warn(&format!("{sentence} ({})", closed.source));
    }
    if yes || (prompt::can_ask() && prompt::confirm("Try it all the same?", false)?) {
        return Ok(());
    }
    Err(Failure::failed(
        sentence,
        format!(
            "{}; --yes tries it all the same ({})",
            closed.instead, closed.source
        ),
    ))
}

/// Says where a key's requests go, where its provider has several addresses.
pub(super) fn tell_endpoint(
    boot: &Boot,
    named: &Named,
    credential: &Credential,
    printer: &Printer,
) {
    let Material::ApiKey(key) = &credential.material else {
        return;
    };
    let own = boot.loaded.config.providers.get(&named.id);
    if endpoints(named).is_empty() || own.is_some_and(|own| !own.base_url.is_empty()) {
        return;
    }
    let mut facts = named.adapter.key_facts(key.expose());
    facts.extend(credential.extra.clone());
    if let Some(base) = named.adapter.base_for(&AccountView::of_facts(&facts)) {
        printer.note(&format!(
            "{} is used at {base} (--endpoint chooses another)",
            credential.id
        ));
    }
}

fn ask(boot: &Boot, named: &Named, endpoints: &'static [Endpoint]) -> Result<Way, Failure> {
    let mut items = vec![match closed(boot, named, true) {
        Some(closed) => format!("Log in to an account (closed since {})", closed.since),
        None => "Log in to an account".to_owned(),
    }];
    items.extend(
        endpoints
            .iter()
            .map(|one| format!("API key: {}", one.title)),
    );
    if endpoints.is_empty() {
        items.push("API key".to_owned());
    }
    let question = format!("What is to be added to {}?", named.id);
    let Some(at) = prompt::select(&question, &items)?.checked_sub(1) else {
        return Ok(Way::LogIn);
    };
    Ok(Way::Key {
        secret: None,
        endpoint: endpoints.get(at).copied(),
    })
}

/// The products whose keys the provider takes, where there are several.
fn endpoints(named: &Named) -> &'static [Endpoint] {
    match named.adapter.spec().id {
        "qwen_code" => &endpoint::ALL,
        _ => &[],
    }
}

fn no_endpoint(named: &Named, id: &str, endpoints: &[Endpoint]) -> Failure {
    if endpoints.is_empty() {
        return Failure::usage(
            format!("--endpoint: {} has only one", named.id),
            "leave it out; `base_url` in the config sets another address",
        );
    }
    let known: Vec<&str> = endpoints.iter().map(|endpoint| endpoint.id).collect();
    Failure::usage(
        format!("--endpoint: {} has no `{id}`", named.id),
        format!("one of: {}", known.join(", ")),
    )
}
