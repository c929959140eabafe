//! What is known of a vendor, as data.

use crate::dialects::Dialect;

/// A vendor's facts. Everything here can be overridden in `[providers.NAME]`.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The provider id users write: `nvidia_nim`.
    pub id: &'static str,
    /// The vendor's name as it writes it.
    pub title: &'static str,
    /// The dialect of its chat endpoint.
    pub dialect: Dialect,
    /// Base URLs in the order to try them, as the vendor's SDK takes them.
    pub base_urls: &'static [&'static str],
    /// Environment names that hold a key (`OPENAI_API_KEY`); each also with `_1`, `_2`, ….
    pub key_env: &'static [&'static str],
    /// How keys are sent.
    pub auth: Auth,
    /// `true` for local servers that take any key or none.
    pub key_optional: bool,
    /// Where a person gets a key.
    pub key_url: Option<&'static str>,
    /// Set where the owner forbids or restricts the use of such accounts by other programs.
    pub policy: Option<Policy>,
    /// Set where the service has closed.
    pub closed: Option<Closed>,
    /// Known models for vendors without a list.
    pub models: &'static [&'static str],
    /// Models that share one quota: (group, models).
    pub quota_groups: &'static [(&'static str, &'static [&'static str])],
    /// `true` for accounts (log-in), `false` for API keys.
    pub is_oauth: bool,
}

/// How a credential is sent.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Auth {
    /// `Authorization: Bearer KEY`.
    Bearer,
    /// The named header holds the bare key.
    Header(&'static str),
    /// Not at all.
    None,
}

/// What a vendor says about using its accounts this way.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// One honest paragraph.
    pub notice: &'static str,
    /// The document it comes from.
    pub source: &'static str,
    /// When that was read, `YYYY-MM-DD`.
    pub read: &'static str,
}

/// A service that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Closed {
    /// `YYYY-MM-DD`.
    pub since: &'static str,
    /// What to do instead, one sentence.
    pub instead: &'static str,
    pub source: &'static str,
}

impl Spec {
    /// A row of defaults to fill in with struct update syntax.
    pub const fn compatible(id: &'static str, title: &'static str) -> Self {
        Self {
            id,
            title,
            dialect: Dialect::OpenAiChat,
            base_urls: &[],
            key_env: &[],
            auth: Auth::Bearer,
            key_optional: false,
            key_url: None,
            policy: None,
            closed: None,
            models: &[],
            quota_groups: &[],
            is_oauth: false,
        }
    }
}
