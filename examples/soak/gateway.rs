//! The gateway under load: the built binary in a home of its own, what `/proc` says of it, and
//! somebody who keeps changing its configuration.

use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::watch::Watch;
use crate::{Plan, Result, upstream};

/// Begins each client's key; the number follows.
pub(crate) const CLIENT: &str = "client-Canary7f3aZq-0123456789abcdef-";

/// How many clients' keys there are.
pub(crate) const CLIENTS: u64 = 4;

/// What tells of the gateway's inside, and must tell no secret.
const PAGES: [&str; 8] = [
    "/metrics",
    "/health",
    "/v1/models",
    "/v1/providers",
    "/v1/quota-stats",
    "/v1/requests",
    "/dashboard",
    "/dashboard/api/credentials?provider=soak",
];

/// Commands that tell of it.
const COMMANDS: [&[&str]; 6] = [
    &["status"],
    &["creds", "list", "--json"],
    &["usage", "--json"],
    &["config", "show", "--origin"],
    &["doctor"],
    &["-vvv", "models"],
];

/// A running `llmproxy serve`; dropping it ends it.
pub(crate) struct Gateway {
    child: Child,
    home: TempDir,
    upstream: SocketAddr,
    plan: Plan,
    pub(crate) address: SocketAddr,
    /// How often the configuration was changed.
    pub(crate) reloads: AtomicU64,
}

impl Gateway {
    /// Starts it; what it logs is searched. `account` is a file to import before.
    pub(crate) fn start(
        upstream: SocketAddr,
        plan: Plan,
        account: &str,
        watch: &Arc<Watch>,
    ) -> Result<Self> {
        let home = tempfile::tempdir()?;
        fs::create_dir_all(home.path().join("config/llmproxy"))?;
        let file = home.path().join("config/llmproxy/config.toml");
        fs::write(file, config(upstream, plan, true))?;
        let mut arguments = vec!["serve", "--port", "0"];
        if plan.leaks > 0.0 {
            let file = home.path().join("account.json");
            fs::write(&file, account)?;
            let file = file.display().to_string();
            let import = ["creds", "import", &file, "--from", "qwen-code"];
            let imported = command(home.path())?.args(import).output()?;
            if !imported.status.success() {
                return Err(String::from_utf8_lossy(&imported.stderr).into());
            }
            arguments.push("-vvv");
        }
        let mut child = command(home.path())?
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stderr = child.stderr.take().ok_or("no stderr")?;
        let address = address(&mut stderr).ok_or("the gateway did not start")?;
        // Whatever else it writes must not fill the pipe.
        let watch = Arc::clone(watch);
        std::thread::spawn(move || watch.log(stderr));
        Ok(Self {
            child,
            home,
            upstream,
            plan,
            address,
            reloads: AtomicU64::new(0),
        })
    }

    /// Resident memory in MiB.
    pub(crate) fn memory(&self) -> Result<u64> {
        let pages = fs::read_to_string(self.proc("statm"))?;
        let pages: u64 = pages.split(' ').nth(1).ok_or("no pages")?.parse()?;
        Ok(pages / 256)
    }

    /// Open descriptors.
    pub(crate) fn files(&self) -> Result<usize> {
        Ok(fs::read_dir(self.proc("fd"))?.count())
    }

    /// Credentials still held by requests, after giving them a moment.
    pub(crate) async fn leases_left(&self) -> Result<u64> {
        let mut left = 0;
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let (_, metrics) = self.get("/metrics").await?;
            let metrics = String::from_utf8_lossy(&metrics).into_owned();
            let leases = metrics
                .lines()
                .filter(|line| line.starts_with("llmproxy_leases{"));
            left = leases
                .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
                .sum();
            if left == 0 {
                break;
            }
        }
        Ok(left)
    }

    /// Searches all that can be read of it from outside: its pages, what commands say, the story of
    /// these requests, its state, its cache, and the log of its requests.
    pub(crate) async fn search(&self, watch: &Watch, ids: &[String]) -> Result<()> {
        for page in PAGES {
            let (head, body) = self.get(page).await?;
            watch.answer(&head, &body);
        }
        for id in ids {
            let (head, body) = self.get(&format!("/dashboard/api/requests/{id}")).await?;
            watch.answer(&head, &body);
        }
        let explained = ids.iter().rev().step_by(10);
        let explained: Vec<[&str; 2]> = explained.map(|id| ["explain", id.as_str()]).collect();
        let commands = COMMANDS
            .into_iter()
            .chain(explained.iter().map(<[&str; 2]>::as_slice));
        for arguments in commands {
            let output = command(self.home.path())?.args(arguments).output()?;
            let name = arguments.join(" ");
            watch.document(&name, &output.stdout);
            watch.document(&name, &output.stderr);
        }
        for below in ["state", "cache"] {
            watch.directory(&self.home.path().join(below));
        }
        Ok(())
    }

    async fn get(&self, target: &str) -> Result<(hyper::HeaderMap, Bytes)> {
        let stream = TcpStream::connect(self.address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = hyper::Request::get(target)
            .header("host", self.address.to_string())
            .header("authorization", format!("Bearer {CLIENT}0"))
            .body(Empty::<Bytes>::new())?;
        let (head, body) = sender.send_request(request).await?.into_parts();
        Ok((head.headers, body.collect().await?.to_bytes()))
    }

    fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.child.id()))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Fails only for a process that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Changes the configuration every second, every third time into one that does not parse.
pub(crate) async fn churn(gateway: Arc<Gateway>, until: Instant) -> Result<()> {
    let file = gateway.home.path().join("config/llmproxy/config.toml");
    let beside = file.with_extension("new");
    let mut number = 0_u64;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_secs(1)).await;
        number += 1;
        let text = match number % 3 {
            0 => "[providers.soak\nkind =".to_owned(),
            remainder => config(gateway.upstream, gateway.plan, remainder == 1),
        };
        fs::write(&beside, text)?;
        fs::rename(&beside, &file)?;
        gateway.reloads.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// The built binary beside this program, in this home and with nothing else of the environment.
fn command(home: &Path) -> Result<Command> {
    let binary = std::env::current_exe()?;
    let folder = binary.parent().and_then(|examples| examples.parent());
    let binary = folder.ok_or("no folder")?.join("llmproxy");
    if !binary.exists() {
        return Err(format!("{} is not built: cargo build --release", binary.display()).into());
    }
    let mut command = Command::new(binary);
    let kinds = ["CONFIG", "DATA", "STATE", "CACHE"];
    let directories =
        kinds.map(|kind| (format!("XDG_{kind}_HOME"), home.join(kind.to_lowercase())));
    command.env_clear().env("HOME", home).envs(directories);
    Ok(command)
}

/// Where it says that it listens.
fn address(stderr: &mut impl Read) -> Option<SocketAddr> {
    let (mut said, mut byte) = (String::new(), [0]);
    while let Ok(1) = stderr.read(&mut byte) {
        let [byte] = byte;
        if byte != b'\n' {
            said.push(char::from(byte));
            continue;
        }
        if let Some((_, address)) = said.split_once("listening on http://") {
            return address.split_whitespace().next()?.parse().ok();
        }
        said.clear();
    }
    None
}

fn config(upstream: SocketAddr, plan: Plan, balanced: bool) -> String {
    let rotation = if balanced { "balanced" } else { "sequential" };
    let keys: Vec<_> = (0..plan.keys)
        .map(|number| format!("{}{number}", upstream::KEY))
        .collect();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| format!("{CLIENT}{number}"))
        .collect();
    let mut text = format!(
        "[server]\napi_keys = {clients:?}\n[routing]\nmax_attempts = {}\n\
         [providers.soak]\nkind = \"openai\"\nbase_url = \"http://{upstream}/v1\"\nrotation = \"{rotation}\"\n\
         api_keys = {keys:?}\n",
        plan.attempts
    );
    if plan.leaks > 0.0 {
        let _ = write!(
            text,
            "[log]\nrequests = true\n[providers.qwen_code]\nbase_url = \"http://{upstream}/portal/v1\"\n\
             [providers.qwen_code.oauth]\ntoken_url = \"http://{upstream}/token\"\n"
        );
    }
    text
}
