//! Accounts with staggered quotas under one long session of an agent: nothing of it may show.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::client::Request;
use crate::fake::code_assist::{
    answer, asked, body, chunk, home, last, prompts, served, spent, start, token,
};
use crate::fake::reply::Reply;
use crate::fake::upstream::{Recorded, Upstream};
use crate::harness::Gateway;

/// Turns of the session; each has a call, its result and what the model makes of it.
const TURNS: usize = 12;

/// What each account serves before its quota is used up: 6, 8 and the rest.
fn limits() -> [usize; 3] {
    [6, 8, usize::MAX]
}

/// Serves until an account has had its share; asserts what a real server would refuse.
fn staggered(model: &'static str) -> impl Fn(&Recorded) -> Reply + Send + Sync {
    let served: [AtomicUsize; 3] = Default::default();
    let numbers = Mutex::new(0_usize);
    move |request: &Recorded| {
        let key = request.key.clone().unwrap_or_default();
        let at = (0..3).find(|at| key == token(at + 1)).expect("an account");
        if served[at].fetch_add(1, Ordering::SeqCst) >= limits()[at] {
            return spent(model, "7200s");
        }
        let sent = body(request);
        assert_eq!(sent["project"], format!("proj-{}", at + 1));
        well_formed(&sent, model);
        let usage =
            json!({"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15});
        let contents = sent["request"]["contents"].as_array().expect("contents");
        let is_result =
            contents.last().expect("a turn")["parts"][0]["functionResponse"].is_object();
        if is_result {
            return answer(
                request,
                &[last(&json!([{"text": "That is done."}]), "STOP", &usage)],
            );
        }
        let mut number = numbers.lock().expect("no answer panics");
        *number += 1;
        let id = format!("call_{number}");
        let signature = format!("E{}{number:04}", "s".repeat(59));
        let call = json!({"functionCall": {"id": id, "name": "read_file", "args": {"path": id}}});
        if model.contains("claude") {
            return answer(
                request,
                &[
                    chunk(&json!([{"thought": true, "text": format!("I need file {number}.")}])),
                    chunk(&json!([{"thought": true, "text": "", "thoughtSignature": signature}])),
                    last(&json!([call]), "OTHER", &usage),
                ],
            );
        }
        let mut signed = call;
        signed["thoughtSignature"] = signature.into();
        answer(request, &[last(&json!([signed]), "STOP", &usage)])
    }
}

/// What the service answers with a 400: calls without answers, unsigned calls of Gemini 3, thinking
/// of Claude's that does not begin with a thought, a budget above the limit.
fn well_formed(sent: &Value, model: &str) {
    let contents = sent["request"]["contents"].as_array().expect("contents");
    let mut waiting: Vec<String> = Vec::new();
    let mut last_role = "";
    for content in contents {
        let role = content["role"].as_str().expect("a role");
        assert_ne!(role, last_role, "turns alternate: {sent}");
        last_role = role;
        for part in content["parts"].as_array().expect("parts") {
            if let Some(call) = part["functionCall"].as_object() {
                if model.contains("gemini") && waiting.is_empty() {
                    assert!(part["thoughtSignature"].is_string(), "{sent}");
                }
                waiting.push(call["id"].as_str().expect("an id").to_owned());
            }
            if let Some(result) = part["functionResponse"].as_object() {
                assert_eq!(
                    result["id"].as_str(),
                    Some(waiting.remove(0).as_str()),
                    "{sent}"
                );
            }
            if part["thought"] == true {
                assert!(
                    part["thoughtSignature"]
                        .as_str()
                        .is_some_and(|s| s.len() > 50),
                    "{sent}"
                );
            }
        }
    }
    assert!(waiting.is_empty(), "{sent}");
    let config = &sent["request"]["generationConfig"];
    if model.contains("claude") && config["thinkingConfig"].is_object() {
        let budget = config["thinkingConfig"]["thinkingBudget"]
            .as_i64()
            .expect("a budget");
        assert!(
            budget < config["maxOutputTokens"].as_i64().expect("a limit"),
            "{sent}"
        );
        let begin = contents.iter().rposition(|content| {
            content["role"] == "user" && content["parts"][0]["text"].is_string()
        });
        if let Some(turn) = contents.get(begin.expect("a prompt") + 1) {
            assert_eq!(turn["parts"][0]["thought"], true, "{sent}");
        }
    }
}

fn schema() -> Value {
    json!({"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]})
}

/// The session as an OpenAI client has it, which keeps texts and calls and no thoughts.
async fn openai(gateway: &Gateway, model: &str) {
    let mut messages = vec![json!({"role": "system", "content": "You are an agent."})];
    for turn in 0..TURNS {
        messages.push(json!({"role": "user", "content": format!("task {turn}")}));
        for _ in 0..2 {
            let wanted = json!({"model": model, "messages": messages, "reasoning_effort": "high",
                "tools": [{"type": "function", "function": {"name": "read_file", "parameters": schema()}}]});
            let response = gateway.chat(&wanted.to_string()).await;
            assert_eq!(response.status, 200, "turn {turn}: {}", response.text());
            let message = response.json()["choices"][0]["message"].clone();
            let calls = message["tool_calls"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let bare: Vec<_> = calls
                .iter()
                .map(|call| json!({"id": call["id"], "type": "function", "function": call["function"]}))
                .collect();
            if bare.is_empty() {
                messages.push(json!({"role": "assistant", "content": message["content"]}));
                continue;
            }
            messages.push(json!({"role": "assistant", "content": null, "tool_calls": bare}));
            for call in calls {
                messages.push(json!({"role": "tool", "tool_call_id": call["id"], "content": "ok"}));
            }
        }
    }
}

/// The same as an Anthropic client has it, which sends all blocks back.
async fn anthropic(gateway: &Gateway, model: &str) {
    let mut messages = Vec::new();
    for turn in 0..TURNS {
        messages.push(json!({"role": "user", "content": format!("task {turn}")}));
        for _ in 0..2 {
            let wanted = json!({"model": model, "max_tokens": 8000, "messages": messages,
                "thinking": {"type": "enabled", "budget_tokens": 4000},
                "tools": [{"name": "read_file", "input_schema": schema()}]});
            let request = Request::post("/v1/messages", wanted.to_string());
            let response = gateway.send(&request).await;
            assert_eq!(response.status, 200, "turn {turn}: {}", response.text());
            let content = response.json()["content"].clone();
            let blocks = content.as_array().expect("blocks");
            let results: Vec<_> = blocks
                .iter()
                .filter(|block| block["type"] == "tool_use")
                .map(|call| json!({"type": "tool_result", "tool_use_id": call["id"], "content": "ok"}))
                .collect();
            messages.push(json!({"role": "assistant", "content": content}));
            if !results.is_empty() {
                messages.push(json!({"role": "user", "content": results}));
            }
        }
    }
}

#[tokio::test]
async fn three_accounts_serve_an_openai_agent_without_a_visible_failure() {
    for (provider, model) in [
        ("antigravity", "claude-opus-4-6-thinking"),
        ("antigravity", "gemini-3.7-flash-high"),
        ("gemini_cli", "gemini-3-pro-preview"),
    ] {
        let (upstream, gateway) = start(provider, 3, "", staggered(model)).await;
        openai(&gateway, &format!("{provider}/{model}")).await;
        for account in 1..=3 {
            let calls = served(&upstream, account);
            assert!(
                calls > 1,
                "{provider} {model}: account {account} served {calls}"
            );
        }
    }
}

#[tokio::test]
async fn three_accounts_serve_an_anthropic_agent_without_a_visible_failure() {
    for (provider, model) in [
        ("antigravity", "claude-opus-4-6-thinking"),
        ("gemini_cli", "gemini-3-pro-preview"),
    ] {
        let (upstream, gateway) = start(provider, 3, "", staggered(model)).await;
        anthropic(&gateway, &format!("{provider}/{model}")).await;
        for account in 1..=3 {
            let calls = served(&upstream, account);
            assert!(
                calls > 1,
                "{provider} {model}: account {account} served {calls}"
            );
        }
    }
}

#[tokio::test]
async fn gemini_cli_g4_a_spent_quota_moves_on_and_says_when_it_comes_back() {
    let upstream = Upstream::start(prompts(|_| spent("gemini-2.5-pro", "12130.41s"))).await;
    let gateway = Gateway::start_in(home("gemini_cli", &upstream, 2, ""), &[]).await;
    let wanted =
        r#"{"model":"gemini_cli/gemini-2.5-pro","messages":[{"role":"user","content":"hi"}]}"#;
    let response = gateway.chat(wanted).await;
    assert_eq!(response.status, 429, "{}", response.text());
    let wait: u64 = response
        .header("retry-after")
        .expect("a wait")
        .parse()
        .expect("a number");
    assert!((12_125..=12_131).contains(&wait), "{wait}");
    assert_eq!(asked(&upstream).len(), 2, "each account was asked once");
}

#[tokio::test]
async fn antigravity_g4_a_spent_family_leaves_the_other_alone() {
    let (upstream, gateway) = start("antigravity", 1, "", |request| {
        let model = body(request)["model"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if model.contains("claude") {
            return spent(&model, "391709.79s");
        }
        answer(
            request,
            &[last(&json!([{"text": "ok"}]), "STOP", &json!({}))],
        )
    })
    .await;
    let ask = |model: &str| {
        json!({"model": format!("antigravity/{model}"),
        "messages": [{"role": "user", "content": "hi"}]})
        .to_string()
    };
    assert_eq!(
        gateway.chat(&ask("claude-opus-4-6-thinking")).await.status,
        429
    );
    let before = asked(&upstream).len();
    assert_eq!(gateway.chat(&ask("claude-sonnet-4-6")).await.status, 429);
    assert_eq!(gateway.chat(&ask("gpt-oss-120b-medium")).await.status, 429);
    assert_eq!(asked(&upstream).len(), before, "the family rests");
    assert_eq!(gateway.chat(&ask("gemini-pro-agent")).await.status, 200);
}
