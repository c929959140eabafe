//! An upstream that repeats the key it was asked with wherever it can, in eight encodings: no client
//! sees it, nor does anybody who reads what the gateway writes down. (The harness searches all answers
//! that are read, all that the gateway writes, and its state.)

use std::collections::HashSet;
use std::sync::Mutex;

use crate::canary::ENCODINGS;
use crate::client::Request;
use crate::fake::openai;
use crate::fake::reply::{Ending, Reply};
use crate::fake::script::Script;
use crate::fake::upstream::{Recorded, Upstream};
use crate::fake::{self, CANARY};
use crate::harness::{Gateway, Home, keys, provider};

/// Where it is repeated.
const PLACES: [&str; 5] = ["refusal", "headers", "late", "page", "spoilt"];

/// What a client sends to have it repeated so; `before` so many bytes stand before it.
fn wish(place: &str, encoding: usize, before: usize) -> String {
    format!("{place}/{encoding}/{before}")
}

/// The key of a request in the encoding it wishes for, and where to repeat it.
fn repeated(request: &Recorded) -> Option<(&'static str, String)> {
    let text = request.text();
    let place = PLACES
        .into_iter()
        .find(|place| text.contains(&format!("{place}/")))?;
    let (_, rest) = text.split_once(&format!("{place}/"))?;
    let mut digits = rest
        .bytes()
        .step_by(2)
        .map(|digit| usize::from(digit - b'0'));
    let (encoding, before) = (digits.next()?, digits.next()?);
    let (_, encode) = ENCODINGS[encoding];
    let key = request.key.clone()?;
    Some((place, encode(&("u:"[..before].to_owned() + &key))))
}

fn answer(request: &Recorded, once: &Mutex<HashSet<String>>) -> Reply {
    let good = openai::completion("fine");
    let Some((place, told)) = repeated(request) else {
        return good;
    };
    // As a member of JSON that a reader turns back, where it can be.
    let body = |kind: &str| {
        format!(
            "{{\"error\":{{\"message\":\"you sent {told}\",\"type\":\"{kind}\",\"code\":null}}}}"
        )
    };
    let with_headers = |reply: Reply| {
        let names = [
            "request-id",
            "x-ratelimit-limit-requests",
            "set-cookie",
            "x-key",
        ];
        names
            .into_iter()
            .fold(reply, |reply, name| reply.header(name, &told))
    };
    let is_first = once
        .lock()
        .expect("no panic")
        .insert(place.to_owned() + &told);
    match place {
        "refusal" => with_headers(Reply::json(400, body("invalid_request_error"))),
        "headers" => with_headers(good),
        "late" => {
            let error = format!("data: {}\n\n", body("server_error"));
            Reply::sse([openai::role(), openai::content("so far"), error]).ending(Ending::Close)
        }
        "page" if is_first => with_headers(Reply::text(502, "text/html", format!("<p>{told}</p>"))),
        "spoilt" if is_first => with_headers(Reply::json(200, body("server_error"))),
        _ => good,
    }
}

#[tokio::test]
async fn ab5_a_key_that_the_upstream_repeats_in_eight_encodings_reaches_nobody() {
    let once = Mutex::default();
    let upstream =
        Upstream::start(Script::new().answer(move |request| answer(request, &once))).await;
    let owner = fake::key("owner");
    let config = provider("fake", &upstream, &keys(30))
        + &format!("[server]\napi_keys = [\"{owner}\"]\n[log]\nrequests = true\n");
    let gateway = Gateway::start_in(Home::with_config(&config), &["-vvv"]).await;
    let bearer = format!("Bearer {owner}");
    let ask = async |request: Request| {
        let request = request.header("authorization", &bearer);
        gateway.send(&request).await
    };
    let mut ids = Vec::new();
    for place in PLACES {
        // What is hidden is retried after a pause: fewer of these.
        let hidden = matches!(place, "page" | "spoilt");
        for encoding in 0..ENCODINGS.len() {
            for before in 0..if hidden { 1 } else { 3 } {
                let wish = wish(place, encoding, before);
                let stream = place == "late";
                let chat = format!(
                    r#"{{"model":"fake/m1","stream":{stream},"max_tokens":9,"messages":[{{"role":"user","content":"{wish}"}}]}}"#
                );
                for path in ["/v1/chat/completions", "/v1/messages"] {
                    let answer = ask(Request::post(path, chat.clone())).await;
                    let status = if place == "refusal" { 400 } else { 200 };
                    assert_eq!(answer.status, status, "{wish}: {}", answer.text());
                    let is_told = matches!(place, "refusal" | "late");
                    assert_eq!(
                        answer.text().contains("you sent"),
                        is_told,
                        "{}",
                        answer.text()
                    );
                    ids.extend(answer.header("x-request-id").map(str::to_owned));
                }
            }
        }
    }
    for path in [
        "/metrics",
        "/v1/requests",
        "/v1/providers",
        "/v1/quota-stats",
        "/v1/models",
        "/dashboard/api/credentials?provider=fake",
    ] {
        assert_eq!(ask(Request::get(path)).await.status, 200, "{path}");
    }
    for id in ids.iter().step_by(10) {
        let path = format!("/dashboard/api/requests/{id}");
        assert_eq!(ask(Request::get(&path)).await.status, 200, "{path}");
        let told = gateway.home().run_beside(&["explain", id], "").await;
        assert_eq!(told.code, 0, "{told:?}");
    }
    // It did try, and it was noticed.
    let said = gateway.said("you sent [redacted]").await;
    assert!(!said.contains(CANARY));
    assert!(upstream.requests().len() > ids.len());
}
