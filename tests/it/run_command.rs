//! `llmproxy run`: a child that calls the gateway through its environment alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::commands::{assert_refused, home};
use crate::fake::openai;
use crate::fake::script::Script;
use crate::harness::{Finished, Home};

/// A shell that calls the three SDKs' routes the way each SDK makes its URL of the base.
const THREE_SDKS: &str = r#"
curl -s "$OPENAI_BASE_URL/chat/completions" -H "authorization: Bearer $OPENAI_API_KEY" \
  -d '{"model":"fake/m1","messages":[{"role":"user","content":"hi"}]}'; echo; echo --
curl -s "$ANTHROPIC_BASE_URL/v1/messages" -H "authorization: Bearer $ANTHROPIC_AUTH_TOKEN" \
  -d '{"model":"fake/m1","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}'; echo; echo --
curl -s "$GOOGLE_GEMINI_BASE_URL/v1beta/models/fake/m1:generateContent" -H "x-goog-api-key: $GEMINI_API_KEY" \
  -d '{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}'; echo; echo --
curl -s -o /dev/null -w '%{http_code}\n' "$OPENAI_BASE_URL/models" -H 'authorization: Bearer any'
exit 7
"#;

async fn run_shell(home: &Home, options: &[&str], script: &str) -> Finished {
    let arguments = [&["run"], options, &["--", "/bin/sh", "-c", script]].concat();
    home.run_beside(&arguments, "").await
}

/// Writes an executable of this name that prints its arguments and some variables.
fn agent(home: &Home, name: &str, variables: &[&str]) -> String {
    let path = home.path(name);
    let mut text = "#!/bin/sh\nfor word in \"$@\"; do echo \"arg $word\"; done\n".to_owned();
    for variable in variables {
        text += "echo \"NAME=$NAME\"\n".replace("NAME", variable).as_str();
    }
    fs::write(&path, text).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("made executable");
    path.to_string_lossy().into_owned()
}

#[tokio::test]
async fn a_child_is_served_in_each_sdks_way_and_its_exit_code_passes() {
    let (_upstream, home) = home(Script::always(openai::completion("served")), 1).await;
    let ran = run_shell(&home, &[], THREE_SDKS).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (7, ""), "{ran:?}");
    let answers: Vec<&str> = ran.stdout.split("\n--\n").collect();
    let [openai, anthropic, gemini, stranger] = answers[..] else {
        panic!("{ran:?}");
    };
    for (answer, path) in [
        (openai, "/choices/0/message/content"),
        (anthropic, "/content/0/text"),
        (gemini, "/candidates/0/content/parts/0/text"),
    ] {
        let answer: serde_json::Value = serde_json::from_str(answer).expect("JSON");
        let text = answer.pointer(path).and_then(|text| text.as_str());
        assert_eq!(text, Some("served"), "{answer}");
    }
    // Only this run's key is let in.
    assert_eq!(stranger, "401\n");
}

#[tokio::test]
async fn nothing_is_left_behind() {
    let (_upstream, home) = home(Script::always(openai::completion("hi")), 1).await;
    let temporary = home.path("tmp");
    fs::create_dir(&temporary).expect("a folder");
    let home = home.env("TMPDIR", &temporary.to_string_lossy());
    let script = "echo $OPENAI_BASE_URL; cat $GEMINI_CLI_HOME/.gemini/settings.json; echo; echo $OPENAI_API_KEY";
    let ran = run_shell(&home, &["--for", "gemini"], script).await;
    assert!(ran.stdout.contains("gemini-api-key"), "{ran:?}");
    assert_eq!(fs::read_dir(&temporary).expect("there").count(), 0);
    let base = ran.stdout.lines().next().expect("a line");
    let address = base.trim_start_matches("http://").trim_end_matches("/v1");
    assert!(
        std::net::TcpStream::connect(address).is_err(),
        "{address} still listens"
    );
    let key = ran.stdout.lines().last().expect("a line");
    let config = fs::read_to_string(home.config_file()).expect("there");
    assert!(!config.contains(key), "the key of a run was written down");
}

#[tokio::test]
async fn a_signal_reaches_the_child_and_its_end_is_ours() {
    let (_upstream, home) = home(Script::new(), 1).await;
    let script = "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let mut command = home.command(&["run", "--", "/bin/sh", "-c", script]);
    let mut child = command.spawn().expect("the binary starts");
    let mut out = std::io::BufReader::new(child.stdout.take().expect("stdout is piped"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut out, &mut line).expect("a line");
    assert_eq!(line, "ready\n");
    let kill = format!("kill -TERM {}", child.id());
    let killed = Command::new("/bin/sh").args(["-c", &kill]).status();
    assert!(killed.expect("a shell").success());
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut out, &mut rest).expect("text");
    let status = child.wait().expect("it ends");
    assert_eq!((rest.as_str(), status.code()), ("caught\n", Some(9)));
}

#[test]
fn a_child_that_dies_of_a_signal_is_told_as_shells_do() {
    let home = Home::new();
    let killed = home.run(&[
        "run",
        "--model",
        "demo/echo",
        "--",
        "/bin/sh",
        "-c",
        "kill -KILL $$",
    ]);
    assert_eq!(killed.code, 128 + 9, "{killed:?}");
}

#[tokio::test]
async fn stdin_reaches_the_child() {
    let (_upstream, home) = home(Script::new(), 1).await;
    let ran = home
        .run_beside(&["run", "--", "/bin/cat"], "through\n")
        .await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "through\n"), "{ran:?}");
}

#[tokio::test]
async fn claude_is_recognised_and_given_the_best_model_there_is() {
    let models = [
        "text-embedding-9",
        "gemini-2.5-flash-lite",
        "gemini-2.5-flash",
    ];
    let script = Script::always(openai::completion("hi")).models(models);
    let (_upstream, home) = home(script, 2).await;
    let home = home.env("ANTHROPIC_API_KEY", "would-go-along");
    let claude = agent(
        &home,
        "claude",
        &[
            "ANTHROPIC_MODEL",
            "ANTHROPIC_DEFAULT_HAIKU_MODEL",
            "ANTHROPIC_API_KEY",
        ],
    );
    let ran = home
        .run_beside(&["run", "--", &claude, "-p", "hi"], "")
        .await;
    assert_eq!(
        ran.stdout,
        "arg -p\narg hi\nANTHROPIC_MODEL=fake/gemini-2.5-flash\n\
         ANTHROPIC_DEFAULT_HAIKU_MODEL=fake/gemini-2.5-flash\nANTHROPIC_API_KEY=\n",
        "{ran:?}"
    );
    assert!(
        ran.stderr.contains("using fake/gemini-2.5-flash"),
        "{ran:?}"
    );
}

/// Claude Code sends thinking back only if the answer named the model it asked for, and Anthropic
/// names its models without our providers.
#[tokio::test]
async fn claude_is_told_claude_models_by_their_own_names() {
    let models = ["claude-haiku-4-5", "claude-sonnet-5"];
    let script = Script::always(openai::completion("hi")).models(models);
    let (upstream, home) = home(script, 1).await;
    let says = "echo $ANTHROPIC_MODEL $ANTHROPIC_DEFAULT_HAIKU_MODEL";
    let asks = r#"curl -s "$ANTHROPIC_BASE_URL/v1/messages" -H "x-api-key: $ANTHROPIC_AUTH_TOKEN" \
        -d '{"model":"'$ANTHROPIC_MODEL'","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}'"#;
    let shell = format!("{says}; {asks}");
    let ran = run_shell(&home, &["--for", "claude"], &shell).await;
    let told = ran.stdout.lines().next();
    assert_eq!(told, Some("claude-sonnet-5 claude-haiku-4-5"), "{ran:?}");
    assert!(ran.stdout.contains("\"text\":\"hi\""), "{ran:?}");
    // Also where no list has it.
    let named = ["--for", "claude", "--model", "fake/claude-opus-9"];
    let ran = run_shell(&home, &named, &shell).await;
    let told = ran.stdout.lines().next();
    assert_eq!(told, Some("claude-opus-9 claude-opus-9"), "{ran:?}");
    assert!(ran.stdout.contains("\"text\":\"hi\""), "{ran:?}");
    let asked = upstream.requests().pop().expect("a request");
    assert!(asked.text().contains("claude-opus-9"), "{asked:?}");
}

#[tokio::test]
async fn a_model_an_agent_asks_for_by_itself_is_served_by_the_chosen_one() {
    let (upstream, home) = home(Script::always(openai::completion("hi")), 1).await;
    let script = r#"curl -s "$ANTHROPIC_BASE_URL/v1/messages" -H "x-api-key: $ANTHROPIC_AUTH_TOKEN" \
        -d '{"model":"claude-haiku-4-5","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}'"#;
    let ran = run_shell(&home, &["--for", "claude", "--model", "fake/m1"], script).await;
    assert!(ran.stdout.contains("\"text\":\"hi\""), "{ran:?}");
    let sent: serde_json::Value = serde_json::from_slice(&upstream.request().body).expect("JSON");
    assert_eq!(sent["model"], "m1");
}

#[tokio::test]
async fn codex_gets_its_settings_as_arguments() {
    let (_upstream, home) = home(Script::new(), 1).await;
    let codex = agent(&home, "codex", &[]);
    let arguments = ["run", "--model", "fake/m1", "--", &codex, "exec", "hi"];
    let ran = home.run_beside(&arguments, "").await;
    for word in [
        "arg model_provider=\"llmproxy\"",
        "arg model_providers.llmproxy.wire_api=\"responses\"",
        "arg model=\"fake/m1\"",
    ] {
        assert!(ran.stdout.contains(word), "no {word} in {ran:?}");
    }
    assert!(ran.stdout.ends_with("arg exec\narg hi\n"), "{ran:?}");
}

#[tokio::test]
async fn what_cannot_be_run_is_said_before_anything_starts() {
    let (_upstream, home) = home(Script::new(), 1).await;
    for (arguments, code, says) in [
        (
            &["run", "--model", "fke/m1", "--", "/bin/echo", "x"][..],
            1,
            "did you mean `fake`?",
        ),
        (
            &["run", "--model", "gemini/x", "--", "/bin/echo", "x"],
            3,
            "no credential",
        ),
        (
            &["run", "--for", "cluade", "--", "/bin/echo", "x"],
            2,
            "'claude'",
        ),
        (&["run", "--", "/no/such/program"], 1, "/no/such/program"),
        (&["run"], 2, "CMD"),
    ] {
        let refused = home.run_beside(arguments, "").await;
        assert_refused(&refused, code, says);
    }
}

#[test]
fn without_any_credential_the_demo_answers_and_a_warning_says_so() {
    let ran = Home::new().run(&["run", "--", "/bin/sh", "-c", "exit 0"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("no credential yet"), "{ran:?}");
}

#[tokio::test]
async fn a_run_inside_a_run_takes_no_key_of_the_outer_one_for_a_vendors() {
    let (_upstream, home) = home(Script::new(), 1).await;
    let binary = env!("CARGO_BIN_EXE_llmproxy");
    let script = format!("{binary} creds list --json");
    let ran = run_shell(&home, &[], &script).await;
    assert!(ran.stdout.contains("fake/1"), "{ran:?}");
    assert!(!ran.stdout.contains("openai"), "{ran:?}");
}
