//! What there is: models, providers, health.

use crate::client::Request;
use crate::fake::openai;
use crate::fake::reply::Reply;
use crate::fake::script::Script;
use crate::harness::{Gateway, pair};

fn ids(list: &serde_json::Value) -> Vec<String> {
    let rows = list["data"].as_array().cloned().unwrap_or_default();
    let id = |row: &serde_json::Value| row["id"].as_str().unwrap_or_default().to_owned();
    let mut ids: Vec<_> = rows.iter().map(id).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn the_model_list_is_openais_with_our_names() {
    let script = Script::new().models(["m1", "org/m2", "m3-preview"]);
    let settings = "ignore_models = [\"*-preview\"]\nmodels = [\"extra\"]\n";
    let (_upstream, gateway) = pair(script, 1, settings).await;
    let list = gateway.get("/v1/models").await.json();
    assert_eq!(list["object"], "list");
    assert_eq!(ids(&list), ["fake/extra", "fake/m1", "fake/org/m2"]);
    assert_eq!(list["data"][0]["object"], "model");
    assert!(list["data"][0]["created"].is_i64());
    assert_eq!(list["data"][0]["owned_by"], "fake");
}

#[tokio::test]
async fn one_model_is_found_by_its_id_with_slashes() {
    let script = Script::new().models(["m1", "org/m2"]);
    let (_upstream, gateway) = pair(script, 1, "").await;
    for model in ["fake/m1", "fake/org/m2"] {
        let answer = gateway.get(&format!("/v1/models/{model}")).await;
        assert_eq!((answer.status, &answer.json()["id"]), (200, &model.into()));
    }
    let answer = gateway.get("/v1/models/fake/m9").await;
    assert_eq!(
        (answer.status, answer.error().1.as_str()),
        (404, "model_not_found")
    );
}

#[tokio::test]
async fn aliases_are_listed_beside_the_models() {
    let settings = "[models.smart]\ntargets = [\"fake/m1\"]\n";
    let (_upstream, gateway) = pair(Script::new(), 1, settings).await;
    assert_eq!(
        ids(&gateway.get("/v1/models").await.json()),
        ["fake/m1", "smart"]
    );
}

#[tokio::test]
async fn a_provider_that_cannot_list_hides_nothing_else() {
    let script = Script::always(openai::completion("hi")).model_list(openai::broken());
    let (_upstream, gateway) = pair(script, 1, "models = [\"known\"]\n").await;
    assert_eq!(ids(&gateway.get("/v1/models").await.json()), ["fake/known"]);
    // And what it did not list is tried all the same.
    let body = r#"{"model":"fake/unlisted","messages":[]}"#;
    assert_eq!(gateway.send(&Request::chat(body)).await.status, 200);
    assert_eq!(gateway.provider("fake").await["ready"], 1);
}

#[tokio::test]
async fn a_bare_array_of_models_is_a_list_too() {
    let list = Reply::json(200, r#"[{"id":"b1"},{"id":"b2"}]"#);
    let (_upstream, gateway) = pair(Script::new().model_list(list), 1, "").await;
    assert_eq!(
        ids(&gateway.get("/v1/models").await.json()),
        ["fake/b1", "fake/b2"]
    );
}

#[tokio::test]
async fn the_provider_list_counts_credentials() {
    let (_upstream, gateway) = pair(Script::new(), 3, "").await;
    assert_eq!(gateway.get("/v1/models").await.status, 200);
    let row = gateway.provider("fake").await;
    assert_eq!(row["kind"], "openai");
    assert_eq!((&row["credentials"], &row["ready"]), (&3.into(), &3.into()));
    assert_eq!((&row["cooling"], &row["models"]), (&0.into(), &1.into()));
}

#[tokio::test]
async fn health_needs_a_ready_credential() {
    let nobody = Gateway::start("").await;
    assert_eq!(nobody.get("/health").await.status, 503);
    let (_upstream, gateway) = pair(Script::new(), 1, "").await;
    assert_eq!(gateway.get("/health").await.status, 200);
}

#[tokio::test]
async fn keys_come_from_the_environment_too() {
    let upstream =
        crate::fake::upstream::Upstream::start(Script::always(openai::completion("hi"))).await;
    let home = crate::harness::Home::new()
        .env("MYHOST_API_KEY", &crate::fake::key("env"))
        .env("MYHOST_API_KEY_2", "")
        .env("MYHOST_API_BASE", &upstream.base_url())
        .env("GITHUB_API_KEY_ID", "not-a-credential");
    let gateway = Gateway::start_in(home, &[]).await;
    let row = gateway.provider("myhost").await;
    assert_eq!(row["credentials"], 1);
    let body = r#"{"model":"myhost/m1","messages":[]}"#;
    assert_eq!(gateway.chat(body).await.status, 200);
    assert_eq!(upstream.calls(&crate::fake::key("env")), 1);
}
