//! The HTTP clients of one provider: one for each way out, shared by the credentials that take it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::credentials::Credential;
use crate::gateway::upstream::{self, Client, ClientError, Way};
use crate::ids::CredentialId;

/// Who calls through what. A client keeps its connections open, so credentials behind different
/// proxies never share one.
#[derive(Debug)]
pub struct Clients {
    common: Client,
    /// Of credentials with a proxy of their own.
    own: HashMap<CredentialId, Client>,
}

impl Clients {
    /// Makes the clients of a provider. `proxy` is the provider's, for credentials that name none;
    /// without one the environment's counts.
    pub fn new(
        proxy: Option<&str>,
        credentials: &[&Credential],
        connect: Duration,
    ) -> Result<Self, ClientError> {
        let common = upstream::client(Way::of(proxy), connect)?;
        let mut by_proxy: BTreeMap<&str, Client> = BTreeMap::new();
        if let Some(proxy) = proxy {
            by_proxy.insert(proxy, common.clone());
        }
        let mut own = HashMap::new();
        for credential in credentials {
            let Some(proxy) = credential.proxy.as_deref() else {
                continue;
            };
            let client = match by_proxy.get(proxy) {
                Some(client) => client.clone(),
                None => upstream::client(Way::of(Some(proxy)), connect)?,
            };
            by_proxy.insert(proxy, client.clone());
            own.insert(credential.id.clone(), client);
        }
        Ok(Self { common, own })
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
        let clients = Clients::new(None, &all, Duration::from_secs(1)).expect("clients");
        let mut own: Vec<_> = clients.own.keys().map(CredentialId::as_str).collect();
        own.sort_unstable();
        assert_eq!(own, ["openai/2", "openai/3"]);
    }

    #[test]
    fn an_address_that_is_no_proxys_is_an_error() {
        let bad = credential("openai/1", Some("ftp://x"));
        let made = Clients::new(None, &[&bad], Duration::from_secs(1));
        assert_eq!(made.err(), Some(ClientError::Proxy));
    }
}
