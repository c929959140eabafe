//! The error table of the contract: which case gets which status, type and code.

use crate::client::{CHAT, Request, Response};
use crate::fake::openai;
use crate::fake::reply::{Gate, Reply};
use crate::fake::script::Script;
use crate::harness::{Gateway, pair};

/// Keeps a test of hopeless waits short.
const IMPATIENT: &str = "[routing]\ndeadline = \"300ms\"\n";

#[track_caller]
fn assert_error(answer: &Response, status: u16, kind: &str, code: &str) {
    let got = (answer.status, answer.error());
    assert_eq!(
        got,
        (status, (kind.to_owned(), code.to_owned())),
        "{}",
        answer.text()
    );
    assert!(answer.message().len() > 10, "a sentence: {}", answer.text());
    assert!(answer.header("x-request-id").is_some());
}

fn retry_after(answer: &Response) -> u64 {
    let value = answer.header("retry-after").expect("retry-after");
    value.parse().expect("whole seconds")
}

#[tokio::test]
async fn what_the_upstream_calls_a_bad_request_comes_back_at_once() {
    for status in [400, 404, 413, 422] {
        let said = openai::error(
            status,
            "invalid_request_error",
            "bad_thing",
            "You sent a bad thing",
        );
        let script = Script::new().others_once([said, openai::completion("hi")]);
        let (upstream, gateway) = pair(script, 2, "").await;
        let answer = gateway.chat(CHAT).await;
        assert_eq!(answer.status, status);
        assert!(
            answer.message().contains("You sent a bad thing"),
            "{}",
            answer.text()
        );
        assert_eq!(upstream.requests().len(), 1, "{status} was repeated");
        // No harm to the key: it is the one that serves next.
        assert_eq!(gateway.provider("fake").await["ready"], 2);
        assert_eq!(gateway.chat(CHAT).await.status, 200);
        assert_eq!(upstream.requests()[0].key, upstream.requests()[1].key);
    }
}

#[tokio::test]
async fn a_known_provider_without_a_key_is_503_no_credentials() {
    let gateway = Gateway::start("").await;
    let answer = gateway
        .chat(&CHAT.replace("fake/m1", "groq/llama-3.3-70b"))
        .await;
    assert_error(&answer, 503, "provider_error", "no_credentials");
    assert!(answer.message().contains("groq"), "{}", answer.message());
}

#[tokio::test]
async fn keys_that_are_all_refused_are_503_not_401() {
    for refusal in [openai::bad_key(), openai::no_money()] {
        let (upstream, gateway) = pair(Script::always(refusal), 2, IMPATIENT).await;
        let answer = gateway.chat(CHAT).await;
        assert_error(&answer, 503, "provider_error", "credentials_refused");
        assert!((1..=2).all(|number| upstream.calls(&crate::fake::key(&number.to_string())) > 0));
    }
}

#[tokio::test]
async fn keys_that_all_cool_are_429_with_the_soonest_end() {
    let script = Script::new().others_once([
        openai::rate_limited().header("retry-after", "50"),
        openai::rate_limited().header("retry-after", "40"),
    ]);
    let (upstream, gateway) = pair(script, 2, IMPATIENT).await;
    for _ in 0..3 {
        let answer = gateway.chat(CHAT).await;
        assert_error(&answer, 429, "rate_limit_error", "all_credentials_cooling");
        assert!(
            (35..=45).contains(&retry_after(&answer)),
            "{:?}",
            answer.headers
        );
    }
    assert_eq!(upstream.requests().len(), 2, "a cooling key was used");
    let row = gateway.provider("fake").await;
    assert_eq!((&row["ready"], &row["cooling"]), (&0.into(), &2.into()));
    assert_eq!(gateway.get("/health").await.status, 503);
}

#[tokio::test]
async fn the_wait_named_is_the_quotas_end_not_the_probe() {
    let far = openai::rate_limited().header("retry-after", "7200");
    let (_upstream, gateway) = pair(Script::new().others_once([far]), 1, IMPATIENT).await;
    let answer = gateway.chat(CHAT).await;
    assert_error(&answer, 429, "rate_limit_error", "all_credentials_cooling");
    assert!(
        (7190..=7210).contains(&retry_after(&answer)),
        "{:?}",
        answer.headers
    );
}

#[tokio::test]
async fn busy_keys_are_429_all_credentials_busy() {
    let gate = Gate::new();
    let script = Script::always(openai::completion("hi").gated(&gate));
    let one = format!("max_concurrent_per_key = 1\n{IMPATIENT}");
    let (upstream, gateway) = pair(script, 1, &one).await;
    let mut first = gateway.connect().await;
    first.send(&Request::chat(CHAT)).await;
    upstream.asked(1).await;
    let answer = gateway.chat(CHAT).await;
    assert_error(&answer, 429, "rate_limit_error", "all_credentials_busy");
    assert_eq!(answer.header("retry-after"), Some("1"));
    gate.open(1);
    assert_eq!(first.response().await.status, 200);
}

#[tokio::test]
async fn a_waiting_request_gets_the_slot_that_comes_free() {
    let gate = Gate::new();
    let script = Script::always(openai::completion("hi").gated(&gate));
    let (upstream, gateway) = pair(script, 1, "max_concurrent_per_key = 1\n").await;
    let mut first = gateway.connect().await;
    first.send(&Request::chat(CHAT)).await;
    upstream.asked(1).await;
    let mut second = gateway.connect().await;
    second.send(&Request::chat(CHAT)).await;
    gate.open(2);
    assert_eq!(first.response().await.status, 200);
    assert_eq!(second.response().await.status, 200);
}

#[tokio::test]
async fn an_upstream_that_is_always_broken_is_502() {
    for fault in [
        openai::broken(),
        Reply::reset(),
        Reply::text(200, "text/html", "<html>hi</html>"),
    ] {
        let (upstream, gateway) = pair(Script::always(fault), 2, "").await;
        let answer = gateway.chat(CHAT).await;
        assert_error(&answer, 502, "provider_error", "upstream_error");
        assert!(answer.message().contains("fake"), "{}", answer.message());
        assert!(!answer.text().contains("<html>"), "{}", answer.text());
        let attempts = upstream.requests().len();
        assert!((2..=8).contains(&attempts), "{attempts} attempts");
    }
}

#[tokio::test]
async fn an_upstream_that_never_answers_is_504() {
    let settings = "[timeouts]\nfirst_byte = \"100ms\"\n[routing]\nmax_attempts = 2\n";
    let (_upstream, gateway) = pair(Script::always(Reply::silence()), 1, settings).await;
    let answer = gateway.chat(CHAT).await;
    assert_error(&answer, 504, "provider_error", "upstream_timeout");
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_502() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let config = format!(
        "[providers.fake]\nkind = \"openai\"\nbase_url = \"http://{address}/v1\"\napi_keys = [\"none\"]\n"
    );
    let gateway = Gateway::start(&config).await;
    let answer = gateway.chat(CHAT).await;
    assert_error(&answer, 502, "provider_error", "upstream_error");
}

#[tokio::test]
async fn a_filtered_model_is_404_in_calls_as_in_lists() {
    let script = Script::always(openai::completion("hi")).models(["m1", "m1-preview", "x1"]);
    let filters = "ignore_models = [\"*-preview*\", \"x*\"]\nallow_models = [\"x1\"]\n";
    let (upstream, gateway) = pair(script, 1, filters).await;
    let answer = gateway.chat(&CHAT.replace("m1", "m1-preview")).await;
    assert_error(&answer, 404, "invalid_request_error", "model_not_found");
    assert_eq!(gateway.chat(&CHAT.replace("m1", "x1")).await.status, 200);
    assert_eq!(gateway.chat(CHAT).await.status, 200);
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn a_client_is_held_to_its_models_and_its_rate() {
    let settings = concat!(
        "[[server.clients]]\nname = \"laptop\"\nkey = \"laptop-key-0123456789\"\n",
        "models = [\"fake/m*\"]\nrpm = 2\n"
    );
    let (_upstream, gateway) = pair(Script::always(openai::completion("hi")), 1, settings).await;
    let ask = |model: &str| {
        let body = CHAT.replace("fake/m1", model);
        Request::chat(&body).header("authorization", "Bearer laptop-key-0123456789")
    };
    let forbidden = gateway.send(&ask("fake/other")).await;
    assert_error(&forbidden, 403, "permission_error", "model_not_allowed");
    let mut last = None;
    for _ in 0..3 {
        last = Some(gateway.send(&ask("fake/m1")).await);
    }
    let last = last.expect("three were sent");
    assert_error(&last, 429, "rate_limit_error", "client_rate_limited");
    assert!((1..=60).contains(&retry_after(&last)));
}

#[tokio::test]
async fn a_key_that_the_upstream_repeats_is_cut_out() {
    for status in [400, 401, 500] {
        let script = Script::new().answer(move |request| {
            let key = request.key.clone().unwrap_or_default();
            let message = format!("Incorrect API key provided: {key}. Or Bearer {key}!");
            openai::error(status, "invalid_request_error", "odd", &message)
        });
        let (_upstream, gateway) = pair(script, 1, IMPATIENT).await;
        // The client of these tests refuses any answer that holds an upstream key.
        let answer = gateway.chat(CHAT).await;
        assert!(answer.status >= 400);
    }
}
