//! `/metrics` as Prometheus reads it: the rules of the text format (0.0.4) and of `promtool check
//! metrics`, after <https://prometheus.io/docs/instrumenting/exposition_formats/> and
//! <https://prometheus.io/docs/practices/naming/>, read 2026-11-22.

use std::collections::{BTreeMap, BTreeSet};

use crate::client::{CHAT, Request, STREAM};
use crate::fake::openai;
use crate::fake::script::Script;
use crate::harness::{keys, pair};

/// All that the contract names.
const FAMILIES: [&str; 14] = [
    "llmproxy_requests_total",
    "llmproxy_attempts_total",
    "llmproxy_credentials",
    "llmproxy_cooldowns_total",
    "llmproxy_leases",
    "llmproxy_waiters",
    "llmproxy_time_to_first_token_seconds",
    "llmproxy_request_duration_seconds",
    "llmproxy_tokens_total",
    "llmproxy_cost_usd_total",
    "llmproxy_translation_losses_total",
    "llmproxy_token_refreshes_total",
    "llmproxy_state_backend_up",
    "llmproxy_build_info",
];

/// Names and values.
type Labels = Vec<(String, String)>;

/// A line with a value.
#[derive(Debug)]
struct Sample {
    name: String,
    labels: Labels,
    value: f64,
}

impl Sample {
    fn parse(line: &str) -> Self {
        let end = line.find(['{', ' ']).expect("a name and a value");
        let (name, rest) = line.split_at(end);
        let mut labels = Vec::new();
        let mut rest = rest;
        if let Some(inner) = rest.strip_prefix('{') {
            rest = inner;
            while !rest.starts_with('}') {
                let (label, after) = rest.split_once("=\"").expect("a label");
                let (value, after) = quoted(after);
                labels.push((label.to_owned(), value));
                rest = after.strip_prefix(',').unwrap_or(after);
            }
            rest = &rest[1..];
        }
        let value = rest.strip_prefix(' ').expect("one space before the value");
        let value = value
            .parse()
            .unwrap_or_else(|_| panic!("no number: {line}"));
        let name = name.to_owned();
        Self {
            name,
            labels,
            value,
        }
    }

    fn without(&self, label: &str) -> Labels {
        let kept = self.labels.iter().filter(|(name, _)| name != label);
        kept.cloned().collect()
    }
}

/// A label's value up to its quote, its escapes undone, and what follows.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('\\' | '"'))) => value.push(escaped),
                other => panic!("an escape that the format does not know: {other:?}"),
            },
            character => value.push(character),
        }
    }
    panic!("a label that does not end: {text}")
}

/// One family: its lines stand together, under one HELP and one TYPE.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    samples: Vec<Sample>,
}

/// Reads an exposition and refuses what Prometheus or `promtool` would.
fn lint(text: &str) -> BTreeMap<String, Family> {
    assert!(text.ends_with('\n'), "the last line ends");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').expect("a help text");
            assert!(!words.trim().is_empty(), "{line}");
            name.clone_into(&mut current);
            let before = families.insert(current.clone(), Family::default());
            assert!(before.is_none(), "{name} comes twice");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type");
            assert_eq!(name, current, "TYPE follows its HELP");
            kind.clone_into(&mut families.get_mut(name).expect("its HELP").kind);
        } else {
            let sample = Sample::parse(line);
            let family = families.get_mut(&current).expect("a HELP before");
            let suffix = sample.name.strip_prefix(&*current);
            let suffix = suffix.unwrap_or_else(|| panic!("{line} stands under {current}"));
            let allowed: &[&str] = match family.kind.as_str() {
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            assert!(allowed.contains(&suffix), "{line}");
            family.samples.push(sample);
        }
    }
    for (name, family) in &families {
        check(name, family);
    }
    families
}

fn check(name: &str, family: &Family) {
    let is_legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    assert!(
        name.starts_with("llmproxy_") && name.chars().all(is_legal),
        "{name}"
    );
    for unit in [
        "_ms",
        "_millis",
        "_milliseconds",
        "_minutes",
        "_kb",
        "_mb",
        "_percent",
    ] {
        assert!(!name.contains(unit), "{name} is not in base units");
    }
    match family.kind.as_str() {
        "counter" => assert!(name.ends_with("_total"), "{name} is a counter"),
        "gauge" => assert!(!name.ends_with("_total"), "{name} is no counter"),
        "histogram" => histogram(name, family),
        kind => panic!("{name} is a {kind}"),
    }
    let mut seen = BTreeSet::new();
    for sample in &family.samples {
        for (label, _) in &sample.labels {
            assert!(
                label.chars().all(is_legal) && !label.starts_with("__"),
                "{label}"
            );
        }
        assert!(
            sample.value.is_finite() && sample.value >= 0.0,
            "{sample:?}"
        );
        let series = (sample.name.clone(), sample.labels.clone());
        assert!(seen.insert(series), "{sample:?} comes twice");
    }
}

/// Buckets rise to `+Inf`, which is the count; a sum stands beside it.
fn histogram(name: &str, family: &Family) {
    let mut buckets: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for sample in family
        .samples
        .iter()
        .filter(|one| one.name.ends_with("_bucket"))
    {
        let bound = sample.labels.iter().find(|(label, _)| label == "le");
        let bound = bound.expect("le").1.replace("+Inf", "inf");
        let bound = bound.parse().expect("a bound");
        let series = buckets.entry(sample.without("le")).or_default();
        series.push((bound, sample.value));
    }
    for (labels, buckets) in buckets {
        let rises = buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1);
        assert!(rises, "{name} {labels:?}: {buckets:?}");
        let (last, most) = *buckets.last().expect("buckets");
        assert!(last.is_infinite(), "{name} has a bucket for everything");
        let of = |suffix: &str| {
            let wanted = format!("{name}{suffix}");
            let found = family
                .samples
                .iter()
                .find(|one| one.name == wanted && one.labels == labels);
            found.unwrap_or_else(|| panic!("{wanted} {labels:?}")).value
        };
        assert!(
            (of("_count") - most).abs() < f64::EPSILON,
            "{name} {labels:?}"
        );
        assert!(of("_sum") >= 0.0);
    }
}

#[tokio::test]
async fn the_exposition_is_what_prometheus_takes() {
    let script = Script::new()
        .cycle(&keys(2)[0], [openai::rate_limited()])
        .others([openai::completion("hi"), openai::stream(&["a", "b"])]);
    let (_upstream, gateway) = pair(script, 2, "[log]\nrequests = true\n").await;
    assert_eq!(gateway.chat(CHAT).await.status, 200);
    assert_eq!(gateway.chat(STREAM).await.status, 200);
    // Names come from outside: they must not break out of their quotes.
    let odd = r#"{"model":"fake/a\"b\\c\nd{}","messages":[{"role":"user","content":"hi"}]}"#;
    gateway.chat(odd).await;
    let missing = gateway.chat(r#"{"model":"nowhere/m","messages":[]}"#).await;
    assert_eq!(missing.status, 404);
    let answer = gateway.send(&Request::get("/metrics")).await;
    let kind = answer.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    let text = answer.text();
    let families = lint(&text);
    for name in FAMILIES {
        assert!(families.contains_key(name), "{name} in {text}");
    }
    let served = &families["llmproxy_request_duration_seconds"].samples;
    assert!(!served.is_empty(), "{text}");
}
