//! Calls that go upstream: body in, gateway, answer out.

use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;

use crate::dialects::Dialect;
use crate::gateway::answer::{Answered, AnsweredBody};
use crate::gateway::attempt;
use crate::gateway::failure::DeadEnd;
use crate::gateway::inbound::Inbound;
use crate::ids::RequestId;
use crate::server::body::{self, AnswerBody};
use crate::server::clients::Client;
use crate::server::handlers::{Settings, Shared};
use crate::server::limits::Permit;
use crate::server::pressure::Pressure;
use crate::server::respond::{self, Answer};
use crate::server::router::Inference;

const PROVIDER: HeaderName = HeaderName::from_static("x-llmproxy-provider");
const CREDENTIAL: HeaderName = HeaderName::from_static("x-llmproxy-credential");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-llmproxy-attempts");
const DROPPED: HeaderName = HeaderName::from_static("x-llmproxy-dropped");

/// What a client says for one request in place of `[routing] strict_translation`; the shorter name is
/// the older one.
const STRICT: [HeaderName; 2] = [
    HeaderName::from_static("x-llmproxy-strict-translation"),
    HeaderName::from_static("x-llmproxy-strict"),
];

/// What an inference handler gets beside the request.
pub(super) struct Call<'a> {
    pub(super) shared: &'a Shared,
    pub(super) settings: &'a Settings,
    pub(super) client: &'a Arc<Client>,
    pub(super) permit: Permit,
    pub(super) id: RequestId,
    pub(super) abort: CancellationToken,
}

/// Whether a loss in translation is to be an error: as the client says, or else as configured.
fn is_strict(headers: &HeaderMap, configured: bool) -> bool {
    let said = STRICT.iter().find_map(|name| headers.get(name));
    said.map_or(configured, |value| {
        !["0", "false"].contains(&value.to_str().unwrap_or_default())
    })
}

/// Serves one inference request.
pub(super) async fn handle(
    call: Call<'_>,
    request: Request<Incoming>,
    route: Inference<'_>,
) -> Answer {
    let dialect = route.dialect;
    let (head, incoming) = request.into_parts();
    let read = tokio::select! {
        read = body::read(incoming, call.settings.max_body) => read,
        () = call.shared.pressure.critical() => {
            return respond::error(dialect, &Pressure::refusal());
        }
    };
    let body = match read {
        Ok(body) => body,
        Err(error) => {
            return respond::error(dialect, &body::refusal(error, call.settings.max_body));
        }
    };
    let array_stream = route.stream == Some(true) && !wants_events(head.uri.query());
    let strict = is_strict(&head.headers, call.settings.strict_translation);
    let inbound = Inbound {
        id: call.id,
        client: Arc::clone(&call.client.name),
        owner: Arc::clone(&call.client.owner),
        dialect,
        operation: route.operation,
        headers: head.headers,
        body,
        path_model: route.model.map(std::borrow::Cow::into_owned),
        path_stream: route.stream,
        batch: route.batch,
        array_stream,
        strict,
    };
    let client = Arc::clone(call.client);
    let may_use =
        move |asked: &str, provider: &str, model: &str| client.may_use(asked, provider, model);
    let ended = tokio::select! {
        ended = attempt::serve(&call.shared.gateway, inbound, &may_use) => ended,
        () = call.abort.cancelled() => return respond::error(dialect, &body::shutting_down()),
    };
    match ended {
        Ok(answered) => served(call, answered),
        Err(dead_end) => failed(&call, dialect, &dead_end),
    }
}

fn served(call: Call<'_>, answered: Answered) -> Answer {
    let body = match answered.body {
        AnsweredBody::Whole(bytes) => AnswerBody::from(bytes),
        AnsweredBody::Stream(relay) => AnswerBody::relay(relay, call.permit, call.abort),
    };
    let mut answer = Response::new(body);
    *answer.status_mut() = answered.status;
    *answer.headers_mut() = answered.headers;
    if call.settings.debug_headers {
        let headers = answer.headers_mut();
        if let Some(credential) = &answered.credential {
            set(headers, PROVIDER, credential.provider());
            set(headers, CREDENTIAL, credential.as_str());
        }
        headers.insert(ATTEMPTS, answered.attempts.into());
        if !answered.losses.is_empty() {
            set(headers, DROPPED, &answered.losses.to_string());
        }
    }
    answer
}

fn failed(call: &Call<'_>, dialect: Dialect, dead_end: &DeadEnd) -> Answer {
    let (status, headers, body) = dead_end.answer(dialect);
    let mut answer = Response::new(AnswerBody::from(body));
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    respond::error_headers(&dead_end.error, answer.headers_mut());
    if call.settings.debug_headers && !dead_end.trail.attempts.is_empty() {
        answer
            .headers_mut()
            .insert(ATTEMPTS, dead_end.trail.attempts.len().into());
    }
    answer
}

/// `?alt=sse`: Google's clients that can read events ask for them.
fn wants_events(query: Option<&str>) -> bool {
    query.is_some_and(|query| query.split('&').any(|pair| pair == "alt=sse"))
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
