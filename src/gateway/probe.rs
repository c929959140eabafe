//! Calls that serve no client: key tests, model lists. One credential, one answer, no pool.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};

use crate::dialects::Operation;
use crate::gateway::accounts::{self, Pass, Unready};
use crate::gateway::runtime::ProviderRuntime;
use crate::gateway::upstream::{Limits, Outbound, SendError, send};
use crate::ids::CredentialId;
use crate::providers::verdict::{Failure, Fault, Verdict};
use crate::providers::{Answer, Call, Outgoing};
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
    pass: Option<&Pass>,
    call: &Call,
    timeout: Duration,
) -> Result<ProbeReply, SendError> {
    let limits = Limits {
        first_byte: timeout,
        idle: timeout,
        total: timeout,
    };
    let mut failure = None;
    let view = pass.map(Pass::view);
    let bases = match &view {
        Some(view) => runtime.bases(view),
        None => Cow::Borrowed(&*runtime.base_urls),
    };
    let client = pass.map_or_else(
        || runtime.clients.common(),
        |pass| runtime.clients.of(&pass.id),
    );
    for base in bases.iter() {
        let outbound = outbound(runtime, base, pass, call)?;
        match send(client, outbound, limits).await {
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

/// [`call`] with an account or key; a token that is refused is renewed and the call repeated.
pub async fn ask(
    runtime: &ProviderRuntime,
    pass: &mut Pass,
    question: &Call,
    timeout: Duration,
) -> Result<ProbeReply, SendError> {
    let reply = call(runtime, Some(pass), question, timeout).await?;
    let is_refused = || runtime.adapter.judge(&reply.as_answer()).verdict == Verdict::Auth;
    if reply.is_success() || !pass.is_account() || !is_refused() {
        return Ok(reply);
    }
    let id = pass.id.clone();
    match accounts::renewed(runtime, &id, pass).await {
        Ok(Some(renewed)) => {
            *pass = renewed;
            call(runtime, Some(pass), question, timeout).await
        }
        Ok(None) | Err(_) => Ok(reply),
    }
}

/// Runs the provider's cheapest check on a credential. Returns how many models it can list, where
/// that can be told.
pub async fn check(
    runtime: &ProviderRuntime,
    credential: &CredentialId,
    timeout: Duration,
) -> Result<Option<usize>, Failure> {
    let pass = &mut pass(runtime, credential).await?;
    let tested = test(runtime, pass, timeout).await;
    if let Err(failure) = &tested
        && !matches!(failure.status, Some(404 | 405))
    {
        return tested.map(|()| None);
    }
    let listed = list(runtime, pass, timeout).await;
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
    credential: &CredentialId,
    timeout: Duration,
) -> Result<(), Failure> {
    test(runtime, &mut pass(runtime, credential).await?, timeout).await
}

async fn pass(runtime: &ProviderRuntime, credential: &CredentialId) -> Result<Pass, Failure> {
    let ready = accounts::ready(runtime, credential).await;
    ready.map_err(Unready::into_failure)?.ok_or_else(|| {
        let message = "there is no secret stored";
        Failure::new(Verdict::Auth, message)
    })
}

async fn test(
    runtime: &ProviderRuntime,
    pass: &mut Pass,
    timeout: Duration,
) -> Result<(), Failure> {
    let reply = ask(runtime, pass, &runtime.adapter.key_test(), timeout)
        .await
        .map_err(SendError::failure)?;
    runtime
        .adapter
        .read_key_test(&reply.as_answer())
        .map_err(|failure| shown(runtime, failure, &pass.secret))
}

/// The number of models on the first page of the list.
async fn list(
    runtime: &ProviderRuntime,
    pass: &mut Pass,
    timeout: Duration,
) -> Result<usize, Failure> {
    let Some(list) = runtime.adapter.list_models(None) else {
        return Err(Failure::new(
            Verdict::BadRequest,
            "the provider has no model list",
        ));
    };
    let reply = ask(runtime, pass, &list, timeout)
        .await
        .map_err(SendError::failure)?;
    if !reply.is_success() {
        return Err(shown(
            runtime,
            runtime.adapter.judge(&reply.as_answer()),
            &pass.secret,
        ));
    }
    let page = runtime.adapter.read_models(&reply.body);
    page.map(|page| page.models.len())
        .map_err(|reason| Failure::new(Verdict::Transient(Fault::Garbage), reason))
}

/// A failure whose message is safe to show.
pub fn shown(runtime: &ProviderRuntime, mut failure: Failure, secret: &Secret) -> Failure {
    failure.message = runtime.redact(&failure.message, Some(secret));
    failure
}

fn outbound(
    runtime: &ProviderRuntime,
    base: &str,
    pass: Option<&Pass>,
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
    let body = call.body.clone().map_or_else(Bytes::new, Bytes::from);
    if let Some(pass) = pass.filter(|_| call.authorised) {
        let (secret, dialect) = (pass.secret.expose(), runtime.adapter.spec().dialect);
        runtime.adapter.authorise(secret, &mut headers);
        let view = pass.view();
        let request = Outgoing {
            account: Some(&view),
            entropy: fastrand::u64(..),
            now: Timestamp::now(),
            ..Outgoing::new(Operation::Chat, dialect, "")
        };
        runtime.adapter.sign(secret, &request, &body, &mut headers);
    }
    let url = if call.path.starts_with("http://") || call.path.starts_with("https://") {
        call.path.clone()
    } else {
        runtime.adapter.url(base, &call.path)
    };
    Ok(Outbound {
        method: call.method.clone(),
        url: runtime.parsed(&url)?,
        headers,
        body,
    })
}
