//! HTTPS: served, renewed while running, and refused in one sentence where it cannot be.

use std::fs;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::Certificate;

use crate::fake::openai;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::harness::{Gateway, Home, keys, provider};

const TLS: &str = "[server]\ntls = { cert = \"cert.pem\", key = \"key.pem\" }\n";

/// A new certificate for localhost beside the config, and a client that trusts only it.
fn certify(home: &Home) -> reqwest::Client {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let folder = home.config_file();
    let folder = folder.parent().expect("the config has a folder");
    fs::write(folder.join("key.pem"), signing_key.serialize_pem()).expect("the key is written");
    fs::write(folder.join("cert.pem"), cert.pem()).expect("the certificate is written");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let root = Certificate::from_pem(cert.pem().as_bytes()).expect("it is a certificate");
    reqwest::Client::builder()
        .tls_certs_only([root])
        .no_proxy()
        .build()
        .expect("a client")
}

async fn ask(client: &reqwest::Client, gateway: &Gateway) -> reqwest::Result<String> {
    let url = format!(
        "https://localhost:{}/v1/chat/completions",
        gateway.address().port()
    );
    let body = r#"{"model":"fake/m","messages":[{"role":"user","content":"hi"}]}"#;
    let request = client.post(url).header("content-type", "application/json");
    request.body(body).send().await?.text().await
}

#[tokio::test]
async fn a_certificate_makes_it_https_and_a_renewed_one_counts_at_once() {
    let upstream = Upstream::start(Script::always(openai::completion("over TLS"))).await;
    let home = Home::with_config(&(provider("fake", &upstream, &keys(1)) + TLS));
    let first = certify(&home);
    let mut gateway = Gateway::start_in(home, &[]).await;
    let answer = ask(&first, &gateway).await.expect("HTTPS is served");
    assert!(answer.contains("over TLS"), "{answer}");
    assert!(gateway.stderr().contains("listening on https://"));

    let second = certify(gateway.home());
    gateway.line_with("reloaded").await;
    let answer = ask(&second, &gateway).await.expect("the new certificate");
    assert!(answer.contains("over TLS"), "{answer}");
    // Connections that are open go on with what they shook hands with.
    ask(&first, &gateway).await.expect("the old connection");
}

#[tokio::test]
async fn plain_http_on_an_https_port_is_no_answer() {
    let home = Home::with_config(TLS);
    certify(&home);
    let gateway = Gateway::start_in(home, &[]).await;
    let mut connection = gateway.connect().await;
    connection
        .send_bytes(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    let rest = connection.rest().await;
    assert!(!rest.starts_with(b"HTTP/"), "{rest:?}");
}

#[test]
fn files_that_are_no_pair_are_named_and_end_the_start_with_2() {
    let home = Home::with_config(TLS);
    let missing = home.run(&["serve", "--port", "0"]);
    assert_eq!(missing.code, 2, "{}", missing.stderr);
    assert!(missing.stderr.contains("cert.pem"), "{}", missing.stderr);

    certify(&home);
    let folder = home.config_file();
    let folder = folder.parent().expect("the config has a folder");
    let key = folder.join("key.pem");
    let kept = fs::read(&key).expect("the key");
    fs::write(&key, "no key").expect("it is written");
    let garbage = home.run(&["serve", "--port", "0"]);
    assert_eq!(garbage.code, 2, "{}", garbage.stderr);
    assert!(garbage.stderr.contains("key.pem"), "{}", garbage.stderr);

    certify(&home);
    fs::write(&key, kept).expect("it is written");
    let foreign = home.run(&["serve", "--port", "0"]);
    assert_eq!(foreign.code, 2, "{}", foreign.stderr);
    assert!(foreign.stderr.contains("hint:"), "{}", foreign.stderr);
}
