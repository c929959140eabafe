//! One request in, one answer out: guard, route, authenticate, limit, hand over.

mod board;
mod contain;
mod estimate;
mod inference;
mod listing;
mod stats;
mod stored;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::header::{self, HeaderValue};
use http::{Method, Request, StatusCode, Version};
use hyper::body::Incoming;
use tokio_rustls::TlsAcceptor;

use crate::dialects::Dialect;
use crate::dialects::error::{ErrorKind, ErrorReply};
use crate::gateway::Gateway;
use crate::gateway::group::ClientAdmission;
use crate::ids::RequestId;
use crate::server::Shutdown;
use crate::server::auth::{self, Proof};
use crate::server::body::RelayBody;
use crate::server::clients::{Client, Clients};
use crate::server::dashboard::{self, Live};
use crate::server::guard::{self, HostRule, Refused};
use crate::server::guesses::Guesses;
use crate::server::limits::{ClientLimits, Limiter, Permit};
use crate::server::pressure::Pressure;
use crate::server::respond::{self, Answer, REQUEST_ID};
use crate::server::router::{self, Route, RouteError};
use crate::server::stalls::Streams;
use crate::telemetry::spending;
use crate::time::Timestamp;

/// What all connections share.
pub struct Shared {
    pub gateway: Arc<Gateway>,
    /// Replaced as a whole when the configuration changes.
    pub settings: ArcSwap<Settings>,
    pub limiter: Arc<Limiter>,
    /// Who sends wrong keys.
    pub guesses: Guesses,
    /// Whether memory is short.
    pub pressure: Pressure,
    /// Who watches the live page.
    pub live: Arc<Live>,
}

/// The `[server]` settings that requests are handled by.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each mirrors a key of `[server]`"
)]
pub struct Settings {
    pub clients: Clients,
    pub host_rule: HostRule,
    /// Origins of web pages that may call.
    pub cors_origins: Vec<String>,
    /// Largest request body, in bytes.
    pub max_body: u64,
    pub debug_headers: bool,
    pub metrics: bool,
    pub dashboard: bool,
    pub strict_translation: bool,
    /// HTTPS for connections from now on; `None` is plain HTTP.
    pub tls: Option<TlsAcceptor>,
}

/// The connection that a request came on.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) peer: SocketAddr,
    pub(super) ending: Shutdown,
    /// Its streams, if it has several at once.
    pub(super) streams: Arc<Streams<RelayBody>>,
}

/// Answers one request. Never fails: every failure is an answer.
pub(super) async fn handle(
    shared: Arc<Shared>,
    request: Request<Incoming>,
    with: Connection,
) -> Result<Answer, Infallible> {
    let id = RequestId::random();
    let settings = shared.settings.load_full();
    let dialect = router::dialect_of_path(request.uri().path());
    let origin = request.headers().get(header::ORIGIN).cloned();
    let is_board = router::is_board_path(request.uri().path());
    let mut answer = match preflight(&settings, &request) {
        Some(answer) if !is_board => answer,
        _ => {
            let answer = answer(&shared, &settings, request, id, &with);
            contain::contained(dialect, answer).await
        }
    };
    if is_board {
        dashboard::seal(answer.headers_mut());
    } else {
        allow_origin(&settings, origin.as_ref(), &mut answer);
    }
    let id_text = id.to_string();
    if let Ok(value) = HeaderValue::from_str(&id_text) {
        if dialect == Dialect::Anthropic {
            // The vendor's own name stays where there is one.
            let named = answer.headers_mut().entry(respond::ANTHROPIC_REQUEST_ID);
            named.or_insert_with(|| value.clone());
        }
        answer.headers_mut().insert(REQUEST_ID, value);
    }
    let (status, peer) = (answer.status().as_u16(), with.peer);
    tracing::debug!(request = %id_text, %peer, status, "request {id_text} answered with {status}");
    Ok(answer)
}

async fn answer(
    shared: &Arc<Shared>,
    settings: &Settings,
    request: Request<Incoming>,
    id: RequestId,
    with: &Connection,
) -> Answer {
    let path = request.uri().path().to_owned();
    let checked = guard::check(
        request.uri(),
        request.version(),
        request.headers(),
        &settings.host_rule,
    );
    if let Err(refused) = checked {
        return refuse(&path, refused);
    }
    if let Some(origin) = request.headers().get(header::ORIGIN)
        && !may_call(settings, origin, request.headers().get(header::HOST))
    {
        return origin_refused(&path);
    }
    let route = match router::route(request.method(), &path) {
        Ok(route) => route,
        Err(error) => return unrouted(&path, &request, &error),
    };
    if route.is_board()
        && let Err(error) = board::admit(settings, &route, request.headers())
    {
        return respond::error(Dialect::OpenAiChat, &error);
    }
    if route.is_open() {
        return listing::open_page(shared, settings, &route);
    }
    let dialect = error_dialect(&route, &request);
    let client = match authenticate(settings, &request, dialect) {
        Ok(client) => client,
        Err(denied) => {
            if denied == Denied::Wrong {
                let wait = shared.guesses.count(with.peer.ip(), Timestamp::now());
                tokio::time::sleep(wait).await;
            }
            return respond::error(dialect, &denied.reply());
        }
    };
    if let Route::Inference(_) = route
        && shared.pressure.is_tight()
    {
        return respond::error(dialect, &Pressure::refusal());
    }
    if let Route::Inference(_) = route
        && let Err(error) = within_budget(shared, &client, Timestamp::now())
    {
        return respond::error(dialect, &error);
    }
    let permit = match admit(shared, &client).await {
        Ok(permit) => permit,
        Err(error) => return respond::error(dialect, &error),
    };
    match route {
        Route::Inference(inference) => {
            let call = inference::Call {
                shared,
                settings,
                client: &client,
                permit,
                id,
                abort: with.ending.abort.clone(),
            };
            let is_shared = request.version() == Version::HTTP_2;
            let answer = inference::handle(call, request, inference).await;
            if is_shared {
                answer.map(|body| body.shared(&with.streams))
            } else {
                answer
            }
        }
        Route::Board(board) => {
            let visit = board::Visit {
                shared,
                client: &client,
                closing: with.ending.drain.clone(),
            };
            board::handle(visit, request, board).await
        }
        route => listing::handle(shared, settings, request, &route, &client).await,
    }
}

/// The dialect a route's errors are shaped in; the OpenAI model routes serve Anthropic's and
/// Google's SDKs as well.
fn error_dialect(route: &Route<'_>, request: &Request<Incoming>) -> Dialect {
    match route {
        Route::Model { .. } | Route::Models { .. } => listing::dialect_of(route, request.headers()),
        _ => route.dialect(),
    }
}

fn authenticate(
    settings: &Settings,
    request: &Request<Incoming>,
    dialect: Dialect,
) -> Result<Arc<Client>, Denied> {
    if settings.clients.is_open() {
        return Ok(settings.clients.anyone());
    }
    match auth::proof(request.headers(), request.uri(), dialect == Dialect::Gemini) {
        Proof::Conflicting => Err(Denied::Conflicting),
        Proof::Key(key) => settings.clients.find(&key).ok_or(Denied::Wrong),
        Proof::None => Err(Denied::Missing),
    }
}

/// Why a request is of none of the clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Denied {
    Conflicting,
    Missing,
    Wrong,
}

impl Denied {
    /// What is missing and what is wrong gets the same answer.
    fn reply(self) -> ErrorReply {
        match self {
            Self::Conflicting => {
                ErrorReply::invalid("the request carries two different keys; send one")
            }
            Self::Missing | Self::Wrong => {
                let message = "the client key is missing or wrong; send one of the server's keys as \
                               `Authorization: Bearer KEY` or `x-api-key: KEY`";
                ErrorReply::new(401, ErrorKind::Authentication, "invalid_api_key", message)
            }
        }
    }
}

/// A client that has spent its budget waits for tomorrow. What is under way may still exceed it:
/// what it costs is known when it ends.
fn within_budget(shared: &Shared, client: &Client, now: Timestamp) -> Result<(), ErrorReply> {
    let Some(budget) = client.budget_usd else {
        return Ok(());
    };
    if shared.gateway.telemetry.spending.of(&client.name, now) < budget {
        return Ok(());
    }
    let message = format!(
        "the client {} has spent its {budget} US dollars of today (UTC)",
        client.name
    );
    let error = ErrorReply::new(429, ErrorKind::RateLimit, "client_rate_limited", message);
    Err(ErrorReply {
        retry_after: Some(spending::until_tomorrow(now).as_secs().max(1)),
        ..error
    })
}

/// By this instance's own count first, which is cheap; then by that of all instances together.
async fn admit(shared: &Shared, client: &Client) -> Result<Permit, ErrorReply> {
    let over = |wait: Duration| {
        let message = format!("the client {} is over its own limit", client.name);
        let error = ErrorReply::new(429, ErrorKind::RateLimit, "client_rate_limited", message);
        ErrorReply {
            retry_after: Some(wait.as_secs().max(1)),
            ..error
        }
    };
    let mut limits = client.limits;
    let group = shared.gateway.group.as_ref();
    let group = group.filter(|_| limits != ClientLimits::default());
    if let Some(group) = group {
        limits.rpm = group.client_share(limits.rpm);
        limits.max_concurrent = group.client_share(limits.max_concurrent);
    }
    let admitted = shared.limiter.admit(&client.name, limits, Timestamp::now());
    let permit = admitted.map_err(over)?;
    let Some(group) = group else {
        return Ok(permit);
    };
    let ClientLimits {
        rpm,
        max_concurrent,
    } = client.limits;
    match group.admit_client(&client.name, max_concurrent, rpm).await {
        ClientAdmission::Granted(beyond) => Ok(permit.with(beyond)),
        ClientAdmission::Refused(wait) => Err(over(wait)),
    }
}

fn refuse(path: &str, refused: Refused) -> Answer {
    let dialect = router::dialect_of_path(path);
    let error = match refused {
        Refused::Ambiguous(what) => ErrorReply::invalid(format!("the request has {what}")),
        Refused::Misdirected => ErrorReply::new(
            421,
            ErrorKind::InvalidRequest,
            "misdirected_request",
            "this server does not go by that Host; add it to `[server] allowed_hosts`",
        ),
    };
    let mut answer = respond::error(dialect, &error);
    // Two readings of one message: what follows on this connection is anybody's guess.
    answer
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}

fn unrouted<B>(path: &str, request: &Request<B>, error: &RouteError) -> Answer {
    let dialect = match router::dialect_of_path(path) {
        Dialect::OpenAiChat => listing::dialect_of_sdk(request.headers()),
        dialect => dialect,
    };
    match error {
        RouteError::Method { allow } => {
            let method = request.method();
            let message = format!("{method} is not possible here; use {allow}");
            let reply = ErrorReply::new(
                405,
                ErrorKind::InvalidRequest,
                "method_not_allowed",
                message,
            );
            let mut answer = respond::error(dialect, &reply);
            answer
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static(allow));
            answer
        }
        RouteError::Unknown => {
            let mut message = format!("there is nothing at {path}");
            if ["/v1", "/upload"].iter().any(|api| path.starts_with(api)) {
                message.push_str(
                    ": llmproxy serves answers, embeddings, token counts and lists of models; for \
                     files, batches, pictures and sound ask the vendor itself",
                );
            }
            respond::error(
                dialect,
                &ErrorReply::new(404, ErrorKind::InvalidRequest, "not_found", message),
            )
        }
    }
}

fn origin_refused(path: &str) -> Answer {
    let message = "web pages of other origins may not call; add theirs to `[server] cors_origins`";
    let error = ErrorReply::new(403, ErrorKind::Permission, "origin_not_allowed", message);
    respond::error(router::dialect_of_path(path), &error)
}

/// Pages of the server's own origin and of `cors_origins` may call. Origins that are not of the
/// web (`file://`, `vscode-webview://`, `null`) belong to programs and pass: what they may do is
/// up to the client key.
fn may_call(settings: &Settings, origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    let Ok(origin) = origin.to_str() else {
        return false;
    };
    let web = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    let Some(authority) = web else { return true };
    is_of(authority, host) || is_listed(settings, origin)
}

/// Whether the authority of an origin is the host that was asked.
fn is_of(authority: &str, host: Option<&HeaderValue>) -> bool {
    let own = host.and_then(|host| host.to_str().ok());
    own.is_some_and(|own| own.eq_ignore_ascii_case(authority))
}

fn is_listed(settings: &Settings, origin: &str) -> bool {
    settings
        .cors_origins
        .iter()
        .any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin))
}

/// The answer to a CORS preflight of an allowed origin.
fn preflight(settings: &Settings, request: &Request<Incoming>) -> Option<Answer> {
    let asked = request
        .headers()
        .get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    let origin = request.headers().get(header::ORIGIN)?.to_str().ok()?;
    if *request.method() != Method::OPTIONS || !is_listed(settings, origin) {
        return None;
    }
    let mut answer = respond::with_type(StatusCode::NO_CONTENT, "text/plain", bytes::Bytes::new());
    let headers = answer.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, asked.clone());
    if let Some(names) = request
        .headers()
        .get(header::ACCESS_CONTROL_REQUEST_HEADERS)
    {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    headers.insert(
        header::ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from_static("600"),
    );
    Some(answer)
}

fn allow_origin(settings: &Settings, origin: Option<&HeaderValue>, answer: &mut Answer) {
    let Some(origin) = origin else { return };
    if origin
        .to_str()
        .is_ok_and(|origin| is_listed(settings, origin))
    {
        answer
            .headers_mut()
            .insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        answer
            .headers_mut()
            .append(header::VARY, HeaderValue::from_static("origin"));
        answer.headers_mut().insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("*"),
        );
    }
}
