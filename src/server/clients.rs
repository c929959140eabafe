//! The clients that may call: their keys, limits and models.

use std::sync::Arc;

use crate::config;
use crate::config::models::Pattern;
use crate::secret::{FingerprintKey, Secret};
use crate::server::limits::ClientLimits;

/// One client.
#[derive(Debug)]
pub struct Client {
    pub name: Arc<str>,
    /// Made of the key: names like `key-1` go to another when the configuration changes.
    pub owner: Arc<str>,
    /// Whether the live page shows it other clients' requests and lets it switch credentials: a key
    /// of `[server] api_keys` without limits of its own. Named clients are other people.
    pub is_owner: bool,
    key: Option<Secret>,
    /// The models it may use, with wildcards; empty is all.
    models: Vec<Pattern>,
    pub limits: ClientLimits,
    /// US dollars it may spend a calendar day (UTC).
    pub budget_usd: Option<f64>,
}

/// All clients; none means that no key is asked for.
#[derive(Debug)]
pub struct Clients {
    known: Vec<Arc<Client>>,
    anyone: Arc<Client>,
}

impl Clients {
    /// The clients of a configuration. What is kept for them outlives this process, so the key is
    /// this installation's.
    pub fn new(server: &config::server::Server, key_of_owners: &FingerprintKey) -> Self {
        let keys = server.api_keys.iter().map(|key| (key, is_unlimited(key)));
        let named = server.clients.iter().map(|client| (client, false));
        let known = keys
            .chain(named)
            .filter(|(client, _)| !client.key.secret().is_empty())
            .map(|(client, is_owner)| {
                Arc::new(Client {
                    name: Arc::from(client.name.as_str()),
                    owner: Arc::from(client.key.secret().fingerprint(key_of_owners).to_string()),
                    is_owner,
                    key: Some(client.key.secret().clone()),
                    models: client.models.clone(),
                    limits: ClientLimits {
                        rpm: client.rpm.unwrap_or(0),
                        max_concurrent: client.max_concurrent.unwrap_or(0),
                    },
                    budget_usd: client.budget_usd,
                })
            })
            .collect();
        let anyone = Client {
            name: Arc::from("anyone"),
            owner: Arc::from("anyone"),
            is_owner: true,
            key: None,
            models: Vec::new(),
            limits: ClientLimits::default(),
            budget_usd: None,
        };
        Self {
            known,
            anyone: Arc::new(anyone),
        }
    }

    /// `true` if no key is asked for.
    pub fn is_open(&self) -> bool {
        self.known.is_empty()
    }

    /// The client everybody is while no key is asked for.
    pub fn anyone(&self) -> Arc<Client> {
        Arc::clone(&self.anyone)
    }

    /// The client of this [`Client::owner`], if it still may call.
    pub fn of_owner(&self, owner: &str) -> Option<&Arc<Client>> {
        if self.is_open() {
            return Some(&self.anyone).filter(|anyone| *anyone.owner == *owner);
        }
        self.known.iter().find(|client| *client.owner == *owner)
    }

    /// The client with this key. All keys are compared, always, so that time tells nothing.
    pub fn find(&self, key: &str) -> Option<Arc<Client>> {
        let mut found = None;
        for client in &self.known {
            if client.key.as_ref().is_some_and(|own| own.matches(key)) {
                found = Some(client);
            }
        }
        found.map(Arc::clone)
    }
}

fn is_unlimited(client: &config::server::Client) -> bool {
    client.models.is_empty()
        && client.rpm.is_none()
        && client.max_concurrent.is_none()
        && client.budget_usd.is_none()
}

impl Client {
    /// Whether the client may use a model, by the name it asked for or the one it comes to.
    pub fn may_use(&self, asked: &str, provider: &str, model: &str) -> bool {
        self.models.is_empty()
            || self
                .models
                .iter()
                .any(|pattern| pattern.matches(asked) || pattern.matches_model(provider, model))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::secret_ref::SecretRef;
    use crate::config::server::{Client as Configured, Server};

    #[test]
    fn only_keys_without_limits_of_their_own_are_owners() {
        let client = |key: &str| Configured::unlimited(key, SecretRef::literal(key));
        let limited = Configured {
            rpm: Some(60),
            ..client("limited")
        };
        let server = Server {
            api_keys: vec![client("plain"), limited],
            clients: vec![client("named")],
            ..Server::default()
        };
        let key = FingerprintKey::new(&[7; 32]);
        let clients = Clients::new(&server, &key);
        for (key, is_owner) in [("plain", true), ("limited", false), ("named", false)] {
            let found = clients.find(key).expect("it is known");
            assert_eq!(found.is_owner, is_owner, "{key}");
            assert!(clients.of_owner(&found.owner).is_some(), "{key}");
        }
        assert!(clients.of_owner("anyone").is_none(), "a key is asked for");
        let open = Clients::new(&Server::default(), &key);
        assert!(open.anyone().is_owner && open.of_owner("anyone").is_some());
    }
}
