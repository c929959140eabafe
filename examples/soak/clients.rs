//! The clients: ask, compare every byte with what was to come, now and then leave.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::{Result, upstream};

/// Of so many requests one is left by its client.
const LEAVING: usize = 100;

/// What clients saw.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) requests: AtomicU64,
    /// Bytes other than the upstream's, or an end that looks like success and is none.
    pub(crate) altered: AtomicU64,
    /// Streams that ended with an error after content, as they must when the upstream broke off.
    pub(crate) told: AtomicU64,
    pub(crate) left: AtomicU64,
    failures: Mutex<BTreeMap<String, u64>>,
    /// What came of the first altered answer where it differs.
    odd: Mutex<Option<String>>,
}

impl Tally {
    pub(crate) fn failures(&self) -> u64 {
        self.seen().values().sum()
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.failures() == 0 && self.altered.load(Ordering::Relaxed) == 0
    }

    /// What went wrong, each kind with its count.
    pub(crate) fn report(&self) -> String {
        let seen = self.seen();
        let lines = seen
            .iter()
            .take(20)
            .map(|(what, count)| format!("{count} × {what}\n"));
        let mut lines: String = lines.collect();
        let odd = self.odd.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(odd) = &*odd {
            let _ = writeln!(lines, "the first altered answer went on with {odd:?}");
        }
        lines
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, u64>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an answer that differs, from where it does.
    fn altered(&self, from: &str) {
        self.altered.fetch_add(1, Ordering::Relaxed);
        let from: String = from.chars().take(300).collect();
        let mut odd = self.odd.lock().unwrap_or_else(PoisonError::into_inner);
        odd.get_or_insert(from);
    }

    fn failed(&self, what: String) {
        let mut seen = self.seen();
        if seen.len() < 1000 || seen.contains_key(&what) {
            *seen.entry(what).or_default() += 1;
        }
    }
}

/// One client, until the end.
pub(crate) async fn run(
    address: SocketAddr,
    seed: u64,
    until: Instant,
    pause: Duration,
    tally: Arc<Tally>,
) {
    let mut rng = Rng::with_seed(seed);
    while Instant::now() < until {
        if let Err(error) = converse(address, seed, &mut rng, until, pause, &tally).await {
            tally.failed(format!("connection: {error}"));
        }
    }
}

/// Requests on one connection, until one is left or the end.
async fn converse(
    address: SocketAddr,
    seed: u64,
    rng: &mut Rng,
    until: Instant,
    pause: Duration,
    tally: &Tally,
) -> Result<()> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    while Instant::now() < until {
        tokio::time::sleep(pause).await;
        let streams = rng.bool();
        let id = format!("{seed}-{}", rng.u64(..));
        let body = format!(
            "{{\"model\":\"soak/m\",\"stream\":{streams},\"user\":\"{id}\",\"messages\":[{{\"role\":\"user\",\
             \"content\":\"{id}\"}}]}}"
        );
        let request = Request::post(format!("http://{address}/v1/chat/completions"))
            .header("host", address.to_string())
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))?;
        sender.ready().await?;
        let sending = sender.send_request(request);
        if rng.usize(0..LEAVING) == 0 {
            let wait = Duration::from_micros(rng.u64(0..5000));
            let _ = tokio::time::timeout(wait, sending).await;
            connection.abort();
            tally.left.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        let answer = sending.await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        tally.requests.fetch_add(1, Ordering::Relaxed);
        let text = String::from_utf8_lossy(&body);
        if status != 200 {
            tally.failed(format!("{status}: {text}"));
        } else if streams {
            check_stream(&text, tally);
        } else if text != upstream::whole() {
            tally.altered(&text);
        }
    }
    Ok(())
}

fn check_stream(text: &str, tally: &Tally) {
    let expected = upstream::frames().concat();
    // A comment while nothing comes is no part of the answer.
    let text = &text.replace(": keepalive\n\n", "");
    if *text == expected {
        return;
    }
    let same = text
        .bytes()
        .zip(expected.bytes())
        .take_while(|(left, right)| left == right);
    let (_, tail) = text.split_at_checked(same.count()).unwrap_or(("", text));
    let is_told = text.contains("\"error\"") && !text.contains("[DONE]") && tail.len() < 2000;
    if is_told {
        tally.told.fetch_add(1, Ordering::Relaxed);
    } else {
        tally.altered(tail);
    }
}
