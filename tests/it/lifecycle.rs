//! Starting, reloading, ending.

use crate::client::{CHAT, Connection, Request, STREAM};
use crate::fake::openai;
use crate::fake::reply::{Ending, Gate, Reply};
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::harness::{Gateway, Home, keys, pair, provider};

/// A stream under way: its first word has reached the client.
async fn under_way(gateway: &Gateway) -> (Connection, crate::client::Response) {
    let mut connection = gateway.connect().await;
    connection.send(&Request::chat(STREAM)).await;
    let mut answer = connection.head().await;
    while !answer.text().contains("one") {
        connection.piece(&mut answer).await.expect("the first word");
    }
    (connection, answer)
}

#[tokio::test]
async fn without_a_credential_it_starts_and_says_how_to_add_one() {
    let mut gateway = Gateway::start_in(Home::new(), &[]).await;
    gateway.line_with("llmproxy creds add").await;
    assert_eq!(gateway.get("/").await.status, 200);
}

#[tokio::test]
async fn on_sigterm_streams_finish_and_it_exits_0() {
    for signal in ["TERM", "INT"] {
        let gate = Gate::new();
        let script = Script::always(openai::stream(&["one", "two"]).gated(&gate));
        let (_upstream, mut gateway) = pair(script, 1, "").await;
        gate.open(2);
        let (mut connection, mut answer) = under_way(&gateway).await;
        gateway.signal(signal);
        gateway.line_with("drain").await;
        gate.open(4);
        while connection.piece(&mut answer).await.is_some() {}
        assert_eq!(
            answer.text(),
            openai::frames(&["one", "two"]).concat(),
            "{signal}"
        );
        assert_eq!(gateway.exited().await.code(), Some(0), "{signal}");
    }
}

#[tokio::test]
async fn a_drain_has_an_end() {
    let reply = openai::stream(&["one", "two"]).cut(400, Ending::Stall);
    let settings = "[server]\ndrain_timeout = \"200ms\"\n";
    let (_upstream, mut gateway) = pair(Script::always(reply), 1, settings).await;
    let (mut connection, mut answer) = under_way(&gateway).await;
    gateway.signal("TERM");
    while connection.piece(&mut answer).await.is_some() {}
    assert!(answer.text().contains("\"error\""), "{}", answer.text());
    assert!(!answer.text().contains("[DONE]"), "{}", answer.text());
    assert_eq!(gateway.exited().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let reply = openai::stream(&["one", "two"]).cut(400, Ending::Stall);
    let (_upstream, mut gateway) = pair(Script::always(reply), 1, "").await;
    let (_connection, _answer) = under_way(&gateway).await;
    gateway.signal("TERM");
    gateway.line_with("drain").await;
    gateway.signal("TERM");
    gateway.exited().await;
}

#[tokio::test]
async fn an_idle_gateway_ends_without_delay() {
    let (_upstream, mut gateway) = pair(Script::new(), 1, "").await;
    let _idle = gateway.connect().await;
    let began = std::time::Instant::now();
    gateway.signal("TERM");
    assert_eq!(gateway.exited().await.code(), Some(0));
    assert!(
        began.elapsed().as_secs() < 20,
        "an idle connection held up the drain"
    );
}

#[tokio::test]
async fn a_taken_port_is_one_sentence_and_a_hint() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener
        .local_addr()
        .expect("an address")
        .port()
        .to_string();
    let finished = Home::new().run(&["serve", "--port", &port]);
    assert_eq!(finished.code, 1, "{finished:?}");
    assert!(
        finished.stderr.contains(&port) && finished.stderr.contains("hint: "),
        "{finished:?}"
    );
}

#[tokio::test]
async fn a_broken_config_is_exit_2_with_its_line() {
    let home = Home::with_config("[server]\nport = 8000\nhots = \"x\"\n");
    let finished = home.run(&["serve", "--port", "0"]);
    assert_eq!(finished.code, 2, "{finished:?}");
    for part in ["hots", "host", "config.toml", "3"] {
        assert!(
            finished.stderr.contains(part),
            "no {part} in {}",
            finished.stderr
        );
    }
}

#[tokio::test]
async fn sighup_takes_the_new_config_and_keeps_the_old_if_it_is_bad() {
    let upstream = Upstream::start(Script::always(openai::completion("hi"))).await;
    let first = provider("fake", &upstream, &keys(1));
    let mut gateway = Gateway::start_in(Home::with_config(&first), &["--no-watch"]).await;
    gateway
        .home()
        .write_config(&(first.clone() + &provider("added", &upstream, &keys(1))));
    gateway.signal("HUP");
    gateway.line_with("reload").await;
    assert_eq!(
        gateway.chat(&CHAT.replace("fake/", "added/")).await.status,
        200
    );
    gateway.home().write_config("[nonsense\n");
    gateway.signal("HUP");
    gateway.line_with("reload").await;
    assert_eq!(gateway.chat(CHAT).await.status, 200);
}

#[tokio::test]
async fn a_silent_upstream_does_not_delay_the_start() {
    let script = Script::new().model_list(Reply::silence());
    let (_upstream, gateway) = pair(script, 1, "").await;
    assert_eq!(gateway.get("/health").await.status, 200);
}
