//! HTTP clients, each with its own way out of this machine and its own connections.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls_platform_verifier::Verifier;
use thiserror::Error;

use crate::config::provider::{DIRECT, is_proxy};
use crate::gateway::upstream::direct::Direct;
use crate::gateway::upstream::plain;

/// Connections kept open to one upstream while idle.
pub(super) const IDLE_CONNECTIONS: usize = 256;

/// How long a connection is kept without use.
pub(super) const IDLE_TIME: Duration = Duration::from_secs(90);

/// An HTTP/2 connection is pinged this often while it is used.
pub(super) const PING_INTERVAL: Duration = Duration::from_secs(30);

/// How long an HTTP/2 connection may leave a ping unanswered.
pub(super) const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// What is said between HTTP and TLS, the preferred first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// An HTTP client that always takes the same way out. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Client {
    /// Takes every way there is.
    pub(super) any: reqwest::Client,
    /// Takes the straight way at half the cost; `None` where that is not the way.
    pub(super) direct: Option<Arc<Direct>>,
    /// The configured proxy, without user name and password.
    pub(super) proxy: Option<Arc<str>>,
}

impl Client {
    /// What is underneath, for log-ins, which read answers of their own.
    pub fn into_inner(self) -> reqwest::Client {
        self.any
    }
}

/// How calls leave this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way<'a> {
    /// Straight to the provider.
    Direct,
    /// Through the environment's proxy, if it names one (`HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`).
    Environment,
    /// Through this one, whatever the environment says.
    Proxy(&'a str),
}

impl<'a> Way<'a> {
    /// The way that a `proxy` of the config names; none is the environment's.
    pub fn of(proxy: Option<&'a str>) -> Self {
        match proxy {
            None => Self::Environment,
            Some(DIRECT) => Self::Direct,
            Some(address) => Self::Proxy(address),
        }
    }
}

/// An HTTP client that takes this way. Connections are pooled among requests of the same client
/// only.
pub fn client(way: Way<'_>, connect: Duration) -> Result<Client, ClientError> {
    let tls = tls()?;
    let any = builder(connect, tls.clone());
    let built = |any: reqwest::ClientBuilder| {
        any.build()
            .map_err(|error| ClientError::Build(plain(&error)))
    };
    match way {
        // reqwest takes any scheme, and dials nobody.
        Way::Proxy(address) if !is_proxy(address) => Err(ClientError::Proxy),
        Way::Proxy(address) => {
            let proxy = reqwest::Proxy::all(address).map_err(|_| ClientError::Proxy)?;
            Ok(Client {
                any: built(any.proxy(proxy))?,
                direct: None,
                proxy: Some(Arc::from(without_password(address))),
            })
        }
        Way::Environment if environment_names_a_proxy() => Ok(Client {
            any: built(any)?,
            direct: None,
            proxy: None,
        }),
        Way::Direct | Way::Environment => Ok(Client {
            any: built(any.no_proxy())?,
            direct: Some(Arc::new(Direct::new(connect, tls))),
            proxy: None,
        }),
    }
}

/// A client that reaches this host at these addresses only, and no other host for good: past any
/// proxy, and without another look at the name server's answers.
pub fn pinned(
    host: &str,
    addresses: &[SocketAddr],
    connect: Duration,
) -> Result<Client, ClientError> {
    let any = builder(connect, tls()?)
        .no_proxy()
        .resolve_to_addrs(host, addresses)
        .build()
        .map_err(|error| ClientError::Build(plain(&error)))?;
    Ok(Client {
        any,
        direct: None,
        proxy: None,
    })
}

/// What all of reqwest's clients have in common. Its own retries stay on: they are those of
/// [`Direct`].
fn builder(connect: Duration, mut tls: ClientConfig) -> reqwest::ClientBuilder {
    tls.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        // A redirect would carry `x-api-key` and the body to a host nobody configured.
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(connect)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .pool_idle_timeout(IDLE_TIME)
        .http2_keep_alive_interval(PING_INTERVAL)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .http2_adaptive_window(true)
        .tcp_nodelay(true)
}

/// TLS as the operating system trusts, read once for all clients. No protocol is named yet.
fn tls() -> Result<ClientConfig, ClientError> {
    static TLS: LazyLock<Result<ClientConfig, rustls::Error>> = LazyLock::new(|| {
        let provider = Arc::new(ring::default_provider());
        let verifier = Verifier::new(Arc::clone(&provider))?;
        Ok(ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth())
    });
    let tls = TLS.as_ref().cloned();
    tls.map_err(|error| ClientError::Build(error.to_string()))
}

/// `socks5://127.0.0.1:1080`, whoever logs in there.
fn without_password(address: &str) -> String {
    match address.split_once("://") {
        Some((scheme, rest)) => {
            let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
            format!("{scheme}://{host}")
        }
        None => String::new(),
    }
}

fn environment_names_a_proxy() -> bool {
    std::env::vars_os().any(|(name, value)| {
        let name = name.to_string_lossy().to_ascii_lowercase();
        !value.is_empty() && matches!(name.as_str(), "all_proxy" | "http_proxy" | "https_proxy")
    })
}

/// Why no HTTP client could be made.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ClientError {
    #[error("cannot make an HTTP client: {0}")]
    Build(String),
    #[error("`proxy` is not a proxy address (http://, https:// or socks5://HOST:PORT)")]
    Proxy,
}
