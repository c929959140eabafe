//! The routes of the live page: who may ask from where, and the handing over.
//!
//! A browser keeps no key for a site by itself, but a listener on loopback may ask for none: so
//! nothing here answers to a page of another origin, whatever `cors_origins` says, and what acts
//! wants a JSON body and a header that no page of another origin can send.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::dialects::Dialect;
use crate::dialects::error::{ErrorKind, ErrorReply};
use crate::gateway::quota_stats::refresh;
use crate::gateway::steer::{Deed, SteerError, steer};
use crate::ids::CredentialId;
use crate::pool::CredentialState;
use crate::server::body::{self, AnswerBody};
use crate::server::clients::Client;
use crate::server::dashboard::picture::{self, PAGE};
use crate::server::dashboard::{self, Viewer};
use crate::server::handlers::stats::{self, blocking, not_found};
use crate::server::handlers::{Settings, Shared, is_of};
use crate::server::respond::{self, Answer};
use crate::server::router::{self, Board, Route};
use crate::time::Timestamp;

/// Says that a request comes from the page, and not from a form or an image somewhere else.
const MARK: HeaderName = HeaderName::from_static("x-llmproxy-dashboard");

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Longest body of a route that acts, in bytes: an id and a few words.
const MAX_BODY: u64 = 4 << 10;

/// What a handler gets beside the request.
pub(super) struct Visit<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) client: &'a Arc<Client>,
    /// Ends streams when the server drains.
    pub(super) closing: CancellationToken,
}

/// Whether the live page is served, and to whoever asks from there.
pub(super) fn admit(
    settings: &Settings,
    route: &Route<'_>,
    headers: &HeaderMap,
) -> Result<(), ErrorReply> {
    if !settings.dashboard {
        let message = "the dashboard is switched off (`[server] dashboard`)";
        let kind = ErrorKind::InvalidRequest;
        return Err(ErrorReply::new(404, kind, "not_found", message));
    }
    let from_elsewhere = headers.get(header::ORIGIN).is_some_and(|origin| {
        let authority = origin.to_str().ok().and_then(|origin| {
            let rest = origin.strip_prefix("http://");
            rest.or_else(|| origin.strip_prefix("https://"))
        });
        authority.is_none_or(|authority| !is_of(authority, headers.get(header::HOST)))
    });
    let Route::Board(board) = route else {
        // A link to the page may stand anywhere.
        return if from_elsewhere {
            Err(foreign())
        } else {
            Ok(())
        };
    };
    let site = headers.get(SEC_FETCH_SITE).map(http::HeaderValue::as_bytes);
    let is_cross = !matches!(site, None | Some(b"none" | b"same-origin"));
    if from_elsewhere || is_cross {
        return Err(foreign());
    }
    let acts = matches!(board, Board::Act(_) | Board::Refresh);
    if acts && !(is_json(headers) && headers.contains_key(MARK)) {
        let message = "what changes something wants `content-type: application/json` and the header \
                       `x-llmproxy-dashboard: 1`";
        return Err(forbidden("cross_site_request", message));
    }
    Ok(())
}

fn is_json(headers: &HeaderMap) -> bool {
    let given = headers.get(header::CONTENT_TYPE);
    let given = given.and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = given.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

fn foreign() -> ErrorReply {
    let message = "the dashboard answers to its own page only, not to those of other origins";
    forbidden("origin_not_allowed", message)
}

fn forbidden(code: &'static str, message: &str) -> ErrorReply {
    ErrorReply::new(403, ErrorKind::Permission, code, message)
}

/// Answers one request of the page.
pub(super) async fn handle(
    visit: Visit<'_>,
    request: Request<Incoming>,
    board: Board<'_>,
) -> Answer {
    let shared = visit.shared;
    let done = match board {
        Board::Act(deed) => act(&visit, request, deed).await,
        Board::Credentials => credentials(shared, request.uri().query()).await,
        Board::Live => live(visit),
        Board::Refresh => ask(&visit, request).await,
        Board::Request { id } => {
            let is_owner = visit.client.is_owner;
            let sender = (!is_owner).then(|| Arc::clone(&visit.client.name));
            Ok(match stats::found(shared, id, sender).await {
                Some(trail) => respond::json(StatusCode::OK, trail.to_string()),
                None => not_found("this request is no longer in the journal"),
            })
        }
    };
    done.unwrap_or_else(|error| respond::error(Dialect::OpenAiChat, &error))
}

/// The stream of events, for as long as the page is open.
fn live(visit: Visit<'_>) -> Result<Answer, ErrorReply> {
    let viewer = Viewer {
        shared: Arc::clone(visit.shared),
        client: Arc::clone(visit.client),
        closing: visit.closing,
    };
    let pieces = dashboard::watch(viewer).ok_or_else(|| {
        let message = "too many pages are watching; close one";
        let error = ErrorReply::new(429, ErrorKind::RateLimit, "too_many_watchers", message);
        ErrorReply {
            retry_after: Some(10),
            ..error
        }
    })?;
    let mut answer = respond::with_type(StatusCode::OK, "text/event-stream", Bytes::new());
    *answer.body_mut() = AnswerBody::Pieces(pieces);
    Ok(answer)
}

/// A page of a pool's credentials, as they are looked for.
async fn credentials(shared: &Arc<Shared>, query: Option<&str>) -> Result<Answer, ErrorReply> {
    let text = |name: &str| {
        let value = stats::parameter(query, name).unwrap_or_default();
        router::decode(&value).into_owned()
    };
    let state = text("state");
    let state = match state.as_str() {
        "" => None,
        name => {
            let known = CredentialState::ALL.into_iter();
            let known = known.clone().find(|state| state.as_str() == name);
            Some(known.ok_or_else(|| {
                ErrorReply::invalid(format!("there is no state `{name}`")).with_param("state")
            })?)
        }
    };
    let skip = text("skip").parse().unwrap_or(0);
    let (provider, wanted) = (text("provider"), text("query"));
    let page = blocking(&shared.gateway, move |gateway| {
        let choice = crate::pool::Choice {
            state,
            text: &wanted,
            skip,
            most: PAGE,
        };
        picture::page(&gateway.snapshot(), &provider, &choice, Timestamp::now())
    });
    match page.await {
        Some(page) => Ok(respond::json(StatusCode::OK, page)),
        None => Ok(not_found("there is no such provider with a credential")),
    }
}

/// What is done, and to which credential.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    credential: String,
}

/// Does to a credential what `llmproxy creds` does.
async fn act(
    visit: &Visit<'_>,
    request: Request<Incoming>,
    deed: Deed,
) -> Result<Answer, ErrorReply> {
    may_act(visit.client)?;
    let body = read(request).await?;
    let target: Target = serde_json::from_slice(&body).map_err(|error| {
        ErrorReply::invalid(format!("the body is not `{{\"credential\": ID}}`: {error}"))
    })?;
    let unknown = |id: &str| {
        let message = format!("there is no credential `{id}` in use");
        ErrorReply::new(404, ErrorKind::InvalidRequest, "not_found", message)
    };
    let id = CredentialId::parse(&target.credential).map_err(|_| unknown(&target.credential))?;
    let named = id.clone();
    let done = blocking(&visit.shared.gateway, move |gateway| {
        Some(steer(gateway, &named, deed))
    });
    match done.await {
        Some(Ok(())) => {}
        Some(Err(SteerError::Unknown(id))) => return Err(unknown(&id)),
        Some(Err(SteerError::Store(error))) => {
            return Err(broken(format!("{error}; {}", error.hint())));
        }
        None => return Err(broken("it broke off".to_owned())),
    }
    tracing::info!(client = %visit.client.name, credential = %id, "{} {id}", past(deed));
    visit.shared.live.nudge();
    let body = json!({"credential": id.as_str(), "message": format!("{} {id}", past(deed))});
    Ok(respond::json(StatusCode::OK, body.to_string()))
}

/// What came of it, in the words of the commands.
const fn past(deed: Deed) -> &'static str {
    match deed {
        Deed::Disable => "disabled",
        Deed::Enable => "enabled",
        Deed::Reset => "reset",
    }
}

/// Whose quotas are asked for; nothing is everybody's.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Asked {
    credential: Option<String>,
    provider: Option<String>,
}

/// Asks the providers for their own numbers, one round at a time.
async fn ask(visit: &Visit<'_>, request: Request<Incoming>) -> Result<Answer, ErrorReply> {
    may_act(visit.client)?;
    let body = read(request).await?;
    let asked: Asked = serde_json::from_slice(&body).map_err(|error| {
        ErrorReply::invalid(format!("the body is not as it should be: {error}"))
    })?;
    let gateway = &visit.shared.gateway;
    let of = |id: &str| id.split_once('/').map(|(provider, _)| provider.to_owned());
    let provider = asked
        .provider
        .or_else(|| of(asked.credential.as_deref().unwrap_or_default()));
    let scope = match (&asked.credential, &provider) {
        (Some(_), _) => "credential",
        (None, Some(_)) => "provider",
        (None, None) => "all",
    };
    let body = json!({"action": "force_refresh", "scope": scope, "provider": provider,
                      "credential": asked.credential});
    let request = refresh::read(body.to_string().as_bytes(), &gateway.snapshot())
        .map_err(|bad| ErrorReply::invalid(bad.message).with_param(bad.param))?;
    let Ok(_only) = visit.shared.live.refreshing.try_lock() else {
        let message = "quotas are being refreshed already";
        let error = ErrorReply::new(429, ErrorKind::RateLimit, "already_refreshing", message);
        return Err(ErrorReply {
            retry_after: Some(1),
            ..error
        });
    };
    let result = refresh::run(gateway, &request).await;
    visit.shared.live.nudge();
    let body = json!({"message": result.message, "success": result.success,
                      "errors": result.errors.unwrap_or_default()});
    Ok(respond::json(StatusCode::OK, body.to_string()))
}

fn may_act(client: &Client) -> Result<(), ErrorReply> {
    if client.is_owner {
        return Ok(());
    }
    let message = "this key may look but change nothing; a key of `[server] api_keys` without limits \
                   of its own may";
    Err(forbidden("not_the_owner", message))
}

async fn read(request: Request<Incoming>) -> Result<Bytes, ErrorReply> {
    let read = body::read(request.into_body(), MAX_BODY).await;
    read.map_err(|error| body::refusal(error, MAX_BODY))
}

fn broken(message: String) -> ErrorReply {
    ErrorReply::new(500, ErrorKind::Provider, "internal_error", message)
}
