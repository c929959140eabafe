//! Media by URL for upstreams that need the bytes, and model facts of the user's own.

use serde_json::{Value, json};

use crate::client::Request;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::fake::{anthropic, gemini};
use crate::harness::{Gateway, keys};

async fn start(kind: &str, script: Script, settings: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::start(script).await;
    let config = format!(
        "{settings}\n[providers.fake]\nkind = \"{kind}\"\nbase_url = \"{}\"\napi_keys = {:?}\n",
        upstream.origin(),
        keys(1)
    );
    let gateway = Gateway::start(&config).await;
    (upstream, gateway)
}

fn image(url: &str) -> Request {
    let body = json!({"model": "fake/m1", "messages": [{"role": "user", "content": [
        {"type": "text", "text": "what is it?"},
        {"type": "image_url", "image_url": {"url": url}}]}]});
    Request::chat(&body.to_string())
}

#[tokio::test]
async fn without_leave_to_fetch_the_answer_says_how_to_give_it() {
    for (kind, url) in [
        ("gemini", "https://example.com/a.png?token=secret"),
        ("anthropic", "http://example.com/a.png?token=secret"),
    ] {
        let (upstream, gateway) = start(kind, Script::new(), "").await;
        let answer = gateway.send(&image(url)).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        let message = answer.message();
        assert!(
            message.contains("fetch_remote_media = true") && !message.contains("secret"),
            "{message}"
        );
        assert!(upstream.requests().is_empty());
    }
}

#[tokio::test]
async fn with_leave_to_fetch_no_private_address_is_asked() {
    let settings = "[server]\nfetch_remote_media = true";
    let (upstream, gateway) = start("gemini", Script::new(), settings).await;
    let inside = Upstream::start(Script::new()).await;
    let port = inside.address().port();
    for host in [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:7f00:1]",
        "0x7f000001",
    ] {
        let answer = gateway
            .send(&image(&format!("http://{host}:{port}/a.png")))
            .await;
        assert_eq!(answer.status, 400, "{host}: {}", answer.text());
        let message = answer.message();
        assert!(message.contains("public internet"), "{host}: {message}");
    }
    assert_eq!(inside.connections(), 0);
    assert!(upstream.requests().is_empty());
    assert!(
        !gateway.stderr().contains("not available"),
        "{}",
        gateway.stderr()
    );
}

#[tokio::test]
async fn an_address_that_the_upstream_reads_itself_passes() {
    let (upstream, gateway) =
        start("anthropic", Script::always(anthropic::message("a cat")), "").await;
    let answer = gateway.send(&image("https://example.com/a.png")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let sent: Value = serde_json::from_slice(&upstream.request().body).expect("JSON");
    assert_eq!(
        sent["messages"][0]["content"][1]["source"],
        json!({"type": "url", "url": "https://example.com/a.png"})
    );
}

#[tokio::test]
async fn model_facts_of_the_users_own_are_kept_to() {
    let facts = "[[model_facts]]\nmodel = \"m\"\nlike = \"gemini-2.5-flash\"\nmax_output = 7\n\
                 thinking_budget = [128, 1000]\npenalties = false";
    let (upstream, gateway) = start("gemini", Script::always(gemini::answer("hi")), facts).await;
    let body = json!({"model": "fake/m1", "max_tokens": 100, "reasoning_effort": "high",
        "presence_penalty": 0.5, "messages": [{"role": "user", "content": "hi"}]});
    let answer = gateway.send(&Request::chat(&body.to_string())).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let sent: Value = serde_json::from_slice(&upstream.request().body).expect("JSON");
    let config = &sent["generationConfig"];
    assert_eq!(config["maxOutputTokens"], 7);
    assert_eq!(config["thinkingConfig"]["thinkingBudget"], 1000);
    assert!(config.get("presencePenalty").is_none(), "{config}");
}
