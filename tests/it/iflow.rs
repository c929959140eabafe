//! iFlow's dialect end to end, against a service that speaks it: log-in, the key behind the token,
//! signatures, errors inside a 200, one request at a time; and what is said of its end.

use std::fmt::Write as _;

use std::fs;

use ring::hmac;
use serde_json::{Value, json};

use crate::client::{CHAT, STREAM};
use crate::fake::openai;
use crate::fake::reply::Reply;
use crate::fake::script::Script;
use crate::fake::upstream::{Recorded, Upstream};
use crate::harness::{Gateway, Home};
use crate::turns::{self, DIALECTS};

fn config(upstream: &Upstream) -> String {
    let origin = upstream.origin();
    format!(
        "[providers.iflow]\nbase_url = \"{origin}/v1\"\n[providers.iflow.oauth]\n\
         client_secret = \"SECRET\"\nauth_url = \"{origin}/oauth\"\ntoken_url = \"{origin}/token\"\n\
         userinfo_url = \"{origin}/getUserInfo\"\n"
    )
}

/// An account as the vendor's tool kept it.
fn import(home: &Home) {
    let file = home.path("iflow_creds.json");
    let account = json!({
        "access_token": "at1", "refresh_token": "rt1", "apiKey": "sk-old",
        "expiry_date": 4_102_444_799_000_i64, "token_type": "bearer", "scope": "read",
    });
    fs::write(&file, account.to_string()).expect("written");
    let file = file.display().to_string();
    let imported = home.run(&["creds", "import", &file, "--from", "iflow"]);
    assert_eq!(imported.code, 0, "{imported:?}");
}

/// Token and user info; everything else is `answer`'s.
fn service(answer: impl Fn(&Recorded) -> Reply + Send + Sync + 'static) -> Script {
    Script::new().answer(move |request| {
        let (path, query) = request
            .target
            .split_once('?')
            .unwrap_or((&request.target, ""));
        match path {
            "/token" => {
                // Basic for the client's id with SECRET.
                let basic = request.header("authorization");
                assert_eq!(basic, Some("Basic MTAwMDkzMTEwMDE6U0VDUkVU"));
                assert!(
                    request.text().contains("client_secret=SECRET"),
                    "{}",
                    request.text()
                );
                let tokens = json!({
                    "access_token": "at2", "refresh_token": "rt2", "expires_in": 172_800,
                    "token_type": "bearer", "scope": "read",
                });
                let wrapped = json!({"success": true, "data": tokens});
                Reply::json(200, wrapped.to_string())
            }
            "/getUserInfo" => {
                assert_eq!(query, "accessToken=at2");
                let data = json!({"apiKey": "sk-new", "email": "", "phone": "138****0000"});
                Reply::json(200, json!({"success": true, "data": data}).to_string())
            }
            _ => {
                check_signature(request);
                answer(request)
            }
        }
    })
}

fn check_signature(request: &Recorded) {
    let header = |name: &str| request.header(name).unwrap_or_default().to_owned();
    let key = header("authorization").replacen("Bearer ", "", 1);
    let text = format!(
        "{}:{}:{}",
        header("user-agent"),
        header("session-id"),
        header("x-iflow-timestamp")
    );
    let tag = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()),
        text.as_bytes(),
    );
    let hex = tag.as_ref().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    assert_eq!(header("x-iflow-signature"), hex, "{text}");
    assert!(header("session-id").starts_with("session-"), "{text}");
    assert!(
        !request.text().contains("stream_options"),
        "{}",
        request.text()
    );
}

fn ask(body: &str) -> String {
    body.replace("fake/m1", "iflow/glm-4.7")
}

#[tokio::test]
async fn a_key_that_is_refused_inside_a_200_is_renewed_with_the_token() {
    let upstream = Upstream::start(service(|request| {
        if request.header("authorization") != Some("Bearer sk-new") {
            let error = json!({"status": "434", "msg": "Invalid apiKey", "body": null});
            return Reply::json(200, error.to_string());
        }
        openai::stream(&["hi"])
    }))
    .await;
    let home = Home::with_config(&config(&upstream));
    import(&home);
    let gateway = Gateway::start_in(home, &["-vv"]).await;
    let answer = gateway.chat(&ask(STREAM)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains("\"hi\""), "{}", answer.text());
    for secret in ["sk-new", "sk-old", "at2"] {
        assert!(!gateway.stderr().contains(secret), "{secret} in the log");
    }
}

#[tokio::test]
async fn a_blocked_account_is_dead_and_says_so() {
    let upstream = Upstream::start(service(|_| {
        let msg = "Access to the current AK has been blocked due to unauthorized requests";
        Reply::json(
            200,
            json!({"status": "434", "msg": msg, "body": null}).to_string(),
        )
    }))
    .await;
    let home = Home::with_config(&config(&upstream));
    import(&home);
    let gateway = Gateway::start_in(home, &[]).await;
    let answer = gateway.chat(&ask(STREAM)).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(upstream.requests().len(), 1, "never again");
    let list = gateway.home().run(&["creds", "list", "--json"]);
    let list: Value = serde_json::from_str(&list.stdout).expect("JSON");
    assert_eq!(list[0]["state"], "dead", "{list}");
}

#[tokio::test]
async fn a_stream_without_spaces_and_counts_passes() {
    let frames = [
        "data:{\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"reasoning_content\":\"greet\"}}]}\n\n",
        "data:{\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\n\n",
        "data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{}}\n\n",
        "data:[DONE]\n\n",
    ];
    let upstream = Upstream::start(service(move |_| Reply::sse(frames.map(str::to_owned)))).await;
    let home = Home::with_config(&config(&upstream));
    import(&home);
    let gateway = Gateway::start_in(home, &[]).await;
    let body = json!({
        "model": "iflow/minimax-m2", "stream": true, "reasoning_effort": "high",
        "messages": [{"role": "user", "content": "hi"}], "stream_options": {"include_usage": true},
    });
    let answer = gateway.chat(&body.to_string()).await;
    let text = answer.text();
    assert!(text.starts_with(&frames[..2].concat()), "{text}");
    assert!(
        !text.contains("usage") && text.contains("\"finish_reason\":\"stop\""),
        "{text}"
    );
    let sent: Value = serde_json::from_slice(&upstream.request().body).expect("JSON");
    let wanted = json!({
        "model": "minimax-m2", "stream": true, "reasoning_split": true,
        "messages": [{"role": "user", "content": "hi"}],
    });
    assert_eq!(sent, wanted);
}

#[tokio::test]
async fn ten_turns_with_a_tool_run_in_every_dialect_and_thoughts_come_back() {
    let upstream = Upstream::start(service(turns::answer)).await;
    let home = Home::with_config(&config(&upstream));
    import(&home);
    let gateway = Gateway::start_in(home, &[]).await;
    for dialect in DIALECTS {
        turns::converse(&gateway, dialect, "iflow/glm-4.7").await;
        if dialect == "openai" {
            // This client sent none of it.
            let last = upstream.requests().pop().expect("ten turns");
            let sent: Value = serde_json::from_slice(&last.body).expect("JSON");
            assert_eq!(
                sent["messages"][1]["reasoning_content"], "thought 0",
                "{sent}"
            );
        }
    }
}

#[tokio::test]
async fn an_account_has_one_request_at_a_time() {
    let gate = crate::fake::reply::Gate::new();
    let slow = openai::stream(&["hi"]).gated(&gate);
    let upstream = Upstream::start(service(move |_| slow.clone())).await;
    let home = Home::with_config(&(config(&upstream) + "[routing]\ndeadline = \"300ms\"\n"));
    import(&home);
    let gateway = Gateway::start_in(home, &[]).await;
    let stream = ask(STREAM);
    let first = gateway.chat(&stream);
    let second = async {
        upstream.asked(1).await;
        let answer = gateway.chat(&ask(CHAT)).await;
        gate.open(1000);
        answer
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(second.status, 429, "{}", second.text());
    assert_eq!(second.error().1, "all_credentials_busy");
    assert_eq!(first.status, 200, "{}", first.text());
}

#[test]
fn the_end_of_the_service_is_said_and_nobody_is_called() {
    let home = Home::new();
    let added = home.run(&["creds", "add", "iflow"]);
    assert_eq!(added.code, 1, "{added:?}");
    assert!(
        added
            .stderr
            .contains("iFlow closed its service on 2026-04-17"),
        "{added:?}"
    );
    import(&home);
    let tested = home.run(&["test-keys", "--json"]);
    assert!(tested.stdout.contains("2026-04-17"), "{tested:?}");
    let doctor = home.run(&["doctor", "--json"]);
    assert!(doctor.stdout.contains("2026-04-17"), "{doctor:?}");
    assert!(!doctor.stdout.contains("iflow answers"), "{doctor:?}");
}
