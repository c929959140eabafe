//! `llmproxy creds add` for accounts: the log-in in the browser or at another device.

use std::io::BufRead;
use std::process::{Command, Stdio};
use std::time::Duration;

use indicatif::ProgressBar;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::cli::boot::Boot;
use crate::cli::creds::add::{AddArgs, check_label};
use crate::cli::creds::{self, Named};
use crate::cli::exit::Failure;
use crate::cli::output::Printer;
use crate::cli::{Context, prompt};
use crate::config::env::upper_name;
use crate::credentials::collect::free_name;
use crate::credentials::oauth::device::DeviceLogin;
use crate::credentials::oauth::exchange::{Attempt, Tokens};
use crate::credentials::oauth::loopback::{Callback, Loopback, pasted};
use crate::credentials::oauth::{Client, Http, OAuthError, userinfo};
use crate::credentials::refresh::with_tokens;
use crate::credentials::{Account, Credential, Source};
use crate::gateway::upstream;
use crate::ids::CredentialId;
use crate::providers::oauth::{Flow, OAuthSpec};
use crate::time::Timestamp;

/// Logs in and stores the account.
pub(super) fn run(
    boot: &Boot,
    named: &Named,
    spec: &OAuthSpec,
    args: &AddArgs,
    context: &Context,
) -> Result<(), Failure> {
    let client = client(boot, named, spec, args)?;
    let http = http(boot, named, args.proxy.as_deref())?;
    let opener = Opener::new(args.open_cmd.as_deref());
    let open = |url: &str| opener.open(url);
    let log_in = async {
        let tokens = match client.spec.flow {
            Flow::Code { .. } => {
                let way = Way {
                    patience: Duration::from_secs(args.timeout),
                    open: (!args.no_browser).then_some(&open),
                    printer: &context.printer,
                };
                with_code(&client, &http, &way).await
            }
            Flow::Device { .. } => {
                let patience = Duration::from_secs(args.timeout);
                with_device(&client, &http, patience, &context.printer).await
            }
        };
        let tokens = tokens.map_err(|error| failed(named, &error))?;
        let email = match userinfo::email(&client, &tokens.access_token, &http).await {
            Ok(email) => email,
            Err(error) => {
                context.printer.warn(&error.to_string());
                None
            }
        };
        Ok((tokens, email))
    };
    let (tokens, email) = context.block_on(log_in)?;
    let kept = keep(boot, named, &client, args, (tokens, email))?;
    creds::forgive(context, &kept.credential.id)?;
    let id = &kept.credential.id;
    context.printer.line(&if kept.is_new {
        format!("added {id}")
    } else {
        format!("updated {id}: the same account again")
    })
}

/// How the user is reached.
struct Way<'a> {
    patience: Duration,
    /// `None`: the user opens the page and may paste what comes back.
    open: Option<&'a dyn Fn(&str) -> bool>,
    printer: &'a Printer,
}

/// The provider's client with its secret, which is looked for in the config and environment, in
/// stored accounts, and last asked for.
fn client(boot: &Boot, named: &Named, spec: &OAuthSpec, args: &AddArgs) -> Result<Client, Failure> {
    let settings = boot.loaded.config.providers.get(&named.id);
    let overrides = settings
        .map(|settings| settings.oauth.clone())
        .unwrap_or_default();
    let mut client = Client::new(*spec, &overrides);
    client.port = args.port.unwrap_or(client.port);
    let stored = boot
        .credentials
        .iter()
        .filter(|one| one.id.provider() == named.id.as_str());
    for account in stored.filter_map(Credential::account) {
        let issued_to = account.client_id.as_ref().unwrap_or(&client.client_id);
        if client.lacks_secret() && *issued_to == client.client_id {
            client.client_secret.clone_from(&account.client_secret);
        }
    }
    if client.lacks_secret() && prompt::can_ask() {
        let what = format!("Client secret of {}", named.id);
        client.client_secret = prompt::optional_secret(&what)?;
    }
    if client.lacks_secret() {
        return Err(Failure::usage(
            format!(
                "the OAuth client of {} needs its secret, and none was found",
                named.id
            ),
            format!(
                "set {}_CLIENT_SECRET, or `client_secret` in [providers.{}.oauth]",
                upper_name(named.id.as_str()),
                named.id
            ),
        ));
    }
    Ok(client)
}

/// The HTTP client of a provider's log-in, through the account's proxy (`own`) or its provider's.
pub(super) fn http(boot: &Boot, named: &Named, own: Option<&str>) -> Result<Http, Failure> {
    let config = &boot.loaded.config;
    let settings = config.providers.get(&named.id);
    let proxy = settings.and_then(|settings| settings.proxy.as_ref());
    let proxy = own.or(proxy.map(|proxy| proxy.secret().expose()));
    upstream::client(upstream::Way::of(proxy), config.timeouts.connect)
        .map(|client| Http::with(client.into_inner()))
        .map_err(|error| {
            Failure::failed(
                format!("{}: {error}", named.id),
                format!("edit {}", boot.paths.config_file.display()),
            )
        })
}

/// The authorization-code flow over a loopback port.
async fn with_code(client: &Client, http: &Http, way: &Way<'_>) -> Result<Tokens, OAuthError> {
    let loopback = Loopback::bind(client.port, client.spec.redirect.path)
        .await
        .map_err(|error| {
            let cause = error.source.to_string();
            OAuthError::Unexpected(format!("{error} ({cause}); choose another with --port"))
        })?;
    let attempt = Attempt::new(client, loopback.port())?;
    let is_open = way.open.is_some_and(|open| open(&attempt.url));
    if is_open {
        way.printer
            .note("The log-in page is open in the browser. If it is not, open:");
    } else {
        way.printer.note("Open this page to log in:");
    }
    way.printer.note(&format!("  {}", attempt.url));
    let mut lines = None;
    if way.open.is_none() {
        way.printer.note(
            "If the browser is on another machine, paste the address it ends up at, or the code:",
        );
        lines = Some(pasted_lines());
    }
    let spinner = spinner(way.printer, "waiting for the log-in");
    let callback = timeout(way.patience, async {
        tokio::select! {
            callback = loopback.wait() => callback,
            Some(callback) = next(&mut lines) => Ok(callback),
        }
    })
    .await;
    spinner.finish_and_clear();
    let callback = callback.map_err(|_| OAuthError::Expired)??;
    attempt.finish(client, callback, http).await
}

/// What is pasted, line by line. The thread that reads it ends with the process.
fn pasted_lines() -> mpsc::Receiver<Callback> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if let Some(callback) = pasted(&line)
                && sender.blocking_send(callback).is_err()
            {
                return;
            }
        }
    });
    receiver
}

/// The next paste; `None` (which switches the branch off) when there will be none.
async fn next(lines: &mut Option<mpsc::Receiver<Callback>>) -> Option<Callback> {
    lines.as_mut()?.recv().await
}

/// The device flow.
async fn with_device(
    client: &Client,
    http: &Http,
    patience: Duration,
    printer: &Printer,
) -> Result<Tokens, OAuthError> {
    let login = DeviceLogin::begin(client, http).await?;
    printer.note("Open this page on any device:");
    printer.note(&format!("  {}", login.url()));
    printer.note(&format!("and confirm the code {}", login.user_code()));
    let spinner = spinner(printer, "waiting for the confirmation");
    let tokens = login.finish(client, http, patience).await;
    spinner.finish_and_clear();
    tokens
}

fn spinner(printer: &Printer, message: &'static str) -> ProgressBar {
    if !printer.shows_progress() {
        return ProgressBar::hidden();
    }
    let spinner = ProgressBar::new_spinner();
    spinner.set_message(message);
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

/// An account in the store, and whether it was not there before.
#[derive(Debug)]
struct Kept {
    credential: Credential,
    is_new: bool,
}

/// Writes the account: in the place of the one with the same address, or anew.
fn keep(
    boot: &Boot,
    named: &Named,
    client: &Client,
    args: &AddArgs,
    (tokens, email): (Tokens, Option<String>),
) -> Result<Kept, Failure> {
    let label = args.label.as_deref();
    let label = label.map(|label| check_label(named, label)).transpose()?;
    let change = boot.store.change().map_err(|error| creds::stored(&error))?;
    let stored = boot.store.load().credentials;
    let of_provider = || {
        stored
            .iter()
            .filter(|one| one.id.provider() == named.id.as_str())
    };
    let is_same = |one: &&Credential| match (&one.email, &email) {
        (Some(one), Some(email)) => one.eq_ignore_ascii_case(email),
        _ => Some(&one.id) == label.as_ref(),
    };
    let now = Timestamp::now();
    let known = of_provider().find(is_same).cloned();
    let is_new = known.is_none();
    let by_email = || CredentialId::new(&named.id, email.as_deref()?).ok();
    let mut credential = match known {
        Some(known) => known,
        None => fresh(boot, named, &stored, label.or_else(by_email), now)?,
    };
    let mut account = with_tokens(
        credential.account().cloned().unwrap_or_default(),
        tokens,
        now,
    );
    account.client_id = Some(client.client_id.clone());
    account.client_secret.clone_from(&client.client_secret);
    if let Some(project) = &args.project {
        account
            .extra
            .insert("project_id".to_owned(), project.as_str().into());
    }
    credential.material = crate::credentials::Material::OAuth(Box::new(account));
    credential.disabled = false;
    credential.updated = Some(now);
    credential.email = email.or(credential.email);
    credential.label = args.label.clone().or(credential.label);
    credential.tier = args.tier.clone().or(credential.tier);
    credential.priority = args.priority.or(credential.priority);
    credential.proxy = args.proxy.clone().or(credential.proxy);
    change
        .put(&credential)
        .map_err(|error| creds::stored(&error))?;
    Ok(Kept { credential, is_new })
}

/// An account without tokens, under the given id or the smallest free number.
fn fresh(
    boot: &Boot,
    named: &Named,
    stored: &[Credential],
    id: Option<CredentialId>,
    now: Timestamp,
) -> Result<Credential, Failure> {
    let taken = [&boot.credentials, stored].concat();
    let numbered = || CredentialId::new(&named.id, &free_name(&named.id, &taken));
    let id = id
        .map_or_else(numbered, Ok)
        .map_err(|error| Failure::usage(error.to_string(), "give it a --label"))?;
    Ok(Credential {
        created: Some(now),
        ..Credential::oauth(id, Source::Store, Account::default())
    })
}

fn failed(named: &Named, error: &OAuthError) -> Failure {
    let hint = match error {
        OAuthError::ClientRefused(_) => format!(
            "check client_id and client_secret in [providers.{}.oauth]",
            named.id
        ),
        OAuthError::Expired => "run it again, with more time by --timeout".to_owned(),
        OAuthError::Transient { .. } => "try again in a minute".to_owned(),
        OAuthError::Denied
        | OAuthError::GrantRefused(_)
        | OAuthError::StateMismatch
        | OAuthError::Unexpected(_) => format!("run `llmproxy creds add {}` again", named.id),
    };
    Failure::failed(format!("{}: {error}", named.id), hint)
}

/// What opens a page for the user.
struct Opener {
    words: Vec<String>,
}

impl Opener {
    /// `--open-cmd`, else `BROWSER`, else the platform's opener.
    fn new(command: Option<&str>) -> Self {
        let browser = std::env::var("BROWSER")
            .ok()
            .filter(|browser| !browser.is_empty());
        // BROWSER may hold several, separated by colons; the first is the favourite.
        let browser = browser.as_deref().and_then(|all| all.split(':').next());
        let platform = if cfg!(target_os = "macos") {
            "open"
        } else if cfg!(windows) {
            "rundll32 url.dll,FileProtocolHandler"
        } else {
            "xdg-open"
        };
        let command = command.or(browser).unwrap_or(platform);
        let words = command.split_whitespace().map(str::to_owned).collect();
        Self { words }
    }

    /// Starts the opener without waiting for it; `false` if there is none.
    fn open(&self, url: &str) -> bool {
        let Some((program, arguments)) = self.words.split_first() else {
            return false;
        };
        let mut command = Command::new(program);
        let has_place = arguments.iter().any(|word| word.contains("%s"));
        command.args(arguments.iter().map(|word| word.replace("%s", url)));
        if !has_place {
            command.arg(url);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .is_ok()
    }
}

#[cfg(test)]
mod tests;
