//! Qwen Code end to end: log-in at a device, rotation of the refresh token, requests as the portal
//! wants them, keys of the Coding Plan, and what is said of the end of the free log-in.

use std::fs;
use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use serde_json::{Value, json};

use crate::client::{CHAT, Request, STREAM};
use crate::fake::openai;
use crate::fake::reply::Reply;
use crate::fake::script::Script;
use crate::fake::upstream::{Recorded, Upstream};
use crate::harness::{Gateway, Home};
use crate::turns::{self, DIALECTS};

fn config(upstream: &Upstream) -> String {
    let origin = upstream.origin();
    format!(
        "[providers.qwen_code]\nbase_url = \"{origin}/v1\"\n[providers.qwen_code.oauth]\n\
         device_url = \"{origin}/device\"\ntoken_url = \"{origin}/token\"\n"
    )
}

/// An account as the vendor's tool keeps it.
fn import(home: &Home, expires: i64) {
    let file = home.path("oauth_creds.json");
    let account = json!({
        "access_token": "at1", "refresh_token": "rt1", "token_type": "Bearer",
        "resource_url": "portal.qwen.ai", "expiry_date": expires,
    });
    fs::write(&file, account.to_string()).expect("written");
    let file = file.display().to_string();
    let imported = home.run(&["creds", "import", &file, "--from", "qwen-code"]);
    assert_eq!(imported.code, 0, "{imported:?}");
}

/// The end of 2099, in milliseconds.
const FAR: i64 = 4_102_444_799_000;

fn ask(body: &str) -> String {
    body.replace("fake/m1", "qwen_code/coder-model")
}

/// All credentials as `creds list --json` has them.
fn rows(home: &Home) -> Value {
    let listed = home.run(&["creds", "list", "--json"]);
    serde_json::from_str(&listed.stdout).expect("JSON")
}

fn form(request: &Recorded) -> Vec<String> {
    request.text().split('&').map(str::to_owned).collect()
}

/// A field's value; none of these needs decoding.
fn value(form: &[String], name: &str) -> String {
    let mut pairs = form.iter().filter_map(|field| field.split_once('='));
    let found = pairs.find(|(key, _)| *key == name);
    found.map_or_else(String::new, |(_, value)| value.to_owned())
}

/// What the fake's log-in and refresh say; everything else is `answer`'s.
fn with_log_in(answer: impl Fn(&Recorded) -> Reply + Send + Sync + 'static) -> Script {
    let refresh_token = Mutex::new("rt1".to_owned());
    let challenge = Mutex::new(String::new());
    Script::new().answer(move |request| match request.target.as_str() {
        "/device" => {
            let form = form(request);
            for wanted in [
                "client_id=f0304373b74a44d2b584a3fb70ca9e56",
                "scope=openid+profile+email+model.completion",
                "code_challenge_method=S256",
            ] {
                assert!(form.iter().any(|field| field == wanted), "{form:?}");
            }
            assert!(request.header("x-request-id").is_some());
            *challenge.lock().expect("ours") = value(&form, "code_challenge");
            let page = "http://127.0.0.1:9/authorize";
            let code = json!({
                "device_code": "dc", "user_code": "ABCD-EFGH", "verification_uri": page,
                "verification_uri_complete": format!("{page}?user_code=ABCD-EFGH&client=qwen-code"),
                "expires_in": 900,
            });
            Reply::json(200, code.to_string())
        }
        "/token" => {
            let form = form(request);
            let has = |field: &str| form.iter().any(|one| one == field);
            if has("device_code=dc") {
                let hash =
                    digest::digest(&digest::SHA256, value(&form, "code_verifier").as_bytes());
                let proved = URL_SAFE_NO_PAD.encode(hash.as_ref());
                assert_eq!(proved, *challenge.lock().expect("ours"), "{form:?}");
                let tokens = json!({
                    "access_token": "at1", "refresh_token": "rt1", "token_type": "Bearer",
                    "expires_in": 21_600, "resource_url": "portal.qwen.ai",
                });
                return Reply::json(200, tokens.to_string());
            }
            let mut known = refresh_token.lock().expect("ours");
            if !has(&format!("refresh_token={known}")) {
                let refused = json!({
                    "error": "invalid_request", "error_description": "Invalid refresh token",
                });
                return Reply::json(400, refused.to_string());
            }
            "rt2".clone_into(&mut known);
            let tokens =
                json!({"access_token": "at2", "refresh_token": "rt2", "expires_in": 21_600});
            Reply::json(200, tokens.to_string())
        }
        _ => answer(request),
    })
}

#[tokio::test]
async fn a_device_log_in_serves_and_its_refresh_token_rotates() {
    let upstream = Upstream::start(with_log_in(|request| {
        let bearer = request.header("authorization").unwrap_or_default();
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        if bearer != "Bearer at2" && body["stream"] == true {
            return openai::error(
                401,
                "invalid_request_error",
                "invalid_api_key",
                "invalid access token or token expired",
            );
        }
        openai::stream(&["<thi", "nk>why</think>that"])
    }))
    .await;
    let home = Home::with_config(&config(&upstream));
    let arguments = [
        "creds",
        "add",
        "qwen_code",
        "--label",
        "me",
        "--open-cmd",
        "true",
    ];
    let added = home.run_beside(&arguments, "").await;
    assert_eq!(added.code, 0, "{added:?}");
    assert!(added.stderr.contains("ABCD-EFGH"), "{added:?}");
    let gateway = Gateway::start_in(home, &[]).await;
    let stream = STREAM.replace("fake/m1", "qwen_code/coder-model");
    let answer = gateway.chat(&stream).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(
        answer.text().contains("\"reasoning_content\":\"why\""),
        "{}",
        answer.text()
    );
    let served = upstream.requests().pop().expect("served");
    assert_eq!(served.header("x-dashscope-authtype"), Some("qwen-oauth"));
    assert_eq!(served.header("x-dashscope-cachecontrol"), Some("enable"));
    let body: Value = serde_json::from_slice(&served.body).expect("JSON");
    assert_eq!(
        body["messages"][0]["content"][0]["cache_control"]["type"],
        "ephemeral"
    );
    assert_eq!(body["tools"][0]["function"]["name"], "do_not_call_me");
    assert_eq!(body["stream_options"]["include_usage"], true);
    let kept = fs::read_dir(gateway.home().data_dir().join("credentials/qwen_code"));
    let kept = kept.into_iter().flatten().flatten();
    let kept: String = kept
        .filter_map(|entry| fs::read_to_string(entry.path()).ok())
        .collect();
    assert!(kept.contains("rt2") && !kept.contains("rt1"), "{kept}");
    assert!(kept.contains("portal.qwen.ai"), "{kept}");
}

#[tokio::test]
async fn a_refused_refresh_token_needs_a_log_in() {
    let upstream = Upstream::start(with_log_in(|_| openai::bad_key())).await;
    let home = Home::with_config(&config(&upstream));
    let text = json!({"access_token": "at1", "refresh_token": "old", "resource_url": "portal.qwen.ai",
        "expiry_date": FAR});
    fs::write(home.path("q.json"), text.to_string()).expect("written");
    let path = home.path("q.json").display().to_string();
    assert_eq!(home.run(&["creds", "import", &path]).code, 0);
    let gateway = Gateway::start_in(home, &[]).await;
    let answer = gateway
        .chat(&STREAM.replace("fake/m1", "qwen_code/coder-model"))
        .await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    let list = gateway.home().run(&["creds", "list", "--json"]);
    let list: Value = serde_json::from_str(&list.stdout).expect("JSON");
    assert_eq!(list[0]["state"], "expired", "{list}");
}

#[tokio::test]
async fn a_spent_day_is_a_429_with_its_end() {
    let quota = openai::error(
        403,
        "insufficient_quota",
        "insufficient_quota",
        "Free allocated quota exceeded.",
    );
    let upstream = Upstream::start(Script::always(quota)).await;
    let home = Home::with_config(&config(&upstream));
    import(&home, FAR);
    let gateway = Gateway::start_in(home, &[]).await;
    let answer = gateway
        .chat(&STREAM.replace("fake/m1", "qwen_code/coder-model"))
        .await;
    assert_eq!(answer.status, 429, "{}", answer.text());
    let row = gateway.listed("qwen_code/1", "exhausted").await;
    let end = row["cooling_until"].as_str().unwrap_or_default();
    assert!(end.contains("T16:00:00"), "{row}");
}

#[tokio::test]
async fn ten_turns_with_a_tool_run_in_every_dialect() {
    let upstream = Upstream::start(Script::new().answer(turns::answer)).await;
    let home = Home::with_config(&config(&upstream));
    import(&home, FAR);
    let gateway = Gateway::start_in(home, &[]).await;
    for dialect in DIALECTS {
        turns::converse(&gateway, dialect, "qwen_code/coder-model").await;
    }
}

#[test]
fn the_end_of_the_log_in_is_said_and_nobody_is_called() {
    let home = Home::new();
    let added = home.run(&["creds", "add", "qwen_code"]);
    assert_eq!(added.code, 1, "{added:?}");
    assert!(
        added.stderr.contains("closed since 2026-04-15"),
        "{added:?}"
    );
    import(&home, FAR);
    let tested = home.run(&["test-keys", "--json"]);
    assert!(tested.stdout.contains("2026-04-15"), "{tested:?}");
    let doctor = home.run(&["doctor", "--json"]);
    assert!(doctor.stdout.contains("2026-04-15"), "{doctor:?}");
    assert!(!doctor.stdout.contains("qwen_code answers"), "{doctor:?}");
    let list = home.run(&["creds", "list", "--json"]);
    let list: Value = serde_json::from_str(&list.stdout).expect("JSON");
    assert_eq!(list[0]["state"], "dead", "{list}");
}

#[tokio::test]
async fn a_key_of_the_plan_is_sent_plainly() {
    let upstream = Upstream::start(Script::new().answer(turns::answer)).await;
    let home = Home::with_config(&format!(
        "[providers.qwen_code]\nbase_url = \"{}\"\n",
        upstream.base_url()
    ));
    let arguments = ["creds", "add", "qwen_code", "--no-verify"];
    let key = crate::harness::keys(1).remove(0);
    let added = home.run_beside(&arguments, &format!("{key}\n")).await;
    assert_eq!(added.code, 0, "{added:?}");
    let gateway = Gateway::start_in(home, &[]).await;
    turns::converse(&gateway, "openai", "qwen_code/qwen3-coder-plus").await;
    let sent = upstream.requests().remove(0);
    assert_eq!(sent.header("x-dashscope-authtype"), None);
    assert!(!sent.text().contains("cache_control"), "{}", sent.text());
}

#[tokio::test]
async fn late_usage_comes_with_the_finish() {
    let chunk = |rest: &str| {
        format!(
            "data: {{\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"model\":\"coder-model\",\"choices\":{rest}}}\n\n"
        )
    };
    let usage = "\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":2,\"total_tokens\":13,\"prompt_tokens_details\":{\"cached_tokens\":8}}";
    let first = chunk(
        "[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"Hel\"},\"finish_reason\":null}]",
    );
    let frames = [
        first.clone(),
        chunk("[{\"index\":0,\"delta\":{\"content\":\"lo\"},\"finish_reason\":\"stop\"}]"),
        chunk(&format!("[],{usage}")),
        openai::DONE.to_owned(),
    ];
    let upstream = Upstream::start(Script::always(Reply::sse(frames))).await;
    let home = Home::with_config(&config(&upstream));
    import(&home, FAR);
    let gateway = Gateway::start_in(home, &[]).await;
    let body = json!({
        "model": "qwen_code/coder-model", "stream": true,
        "messages": [{"role": "system", "content": "S1"}, {"role": "user", "content": "u"}],
    });
    let answer = gateway.chat(&body.to_string()).await;
    let expected = [
        first,
        chunk("[{\"index\":0,\"delta\":{\"content\":\"lo\"},\"finish_reason\":null}]"),
        chunk(&format!(
            "[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"stop\"}}],{usage}"
        )),
        openai::DONE.to_owned(),
    ];
    assert_eq!(answer.text(), expected.concat());
    let mut sent: Value = serde_json::from_slice(&upstream.request().body).expect("JSON");
    let description = sent["tools"][0]["function"]["description"].take();
    assert!(description.as_str().is_some_and(|text| !text.is_empty()));
    let wanted = json!({
        "model": "coder-model", "stream": true, "stream_options": {"include_usage": true},
        "messages": [
            {"role": "system", "content": [
                {"type": "text", "text": "", "cache_control": {"type": "ephemeral"}},
                {"type": "text", "text": "S1"},
            ]},
            {"role": "user", "content": "u"},
        ],
        "tools": [{"type": "function", "function": {
            "name": "do_not_call_me", "description": null,
            "parameters": {"type": "object", "properties": {}},
        }}],
    });
    assert_eq!(sent, wanted);
}

#[tokio::test]
async fn tags_across_chunks_and_a_broken_call_reach_the_client_whole() {
    let mut frames: Vec<String> = [
        "<thi",
        "nk>I should l",
        "ook.</th",
        "ink>Let me check",
        " 1 < 2.",
    ]
    .map(openai::content)
    .into();
    let call = |piece: Value, finish: Value| {
        let choice = json!({"index": 0, "delta": {"tool_calls": [piece]}, "finish_reason": finish});
        format!("data: {}\n\n", json!({ "choices": [choice] }))
    };
    let function = json!({"name": "ls", "arguments": ""});
    let first = json!({"index": 0, "id": "call_a", "type": "function", "function": function});
    frames.push(call(first, Value::Null));
    // The vendor repeats the id, and leaves the arguments open.
    let more = json!({"index": 0, "id": "call_a", "function": {"arguments": "{\"p\":\".\""}});
    frames.push(call(more, json!("tool_calls")));
    frames.push(openai::DONE.to_owned());
    let upstream = Upstream::start(Script::always(Reply::sse(frames))).await;
    let home = Home::with_config(&config(&upstream));
    import(&home, FAR);
    let gateway = Gateway::start_in(home, &[]).await;
    let text = gateway.chat(&ask(STREAM)).await.text();
    let (mut thought, mut said, mut id, mut arguments) = Default::default();
    let mut finish = Value::Null;
    for line in text.lines().filter_map(|line| line.strip_prefix("data: {")) {
        let chunk: Value = serde_json::from_str(&format!("{{{line}")).expect("JSON");
        let choice = &chunk["choices"][0];
        let add = |to: &mut String, value: &Value| to.push_str(value.as_str().unwrap_or_default());
        add(&mut thought, &choice["delta"]["reasoning_content"]);
        add(&mut said, &choice["delta"]["content"]);
        for piece in choice["delta"]["tool_calls"]
            .as_array()
            .into_iter()
            .flatten()
        {
            add(&mut id, &piece["id"]);
            add(&mut arguments, &piece["function"]["arguments"]);
        }
        if choice["finish_reason"] != Value::Null {
            finish = choice["finish_reason"].clone();
        }
    }
    assert_eq!(thought, "I should look.", "{text}");
    assert_eq!(said, "Let me check 1 < 2.", "{text}");
    assert_eq!(
        (id.as_str(), arguments.as_str()),
        ("call_a", "{\"p\":\".\"}"),
        "{text}"
    );
    assert_eq!(finish, "tool_calls", "{text}");
}

#[tokio::test]
async fn a_limit_or_a_spent_day_hands_over_to_the_next_account() {
    let quota = openai::error(
        403,
        "insufficient_quota",
        "insufficient_quota",
        "Free allocated quota exceeded.",
    );
    let limit = openai::error(
        429,
        "limit_requests",
        "limit_requests",
        "Requests throttling triggered",
    );
    for (refusal, state) in [
        (quota, "exhausted"),
        (limit.header("retry-after", "7"), "cooling"),
    ] {
        let script = Script::new().answer(move |request| match request.key.as_deref() {
            Some("at1") => refusal.clone(),
            _ => openai::completion("hi"),
        });
        let upstream = Upstream::start(script).await;
        let home = Home::with_config(&config(&upstream));
        import(&home, FAR);
        let other = json!({"type": "qwen", "email": "me@example.com", "access_token": "at9",
            "refresh_token": "rt9", "resource_url": "portal.qwen.ai", "expired": "2099-01-01T00:00:00Z"});
        fs::write(home.path("qwen-me.json"), other.to_string()).expect("written");
        let path = home.path("qwen-me.json").display().to_string();
        let imported = home.run(&["creds", "import", &path]);
        assert_eq!(imported.code, 0, "{imported:?}");
        assert!(imported.stdout.contains("new log-in"), "{imported:?}");
        let gateway = Gateway::start_in(home, &[]).await;
        for _ in 0..2 {
            let answer = gateway.chat(&ask(CHAT)).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        assert!(upstream.calls("at1") <= 1, "it rests");
        if upstream.calls("at1") == 1 {
            gateway.listed("qwen_code/1", state).await;
        }
    }
}

#[tokio::test]
async fn a_token_that_is_refused_anew_needs_a_log_in() {
    let upstream = Upstream::start(with_log_in(|_| {
        openai::error(
            401,
            "invalid_request_error",
            "invalid_api_key",
            "invalid access token or token expired",
        )
    }))
    .await;
    let home = Home::with_config(&config(&upstream));
    import(&home, FAR);
    let gateway = Gateway::start_in(home, &[]).await;
    let answer = gateway.chat(&ask(CHAT)).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    let tokens = upstream.requests();
    let tokens = tokens.iter().filter(|request| request.target == "/token");
    assert_eq!(tokens.count(), 1, "one refresh");
    let row = gateway.listed("qwen_code/1", "expired").await;
    assert!(
        row["state_reason"]
            .to_string()
            .contains("invalid access token"),
        "{row}"
    );
}

#[tokio::test]
async fn a_page_in_place_of_an_answer_is_an_error_with_its_status() {
    let page = Reply::text(403, "text/html", "<!doctype html><title>WAF</title>");
    let upstream = Upstream::start(Script::always(page)).await;
    let home = Home::with_config(&config(&upstream));
    let added = home.run_beside(&["creds", "add", "qwen_code"], "").await;
    assert_eq!(added.code, 1, "{added:?}");
    assert!(added.stderr.contains("403"), "{added:?}");
    assert!(!added.stderr.contains("WAF"), "{added:?}");
}

#[tokio::test]
async fn a_closed_host_is_not_called_by_anything() {
    // Everything that leaves this machine would come by here.
    let proxy = Upstream::start(Script::always(Reply::text(502, "text/plain", "no"))).await;
    let home = Home::new().env("HTTPS_PROXY", &proxy.origin());
    for provider in ["qwen_code", "iflow"] {
        let added = home.run_beside(&["creds", "add", provider], "").await;
        assert_eq!(added.code, 1, "{added:?}");
        let piped = home
            .run_beside(&["creds", "add", "iflow"], "sk-plain\n")
            .await;
        assert_eq!(piped.code, 1, "{piped:?}");
        assert!(
            piped.stderr.contains("closed since 2026-04-17"),
            "{piped:?}"
        );
    }
    import(&home, 1);
    let settings = json!({"selectedAuthType": "iflow", "apiKey": "sk-plain"});
    fs::create_dir_all(home.path(".iflow")).expect("a folder");
    fs::write(home.path(".iflow/settings.json"), settings.to_string()).expect("written");
    let imported = home.run(&["creds", "import", "--from", "iflow"]);
    assert_eq!(imported.code, 0, "{imported:?}");
    assert!(
        imported.stderr.contains("closed since 2026-04-17"),
        "{imported:?}"
    );
    for command in [
        &["test-keys"][..],
        &["doctor"],
        &["creds", "refresh"],
        &["models", "--refresh"],
        &["status"],
        &["chat", "-m", "iflow/glm-4.6", "hi"],
    ] {
        let run = home.run_beside(command, "").await;
        assert!(!run.stderr.contains("panicked"), "{run:?}");
        assert_eq!(proxy.connections(), 0, "{command:?}: {run:?}");
    }
    let enabled = home.run(&["creds", "enable", "iflow/1"]);
    assert_eq!(enabled.code, 0, "{enabled:?}");
    assert!(enabled.stderr.contains("--yes"), "{enabled:?}");
    let gateway = Gateway::start_in(home, &[]).await;
    for model in ["qwen_code/coder-model", "iflow/glm-4.6"] {
        let answer = gateway.chat(&CHAT.replace("fake/m1", model)).await;
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert_eq!(answer.error().1, "credentials_refused");
    }
    gateway.send(&Request::post("/v1/quota-stats", "{}")).await;
    assert_eq!(proxy.connections(), 0);
    // The owner insists: now it is tried, and so the proxy is where it says it is.
    let home = gateway.take_home();
    assert_eq!(home.run(&["creds", "enable", "iflow/1", "--yes"]).code, 0);
    let tested = home.run_beside(&["test-keys", "iflow/1"], "").await;
    assert!(proxy.connections() > 0, "{tested:?}");
}

#[test]
fn a_key_of_a_closed_service_is_stored_for_who_insists() {
    let home = Home::new();
    let add = ["creds", "add", "iflow", "--yes", "--no-verify"];
    let added = home.run_with_input(&add, "sk-plain\n");
    assert_eq!(added.code, 0, "{added:?}");
    assert!(
        added.stderr.contains("closed since 2026-04-17"),
        "{added:?}"
    );
    let rows = rows(&home);
    assert_eq!(rows[0]["state"], "ready", "{rows}");
}

#[test]
fn the_endpoint_of_a_key_is_told_or_chosen() {
    let home = Home::new();
    for (arguments, key, base) in [
        (&["--label", "a"][..], "sk-sp-1", "coding-intl.dashscope"),
        (&["--label", "b"], "sk-2", "dashscope-intl"),
        (
            &["--label", "c", "--endpoint", "coding-cn"],
            "sk-sp-3",
            "//coding.dashscope",
        ),
        (
            &["--label", "d", "--endpoint", "dashscope-us"],
            "sk-4",
            "dashscope-us",
        ),
    ] {
        let add = [&["creds", "add", "qwen_code", "--no-verify"], arguments].concat();
        let added = home.run_with_input(&add, &format!("{key}\n"));
        assert_eq!(added.code, 0, "{added:?}");
        assert!(added.stderr.contains(base), "{added:?}");
    }
    let unknown = ["creds", "add", "qwen_code", "--endpoint", "mars"];
    let refused = home.run_with_input(&unknown, "sk-1\n");
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("coding-intl"), "{refused:?}");
}
