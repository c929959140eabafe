//! `test-keys --deep`: what the models of each credential really do, as a matrix.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::cli::Context;
use crate::cli::boot::Boot;
use crate::cli::exit::Failure;
use crate::cli::output::Style;
use crate::cli::table::{Cell, Table};
use crate::cli::test_keys::{Report, TestKeysArgs};
use crate::config::models::Pattern;
use crate::credentials::Credential;
use crate::gateway::conformance::{self, Check, Finding, Outcome};
use crate::gateway::facts::Facts;
use crate::gateway::runtime::ProviderRuntime;
use crate::gateway::{Gateway, catalog, cost};
use crate::providers::spec::KeyTest;

/// Models tried of one credential, whatever the patterns match: answers cost money.
const MAX_MODELS: usize = 10;

/// Parts of the names of models that do not chat.
const NO_CHAT: &[&str] = &[
    "audio",
    "dall-e",
    "diffusion",
    "embed",
    "flux",
    "guard",
    "image",
    "imagen",
    "moderation",
    "ocr",
    "realtime",
    "rerank",
    "sora",
    "speech",
    "transcribe",
    "tts",
    "veo",
    "whisper",
];

/// What one model did.
#[derive(Debug, Serialize)]
pub(super) struct ModelReport {
    /// The name at the provider.
    model: String,
    #[serde(flatten, serialize_with = "as_members")]
    findings: Vec<Finding>,
    /// Of all answers together.
    tokens: u64,
    /// At the known list prices; `null` where there is none.
    cost_usd: Option<f64>,
}

/// The trial of credentials, each on its own.
pub(super) struct Deep<'a> {
    boot: &'a Boot,
    patterns: Vec<Pattern>,
    timeout: Duration,
}

impl<'a> Deep<'a> {
    pub(super) fn new(boot: &'a Boot, args: &TestKeysArgs) -> Self {
        Self {
            boot,
            patterns: args.model.iter().map(|text| Pattern::new(text)).collect(),
            timeout: Duration::from_secs(args.timeout),
        }
    }

    /// Tries the models of one credential, one after the other. What other credentials of the
    /// provider are worth, and what is known of this one, plays no part.
    pub(super) async fn try_out(&self, credential: &Credential) -> Vec<ModelReport> {
        let only = std::slice::from_ref(credential);
        let Ok(snapshot) = self.boot.snapshot_of(only, None) else {
            return Vec::new();
        };
        let gateway = Gateway::new(snapshot, None);
        let snapshot = gateway.snapshot();
        let Some(runtime) = snapshot.providers.get(credential.id.provider()) else {
            return Vec::new();
        };
        if let Err(failure) = catalog::refresh(runtime, false).await {
            tracing::debug!("no model list of {}: {}", runtime.id, failure.message);
        }
        let mut reports = Vec::new();
        for model in chosen(runtime, &snapshot.facts, &self.patterns) {
            let name = format!("{}/{model}", runtime.id);
            let findings = conformance::run(&gateway, &name, self.timeout).await;
            let usage = conformance::total(&findings);
            reports.push(ModelReport {
                cost_usd: cost::of_request(&snapshot.facts, runtime.id.as_str(), &model, &usage),
                tokens: usage.total(),
                findings,
                model,
            });
        }
        reports
    }
}

impl ModelReport {
    /// `false` if the model gives no plain answer, for another reason than a limit.
    pub(super) fn answers(&self) -> bool {
        let plain = self
            .findings
            .iter()
            .filter(|finding| matches!(finding.check, Check::Chat | Check::Stream));
        plain
            .into_iter()
            .all(|finding| matches!(finding.outcome, Outcome::Limited(_) | Outcome::Passed))
    }

    /// The first things that are not as they should be.
    fn detail(&self) -> String {
        let mut said = HashSet::new();
        let wrong = self.findings.iter().filter_map(|finding| {
            let why = finding.outcome.why().filter(|why| said.insert(*why))?;
            Some(format!("{}: {why}", finding.check.as_str()))
        });
        wrong.collect::<Vec<_>>().join("; ")
    }
}

impl Outcome {
    /// The name in JSON and in the table.
    const fn as_str(&self) -> &'static str {
        match self {
            Self::Failed(_) => "failed",
            Self::Lacking(_) => "no",
            Self::Limited(_) => "limited",
            Self::Passed => "ok",
        }
    }

    fn why(&self) -> Option<&str> {
        match self {
            Self::Failed(why) | Self::Lacking(why) | Self::Limited(why) => Some(why),
            Self::Passed => None,
        }
    }

    const fn style(&self) -> Style {
        match self {
            Self::Failed(_) => Style::Bad,
            Self::Lacking(_) => Style::Dim,
            Self::Limited(_) => Style::Warning,
            Self::Passed => Style::Good,
        }
    }
}

/// Each check as a member of its own.
fn as_members<S: Serializer>(findings: &[Finding], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Shown<'a> {
        result: &'static str,
        latency_ms: u64,
        detail: Option<&'a str>,
    }
    serializer.collect_map(findings.iter().map(|finding| {
        let shown = Shown {
            result: finding.outcome.as_str(),
            latency_ms: u64::try_from(finding.took.as_millis()).unwrap_or(u64::MAX),
            detail: finding.outcome.why(),
        };
        (finding.check.as_str(), shown)
    }))
}

/// Prints the matrix under the table of credentials, if there is one.
pub(super) fn print(reports: &[Report], context: &Context) -> Result<(), Failure> {
    let mut table = Table::new()
        .column("ID")
        .column("MODEL")
        .column("CHAT")
        .column("STREAM")
        .column("TOOLS")
        .column("IMAGE")
        .column("SCHEMA")
        .column("THINKING")
        .prose("DETAIL");
    let mut tokens: u64 = 0;
    let mut dollars = 0.0;
    for report in reports {
        for tried in report.deep.iter().flatten() {
            let mut cells = vec![
                Cell::from(report.id.as_str()),
                Cell::from(tried.model.as_str()),
            ];
            cells.extend(
                tried
                    .findings
                    .iter()
                    .map(|finding| Cell::styled(finding.outcome.as_str(), finding.outcome.style())),
            );
            cells.push(Cell::from(tried.detail()));
            table.row(cells);
            tokens = tokens.saturating_add(tried.tokens);
            dollars += tried.cost_usd.unwrap_or(0.0);
        }
    }
    if reports.iter().all(|report| report.deep.is_none()) {
        return Ok(());
    }
    context.printer.line("")?;
    context.printer.table(&table)?;
    context.printer.note(&format!(
        "{tokens} tokens, about ${dollars:.4} where prices are known"
    ));
    Ok(())
}

/// The models to try: those the patterns match, else the cheapest that chats. A name that is on no
/// list is tried all the same.
fn chosen(runtime: &ProviderRuntime, facts: &Facts, patterns: &[Pattern]) -> Vec<String> {
    let provider = runtime.id.as_str();
    let listed: Vec<String> = runtime.listed().into_iter().map(|model| model.id).collect();
    if patterns.is_empty() {
        return cheapest(runtime, facts, &listed).into_iter().collect();
    }
    let mut models: Vec<String> = Vec::new();
    for pattern in patterns {
        let matching = listed
            .iter()
            .filter(|model| pattern.matches_model(provider, model));
        let before = models.len();
        models.extend(matching.cloned());
        let name = pattern.as_str();
        if models.len() == before && !name.contains(['*', '?']) {
            let bare = name
                .strip_prefix(provider)
                .and_then(|rest| rest.strip_prefix('/'));
            models.extend(
                bare.or((!name.contains('/')).then_some(name))
                    .map(str::to_owned),
            );
        }
    }
    let mut seen = HashSet::new();
    models.retain(|model| seen.insert(model.clone()));
    models.truncate(MAX_MODELS);
    models
}

/// The model whose answers cost least: the one the vendor's own key test asks, else by list price,
/// else the first that looks like one that chats.
fn cheapest(runtime: &ProviderRuntime, facts: &Facts, listed: &[String]) -> Option<String> {
    if let KeyTest::Chat(model) = runtime.adapter.spec().key_test
        && (listed.is_empty() || listed.iter().any(|name| name == model))
        && runtime.shows(model).is_allowed()
    {
        return Some(model.to_owned());
    }
    let chats = |model: &&String| {
        let name = model.to_lowercase();
        !NO_CHAT.iter().any(|part| name.contains(part))
    };
    let price = |model: &str| {
        let facts = facts.of(runtime.id.as_str(), model)?;
        let answers = !facts.capabilities.embeddings;
        facts.prices.filter(|_| answers).map(|prices| prices.output)
    };
    let by_price = |a: &&String, b: &&String| match (price(a), price(b)) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    };
    listed.iter().filter(chats).min_by(by_price).cloned()
}
