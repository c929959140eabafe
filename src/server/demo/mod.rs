//! The built-in simulated provider behind `serve --demo`: a small OpenAI-compatible server on
//! loopback, so that the pool, the retries, the streaming and the headers a newcomer sees are the
//! real ones. It needs no key and no network.

#[expect(
    clippy::indexing_slicing,
    reason = "a document is null where it lacks something"
)]
mod answer;
mod script;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::server::demo::answer::{DemoBody, Question};
use crate::server::demo::script::{Fault, Moment};
pub use crate::server::demo::script::{Script, ScriptError};

/// The keys the simulated provider accepts; `demo/1` is the first.
pub const KEYS: [&str; 3] = ["demo-key-1", "demo-key-2", "demo-key-3"];

/// The models it has.
pub const MODELS: [&str; 3] = ["echo", "story", "tools"];

/// Largest request it reads: the demo is for trying things out.
const MAX_REQUEST: usize = 8 << 20;

/// A running simulated provider; it ends with the process.
#[derive(Debug)]
pub struct Demo {
    address: SocketAddr,
}

struct Simulation {
    script: Script,
    started: Instant,
    /// Requests seen per key, for "every Nth".
    seen: [AtomicU64; KEYS.len()],
    /// Until when each key is limited, so that its 429s are consistent with their `retry-after`.
    limited: Mutex<[Option<Instant>; KEYS.len()]>,
}

impl Demo {
    /// Starts it on a free loopback port.
    pub async fn start(script: Script) -> io::Result<Self> {
        let listener = super::bind("127.0.0.1", 0).await?;
        let address = listener.local_addr()?;
        let simulation = Arc::new(Simulation {
            script,
            started: Instant::now(),
            seen: Default::default(),
            limited: Mutex::default(),
        });
        tokio::spawn(accept(listener, simulation));
        Ok(Self { address })
    }

    /// What `base_url` of the provider `demo` must be.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }
}

async fn accept(listener: TcpListener, simulation: Arc<Simulation>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let simulation = Arc::clone(&simulation);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let simulation = Arc::clone(&simulation);
                async move { Ok::<_, Infallible>(simulation.answer(request).await) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::trace!("demo connection ended: {error}");
            }
        });
    }
}

impl Simulation {
    async fn answer(&self, request: Request<Incoming>) -> Response<DemoBody> {
        let Some(key) = key_of(&request) else {
            return error(
                StatusCode::UNAUTHORIZED,
                "invalid_api_key",
                "the demo does not know this key",
            );
        };
        let path = request.uri().path().to_owned();
        match (request.method(), path.as_str()) {
            (&Method::GET, "/v1/models") => document(StatusCode::OK, answer::models()),
            (&Method::POST, "/v1/chat/completions") => self.chat(request, key).await,
            (&Method::POST, "/v1/embeddings") => match read(request).await {
                Some(body) => document(StatusCode::OK, answer::embeddings(&body)),
                None => error(
                    StatusCode::BAD_REQUEST,
                    "invalid_request",
                    "the body is not JSON",
                ),
            },
            _ => error(
                StatusCode::NOT_FOUND,
                "not_found",
                "the demo has no such route",
            ),
        }
    }

    async fn chat(&self, request: Request<Incoming>, key: usize) -> Response<DemoBody> {
        let Some(body) = read(request).await else {
            return error(
                StatusCode::BAD_REQUEST,
                "invalid_request",
                "the body is not JSON",
            );
        };
        let question = match Question::read(&body) {
            Ok(question) => question,
            Err(reason) => return error(StatusCode::NOT_FOUND, "model_not_found", &reason),
        };
        let nth = self
            .seen
            .get(key)
            .map_or(1, |seen| seen.fetch_add(1, Ordering::Relaxed) + 1);
        if let Some(left) = self.limited_for(key) {
            return rate_limited(left);
        }
        let moment = Moment {
            key: key + 1,
            nth,
            since_start: self.started.elapsed(),
        };
        match self.script.fault(&moment) {
            None => answer::reply(&question, Duration::ZERO),
            Some(Fault::Slow(delay)) => answer::reply(&question, *delay),
            Some(Fault::RateLimit(wait)) => {
                self.limit(key, *wait);
                rate_limited(*wait)
            }
            Some(Fault::Status {
                status,
                code,
                message,
            }) => error(*status, code, message),
            Some(Fault::Cut { after }) => answer::cut(&question, *after),
            Some(Fault::Empty) => document(StatusCode::OK, String::new()),
            Some(Fault::Garbage) => {
                document(StatusCode::OK, "<html><h1>Welcome</h1></html>".to_owned())
            }
            Some(Fault::Stall) => answer::stall(),
            Some(Fault::StreamError { message }) => answer::error_in_stream(message),
        }
    }

    fn limited_for(&self, key: usize) -> Option<Duration> {
        let limited = self.limited.lock().unwrap_or_else(PoisonError::into_inner);
        let until = limited.get(key).copied().flatten()?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    fn limit(&self, key: usize, wait: Duration) {
        let mut limited = self.limited.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = limited.get_mut(key) {
            *until = Some(Instant::now() + wait);
        }
    }
}

fn key_of(request: &Request<Incoming>) -> Option<usize> {
    let value = request
        .headers()
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?;
    let key = value.strip_prefix("Bearer ")?;
    KEYS.iter().position(|&known| known == key)
}

async fn read(request: Request<Incoming>) -> Option<serde_json::Value> {
    let body = Limited::new(request.into_body(), MAX_REQUEST)
        .collect()
        .await
        .ok()?
        .to_bytes();
    serde_json::from_slice(&body).ok()
}

fn rate_limited(wait: Duration) -> Response<DemoBody> {
    let seconds = wait.as_secs_f64().ceil();
    let message = format!("the demo limits this key: try again in {seconds}s");
    let mut answer = error(
        StatusCode::TOO_MANY_REQUESTS,
        "rate_limit_exceeded",
        &message,
    );
    if let Ok(value) = format!("{seconds}").parse() {
        answer.headers_mut().insert(header::RETRY_AFTER, value);
    }
    answer
}

fn error(status: StatusCode, code: &str, message: &str) -> Response<DemoBody> {
    let body = serde_json::json!({
        "error": {"message": message, "type": "demo_error", "param": null, "code": code}
    });
    document(status, body.to_string())
}

fn document(status: StatusCode, body: String) -> Response<DemoBody> {
    let mut answer = Response::new(DemoBody::whole(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    answer
}
