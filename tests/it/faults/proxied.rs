//! Ambiguous requests through nginx and `HAProxy`, which keep their connections to us for the next
//! client: whatever they make of a request, nobody's answer goes to somebody else, and nobody is called
//! upstream for a request that no client sent. Where one is not installed its test is skipped, with a
//! word.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::smuggling::refused;
use crate::client::CHAT;
use crate::fake::openai;
use crate::fake::script::Script;
use crate::harness::{Gateway, pair, patiently};

/// A program in front of a gateway, listening on a socket in a directory of its own.
struct Front {
    child: Child,
    directory: TempDir,
}

impl Front {
    /// Starts one; `None` where it is not installed. In `settings` `DIR` stands for its directory and
    /// `GATEWAY` for the address behind it.
    async fn start(
        program: &str,
        arguments: &[&str],
        settings: &str,
        gateway: &Gateway,
    ) -> Option<Self> {
        if !is_installed(program) {
            return None;
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        let dir = directory.path().display().to_string();
        let settings = settings
            .replace("DIR", &dir)
            .replace("GATEWAY", &gateway.address().to_string());
        let file = directory.path().join("settings");
        std::fs::write(&file, settings).expect("written");
        let child = Command::new(program)
            .args(arguments)
            .arg(&file)
            .current_dir(&directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let front = Self { child, directory };
        let is_there = async {
            while UnixStream::connect(front.socket()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        patiently(program, is_there).await;
        Some(front)
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("front")
    }

    /// All that is answered to these bytes, until the connection is closed.
    async fn answers(&self, bytes: &[u8]) -> String {
        let mut connection = UnixStream::connect(self.socket()).await.expect("connects");
        // It may close before it has read all.
        let _ = connection.write_all(bytes).await;
        let mut heard = Vec::new();
        let _ = patiently("the end", connection.read_to_end(&mut heard)).await;
        String::from_utf8_lossy(&heard).into_owned()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .any(|directory| Path::new(&directory).join(program).is_file());
    if !found {
        let _ = writeln!(std::io::stdout(), "skipped: {program} is not installed");
    }
    found
}

/// What a client sends whose request is its connection's last.
fn last(gateway: &Gateway) -> String {
    let (address, length) = (gateway.address(), CHAT.len());
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{CHAT}"
    )
}

/// Each payload with an honest request behind it, and then another client's.
async fn every_call_is_answered_to_who_asked(program: &str, arguments: &[&str], settings: &str) {
    let (upstream, gateway) = pair(Script::always(openai::completion("hi")), 1, "").await;
    let Some(front) = Front::start(program, arguments, settings, &gateway).await else {
        return;
    };
    let last = last(&gateway);
    let served = |heard: &str| heard.matches("HTTP/1.1 200").count();
    let mut wrong = Vec::new();
    for payload in refused() {
        let sent = payload.replace("HOST", &gateway.address().to_string()) + &last;
        let before = upstream.requests().len();
        let heard = front.answers(sent.as_bytes()).await;
        let calls = upstream.requests().len() - before;
        let other = front.answers(last.as_bytes()).await;
        let later = upstream.requests().len() - before - calls;
        if calls != served(&heard) || (served(&other), later) != (1, 1) {
            let start: String = payload.chars().take(200).collect();
            wrong.push(format!(
                "{start:?}: {calls} calls for {heard}, {later} for {other}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn ab6_behind_nginx_every_call_is_answered_to_who_asked() {
    let settings = "daemon off; master_process off; pid DIR/pid; error_log DIR/error.log;
        events { worker_connections 256; }
        http {
            access_log off; client_body_timeout 1s; client_header_timeout 1s;
            client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/fastcgi;
            uwsgi_temp_path DIR/uwsgi; scgi_temp_path DIR/scgi;
            upstream gateway { server GATEWAY; keepalive 4; }
            server {
                listen unix:DIR/front; proxy_http_version 1.1; proxy_request_buffering off;
                location / { proxy_pass http://gateway; proxy_set_header Host GATEWAY;
                             proxy_set_header Connection \"\"; }
            }
        }";
    every_call_is_answered_to_who_asked("nginx", &["-p", ".", "-c"], settings).await;
}

#[tokio::test]
async fn ab6_behind_haproxy_every_call_is_answered_to_who_asked() {
    let settings = "defaults
    mode http
    http-reuse always
    timeout connect 5s
    timeout client 1s
    timeout server 1m
    timeout http-request 1s
frontend front
    bind unix@DIR/front
    default_backend gateway
backend gateway
    server gateway GATEWAY
";
    every_call_is_answered_to_who_asked("haproxy", &["-db", "-f"], settings).await;
}
