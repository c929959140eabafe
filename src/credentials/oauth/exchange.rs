//! The authorization-code exchange (RFC 6749, PKCE after RFC 7636) and the refresh.

use std::fmt;
use std::time::Duration;

use oauth2::basic::{
    BasicErrorResponse, BasicErrorResponseType, BasicRevocationErrorResponse,
    BasicTokenIntrospectionResponse, BasicTokenType,
};
use oauth2::url::Url;
use oauth2::{
    AccessToken, AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken,
    EndpointNotSet, EndpointSet, ExtraTokenFields, PkceCodeChallenge, PkceCodeVerifier,
    RedirectUrl, RefreshToken, RequestTokenError, Scope, StandardRevocableToken,
    StandardTokenResponse, TokenResponse, TokenUrl,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use subtle::ConstantTimeEq;

use crate::credentials::oauth::loopback::Callback;
use crate::credentials::oauth::{Client, Http, HttpError, OAuthError, userinfo};
use crate::providers::oauth::{ClientAuth, Flow};
use crate::secret::Secret;

/// Refreshing more often than this would be a loop: answers with a shorter life are taken to live
/// this long.
const MIN_LIFE: Duration = Duration::from_secs(30);

/// Descriptions of providers are cut to this many characters.
const MAX_REASON: usize = 300;

/// What the token endpoint gave.
#[derive(Clone)]
pub struct Tokens {
    pub access_token: Secret,
    /// Absent where the old one stays good.
    pub refresh_token: Option<Secret>,
    /// How long the access token lives, 30 s at least; `None` if the provider does not say.
    pub expires_in: Option<Duration>,
    pub scope: Option<String>,
    /// Whose account it is, where that came along.
    pub name: Option<String>,
    /// Further members of the answer: `resource_url`, `id_token`.
    pub extra: Map<String, Value>,
}

/// Without the further members: they may be secret.
impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens")
            .field("expires_in", &self.expires_in)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// One attempt to log in: the page to open, and what its answer must match.
pub struct Attempt {
    /// The log-in page. It is shown and opened; it holds no secret but the state.
    pub url: String,
    redirect_uri: String,
    state: CsrfToken,
    verifier: Option<PkceCodeVerifier>,
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").finish_non_exhaustive()
    }
}

impl Attempt {
    /// Begins an attempt whose answer comes back to `port` on this machine.
    ///
    /// Fails where a URL of the client is none.
    pub fn new(client: &Client, port: u16) -> Result<Self, OAuthError> {
        let redirect = &client.spec.redirect;
        let redirect_uri = format!("http://{}:{port}{}", redirect.host, redirect.path);
        let state = CsrfToken::new_random_len(32);
        let pkce = matches!(client.spec.flow, Flow::Code { pkce: true });
        let (challenge, verifier) = pkce.then(PkceCodeChallenge::new_random_sha256).unzip();
        let url = if redirect.parameter == "redirect_uri" {
            standard_url(client, &redirect_uri, &state, challenge)?
        } else {
            vendor_url(client, &redirect_uri, &state)?
        };
        Ok(Self {
            url: url.into(),
            redirect_uri,
            state,
            verifier,
        })
    }

    /// Checks the browser's answer and exchanges its code.
    ///
    /// Fails with [`OAuthError::StateMismatch`] where the state is not this attempt's; a code
    /// pasted alone has none and is bound by its verifier only.
    pub async fn finish(
        self,
        client: &Client,
        callback: Callback,
        http: &Http,
    ) -> Result<Tokens, OAuthError> {
        if let Some(state) = &callback.state
            && !bool::from(state.as_bytes().ct_eq(self.state.secret().as_bytes()))
        {
            return Err(OAuthError::StateMismatch);
        }
        let code = callback.code?;
        let redirect = RedirectUrl::new(self.redirect_uri).map_err(|_| bad_url("redirect"))?;
        let standard = standard(client)?.set_redirect_uri(redirect);
        let mut request = standard.exchange_code(AuthorizationCode::new(code.expose().to_owned()));
        if let Some(verifier) = self.verifier {
            request = request.set_pkce_verifier(verifier);
        }
        for (name, value) in form_credentials(client) {
            request = request.add_extra_param(name, value);
        }
        let answer = request.request_async(&http.endpoint("access_token")).await;
        let sent = [code.expose(), client.secret_text()];
        let refused = |error: &Refused| refused(error).without(&sent);
        let mut tokens = answer.as_ref().map(tokens).map_err(refused)?;
        userinfo::complete(client, &mut tokens, http).await?;
        Ok(tokens)
    }
}

/// Exchanges a refresh token for new tokens. The caller holds the account's lock and writes the
/// result to disk before using it.
pub async fn refresh(
    client: &Client,
    refresh_token: &Secret,
    http: &Http,
) -> Result<Tokens, OAuthError> {
    let standard = standard(client)?;
    let token = RefreshToken::new(refresh_token.expose().to_owned());
    let mut request = standard.exchange_refresh_token(&token);
    for (name, value) in form_credentials(client) {
        request = request.add_extra_param(name, value);
    }
    let answer = request.request_async(&http.endpoint("access_token")).await;
    let sent = [refresh_token.expose(), client.secret_text()];
    let refused = |error: &Refused| refused(error).without(&sent);
    let mut tokens = answer.as_ref().map(tokens).map_err(refused)?;
    // The old refresh token is gone: these must be kept, with the key that is known for now.
    if let Err(error) = userinfo::complete(client, &mut tokens, http).await {
        tracing::warn!("refreshed an account, but its key cannot be read: {error}");
    }
    Ok(tokens)
}

/// Members of a token answer that the standard does not name.
#[derive(Clone, Default, Deserialize, Serialize)]
pub(super) struct Extra(Map<String, Value>);

impl ExtraTokenFields for Extra {}

impl fmt::Debug for Extra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

pub(super) type Answer = StandardTokenResponse<Extra, BasicTokenType>;

/// The crate's client, with the endpoints that are set.
pub(super) type Standard<Token = EndpointSet, Device = EndpointNotSet> = oauth2::Client<
    BasicErrorResponse,
    Answer,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointNotSet,
    Device,
    EndpointNotSet,
    EndpointNotSet,
    Token,
>;

/// The crate's client with everything that all calls need.
pub(super) fn standard(client: &Client) -> Result<Standard, OAuthError> {
    let token_url = TokenUrl::new(client.token_url.clone()).map_err(|_| bad_url("token_url"))?;
    let auth_type = match client.spec.client_auth {
        ClientAuth::BasicAndForm => AuthType::BasicAuth,
        ClientAuth::Form => AuthType::RequestBody,
    };
    let named: Standard<EndpointNotSet> = Standard::new(ClientId::new(client.client_id.clone()));
    let mut standard = named.set_token_uri(token_url).set_auth_type(auth_type);
    if let Some(secret) = &client.client_secret {
        standard = standard.set_client_secret(ClientSecret::new(secret.expose().to_owned()));
    }
    Ok(standard)
}

/// Id and secret once more in the form, for endpoints that want both places.
fn form_credentials(client: &Client) -> Vec<(&'static str, String)> {
    match (client.spec.client_auth, &client.client_secret) {
        (ClientAuth::BasicAndForm, Some(secret)) => vec![
            ("client_id", client.client_id.clone()),
            ("client_secret", secret.expose().to_owned()),
        ],
        _ => Vec::new(),
    }
}

pub(super) fn tokens(answer: &Answer) -> Tokens {
    let secret = |token: &AccessToken| Secret::new(token.secret());
    let scopes = answer.scopes().map(|scopes| {
        let words: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
        words.join(" ")
    });
    Tokens {
        access_token: secret(answer.access_token()),
        refresh_token: answer
            .refresh_token()
            .map(|token| Secret::new(token.secret()))
            .filter(|token| !token.is_empty()),
        expires_in: answer.expires_in().map(|life| life.max(MIN_LIFE)),
        scope: scopes,
        name: None,
        extra: answer.extra_fields().0.clone(),
    }
}

type Refused = RequestTokenError<HttpError, BasicErrorResponse>;

fn refused(error: &Refused) -> OAuthError {
    match error {
        RequestTokenError::ServerResponse(response) => {
            let reason = reason(response.error().as_ref(), response.error_description());
            match response.error() {
                BasicErrorResponseType::InvalidClient
                | BasicErrorResponseType::UnauthorizedClient => OAuthError::ClientRefused(reason),
                BasicErrorResponseType::Extension(code) => by_code(code, reason),
                _ => OAuthError::GrantRefused(reason),
            }
        }
        RequestTokenError::Request(error) => transient(error),
        // The crate's own words here may quote the answer, which holds tokens.
        RequestTokenError::Parse(..) => {
            OAuthError::Unexpected("the log-in server's answer is not a token answer".to_owned())
        }
        RequestTokenError::Other(_) => {
            OAuthError::Unexpected("the log-in server's answer is empty or no JSON".to_owned())
        }
    }
}

fn by_code(code: &str, reason: String) -> OAuthError {
    match code {
        "access_denied" => OAuthError::Denied,
        "expired_token" => OAuthError::Expired,
        "server_error" | "temporarily_unavailable" | "slow_down" => OAuthError::Transient {
            message: reason,
            retry_after: None,
        },
        _ => OAuthError::GrantRefused(reason),
    }
}

pub(super) fn transient(error: &HttpError) -> OAuthError {
    match error.status {
        // A wrong URL does not get better by waiting.
        Some(status) if status < 429 => OAuthError::Unexpected(error.message.clone()),
        _ => OAuthError::Transient {
            message: error.message.clone(),
            retry_after: error.retry_after,
        },
    }
}

/// `invalid_grant (Token has been expired or revoked.)`, cut and without control characters.
pub(super) fn reason(code: &str, description: Option<&String>) -> String {
    let text = match description {
        Some(description) if description != "no reason given" => format!("{code} ({description})"),
        _ => code.to_owned(),
    };
    text.chars()
        .filter(|c| !c.is_control())
        .take(MAX_REASON)
        .collect()
}

pub(super) fn bad_url(key: &str) -> OAuthError {
    OAuthError::Unexpected(format!("`{key}` of the OAuth settings is not a URL"))
}

fn standard_url(
    client: &Client,
    redirect_uri: &str,
    state: &CsrfToken,
    challenge: Option<PkceCodeChallenge>,
) -> Result<Url, OAuthError> {
    let auth_url = AuthUrl::new(client.auth_url.clone()).map_err(|_| bad_url("auth_url"))?;
    let redirect = RedirectUrl::new(redirect_uri.to_owned()).map_err(|_| bad_url("redirect"))?;
    let standard = oauth2::basic::BasicClient::new(ClientId::new(client.client_id.clone()))
        .set_auth_uri(auth_url)
        .set_redirect_uri(redirect);
    let scopes = client.spec.scopes.iter();
    let mut request = standard
        .authorize_url(|| state.clone())
        .add_scopes(scopes.map(|scope| Scope::new((*scope).to_owned())));
    if let Some(challenge) = challenge {
        request = request.set_pkce_challenge(challenge);
    }
    for (name, value) in client.spec.auth_params {
        request = request.add_extra_param(*name, *value);
    }
    Ok(request.url().0)
}

/// A log-in page that names its parameters otherwise (iFlow).
fn vendor_url(client: &Client, redirect_uri: &str, state: &CsrfToken) -> Result<Url, OAuthError> {
    let mut url = Url::parse(&client.auth_url).map_err(|_| bad_url("auth_url"))?;
    url.query_pairs_mut()
        .extend_pairs(client.spec.auth_params)
        .append_pair(client.spec.redirect.parameter, redirect_uri)
        .append_pair("state", state.secret())
        .append_pair("client_id", &client.client_id);
    Ok(url)
}
