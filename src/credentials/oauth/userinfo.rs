//! Whose account it is: what the user-info endpoint tells behind an access token, and the key that
//! some vendors (iFlow) want in its place.

use http::{HeaderValue, Method, header};
use oauth2::HttpRequest;
use oauth2::url::Url;
use serde_json::Value;

use crate::credentials::Account;
use crate::credentials::oauth::exchange::{Tokens, bad_url, transient};
use crate::credentials::oauth::{Client, Http, OAuthError};
use crate::providers::oauth::{Bearer, TokenIn};
use crate::secret::Secret;

/// Asks for the account's address, or what else names it; `None` where the provider has no such
/// endpoint or does not say. Asks nobody where the tokens came with it.
pub async fn name(
    client: &Client,
    tokens: &Tokens,
    http: &Http,
) -> Result<Option<String>, OAuthError> {
    if tokens.name.is_some() {
        return Ok(tokens.name.clone());
    }
    name_behind(client, &tokens.access_token, http).await
}

/// [`name`] of the account behind an access token.
pub async fn name_behind(
    client: &Client,
    access_token: &Secret,
    http: &Http,
) -> Result<Option<String>, OAuthError> {
    let told = ask(client, access_token, http).await?;
    Ok(told.and_then(|told| name_in(client, &told)))
}

/// Completes fresh tokens with the key that requests are to carry, for vendors whose access tokens
/// are none. For all others there is nothing to do.
///
/// Fails where there is no key: then the log-in is worth nothing.
pub(super) async fn complete(
    client: &Client,
    tokens: &mut Tokens,
    http: &Http,
) -> Result<(), OAuthError> {
    let Bearer::Fact { name, pointer } = client.spec.userinfo.bearer else {
        return Ok(());
    };
    let told = ask(client, &tokens.access_token, http).await?;
    let told = told.unwrap_or_default();
    let key = text_at(&told, pointer).ok_or_else(|| {
        let said = text_at(&told, "/message").or_else(|| text_at(&told, "/msg"));
        OAuthError::GrantRefused(said.unwrap_or("user info holds no key").to_owned())
    })?;
    tokens.extra.insert(name.to_owned(), key.into());
    tokens.name = name_in(client, &told);
    Ok(())
}

/// What an account's requests are sent with: its access token, or the key that came with it where
/// the vendor wants that.
pub fn bearer(client: &Client, account: &Account) -> Option<Secret> {
    let key = match client.spec.userinfo.bearer {
        Bearer::AccessToken => return account.access_token.clone(),
        Bearer::Fact { name, .. } => account.extra.get(name)?.as_str()?,
    };
    Some(Secret::new(key)).filter(|key| !key.is_empty())
}

fn name_in(client: &Client, told: &Value) -> Option<String> {
    let mut names = client.spec.userinfo.names.iter();
    names
        .find_map(|pointer| text_at(told, pointer))
        .map(str::to_owned)
}

/// A text in an answer, if it is filled.
fn text_at<'v>(told: &'v Value, pointer: &str) -> Option<&'v str> {
    let text = told.pointer(pointer)?.as_str()?.trim();
    (!text.is_empty()).then_some(text)
}

/// The endpoint's answer; `None` where there is none.
async fn ask(
    client: &Client,
    access_token: &Secret,
    http: &Http,
) -> Result<Option<Value>, OAuthError> {
    let Some(url) = &client.userinfo_url else {
        return Ok(None);
    };
    let mut url = Url::parse(url).map_err(|_| bad_url("userinfo_url"))?;
    let mut request = HttpRequest::new(Vec::new());
    match client.spec.userinfo.token_in {
        TokenIn::Header => {
            let bearer = format!("Bearer {}", access_token.expose());
            let mut bearer = HeaderValue::from_str(&bearer).map_err(|_| {
                OAuthError::Unexpected("the access token is no header value".to_owned())
            })?;
            bearer.set_sensitive(true);
            request.headers_mut().insert(header::AUTHORIZATION, bearer);
        }
        TokenIn::Query(name) => {
            url.query_pairs_mut()
                .append_pair(name, access_token.expose());
        }
    }
    let json = HeaderValue::from_static("application/json");
    request.headers_mut().insert(header::ACCEPT, json);
    *request.method_mut() = Method::GET;
    *request.uri_mut() = url.as_str().parse().map_err(|_| bad_url("userinfo_url"))?;
    let response = http
        .send(request)
        .await
        .map_err(|error| transient(&error))?;
    if !response.status().is_success() {
        let status = response.status().as_u16();
        return Err(OAuthError::Unexpected(format!(
            "the provider does not tell whose account it is (status {status})"
        )));
    }
    Ok(Some(
        serde_json::from_slice(response.body()).unwrap_or_default(),
    ))
}
