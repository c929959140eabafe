//! What a translation loses: named in a header, counted, and refused where the user or the client
//! wants no loss.

use serde_json::{Value, json};

use crate::client::{Request, Response};
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::fake::{anthropic, openai};
use crate::harness::{Gateway, keys};

async fn on_claude(settings: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::start(Script::always(anthropic::message("hi"))).await;
    let config = format!(
        "{settings}[providers.fake]\nkind = \"anthropic\"\nbase_url = \"{}\"\napi_keys = {:?}\n",
        upstream.origin(),
        keys(1)
    );
    let gateway = Gateway::start(&config).await;
    (upstream, gateway)
}

fn lossy() -> Value {
    json!({"model": "fake/claude-haiku-4-5", "seed": 1, "logit_bias": {"1": 2},
        "messages": [{"role": "user", "content": "hi"}]})
}

fn dropped(answer: &Response) -> Vec<String> {
    let named = answer.header("x-llmproxy-dropped").unwrap_or_default();
    let mut fields: Vec<_> = named.split(", ").map(str::to_owned).collect();
    fields.sort();
    fields
}

#[tokio::test]
async fn each_loss_is_named_and_counted() {
    let (_upstream, gateway) = on_claude("").await;
    let answer = gateway.chat(&lossy().to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(dropped(&answer), ["logit_bias", "seed"]);
    let metrics = gateway.get("/metrics").await.text();
    let counted = metrics
        .lines()
        .find(|line| line.starts_with("llmproxy_translation_losses_total{"));
    assert!(
        counted.is_some_and(|line| line.ends_with(" 2")),
        "{metrics}"
    );
    // Nothing is lost where both speak one dialect.
    let upstream = Upstream::start(Script::always(openai::completion("hi"))).await;
    let config = crate::harness::provider("fake", &upstream, &keys(1));
    let gateway = Gateway::start(&config).await;
    let answer = gateway.chat(&lossy().to_string()).await;
    assert_eq!(answer.header("x-llmproxy-dropped"), None);
}

#[tokio::test]
async fn where_nothing_may_be_lost_a_loss_is_a_400_that_names_it() {
    let strict = "[routing]\nstrict_translation = true\n";
    for (settings, header, status) in [
        ("", None, 200),
        ("", Some(("x-llmproxy-strict-translation", "true")), 400),
        ("", Some(("x-llmproxy-strict-translation", "false")), 200),
        ("", Some(("x-llmproxy-strict", "1")), 400),
        (strict, None, 400),
        (
            strict,
            Some(("x-llmproxy-strict-translation", "false")),
            200,
        ),
    ] {
        let (upstream, gateway) = on_claude(settings).await;
        let mut request = Request::chat(&lossy().to_string());
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let answer = gateway.send(&request).await;
        let text = answer.text();
        assert_eq!(answer.status, status, "{settings} {header:?}: {text}");
        let is_named = text.contains("seed") && text.contains("logit_bias");
        assert_eq!(is_named, status == 400, "{text}");
        assert_eq!(upstream.requests().len(), usize::from(status == 200));
        let mut lossless = lossy();
        let members = lossless.as_object_mut().expect("an object");
        members.retain(|name, _| !["seed", "logit_bias"].contains(&name.as_str()));
        assert_eq!(gateway.chat(&lossless.to_string()).await.status, 200);
    }
}
