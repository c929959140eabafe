//! Whatever a Redis may answer to what is asked of it: a value or an error, never a panic, in
//! bounded time, and no wait that is longer than the limit it belongs to.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use llmproxy::secret::{Fingerprint, Secret};
use llmproxy::state::redis::{
    Admission, Away, BACKGROUND_PATIENCE, COMMAND_PATIENCE, Ended, Ends, Handover, Limits, Notice,
    Page, Redis, Served, Settings, Window,
};
use llmproxy::state::rows::UsageSums;
use llmproxy::time::Timestamp;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

/// The window that is asked for.
const MINUTE: Duration = Duration::from_mins(1);

/// Twice the window, and clocks that are not quite together.
const LONGEST_WAIT: Duration = Duration::from_secs(125);

const DAY: i64 = 20_000;

/// What may be asked.
const QUESTIONS: u8 = 15;

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// The low five bits of the first byte say what is asked, the high ones how the server behaves; then
/// a reply a line: as JSON, of which an object is an error, or else just as it stands.
pub(crate) fn check(data: &[u8]) {
    let Some((first, replies)) = data.split_first() else {
        return;
    };
    let server = Server {
        replies: replies.split(|byte| *byte == b'\n').map(encoded).collect(),
        is_silent_in_the_end: first & 32 != 0,
        is_plain_master: first & 64 == 0,
    };
    let runtime = RUNTIME.get_or_init(|| {
        let mut builder = Builder::new_current_thread();
        let builder = builder.enable_time().start_paused(true);
        builder.build().expect("a runtime")
    });
    runtime.block_on(converse(server, first % 32 % QUESTIONS));
}

async fn converse(server: Server, question: u8) {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let serving = tokio::spawn(server.serve(theirs));
    let redis = Redis::new(&Settings {
        url: Secret::new("redis://127.0.0.1:1"),
        namespace: "n".to_owned(),
        token_key: Some(Secret::new("0123456789abcdef")),
    });
    let redis = Arc::new(redis.expect("an address"));
    if redis.attach(ours).await.is_ok() {
        assert!(redis.is_up());
        let asked = Instant::now();
        let answered = ask(&redis, question).await;
        // Some are two calls, one after the other.
        assert!(asked.elapsed() <= 2 * BACKGROUND_PATIENCE + Duration::from_millis(10));
        // Keys that are moving say nothing of the server.
        assert!(answered.is_ok() || !redis.is_up() || redis.trouble().is_none());
    } else {
        assert!(!redis.is_up() && redis.trouble().is_some());
    }
    drop(redis);
    serving.abort();
    let _ = serving.await;
    // The connection's own task notices.
    tokio::task::yield_now().await;
}

async fn ask(redis: &Arc<Redis>, question: u8) -> Result<(), Away> {
    let name = Fingerprint([7; 16]);
    let words = || vec![("a".to_owned(), "{}".to_owned())];
    let handover = Handover::new(Arc::clone(redis), name);
    match question {
        0 => admit(redis, name).await?,
        1 => {
            let limits = Limits::of_client("laptop", 2, 60);
            let ticket = redis.own_ticket();
            redis.settle(&limits, &ticket, Ended::default()).await?;
        }
        2 => redis.renew("tag", &["lease".to_owned()]).await?,
        3 => assert!(redis.beat("{}").await? >= 1),
        4 => drop(redis.instances().await?),
        5 => {
            let spent = redis.spend(DAY, &[("laptop".to_owned(), 0.5)]).await?;
            assert!(spent.values().all(|dollars| dollars.is_finite()));
        }
        6 => drop(redis.publish("acme", &notices(), &[]).await?),
        7 => redis.keep_conversations("acme", &words()).await?,
        8 => drop(redis.conversations("acme").await?),
        9 => drop(redis.states("acme").await?),
        10 => {
            let names = ["acme", "other"].map(str::to_owned);
            assert_eq!(redis.versions(&names).await?.len(), names.len());
        }
        11 => {
            let page = Page {
                day: DAY,
                book: "book".to_owned(),
                rows: [served()].into(),
            };
            redis.tell_usage(&page, true).await?;
            let _ = redis.told_usage(DAY, "book").await?;
        }
        12 => {
            let mut sums = UsageSums::default();
            for page in redis.usage(DAY..=DAY).await? {
                page.rows.values().for_each(|more| sums += more);
            }
        }
        13 => {
            // The lock is given back when it is dropped, in a task of its own.
            let held = handover.lock().await?;
            drop(held);
            redis.forget("acme", &["field".to_owned()]).await?;
        }
        _ => {
            // Nobody without the key can seal tokens.
            assert!(handover.fetch().await?.is_none());
            let _ = handover.offer(1, b"tokens").await?;
        }
    }
    Ok(())
}

async fn admit(redis: &Redis, name: Fingerprint) -> Result<(), Away> {
    let windows = [Ends::FirstUse, Ends::Rolling]
        .map(|ends| Window::new("m", MINUTE, ends).allowing(5, 1000));
    let limits = Limits::of_credential("acme", name, 3, windows.to_vec());
    let asked = Instant::now();
    let admission = redis.admit(&limits).await;
    assert!(asked.elapsed() <= COMMAND_PATIENCE + Duration::from_millis(10));
    let now = Timestamp::now();
    match admission? {
        Admission::Busy => {}
        Admission::Full { window, room } => {
            assert!(window < windows.len());
            assert!(now.until(room) <= LONGEST_WAIT, "{room}");
        }
        Admission::Taken(ticket) => {
            assert!(ticket.counts.len() <= windows.len());
            for (_, ends) in &ticket.counts {
                assert!(now.until(*ends) <= LONGEST_WAIT, "{ends}");
            }
            redis.settle(&limits, &ticket, Ended::default()).await?;
        }
    }
    Ok(())
}

fn notices() -> [Notice; 1] {
    [Notice {
        field: "field".to_owned(),
        changed_ms: 1,
        record: "{}".to_owned(),
    }]
}

fn served() -> (Served, UsageSums) {
    let served = Served {
        provider: "acme".to_owned(),
        model: "m".to_owned(),
        name: "ab".to_owned(),
        credential: "acme/1".to_owned(),
        client: String::new(),
    };
    (served, UsageSums::default())
}

/// A server that says what it is told to say.
struct Server {
    replies: Vec<Vec<u8>>,
    /// It answers no more, or it hangs up.
    is_silent_in_the_end: bool,
    /// The first question, what its role is, is answered in order.
    is_plain_master: bool,
}

impl Server {
    async fn serve(self, mut stream: DuplexStream) {
        let mut heard = Vec::new();
        let mut replies = self.replies.into_iter();
        let mut master = self
            .is_plain_master
            .then(|| b"*1\r\n$6\r\nmaster\r\n".to_vec());
        // What a server calls a script, the redis crate takes for granted.
        let mut hash = None;
        while let Ok(1..) = stream.read_buf(&mut heard).await {
            while let Some(length) = command(&heard) {
                let said: Vec<u8> = heard.drain(..length).collect();
                hash = hash_in(&said).or(hash);
                let of_script = hash.clone().filter(|_| is_load(&said));
                let reply = of_script.or_else(|| master.take());
                let Some(reply) = reply.or_else(|| replies.next()) else {
                    if self.is_silent_in_the_end {
                        std::future::pending::<()>().await;
                    }
                    return;
                };
                if stream.write_all(&reply).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The hash of the script that is called, as a reply.
fn hash_in(command: &[u8]) -> Option<Vec<u8>> {
    const CALL: &[u8] = b"EVALSHA\r\n$40\r\n";
    let at = command.windows(CALL.len()).position(|some| some == CALL)?;
    let hash = command.get(at + CALL.len()..at + CALL.len() + 42)?;
    Some([b"$40\r\n", hash].concat())
}

fn is_load(command: &[u8]) -> bool {
    const LOAD: &[u8] = b"SCRIPT\r\n";
    command.get(8..8 + LOAD.len()) == Some(LOAD)
}

/// How long the first command is; `None` if not all of it is there yet.
fn command(heard: &[u8]) -> Option<usize> {
    let mut at = 0;
    let count = number(heard, &mut at)?;
    for _ in 0..count {
        at += number(heard, &mut at)? + 2;
    }
    (at <= heard.len()).then_some(at)
}

/// The number of `*12\r\n` or `$12\r\n`.
fn number(heard: &[u8], at: &mut usize) -> Option<usize> {
    let rest = heard.get(*at + 1..)?;
    let end = rest.iter().position(|byte| *byte == b'\r')?;
    *at += end + 3;
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

/// A reply on the wire.
fn encoded(line: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match serde_json::from_slice(line) {
        Ok(reply) => encode(&reply, &mut out),
        Err(_) => out.extend([line, b"\r\n"].concat()),
    }
    out
}

fn encode(reply: &Value, out: &mut Vec<u8>) {
    let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
    match reply {
        Value::Null => out.extend(b"$-1\r\n"),
        Value::Bool(true) => out.extend(b"+OK\r\n"),
        Value::Bool(false) => out.extend(b"*-1\r\n"),
        Value::Number(number) if number.is_f64() => out.extend(bulk(&number.to_string()).bytes()),
        Value::Number(number) => out.extend(format!(":{number}\r\n").bytes()),
        Value::String(text) => out.extend(bulk(text).bytes()),
        Value::Array(replies) => {
            out.extend(format!("*{}\r\n", replies.len()).bytes());
            for reply in replies {
                encode(reply, out);
            }
        }
        Value::Object(error) => {
            let words = error.iter().map(|(code, rest)| format!("{code} {rest}"));
            let words = words.collect::<String>().replace(['\r', '\n'], " ");
            out.extend(format!("-{words}\r\n").bytes());
        }
    }
}
