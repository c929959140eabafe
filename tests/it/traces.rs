//! Requests as OpenTelemetry traces, as a collector gets them.

use std::collections::HashMap;

use serde_json::Value;

use crate::client::{CHAT, Request, STREAM};
use crate::fake::openai;
use crate::fake::reply::Reply;
use crate::fake::script::Script;
use crate::fake::upstream::Upstream;
use crate::harness::{Gateway, Home, assert_no_canary, keys, patiently, provider};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A gateway over two keys, of which the first is rate-limited, that exports at once.
async fn traced(collector: &Upstream, more: &[(&str, &str)]) -> (Upstream, Gateway) {
    let answer = |recorded: &crate::fake::upstream::Recorded| {
        if recorded.text().contains("\"stream\":true") {
            openai::stream(&["a", "b"])
        } else {
            openai::completion("hi")
        }
    };
    let script = Script::new()
        .cycle(&keys(2)[0], [openai::rate_limited()])
        .answer(answer);
    let upstream = Upstream::start(script).await;
    let mut home = Home::with_config(&provider("fake", &upstream, &keys(2)))
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.origin())
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=of%20ours")
        .env("OTEL_SERVICE_NAME", "gate")
        .env("OTEL_BSP_SCHEDULE_DELAY", "20");
    for (name, value) in more {
        home = home.env(name, value);
    }
    let gateway = Gateway::start_in(home, &[]).await;
    (upstream, gateway)
}

/// The spans of everything that came in, in order.
fn spans(collector: &Upstream) -> Vec<Value> {
    let requests = collector.requests();
    let bodies = requests.iter().map(|request| {
        assert_eq!(
            (request.method.as_str(), request.target.as_str()),
            ("POST", "/v1/traces")
        );
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert_eq!(request.header("x-tenant"), Some("of ours"));
        assert_no_canary("a trace", &request.body);
        serde_json::from_slice::<Value>(&request.body).expect("JSON")
    });
    let all = bodies.flat_map(|body| {
        let group = &body["resourceSpans"][0];
        let service = &group["resource"]["attributes"][0];
        assert_eq!(service["value"]["stringValue"], "gate", "{body}");
        let spans = group["scopeSpans"][0]["spans"].as_array();
        spans.expect("spans").clone()
    });
    all.collect()
}

/// A span's attributes by name, numbers as text.
fn attributes(span: &Value) -> HashMap<String, String> {
    let list = span["attributes"].as_array().expect("attributes");
    let shown = |value: &Value| {
        let (_, value) = value
            .as_object()
            .and_then(|value| value.iter().next())
            .expect("one value");
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    let pairs = list.iter().map(|one| {
        let key = one["key"].as_str().expect("a key");
        (key.to_owned(), shown(&one["value"]))
    });
    pairs.collect()
}

fn nanos(span: &Value, end: &str) -> u64 {
    let text = span[end].as_str().expect("a string, as 64 bits are");
    text.parse().expect("a number")
}

#[tokio::test]
async fn a_request_is_a_span_with_its_attempts_below_it() {
    let collector = Upstream::start(Script::always(Reply::json(200, "{}"))).await;
    let (_upstream, gateway) = traced(&collector, &[]).await;
    let answer = gateway.chat(STREAM).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    collector.asked(1).await;
    let spans = spans(&collector);
    let [root, limited, served] = spans.as_slice() else {
        panic!("{spans:#?}")
    };
    let id = answer.header("x-request-id").expect("an id");
    assert_eq!(root["traceId"], id, "the id finds the trace");
    assert_eq!(
        (&root["kind"], &root["parentSpanId"]),
        (&2.into(), &Value::Null)
    );
    assert_eq!(root["name"], "POST /v1/chat/completions");
    for child in [limited, served] {
        assert_eq!(child["parentSpanId"], root["spanId"]);
        assert_eq!(
            (&child["traceId"], &child["kind"]),
            (&root["traceId"], &3.into())
        );
        assert_eq!(child["name"], "chat m1");
        for end in ["startTimeUnixNano", "endTimeUnixNano"] {
            let within = nanos(root, "startTimeUnixNano")..=nanos(root, "endTimeUnixNano");
            assert!(within.contains(&nanos(child, end)), "{spans:#?}");
        }
    }
    assert!(nanos(limited, "endTimeUnixNano") <= nanos(served, "startTimeUnixNano"));
    assert_eq!(limited["status"]["code"], 2);
    let expected = [
        (root, "http.response.status_code", "200"),
        (root, "llmproxy.attempts", "2"),
        (limited, "error.type", "rate_limit"),
        (limited, "http.response.status_code", "429"),
        (limited, "llmproxy.credential", "fake/1"),
        (served, "gen_ai.operation.name", "chat"),
        (served, "gen_ai.provider.name", "fake"),
        (served, "gen_ai.request.model", "m1"),
        (served, "gen_ai.request.stream", "true"),
        (served, "gen_ai.usage.input_tokens", "11"),
        (served, "gen_ai.usage.output_tokens", "7"),
        (served, "llmproxy.credential", "fake/2"),
    ];
    for (span, name, value) in expected {
        let value = Some(value.to_owned());
        assert_eq!(attributes(span).remove(name), value, "{name} in {span}");
    }
    let metrics = gateway.get("/metrics").await.text();
    assert!(
        metrics.contains("\nllmproxy_traces_dropped_total 0\n"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_trace_of_the_clients_goes_on_and_one_it_does_not_keep_is_left_out() {
    let collector = Upstream::start(Script::always(Reply::json(200, "{}"))).await;
    let (_upstream, gateway) = traced(&collector, &[]).await;
    for flags in ["00", "01"] {
        let parent = format!("00-{TRACE}-{PARENT}-{flags}");
        let request = Request::chat(CHAT).header("traceparent", &parent);
        assert_eq!(gateway.send(&request).await.status, 200);
    }
    collector.asked(1).await;
    let spans = spans(&collector);
    let traces: Vec<&Value> = spans.iter().map(|span| &span["traceId"]).collect();
    assert!(traces.iter().all(|trace| **trace == TRACE), "{traces:?}");
    let below: Vec<&Value> = spans
        .iter()
        .filter(|span| span["parentSpanId"] == PARENT)
        .collect();
    assert_eq!(below.len(), 1, "one request was to be traced: {spans:#?}");
}

#[tokio::test]
async fn what_is_finished_last_still_arrives_when_the_server_ends() {
    let collector = Upstream::start(Script::always(Reply::json(200, "{}"))).await;
    let slow = [("OTEL_BSP_SCHEDULE_DELAY", "600000")];
    let (_upstream, mut gateway) = traced(&collector, &slow).await;
    assert_eq!(gateway.chat(CHAT).await.status, 200);
    assert_eq!(collector.requests().len(), 0, "a batch waits to be filled");
    gateway.signal("TERM");
    assert!(gateway.exited().await.success());
    assert_eq!(spans(&collector).len(), 3);
}

#[tokio::test]
async fn a_collector_that_refuses_costs_a_count_and_no_request() {
    let script = Script::new().others([Reply::json(400, "{}")]);
    let collector = Upstream::start(script).await;
    let (_upstream, gateway) = traced(&collector, &[]).await;
    assert_eq!(gateway.chat(CHAT).await.status, 200);
    gateway.said("traces do not reach 127.0.0.1").await;
    let counted = async {
        let wanted = "\nllmproxy_traces_dropped_total 1\n";
        while !gateway.get("/metrics").await.text().contains(wanted) {}
    };
    patiently("the drop to be counted", counted).await;
    assert_eq!(collector.requests().len(), 1, "a 400 is not tried again");
}

#[tokio::test]
async fn a_busy_collector_is_asked_again_and_loses_nothing() {
    let busy = Reply::json(503, "{}").header("retry-after", "0");
    let script = Script::new().others_once([busy, Reply::json(200, "{}")]);
    let collector = Upstream::start(script).await;
    let (_upstream, gateway) = traced(&collector, &[]).await;
    assert_eq!(gateway.chat(CHAT).await.status, 200);
    collector.asked(2).await;
    let [first, second] = <[_; 2]>::try_from(collector.requests()).expect("two requests");
    assert_eq!(first.body, second.body, "the same batch");
}

#[test]
fn a_variable_that_means_nothing_is_named_before_anything_is_served() {
    let home = Home::new()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let refused = home.run(&["serve", "--port", "0"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(
        refused
            .stderr
            .contains("OTEL_EXPORTER_OTLP_PROTOCOL: only http/json"),
        "{refused:?}"
    );
}
