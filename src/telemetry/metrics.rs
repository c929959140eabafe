//! Counters and histograms in Prometheus' text exposition (format 0.0.4).
//!
//! Families are few and known; series are bounded, since model names come from clients: once a
//! family is full, further label sets count as `other`.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::hash::BuildHasher as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;

use crate::telemetry::{Ending, Finished};

/// Label sets kept of one family.
const MAX_SERIES: usize = 2000;

/// Upper bounds in seconds, from a cached answer to a long-thinking model.
const BUCKETS: [f64; 12] = [
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
];

/// The content type of the exposition.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A label's name and value.
pub type Label<'a> = (&'a str, &'a str);

/// All families that count events. What the pools know is read from them when asked for.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: Counters,
    attempts: Counters,
    tokens: Counters,
    cost: Counters,
    losses: Counters,
    surplus: Counters,
    first_token: Histograms,
    duration: Histograms,
}

impl Metrics {
    /// Counts a finished request.
    pub fn finished(&self, request: &Finished) {
        let (provider, model) = (request.provider.as_str(), request.model.as_str());
        let status = request.status.to_string();
        let status = if request.ending == Ending::Cancelled {
            "cancelled"
        } else {
            &status
        };
        self.requests.add(
            &[
                ("provider", provider),
                ("model", model),
                ("client", &request.client),
                ("status", status),
            ],
            1.0,
        );
        if let Some(time) = request.first_token {
            self.first_token.observe(&[("provider", provider)], time);
        }
        self.duration
            .observe(&[("provider", provider)], request.duration);
        if let Some(dollars) = request.cost_usd {
            self.cost
                .add(&[("provider", provider), ("model", model)], dollars);
        }
        let Some(usage) = request.usage else { return };
        for (kind, count) in [
            ("prompt", usage.input),
            ("cached", usage.cache_read),
            ("cache_write", usage.cache_write),
            ("completion", usage.output),
            ("reasoning", usage.reasoning),
        ] {
            if count > 0 {
                let labels = [("provider", provider), ("model", model), ("kind", kind)];
                self.tokens.add(&labels, count_as_f64(count));
            }
        }
    }

    /// Counts an upstream call by what came of it: `ok`, or a verdict.
    pub fn attempt(&self, provider: &str, verdict: &str) {
        self.attempts
            .add(&[("provider", provider), ("verdict", verdict)], 1.0);
    }

    /// Counts fields that a translation lost, from one dialect to another.
    pub fn losses(&self, from: &str, to: &str, fields: usize) {
        if fields > 0 {
            self.losses
                .add(&[("from", from), ("to", to)], count_as_f64(fields as u64));
        }
    }

    /// Counts frames that came behind the last one of a stream.
    pub fn surplus(&self, provider: &str, frames: usize) {
        if frames > 0 {
            self.surplus
                .add(&[("provider", provider)], count_as_f64(frames as u64));
        }
    }

    /// Writes every family; `readings` are those whose values others hold.
    pub fn write(&self, readings: &[Reading<'_>]) -> String {
        let mut text = String::with_capacity(16 << 10);
        for (name, help, family) in [
            (
                "requests_total",
                "Requests by what the client got",
                &self.requests,
            ),
            (
                "attempts_total",
                "Upstream calls by verdict",
                &self.attempts,
            ),
            ("tokens_total", "Tokens by kind", &self.tokens),
            (
                "cost_usd_total",
                "Cost in US dollars at list prices",
                &self.cost,
            ),
            (
                "translation_losses_total",
                "Request and answer fields that did not cross",
                &self.losses,
            ),
            (
                "frames_after_end_total",
                "Frames of streams that came behind the last one and were dropped",
                &self.surplus,
            ),
        ] {
            family.write(name, help, &mut text);
        }
        let first = "Time to the first content byte";
        self.first_token
            .write("time_to_first_token_seconds", first, &mut text);
        self.duration.write(
            "request_duration_seconds",
            "Time to the last byte",
            &mut text,
        );
        for reading in readings {
            reading.write(&mut text);
        }
        text
    }
}

/// A family whose values are read at the moment of asking.
#[derive(Clone, Debug)]
pub struct Reading<'a> {
    pub name: &'a str,
    pub help: &'a str,
    pub kind: Kind,
    /// Label sets with their values.
    pub series: Vec<(Vec<Label<'a>>, f64)>,
}

/// What a [`Reading`]'s values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// They only grow, but for a restart.
    Counter,
    Gauge,
}

impl Reading<'_> {
    fn write(&self, text: &mut String) {
        let kind = match self.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        header(text, self.name, self.help, kind);
        for (labels, value) in &self.series {
            let _ = writeln!(
                text,
                "llmproxy_{}{} {value}",
                self.name,
                braced(&rendered(labels))
            );
        }
    }
}

/// Series by a hash of their label values: counting makes no strings, writing sorts them.
#[derive(Debug)]
struct Series<V>(Mutex<HashMap<u64, (String, V), RandomState>>);

impl<V> Default for Series<V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<V: Default> Series<V> {
    /// Changes the value of a label set, or the overflow one's once the family is full.
    fn update(&self, labels: &[Label<'_>], change: impl FnOnce(&mut V)) {
        let mut series = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = series.hasher().hash_one(labels);
        if let Some((_, value)) = series.get_mut(&own) {
            return change(value);
        }
        if series.len() < MAX_SERIES {
            let (_, value) = series
                .entry(own)
                .or_insert_with(|| (rendered(labels), V::default()));
            return change(value);
        }
        let other: Vec<Label<'_>> = labels.iter().map(|&(name, _)| (name, "other")).collect();
        let key = series.hasher().hash_one(&other[..]);
        let (_, value) = series
            .entry(key)
            .or_insert_with(|| (rendered(&other), V::default()));
        change(value);
    }

    /// Shows every series, in the order of their labels.
    fn each(&self, mut show: impl FnMut(&str, &V)) {
        let series = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sorted: Vec<_> = series.values().collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        for (labels, value) in sorted {
            show(labels, value);
        }
    }
}

#[derive(Debug, Default)]
struct Counters(Series<f64>);

impl Counters {
    fn add(&self, labels: &[Label<'_>], amount: f64) {
        self.0.update(labels, |value| *value += amount);
    }

    fn write(&self, name: &str, help: &str, text: &mut String) {
        header(text, name, help, "counter");
        self.0.each(|labels, value| {
            let _ = writeln!(text, "llmproxy_{name}{} {value}", braced(labels));
        });
    }
}

#[derive(Debug, Default)]
struct Histograms(Series<Histogram>);

#[derive(Clone, Debug, Default)]
struct Histogram {
    /// One for each bucket, not cumulative; beyond the last bound only `count` knows.
    counts: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
}

impl Histograms {
    fn observe(&self, labels: &[Label<'_>], time: Duration) {
        let seconds = time.as_secs_f64();
        self.0.update(labels, |histogram| {
            if let Some(bucket) = BUCKETS.iter().position(|bound| seconds <= *bound)
                && let Some(count) = histogram.counts.get_mut(bucket)
            {
                *count += 1;
            }
            histogram.count += 1;
            histogram.sum += seconds;
        });
    }

    fn write(&self, name: &str, help: &str, text: &mut String) {
        header(text, name, help, "histogram");
        self.0.each(|labels, histogram| {
            let comma = if labels.is_empty() { "" } else { "," };
            let mut cumulative = 0;
            for (bound, count) in BUCKETS.iter().zip(histogram.counts) {
                cumulative += count;
                let _ = writeln!(
                    text,
                    "llmproxy_{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {cumulative}"
                );
            }
            let (count, sum) = (histogram.count, histogram.sum);
            let _ = writeln!(
                text,
                "llmproxy_{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}"
            );
            let _ = writeln!(text, "llmproxy_{name}_sum{} {sum}", braced(labels));
            let _ = writeln!(text, "llmproxy_{name}_count{} {count}", braced(labels));
        });
    }
}

fn rendered(labels: &[Label<'_>]) -> String {
    let mut text = String::with_capacity(64);
    for (index, (name, value)) in labels.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(text, "{comma}{name}=\"{}\"", Escaped(value));
    }
    text
}

fn braced(labels: &str) -> String {
    if labels.is_empty() {
        String::new()
    } else {
        format!("{{{labels}}}")
    }
}

fn header(text: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(
        text,
        "# HELP llmproxy_{name} {help}.\n# TYPE llmproxy_{name} {kind}"
    );
}

/// A label value with the three characters escaped that the format knows escapes for.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus counts in doubles; exact up to 2^53"
)]
const fn count_as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let metrics = Metrics::default();
        metrics.attempt("a\"b\\c\nd", "ok");
        let text = metrics.write(&[]);
        assert!(
            text.contains(r#"llmproxy_attempts_total{provider="a\"b\\c\nd",verdict="ok"} 1"#),
            "{text}"
        );
    }

    #[test]
    fn buckets_are_cumulative_and_end_with_the_count() {
        let histograms = Histograms::default();
        for millis in [20, 80, 80, 400_000] {
            histograms.observe(&[("provider", "p")], Duration::from_millis(millis));
        }
        let mut text = String::new();
        histograms.write("t_seconds", "T", &mut text);
        for line in [
            r#"llmproxy_t_seconds_bucket{provider="p",le="0.05"} 1"#,
            r#"llmproxy_t_seconds_bucket{provider="p",le="0.1"} 3"#,
            r#"llmproxy_t_seconds_bucket{provider="p",le="300"} 3"#,
            r#"llmproxy_t_seconds_bucket{provider="p",le="+Inf"} 4"#,
            r#"llmproxy_t_seconds_count{provider="p"} 4"#,
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_flood_of_label_values_stays_bounded() {
        let counters = Counters::default();
        for index in 0..MAX_SERIES * 2 {
            counters.add(&[("model", &index.to_string())], 1.0);
        }
        let mut shown = Vec::new();
        counters
            .0
            .each(|labels, value| shown.push((labels.to_owned(), *value)));
        assert_eq!(shown.len(), MAX_SERIES + 1);
        assert!(shown.contains(&("model=\"other\"".to_owned(), 2000.0)));
    }
}
