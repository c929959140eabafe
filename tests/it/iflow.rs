//! iFlow's dialect end to end, against a service that speaks it: log-in, the key behind the token,
//! signatures, errors inside a 200, one request at a time; and what is said of its end.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;

use ring::hmac;
use serde_json::{Value, json};

use crate::client::{CHAT, Connection, Request, STREAM};
use crate::fake::openai;
use crate::fake::reply::Reply;
use crate::fake::script::Script;
use crate::fake::upstream::{Recorded, Upstream};
use crate::harness::{Gateway, Home, patiently};
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

/// All credentials as `creds list --json` has them.
fn rows(home: &Home) -> Value {
    let listed = home.run(&["creds", "list", "--json"]);
    serde_json::from_str(&listed.stdout).expect("JSON")
}

/// An error of the service's own, inside a 200.
fn inside(status: &str, msg: &str) -> Reply {
    Reply::json(
        200,
        json!({"status": status, "msg": msg, "body": null}).to_string(),
    )
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
    gateway.listed("iflow/1", "dead").await;
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
        added.stderr.contains("closed since 2026-04-17"),
        "{added:?}"
    );
    import(&home);
    let tested = home.run(&["test-keys", "--json"]);
    assert!(tested.stdout.contains("2026-04-17"), "{tested:?}");
    let doctor = home.run(&["doctor", "--json"]);
    assert!(doctor.stdout.contains("2026-04-17"), "{doctor:?}");
    assert!(!doctor.stdout.contains("iflow answers"), "{doctor:?}");
}

#[tokio::test]
async fn a_browser_log_in_stores_the_key_behind_its_token() {
    let upstream = Upstream::start(service(|request| {
        assert_eq!(request.header("authorization"), Some("Bearer sk-new"));
        openai::completion("hi")
    }))
    .await;
    let home = Home::with_config(&config(&upstream));
    // A browser that writes down where it was sent.
    let browser = home.path("browser.sh");
    let page = home.path("page");
    let script = format!(
        "#!/bin/sh\necho \"$1\" > {0}.new && mv {0}.new {0}\n",
        page.display()
    );
    fs::write(&browser, script).expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(&browser, mode).expect("changed");
    let browser = browser.display().to_string();
    let arguments = [
        "creds",
        "add",
        "iflow",
        "--port",
        "0",
        "--open-cmd",
        &browser,
    ];
    let adding = home.run_beside(&arguments, "");
    let coming_back = async {
        let url = patiently("the page", async {
            loop {
                if let Ok(url) = fs::read_to_string(&page) {
                    return url;
                }
                // Nothing tells a test that a file has come.
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
        let part = |name: &str| {
            let (_, rest) = url.split_once(name).expect("it is there");
            rest.split(['&', '%', '\n'])
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        let (port, state) = (part("localhost%3A"), part("state="));
        let expected = format!(
            "{}/oauth?loginMethod=phone&type=phone&redirect=http%3A%2F%2Flocalhost%3A{port}%2Foauth2callback&state={state}&client_id=10009311001",
            upstream.origin()
        );
        assert_eq!(url.trim(), expected);
        let address = SocketAddr::from(([127, 0, 0, 1], port.parse().expect("a port")));
        let mut connection = Connection::open(address).await;
        let target = format!("/oauth2callback?code=c1&state={state}");
        connection.send(&Request::get(&target)).await;
        assert!(connection.response().await.status < 400);
    };
    let (added, ()) = tokio::join!(adding, coming_back);
    assert_eq!(added.code, 0, "{added:?}");
    let requests = upstream.requests();
    let token = requests
        .iter()
        .find(|one| one.target == "/token")
        .expect("asked");
    for wanted in [
        "grant_type=authorization_code",
        "code=c1",
        "client_id=10009311001",
        "redirect_uri=http%3A%2F%2Flocalhost%3A",
    ] {
        assert!(token.text().contains(wanted), "{}", token.text());
    }
    let rows = rows(&home);
    assert_eq!(rows[0]["label"], "138****0000", "{rows}");
    assert_eq!(rows[0]["kind"], "oauth", "{rows}");
}

#[tokio::test]
async fn a_refused_refresh_keeps_the_vendors_words() {
    let refused = json!({"success": false, "message": "refresh token expired"});
    let script = Script::always(Reply::json(200, refused.to_string()));
    let upstream = Upstream::start(script).await;
    let home = Home::with_config(&config(&upstream));
    import(&home);
    let refreshed = home.run_beside(&["creds", "refresh"], "").await;
    assert_eq!(refreshed.code, 1, "{refreshed:?}");
    assert!(
        refreshed.stderr.contains("refresh token expired"),
        "{refreshed:?}"
    );
    let rows = rows(&home);
    assert_eq!(rows[0]["state"], "expired", "{rows}");
    assert!(
        rows[0]["state_reason"]
            .to_string()
            .contains("refresh token expired"),
        "{rows}"
    );
}

#[tokio::test]
async fn thinking_is_switched_and_comes_back_with_the_call() {
    let chunk = |choice: Value| format!("data: {}\n\n", json!({ "choices": [choice] }));
    let call = json!({"index": 0, "id": "t1", "type": "function",
        "function": {"name": "now", "arguments": "{}"}});
    let frames = [
        chunk(json!({"index": 0, "delta": {"reasoning_content": "need time"}})),
        chunk(json!({"index": 0, "delta": {"tool_calls": [call]}})),
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":9,\"total_tokens\":29}}\n\n".to_owned(),
    ];
    let upstream = Upstream::start(service(move |_| Reply::sse(frames.clone()))).await;
    let home = Home::with_config(&config(&upstream));
    import(&home);
    let mut gateway = Gateway::start_in(home, &[]).await;
    let user = json!({"role": "user", "content": "now?"});
    let body = |effort: &str, messages: Value| {
        json!({"model": "iflow/glm-4.7", "stream": true, "reasoning_effort": effort, "messages": messages})
            .to_string()
    };
    let answer = gateway.chat(&body("low", json!([user]))).await.text();
    assert!(
        answer.contains("\"finish_reason\":\"tool_calls\""),
        "{answer}"
    );
    assert!(answer.contains("\"total_tokens\":29"), "{answer}");
    // A restart forgets nothing of it.
    gateway.signal("TERM");
    gateway.exited().await;
    let gateway = Gateway::start_in(gateway.take_home(), &[]).await;
    let turn = json!({"role": "assistant", "content": null, "tool_calls": [call]});
    let result = json!({"role": "tool", "tool_call_id": "t1", "content": "noon"});
    gateway
        .chat(&body("none", json!([user, turn, result])))
        .await;
    let sent = upstream.requests();
    let sent: Vec<Value> = sent
        .iter()
        .map(|request| serde_json::from_slice(&request.body).expect("JSON"))
        .collect();
    assert_eq!(
        sent[0]["chat_template_kwargs"],
        json!({"enable_thinking": true, "clear_thinking": false})
    );
    assert_eq!(
        sent[1]["chat_template_kwargs"],
        json!({"enable_thinking": false})
    );
    assert_eq!(
        sent[1]["messages"][1]["reasoning_content"], "need time",
        "{}",
        sent[1]
    );
}

#[tokio::test]
async fn a_key_that_is_refused_anew_needs_a_log_in() {
    let upstream = Upstream::start(service(|_| inside("434", "Invalid apiKey"))).await;
    let home = Home::with_config(&config(&upstream));
    import(&home);
    let gateway = Gateway::start_in(home, &[]).await;
    let answer = gateway.chat(&ask(STREAM)).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    let tokens = upstream.requests();
    let tokens = tokens.iter().filter(|request| request.target == "/token");
    assert_eq!(tokens.count(), 1, "one refresh");
    gateway.listed("iflow/1", "expired").await;
}

#[tokio::test]
async fn limits_wait_as_they_say_and_a_bad_signature_is_not_sent_again() {
    for (refusal, status, wait) in [
        (inside("449", "rate limit"), 429, Some(5)),
        (
            openai::error(429, "limit", "slow_down", "slow_down").header("retry-after", "12"),
            429,
            Some(12),
        ),
        (Reply::text(406, "text/plain", ""), 406, None),
    ] {
        let upstream = Upstream::start(service(move |_| refusal.clone())).await;
        let home = Home::with_config(&(config(&upstream) + "[routing]\ndeadline = \"300ms\"\n"));
        import(&home);
        let gateway = Gateway::start_in(home, &[]).await;
        let answer = gateway.chat(&ask(CHAT)).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        let told = answer
            .header("retry-after")
            .and_then(|wait| wait.parse::<u64>().ok());
        let is_near = |wait: u64| told.is_some_and(|told| told <= wait && told + 2 >= wait);
        assert!(wait.map_or(told.is_none(), is_near), "{told:?} {wait:?}");
        assert_eq!(upstream.requests().len(), 1, "not sent again");
        if status == 406 {
            let message = answer.message();
            assert!(
                message.contains("(empty response body, content-type=text/plain)"),
                "{message}"
            );
        }
    }
}

#[tokio::test]
async fn a_limited_account_hands_over_to_the_next() {
    let upstream = Upstream::start(service(|request| match request.header("authorization") {
        Some("Bearer sk-old") => {
            openai::error(429, "limit", "slow_down", "slow_down").header("retry-after", "12")
        }
        _ => openai::completion("hi"),
    }))
    .await;
    let home = Home::with_config(&config(&upstream));
    import(&home);
    // As CLIProxyAPI kept them; its cookie stays where it is.
    let other = json!({"type": "iflow", "email": "me@example.com", "access_token": "at9",
        "refresh_token": "rt9", "api_key": "sk-9", "expired": "2099-01-01 10:00", "cookie": "BXAuth=x"});
    fs::write(home.path("iflow-me.json"), other.to_string()).expect("written");
    let path = home.path("iflow-me.json").display().to_string();
    assert_eq!(home.run(&["creds", "import", &path]).code, 0);
    let gateway = Gateway::start_in(home, &[]).await;
    for _ in 0..2 {
        let answer = gateway.chat(&ask(CHAT)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let limited = upstream.requests();
    let limited = limited
        .iter()
        .filter(|one| one.header("authorization") == Some("Bearer sk-old"));
    assert!(limited.count() <= 1, "it rests");
}

#[test]
fn every_known_layout_is_imported_or_refused_in_words() {
    let home = Home::new();
    let folder = home.path("old/.iflow");
    fs::create_dir_all(&folder).expect("a folder");
    for (name, content) in [
        (
            "oauth_creds.json",
            json!({"access_token": "at1", "refresh_token": "rt1", "apiKey": "sk-1",
            "expiry_date": 1_766_736_156_814_i64, "token_type": "bearer", "scope": "read"}),
        ),
        (
            "settings.json",
            json!({"apiKey": "sk-2", "baseUrl": "https://apis.iflow.cn/v1",
            "modelName": "glm-4.6", "selectedAuthType": "iflow"}),
        ),
        (
            "iflow_oauth_1.json",
            json!({"access_token": "at3", "refresh_token": "rt3", "api_key": "sk-3",
            "email": "three@example.com", "expiry_date": "2026-02-01T10:00:00+08:00",
            "_proxy_metadata": {"credential_type": "oauth"}}),
        ),
        (
            "iflow_cookie_1.json",
            json!({"cookie": "BXAuth=four;", "api_key": "sk-4", "name": "four",
            "expire_time": "2026-02-01 10:00", "_proxy_metadata": {"credential_type": "cookie"}}),
        ),
        (
            "iflow_cookie_2.json",
            json!({"cookie": "BXAuth=five;", "name": "five"}),
        ),
        (
            "cliproxy.json",
            json!({"type": "iflow", "access_token": "at6", "refresh_token": "rt6",
            "api_key": "sk-6", "email": "six@example.com", "expired": "2026-02-01T10:00:00Z"}),
        ),
    ] {
        fs::write(folder.join(name), content.to_string()).expect("written");
    }
    let path = folder.display().to_string();
    let imported = home.run(&["creds", "import", &path]);
    assert_eq!(imported.code, 0, "{imported:?}");
    assert!(
        imported.stdout.contains("cookies are not used"),
        "{imported:?}"
    );
    let kinds: Vec<(String, String)> = rows(&home)
        .as_array()
        .into_iter()
        .flatten()
        .map(|row| (row["id"].to_string(), row["kind"].to_string()))
        .collect();
    let count = |kind: &str| kinds.iter().filter(|(_, own)| own.contains(kind)).count();
    assert_eq!((count("oauth"), count("api_key")), (3, 2), "{kinds:?}");
    let kept = fs::read_dir(home.data_dir().join("credentials/iflow"));
    for entry in kept.into_iter().flatten().flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        assert!(!text.contains("BXAuth"), "{text}");
    }
    let variables = Home::new()
        .env("IFLOW_1_ACCESS_TOKEN", "at1")
        .env("IFLOW_1_REFRESH_TOKEN", "rt1")
        .env("IFLOW_1_API_KEY", "sk-1")
        .env("IFLOW_1_EXPIRY_DATE", "2026-02-01 10:00")
        .env("IFLOW_1_EMAIL", "one@example.com")
        .env("IFLOW_API_KEY", "sk-plain")
        .env("QWEN_CODE_ACCESS_TOKEN", "at2")
        .env("QWEN_CODE_REFRESH_TOKEN", "rt2")
        .env("QWEN_CODE_RESOURCE_URL", "portal.qwen.ai")
        .env("QWEN_CODE_EXPIRY_DATE", "1766736156814");
    let imported = variables.run(&["creds", "import", "--from", "env"]);
    assert_eq!(imported.code, 0, "{imported:?}");
    for id in ["iflow/one@example.com", "iflow/1", "qwen_code/1"] {
        assert!(imported.stdout.contains(id), "{imported:?}");
    }
}
