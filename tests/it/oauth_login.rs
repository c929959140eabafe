//! Logging in to an account with the built binary, the test playing the browser and Google.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::commands::json as printed;
use crate::fake::CANARY;
use crate::fake::google::{Browser, Google, client_secret, sent_back};
use crate::fake::reply::Reply;
use crate::harness::{Finished, Gateway, Home};
use crate::terminal::Terminal;

/// `creds add gemini_cli` with the test as browser.
async fn log_in(home: &Home, more: &[&str]) -> Finished {
    let browser = Browser::install(home).await;
    let mut arguments = vec!["creds", "add", "gemini_cli", "--timeout", "50"];
    arguments.extend(["--open-cmd", &browser.command]);
    arguments.extend(more);
    let (finished, ()) = tokio::join!(home.run_beside(&arguments, ""), browser.play());
    finished
}

fn listed(home: &Home) -> Value {
    printed(&home.run(&["creds", "list", "--json"]))
}

#[tokio::test]
async fn an_account_is_added_by_its_address_and_answers() {
    let google = Google::start("me@example.com").await;
    let home = google.home();
    let added = log_in(&home, &["--yes"]).await;
    assert_eq!(added.code, 0, "{added:?}");
    assert!(
        added.stdout.contains("added gemini_cli/me@example.com"),
        "{added:?}"
    );
    assert!(
        added.stderr.contains("Source: https://"),
        "the notice: {added:?}"
    );
    let list = listed(&home);
    let row = &list[0];
    for (name, value) in [
        ("id", "gemini_cli/me@example.com"),
        ("kind", "oauth"),
        ("source", "store"),
        ("email", "me@example.com"),
        ("tier", "standard-tier"),
        ("state", "ready"),
    ] {
        assert_eq!(row[name], value, "{list}");
    }
    assert!(row["expires_at"].is_string(), "{list}");

    let answer = home
        .run_beside(&["chat", "-m", "gemini_cli/gemini-2.5-pro", "hi"], "")
        .await;
    assert_eq!(
        (answer.code, answer.stdout.trim()),
        (0, "Hello!"),
        "{answer:?}"
    );
    let again = log_in(&home, &["--yes"]).await;
    assert_eq!(again.code, 0, "{again:?}");
    assert!(
        again.stdout.contains("updated gemini_cli/me@example.com"),
        "{again:?}"
    );
    assert_eq!(listed(&home).as_array().map(Vec::len), Some(1));

    google.user(Some("other@example.com"));
    let other = log_in(&home, &["--yes", "--label", "work", "--project", "mine"]).await;
    assert!(other.stdout.contains("added gemini_cli/work"), "{other:?}");
    assert_eq!(listed(&home).as_array().map(Vec::len), Some(2));
    serves(home).await;
}

/// A gateway over the accounts of this home answers, whole and streamed.
async fn serves(home: Home) {
    let gateway = Gateway::start_in(home, &[]).await;
    for stream in [false, true] {
        let body = json!({"model": "gemini_cli/gemini-2.5-pro", "stream": stream,
            "messages": [{"role": "user", "content": "hi"}]});
        let answer = gateway.chat(&body.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().contains("Hello!"), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_pasted_address_or_code_does_as_well() {
    let google = Google::start("me@example.com").await;
    for alone in [false, true] {
        let home = google.home();
        let arguments = [
            "creds",
            "add",
            "gemini_cli",
            "--yes",
            "--no-browser",
            "--timeout",
            "50",
        ];
        let mut child = home
            .command(&arguments)
            .stdin(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
        let page = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            while !line.trim().starts_with("http://") {
                line.clear();
                assert_ne!(stderr.read_line(&mut line).expect("readable"), 0, "no page");
            }
            (stderr, line.trim().to_owned())
        });
        let (mut stderr, page) = page.await.expect("a page");
        let back = sent_back(&page).await;
        let pasted = if alone {
            let code = back.split_once("code=").expect("a code").1;
            code.split('&').next().expect("one").to_owned()
        } else {
            back
        };
        let mut stdin = child.stdin.take().expect("piped");
        writeln!(stdin, "{pasted}").expect("it reads");
        let ended = tokio::task::spawn_blocking(move || {
            let mut rest = String::new();
            stderr.read_to_string(&mut rest).expect("text");
            (child.wait_with_output().expect("it ends"), rest)
        });
        let (output, rest) = ended.await.expect("it was waited for");
        drop(stdin);
        assert!(output.status.success(), "{rest}");
        assert!(!rest.contains(CANARY), "{rest}");
        assert_eq!(listed(&home)[0]["email"], "me@example.com");
        serves(home).await;
    }
}

#[tokio::test]
async fn on_a_terminal_consent_and_the_client_secret_are_asked_for() {
    let google = Google::start("me@example.com").await;
    let home = Home::with_config(&google.config("gemini_cli"));
    let browser = Browser::install(&home).await;
    let arguments = [
        "creds",
        "add",
        "gemini_cli",
        "--label",
        "work",
        "--open-cmd",
        &browser.command,
    ];
    let mut terminal = Terminal::start(&home, &arguments);
    terminal.answer("Add it all the same?", "y").await;
    terminal.asks("Client secret of gemini_cli").await;
    terminal.press(&client_secret());
    terminal.answer("characters)", "\r").await;
    browser.play().await;
    assert_eq!(terminal.ended().await, 0);
    assert!(terminal.all().contains("added gemini_cli/work"));

    // Another account under the same label: the secret is known, the question is another one.
    google.user(Some("other@example.com"));
    let mut terminal = Terminal::start(&home, &arguments);
    terminal.answer("Add it all the same?", "y").await;
    browser.play().await;
    terminal
        .answer("gemini_cli/work is me@example.com. Replace it?", "n")
        .await;
    assert_eq!(terminal.ended().await, 1);
    assert_eq!(listed(&home)[0]["email"], "me@example.com");
    let replaced = log_in(&home, &["--yes", "--label", "work"]).await;
    assert!(
        replaced
            .stdout
            .contains("replaced the account of gemini_cli/work"),
        "{replaced:?}"
    );
    assert_eq!(listed(&home)[0]["email"], "other@example.com");
}

#[tokio::test]
async fn what_goes_wrong_is_said_and_nothing_is_stored() {
    let google = Google::start("me@example.com").await;
    let home = google.home();
    let unasked = home.run(&["creds", "add", "gemini_cli"]);
    assert_refused_with_progress(&unasked, 2, "--yes");

    google.user(None);
    let denied = log_in_refused(&home).await;
    assert_refused_with_progress(&denied, 1, "refused in the browser");

    google.user(Some("me@example.com"));
    let unsupported = json!({"allowedTiers": [], "ineligibleTiers": [{
        "reasonCode": "UNSUPPORTED_CLIENT", "tierId": "free-tier",
        "reasonMessage": "This client is no longer supported for individuals.",
    }]});
    google.on(":loadCodeAssist", move |_| {
        Reply::json(200, unsupported.to_string())
    });
    let refused = log_in(&home, &["--yes"]).await;
    assert_refused_with_progress(&refused, 1, "no longer supported");

    let nobody = [
        "creds",
        "add",
        "gemini_cli",
        "--yes",
        "--timeout",
        "1",
        "--open-cmd",
        "true",
    ];
    let late = home.run_beside(&nobody, "").await;
    assert_refused_with_progress(&late, 1, "not finished in time");
    assert_eq!(listed(&home), json!([]));
}

/// A log-in whose page leads back with an error.
async fn log_in_refused(home: &Home) -> Finished {
    let browser = Browser::install(home).await;
    let arguments = [
        "creds",
        "add",
        "gemini_cli",
        "--yes",
        "--open-cmd",
        &browser.command,
    ];
    let visit = async {
        let back = sent_back(&browser.opened().await).await;
        crate::fake::google::get(&back).await
    };
    let (finished, page) = tokio::join!(home.run_beside(&arguments, ""), visit);
    assert!(page.contains("not completed"), "{page:?}");
    finished
}

/// Failed with this code, after lines of progress.
#[track_caller]
fn assert_refused_with_progress(finished: &Finished, code: i32, says: &str) {
    assert_eq!(
        (finished.code, finished.stdout.as_str()),
        (code, ""),
        "{finished:?}"
    );
    let stderr = &finished.stderr;
    assert!(
        stderr.contains("error: ") && stderr.contains("\nhint: "),
        "{stderr}"
    );
    assert!(stderr.contains(says), "no {says:?} in {stderr}");
}

#[tokio::test]
async fn an_account_to_be_verified_is_kept_and_says_where() {
    let google = Google::start("me@example.com").await;
    let home = google.home();
    let link = "https://accounts.google.com/verify?x=1";
    let blocked = json!({"ineligibleTiers": [{
        "reasonCode": "VALIDATION_REQUIRED", "tierId": "free-tier",
        "reasonMessage": "Verify your account to continue.", "validationUrl": link,
    }]});
    google.on(":loadCodeAssist", move |_| {
        Reply::json(200, blocked.to_string())
    });
    let added = log_in(&home, &["--yes"]).await;
    assert_eq!(added.code, 0, "{added:?}");
    assert!(added.stderr.contains(link), "{added:?}");
    let list = listed(&home);
    assert_eq!(list[0]["state"], "action_needed", "{list}");
    let reason = list[0]["state_reason"].as_str().unwrap_or_default();
    assert!(reason.contains(link), "{list}");

    google.on(":loadCodeAssist", |_| {
        Reply::json(200, crate::fake::google::served().to_string())
    });
    assert_eq!(
        home.run(&["creds", "enable", "gemini_cli/me@example.com"])
            .code,
        0
    );
    let answer = home
        .run_beside(&["chat", "-m", "gemini_cli/gemini-2.5-pro", "hi"], "")
        .await;
    assert_eq!(answer.stdout.trim(), "Hello!", "{answer:?}");
    assert_eq!(listed(&home)[0]["tier"], "standard-tier");
}

#[tokio::test]
async fn the_client_secret_is_found_in_the_vendors_own_tool_or_asked_for_by_name() {
    let google = Google::start("me@example.com").await;
    let home = Home::with_config(&google.config("gemini_cli"));
    let missing = home.run(&["creds", "add", "gemini_cli", "--yes"]);
    assert_eq!(missing.code, 2, "{missing:?}");
    assert!(
        missing.stderr.contains("GEMINI_CLI_CLIENT_SECRET"),
        "{missing:?}"
    );

    let package = home.path(".npm-global/lib/node_modules/@google/gemini-cli/bundle");
    std::fs::create_dir_all(&package).expect("writable");
    let id = "681255809395-oo8ft2oprdrnp9e3aqf6av3hmdib135j.apps.googleusercontent.com";
    let code = format!("const a=\"{id}\",b=\"{}\";", client_secret());
    std::fs::write(package.join("gemini.js"), code).expect("writable");
    let added = log_in(&home, &["--yes"]).await;
    assert_eq!(added.code, 0, "{added:?}");
    assert!(added.stderr.contains("Gemini CLI"), "{added:?}");
}
