//! The model catalogue: cached lists with their age, prices and windows, filters that hold
//! everywhere.

use serde_json::{Value, json};

use crate::client::Request;
use crate::fake::reply::Reply;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::fake::{key, openai};
use crate::harness::{Gateway, Home, keys, pair, provider};

fn models_dev(input: f64) -> Reply {
    let model = json!({
        "id": "gpt-4o", "reasoning": false, "tool_call": true, "modalities": {"input": ["text", "image"]},
        "cost": {"input": input, "output": 20}, "limit": {"context": 99_000, "output": 9000},
    });
    Reply::json(
        200,
        json!({"openai": {"id": "openai", "models": {"gpt-4o": model}}}).to_string(),
    )
}

fn openrouter_list() -> Reply {
    let model = json!({
        "id": "maker/model", "context_length": 5000,
        "pricing": {"prompt": "0.000001", "completion": "0.000002"},
    });
    Reply::json(200, json!({"data": [model]}).to_string())
}

/// A server of both tables: models.dev's at `/api.json`, OpenRouter's as a model list.
async fn tables(replies: Vec<Reply>) -> Upstream {
    Upstream::start(
        Script::new()
            .model_list(openrouter_list())
            .others_once(replies),
    )
    .await
}

fn catalog(tables: &Upstream) -> String {
    let origin = tables.origin();
    format!(
        "[catalog]\nonline = true\nmodels_dev_url = \"{origin}/api.json\"\nopenrouter_url = \"{origin}/models\"\n"
    )
}

async fn estimate(gateway: &Gateway, model: &str) -> Value {
    let body = json!({"model": model, "prompt_tokens": 1_000_000});
    let request = Request::post("/v1/cost-estimate", body.to_string());
    gateway.send(&request).await.json()
}

#[tokio::test]
async fn published_prices_count_once_the_user_lets_us_ask_and_outlive_a_failure() {
    let tables = tables(vec![models_dev(7.0), openai::broken()]).await;
    let upstream = Upstream::start(Script::new()).await;
    let config = catalog(&tables) + &provider("fake", &upstream, &keys(1));
    let home = Home::with_config(&config);
    let listed = home.run_beside(&["models"], "").await;
    assert_eq!(listed.code, 0, "{listed:?}");
    assert!(
        listed
            .stderr
            .contains("prices read from models.dev and OpenRouter: just now"),
        "{listed:?}"
    );
    let failed = home.run_beside(&["models", "--refresh"], "").await;
    assert_eq!(
        (failed.code, failed.stdout.as_str()),
        (0, "fake/m1\n"),
        "{failed:?}"
    );
    assert!(
        failed.stderr.contains("cannot refresh prices"),
        "{failed:?}"
    );
    assert!(
        failed.stderr.contains("/api.json answered HTTP 500"),
        "{failed:?}"
    );
    let gateway = Gateway::start_in(home, &[]).await;
    let known = estimate(&gateway, "openai/gpt-4o").await;
    assert_eq!(
        (&known["cost"], &known["source"]),
        (&json!(7.0), &json!("online"))
    );
    let routed = estimate(&gateway, "openrouter/maker/model").await;
    assert_eq!(
        (&routed["cost"], &routed["source"]),
        (&json!(1.0), &json!("online"))
    );
}

#[tokio::test]
async fn nobody_is_asked_for_prices_by_default_and_the_users_word_wins() {
    let settings = "[catalog.models.\"fake/m*\"]\ninput = 2\noutput = 4\ncontext = 1234\n";
    let (_upstream, gateway) = pair(Script::new(), 1, settings).await;
    let own = estimate(&gateway, "fake/m1").await;
    assert_eq!(
        (&own["cost"], &own["source"]),
        (&json!(2.0), &json!("config"))
    );
    let built_in = estimate(&gateway, "openai/gpt-4o").await;
    assert_eq!(
        (&built_in["cost"], &built_in["source"]),
        (&json!(2.5), &json!("catalog"))
    );
    let list = gateway.get("/v1/models?enriched=true").await.json();
    assert_eq!(list["data"][0]["context_length"], 1234, "{list}");
    assert_eq!(list["data"][0]["pricing"]["prompt"], 0.000_002);
}

#[tokio::test]
async fn lists_are_cached_with_their_age_and_a_failed_refresh_hides_nothing() {
    let script = Script::new().models(["m1", "m2"]);
    let upstream = Upstream::start(script).await;
    let home = Home::with_config(&provider("fake", &upstream, &keys(1)));
    let first = home.run_beside(&["models"], "").await;
    assert_eq!(
        (first.code, first.stdout.as_str()),
        (0, "fake/m1\nfake/m2\n"),
        "{first:?}"
    );
    assert!(
        first.stderr.contains("lists read: fake just now"),
        "{first:?}"
    );
    assert_eq!(home.run_beside(&["models"], "").await.code, 0);
    assert_eq!(upstream.lists(), 1, "the second time the cache answered");
    assert_eq!(home.run_beside(&["models", "--refresh"], "").await.code, 0);
    assert_eq!(upstream.lists(), 2);
    // As if three hours had passed, and the provider was gone.
    let file = home.path("cache/llmproxy/models/fake.json");
    let mut cached: Value =
        serde_json::from_slice(&std::fs::read(&file).expect("a cache")).expect("JSON");
    let then = cached["fetched_ms"].as_i64().expect("a time") - 3 * 3_600_000;
    cached["fetched_ms"] = then.into();
    std::fs::write(&file, cached.to_string()).expect("writable");
    drop(upstream);
    let gone = home.run_beside(&["models", "--refresh"], "").await;
    assert_eq!(
        (gone.code, gone.stdout.as_str()),
        (0, "fake/m1\nfake/m2\n"),
        "{gone:?}"
    );
    assert!(
        gone.stderr.contains("showing the list of 3h ago"),
        "{gone:?}"
    );
}

#[tokio::test]
async fn a_serving_gateway_refreshes_lists_in_the_background() {
    let upstream = Upstream::start(Script::new()).await;
    let home = Home::with_config(&provider("fake", &upstream, &keys(1)));
    let gateway = Gateway::start_in(home, &[]).await;
    // Nobody asks for a list; it comes all the same.
    let waiting = async {
        while gateway.provider("fake").await["models"] != 1 {
            tokio::task::yield_now().await;
        }
    };
    crate::harness::patiently("the background's list", waiting).await;
    assert_eq!(upstream.lists(), 1);
}

#[tokio::test]
async fn a_second_key_lists_where_the_first_is_refused() {
    let upstream = Upstream::start(Script::new().model_list(openai::bad_key())).await;
    let home = Home::with_config(&provider("fake", &upstream, &keys(3)));
    let listed = home.run_beside(&["models"], "").await;
    assert!(
        listed.stderr.contains("cannot list the models of fake"),
        "{listed:?}"
    );
    assert_eq!(upstream.lists(), 3, "each key had its try");
}

/// Every way to name a model: chat in the four dialects, completions, embeddings, counting.
fn calls(model: &str) -> Vec<Request> {
    let messages = json!([{"role": "user", "content": "hi"}]);
    let contents = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}).to_string();
    let bodies = [
        (
            "/v1/chat/completions",
            json!({"model": model, "messages": messages}),
        ),
        (
            "/v1/messages",
            json!({"model": model, "max_tokens": 5, "messages": messages}),
        ),
        (
            "/v1/messages/count_tokens",
            json!({"model": model, "messages": messages}),
        ),
        ("/v1/responses", json!({"model": model, "input": "hi"})),
        ("/v1/completions", json!({"model": model, "prompt": "hi"})),
        ("/v1/embeddings", json!({"model": model, "input": "hi"})),
    ];
    let mut calls: Vec<Request> = bodies
        .iter()
        .map(|(path, body)| Request::post(path, body.to_string()))
        .collect();
    for verb in [
        "generateContent",
        "streamGenerateContent?alt=sse",
        "countTokens",
    ] {
        calls.push(Request::post(
            &format!("/v1beta/models/{model}:{verb}"),
            contents.clone(),
        ));
    }
    let embed = json!({"content": {"parts": [{"text": "hi"}]}}).to_string();
    calls.push(Request::post(
        &format!("/v1beta/models/{model}:embedContent"),
        embed,
    ));
    calls
}

#[tokio::test]
async fn a_filtered_model_can_neither_be_listed_nor_called() {
    let script = Script::new().models(["m1", "secret-1", "org/secret-2"]);
    let settings = "ignore_models = [\"*secret*\"]\nmodels = [{ name = \"nick\", id = \"secret-1\" }]\n\
                    [models.only-hidden]\ntargets = [\"fake/secret-1\"]\n\
                    [models.mixed]\ntargets = [\"fake/secret-1\", \"fake/m1\"]\n";
    let (upstream, gateway) = pair(script, 1, settings).await;
    for path in ["/v1/models", "/v1/models?enriched=true", "/v1beta/models"] {
        let text = gateway.get(path).await.text();
        assert!(
            text.contains("m1") && !text.contains("secret"),
            "{path}: {text}"
        );
    }
    for model in [
        "fake/secret-1",
        "fake/org/secret-2",
        "secret-1",
        "only-hidden",
    ] {
        for call in calls(model) {
            let answer = gateway.send(&call).await;
            assert_eq!(answer.status, 404, "{model} {call:?}: {}", answer.text());
        }
        let one = gateway.get(&format!("/v1/models/{model}")).await;
        assert_eq!(one.status, 404, "{model}");
    }
    let command = gateway
        .home()
        .run_beside(&["chat", "-m", "fake/secret-1", "hi"], "")
        .await;
    assert_eq!(command.code, 1, "{command:?}");
    let listed = gateway.home().run_beside(&["models"], "").await;
    assert!(!listed.stdout.contains("secret"), "{listed:?}");
    assert_eq!(
        upstream.requests().len(),
        0,
        "nobody called for a hidden model: {:?}",
        key("1")
    );
}
