//! `previous_response_id` on an upstream that keeps nothing: the gateway holds the conversation.

use serde_json::{Value, json};

use crate::client::{Request, Response};
use crate::fake::reply::Reply;
use crate::fake::script::Script;
use crate::fake::upstream::{Recorded, Upstream};
use crate::fake::{openai, responses};
use crate::harness::{Gateway, keys, pair};

/// Two clients whose requests [`by`] makes.
pub(crate) const CLIENTS: &str = r#"
[[server.clients]]
name = "one"
key = "client-one-0123456789"

[[server.clients]]
name = "two"
key = "client-two-0123456789"
"#;

/// Answers whole or as a stream, as asked.
pub(crate) fn chat() -> Script {
    Script::new().answer(|request: &Recorded| {
        if request.text().contains(r#""stream":true"#) {
            openai::stream(&["blue", " sky"])
        } else {
            openai::completion("blue sky")
        }
    })
}

/// The request as one of the [`CLIENTS`] sends it.
pub(crate) fn by(client: &str, request: Request) -> Request {
    request.header(
        "authorization",
        &format!("Bearer client-{client}-0123456789"),
    )
}

pub(crate) fn ask(client: &str, body: &Value) -> Request {
    by(client, Request::post("/v1/responses", body.to_string()))
}

fn first(stream: bool) -> Value {
    json!({"model": "fake/m1", "stream": stream, "instructions": "be brief", "input": "what is up?"})
}

fn next(previous: &str, stream: bool) -> Value {
    json!({"model": "fake/m1", "stream": stream, "previous_response_id": previous,
        "input": [{"role": "user", "content": "and down?"}]})
}

/// The id in a whole answer, or in the event that ends a stream.
pub(crate) fn id_of(answer: &Response) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = answer.text();
    let mut lines = text.lines().rev();
    let response: Value = match lines.find_map(|line| line.strip_prefix("data: ")) {
        Some(event) => serde_json::from_str::<Value>(event).expect("JSON")["response"].clone(),
        None => answer.json(),
    };
    response["id"].as_str().expect("an id").to_owned()
}

/// Role and text of each message that the upstream was sent last.
fn last_sent(upstream: &Upstream) -> Vec<(String, String)> {
    let sent = upstream.requests().pop().expect("a request");
    let sent: Value = serde_json::from_slice(&sent.body).expect("JSON");
    assert!(sent.get("previous_response_id").is_none(), "{sent}");
    let messages = sent["messages"].as_array().expect("messages").iter();
    let text = |message: &Value| match &message["content"] {
        Value::String(text) => text.clone(),
        parts => parts[0]["text"].as_str().unwrap_or_default().to_owned(),
    };
    messages
        .map(|message| {
            (
                message["role"].as_str().unwrap_or_default().to_owned(),
                text(message),
            )
        })
        .collect()
}

fn assert_not_found(answer: &Response) {
    assert_eq!(answer.status, 400, "{}", answer.text());
    let error = &answer.json()["error"];
    assert_eq!(error["code"], "previous_response_not_found");
    assert_eq!(error["param"], "previous_response_id");
}

#[tokio::test]
async fn a_conversation_goes_on_from_a_response_of_either_form() {
    let (upstream, gateway) = pair(chat(), 1, CLIENTS).await;
    for stream in [false, true] {
        let id = id_of(&gateway.send(&ask("one", &first(stream))).await);
        let second = gateway.send(&ask("one", &next(&id, stream))).await;
        let turn = |role: &str, text: &str| (role.to_owned(), text.to_owned());
        // Instructions are not inherited.
        let two_turns = [
            turn("user", "what is up?"),
            turn("assistant", "blue sky"),
            turn("user", "and down?"),
        ];
        assert_eq!(last_sent(&upstream), two_turns, "stream: {stream}");
        let third = gateway
            .send(&ask("one", &next(&id_of(&second), !stream)))
            .await;
        assert_eq!(third.status, 200, "{}", third.text());
        let three_turns = [turn("assistant", "blue sky"), turn("user", "and down?")];
        assert_eq!(
            last_sent(&upstream),
            [&two_turns[..], &three_turns].concat()
        );
    }
}

#[tokio::test]
async fn a_response_of_another_client_or_of_nobody_is_not_found() {
    let (upstream, gateway) = pair(chat(), 1, CLIENTS).await;
    let id = id_of(&gateway.send(&ask("one", &first(false))).await);
    assert_not_found(&gateway.send(&ask("two", &next(&id, false))).await);
    assert_not_found(&gateway.send(&ask("one", &next("resp_none", true))).await);
    assert_eq!(upstream.requests().len(), 1);
    assert_eq!(
        gateway.send(&ask("one", &next(&id, false))).await.status,
        200
    );
}

#[tokio::test]
async fn what_is_not_to_be_stored_or_was_cut_off_cannot_be_gone_on_from() {
    let cut = Reply::sse([openai::role(), openai::content("blue")]);
    let script = Script::new().others_once([openai::completion("blue sky"), cut]);
    let (_upstream, gateway) = pair(script, 1, CLIENTS).await;
    let mut unstored = first(false);
    unstored["store"] = false.into();
    let id = id_of(&gateway.send(&ask("one", &unstored)).await);
    assert_not_found(&gateway.send(&ask("one", &next(&id, false))).await);
    let failed = gateway.send(&ask("one", &first(true))).await;
    assert!(
        failed.text().contains("event: response.failed"),
        "{}",
        failed.text()
    );
    assert_not_found(
        &gateway
            .send(&ask("one", &next(&id_of(&failed), false)))
            .await,
    );
}

#[tokio::test]
async fn an_upstream_that_speaks_responses_is_asked_for_its_own() {
    let upstream = Upstream::start(Script::always(responses::response("hi"))).await;
    let gateway = Gateway::start(&format!(
        "[providers.fake]\nkind = \"openai_responses\"\nbase_url = \"{}\"\napi_keys = {:?}\n{CLIENTS}",
        upstream.base_url(),
        keys(1)
    ))
    .await;
    let answer = gateway.send(&ask("one", &next("resp_theirs", false))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let sent = upstream.request().text();
    assert!(
        sent.contains(r#""previous_response_id":"resp_theirs""#),
        "{sent}"
    );
}

#[tokio::test]
async fn jobs_and_stored_prompts_are_refused_only_where_nobody_knows_them() {
    let members = [
        ("background", json!(true)),
        ("conversation", json!("conv_1")),
        ("prompt", json!({"id": "pmpt_1"})),
    ];
    let (translated, gateway) = pair(chat(), 1, CLIENTS).await;
    let native = Upstream::start(Script::always(responses::response("hi"))).await;
    let open = Gateway::start(&format!(
        "[providers.fake]\nkind = \"openai_responses\"\nbase_url = \"{}\"\napi_keys = {:?}\n",
        native.base_url(),
        keys(1)
    ))
    .await;
    for (name, value) in members {
        let mut body = first(false);
        body[name] = value;
        let refused = gateway.send(&ask("one", &body)).await;
        assert_eq!(refused.status, 400, "{name}: {}", refused.text());
        assert_eq!(refused.json()["error"]["param"], name);
        let served = open
            .send(&Request::post("/v1/responses", body.to_string()))
            .await;
        assert_eq!(served.status, 200, "{name}: {}", served.text());
    }
    assert_eq!(translated.requests().len(), 0);
}

/// The status and the document at an address, for one of the two clients.
async fn look(gateway: &Gateway, client: &str, method: &str, target: &str) -> (u16, Value) {
    let request = Request::new(method, target).header(
        "authorization",
        &format!("Bearer client-{client}-0123456789"),
    );
    let answer = gateway.send(&request).await;
    (answer.status, answer.json())
}

#[tokio::test]
async fn a_kept_response_can_be_looked_at_and_deleted_by_its_client_only() {
    let (_upstream, gateway) = pair(chat(), 1, CLIENTS).await;
    for stream in [false, true] {
        let answer = gateway.send(&ask("one", &first(stream))).await;
        let id = id_of(&answer);
        let at = format!("/v1/responses/{id}");
        let (status, kept) = look(&gateway, "one", "GET", &at).await;
        assert_eq!((status, &kept["id"]), (200, &json!(id)));
        assert_eq!(kept["output"][0]["content"][0]["text"], "blue sky");
        if !stream {
            assert_eq!(kept, answer.json());
        }
        let (status, error) = look(&gateway, "two", "GET", &at).await;
        assert_eq!(
            (status, &error["error"]["type"]),
            (404, &json!("invalid_request_error"))
        );
        assert_eq!(look(&gateway, "two", "DELETE", &at).await.0, 404);
        let (status, gone) = look(&gateway, "one", "DELETE", &at).await;
        let deleted = json!({"id": id, "object": "response", "deleted": true});
        assert_eq!((status, gone), (200, deleted));
        assert_eq!(look(&gateway, "one", "GET", &at).await.0, 404);
        assert_not_found(&gateway.send(&ask("one", &next(&id, false))).await);
    }
}

#[tokio::test]
async fn a_response_names_the_one_it_went_on_from_and_lists_what_it_was_given() {
    let (_upstream, gateway) = pair(chat(), 1, CLIENTS).await;
    let id = id_of(&gateway.send(&ask("one", &first(false))).await);
    let second = gateway.send(&ask("one", &next(&id, false))).await;
    assert_eq!(second.json()["previous_response_id"], json!(id));
    let streamed = gateway.send(&ask("one", &next(&id, true))).await;
    let named = format!(r#""previous_response_id":"{id}""#);
    assert!(streamed.text().contains(&named), "{}", streamed.text());

    let at = format!("/v1/responses/{}/input_items", id_of(&second));
    let (status, list) = look(&gateway, "one", "GET", &format!("{at}?order=asc&limit=2")).await;
    assert_eq!(
        (status, &list["object"], &list["has_more"]),
        (200, &json!("list"), &json!(true))
    );
    let texts = |list: &Value| -> Vec<String> {
        let items = list["data"].as_array().expect("items").iter();
        items
            .map(|item| {
                item["content"][0]["text"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            })
            .collect()
    };
    assert_eq!(texts(&list), ["what is up?", "blue sky"]);
    let after = list["last_id"].as_str().expect("an id");
    let (_, rest) = look(
        &gateway,
        "one",
        "GET",
        &format!("{at}?order=asc&after={after}"),
    )
    .await;
    assert_eq!(
        (texts(&rest), &rest["has_more"]),
        (vec!["and down?".to_owned()], &json!(false))
    );
    let (_, newest) = look(&gateway, "one", "GET", &at).await;
    assert_eq!(texts(&newest), ["and down?", "blue sky", "what is up?"]);
    assert_eq!(look(&gateway, "two", "GET", &at).await.0, 404);
    assert_eq!(
        look(&gateway, "one", "GET", &format!("{at}?limit=0"))
            .await
            .0,
        400
    );
}

#[tokio::test]
async fn a_native_stream_that_is_cut_fails_in_sequence() {
    let frames = responses::frames(&["blue", " sky"]);
    let cut: Vec<String> = frames.iter().take(frames.len() - 1).cloned().collect();
    let upstream = Upstream::start(Script::always(Reply::sse(cut))).await;
    let gateway = Gateway::start(&format!(
        "[providers.fake]\nkind = \"openai_responses\"\nbase_url = \"{}\"\napi_keys = {:?}\n",
        upstream.base_url(),
        keys(1)
    ))
    .await;
    let body = first(true).to_string();
    let answer = gateway.send(&Request::post("/v1/responses", body)).await;
    let text = answer.text();
    let events: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).expect("JSON"))
        .collect();
    let [.., before, last] = events.as_slice() else {
        panic!("{text}")
    };
    assert_eq!(last["type"], "response.failed", "{text}");
    assert_eq!(last["response"]["status"], "failed");
    assert_eq!(last["response"]["error"]["code"], "server_error");
    assert_eq!(last["response"]["id"], events[0]["response"]["id"]);
    let number = |event: &Value| event["sequence_number"].as_u64().expect("a number");
    assert_eq!(number(last), number(before) + 1, "{text}");
}
