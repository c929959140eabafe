//! Anything at all on a client's connection: each answer is proper HTTP, and without a key nothing
//! is told.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use llmproxy::config::Config;
use llmproxy::config::server::Server;
use llmproxy::gateway::Gateway;
use llmproxy::gateway::snapshot::Snapshot;
use llmproxy::secret::FingerprintKey;
use llmproxy::server::clients::Clients;
use llmproxy::server::dashboard::Live;
use llmproxy::server::guard::HostRule;
use llmproxy::server::guesses::Guesses;
use llmproxy::server::limits::Limiter;
use llmproxy::server::pressure::Pressure;
use llmproxy::server::{Settings, Shared, Shutdown, speak};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};

/// The only client's key.
const KEY: &str = "fuzz-0123456789abcdef";

/// Longer than every patience of the server.
const FOR_EVER: Duration = Duration::from_hours(1);

static SERVER: OnceLock<(Runtime, Arc<Shared>)> = OnceLock::new();

/// The first byte says in what pieces the rest, the connection's bytes, comes, and whether the client
/// then leaves or waits.
pub(crate) fn check(data: &[u8]) {
    let Some((first, said)) = data.split_first() else {
        return;
    };
    let (runtime, shared) = SERVER.get_or_init(server);
    let heard = runtime.block_on(converse(Arc::clone(shared), said, *first));
    if said.starts_with(b"PRI * HTTP/2.0") {
        return;
    }
    let has_key = said
        .windows(KEY.len())
        .any(|window| window == KEY.as_bytes());
    assert!(
        heard.is_empty() || heard.starts_with(b"HTTP/1."),
        "{}",
        heard.escape_ascii()
    );
    for told in [&b"\"object\":\"list\""[..], b"llmproxy_build_info"] {
        let is_in = |bytes: &[u8]| bytes.windows(told.len()).any(|window| window == told);
        // What the client itself said may be repeated to it.
        let is_told = is_in(&heard) && !is_in(said);
        assert!(has_key || !is_told, "{}", heard.escape_ascii());
    }
}

/// Says it all and hears everything that comes back.
async fn converse(shared: Arc<Shared>, said: &[u8], how: u8) -> Vec<u8> {
    let (client, ours) = tokio::io::duplex(1 << 16);
    let (mut ear, mut mouth) = tokio::io::split(client);
    let peer = SocketAddr::from(([127, 0, 0, 1], 1));
    let serving = speak(ours, peer, shared, Shutdown::default());
    let saying = async {
        for piece in said.chunks(usize::from(how / 2) + 1) {
            // Refused half-way is refused.
            if mouth.write_all(piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        if how % 2 == 1 {
            let _ = mouth.shutdown().await;
        }
    };
    let mut heard = Vec::new();
    let hearing = ear.read_to_end(&mut heard);
    let all = async { tokio::join!(serving, saying, hearing) };
    let ended = tokio::time::timeout(FOR_EVER, all).await;
    let (.., ended) = ended.expect("every conversation ends");
    ended.expect("a connection in memory breaks off nowhere");
    heard
}

/// A server with one client and no provider: nothing it is told to do leaves the process.
fn server() -> (Runtime, Arc<Shared>) {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let text = format!("[server]\napi_keys = [\"{KEY}\"]\n");
    let config: Config = toml::from_str(&text).expect("a sound config");
    let server: &Server = &config.server;
    let settings = Settings {
        clients: Clients::new(server, &FingerprintKey::new(&[7; 32])),
        host_rule: HostRule::new(&server.host, &server.allowed_hosts),
        cors_origins: vec!["https://app.example".to_owned()],
        max_body: 1 << 16,
        debug_headers: true,
        metrics: true,
        dashboard: true,
        strict_translation: false,
        tls: None,
    };
    let shared = runtime.block_on(async {
        Arc::new(Shared {
            gateway: Gateway::new(Snapshot::default(), None),
            settings: ArcSwap::from_pointee(settings),
            limiter: Arc::new(Limiter::default()),
            guesses: Guesses::default(),
            pressure: Pressure::default(),
            live: Arc::new(Live::default()),
        })
    });
    (runtime, shared)
}
