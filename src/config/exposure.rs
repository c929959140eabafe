//! Whether the gateway may be reached from other machines: only behind a key worth the name.

use crate::config::server::{Client, Server};
use crate::secret::Digest;

/// 128 bits, if each byte carries eight; a key that is shorter cannot have them.
const MIN_KEY_BYTES: usize = 16;

/// Keys that stand in documents and examples, ours and those of programs like this one. Gateways
/// left with them are looked for and used by strangers.
const PUBLISHED: [&str; 12] = [
    "verysecretkey",
    "your-secret-proxy-key",
    "your-proxy-key",
    "your-api-key",
    "your-api-key-1",
    "your-api-key-2",
    "sk-1234",
    "sk-llmproxy",
    "change-me",
    "changeme",
    "none",
    "password",
];

/// Why a server must not listen where others can reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// There is no client key at all.
    NoKey,
    /// The key of this client is known to everyone.
    Published {
        /// The client's name.
        client: String,
    },
    /// The key of this client could be guessed.
    Short {
        /// The client's name.
        client: String,
    },
}

impl Exposure {
    /// One sentence about the host at stake.
    pub fn sentence(&self, host: &str) -> String {
        match self {
            Self::NoKey => {
                format!("{host} can be reached from other machines, but there is no client key")
            }
            Self::Published { client } => format!(
                "{host} can be reached from other machines, but the key of client `{client}` is \
                 one from the documents"
            ),
            Self::Short { client } => format!(
                "{host} can be reached from other machines, but the key of client `{client}` is \
                 shorter than {MIN_KEY_BYTES} characters"
            ),
        }
    }

    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::NoKey => {
                "set PROXY_API_KEY or [server] api_keys (`openssl rand -hex 32` makes a key), or \
                 listen on 127.0.0.1"
            }
            Self::Published { .. } | Self::Short { .. } => {
                "make a new key with `openssl rand -hex 32`, or listen on 127.0.0.1"
            }
        }
    }
}

/// What forbids the server's host; `None` for loopback, and where every client has a good key.
pub fn exposure(server: &Server) -> Option<Exposure> {
    if server.is_loopback() {
        return None;
    }
    let mut clients = server.all_clients().peekable();
    if clients.peek().is_none() {
        return Some(Exposure::NoKey);
    }
    clients.find_map(weakness)
}

/// How long a key is that only its digest is known of, nobody can say.
fn weakness(client: &Client) -> Option<Exposure> {
    let digest = client.digest();
    let is_of = |key: &&str| digest.matches(&Digest::of(key));
    let (name, key) = (client.name.clone(), client.known_key());
    if PUBLISHED.iter().any(is_of) || key.is_some_and(|key| is_published(key.expose())) {
        return Some(Exposure::Published { client: name });
    }
    key.filter(|key| key.expose().len() < MIN_KEY_BYTES)
        .map(|_| Exposure::Short { client: name })
}

/// `true` for keys that everyone knows.
pub fn is_published(key: &str) -> bool {
    PUBLISHED.contains(&key.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::secret_ref::SecretRef;

    fn judged(host: &str, keys: &[&str]) -> Option<Exposure> {
        let client = |key: &&str| Client::unlimited("c", SecretRef::literal(key));
        exposure(&Server {
            host: host.to_owned(),
            api_keys: keys.iter().map(client).collect(),
            ..Server::default()
        })
    }

    #[test]
    fn other_machines_may_come_only_with_a_good_key() {
        let (good, client) = ("0f8fad5bd9cb469fa16570867728950e", "c".to_owned());
        for host in [
            "0.0.0.0",
            "::",
            "[::]",
            "192.168.1.5",
            "::ffff:10.0.0.1",
            "myhost.lan",
        ] {
            assert_eq!(judged(host, &[]), Some(Exposure::NoKey), "{host}");
            assert_eq!(judged(host, &[good]), None, "{host}");
            let published = Some(Exposure::Published {
                client: client.clone(),
            });
            assert_eq!(judged(host, &[good, "VerysecretKey"]), published, "{host}");
            let hashed = "sha256:9b346041bc9a49574eb2665b2ad2a0a3f9f9cce4e42f5d1f26deb8a256b5966a";
            assert_eq!(judged(host, &[hashed]), None, "{host}");
            // `printf %s changeme | sha256sum`
            let changeme =
                "sha256:057ba03d6c44104863dc7361fe4578965d1887360f90a0895882e58a6248fc86";
            assert_eq!(judged(host, &[changeme]), published, "{host}");
            let short = Some(Exposure::Short {
                client: client.clone(),
            });
            assert_eq!(judged(host, &["0f8fad5bd9cb469"]), short, "{host}");
        }
        for host in ["127.0.0.1", "::1", "localhost", "[::1]"] {
            assert_eq!(judged(host, &[]), None, "{host}");
        }
    }
}
