//! The device flow (RFC 8628): the user types a code in at another device while we ask again and
//! again whether it is done.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use oauth2::{
    DeviceAuthorizationUrl, DeviceCodeErrorResponse, DeviceCodeErrorResponseType,
    PkceCodeChallenge, PkceCodeVerifier, RequestTokenError, Scope,
    StandardDeviceAuthorizationResponse,
};

use crate::credentials::oauth::exchange::{Tokens, bad_url, reason, standard, tokens, transient};
use crate::credentials::oauth::{Client, Http, HttpError, OAuthError};
use crate::providers::oauth::{Flow, Pace};

/// A server that names no pause, or none to speak of, is not asked in a loop.
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);

/// A log-in that waits for the user.
pub struct DeviceLogin {
    answer: StandardDeviceAuthorizationResponse,
    verifier: Option<PkceCodeVerifier>,
}

impl DeviceLogin {
    /// Asks for a code to show.
    ///
    /// Fails where the provider has no device flow, or answers with a page that is not https.
    pub async fn begin(client: &Client, http: &Http) -> Result<Self, OAuthError> {
        let Some(device_url) = client.device_url.clone() else {
            return Err(OAuthError::Unexpected(
                "this provider has no device log-in".to_owned(),
            ));
        };
        let url = DeviceAuthorizationUrl::new(device_url).map_err(|_| bad_url("device_url"))?;
        let standard = standard(client)?.set_device_authorization_url(url);
        let scopes = client.spec.scopes.iter();
        let mut request = standard
            .exchange_device_code()
            .add_scopes(scopes.map(|scope| Scope::new((*scope).to_owned())));
        let pkce = matches!(client.spec.flow, Flow::Device { pkce: true });
        let (challenge, verifier) = pkce.then(PkceCodeChallenge::new_random_sha256).unzip();
        if let Some(challenge) = &challenge {
            request = request
                .add_extra_param("code_challenge", challenge.as_str().to_owned())
                .add_extra_param(
                    "code_challenge_method",
                    challenge.method().as_str().to_owned(),
                );
        }
        let answer: StandardDeviceAuthorizationResponse = request
            .request_async(&http.device_endpoint(client.spec.pace.map(|pace| pace.first_secs)))
            .await
            .map_err(|error| match error {
                RequestTokenError::ServerResponse(response) => OAuthError::GrantRefused(reason(
                    response.error().as_ref(),
                    response.error_description(),
                )),
                RequestTokenError::Request(error) => transient(&error),
                RequestTokenError::Parse(..) | RequestTokenError::Other(_) => unreadable(),
            })?;
        let login = Self { answer, verifier };
        if !is_safe(login.url(), &client.token_url) {
            return Err(OAuthError::Unexpected(
                "the page to open is not an https address".to_owned(),
            ));
        }
        Ok(login)
    }

    /// The page to open; the code is in it already where the provider can do that.
    pub fn url(&self) -> &str {
        match self.answer.verification_uri_complete() {
            Some(url) => url.secret(),
            None => self.answer.verification_uri().as_str(),
        }
    }

    /// The code to type in or compare.
    pub fn user_code(&self) -> &str {
        self.answer.user_code().secret()
    }

    /// How long the code is good.
    pub fn expires_in(&self) -> Duration {
        self.answer.expires_in()
    }

    /// Asks until the user is done, with the provider's own pauses: `slow_down` makes them longer
    /// for good, network errors double them.
    ///
    /// Fails with [`OAuthError::Expired`] when the code runs out or `patience` ends.
    pub async fn finish(
        self,
        client: &Client,
        http: &Http,
        patience: Duration,
    ) -> Result<Tokens, OAuthError> {
        let standard = standard(client)?;
        let mut request = standard.exchange_device_access_token(&self.answer);
        if let Some(verifier) = &self.verifier {
            request = request.add_extra_param("code_verifier", verifier.secret().clone());
        }
        let patience = patience.min(self.answer.expires_in());
        let endpoint = http.endpoint("access_token");
        let pauses = Pauses::new(client.spec.pace, self.answer.interval());
        let wait = |asked| tokio::time::sleep(pauses.next(asked));
        let polling = request.request_async(&endpoint, wait, Some(patience));
        let answer = tokio::time::timeout(patience, polling)
            .await
            .map_err(|_| OAuthError::Expired)?;
        let sent = [
            self.answer.device_code().secret().as_str(),
            client.secret_text(),
        ];
        let refused = |error: &Refused| refused(error).without(&sent);
        answer.as_ref().map(tokens).map_err(refused)
    }
}

/// The pauses between two questions: RFC 8628's, or at the vendor's own pace.
struct Pauses {
    pace: Option<Pace>,
    /// What the standard would have waited last, and what was waited.
    last: Mutex<(Duration, Duration)>,
}

impl Pauses {
    fn new(pace: Option<Pace>, first: Duration) -> Self {
        let first = first.max(SHORTEST_PAUSE);
        Self {
            pace,
            last: Mutex::new((first, first)),
        }
    }

    /// The pause where the standard asks for this one. It asks for a longer one after `slow_down`.
    fn next(&self, asked: Duration) -> Duration {
        let Some(pace) = self.pace else { return asked };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, pause) = *last;
        let pause = if asked > before {
            pace.slower(pause)
        } else {
            pause
        };
        *last = (asked.max(before), pause);
        pause
    }
}

/// What the crate gives in place of tokens.
type Refused = RequestTokenError<HttpError, DeviceCodeErrorResponse>;

fn refused(error: &Refused) -> OAuthError {
    match error {
        RequestTokenError::ServerResponse(response) => match response.error() {
            DeviceCodeErrorResponseType::AccessDenied => OAuthError::Denied,
            DeviceCodeErrorResponseType::ExpiredToken => OAuthError::Expired,
            code => OAuthError::GrantRefused(reason(code.as_ref(), response.error_description())),
        },
        RequestTokenError::Request(error) => transient(error),
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => unreadable(),
    }
}

fn unreadable() -> OAuthError {
    OAuthError::Unexpected("the log-in server's answer is no device-flow answer".to_owned())
}

/// Only https pages are shown to the user; plain http where the token endpoint itself is plain
/// http, as in a test or on the same machine.
fn is_safe(url: &str, token_url: &str) -> bool {
    url.starts_with("https://") || (url.starts_with("http://") && token_url.starts_with("http://"))
}
