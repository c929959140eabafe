//! `llmproxy creds add` for accounts: the log-in in the browser or at another device.

mod client;
mod keep;
mod opener;
mod setup;

use std::io::BufRead;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::cli::Context;
use crate::cli::boot::Boot;
use crate::cli::creds::add::AddArgs;
use crate::cli::creds::login::opener::Opener;
use crate::cli::creds::{self, Named, way};
use crate::cli::exit::Failure;
use crate::cli::output::Printer;
use crate::credentials::oauth::device::DeviceLogin;
use crate::credentials::oauth::exchange::{Attempt, Tokens};
use crate::credentials::oauth::loopback::{Callback, Loopback, pasted};
use crate::credentials::oauth::{Client, Http, OAuthError, userinfo};
use crate::providers::oauth::{Flow, OAuthSpec};
use crate::providers::verdict;

pub(super) use client::http;

/// Logs in and stores the account.
pub(super) fn run(
    boot: &Boot,
    named: &Named,
    spec: &OAuthSpec,
    args: &AddArgs,
    context: &Context,
) -> Result<(), Failure> {
    let printer = &context.printer;
    let mut client = client::find(boot, named, spec, printer)?;
    client.port = args.port.unwrap_or(client.port);
    let http = http(boot, named, args.proxy.as_deref())?;
    let log_in = async {
        let tokens = log_in(&client, &http, args, printer).await;
        let tokens = tokens.map_err(|error| failed(named, &error))?;
        let name = match userinfo::name(&client, &tokens, &http).await {
            Ok(name) => name,
            Err(error) => {
                printer.warn(&error.to_string());
                None
            }
        };
        let mut draft = keep::draft(named, &client, args, tokens, name)?;
        if way::closed(boot, named, true).is_some() {
            draft.defy_closing();
        }
        if args.no_verify {
            return Ok((draft, None));
        }
        let waiting = printer.waiting("setting the account up");
        let set_up = setup::take(boot, named, draft).await;
        drop(waiting);
        set_up
    };
    let (draft, held) = context.block_on(log_in)?;
    let kept = keep::keep(boot, named, args, draft)?;
    let id = &kept.credential.id;
    creds::forgive(context, id)?;
    printer.line(&match kept.change {
        keep::Change::Added => format!("added {id}"),
        keep::Change::Replaced => format!("replaced the account of {id}"),
        keep::Change::Updated => format!("updated {id}: the same account again"),
    })?;
    match held {
        Some(failure) => hold(context, &kept, &failure),
        None => Ok(()),
    }
}

/// Says what keeps a stored account from serving, and notes it where it lasts.
fn hold(context: &Context, kept: &keep::Kept, failure: &verdict::Failure) -> Result<(), Failure> {
    let id = &kept.credential.id;
    let link = failure.link.as_ref();
    let link = link.map_or_else(String::new, |link| format!("\n  {link}"));
    let message = failure.message.trim_end_matches('.');
    if failure.verdict != verdict::Verdict::ActionNeeded {
        context.printer.warn(&format!(
            "{id} is stored, but could not be set up yet: {message}{link}"
        ));
        return Ok(());
    }
    context.printer.warn(&format!(
        "{id} serves once its owner has done something: {message}{link}\nThen: llmproxy creds enable {id}"
    ));
    creds::condemn(context, id, failure)
}

/// Either flow, to its tokens.
async fn log_in(
    client: &Client,
    http: &Http,
    args: &AddArgs,
    printer: &Printer,
) -> Result<Tokens, OAuthError> {
    let opener = Opener::new(args.open_cmd.as_deref());
    let open = |url: &str| opener.open(url);
    let way = Way {
        patience: Duration::from_secs(args.timeout),
        open: (!args.no_browser).then_some(&open),
        printer,
    };
    match client.spec.flow {
        Flow::Code { .. } => with_code(client, http, &way).await,
        Flow::Device { .. } => with_device(client, http, &way).await,
    }
}

/// How the user is reached.
struct Way<'a> {
    patience: Duration,
    /// `None`: the user opens the page and may paste what comes back.
    open: Option<&'a dyn Fn(&str) -> bool>,
    printer: &'a Printer,
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
    let waiting = way.printer.waiting("waiting for the log-in");
    let callback = timeout(way.patience, async {
        tokio::select! {
            callback = loopback.wait() => callback,
            Some(callback) = next(&mut lines) => Ok(callback),
        }
    })
    .await;
    drop(waiting);
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
async fn with_device(client: &Client, http: &Http, way: &Way<'_>) -> Result<Tokens, OAuthError> {
    let login = DeviceLogin::begin(client, http).await?;
    let is_open = way.open.is_some_and(|open| open(login.url()));
    way.printer.note(if is_open {
        "The log-in page is open in the browser. If it is not, open it on any device:"
    } else {
        "Open this page on any device:"
    });
    way.printer.note(&format!("  {}", login.url()));
    way.printer
        .note(&format!("and confirm the code {}", login.user_code()));
    let waiting = way.printer.waiting("waiting for the confirmation");
    let tokens = login.finish(client, http, way.patience).await;
    drop(waiting);
    tokens
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

#[cfg(test)]
mod tests;
