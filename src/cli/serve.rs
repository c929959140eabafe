//! `llmproxy serve`.

use std::io;
use std::net::{self, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use clap::Args;
use tokio::net::TcpListener;

use crate::cli::activation;
use crate::cli::boot::{self, Boot};
use crate::cli::core_dumps;
use crate::cli::exit::Failure;
use crate::cli::notify;
use crate::cli::panics;
use crate::cli::presence::Presence;
use crate::cli::reload::{Reloader, Stamps};
use crate::cli::signals::{self, Hangups, Stops};
#[cfg(feature = "otlp")]
use crate::cli::traces::Tracing;
use crate::cli::{Context, Globals};
use crate::config::exposure::exposure;
use crate::config::load::Flags;
use crate::config::server::Server;
use crate::credentials::refresh;
use crate::gateway::{Gateway, catalog, group, persist, upkeep};
use crate::server::clients::Clients;
use crate::server::dashboard::Live;
use crate::server::demo::Demo;
use crate::server::guard::HostRule;
use crate::server::guesses::Guesses;
use crate::server::limits::Limiter;
use crate::server::pressure::{self, Pressure};
use crate::server::{self, Settings, Shared, Shutdown};
use crate::time::Timestamp;

/// How long a shared state is waited for before this instance begins to serve without it.
const JOIN_PATIENCE: Duration = Duration::from_secs(2);

/// How long the last counts may take to reach the disk.
const FLUSH_PATIENCE: Duration = Duration::from_secs(5);

/// Serve all providers behind one address
///
/// Prints `listening on http://HOST:PORT` on stderr once it accepts. SIGTERM and SIGINT let running
/// streams finish (a second one stops at once); SIGHUP, or a change of the config file, reloads.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  llmproxy serve --demo               try it without any key
  llmproxy serve                      http://127.0.0.1:8000
  llmproxy serve --port 0             a free port; see the first line on stderr")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub(super) struct ServeArgs {
    /// Address to listen on
    #[arg(long, value_name = "HOST")]
    host: Option<String>,

    /// Port to listen on; 0 picks a free one
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,

    /// Add a simulated provider: no key and no network needed
    #[arg(long)]
    demo: bool,

    /// Write every request to the request log
    #[arg(long)]
    log_requests: bool,

    /// Reload when the config file changes (the default)
    #[arg(long, overrides_with = "no_watch")]
    watch: bool,

    /// Reload on SIGHUP only
    #[arg(long)]
    no_watch: bool,

    /// Serve other machines without asking for a key
    #[arg(long)]
    insecure_no_auth: bool,
}

/// Runs the command.
pub(super) fn run(args: &ServeArgs, context: &Context) -> Result<(), Failure> {
    core_dumps::forbid();
    let handed = activation::listener()?;
    let args = &args.at(handed.as_ref())?;
    let boot = Boot::read(context, args.flags())?;
    check_exposure(&boot.loaded.config.server, args.insecure_no_auth)?;
    // Its own runtime: Ctrl-C must drain here, not drop the work.
    let runtime = tokio::runtime::Runtime::new().map_err(|error| {
        Failure::failed(
            format!("cannot start the runtime: {error}"),
            "check the limits on threads and open files (ulimit -a)",
        )
    })?;
    let served = runtime.block_on(Box::pin(serve(args, context, boot, handed)));
    runtime.shutdown_background();
    served
}

async fn serve(
    args: &ServeArgs,
    context: &Context,
    mut boot: Boot,
    handed: Option<net::TcpListener>,
) -> Result<(), Failure> {
    let stamps = Stamps::of(&boot);
    let demo = if args.demo {
        Some(boot::start_demo(&boot.loaded.config).await?)
    } else {
        None
    };
    if let Some(demo) = &demo {
        boot.add_demo(demo);
    }
    let gateway = boot.gateway_to_serve()?;
    if let Some(group) = &gateway.group {
        tokio::spawn(group::run(Arc::clone(&gateway)));
        group.settled(JOIN_PATIENCE).await;
    }
    let config = &boot.loaded.config.server;
    let listener = match handed {
        Some(handed) => TcpListener::from_std(handed).map_err(|e| listen_failure(config, &e))?,
        None => bind(config).await?,
    };
    let address = listener
        .local_addr()
        .map_err(|error| listen_failure(config, &error))?;
    let shared = Arc::new(Shared {
        gateway: Arc::clone(&gateway),
        settings: ArcSwap::from_pointee(settings(&boot)?),
        limiter: Arc::new(Limiter::default()),
        guesses: Guesses::default(),
        pressure: Pressure::default(),
        live: Arc::new(Live::default()),
    });
    // Before the greeting: whoever reads it may send a signal at once.
    let stops = Stops::listen().map_err(|error| signals::deaf(&error))?;
    let hangups = Hangups::listen().map_err(|error| signals::deaf(&error))?;
    let is_tls = config.tls.is_some();
    let presence = Presence::announce(&boot.paths.state_dir, address, is_tls);
    greet(context, &boot, address, demo.as_deref());
    notify::tell(notify::READY);

    let shutdown = Shutdown::default();
    tokio::spawn(watch_signals(shutdown.clone(), stops));
    let own = Arc::clone(&gateway);
    panics::keep("the look at model lists", move || {
        refresh_models(Arc::clone(&own))
    });
    let own = Arc::clone(&gateway);
    panics::keep("the state's writer", move || persist::run(Arc::clone(&own)));
    let own = Arc::clone(&shared);
    panics::keep("the look at memory", move || {
        pressure::watch(Arc::clone(&own))
    });
    let own = Arc::clone(&gateway);
    panics::keep("the accounts' upkeep", move || {
        upkeep::run(Arc::clone(&own))
    });
    let (charted, began) = (Arc::clone(&gateway), Timestamp::now());
    tokio::task::spawn_blocking(move || charted.telemetry.restore_minutes(began));
    #[cfg(feature = "otlp")]
    let tracing = Tracing::start(context, &boot, &gateway)?;
    let (max_connections, drain) = (config.max_connections, config.drain_timeout);
    let watches_files = !args.no_watch;
    let (args, globals) = (args.clone(), context.globals.clone());
    let reloader = Reloader {
        globals: context.globals.clone(),
        watches_files,
        read: Box::new(move || reread(&args, &globals, demo.as_deref())),
        shared: Arc::clone(&shared),
    };
    tokio::spawn(reloader.run(stamps, hangups));
    server::run(listener, shared, max_connections, drain, shutdown).await;
    drop(presence);
    refresh::landed().await;
    if let Some(group) = &gateway.group {
        group.leave(&gateway).await;
    }
    #[cfg(feature = "otlp")]
    tracing.close().await;
    gateway.flush(FLUSH_PATIENCE);
    Ok(())
}

/// What is to be in force after something changed on disk.
fn reread(args: &ServeArgs, globals: &Globals, demo: Option<&Demo>) -> Result<Boot, Failure> {
    let mut boot = Boot::read_quietly(globals, args.flags())?;
    check_exposure(&boot.loaded.config.server, args.insecure_no_auth)?;
    if let Some(demo) = demo {
        boot.add_demo(demo);
    }
    Ok(boot)
}

impl ServeArgs {
    /// The same, at the address of a socket that was handed over: it decides who can reach us.
    fn at(&self, handed: Option<&net::TcpListener>) -> Result<Self, Failure> {
        let mut args = self.clone();
        if let Some(handed) = handed {
            let address = handed.local_addr().map_err(|error| {
                Failure::failed(
                    format!("the socket handed over has no address: {error}"),
                    "check the socket unit (`systemctl status llmproxy.socket`)",
                )
            })?;
            args.host = Some(address.ip().to_string());
            args.port = Some(address.port());
        }
        Ok(args)
    }

    fn flags(&self) -> Flags {
        Flags {
            host: self.host.clone(),
            port: self.port,
            log_requests: self.log_requests,
        }
    }
}

/// Exit code 2 for an address that others can reach without a proper client key.
fn check_exposure(server: &Server, insecure: bool) -> Result<(), Failure> {
    if insecure || server.is_loopback() {
        return Ok(());
    }
    match exposure(server) {
        None => Ok(()),
        Some(exposure) => Err(Failure::usage(
            exposure.sentence(&server.host),
            exposure.hint(),
        )),
    }
}

/// Listens where the config says.
pub(super) async fn bind(server: &Server) -> Result<TcpListener, Failure> {
    server::bind(&server.host, server.port)
        .await
        .map_err(|error| listen_failure(server, &error))
}

fn listen_failure(server: &Server, error: &io::Error) -> Failure {
    let (host, port) = (&server.host, server.port);
    let hint = if error.kind() == io::ErrorKind::AddrInUse {
        "stop the program that uses the port, or pick another with --port (0: any free one)"
    } else {
        "check [server] host and port, or --host and --port"
    };
    Failure::failed(format!("cannot listen on {host}:{port}: {error}"), hint)
}

/// The `[server]` settings that requests are handled by.
pub(super) fn settings(boot: &Boot) -> Result<Settings, Failure> {
    let server = &boot.loaded.config.server;
    let tls = server.tls.as_ref().map(|tls| {
        server::tls::acceptor(&tls.cert, &tls.key).map_err(|error| {
            Failure::usage(
                error.to_string(),
                "`[server] tls` names two PEM files: `cert` with the whole chain, `key` with its key",
            )
        })
    });
    Ok(Settings {
        clients: Clients::new(server, &boot.fingerprint_key),
        host_rule: HostRule::new(&server.host, &server.allowed_hosts),
        cors_origins: server.cors_origins.clone(),
        max_body: server.max_body,
        debug_headers: server.shows_debug_headers(),
        metrics: server.metrics,
        dashboard: server.dashboard,
        strict_translation: boot.loaded.config.routing.strict_translation,
        tls: tls.transpose()?,
    })
}

fn greet(context: &Context, boot: &Boot, address: SocketAddr, demo: Option<&Demo>) {
    let printer = &context.printer;
    let scheme = match boot.loaded.config.server.tls {
        Some(_) => "https",
        None => "http",
    };
    printer.note(&format!("listening on {scheme}://{address}"));
    if boot.loaded.config.server.dashboard {
        printer.note(&format!("dashboard at {scheme}://{address}/dashboard"));
    }
    if demo.is_some() {
        printer.note(&demo_text(scheme, address));
    } else if boot.credentials.is_empty() {
        printer.note(
            "no credential yet: add one with `llmproxy creds add PROVIDER` (it counts at once), or try \
             `llmproxy serve --demo`",
        );
    }
}

/// What a newcomer should try, and what to look at.
fn demo_text(scheme: &str, address: SocketAddr) -> String {
    format!(
        "
The provider `demo` is simulated: three keys, of which the second is told to wait now and then and
the third is slow. Try it, and watch x-llmproxy-credential and x-llmproxy-attempts change:

  curl -i {scheme}://{address}/v1/chat/completions -H 'content-type: application/json' \\
    -d '{{\"model\":\"demo/echo\",\"messages\":[{{\"role\":\"user\",\"content\":\"hello\"}}]}}'

Add \"stream\":true to see it stream; demo/story is longer, demo/tools calls a tool.
The pool's view: curl {scheme}://{address}/v1/providers
"
    )
}

/// First signal: drain. Second: end at once.
async fn watch_signals(shutdown: Shutdown, mut stops: Stops) {
    stops.next().await;
    tracing::info!(
        "draining: no new connections; running streams may finish (a second signal ends them)"
    );
    notify::tell(notify::STOPPING);
    shutdown.drain.cancel();
    stops.next().await;
    shutdown.abort.cancel();
}

/// Fetches every provider's models soon after the start and then as they grow old.
pub(super) async fn refresh_models(gateway: Arc<Gateway>) {
    loop {
        let snapshot = gateway.snapshot();
        for runtime in snapshot.providers.values() {
            // The reason was logged; what was known stays.
            let _ = catalog::refresh(runtime, false).await;
        }
        let _ = snapshot.facts.refresh(false).await;
        tokio::time::sleep(Duration::from_mins(10)).await;
    }
}
