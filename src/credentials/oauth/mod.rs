//! Logging in to accounts: the standard flows over the `oauth2` crate, and the ways in which
//! vendors depart from them.
//!
//! [`exchange`] talks to the token endpoint, [`loopback`] and [`device`] bring the user's consent.
//! Nothing here prints, opens browsers or writes files.

pub mod device;
pub mod exchange;
pub mod installed;
pub mod loopback;
mod reply;
pub mod userinfo;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use oauth2::AsyncHttpClient;
pub use oauth2::url::Url;
pub use oauth2::{HttpRequest, HttpResponse};
use thiserror::Error;

use crate::config::provider::OAuth as Overrides;
use crate::credentials::{Account, Credential};
use crate::ids::uuid;
use crate::providers::code_assist;
use crate::providers::oauth::OAuthSpec;
use crate::providers::redact::redact;
use crate::secret::Secret;

/// Token endpoints answer in a second or two; a browser's user is not waiting here.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(20);

/// No token answer is larger.
const MAX_REPLY_BYTES: usize = 64 * 1024;

/// A vendor's log-in with the user's overrides applied and the secret found.
#[derive(Clone, Debug)]
pub struct Client {
    pub spec: OAuthSpec,
    pub client_id: String,
    pub client_secret: Option<Secret>,
    pub auth_url: String,
    pub token_url: String,
    pub device_url: Option<String>,
    pub userinfo_url: Option<String>,
    /// The loopback port; 0 takes any.
    pub port: u16,
}

impl Client {
    /// Puts the overrides of `[providers.NAME.oauth]` over the vendor's data.
    pub fn new(spec: OAuthSpec, overrides: &Overrides) -> Self {
        let url = |over: &Option<String>, built_in: &str| {
            over.clone().unwrap_or_else(|| built_in.to_owned())
        };
        let exposed = |secret: &crate::config::secret_ref::SecretRef| {
            Some(secret.secret().clone()).filter(|secret| !secret.is_empty())
        };
        let client_id = overrides.client_id.as_ref().and_then(exposed);
        Self {
            spec,
            client_id: client_id
                .map_or_else(|| spec.client_id.to_owned(), |id| id.expose().to_owned()),
            client_secret: overrides.client_secret.as_ref().and_then(exposed),
            auth_url: url(&overrides.auth_url, spec.auth_url),
            token_url: url(&overrides.token_url, spec.token_url),
            device_url: overrides
                .device_url
                .clone()
                .or_else(|| spec.device_url.map(str::to_owned)),
            userinfo_url: overrides
                .userinfo_url
                .clone()
                .or_else(|| spec.userinfo_url.map(str::to_owned)),
            port: overrides.callback_port.unwrap_or(spec.redirect.port),
        }
    }

    /// The client of an account: its own, with the secret that is configured, that the account or
    /// a sibling (of the same provider) brought along, or that the vendor's tool holds.
    pub fn for_account<'a>(
        spec: OAuthSpec,
        overrides: &Overrides,
        account: &Account,
        siblings: impl Iterator<Item = &'a Credential>,
    ) -> Self {
        Self::new(spec, overrides)
            .of_account(account)
            .with_known_secret(siblings)
    }

    /// Looks for a secret that is needed and not configured: in accounts of the same provider and
    /// client, then in the vendor's tool on this machine.
    #[must_use]
    pub fn with_known_secret<'a>(mut self, siblings: impl Iterator<Item = &'a Credential>) -> Self {
        if !self.lacks_secret() {
            return self;
        }
        let known = siblings
            .filter_map(Credential::account)
            .find_map(|account| {
                let issued_to = account.client_id.as_ref().unwrap_or(&self.client_id);
                let secret = account.client_secret.clone();
                secret.filter(|_| *issued_to == self.client_id)
            });
        let tool = || {
            let tool = code_assist::login::tool_of(&self.client_id)?;
            installed::secret_here(tool)
        };
        self.client_secret = known.or_else(tool);
        self
    }

    /// Takes the client that an account's tokens were issued to, where its file names one, and its
    /// secret where none is configured.
    #[must_use]
    pub fn of_account(mut self, account: &Account) -> Self {
        if let Some(client_id) = &account.client_id
            && *client_id != self.client_id
        {
            self.client_id.clone_from(client_id);
            self.client_secret.clone_from(&account.client_secret);
        }
        if self.client_secret.is_none() {
            self.client_secret.clone_from(&account.client_secret);
        }
        self
    }

    /// Whether tokens come from the same place by the same client.
    pub fn is_same(&self, other: &Self) -> bool {
        let secret = |client: &Self| client.client_secret.as_ref().map(|s| s.expose().to_owned());
        self.client_id == other.client_id
            && self.token_url == other.token_url
            && secret(self) == secret(other)
    }

    /// The secret's text, or nothing.
    fn secret_text(&self) -> &str {
        self.client_secret.as_ref().map_or("", Secret::expose)
    }

    /// `true` if the secret is needed and was found nowhere.
    pub fn lacks_secret(&self) -> bool {
        self.spec.needs_secret && self.client_secret.is_none()
    }
}

/// What sends requests for the flows: the gateway's client behind a closure, or a test's.
#[derive(Clone)]
pub struct Http(Arc<dyn Fn(HttpRequest) -> Sending + Send + Sync>);

type Sending = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send>>;

impl Http {
    /// Wraps an asynchronous function.
    pub fn new<F>(send: impl Fn(HttpRequest) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<HttpResponse, HttpError>> + Send + 'static,
    {
        Self(Arc::new(move |request| Box::pin(send(request))))
    }

    /// Sends with a reqwest client, which must not follow redirects: they would carry codes and
    /// tokens elsewhere.
    pub fn with(client: reqwest::Client) -> Self {
        Self::new(move |request| {
            let client = client.clone();
            async move { send(&client, request).await }
        })
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        (self.0)(request).await
    }

    /// The endpoint whose successes have the member `wanted`.
    fn endpoint(&self, wanted: &'static str) -> Endpoint {
        Endpoint {
            http: self.clone(),
            wanted,
            interval: None,
        }
    }

    /// The endpoint where a device flow begins. `interval`: the pause to assume where it names none,
    /// in seconds.
    fn device_endpoint(&self, interval: Option<u64>) -> Endpoint {
        Endpoint {
            interval,
            ..self.endpoint(DEVICE_CODE)
        }
    }
}

/// The member of an answer that begins a device flow.
const DEVICE_CODE: &str = "device_code";

/// One endpoint as the `oauth2` crate calls it: answers are normalised before it reads them.
struct Endpoint {
    http: Http,
    wanted: &'static str,
    interval: Option<u64>,
}

impl<'c> AsyncHttpClient<'c> for Endpoint {
    type Error = HttpError;
    type Future = Sending;

    fn call(&'c self, mut request: HttpRequest) -> Sending {
        // The vendor's own tool (Qwen Code) names the beginning of a device flow so.
        if self.wanted == DEVICE_CODE
            && let Ok(id) = HeaderValue::from_str(&uuid(fastrand::u128(..)))
        {
            request.headers_mut().insert("x-request-id", id);
        }
        let (sending, wanted, interval) = ((self.http.0)(request), self.wanted, self.interval);
        Box::pin(async move { reply::normalise(&sending.await?, wanted, interval) })
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http")
    }
}

async fn send(client: &reqwest::Client, request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let (parts, body) = request.into_parts();
    let mut reply = client
        .request(parts.method, parts.uri.to_string())
        .headers(parts.headers)
        .body(body)
        .timeout(TOKEN_TIMEOUT)
        .send()
        .await
        .map_err(|error| HttpError::unreachable(&error))?;
    let mut body = Vec::new();
    while let Some(chunk) = reply
        .chunk()
        .await
        .map_err(|error| HttpError::unreachable(&error))?
    {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_REPLY_BYTES {
            return Err(HttpError {
                message: "the answer is larger than 64 KiB".to_owned(),
                status: Some(reply.status().as_u16()),
                retry_after: None,
            });
        }
    }
    let mut response = HttpResponse::new(body);
    *response.status_mut() = reply.status();
    *response.headers_mut() = std::mem::take(reply.headers_mut());
    Ok(response)
}

/// A request that brought no usable answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message}")]
pub struct HttpError {
    /// One sentence without URL, code or token.
    pub message: String,
    /// `None` if there was no answer at all.
    pub status: Option<u16>,
    /// How long the server asked to wait.
    pub retry_after: Option<Duration>,
}

impl HttpError {
    fn unreachable(error: &reqwest::Error) -> Self {
        let message = if error.is_timeout() {
            "the log-in server does not answer in time"
        } else if error.is_connect() {
            "the log-in server cannot be reached"
        } else {
            "the connection to the log-in server broke"
        };
        Self {
            message: message.to_owned(),
            status: None,
            retry_after: None,
        }
    }
}

/// Why a log-in or refresh did not work. No text holds a code, verifier or token.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum OAuthError {
    /// The client id or secret is wrong or no longer served; the account is not to blame.
    #[error("the provider refuses the OAuth client: {0}")]
    ClientRefused(String),
    /// The user said no.
    #[error("the log-in was refused in the browser")]
    Denied,
    /// Nobody answered in time.
    #[error("the log-in was not finished in time")]
    Expired,
    /// The provider refuses the code or refresh token for good.
    #[error("the provider refuses the log-in: {0}")]
    GrantRefused(String),
    /// What came back belongs to another attempt.
    #[error("the answer belongs to another log-in attempt (its state does not match)")]
    StateMismatch,
    /// It may work later.
    #[error("{message}")]
    Transient {
        message: String,
        retry_after: Option<Duration>,
    },
    /// The answer makes no sense, or a setting does not.
    #[error("{0}")]
    Unexpected(String),
}

impl OAuthError {
    /// The same without these secrets and what looks like one: some servers quote what they refuse.
    #[must_use]
    pub(super) fn without(self, secrets: &[&str]) -> Self {
        let clean = |text: String| redact(&text, secrets).into_owned();
        match self {
            Self::ClientRefused(reason) => Self::ClientRefused(clean(reason)),
            Self::GrantRefused(reason) => Self::GrantRefused(clean(reason)),
            Self::Unexpected(message) => Self::Unexpected(clean(message)),
            Self::Transient {
                message,
                retry_after,
            } => Self::Transient {
                message: clean(message),
                retry_after,
            },
            other @ (Self::Denied | Self::Expired | Self::StateMismatch) => other,
        }
    }
}

#[cfg(test)]
mod tests;
