//! `llmproxy creds add`.

use clap::Args;

use crate::cli::boot::Boot;
use crate::cli::creds::way::{self, Way};
use crate::cli::creds::{self, Named, login, verify};
use crate::cli::exit::Failure;
use crate::cli::{Context, prompt};
use crate::config::provider::is_proxy;
use crate::credentials::collect::{free_name, name_of_label};
use crate::credentials::{Credential, Material, Source};
use crate::ids::CredentialId;
use crate::secret::Secret;
use crate::time::Timestamp;

/// Add an API key or log in to an account
///
/// The key is asked for without showing it; without a terminal it is the first line of stdin.
/// There is no flag for it: it would stay in the shell's history.
#[derive(Args)]
#[command(after_help = "Examples:
  llmproxy creds add gemini --label work
  echo \"$KEY\" | llmproxy creds add openai --no-verify")]
pub(super) struct AddArgs {
    /// Provider, as in `llmproxy creds list` or [providers.NAME]
    provider: String,

    /// Name of the credential in ids and reports [default: the next number]
    #[arg(long)]
    pub(super) label: Option<String>,

    /// The account's tier, for caps and multipliers
    #[arg(long)]
    pub(super) tier: Option<String>,

    /// Lower numbers serve first
    #[arg(long, value_name = "N")]
    pub(super) priority: Option<u32>,

    /// Proxy for its calls: http://, https:// or socks5://HOST:PORT, or "direct"
    #[arg(long, value_name = "URL", value_parser = proxy)]
    pub(super) proxy: Option<String>,

    /// Which product of the provider the key is for (Qwen: coding-intl, coding-cn,
    /// dashscope-intl, dashscope-cn, dashscope-us) [default: told from the key]
    #[arg(long, value_name = "NAME")]
    pub(super) endpoint: Option<String>,

    /// Store it without asking the provider whether it works
    #[arg(long)]
    pub(super) no_verify: bool,

    /// Answer questions with yes
    #[arg(long)]
    pub(super) yes: bool,

    /// Loopback port the browser comes back to
    #[arg(long, value_name = "PORT", help_heading = LOG_IN)]
    pub(super) port: Option<u16>,

    /// Seconds to wait for the log-in
    #[arg(long, value_name = "S", default_value_t = 300, help_heading = LOG_IN)]
    pub(super) timeout: u64,

    /// Print the page's address, and take the address or code pasted back
    #[arg(long, help_heading = LOG_IN)]
    pub(super) no_browser: bool,

    /// Google Cloud project of the account
    #[arg(long, value_name = "ID", help_heading = LOG_IN)]
    pub(super) project: Option<String>,

    /// Command that opens the page, run as `CMD URL`
    #[arg(long, value_name = "CMD", help_heading = LOG_IN)]
    pub(super) open_cmd: Option<String>,
}

/// Heading of the options that accounts have and keys have not.
const LOG_IN: &str = "Options of log-ins";

/// Runs the command.
pub(super) fn run(args: &AddArgs, context: &Context) -> Result<(), Failure> {
    let boot = creds::boot(context)?;
    let named = creds::provider(&boot, &args.provider)?;
    let label = args.label.as_deref();
    let id = label.map(|label| check_label(&named, label)).transpose()?;
    let spec = named.adapter.spec();
    let way = way::choose(&boot, &named, args)?;
    let closed = way::closed(&boot, &named, matches!(way, Way::LogIn));
    if let Some(closed) = closed {
        way::confirm_closed(&named, closed, args.yes, &context.printer)?;
    }
    consent(&named, args, context)?;
    let (piped, endpoint) = match (way, spec.oauth) {
        (Way::LogIn, Some(oauth)) => {
            return login::run(&boot, &named, oauth, args, context);
        }
        (Way::LogIn, None) => (None, None),
        (Way::Key { secret, endpoint }, _) => (secret, endpoint),
    };
    let what = format!("API key for {}", named.id);
    let secret = if let Some(piped) = piped {
        piped
    } else if spec.key_optional {
        prompt::optional_secret(&what)?.unwrap_or_else(|| Secret::new("none"))
    } else {
        if prompt::can_ask()
            && let Some(url) = spec.key_url
        {
            context.printer.note(&format!("Keys are made at {url}"));
        }
        prompt::secret(&what)?
    };
    if let Some(id) = &id {
        confirm_replacement(&boot, id, &secret, args.yes)?;
    }
    let facts = endpoint.map_or_else(serde_json::Map::new, |endpoint| endpoint.facts());
    let adopt = |credential: &mut Credential| {
        credential.extra.extend(facts.clone());
        if closed.is_some() {
            credential.defy_closing();
        }
    };
    if !args.no_verify {
        let id = CredentialId::new(&named.id, "candidate");
        let id = id.map_err(|error| Failure::usage(error.to_string(), "give it a --label"))?;
        let mut candidate = Credential {
            proxy: args.proxy.clone(),
            ..Credential::api_key(id, Source::Store, secret.clone())
        };
        adopt(&mut candidate);
        verify::check(&boot, &named, &candidate, context)?;
    }
    let (credential, change) = store(&boot, &named, &secret, adopt, args)?;
    // A key that is added anew is no longer what was held against it.
    creds::forgive(context, &credential.id)?;
    let line = match change {
        Change::Added => format!("added {} ({})", credential.id, secret.last4()),
        Change::Renamed { from } => {
            format!(
                "updated {from}: the same key is now {} ({})",
                credential.id,
                secret.last4()
            )
        }
        Change::Replaced => format!("replaced the key of {} ({})", credential.id, secret.last4()),
        Change::Updated => {
            format!(
                "updated {}: the same key again ({})",
                credential.id,
                secret.last4()
            )
        }
    };
    context.printer.line(&line)?;
    way::tell_endpoint(&boot, &named, &credential, &context.printer);
    tell_twins(&boot, &credential, &secret, context);
    Ok(())
}

/// A proxy's address as an argument. A password would stay in the shell's history.
fn proxy(address: &str) -> Result<String, String> {
    if !is_proxy(address) {
        return Err("write http://HOST:PORT, socks5://HOST:PORT or direct".to_owned());
    }
    if address.contains('@') {
        let instead = "a user name and password belong into the config: api_keys = [{ key = \"…\", \
                       proxy = \"env:NAME\" }]";
        return Err(instead.to_owned());
    }
    Ok(address.to_owned())
}

/// What storing a key changed.
enum Change {
    Added,
    /// The same key under another label.
    Renamed {
        from: CredentialId,
    },
    /// Another key under the same label.
    Replaced,
    /// The same key.
    Updated,
}

pub(super) fn check_label(named: &Named, label: &str) -> Result<CredentialId, Failure> {
    let bad = |error: &dyn std::fmt::Display| {
        Failure::usage(
            format!("--label: {error}"),
            "use letters, digits, `-`, `_`, `.`, `@`",
        )
    };
    if name_of_label(label) != label {
        return Err(bad(&format!(
            "`{label}` holds blanks, slashes or control characters"
        )));
    }
    CredentialId::new(&named.id, label).map_err(|error| bad(&error))
}

/// Says what the provider's owner thinks of such use, and asks.
fn consent(named: &Named, args: &AddArgs, context: &Context) -> Result<(), Failure> {
    let spec = named.adapter.spec();
    if let Some(policy) = &spec.policy {
        context.printer.note(&format!(
            "{}\nSource: {}, read {}",
            policy.notice, policy.source, policy.read
        ));
        if !prompt::confirm("Add it all the same?", args.yes)? {
            return Err(Failure::failed(
                format!("nothing was added to {}", named.id),
                "a key of the provider's paid API has no such restriction",
            ));
        }
    }
    Ok(())
}

/// Asks before another key under the same label is replaced. Before the lock is taken: a person
/// may take a while to answer.
fn confirm_replacement(
    boot: &Boot,
    id: &CredentialId,
    secret: &Secret,
    yes: bool,
) -> Result<(), Failure> {
    let holder = boot.store.get(id).map_err(|error| creds::stored(&error))?;
    let Some(holder) = holder.filter(|holder| !holds(holder, secret)) else {
        return Ok(());
    };
    if prompt::confirm(&format!("{id} holds another key. Replace it?"), yes)? {
        return Ok(());
    }
    Err(Failure::failed(
        format!("{} was left as it is", holder.id),
        "choose another --label",
    ))
}

/// Writes the key under the store's lock, so that two processes never take one number.
fn store(
    boot: &Boot,
    named: &Named,
    secret: &Secret,
    adopt: impl FnOnce(&mut Credential),
    args: &AddArgs,
) -> Result<(Credential, Change), Failure> {
    let label = args.label.as_deref();
    let id = label.map(|label| check_label(named, label)).transpose()?;
    let change = boot.store.change().map_err(|error| creds::stored(&error))?;
    let stored = boot.store.load().credentials;
    let of_provider = || {
        stored
            .iter()
            .filter(|one| one.id.provider() == named.id.as_str())
    };
    let same = of_provider().find(|one| holds(one, secret));
    let holder = of_provider().find(|one| Some(&one.id) == id.as_ref());
    let now = Timestamp::now();
    let mut credential = match same.or(holder) {
        Some(known) => known.clone(),
        None => fresh(boot, named, &stored, secret, now)?,
    };
    let what = match (same, holder) {
        (Some(same), _) if id.as_ref().is_some_and(|id| *id != same.id) => Change::Renamed {
            from: same.id.clone(),
        },
        (Some(_), _) => Change::Updated,
        (None, Some(_)) => Change::Replaced,
        (None, None) => Change::Added,
    };
    credential.id = id.unwrap_or(credential.id);
    credential.material = Material::ApiKey(secret.clone());
    adopt(&mut credential);
    credential.disabled = false;
    credential.updated = Some(now);
    credential.label = args.label.clone().or(credential.label);
    credential.tier = args.tier.clone().or(credential.tier);
    credential.priority = args.priority.or(credential.priority);
    credential.proxy = args.proxy.clone().or(credential.proxy);
    let written = change.put(&credential).and_then(|()| match &what {
        Change::Renamed { from } => change.remove(from).map(drop),
        Change::Added | Change::Replaced | Change::Updated => Ok(()),
    });
    written.map_err(|error| creds::stored(&error))?;
    Ok((credential, what))
}

/// A new credential under the smallest number that nobody has.
fn fresh(
    boot: &Boot,
    named: &Named,
    stored: &[Credential],
    secret: &Secret,
    now: Timestamp,
) -> Result<Credential, Failure> {
    let taken = [&boot.credentials, stored].concat();
    let id = CredentialId::new(&named.id, &free_name(&named.id, &taken))
        .map_err(|error| Failure::usage(error.to_string(), "give it a --label"))?;
    Ok(Credential {
        created: Some(now),
        ..Credential::api_key(id, Source::Store, secret.clone())
    })
}

/// Whether a credential is this key.
fn holds(credential: &Credential, secret: &Secret) -> bool {
    match &credential.material {
        Material::ApiKey(own) => own.matches(secret.expose()),
        Material::OAuth(_) => false,
    }
}

/// Says where else the key is given: switching it off there is another matter.
fn tell_twins(boot: &Boot, credential: &Credential, secret: &Secret, context: &Context) {
    let twin = boot.credentials.iter().find(|one| {
        one.source != Source::Store
            && one.id.provider() == credential.id.provider()
            && holds(one, secret)
    });
    if let Some(twin) = twin {
        let place = match twin.source {
            Source::Config => "in the config file",
            Source::Env | Source::Store => "in the environment",
        };
        context.printer.note(&format!(
            "the same key also stands {place}; it counts once, as {}",
            credential.id
        ));
    }
}
