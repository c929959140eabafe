//! Outbound proxies: of a provider, of one key, HTTP and SOCKS5.

use crate::client::CHAT;
use crate::fake::proxy::Proxy;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::fake::{key, openai};
use crate::harness::{Gateway, Home};

/// A host that only a proxy of ours knows (RFC 6761): whoever does not go through it fails.
const NOWHERE: &str = "http://upstream.invalid:8001/v1";

async fn upstream() -> Upstream {
    Upstream::start(Script::always(openai::completion("hi"))).await
}

fn config(base: &str, keys: &str, settings: &str) -> String {
    format!(
        "[providers.fake]\nkind = \"openai\"\nbase_url = \"{base}\"\napi_keys = {keys}\n{settings}\n"
    )
}

#[tokio::test]
async fn a_providers_calls_and_lists_go_through_its_http_proxy() {
    let upstream = upstream().await;
    let proxy = Proxy::http(upstream.address()).await;
    let settings = format!("proxy = \"http://me:word@{}\"", proxy.address());
    let keys = format!("[\"{}\"]", key("1"));
    let gateway = Gateway::start(&config(NOWHERE, &keys, &settings)).await;
    let answer = gateway.chat(CHAT).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(gateway.get("/v1/models").await.status, 200);
    assert!(upstream.lists() > 0, "the list came through the proxy");
    let asked = proxy.asked();
    assert!(!asked.is_empty());
    for line in &asked {
        // Basic base64("me:word"), as the proxy's address says.
        assert!(
            line.contains(NOWHERE) && line.ends_with("Basic bWU6d29yZA=="),
            "{line}"
        );
    }
    let seen = upstream.request();
    assert_eq!(
        seen.header("authorization"),
        Some(format!("Bearer {}", key("1")).as_str())
    );
}

#[tokio::test]
async fn a_key_with_a_proxy_of_its_own_never_takes_another_way() {
    let upstream = upstream().await;
    let (http, socks) = (
        Proxy::http(upstream.address()).await,
        Proxy::socks(upstream.address()).await,
    );
    let keys = format!(
        "[\"{}\", {{ key = \"{}\", proxy = \"socks5h://{}\" }}, {{ key = \"{}\", proxy = \"env:OWN_PROXY\" }}]",
        key("1"),
        key("2"),
        socks.address(),
        key("3"),
    );
    let settings = format!(
        "rotation = \"balanced\"\nproxy = \"http://{}\"\n[routing]\naffinity = false",
        http.address()
    );
    let third = Proxy::socks(upstream.address()).await;
    let home = Home::with_config(&config(NOWHERE, &keys, &settings)).env(
        "OWN_PROXY",
        &format!("socks5h://me:word@{}", third.address()),
    );
    let gateway = Gateway::start_in(home, &[]).await;
    for round in 0.. {
        let answer = gateway.chat(CHAT).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        if ["1", "2", "3"]
            .iter()
            .all(|name| upstream.calls(&key(name)) > 0)
        {
            break;
        }
        assert!(round < 200, "balanced rotation uses each key");
    }
    assert!(
        http.asked().iter().all(|line| line.contains(NOWHERE)),
        "{:?}",
        http.asked()
    );
    assert!(!http.asked().is_empty());
    assert_eq!(
        socks.asked().first().map(String::as_str),
        Some("upstream.invalid:8001")
    );
    assert_eq!(
        third.asked().first().map(String::as_str),
        Some("me:word upstream.invalid:8001")
    );
}

#[tokio::test]
async fn a_key_may_go_past_the_proxy_and_socks5_takes_addresses() {
    let upstream = upstream().await;
    let proxy = Proxy::socks(upstream.address()).await;
    let keys = format!(
        "[\"{}\", {{ key = \"{}\", proxy = \"direct\" }}]",
        key("1"),
        key("2")
    );
    let settings = format!("proxy = \"socks5://{}\"", proxy.address());
    let home = Home::with_config(&config(&upstream.base_url(), &keys, &settings));
    let tested = home.run_beside(&["test-keys", "--json"], "").await;
    assert_eq!(tested.code, 0, "{tested:?}");
    let through = upstream.address().to_string();
    assert!(
        proxy.asked().iter().all(|line| *line == through),
        "{:?}",
        proxy.asked()
    );
    let (all, proxied) = (upstream.connections(), proxy.asked().len());
    assert!(
        proxied > 0 && proxied < all,
        "{proxied} of {all} connections"
    );
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_and_no_key_is_blamed() {
    let proxy = Proxy::locked().await;
    let settings = format!(
        "proxy = \"http://me:wrong@{}\"\n[routing]\nsame_key_retries = 0\nmax_attempts = 1",
        proxy.address()
    );
    for base in [NOWHERE, "https://upstream.invalid/v1"] {
        let keys = format!("[\"{}\"]", key("1"));
        let home = Home::with_config(&config(base, &keys, &settings));
        let gateway = Gateway::start_in(home, &[]).await;
        let answer = gateway.chat(CHAT).await;
        assert_eq!(answer.status, 502, "{}", answer.text());
        assert!(answer.text().contains("proxy"), "{}", answer.text());
        assert!(!answer.text().contains("wrong"), "{}", answer.text());
        let tested = gateway
            .home()
            .run_beside(&["test-keys", "--json"], "")
            .await;
        assert!(tested.stdout.contains("\"unreachable\""), "{tested:?}");
    }
    assert!(
        proxy
            .asked()
            .iter()
            .any(|line| line.starts_with("CONNECT upstream.invalid:443 "))
    );
}

#[tokio::test]
async fn a_stored_key_keeps_its_proxy() {
    let upstream = upstream().await;
    let proxy = Proxy::socks(upstream.address()).await;
    let home = Home::with_config(&config(NOWHERE, "[]", ""));
    let address = format!("socks5h://{}", proxy.address());
    let add = ["creds", "add", "fake", "--proxy", &address];
    let added = home.run_beside(&add, &key("1")).await;
    assert_eq!(added.code, 0, "{added:?}");
    assert_eq!(proxy.asked().len(), 1, "it was checked through the proxy");
    let gateway = Gateway::start_in(home, &[]).await;
    assert_eq!(gateway.chat(CHAT).await.status, 200);
    let secret = [
        "creds",
        "add",
        "fake",
        "--proxy",
        "http://me:word@127.0.0.1:1",
    ];
    let refused = gateway.home().run_beside(&secret, &key("2")).await;
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("env:NAME"), "{refused:?}");
}
