//! Secrets and accounts: where they come from, how they are kept, how they stay fresh.
//!
//! Keys are given by the config file, the environment and the [`store`]; [`collect`] makes one list
//! of them. Whether a credential may serve is the pool's business, not this module's.

pub mod collect;
mod durable;
pub mod export;
mod file;
pub mod import;
#[cfg(test)]
mod kills;
pub mod oauth;
pub mod refresh;
pub mod store;

use std::fmt;

use serde_json::{Map, Value};

use crate::ids::CredentialId;
use crate::secret::{Fingerprint, FingerprintKey, Secret};
use crate::time::Timestamp;

/// The member of a credential's file that says: try it although its provider has closed.
const DEFIES_CLOSING: &str = "defies_closing";

/// One API key or one account of one provider.
#[derive(Clone)]
pub struct Credential {
    pub id: CredentialId,
    pub source: Source,
    pub material: Material,
    pub label: Option<String>,
    pub email: Option<String>,
    /// The plan or tier at the provider: `free`, `paid`, `standard-tier`.
    pub tier: Option<String>,
    /// Lower serves first; `None` leaves it to the tier.
    pub priority: Option<u32>,
    /// A proxy of its own, as a URL.
    pub proxy: Option<String>,
    /// Switched off by the user.
    pub disabled: bool,
    pub created: Option<Timestamp>,
    pub updated: Option<Timestamp>,
    /// Members of its file that this version does not know; they are written back as they were.
    pub extra: Map<String, Value>,
}

/// What proves who calls.
#[derive(Clone, Debug)]
pub enum Material {
    ApiKey(Secret),
    OAuth(Box<Account>),
}

/// The tokens of an account that somebody logged in to.
#[derive(Clone, Default)]
pub struct Account {
    pub access_token: Option<Secret>,
    /// When the access token ends; `None` if the provider did not say.
    pub expires: Option<Timestamp>,
    pub refresh_token: Option<Secret>,
    /// The client the tokens were issued to, where it is not the provider's usual one.
    pub client_id: Option<String>,
    pub client_secret: Option<Secret>,
    /// Counts successful refreshes: the higher number is the newer token.
    pub generation: u64,
    /// Set when the provider refused the refresh token for good: why.
    pub expired_reason: Option<String>,
    /// Everything else of the vendor's: project id, resource URL, scopes.
    pub extra: Map<String, Value>,
}

/// How a credential authenticates.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Kind {
    ApiKey,
    OAuth,
}

/// Where a credential is kept.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Source {
    Config,
    Env,
    Store,
}

impl Credential {
    /// An API key without anything else known about it.
    pub fn api_key(id: CredentialId, source: Source, secret: Secret) -> Self {
        Self::new(id, source, Material::ApiKey(secret))
    }

    /// An account without anything else known about it.
    pub fn oauth(id: CredentialId, source: Source, account: Account) -> Self {
        Self::new(id, source, Material::OAuth(Box::new(account)))
    }

    fn new(id: CredentialId, source: Source, material: Material) -> Self {
        Self {
            id,
            source,
            material,
            label: None,
            email: None,
            tier: None,
            priority: None,
            proxy: None,
            disabled: false,
            created: None,
            updated: None,
            extra: Map::new(),
        }
    }

    /// `true` if its owner wants it tried although its provider has closed.
    pub fn defies_closing(&self) -> bool {
        self.extra.get(DEFIES_CLOSING) == Some(&Value::Bool(true))
    }

    /// Has it tried although its provider has closed.
    pub fn defy_closing(&mut self) {
        self.extra.insert(DEFIES_CLOSING.to_owned(), true.into());
    }

    /// How it authenticates.
    pub fn kind(&self) -> Kind {
        match self.material {
            Material::ApiKey(_) => Kind::ApiKey,
            Material::OAuth(_) => Kind::OAuth,
        }
    }

    /// What to send now: the key, or the access token (which may have expired); `None` for an
    /// account that was never refreshed.
    pub fn secret(&self) -> Option<&Secret> {
        match &self.material {
            Material::ApiKey(secret) => Some(secret),
            Material::OAuth(account) => account.access_token.as_ref(),
        }
    }

    /// The account behind it; `None` for API keys.
    pub fn account(&self) -> Option<&Account> {
        match &self.material {
            Material::ApiKey(_) => None,
            Material::OAuth(account) => Some(account),
        }
    }

    /// The plan or tier: the user's word, else what the vendor said of the account.
    pub fn tier(&self) -> Option<&str> {
        let said = || self.account()?.extra.get("tier")?.as_str();
        self.tier.as_deref().or_else(said)
    }

    /// What stored state hangs on: for a key the key, for an account the account, since its tokens
    /// change every hour.
    pub fn fingerprint(&self, key: &FingerprintKey) -> Fingerprint {
        match &self.material {
            Material::ApiKey(secret) => secret.fingerprint(key),
            Material::OAuth(_) => Secret::new(&format!("account:{}", self.id)).fingerprint(key),
        }
    }

    /// `…abcd` for a key, nothing for an account.
    pub fn last4(&self) -> Option<String> {
        match &self.material {
            Material::ApiKey(secret) => Some(secret.last4()),
            Material::OAuth(_) => None,
        }
    }
}

/// Without what is unknown: it may be secret.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("id", &self.id)
            .field("source", &self.source)
            .field("material", &self.material)
            .field("disabled", &self.disabled)
            .finish_non_exhaustive()
    }
}

/// Without what is unknown: it may be secret.
impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("expires", &self.expires)
            .field("generation", &self.generation)
            .field("expired_reason", &self.expired_reason)
            .finish_non_exhaustive()
    }
}

impl Kind {
    /// The name in JSON: `api_key`, `oauth`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::OAuth => "oauth",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Source {
    /// The name in JSON: `config`, `env`, `store`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Env => "env",
            Self::Store => "store",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
