//! Responses that the gateway keeps, to look at and to delete: each client its own.

use http::{Method, StatusCode};

use crate::dialects::Dialect;
use crate::dialects::error::ErrorReply;
use crate::dialects::openai_responses::store::{self, Page};
use crate::server::clients::Client;
use crate::server::handlers::{Shared, stats};
use crate::server::respond::{self, Answer};
use crate::time::Timestamp;

/// Most items of a list (OpenAI API reference, read 2026-11-22).
const MAX_ITEMS: usize = 100;

/// `GET` and `DELETE /v1/responses/{id}`.
pub(super) async fn response(
    shared: &Shared,
    client: &Client,
    id: &str,
    method: &Method,
    query: Option<&str>,
) -> Answer {
    let (responses, now) = (&shared.gateway.responses, Timestamp::now());
    if *method == Method::DELETE {
        return if responses.delete(&client.owner, id, now).await {
            respond::json(StatusCode::OK, store::deleted(id))
        } else {
            absent(id)
        };
    }
    match responses.find(&client.owner, id, now).await {
        // OpenAI refuses it alike for what was not made in the background.
        Some(_) if stats::parameter(query, "stream").as_deref() == Some("true") => {
            let message = "only a response made with `background: true` can be streamed again; this \
                           one is complete: ask without `stream`";
            let error = ErrorReply::invalid(message).with_param("stream");
            respond::error(Dialect::OpenAiResponses, &error)
        }
        Some(kept) => respond::json(StatusCode::OK, kept.object.get().to_owned()),
        None => absent(id),
    }
}

/// `GET /v1/responses/{id}/input_items`.
pub(super) async fn input_items(
    shared: &Shared,
    client: &Client,
    id: &str,
    query: Option<&str>,
) -> Answer {
    let page = match page(query) {
        Ok(page) => page,
        Err(error) => return respond::error(Dialect::OpenAiResponses, &error),
    };
    let responses = &shared.gateway.responses;
    match responses.find(&client.owner, id, Timestamp::now()).await {
        Some(kept) => {
            let items = kept.items.get(..kept.inputs).unwrap_or_default();
            respond::json(StatusCode::OK, store::item_list(id, items, &page))
        }
        None => absent(id),
    }
}

/// `POST /v1/responses/{id}/cancel`. Nothing kept is under way still: nothing runs in the background
/// here, and OpenAI refuses all else alike (its API reference, read 2026-11-22).
pub(super) async fn cancel(shared: &Shared, client: &Client, id: &str) -> Answer {
    let responses = &shared.gateway.responses;
    let found = responses.find(&client.owner, id, Timestamp::now()).await;
    if found.is_none() {
        return absent(id);
    }
    let message = "only a response made with `background: true` can be cancelled, and this one is \
                   complete";
    respond::error(Dialect::OpenAiResponses, &ErrorReply::invalid(message))
}

fn absent(id: &str) -> Answer {
    respond::error(Dialect::OpenAiResponses, &store::absent(id))
}

fn page(query: Option<&str>) -> Result<Page, ErrorReply> {
    let mut page = Page::default();
    if let Some(limit) = stats::parameter(query, "limit") {
        let wanted = limit
            .parse()
            .ok()
            .filter(|limit| (1..=MAX_ITEMS).contains(limit));
        page.limit = wanted.ok_or_else(|| {
            ErrorReply::invalid(format!("`limit` must be a number from 1 to {MAX_ITEMS}"))
                .with_param("limit")
        })?;
    }
    page.ascending = match stats::parameter(query, "order").as_deref() {
        None | Some("desc") => false,
        Some("asc") => true,
        Some(_) => {
            let message = "`order` must be `asc` or `desc`";
            return Err(ErrorReply::invalid(message).with_param("order"));
        }
    };
    page.after = stats::parameter(query, "after");
    Ok(page)
}
