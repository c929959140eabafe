//! The way to a model: through this process's own gateway, or to one that is running.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::cli::boot::{Boot, Core};
use crate::cli::chat::prompt::Conversation;
use crate::cli::exit::Failure;
use crate::dialects::error::{ErrorReply, UpstreamError};
use crate::dialects::{Dialect, Operation};
use crate::gateway::answer::AnsweredBody;
use crate::gateway::attempt;
use crate::gateway::inbound::Inbound;
use crate::gateway::relay::Relay;
use crate::gateway::upstream::{self, Limits, Outbound, ReplyBody, Url};
use crate::ids::RequestId;
use crate::near::did_you_mean;

/// How long a running gateway may take to answer: it keeps its own, shorter limits.
const URL_TIMEOUT: Duration = Duration::from_mins(15);

/// How long the last counts may take to reach the disk.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);

/// An open way to a model.
pub(super) enum Line {
    Own(Box<Core>),
    Url {
        client: upstream::Client,
        base: String,
        headers: HeaderMap,
    },
}

/// An answer: whole, or piece by piece.
pub(super) enum Reply {
    Relay(Box<Relay>),
    Remote(ReplyBody),
    Whole(Bytes),
}

impl Line {
    /// Opens it. The demo provider is brought up where its model is asked for.
    pub(super) async fn open(url: Option<&str>, boot: Boot, model: &str) -> Result<Self, Failure> {
        let Some(url) = url else {
            let core = Core::start(boot, model.starts_with("demo/")).await?;
            return Ok(Self::Own(Box::new(core)));
        };
        let client = upstream::client(None, Duration::from_secs(10)).map_err(|error| {
            Failure::failed(
                error.to_string(),
                "check HTTPS_PROXY and the system's certificates",
            )
        })?;
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        if let Some(key) = boot.loaded.variables.get("LLMPROXY_API_KEY") {
            let value = HeaderValue::from_str(&format!("Bearer {}", key.trim())).map_err(|_| {
                Failure::usage(
                    "LLMPROXY_API_KEY holds characters no key has",
                    "check the variable",
                )
            })?;
            headers.insert(header::AUTHORIZATION, value);
        }
        let base = url.trim_end_matches('/').trim_end_matches("/v1").to_owned();
        Ok(Self::Url {
            client,
            base,
            headers,
        })
    }

    /// Sends one chat request.
    pub(super) async fn send(
        &self,
        conversation: &Conversation,
        stream: bool,
    ) -> Result<Reply, Failure> {
        match self {
            Self::Own(core) => own(core, conversation.body(stream), &conversation.model).await,
            Self::Url {
                client,
                base,
                headers,
            } => {
                let outbound = Outbound {
                    method: Method::POST,
                    url: Url::parse(&format!("{base}/v1/chat/completions")).map_err(|_| {
                        Failure::usage(
                            format!("`{base}` is not an address"),
                            "write --url http://127.0.0.1:8000",
                        )
                    })?,
                    headers: headers.clone(),
                    body: conversation.body(stream).into(),
                };
                remote(client, outbound, base).await
            }
        }
    }

    /// Writes down what was counted.
    pub(super) fn close(&self) {
        if let Self::Own(core) = self {
            core.gateway.flush(FLUSH_PATIENCE);
        }
    }
}

async fn own(core: &Core, body: String, model: &str) -> Result<Reply, Failure> {
    let inbound = Inbound {
        id: RequestId::random(),
        client: Arc::from("chat"),
        dialect: Dialect::OpenAiChat,
        operation: Operation::Chat,
        headers: HeaderMap::new(),
        body: body.into(),
        path_model: None,
        path_stream: None,
        batch: false,
        array_stream: false,
        strict: core.boot.loaded.config.routing.strict_translation,
    };
    match attempt::serve(&core.gateway, inbound, &|_, _, _| true).await {
        Ok(answered) => Ok(match answered.body {
            AnsweredBody::Stream(relay) => Reply::Relay(relay),
            AnsweredBody::Whole(body) => Reply::Whole(body),
        }),
        Err(dead_end) => Err(failure(&dead_end.error, core, model)),
    }
}

async fn remote(
    client: &upstream::Client,
    outbound: Outbound,
    base: &str,
) -> Result<Reply, Failure> {
    let limits = Limits {
        first_byte: URL_TIMEOUT,
        idle: URL_TIMEOUT,
        total: URL_TIMEOUT,
    };
    let mut reply = upstream::send(client, outbound, limits)
        .await
        .map_err(|error| {
            Failure::failed(
                format!("cannot reach the gateway at {base}: {error}"),
                "start it with `llmproxy serve`, or leave --url out",
            )
        })?;
    if reply.status.is_success() {
        return Ok(Reply::Remote(reply.body));
    }
    let body = reply.body.read_prefix(64 << 10).await;
    let parsed = UpstreamError::parse(Some(reply.status.as_u16()), &body).unwrap_or_default();
    let message = if parsed.message.is_empty() {
        reply.status.to_string()
    } else {
        parsed.message
    };
    let hint = match reply.status {
        StatusCode::UNAUTHORIZED => "put one of the server's client keys in LLMPROXY_API_KEY",
        _ => "`llmproxy explain` on the server's machine says more",
    };
    Err(Failure::failed(message, hint))
}

/// An error of our own gateway by its exit code: 3 where no credential can serve, else 1.
fn failure(error: &ErrorReply, core: &Core, model: &str) -> Failure {
    let message = error.message.clone();
    match error.code.as_deref() {
        Some("no_credentials" | "credentials_refused") => {
            Failure::no_credential(message, "`llmproxy test-keys` checks every credential")
        }
        Some("all_credentials_cooling" | "all_credentials_busy") => Failure::no_credential(
            message,
            "try again then, or add a credential with `llmproxy creds add`",
        ),
        Some("model_not_found") => {
            let known = core.gateway.snapshot().listed_models();
            let hint = did_you_mean(model, known.iter().map(String::as_str));
            Failure::failed(
                message,
                hint.unwrap_or_else(|| "`llmproxy models` lists what can be used".to_owned()),
            )
        }
        _ => Failure::failed(message, "-v shows each attempt"),
    }
}
