//! `llmproxy setup` on a terminal: what it asks, what it writes, and how it is left.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::commands::{assert_refused, home};
use crate::fake::reply::Reply;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::fake::{gemini, key, openai};
use crate::harness::Home;
use crate::terminal::Terminal;

const ENTER: &str = "\r";
const ESC: &str = "\u{1b}";
const DOWN: &str = "\u{1b}[B";
const CTRL_C: &str = "\u{3}";

/// Picks an entry of the menu.
async fn pick(setup: &mut Terminal, entry: &str) {
    setup.shows("> Add an API key").await;
    // The whole of it: a list is drawn line by line.
    setup.shows("  Done").await;
    let text = setup.text();
    let entries = text.lines().skip_while(|line| !line.starts_with("> "));
    let down = entries
        .take_while(|line| !line[2..].starts_with(entry))
        .count();
    setup.press(&DOWN.repeat(down));
    setup.answer(&format!("> {entry}"), ENTER).await;
}

#[test]
fn without_a_terminal_it_says_what_to_do_instead() {
    assert_refused(&Home::new().run(&["setup"]), 2, "creds add");
}

/// Stands in for Claude Code: asks as it does, and prints the answer.
const CLAUDE: &str = r#"#!/bin/sh
[ "$1" = -p ] || exit 9
curl -s "$ANTHROPIC_BASE_URL/v1/messages?beta=true" -H "authorization: Bearer $ANTHROPIC_AUTH_TOKEN" \
    -H 'anthropic-version: 2023-06-01' -H 'content-type: application/json' \
    -d "{\"model\":\"$ANTHROPIC_MODEL\",\"max_tokens\":9,\"messages\":[{\"role\":\"user\",\"content\":\"$2\"}]}"
"#;

/// Adds two keys in the first steps of `setup`, takes a model, and leaves.
async fn first_steps(home: &Home) {
    let mut setup = Terminal::start(home, &["setup"]);
    setup.answer("What do you have?", ENTER).await;
    setup.answer("Which provider?", "gemini").await;
    setup.answer("> gemini", ENTER).await;
    for (number, again) in [("1", "y"), ("2", "n")] {
        // Not the prompt of the key before: what is typed between prompts shows.
        setup.asks("API key for gemini:").await;
        setup.press(&key(number));
        setup.answer("characters)", ENTER).await;
        setup.shows(&format!("added gemini/{number}")).await;
        setup.answer("Another key for gemini?", again).await;
    }
    setup.answer("Which model for", "flash").await;
    setup.answer("> gemini/flash", ENTER).await;
    setup.shows("llmproxy run -- claude").await;
    setup.answer("> Add an API key", ESC).await;
    assert_eq!(setup.ended().await, 0);
}

async fn google() -> Upstream {
    let list = r#"{"models":[{"name":"models/flash","supportedGenerationMethods":["generateContent"]},
        {"name":"models/pro","supportedGenerationMethods":["generateContent"]}]}"#;
    let script = Script::always(gemini::answer("served")).model_list(Reply::json(200, list));
    Upstream::start(script).await
}

#[tokio::test]
async fn two_keys_and_nothing_else_lead_to_an_answer_in_claude() {
    let upstream = google().await;
    // The vendor stands elsewhere in this test; there is no config and no credential.
    let home = Home::new().env("GEMINI_API_BASE", &upstream.origin());
    first_steps(&home).await;
    let claude = home.path("bin/claude");
    fs::create_dir(home.path("bin")).expect("a folder");
    fs::write(&claude, CLAUDE).expect("written");
    fs::set_permissions(&claude, fs::Permissions::from_mode(0o755)).expect("made executable");
    let path = std::env::var("PATH").expect("a PATH");
    let path = format!("{}:{path}", home.path("bin").display());
    let home = home.env("PATH", &path);
    let arguments = ["run", "--for", "claude", "--", "claude", "-p", "hi"];
    let ran = home.run_beside(&arguments, "").await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("\"text\":\"served\""), "{ran:?}");
}

#[tokio::test]
async fn the_comments_of_a_config_stay() {
    let upstream = google().await;
    let comment = "# mine\n";
    let base = upstream.origin();
    let config = format!("{comment}[providers.gemini]\nbase_url = \"{base}\"\n");
    let home = Home::with_config(&config);
    first_steps(&home).await;
    let config = fs::read_to_string(home.config_file()).expect("there");
    assert!(config.starts_with(comment), "{config}");
    assert!(config.contains("model = \"gemini/flash\""), "{config}");
}

#[tokio::test]
async fn a_server_of_ones_own_is_asked_for_its_address() {
    let upstream = Upstream::start(Script::always(openai::stream(&["hi"]))).await;
    let home = Home::new();
    let mut setup = Terminal::start(&home, &["setup"]);
    setup.answer("What do you have?", ENTER).await;
    setup.answer("> another server", ENTER).await;
    setup
        .answer("A short name for it", &format!("mine{ENTER}"))
        .await;
    setup.shows("Its address").await;
    // Ctrl-U takes the suggestion away.
    setup.press(&format!("\u{15}{}{ENTER}", upstream.base_url()));
    setup.answer("Which API does it speak?", ENTER).await;
    setup.asks("API key for mine:").await;
    setup.press(&key("1"));
    setup.answer("characters)", ENTER).await;
    setup.answer("Another key for mine?", "n").await;
    setup.answer("Which model for", ESC).await;
    setup.answer("> Add an API key", ESC).await;
    assert_eq!(setup.ended().await, 0);
    let config = fs::read_to_string(home.config_file()).expect("there");
    let expected = format!("kind = \"openai\"\nbase_url = \"{}\"", upstream.base_url());
    assert!(config.contains(&expected), "{config}");
    let answered = home.run_beside(&["chat", "-m", "mine/m1", "hi"], "").await;
    assert_eq!(answered.stdout.trim(), "hi", "{answered:?}");
}

#[tokio::test]
async fn a_refused_key_is_told_and_not_stored() {
    let script = Script::always(openai::bad_key()).model_list(openai::bad_key());
    let (_upstream, home) = home(script, 1).await;
    let mut setup = Terminal::start(&home, &["setup"]);
    pick(&mut setup, "Add an API key").await;
    setup.answer("Which provider?", "fake").await;
    setup.answer("> fake", ENTER).await;
    setup.answer("API key for fake:", &key("other")).await;
    setup.answer("characters)", ENTER).await;
    setup.shows("refuses the key").await;
    setup.answer("Another key for fake?", "n").await;
    setup.answer("> Add an API key", ESC).await;
    assert_eq!(setup.ended().await, 0);
    let listed = home.run_beside(&["creds", "list"], "").await;
    assert_eq!(listed.stdout.matches("fake/").count(), 1, "{listed:?}");
}

#[tokio::test]
async fn filters_show_what_they_hide_before_they_are_written() {
    let script = Script::new().models(["a", "b-preview", "c-preview"]);
    let (_upstream, home) = home(script, 1).await;
    let mut setup = Terminal::start(&home, &["setup"]);
    pick(&mut setup, "Rotation, concurrency").await;
    setup.answer("Which provider?", ENTER).await;
    setup
        .answer("> Rotation of its keys", &format!("{DOWN}{DOWN}{ENTER}"))
        .await;
    setup.answer("Patterns", &format!("*-preview{ENTER}")).await;
    setup
        .shows("That hides 2 of 3 models: b-preview, c-preview")
        .await;
    setup.answer("Write it?", "y").await;
    setup.shows("written to").await;
    setup.answer("> Rotation of its keys", ESC).await;
    setup.answer("> Rotation, concurrency", ESC).await;
    assert_eq!(setup.ended().await, 0);
    let config = fs::read_to_string(home.config_file()).expect("there");
    assert!(
        config.contains("ignore_models = [\"*-preview\"]"),
        "{config}"
    );
}

#[tokio::test]
async fn others_are_let_in_only_with_a_key() {
    let (_upstream, home) = home(Script::new(), 1).await;
    let mut setup = Terminal::start(&home, &["setup"]);
    pick(&mut setup, "Server address").await;
    setup
        .answer("Who may reach", &format!("{DOWN}{ENTER}"))
        .await;
    setup.answer("Make one now?", "y").await;
    setup.answer("A name for", &format!("laptop{ENTER}")).await;
    setup.shows("sk-llmproxy-").await;
    setup.answer("Port", ENTER).await;
    setup.answer("Server address (0.0.0.0:8000)", ESC).await;
    assert_eq!(setup.ended().await, 0);
    let config = fs::read_to_string(home.config_file()).expect("there");
    assert!(config.contains("host = \"0.0.0.0\""), "{config}");
    assert!(config.contains("name = \"laptop\""), "{config}");
    let checked = home.run_beside(&["config", "check"], "").await;
    assert_eq!(
        (checked.code, checked.stderr.as_str()),
        (0, ""),
        "{checked:?}"
    );
}

#[tokio::test]
async fn every_screen_is_left_without_a_trace() {
    let (_upstream, home) = home(Script::new(), 1).await;
    let before = fs::read_to_string(home.config_file()).expect("there");
    for (entry, question) in [
        ("Add an API key", "Which provider?"),
        ("Import what other", "File or directory"),
        ("Rotation, concurrency", "Which provider?"),
        ("Model names", "Model names of your own:"),
        ("Default model", "Which model for"),
        ("Client keys", "> A new key"),
        ("Server address", "Who may reach"),
    ] {
        for (way_out, code) in [(ESC, 0), (CTRL_C, 130)] {
            let mut setup = Terminal::start(&home, &["setup"]);
            pick(&mut setup, entry).await;
            setup.answer(question, way_out).await;
            if code == 0 {
                setup.answer(&format!("> {entry}"), ESC).await;
            }
            assert_eq!(setup.ended().await, code, "{entry}");
            let after = fs::read_to_string(home.config_file()).expect("there");
            assert_eq!(after, before, "{entry}");
        }
    }
}

#[tokio::test]
async fn a_newcomer_may_leave_at_once_and_on_forty_columns() {
    let home = Home::new();
    let mut setup = Terminal::sized(&home, &["setup"], 24, 40);
    setup.answer("What do you have?", ESC).await;
    setup.answer("> Add an API key", ESC).await;
    assert_eq!(setup.ended().await, 0);
    assert!(setup.all().contains("serve --demo"), "{}", setup.all());
    assert!(!home.config_file().exists());
}
