//! What goes wrong at Code Assist, and what a client sees of it: mostly nothing.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::fake::code_assist::{
    answer, asked, body, error, home, last, prompts, served, start, token,
};
use crate::fake::reply::Reply;
use crate::fake::upstream::{Recorded, Upstream};
use crate::harness::Gateway;

fn hello(request: &Recorded) -> Reply {
    answer(
        request,
        &[last(&json!([{"text": "Hello!"}]), "STOP", &json!({}))],
    )
}

/// An answer made from the request.
type Answer = Box<dyn Fn(&Recorded) -> Reply + Send + Sync>;

/// Answers in order; the last one again and again.
fn in_turn(answers: Vec<Answer>) -> impl Fn(&Recorded) -> Reply + Send + Sync {
    let next = AtomicUsize::new(0);
    move |request: &Recorded| {
        let at = next.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
        answers[at](request)
    }
}

fn chat(model: &str, stream: bool) -> String {
    json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"type": "function", "function": {"name": "write", "parameters": {"type": "object",
            "properties": {"path": {"type": "string"}}, "required": ["path"]}}}]})
    .to_string()
}

fn malformed(message: &'static str) -> Answer {
    Box::new(move |request| {
        let mut chunk = last(&json!([]), "MALFORMED_FUNCTION_CALL", &json!({}));
        chunk["candidates"][0]["finishMessage"] = message.into();
        answer(request, &[chunk])
    })
}

#[tokio::test]
async fn a_malformed_call_is_made_as_it_was_meant() {
    for stream in [false, true] {
        let broken = "Malformed function call: call:default_api:write{path: 'a'}";
        let (upstream, gateway) =
            start("antigravity", 1, "", in_turn(vec![malformed(broken)])).await;
        let response = gateway
            .chat(&chat("antigravity/gemini-3.8-flash-high", stream))
            .await;
        assert_eq!(response.status, 200, "{}", response.text());
        let text = response.text();
        assert!(text.contains(r#"{\"path\":\"a\"}"#), "{text}");
        assert!(text.contains("tool_calls\""), "{text}");
        assert_eq!(asked(&upstream).len(), 1);
    }
}

#[tokio::test]
async fn a_call_nobody_can_read_is_asked_for_again() {
    for stream in [false, true] {
        let broken = || malformed("Malformed function call: call:default_api:write{path");
        let script = in_turn(vec![broken(), Box::new(hello)]);
        let (upstream, gateway) = start("antigravity", 1, "", script).await;
        let response = gateway
            .chat(&chat("antigravity/gemini-pro-agent", stream))
            .await;
        assert_eq!(response.status, 200, "{}", response.text());
        assert!(response.text().contains("Hello!"));
        let requests = asked(&upstream);
        assert_eq!(requests.len(), 2);
        let contents = body(&requests[1])["request"]["contents"].clone();
        assert_eq!(
            contents[1]["parts"][0]["text"],
            "call:default_api:write{path"
        );
        assert_eq!(contents[2]["role"], "user");
    }
}

#[tokio::test]
async fn an_empty_answer_is_asked_for_again() {
    for stream in [false, true] {
        let empty = |request: &Recorded| answer(request, &[last(&json!([]), "STOP", &json!({}))]);
        let script = in_turn(vec![Box::new(empty), Box::new(hello)]);
        let (_upstream, gateway) = start("gemini_cli", 2, "", script).await;
        let response = gateway
            .chat(&chat("gemini_cli/gemini-2.5-flash", stream))
            .await;
        assert_eq!(response.status, 200, "{}", response.text());
        assert!(response.text().contains("Hello!"));
    }
}

#[tokio::test]
async fn a_sentence_for_people_is_an_error_of_the_upstream() {
    let sentence = "This version of Antigravity is no longer supported. Please update to receive the latest features!";
    for stream in [false, true] {
        let (_upstream, gateway) = start("antigravity", 1, "", move |request| {
            answer(
                request,
                &[last(&json!([{"text": sentence}]), "STOP", &json!({}))],
            )
        })
        .await;
        let response = gateway
            .chat(&chat("antigravity/gemini-pro-agent", stream))
            .await;
        assert!(response.status >= 500, "{}", response.text());
        assert!(
            response.message().contains("no longer supported"),
            "{}",
            response.text()
        );
    }
}

#[tokio::test]
async fn a_refused_signature_costs_one_more_call() {
    let refusal = |_: &Recorded| {
        let message = "messages.1.content.0: Invalid `signature` in `thinking` block";
        error(400, "INVALID_ARGUMENT", message, &json!([]))
    };
    let script = in_turn(vec![Box::new(refusal), Box::new(hello)]);
    let (upstream, gateway) = start("antigravity", 1, "", script).await;
    let wanted = json!({"model": "antigravity/claude-sonnet-4-6", "max_tokens": 9000,
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "messages": [{"role": "user", "content": "go"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": format!("E{}", "z".repeat(60))},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "ok"}]}]});
    let request = crate::client::Request::post("/v1/messages", wanted.to_string());
    let response = gateway.send(&request).await;
    assert_eq!(response.status, 200, "{}", response.text());
    let requests = asked(&upstream);
    assert_eq!(requests.len(), 2);
    assert!(requests[0].text().contains("thoughtSignature"));
    assert!(!requests[1].text().contains("thoughtSignature"));
    assert!(!requests[1].text().contains("thinkingConfig"));
}

#[tokio::test]
async fn antigravity_g5_a_busy_host_hands_over_to_the_other_and_blames_no_account() {
    let capacity = || {
        let details = json!([
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "MODEL_CAPACITY_EXHAUSTED",
             "metadata": {"model": "gemini-pro-agent"}},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "39s"}]);
        error(
            503,
            "UNAVAILABLE",
            "No capacity available for model gemini-pro-agent on the server",
            &details,
        )
    };
    let bare = || {
        Reply::json(
            429,
            r#"{"error":{"code":429,"message":"Resource has been exhausted (e.g. check quota).","status":"RESOURCE_EXHAUSTED"}}"#,
        )
    };
    for busy in [capacity as fn() -> Reply, bare] {
        let first = Upstream::start(prompts(move |_| busy())).await;
        let second = Upstream::start(prompts(hello)).await;
        let home = home("antigravity", &first, 1, "");
        home.write_config(&format!(
            "[providers.antigravity]\nbase_url = [\"{}\", \"{}/v1internal\"]\n",
            first.origin(),
            second.origin()
        ));
        let gateway = Gateway::start_in(home, &[]).await;
        let response = gateway
            .chat(&chat("antigravity/gemini-pro-agent", false))
            .await;
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(asked(&first).len(), 1);
        assert_eq!(asked(&second).len(), 1);
        assert_eq!(asked(&second)[0].target, "/v1internal:generateContent");
        let provider = gateway.provider("antigravity").await;
        let text = provider.to_string();
        assert!(!text.contains("\"cooling\":1"), "{text}");
    }
}

#[tokio::test]
async fn the_guard_and_credits_are_switches() {
    let call = |request: &Recorded| {
        answer(
            request,
            &[last(
                &json!([{"functionCall": {"id": "1", "name": "gemini3_write", "args": {"path": "a"}}, "thoughtSignature": "U0lH"}]),
                "STOP",
                &json!({}),
            )],
        )
    };
    let settings = "guard_tools = true\nspend_credits = true\n";
    let (upstream, gateway) = start("antigravity", 1, settings, call).await;
    let response = gateway
        .chat(&chat("antigravity/gemini-3.8-flash-high", false))
        .await;
    let json = response.json();
    let called = &json["choices"][0]["message"]["tool_calls"][0]["function"]["name"];
    assert_eq!(called, "write", "{json}");
    let sent = body(&asked(&upstream)[0]);
    assert_eq!(sent["enabledCreditTypes"], json!(["GOOGLE_ONE_AI"]));
    let declaration = &sent["request"]["tools"][0]["functionDeclarations"][0];
    assert_eq!(declaration["name"], "gemini3_write");
    assert!(
        declaration["description"]
            .as_str()
            .is_some_and(|text| text.contains("path (string, required)"))
    );
}

#[tokio::test]
async fn spent_credits_are_left_out_and_the_request_goes_on() {
    let broke = |_: &Recorded| {
        let details = json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "INSUFFICIENT_G1_CREDITS_BALANCE", "domain": "cloudcode-pa.googleapis.com"}]);
        error(429, "RESOURCE_EXHAUSTED", "Not enough credits.", &details)
    };
    let script = in_turn(vec![Box::new(broke), Box::new(hello)]);
    let (upstream, gateway) = start("antigravity", 1, "spend_credits = true\n", script).await;
    let response = gateway
        .chat(&chat("antigravity/gemini-pro-agent", false))
        .await;
    assert_eq!(response.status, 200, "{}", response.text());
    let requests = asked(&upstream);
    assert!(requests[0].text().contains("GOOGLE_ONE_AI"));
    assert!(!requests[1].text().contains("GOOGLE_ONE_AI"));
}

#[tokio::test]
async fn pictures_come_back_in_openais_place() {
    let picture = |request: &Recorded| {
        answer(
            request,
            &[last(
                &json!([{"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}]),
                "STOP",
                &json!({}),
            )],
        )
    };
    let (upstream, gateway) = start("antigravity", 1, "", picture).await;
    let wanted = json!({"model": "antigravity/gemini-3.1-flash-image",
        "messages": [{"role": "user", "content": "a cat"}]});
    let response = gateway.chat(&wanted.to_string()).await;
    assert!(
        response
            .text()
            .contains("data:image/png;base64,iVBORw0KGgo="),
        "{}",
        response.text()
    );
    assert_eq!(body(&asked(&upstream)[0])["requestType"], "image_gen");
}

#[tokio::test]
async fn a_refused_token_passes_over_the_account() {
    let (upstream, gateway) = start("gemini_cli", 2, "", |request| {
        if request.key.as_deref() == Some(token(1).as_str()) {
            return error(
                403,
                "PERMISSION_DENIED",
                "disabled",
                &json!([{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "TOS_VIOLATION",
                "metadata": {"appeal_url": "https://forms.gle/appeal"}}]),
            );
        }
        hello(request)
    })
    .await;
    for _ in 0..3 {
        let response = gateway
            .chat(&chat("gemini_cli/gemini-2.5-pro", false))
            .await;
        assert_eq!(response.status, 200, "{}", response.text());
    }
    assert_eq!(
        served(&upstream, 1),
        1,
        "a banned account is never asked again"
    );
    let dead = gateway.listed("gemini_cli/1", "dead").await;
    let reason = dead["state_reason"].to_string();
    assert!(reason.contains("https://forms.gle/appeal"), "{reason}");
}
