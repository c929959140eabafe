//! A real `redis-server` of the test's own, on a free port and without a disk. Where none is installed
//! the tests that want one are skipped, with a word; with `CI=true` that is a failure.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{assert_no_canary, patiently};

/// One server; killed when dropped, after all it keeps was searched for keys.
pub(crate) struct Server {
    child: Child,
    port: u16,
    directory: TempDir,
    /// Arguments after the usual ones; the port stands for `PORT` in them.
    options: Vec<String>,
}

impl Server {
    /// Starts one; `None` where there is no `redis-server`.
    pub(crate) async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    /// Starts one with more arguments, in which `PORT` stands for its port.
    pub(crate) async fn start_with(options: &[&str]) -> Option<Self> {
        if !is_installed() {
            return None;
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        Some(Self::start_in(directory, options).await)
    }

    /// The same, in a directory that has what its options name.
    pub(crate) async fn start_in(directory: TempDir, options: &[&str]) -> Self {
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        // Another may take the port meanwhile: then it is tried with another one.
        loop {
            let port = free_port();
            let mut server = Self {
                child: spawn(port, directory.path(), &options),
                port,
                directory: tempfile::tempdir().expect("a temporary directory"),
                options: options.clone(),
            };
            if server.is_there().await {
                server.directory = directory;
                return server;
            }
        }
    }

    /// Starts a sentinel with this file of settings, which it writes to.
    pub(crate) async fn start_sentinel(directory: TempDir, file: &str) -> Self {
        loop {
            let port = free_port();
            let child = Command::new("redis-server")
                .args([file, "--port", &port.to_string(), "--bind", "127.0.0.1"])
                .args(["--protected-mode", "no", "--sentinel"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("redis-server starts");
            let mut server = Self {
                child,
                port,
                directory: tempfile::tempdir().expect("a temporary directory"),
                options: Vec::new(),
            };
            if server.is_there().await {
                server.directory = directory;
                return server;
            }
        }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// The `[state]` section of those who share it.
    pub(crate) fn section(&self) -> String {
        let port = self.port;
        format!("[state]\nbackend = \"redis\"\nurl = \"redis://127.0.0.1:{port}/0\"\n")
    }

    /// Ends it at once, as a crash would; it has forgotten everything when it is back.
    pub(crate) fn kill(&mut self) {
        // Fails only for one that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again, empty.
    pub(crate) async fn restart(&mut self) {
        loop {
            self.child = spawn(self.port, self.directory.path(), &self.options);
            if self.is_there().await {
                return;
            }
        }
    }

    /// Sends it a signal by name (`STOP`, `CONT`).
    pub(crate) fn signal(&self, name: &str) {
        let line = format!("kill -{name} {}", self.child.id());
        let status = Command::new("/bin/sh").args(["-c", &line]).status();
        assert!(status.expect("a shell").success(), "{line}");
    }

    /// The answer to one command, as the protocol has it.
    pub(crate) async fn ask(&self, words: &[&str]) -> String {
        self.ask_all(&[words]).await
    }

    /// The answers to some commands on one connection, one after the other.
    pub(crate) async fn ask_all(&self, commands: &[&[&str]]) -> String {
        let answer = ask(self.port, commands).await;
        answer.unwrap_or_else(|| panic!("the server answers {commands:?}"))
    }

    /// A number that a command answers with.
    pub(crate) async fn number(&self, words: &[&str]) -> i64 {
        let answer = self.ask(words).await;
        let number = answer.trim_start_matches(':').trim_end().parse();
        number.unwrap_or_else(|_| panic!("{words:?}: {answer}"))
    }

    /// All that it keeps, names and values, as one text.
    pub(crate) async fn dump(&self) -> String {
        let listed = self.ask(&["KEYS", "*"]).await;
        let names = listed.lines().filter(|line| !line.starts_with(['*', '$']));
        let mut all = listed.clone();
        for name in names.map(str::trim) {
            for command in [
                &["HGETALL", name][..],
                &["GET", name],
                &["ZRANGE", name, "0", "-1", "WITHSCORES"],
            ] {
                all += &self.ask(command).await;
            }
        }
        all
    }

    /// Fails the test if a key stands in what it keeps.
    pub(crate) async fn assert_no_canary(&self) {
        assert_no_canary("Redis", self.dump().await.as_bytes());
    }

    /// Whether it came up, rather than ended.
    async fn is_there(&mut self) -> bool {
        let polling = async {
            while self.child.try_wait().expect("a child of ours").is_none() {
                if ask(self.port, &[&["PING"]]).await.is_some() {
                    return true;
                }
                // Nothing tells when it listens.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            false
        };
        patiently("redis-server", polling).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) fn free_port() -> u16 {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    free.local_addr().expect("its address").port()
}

fn spawn(port: u16, directory: &Path, options: &[String]) -> Child {
    let port = port.to_string();
    let options = options.iter().map(|option| option.replace("PORT", &port));
    Command::new("redis-server")
        .args(["--port", &port, "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no"])
        .args(options)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server starts")
}

async fn ask(port: u16, commands: &[&[&str]]) -> Option<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect(address).await.ok()?;
    let mut command = String::new();
    for words in commands {
        // Writing into a string cannot fail.
        let _ = write!(command, "*{}\r\n", words.len());
        for word in *words {
            let _ = write!(command, "${}\r\n{word}\r\n", word.len());
        }
    }
    // It says goodbye and closes once it has answered.
    command += "*1\r\n$4\r\nQUIT\r\n";
    stream.write_all(command.as_bytes()).await.ok()?;
    if commands
        .iter()
        .any(|words| ["PING", "SENTINEL"].contains(&words[0]))
    {
        // A sentinel knows no goodbye and hears our end; one that has closed has ended it for us.
        let _ = stream.shutdown().await;
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let answer = answer.strip_suffix("+OK\r\n").unwrap_or(&answer).to_owned();
    (!answer.is_empty()).then_some(answer)
}

fn is_installed() -> bool {
    let tried = Command::new("redis-server")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    let found = tried.is_ok();
    let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(
        found || !is_ci,
        "redis-server must be installed where CI=true"
    );
    if !found {
        // Captured like everything a test prints, but there with `--nocapture`.
        let _ = writeln!(std::io::stdout(), "skipped: redis-server is not installed");
    }
    found
}
