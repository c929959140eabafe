//! `POST /v1/quota-stats`: what it may ask for, and doing it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde::Deserialize;
use tokio::time::Instant;

use crate::gateway::Gateway;
use crate::gateway::quota_stats::document::RefreshResult;
use crate::gateway::runtime::ProviderRuntime;
use crate::gateway::snapshot::Snapshot;
use crate::gateway::upkeep;
use crate::ids::CredentialId;
use crate::near::did_you_mean;
use crate::time::Timestamp;

/// How long the last counts may take to reach the disk.
const WRITE_PATIENCE: Duration = Duration::from_secs(2);

/// Accounts asked for at once.
const AT_ONCE: usize = 8;

/// The body of the request.
#[derive(Clone, Debug, Deserialize)]
pub struct Request {
    #[serde(default)]
    pub action: Action,
    #[serde(default)]
    pub scope: Scope,
    pub provider: Option<String>,
    /// Its id, or the part behind the slash.
    pub credential: Option<String>,
}

/// What to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Ask the providers for their own numbers.
    ForceRefresh,
    /// Take over what other processes have written, and write down what they should know.
    #[default]
    Reload,
}

/// For whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    #[default]
    All,
    Credential,
    Provider,
}

/// A request that cannot be followed: one sentence, and the field at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRequest {
    pub message: String,
    pub param: &'static str,
}

impl Action {
    const fn as_str(self) -> &'static str {
        match self {
            Self::ForceRefresh => "force_refresh",
            Self::Reload => "reload",
        }
    }
}

impl Scope {
    const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Credential => "credential",
            Self::Provider => "provider",
        }
    }
}

/// Reads and checks a request; an empty body reloads everything.
pub fn read(body: &[u8], snapshot: &Snapshot) -> Result<Request, BadRequest> {
    let body = if body.is_empty() { b"{}" } else { body };
    let request: Request = serde_json::from_slice(body).map_err(|error| BadRequest {
        message: format!(
            "the body is not `{{\"action\": \"reload\"|\"force_refresh\", \"scope\": \"all\"|\"provider\"|\
             \"credential\", \"provider\": …, \"credential\": …}}`: {error}"
        ),
        param: "action",
    })?;
    if request.scope != Scope::All {
        let name = request.provider.as_deref().unwrap_or_default();
        let Some(runtime) = snapshot.providers.get(name) else {
            let known = snapshot.providers.keys().map(String::as_str);
            return Err(unknown("provider", name, known));
        };
        if request.scope == Scope::Credential {
            let name = request.credential.as_deref().unwrap_or_default();
            let members = runtime.pool.snapshot(Timestamp::now()).members;
            let mut ids = members.iter().map(|member| &member.id);
            if !ids.any(|id| id.as_str() == name || id.name() == name) {
                let known = members.iter().map(|member| member.id.as_str());
                return Err(unknown("credential", name, known));
            }
        }
    }
    Ok(request)
}

fn unknown<'a>(what: &'static str, name: &str, known: impl Iterator<Item = &'a str>) -> BadRequest {
    let message = match (name, did_you_mean(name, known)) {
        ("", _) => format!("this scope needs a `{what}`"),
        (_, Some(question)) => format!("there is no {what} `{name}`; {question}"),
        (_, None) => format!("there is no {what} `{name}`"),
    };
    BadRequest {
        message,
        param: what,
    }
}

/// Does what was asked.
pub async fn run(gateway: &Arc<Gateway>, request: &Request) -> RefreshResult {
    let started = Instant::now();
    let snapshot = gateway.snapshot();
    let (behind, seen) = (Arc::clone(gateway), Arc::clone(&snapshot));
    // The database blocks: not on the runtime's own threads.
    let caught_up = tokio::task::spawn_blocking(move || catch_up(&behind, &seen)).await;
    let written = caught_up.unwrap_or_else(|error| Err(error.to_string()));
    let mut result = RefreshResult {
        action: request.action.as_str().to_owned(),
        scope: request.scope.as_str().to_owned(),
        provider: request.provider.clone(),
        credential: request.credential.clone(),
        success: written.is_ok(),
        message: match &written {
            Ok(()) => {
                "what other processes have written counts here, and the other way round".to_owned()
            }
            Err(error) => error.clone(),
        },
        ..RefreshResult::default()
    };
    if request.action == Action::ForceRefresh {
        ask_vendors(&snapshot, request, &mut result).await;
    }
    result.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    result
}

/// Takes over what others wrote and writes down what they should know. Blocks.
fn catch_up(gateway: &Gateway, snapshot: &Snapshot) -> Result<(), String> {
    let Some(persistence) = &gateway.persistence else {
        return Ok(());
    };
    persistence.catch_up(snapshot, Timestamp::now());
    let written = persistence.state().flush(WRITE_PATIENCE);
    written.map_err(|error| error.to_string())
}

/// Reads the quotas of those credentials that are meant and can be asked for.
async fn ask_vendors(snapshot: &Snapshot, request: &Request, result: &mut RefreshResult) {
    let of_provider = |runtime: &&Arc<ProviderRuntime>| {
        request.scope == Scope::All || request.provider.as_deref() == Some(runtime.id.as_str())
    };
    let chosen: Vec<_> = snapshot.providers.values().filter(of_provider).collect();
    let is_meant = |id: &CredentialId| {
        let name = request.credential.as_deref().unwrap_or_default();
        request.scope != Scope::Credential || id.as_str() == name || id.name() == name
    };
    let accounts = chosen.iter().flat_map(|runtime| {
        let holders = runtime.holders.values();
        let asked = holders.filter(|holder| holder.account().is_some() && is_meant(&holder.id));
        asked.map(move |holder| (Arc::clone(runtime), holder.id.clone()))
    });
    let read: Vec<_> = stream::iter(accounts.collect::<Vec<_>>())
        .map(|(runtime, id)| async move {
            let read = upkeep::read_quota(&runtime, &id).await;
            (id, read)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut errors = Vec::new();
    let (mut refreshed, mut failed) = (0, 0);
    for (id, read) in &read {
        match read {
            Ok(0) => {}
            Ok(_) => refreshed += 1,
            Err(failure) => {
                failed += 1;
                errors.push(format!("{id}: {}", failure.message));
            }
        }
    }
    errors.sort();
    result.message = match (refreshed, failed) {
        (0, 0) => nothing_to_ask(chosen.iter().map(|runtime| &***runtime)),
        (0, _) => "no quota could be read".to_owned(),
        (1, _) => "the quota of one account was read".to_owned(),
        (several, _) => format!("the quotas of {several} accounts were read"),
    };
    result.success &= failed == 0;
    result.credentials_refreshed = Some(refreshed);
    result.success_count = Some(refreshed);
    result.failed_count = Some(failed);
    result.errors = Some(errors);
}

/// None of the providers that take API keys can be asked for a quota (vendors' API references,
/// read 2026-11-22): what is left of a limit comes with the headers of each answer.
fn nothing_to_ask<'a>(chosen: impl Iterator<Item = &'a ProviderRuntime>) -> String {
    let names: Vec<_> = chosen.map(|runtime| runtime.id.as_str()).collect();
    match names.as_slice() {
        [] => "there is no provider to ask".to_owned(),
        [one] => format!("{one} has no endpoint for quotas: nothing was refreshed"),
        several => format!(
            "none of {} has an endpoint for quotas: nothing was refreshed",
            several.join(", ")
        ),
    }
}

impl fmt::Display for BadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
