//! `llmproxy setup` on a terminal: what it asks, what it writes, and how it is left.

use std::fs;

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

#[tokio::test]
async fn two_keys_and_a_default_model_come_of_the_first_steps() {
    let list = r#"{"models":[{"name":"models/flash","supportedGenerationMethods":["generateContent"]},
        {"name":"models/pro","supportedGenerationMethods":["generateContent"]}]}"#;
    let script = Script::always(gemini::answer("served")).model_list(Reply::json(200, list));
    let upstream = Upstream::start(script).await;
    let comment = "# mine\n";
    let base = upstream.origin();
    let home = Home::with_config(&format!(
        "{comment}[providers.gemini]\nbase_url = \"{base}\"\n"
    ));
    let mut setup = Terminal::start(&home, &["setup"]);
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
    let config = fs::read_to_string(home.config_file()).expect("there");
    assert!(config.starts_with(comment), "{config}");
    assert!(config.contains("model = \"gemini/flash\""), "{config}");

    // And that is enough for an agent: no model, no key, no address.
    let asked = r#"curl -s "$ANTHROPIC_BASE_URL/v1/messages" -H "x-api-key: $ANTHROPIC_AUTH_TOKEN" \
        -d "{\"model\":\"$ANTHROPIC_MODEL\",\"max_tokens\":9,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}""#;
    let arguments = ["run", "--for", "claude", "--", "/bin/sh", "-c", asked];
    let ran = home.run_beside(&arguments, "").await;
    assert!(ran.stdout.contains("served"), "{ran:?}");
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
