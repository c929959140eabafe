//! A running gateway, spoken to over HTTP: what `--url` and `LLMPROXY_API_KEY` stand for.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::cli::boot::Boot;
use crate::cli::exit::Failure;
use crate::dialects::error::UpstreamError;
use crate::gateway::upstream::{self, Address, Limits, Outbound, Reply, Way};

/// How long a running gateway may take to answer: it keeps its own, shorter limits.
const TIMEOUT: Duration = Duration::from_mins(15);

/// Largest document read.
const MAX_DOCUMENT: usize = 64 << 20;

/// A gateway at an address.
pub(super) struct Remote {
    client: upstream::Client,
    base: String,
    headers: HeaderMap,
}

impl Remote {
    /// Takes the key from `LLMPROXY_API_KEY`; connects to nobody yet.
    pub(super) fn new(url: &str, boot: &Boot) -> Result<Self, Failure> {
        Self::with_key(url, boot, None)
    }

    /// [`Remote::new`] with a key to use where the variable is not set.
    pub(super) fn with_key(url: &str, boot: &Boot, key: Option<&str>) -> Result<Self, Failure> {
        let client =
            upstream::client(Way::Environment, Duration::from_secs(10)).map_err(|error| {
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
        if let Some(key) = boot.loaded.variables.get("LLMPROXY_API_KEY").or(key) {
            let value = HeaderValue::from_str(&format!("Bearer {}", key.trim())).map_err(|_| {
                Failure::usage(
                    "LLMPROXY_API_KEY holds characters no key has",
                    "check the variable",
                )
            })?;
            headers.insert(header::AUTHORIZATION, value);
        }
        let base = url.trim_end_matches('/').trim_end_matches("/v1").to_owned();
        Ok(Self {
            client,
            base,
            headers,
        })
    }

    /// Reads a JSON document.
    pub(super) async fn get(&self, path: &str) -> Result<Bytes, Failure> {
        let mut reply = self.send(Method::GET, path, Bytes::new()).await?;
        let body = reply.body.read_all(MAX_DOCUMENT).await;
        body.map_err(|error| {
            Failure::failed(
                format!("the answer of {} broke off: {error}", self.base),
                "try again",
            )
        })
    }

    /// Sends a request; an answer that is no success is a failure with its message.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Reply, Failure> {
        let outbound = Outbound {
            method,
            url: Address::parse(&format!("{}{path}", self.base)).map_err(|_| {
                Failure::usage(
                    format!("`{}` is not an address", self.base),
                    "write --url http://127.0.0.1:8000",
                )
            })?,
            headers: self.headers.clone(),
            body,
        };
        let limits = Limits {
            first_byte: TIMEOUT,
            idle: TIMEOUT,
            total: TIMEOUT,
        };
        let sent = upstream::send(&self.client, outbound, limits).await;
        let mut reply = sent.map_err(|error| {
            Failure::failed(
                format!("cannot reach the gateway at {}: {error}", self.base),
                "start it with `llmproxy serve`, or leave --url out",
            )
        })?;
        if reply.status.is_success() {
            return Ok(reply);
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
}
