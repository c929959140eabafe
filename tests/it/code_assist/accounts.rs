//! The first steps with an account, what each refusal makes of it, and what is asked about it
//! beside prompts: models, counts, quotas.

use serde_json::{Value, json};

use crate::client::Request;
use crate::fake;
use crate::fake::code_assist::{answer, asked, body, error, home, last, prompts, start, verb};
use crate::fake::reply::Reply;
use crate::fake::script::Script;
use crate::fake::upstream::{Recorded, Upstream};
use crate::harness::{Gateway, Home};

fn hello(request: &Recorded) -> Reply {
    answer(
        request,
        &[last(&json!([{"text": "Hello!"}]), "STOP", &json!({}))],
    )
}

/// A gateway with one account that has taken no steps, at a server with these answers by verb.
async fn fresh(
    provider: &str,
    answer: impl Fn(&str, &Recorded) -> Option<Reply> + Send + Sync + 'static,
) -> (Upstream, Gateway) {
    let script = prompts(move |request| {
        let verb = verb(request);
        answer(&verb, request).unwrap_or_else(|| hello(request))
    });
    let upstream = Upstream::start(script).await;
    let prefix = provider.to_ascii_uppercase();
    let config = format!(
        "[providers.{provider}]\nbase_url = \"{}\"\n",
        upstream.origin()
    );
    let home = Home::with_config(&config)
        .env(&format!("{prefix}_ACCESS_TOKEN"), &fake::key("a"))
        .env(&format!("{prefix}_REFRESH_TOKEN"), &fake::key("r"))
        .env(&format!("{prefix}_EXPIRY_DATE"), "4102444800000");
    (upstream, Gateway::start_in(home, &[]).await)
}

fn ask(provider: &str) -> String {
    let model = if provider == "antigravity" {
        "gemini-pro-agent"
    } else {
        "gemini-2.5-pro"
    };
    json!({"model": format!("{provider}/{model}"), "messages": [{"role": "user", "content": "hi"}]})
        .to_string()
}

fn verbs(upstream: &Upstream) -> Vec<String> {
    asked(upstream).iter().map(verb).collect()
}

/// An Antigravity account at a server with these answers for everything, quotas and models too.
async fn whole(answer: impl Fn(&Recorded) -> Reply + Send + Sync + 'static) -> (Upstream, Gateway) {
    let upstream = Upstream::start(Script::new().answer(answer)).await;
    let home = home("antigravity", &upstream, 1, "");
    let gateway = Gateway::start_in(home, &[]).await;
    (upstream, gateway)
}

#[tokio::test]
async fn an_account_finds_its_project_before_its_first_request() {
    for provider in ["gemini_cli", "antigravity"] {
        let (upstream, gateway) = fresh(provider, |verb, _| {
            let tier = json!({"currentTier": {"id": "free-tier"}, "paidTier": {"id": "g1-pro-tier"},
                "cloudaicompanionProject": {"id": "found"}});
            (verb == ":loadCodeAssist").then(|| Reply::json(200, tier.to_string()))
        })
        .await;
        for _ in 0..2 {
            let response = gateway.chat(&ask(provider)).await;
            assert_eq!(response.status, 200, "{}", response.text());
        }
        assert_eq!(
            verbs(&upstream),
            [":loadCodeAssist", ":generateContent", ":generateContent"],
            "{provider}: the steps are taken once"
        );
        assert_eq!(body(&asked(&upstream)[1])["project"], "found");
    }
}

#[tokio::test]
async fn a_new_account_is_onboarded() {
    for provider in ["gemini_cli", "antigravity"] {
        let (upstream, gateway) = fresh(provider, |verb, _| {
            let tiers = json!({"allowedTiers": [{"id": "free-tier", "isDefault": true}]});
            let made = json!({"name": "operations/1", "done": true,
                "response": {"cloudaicompanionProject": {"id": "made"}}});
            match verb {
                ":loadCodeAssist" => Some(Reply::json(200, tiers.to_string())),
                ":onboardUser" => Some(Reply::json(200, made.to_string())),
                _ => None,
            }
        })
        .await;
        let response = gateway.chat(&ask(provider)).await;
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(
            verbs(&upstream),
            [":loadCodeAssist", ":onboardUser", ":generateContent"]
        );
        let onboarding = body(&asked(&upstream)[1]);
        assert!(
            onboarding.get("cloudaicompanionProject").is_none(),
            "{onboarding}"
        );
        assert_eq!(body(&asked(&upstream)[2])["project"], "made");
    }
}

#[tokio::test]
async fn g5_a_consumer_is_refused_once_and_told_why() {
    let (upstream, gateway) = fresh("gemini_cli", |verb, _| {
        let refused = json!({"allowedTiers": [], "ineligibleTiers": [{"reasonCode": "UNSUPPORTED_CLIENT",
            "reasonMessage": "client no longer supported for individuals", "tierId": "free-tier",
            "tierName": "Gemini Code Assist for individuals"}]});
        (verb == ":loadCodeAssist").then(|| Reply::json(200, refused.to_string()))
    })
    .await;
    let response = gateway.chat(&ask("gemini_cli")).await;
    assert!(response.status >= 400, "{}", response.text());
    let before = asked(&upstream).len();
    // The quota is asked for at the start, by the same steps.
    assert!(
        before <= 2
            && verbs(&upstream)
                .iter()
                .all(|verb| verb == ":loadCodeAssist")
    );
    let again = gateway.chat(&ask("gemini_cli")).await;
    assert!(again.status >= 400, "{}", again.text());
    assert_eq!(asked(&upstream).len(), before, "no onboarding, no retries");
    let row = gateway.listed("gemini_cli/1", "dead").await;
    let reason = row["state_reason"].as_str().expect("a reason");
    assert!(reason.contains("unsupported_client"), "{reason}");
    assert!(
        reason.contains("no longer supported for individuals"),
        "{reason}"
    );
}

#[tokio::test]
async fn each_refusal_makes_a_state_of_its_own() {
    for (code, state) in [
        ("DASHER_USER", "action_needed"),
        ("INELIGIBLE_ACCOUNT", "dead"),
        ("NON_USER_ACCOUNT", "dead"),
        ("RESTRICTED_AGE", "dead"),
        ("RESTRICTED_NETWORK", "action_needed"),
        ("UNKNOWN", "action_needed"),
        ("UNKNOWN_LOCATION", "action_needed"),
        ("UNSUPPORTED_LOCATION", "action_needed"),
        ("VALIDATION_REQUIRED", "action_needed"),
    ] {
        let (upstream, gateway) = fresh("antigravity", move |verb, _| {
            let refused = json!({"ineligibleTiers": [{"reasonCode": code, "reasonMessage": "own words",
                "validationUrl": "https://accounts.google.com/verify"}]});
            (verb == ":loadCodeAssist").then(|| Reply::json(200, refused.to_string()))
        })
        .await;
        let response = gateway.chat(&ask("antigravity")).await;
        assert!(response.status >= 400, "{code}: {}", response.text());
        assert!(
            verbs(&upstream)
                .iter()
                .all(|verb| verb == ":loadCodeAssist"),
            "{code}"
        );
        let row = gateway.listed("antigravity/1", state).await;
        let reason = row["state_reason"].as_str().unwrap_or_default();
        assert!(
            reason.contains("https://accounts.google.com/verify"),
            "{code}: {reason}"
        );
    }
}

#[tokio::test]
async fn a_project_that_is_not_the_accounts_is_found_anew_once() {
    let (upstream, gateway) = start("gemini_cli", 1, "", |request| match verb(request).as_str() {
        ":loadCodeAssist" => Reply::json(
            200,
            json!({"currentTier": {"id": "standard-tier"}, "cloudaicompanionProject": "right"}).to_string(),
        ),
        _ if body(request)["project"] == "right" => hello(request),
        _ => error(
            403,
            "PERMISSION_DENIED",
            "Permission 'cloudaicompanion.companions.generateChat' denied on resource '//cloudaicompanion.googleapis.com/projects/proj-1'",
            &json!([]),
        ),
    })
    .await;
    for _ in 0..2 {
        let response = gateway.chat(&ask("gemini_cli")).await;
        assert_eq!(response.status, 200, "{}", response.text());
    }
    assert_eq!(
        verbs(&upstream),
        [
            ":generateContent",
            ":loadCodeAssist",
            ":generateContent",
            ":generateContent"
        ]
    );
}

fn catalogue() -> Value {
    json!({"models": {
        "claude-sonnet-4-6": {"displayName": "Claude Sonnet 4.6 (Thinking)", "maxTokens": 250_000, "maxOutputTokens": 64_000,
            "quotaInfo": {"remainingFraction": 0.5, "resetTime": "2099-01-01T00:00:00Z"}},
        "gemini-pro-agent": {"displayName": "Gemini 3.1 Pro (High)",
            "quotaInfo": {"remainingFraction": 0.25, "resetTime": "2099-01-01T00:00:00Z"}},
        "gemini-9-hidden-tiered": {"displayName": "x"}, "chat_1": {"displayName": "x"},
    }, "deprecatedModelIds": {"gemini-old-pro": {"newModelId": "gemini-pro-agent"}}})
}

#[tokio::test]
async fn the_live_catalogue_is_listed_and_old_names_are_served() {
    let (upstream, gateway) = whole(|request| match verb(request).as_str() {
        ":retrieveUserQuotaSummary" => Reply::json(200, "{}"),
        ":fetchAvailableModels" => Reply::json(200, catalogue().to_string()),
        _ => hello(request),
    })
    .await;
    let listed = gateway.get("/v1/models").await.json();
    let ids: Vec<_> = listed["data"]
        .as_array()
        .expect("models")
        .iter()
        .filter_map(|model| model["id"].as_str())
        .collect();
    assert_eq!(
        ids,
        [
            "antigravity/claude-sonnet-4-6",
            "antigravity/gemini-pro-agent"
        ]
    );
    for (name, model) in [
        ("antigravity/gemini-old-pro", "gemini-pro-agent"),
        ("antigravity/claude-opus-4.6", "claude-opus-4-6-thinking"),
    ] {
        let chat = json!({"model": name, "messages": [{"role": "user", "content": "hi"}]});
        let response = gateway.chat(&chat.to_string()).await;
        assert_eq!(response.status, 200, "{name}: {}", response.text());
        let sent = body(asked(&upstream).last().expect("a request"));
        assert_eq!(sent["model"], model);
    }
}

#[tokio::test]
async fn gemini_cli_lists_its_own_models() {
    let (_upstream, gateway) = start("gemini_cli", 1, "", hello).await;
    let listed = gateway.get("/v1/models").await.text();
    for model in ["gemini-2.5-pro", "gemini-3.1-pro-preview", "gemma-4-31b-it"] {
        assert!(
            listed.contains(&format!("\"gemini_cli/{model}\"")),
            "{listed}"
        );
    }
}

#[tokio::test]
async fn tokens_are_counted_by_the_service() {
    for (provider, model) in [
        ("gemini_cli", "gemini-2.5-pro"),
        ("antigravity", "gemini-pro-agent"),
    ] {
        let (upstream, gateway) = start(provider, 1, "", |_| {
            Reply::json(200, r#"{"totalTokens":7}"#)
        })
        .await;
        let anthropic = json!({"model": format!("{provider}/{model}"),
            "system": "S", "messages": [{"role": "user", "content": "hi"}]});
        let counted = gateway
            .send(&Request::post(
                "/v1/messages/count_tokens",
                anthropic.to_string(),
            ))
            .await;
        assert_eq!(counted.json(), json!({"input_tokens": 7}));
        let gemini = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]});
        let target = format!("/v1beta/models/{provider}/{model}:countTokens");
        let counted = gateway
            .send(&Request::post(&target, gemini.to_string()))
            .await;
        assert_eq!(counted.json()["totalTokens"], 7, "{}", counted.text());
        for request in asked(&upstream) {
            assert_eq!(request.target, "/v1internal:countTokens");
            let sent = body(&request);
            assert_eq!(sent["request"]["model"], format!("models/{model}"));
            assert!(
                sent.get("project").is_none() && sent.get("model").is_none(),
                "{sent}"
            );
        }
    }
}

#[tokio::test]
async fn quotas_are_read_by_family_and_window() {
    let (_upstream, gateway) = whole(|request| match verb(request).as_str() {
        ":retrieveUserQuotaSummary" => {
            let bucket = |id: &str, window: &str, left: f64| {
                json!({"bucketId": id, "window": window, "remainingFraction": left,
                    "resetTime": "2099-01-01T00:00:00Z"})
            };
            let summary = json!({"groups": [
                {"displayName": "Gemini Models", "buckets": [
                    bucket("gemini-weekly", "weekly", 0.75), bucket("gemini-5h", "5h", 0.25)]},
                {"displayName": "Claude and GPT models", "buckets": [
                    bucket("3p-weekly", "weekly", 0.5), bucket("3p-5h", "5h", 0.0)]}]});
            Reply::json(200, summary.to_string())
        }
        ":fetchAvailableModels" => Reply::json(200, catalogue().to_string()),
        _ => hello(request),
    })
    .await;
    let refresh = r#"{"action":"force_refresh","scope":"all"}"#;
    let answer = gateway
        .send(&Request::post("/v1/quota-stats", refresh))
        .await
        .json();
    assert_eq!(answer["refresh_result"]["success_count"], 1, "{answer}");
    let provider = answer["providers"]["antigravity"].to_string();
    assert!(provider.contains("\"remaining\":25"), "{provider}");
    let claude = json!({"model": "antigravity/claude-sonnet-4-6", "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(
        gateway.chat(&claude.to_string()).await.status,
        429,
        "its five hours are used up"
    );
    assert_eq!(gateway.chat(&ask("antigravity")).await.status, 200);
}
