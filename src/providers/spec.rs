//! What is known of a vendor, as data.

use crate::dialects::Dialect;
use crate::dialects::mend::Mending;
use crate::providers::oauth::OAuthSpec;
use crate::providers::quirks::Quirks;
use crate::providers::signals::Signal;

/// A vendor's facts. Everything here can be overridden in `[providers.NAME]`.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The provider id users write: `nvidia_nim`.
    pub id: &'static str,
    /// Other ids that mean this provider, mostly the ones LLM-API-Key-Proxy uses: `together_ai`.
    pub aliases: &'static [&'static str],
    /// The vendor's name as it writes it.
    pub title: &'static str,
    /// The dialect of its chat endpoint.
    pub dialect: Dialect,
    /// Base URLs in the order to try them, as the vendor's SDK takes them. Empty where the URL
    /// holds an account or resource name: the user must set `base_url`, see [`Spec::base_hint`].
    pub base_urls: &'static [&'static str],
    /// The pattern of the base URL where it is the user's own.
    pub base_hint: Option<&'static str>,
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
    /// Patterns of models that are limited each by itself and share one quota all the same.
    pub shared_quotas: &'static [&'static str],
    /// What the tiers of its accounts mean; empty where all accounts are alike.
    pub tiers: &'static [Tier],
    /// `true` for accounts (log-in), `false` for API keys.
    pub is_oauth: bool,
    /// How one logs in, where it is done with accounts.
    pub oauth: Option<&'static OAuthSpec>,
    /// Requests at once that it takes of one credential; 0: it does not say.
    pub max_concurrent: u32,
    /// Requests a minute that it takes of one account; 0: it does not say.
    pub account_rpm: u64,
    /// Beginnings of the names of models that do better when what they thought before they called tools
    /// comes back with the call, where the client dropped it.
    pub remembers: &'static [&'static str],
    /// `true` if answers come in an envelope that [`Provider::unwrap`](super::Provider::unwrap)
    /// opens.
    pub enveloped: bool,
    /// What the vendor has beside chat.
    pub offers: Offers,
    /// How its models are listed.
    pub listing: Listing,
    /// The cheapest request that tells whether a key works.
    pub key_test: KeyTest,
    /// What a successful key test may still hold against the key.
    pub key_signs: &'static [KeySign],
    /// The vendor's own words and codes, before the general table.
    pub signals: &'static [Signal],
    /// What its chat endpoint refuses or spells differently.
    pub quirks: Quirks,
    /// What its answers need before anybody reads them; `think_tags` of the config adds to it.
    pub mending: Mending,
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

/// What a tier means for its accounts, as far as the user says nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Tier {
    /// The names it goes by, in lower case: the vendor's ids, and what people call it.
    pub names: &'static [&'static str],
    /// Lower serves first.
    pub priority: u32,
    /// Requests at once above which another account is preferred.
    pub at_once: u32,
}

impl Tier {
    /// The priority of accounts whose tier is not known, or not in the list.
    pub const UNKNOWN_PRIORITY: u32 = 10;
}

/// A service that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Closed {
    /// `YYYY-MM-DD`.
    pub since: &'static str,
    /// `true` if only accounts are concerned, and API keys still work.
    pub only_accounts: bool,
    /// What to do instead, one sentence.
    pub instead: &'static str,
    pub source: &'static str,
}

/// What an OpenAI-compatible vendor has beside `/chat/completions`.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub struct Offers {
    /// `/completions` for text prompts; without it the gateway makes a chat request of them.
    pub completions: bool,
    /// `/embeddings`.
    pub embeddings: bool,
    /// `/responses`, natively; without it Responses clients are translated.
    pub responses: bool,
}

/// Where a vendor lists its models.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Listing {
    /// Nowhere: only [`Spec::models`] are known.
    None,
    /// At this path below the base URL, with the key.
    Path(&'static str),
    /// At this path below the base URL, for anybody: says nothing of a key.
    Public(&'static str),
}

/// The cheapest request that tells whether a key works.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum KeyTest {
    /// A chat of one token with this model, where nothing cheaper asks for the key.
    Chat(&'static str),
    /// GET this path.
    Get(&'static str),
    /// List the models.
    List,
    /// POST this path without a body.
    Post(&'static str),
}

/// What an answer to the key test may say beyond its status.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum KeySign {
    /// The member at this JSON pointer is `false`: no money.
    BrokeIfFalse(&'static str),
    /// The member at this JSON pointer is a number, or text of one, not above zero: no money.
    BrokeIfNotPositive(&'static str),
    /// This header is `0`: the plan has no quota.
    BrokeIfZero(&'static str),
    /// The member at this JSON pointer is `true`: the key or team is blocked.
    DeadIfTrue(&'static str),
    /// The member at this JSON pointer is `false`: the key is unknown.
    InvalidIfFalse(&'static str),
    /// A failed answer whose message holds these words (lower case) proves that the key is good.
    ValidIfSays(&'static str),
}

impl Closed {
    /// What has ended, for people: `iFlow's service has been closed since 2026-04-17`.
    pub fn sentence(&self, title: &str) -> String {
        let what = if self.only_accounts {
            "log-in of free accounts"
        } else {
            "service"
        };
        format!("{title}'s {what} has been closed since {}", self.since)
    }
}

impl Offers {
    /// Chat only.
    pub const NONE: Self = Self {
        completions: false,
        embeddings: false,
        responses: false,
    };

    /// Chat and embeddings.
    pub const EMBEDDINGS: Self = Self {
        embeddings: true,
        ..Self::NONE
    };

    /// Chat and text completions.
    pub const COMPLETIONS: Self = Self {
        completions: true,
        ..Self::NONE
    };

    /// Chat, text completions and embeddings: what most model servers have.
    pub const TEXT: Self = Self {
        completions: true,
        embeddings: true,
        responses: false,
    };
}

impl Spec {
    /// What has closed for an account, or for an API key.
    pub fn closed_to(&self, is_account: bool) -> Option<&Closed> {
        let closed = self.closed.as_ref()?;
        (is_account || !closed.only_accounts).then_some(closed)
    }

    /// What the tier of this name means.
    pub fn tier(&self, name: &str) -> Option<&'static Tier> {
        let goes_by = |own: &&'static str| own.eq_ignore_ascii_case(name.trim());
        self.tiers
            .iter()
            .find(|tier| tier.names.iter().any(goes_by))
    }

    /// A row of defaults to fill in with struct update syntax.
    pub const fn compatible(id: &'static str, title: &'static str) -> Self {
        Self {
            id,
            aliases: &[],
            title,
            dialect: Dialect::OpenAiChat,
            base_urls: &[],
            base_hint: None,
            key_env: &[],
            auth: Auth::Bearer,
            key_optional: false,
            key_url: None,
            policy: None,
            closed: None,
            models: &[],
            quota_groups: &[],
            shared_quotas: &[],
            tiers: &[],
            is_oauth: false,
            oauth: None,
            max_concurrent: 0,
            account_rpm: 0,
            remembers: &[],
            enveloped: false,
            offers: Offers::NONE,
            listing: Listing::Path("/models"),
            key_test: KeyTest::List,
            key_signs: &[],
            signals: &[],
            quirks: Quirks::NONE,
            mending: Mending::NONE,
        }
    }
}
