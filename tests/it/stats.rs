//! What the gateway tells of its own doing: metrics, quotas, costs, the trail of a request.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::client::{CHAT, Request, Response, STREAM};
use crate::fake::openai;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::harness::{Gateway, keys, pair, patiently, provider};

/// Two clients, each with a key of its own.
const CLIENTS: &str = "[[server.clients]]\nname = \"one\"\nkey = \"client-key-one-0123456789\"\n\
                       [[server.clients]]\nname = \"two\"\nkey = \"client-key-two-0123456789\"\n";

fn id(answer: &Response) -> String {
    answer
        .header("x-request-id")
        .expect("every answer has one")
        .to_owned()
}

/// Reads an exposition as `promtool check metrics` would: every sample under its family's HELP and
/// TYPE, each family in one piece, names and suffixes by convention, no series twice.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let mut families = BTreeSet::new();
    let (mut family, mut kind) = (String::new(), String::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("name and help");
            assert!(families.insert(name.to_owned()), "{name} twice");
            assert!(!help.is_empty(), "{line}");
            name.clone_into(&mut family);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, of) = rest.split_once(' ').expect("name and type");
            assert_eq!(name, family, "{line}");
            assert_eq!(of == "counter", name.ends_with("_total"), "{line}");
            of.clone_into(&mut kind);
        } else {
            let (series, value) = line.rsplit_once(' ').expect("series and value");
            let name = series.split('{').next().unwrap_or_default();
            let base = if kind == "histogram" {
                ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|suffix| name.strip_suffix(suffix))
                    .expect("a part of a histogram")
            } else {
                name
            };
            assert_eq!(base, family, "{line}");
            assert!(name.starts_with("llmproxy_"), "{line}");
            let value = value.parse().expect("a number");
            let before = samples.insert(series.to_owned(), value);
            assert!(before.is_none(), "{series} twice");
        }
    }
    samples
}

#[tokio::test]
async fn metrics_count_what_happened_and_pass_a_linter() {
    let script = Script::new()
        .cycle(&keys(2)[0], [openai::rate_limited()])
        .others([openai::completion("hi")]);
    let (_upstream, gateway) = pair(script, 2, "").await;
    assert_eq!(gateway.chat(CHAT).await.status, 200);
    let nowhere = r#"{"model":"nowhere/m","messages":[]}"#;
    assert_eq!(gateway.chat(nowhere).await.status, 404);
    let answer = gateway.get("/metrics").await;
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let samples = samples(&answer.text());
    let version = env!("CARGO_PKG_VERSION");
    for (series, value) in [
        (
            r#"requests_total{provider="fake",model="m1",client="anyone",status="200"}"#,
            1.0,
        ),
        (
            r#"requests_total{provider="",model="",client="anyone",status="404"}"#,
            1.0,
        ),
        (r#"attempts_total{provider="fake",verdict="ok"}"#, 1.0),
        (
            r#"attempts_total{provider="fake",verdict="rate_limit"}"#,
            1.0,
        ),
        (
            r#"cooldowns_total{provider="fake",reason="rate_limit"}"#,
            1.0,
        ),
        (r#"credentials{provider="fake",state="cooling"}"#, 1.0),
        (r#"credentials{provider="fake",state="ready"}"#, 1.0),
        (r#"credentials{provider="fake",state="dead"}"#, 0.0),
        (r#"leases{provider="fake"}"#, 0.0),
        (r#"waiters{provider="fake"}"#, 0.0),
        (
            r#"tokens_total{provider="fake",model="m1",kind="prompt"}"#,
            11.0,
        ),
        (r#"request_duration_seconds_count{provider="fake"}"#, 1.0),
        (r#"time_to_first_token_seconds_count{provider="fake"}"#, 1.0),
        ("state_backend_up", 1.0),
        (&format!("build_info{{version=\"{version}\"}}"), 1.0),
    ] {
        let found = samples.get(&format!("llmproxy_{series}"));
        assert_eq!(found, Some(&value), "{series} in {}", answer.text());
    }
}

#[tokio::test]
async fn metrics_can_be_switched_off_and_want_the_key() {
    let settings = "[server]\nmetrics = false\n";
    let (_upstream, gateway) = pair(Script::new(), 1, settings).await;
    assert_eq!(gateway.get("/metrics").await.status, 404);
    let (_upstream, gateway) = pair(Script::new(), 1, CLIENTS).await;
    for path in ["/metrics", "/v1/quota-stats", "/v1/requests/0"] {
        assert_eq!(gateway.get(path).await.status, 401, "{path}");
    }
}

#[tokio::test]
async fn what_a_request_cost_is_counted() {
    let upstream = Upstream::start(Script::always(openai::completion("hi"))).await;
    let key = &keys(1)[0];
    let config = format!(
        "[providers.openai]\nbase_url = \"{}\"\napi_keys = [\"{key}\"]\n",
        upstream.base_url()
    );
    let gateway = Gateway::start(&config).await;
    let answer = gateway
        .chat(r#"{"model":"openai/gpt-4o","messages":[{"role":"user","content":"hi"}]}"#)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let expected = (11.0 * 2.5 + 7.0 * 10.0) / 1e6;
    let samples = samples(&gateway.get("/metrics").await.text());
    let series = r#"llmproxy_cost_usd_total{provider="openai",model="gpt-4o"}"#;
    let cost = samples.get(series).copied().unwrap_or_default();
    assert!((cost - expected).abs() < 1e-12, "{cost} {expected}");
    let trail = gateway.get(&format!("/v1/requests/{}", id(&answer))).await;
    assert_eq!(trail.json()["cost_usd"].as_f64(), Some(expected));
    let known = async {
        loop {
            let document = gateway.get("/v1/quota-stats").await.json();
            // Counts are on their way to the state for half a second.
            if let Some(known) = document["providers"]["openai"]["approx_cost"].as_f64() {
                return known;
            }
        }
    };
    let known = patiently("the cost to be known", known).await;
    assert!((known - expected).abs() < 1e-12, "{known} {expected}");
}

#[tokio::test]
async fn what_a_translation_lost_is_counted() {
    let (_upstream, gateway) = pair(Script::always(openai::stream(&["a", "b"])), 1, "").await;
    let body = r#"{"model":"fake/m1","max_tokens":9,"stream":true,"context_management":{"edits":[]},
        "messages":[{"role":"user","content":"hi"}]}"#;
    let answer = gateway.send(&Request::post("/v1/messages", body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let samples = samples(&gateway.get("/metrics").await.text());
    let series = r#"llmproxy_translation_losses_total{from="anthropic",to="openai"}"#;
    assert!(samples.get(series) >= Some(&1.0), "{samples:?}");
}

#[tokio::test]
async fn the_dashboard_for_grafana_asks_for_metrics_that_exist() {
    let (_upstream, gateway) = pair(Script::new(), 1, "").await;
    let text = gateway.get("/metrics").await.text();
    let board = include_str!("../../packaging/grafana/llmproxy.json");
    let board: Value = serde_json::from_str(board).expect("JSON");
    let panels = board["panels"].as_array().expect("a list");
    let queries = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default());
    let mut asked = 0;
    for query in queries {
        let expr = query["expr"].as_str().unwrap_or_default();
        for name in expr.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            if !name.starts_with("llmproxy_") {
                continue;
            }
            let family = name.strip_suffix("_bucket").unwrap_or(name);
            assert!(text.contains(&format!("# TYPE {family} ")), "{expr}");
            asked += 1;
        }
    }
    assert!(asked > 10, "{asked}");
}

#[tokio::test]
async fn quota_stats_show_pools_without_a_secret() {
    let script = Script::new()
        .cycle(&keys(2)[0], [openai::rate_limited()])
        .others([openai::completion("hi")]);
    let (_upstream, gateway) = pair(script, 2, "").await;
    assert_eq!(gateway.chat(CHAT).await.status, 200);
    let document = gateway.get("/v1/quota-stats").await.json();
    assert_eq!(document["data_source"], "cache");
    assert_eq!(document["summary"]["total_credentials"], 2);
    let fake = &document["providers"]["fake"];
    assert_eq!(fake["credential_count"], 2);
    assert_eq!(fake["rotation_mode"], "sequential");
    assert_eq!(fake["tokens"]["output"], 7);
    let first = &fake["credentials"]["fake/1"];
    assert_eq!(
        (&first["state"], &first["status"]),
        (&"cooling".into(), &"cooldown".into())
    );
    let rest = &first["cooldowns"]["m1"];
    assert_eq!(
        (&rest["reason"], &rest["source"]),
        (&"rate_limit".into(), &"provider".into())
    );
    assert!(rest["remaining_seconds"].as_f64() > Some(0.0), "{rest}");
    assert_eq!(first["full_path"], "fake/1");
    assert_eq!(first["accessor_masked"], "…e1f0");
    let second = &fake["credentials"]["fake/2"];
    assert_eq!(second["status"], "active");
    assert_eq!(second["totals"]["success_count"], 1);
    let daily = &second["model_usage"]["m1"]["windows"]["daily"];
    assert_eq!(
        (&daily["request_count"], &daily["limit"]),
        (&1.into(), &Value::Null)
    );
    let other = gateway.get("/v1/quota-stats?provider=nobody").await;
    assert_eq!(other.status, 404);
}

#[tokio::test]
async fn quota_stats_refresh_what_can_be_and_refuse_nonsense() {
    let (_upstream, gateway) = pair(Script::new(), 1, "").await;
    let post = |body: &'static str| Request::post("/v1/quota-stats", body);
    for body in [
        r#"{"action":"explode"}"#,
        r#"{"scope":"everything"}"#,
        r#"{"scope":"provider"}"#,
        r#"{"scope":"provider","provider":"nobody"}"#,
        r#"{"scope":"credential","provider":"fake"}"#,
        r#"{"scope":"credential","provider":"fake","credential":"9"}"#,
        "[]",
        "not json",
    ] {
        let answer = gateway.send(&post(body)).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
        assert_eq!(answer.error().0, "invalid_request_error", "{body}");
    }
    let answer = gateway.send(&post("")).await.json();
    assert_eq!(answer["data_source"], "refreshed");
    assert_eq!(answer["refresh_result"]["action"], "reload");
    let body =
        r#"{"action":"force_refresh","scope":"credential","provider":"fake","credential":"1"}"#;
    let result = gateway.send(&post(body)).await.json()["refresh_result"].clone();
    assert_eq!(
        (&result["success"], &result["failed_count"]),
        (&true.into(), &0.into())
    );
    let message = result["message"].as_str().unwrap_or_default();
    assert!(message.contains("no endpoint for quotas"), "{result}");
}

#[tokio::test]
async fn tokens_and_costs_are_estimated_without_a_call() {
    let (upstream, gateway) = pair(Script::new(), 1, "").await;
    let count = gateway.send(&Request::post("/v1/token-count", CHAT)).await;
    assert_eq!(count.status, 200, "{}", count.text());
    assert!(count.json()["token_count"].as_u64() > Some(0));
    for body in ["", "{}", r#"{"model":"fake/m1"}"#, r#"{"messages":[]}"#] {
        let answer = gateway.send(&Request::post("/v1/token-count", body)).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
    }
    let body = r#"{"model":"openai/gpt-4o","prompt_tokens":1000000,"completion_tokens":1000}"#;
    let cost = gateway
        .send(&Request::post("/v1/cost-estimate", body))
        .await
        .json();
    assert!(
        cost["cost"]
            .as_f64()
            .is_some_and(|cost| (cost - 2.51).abs() < 1e-9),
        "{cost}"
    );
    let unknown = r#"{"model":"fake/m1","prompt_tokens":1}"#;
    let cost = gateway
        .send(&Request::post("/v1/cost-estimate", unknown))
        .await
        .json();
    assert_eq!(
        (&cost["source"], &cost["cost"]),
        (&"unknown".into(), &Value::Null)
    );
    assert_eq!(upstream.requests().len(), 0);
}

#[tokio::test]
async fn model_cards_are_enriched_on_demand() {
    let settings = "[models.smart]\ntargets = [\"openai/gpt-4o\"]\n\
                    [providers.openai]\nbase_url = \"http://127.0.0.1:9\"\nmodels = [\"gpt-4o\"]\n\
                    api_keys = [\"none\"]\n";
    let (_upstream, gateway) = pair(Script::new(), 1, settings).await;
    let card = |list: &Value, id: &str| {
        let rows = list["data"].as_array().cloned().unwrap_or_default();
        let found = rows.into_iter().find(|row| row["id"] == id);
        found.unwrap_or_else(|| panic!("no {id} in {list}"))
    };
    let plain = gateway.get("/v1/models").await.json();
    assert!(card(&plain, "openai/gpt-4o").get("pricing").is_none());
    let rich = gateway.get("/v1/models?enriched=true").await.json();
    for id in ["openai/gpt-4o", "smart"] {
        let card = card(&rich, id);
        assert_eq!(card["context_window"], 128_000, "{card}");
        assert_eq!(card["capabilities"]["function_calling"], true, "{card}");
        assert!(card["pricing"]["prompt"].is_number(), "{card}");
    }
    assert!(card(&rich, "fake/m1").get("pricing").is_none());
    let one = gateway
        .get("/v1/models/openai/gpt-4o?enriched=true")
        .await
        .json();
    assert_eq!(
        one["max_output_tokens"],
        card(&rich, "smart")["max_output_tokens"]
    );
}

#[tokio::test]
async fn a_trail_is_told_to_the_client_that_asked_and_to_nobody_else() {
    let script = Script::new()
        .cycle(&keys(2)[0], [openai::rate_limited()])
        .others([openai::stream(&["a", "b"])]);
    let (_upstream, gateway) = pair(script, 2, CLIENTS).await;
    let one = |request: Request| request.header("x-api-key", "client-key-one-0123456789");
    let two = |request: Request| request.header("x-api-key", "client-key-two-0123456789");
    let answer = gateway.send(&one(Request::chat(STREAM))).await;
    assert_eq!(answer.status, 200);
    let path = format!("/v1/requests/{}", id(&answer));
    let trail = gateway.send(&one(Request::get(&path))).await.json();
    assert_eq!(trail["request"]["model"], "fake/m1");
    assert_eq!(
        (&trail["ending"], &trail["status"]),
        (&"served".into(), &200.into())
    );
    assert_eq!(trail["targets"][0]["provider"], "fake");
    let attempts = trail["attempts"].as_array().expect("a list");
    let told: Vec<_> = attempts
        .iter()
        .map(|attempt| (&attempt["credential"], &attempt["verdict"]))
        .collect();
    assert_eq!(
        told,
        [
            (&"fake/1".into(), &"rate_limit".into()),
            (&"fake/2".into(), &Value::Null)
        ]
    );
    assert_eq!(trail["usage"]["completion_tokens"], 7);
    assert_eq!(gateway.send(&two(Request::get(&path))).await.status, 404);
    // The key that rests now is passed over, and the next trail says so.
    let answer = gateway.send(&two(Request::chat(STREAM))).await;
    let path = format!("/v1/requests/{}", id(&answer));
    let trail = gateway.send(&two(Request::get(&path))).await.json();
    let passed = &trail["targets"][0]["passed_over"][0];
    assert_eq!(passed["credential"], "fake/1");
    assert!(
        passed["why"]
            .as_str()
            .is_some_and(|why| why.starts_with("rate_limit")),
        "{passed}"
    );
}

#[tokio::test]
async fn a_request_that_found_nobody_has_a_trail_as_well() {
    let upstream = Upstream::start(Script::always(openai::rate_limited())).await;
    let config = provider("fake", &upstream, &keys(1)) + "[routing]\ndeadline = \"1s\"\n";
    let gateway = Gateway::start(&config).await;
    for (body, status) in [
        (CHAT, 429),
        (r#"{"model":"nowhere/m","messages":[]}"#, 404),
        ("{", 400),
    ] {
        let answer = gateway.chat(body).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        let trail = gateway.get(&format!("/v1/requests/{}", id(&answer))).await;
        assert_eq!(trail.status, 200, "{body}");
        let trail = trail.json();
        assert_eq!(trail["ending"], "failed");
        assert_eq!(trail["status"], status);
        assert_eq!(trail["error"], answer.message());
    }
    let missing = "/v1/requests/00000000000000000000000000000000";
    assert_eq!(gateway.get(missing).await.status, 404);
}
