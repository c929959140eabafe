//! `llmproxy usage`.

mod shared;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use crate::cli::Context;
use crate::cli::boot::Boot;
use crate::cli::exit::Failure;
use crate::cli::output::Style;
use crate::cli::table::{Cell, Table};
use crate::config::load::Flags;
use crate::state::StateError;
use crate::state::rows::{UsageKey, UsageSums};
use crate::time::{Timestamp, parse_duration};

/// Characters of the longest bar.
const BAR: usize = 24;

/// A bar shorter than this says nothing.
const SHORTEST_BAR: usize = 8;

/// Show requests, tokens and cost
///
/// Days are those of UTC. Cost is at list prices, where they are known. FIRST and TIME are the mean
/// times to the first content and to the end; a ~ marks tokens that are estimated in part. Where
/// instances share their state, what all of them served is added up, by whole days.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  llmproxy usage
  llmproxy usage --since 24h --by credential
  llmproxy usage --since 2026-11-01 --by model --csv > november.csv
  llmproxy usage --by client --json | jq '.rows[] | {client, cost_usd}'")]
pub(super) struct UsageArgs {
    /// How far back: a time span (24h, 7d), a day (2026-11-01) or an instant
    #[arg(long, value_name = "WHEN", default_value = "7d", value_parser = parse_since)]
    since: Since,

    /// What to sum by
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    by: By,

    /// Only what this instance served, where several share their state
    #[arg(long)]
    own: bool,

    /// Print a JSON object
    #[arg(long, conflicts_with = "csv")]
    json: bool,

    /// Print comma-separated values
    #[arg(long)]
    csv: bool,
}

/// `--by`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum By {
    Client,
    Credential,
    #[default]
    Day,
    Model,
    Provider,
}

/// `--since`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Since {
    Ago(std::time::Duration),
    At(Timestamp),
}

/// What the counts are of.
struct Scope {
    since: Timestamp,
    until: Timestamp,
    /// How many instances have counted any of it, where it is of all; `None` of this one alone.
    instances: Option<usize>,
}

/// Runs the command.
pub(super) fn run(args: &UsageArgs, context: &Context) -> Result<(), Failure> {
    let boot = Boot::read(context, Flags::default())?;
    let until = Timestamp::now();
    let since = match args.since {
        Since::Ago(span) => until - span,
        Since::At(time) => time,
    };
    let redis = if args.own { None } else { boot.shared()? };
    let everywhere = match redis {
        Some(redis) => context.block_on(shared::read(context, &boot, &redis, since, until))?,
        None => None,
    };
    let (since, rows, instances) = match everywhere {
        Some(all) => (all.since, all.served.rows, Some(all.served.instances)),
        None => (since, own(&boot, since, until)?, None),
    };
    let sums = summed(rows, args.by);
    let scope = Scope {
        since,
        until,
        instances,
    };
    print(args, context, &scope, &sums)
}

/// What this instance served.
fn own(
    boot: &Boot,
    since: Timestamp,
    until: Timestamp,
) -> Result<Vec<(UsageKey, UsageSums)>, Failure> {
    boot.state()
        .usage(since, until)
        .map_err(|error| unreadable(boot, &error))
}

fn unreadable(boot: &Boot, error: &StateError) -> Failure {
    let file = boot.paths.state_file();
    Failure::failed(error.to_string(), format!("check {}", file.display()))
}

fn parse_since(text: &str) -> Result<Since, String> {
    if let Some(time) = Timestamp::parse_rfc3339(text) {
        return Ok(Since::At(time));
    }
    if let Some(time) = Timestamp::parse_rfc3339(&format!("{text}T00:00:00Z")) {
        return Ok(Since::At(time));
    }
    parse_duration(text)
        .map(Since::Ago)
        .map_err(|_| "write a time span (24h, 7d), a day (2026-11-01) or an instant".to_owned())
}

/// By name; the most used first, days in their order.
fn summed(rows: Vec<(UsageKey, UsageSums)>, by: By) -> Vec<(String, UsageSums)> {
    let mut groups: BTreeMap<String, UsageSums> = BTreeMap::new();
    for (key, sums) in rows {
        *groups.entry(by.name_in(&key)).or_default() += &sums;
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    if by != By::Day {
        groups.sort_by_key(|(_, sums)| std::cmp::Reverse((total(sums), sums.requests)));
    }
    groups
}

fn print(
    args: &UsageArgs,
    context: &Context,
    scope: &Scope,
    rows: &[(String, UsageSums)],
) -> Result<(), Failure> {
    let printer = &context.printer;
    if args.json {
        return printer.json(&document(args.by, scope, rows));
    }
    if let Some(instances) = scope.instances {
        let since = scope.since.to_rfc3339();
        let day = since.get(..10).unwrap_or(&since);
        printer.note(&format!(
            "all instances together ({instances} have served), since {day} 00:00 UTC; --own is this one alone"
        ));
    }
    if args.csv {
        return printer.write(&csv(args.by, rows));
    }
    if rows.is_empty() {
        printer.note("nothing was served in that time");
        return Ok(());
    }
    let bars = if printer.is_terminal() && args.by == By::Day {
        room_for_bars(args.by, rows, printer.width())
    } else {
        0
    };
    printer.table(&table(args.by, rows, bars))
}

/// How long bars may be beside the numbers.
fn room_for_bars(by: By, rows: &[(String, UsageSums)], width: Option<usize>) -> usize {
    let numbers = table(by, rows, 0).render(None, false);
    let taken = numbers.lines().map(|line| line.chars().count()).max();
    let room = width
        .unwrap_or(usize::MAX)
        .saturating_sub(taken.unwrap_or(0) + 2);
    if room < SHORTEST_BAR {
        0
    } else {
        room.min(BAR)
    }
}

fn document(by: By, scope: &Scope, rows: &[(String, UsageSums)]) -> Value {
    let rows: Vec<Value> = rows
        .iter()
        .map(|(name, sums)| {
            let mut row = Map::new();
            row.insert(by.as_str().to_owned(), json!(name));
            row.extend(
                counts(sums)
                    .into_iter()
                    .map(|(field, count)| (field.to_owned(), json!(count))),
            );
            row.insert("cost_usd".to_owned(), json!(sums.cost_usd));
            row.insert("estimated".to_owned(), json!(sums.estimated));
            row.insert("first_token_ms".to_owned(), json!(first_token_ms(sums)));
            row.insert("duration_ms".to_owned(), json!(duration_ms(sums)));
            Value::Object(row)
        })
        .collect();
    json!({
        "since": scope.since.to_rfc3339(),
        "until": scope.until.to_rfc3339(),
        "by": by.as_str(),
        "scope": if scope.instances.is_some() { "group" } else { "instance" },
        "rows": rows,
    })
}

fn csv(by: By, rows: &[(String, UsageSums)]) -> String {
    let mut text = by.as_str().to_owned();
    for (field, _) in counts(&UsageSums::default()) {
        text.push(',');
        text.push_str(field);
    }
    text.push_str(",cost_usd,estimated,first_token_ms,duration_ms\n");
    for (name, sums) in rows {
        text.push_str(&quoted(name));
        for (_, count) in counts(sums) {
            let _ = write!(text, ",{count}");
        }
        let shown = |mean: Option<u64>| mean.map_or_else(String::new, |ms| ms.to_string());
        let _ = writeln!(
            text,
            ",{},{},{},{}",
            sums.cost_usd,
            sums.estimated,
            shown(first_token_ms(sums)),
            shown(duration_ms(sums))
        );
    }
    text
}

/// A value as RFC 4180 wants it. What a spreadsheet would take for a formula is a text.
fn quoted(value: &str) -> String {
    let is_formula = value.starts_with(['=', '+', '-', '@']);
    let value = if is_formula {
        format!("'{value}")
    } else {
        value.to_owned()
    };
    if value.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", value.replace('"', "\"\""))
    } else {
        value
    }
}

/// `bars` is how long the longest is; 0 draws none.
fn table(by: By, rows: &[(String, UsageSums)], bars: usize) -> Table {
    let mut table = Table::new()
        .column(by.heading())
        .number("REQUESTS")
        .number("FAILED")
        .number("PROMPT")
        .number("CACHED")
        .number("OUTPUT")
        .number("TOKENS")
        .number("COST $")
        .number("FIRST")
        .number("TIME")
        .column("");
    let most = rows.iter().map(|(_, sums)| total(sums)).max().unwrap_or(0);
    let unless_zero = |count: u64| match count {
        0 => String::new(),
        count => count.to_string(),
    };
    for (name, sums) in rows {
        let estimated = if sums.estimated > 0 { "~" } else { "" };
        table.row([
            Cell::from(name.as_str()),
            Cell::from(sums.requests.to_string()),
            Cell::styled(unless_zero(sums.failures), Style::Bad),
            Cell::from(sums.prompt_tokens.to_string()),
            Cell::from(unless_zero(sums.cached_tokens)),
            Cell::from(sums.completion_tokens.to_string()),
            Cell::from(format!("{estimated}{}", total(sums))),
            Cell::from(if sums.cost_usd > 0.0 {
                format!("{:.4}", sums.cost_usd)
            } else {
                String::new()
            }),
            Cell::from(seconds(first_token_ms(sums))),
            Cell::from(seconds(duration_ms(sums))),
            Cell::styled(bar(total(sums), most, bars), Style::Good),
        ]);
    }
    table
}

/// A bar that is there for everything that is not nothing.
fn bar(part: u64, most: u64, longest: usize) -> String {
    if part == 0 || most == 0 || longest == 0 {
        return String::new();
    }
    let length = u128::from(part) * longest as u128 / u128::from(most);
    "█".repeat(usize::try_from(length).unwrap_or(0).max(1))
}

/// The mean time to the first content, of the requests that had any.
const fn first_token_ms(sums: &UsageSums) -> Option<u64> {
    sums.first_token_ms.checked_div(sums.first_tokens)
}

/// The mean time to the end.
const fn duration_ms(sums: &UsageSums) -> Option<u64> {
    sums.duration_ms.checked_div(sums.timed)
}

/// `0.42s`, to the hundredth.
fn seconds(ms: Option<u64>) -> String {
    ms.map_or_else(String::new, |ms| {
        format!("{}.{:02}s", ms / 1000, ms % 1000 / 10)
    })
}

fn counts(sums: &UsageSums) -> [(&'static str, u64); 8] {
    [
        ("requests", sums.requests),
        ("failures", sums.failures),
        ("prompt_tokens", sums.prompt_tokens),
        ("cached_tokens", sums.cached_tokens),
        ("cache_write_tokens", sums.cache_write_tokens),
        ("completion_tokens", sums.completion_tokens),
        ("reasoning_tokens", sums.reasoning_tokens),
        ("total_tokens", total(sums)),
    ]
}

const fn total(sums: &UsageSums) -> u64 {
    sums.prompt_tokens.saturating_add(sums.completion_tokens)
}

impl By {
    /// The name of the rows' key in JSON and CSV.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Credential => "credential",
            Self::Day => "day",
            Self::Model => "model",
            Self::Provider => "provider",
        }
    }

    const fn heading(self) -> &'static str {
        match self {
            Self::Client => "CLIENT",
            Self::Credential => "CREDENTIAL",
            Self::Day => "DAY",
            Self::Model => "MODEL",
            Self::Provider => "PROVIDER",
        }
    }

    fn name_in(self, key: &UsageKey) -> String {
        match self {
            Self::Client => key.client.clone(),
            Self::Credential => key.credential.clone(),
            Self::Day => {
                let start = Timestamp::from_secs(key.hour.saturating_mul(3600)).to_rfc3339();
                start.get(..10).unwrap_or(&start).to_owned()
            }
            Self::Model => format!("{}/{}", key.provider, key.model),
            Self::Provider => key.provider.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(hour: i64, model: &str, tokens: u64) -> (UsageKey, UsageSums) {
        let key = UsageKey {
            hour,
            provider: "gemini".to_owned(),
            model: model.to_owned(),
            credential: "gemini/1".to_owned(),
            fingerprint: "00".to_owned(),
            client: "laptop".to_owned(),
        };
        let sums = UsageSums {
            requests: 1,
            prompt_tokens: tokens,
            completion_tokens: 2,
            cost_usd: 0.5,
            timed: 1,
            duration_ms: 1500,
            first_tokens: 1,
            first_token_ms: 420,
            ..UsageSums::default()
        };
        (key, sums)
    }

    fn rows() -> Vec<(UsageKey, UsageSums)> {
        // 2026-11-24T23:00Z, an hour later, and so on.
        vec![
            row(498_863, "flash", 10),
            row(498_864, "pro", 100),
            row(498_865, "flash", 20),
        ]
    }

    #[test]
    fn days_are_in_order_and_others_by_use() {
        let names = |by| {
            let names = summed(rows(), by).into_iter().map(|(name, _)| name);
            names.collect::<Vec<_>>()
        };
        assert_eq!(names(By::Day), ["2026-11-28", "2026-11-29"]);
        assert_eq!(names(By::Model), ["gemini/pro", "gemini/flash"]);
        assert_eq!(names(By::Credential), ["gemini/1"]);
    }

    #[test]
    fn json_has_the_fields_of_the_contract() {
        let (since, until) = (Timestamp::from_secs(0), Timestamp::from_secs(60));
        let scope = Scope {
            since,
            until,
            instances: None,
        };
        let document = document(By::Model, &scope, &summed(rows(), By::Model));
        assert_eq!(document["since"], "1970-01-01T00:00:00.000Z");
        assert_eq!(document["scope"], "instance");
        assert_eq!(
            document["rows"][0],
            json!({
                "model": "gemini/pro", "requests": 1, "failures": 0, "prompt_tokens": 100,
                "cached_tokens": 0, "cache_write_tokens": 0, "completion_tokens": 2,
                "reasoning_tokens": 0, "total_tokens": 102, "cost_usd": 0.5, "estimated": 0,
                "first_token_ms": 420, "duration_ms": 1500,
            })
        );
    }

    #[test]
    fn csv_quotes_what_would_break_it() {
        for (value, expected) in [
            ("gemini/1", "gemini/1"),
            ("a,b", "\"a,b\""),
            ("a\"b", "\"a\"\"b\""),
            ("=1+1", "'=1+1"),
        ] {
            assert_eq!(quoted(value), expected);
        }
        let text = csv(By::Provider, &summed(rows(), By::Provider));
        assert_eq!(
            text,
            "provider,requests,failures,prompt_tokens,cached_tokens,cache_write_tokens,\
             completion_tokens,reasoning_tokens,total_tokens,cost_usd,estimated,first_token_ms,\
             duration_ms\n\
             gemini,3,0,130,0,0,6,0,136,1.5,0,420,1500\n"
        );
    }

    #[test]
    fn bars_are_drawn_on_terminals_only() {
        let days = summed(rows(), By::Day);
        let drawn = |bars| table(By::Day, &days, bars).render(None, false);
        assert!(drawn(24).contains(&"█".repeat(24)), "{}", drawn(24));
        assert!(!drawn(0).contains('█'));
        assert_eq!(bar(1, u64::MAX, 24), "█");
        assert_eq!(bar(0, 5, 24), "");
    }

    #[test]
    fn bars_take_the_room_that_the_numbers_leave() {
        let days = summed(rows(), By::Day);
        let taken = table(By::Day, &days, 0).render(None, false);
        let taken = taken.lines().map(str::len).max().unwrap_or(0);
        for (width, bars) in [(taken + 100, 24), (taken + 12, 10), (taken, 0)] {
            assert_eq!(room_for_bars(By::Day, &days, Some(width)), bars, "{width}");
        }
        assert_eq!(room_for_bars(By::Day, &days, None), 24);
    }

    #[test]
    fn since_is_a_span_a_day_or_an_instant() {
        assert_eq!(
            parse_since("90m"),
            Ok(Since::Ago(std::time::Duration::from_mins(90)))
        );
        assert_eq!(
            parse_since("1970-01-02"),
            Ok(Since::At(Timestamp::from_secs(86_400)))
        );
        assert_eq!(
            parse_since("1970-01-01T00:00:01Z"),
            Ok(Since::At(Timestamp::from_secs(1)))
        );
        assert!(parse_since("last week").is_err());
    }
}
