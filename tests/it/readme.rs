//! The README's commands work: each is run, against the demo and an upstream of ours.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::fake::reply::Reply;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::fake::{gemini, key};
use crate::harness::{Gateway, Home, patiently};

/// Lines that do not end, or that build: what they would run is tested elsewhere.
const NOT_RUN: &[&str] = &[
    "cargo install --path . --locked",
    "cargo run --release -- serve --demo",
    "cargo test",
    "llmproxy serve",
];

/// The fenced blocks of this language, in order.
fn blocks(language: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = fs::read_to_string(path).expect("README.md");
    let fence = format!("\n```{language}\n");
    let open = text.split(&fence).skip(1);
    open.filter_map(|rest| rest.split_once("\n```"))
        .map(|(block, _)| block.to_owned())
        .collect()
}

/// Every value that a config block reads from the environment.
fn with_environment(home: Home, config: &str) -> Home {
    let names = config
        .split("\"env:")
        .skip(1)
        .filter_map(|rest| rest.split('"').next());
    names.fold(home, |home, name| {
        home.env(name, &key(&name.to_lowercase()))
    })
}

async fn google() -> Upstream {
    let script = Script::new().answer(|request| {
        if request.target.contains("stream") {
            Reply::sse(gemini::frames(&["Rayleigh ", "scattering."]))
        } else {
            gemini::answer("Rayleigh scattering.")
        }
    });
    let list = r#"{"models":[{"name":"models/gemini-2.5-flash","supportedGenerationMethods":["generateContent"]}]}"#;
    Upstream::start(script.model_list(Reply::json(200, list))).await
}

#[tokio::test]
async fn every_command_of_the_readme_works() {
    let upstream = google().await;
    let home = Home::with_config(&format!(
        "[providers.gemini]\nbase_url = \"{}\"\n",
        upstream.origin()
    ));
    let mut gateway = Gateway::start_in(Home::new(), &["--demo"]).await;
    gateway.line_with("curl").await;
    let address = format!("http://{}", gateway.address());
    let binary = Path::new(env!("CARGO_BIN_EXE_llmproxy"));
    let programs = binary.parent().expect("a folder").display().to_string();
    for block in blocks("sh") {
        for line in block.lines().filter(|line| !NOT_RUN.contains(line)) {
            let script = line.replace("http://localhost:8000", &address);
            let mut shell = home.dressed(Command::new("/bin/sh"));
            shell
                .args(["-euc", &script])
                .env("PATH", format!("{programs}:/usr/local/bin:/usr/bin:/bin"));
            let finished = home
                .finish_beside(shell, &format!("{}\n", key("typed")))
                .await;
            assert_eq!(finished.code, 0, "{line}: {finished:?}");
            if line.starts_with("curl") {
                assert!(
                    finished.stdout.contains("hi")
                        || finished.stdout.contains("200 OK")
                        || finished.stdout.contains("[DONE]"),
                    "{line}: {finished:?}"
                );
            }
        }
    }
}

#[test]
fn the_two_commands_stand_as_promised() {
    let all = blocks("sh").join("\n");
    for line in NOT_RUN {
        assert!(
            all.lines().any(|have| have == *line),
            "{line} is not in the README"
        );
    }
}

#[test]
fn every_config_of_the_readme_is_right() {
    let configs = blocks("toml");
    assert!(!configs.is_empty());
    for config in configs {
        let home = with_environment(Home::with_config(&config), &config);
        let checked = home.run(&["config", "check"]);
        assert_eq!(checked.code, 0, "{config}: {checked:?}");
    }
    for text in blocks("json") {
        assert!(
            serde_json::from_str::<serde_json::Value>(&text).is_ok(),
            "{text}"
        );
    }
}

#[test]
fn every_file_the_documents_name_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for document in [
        "README.md",
        "ARCHITECTURE.md",
        "SECURITY.md",
        "packaging/README.md",
    ] {
        let path = root.join(document);
        let text = fs::read_to_string(&path).expect(document);
        let targets = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.starts_with("http")) {
            let beside = path.parent().expect("a folder").join(target);
            assert!(beside.exists(), "{document} names {target}");
        }
    }
}

#[tokio::test]
async fn every_command_in_its_tables_has_a_help() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = fs::read_to_string(path).expect("README.md");
    let home = Home::new();
    let mut seen = 0;
    for line in text.lines().filter(|line| line.starts_with("| `llmproxy ")) {
        let named = line
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|code| code.starts_with("llmproxy "));
        for command in named {
            let name = command.split_whitespace().nth(1).expect("a subcommand");
            let help = patiently("help", home.run_beside(&[name, "--help"], "")).await;
            assert_eq!(help.code, 0, "{command}: {help:?}");
            let subcommands = command.split_whitespace().nth(2).unwrap_or_default();
            for sub in subcommands
                .split("\\|")
                .filter(|sub| !sub.is_empty() && sub.chars().all(|c| c.is_ascii_lowercase()))
            {
                let help = home.run(&[name, sub, "--help"]);
                assert_eq!(help.code, 0, "{command}: {help:?}");
            }
            seen += 1;
        }
    }
    assert!(seen >= 6, "{seen} commands");
}
