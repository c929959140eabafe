//! Which models each provider has: discovered with its own credentials, cached on disk, never
//! hidden by a failed refresh.

use std::collections::HashSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::dialects::model_list::ListedEntry;
use crate::gateway::accounts::{self, Unready};
use crate::gateway::plan::{self, MayUse};
use crate::gateway::probe::{self, ProbeReply};
use crate::gateway::runtime::ProviderRuntime;
use crate::gateway::snapshot::Snapshot;
use crate::gateway::upstream::SendError;
use crate::ids::{CredentialId, ProviderId};
use crate::providers::verdict::{Failure, Fault, Verdict};
use crate::providers::{ListedModel, ModelPage};
use crate::time::Timestamp;

/// A list older than this is fetched again when somebody asks for it.
pub const FRESH_FOR: Duration = Duration::from_hours(6);

/// After a failed refresh the next one waits this long.
const RETRY_AFTER: Duration = Duration::from_mins(1);

/// Credentials tried for one list: one bad key must not hide a provider, ten must not be burnt.
const CREDENTIALS_TRIED: usize = 4;

/// Models kept of one provider, and pages fetched for them.
const MAX_MODELS: usize = 50_000;
const MAX_PAGES: usize = 100;

const LIST_TIMEOUT: Duration = Duration::from_secs(15);

/// The known models of one provider. Survives reloads.
#[derive(Debug, Default)]
pub struct ProviderModels {
    listing: Mutex<Arc<Listing>>,
    cache_file: Option<PathBuf>,
    /// Held while a refresh runs, so that many callers cause one.
    refreshing: tokio::sync::Mutex<()>,
}

/// A model list with its age.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Listing {
    pub models: Vec<ListedModel>,
    /// When the provider was last heard, milliseconds since the epoch; 0 is never.
    pub fetched_ms: i64,
    /// When a refresh last failed, and why. Not stored.
    #[serde(skip)]
    pub failed: Option<(Timestamp, String)>,
}

impl ProviderModels {
    /// Loads what an earlier run cached; a missing or damaged cache file is simply no cache.
    pub fn load(provider: &ProviderId, cache_dir: Option<&Path>) -> Self {
        let cache_file = cache_dir.map(|dir| dir.join("models").join(format!("{provider}.json")));
        let listing = cache_file
            .as_ref()
            .and_then(|file| fs::read(file).ok())
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        Self {
            listing: Mutex::new(Arc::new(listing)),
            cache_file,
            refreshing: tokio::sync::Mutex::default(),
        }
    }

    /// What is known now.
    pub fn listing(&self) -> Arc<Listing> {
        Arc::clone(&self.listing.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn store(&self, listing: Listing) {
        if let Some(file) = &self.cache_file
            && listing.failed.is_none()
            && let Err(error) = write_cache(file, &listing)
        {
            tracing::debug!("cannot cache a model list at {}: {error}", file.display());
        }
        *self.listing.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(listing);
    }
}

impl Listing {
    /// `true` while the list needs no refresh.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        let fetched = Timestamp::from_millis(self.fetched_ms);
        let recently_failed = self
            .failed
            .as_ref()
            .is_some_and(|(when, _)| now.since(*when) < RETRY_AFTER && *when <= now);
        recently_failed || (self.fetched_ms > 0 && now.since(fetched) < FRESH_FOR)
    }
}

/// Fetches the provider's list if it is old (or `force`), with its usable credentials one after
/// the other. What was known stays when all fail.
pub async fn refresh(runtime: &ProviderRuntime, force: bool) -> Result<(), Failure> {
    let Some(_) = runtime.adapter.list_models(None) else {
        return Ok(());
    };
    let _one = runtime.models.refreshing.lock().await;
    if !force && runtime.models.listing().is_fresh(Timestamp::now()) {
        return Ok(());
    }
    let mut failure = None;
    for credential in candidates(runtime) {
        match fetch(runtime, credential.as_ref()).await {
            Ok(models) => {
                let fetched_ms = Timestamp::now().as_millis();
                runtime.models.store(Listing {
                    models,
                    fetched_ms,
                    failed: None,
                });
                return Ok(());
            }
            Err(error) => failure = Some(error),
        }
    }
    let Some(failure) = failure else {
        return Ok(());
    };
    tracing::debug!(provider = %runtime.id, "cannot list the models of {}: {}", runtime.id, failure.message);
    let mut listing = (*runtime.models.listing()).clone();
    listing.failed = Some((Timestamp::now(), failure.message.clone()));
    runtime.models.store(listing);
    Err(failure)
}

/// Credentials worth trying, or one empty try for a provider that lists without a key.
fn candidates(runtime: &ProviderRuntime) -> Vec<Option<CredentialId>> {
    let public = runtime
        .adapter
        .list_models(None)
        .is_some_and(|call| !call.authorised);
    if public || (runtime.holders.is_empty() && runtime.adapter.spec().key_optional) {
        return vec![None];
    }
    runtime.usable().take(CREDENTIALS_TRIED).map(Some).collect()
}

/// Every model a client may use, names from `[models]` first: those that lead somewhere.
pub fn entries(snapshot: &Snapshot, may_use: MayUse<'_>) -> Vec<ListedEntry> {
    let mut entries = Vec::new();
    for name in snapshot
        .aliases
        .keys()
        .filter(|name| may_use(name, "", name) && plan::targets(snapshot, name, may_use).is_ok())
    {
        let owned_by = "llmproxy".to_owned();
        entries.push(ListedEntry {
            id: name.clone(),
            owned_by,
            ..ListedEntry::default()
        });
    }
    for runtime in snapshot.providers.values() {
        let provider = runtime.id.as_str();
        for model in runtime.listed() {
            let id = format!("{provider}/{}", model.id);
            if may_use(&id, provider, &model.id) {
                entries.push(entry(id, provider, model));
            }
        }
    }
    entries
}

fn entry(id: String, provider: &str, model: ListedModel) -> ListedEntry {
    ListedEntry {
        id,
        display_name: model.display_name,
        owned_by: provider.to_owned(),
        created: model.created.unwrap_or(0),
        input_limit: model.context_window,
        output_limit: model.max_output,
        ..ListedEntry::default()
    }
}

async fn fetch(
    runtime: &ProviderRuntime,
    credential: Option<&CredentialId>,
) -> Result<Vec<ListedModel>, Failure> {
    let mut pass = match credential {
        Some(credential) => accounts::ready(runtime, credential)
            .await
            .map_err(Unready::into_failure)?,
        None => None,
    };
    let mut models = Vec::new();
    let mut seen = HashSet::new();
    let mut page: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let Some(call) = runtime.adapter.list_models(page.as_deref()) else {
            break;
        };
        let reply = match &mut pass {
            Some(pass) => probe::ask(runtime, pass, &call, LIST_TIMEOUT).await,
            None => probe::call(runtime, None, &call, LIST_TIMEOUT).await,
        }
        .map_err(SendError::failure)?;
        let ModelPage {
            models: listed,
            next,
        } = read_page(runtime, &reply)?;
        // Vendors list one model twice now and then.
        models.extend(
            listed
                .into_iter()
                .filter(|model| seen.insert(model.id.clone())),
        );
        if models.len() > MAX_MODELS {
            models.truncate(MAX_MODELS);
            break;
        }
        match next {
            Some(token) if Some(&token) != page.as_ref() => page = Some(token),
            _ => break,
        }
    }
    Ok(models)
}

fn read_page(runtime: &ProviderRuntime, reply: &ProbeReply) -> Result<ModelPage, Failure> {
    if !reply.is_success() {
        let mut failure = runtime.adapter.judge(&reply.as_answer());
        failure.message = runtime.redact(&failure.message, None);
        return Err(failure);
    }
    runtime.adapter.read_models(&reply.body).map_err(|reason| {
        let message = format!("{} answered with no model list: {reason}", runtime.id);
        Failure {
            status: Some(reply.status),
            ..Failure::new(Verdict::Transient(Fault::Garbage), message)
        }
    })
}

/// Writes a cache file whole or not at all.
pub(super) fn write_cache(file: &Path, content: &impl Serialize) -> std::io::Result<()> {
    let dir = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let mut temporary = tempfile::NamedTempFile::new_in(dir)?;
    serde_json::to_writer(&mut temporary, content)?;
    temporary.flush()?;
    temporary.persist(file).map_err(|error| error.error)?;
    Ok(())
}
