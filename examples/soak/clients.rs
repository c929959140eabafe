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

use crate::gateway::{CLIENT, CLIENTS};
use crate::watch::Watch;
use crate::{Plan, Result, upstream};

/// Of so many requests one is left by its client.
const LEAVING: usize = 100;

/// How often a request goes to the account, where there is one: its kind takes sixty a minute.
const ACCOUNT_PACE: Duration = Duration::from_millis(1500);

/// How many requests are remembered for `explain`.
const REMEMBERED: usize = 300;

/// What clients saw.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) requests: AtomicU64,
    /// Bytes other than the upstream's, or an end that looks like success and is none.
    pub(crate) altered: AtomicU64,
    /// Streams that ended with an error after content, as they must when the upstream broke off.
    pub(crate) told: AtomicU64,
    pub(crate) left: AtomicU64,
    /// Requests that were refused as they had to be.
    pub(crate) refused: AtomicU64,
    /// When a request last went to the account.
    account: Mutex<Option<Instant>>,
    /// Ids of some requests that met trouble.
    ids: Mutex<Vec<String>>,
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

    /// Whether it is time for a request to the account: `true` for one client only.
    fn takes_account(&self) -> bool {
        let mut last = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| last.elapsed() > ACCOUNT_PACE);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }

    /// Ids of requests that are worth to be explained.
    pub(crate) fn ids(&self) -> Vec<String> {
        let ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.clone()
    }

    fn remember(&self, head: &hyper::HeaderMap) {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let id = head.get("x-request-id").and_then(|id| id.to_str().ok());
        if ids.len() >= REMEMBERED {
            // The journal forgets old ones: the youngest are kept.
            ids.remove(0);
        }
        ids.extend(id.map(str::to_owned));
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

/// A client: whom it asks, what it draws, and who looks at its answers.
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) seed: u64,
    pub(crate) until: Instant,
    pub(crate) plan: Plan,
    pub(crate) tally: Arc<Tally>,
    pub(crate) watch: Arc<Watch>,
}

/// One client, until the end.
pub(crate) async fn run(client: Client) {
    let mut rng = Rng::with_seed(client.seed);
    while Instant::now() < client.until {
        if let Err(error) = converse(&client, &mut rng).await {
            client.tally.failed(format!("connection: {error}"));
        }
    }
}

/// Requests on one connection, until one is left or the end.
async fn converse(client: &Client, rng: &mut Rng) -> Result<()> {
    let Client { tally, watch, .. } = client;
    let (address, seed, leaks) = (client.address, client.seed, client.plan.leaks);
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    while Instant::now() < client.until {
        tokio::time::sleep(client.plan.pause).await;
        let streams = rng.bool();
        let is_faulty = rng.f64() < leaks;
        let is_account = leaks > 0.0 && !is_faulty && tally.takes_account();
        let start = if is_faulty { upstream::FAULTY } else { "" };
        let id = format!("{start}{seed}-{}", rng.u64(..));
        let model = if is_account {
            "qwen_code/coder-model"
        } else {
            "soak/m"
        };
        let body = format!(
            "{{\"model\":\"{model}\",\"stream\":{streams},\"user\":\"{id}\",\"messages\":[{{\"role\":\"user\",\
             \"content\":\"{id}\"}}]}}"
        );
        let request = Request::post(format!("http://{address}/v1/chat/completions"))
            .header("host", address.to_string())
            .header("content-type", "application/json")
            .header(
                "authorization",
                format!("Bearer {CLIENT}{}", seed % CLIENTS),
            )
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
        let (head, body) = answer.into_parts();
        let status = head.status.as_u16();
        let body = body.collect().await?.to_bytes();
        watch.answer(&head.headers, &body);
        tally.requests.fetch_add(1, Ordering::Relaxed);
        let text = String::from_utf8_lossy(&body);
        if is_faulty && upstream::FAULTS.contains(&status) {
            tally.refused.fetch_add(1, Ordering::Relaxed);
            tally.remember(&head.headers);
        } else if status != 200 {
            tally.remember(&head.headers);
            tally.failed(format!("{status}: {text}"));
        } else if is_account {
            // The gateway adapts what accounts say.
            if !text.contains("noticed") {
                tally.altered(&text);
            }
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
