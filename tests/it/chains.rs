//! A name of the user's own over several providers: whole providers fail over, before the first
//! byte and unseen by the client, in every dialect; and the strategies that pick the first.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Request;
use crate::fake::reply::{Ending, Gate, Reply};
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::fake::{anthropic, key, openai, sse};
use crate::harness::{Gateway, keys, provider};

const CLIENTS: [&str; 4] = ["anthropic", "gemini", "openai", "openai_responses"];

fn request(client: &str, model: &str, stream: bool) -> Request {
    let messages = json!([{"role": "user", "content": "hi"}]);
    match client {
        "anthropic" => {
            let body =
                json!({"model": model, "max_tokens": 50, "stream": stream, "messages": messages});
            Request::post("/v1/messages", body.to_string())
        }
        "gemini" => {
            let verb = if stream {
                "streamGenerateContent?alt=sse"
            } else {
                "generateContent"
            };
            let body = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]});
            Request::post(&format!("/v1beta/models/{model}:{verb}"), body.to_string())
        }
        "openai" => Request::chat(
            &json!({"model": model, "stream": stream, "messages": messages}).to_string(),
        ),
        _ => Request::post(
            "/v1/responses",
            json!({"model": model, "stream": stream, "input": "hi"}).to_string(),
        ),
    }
}

fn gemini_overloaded() -> Reply {
    let body = json!({"error": {"code": 503, "status": "UNAVAILABLE", "message": "The model is overloaded."}});
    Reply::json(503, body.to_string())
}

fn anthropic_overloaded() -> Reply {
    let body =
        json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    Reply::json(529, body.to_string())
}

/// The first two of the chain down in a way each; the third serves.
async fn chain(gemini: Reply, anthropic: Reply) -> ([Upstream; 3], Gateway) {
    let first = Upstream::start(Script::always(gemini)).await;
    let second = Upstream::start(Script::always(anthropic)).await;
    let third = Upstream::start(Script::new().answer(|request| {
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        if body["stream"] == true {
            return openai::stream(&["he", "re"]);
        }
        openai::completion("here")
    }))
    .await;
    let config = format!(
        "[providers.gemini]\nbase_url = \"{}\"\napi_keys = [\"{}\"]\n\
         [providers.anthropic]\nbase_url = \"{}\"\napi_keys = [\"{}\"]\n\
         [providers.openrouter]\nbase_url = \"{}\"\napi_keys = [\"{}\"]\n\
         [models.chain]\ntargets = [\"gemini/gemini-2.5-flash\", \"anthropic/claude-sonnet-4-5\", \"openrouter/org/model\"]\n\
         [routing]\nsame_key_retries = 0\n",
        first.origin(),
        key("g"),
        second.origin(),
        key("a"),
        third.base_url(),
        key("o"),
    );
    let gateway = Gateway::start(&config).await;
    ([first, second, third], gateway)
}

#[tokio::test]
async fn a_chain_survives_its_first_two_providers_in_all_dialects() {
    let dying = Reply::sse([sse::event(
        "message_start",
        &json!({"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant",
            "model": "m", "content": [], "usage": {"input_tokens": 1, "output_tokens": 1}}}),
    )]);
    let dying = dying.ending(Ending::Reset);
    for (gemini, anthropic) in [
        (gemini_overloaded(), anthropic_overloaded()),
        (Reply::reset(), openai::broken()),
        (Reply::text(502, "text/html", "<h1>Bad gateway</h1>"), dying),
    ] {
        let ([_, _, third], gateway) = chain(gemini, anthropic).await;
        for client in CLIENTS {
            for stream in [false, true] {
                let answer = gateway.send(&request(client, "chain", stream)).await;
                assert_eq!(answer.status, 200, "{client} {stream}: {}", answer.text());
                assert!(answer.complete, "{client} {stream}");
                let text = answer.text();
                let said = if stream {
                    text.contains("\"he\"") && text.contains("\"re\"")
                } else {
                    text.contains("\"here\"")
                };
                assert!(
                    said && !text.contains("error\":{"),
                    "{client} {stream}: {text}"
                );
                assert_eq!(answer.header("x-llmproxy-provider"), Some("openrouter"));
            }
        }
        let asked = third.requests();
        assert_eq!(asked.len(), 8);
        assert!(
            asked
                .iter()
                .all(|request| request.text().contains(r#""org/model""#))
        );
        assert!(
            asked
                .iter()
                .all(|request| request.target.ends_with("/chat/completions"))
        );
    }
}

#[tokio::test]
async fn each_target_of_a_chain_gets_a_body_of_its_own() {
    let ([first, second, _third], gateway) =
        chain(gemini_overloaded(), anthropic_overloaded()).await;
    assert_eq!(
        gateway
            .send(&request("openai", "chain", false))
            .await
            .status,
        200
    );
    let gemini = first.request();
    assert_eq!(
        gemini.target,
        "/v1beta/models/gemini-2.5-flash:generateContent"
    );
    assert!(gemini.text().contains("\"contents\""), "{}", gemini.text());
    let claude = second.request();
    assert_eq!(claude.target, "/v1/messages");
    assert!(
        claude.text().contains("\"max_tokens\""),
        "{}",
        claude.text()
    );
    let body: Value = serde_json::from_slice(&claude.body).expect("JSON");
    assert_eq!(body["model"], "claude-sonnet-4-5");
    let listed = gateway.home().run_beside(&["models", "chain"], "").await;
    assert_eq!(listed.stdout, "chain\n", "{listed:?}");
    let asked = ["chat", "-m", "chain", "--no-stream", "hi"];
    let chatted = gateway.home().run_beside(&asked, "").await;
    assert_eq!(
        (chatted.code, chatted.stdout.as_str()),
        (0, "here\n"),
        "{chatted:?}"
    );
}

#[tokio::test]
async fn balanced_spreads_over_its_targets() {
    let one = Upstream::start(Script::always(openai::completion("hi"))).await;
    let two = Upstream::start(Script::always(openai::completion("hi"))).await;
    let config = provider("one", &one, &keys(1))
        + &provider("two", &two, &keys(1))
        + "[models.both]\ntargets = [\"one/m1\", \"two/m1\"]\nstrategy = \"balanced\"\n";
    let gateway = Gateway::start(&config).await;
    for _ in 0..24 {
        assert_eq!(
            gateway.send(&request("openai", "both", false)).await.status,
            200
        );
    }
    let (one, two) = (one.requests().len(), two.requests().len());
    assert_eq!(one + two, 24);
    // Fewer than three of 24 by a fair coin: once in 50,000 runs.
    assert!(one > 2 && two > 2, "{one} and {two}");
}

#[tokio::test]
async fn fastest_measures_each_target_and_stays_with_the_quick_one() {
    let gate = Gate::new();
    let slow = Reply::sse(openai::frames(&["hi"])).gated(&gate);
    let slow = Upstream::start(Script::always(slow)).await;
    let quick = Upstream::start(Script::always(openai::stream(&["hi"]))).await;
    let config = provider("slow", &slow, &keys(1))
        + &provider("quick", &quick, &keys(1))
        + "[models.any]\ntargets = [\"slow/m1\", \"quick/m1\"]\nstrategy = \"fastest\"\n";
    let gateway = Gateway::start(&config).await;
    let first = request("openai", "any", true);
    let opening = async {
        slow.asked(1).await;
        // What makes it slow: the time until its first word.
        tokio::time::sleep(Duration::from_secs(1)).await;
        gate.open(100);
    };
    let (answer, ()) = tokio::join!(gateway.send(&first), opening);
    assert_eq!(
        answer.header("x-llmproxy-provider"),
        Some("slow"),
        "not measured, and named first"
    );
    for _ in 0..4 {
        let answer = gateway.send(&request("openai", "any", true)).await;
        assert_eq!(answer.header("x-llmproxy-provider"), Some("quick"));
    }
    assert_eq!(slow.requests().len(), 1);
}

#[tokio::test]
async fn ordered_always_begins_with_its_first_target() {
    let one = Upstream::start(Script::always(anthropic::message("hi"))).await;
    let two = Upstream::start(Script::always(openai::completion("hi"))).await;
    let config = format!(
        "[providers.one]\nkind = \"anthropic\"\nbase_url = \"{}\"\napi_keys = [\"{}\"]\n{}\
         [models.both]\ntargets = [\"one/m1\", \"two/m1\"]\n",
        one.origin(),
        key("1"),
        provider("two", &two, &keys(1)),
    );
    let gateway = Gateway::start(&config).await;
    for client in CLIENTS {
        assert_eq!(
            gateway.send(&request(client, "both", false)).await.status,
            200,
            "{client}"
        );
    }
    assert_eq!((one.requests().len(), two.requests().len()), (4, 0));
}

fn limited(seconds: &str) -> Reply {
    let body = json!({"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}});
    Reply::json(429, body.to_string()).header("retry-after", seconds)
}

#[tokio::test]
async fn nobody_waits_for_a_target_while_another_serves_and_then_for_the_soonest() {
    let first = Upstream::start(Script::new().once(&key("1"), [limited("20")])).await;
    let replies = [
        limited("1"),
        openai::completion("hi"),
        openai::completion("hi"),
    ];
    let second = Upstream::start(Script::new().once(&key("1"), replies)).await;
    let config = provider("one", &first, &keys(1))
        + &provider("two", &second, &keys(1))
        + "[models.both]\ntargets = [\"one/m1\", \"two/m1\"]\n";
    let gateway = Gateway::start(&config).await;
    // Both are limited; the second is back after a second, the first after twenty.
    for attempts in ["3", "1"] {
        let answer = gateway.send(&request("openai", "both", false)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("x-llmproxy-provider"), Some("two"));
        assert_eq!(answer.header("x-llmproxy-attempts"), Some(attempts));
    }
}
