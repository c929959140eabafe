//! Whose account it is: the email address behind an access token.

use http::{Method, header};
use oauth2::HttpRequest;
use serde_json::Value;

use crate::credentials::oauth::exchange::{bad_url, transient};
use crate::credentials::oauth::{Client, Http, OAuthError};
use crate::secret::Secret;

/// Asks for the account's email address; `None` where the provider has no such endpoint or does
/// not say.
pub async fn email(
    client: &Client,
    access_token: &Secret,
    http: &Http,
) -> Result<Option<String>, OAuthError> {
    let Some(url) = &client.userinfo_url else {
        return Ok(None);
    };
    let mut bearer = header::HeaderValue::from_str(&format!("Bearer {}", access_token.expose()))
        .map_err(|_| OAuthError::Unexpected("the access token is no header value".to_owned()))?;
    bearer.set_sensitive(true);
    let mut request = HttpRequest::new(Vec::new());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = url.parse().map_err(|_| bad_url("userinfo_url"))?;
    request.headers_mut().insert(header::AUTHORIZATION, bearer);
    let response = http
        .send(request)
        .await
        .map_err(|error| transient(&error))?;
    if !response.status().is_success() {
        let status = response.status().as_u16();
        return Err(OAuthError::Unexpected(format!(
            "the provider does not tell the account's address (status {status})"
        )));
    }
    let answer: Value = serde_json::from_slice(response.body()).unwrap_or_default();
    let email = answer.get("email").and_then(Value::as_str);
    Ok(email
        .map(|email| email.trim().to_owned())
        .filter(|email| !email.is_empty()))
}
