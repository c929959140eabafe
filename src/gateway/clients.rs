//! The HTTP clients of one provider: one for each way out, shared by the credentials that take it.

use std::collections::HashMap;
use std::time::Duration;

use crate::credentials::Credential;
use crate::gateway::upstream::{self, Client, ClientError, Way};
use crate::ids::CredentialId;
use crate::secret::Secret;

/// Who calls through what. A client keeps its connections open, so credentials behind different
/// proxies never share one.
#[derive(Debug)]
pub struct Clients {
    common: Client,
    /// Of credentials with a proxy of their own.
    own: HashMap<CredentialId, Client>,
    ways: Ways,
}

/// The clients made so far, by proxy.
#[derive(Debug)]
struct Ways {
    connect: Duration,
    /// A proxy's address may hold a password; `None` is the environment's.
    made: Vec<(Option<Secret>, Client)>,
}

impl Ways {
    /// The client of this way: the one there is, else that of `before`, else a new one.
    fn client(
        &mut self,
        proxy: Option<&str>,
        before: Option<&Self>,
    ) -> Result<Client, ClientError> {
        if let Some(client) = self.known(proxy) {
            return Ok(client.clone());
        }
        let same = before.filter(|before| before.connect == self.connect);
        let client = match same.and_then(|before| before.known(proxy)) {
            Some(client) => client.clone(),
            None => upstream::client(Way::of(proxy), self.connect)?,
        };
        self.made.push((proxy.map(Secret::new), client.clone()));
        Ok(client)
    }

    fn known(&self, proxy: Option<&str>) -> Option<&Client> {
        let is_same = |known: &Option<Secret>| match (known, proxy) {
            (Some(known), Some(proxy)) => known.expose() == proxy,
            (None, None) => true,
            _ => false,
        };
        let found = self.made.iter().find(|(known, _)| is_same(known));
        found.map(|(_, client)| client)
    }
}

impl Clients {
    /// Makes the clients of a provider. `proxy` is the provider's, for credentials that name none;
    /// without one the environment's counts. Those of `before` go on, with their open connections,
    /// where they take the same way.
    pub fn new(
        proxy: Option<&str>,
        credentials: &[&Credential],
        connect: Duration,
        before: Option<&Self>,
    ) -> Result<Self, ClientError> {
        let before = before.map(|before| &before.ways);
        let mut ways = Ways {
            connect,
            made: Vec::new(),
        };
        let common = ways.client(proxy, before)?;
        let mut own = HashMap::new();
        for credential in credentials {
            if let Some(proxy) = credential.proxy.as_deref() {
                own.insert(credential.id.clone(), ways.client(Some(proxy), before)?);
            }
        }
        Ok(Self { common, own, ways })
    }

    /// The client for calls without a credential.
    pub const fn common(&self) -> &Client {
        &self.common
    }

    /// The client for calls with a credential.
    pub fn of(&self, credential: &CredentialId) -> &Client {
        self.own.get(credential).unwrap_or(&self.common)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::provider::DIRECT;
    use crate::credentials::Source;
    use crate::secret::Secret;

    fn credential(id: &str, proxy: Option<&str>) -> Credential {
        let id = CredentialId::parse(id).expect("a valid id");
        Credential {
            proxy: proxy.map(str::to_owned),
            ..Credential::api_key(id, Source::Config, Secret::new("k"))
        }
    }

    #[test]
    fn only_credentials_with_a_proxy_of_their_own_leave_the_common_way() {
        let all = [
            credential("openai/1", None),
            credential("openai/2", Some("http://127.0.0.1:1")),
            credential("openai/3", Some(DIRECT)),
        ];
        let all: Vec<&Credential> = all.iter().collect();
        let clients = Clients::new(None, &all, Duration::from_secs(1), None).expect("clients");
        let mut own: Vec<_> = clients.own.keys().map(CredentialId::as_str).collect();
        own.sort_unstable();
        assert_eq!(own, ["openai/2", "openai/3"]);
    }

    #[test]
    fn an_address_that_is_no_proxys_is_an_error() {
        let bad = credential("openai/1", Some("ftp://x"));
        let made = Clients::new(None, &[&bad], Duration::from_secs(1), None);
        assert_eq!(made.err(), Some(ClientError::Proxy));
    }

    #[test]
    fn a_proxys_password_is_not_shown() {
        let own = credential("openai/1", Some("http://u:pw@127.0.0.1:1"));
        let clients = Clients::new(None, &[&own], Duration::from_secs(1), None).expect("clients");
        assert!(!format!("{clients:?}").contains("pw@"));
    }
}
