//! One provider ready to serve: its adapter, addresses, secrets, pool and models.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::models::{Filtered, Pattern, filter};
use crate::config::provider::ExtraModel;
use crate::config::routing::TemperatureZero;
use crate::dialects::fields::Raw;
use crate::dialects::mend::Mending;
use crate::dialects::models::ModelTable;
use crate::gateway::accounts::Holders;
use crate::gateway::catalog::ProviderModels;
use crate::gateway::clients::Clients;
use crate::gateway::first_token::FirstToken;
use crate::gateway::grades::Grades;
use crate::gateway::group::names::Names;
use crate::gateway::upstream::{Address, Addresses, Limits, SendError};
use crate::ids::{CredentialId, ProviderId};
use crate::pool::Pool;
use crate::providers::account::AccountView;
use crate::providers::forms::Switches;
use crate::providers::redact::redact;
use crate::providers::{ListedModel, Provider};
use crate::secret::Secret;
use crate::time::Timestamp;

/// Credentials looked at for a call outside the pool.
const MOST_USABLE: usize = 16;

/// Everything an attempt needs of a provider. Immutable but for the pool, the model list and the
/// measured times, which survive a reload.
pub struct ProviderRuntime {
    pub id: ProviderId,
    pub adapter: &'static dyn Provider,
    /// Addresses in the order to try them.
    pub base_urls: Vec<String>,
    /// `true` if the user named them: then no account has another one.
    pub is_elsewhere: bool,
    pub clients: Clients,
    pub limits: Limits,
    /// `headers` of the config.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// `extra_body` of the config.
    pub extra_body: Vec<(String, Raw)>,
    pub allow_models: Vec<Pattern>,
    pub ignore_models: Vec<Pattern>,
    /// What becomes of a temperature of exactly zero.
    pub temperature_zero: TemperatureZero,
    /// What models take and refuse, the user's own facts over the built-in ones.
    pub facts: Arc<ModelTable>,
    /// What its answers need before anybody reads them.
    pub mending: Mending,
    /// `models` of the config.
    pub extra_models: Vec<ExtraModel>,
    pub pool: Arc<Pool>,
    /// The credentials themselves, by id.
    pub holders: Holders,
    /// What they are called in a group.
    pub names: Names,
    /// What the tiers of its accounts mean.
    pub grades: Grades,
    pub models: Arc<ProviderModels>,
    pub first_token: Arc<FirstToken>,
    pub addresses: Addresses,
    /// Settings that change what the adapter sends.
    pub switches: Switches,
}

impl ProviderRuntime {
    /// Sets the headers that the user configured; they win over the client's and the adapter's.
    pub fn add_headers(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
    }

    /// The parsed form of an address of this provider.
    pub fn parsed(&self, address: &str) -> Result<Address, SendError> {
        self.addresses.parse(address)
    }

    /// A text safe to show: the secret used and anything that looks like a key are gone.
    pub fn redact(&self, text: &str, secret: Option<&Secret>) -> String {
        redact(text, &[secret.map_or("", Secret::expose)]).into_owned()
    }

    /// Whether the filters let a model be listed and called.
    pub fn shows(&self, model: &str) -> Filtered<'_> {
        filter(
            self.id.as_str(),
            model,
            &self.allow_models,
            &self.ignore_models,
        )
    }

    /// The name the provider knows a model by: a configured model may go by another one here, and
    /// a name that has gone out of use is served by another model.
    pub fn upstream_name(&self, model: &str) -> String {
        if let Some(extra) = self.extra_models.iter().find(|extra| extra.name == model) {
            return extra.id.clone();
        }
        let listing = self.models.listing();
        let listed = listing.models.iter().find(|listed| listed.id == model);
        listed
            .and_then(|listed| listed.served_by.clone())
            .unwrap_or_else(|| model.to_owned())
    }

    /// Request fields that a configured model sets where the request has none.
    pub fn model_options(
        &self,
        upstream_name: &str,
    ) -> Option<&serde_json::Map<String, serde_json::Value>> {
        let extra = self
            .extra_models
            .iter()
            .find(|extra| extra.id == upstream_name)?;
        (!extra.options.is_empty()).then_some(&extra.options)
    }

    /// `true` if the model is known by listing, configuration or the vendor's data.
    pub fn lists(&self, model: &str) -> bool {
        self.extra_models.iter().any(|extra| extra.name == model)
            || self
                .models
                .listing()
                .models
                .iter()
                .any(|listed| listed.id == model)
            || self.adapter.spec().models.contains(&model)
    }

    /// The models that can be listed: discovered, configured, or the vendor's fixed ones.
    pub fn listed(&self) -> Vec<ListedModel> {
        let listing = self.models.listing();
        let mut models = listing.models.clone();
        models.retain(|model| model.served_by.is_none());
        let named = |id: &str| ListedModel {
            id: id.to_owned(),
            ..ListedModel::default()
        };
        if models.is_empty() {
            models.extend(self.adapter.spec().models.iter().map(|id| named(id)));
        }
        for extra in &self.extra_models {
            if !models.iter().any(|model| model.id == extra.name) {
                models.push(named(&extra.name));
            }
        }
        models.retain(|model| self.shows(&model.id).is_allowed());
        models
    }

    /// The addresses that an account (or key) is to use, in the order to try them.
    pub fn bases(&self, account: &AccountView<'_>) -> Cow<'_, [String]> {
        if !self.is_elsewhere
            && let Some(own) = self.adapter.base_for(account)
        {
            return Cow::Owned(vec![own]);
        }
        Cow::Borrowed(&self.base_urls)
    }

    /// Credentials that are not known to be refused, ready ones first, for calls outside the pool.
    pub fn usable(&self) -> impl Iterator<Item = CredentialId> {
        let usable = self.pool.usable(MOST_USABLE, Timestamp::now());
        usable.into_iter()
    }
}
