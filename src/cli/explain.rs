//! `llmproxy explain`.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::Context;
use crate::cli::boot::Boot;
use crate::cli::exit::Failure;
use crate::cli::output::Style;
use crate::cli::presence;
use crate::cli::table::{Cell, Table};
use crate::config::load::Flags;
use crate::near::did_you_mean;
use crate::state::rows::JournalRow;
use crate::state::{State, StateError};
use crate::telemetry::request_log;
use crate::time::{Timestamp, humanize};

/// Entries looked through for an id that is not written whole.
const SEARCHED: u32 = 10_000;

/// What stands for the id of the latest request.
pub(super) const LAST: &str = "last";

/// Tell what happened to a request, and why
///
/// Every answer names its request in the `x-request-id` header; the beginning of an id will do.
/// Without one the last request that failed is explained.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  llmproxy explain             the last request that failed
  llmproxy explain last        the last of all
  llmproxy explain last --json | jq '.attempts[] | {credential, verdict, ms}'")]
pub(super) struct ExplainArgs {
    /// Id of the request, or its beginning, or `last`
    #[arg(value_name = "REQUEST_ID")]
    id: Option<String>,

    /// Print the trail as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(args: &ExplainArgs, context: &Context) -> Result<(), Failure> {
    let boot = Boot::read(context, Flags::default())?;
    let state = boot.state();
    let unreadable = |error: StateError| {
        let file = boot.paths.state_file();
        Failure::failed(error.to_string(), format!("check {}", file.display()))
    };
    let found = match &args.id {
        Some(id) if id == LAST => state.journal(1, false).map_err(unreadable)?.pop(),
        Some(id) => match by_id(&state, id).map_err(unreadable)? {
            Some(row) => Some(row),
            None => context.block_on(ask_server(&boot, id))?,
        },
        None => state.journal(1, true).map_err(unreadable)?.pop(),
    };
    let Some(row) = found else {
        if let Some(id) = &args.id {
            return Err(unknown(&state, id));
        }
        context
            .printer
            .note("no request has failed; `llmproxy explain ID` explains any other");
        return Ok(());
    };
    let mut trail: Value = serde_json::from_str(&row.value).map_err(|error| {
        Failure::failed(
            format!("the entry of the request {} is damaged: {error}", row.id),
            "other requests are not concerned",
        )
    })?;
    let logs = boot.paths.requests_dir(&boot.loaded.config.log);
    let logged = request_log::read::find(&logs, &row.id);
    if args.json {
        if let Some(trail) = trail.as_object_mut() {
            trail.insert("request_log".to_owned(), json!(logged));
        }
        return context.printer.json(&trail);
    }
    print(context, &row, &trail)?;
    match logged {
        Some(path) => context
            .printer
            .line(&format!("logged in {}", path.display())),
        None => Ok(()),
    }
}

fn by_id(state: &State, id: &str) -> Result<Option<JournalRow>, StateError> {
    let id = id.trim().to_ascii_lowercase();
    if let Some(row) = state.journal_entry(&id)? {
        return Ok(Some(row));
    }
    if id.is_empty() {
        return Ok(None);
    }
    let recent = state.journal(SEARCHED, false)?;
    Ok(recent.into_iter().find(|row| row.id.starts_with(&id)))
}

/// The request as a running server of this home remembers it: a busy one writes down a part only.
async fn ask_server(boot: &Boot, id: &str) -> Result<Option<JournalRow>, Failure> {
    let id = id.trim().to_ascii_lowercase();
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let Some((_, server)) = presence::find(boot).await.filter(|_| is_id) else {
        return Ok(None);
    };
    // Its owner may see every request on the live page's route, any other client its own.
    for route in ["/dashboard/api/requests", "/v1/requests"] {
        if let Ok(body) = server.get(&format!("{route}/{id}")).await {
            return Ok(row_of(&String::from_utf8_lossy(&body)));
        }
    }
    Ok(None)
}

fn row_of(text: &str) -> Option<JournalRow> {
    let trail: Value = serde_json::from_str(text).ok()?;
    let request = trail.get("request")?;
    let at = Timestamp::parse_rfc3339(request.get("at")?.as_str()?)?;
    let took = Duration::from_millis(trail.get("ms")?.as_u64()?);
    Some(JournalRow {
        id: request.get("id")?.as_str()?.to_owned(),
        time: at + took,
        failed: trail.get("ending")? == "failed",
        value: text.to_owned(),
    })
}

fn unknown(state: &State, id: &str) -> Failure {
    let recent = state.journal(1000, false).unwrap_or_default();
    let hint = did_you_mean(id, recent.iter().map(|row| row.id.as_str()));
    Failure::failed(
        format!("there is no request `{id}` in the journal"),
        hint.unwrap_or_else(|| {
            "the id is in the answer's x-request-id header; the journal keeps the last 10000"
                .to_owned()
        }),
    )
}

fn print(context: &Context, row: &JournalRow, trail: &Value) -> Result<(), Failure> {
    let printer = &context.printer;
    let request = &trail["request"];
    let age = humanize(Timestamp::now().since(row.time));
    printer.line(&format!(
        "request {} of {}, {age} ago",
        printer.paint(Style::Bold, &row.id),
        text(request, "client")
    ))?;
    let streamed = if request["stream"] == true {
        ", streamed"
    } else {
        ""
    };
    printer.line(&format!(
        "{} in the {} dialect for {}{streamed}",
        text(request, "operation"),
        text(request, "dialect"),
        or(text(request, "model"), "no model"),
    ))?;
    for target in list(trail, "targets") {
        printer.line("")?;
        let name = format!("{}/{}", text(target, "provider"), text(target, "model"));
        printer.line(&format!("tried {}", printer.paint(Style::Bold, &name)))?;
        for line in visit(target, row.time) {
            printer.line(&format!("  {line}"))?;
        }
    }
    for renewal in list(trail, "renewals") {
        printer.line(&format!(
            "renewed the token of {} in {} ms: {}",
            text(renewal, "credential"),
            count(renewal, "ms"),
            text(renewal, "why"),
        ))?;
    }
    let attempts = list(trail, "attempts");
    if !attempts.is_empty() {
        printer.line("")?;
        printer.table(&table(attempts))?;
    }
    printer.line("")?;
    let style = match trail["ending"].as_str() {
        Some("served") => Style::Good,
        Some("cancelled") => Style::Warning,
        _ => Style::Bad,
    };
    printer.line(&printer.paint(style, &outcome(trail)))
}

/// Who was passed over on a target, how long it waited, and why it went on from there.
fn visit(target: &Value, at: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    for passed in list(target, "passed_over") {
        let until = passed["until"].as_str().and_then(Timestamp::parse_rfc3339);
        let until = until.map_or_else(String::new, |until| {
            format!(" (for {} more)", humanize(at.until(until)))
        });
        lines.push(format!(
            "passed over {}: {}{until}",
            text(passed, "credential"),
            text(passed, "why")
        ));
    }
    if let Some(waited) = target["waited_ms"].as_u64().filter(|waited| *waited > 0) {
        let waited = humanize(Duration::from_millis(waited));
        lines.push(format!("waited {waited} for a credential"));
    }
    if let Some(end) = target["end"].as_str() {
        lines.push(format!("left: {end}"));
    }
    lines
}

fn table(attempts: &[Value]) -> Table {
    let mut table = Table::new()
        .number("#")
        .column("CREDENTIAL")
        .column("MODEL")
        .number("STATUS")
        .column("VERDICT")
        .number("MS")
        .column("THEN")
        .prose("MESSAGE");
    for (number, attempt) in (1..).zip(attempts) {
        let verdict = attempt["verdict"].as_str();
        let (verdict, style) = match verdict {
            Some(verdict) => (verdict, Style::Bad),
            None => ("ok", Style::Good),
        };
        table.row([
            Cell::from(format!("{number}")),
            Cell::from(text(attempt, "credential")),
            Cell::from(text(attempt, "model")),
            Cell::from(count(attempt, "status")),
            Cell::styled(verdict, style),
            Cell::from(count(attempt, "ms")),
            Cell::from(text(attempt, "effect")),
            Cell::from(text(attempt, "message")),
        ]);
    }
    table
}

/// `served with 200 in 1s 200ms: 12 tokens in, 7 out, $0.0001`, or what went wrong.
fn outcome(trail: &Value) -> String {
    let verb = match trail["ending"].as_str() {
        Some("served") => "served",
        Some("cancelled") => "cancelled by the client",
        _ => "failed",
    };
    let mut line = format!("{verb} with {}", count(trail, "status"));
    if let Some(ms) = trail["ms"].as_u64() {
        let _ = write!(line, " in {ms} ms");
    }
    if let Some(ms) = trail["first_token_ms"].as_u64() {
        let _ = write!(line, ", first content after {ms} ms");
    }
    if let Some(usage) = trail["usage"].as_object() {
        let tokens = |name: &str| usage.get(name).and_then(Value::as_u64).unwrap_or(0);
        let estimated = if usage.get("estimated") == Some(&Value::Bool(true)) {
            " (estimated)"
        } else {
            ""
        };
        let _ = write!(
            line,
            ", {} tokens in, {} out{estimated}",
            tokens("prompt_tokens"),
            tokens("completion_tokens")
        );
    }
    if let Some(cost) = trail["cost_usd"].as_f64() {
        let _ = write!(line, ", ${cost:.6}");
    }
    if let Some(error) = trail["error"].as_str() {
        line.push_str(": ");
        line.push_str(&one_line(error));
    }
    line
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value, name: &str) -> String {
    one_line(value[name].as_str().unwrap_or_default())
}

/// What a provider or client wrote must not move the cursor.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

fn or(text: String, empty: &str) -> String {
    if text.is_empty() {
        empty.to_owned()
    } else {
        text
    }
}

fn count(value: &Value, name: &str) -> String {
    value[name]
        .as_u64()
        .map_or_else(String::new, |count| count.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outcome_is_one_sentence() {
        let served = json!({
            "ending": "served", "status": 200, "ms": 1200, "first_token_ms": 300,
            "usage": {"prompt_tokens": 12, "completion_tokens": 7, "estimated": true},
            "cost_usd": 0.0001,
        });
        assert_eq!(
            outcome(&served),
            "served with 200 in 1200 ms, first content after 300 ms, 12 tokens in, 7 out (estimated), \
             $0.000100"
        );
        let failed = json!({"ending": "failed", "status": 429, "error": "all\u{1b}[2J rest"});
        assert_eq!(outcome(&failed), "failed with 429: all [2J rest");
    }

    #[test]
    fn who_was_passed_over_is_named_with_the_rest_of_the_wait() {
        let target = json!({
            "passed_over": [{"credential": "gemini/1", "why": "quota: no more today",
                             "until": "1970-01-01T01:00:00Z"}],
            "waited_ms": 1500, "end": "every credential rests past the deadline",
        });
        assert_eq!(
            visit(&target, Timestamp::from_secs(0)),
            [
                "passed over gemini/1: quota: no more today (for 1h more)",
                "waited 1s for a credential",
                "left: every credential rests past the deadline",
            ]
        );
    }

    #[test]
    fn an_entry_of_another_version_is_no_panic() {
        assert_eq!(outcome(&json!([])), "failed with ");
        assert!(visit(&json!(null), Timestamp::default()).is_empty());
        table(&[json!(1), json!({"status": "x"})]);
    }
}
