//! The flow over a real loopback port, the test playing the browser and the provider.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use crate::credentials::oauth::{HttpResponse, Url};

use super::*;
use crate::cli::output::capture;
use crate::config::provider::OAuth as Overrides;
use crate::providers::oauth::{ClientAuth, Redirect, Userinfo};

const SPEC: OAuthSpec = OAuthSpec {
    client_id: "client-1",
    needs_secret: false,
    auth_url: "https://login.example/auth",
    token_url: "https://login.example/token",
    device_url: None,
    userinfo_url: Some("https://login.example/me"),
    userinfo: &Userinfo::STANDARD,
    pace: None,
    scopes: &["email"],
    auth_params: &[],
    flow: Flow::Code { pkce: true },
    redirect: Redirect {
        host: "127.0.0.1",
        port: 0,
        path: "/cb",
        parameter: "redirect_uri",
    },
    client_auth: ClientAuth::Form,
    fresh_refusal_is_final: false,
    refresh_lead_secs: 60,
};

/// A provider that gives a token for the code `c-1`, and an address for the token.
fn provider(seen: &Arc<Mutex<Vec<String>>>) -> Http {
    let seen = Arc::clone(seen);
    Http::new(move |request| {
        let path = request.uri().path().to_owned();
        seen.lock().expect("ours").push(path.clone());
        let form = String::from_utf8_lossy(request.body()).into_owned();
        let (status, body) = match path.as_str() {
            "/token" if form.contains("code=c-1") => (
                200,
                r#"{"access_token":"at","refresh_token":"rt","expires_in":60}"#,
            ),
            "/token" => (400, r#"{"error":"invalid_grant"}"#),
            _ => (200, r#"{"email":"me@example.com"}"#),
        };
        let mut response = HttpResponse::new(body.as_bytes().to_vec());
        *response.status_mut() = http::StatusCode::from_u16(status).expect("a status");
        async move { Ok(response) }
    })
}

/// A browser that is sent back at once with the given query; `STATE` stands for the right one.
fn come_back(url: &str, answer: &str) -> bool {
    let url = Url::parse(url).expect("a URL");
    let query: HashMap<String, String> = url.query_pairs().into_owned().collect();
    let back = Url::parse(&query["redirect_uri"]).expect("a URL");
    let (host, port) = (back.host_str().expect("one"), back.port().expect("one"));
    let target = format!(
        "{}?{}",
        back.path(),
        answer.replace("STATE", &query["state"])
    );
    let mut stream = TcpStream::connect((host, port)).expect("listening");
    std::thread::spawn(move || {
        write!(stream, "GET {target} HTTP/1.1\r\nhost: x\r\n\r\n").expect("open");
        let mut page = String::new();
        let _ = stream.read_to_string(&mut page);
    });
    true
}

async fn log_in(answer: &str) -> Result<Tokens, OAuthError> {
    let (printer, out, _err) = capture::printer();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let client = Client::new(SPEC, &Overrides::default());
    let way = Way {
        patience: Duration::from_secs(20),
        open: Some(&|url| come_back(url, answer)),
        printer: &printer,
    };
    let tokens = with_code(&client, &provider(&seen), &way).await;
    assert_eq!(out.text(), "", "a log-in prints no data");
    tokens
}

#[tokio::test]
async fn the_browser_comes_back_and_its_code_becomes_tokens() {
    let tokens = log_in("code=c-1&state=STATE").await.expect("tokens");
    assert_eq!(tokens.access_token.expose(), "at");
    assert_eq!(tokens.refresh_token.expect("one").expose(), "rt");
}

#[tokio::test]
async fn what_goes_wrong_in_the_browser_is_told_apart() {
    for (answer, expected) in [
        ("error=access_denied&state=STATE", OAuthError::Denied),
        ("code=c-1&state=other", OAuthError::StateMismatch),
        (
            "code=c-2&state=STATE",
            OAuthError::GrantRefused("invalid_grant".to_owned()),
        ),
    ] {
        assert_eq!(log_in(answer).await.expect_err(answer), expected);
    }
}

#[tokio::test]
async fn nobody_is_waited_for_longer_than_asked() {
    let (printer, _out, err) = capture::printer();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let client = Client::new(SPEC, &Overrides::default());
    let way = Way {
        patience: Duration::from_millis(1),
        open: Some(&|_| false),
        printer: &printer,
    };
    let ended = with_code(&client, &provider(&seen), &way).await;
    assert_eq!(ended.expect_err("nobody came"), OAuthError::Expired);
    assert!(
        err.text()
            .contains("Open this page to log in:\n  https://login.example/auth?")
    );
    assert!(seen.lock().expect("ours").is_empty());
}

#[tokio::test]
async fn the_address_of_the_account_is_asked_for_with_its_token() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let client = Client::new(SPEC, &Overrides::default());
    let token = crate::secret::Secret::new("at");
    let tokens = Tokens {
        access_token: token,
        refresh_token: None,
        expires_in: None,
        scope: None,
        name: None,
        extra: serde_json::Map::new(),
    };
    let name = userinfo::name(&client, &tokens, &provider(&seen)).await;
    assert_eq!(name.expect("told").as_deref(), Some("me@example.com"));
}

#[test]
fn the_opener_takes_words_and_a_place_for_the_page() {
    assert!(Opener::new(Some("true")).open("http://x"));
    assert!(Opener::new(Some("true --new %s")).open("http://x"));
    assert!(!Opener::new(Some("/nonexistent/browser")).open("http://x"));
}
