//! Every command has an example in its help, and each example works when it is pasted: it is run, at
//! a home that has what it names, against upstreams of ours.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use futures_util::StreamExt;

use crate::fake::reply::Reply;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::fake::{gemini, key, openai};
use crate::harness::{Gateway, Home};

/// Wider lines would be broken on an ordinary terminal, and no longer work when pasted.
const WIDTH: usize = 80;

/// What stays until it is told to end, asks on a terminal, or needs a log-in: driven for real
/// elsewhere.
const NOT_RUN: &[&str] = &[
    "llmproxy chat -m demo/echo",
    "llmproxy completions fish | source",
    "llmproxy creds refresh",
    "llmproxy serve",
    "llmproxy serve --demo",
    "llmproxy serve --port 0",
    "llmproxy setup",
    "llmproxy status --watch",
    "source <(llmproxy completions bash)",
    "source <(llmproxy completions zsh)",
];

/// Examples that run at the same time.
const AT_ONCE: usize = 4;

/// Programs that examples run; any will do.
const STAND_INS: [&str; 6] = ["claude", "codex", "git", "man", "python", "systemctl"];

/// One command's help.
struct Help {
    command: Vec<String>,
    examples: Vec<String>,
    below: Vec<String>,
}

fn help(home: &Home, command: &[String]) -> Help {
    let words: Vec<&str> = command
        .iter()
        .map(String::as_str)
        .chain(["--help"])
        .collect();
    let shown = home.run(&words);
    assert_eq!(shown.code, 0, "{words:?}: {shown:?}");
    let section = |names: &[&str]| {
        let lines = shown.stdout.lines();
        let rest = lines.skip_while(|line| !names.contains(line)).skip(1);
        rest.take_while(|line| line.starts_with("  "))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let entry = |line: &String| {
        let is_entry = !line.starts_with("   ");
        let name = line
            .split_whitespace()
            .next()
            .filter(|name| *name != "help");
        name.filter(|_| is_entry).map(str::to_owned)
    };
    let examples = section(&["Example:", "Examples:"]);
    for line in &examples {
        assert!(
            line.chars().count() <= WIDTH,
            "too wide to be pasted: {line}"
        );
    }
    // An explanation stands behind some space.
    let typed = |line: &String| {
        let line = line.trim();
        line.split("   ").next().unwrap_or(line).trim().to_owned()
    };
    Help {
        command: command.to_vec(),
        examples: examples.iter().map(typed).collect(),
        below: section(&["Commands:"]).iter().filter_map(entry).collect(),
    }
}

/// The help of every command, those above others as well.
fn all(home: &Home) -> Vec<Help> {
    let (mut found, mut to_do) = (Vec::new(), vec![Vec::new()]);
    while let Some(command) = to_do.pop() {
        let help = help(home, &command);
        to_do.extend(help.below.iter().map(|name| {
            let mut command = command.clone();
            command.push(name.clone());
            command
        }));
        found.push(help);
    }
    found
}

/// A home that has what examples name: two keys of Gemini's and one of OpenAI's, a model name, a
/// logged request and one that failed, some files.
async fn furnished(google: &Upstream, openai: &Upstream) -> Home {
    let config = format!(
        "[log]\nrequests = true\n[models.smart]\ntargets = [\"gemini/gemini-2.5-flash\"]\n\
         [providers.gemini]\nbase_url = \"{}\"\n[providers.openai]\nbase_url = \"{}\"\n",
        google.origin(),
        openai.base_url()
    );
    let home = Home::with_config(&config)
        .env("KEY", &key("shell"))
        .env("EDITOR", "true");
    for (name, label) in [("gemini", "1"), ("gemini", "2"), ("openai", "work")] {
        let add = ["creds", "add", name, "--label", label, "--no-verify"];
        let added = home.run_beside(&add, &key(&format!("{name}{label}"))).await;
        assert_eq!(added.code, 0, "{added:?}");
    }
    let failing = ["chat", "-m", "nowhere/m", "hi"];
    assert_ne!(home.run_beside(&failing, "").await.code, 0);
    let mut gateway = Gateway::start_in(home, &[]).await;
    let chat = r#"{"model":"smart","messages":[{"role":"user","content":"hi"}]}"#;
    assert_eq!(gateway.chat(chat).await.status, 200);
    gateway.signal("TERM");
    assert!(gateway.exited().await.success());
    let home = gateway.take_home();
    let (access, refresh) = (key("access"), key("refresh"));
    let gemini_cli =
        format!(r#"{{"access_token":"{access}","refresh_token":"{refresh}","expiry_date":1}}"#);
    for (file, text) in [
        ("key.txt", key("file")),
        ("my_agent.py", String::new()),
        ("old-proxy/.env", format!("GEMINI_API_KEY={}\n", key("old"))),
        (".gemini/oauth_creds.json", gemini_cli),
        ("photo.png", "\u{89}PNG\r\n\u{1a}\n".to_owned()),
        (".env", format!("GROQ_API_KEY={}\n", key("dot"))),
    ] {
        let path = home.path(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("written");
    }
    fs::create_dir(home.path("bin")).expect("a folder");
    for name in STAND_INS {
        let path = home.path("bin").join(name);
        fs::write(&path, "#!/bin/sh\n").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("made executable");
    }
    home
}

/// A home like another one: what an example changes is no other's business.
fn copied(home: &Home) -> Home {
    let copy = Home::new().env("KEY", &key("shell")).env("EDITOR", "true");
    let copying = Command::new("cp")
        .arg("-a")
        .arg(format!("{}/.", home.path("").display()))
        .arg(copy.path(""))
        .status();
    assert!(copying.expect("cp runs").success());
    copy
}

/// Runs an example in a shell; a question is answered with yes, as far as a flag can.
async fn pasted(home: &Home, example: &str, server: &str) -> String {
    let mut script = example.replace("http://127.0.0.1:8000", server);
    if script.starts_with("llmproxy creds remove") {
        script += " --yes";
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_llmproxy"));
    let programs = binary.parent().expect("a folder").display();
    let path = format!(
        "{}:{programs}:/usr/local/bin:/usr/bin:/bin",
        home.path("bin").display()
    );
    if script.starts_with("llmproxy config init") {
        fs::remove_file(home.config_file()).expect("there was one");
    }
    let mut shell = home.dressed(Command::new("bash"));
    shell
        .args(["-o", "pipefail", "-c", &script])
        .env("PATH", path);
    // What is asked for on stdin; to `chat` it would be a part of the prompt.
    let typed = if example.starts_with("llmproxy creds add") {
        key("typed")
    } else {
        String::new()
    };
    let finished = home.finish_beside(shell, &typed).await;
    if finished.code == 0 {
        String::new()
    } else {
        format!("{example}\n{finished:#?}\n")
    }
}

#[tokio::test]
async fn each_example_of_each_help_works_when_it_is_pasted() {
    let list = r#"{"models":[{"name":"models/gemini-2.5-flash","supportedGenerationMethods":["generateContent"]},
        {"name":"models/gemini-2.5-pro","supportedGenerationMethods":["generateContent"]}]}"#;
    let google = Script::new().answer(|request| {
        if request.target.contains("stream") {
            Reply::sse(gemini::frames(&["It ", "works."]))
        } else {
            gemini::answer("It works.")
        }
    });
    let google = Upstream::start(google.model_list(Reply::json(200, list))).await;
    let openai = Upstream::start(Script::always(openai::completion("hi"))).await;
    let home = furnished(&google, &openai).await;
    let gateway = Gateway::start_in(copied(&home), &[]).await;
    let server = format!("http://{}", gateway.address());
    let mut examples: Vec<String> = Vec::new();
    for help in all(&home) {
        assert!(
            !help.examples.is_empty(),
            "no example for {:?}",
            help.command
        );
        examples.extend(help.examples);
    }
    let run = examples
        .iter()
        .filter(|one| !NOT_RUN.contains(&one.as_str()));
    let run = run.map(|example| {
        let (home, server) = (copied(&home), &server);
        async move { pasted(&home, example, server).await }
    });
    let failures: String = futures_util::stream::iter(run)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    assert!(failures.is_empty(), "{failures}");
    for left_out in NOT_RUN {
        assert!(
            examples.iter().any(|one| one == left_out),
            "{left_out} is in no help"
        );
    }
}
