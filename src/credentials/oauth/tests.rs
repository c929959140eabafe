//! The flows against a scripted token endpoint.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use oauth2::url::{Url, form_urlencoded};
use oauth2::{HttpRequest, HttpResponse};

use crate::config::provider::OAuth as Overrides;
use crate::credentials::oauth::device::DeviceLogin;
use crate::credentials::oauth::exchange::{Attempt, Tokens, refresh};
use crate::credentials::oauth::loopback::{Callback, pasted};
use crate::credentials::oauth::{Client, Http, OAuthError};
use crate::providers::oauth::{
    Bearer, ClientAuth, Flow, OAuthSpec, Pace, Redirect, TokenIn, Userinfo,
};
use crate::secret::Secret;

const GOOGLE_LIKE: OAuthSpec = OAuthSpec {
    client_id: "client-1",
    needs_secret: true,
    auth_url: "https://login.example/auth",
    token_url: "https://login.example/token",
    device_url: Some("https://login.example/device"),
    userinfo_url: None,
    userinfo: &Userinfo::STANDARD,
    pace: None,
    scopes: &["email", "profile"],
    auth_params: &[("access_type", "offline"), ("prompt", "consent")],
    flow: Flow::Code { pkce: true },
    redirect: Redirect {
        host: "localhost",
        port: 51121,
        path: "/oauth-callback",
        parameter: "redirect_uri",
    },
    client_auth: ClientAuth::Form,
    fresh_refusal_is_final: false,
    refresh_lead_secs: 1800,
};

const IFLOW_LIKE: OAuthSpec = OAuthSpec {
    client_id: "10009311001",
    auth_url: "https://iflow.cn/oauth",
    auth_params: &[("loginMethod", "phone"), ("type", "phone")],
    flow: Flow::Code { pkce: false },
    redirect: Redirect {
        host: "localhost",
        port: 11451,
        path: "/oauth2callback",
        parameter: "redirect",
    },
    client_auth: ClientAuth::BasicAndForm,
    ..GOOGLE_LIKE
};

const DEVICE: OAuthSpec = OAuthSpec {
    needs_secret: false,
    flow: Flow::Device { pkce: true },
    ..GOOGLE_LIKE
};

/// A request's headers and form.
type Sent = (HeaderMap, HashMap<String, String>);

/// Replies in the order given, and what was sent for them.
#[derive(Clone, Default)]
struct Script {
    replies: Arc<Mutex<VecDeque<(u16, &'static str)>>>,
    sent: Arc<Mutex<Vec<Sent>>>,
}

impl Script {
    fn of(replies: &[(u16, &'static str)]) -> Self {
        let script = Self::default();
        script.replies.lock().expect("ours").extend(replies);
        script
    }

    fn http(&self) -> Http {
        let script = self.clone();
        Http::new(move |request: HttpRequest| {
            let form = form_urlencoded::parse(request.body())
                .into_owned()
                .collect();
            let mut sent = script.sent.lock().expect("ours");
            sent.push((request.headers().clone(), form));
            let reply = script.replies.lock().expect("ours").pop_front();
            let (status, body) = reply.expect("one more request than replies");
            let mut response = HttpResponse::new(body.as_bytes().to_vec());
            *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            async move { Ok(response) }
        })
    }

    fn form(&self, at: usize) -> HashMap<String, String> {
        self.sent.lock().expect("ours")[at].1.clone()
    }
}

fn client(spec: OAuthSpec) -> Client {
    Client {
        client_secret: Some(Secret::new("SECRET")),
        ..Client::new(spec, &Overrides::default())
    }
}

fn query(url: &str) -> HashMap<String, String> {
    let url = Url::parse(url).expect("a URL");
    url.query_pairs().into_owned().collect()
}

async fn log_in(
    script: &Script,
    state: impl Fn(&str) -> Option<String>,
) -> Result<Tokens, OAuthError> {
    let client = client(GOOGLE_LIKE);
    let attempt = Attempt::new(&client, 4000)?;
    let state = state(&query(&attempt.url)["state"]);
    let code = Ok(Secret::new("code-1"));
    attempt
        .finish(&client, Callback { code, state }, &script.http())
        .await
}

const TOKENS: &str = r#"{"access_token":"at","refresh_token":"rt","expires_in":3599,
    "token_type":"Bearer","scope":"a b","resource_url":"portal.example"}"#;

#[test]
fn the_log_in_page_carries_everything_the_vendor_wants() {
    let client = client(GOOGLE_LIKE);
    let attempt = Attempt::new(&client, 4000).expect("valid URLs");
    let query = query(&attempt.url);
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "client-1"),
        ("redirect_uri", "http://localhost:4000/oauth-callback"),
        ("scope", "email profile"),
        ("access_type", "offline"),
        ("prompt", "consent"),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(query.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(query["code_challenge"].len(), 43);
    assert!(query["state"].len() >= 43, "256 bits");
    assert!(!attempt.url.contains("SECRET"));
}

#[test]
fn attempts_never_share_a_state_or_challenge() {
    let client = client(GOOGLE_LIKE);
    let mut seen = std::collections::HashSet::new();
    for _ in 0..200 {
        let query = query(&Attempt::new(&client, 1).expect("valid URLs").url);
        assert!(seen.insert(query["state"].clone()));
        assert!(seen.insert(query["code_challenge"].clone()));
    }
}

#[test]
fn a_vendor_with_its_own_parameters_gets_them() {
    let client = client(IFLOW_LIKE);
    let attempt = Attempt::new(&client, client.port).expect("valid URLs");
    let state = &query(&attempt.url)["state"];
    let url = format!(
        "https://iflow.cn/oauth?loginMethod=phone&type=phone&redirect=http%3A%2F%2Flocalhost\
         %3A11451%2Foauth2callback&state={state}&client_id=10009311001"
    );
    assert_eq!(attempt.url, url);
}

#[tokio::test]
async fn a_code_is_exchanged_with_its_verifier() {
    let script = Script::of(&[(200, TOKENS)]);
    let tokens = log_in(&script, |state| Some(state.to_owned()))
        .await
        .expect("tokens");
    assert_eq!(tokens.access_token.expose(), "at");
    assert_eq!(tokens.refresh_token.expect("one").expose(), "rt");
    assert_eq!(tokens.expires_in, Some(Duration::from_secs(3599)));
    assert_eq!(tokens.extra["resource_url"], "portal.example");
    let form = script.form(0);
    for (name, value) in [
        ("grant_type", "authorization_code"),
        ("code", "code-1"),
        ("client_id", "client-1"),
        ("client_secret", "SECRET"),
        ("redirect_uri", "http://localhost:4000/oauth-callback"),
    ] {
        assert_eq!(form.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(form["code_verifier"].len(), 43);
}

#[tokio::test]
async fn another_attempts_state_is_refused_before_anything_is_sent() {
    let script = Script::default();
    let shorter = |state: &str| Some(state[1..].to_owned());
    let other = |state: &str| {
        let first = if state.starts_with('x') { 'y' } else { 'x' };
        Some(format!("{first}{}", &state[1..]))
    };
    for error in [log_in(&script, shorter).await, log_in(&script, other).await] {
        assert_eq!(error.expect_err("refused"), OAuthError::StateMismatch);
    }
    assert!(script.sent.lock().expect("ours").is_empty());
}

#[tokio::test]
async fn a_code_pasted_alone_is_bound_by_its_verifier() {
    let script = Script::of(&[(200, TOKENS)]);
    log_in(&script, |_| None).await.expect("tokens");
    assert!(script.form(0).contains_key("code_verifier"));
}

#[tokio::test]
async fn refusals_say_who_is_to_blame_and_nothing_secret() {
    for (status, body, expected) in [
        (
            400,
            r#"{"error":"invalid_grant","error_description":"Token has been expired or revoked."}"#,
            OAuthError::GrantRefused(
                "invalid_grant (Token has been expired or revoked.)".to_owned(),
            ),
        ),
        (
            401,
            r#"{"error":"invalid_client"}"#,
            OAuthError::ClientRefused("invalid_client".to_owned()),
        ),
        (
            200,
            r#"{"success":false,"message":"refresh token expired"}"#,
            OAuthError::GrantRefused("invalid_request (refresh token expired)".to_owned()),
        ),
        (
            503,
            "<html>canary</html>",
            OAuthError::Transient {
                message: "the log-in server has a problem (status 503)".to_owned(),
                retry_after: None,
            },
        ),
        (
            503,
            r#"{"error":"unavailable","error_description":"canary"}"#,
            OAuthError::Transient {
                message: "the log-in server has a problem (status 503)".to_owned(),
                retry_after: None,
            },
        ),
        (
            429,
            r#"{"error":"rate_limited"}"#,
            OAuthError::Transient {
                message: "the log-in server has a problem (status 429)".to_owned(),
                retry_after: None,
            },
        ),
        (
            200,
            "<html>canary</html>",
            OAuthError::Unexpected(
                "the log-in server answered with status 200 and no JSON (a firewall or a wrong URL?)"
                    .to_owned(),
            ),
        ),
        (
            200,
            r#"{"access_token":"canary","expires_in":-5,"refresh_token":["canary"]}"#,
            OAuthError::Unexpected("the log-in server's answer is not a token answer".to_owned()),
        ),
    ] {
        let script = Script::of(&[(status, body)]);
        let error = refresh(&client(GOOGLE_LIKE), &Secret::new("rt"), &script.http())
            .await
            .expect_err(body);
        assert_eq!(error, expected);
        assert!(!format!("{error:?}{error}").contains("canary"), "{error:?}");
    }
}

#[tokio::test]
async fn a_refresh_without_a_new_refresh_token_leaves_the_old_one() {
    let script = Script::of(&[(200, r#"{"access_token":"at2","expires_in":"1"}"#)]);
    let tokens = refresh(&client(GOOGLE_LIKE), &Secret::new("rt"), &script.http())
        .await
        .expect("tokens");
    assert!(tokens.refresh_token.is_none());
    assert_eq!(
        tokens.expires_in,
        Some(Duration::from_secs(30)),
        "no refresh loop"
    );
    let form = script.form(0);
    assert_eq!(form["grant_type"], "refresh_token");
    assert_eq!(form["refresh_token"], "rt");
}

#[tokio::test]
async fn an_endpoint_that_wants_both_gets_header_and_form() {
    let script = Script::of(&[(200, TOKENS)]);
    refresh(&client(IFLOW_LIKE), &Secret::new("rt"), &script.http())
        .await
        .expect("tokens");
    let (headers, form) = script.sent.lock().expect("ours")[0].clone();
    assert_eq!(
        headers[header::AUTHORIZATION],
        "Basic MTAwMDkzMTEwMDE6U0VDUkVU"
    );
    assert_eq!(form["client_secret"], "SECRET");
}

#[test]
fn what_a_user_denied_is_told_apart() {
    let callback = pasted("http://localhost/cb?error=access_denied&state=s").expect("read");
    assert_eq!(callback.code.expect_err("no code"), OAuthError::Denied);
}

const DEVICE_CODE: &str = r#"{"device_code":"dc","user_code":"ABCD-EFGH","interval":5,
    "verification_uri":"https://v.example/","expires_in":900,
    "verification_uri_complete":"https://v.example/?user_code=ABCD-EFGH"}"#;

async fn begin(script: &Script) -> (Client, DeviceLogin) {
    let client = Client::new(DEVICE, &Overrides::default());
    let login = DeviceLogin::begin(&client, &script.http())
        .await
        .expect("a code");
    (client, login)
}

#[tokio::test(start_paused = true)]
async fn a_device_log_in_waits_as_it_is_told() {
    let script = Script::of(&[
        (200, DEVICE_CODE),
        (400, r#"{"error":"authorization_pending"}"#),
        (429, r#"{"error":"slow_down"}"#),
        (502, "<html>"),
        (200, TOKENS),
    ]);
    let (client, login) = begin(&script).await;
    assert_eq!(login.url(), "https://v.example/?user_code=ABCD-EFGH");
    assert_eq!(login.user_code(), "ABCD-EFGH");
    let began = tokio::time::Instant::now();
    let tokens = login
        .finish(&client, &script.http(), Duration::from_mins(5))
        .await
        .expect("tokens");
    assert_eq!(tokens.access_token.expose(), "at");
    // 5 s, then 10 s after slow_down, and no shorter after the broken answer.
    assert_eq!(began.elapsed().as_secs(), 5 + 10 + 10);
    assert_eq!(script.form(0)["code_challenge_method"], "S256");
    let form = script.form(1);
    assert_eq!(
        form["grant_type"],
        "urn:ietf:params:oauth:grant-type:device_code"
    );
    assert_eq!(form["device_code"], "dc");
    assert_eq!(form["code_verifier"].len(), 43);
}

#[tokio::test(start_paused = true)]
async fn a_device_log_in_ends_with_the_patience_or_the_refusal() {
    for (reply, expected) in [
        (r#"{"error":"access_denied"}"#, OAuthError::Denied),
        (r#"{"error":"expired_token"}"#, OAuthError::Expired),
        (
            r#"{"error":"invalid_grant"}"#,
            OAuthError::GrantRefused("invalid_grant".to_owned()),
        ),
    ] {
        let script = Script::of(&[(200, DEVICE_CODE), (400, reply)]);
        let (client, login) = begin(&script).await;
        let error = login
            .finish(&client, &script.http(), Duration::from_mins(5))
            .await
            .expect_err(reply);
        assert_eq!(error, expected);
    }
    let mut replies = vec![(200, DEVICE_CODE)];
    replies.extend([(400, r#"{"error":"authorization_pending"}"#); 10]);
    let script = Script::of(&replies);
    let (client, login) = begin(&script).await;
    let ended = login
        .finish(&client, &script.http(), Duration::from_secs(12))
        .await;
    assert_eq!(ended.expect_err("nobody came"), OAuthError::Expired);
}

#[tokio::test]
async fn a_page_that_is_not_https_is_not_shown() {
    let script = Script::of(&[(
        200,
        r#"{"device_code":"dc","user_code":"u","verification_uri":"http://evil.example/","expires_in":9}"#,
    )]);
    let client = Client::new(DEVICE, &Overrides::default());
    let begun = DeviceLogin::begin(&client, &script.http()).await;
    assert!(matches!(begun.map(|_| ()), Err(OAuthError::Unexpected(_))));
}

#[tokio::test(start_paused = true)]
async fn a_device_log_in_keeps_the_vendors_own_pace() {
    const PACED: OAuthSpec = OAuthSpec {
        pace: Some(Pace {
            first_secs: 2,
            slower_by: 1.5,
            longest_secs: 10,
        }),
        ..DEVICE
    };
    let code = r#"{"device_code":"dc","user_code":"ABCD-EFGH",
        "verification_uri":"https://login.example/d","expires_in":900}"#;
    let pending = r#"{"error":"authorization_pending","error_description":"pending"}"#;
    let slow = r#"{"error":"slow_down","error_description":"slow"}"#;
    let replies = [
        (200, code),
        (400, pending),
        (429, slow),
        (429, slow),
        (200, TOKENS),
    ];
    let script = Script::of(&replies);
    let client = client(PACED);
    let login = DeviceLogin::begin(&client, &script.http())
        .await
        .expect("a code");
    let started = tokio::time::Instant::now();
    let http = script.http();
    let tokens = login.finish(&client, &http, Duration::from_mins(10));
    tokens.await.expect("tokens");
    assert_eq!(started.elapsed(), Duration::from_millis(2000 + 3000 + 4500));
}

#[tokio::test]
async fn a_key_from_user_info_comes_with_the_tokens() {
    const KEYED: OAuthSpec = OAuthSpec {
        userinfo_url: Some("https://iflow.cn/api/oauth/getUserInfo"),
        userinfo: &Userinfo {
            token_in: TokenIn::Query("accessToken"),
            names: &["/data/email", "/data/phone"],
            bearer: Bearer::Fact {
                name: "api_key",
                pointer: "/data/apiKey",
            },
        },
        ..IFLOW_LIKE
    };
    let info = r#"{"success":true,"data":{"apiKey":"sk-u","email":"","phone":"138****0000"}}"#;
    let client = client(KEYED);
    let script = Script::of(&[(200, TOKENS), (200, info)]);
    let attempt = Attempt::new(&client, 4000).expect("valid URLs");
    let state = query(&attempt.url)["state"].clone();
    let callback = Callback {
        code: Ok(Secret::new("c1")),
        state: Some(state),
    };
    let tokens = attempt.finish(&client, callback, &script.http()).await;
    let tokens = tokens.expect("tokens");
    assert_eq!(tokens.extra["api_key"], "sk-u");
    assert_eq!(tokens.name.as_deref(), Some("138****0000"));
    assert!(!format!("{tokens:?}").contains("sk-u"), "never printed");

    // A refresh must keep its tokens even if the key cannot be read.
    let refused = r#"{"success":false,"message":"token invalid"}"#;
    let script = Script::of(&[(200, TOKENS), (200, refused)]);
    let old = Secret::new("rt");
    let tokens = refresh(&client, &old, &script.http()).await;
    assert!(!tokens.expect("tokens").extra.contains_key("api_key"));
}
