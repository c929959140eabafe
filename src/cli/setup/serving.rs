//! Who may come in, and where; and the last look at everything.

use crate::cli::client_key::minted;
use crate::cli::exit::Failure;
use crate::cli::setup::change::change;
use crate::cli::setup::{ask, read, tried};
use crate::cli::{Context, perform};
use crate::config::server::is_loopback;

/// Where the server may listen.
const HOSTS: [(&str, &str); 2] = [
    ("127.0.0.1", "this machine only (127.0.0.1)"),
    (
        "0.0.0.0",
        "every address of this machine (0.0.0.0); needs a client key",
    ),
];

/// Makes and removes client keys.
pub(super) fn clients(context: &Context) -> Result<(), Failure> {
    let boot = read(context)?;
    let names: Vec<String> = boot
        .loaded
        .config
        .server
        .all_clients()
        .map(|client| client.name.clone())
        .collect();
    let mut items = vec!["A new key".to_owned()];
    items.extend(names.iter().map(|name| format!("{name} (remove)")));
    match ask::choose("Client keys:", &items)? {
        None => Ok(()),
        Some(0) => new_client(context),
        Some(chosen) => {
            let index = chosen - 1;
            let name = names.get(index).map_or("", String::as_str);
            let question = format!("Remove {name}? Whoever uses that key is shut out");
            if ask::confirm(&question, false)? != Some(true) {
                return Ok(());
            }
            let mut removed = false;
            change(context, |file| {
                removed = file.remove_client(index);
                Ok(())
            })?;
            if removed {
                return Ok(());
            }
            Err(Failure::failed(
                format!("{name} does not stand in the config file"),
                "`llmproxy config show --origin` says where it comes from",
            ))
        }
    }
}

/// Makes a key, shows it once and writes it down.
fn new_client(context: &Context) -> Result<(), Failure> {
    let Some(name) = ask::text("A name for who will use it, like laptop", "")? else {
        return Ok(());
    };
    let key = minted("sk-llmproxy-")?;
    change(context, |file| file.add_client(&name, &key))?;
    context.printer.note(&format!(
        "The key of {name}; it stands in the config file, which only you can read:"
    ));
    context.printer.line(&key)
}

/// Asks for host and port.
pub(super) fn address(context: &Context) -> Result<(), Failure> {
    let boot = read(context)?;
    let server = &boot.loaded.config.server;
    let mut titles: Vec<String> = HOSTS.iter().map(|(_, title)| (*title).to_owned()).collect();
    titles.push("another address".to_owned());
    let now = HOSTS.iter().position(|(host, _)| *host == server.host);
    let chosen = ask::choose_at("Who may reach the server?", &titles, now.unwrap_or(2))?;
    let host = match chosen {
        None => None,
        Some(chosen) => match HOSTS.get(chosen) {
            Some((host, _)) => Some((*host).to_owned()),
            None => ask::text("Address or host name", &server.host)?,
        },
    };
    let Some(host) = host else {
        return Ok(());
    };
    if !is_loopback(&host) && server.all_clients().next().is_none() {
        context
            .printer
            .note("Others would need a key, and there is none yet.");
        if ask::confirm("Make one now?", true)? == Some(true) {
            new_client(context)?;
        }
        if read(context)?
            .loaded
            .config
            .server
            .all_clients()
            .next()
            .is_none()
        {
            context.printer.note("The address stays as it is.");
            return Ok(());
        }
    }
    let Some(port) = ask::text("Port (0: a free one)", &server.port.to_string())? else {
        return Ok(());
    };
    let port: u16 = port
        .parse()
        .map_err(|_| Failure::failed(format!("`{port}` is not a port"), "ports are 0 to 65535"))?;
    let (old_host, old_port) = (server.host.clone(), server.port);
    change(context, |file| {
        if host != old_host {
            file.set(&["server", "host"], host)?;
        }
        if port != old_port {
            file.set(&["server", "port"], i64::from(port))?;
        }
        Ok(())
    })
}

/// The installation, then each credential.
pub(super) fn check(context: &Context) -> Result<(), Failure> {
    tried(context, perform(&["doctor"], context))?;
    if read(context)?.has_nothing() {
        return Ok(());
    }
    tried(context, perform(&["test-keys"], context))
}

/// The lines to go on with.
pub(super) fn how_to_start(context: &Context) -> Result<(), Failure> {
    let boot = read(context)?;
    if boot.has_nothing() {
        context
            .printer
            .note("\nNothing to serve with yet. See it work without a key: llmproxy serve --demo");
        return Ok(());
    }
    let model = boot.loaded.config.chat.model.as_deref();
    let chat = match model {
        Some(_) => "llmproxy chat hello".to_owned(),
        None => "llmproxy models, then llmproxy chat -m MODEL hello".to_owned(),
    };
    context.printer.note(&format!(
        "\nReady. Go on with one of these:
  {chat}
  llmproxy run -- claude         a coding agent (also codex, gemini, opencode, aider)
  llmproxy serve                 the endpoint for everything else"
    ));
    Ok(())
}
