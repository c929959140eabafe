//! `llmproxy chat` as a user meets it.

use crate::commands::{assert_refused, home, json};
use crate::fake::openai;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::harness::{Gateway, Home, keys, provider};

#[test]
fn a_newcomer_can_chat_with_the_demo() {
    let spoken = Home::new().run(&["chat", "-m", "demo/echo", "hi"]);
    assert_eq!((spoken.code, spoken.stderr.as_str()), (0, ""), "{spoken:?}");
    assert!(
        spoken.stdout.contains("hi") && spoken.stdout.ends_with('\n'),
        "{spoken:?}"
    );
    let piped = Home::new().run_with_input(&["chat", "-m", "demo/echo"], "hi from a pipe\n");
    assert!(piped.stdout.contains("hi from a pipe"), "{piped:?}");
    let both = Home::new().run_with_input(&["chat", "-m", "demo/echo", "Sum up:"], "the text\n");
    assert!(
        both.stdout.contains("Sum up:") && both.stdout.contains("the text"),
        "{both:?}"
    );
}

#[tokio::test]
async fn chat_streams_rotates_and_prints_only_the_answer() {
    let script =
        Script::new().others_once([openai::rate_limited(), openai::stream(&["one ", "two"])]);
    let (upstream, home) = home(script, 2).await;
    let finished = home
        .run_beside(
            &["chat", "-m", "fake/m1", "-s", "Be brief", "hello", "you"],
            "",
        )
        .await;
    assert_eq!(
        (finished.code, finished.stdout.as_str()),
        (0, "one two\n"),
        "{finished:?}"
    );
    let body: serde_json::Value =
        serde_json::from_slice(&upstream.requests()[1].body).expect("JSON");
    assert_eq!(body["messages"][0]["content"], "Be brief");
    assert_eq!(body["messages"][1]["content"], "hello you");
    assert_eq!(body["stream"], true);
}

#[tokio::test]
async fn chat_json_is_the_whole_completion() {
    let (_upstream, home) = home(Script::always(openai::completion("hi")), 1).await;
    let arguments = [
        "chat",
        "-m",
        "fake/m1",
        "--json",
        "--no-stream",
        "--max-tokens",
        "5",
        "hello",
    ];
    let finished = home.run_beside(&arguments, "").await;
    assert_eq!(finished.code, 0, "{finished:?}");
    assert_eq!(json(&finished)["choices"][0]["message"]["content"], "hi");
}

#[tokio::test]
async fn chat_usage_is_one_line_on_stderr() {
    let (_upstream, home) = home(Script::always(openai::stream(&["hi"])), 1).await;
    let finished = home
        .run_beside(&["chat", "-m", "fake/m1", "--usage", "hello"], "")
        .await;
    assert_eq!(
        (finished.code, finished.stdout.as_str()),
        (0, "hi\n"),
        "{finished:?}"
    );
    assert_eq!(finished.stderr.lines().count(), 1, "{finished:?}");
    assert!(
        finished.stderr.contains("11") && finished.stderr.contains('7'),
        "{finished:?}"
    );
}

#[tokio::test]
async fn chat_names_what_it_cannot_find() {
    let (_upstream, home) = home(Script::new(), 1).await;
    let unknown = home
        .run_beside(&["chat", "-m", "fkae/m1", "hello"], "")
        .await;
    assert_refused(&unknown, 1, "fake");
    let keyless = home
        .run_beside(&["chat", "-m", "groq/llama-3.3-70b", "hello"], "")
        .await;
    assert_refused(&keyless, 3, "groq");
}

#[tokio::test]
async fn chat_tells_a_refusal_from_a_failure() {
    for refusal in [openai::bad_key(), openai::broken()] {
        let (_upstream, home) = home(Script::always(refusal), 1).await;
        let finished = home
            .run_beside(&["chat", "-m", "fake/m1", "hello"], "")
            .await;
        assert!([1, 3].contains(&finished.code), "{finished:?}");
        assert!(finished.stderr.starts_with("error: "), "{finished:?}");
    }
}

#[tokio::test]
async fn chat_can_talk_to_a_running_gateway() {
    let upstream = Upstream::start(Script::always(openai::stream(&["over ", "HTTP"]))).await;
    let config = provider("fake", &upstream, &keys(1))
        + "[server]\napi_keys = [\"client-key-0123456789\"]\n";
    let gateway = Gateway::start(&config).await;
    let url = format!("http://{}", gateway.address());
    let visitor = Home::new().env("LLMPROXY_API_KEY", "client-key-0123456789");
    let finished = visitor
        .run_beside(&["chat", "--url", &url, "-m", "fake/m1", "hello"], "")
        .await;
    assert_eq!(
        (finished.code, finished.stdout.as_str()),
        (0, "over HTTP\n"),
        "{finished:?}"
    );
    let stranger = Home::new();
    let finished = stranger
        .run_beside(&["chat", "--url", &url, "-m", "fake/m1", "hello"], "")
        .await;
    assert_ne!(finished.code, 0, "{finished:?}");
}

#[tokio::test]
async fn a_cooldown_outlives_the_process_and_ends_by_hand() {
    let limited = openai::rate_limited().header("retry-after", "600");
    let script = Script::new().others_once([limited, openai::stream(&["hi"])]);
    let (_upstream, home) = home(script, 1).await;
    let cooled = home
        .run_beside(&["chat", "-m", "fake/m1", "hello"], "")
        .await;
    assert_ne!(cooled.code, 0, "{cooled:?}");
    let row = &json(&home.run(&["creds", "list", "--json"]))[0];
    assert_eq!(row["state"], "cooling", "{row}");
    // What one run learned counts in the next: the upstream would have answered this one.
    let still = home
        .run_beside(&["chat", "-m", "fake/m1", "hello"], "")
        .await;
    assert_ne!(still.code, 0, "{still:?}");
    assert_eq!(home.run(&["creds", "reset", "fake/1"]).code, 0);
    let served = home
        .run_beside(&["chat", "-m", "fake/m1", "hello"], "")
        .await;
    assert_eq!(
        (served.code, served.stdout.as_str()),
        (0, "hi\n"),
        "{served:?}"
    );
}
