//! The vendor: answers as OpenAI does, and fails as it is drawn to.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use futures_util::{StreamExt, stream};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::account::Account;
use crate::canary::ENCODINGS;
use crate::gateway::CLIENT;
use crate::watch::MARK;
use crate::{Plan, Result};

/// Calls lost to the provider that one request may meet: the gateway's own bound is above it.
const MAX_LOST: u8 = 3;

/// Begins each key; the number follows.
pub(crate) const KEY: &str = "sk-soak-Canary7f3aZq/0123456789+abcdef-";

/// Begins the name of a user whose request is refused as the client's own fault.
pub(crate) const FAULTY: &str = "faulty-";

/// Statuses that tell a client of its own fault.
pub(crate) const FAULTS: [u16; 3] = [400, 413, 422];

/// Headers in which an error repeats the key.
const HEADERS: [&str; 5] = [
    "request-id",
    "retry-after",
    "set-cookie",
    "www-authenticate",
    "x-ratelimit-limit-requests",
];

/// What is to fail, and what has.
pub(crate) struct Faults {
    rng: Mutex<Rng>,
    /// Draws how an error repeats the key.
    repeats: Mutex<Rng>,
    plan: Plan,
    pub(crate) account: Account,
    /// Calls lost so far, by request.
    losses: Mutex<HashMap<String, u8>>,
    pub(crate) calls: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Requests that held a key where none belongs.
    pub(crate) misled: AtomicU64,
}

/// What a call meets.
enum Fate {
    Answered,
    /// The stream breaks off after so many frames.
    Cut(usize),
    /// The connection is closed without an answer.
    Dropped,
    /// An error answer.
    Refused(u16, Option<&'static str>, &'static str),
    /// A 200 that is none.
    Spoilt(&'static str),
}

type Answer = Response<BoxBody<Bytes, std::io::Error>>;

/// The answer to every request that is answered.
pub(crate) const TEXT: &str = "It works, and nobody noticed: é 🦀 \\u00e9.";

/// The frames of every stream.
pub(crate) fn frames() -> Vec<String> {
    let chunk = |delta: String, finish: &str| {
        format!(
            "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{{\
             \"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
        )
    };
    let mut frames = vec![chunk(
        "{\"role\":\"assistant\",\"content\":\"\"}".to_owned(),
        "null",
    )];
    frames.extend(
        TEXT.split_inclusive(' ')
            .map(|word| chunk(format!("{{\"content\":\"{word}\"}}"), "null")),
    );
    frames.push(chunk("{}".to_owned(), "\"stop\""));
    frames.push("data: [DONE]\n\n".to_owned());
    frames
}

/// The body of every whole answer.
pub(crate) fn whole() -> String {
    format!(
        "{{\"id\":\"c\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"m\",\"choices\":[{{\"index\":0,\"message\":{{\
         \"role\":\"assistant\",\"content\":\"{TEXT}\"}},\"finish_reason\":\"stop\"}}],\"usage\":{{\"prompt_tokens\":3,\
         \"completion_tokens\":9,\"total_tokens\":12}}}}"
    )
}

impl Faults {
    pub(crate) fn new(plan: Plan) -> Self {
        Self {
            rng: Mutex::new(Rng::with_seed(plan.seed)),
            repeats: Mutex::new(Rng::with_seed(!plan.seed)),
            plan,
            account: Account::new(),
            losses: Mutex::default(),
            calls: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            misled: AtomicU64::new(0),
        }
    }

    /// The key in one of eight encodings; two bytes at most stand before it, since what Base64 makes
    /// of it depends on them.
    fn repeated(&self, secret: &str) -> String {
        let mut rng = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
        let before = "u:".get(..rng.usize(0..3)).unwrap_or_default();
        let (_, encode) = rng.choice(ENCODINGS).unwrap_or(ENCODINGS[0]);
        encode(&format!("{before}{secret}"))
    }

    fn fate(&self, key: usize, request: &str, streams: bool) -> Fate {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let is_lost = rng.f64() < self.plan.lost;
        let is_ill = key != 0 && rng.f64() < self.plan.key_faults;
        let is_cut = streams && rng.f64() < self.plan.cut;
        let draw = rng.usize(0..100);
        drop(rng);
        if is_ill {
            // A tenth of the keys each is one day refused or empty for good; the rest is limited.
            return match key % 10 {
                1 if draw < 5 => Fate::Refused(401, None, "invalid_api_key"),
                2 if draw < 5 => Fate::Refused(402, None, "insufficient_quota"),
                3 => Fate::Refused(429, None, "rate_limit_exceeded"),
                _ if draw < 50 => Fate::Refused(429, Some("0.3"), "rate_limit_exceeded"),
                _ => Fate::Refused(429, Some("2"), "rate_limit_exceeded"),
            };
        }
        if is_lost && self.may_lose(request) {
            return match draw % 6 {
                0 => Fate::Dropped,
                1 => Fate::Refused(500, None, "server_error"),
                2 => Fate::Refused(503, None, "overloaded"),
                3 => Fate::Spoilt(""),
                4 => Fate::Spoilt("{\"id\":\"c\",\"choices\":[{\"mess"),
                _ => Fate::Spoilt("<html>log in</html>"),
            };
        }
        if is_cut {
            return Fate::Cut(2 + draw % 4);
        }
        Fate::Answered
    }

    /// Whether this request may lose one more call.
    fn may_lose(&self, request: &str) -> bool {
        if self.plan.independent {
            return true;
        }
        let mut losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
        if losses.len() > 100_000 {
            // Those are long over.
            losses.clear();
        }
        let count = losses.entry(request.to_owned()).or_default();
        *count += 1;
        *count <= MAX_LOST
    }
}

/// Serves on a free loopback port.
pub(crate) async fn serve(faults: Arc<Faults>) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let faults = Arc::clone(&faults);
            let service = service_fn(move |request| answer(Arc::clone(&faults), request));
            let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // Connections end as they are drawn to.
            tokio::spawn(async move { drop(serving.await) });
        }
    });
    Ok(address)
}

async fn answer(faults: Arc<Faults>, request: Request<Incoming>) -> std::io::Result<Answer> {
    if request.method() == hyper::Method::GET {
        return Ok(full(
            200,
            "application/json",
            "{\"object\":\"list\",\"data\":[]}".to_owned(),
        ));
    }
    let (head, body) = request.into_parts();
    let bearer = head.headers.get("authorization");
    let bearer = bearer.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let secret = bearer.unwrap_or_default();
    let body = body.collect().await.map_err(std::io::Error::other)?;
    let body = body.to_bytes();
    let body = String::from_utf8_lossy(&body);
    let is_refresh = head.uri.path() == "/token";
    let mut others = head
        .headers
        .iter()
        .filter(|(name, _)| *name != "authorization");
    let has_mark = |text: &[u8]| memchr::memmem::find(text, MARK.as_bytes()).is_some();
    if others.any(|(_, value)| has_mark(value.as_bytes()))
        || (!is_refresh && has_mark(body.as_bytes()))
        || secret.starts_with(CLIENT)
    {
        faults.misled.fetch_add(1, Ordering::Relaxed);
    }
    let streams = body.contains("\"stream\":true");
    if is_refresh {
        return Ok(match faults.account.renew(&body) {
            Some(tokens) => full(200, "application/json", tokens),
            None => full(400, "application/json", refusal("invalid_grant", &body)),
        });
    }
    if head.uri.path().starts_with("/portal") {
        return Ok(if !faults.account.takes(secret) {
            repeating(&faults, 401, "invalid_api_key", secret)
        } else if streams {
            sse(frames(), false)
        } else {
            full(200, "application/json", whole())
        });
    }
    let key = secret
        .rsplit('-')
        .next()
        .and_then(|number| number.parse().ok());
    let key = key.unwrap_or(0_usize) % faults.plan.keys.max(1);
    let id = body
        .split("\"user\":\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap_or_default();
    faults.calls.fetch_add(1, Ordering::Relaxed);
    if let Some(number) = id.strip_prefix(FAULTY) {
        let status = FAULTS.get(number.len() % FAULTS.len()).copied();
        return Ok(repeating(
            &faults,
            status.unwrap_or(400),
            "invalid_request_error",
            secret,
        ));
    }
    let fate = faults.fate(key, id, streams);
    if !matches!(fate, Fate::Answered) {
        faults.failed.fetch_add(1, Ordering::Relaxed);
    }
    Ok(match fate {
        Fate::Answered if streams => sse(frames(), false),
        Fate::Answered => full(200, "application/json", whole()),
        Fate::Cut(length) => {
            let mut frames: Vec<String> = frames().into_iter().take(length).collect();
            // Half of the streams that break off say why.
            if length % 2 == 0 {
                let told = faults.repeated(secret);
                frames.push(format!("data: {}\n\n", refusal("server_error", &told)));
            }
            sse(frames, true)
        }
        Fate::Dropped => return Err(ErrorKind::ConnectionReset.into()),
        Fate::Refused(status, hint, code) => {
            let mut answer = repeating(&faults, status, code, secret);
            if let Some(hint) = hint {
                let value = HeaderValue::from_static(hint);
                answer.headers_mut().insert("retry-after", value);
            }
            answer
        }
        Fate::Spoilt(body) => full(200, "application/json", body.to_owned()),
    })
}

/// An error that repeats the key in its body and in headers.
fn repeating(faults: &Faults, status: u16, code: &str, secret: &str) -> Answer {
    let told = faults.repeated(secret);
    let mut answer = full(status, "application/json", refusal(code, &told));
    for name in HEADERS {
        let told = HeaderValue::try_from(faults.repeated(secret));
        // A length of time that is none would be a hint that makes no sense: the errors stay those
        // of the plan.
        if let Ok(told) = told
            && (name != "retry-after" || code == "invalid_request_error")
        {
            answer.headers_mut().insert(name, told);
        }
    }
    answer
}

fn refusal(code: &str, told: &str) -> String {
    format!(
        "{{\"error\":{{\"message\":\"drawn for {told}.\",\"type\":\"{code}\",\"code\":\"{code}\"}}}}"
    )
}

fn full(status: u16, content_type: &'static str, body: String) -> Answer {
    let body = Full::new(Bytes::from(body)).map_err(|never: Infallible| match never {});
    respond(status, content_type, BoxBody::new(body))
}

/// A stream; `broken` ends it without the end of its framing, once what came before has gone out.
fn sse(frames: Vec<String>, broken: bool) -> Answer {
    let pieces = frames
        .into_iter()
        .map(|frame| Ok(Frame::data(Bytes::from(frame))));
    let end = stream::iter(broken.then_some(())).then(async |()| {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(ErrorKind::ConnectionReset.into())
    });
    let body = StreamBody::new(stream::iter(pieces).chain(end));
    respond(200, "text/event-stream", BoxBody::new(body))
}

fn respond(
    status: u16,
    content_type: &'static str,
    body: BoxBody<Bytes, std::io::Error>,
) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    let value = HeaderValue::from_static(content_type);
    answer.headers_mut().insert("content-type", value);
    answer
}
