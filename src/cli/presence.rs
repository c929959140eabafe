//! Where a running server of this user is: it leaves its address in the state directory, so that
//! `status` finds it whatever its port.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::cli::boot::Boot;
use crate::cli::exit::Failure;
use crate::cli::remote::Remote;
use crate::config::server::{Client, is_loopback};
use crate::gateway::upstream::Url;
use crate::secret::Secret;

/// How long a server may take to say that it is one.
const PATIENCE: Duration = Duration::from_secs(2);

/// The file in the state directory.
const FILE: &str = "server.url";

/// A server's word that it is there, taken back when it ends.
pub(super) struct Presence {
    file: PathBuf,
    url: String,
}

impl Presence {
    /// Writes the address down. Without it nothing but `status` misses anything, so a failure is
    /// only logged.
    pub(super) fn announce(state_dir: &Path, address: SocketAddr, is_tls: bool) -> Self {
        let presence = Self {
            file: state_dir.join(FILE),
            url: url(address, is_tls),
        };
        let written = fs::create_dir_all(state_dir)
            .and_then(|()| fs::write(&presence.file, format!("{}\n", presence.url)));
        if let Err(error) = written {
            tracing::debug!("cannot write {}: {error}", presence.file.display());
        }
        presence
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        // Another server may have written its own since.
        let is_ours = fs::read_to_string(&self.file).is_ok_and(|text| text.trim() == self.url);
        if is_ours {
            // What is left behind by a failure is found to be stale.
            let _ = fs::remove_file(&self.file);
        }
    }
}

/// The server that runs in this home, if it answers; with the address to show.
pub(super) async fn find(boot: &Boot) -> Option<(String, Remote)> {
    let text = fs::read_to_string(boot.paths.state_dir.join(FILE)).ok()?;
    let url = text.trim().to_owned();
    let remote = at(&url, boot).ok()?;
    let asked = tokio::time::timeout(PATIENCE, remote.get("/")).await;
    let body = asked.ok()?.ok()?;
    let greeting: Value = serde_json::from_slice(&body).ok()?;
    // Somebody else may listen there by now.
    (greeting.get("name").and_then(Value::as_str) == Some("llmproxy")).then_some((url, remote))
}

/// The server at an address. One on this machine is taken for the one this config is of, so that
/// its own client key lets us in where `LLMPROXY_API_KEY` is not set.
pub(super) fn at(url: &str, boot: &Boot) -> Result<Remote, Failure> {
    let host = Url::parse(url).ok();
    let is_here = host.is_some_and(|url| url.host_str().is_some_and(is_loopback));
    let clients = boot.loaded.config.server.all_clients();
    let mut keys = clients.filter_map(Client::known_key);
    let key = keys.next().filter(|_| is_here).map(Secret::expose);
    Remote::with_key(url, boot, key)
}

/// Where to call a server that listens there: "every address" is no address to call.
fn url(mut address: SocketAddr, is_tls: bool) -> String {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    let scheme = if is_tls { "https" } else { "http" };
    format!("{scheme}://{address}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_called_on_loopback() {
        for (address, expected) in [
            ("0.0.0.0:1", "http://127.0.0.1:1"),
            ("[::]:2", "http://[::1]:2"),
            ("192.0.2.1:3", "http://192.0.2.1:3"),
        ] {
            assert_eq!(url(address.parse().expect("an address"), false), expected);
        }
    }

    #[test]
    fn the_word_is_taken_back_unless_it_is_anothers() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join(FILE);
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let first = Presence::announce(dir.path(), address(1), false);
        let second = Presence::announce(dir.path(), address(2), false);
        drop(first);
        assert_eq!(
            fs::read_to_string(&file).expect("there"),
            "http://127.0.0.1:2\n"
        );
        drop(second);
        assert!(!file.exists());
    }
}
