//! Each fault of an upstream, streamed and not, in each dialect: before content the client never
//! notices, after it the client hears it in its own dialect; the right one is blamed, and no lease
//! stays behind.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Mutex;

use serde_json::json;

use crate::client::Request;
use crate::dialects::{DIALECTS, frames, proper_end, request, whole};
use crate::fake::reply::{Ending, Framing, Reply};
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::fake::{self, anthropic, sse};
use crate::harness::Gateway;

/// Short limits, so that silence is noticed within a test's patience.
const BRISK: &str = "[timeouts]\nfirst_byte = \"700ms\"\nstream_idle = \"700ms\"\n";

/// What the pool must make of a fault.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Blame {
    /// The credential: another one serves while it rests.
    Key,
    /// Nobody: the same credential is asked again.
    Nobody,
}

struct Case {
    what: &'static str,
    streamed: bool,
    fault: Reply,
    blame: Blame,
}

/// An error answer in the dialect's own shape.
fn error(dialect: &str, status: u16, kind: &str, message: &str) -> Reply {
    Reply::json(status, error_body(dialect, status, kind, message))
}

fn error_body(dialect: &str, status: u16, kind: &str, message: &str) -> String {
    let body = match dialect {
        "anthropic" => json!({"type": "error", "error": {"type": kind, "message": message}}),
        "gemini" => json!({"error": {"code": status, "status": kind, "message": message}}),
        _ => json!({"error": {"message": message, "type": kind, "code": kind, "param": null}}),
    };
    body.to_string()
}

/// The vendor's words for a rate limit, a refused key and its own trouble.
fn kinds(dialect: &str) -> [&'static str; 3] {
    match dialect {
        "anthropic" => ["rate_limit_error", "authentication_error", "api_error"],
        "gemini" => ["RESOURCE_EXHAUSTED", "UNAUTHENTICATED", "INTERNAL"],
        _ => ["rate_limit_exceeded", "invalid_api_key", "server_error"],
    }
}

/// Frames that come before any content.
fn preamble(dialect: &str) -> Vec<String> {
    let length = match dialect {
        "anthropic" => 3,
        "gemini" => 0,
        "openai" => 1,
        _ => 4,
    };
    frames(dialect)[..length].to_vec()
}

/// Frames up to and with the first content.
fn begun(dialect: &str) -> Vec<String> {
    let length = preamble(dialect).len() + 1;
    frames(dialect)[..length].to_vec()
}

/// How the dialect's stream says that its service is in trouble.
fn error_frame(dialect: &str) -> String {
    match dialect {
        "anthropic" => anthropic::overloaded_frame(),
        "openai_responses" => sse::event(
            "error",
            &json!({"type": "error", "code": "server_error", "message": "Overloaded",
                "param": null, "sequence_number": 9}),
        ),
        _ => format!(
            "data: {}\n\n",
            error_body(dialect, 503, kinds(dialect)[2], "Overloaded")
        ),
    }
}

/// A fault, named by its row, and who is to blame for it.
type Fault = (&'static str, Reply, Blame);

/// What an upstream of that dialect can do instead of answering, before any content.
fn faults_before_content(dialect: &str, streamed: bool) -> Vec<Fault> {
    let mut faults = refusals(dialect);
    faults.extend(no_answers());
    faults.extend(no_answers_of(dialect, streamed));
    faults.extend(if streamed {
        broken_streams(dialect)
    } else {
        broken_bodies(dialect)
    });
    faults
}

/// Error answers in the dialect's words.
fn refusals(dialect: &str) -> Vec<Fault> {
    let [limited, refused, broken] = kinds(dialect);
    let limit = || error(dialect, 429, limited, "Slow down");
    let overloaded = error(dialect, 529, "overloaded_error", "Overloaded");
    let page = Reply::text(502, "text/html", "<h1>502</h1>");
    vec![
        (
            "U24 a limit",
            limit().header("retry-after", "70"),
            Blame::Key,
        ),
        ("U28 a limit without a hint", limit(), Blame::Key),
        (
            "U35 a refused key",
            error(dialect, 401, refused, "Bad key"),
            Blame::Key,
        ),
        (
            "U38 no money",
            error(dialect, 402, "billing_error", "Pay first"),
            Blame::Key,
        ),
        (
            "U46 500",
            error(dialect, 500, broken, "Sorry"),
            Blame::Nobody,
        ),
        ("U47 a page of a 502", page, Blame::Nobody),
        ("U49 overload", overloaded, Blame::Nobody),
        (
            "U50 an error in a 200",
            error(dialect, 200, limited, "Slow down"),
            Blame::Key,
        ),
    ]
}

/// What is no answer in any dialect.
fn no_answers() -> Vec<Fault> {
    let interim = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(1000);
    let headers: String = (0..1000).fold(String::new(), |mut lines, number| {
        let _ = write!(lines, "x-{number}: 1\r\n");
        lines
    });
    let many = format!("HTTP/1.1 200 OK\r\n{headers}\r\n");
    let long = Reply::json(200, "{}").header("x-long", &"x".repeat(1 << 20));
    let away = Reply::json(307, "").header("location", "http://127.0.0.1:1/");
    let page = Reply::text(200, "text/html", "<html>log in here</html>");
    let replies = [
        ("U09 a reset", Reply::reset()),
        ("U10 a close", Reply::raw("", Ending::Close)),
        ("U11 junk", Reply::raw("SSH-2.0-x\r\n", Ending::Close)),
        (
            "U11 half a status line",
            Reply::raw("HTTP/1.1 2", Ending::Close),
        ),
        (
            "U12 interim answers and no end of them",
            Reply::raw(interim, Ending::Stall),
        ),
        ("U19 silence", Reply::silence()),
        ("U53 an empty 200", Reply::json(200, "")),
        ("U56 somebody else's page", page),
        ("U72 a thousand headers", Reply::raw(many, Ending::Close)),
        ("U72 a header of a megabyte", long),
        ("U74 a way to elsewhere", away),
    ];
    replies
        .map(|(what, reply)| (what, reply, Blame::Nobody))
        .into()
}

/// What the dialect's own answer becomes no answer by.
fn no_answers_of(dialect: &str, streamed: bool) -> [Fault; 2] {
    let good = if streamed {
        Reply::sse(frames(dialect))
    } else {
        whole(dialect)
    };
    let compressed = whole(dialect).header("content-encoding", "gzip");
    [
        (
            "U20 headers, then silence",
            good.cut(0, Ending::Stall),
            Blame::Nobody,
        ),
        (
            "U58 garbage that says it is compressed",
            compressed,
            Blame::Nobody,
        ),
    ]
}

/// Whole answers that are not whole.
fn broken_bodies(dialect: &str) -> Vec<Fault> {
    let promised = whole(dialect).framed(Framing::Length(100_000));
    let half = whole(dialect).cut(60, Ending::Complete);
    let replies = [
        ("U13 less than promised", promised.ending(Ending::Close)),
        (
            "U13 half of it, then a reset",
            whole(dialect).cut(60, Ending::Reset),
        ),
        ("U55 half a document", half.framed(Framing::Length(60))),
    ];
    replies
        .map(|(what, reply)| (what, reply, Blame::Nobody))
        .into()
}

/// Streams that end before they have said anything.
fn broken_streams(dialect: &str) -> Vec<Fault> {
    let early = || preamble(dialect);
    let with_error = early().into_iter().chain([error_frame(dialect)]);
    let replies = [
        (
            "U14 a reset before content",
            Reply::sse(early()).ending(Ending::Reset),
        ),
        (
            "U16 a close before content",
            Reply::sse(early()).ending(Ending::Close),
        ),
        (
            "U20 silence before content",
            Reply::sse(early()).ending(Ending::Stall),
        ),
        ("U51 an error before content", Reply::sse(with_error)),
        ("U53 an end before content", Reply::sse(early())),
    ];
    replies
        .map(|(what, reply)| (what, reply, Blame::Nobody))
        .into()
}

/// A provider a case, each with two keys of its own, of one upstream that answers a case's first
/// call with its fault and all others well.
async fn stage(dialect: &'static str, cases: &[Case]) -> (Upstream, Gateway) {
    let faults: Vec<(bool, Reply)> = cases
        .iter()
        .map(|case| (case.streamed, case.fault.clone()))
        .collect();
    let calls: Mutex<HashMap<usize, usize>> = Mutex::default();
    let upstream = Upstream::start(Script::new().answer(move |asked| {
        let key = asked.key.clone().unwrap_or_default();
        let case = key.split('-').find_map(|part| part.strip_prefix("case"));
        let case: usize = case
            .and_then(|number| number.parse().ok())
            .expect("a key of ours");
        let mut calls = calls.lock().expect("no panic");
        let count = calls.entry(case).or_default();
        *count += 1;
        let (streamed, fault) = &faults[case];
        match (*count, streamed) {
            (1, _) => fault.clone(),
            (_, true) => Reply::sse(frames(dialect)),
            (_, false) => whole(dialect),
        }
    }))
    .await;
    let base = match dialect {
        "anthropic" | "gemini" => upstream.origin(),
        _ => upstream.base_url(),
    };
    let mut config = BRISK.to_owned();
    for number in 0..cases.len() {
        let keys = ["a", "b"].map(|name| fake::key(&format!("case{number}-{name}")));
        let _ = write!(
            config,
            "[providers.case{number}]\nkind = \"{dialect}\"\nbase_url = \"{base}\"\napi_keys = {keys:?}\n"
        );
    }
    let gateway = Gateway::start(&config).await;
    (upstream, gateway)
}

/// A request of that dialect to a case's provider.
fn ask(dialect: &str, streamed: bool, number: usize) -> Request {
    request(dialect, streamed).for_model(&format!("case{number}/m1"))
}

/// What the pool says of a case's credentials.
async fn blamed(gateway: &Gateway, number: usize) -> Blame {
    match gateway.provider(&format!("case{number}")).await["ready"].as_u64() {
        Some(2) => Blame::Nobody,
        Some(1) => Blame::Key,
        other => panic!("{other:?} of two credentials are ready"),
    }
}

#[tokio::test]
async fn before_content_no_client_notices_any_fault_in_any_dialect() {
    for dialect in DIALECTS {
        let cases: Vec<Case> = [false, true]
            .into_iter()
            .flat_map(|streamed| {
                let faults = faults_before_content(dialect, streamed);
                faults.into_iter().map(move |(what, fault, blame)| Case {
                    what,
                    streamed,
                    fault,
                    blame,
                })
            })
            .collect();
        let (_upstream, gateway) = stage(dialect, &cases).await;
        let check = async |(number, case): (usize, &Case)| {
            let name = format!("{dialect}, streamed {}: {}", case.streamed, case.what);
            let answer = gateway.send(&ask(dialect, case.streamed, number)).await;
            assert_eq!(answer.status, 200, "{name}: {}", answer.text());
            assert!(answer.complete, "{name}");
            let expected = if case.streamed {
                frames(dialect).concat().into_bytes()
            } else {
                whole(dialect).pieces.concat()
            };
            assert_eq!(answer.text(), String::from_utf8_lossy(&expected), "{name}");
            assert_eq!(answer.header("x-llmproxy-attempts"), Some("2"), "{name}");
            assert_eq!(blamed(&gateway, number).await, case.blame, "{name}");
        };
        futures_util::future::join_all(cases.iter().enumerate().map(check)).await;
        gateway.idle().await;
    }
}

#[tokio::test]
async fn after_content_every_fault_is_told_in_the_clients_dialect_and_never_hidden() {
    for dialect in DIALECTS {
        let sent = || begun(dialect);
        let last = frames(dialect).pop().expect("frames");
        let half = last[..last.len() / 2].to_owned();
        let with = |frame: String| sent().into_iter().chain([frame]);
        let cases: Vec<Case> = [
            ("U15 a reset", Reply::sse(sent()).ending(Ending::Reset)),
            (
                "U16 a close without the last chunk",
                Reply::sse(sent()).ending(Ending::Close),
            ),
            ("U21 silence", Reply::sse(sent()).ending(Ending::Stall)),
            ("U52 an error", Reply::sse(with(error_frame(dialect)))),
            (
                "U15 half a frame",
                Reply::sse(with(half)).ending(Ending::Reset),
            ),
            ("U68 an end without a reason", Reply::sse(sent())),
        ]
        .into_iter()
        .map(|(what, fault)| Case {
            what,
            streamed: true,
            fault,
            blame: Blame::Nobody,
        })
        .collect();
        let (_upstream, gateway) = stage(dialect, &cases).await;
        let check = async |(number, case): (usize, &Case)| {
            let name = format!("{dialect}: {}", case.what);
            let answer = gateway.send(&ask(dialect, true, number)).await;
            let (text, sent) = (answer.text(), begun(dialect).concat());
            assert_eq!(answer.status, 200, "{name}: {text}");
            assert!(text.starts_with(&sent), "{name}: {text}");
            let tail = &text[sent.len()..];
            assert!(tail.contains("\"error\""), "{name}: {tail}");
            assert!(!tail.contains(proper_end(dialect)), "{name}: {tail}");
            assert_eq!(blamed(&gateway, number).await, case.blame, "{name}");
            let next = gateway.send(&ask(dialect, true, number)).await;
            assert_eq!(next.text(), frames(dialect).concat(), "{name}: the next");
        };
        futures_util::future::join_all(cases.iter().enumerate().map(check)).await;
        gateway.idle().await;
    }
}
