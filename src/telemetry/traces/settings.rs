//! Where traces go and how many: OpenTelemetry's own variables
//! (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/> and
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>, read
//! 2026-11-26). Without an endpoint nothing is traced.

use std::fmt;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::telemetry::traces::parent::Parent;

/// Where a collector listens if it is asked for without an address.
const LOCAL: &str = "http://localhost:4318";

/// Traces are told apart by the low 63 bits of their ids.
const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;

/// Everything an exporter needs to know. Header values are secrets: no `Debug`.
#[derive(Clone, PartialEq)]
pub struct Settings {
    /// Where the spans are posted to.
    pub endpoint: String,
    pub headers: HeaderMap,
    /// For one batch, with its retries.
    pub timeout: Duration,
    /// Whose spans they are.
    pub resource: Vec<(String, String)>,
    pub sampler: Sampler,
    /// Requests that may wait to be exported; more are dropped.
    pub max_queue: usize,
    /// Requests in one batch.
    pub max_batch: usize,
    /// How long a batch waits to be filled.
    pub delay: Duration,
    /// What was set and is not done, a sentence each.
    pub remarks: Vec<String>,
}

/// Which requests are traced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// The share of traces, from 0 to 1.
    pub ratio: f64,
    /// Whether a caller that traces decides instead.
    pub asks_parent: bool,
}

/// A variable that cannot mean anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {why}")]
pub struct BadVariable {
    pub name: String,
    pub why: String,
}

impl Sampler {
    /// Whether a request is traced. Other participants with the same ratio decide the same, since
    /// only the trace's id counts.
    pub fn admits(&self, request: u128, parent: Option<&Parent>) -> bool {
        if let Some(parent) = parent.filter(|_| self.asks_parent) {
            return parent.is_sampled;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            reason = "the low 63 bits are what counts, and a share needs no more than 53 of them"
        )]
        let place = (parent.map_or(request, |parent| parent.trace) as u64 >> 1) as f64;
        self.ratio >= 1.0 || place < self.ratio * TWO_TO_63
    }
}

impl Settings {
    /// Reads them; `Ok(None)` where nobody asks for traces.
    pub fn read<'a>(get: &dyn Fn(&str) -> Option<&'a str>) -> Result<Option<Self>, BadVariable> {
        let get = |name: &str| get(name).map(str::trim).filter(|text| !text.is_empty());
        let exporter = get("OTEL_TRACES_EXPORTER");
        let is_disabled =
            get("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true"));
        if is_disabled || exporter == Some("none") {
            return Ok(None);
        }
        let base =
            get("OTEL_EXPORTER_OTLP_ENDPOINT").or((exporter == Some("otlp")).then_some(LOCAL));
        let below = base.map(|base| format!("{}/v1/traces", base.trim_end_matches('/')));
        let own = get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").map(str::to_owned);
        let Some(endpoint) = own.or(below) else {
            return Ok(None);
        };
        let is_web = endpoint.starts_with("http://") || endpoint.starts_with("https://");
        if !is_web {
            return Err(bad(
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "begins with neither http:// nor https://",
            ));
        }
        // Those of traces win over those of all signals.
        let of_traces = |name: &str| {
            let own = format!("OTEL_EXPORTER_OTLP_TRACES_{name}");
            let shared = format!("OTEL_EXPORTER_OTLP_{name}");
            let found = get(&own).map(|text| (own, text));
            found.or_else(|| get(&shared).map(|text| (shared, text)))
        };
        let mut remarks = Vec::new();
        match of_traces("PROTOCOL") {
            None | Some((_, "http/json")) => {}
            Some((name, "http/protobuf")) => remarks.push(format!(
                "{name}: traces are sent as http/json, which collectors take on the same port"
            )),
            Some((name, _)) => return Err(bad(&name, "only http/json is spoken (port 4318)")),
        }
        let headers = match of_traces("HEADERS") {
            Some((name, text)) => headers(&name, text)?,
            None => HeaderMap::new(),
        };
        let timeout = match of_traces("TIMEOUT") {
            Some((name, text)) => number(&name, text)?,
            None => 10_000,
        };
        let count = |name: &str, default: u64| match get(name) {
            Some(text) => number(name, text),
            None => Ok(default),
        };
        let size = |name: &str, default: u64| {
            // tokio's channels end a little below this.
            count(name, default).map(|size| usize::try_from(size.clamp(1, 1 << 20)).unwrap_or(1))
        };
        Ok(Some(Self {
            endpoint,
            headers,
            timeout: Duration::from_millis(timeout),
            resource: resource(get("OTEL_SERVICE_NAME"), get("OTEL_RESOURCE_ATTRIBUTES"))?,
            sampler: sampler(get("OTEL_TRACES_SAMPLER"), get("OTEL_TRACES_SAMPLER_ARG"))?,
            max_queue: size("OTEL_BSP_MAX_QUEUE_SIZE", 2048)?,
            max_batch: size("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512)?,
            delay: Duration::from_millis(count("OTEL_BSP_SCHEDULE_DELAY", 5000)?),
            remarks,
        }))
    }
}

fn bad(name: &str, why: impl fmt::Display) -> BadVariable {
    BadVariable {
        name: name.to_owned(),
        why: why.to_string(),
    }
}

fn number(name: &str, text: &str) -> Result<u64, BadVariable> {
    text.parse().map_err(|_| bad(name, "is no whole number"))
}

/// `key=value,key=value`, values percent-encoded. The text may be a secret: no error shows it.
fn pairs<'a>(name: &str, text: &'a str) -> Result<Vec<(&'a str, String)>, BadVariable> {
    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (key, value) = part
                .split_once('=')
                .ok_or_else(|| bad(name, "is no list of key=value"))?;
            Ok((key.trim(), decoded(value.trim())))
        })
        .collect()
}

fn headers(name: &str, text: &str) -> Result<HeaderMap, BadVariable> {
    let mut headers = HeaderMap::new();
    for (key, value) in pairs(name, text)? {
        let key = HeaderName::from_bytes(key.as_bytes());
        let value = HeaderValue::from_str(&value);
        let (Ok(key), Ok(mut value)) = (key, value) else {
            return Err(bad(name, "holds what cannot stand in a header"));
        };
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}

/// What is left of a percent-encoded text that does not decode is the text.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex
            .filter(|_| first == b'%')
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() {
            tail.get(2..).unwrap_or_default()
        } else {
            tail
        };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

fn resource(
    service: Option<&str>,
    attributes: Option<&str>,
) -> Result<Vec<(String, String)>, BadVariable> {
    let given = match attributes {
        Some(text) => pairs("OTEL_RESOURCE_ATTRIBUTES", text)?,
        None => Vec::new(),
    };
    let mut resource: Vec<(String, String)> = given
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    let is_named = resource.iter().any(|(key, _)| key == "service.name");
    if service.is_some() || !is_named {
        resource.retain(|(key, _)| key != "service.name");
        let name = service.unwrap_or(env!("CARGO_PKG_NAME"));
        resource.insert(0, ("service.name".to_owned(), name.to_owned()));
    }
    if !resource.iter().any(|(key, _)| key == "service.version") {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        resource.push(("service.version".to_owned(), version));
    }
    Ok(resource)
}

fn sampler(name: Option<&str>, arg: Option<&str>) -> Result<Sampler, BadVariable> {
    let name = name.unwrap_or("parentbased_always_on");
    let (kind, asks_parent) = match name.strip_prefix("parentbased_") {
        Some(kind) => (kind, true),
        None => (name, false),
    };
    let ratio = match kind {
        "always_on" => 1.0,
        "always_off" => 0.0,
        "traceidratio" => {
            let ratio: Option<f64> = arg.map_or(Some(1.0), |text| text.parse().ok());
            ratio
                .filter(|ratio| (0.0..=1.0).contains(ratio))
                .ok_or_else(|| bad("OTEL_TRACES_SAMPLER_ARG", "is no number from 0 to 1"))?
        }
        _ => {
            let known = "always_on, always_off or traceidratio, with parentbased_ before it or not";
            return Err(bad("OTEL_TRACES_SAMPLER", format!("is not {known}")));
        }
    };
    Ok(Sampler { ratio, asks_parent })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>, BadVariable> {
        let variables: Vec<(String, String)> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Settings::read(&|name| {
            let found = variables.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_str())
        })
    }

    fn on(variables: &[(&str, &str)]) -> Settings {
        let read = read(variables).map_err(|error| error.to_string());
        read.expect("valid variables").expect("an endpoint")
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");

    #[test]
    fn nothing_is_traced_unless_somebody_asks() {
        for off in [
            &[][..],
            &[("OTEL_SERVICE_NAME", "x")],
            &[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")],
            &[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")],
        ] {
            assert!(matches!(read(off), Ok(None)), "{off:?}");
        }
    }

    #[test]
    fn the_path_is_added_to_the_shared_endpoint_only() {
        assert_eq!(on(&[ENDPOINT]).endpoint, "http://collector:4318/v1/traces");
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://c/t");
        assert_eq!(on(&[ENDPOINT, own]).endpoint, "https://c/t");
        let local = on(&[("OTEL_TRACES_EXPORTER", "otlp")]);
        assert_eq!(local.endpoint, "http://localhost:4318/v1/traces");
    }

    #[test]
    fn headers_are_decoded_and_never_shown() {
        let text = "authorization=Bearer%20sk-canary, x-tenant=a=b";
        let settings = on(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_HEADERS", text)]);
        assert_eq!(settings.headers["authorization"], "Bearer sk-canary");
        assert_eq!(settings.headers["x-tenant"], "a=b");
        assert!(!format!("{:?}", settings.headers).contains("canary"));
        for wrong in ["sk-canary", "no header=sk-canary", "x=sk-canary%0a"] {
            let wrong = read(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_HEADERS", wrong)]);
            let Err(error) = wrong else {
                panic!("that is no header")
            };
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }

    #[test]
    fn the_service_has_a_name_whoever_gives_it() {
        let name = |variables: &[(&str, &str)]| {
            let variables = [&[ENDPOINT], variables].concat();
            let resource = on(&variables).resource;
            let named = resource.iter().filter(|(key, _)| key == "service.name");
            named.map(|(_, value)| value.clone()).collect::<Vec<_>>()
        };
        let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=b,zone=eu%2C1");
        assert_eq!(name(&[]), ["llmproxy"]);
        assert_eq!(name(&[attributes]), ["b"]);
        assert_eq!(name(&[attributes, ("OTEL_SERVICE_NAME", "a")]), ["a"]);
        let zone = ("zone".to_owned(), "eu,1".to_owned());
        assert!(on(&[ENDPOINT, attributes]).resource.contains(&zone));
    }

    #[test]
    fn what_cannot_be_done_is_an_error_or_a_remark() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "10s"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ] {
            let error = read(
                &[ENDPOINT, (name, value)]
                    .iter()
                    .rev()
                    .copied()
                    .collect::<Vec<_>>(),
            );
            assert!(matches!(&error, Err(error) if error.name == name), "{name}");
        }
        let protobuf = on(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")]);
        assert_eq!(protobuf.remarks.len(), 1);
    }

    #[test]
    fn a_caller_that_traces_decides_and_else_the_ratio() {
        let parent = |is_sampled| Parent {
            trace: 1,
            span: 1,
            is_sampled,
        };
        let default = on(&[ENDPOINT]).sampler;
        assert!(default.admits(u128::MAX, None) && default.admits(7, Some(&parent(true))));
        assert!(!default.admits(7, Some(&parent(false))));
        let sampler = ("OTEL_TRACES_SAMPLER", "traceidratio");
        let half = on(&[ENDPOINT, sampler, ("OTEL_TRACES_SAMPLER_ARG", "0.5")]).sampler;
        assert!(half.admits(1, None) && half.admits(u128::from(u64::MAX / 4), None));
        assert!(!half.admits(u128::from(u64::MAX), None));
        assert!(
            half.admits(u128::MAX, Some(&parent(false))),
            "it asks nobody"
        );
    }
}
