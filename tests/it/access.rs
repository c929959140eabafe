//! Who may ask: client keys in every form, open routes, addresses that need a key.

use crate::client::{CHAT, Request};
use crate::fake::openai;
use crate::fake::script::Script;
use crate::harness::{Gateway, Home, pair};

const LOCKED: &str = "[server]\napi_keys = [\"client-key-0123456789\"]\n";

#[tokio::test]
async fn a_key_counts_in_every_form() {
    let (_upstream, gateway) = pair(Script::always(openai::completion("hi")), 1, LOCKED).await;
    for (name, value) in [
        ("authorization", "Bearer client-key-0123456789"),
        ("authorization", "bearer client-key-0123456789"),
        ("x-api-key", "client-key-0123456789"),
        ("x-goog-api-key", "client-key-0123456789"),
    ] {
        let answer = gateway.send(&Request::chat(CHAT).header(name, value)).await;
        assert_eq!(answer.status, 200, "{name}: {value}");
    }
}

#[tokio::test]
async fn a_wrong_or_missing_key_is_401_everywhere() {
    let (upstream, gateway) = pair(Script::always(openai::completion("hi")), 1, LOCKED).await;
    for request in [
        Request::chat(CHAT),
        Request::chat(CHAT).header("authorization", "Bearer client-key-0123456780"),
        Request::chat(CHAT).header("authorization", "Bearer client-key-0123456789x"),
        Request::chat(CHAT).header("authorization", "Bearer "),
        Request::chat(CHAT).header("authorization", "Basic client-key-0123456789"),
        Request::chat(CHAT).header("x-api-key", "wrong"),
        Request::post("/v1/chat/completions?key=client-key-0123456789", CHAT),
        Request::post("/v1/completions", CHAT),
        Request::post("/v1/embeddings", CHAT),
        Request::get("/v1/models"),
        Request::get("/v1/models/fake/m1"),
        Request::get("/v1/providers"),
    ] {
        let answer = gateway.send(&request).await;
        assert_eq!(answer.status, 401, "{request:?}: {}", answer.text());
        let expected = (
            "authentication_error".to_owned(),
            "invalid_api_key".to_owned(),
        );
        assert_eq!(answer.error(), expected, "{request:?}");
    }
    assert_eq!(upstream.requests().len(), 0);
}

#[tokio::test]
async fn the_open_routes_need_no_key_and_tell_nothing() {
    let (_upstream, gateway) = pair(Script::always(openai::completion("hi")), 1, LOCKED).await;
    let root = gateway.get("/").await;
    assert_eq!((root.status, &root.json()["status"]), (200, &"ok".into()));
    assert_eq!(root.json()["name"], "llmproxy");
    assert_eq!(root.json()["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(gateway.get("/health").await.status, 200);
}

#[tokio::test]
async fn a_key_from_the_environment_locks_the_door() {
    let home = Home::new().env("PROXY_API_KEY", "from-the-environment");
    let gateway = Gateway::start_in(home, &[]).await;
    assert_eq!(gateway.get("/v1/models").await.status, 401);
    let request = Request::get("/v1/models").header("x-api-key", "from-the-environment");
    assert_eq!(gateway.send(&request).await.status, 200);
}

#[tokio::test]
async fn a_public_address_without_a_key_is_refused() {
    for host in ["0.0.0.0", "::"] {
        let finished = Home::new().run(&["serve", "--host", host, "--port", "0"]);
        assert_eq!(finished.code, 2, "{finished:?}");
        assert!(
            finished.stderr.starts_with("error: "),
            "{}",
            finished.stderr
        );
        assert!(finished.stderr.contains("\nhint: "), "{}", finished.stderr);
    }
}

#[tokio::test]
async fn a_public_address_with_a_key_is_served() {
    let home =
        Home::with_config("[server]\nhost = \"0.0.0.0\"\napi_keys = [\"client-key-0123456789\"]\n");
    let gateway = Gateway::start_in(home, &[]).await;
    let mut connection =
        crate::client::Connection::open(([127, 0, 0, 1], gateway.address().port()).into()).await;
    connection.send(&Request::get("/")).await;
    assert_eq!(connection.response().await.status, 200);
}

#[tokio::test]
async fn insecure_no_auth_says_so_and_serves() {
    let gateway =
        Gateway::start_in(Home::new(), &["--host", "0.0.0.0", "--insecure-no-auth"]).await;
    assert!(gateway.address().port() > 0);
}

#[tokio::test]
async fn a3_a_key_that_this_machine_knows_the_digest_of_lets_its_holder_in() {
    // `printf %s client-key-0123456789 | sha256sum`
    let digest = "sha256:cbabecbd031c14b585286f8bbe8ee8c918084a61befa997329ecea40c3f1e0ca";
    let settings = format!("[server]\napi_keys = [\"{digest}\"]\n");
    let (_upstream, gateway) = pair(Script::always(openai::completion("hi")), 1, &settings).await;
    let ask = |key: &str| Request::chat(CHAT).header("x-api-key", key);
    assert_eq!(
        gateway.send(&ask("client-key-0123456789")).await.status,
        200
    );
    // The digest opens nothing, whichever way it is sent.
    for wrong in [digest, &digest["sha256:".len()..], "client-key-0123456780"] {
        assert_eq!(gateway.send(&ask(wrong)).await.status, 401, "{wrong}");
    }
    // Our own commands have it as little as anybody else who reads the file.
    let url = format!("http://{}", gateway.address());
    let status = ["status", "--url", &url];
    let home = gateway.home().again();
    let shut_out = home.run_beside(&status, "").await;
    assert_eq!(shut_out.code, 1, "{shut_out:?}");
    assert!(shut_out.stderr.contains("LLMPROXY_API_KEY"), "{shut_out:?}");
    let home = home.env("LLMPROXY_API_KEY", "client-key-0123456789");
    let let_in = home.run_beside(&status, "").await;
    assert_eq!(let_in.code, 0, "{let_in:?}");
    let checked = home.run(&["config", "show"]);
    assert!(!checked.stdout.contains("client-key"), "{checked:?}");
}
