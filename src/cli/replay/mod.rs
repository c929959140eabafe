//! `llmproxy replay`: a logged request again, through the same pools as everything else, beside what
//! it got then.

mod difference;
mod side;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::cli::Context;
use crate::cli::boot::{Boot, Core};
use crate::cli::exit::{Failure, Kind};
use crate::cli::explain::LAST;
use crate::cli::output::Style;
use crate::cli::refusal::no_model;
use crate::cli::replay::difference::{Line, difference};
use crate::cli::replay::side::{Got, Side};
use crate::cli::table::{Cell, Table};
use crate::config::load::Flags;
use crate::dialects::head;
use crate::gateway::answer::AnsweredBody;
use crate::gateway::attempt;
use crate::gateway::inbound::Inbound;
use crate::ids::RequestId;
use crate::near::did_you_mean;
use crate::telemetry::request_log::is_secret_header;
use crate::telemetry::request_log::read::{self, Logged};

/// How long the last counts may take to reach the disk.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);

/// How this command is called among the clients.
const CLIENT: &str = "replay";

/// Lines shown of texts that differ; `--json` has all.
const MAX_LINES: usize = 60;

/// Send a logged request again and show the difference
///
/// Requests are logged with [log] requests = true, or `serve --log-requests`. The beginning of an id
/// will do. What was taken out of the log as a secret is missing when it is sent again.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  llmproxy replay last
  llmproxy replay last --model gemini/gemini-2.5-pro
  llmproxy replay last --json | jq '{same_text, now: .now.ms}'")]
pub(super) struct ReplayArgs {
    /// Id of the request, or its beginning, or `last`
    #[arg(value_name = "REQUEST_ID")]
    id: String,

    /// Ask this model in place of the one asked then
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,

    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(args: &ReplayArgs, context: &Context) -> Result<(), Failure> {
    let boot = Boot::read(context, Flags::default())?;
    let dir = boot.paths.requests_dir(&boot.loaded.config.log);
    let found = match args.id.as_str() {
        LAST => read::names(&dir).first().map(|name| dir.join(name)),
        id => read::find(&dir, id),
    };
    let path = found.ok_or_else(|| unknown(&args.id, &dir, &boot))?;
    let logged = read::read(&path).map_err(|error| {
        Failure::failed(error.to_string(), "other logged requests are not concerned")
    })?;
    let inbound = again(&logged, args.model.as_deref())?;
    if logged.redacted > 0 && !args.json {
        context.printer.warn(&format!(
            "what was redacted in the log ({} places) is sent as it stands there",
            logged.redacted
        ));
    }
    let before = Side::before(&logged);
    let waiting = context.printer.waiting("sending it again");
    let replayed = context.block_on(send(boot, inbound, &logged));
    drop(waiting);
    let (id, now, kind) = replayed?;
    show(args, context, &logged, &id, &before, &now)?;
    match kind {
        None => Ok(()),
        Some(kind) => Err(Failure::reported(kind)),
    }
}

fn unknown(id: &str, dir: &Path, boot: &Boot) -> Failure {
    let names = read::names(dir);
    let near = did_you_mean(id, names.iter().map(|name| read::id_of(name)));
    let hint = near.unwrap_or_else(|| {
        if boot.loaded.config.log.requests || !names.is_empty() {
            format!(
                "{} holds what is logged; older ones are gone",
                dir.display()
            )
        } else {
            "requests are logged with `[log] requests = true`, or `llmproxy serve --log-requests`"
                .to_owned()
        }
    });
    Failure::failed(
        format!("the request `{id}` is not in the request log"),
        hint,
    )
}

/// The logged request as a new one.
fn again(logged: &Logged, model: Option<&str>) -> Result<Inbound, Failure> {
    let body = logged.body.clone().ok_or_else(|| {
        Failure::failed(
            format!(
                "the body of the request {} was too large to be logged",
                logged.id
            ),
            "only requests up to 8 MiB can be sent again",
        )
    })?;
    let mut inbound = Inbound {
        id: RequestId::random(),
        client: Arc::from(CLIENT),
        owner: Arc::from(CLIENT),
        dialect: logged.dialect,
        operation: logged.operation,
        headers: headers(logged),
        body: Bytes::from(body),
        path_model: logged.path_model.clone(),
        path_stream: logged.path_stream,
        batch: logged.batch,
        array_stream: logged.array_stream,
        strict: logged.strict,
    };
    if let Some(model) = model {
        if inbound.path_model.is_some() {
            inbound.path_model = Some(model.to_owned());
        } else if let Ok(head) = head::scan(&inbound.body, inbound.dialect) {
            let body = head::splice(&inbound.body, &head, model, &[]);
            inbound = inbound.with_body(body);
        }
    }
    Ok(inbound)
}

/// The client's headers without what was secret.
fn headers(logged: &Logged) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &logged.headers {
        let values = match value {
            Value::Array(values) => values.as_slice(),
            one => std::slice::from_ref(one),
        };
        let Ok(name) = name.parse::<HeaderName>() else {
            continue;
        };
        for value in values.iter().filter_map(Value::as_str) {
            if let (false, Ok(value)) = (
                is_secret_header(name.as_str()),
                HeaderValue::from_str(value),
            ) {
                headers.append(name.clone(), value);
            }
        }
    }
    headers
}

/// Sends it; what it got, and how the program is to end.
async fn send(
    boot: Boot,
    inbound: Inbound,
    logged: &Logged,
) -> Result<(String, Side, Option<Kind>), Failure> {
    let id = inbound.id.to_string();
    let scanned = inbound
        .scan()
        .map(|scanned| (scanned.model, scanned.stream));
    let (model, stream) = scanned.map_err(|error| {
        Failure::failed(
            format!("the logged request cannot be sent again: {}", error.message),
            "it was refused when it was sent, too",
        )
    })?;
    let core = Core::start(boot, model.starts_with("demo/")).await?;
    let begun = tokio::time::Instant::now();
    let dialect = inbound.dialect;
    let served = Box::pin(attempt::serve(&core.gateway, inbound, &|_, _, _| true)).await;
    let (got, kind) = match served {
        Ok(answered) => {
            let mut got = Got::new(answered.status.as_u16(), stream);
            match answered.body {
                AnsweredBody::Whole(body) => got.body = body.to_vec(),
                AnsweredBody::Stream(mut relay) => {
                    while let Some(piece) =
                        std::future::poll_fn(|context| relay.poll_piece(context)).await
                    {
                        got.body.extend_from_slice(&piece);
                    }
                }
            }
            (got, None)
        }
        Err(dead_end) => {
            let error = &dead_end.error;
            if error.code.as_deref() == Some("model_not_found") {
                return Err(no_model(error, &model, &core.gateway.snapshot()));
            }
            let (status, _, body) = dead_end.answer(dialect);
            let mut got = Got::new(status.as_u16(), false);
            got.body = body.to_vec();
            let kind = match error.code.as_deref() {
                Some(
                    "no_credentials"
                    | "credentials_refused"
                    | "all_credentials_cooling"
                    | "all_credentials_busy",
                ) => Kind::NoCredential,
                _ => Kind::Failed,
            };
            (got, Some(kind))
        }
    };
    let took = begun.elapsed();
    core.gateway.flush(FLUSH_PATIENCE);
    let trail = trail(&core, &id);
    let now = Side::new(logged, &trail, &got, took);
    Ok((id, now, kind))
}

/// The decision trail of what was sent, out of the journal.
fn trail(core: &Core, id: &str) -> Value {
    let row = core.gateway.telemetry.request(id).ok().flatten();
    row.and_then(|row| serde_json::from_str(&row.value).ok())
        .unwrap_or_default()
}

fn show(
    args: &ReplayArgs,
    context: &Context,
    logged: &Logged,
    id: &str,
    before: &Side,
    now: &Side,
) -> Result<(), Failure> {
    let printer = &context.printer;
    let lines = difference(&before.text, &now.text);
    let same_text = before.text == now.text;
    if args.json {
        let changed = lines.iter().filter(|line| !matches!(line, Line::Same(_)));
        return printer.json(&json!({
            "id": logged.id,
            "replayed_as": id,
            "redacted": logged.redacted,
            "before": before,
            "now": now,
            "same_status": before.status == now.status,
            "same_text": same_text,
            "difference": changed.map(ToString::to_string).collect::<Vec<_>>(),
        }));
    }
    printer.line(&format!(
        "request {}, sent again as {id}",
        printer.paint(Style::Bold, &logged.id)
    ))?;
    printer.line("")?;
    printer.table(&table(before, now))?;
    printer.line("")?;
    if same_text {
        return printer.line("the text is the same");
    }
    printer.line("the text differs:")?;
    for line in lines.iter().take(MAX_LINES) {
        let style = match line {
            Line::New(_) => Style::Good,
            Line::Old(_) => Style::Bad,
            Line::Same(_) => Style::Dim,
        };
        let shown = line.to_string().replace(char::is_control, " ");
        printer.line(&printer.paint(style, &shown))?;
    }
    if lines.len() > MAX_LINES {
        let more = lines.len() - MAX_LINES;
        printer.line(&format!("… and {more} lines more (--json has all)"))?;
    }
    Ok(())
}

fn table(before: &Side, now: &Side) -> Table {
    let mut table = Table::new().column("").column("BEFORE").column("NOW");
    for ((name, before), (_, now)) in before.rows().into_iter().zip(now.rows()) {
        if before.is_empty() && now.is_empty() {
            continue;
        }
        let style = if before == now {
            Style::Dim
        } else {
            Style::Bold
        };
        table.row([
            Cell::from(name),
            Cell::from(before),
            Cell::styled(now, style),
        ]);
    }
    table
}
