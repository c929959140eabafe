//! The cases that say what becomes of a key: how long it rests, and what a key test makes of it.

use serde_json::{Value, json};

use crate::client::Request;
use crate::fake::openai;
use crate::fake::reply::Reply;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::harness::{Gateway, Home, keys};

/// The config of a vendor of ours that is asked at the fake.
fn vendor(name: &str, upstream: &Upstream) -> String {
    let base = match name {
        "anthropic" | "gemini" => upstream.origin(),
        _ => upstream.base_url(),
    };
    format!(
        "[routing]\ndeadline = \"300ms\"\n[providers.{name}]\nbase_url = \"{base}\"\napi_keys = {:?}\n",
        keys(1)
    )
}

/// A chat of a model of this vendor, and what is then known of the key.
async fn refused(name: &str, model: &str, reply: Reply, state: &str) -> (u16, Value, Gateway) {
    let upstream = Upstream::start(Script::always(reply)).await;
    let gateway = Gateway::start(&vendor(name, &upstream)).await;
    let body = json!({"model": format!("{name}/{model}"), "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}]});
    let answer = gateway.send(&Request::chat(&body.to_string())).await;
    let row = gateway.listed(&format!("{name}/1"), state).await;
    (answer.status, row, gateway)
}

fn seconds_from_now(row: &Value) -> i64 {
    let until: jiff::Timestamp = row["cooling_until"]
        .as_str()
        .expect("an end")
        .parse()
        .expect("RFC 3339");
    until.as_second() - jiff::Timestamp::now().as_second()
}

fn quota(id: &str, message: &str) -> Reply {
    let body = json!({"error": {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED",
        "details": [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{
                "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
                "quotaId": id}]},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.07s"}]}});
    Reply::json(429, json!([body]).to_string())
}

#[tokio::test]
async fn case_59_a_minute_a_day_and_a_limit_of_nothing_are_told_apart() {
    let minute = quota(
        "GenerateRequestsPerMinutePerProjectPerModel",
        "Quota exceeded.",
    );
    let (_, row, _gateway) = refused("gemini", "gemini-2.5-flash", minute, "cooling").await;
    assert!((30..=35).contains(&seconds_from_now(&row)), "{row}");
    let day = quota(
        "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
        "Quota exceeded.",
    );
    let (_, row, _gateway) = refused("gemini", "gemini-2.5-flash", day, "exhausted").await;
    // Midnight in Los Angeles, in winter or in summer.
    let until = row["cooling_until"].as_str().expect("an end");
    assert!(
        until.ends_with("T08:00:00.000Z") || until.ends_with("T07:00:00.000Z"),
        "{row}"
    );
    let none = quota(
        "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
        "Quota exceeded for metric: x, limit: 0, model: gemini-3-pro",
    );
    let upstream = Upstream::start(Script::always(none)).await;
    let gateway = Gateway::start(&vendor("gemini", &upstream)).await;
    let body = r#"{"model":"gemini/gemini-3-pro","messages":[{"role":"user","content":"hi"}]}"#;
    let answer = gateway.chat(body).await;
    assert!((400..=599).contains(&answer.status), "{}", answer.text());
    let row = gateway.provider("gemini").await;
    // Only this model is closed to the key.
    let other =
        r#"{"model":"gemini/gemini-2.5-flash","messages":[{"role":"user","content":"hi"}]}"#;
    gateway.chat(other).await;
    assert_eq!(upstream.requests().len(), 2, "{row}");
    gateway.chat(body).await;
    assert_eq!(
        upstream.requests().len(),
        2,
        "the closed model is not asked again"
    );
}

#[tokio::test]
async fn case_102_a_spend_limit_rests_until_the_month_is_over() {
    let limit = json!({"type": "error", "error": {"type": "rate_limit_error",
        "message": "Spend limit", "details": {"error_code": "enforced_spend_limit_reached"}}});
    let reply = Reply::json(429, limit.to_string());
    let (_, row, _gateway) = refused("anthropic", "claude-haiku-4-5", reply, "exhausted").await;
    let until = row["cooling_until"].as_str().expect("an end");
    assert!(until.ends_with("-01T00:00:00.000Z"), "{row}");
    assert!((0..=31 * 86_400).contains(&seconds_from_now(&row)), "{row}");
}

#[tokio::test]
async fn case_103_a_busy_vendor_behind_a_router_cools_the_model_and_a_spent_day_ends_at_its_reset()
{
    let busy = json!({"error": {"code": 429, "message": "Provider returned error",
        "metadata": {"provider_name": "Someone", "raw": "busy"}}});
    let upstream = Upstream::start(Script::always(Reply::json(429, busy.to_string()))).await;
    let gateway = Gateway::start(&vendor("openrouter", &upstream)).await;
    let ask = |model: &str| {
        let body = json!({"model": format!("openrouter/{model}"),
            "messages": [{"role": "user", "content": "hi"}]});
        Request::chat(&body.to_string())
    };
    gateway.send(&ask("a/one")).await;
    let before = upstream.requests().len();
    gateway.send(&ask("b/two")).await;
    assert!(
        upstream.requests().len() > before,
        "another model is asked with the same key"
    );

    let reset = jiff::Timestamp::now().as_second() + 5000;
    let spent = json!({"error": {"code": 429,
        "message": "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000",
        "metadata": {"headers": {"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": (reset * 1000).to_string()}}}});
    let script = Script::new().answer(move |request| {
        if request.text().contains(":free") {
            Reply::json(429, spent.to_string())
        } else {
            openai::completion("hi")
        }
    });
    let upstream = Upstream::start(script).await;
    let gateway = Gateway::start(&vendor("openrouter", &upstream)).await;
    gateway.send(&ask("a/one:free")).await;
    let row = gateway.listed("openrouter/1", "exhausted").await;
    let until: jiff::Timestamp = row["cooling_until"]
        .as_str()
        .expect("an end")
        .parse()
        .expect("RFC 3339");
    assert_eq!(until.as_second(), reset, "{row}");
    let asked = upstream.requests().len();
    gateway.send(&ask("a/one:free")).await;
    for model in ["a/one:free", "b/two:free"] {
        gateway.send(&ask(model)).await;
        assert_eq!(upstream.requests().len(), asked, "{model} is not asked");
    }
    assert_eq!(gateway.send(&ask("a/one")).await.status, 200);
}

/// What `test-keys` says of the only key of a vendor.
async fn tested(name: &str, upstream: &Upstream) -> Value {
    let home = Home::with_config(&vendor(name, upstream));
    let finished = home.run_beside(&["test-keys", name, "--json"], "").await;
    let rows: Value = serde_json::from_str(&finished.stdout)
        .unwrap_or_else(|_| panic!("{}{}", finished.stdout, finished.stderr));
    rows[0].clone()
}

#[tokio::test]
async fn cases_104_105_106_a_key_test_believes_no_list_that_proves_nothing() {
    let list = json!({"object": "list", "data": [{"id": "m1", "object": "model"}]}).to_string();
    for (limit, status) in [("0", "no_quota"), ("60", "ok")] {
        let reply = Reply::json(200, list.clone()).header("x-ratelimit-limit-req-minute", limit);
        let upstream = Upstream::start(Script::new().model_list(reply)).await;
        assert_eq!(tested("mistral", &upstream).await["status"], status);
    }
    let denied = json!({"status": 401, "title": "Unauthorized", "detail": "Authentication failed"});
    let script = Script::always(Reply::json(401, denied.to_string()));
    let upstream = Upstream::start(script.model_list(Reply::json(200, list))).await;
    let row = tested("nvidia_nim", &upstream).await;
    assert_eq!(row["status"], "invalid", "{row}");

    let bad = json!({"code": "Client specified an invalid argument",
        "error": "Incorrect API key provided: xa***xx."});
    let reply = Reply::json(400, bad.to_string());
    let upstream = Upstream::start(Script::always(reply.clone()).model_list(reply.clone())).await;
    let row = tested("xai", &upstream).await;
    assert_eq!(row["status"], "invalid", "{row}");
    assert!(
        row["detail"].to_string().contains("Incorrect API key"),
        "{row}"
    );
    let upstream = Upstream::start(Script::always(reply)).await;
    let gateway = Gateway::start(&vendor("xai", &upstream)).await;
    let body = r#"{"model":"xai/grok-4","messages":[{"role":"user","content":"hi"}]}"#;
    let answer = gateway.chat(body).await;
    assert_eq!(answer.status, 503, "the key's fault: {}", answer.text());
    assert_eq!(answer.error().1, "credentials_refused");
}

#[tokio::test]
async fn case_107_waits_are_read_in_every_form() {
    let limited = |name: &str, value: &str| {
        let body = openai::error_body("requests", "rate_limit_exceeded", "slow down");
        Reply::json(429, body).header(name, value)
    };
    let reset = limited("x-ratelimit-reset-requests", "2m59.56s")
        .header("x-ratelimit-remaining-requests", "0");
    let (status, row, _gateway) = refused("groq", "m1", reset, "cooling").await;
    assert_eq!(status, 429);
    assert!((170..=180).contains(&seconds_from_now(&row)), "{row}");

    let later = std::time::SystemTime::now() + std::time::Duration::from_mins(2);
    let date = limited("retry-after", &httpdate::fmt_http_date(later));
    let (_, row, _gateway) = refused("groq", "m1", date, "cooling").await;
    assert!((100..=121).contains(&seconds_from_now(&row)), "{row}");

    let upstream = Upstream::start(Script::always(limited("retry-after", "0"))).await;
    let gateway = Gateway::start(&vendor("groq", &upstream)).await;
    let body = r#"{"model":"groq/m1","messages":[{"role":"user","content":"hi"}]}"#;
    let answer = gateway.chat(body).await;
    assert_eq!(answer.status, 429, "{}", answer.text());
    assert_eq!(answer.header("retry-after"), Some("1"));
}
