//! Which (provider, model) pairs may serve a request, in the order to try them.

use std::sync::Arc;

use crate::config::alias::Strategy;
use crate::config::models::Filtered;
use crate::dialects;
use crate::dialects::error::{ErrorKind, ErrorReply};
use crate::gateway::build::DEMO;
use crate::gateway::runtime::ProviderRuntime;
use crate::gateway::snapshot::Snapshot;
use crate::ids::ProviderId;
use crate::near::did_you_mean;
use crate::providers;

/// One way to serve a request.
#[derive(Clone)]
pub struct Target {
    pub runtime: Arc<ProviderRuntime>,
    /// The model's name at the provider.
    pub model: String,
}

impl Target {
    /// What a codec must know of it.
    pub fn for_codec(&self) -> dialects::Target<'_> {
        dialects::Target {
            model: &self.model,
            provider: self.runtime.id.as_str(),
            facts: self.runtime.facts.facts(&self.model),
        }
    }
}

/// Whether the client may use a model: by the name it asked for, the provider, and the name there.
pub type MayUse<'a> = &'a (dyn Fn(&str, &str, &str) -> bool + Send + Sync);

/// The targets of a model name that the client may use, at least one; an error says why there is
/// none.
pub fn targets(
    snapshot: &Snapshot,
    name: &str,
    may_use: MayUse<'_>,
) -> Result<Vec<Target>, ErrorReply> {
    let mut targets = resolve(snapshot, name)?;
    targets.retain(|target| may_use(name, target.runtime.id.as_str(), &target.model));
    if targets.is_empty() {
        let message = format!("this client may not use the model `{name}`");
        let error = ErrorReply::new(403, ErrorKind::Permission, "model_not_allowed", message);
        return Err(error.with_param("model"));
    }
    Ok(targets)
}

fn resolve(snapshot: &Snapshot, name: &str) -> Result<Vec<Target>, ErrorReply> {
    if let Some(alias) = snapshot.aliases.get(name) {
        return alias_targets(snapshot, name, alias.strategy, &alias.targets);
    }
    if let Some((provider, model)) = name.split_once('/')
        && let Some(runtime) = snapshot.providers.get(provider)
    {
        return Ok(vec![allowed(runtime, model)?]);
    }
    let listing: Vec<_> = snapshot
        .providers
        .values()
        .filter(|runtime| runtime.lists(name) && runtime.shows(name).is_allowed())
        .collect();
    match listing.as_slice() {
        [only] => Ok(vec![allowed(only, name)?]),
        [] => Err(unknown(snapshot, name)),
        several => {
            let names: Vec<_> = several
                .iter()
                .map(|runtime| format!("`{}/{name}`", runtime.id))
                .collect();
            Err(not_found(format!(
                "several providers list `{name}`: write {}",
                names.join(" or ")
            )))
        }
    }
}

fn alias_targets(
    snapshot: &Snapshot,
    name: &str,
    strategy: Strategy,
    pairs: &[(ProviderId, String)],
) -> Result<Vec<Target>, ErrorReply> {
    let mut targets = Vec::with_capacity(pairs.len());
    let mut refused = None;
    for (provider, model) in pairs {
        let target = match snapshot.providers.get(provider.as_str()) {
            Some(runtime) => allowed(runtime, model),
            None => Err(unknown(snapshot, &format!("{provider}/{model}"))),
        };
        match target {
            Ok(target) => targets.push(target),
            Err(error) => refused = Some(error),
        }
    }
    match strategy {
        Strategy::Ordered => {}
        Strategy::Balanced => fastrand::shuffle(&mut targets),
        // Unmeasured ones first, so that each gets measured; a stable sort keeps the user's order.
        Strategy::Fastest => {
            targets.sort_by_key(|target| target.runtime.first_token.get(&target.model));
        }
    }
    if targets.is_empty() {
        return Err(
            refused.unwrap_or_else(|| not_found(format!("the model `{name}` has no targets")))
        );
    }
    Ok(targets)
}

/// The target, unless a filter hides the model: a hidden model cannot be called either.
fn allowed(runtime: &Arc<ProviderRuntime>, model: &str) -> Result<Target, ErrorReply> {
    if model.is_empty() {
        return Err(not_found(format!(
            "no model is named behind `{}/`",
            runtime.id
        )));
    }
    match runtime.shows(model) {
        Filtered::IgnoredBy(pattern) => Err(not_found(format!(
            "the model `{model}` of {} is filtered out (ignore_models has `{}`)",
            runtime.id,
            pattern.as_str()
        ))),
        _ => Ok(Target {
            runtime: Arc::clone(runtime),
            model: runtime.upstream_name(model),
        }),
    }
}

/// Why a name leads nowhere: a provider without credentials, or nothing of the kind, with the
/// nearest names.
fn unknown(snapshot: &Snapshot, name: &str) -> ErrorReply {
    if let Some((provider, _)) = name.split_once('/') {
        if providers::find(provider).is_some() {
            return no_credentials(provider);
        }
        let configured = snapshot.providers.keys().map(String::as_str);
        let built_in = providers::all().map(|known| known.spec().id).chain([DEMO]);
        let known = configured.chain(built_in);
        if let Some(question) = did_you_mean(provider, known) {
            return not_found(format!("there is no provider `{provider}`; {question}"));
        }
    }
    let listed = snapshot.listed_models();
    let aliases = snapshot.aliases.keys().map(String::as_str);
    match did_you_mean(name, listed.iter().map(String::as_str).chain(aliases)) {
        Some(question) => not_found(format!("there is no model `{name}`; {question}")),
        None => not_found(format!(
            "there is no model `{name}`; models are named `provider/model`"
        )),
    }
}

/// 503: the provider is known, but has no credential.
pub fn no_credentials(provider: &str) -> ErrorReply {
    let message = format!(
        "the provider {provider} has no credential; add one with `llmproxy creds add {provider}`"
    );
    ErrorReply::new(503, ErrorKind::Provider, "no_credentials", message)
}

fn not_found(message: String) -> ErrorReply {
    ErrorReply::new(404, ErrorKind::InvalidRequest, "model_not_found", message).with_param("model")
}
