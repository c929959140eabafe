//! The gateway's own pages: health, models, providers, and the way to the reports.

use http::header::USER_AGENT;
use http::{HeaderMap, Request, StatusCode};
use hyper::body::Incoming;
use serde_json::json;

use crate::dialects::Dialect;
use crate::dialects::error::{ErrorKind, ErrorReply};
use crate::dialects::model_list;
use crate::gateway::catalog::{self, entries};
use crate::gateway::enriched::enrich;
use crate::gateway::snapshot::Snapshot;
use crate::pool::CredentialState;
use crate::server::body;
use crate::server::clients::Client;
use crate::server::dashboard;
use crate::server::handlers::{Settings, Shared, estimate, stats, stored};
use crate::server::respond::{self, Answer};
use crate::server::router::Route;
use crate::time::Timestamp;

/// `/`, `/health` and the bare live page: open to everybody, telling nothing.
pub(super) fn open_page(shared: &Shared, settings: &Settings, route: &Route<'_>) -> Answer {
    match route {
        Route::Health => health(shared),
        Route::Dashboard => dashboard::page(!settings.clients.is_open()),
        _ => {
            let body =
                json!({"status": "ok", "name": "llmproxy", "version": env!("CARGO_PKG_VERSION")});
            respond::json(StatusCode::OK, body.to_string())
        }
    }
}

/// The pages behind the client key.
pub(super) async fn handle(
    shared: &Shared,
    settings: &Settings,
    request: Request<Incoming>,
    route: &Route<'_>,
    client: &Client,
) -> Answer {
    let headers = request.headers();
    let dialect = dialect_of(route, headers);
    let query = request.uri().query();
    let snapshot = shared.gateway.snapshot();
    let may_use = |asked: &str, provider: &str, model: &str| client.may_use(asked, provider, model);
    match route {
        Route::Models { .. } => {
            refresh_stale(&snapshot).await;
            let mut entries = entries(&snapshot, &may_use);
            if is_enriched(query) {
                for entry in &mut entries {
                    enrich(&snapshot, entry);
                }
            }
            let shape = match dialect {
                Dialect::OpenAiChat if is_codex(query, headers) => Dialect::OpenAiResponses,
                dialect => dialect,
            };
            respond::json(StatusCode::OK, model_list::write_list(shape, &entries))
        }
        Route::Model { id, .. } => {
            refresh_stale(&snapshot).await;
            let id = id.strip_prefix("models/").unwrap_or(id);
            if let Some(mut entry) = entries(&snapshot, &may_use)
                .into_iter()
                .find(|entry| entry.id == id)
            {
                if is_enriched(query) {
                    enrich(&snapshot, &mut entry);
                }
                respond::json(StatusCode::OK, model_list::write_one(dialect, &entry))
            } else {
                let message = format!("there is no model `{id}`");
                let error =
                    ErrorReply::new(404, ErrorKind::InvalidRequest, "model_not_found", message);
                respond::error(dialect, &error.with_param("model"))
            }
        }
        Route::Providers => respond::json(StatusCode::OK, providers(&snapshot)),
        Route::Metrics => stats::metrics(shared, settings),
        Route::QuotaStats { refresh: false } => stats::quota_stats(shared, query).await,
        Route::CancelResponse { id } => stored::cancel(shared, client, id).await,
        Route::InputItems { id } => stored::input_items(shared, client, id, query).await,
        Route::Response { id } => {
            stored::response(shared, client, id, request.method(), query).await
        }
        Route::Request { id } => stats::request(shared, client, id).await,
        Route::Requests => stats::under_way(shared, client),
        Route::CostEstimate | Route::QuotaStats { refresh: true } | Route::TokenCount => {
            let body = match body::read(request.into_body(), settings.max_body).await {
                Ok(body) => body,
                Err(error) => {
                    let error = body::refusal(error, settings.max_body);
                    return respond::error(dialect, &error);
                }
            };
            match route {
                Route::CostEstimate => estimate::cost_estimate(&snapshot, &body, &may_use),
                Route::TokenCount => estimate::token_count(&body),
                _ => stats::refresh(shared, &body).await,
            }
        }
        Route::Board(_) | Route::Dashboard | Route::Health | Route::Inference(_) | Route::Root => {
            elsewhere()
        }
    }
}

fn is_enriched(query: Option<&str>) -> bool {
    stats::parameter(query, "enriched").is_some_and(|value| value == "true" || value == "1")
}

/// Whether Codex asks, which looks for a list of its own beside OpenAI's (its sources, read
/// 2026-11-22).
fn is_codex(query: Option<&str>, headers: &HeaderMap) -> bool {
    let agent = headers.get(USER_AGENT);
    stats::parameter(query, "client_version").is_some()
        || agent.is_some_and(|agent| agent.as_bytes().starts_with(b"codex"))
}

/// Whose SDK asks for models: its headers tell, where the path does not.
pub(super) fn dialect_of(route: &Route<'_>, headers: &HeaderMap) -> Dialect {
    match route {
        Route::Model { gemini: false, .. } | Route::Models { gemini: false } => {
            dialect_of_sdk(headers)
        }
        _ => route.dialect(),
    }
}

/// The same where the path tells nothing at all.
pub(super) fn dialect_of_sdk(headers: &HeaderMap) -> Dialect {
    if headers.contains_key("x-goog-api-key") {
        Dialect::Gemini
    } else if headers.contains_key("anthropic-version") {
        Dialect::Anthropic
    } else {
        Dialect::OpenAiChat
    }
}

fn health(shared: &Shared) -> Answer {
    let now = Timestamp::now();
    let ready = shared
        .gateway
        .snapshot()
        .providers
        .values()
        .any(|runtime| runtime.pool.has_ready(now));
    let (status, word) = if ready {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "no ready credential")
    };
    respond::json(status, json!({"status": word}).to_string())
}

/// Brings every stale list up to date, side by side; a list that cannot be had stays as it was.
async fn refresh_stale(snapshot: &Snapshot) {
    let refreshes = snapshot
        .providers
        .values()
        .map(|runtime| catalog::refresh(runtime, false));
    futures_util::future::join_all(refreshes).await;
}

fn providers(snapshot: &Snapshot) -> String {
    let now = Timestamp::now();
    let data: Vec<_> = snapshot
        .providers
        .values()
        .map(|runtime| {
            let pool = runtime.pool.summary(now);
            json!({
                "id": runtime.id.as_str(),
                "kind": runtime.adapter.spec().dialect.as_str(),
                "credentials": pool.credentials,
                "ready": pool.count(CredentialState::Ready),
                "cooling": pool.count(CredentialState::Cooling)
                    + pool.count(CredentialState::Exhausted),
                "models": runtime.listed().len(),
            })
        })
        .collect();
    json!({"object": "list", "data": data}).to_string()
}

/// Routes that are answered before they get here.
fn elsewhere() -> Answer {
    let message = "this page is not served here";
    let error = ErrorReply::new(404, ErrorKind::InvalidRequest, "not_found", message);
    respond::error(Dialect::OpenAiChat, &error)
}
