//! A request that meets no trouble: what reaches the upstream, what comes back.

use crate::client::{CHAT, Request, STREAM};
use crate::fake::openai;
use crate::fake::reply::Reply;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::harness::{Gateway, keys, pair, provider};

#[tokio::test]
async fn the_body_passes_byte_for_byte_but_for_the_model() {
    let (upstream, gateway) = pair(Script::always(openai::completion("hi")), 1, "").await;
    let odd = concat!(
        "{ \"x_unknown\" : [1.50, 1e3,-0.0],\r\n\t\"model\" :\"fake/m1\" , ",
        r#""big":123456789012345678901234567890,"messages":[{"role":"user","content":"h\u00e9 \ud83e\udd80 fake/m1"}],"#,
        r#""a":null,"a":1 , "stream":false}"#
    );
    let answer = gateway.chat(odd).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(upstream.request().text(), odd.replacen("fake/m1", "m1", 1));
    assert_eq!(upstream.request().target, "/v1/chat/completions");
}

#[tokio::test]
async fn the_answer_passes_byte_for_byte() {
    let (_upstream, gateway) = pair(Script::always(openai::completion("hé 🦀")), 1, "").await;
    let answer = gateway.chat(CHAT).await;
    assert_eq!(answer.text(), openai::completion_body("hé 🦀"));
    assert!(answer.complete);
}

#[tokio::test]
async fn a_stream_passes_byte_for_byte() {
    let (upstream, gateway) = pair(Script::always(openai::stream(&["h", "é", "🦀"])), 1, "").await;
    let answer = gateway.chat(STREAM).await;
    assert_eq!(answer.text(), openai::frames(&["h", "é", "🦀"]).concat());
    assert!(answer.complete);
    let content_type = answer.header("content-type").unwrap_or_default();
    assert!(
        content_type.starts_with("text/event-stream"),
        "{content_type}"
    );
    assert_eq!(
        upstream.request().text(),
        STREAM.replacen("fake/m1", "m1", 1)
    );
}

#[tokio::test]
async fn an_answer_says_who_served_it() {
    let (_upstream, gateway) = pair(Script::always(openai::completion("hi")), 1, "").await;
    for body in [CHAT, CHAT] {
        let answer = gateway.chat(body).await;
        assert_eq!(answer.header("x-llmproxy-provider"), Some("fake"));
        assert_eq!(answer.header("x-llmproxy-credential"), Some("fake/1"));
        assert_eq!(answer.header("x-llmproxy-attempts"), Some("1"));
        assert_eq!(answer.header("x-llmproxy-dropped"), None);
        assert_eq!(answer.header("x-request-id").map(str::len), Some(32));
    }
}

#[tokio::test]
async fn debug_headers_can_be_switched_off() {
    let off = "[server]\ndebug_headers = false\n";
    let (_upstream, gateway) = pair(Script::always(openai::completion("hi")), 1, off).await;
    let answer = gateway.chat(CHAT).await;
    let ours = |(name, _): &&(String, String)| name.starts_with("x-llmproxy");
    assert_eq!(answer.headers.iter().find(ours), None);
    assert!(answer.header("x-request-id").is_some());
}

#[tokio::test]
async fn only_the_upstreams_own_key_reaches_it() {
    let settings = "[server]\napi_keys = [\"client-secret-0123456789\"]\n";
    let (upstream, gateway) = pair(Script::always(openai::completion("hi")), 1, settings).await;
    let request = Request::chat(CHAT)
        .header("authorization", "Bearer client-secret-0123456789")
        .header("cookie", "session=1")
        .header("x-forwarded-for", "10.0.0.1")
        .header("proxy-authorization", "Basic abc")
        .header("x-hop", "1")
        .header("connection", "keep-alive, x-hop")
        .header("te", "trailers");
    assert_eq!(gateway.send(&request).await.status, 200);
    let seen = upstream.request();
    let authorisations: Vec<_> = seen
        .headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("authorization"))
        .map(|(_, value)| value.clone())
        .collect();
    assert_eq!(authorisations, [format!("Bearer {}", keys(1)[0])]);
    for kept_back in [
        "cookie",
        "x-forwarded-for",
        "proxy-authorization",
        "x-hop",
        "te",
    ] {
        assert_eq!(seen.header(kept_back), None, "{kept_back}");
    }
    let everything = format!("{:?} {}", seen.headers, seen.text());
    assert!(!everything.contains("client-secret"), "{everything}");
    assert_eq!(seen.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn only_harmless_upstream_headers_reach_the_client() {
    let reply = openai::completion("hi")
        .header("x-ratelimit-remaining-requests", "41")
        .header("set-cookie", "a=b")
        .header("www-authenticate", "Bearer")
        .header("authorization", "Bearer nonsense")
        .header("keep-alive", "timeout=5")
        .header("access-control-allow-origin", "*");
    let (_upstream, gateway) = pair(Script::always(reply), 1, "").await;
    let answer = gateway.chat(CHAT).await;
    assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some("41"));
    for kept_back in [
        "set-cookie",
        "www-authenticate",
        "authorization",
        "keep-alive",
        "access-control-allow-origin",
    ] {
        assert_eq!(answer.header(kept_back), None, "{kept_back}");
    }
}

#[tokio::test]
async fn completions_and_embeddings_go_to_their_own_paths() {
    let body = r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.10,-2e-3]}],"model":"m1","usage":{"prompt_tokens":1,"total_tokens":1}}"#;
    let legacy = r#"{"id":"cmpl-1","object":"text_completion","created":1,"model":"m1","choices":[{"text":"hi","index":0,"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;
    for (path, request, reply) in [
        (
            "/v1/embeddings",
            r#"{"model":"fake/m1","input":["a"]}"#,
            body,
        ),
        (
            "/v1/completions",
            r#"{"model":"fake/m1","prompt":"a"}"#,
            legacy,
        ),
    ] {
        let (upstream, gateway) = pair(Script::always(Reply::json(200, reply)), 1, "").await;
        let answer = gateway.send(&Request::post(path, request)).await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, reply),
            "{path}"
        );
        assert_eq!(upstream.request().target, path);
        assert_eq!(
            upstream.request().text(),
            request.replacen("fake/m1", "m1", 1)
        );
    }
}

#[tokio::test]
async fn one_connection_serves_request_after_request() {
    let (upstream, gateway) = pair(Script::always(openai::completion("hi")), 1, "").await;
    let mut connection = gateway.connect().await;
    for _ in 0..5 {
        connection.send(&Request::chat(CHAT)).await;
        assert_eq!(connection.response().await.status, 200);
    }
    assert_eq!(upstream.requests().len(), 5);
    // One for the chats, at most one more for the model list.
    assert!(
        upstream.connections() <= 2,
        "{} connections",
        upstream.connections()
    );
}

#[tokio::test]
async fn what_the_config_adds_reaches_the_upstream() {
    let settings = "headers = { \"x-team\" = \"blue\" }\nextra_body = { seed = 7 }\n";
    let (upstream, gateway) = pair(Script::always(openai::completion("hi")), 1, settings).await;
    assert_eq!(gateway.chat(CHAT).await.status, 200);
    let seen = upstream.request();
    assert_eq!(seen.header("x-team"), Some("blue"));
    let body: serde_json::Value = serde_json::from_slice(&seen.body).expect("JSON");
    assert_eq!((&body["seed"], &body["model"]), (&7.into(), &"m1".into()));
}

#[tokio::test]
async fn a_bare_model_name_finds_its_only_provider() {
    let (upstream, gateway) = pair(Script::always(openai::completion("hi")), 1, "").await;
    // The list must have been read: ask for it first, as clients do.
    let listed = gateway.get("/v1/models").await;
    assert_eq!(listed.status, 200);
    let answer = gateway.chat(&CHAT.replace("fake/m1", "m1")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(upstream.request().text().contains(r#""model":"m1""#));
}

#[tokio::test]
async fn an_alias_falls_over_to_its_next_target() {
    let refusing = Upstream::start(Script::always(openai::bad_key())).await;
    let serving = Upstream::start(Script::always(openai::completion("hi"))).await;
    let config = [
        provider("first", &refusing, &keys(1)),
        provider("second", &serving, &keys(1)),
        "[models.smart]\ntargets = [\"first/m1\", \"second/m2\"]\n".to_owned(),
    ];
    let gateway = Gateway::start(&config.concat()).await;
    let answer = gateway.chat(&CHAT.replace("fake/m1", "smart")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-llmproxy-provider"), Some("second"));
    assert_eq!(answer.header("x-llmproxy-attempts"), Some("2"));
    assert!(serving.request().text().contains(r#""model":"m2""#));
}
