//! One immutable view of everything configured: a request keeps the one it began with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::alias::Strategy;
use crate::config::routing::ErrorRule;
use crate::credentials::store::Store;
use crate::gateway::facts::Facts;
use crate::gateway::runtime::ProviderRuntime;
use crate::ids::ProviderId;

/// The providers, aliases and rules in force.
#[derive(Default)]
pub struct Snapshot {
    /// By id; only providers that are enabled and have a credential or need none.
    pub providers: BTreeMap<String, Arc<ProviderRuntime>>,
    /// `[models.NAME]`.
    pub aliases: BTreeMap<String, Alias>,
    /// What is known of models: windows, abilities, prices.
    pub facts: Arc<Facts>,
    /// Where it is remembered what the user switches off; `None` where nothing is kept.
    pub store: Option<Store>,
    pub rules: Vec<ErrorRule>,
    /// No wait and no new attempt goes beyond it.
    pub deadline: Duration,
    /// Give an attempt up that has shown no content by then.
    pub first_token_timeout: Option<Duration>,
    /// Start a second attempt beside one that has shown no content by then.
    pub hedge_after: Option<Duration>,
    pub affinity: bool,
    /// Silence in a stream after which a comment is sent; zero is never.
    pub keepalive: Duration,
    /// What cannot be translated is refused.
    pub strict_translation: bool,
    /// Media named by URL is fetched for upstreams that need the bytes.
    pub fetch_remote_media: bool,
}

/// A name of the user's own.
pub struct Alias {
    pub strategy: Strategy,
    /// In the order written, aliases among them opened up.
    pub targets: Vec<(ProviderId, String)>,
}

impl Snapshot {
    /// Every model known by listing or configuration, `provider/model`, filtered ones left out.
    pub fn listed_models(&self) -> Vec<String> {
        let mut models = Vec::new();
        for runtime in self.providers.values() {
            models.extend(
                runtime
                    .listed()
                    .iter()
                    .map(|model| format!("{}/{}", runtime.id, model.id)),
            );
        }
        models
    }
}
