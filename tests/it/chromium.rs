//! A headless Chromium, driven by its debugging protocol over two pipes. Where none is installed the
//! tests that want one are skipped, with a word; with `CI=true` that is a failure.
//!
//! Methods and events: <https://chromedevtools.github.io/devtools-protocol/>, read 2026-11-22.

use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::harness::{assert_no_canary, patiently};

/// The browser takes its orders on descriptor 3 and answers on 4.
const SHELL: &str = "exec chromium \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1";

/// One page in a browser of its own.
pub(crate) struct Browser {
    /// Killed when dropped.
    _child: Child,
    _profile: TempDir,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    session: Option<String>,
    last: u64,
    /// What the page complained of: exceptions, errors and warnings in the console.
    pub(crate) complaints: Vec<String>,
    /// Every address the page asked for.
    pub(crate) asked: Vec<String>,
}

impl Browser {
    /// Starts one with an empty page; `None` where there is no Chromium.
    pub(crate) async fn start() -> Option<Self> {
        if !is_installed() {
            return None;
        }
        let profile = tempfile::tempdir().expect("a temporary directory");
        let folder = format!("--user-data-dir={}", profile.path().display());
        let mut child = Command::new("/bin/sh")
            .args(["-c", SHELL, "chromium", "--headless", "--no-sandbox"])
            .args(["--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
            .args(["--no-proxy-server", "--disable-background-networking"])
            .args([
                "--disable-component-update",
                "--disable-sync",
                "--mute-audio",
            ])
            .args(["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"])
            .args([
                "--remote-debugging-pipe",
                "--lang=en",
                &folder,
                "about:blank",
            ])
            .env("HOME", profile.path())
            .env("XDG_CONFIG_HOME", profile.path())
            .env("XDG_CACHE_HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("a shell");
        let orders = child.stdin.take().expect("it is piped");
        let answers = child.stdout.take().expect("it is piped");
        let mut browser = Self {
            _child: child,
            _profile: profile,
            orders,
            answers: BufReader::new(answers),
            session: None,
            last: 0,
            complaints: Vec::new(),
            asked: Vec::new(),
        };
        let page = browser
            .order("Target.createTarget", json!({"url": "about:blank"}))
            .await;
        let attach = json!({"targetId": page["targetId"], "flatten": true});
        let attached = browser.order("Target.attachToTarget", attach).await;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Accessibility", "Log", "Network", "Page", "Runtime"] {
            browser.order(&format!("{domain}.enable"), json!({})).await;
        }
        Some(browser)
    }

    /// Gives an order and waits for its result; what happens meanwhile is noted.
    pub(crate) async fn order(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut order = json!({"id": self.last, "method": method, "params": params});
        if let Some(session) = &self.session {
            order["sessionId"] = session.as_str().into();
        }
        let line = format!("{order}\0");
        let sent = self.orders.write_all(line.as_bytes()).await;
        sent.expect("the browser takes orders");
        loop {
            let mut bytes = Vec::new();
            let reading = self.answers.read_until(0, &mut bytes);
            let read = patiently(method, reading).await.expect("a pipe");
            assert!(read > 0, "the browser has ended, before {method}");
            bytes.pop();
            let mut message: Value = serde_json::from_slice(&bytes).expect("JSON");
            if message["id"] == self.last {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].take();
            }
            self.note(&message);
        }
    }

    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        match event["method"].as_str().unwrap_or_default() {
            "Log.entryAdded" if params["entry"]["level"] != "verbose" => {
                self.complaints.push(params["entry"].to_string());
            }
            "Network.requestWillBeSent" => {
                let url = params["request"]["url"].as_str().unwrap_or_default();
                self.asked.push(url.to_owned());
            }
            "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" => {
                self.complaints.push(params.to_string());
            }
            _ => {}
        }
    }

    /// Opens an address and waits until it has loaded.
    pub(crate) async fn open(&mut self, url: &str) {
        let opened = self.order("Page.navigate", json!({"url": url})).await;
        assert!(opened["errorText"].is_null(), "{opened}");
        self.until("document.readyState === \"complete\"").await;
    }

    /// What an expression comes to in the page; promises are waited for.
    pub(crate) async fn eval(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let mut result = self.order("Runtime.evaluate", params).await;
        assert!(
            result["exceptionDetails"].is_null(),
            "{expression}: {result}"
        );
        result["result"]["value"].take()
    }

    /// Waits until an expression is true in the page.
    pub(crate) async fn until(&mut self, expression: &str) {
        // Asked for again after each answer: a page that is left takes its promises with it.
        let asking = format!(
            "new Promise((done) => {{ const ask = (left) => {{ let met = false; \
             try {{ met = Boolean({expression}); }} catch {{}} \
             if (met || !left) done(met); else setTimeout(ask, 20, left - 1); }}; ask(25); }})"
        );
        let waiting = async { while self.eval(&asking).await != true {} };
        let met = tokio::time::timeout(std::time::Duration::from_secs(45), waiting).await;
        if met.is_err() {
            let text = self.eval("document.body.innerText").await;
            panic!("gave up waiting for {expression}; the page says {text}");
        }
    }

    /// Presses a key, as a user does.
    pub(crate) async fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Enter" => (13, Some("\r")),
            "Escape" => (27, None),
            "Tab" => (9, None),
            _ => panic!("{key} is not known here"),
        };
        let mut down =
            json!({"type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code});
        if let Some(text) = text {
            down["text"] = text.into();
        }
        self.order("Input.dispatchKeyEvent", down).await;
        let up = json!({"type": "keyUp", "key": key, "code": key, "windowsVirtualKeyCode": code});
        self.order("Input.dispatchKeyEvent", up).await;
    }

    /// Types a text where the focus is.
    pub(crate) async fn type_in(&mut self, text: &str) {
        self.order("Input.insertText", json!({"text": text})).await;
    }

    /// Presses the button of this accessible name or text.
    pub(crate) async fn click(&mut self, name: &str) {
        let button = format!(
            "[...document.querySelectorAll(\"button, summary\")].find((one) => one.checkVisibility() && \
             (one.getAttribute(\"aria-label\") ?? one.textContent).includes({}))",
            json!(name)
        );
        self.until(&button).await;
        self.eval(&format!("{button}.click()")).await;
    }

    /// Answers an open question with yes.
    pub(crate) async fn click_yes(&mut self) {
        self.until("document.getElementById(\"ask\").open").await;
        self.eval("document.getElementById(\"ask-yes\").click()")
            .await;
    }

    /// Shows the page at this size, in light or dark colours.
    pub(crate) async fn show_as(&mut self, (width, height): (u32, u32), colours: &str) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1,
                          "mobile": width < 600});
        self.order("Emulation.setDeviceMetricsOverride", size).await;
        let features = json!([{"name": "prefers-color-scheme", "value": colours}]);
        let media = json!({"features": features});
        self.order("Emulation.setEmulatedMedia", media).await;
    }

    /// Fails unless the page was content, asked its own server only, and shows no upstream key.
    pub(crate) async fn assert_content(&mut self, origin: &str) {
        let page = self.eval("document.documentElement.outerHTML").await;
        assert_no_canary("the page", page.to_string().as_bytes());
        assert!(self.complaints.is_empty(), "{:#?}", self.complaints);
        let is_own = |url: &&String| {
            url.starts_with(origin) || url.starts_with("data:") || *url == "about:blank"
        };
        let foreign: Vec<_> = self.asked.iter().filter(|url| !is_own(url)).collect();
        assert!(foreign.is_empty(), "{foreign:?}");
    }
}

fn is_installed() -> bool {
    let tried = std::process::Command::new("chromium")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let found = tried.is_ok();
    let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(found || !is_ci, "chromium must be installed where CI=true");
    if !found {
        use std::io::Write;

        // Captured like everything a test prints, but there with `--nocapture`.
        let _ = writeln!(std::io::stdout(), "skipped: chromium is not installed");
    }
    found
}
