//! What vendors want otherwise, through the whole gateway: the body each of them gets, codes inside
//! a 200, lists that are none.

use serde_json::{Value, json};

use crate::client::{CHAT, Request};
use crate::fake::reply::Reply;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::fake::{key, openai};
use crate::harness::{Gateway, Home, keys, pair, provider};

/// One upstream behind all of these providers' own names.
async fn vendors(names: &[&str], settings: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::start(Script::always(openai::completion("hi"))).await;
    let sections = names.iter().map(|name| {
        format!(
            "[providers.{name}]\nbase_url = \"{}\"\napi_keys = [\"{}\"]\n{settings}\n",
            upstream.base_url(),
            key(name)
        )
    });
    let gateway = Gateway::start(&sections.collect::<String>()).await;
    (upstream, gateway)
}

#[tokio::test]
async fn each_vendor_gets_its_own_spelling() {
    let cases = [
        // A vendor's model, what the client sets, what the vendor gets (null: not at all).
        (
            "deepseek/deepseek-v4-pro",
            json!({"reasoning_effort": "low"}),
            json!({"/thinking/type": "enabled", "/reasoning_effort": "high"}),
        ),
        (
            "deepseek/deepseek-v4-pro",
            json!({"reasoning_effort": "none", "max_completion_tokens": 9}),
            json!({"/thinking/type": "disabled", "/reasoning_effort": null, "/max_tokens": 9, "/max_completion_tokens": null}),
        ),
        (
            "moonshot/kimi-k2.6",
            json!({"reasoning_effort": "high", "temperature": 0.3, "n": 2}),
            json!({"/thinking/type": "enabled", "/temperature": null, "/n": null}),
        ),
        (
            "nvidia_nim/qwen/qwen3-235b-a22b",
            json!({"reasoning_effort": "none"}),
            json!({"/chat_template_kwargs/enable_thinking": false, "/reasoning_effort": null}),
        ),
        (
            "nvidia_nim/deepseek-ai/deepseek-v4-pro",
            json!({"reasoning_effort": "max"}),
            json!({"/chat_template_kwargs/thinking": true, "/reasoning_effort": "max"}),
        ),
        (
            "mistral/mistral-small-latest",
            json!({"reasoning_effort": "low", "seed": 7, "user": "me", "logprobs": true}),
            json!({"/reasoning_effort": "high", "/random_seed": 7, "/seed": null, "/user": null, "/logprobs": null}),
        ),
        (
            "zai/glm-4.6",
            json!({"reasoning_effort": "medium", "stop": ["a", "b"], "temperature": 1.5}),
            json!({"/thinking/type": "enabled", "/reasoning_effort": null, "/stop": ["a"], "/temperature": 1}),
        ),
        (
            "dashscope/qwen3-max",
            json!({"reasoning_effort": "none"}),
            json!({"/enable_thinking": false, "/reasoning_effort": null}),
        ),
        (
            "groq/llama-3.3-70b-versatile",
            json!({"logprobs": true, "logit_bias": {"1": 1}}),
            json!({"/logprobs": null, "/logit_bias": null}),
        ),
        (
            "xai/grok-4",
            json!({"stop": ["a"], "presence_penalty": 1}),
            json!({"/stop": null, "/presence_penalty": null}),
        ),
        (
            "minimax/MiniMax-M2.5",
            json!({"temperature": 0}),
            json!({"/temperature": 0.01}),
        ),
    ];
    let names = [
        "dashscope",
        "deepseek",
        "groq",
        "minimax",
        "mistral",
        "moonshot",
        "nvidia_nim",
        "xai",
        "zai",
    ];
    let (upstream, gateway) = vendors(&names, "").await;
    for (model, set, wanted) in cases {
        let mut body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
        body.as_object_mut()
            .expect("an object")
            .extend(set.as_object().expect("an object").clone());
        let answer = gateway.chat(&body.to_string()).await;
        assert_eq!(answer.status, 200, "{model}: {}", answer.text());
        let sent = upstream.requests().pop().expect("a request");
        let sent: Value = serde_json::from_slice(&sent.body).expect("JSON");
        for (pointer, value) in wanted.as_object().expect("an object") {
            let got = sent.pointer(pointer).unwrap_or(&Value::Null);
            let same = got == value || got.as_f64().is_some() && got.as_f64() == value.as_f64();
            assert!(same, "{model} {pointer}: {sent}");
        }
    }
}

#[tokio::test]
async fn a_translation_gets_the_vendors_spelling_too() {
    let cases = [
        (
            "deepseek/deepseek-v4-pro",
            json!({"/thinking/type": "enabled", "/reasoning_effort": "high", "/messages/1/reasoning_content": " "}),
        ),
        (
            "moonshot/kimi-k2.6",
            json!({"/thinking/type": "enabled", "/reasoning_effort": null, "/messages/1/reasoning_content": " "}),
        ),
        (
            "xiaomi_mimo/mimo-v2.5-pro",
            json!({"/thinking/type": "enabled", "/messages/1/reasoning_content": " "}),
        ),
        (
            "zai/glm-4.6",
            json!({"/thinking/type": "enabled", "/reasoning_effort": null}),
        ),
        (
            "dashscope/qwen3-max",
            json!({"/enable_thinking": true, "/thinking_budget": 2048, "/reasoning_effort": null}),
        ),
        (
            "siliconflow/Qwen/Qwen3-32B",
            json!({"/enable_thinking": true, "/thinking_budget": 2048}),
        ),
    ];
    let names = [
        "dashscope",
        "deepseek",
        "mistral",
        "moonshot",
        "siliconflow",
        "xiaomi_mimo",
        "zai",
    ];
    let (upstream, gateway) = vendors(&names, "").await;
    let call = json!({"type": "tool_use", "id": "toolu_0123456789", "name": "f", "input": {}});
    let result = json!({"type": "tool_result", "tool_use_id": "toolu_0123456789", "content": "1"});
    let body = |model: &str| {
        let body = json!({"model": model, "max_tokens": 4096,
        "thinking": {"type": "enabled", "budget_tokens": 2048},
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [result]},
        ]});
        Request::post("/v1/messages", body.to_string())
    };
    let sent = |model: &'static str| {
        let (upstream, gateway, request) = (&upstream, &gateway, body(model));
        async move {
            let answer = gateway.send(&request).await;
            assert_eq!(answer.status, 200, "{model}: {}", answer.text());
            let sent = upstream.requests().pop().expect("a request");
            serde_json::from_slice::<Value>(&sent.body).expect("JSON")
        }
    };
    for (model, wanted) in cases {
        let sent = sent(model).await;
        for (pointer, value) in wanted.as_object().expect("an object") {
            let got = sent.pointer(pointer).unwrap_or(&Value::Null);
            assert_eq!(got, value, "{model} {pointer}: {sent}");
        }
    }
    let sent = sent("mistral/mistral-large-latest").await;
    let id = sent["messages"][1]["tool_calls"][0]["id"].as_str();
    assert_eq!(id.map(str::len), Some(9), "{sent}");
    assert_eq!(sent["messages"][2]["tool_call_id"].as_str(), id, "{sent}");
}

#[tokio::test]
async fn reasoning_that_must_come_back_is_filled_in_where_a_client_lost_it() {
    let (upstream, gateway) = vendors(&["deepseek", "moonshot"], "").await;
    for model in ["deepseek/deepseek-v4-pro", "moonshot/kimi-k2.6"] {
        let call =
            json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}});
        let body = json!({"model": model, "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "1"},
        ]});
        assert_eq!(gateway.chat(&body.to_string()).await.status, 200);
        let sent = upstream.requests().pop().expect("a request");
        let sent: Value = serde_json::from_slice(&sent.body).expect("JSON");
        assert_eq!(
            sent["messages"][1]["reasoning_content"], " ",
            "{model}: {sent}"
        );
    }
}

#[tokio::test]
async fn what_the_user_adds_reaches_the_vendor_and_zero_is_overridden() {
    let upstream = Upstream::start(Script::always(openai::completion("hi"))).await;
    let settings = "headers = { \"x-team\" = \"a\" }\nextra_body = { top_k = 40, user = \"u\" }\n";
    let config = provider("fake", &upstream, &keys(1)) + settings;
    let home = Home::with_config(&config).env("OVERRIDE_TEMPERATURE_ZERO", "remove");
    let gateway = Gateway::start_in(home, &[]).await;
    let body = r#"{"model":"fake/m1","temperature":0,"messages":[{"role":"user","content":"hi"}]}"#;
    for request in [
        Request::chat(body),
        Request::post(
            "/v1/messages",
            body.replace("\"temperature\"", "\"max_tokens\":9,\"temperature\""),
        ),
    ] {
        assert_eq!(gateway.send(&request).await.status, 200);
        let sent = upstream.requests().pop().expect("a request");
        assert_eq!(sent.header("x-team"), Some("a"));
        let sent: Value = serde_json::from_slice(&sent.body).expect("JSON");
        assert_eq!(
            (&sent["top_k"], &sent["user"]),
            (&json!(40), &json!("u")),
            "{sent}"
        );
        assert_eq!(sent.get("temperature"), None, "{sent}");
    }
}

#[tokio::test]
async fn a_business_code_inside_a_200_is_a_failure_and_the_next_key_serves() {
    for (vendor, refusal) in [
        (
            "minimax",
            json!({"base_resp": {"status_code": 1004, "status_msg": "invalid api key"}}),
        ),
        (
            "minimax",
            json!({"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}),
        ),
        (
            "zai",
            json!({"error": {"code": "1113", "message": "Insufficient balance"}}),
        ),
        (
            "openrouter",
            json!({"error": {"code": 401, "message": "User not found."}}),
        ),
    ] {
        let script = Script::new()
            .once(&key("1"), [Reply::json(200, refusal.to_string())])
            .once(&key("2"), [openai::completion("hi")]);
        let upstream = Upstream::start(script).await;
        let config = format!(
            "[providers.{vendor}]\nbase_url = \"{}\"\napi_keys = {:?}\n",
            upstream.base_url(),
            keys(2)
        );
        let gateway = Gateway::start(&config).await;
        let answer = gateway
            .chat(&CHAT.replace("fake/m1", &format!("{vendor}/m1")))
            .await;
        assert_eq!(answer.status, 200, "{vendor} {refusal}: {}", answer.text());
        assert_eq!(answer.header("x-llmproxy-attempts"), Some("2"), "{vendor}");
    }
}

#[tokio::test]
async fn a_list_that_is_none_is_said_by_the_providers_name_and_blames_no_key() {
    let many: Vec<Value> = (0..20_000)
        .map(|n| json!({"id": format!("org/model-{n}")}))
        .collect();
    let many = json!({"data": many}).to_string();
    let good = r#"{"data":[{"id":"a"},{"id":"a"},{"id":"b"}]}"#;
    for (what, reply, lists, complains) in [
        (
            "HTML",
            Reply::text(200, "text/html", "<html>log in</html>"),
            0,
            true,
        ),
        ("nothing", Reply::json(200, ""), 0, true),
        (
            "an empty list",
            Reply::json(200, r#"{"data":[]}"#),
            0,
            false,
        ),
        ("20,000 models", Reply::json(200, many), 20_000, false),
        ("duplicates", Reply::json(200, good), 2, false),
        (
            "a redirect",
            Reply::text(302, "text/plain", "").header("location", "http://127.0.0.1:9/"),
            0,
            true,
        ),
        (
            "a wrong content type",
            Reply::text(200, "text/plain", good),
            2,
            false,
        ),
        ("gzip", Reply::json(200, good).gzipped(), 0, true),
        (
            "half a list",
            Reply::json(200, r#"{"data":[{"id":"a"}"#),
            0,
            true,
        ),
    ] {
        let script = Script::always(openai::completion("hi")).model_list(reply);
        let (_upstream, gateway) = pair(script, 2, "").await;
        let listed = gateway
            .home()
            .run_beside(&["models", "--refresh"], "")
            .await;
        assert_eq!(listed.code, 0, "{what}: {}", listed.stderr);
        assert_eq!(listed.stdout.lines().count(), lists, "{what}");
        let warned = listed.stderr.contains("cannot list the models of fake");
        assert_eq!(warned, complains, "{what}: {}", listed.stderr);
        let list = gateway.get("/v1/models").await;
        assert_eq!(
            (
                list.status,
                list.json()["data"].as_array().map_or(0, Vec::len)
            ),
            (200, lists),
            "{what}"
        );
        assert_eq!(gateway.provider("fake").await["ready"], 2, "{what}");
        assert_eq!(gateway.chat(CHAT).await.status, 200, "{what}");
    }
}

#[tokio::test]
async fn an_answer_that_is_none_is_said_by_the_providers_name_and_blames_no_key() {
    let good = r#"{"id":"c","object":"chat.completion","created":1,"model":"m1","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}"#;
    let is_served = None;
    for (what, reply, sentence) in [
        (
            "HTML",
            Reply::text(200, "text/html", "<html>log in</html>"),
            Some("fake failed: the answer is not the JSON expected (content type `text/html`)"),
        ),
        (
            "an HTML failure",
            Reply::text(404, "text/html", "<html>nginx</html>"),
            Some("fake failed: the provider answered with an HTML page instead of JSON (HTTP 404)"),
        ),
        (
            "nothing",
            Reply::json(200, ""),
            Some("fake failed: the answer is empty"),
        ),
        (
            "no choices",
            Reply::json(200, r#"{"object":"chat.completion","choices":[]}"#),
            Some("fake failed: the answer is empty"),
        ),
        (
            "a redirect",
            Reply::text(302, "text/plain", "").header("location", "http://127.0.0.1:9/"),
            Some("fake failed: the provider answered with a redirect, which is never followed"),
        ),
        (
            "gzip",
            Reply::json(200, good).gzipped(),
            Some("fake failed: the answer is compressed though nobody asked for that"),
        ),
        (
            "half an answer",
            Reply::json(200, &good[..60]),
            Some(
                "fake failed: the answer is not the JSON expected (content type `application/json`)",
            ),
        ),
        (
            "a wrong content type",
            Reply::text(200, "text/plain", good),
            is_served,
        ),
    ] {
        let script = Script::always(reply);
        let once = "[routing]\nmax_attempts = 1\nsame_key_retries = 0\n";
        let (_upstream, gateway) = pair(script, 2, once).await;
        let body = CHAT.replace("\"messages\"", "\"max_tokens\":9,\"messages\"");
        for request in [Request::chat(CHAT), Request::post("/v1/messages", body)] {
            let answer = gateway.send(&request).await;
            let status = if sentence.is_some() { 502 } else { 200 };
            assert_eq!(answer.status, status, "{what}: {}", answer.text());
            let said = answer.json()["error"]["message"]
                .as_str()
                .map(str::to_owned);
            assert_eq!(said.as_deref(), sentence, "{what}");
        }
        assert_eq!(gateway.provider("fake").await["credentials"], 2, "{what}");
        let listed = gateway
            .home()
            .run_beside(&["creds", "list", "--json"], "")
            .await;
        assert!(!listed.stdout.contains("dead"), "{what}: {listed:?}");
    }
}

#[tokio::test]
async fn gzip_nobody_asked_for_is_no_crash_in_a_translation() {
    let script = Script::always(openai::completion("hi").gzipped());
    let (_upstream, gateway) = pair(script, 1, "[routing]\nmax_attempts = 1\n").await;
    let body = r#"{"model":"fake/m1","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
    let answer = gateway.send(&Request::post("/v1/messages", body)).await;
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert!(answer.text().contains("fake"), "{}", answer.text());
    assert_eq!(gateway.provider("fake").await["ready"], 1);
}

#[tokio::test]
async fn each_key_is_tested_by_its_vendors_own_cheapest_check() {
    let upstream = Upstream::start(Script::new().answer(|request| {
        let says = |word: &str| request.key.as_deref().is_some_and(|key| key.contains(word));
        let (is_bad, is_broke) = (says("bad"), says("broke"));
        let body = match (request.method.as_str(), request.target.as_str()) {
            ("GET", "/openrouter/v1/key") => {
                json!({"data": {"limit": 10, "limit_remaining": if is_broke { 0 } else { 5 }}})
            }
            ("GET", "/deepseek/user/balance") => json!({"is_available": !is_broke}),
            ("POST", "/cohere/v1/check-api-key") => json!({"valid": !is_bad}),
            ("GET", "/xai/v1/api-key") => json!({"api_key_blocked": is_bad}),
            ("POST", "/minimax/v1/chat/completions") => {
                let code = if is_broke { 1008 } else { 0 };
                let message = json!({"role": "assistant", "content": "h"});
                json!({"base_resp": {"status_code": code, "status_msg": "insufficient balance"},
                    "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
            }
            _ => return Reply::json(404, "{}"),
        };
        Reply::json(200, body.to_string())
    }))
    .await;
    let origin = upstream.origin();
    for (vendor, base, spoilt, status) in [
        ("openrouter", "openrouter/v1", "broke", "no_quota"),
        ("deepseek", "deepseek/v1", "broke", "no_quota"),
        ("cohere", "cohere/compatibility/v1", "bad", "invalid"),
        ("xai", "xai/v1", "bad", "forbidden"),
        ("minimax", "minimax/v1", "broke", "no_quota"),
    ] {
        let config = format!(
            "[providers.{vendor}]\nbase_url = \"{origin}/{base}\"\napi_keys = [\"{}\", \"{}\"]\n",
            key("good"),
            key(spoilt)
        );
        let home = Home::with_config(&config);
        let tested = home.run_beside(&["test-keys", "--json"], "").await;
        assert_eq!(tested.code, 1, "{vendor}: {tested:?}");
        let told: Vec<Value> = serde_json::from_str(&tested.stdout).expect("JSON");
        let statuses: Vec<&str> = told
            .iter()
            .filter_map(|row| row["status"].as_str())
            .collect();
        assert_eq!(statuses, ["ok", status], "{vendor}: {tested:?}");
    }
}
