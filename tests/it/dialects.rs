//! Any client dialect on any upstream dialect, through the whole gateway: same dialects byte for
//! byte, others by meaning. What each codec does in detail is tested beside it.

use serde_json::Value;

use crate::client::{Request, Response};
use crate::fake::reply::Reply;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::fake::{anthropic, gemini, openai, responses};
use crate::harness::{Gateway, keys};

/// The dialects that upstreams and clients speak.
pub(crate) const DIALECTS: [&str; 4] = ["anthropic", "gemini", "openai", "openai_responses"];
const WORDS: [&str; 3] = ["h", "é ", "🦀"];

/// A request for `fake/m1` in a dialect.
pub(crate) fn request(dialect: &str, stream: bool) -> Request {
    let flag = if stream { r#""stream":true,"# } else { "" };
    let turn = r#""messages":[{"role":"user","content":"hi"}]"#;
    match dialect {
        "anthropic" => {
            let body = format!(r#"{{"model":"fake/m1",{flag}"max_tokens":50,{turn}}}"#);
            Request::post("/v1/messages", body).header("anthropic-version", "2023-06-01")
        }
        "gemini" => {
            let verb = if stream {
                "streamGenerateContent?alt=sse"
            } else {
                "generateContent"
            };
            let body = r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#;
            Request::post(&format!("/v1beta/models/fake/m1:{verb}"), body)
        }
        "openai" => Request::chat(&format!(r#"{{"model":"fake/m1",{flag}{turn}}}"#)),
        _ => Request::post(
            "/v1/responses",
            format!(r#"{{"model":"fake/m1",{flag}"input":"hi"}}"#),
        ),
    }
}

/// The whole answer of an upstream of that dialect.
pub(crate) fn whole(dialect: &str) -> Reply {
    let text = WORDS.concat();
    match dialect {
        "anthropic" => anthropic::message(&text),
        "gemini" => gemini::answer(&text),
        "openai" => openai::completion(&text),
        _ => responses::response(&text),
    }
}

/// The whole stream of an upstream of that dialect.
pub(crate) fn frames(dialect: &str) -> Vec<String> {
    match dialect {
        "anthropic" => anthropic::frames(&WORDS),
        "gemini" => gemini::frames(&WORDS),
        "openai" => openai::frames(&WORDS),
        _ => responses::frames(&WORDS),
    }
}

/// The text of a whole answer, where that dialect's clients look for it.
fn text_of(dialect: &str, answer: &Value) -> String {
    let text = match dialect {
        "anthropic" => &answer["content"][0]["text"],
        "gemini" => &answer["candidates"][0]["content"]["parts"][0]["text"],
        "openai" => &answer["choices"][0]["message"]["content"],
        _ => &answer["output"][0]["content"][0]["text"],
    };
    text.as_str().unwrap_or_default().to_owned()
}

/// The text of a stream, put together as that dialect's clients do.
fn streamed_text(dialect: &str, stream: &str) -> String {
    let events = stream
        .lines()
        .filter_map(|line| line.strip_prefix("data: "));
    let events = events.filter_map(|data| serde_json::from_str::<Value>(data).ok());
    let piece = |event: Value| {
        let text = match dialect {
            "anthropic" => &event["delta"]["text"],
            "gemini" => &event["candidates"][0]["content"]["parts"][0]["text"],
            "openai" => &event["choices"][0]["delta"]["content"],
            _ if event["type"] == "response.output_text.delta" => &event["delta"],
            _ => &Value::Null,
        };
        text.as_str().unwrap_or_default().to_owned()
    };
    events.map(piece).collect()
}

/// What stands at a stream's proper end.
pub(crate) fn proper_end(dialect: &str) -> &'static str {
    match dialect {
        "anthropic" => "event: message_stop",
        "gemini" => "\"finishReason\":\"STOP\"",
        "openai" => "data: [DONE]",
        _ => "event: response.completed",
    }
}

async fn start(dialect: &str, script: Script) -> (Upstream, Gateway) {
    let upstream = Upstream::start(script).await;
    // `base_url` is what the vendor's SDK takes.
    let base = match dialect {
        "anthropic" | "gemini" => upstream.origin(),
        _ => upstream.base_url(),
    };
    let config = format!(
        "[providers.fake]\nkind = \"{dialect}\"\nbase_url = \"{base}\"\napi_keys = {:?}\n",
        keys(2)
    );
    let gateway = Gateway::start(&config).await;
    (upstream, gateway)
}

fn assert_served(pair: &str, answer: &Response) {
    assert_eq!(answer.status, 200, "{pair}: {}", answer.text());
    assert!(answer.complete, "{pair}");
}

/// What a client gets that asks for a stream; all the words are in it.
async fn streamed(gateway: &Gateway, client: &str, pair: &str) -> String {
    let answer = gateway.send(&request(client, true)).await;
    assert_served(pair, &answer);
    let text = answer.text();
    assert_eq!(
        streamed_text(client, &text),
        WORDS.concat(),
        "{pair}: {text}"
    );
    text
}

#[tokio::test]
async fn every_client_gets_whole_answers_from_every_upstream() {
    for upstream_dialect in DIALECTS {
        let script = Script::always(whole(upstream_dialect));
        let (_upstream, gateway) = start(upstream_dialect, script).await;
        for client in DIALECTS {
            let pair = format!("{client} on {upstream_dialect}");
            let answer = gateway.send(&request(client, false)).await;
            assert_served(&pair, &answer);
            assert_eq!(
                text_of(client, &answer.json()),
                WORDS.concat(),
                "{pair}: {}",
                answer.text()
            );
        }
    }
}

#[tokio::test]
async fn every_client_gets_streams_from_every_upstream() {
    for upstream_dialect in DIALECTS {
        for slices in [1, 100_000] {
            let script = Script::always(Reply::sse(frames(upstream_dialect)).sliced(slices));
            let (_upstream, gateway) = start(upstream_dialect, script).await;
            for client in DIALECTS {
                let pair = format!("{client} on {upstream_dialect} in slices of {slices}");
                let text = streamed(&gateway, client, &pair).await;
                assert!(text.contains(proper_end(client)), "{pair}: {text}");
            }
        }
    }
}

/// As servers do that cut their answer by UTF-16 units.
#[tokio::test]
async fn a_character_that_a_stream_cuts_in_two_is_whole_for_every_client() {
    for upstream_dialect in DIALECTS {
        let cut = frames(upstream_dialect).into_iter().map(|frame| {
            let cut = frame.replace("é ", "é \\ud83e").replace("🦀", "\\udd80");
            // What says the text again at the end says it whole.
            let is_whole = cut.contains("\\ud83e\\udd80");
            if is_whole { frame } else { cut }
        });
        let (_upstream, gateway) = start(upstream_dialect, Script::always(Reply::sse(cut))).await;
        for client in DIALECTS
            .into_iter()
            .filter(|client| *client != upstream_dialect)
        {
            let pair = format!("{client} on {upstream_dialect}");
            streamed(&gateway, client, &pair).await;
        }
    }
}

#[tokio::test]
async fn one_dialect_passes_byte_for_byte() {
    for dialect in DIALECTS {
        let expected = match dialect {
            "anthropic" => anthropic::message_body("hé"),
            "gemini" => gemini::answer_body("hé"),
            "openai" => openai::completion_body("hé"),
            _ => r#"{ "id":"resp_1","output":[{"type":"message","content":[{"type":"output_text","text":"hé"}]}],"status":"completed","x":1.50}"#.to_owned(),
        };
        let script = Script::new().others_once([
            Reply::json(200, expected.clone()),
            Reply::sse(frames(dialect)).sliced(5),
        ]);
        let (upstream, gateway) = start(dialect, script).await;
        assert_eq!(
            gateway.send(&request(dialect, false)).await.text(),
            expected,
            "{dialect}"
        );
        let answer = gateway.send(&request(dialect, true)).await;
        assert_eq!(answer.text(), frames(dialect).concat(), "{dialect}");
        let target = upstream.requests()[1].target.clone();
        let path = match dialect {
            "anthropic" => "/v1/messages",
            "gemini" => "/v1beta/models/m1:streamGenerateContent?alt=sse",
            "openai" => "/v1/chat/completions",
            _ => "/v1/responses",
        };
        assert_eq!(target, path);
    }
}

#[tokio::test]
async fn keys_travel_in_the_header_their_vendor_reads() {
    for (dialect, header) in [
        ("anthropic", "x-api-key"),
        ("gemini", "x-goog-api-key"),
        ("openai", "authorization"),
    ] {
        let (upstream, gateway) = start(dialect, Script::always(whole(dialect))).await;
        let sent = request(dialect, false).header("anthropic-beta", "some-beta-2026-01-01");
        assert_eq!(gateway.send(&sent).await.status, 200, "{dialect}");
        let seen = upstream.request();
        let value = seen.header(header).unwrap_or_default();
        assert!(
            value.ends_with(&keys(1)[0]),
            "{dialect}: {:?}",
            seen.headers
        );
        assert!(!seen.target.contains("sk-"), "{dialect}: {}", seen.target);
        if dialect == "anthropic" {
            assert_eq!(seen.header("anthropic-version"), Some("2023-06-01"));
            assert_eq!(seen.header("anthropic-beta"), Some("some-beta-2026-01-01"));
        }
    }
}

#[tokio::test]
async fn geminis_refusal_of_a_key_rotates() {
    let script = Script::new().others_once([gemini::bad_key(), gemini::answer("hi")]);
    let (_upstream, gateway) = start("gemini", script).await;
    let answer = gateway.send(&request("gemini", false)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(gateway.provider("fake").await["ready"], 1);
}

#[tokio::test]
async fn anthropics_overload_before_content_is_hidden() {
    let mut early = anthropic::frames(&[])[..3].to_vec();
    early.push(anthropic::overloaded_frame());
    let script =
        Script::new().others_once([Reply::sse(early), Reply::sse(anthropic::frames(&WORDS))]);
    let (_upstream, gateway) = start("anthropic", script).await;
    let answer = gateway.send(&request("anthropic", true)).await;
    assert_eq!(answer.text(), anthropic::frames(&WORDS).concat());
}

#[tokio::test]
async fn a_break_after_content_is_an_error_in_the_clients_dialect() {
    for upstream_dialect in DIALECTS {
        // Up to the first word: content has gone out, the end has not.
        let kept = match upstream_dialect {
            "anthropic" => 4,
            "gemini" => 1,
            "openai" => 2,
            _ => 5,
        };
        let script = Script::always(Reply::sse(frames(upstream_dialect)[..kept].to_vec()));
        let (_upstream, gateway) = start(upstream_dialect, script).await;
        for client in DIALECTS {
            let pair = format!("{client} on {upstream_dialect}");
            let answer = gateway.send(&request(client, true)).await;
            let text = answer.text();
            assert_eq!(answer.status, 200, "{pair}: {text}");
            assert!(text.contains("\"error\""), "{pair}: {text}");
            assert!(!text.contains(proper_end(client)), "{pair}: {text}");
        }
    }
}

#[tokio::test]
async fn errors_speak_the_clients_dialect() {
    let config = "[server]\napi_keys = [\"client-key-0123456789\"]\n";
    let gateway = Gateway::start(config).await;
    let refused = gateway.send(&request("anthropic", false)).await;
    assert_eq!(refused.status, 401);
    assert_eq!(refused.json()["type"], "error");
    assert_eq!(refused.json()["error"]["type"], "authentication_error");
    let refused = gateway.send(&request("gemini", false)).await;
    assert_eq!(refused.status, 401);
    assert_eq!(refused.json()["error"]["code"], 401);
    assert_eq!(refused.json()["error"]["status"], "UNAUTHENTICATED");
    let query = "/v1beta/models/nosuch/m1:generateContent?key=client-key-0123456789";
    let unknown = gateway
        .send(&Request::post(query, "{\"contents\":[]}"))
        .await;
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.json()["error"]["status"], "NOT_FOUND");
    let body = r#"{"model":"nosuch/m1","max_tokens":5,"messages":[]}"#;
    let unknown = Request::post("/v1/messages", body).header("x-api-key", "client-key-0123456789");
    let unknown = gateway.send(&unknown).await;
    assert_eq!(
        (unknown.status, &unknown.json()["error"]["type"]),
        (404, &"not_found_error".into())
    );
}
