//! What the gateway knows of its own doing: metrics, quotas, the trail of a request.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;

use crate::dialects::Dialect;
use crate::dialects::error::{ErrorKind, ErrorReply};
use crate::gateway::Gateway;
use crate::gateway::quota_stats::document::{Document, Summary};
use crate::gateway::quota_stats::{self, refresh};
use crate::gateway::readings;
use crate::server::clients::Client;
use crate::server::handlers::{Settings, Shared};
use crate::server::respond::{self, Answer};
use crate::telemetry::metrics::CONTENT_TYPE;
use crate::time::Timestamp;

/// How long the answer about a request waits for what is not written yet.
const JOURNAL_PATIENCE: Duration = Duration::from_secs(2);

/// `GET /metrics`.
pub(super) fn metrics(shared: &Shared, settings: &Settings) -> Answer {
    if !settings.metrics {
        return not_found("metrics are switched off (`[server] metrics`)");
    }
    let text = readings::exposition(&shared.gateway, Timestamp::now());
    respond::with_type(StatusCode::OK, CONTENT_TYPE, Bytes::from(text))
}

/// `GET /v1/quota-stats`, of one provider with `?provider=`.
pub(super) async fn quota_stats(shared: &Shared, query: Option<&str>) -> Answer {
    let only = parameter(query, "provider");
    if let Some(name) = &only
        && !shared.gateway.snapshot().providers.contains_key(name)
    {
        return not_found(&format!("there is no provider `{name}` with a credential"));
    }
    let document = blocking(&shared.gateway, |gateway| {
        quota_stats::of_gateway(gateway, Timestamp::now())
    });
    let mut document = narrowed(document.await, only.as_deref());
    if let Some(group) = &shared.gateway.group {
        document.group = Some(group.report(&shared.gateway).await);
    }
    answer(&document)
}

/// `POST /v1/quota-stats`.
pub(super) async fn refresh(shared: &Shared, body: &[u8]) -> Answer {
    let request = match refresh::read(body, &shared.gateway.snapshot()) {
        Ok(request) => request,
        Err(bad) => {
            let error = ErrorReply::invalid(bad.message).with_param(bad.param);
            return respond::error(Dialect::OpenAiChat, &error);
        }
    };
    let only = (request.scope != refresh::Scope::All)
        .then(|| request.provider.clone())
        .flatten();
    let result = refresh::run(&shared.gateway, &request).await;
    let document = blocking(&shared.gateway, move |gateway| {
        let mut document = quota_stats::of_gateway(gateway, Timestamp::now());
        "refreshed".clone_into(&mut document.data_source);
        document.refresh_result = Some(result);
        document
    });
    answer(&narrowed(document.await, only.as_deref()))
}

/// `GET /v1/requests`: the client's own requests under way; all, for an owner of the server.
pub(super) fn under_way(shared: &Shared, client: &Client) -> Answer {
    let sender = (!client.is_owner).then_some(&*client.name);
    answer(&shared.gateway.under_way.list(sender, Timestamp::now()))
}

/// `GET /v1/requests/{id}`: for the client that sent it, and nobody else.
pub(super) async fn request(shared: &Shared, client: &Client, id: &str) -> Answer {
    match found(shared, id, Some(Arc::clone(&client.name))).await {
        Some(trail) => respond::json(StatusCode::OK, trail.to_string()),
        None => not_found(&format!(
            "there is no request `{id}` of yours in the journal"
        )),
    }
}

/// The trail of a request; `sender` is who must have sent it, `None` whoever did.
pub(super) async fn found(shared: &Shared, id: &str, sender: Option<Arc<str>>) -> Option<Value> {
    let id = id.to_owned();
    let found = blocking(&shared.gateway, move |gateway| {
        trail(gateway, &id).filter(|trail| {
            let sent_by = trail.pointer("/request/client").and_then(Value::as_str);
            sender.is_none_or(|sender| sent_by == Some(&*sender))
        })
    });
    found.await
}

/// The entry of a request; one of another process may still be on its way to the database.
fn trail(gateway: &Gateway, id: &str) -> Option<Value> {
    let read = || gateway.telemetry.request(id).ok().flatten();
    let row = read().or_else(|| {
        // Late or not, what is there after the wait is the answer.
        let state = gateway.persistence.as_ref()?.state();
        let _ = state.flush(JOURNAL_PATIENCE);
        read()
    })?;
    serde_json::from_str(&row.value).ok()
}

/// The document with one provider only.
fn narrowed(mut document: Document, only: Option<&str>) -> Document {
    if let Some(only) = only {
        document.providers.retain(|name, _| name == only);
        document.summary = Summary::of(document.providers.values());
    }
    document
}

fn answer(document: &impl Serialize) -> Answer {
    match serde_json::to_vec(document) {
        Ok(body) => respond::json(StatusCode::OK, body),
        Err(error) => {
            let message = format!("the document cannot be written: {error}");
            let error = ErrorReply::new(500, ErrorKind::Provider, "internal_error", message);
            respond::error(Dialect::OpenAiChat, &error)
        }
    }
}

/// Work that reads the database, off the runtime's own threads.
pub(super) async fn blocking<T: Default + Send + 'static>(
    gateway: &Arc<Gateway>,
    work: impl FnOnce(&Gateway) -> T + Send + 'static,
) -> T {
    let gateway = Arc::clone(gateway);
    let done = tokio::task::spawn_blocking(move || work(&gateway)).await;
    done.unwrap_or_else(|error| {
        tracing::error!("a report could not be made: {error}");
        T::default()
    })
}

/// The first value of a query parameter, `None` if absent or empty.
pub(super) fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    let value = pairs.into_iter().find(|(key, _)| *key == name)?.1;
    (!value.is_empty()).then(|| value.to_owned())
}

pub(super) fn not_found(message: &str) -> Answer {
    let error = ErrorReply::new(404, ErrorKind::InvalidRequest, "not_found", message);
    respond::error(Dialect::OpenAiChat, &error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_by_their_whole_name() {
        let query = Some("provider_x=a&provider=gemini&provider=b&empty=");
        assert_eq!(parameter(query, "provider").as_deref(), Some("gemini"));
        assert_eq!(parameter(query, "empty"), None);
        assert_eq!(parameter(None, "provider"), None);
    }
}
