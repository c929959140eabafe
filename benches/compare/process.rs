//! Gateways as child processes: started, read from `/proc`, killed when dropped.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{ROLE, Result, UPSTREAM};

/// `/proc/<pid>/stat` counts in hundredths of a second on every Linux that this runs on.
const TICK: Duration = Duration::from_millis(10);

/// A running gateway (or the fake upstream).
pub(crate) struct Gateway {
    pub name: &'static str,
    pub address: SocketAddr,
    /// From the start of the process to its word that it listens.
    pub start_up: Duration,
    /// Resident memory before any request, in KiB.
    pub idle_kib: u64,
    child: Child,
    /// Its config and state; goes when the gateway has gone.
    _home: Option<TempDir>,
}

/// How an llmproxy is set up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup<'a> {
    /// Keys of the OpenAI provider.
    pub keys: usize,
    /// Whether there is a provider of each other dialect as well.
    pub all_dialects: bool,
    /// Options of `serve`.
    pub options: &'a [&'a str],
    /// Where other instances share its state, if they do.
    pub redis: Option<SocketAddr>,
    /// Whether its keys have a limit that holds for all instances together.
    pub is_limited: bool,
}

impl Setup<'_> {
    /// Three keys of one provider, as it is shipped.
    pub(crate) const PLAIN: Self = Self {
        keys: 3,
        all_dialects: false,
        options: &[],
        redis: None,
        is_limited: false,
    };

    /// The same, with its state shared over this Redis, if there is one.
    pub(crate) fn over(redis: Option<&Redis>, is_limited: bool) -> Self {
        Self {
            redis: redis.map(|redis| redis.address),
            is_limited,
            ..Self::PLAIN
        }
    }

    fn config(self, upstream: SocketAddr) -> String {
        let keys: Vec<_> = (0..self.keys).map(|at| format!("key-{at}")).collect();
        let provider = |name: &str, kind: &str, base: &str, models: &str| {
            format!(
                "[providers.{name}]\nkind = \"{kind}\"\nbase_url = \"http://{upstream}{base}\"\n\
                 api_keys = {keys:?}\nmodels = {models}\n"
            )
        };
        let mut config = self.redis.map_or_else(String::new, |redis| {
            format!("[state]\nbackend = \"redis\"\nurl = \"redis://{redis}/0\"\n")
        });
        config += &provider("fake", "openai", "/v1", r#"["whole", "each", "burst"]"#);
        if self.is_limited {
            config += "max_concurrent_per_key = 1000\n";
        }
        if self.all_dialects {
            config += &provider("fake_a", "anthropic", "", r#"["a-whole", "a-burst"]"#);
            config += &provider("fake_g", "gemini", "", r#"["g-whole", "g-burst"]"#);
            config += &provider(
                "fake_r",
                "openai_responses",
                "/v1",
                r#"["r-whole", "r-burst"]"#,
            );
        }
        config
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Gateway {
    /// Starts a copy of this program in one of its roles.
    pub(crate) fn start_role(role: &'static str, upstream: Option<SocketAddr>) -> Result<Self> {
        let mut command = pinned(&std::env::current_exe()?, role != "fake");
        command.env(ROLE, role);
        if let Some(upstream) = upstream {
            command.env(UPSTREAM, upstream.to_string());
        }
        Self::start(role, command, None)
    }

    /// Starts the built llmproxy in front of the fake upstream.
    pub(crate) fn start_llmproxy(
        name: &'static str,
        setup: Setup<'_>,
        upstream: SocketAddr,
    ) -> Result<Self> {
        let home = tempfile::tempdir()?;
        let config = home.path().join("config.toml");
        fs::write(&config, setup.config(upstream))?;
        let mut command = pinned(&llmproxy(), true);
        command
            .env_clear()
            .env("HOME", home.path())
            .env("LLMPROXY_DATA_DIR", home.path().join("data"))
            .env("LLMPROXY_STATE_DIR", home.path().join("state"))
            .env("LLMPROXY_CACHE_DIR", home.path().join("cache"))
            .arg("--config")
            .arg(&config)
            .args(["serve", "--port"]);
        if !setup.options.contains(&"-q") {
            command.arg("0").args(setup.options);
            return Self::start(name, command, Some(home));
        }
        // It says nothing, not even where it listens.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        command.arg(address.port().to_string()).args(setup.options);
        Self::start_silent(name, command, address, home)
    }

    fn start_silent(
        name: &'static str,
        mut command: Command,
        address: SocketAddr,
        home: TempDir,
    ) -> Result<Self> {
        let begun = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let mut gateway = Self {
            name,
            address,
            start_up: Duration::ZERO,
            idle_kib: 0,
            child,
            _home: Some(home),
        };
        while TcpStream::connect(address).is_err() {
            if gateway.child.try_wait()?.is_some() || begun.elapsed() > Duration::from_secs(20) {
                return Err(format!("{name} does not serve").into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        gateway.start_up = begun.elapsed();
        std::thread::sleep(Duration::from_millis(300));
        gateway.idle_kib = gateway.memory_kib("VmRSS:")?;
        Ok(gateway)
    }

    fn start(name: &'static str, mut command: Command, home: Option<TempDir>) -> Result<Self> {
        let begun = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take().ok_or("no stderr")?;
        let mut stderr = BufReader::new(stderr);
        let mut said = String::new();
        let address = loop {
            let mut line = String::new();
            if stderr.read_line(&mut line)? == 0 {
                return Err(format!("{name} ended at once: {said}").into());
            }
            if let Some((_, address)) = line.split_once("listening on http://") {
                let address = address.split_whitespace().next().unwrap_or(address);
                break address
                    .trim_end_matches(|c: char| !c.is_ascii_digit())
                    .parse()?;
            }
            said.push_str(&line);
        };
        let start_up = begun.elapsed();
        // Its log must be read on, or it would stop when the pipe is full. Not line by line: this
        // program shares its core with the load.
        std::thread::spawn(move || {
            let (mut stderr, mut piece) = (stderr.into_inner(), vec![0; 64 << 10]);
            while stderr.read(&mut piece).is_ok_and(|read| read > 0) {}
        });
        std::thread::sleep(Duration::from_millis(300));
        let mut gateway = Self {
            name,
            address,
            start_up,
            idle_kib: 0,
            child,
            _home: home,
        };
        gateway.idle_kib = gateway.memory_kib("VmRSS:")?;
        Ok(gateway)
    }

    /// CPU time used so far, in user and kernel mode.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name may hold spaces; fields count from behind its parenthesis.
        let (_, fields) = stat.rsplit_once(')').ok_or("an odd stat file")?;
        let ticks = |at: usize| -> Result<u32> {
            Ok(fields
                .split_whitespace()
                .nth(at)
                .ok_or("a short stat file")?
                .parse()?)
        };
        Ok(TICK * (ticks(11)? + ticks(12)?))
    }

    /// A line of `/proc/<pid>/status`: `VmRSS:` now, `VmHWM:` at peak.
    pub(crate) fn memory_kib(&self, name: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with(name));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(number.ok_or("no such line")?.parse()?)
    }
}

/// A `redis-server` of our own, without a disk; killed when dropped.
pub(crate) struct Redis {
    pub address: SocketAddr,
    child: Child,
}

impl Redis {
    /// Starts one; `None` where none is installed.
    pub(crate) fn start() -> Result<Option<Self>> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let found = Command::new("redis-server").arg("--version").output();
        if found.is_err() {
            return Ok(None);
        }
        let mut child = pinned(Path::new("redis-server"), false)
            .args(["--port", &address.port().to_string()])
            .args(["--save", "", "--appendonly", "no"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            if child.try_wait()?.is_some() || begun.elapsed() > Duration::from_secs(20) {
                return Err("redis-server does not serve".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Some(Self { address, child }))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary that this bench is about; cargo builds it beside the bench.
pub(crate) fn llmproxy() -> PathBuf {
    let other = std::env::var_os("COMPARE_LLMPROXY");
    other.map_or_else(|| env!("CARGO_BIN_EXE_llmproxy").into(), PathBuf::from)
}

/// A command on its own core: gateways on the first, everything else on the second.
fn pinned(program: &Path, is_gateway: bool) -> Command {
    let mut command = Command::new("taskset");
    command
        .args(["-c", if is_gateway { "0" } else { "1" }])
        .arg(program);
    command
}

/// Moves the load generator to the second core. Before any thread starts, as threads inherit.
pub(crate) fn pin_self() {
    let id = std::process::id().to_string();
    let _ = Command::new("taskset")
        .args(["-cp", "1", &id])
        .stdout(Stdio::null())
        .status();
}
