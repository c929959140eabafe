//! The completion scripts in the shells they are for, and the manual pages in groff. A shell that is
//! not installed is said and skipped: `.ci/run` installs them.

use std::process::{Command, Stdio};

use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::harness::{Home, keys, provider};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// `false`, with a word to the user, where a program is not installed.
fn is_installed(program: &str) -> bool {
    let tried = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let found = tried.is_ok();
    if !found {
        use std::io::Write;

        // Captured like everything a test prints, but there with `--nocapture`.
        let _ = writeln!(std::io::stdout(), "skipped: {program} is not installed");
    }
    found
}

/// Runs a script in a shell whose PATH begins with our binary's folder.
async fn run(shell: &str, arguments: &[&str], script: &str) -> Option<String> {
    if !is_installed(shell) {
        return None;
    }
    let upstream = Upstream::start(Script::new()).await;
    let home = Home::with_config(&provider("fake", &upstream, &keys(1)));
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_llmproxy"));
    let folder = binary.parent().expect("a folder").display();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = home.dressed(Command::new(shell));
    command
        .env("PATH", format!("{folder}:{path}"))
        .env("ROOT", ROOT)
        .env("TERM", "dumb")
        .args(arguments)
        .arg(script);
    let finished = home.finish_beside(command, "").await;
    assert_eq!(
        (finished.code, finished.stderr.as_str()),
        (0, ""),
        "{finished:?}"
    );
    Some(finished.stdout)
}

fn assert_completes(shell: &str, answer: Option<String>) {
    let Some(answer) = answer else { return };
    for word in ["remove", "gemini", "fake/1"] {
        assert!(
            answer.contains(word),
            "{shell} does not complete {word}:\n{answer}"
        );
    }
}

#[tokio::test]
async fn bash_completes_commands_providers_and_credentials() {
    let script = r#"
        source "$ROOT/completions/llmproxy.bash"
        complete -p llmproxy >/dev/null
        ask() {
            COMP_WORDS=(llmproxy "$@"); COMP_CWORD=$#; COMP_TYPE=9; COMP_LINE="llmproxy $*"
            COMP_POINT=${#COMP_LINE}
            _clap_complete_llmproxy llmproxy "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
            printf '%s\n' "${COMPREPLY[@]}"
        }
        ask creds rem
        ask creds add gem
        ask creds remove fa"#;
    let answer = run("bash", &["--norc", "-c"], script).await;
    assert_completes("bash", answer);
}

#[tokio::test]
async fn fish_completes_commands_providers_and_credentials() {
    let script = r#"
        source "$ROOT/completions/llmproxy.fish"
        complete -C 'llmproxy creds rem'
        complete -C 'llmproxy creds add gem'
        complete -C 'llmproxy creds remove fa'"#;
    let answer = run("fish", &["--no-config", "-c"], script).await;
    assert_completes("fish", answer);
}

#[tokio::test]
async fn zsh_completes_commands_providers_and_credentials() {
    // `compadd` is taken over: it would need a line editor.
    let script = r#"
        autoload -Uz compinit && compinit -u -d "$HOME/dump"
        source "$ROOT/completions/_llmproxy"
        _describe() { print -l -- ${(P)3}; }
        ask() { words=(llmproxy "$@"); CURRENT=${#words}; _clap_dynamic_completer_llmproxy; }
        ask creds rem
        ask creds add gem
        ask creds remove fa"#;
    let answer = run("zsh", &["-f", "-c"], script).await;
    assert_completes("zsh", answer);
}

#[test]
fn groff_has_nothing_to_say_about_the_manual() {
    if !is_installed("groff") {
        return;
    }
    let pages = std::fs::read_dir(format!("{ROOT}/man")).expect("a folder");
    for page in pages.map(|page| page.expect("an entry").path()) {
        let output = Command::new("groff")
            .args(["-man", "-Tutf8", "-ww", "-z", "-k"])
            .arg(&page)
            .output()
            .expect("groff runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && said.is_empty(),
            "{}: {said}",
            page.display()
        );
    }
}
