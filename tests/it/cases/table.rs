//! The cases of the wire formats that can be written as a table: what a client asks, what the
//! upstream is sent and answers, what the client gets. `tests/fixtures/cases` holds them by number,
//! `benches/CASES.md` lists all.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::pattern::mismatch;
use crate::client::{Request, Response};
use crate::dialects::{frames, whole};
use crate::fake::reply::Reply;
use crate::fake::script::Script;
use crate::fake::sse;
use crate::fake::upstream::Upstream;
use crate::harness::{Gateway, keys};

/// Names of upstreams in the fixtures, with the dialect each speaks.
const UPSTREAMS: [(&str, &str); 8] = [
    ("chat", "openai"),
    ("claude", "anthropic"),
    ("deepseek", "openai"),
    ("google", "gemini"),
    ("mistral", "openai"),
    ("native", "openai_responses"),
    ("openrouter", "openai"),
    ("xai", "openai"),
];

/// Those that are no vendors.
const CUSTOM: [&str; 4] = ["chat", "claude", "google", "native"];

/// One case, or a part of one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(rename = "case")]
    number: u16,
    claim: String,
    /// `upstream/model`.
    on: String,
    /// The client's dialect.
    client: String,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The client's body, without model and `stream`.
    ask: Map<String, Value>,
    /// A pattern of what the upstream gets; `"<nothing>"` if it is not asked.
    sent: Option<Value>,
    #[serde(default)]
    answer: Answer,
    /// The status the client gets.
    #[serde(default = "ok")]
    status: u16,
    #[serde(default)]
    got_headers: BTreeMap<String, Value>,
    /// A pattern of the whole answer that the client gets.
    got: Option<Value>,
    /// A pattern of each event that the client gets, in order.
    got_events: Option<Vec<Value>>,
    /// The client's stream is broken off by an error event and has no proper end.
    #[serde(default)]
    breaks: bool,
}

/// What the upstream answers.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    status: Option<u16>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// A whole answer.
    body: Option<Value>,
    /// A stream: the data of each event, or a text that goes out as it is.
    events: Option<Vec<Value>>,
}

fn ok() -> u16 {
    200
}

impl Case {
    fn dialect(&self) -> &'static str {
        let upstream = self.on.split('/').next().unwrap_or_default();
        let found = UPSTREAMS.iter().find(|(name, _)| *name == upstream);
        found.expect("an upstream of the table").1
    }

    fn request(&self) -> Request {
        let mut body = self.ask.clone();
        let target = match self.client.as_str() {
            "anthropic" => "/v1/messages".to_owned(),
            "gemini" if self.stream => {
                format!("/v1beta/models/{}:streamGenerateContent?alt=sse", self.on)
            }
            "gemini" => format!("/v1beta/models/{}:generateContent", self.on),
            "openai" => "/v1/chat/completions".to_owned(),
            "responses" => "/v1/responses".to_owned(),
            other => panic!("case {}: no client {other}", self.number),
        };
        if self.client != "gemini" {
            body.insert("model".to_owned(), json!(self.on));
            if self.stream {
                body.insert("stream".to_owned(), json!(true));
            }
        }
        let request = Request::post(&target, Value::Object(body).to_string());
        self.headers.iter().fold(request, |request, (name, value)| {
            request.header(name, value)
        })
    }

    fn reply(&self) -> Reply {
        let answer = &self.answer;
        let reply = if let Some(events) = &answer.events {
            Reply::sse(events.iter().map(|event| self.frame(event)))
        } else if let Some(body) = &answer.body {
            let status = answer.status.unwrap_or(200);
            match body {
                Value::String(text) => Reply::text(status, "text/html", text.clone()),
                json => Reply::json(status, json.to_string()),
            }
        } else if self.stream {
            Reply::sse(frames(self.dialect()))
        } else {
            whole(self.dialect())
        };
        let headers = answer.headers.iter();
        headers.fold(reply, |reply, (name, value)| reply.header(name, value))
    }

    fn frame(&self, event: &Value) -> String {
        match (self.dialect(), event) {
            (_, Value::String(text)) => format!("{text}\n\n"),
            ("anthropic" | "openai_responses", event) => {
                sse::event(event["type"].as_str().unwrap_or_default(), event)
            }
            _ => sse::data(event),
        }
    }

    /// What does not hold.
    fn faults(&self, sent: &[Value], answer: &Response) -> Vec<String> {
        let mut faults = Vec::new();
        if answer.status != self.status {
            faults.push(format!("status {}: {}", answer.status, answer.text()));
            return faults;
        }
        match (&self.sent, sent) {
            (Some(Value::String(nothing)), []) if nothing == "<nothing>" => {}
            (Some(pattern), [.., body]) => {
                let fault = mismatch(pattern, body);
                faults.extend(fault.map(|fault| format!("sent {fault}\n  in {body}")));
            }
            (Some(_), []) => faults.push("the upstream was not asked".to_owned()),
            (None, _) => {}
        }
        if let Some(pattern) = &self.got {
            let body = serde_json::from_slice(&answer.body).unwrap_or_default();
            let fault = mismatch(pattern, &body);
            faults.extend(fault.map(|fault| format!("got {fault}\n  in {}", answer.text())));
        }
        for (name, pattern) in &self.got_headers {
            let value = answer
                .header(name)
                .map_or(Value::Null, |value| json!(value));
            let fault = mismatch(pattern, &value);
            faults.extend(fault.map(|fault| format!("header {name} {fault}")));
        }
        let text = answer.text();
        if let Some(patterns) = &self.got_events {
            let events: Vec<Value> = text
                .lines()
                .filter_map(|line| line.strip_prefix("data: "))
                .map(|data| serde_json::from_str(data).unwrap_or_else(|_| json!(data)))
                // Anthropic's clients may get one at any time.
                .filter(|event: &Value| event["type"] != "ping")
                .collect();
            let fault = mismatch(&json!(patterns), &json!(events));
            faults.extend(fault.map(|fault| format!("events {fault}\n  in {text}")));
        }
        if self.breaks {
            let ends = [
                "[DONE]",
                "message_stop",
                "response.completed",
                "finishReason",
            ];
            if !text.contains("\"error\"") || ends.iter().any(|end| text.contains(end)) {
                faults.push(format!("no clean break: {text}"));
            }
        }
        faults
    }
}

fn fixture(name: &str) -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/cases")
        .join(format!("{name}.json"));
    let text = fs::read_to_string(&path).expect("a fixture");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Failures must not keep the next case waiting.
fn config(upstream: &Upstream) -> String {
    let routing = "[cooldown]\nsteps = [\"1ms\"]\nrate_limit_default = \"1ms\"\n\
                   [routing]\ndeadline = \"300ms\"\n";
    let sections = UPSTREAMS.map(|(name, dialect)| {
        let base = match dialect {
            "anthropic" | "gemini" => upstream.origin(),
            _ => upstream.base_url(),
        };
        let kind = if CUSTOM.contains(&name) {
            format!("kind = \"{dialect}\"\n")
        } else {
            String::new()
        };
        let keys = keys(1);
        format!("[providers.{name}]\n{kind}base_url = \"{base}\"\napi_keys = {keys:?}\n")
    });
    routing.to_owned() + &sections.concat()
}

/// Plays all cases of a fixture and names each that does not hold.
async fn play(name: &str) {
    let next = Arc::new(Mutex::new(Reply::json(500, "{}")));
    let scripted = Arc::clone(&next);
    let script = Script::new().answer(move |_| {
        scripted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    });
    let upstream = Upstream::start(script).await;
    let mut gateway = Gateway::start(&config(&upstream)).await;
    let mut faults = Vec::new();
    for case in fixture(name) {
        *next.lock().unwrap_or_else(PoisonError::into_inner) = case.reply();
        let before = upstream.requests().len();
        let answer = gateway.send(&case.request()).await;
        let sent: Vec<Value> = upstream.requests()[before..]
            .iter()
            .map(|request| serde_json::from_slice(&request.body).unwrap_or_default())
            .collect();
        let found = case.faults(&sent, &answer);
        faults.extend(
            found
                .iter()
                .map(|fault| format!("case {} ({}): {fault}", case.number, case.claim)),
        );
        if case.breaks || case.answer.status.is_some() {
            // What failed rests; the next case is not about that.
            gateway = Gateway::start(&config(&upstream)).await;
        }
    }
    assert!(
        faults.is_empty(),
        "{} faults\n{}",
        faults.len(),
        faults.join("\n")
    );
}

#[tokio::test]
async fn requests_reach_anthropic_as_the_cases_say() {
    play("requests_to_anthropic").await;
}

#[tokio::test]
async fn anthropics_answers_reach_openai_clients_as_the_cases_say() {
    play("answers_of_anthropic").await;
}

#[tokio::test]
async fn gemini_is_asked_and_answers_as_the_cases_say() {
    play("gemini").await;
}

#[tokio::test]
async fn messages_are_served_by_chat_as_the_cases_say() {
    play("messages_on_chat").await;
}

#[tokio::test]
async fn responses_are_served_by_chat_as_the_cases_say() {
    play("responses_on_chat").await;
}

#[tokio::test]
async fn framing_holds_as_the_cases_say() {
    play("framing").await;
}
