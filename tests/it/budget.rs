//! A client's daily budget: served up to it, told of it, and not forgotten by a restart.

use crate::client::Request;
use crate::fake::openai;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::harness::Gateway;

const CHAT: &str = r#"{"model":"openai/gpt-4o-mini","messages":[{"role":"user","content":"hi"}]}"#;

/// Two clients: one that may spend next to nothing, and one without a budget.
fn config(upstream: &Upstream) -> String {
    format!(
        "[[server.clients]]\nname = \"poor\"\nkey = \"poor-key-0123456789\"\nbudget_usd = 0.0000001\n\
         [[server.clients]]\nname = \"rich\"\nkey = \"rich-key-0123456789\"\n\
         [providers.openai]\nbase_url = \"{}\"\napi_keys = [\"k1\"]\n",
        upstream.base_url()
    )
}

fn chat(key: &str) -> Request {
    Request::chat(CHAT).header("authorization", &format!("Bearer {key}"))
}

#[tokio::test]
async fn a_client_over_its_budget_waits_for_tomorrow_even_after_a_restart() {
    let upstream = Upstream::start(Script::always(openai::completion("hello"))).await;
    let mut gateway = Gateway::start(&config(&upstream)).await;
    let (poor, rich) = (chat("poor-key-0123456789"), chat("rich-key-0123456789"));
    assert_eq!(gateway.send(&poor).await.status, 200, "nothing is spent");
    let refused = gateway.send(&poor).await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    let (kind, code) = refused.error();
    assert_eq!(
        (kind.as_str(), code.as_str()),
        ("rate_limit_error", "client_rate_limited")
    );
    let wait: u64 = refused
        .header("retry-after")
        .and_then(|wait| wait.parse().ok())
        .expect("a wait");
    assert!((1..=86_400).contains(&wait), "{wait}");
    assert_eq!(gateway.send(&rich).await.status, 200, "others go on");
    let models = Request::get("/v1/models").header("authorization", "Bearer poor-key-0123456789");
    assert_eq!(gateway.send(&models).await.status, 200, "looking is free");

    gateway.signal("TERM");
    gateway.exited().await;
    let gateway = Gateway::start_in(gateway.take_home(), &[]).await;
    assert_eq!(gateway.send(&poor).await.status, 429, "it is remembered");
}
