//! `llmproxy run`: a program with a gateway of its own behind it, for as long as it runs. The
//! gateway shares cooldowns and counts with every other one of this user through the state.

mod home;
mod model;
mod names;
mod outfit;
mod presets;

use std::collections::HashMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use clap::Args;
use clap::builder::PossibleValuesParser;
use futures_util::future::join_all;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::cli::boot::{self, Boot};
use crate::cli::client_key::minted;
use crate::cli::exit::{Failure, Kind};
use crate::cli::refusal::no_model;
use crate::cli::reload::{Reloader, Stamps};
use crate::cli::run::names::Names;
use crate::cli::run::outfit::{Choice, Door, Outfit};
use crate::cli::run::presets::Preset;
use crate::cli::serve::{refresh_models, settings};
use crate::cli::signals::{self, Hangups, Passed};
use crate::cli::{Context, Globals};
use crate::config::alias::Alias;
use crate::config::load::Flags;
use crate::config::secret_ref::SecretRef;
use crate::config::server::{Client, Server};
use crate::gateway::snapshot::Snapshot;
use crate::gateway::{Gateway, catalog, enriched, group, persist, plan, upkeep};
use crate::providers::catalog_data::ModelFacts;
use crate::server::dashboard::Live;
use crate::server::demo::Demo;
use crate::server::guesses::Guesses;
use crate::server::limits::Limiter;
use crate::server::pressure::Pressure;
use crate::server::{self, Shared, Shutdown};

/// How long the last counts may take to reach the disk.
const FLUSH_PATIENCE: Duration = Duration::from_secs(5);

/// How long providers may take to list their models before the program starts without them.
const LIST_PATIENCE: Duration = Duration::from_secs(10);

/// How the client of this run is called in reports.
const CLIENT: &str = "run";

/// Run a program with this gateway behind it
///
/// Starts a gateway on a free loopback port, tells the program through the base URLs and keys of
/// OpenAI, Anthropic and Gemini in its environment, and ends with it and its exit code. The key is
/// valid for this run only. Known agents (--for) are told the rest of what they need, the model
/// among it; one that is run by its own name is recognised.
#[derive(Args, Clone, Debug)]
#[command(
    override_usage = "llmproxy run [OPTIONS] -- CMD [ARGS]...",
    after_help = "Examples:
  llmproxy run --for claude -- claude -p hi
  llmproxy run --model gemini/gemini-2.5-pro -- codex
  llmproxy run -- python my_agent.py
  llmproxy run --model demo/echo -- printenv OPENAI_BASE_URL"
)]
pub(super) struct RunArgs {
    /// Agent to set up for
    #[arg(long = "for", value_name = "CLIENT", value_parser = client_names())]
    client: Option<String>,

    /// Model to use: provider/model, or a name from [models] (default: [chat] model, or the best
    /// there is)
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,

    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

fn client_names() -> PossibleValuesParser {
    PossibleValuesParser::new(presets::ALL.iter().map(|preset| preset.name))
}

/// Runs the command.
pub(super) fn run(args: &RunArgs, context: &Context) -> Result<(), Failure> {
    let boot = Boot::read(context, Flags::default())?;
    let status = context.block_on_to_end(accompany(args, context, boot))?;
    match code(status) {
        0 => Ok(()),
        code => Err(Failure::reported(Kind::Child(code))),
    }
}

/// The exit code as shells tell it: 128 and the signal's number where one ended the child.
fn code(status: ExitStatus) -> u8 {
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    let signal: Option<i32> = None;
    let code = status.code().or_else(|| signal.map(|number| 128 + number));
    code.and_then(|code| u8::try_from(code & 0xff).ok())
        .unwrap_or(1)
}

async fn accompany(args: &RunArgs, context: &Context, boot: Boot) -> Result<ExitStatus, Failure> {
    let preset = match &args.client {
        Some(name) => presets::named(name),
        None => outfit::recognised(&args.command),
    };
    let mut lodging = Lodging::open(args, context, boot).await?;
    let choice = lodging.choose(args, preset, context).await?;
    let variable = |name: &str| env::var(name).ok();
    let door = Door {
        url: &lodging.url,
        key: &lodging.extras.key,
    };
    let told = Choice {
        model: choice.model.as_deref(),
        is_named: args.model.is_some(),
        listed: &choice.listed,
        facts: &choice.facts,
    };
    let outfit = Outfit::new(preset, door, told, &variable).map_err(|error| {
        Failure::failed(
            format!("cannot write a temporary file: {error}"),
            "check TMPDIR and the space on the disk",
        )
    })?;
    let (words, placed) = outfit.dress(&args.command, preset.map_or(&[], |one| one.programs));
    if let Some(preset) = preset.filter(|_| !placed) {
        let name = preset.name;
        context.printer.warn(&format!(
            "{name} is told of the gateway by arguments, but the command does not name it: start \
             it directly, as in `llmproxy run -- {name}`"
        ));
    }
    let ended = attend(&words, &outfit).await;
    lodging.close();
    ended
}

/// Starts the child and passes signals on until it ends.
async fn attend(words: &[OsString], outfit: &Outfit) -> Result<ExitStatus, Failure> {
    let Some((program, arguments)) = words.split_first() else {
        return Err(Failure::usage("no program is named", "write it behind --"));
    };
    // Before the child: a signal must not end us and leave it alone.
    let mut passed = Passed::listen().map_err(|error| signals::deaf(&error))?;
    let mut command = Command::new(program);
    command.args(arguments).envs(&outfit.set);
    for name in &outfit.removed {
        command.env_remove(name);
    }
    let mut child = command
        .spawn()
        .map_err(|error| unstartable(program, &error))?;
    let on_terminal = io::stdin().is_terminal() || io::stderr().is_terminal();
    loop {
        let id = child.id();
        tokio::select! {
            ended = child.wait() => return ended.map_err(|error| {
                Failure::failed(
                    format!("cannot wait for {}: {error}", program.to_string_lossy()),
                    "see whether it still runs (ps)",
                )
            }),
            () = passed.pass(id, on_terminal) => {}
        }
    }
}

fn unstartable(program: &OsStr, error: &io::Error) -> Failure {
    let name = program.to_string_lossy();
    let hint = match error.kind() {
        io::ErrorKind::NotFound => "check its name; it must be installed and in PATH",
        io::ErrorKind::PermissionDenied => "make it executable (chmod +x)",
        _ => "try to run it without llmproxy",
    };
    Failure::failed(format!("cannot start `{name}`: {error}"), hint)
}

/// What this run adds to the configuration, again after each reload.
#[derive(Clone)]
struct Extras {
    key: String,
    aliases: Vec<(String, Alias)>,
    demo: Option<Arc<Demo>>,
}

impl Extras {
    fn add_to(&self, boot: &mut Boot) {
        if let Some(demo) = &self.demo {
            boot.add_demo(demo);
        }
        let config = &mut boot.loaded.config;
        for (name, alias) in &self.aliases {
            let place = config.models.entry(name.clone());
            place.or_insert_with(|| alias.clone());
        }
        // On loopback for one client: who may reach the real server does not matter here.
        config.server = Server {
            port: 0,
            api_keys: vec![Client::unlimited(CLIENT, SecretRef::literal(&self.key))],
            max_body: config.server.max_body,
            keepalive: config.server.keepalive,
            // The program's key is no key to the credentials.
            dashboard: false,
            fetch_remote_media: config.server.fetch_remote_media,
            ..Server::default()
        };
    }
}

/// The gateway of this run.
struct Lodging {
    url: String,
    extras: Extras,
    globals: Globals,
    gateway: Arc<Gateway>,
    shared: Arc<Shared>,
    stamps: Stamps,
    default_model: Option<String>,
    shutdown: Shutdown,
}

/// What the child is told to use.
struct Chosen {
    model: Option<String>,
    listed: Vec<String>,
    facts: HashMap<String, ModelFacts>,
}

impl Lodging {
    async fn open(args: &RunArgs, context: &Context, mut boot: Boot) -> Result<Self, Failure> {
        let names_demo = args
            .model
            .as_deref()
            .is_some_and(|name| name.starts_with("demo/"));
        let has_nothing = boot.has_nothing();
        let demo = if names_demo || has_nothing {
            Some(boot::start_demo(&boot.loaded.config).await?)
        } else {
            None
        };
        if has_nothing && args.model.is_none() {
            context.printer.warn(
                "no credential yet: only the simulated models demo/… answer; `llmproxy setup` or \
                 `llmproxy creds add PROVIDER` adds real ones",
            );
        }
        let extras = Extras {
            key: minted(boot::RUN_KEY_PREFIX)?,
            aliases: Vec::new(),
            demo,
        };
        extras.add_to(&mut boot);
        let gateway = boot.gateway_to_serve()?;
        let listener = bind().await?;
        let address = listener.local_addr().map_err(|error| unbound(&error))?;
        let shared = Arc::new(Shared {
            gateway: Arc::clone(&gateway),
            settings: ArcSwap::from_pointee(settings(&boot)?),
            limiter: Arc::new(Limiter::default()),
            guesses: Guesses::default(),
            pressure: Pressure::default(),
            live: Arc::new(Live::default()),
        });
        let shutdown = Shutdown::default();
        let most = boot.loaded.config.server.max_connections;
        tokio::spawn(server::run(
            listener,
            Arc::clone(&shared),
            most,
            Duration::ZERO,
            shutdown.clone(),
        ));
        tokio::spawn(persist::run(Arc::clone(&gateway)));
        tokio::spawn(upkeep::run(Arc::clone(&gateway)));
        tokio::spawn(group::run(Arc::clone(&gateway)));
        Ok(Self {
            url: format!("http://{address}"),
            extras,
            globals: context.globals.clone(),
            gateway,
            shared,
            stamps: Stamps::of(&boot),
            default_model: boot.loaded.config.chat.model.clone(),
            shutdown,
        })
    }

    /// Decides on the model, gives the names that the agent asks for by itself a meaning, and puts
    /// the background work in motion.
    async fn choose(
        &mut self,
        args: &RunArgs,
        preset: Option<&Preset>,
        context: &Context,
    ) -> Result<Chosen, Failure> {
        let snapshot = self.gateway.snapshot();
        let named = args.model.as_deref();
        let is_known = named.is_some_and(|name| resolves(&snapshot, name));
        if preset.is_some() || (named.is_some() && !is_known) {
            list_models(&snapshot, context).await;
        }
        if let Some(name) = named
            && let Err(error) = plan::targets(&snapshot, name, &|_, _, _| true)
        {
            return Err(no_model(&error, name, &snapshot));
        }
        let listed = snapshot.listed_models();
        let configured = self.default_model.as_deref();
        let configured = configured.filter(|name| resolves(&snapshot, name));
        let model = named.or(configured).or_else(|| {
            let best = model::best(&listed, preset?.prefers);
            if let Some(best) = best {
                context
                    .printer
                    .note(&format!("using {best} (--model takes another)"));
            }
            best
        });
        let mut chosen = Chosen {
            model: model.map(str::to_owned),
            facts: facts(
                &snapshot,
                model.into_iter().chain(listed.iter().map(String::as_str)),
            ),
            listed,
        };
        if let (Some(preset), Some(model)) = (preset, &mut chosen.model) {
            let mut names = Names::default();
            names.stand_ins(preset, model, &snapshot);
            for name in std::iter::once(model).chain(&mut chosen.listed) {
                names.shorten(preset, name, &snapshot);
            }
            self.extras.aliases = names.aliases;
        }
        self.keep_current()?;
        Ok(chosen)
    }

    /// Puts the stand-ins in force, and follows what changes on disk.
    fn keep_current(&mut self) -> Result<(), Failure> {
        let (globals, extras) = (self.globals.clone(), self.extras.clone());
        let read = move || {
            let mut boot = Boot::read_quietly(&globals, Flags::default())?;
            extras.add_to(&mut boot);
            Ok(boot)
        };
        if !self.extras.aliases.is_empty() {
            let previous = self.gateway.snapshot();
            self.gateway.replace(read()?.snapshot(Some(&previous))?);
        }
        let reloader = Reloader {
            globals: self.globals.clone(),
            watches_files: true,
            read: Box::new(read),
            shared: Arc::clone(&self.shared),
        };
        tokio::spawn(reloader.run(self.stamps.clone(), Hangups::none()));
        tokio::spawn(refresh_models(Arc::clone(&self.gateway)));
        Ok(())
    }

    /// Writes the last counts down. What the child left unread is no longer wanted.
    fn close(&self) {
        self.shutdown.drain.cancel();
        self.gateway.flush(FLUSH_PATIENCE);
    }
}

fn resolves(snapshot: &Snapshot, name: &str) -> bool {
    plan::targets(snapshot, name, &|_, _, _| true).is_ok()
}

/// What is known of these models, by the names they are asked for by.
fn facts<'n>(
    snapshot: &Snapshot,
    names: impl Iterator<Item = &'n str>,
) -> HashMap<String, ModelFacts> {
    let known = names.filter_map(|name| {
        let facts = enriched::facts(snapshot, name)?;
        Some((name.to_owned(), facts))
    });
    known.collect()
}

async fn list_models(snapshot: &Snapshot, context: &Context) {
    let refreshes = snapshot
        .providers
        .values()
        .map(|runtime| catalog::refresh(runtime, false));
    let waiting = context.printer.waiting("listing models");
    // Who does not answer in time has no models to choose from; the reason was logged.
    let _ = tokio::time::timeout(LIST_PATIENCE, join_all(refreshes)).await;
    drop(waiting);
}

async fn bind() -> Result<TcpListener, Failure> {
    server::bind("127.0.0.1", 0)
        .await
        .map_err(|error| unbound(&error))
}

fn unbound(error: &io::Error) -> Failure {
    Failure::failed(
        format!("cannot listen on 127.0.0.1: {error}"),
        "check that this machine lets programs listen on loopback",
    )
}
