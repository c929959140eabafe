//! Runs the built binary as a user would, in a home of its own, and looks for leaked keys.

use std::fs;
use std::future::Future;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::canary::Search;
use crate::client::{Connection, Request, Response};
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::fake::{self, CANARY};

/// How long anything that must happen may take before the test is given up. Generous, because
/// the machine may be busy with other tests; no passing test waits for it.
const PATIENCE: Duration = Duration::from_mins(1);

/// How large a test is: what `variable` says, which long runs by hand set, or its `usual` size.
pub(crate) fn size(variable: &str, usual: usize) -> usize {
    let set = std::env::var(variable).ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Waits for what must happen; the test fails if it does not.
pub(crate) async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    let patient = tokio::time::timeout(PATIENCE, future).await;
    patient.unwrap_or_else(|_| panic!("gave up waiting for {what}"))
}

/// A `[providers.NAME]` section for an OpenAI-compatible upstream of ours with these keys.
pub(crate) fn provider(name: &str, upstream: &Upstream, keys: &[String]) -> String {
    let base = upstream.base_url();
    format!("[providers.{name}]\nkind = \"openai\"\nbase_url = \"{base}\"\napi_keys = {keys:?}\n")
}

/// So many upstream keys that look real.
pub(crate) fn keys(count: usize) -> Vec<String> {
    (1..=count)
        .map(|number| fake::key(&number.to_string()))
        .collect()
}

/// An upstream with this script, and a gateway whose provider `fake` has so many keys for it;
/// `settings` are further sections of `config.toml`.
pub(crate) async fn pair(script: Script, count: usize, settings: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::start(script).await;
    let config = provider("fake", &upstream, &keys(count)) + settings;
    let gateway = Gateway::start(&config).await;
    (upstream, gateway)
}

/// A private home: config, data, state and cache directories that vanish with it.
pub(crate) struct Home {
    directory: Arc<TempDir>,
    environment: Vec<(String, String)>,
}

/// What a finished command left.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Home {
    /// An empty home: no config, no key.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self {
            directory: Arc::new(directory),
            environment: Vec::new(),
        }
    }

    /// A home with this `config.toml`.
    pub(crate) fn with_config(config: &str) -> Self {
        let home = Self::new();
        home.write_config(config);
        home
    }

    /// The same home once more, for another process in it.
    pub(crate) fn again(&self) -> Self {
        Self {
            directory: Arc::clone(&self.directory),
            environment: self.environment.clone(),
        }
    }

    /// Adds a variable to the otherwise empty environment of what is run here.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Writes `config.toml`, in place of one that is there.
    pub(crate) fn write_config(&self, config: &str) {
        let path = self.config_file();
        fs::create_dir_all(path.parent().expect("the file has a folder")).expect("a folder");
        fs::write(path, config).expect("config.toml is written");
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.path("config/llmproxy/config.toml")
    }

    /// The directory of the credential store.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.path("data/llmproxy")
    }

    /// A place below this home.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.directory.path().join(below)
    }

    /// The binary with these arguments and only this home's environment.
    pub(crate) fn command<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = self.dressed(Command::new(env!("CARGO_BIN_EXE_llmproxy")));
        command.args(arguments);
        command
    }

    /// Any command, in this home and with only its environment.
    pub(crate) fn dressed(&self, mut command: Command) -> Command {
        command
            .env_clear()
            .env("HOME", self.directory.path())
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_DATA_HOME", self.path("data"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .envs(self.environment.iter().cloned())
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end, with nothing on stdin.
    pub(crate) fn run(&self, arguments: &[&str]) -> Finished {
        self.run_with_input(arguments, "")
    }

    /// Runs a command to its end with this on stdin. Blocks: call it through
    /// [`Home::run_beside`] when an upstream of the same test must answer meanwhile.
    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> Finished {
        let child = self.command(arguments).stdin(Stdio::piped()).spawn();
        finish(
            child.expect("the binary starts"),
            input.to_owned(),
            &self.roots(),
        )
    }

    /// Runs any command to its end with this on stdin; the error is why it cannot be started.
    pub(crate) fn finish(&self, command: Command, input: &str) -> io::Result<Finished> {
        let child = self.dressed(command).stdin(Stdio::piped()).spawn()?;
        Ok(finish(child, input.to_owned(), &self.roots()))
    }

    /// Runs the binary to its end while the test's own servers go on.
    pub(crate) async fn run_beside(&self, arguments: &[&str], input: &str) -> Finished {
        self.finish_beside(self.command(arguments), input).await
    }

    /// Runs a command to its end while the test's own servers go on.
    pub(crate) async fn finish_beside(&self, mut command: Command, input: &str) -> Finished {
        let child = command.stdin(Stdio::piped()).spawn();
        let child = child.expect("the program starts");
        let (input, roots) = (input.to_owned(), self.roots());
        let running = tokio::task::spawn_blocking(move || finish(child, input, &roots));
        patiently(&format!("{command:?}"), running)
            .await
            .expect("the command was waited for")
    }

    /// Where keys have no business: everything but config and the credential store.
    fn roots(&self) -> Vec<PathBuf> {
        vec![self.path("state"), self.path("cache")]
    }
}

fn finish(mut child: Child, input: String, roots: &[PathBuf]) -> Finished {
    let mut stdin = child.stdin.take().expect("stdin is piped");
    // A command that does not read its stdin closes it: that is no failure of the test.
    let feeding = thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().expect("the binary ends");
    feeding.join().expect("the writer does not panic");
    let finished = Finished {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    assert_no_canary("stdout", finished.stdout.as_bytes());
    assert_no_canary("stderr", finished.stderr.as_bytes());
    search_files(roots);
    finished
}

/// A running `llmproxy serve`. Dropping it kills it and searches what it wrote for keys.
pub(crate) struct Gateway {
    child: Child,
    address: SocketAddr,
    home: Home,
    stdout: Captured,
    stderr: Captured,
    lines: mpsc::UnboundedReceiver<String>,
    readers: Vec<thread::JoinHandle<()>>,
}

type Captured = Arc<Mutex<Vec<u8>>>;

impl Gateway {
    /// Starts `serve --port 0` with this `config.toml` and waits until it accepts.
    pub(crate) async fn start(config: &str) -> Self {
        Self::start_in(Home::with_config(config), &[]).await
    }

    /// Starts `serve --port 0` with more arguments and waits until it accepts.
    pub(crate) async fn start_in(home: Home, arguments: &[&str]) -> Self {
        let mut all = vec!["serve", "--port", "0"];
        all.extend_from_slice(arguments);
        let mut child = home.command(&all).spawn().expect("the binary starts");
        let (sender, lines) = mpsc::unbounded_channel();
        let (stdout, stderr) = (Captured::default(), Captured::default());
        let out = child.stdout.take().expect("stdout is piped");
        let err = child.stderr.take().expect("stderr is piped");
        let readers = vec![
            capture(out, &stdout, None),
            capture(err, &stderr, Some(sender)),
        ];
        let mut gateway = Self {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            home,
            stdout,
            stderr,
            lines,
            readers,
        };
        let line = gateway.line_with("listening on http").await;
        let (_, address) = line.split_once("://").expect("it is a URL");
        let address = address.split_whitespace().next().unwrap_or_default();
        gateway.address = address.parse().expect("host and port");
        gateway
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// Its home, for another gateway that takes over where this one ended.
    pub(crate) fn take_home(mut self) -> Home {
        std::mem::replace(&mut self.home, Home::new())
    }

    /// What it wrote to stderr so far.
    pub(crate) fn stderr(&self) -> String {
        let bytes = self.stderr.lock().expect("readers do not panic");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until it has written a text to stderr, and returns all that it wrote: log lines are
    /// gathered for some milliseconds.
    pub(crate) async fn said(&self, text: &str) -> String {
        let polling = async {
            loop {
                let stderr = self.stderr();
                if stderr.contains(text) {
                    return stderr;
                }
                // Nothing tells when a line of another process has come.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        patiently(&format!("`{text}` on stderr"), polling).await
    }

    /// Waits for the next line on stderr that holds a text.
    pub(crate) async fn line_with(&mut self, text: &str) -> String {
        let reading = async {
            while let Some(line) = self.lines.recv().await {
                if line.contains(text) {
                    return Some(line);
                }
            }
            None
        };
        let found = patiently(&format!("`{text}` on stderr"), reading).await;
        found.unwrap_or_else(|| panic!("no `{text}` on stderr:\n{}", self.stderr()))
    }

    /// Opens a connection to it.
    pub(crate) async fn connect(&self) -> Connection {
        Connection::open(self.address).await
    }

    /// Sends one request on a connection of its own and reads the whole answer.
    pub(crate) async fn send(&self, request: &Request) -> Response {
        let mut connection = self.connect().await;
        connection.send(request).await;
        connection.response().await
    }

    /// GET on a connection of its own.
    pub(crate) async fn get(&self, target: &str) -> Response {
        self.send(&Request::get(target)).await
    }

    /// An OpenAI chat request with this body.
    pub(crate) async fn chat(&self, body: &str) -> Response {
        self.send(&Request::chat(body)).await
    }

    /// What `/v1/providers` says of a provider.
    pub(crate) async fn provider(&self, id: &str) -> serde_json::Value {
        let list = self.get("/v1/providers").await.json();
        let rows = list["data"].as_array().cloned().unwrap_or_default();
        let row = rows.into_iter().find(|row| row["id"] == id);
        row.unwrap_or_else(|| panic!("no provider {id} in {list}"))
    }

    /// A credential as `creds list --json` has it, once it is in this state: other processes know
    /// it within a second.
    pub(crate) async fn listed(&self, id: &str, state: &str) -> serde_json::Value {
        let polling = async {
            loop {
                let listed = self.home().run_beside(&["creds", "list", "--json"], "");
                let rows: Vec<serde_json::Value> =
                    serde_json::from_str(&listed.await.stdout).expect("JSON");
                let mut rows = rows.into_iter();
                if let Some(row) = rows.find(|row| row["id"] == id && row["state"] == state) {
                    return row;
                }
            }
        };
        patiently(&format!("{id} to be {state}"), polling).await
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until no request holds a credential: the metric `llmproxy_leases` is zero for all.
    pub(crate) async fn idle(&self) {
        let is_held = |line: &str| line.starts_with("llmproxy_leases{") && !line.ends_with(" 0");
        let asking = async {
            while self.get("/metrics").await.text().lines().any(is_held) {
                // Nothing tells when a body that its client left is dropped.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        patiently("all leases given back", asking).await;
    }

    /// Sends it a signal by name (`TERM`, `INT`, `HUP`).
    pub(crate) fn signal(&self, name: &str) {
        let line = format!("kill -{name} {}", self.child.id());
        let status = Command::new("/bin/sh").args(["-c", &line]).status();
        assert!(status.expect("a shell").success(), "{line}");
    }

    /// Waits for it to end by itself.
    pub(crate) async fn exited(&mut self) -> ExitStatus {
        let polling = async {
            loop {
                if let Some(status) = self.child.try_wait().expect("a child of ours") {
                    return status;
                }
                // The standard library cannot wait for a child without blocking a thread.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        patiently("the gateway's end", polling).await
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Fails only for a child that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        if thread::panicking() {
            // The captured output of the test shows what its gateway said.
            let _ = writeln!(io::stdout(), "gateway's stderr:\n{}", self.stderr());
            return;
        }
        assert!(!self.stderr().contains("panicked"), "{}", self.stderr());
        assert_no_canary("stderr", &self.stderr.lock().expect("readers ended"));
        assert_no_canary("stdout", &self.stdout.lock().expect("readers ended"));
        search_files(&self.home.roots());
    }
}

/// Keeps all that a pipe gives, and passes its lines on.
fn capture(
    pipe: impl Read + Send + 'static,
    into: &Captured,
    lines: Option<mpsc::UnboundedSender<String>>,
) -> thread::JoinHandle<()> {
    let into = Arc::clone(into);
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while matches!(pipe.read_until(b'\n', &mut line), Ok(read) if read > 0) {
            into.lock()
                .expect("nobody panics with it")
                .extend_from_slice(&line);
            if let Some(lines) = &lines {
                // The receiver is gone only when the test is over.
                let _ = lines.send(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            line.clear();
        }
    })
}

/// Looks for the mark of all keys.
static SEARCH: LazyLock<Search> = LazyLock::new(|| Search::new(CANARY));

/// What is longer is searched for keys as they are only: seventeen passes take their time.
const THOROUGH_BYTES: usize = 1 << 20;

/// Fails the test if a key stands in these bytes, in any of eight encodings.
pub(crate) fn assert_no_canary(place: &str, bytes: &[u8]) {
    let found = if bytes.len() > THOROUGH_BYTES {
        memchr::memmem::find(bytes, CANARY.as_bytes()).map(|at| ("as it is", at))
    } else {
        SEARCH.find(bytes)
    };
    if let Some((encoding, at)) = found {
        let around = Search::around(bytes, at);
        panic!("an upstream key leaked into {place}, {encoding}: {around}");
    }
}

/// Searches all files below these directories; one that was never made holds no key.
fn search_files(roots: &[PathBuf]) {
    let mut places = roots.to_vec();
    while let Some(place) = places.pop() {
        if place.is_dir() {
            let entries = fs::read_dir(&place).into_iter().flatten().flatten();
            places.extend(entries.map(|entry| entry.path()));
        } else if let Ok(bytes) = fs::read(&place) {
            assert_no_canary(&place.display().to_string(), &bytes);
        }
    }
}
