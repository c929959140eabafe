//! `[server]`: where to listen, whom to let in, and what each client may do.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::config::models::Pattern;
use crate::config::secret_ref::SecretRef;
use crate::config::{duration, size};
use crate::secret::{Digest, Secret};

/// `[server]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// An IP address or a host name, without port.
    pub host: String,
    /// 0 picks a free port.
    pub port: u16,
    /// Keys of clients without settings of their own, or tables like those of `clients`.
    #[serde(deserialize_with = "api_keys")]
    pub api_keys: Vec<Client>,
    /// Largest request body, in bytes.
    #[serde(with = "size")]
    pub max_body: u64,
    /// Connections served at once.
    pub max_connections: usize,
    /// How long streams may still run after the signal to stop.
    #[serde(with = "duration")]
    pub drain_timeout: Duration,
    /// Origins of web pages that may call; none: CORS is off.
    pub cors_origins: Vec<String>,
    /// Serve `GET /metrics`.
    pub metrics: bool,
    /// Serve `GET /dashboard`.
    pub dashboard: bool,
    /// Silence in a stream after which a comment is sent; `"0s"` (`None`) sends none.
    #[serde(with = "duration::or_off")]
    pub keepalive: Option<Duration>,
    /// Send `x-llmproxy-*` headers; unset: on loopback only, see [`Server::shows_debug_headers`].
    pub debug_headers: Option<bool>,
    /// Names in `Host` to accept besides the loopback names and `host`.
    pub allowed_hosts: Vec<String>,
    /// Fetch image URLs for providers that take bytes only.
    pub fetch_remote_media: bool,
    /// Serve HTTPS.
    pub tls: Option<Tls>,
    /// `[[server.clients]]`: named clients. [`Server::all_clients`] has the others too.
    pub clients: Vec<Client>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 8000,
            api_keys: Vec::new(),
            max_body: 32 << 20,
            max_connections: 10_000,
            drain_timeout: Duration::from_secs(30),
            cors_origins: Vec::new(),
            metrics: true,
            dashboard: true,
            keepalive: Some(Duration::from_secs(15)),
            debug_headers: None,
            allowed_hosts: Vec::new(),
            fetch_remote_media: false,
            tls: None,
            clients: Vec::new(),
        }
    }
}

impl Server {
    /// Every client that may call; none: there is no authentication.
    pub fn all_clients(&self) -> impl Iterator<Item = &Client> {
        self.api_keys.iter().chain(&self.clients)
    }

    /// `true` when only programs of this machine can reach `host`.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }

    /// Whether answers carry `x-llmproxy-*` headers.
    pub fn shows_debug_headers(&self) -> bool {
        self.debug_headers.unwrap_or_else(|| self.is_loopback())
    }
}

/// `true` for `localhost` and loopback addresses, IPv4 in IPv6 included.
pub fn is_loopback(host: &str) -> bool {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    bare.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

/// A client with its key and limits.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// The name in logs and metrics; entries of `api_keys` without one are `key-1`, `key-2`, ….
    #[serde(default)]
    pub name: String,
    /// The key it sends, or `sha256:` and the hex digest of one that only the client knows.
    pub key: SecretRef,
    /// The models it may use, with wildcards; empty: all.
    #[serde(default)]
    pub models: Vec<Pattern>,
    /// Requests a minute.
    #[serde(default)]
    pub rpm: Option<u32>,
    /// Requests at once.
    #[serde(default)]
    pub max_concurrent: Option<u32>,
    /// Dollars a calendar day, UTC.
    #[serde(default)]
    pub budget_usd: Option<f64>,
}

impl Client {
    /// A client without limits.
    pub fn unlimited(name: impl Into<String>, key: SecretRef) -> Self {
        Self {
            name: name.into(),
            key,
            models: Vec::new(),
            rpm: None,
            max_concurrent: None,
            budget_usd: None,
        }
    }

    /// What the key it sends is known by.
    pub fn digest(&self) -> Digest {
        let key = self.key.secret();
        Digest::parse(key.expose()).unwrap_or_else(|| key.digest())
    }

    /// The key itself; `None` if only its digest is known here.
    pub fn known_key(&self) -> Option<&Secret> {
        let key = self.key.secret();
        let is_digest = key.expose().starts_with(Digest::PREFIX);
        (!is_digest && !key.is_empty()).then_some(key)
    }
}

/// `tls = { cert, key }`: PEM files.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate chain.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

fn api_keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Client>, D::Error> {
    deserializer.deserialize_seq(ApiKeys)
}

struct ApiKeys;

impl<'de> Visitor<'de> for ApiKeys {
    type Value = Vec<Client>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of keys, each a string or a table { key = \"…\", name = \"…\" }")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Client>, A::Error> {
        let mut clients = Vec::new();
        while let Some(KeyOrClient(mut client)) = list.next_element()? {
            if client.name.is_empty() {
                client.name = format!("key-{}", clients.len() + 1);
            }
            clients.push(client);
        }
        Ok(clients)
    }
}

struct KeyOrClient(Client);

impl<'de> Deserialize<'de> for KeyOrClient {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeyOrClientVisitor)
    }
}

struct KeyOrClientVisitor;

impl<'de> Visitor<'de> for KeyOrClientVisitor {
    type Value = KeyOrClient;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key, or a table { key = \"…\", name = \"…\" }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<KeyOrClient, E> {
        let key = SecretRef::parse(text).map_err(E::custom)?;
        Ok(KeyOrClient(Client::unlimited("", key)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<KeyOrClient, A::Error> {
        Client::deserialize(de::value::MapAccessDeserializer::new(map)).map(KeyOrClient)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_keys_are_strings_or_tables() {
        let server: Server = toml::from_str(
            r#"
            api_keys = ["sk-one", { key = "sk-two", name = "two", rpm = 5 }, { key = "env:THREE" }]
            [[clients]]
            name = "laptop"
            key = "sk-four"
            models = ["gemini/*"]
            "#,
        )
        .expect("a valid section");
        let names: Vec<_> = server.all_clients().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["key-1", "two", "key-3", "laptop"]);
        assert_eq!(server.api_keys[1].rpm, Some(5));
    }

    #[test]
    fn a_client_is_known_by_its_key_or_by_the_digest_of_it() {
        let hex = "9b346041bc9a49574eb2665b2ad2a0a3f9f9cce4e42f5d1f26deb8a256b5966a";
        let client = |key: &str| Client::unlimited("c", SecretRef::literal(key));
        let (plain, hashed) = (client("key-one"), client(&format!("sha256:{hex}")));
        assert!(plain.digest().matches(&hashed.digest()));
        assert_eq!(plain.known_key().map(Secret::expose), Some("key-one"));
        assert!(hashed.known_key().is_none());
    }

    #[test]
    fn loopback_is_told_from_the_rest() {
        for (host, loopback) in [
            ("127.0.0.1", true),
            ("127.8.8.8", true),
            ("LOCALHOST", true),
            ("::1", true),
            ("[::1]", true),
            ("::ffff:127.0.0.1", true),
            ("0.0.0.0", false),
            ("::", false),
            ("192.168.0.2", false),
            ("127.0.0.1.example.com", false),
            ("localhost.example.com", false),
        ] {
            assert_eq!(is_loopback(host), loopback, "{host}");
        }
    }

    #[test]
    fn debug_headers_default_to_loopback_only() {
        let mut server = Server::default();
        assert!(server.shows_debug_headers());
        server.host = "0.0.0.0".to_owned();
        assert!(!server.shows_debug_headers());
        server.debug_headers = Some(true);
        assert!(server.shows_debug_headers());
    }
}
