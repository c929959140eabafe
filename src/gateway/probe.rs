//! Calls that serve no client: key tests, model lists. One credential, one answer, no pool.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};

use crate::gateway::runtime::ProviderRuntime;
use crate::gateway::upstream::{Limits, Outbound, SendError, send};
use crate::providers::verdict::{Failure, Fault, Verdict};
use crate::providers::{Answer, Call};
use crate::secret::Secret;
use crate::time::Timestamp;

/// A model list of 20,000 entries is a few MiB.
const MAX_LIST_BYTES: usize = 16 << 20;

/// An answer read as a whole.
#[derive(Debug)]
pub struct ProbeReply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub received: Timestamp,
}

impl ProbeReply {
    /// The view that adapters judge.
    pub fn as_answer(&self) -> Answer<'_> {
        Answer {
            status: self.status,
            headers: &self.headers,
            body: &self.body,
            model: "",
            received: self.received,
        }
    }

    /// `true` for a 2xx.
    pub const fn is_success(&self) -> bool {
        self.status >= 200 && self.status < 300
    }
}

/// Sends one call with one credential, trying each base URL until one can be reached.
pub async fn call(
    runtime: &ProviderRuntime,
    secret: Option<&Secret>,
    call: &Call,
    timeout: Duration,
) -> Result<ProbeReply, SendError> {
    let limits = Limits {
        first_byte: timeout,
        idle: timeout,
        total: timeout,
    };
    let mut failure = None;
    for base in &runtime.base_urls {
        let outbound = outbound(runtime, base, secret, call)?;
        match send(runtime.client_for(secret), outbound, limits).await {
            Ok(mut reply) => {
                let body = reply.body.read_all(MAX_LIST_BYTES).await?;
                return Ok(ProbeReply {
                    status: reply.status.as_u16(),
                    headers: reply.headers,
                    body,
                    received: Timestamp::now(),
                });
            }
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| SendError::unconfigured(&runtime.id)))
}

/// Runs the provider's cheapest check on a secret. Returns how many models it can list, where that
/// can be told.
pub async fn check(
    runtime: &ProviderRuntime,
    secret: &Secret,
    timeout: Duration,
) -> Result<Option<usize>, Failure> {
    let tested = test_key(runtime, secret, timeout).await;
    if let Err(failure) = &tested
        && !matches!(failure.status, Some(404 | 405))
    {
        return tested.map(|()| None);
    }
    let listed = list(runtime, secret, timeout).await;
    match (tested, listed) {
        (Ok(()), listed) => Ok(listed.ok()),
        // The endpoint of the test is not there, as behind an address of the user's own.
        (Err(_), Ok(models)) => Ok(Some(models)),
        (Err(_), Err(failure)) => Err(failure),
    }
}

/// Sends the provider's key test and reads what it says.
pub async fn test_key(
    runtime: &ProviderRuntime,
    secret: &Secret,
    timeout: Duration,
) -> Result<(), Failure> {
    let reply = call(runtime, Some(secret), &runtime.adapter.key_test(), timeout)
        .await
        .map_err(unsent)?;
    runtime
        .adapter
        .read_key_test(&reply.as_answer())
        .map_err(|failure| shown(runtime, failure, secret))
}

/// The number of models on the first page of the list.
async fn list(
    runtime: &ProviderRuntime,
    secret: &Secret,
    timeout: Duration,
) -> Result<usize, Failure> {
    let Some(list) = runtime.adapter.list_models(None) else {
        return Err(Failure::new(
            Verdict::BadRequest,
            "the provider has no model list",
        ));
    };
    let reply = call(runtime, Some(secret), &list, timeout)
        .await
        .map_err(unsent)?;
    if !reply.is_success() {
        return Err(shown(
            runtime,
            runtime.adapter.judge(&reply.as_answer()),
            secret,
        ));
    }
    let page = runtime.adapter.read_models(&reply.body);
    page.map(|page| page.models.len())
        .map_err(|reason| Failure::new(Verdict::Transient(Fault::Garbage), reason))
}

fn unsent(error: SendError) -> Failure {
    Failure::new(Verdict::Transient(error.fault), error.message)
}

fn shown(runtime: &ProviderRuntime, mut failure: Failure, secret: &Secret) -> Failure {
    failure.message = runtime.redact(&failure.message, Some(secret));
    failure
}

fn outbound(
    runtime: &ProviderRuntime,
    base: &str,
    secret: Option<&Secret>,
    call: &Call,
) -> Result<Outbound, SendError> {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    );
    if call.body.is_some() {
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
    }
    runtime
        .adapter
        .headers(runtime.adapter.spec().dialect, &mut headers);
    runtime.add_headers(&mut headers);
    if let Some(secret) = secret.filter(|_| call.authorised) {
        runtime.adapter.authorise(secret.expose(), &mut headers);
    }
    let url = if call.path.starts_with("http://") || call.path.starts_with("https://") {
        call.path.clone()
    } else {
        runtime.adapter.url(base, &call.path)
    };
    let body = call.body.clone().map_or_else(Bytes::new, Bytes::from);
    Ok(Outbound {
        method: call.method.clone(),
        url: runtime.parsed(&url)?,
        headers,
        body,
    })
}
