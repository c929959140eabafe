//! What streams at rest cost, and whether their memory comes back: `cargo bench --bench streams`.
//!
//! Thousands of clients open a stream each, get its first event and wait. Upstream speaks HTTP/1.1
//! or, over TLS, HTTP/2. Then all leave, and again. Fake upstream, gateway and clients are processes
//! of their own; memory and open files are read from `/proc`. Linux only, and files must be allowed:
//! 20,000 a process.

mod clients;
mod upstream;

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Any failure; a bench has nobody to explain it to but its reader.
type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Tells a copy of this program which part it plays.
const ROLE: &str = "STREAMS_ROLE";

/// Where the certificate of the HTTP/2 upstream goes.
const CERTIFICATE: &str = "STREAMS_CERTIFICATE";

/// Files a process may have open.
const FILES: u32 = 20_000;

/// Cycles of opening and leaving; `STREAMS_CYCLES` overrides it.
const CYCLES: usize = 10;

/// Bytes of prompt with each stream.
const SMALL_BODY: usize = 2;

/// So many bodies of this size at once.
const LARGE_BODIES: usize = 8;
const LARGE_BODY: usize = 30_000_000;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    match std::env::var(ROLE).as_deref() {
        Ok("h1") => runtime.block_on(upstream::serve_h1()),
        Ok("h2") => runtime.block_on(upstream::serve_h2(&std::env::var(CERTIFICATE)?)),
        Ok("clients") => runtime.block_on(clients::run()),
        _ => measure(),
    }
}

fn measure() -> Result<()> {
    let cycles = number("STREAMS_CYCLES").unwrap_or(CYCLES);
    say(
        "| upstream | streams | cycle | RSS idle MiB | with all open MiB | KiB a stream | all left MiB | files more |",
    )?;
    say("| --- | --: | --: | --: | --: | --: | --: | --: |")?;
    // Over HTTP/1.1 each stream has two files in the gateway.
    for (role, streams) in [("h1", 9000), ("h2", 10_000)] {
        let streams = number("STREAMS").unwrap_or(streams);
        let home = tempfile::tempdir()?;
        let certificate = home.path().join("upstream.pem");
        let mut fake = Process::role(role, &certificate)?;
        let upstream = fake.address()?;
        let gateway = Process::gateway(home.path(), &certificate, role, upstream)?;
        let (idle, files) = (gateway.memory_mib()?, gateway.files()?);
        let mut clients = Process::role("clients", &certificate)?;
        for cycle in 1..=cycles {
            clients.open(streams, SMALL_BODY, gateway.at)?;
            let open = gateway.memory_mib()?;
            clients.leave()?;
            gateway.wait_for_files(files)?;
            let left = gateway.memory_mib()?;
            let each = (open - idle) * 1024.0 / streams_f64(streams);
            let more = gateway.files()?.saturating_sub(files);
            say(&format!(
                "| {role} | {streams} | {cycle} | {idle:.1} | {open:.1} | {each:.1} | {left:.1} | {more} |"
            ))?;
        }
        let before = gateway.memory_mib()?;
        clients.open(LARGE_BODIES, LARGE_BODY, gateway.at)?;
        let peak = gateway.memory_mib()?;
        clients.leave()?;
        gateway.wait_for_files(files)?;
        let after = gateway.memory_mib()?;
        say(&format!(
            "| {role} | {LARGE_BODIES} with bodies of 30 MB | | {before:.1} | {peak:.1} | | {after:.1} | |"
        ))?;
    }
    Ok(())
}

/// A child process; killed when dropped.
struct Process {
    child: Child,
    at: SocketAddr,
    lines: std::io::Lines<BufReader<Box<dyn std::io::Read + Send>>>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// A copy of this program in one of its roles; it speaks on stdout.
    fn role(role: &str, certificate: &Path) -> Result<Self> {
        let mut command = with_files(&std::env::current_exe()?);
        command.env(ROLE, role).env(CERTIFICATE, certificate);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        Ok(Self {
            child,
            at: SocketAddr::from(([127, 0, 0, 1], 0)),
            lines: BufReader::new(Box::new(stdout) as Box<dyn std::io::Read + Send>).lines(),
        })
    }

    /// The built llmproxy in front of the upstream.
    fn gateway(home: &Path, certificate: &Path, role: &str, upstream: SocketAddr) -> Result<Self> {
        let config = home.join("config.toml");
        let scheme = if role == "h2" { "https" } else { "http" };
        fs::write(
            &config,
            format!(
                "[server]\nmax_connections = {FILES}\n[providers.fake]\nkind = \"openai\"\n\
                 base_url = \"{scheme}://localhost:{}/v1\"\napi_keys = [\"key-one\", \"key-two\"]\nmodels = [\"m\"]\n",
                upstream.port()
            ),
        )?;
        let mut command = with_files(Path::new(env!("CARGO_BIN_EXE_llmproxy")));
        command
            .env_clear()
            .env("HOME", home)
            .env("LLMPROXY_DATA_DIR", home.join("data"))
            .env("LLMPROXY_STATE_DIR", home.join("state"))
            .env("LLMPROXY_CACHE_DIR", home.join("cache"))
            .envs(std::env::vars().filter(|(name, _)| name.starts_with("MIMALLOC_")))
            .arg("--config")
            .arg(&config)
            .args(["serve", "--port", "0"]);
        if role == "h2" {
            command.env("SSL_CERT_FILE", certificate);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take().ok_or("no stderr")?;
        let mut gateway = Self {
            child,
            at: SocketAddr::from(([127, 0, 0, 1], 0)),
            lines: BufReader::new(Box::new(stderr) as Box<dyn std::io::Read + Send>).lines(),
        };
        let listening = "listening on http://";
        gateway.at = loop {
            if let Some((_, address)) = gateway.word()?.split_once(listening) {
                break address
                    .split_whitespace()
                    .next()
                    .unwrap_or(address)
                    .parse()?;
            }
        };
        let nothing = std::io::empty();
        let nothing = BufReader::new(Box::new(nothing) as Box<dyn std::io::Read + Send>).lines();
        // Its log must be read on, or it would stop when the pipe is full.
        let lines = std::mem::replace(&mut gateway.lines, nothing);
        std::thread::spawn(move || lines.for_each(drop));
        std::thread::sleep(Duration::from_millis(300));
        Ok(gateway)
    }

    fn address(&mut self) -> Result<SocketAddr> {
        Ok(self.word()?.parse()?)
    }

    fn word(&mut self) -> Result<String> {
        Ok(self.lines.next().ok_or("a process ended at once")??)
    }

    fn tell(&mut self, word: &str) -> Result<()> {
        let stdin = self.child.stdin.as_mut().ok_or("no stdin")?;
        Ok(writeln!(stdin, "{word}")?)
    }

    /// Has the clients open so many streams, each with a prompt of this size, and wait.
    fn open(&mut self, streams: usize, prompt: usize, gateway: SocketAddr) -> Result<()> {
        self.tell(&format!("open {streams} {prompt} {gateway}"))?;
        match self.word()?.as_str() {
            "open" => Ok(()),
            other => Err(format!("the clients said: {other}").into()),
        }
    }

    /// Has the clients leave.
    fn leave(&mut self) -> Result<()> {
        self.tell("leave")?;
        self.word().map(drop)
    }

    fn memory_mib(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        let kib: f64 = kib.ok_or("no such line")?.parse()?;
        Ok(kib / 1024.0)
    }

    fn files(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }

    /// Waits until the streams' files are closed; connections to the upstream may stay.
    fn wait_for_files(&self, before: usize) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(30);
        while self.files()? > before + 1000 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(100));
        }
        // The allocator gives back what it has not used for a moment.
        std::thread::sleep(Duration::from_secs(2));
        Ok(())
    }
}

/// A program that may open many files.
fn with_files(program: &Path) -> Command {
    let mut command = Command::new("prlimit");
    command.arg(format!("--nofile={FILES}")).arg(program);
    command
}

fn number(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

fn streams_f64(streams: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "for one decimal")]
    let streams = streams as f64;
    streams
}

fn say(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
