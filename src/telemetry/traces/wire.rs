//! Traces as OTLP/HTTP carries them in JSON (`ExportTraceServiceRequest`; protocol 1.x,
//! <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>, read 2026-11-26): ids in hex,
//! 64-bit integers as strings, enums as numbers.

use serde_json::{Value as Json, json};

use crate::telemetry::traces::{Span, Trace, Value};

/// What a span's status says of an error.
const STATUS_ERROR: u8 = 2;

/// The body of one export. `resource` says whose traces they are.
pub fn request(resource: &[(String, String)], traces: &[Trace]) -> String {
    let resource = resource
        .iter()
        .map(|(key, text)| json!({"key": key, "value": {"stringValue": text}}));
    let spans = traces
        .iter()
        .flat_map(|trace| trace.spans.iter().map(|one| span(trace.id, one)));
    let scope = json!({"name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION")});
    json!({
        "resourceSpans": [{
            "resource": {"attributes": resource.collect::<Vec<_>>()},
            "scopeSpans": [{"scope": scope, "spans": spans.collect::<Vec<_>>()}],
        }],
    })
    .to_string()
}

/// How many spans a collector's answer says it has refused.
pub fn rejected(answer: &[u8]) -> u64 {
    let answer: Json = serde_json::from_slice(answer).unwrap_or_default();
    let count = answer.pointer("/partialSuccess/rejectedSpans");
    // Strings by the standard, numbers by habit.
    let as_text = |count: &Json| count.as_str().and_then(|text| text.parse().ok());
    count
        .and_then(|count| count.as_u64().or_else(|| as_text(count)))
        .unwrap_or(0)
}

#[expect(clippy::indexing_slicing, reason = "members of an object made here")]
fn span(trace: u128, span: &Span) -> Json {
    let attributes = span
        .attributes
        .iter()
        .map(|(key, value)| json!({"key": key, "value": any_value(value)}));
    let mut written = json!({
        "traceId": format!("{trace:032x}"),
        "spanId": format!("{:016x}", span.id),
        "name": span.name,
        "kind": span.kind as u8,
        "startTimeUnixNano": span.began.to_string(),
        "endTimeUnixNano": span.ended.to_string(),
        "attributes": attributes.collect::<Vec<_>>(),
    });
    if let Some(parent) = span.parent {
        written["parentSpanId"] = format!("{parent:016x}").into();
    }
    if span.failed {
        written["status"] = json!({"code": STATUS_ERROR});
    }
    written
}

fn any_value(value: &Value) -> Json {
    match value {
        Value::Bool(flag) => json!({"boolValue": flag}),
        Value::Float(number) => json!({"doubleValue": number}),
        Value::Int(number) => json!({"intValue": number.to_string()}),
        Value::Text(text) => json!({"stringValue": text}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::traces::Kind;

    #[test]
    fn a_span_is_written_as_the_standard_wants_it() {
        let trace = Trace {
            id: 0xab,
            spans: vec![Span {
                id: 0xcd,
                parent: Some(0xef),
                kind: Kind::Server,
                name: "POST /v1/messages".to_owned(),
                began: 1_795_600_000_000_000_001,
                ended: 1_795_600_000_000_000_002,
                attributes: vec![
                    ("gen_ai.usage.input_tokens", Value::Int(u64::MAX)),
                    ("llmproxy.cost_usd", Value::Float(0.5)),
                    ("llmproxy.stream", Value::Bool(true)),
                    ("http.route", Value::Text("/v1/messages".to_owned())),
                ],
                failed: true,
            }],
        };
        let resource = [("service.name".to_owned(), "llmproxy".to_owned())];
        let written: Json = serde_json::from_str(&request(&resource, &[trace])).expect("JSON");
        let group = &written["resourceSpans"][0];
        let service = json!({"key": "service.name", "value": {"stringValue": "llmproxy"}});
        assert_eq!(group["resource"]["attributes"], json!([service]));
        assert_eq!(group["scopeSpans"][0]["scope"]["name"], "llmproxy");
        let expected = json!([{
            "traceId": "000000000000000000000000000000ab",
            "spanId": "00000000000000cd",
            "parentSpanId": "00000000000000ef",
            "name": "POST /v1/messages",
            "kind": 2,
            "startTimeUnixNano": "1795600000000000001",
            "endTimeUnixNano": "1795600000000000002",
            "attributes": [
                {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "18446744073709551615"}},
                {"key": "llmproxy.cost_usd", "value": {"doubleValue": 0.5}},
                {"key": "llmproxy.stream", "value": {"boolValue": true}},
                {"key": "http.route", "value": {"stringValue": "/v1/messages"}},
            ],
            "status": {"code": 2},
        }]);
        assert_eq!(group["scopeSpans"][0]["spans"], expected);
    }

    #[test]
    fn a_partial_success_names_what_was_refused() {
        for (answer, refused) in [
            ("{}", 0),
            (r#"{"partialSuccess":{}}"#, 0),
            (r#"{"partialSuccess":{"rejectedSpans":"3"}}"#, 3),
            (r#"{"partialSuccess":{"rejectedSpans":3}}"#, 3),
            ("no JSON", 0),
        ] {
            assert_eq!(rejected(answer.as_bytes()), refused, "{answer}");
        }
    }
}
