//! The gateway under load: the built binary in a home of its own, what `/proc` says of it, and
//! somebody who keeps changing its configuration.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
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

use crate::{Result, upstream};

/// A running `llmproxy serve`; dropping it ends it.
pub(crate) struct Gateway {
    child: Child,
    home: TempDir,
    upstream: SocketAddr,
    pub(crate) address: SocketAddr,
    /// How often the configuration was changed.
    pub(crate) reloads: AtomicU64,
}

impl Gateway {
    pub(crate) fn start(upstream: SocketAddr, keys: usize) -> Result<Self> {
        let binary = std::env::current_exe()?;
        let folder = binary.parent().and_then(|examples| examples.parent());
        let binary = folder.ok_or("no folder")?.join("llmproxy");
        if !binary.exists() {
            return Err(format!("{} is not built: cargo build --release", binary.display()).into());
        }
        let home = tempfile::tempdir()?;
        fs::create_dir_all(home.path().join("llmproxy"))?;
        fs::write(
            home.path().join("llmproxy/config.toml"),
            config(upstream, keys, true),
        )?;
        let mut child = Command::new(binary)
            .args(["serve", "--port", "0"])
            .env_clear()
            .env("HOME", home.path())
            .envs(
                ["CONFIG", "DATA", "STATE", "CACHE"]
                    .map(|kind| (format!("XDG_{kind}_HOME"), home.path())),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stderr.take().ok_or("no stderr")?).lines();
        let address = lines
            .by_ref()
            .map_while(std::result::Result::ok)
            .find_map(|line| {
                let (_, address) = line.split_once("listening on http://")?;
                address.parse().ok()
            });
        // Whatever else it writes must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self {
            child,
            home,
            upstream,
            address: address.ok_or("the gateway did not start")?,
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
            let stream = TcpStream::connect(self.address).await?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            let request = hyper::Request::get("/metrics")
                .header("host", self.address.to_string())
                .body(Empty::<Bytes>::new())?;
            let metrics = sender.send_request(request).await?.into_body();
            let metrics = metrics.collect().await?.to_bytes();
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
pub(crate) async fn churn(gateway: Arc<Gateway>, keys: usize, until: Instant) -> Result<()> {
    let file = gateway.home.path().join("llmproxy/config.toml");
    let beside = file.with_extension("new");
    let mut number = 0_u64;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_secs(1)).await;
        number += 1;
        let text = match number % 3 {
            0 => "[providers.soak\nkind =".to_owned(),
            remainder => config(gateway.upstream, keys, remainder == 1),
        };
        fs::write(&beside, text)?;
        fs::rename(&beside, &file)?;
        gateway.reloads.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn config(upstream: SocketAddr, keys: usize, balanced: bool) -> String {
    let rotation = if balanced { "balanced" } else { "sequential" };
    let keys: Vec<_> = (0..keys)
        .map(|number| format!("{}{number}", upstream::KEY))
        .collect();
    format!(
        "[providers.soak]\nkind = \"openai\"\nbase_url = \"http://{upstream}/v1\"\nrotation = \"{rotation}\"\n\
         api_keys = {keys:?}\n"
    )
}
