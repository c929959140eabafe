//! What clients' own libraries and agents do on the wire that nobody would write by hand: paths,
//! headers they look for, members they add. The libraries themselves are run by `tests/sdk`.

use serde_json::{Value, json};

use crate::client::{Request, Response};
use crate::dialects::{DIALECTS, frames, request, whole};
use crate::fake::reply::Reply;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::harness::{Gateway, keys};

async fn start(dialect: &str, script: Script) -> (Upstream, Gateway) {
    let upstream = Upstream::start(script).await;
    let base = match dialect {
        "anthropic" | "gemini" => upstream.origin(),
        _ => upstream.base_url(),
    };
    let gateway = Gateway::start(&format!(
        "[providers.fake]\nkind = \"{dialect}\"\nbase_url = \"{base}\"\napi_keys = {:?}\n",
        keys(1)
    ))
    .await;
    (upstream, gateway)
}

/// Vercel's and `LangChain`'s clients of Google take a name with a slash for a whole path.
#[tokio::test]
async fn a_gemini_path_may_name_the_provider_without_the_word_models() {
    let script = Script::new().others_once([whole("openai"), Reply::sse(frames("openai"))]);
    let (upstream, gateway) = start("openai", script).await;
    let body = r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#;
    for verb in ["generateContent", "streamGenerateContent?alt=sse"] {
        let target = format!("/v1beta/fake/m1:{verb}");
        let answer = gateway.send(&Request::post(&target, body)).await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        assert!(answer.text().contains("\"STOP\""), "{}", answer.text());
    }
    assert!(
        upstream
            .requests()
            .iter()
            .all(|sent| sent.text().contains(r#""model":"m1""#))
    );
    let answer = gateway
        .send(&Request::post("/v1beta/fake/m1:frobnicate", body))
        .await;
    assert_eq!(answer.status, 404);
}

/// Anthropic's SDKs show the id of a request to their users, and read it from `request-id` only.
#[tokio::test]
async fn anthropics_clients_find_the_requests_id_where_they_look() {
    let ids = |answer: &Response| {
        let of = |name| answer.header(name).map(ToOwned::to_owned);
        (of("request-id"), of("x-request-id"))
    };
    for dialect in DIALECTS {
        let script = Script::new().others_once([whole(dialect), Reply::sse(frames(dialect))]);
        let (_upstream, gateway) = start(dialect, script).await;
        for stream in [false, true] {
            let answer = gateway.send(&request("anthropic", stream)).await;
            let (named, id) = ids(&answer);
            assert!(answer.status == 200 && id.is_some(), "{dialect}");
            assert_eq!(named, id, "{dialect}, stream: {stream}");
        }
        let refused = gateway
            .send(&request("anthropic", false).for_model("nobody/m1"))
            .await;
        let (named, id) = ids(&refused);
        assert_eq!((refused.status, named), (404, id), "{dialect}");
    }
}

#[tokio::test]
async fn a_vendors_own_id_of_a_request_stays() {
    let answer = whole("anthropic").header("request-id", "req_vendor");
    let (_upstream, gateway) = start("anthropic", Script::always(answer)).await;
    let answer = gateway.send(&request("anthropic", false)).await;
    assert_eq!(answer.header("request-id"), Some("req_vendor"));
    assert_ne!(answer.header("x-request-id"), Some("req_vendor"));
}

/// Codex tells OpenAI which turn of which installation asks. Other vendors refuse the member, and
/// have no business with it.
#[tokio::test]
async fn what_codex_tells_of_itself_stays_behind() {
    let body = json!({
        "model": "fake/m1", "input": "hi", "store": false,
        "client_metadata": {"x-codex-installation-id": "installation"},
    });
    for dialect in DIALECTS {
        let (upstream, gateway) = start(dialect, Script::always(whole(dialect))).await;
        let answer = gateway
            .send(&Request::post("/v1/responses", body.to_string()))
            .await;
        assert_eq!(answer.status, 200, "{dialect}: {}", answer.text());
        let is_told = upstream.request().text().contains("installation");
        assert_eq!(is_told, dialect == "openai_responses", "{dialect}");
    }
}

/// `LangChain`'s client of Anthropic reads the input's tokens nowhere else.
#[tokio::test]
async fn an_anthropic_stream_begins_with_the_inputs_tokens_where_they_are_known() {
    for dialect in ["anthropic", "gemini"] {
        let script = Script::always(Reply::sse(frames(dialect)));
        let (_upstream, gateway) = start(dialect, script).await;
        let answer = gateway.send(&request("anthropic", true)).await.text();
        let first = answer
            .lines()
            .find_map(|line| line.strip_prefix("data: "))
            .and_then(|data| serde_json::from_str::<Value>(data).ok())
            .unwrap_or_default();
        assert_eq!(first["type"], "message_start", "{answer}");
        let usage = &first["message"]["usage"];
        assert_eq!(usage["input_tokens"], 11, "{answer}");
        // It adds what the end says of the output.
        assert!(usage["output_tokens"].as_u64() < Some(7), "{answer}");
    }
}

/// OpenAI's helper that takes up a stream again, of which nothing is kept here.
#[tokio::test]
async fn a_kept_response_is_not_streamed_again() {
    let (_upstream, gateway) = start("openai", Script::always(whole("openai"))).await;
    let made = gateway.send(&request("openai_responses", false)).await;
    let id = made.json()["id"].as_str().unwrap_or_default().to_owned();
    let kept = |query: &str| Request::get(&format!("/v1/responses/{id}{query}"));
    let answer = gateway.send(&kept("?stream=true")).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(answer.json()["error"]["param"], "stream");
    for query in ["", "?stream=false"] {
        assert_eq!(gateway.send(&kept(query)).await.status, 200, "{query}");
    }
}

/// Files, batches and the like are kept by one account of one vendor: nothing that any of many keys
/// could answer. Each SDK is told so in its own words.
#[tokio::test]
async fn what_is_not_served_is_said_in_the_words_of_each_sdk() {
    let gateway = Gateway::start("").await;
    for (path, header, kind) in [
        ("/v1/files", None, "/error/type"),
        (
            "/v1/files",
            Some(("anthropic-version", "2023-06-01")),
            "/error/details/error_code",
        ),
        (
            "/upload/v1/files",
            Some(("x-goog-api-key", "any")),
            "/error/status",
        ),
    ] {
        let request = Request::post(path, "{}");
        let request = match header {
            Some((name, value)) => request.header(name, value),
            None => request,
        };
        let answer = gateway.send(&request).await;
        assert_eq!(answer.status, 404, "{path}");
        let error: Value = serde_json::from_str(&answer.text()).expect("JSON");
        let text = error.pointer("/error/message").and_then(Value::as_str);
        assert!(
            text.is_some_and(|text| text.contains("ask the vendor")),
            "{error}"
        );
        assert!(error.pointer(kind).is_some(), "{error}");
    }
}
