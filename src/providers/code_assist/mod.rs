//! Google's Code Assist: one private API behind two products, Gemini CLI and Antigravity.
//!
//! Bodies are Gemini's `generateContent` in an envelope with the account's project. What the two
//! share is here and in the files beside; facts are those of the wire-format notes (gemini-cli's
//! source of 2026-08-21 and reports on Antigravity up to September 2026, read 2026-11-22).
//!
//! Not built, on purpose: device fingerprints, other programs' telemetry, disguised words, and the
//! projects of strangers that some programs fall back to. The user agent says which client the
//! protocol is spoken as, because the service reads versions from it, and that it is this program.

mod antigravity;
mod body;
mod first_steps;
mod gemini_cli;
mod guard;
mod ids;
mod judge;
pub mod login;
mod malformed;
mod mend;
mod quota;
mod refusal;
mod second_form;
mod thinking;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use serde_json::Value;

use crate::dialects::Operation;
use crate::dialects::chat::Reasoning;
use crate::dialects::fields::Fields;
use crate::dialects::json::object;
use crate::providers::Outgoing;
use crate::providers::account::AccountView;
use crate::providers::code_assist::body::Body;
use crate::providers::code_assist::thinking::Wish;
use crate::providers::spec::Tier;

pub use antigravity::Antigravity;
pub use gemini_cli::GeminiCli;

/// The version of the API; part of every path.
const VERSION: &str = "v1internal";

/// Google's servers since the sandboxes closed to this use.
const PRODUCTION: &str = "https://cloudcode-pa.googleapis.com";
const DAILY: &str = "https://daily-cloudcode-pa.googleapis.com";

/// Tiers of both services (ids as met in answers of `loadCodeAssist`): who pays more serves first and
/// takes more at once, as in LLM-API-Key-Proxy (wire notes and its data of January 2026, read
/// 2026-11-22).
const TIERS: &[Tier] = &[
    Tier {
        names: &["g1-ultra-tier", "ultra"],
        priority: 1,
        at_once: 4,
    },
    Tier {
        names: &["g1-pro-tier", "paid", "pro", "standard", "standard-tier"],
        priority: 2,
        at_once: 2,
    },
    Tier {
        names: &["free", "free-tier"],
        priority: 3,
        at_once: 1,
    },
];

/// A request that says nothing of thinking.
static SILENT: Reasoning = Reasoning {
    effort: None,
    budget: None,
    show: None,
    extra: crate::dialects::fields::Extra(Vec::new()),
};

/// `:generateContent` and its kin.
fn path(operation: Operation, stream: bool) -> String {
    match operation {
        Operation::CountTokens => ":countTokens",
        _ if stream => ":streamGenerateContent?alt=sse",
        _ => ":generateContent",
    }
    .to_owned()
}

/// The URL of a method (`:generateContent`) or resource (`/operations/x`) below a host that may be
/// given with or without the version. `//host/path` is another of Google's services; an address of
/// the user's own stands for them as well.
fn url(base: &str, path: &str) -> String {
    if path.starts_with("https://") || path.starts_with("http://") {
        return path.to_owned();
    }
    let base = base.trim_end_matches('/');
    let base = base.strip_suffix(VERSION).unwrap_or(base);
    let base = base.trim_end_matches('/');
    match path.strip_prefix("//") {
        None => format!("{base}/{VERSION}{path}"),
        Some(_) if base.ends_with(".googleapis.com") => format!("https:{path}"),
        Some(elsewhere) => {
            let (_, path) = elsewhere.split_once('/').unwrap_or_default();
            format!("{base}/{path}")
        }
    }
}

/// Leaves of the client's headers only what every HTTP client sends: names of other SDKs and of
/// sessions mean nothing here.
fn bare_headers(headers: &mut HeaderMap) {
    const KEPT: [header::HeaderName; 3] = [
        header::ACCEPT,
        header::ACCEPT_ENCODING,
        header::CONTENT_TYPE,
    ];
    let foreign: Vec<_> = headers
        .keys()
        .filter(|name| !KEPT.contains(name))
        .cloned()
        .collect();
    for name in foreign {
        headers.remove(name);
    }
}

/// Names the client, unless the config does.
fn name_client(headers: &mut HeaderMap, client: &str) {
    let named = format!("{client} llmproxy/{}", env!("CARGO_PKG_VERSION"));
    if let Ok(value) = HeaderValue::from_str(&named) {
        headers.entry(header::USER_AGENT).or_insert(value);
    }
}

/// What the client wants of thinking.
fn wish<'a>(request: &Outgoing<'a>) -> Wish<'a> {
    request.canonical.map_or(
        Wish {
            reasoning: &SILENT,
            shows: true,
        },
        Wish::of,
    )
}

/// The count request: the conversation and nothing else, for anything else is a 400. What is
/// counted beside it (system text, tools) is said as a turn of the user's.
fn count_body(body: &Bytes, model: &str) -> Option<Bytes> {
    let mut fields = Fields::parse(body).ok()?;
    let inner = fields.take("generateContentRequest");
    let inner = inner.map_or_else(|| body.as_ref(), |inner| inner.get().as_bytes());
    let mut body = Body::parse(inner)?;
    let mut beside = Vec::new();
    beside.append(&mut body.system);
    if let Some(tools) = &body.tools {
        beside.push(body::Part::of_text(tools.get()));
    }
    if !beside.is_empty() {
        let mut turn = body::Content::user("");
        turn.parts = beside;
        body.contents.insert(0, turn);
    }
    let mut out = Vec::new();
    object(&mut out, |o| {
        o.object("request", |o| {
            o.put("model", &format!("models/{model}"));
            o.raw("contents", &body.contents_json());
        });
    });
    Some(out.into())
}

/// The answer out of its envelope.
fn unwrap(payload: Bytes) -> Bytes {
    let Ok(mut fields) = Fields::parse(&payload) else {
        return payload;
    };
    if fields.raw("candidates").is_some() || fields.raw("error").is_some() {
        return payload;
    }
    match fields.take("response") {
        Some(inner) => payload.slice_ref(inner.get().as_bytes()),
        None => payload,
    }
}

/// The account's project, as far as it is known.
fn project<'a>(request: &Outgoing<'a>) -> Option<&'a str> {
    request.account?.fact(first_steps::PROJECT)
}

/// `{"project": …}`, what calls about the account send.
fn project_body(account: Option<&AccountView<'_>>) -> String {
    match account.and_then(|account| account.fact(first_steps::PROJECT)) {
        Some(project) => serde_json::json!({ "project": project }).to_string(),
        None => "{}".to_owned(),
    }
}

/// Credits left on the account, as far as is known.
fn credits(request: &Outgoing<'_>) -> Option<u64> {
    let credits = request.account?.facts.get("credits")?.as_array()?;
    let amount = |credit: &Value| {
        let amount = credit.get("creditAmount")?;
        let text = amount.as_str().map(str::to_owned);
        text.unwrap_or_else(|| amount.to_string())
            .parse::<u64>()
            .ok()
    };
    Some(credits.iter().filter_map(amount).sum())
}

#[cfg(test)]
mod tests;
