//! `llmproxy creds import`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::cli::Context;
use crate::cli::boot::{self, Boot};
use crate::cli::creds::{self, way};
use crate::cli::exit::Failure;
use crate::cli::output::Style;
use crate::cli::table::{Cell, Table};
use crate::config::env::AccountSource;
use crate::config::load::{self, Flags, Inputs};
use crate::config::paths::Paths;
use crate::config::variables::Variables;
use crate::credentials::Source;
use crate::credentials::import::{
    self, Candidate, Finding, Found, Grade, Layout, Unusable, merge, usual_places,
};
use crate::time::Timestamp;

/// Take over credentials of other programs; their files are never changed
///
/// Without PATH the usual places of the tools are looked at; without --from the layout is
/// recognised. PATH may be a directory. A damaged file is named and the rest is imported.
#[derive(Args)]
#[command(after_help = "Examples:
  llmproxy creds import --dry-run
  llmproxy creds import ~/old-proxy/.env --from dotenv")]
pub(super) struct ImportArgs {
    /// File or directory to read
    path: Option<PathBuf>,

    /// Whose layout it has
    #[arg(long, value_name = "KIND", value_enum)]
    from: Option<Kind>,

    /// Show what would be done; write nothing and call nobody
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// The process's environment
    Env,
    /// A .env file
    Dotenv,
    /// Gemini CLI
    GeminiCli,
    /// Qwen Code
    QwenCode,
    /// iFlow CLI
    #[value(name = "iflow")]
    IFlow,
    /// Antigravity, or its opencode plugin
    Antigravity,
    /// LLM-API-Key-Proxy
    LlmApiKeyProxy,
    /// CLIProxyAPI
    #[value(name = "cliproxyapi")]
    CliProxyApi,
}

impl Kind {
    /// The layout of JSON files; `None` for what is read as variables.
    const fn layout(self) -> Option<Layout> {
        match self {
            Self::Dotenv | Self::Env => None,
            Self::Antigravity => Some(Layout::Antigravity),
            Self::CliProxyApi => Some(Layout::CliProxyApi),
            Self::GeminiCli => Some(Layout::GeminiCli),
            Self::IFlow => Some(Layout::IFlow),
            Self::LlmApiKeyProxy => Some(Layout::LlmApiKeyProxy),
            Self::QwenCode => Some(Layout::QwenCode),
        }
    }
}

/// Runs the command.
pub(super) fn run(args: &ImportArgs, context: &Context) -> Result<(), Failure> {
    let boot = creds::boot(context)?;
    let mut found = look(args, &boot)?;
    for file in std::mem::take(&mut found.dotenv) {
        let place = file.display().to_string();
        match variables_of(&file, &boot.paths) {
            Ok(more) => absorb(&mut found, more),
            Err(why) => found.unusable.push(Unusable { place, why }),
        }
    }
    let findings = take(args.dry_run, &boot, found.candidates)?;
    if findings.is_empty() && found.unusable.is_empty() {
        return Err(Failure::failed(
            "there is nothing to import",
            "name a file or directory, or `--from env` for the environment",
        ));
    }
    context.printer.table(&table(&findings, &found.unusable))?;
    warn_closed(&boot, &findings, context);
    if args.dry_run {
        context.printer.note("nothing was written (--dry-run)");
    }
    if findings.is_empty() {
        return Err(Failure::failed(
            "nothing of what was found can be used",
            "the reasons stand in the list above",
        ));
    }
    Ok(())
}

/// Reads what the arguments name.
fn look(args: &ImportArgs, boot: &Boot) -> Result<Found, Failure> {
    if let Some(path) = &args.path {
        if !path.exists() {
            return Err(Failure::failed(
                format!("there is no {}", path.display()),
                "check the path",
            ));
        }
        let mut found = Found::default();
        match args.from {
            Some(Kind::Dotenv | Kind::Env) if path.is_file() => found.dotenv.push(path.clone()),
            // A directory holds what it holds; the layout says what else it may be.
            from => found = import::read(path, from.and_then(Kind::layout)),
        }
        return Ok(found);
    }
    match args.from {
        Some(Kind::Env) => Ok(environment(boot)),
        Some(Kind::Dotenv) => usual(&[boot.paths.env_file(), PathBuf::from(".env")], None),
        Some(kind) => {
            let layout = kind.layout();
            let home = boot.paths.home.as_deref().unwrap_or(Path::new(""));
            let places = layout.map(|layout| usual_places(layout, home));
            usual(&places.unwrap_or_default(), layout)
        }
        None => {
            let home = boot.paths.home.as_deref().unwrap_or(Path::new(""));
            let all = [
                Layout::Antigravity,
                Layout::CliProxyApi,
                Layout::GeminiCli,
                Layout::IFlow,
                Layout::QwenCode,
            ];
            let places = all
                .into_iter()
                .flat_map(|layout| usual_places(layout, home));
            usual(&places.collect::<Vec<_>>(), None)
        }
    }
}

/// Reads those places that exist; that none does is a failure naming them.
fn usual(places: &[PathBuf], layout: Option<Layout>) -> Result<Found, Failure> {
    let mut found = Found::default();
    let mut is_there = false;
    for place in places.iter().filter(|place| place.exists()) {
        is_there = true;
        absorb(&mut found, import::read(place, layout));
    }
    if is_there {
        return Ok(found);
    }
    let places: Vec<String> = places
        .iter()
        .map(|place| place.display().to_string())
        .collect();
    Err(Failure::failed(
        format!(
            "there is nothing to import in the usual places: {}",
            places.join(", ")
        ),
        "name the file or directory",
    ))
}

/// Keys and accounts of the process's own environment.
fn environment(boot: &Boot) -> Found {
    let mut found = import::from_environment(&boot.loaded.accounts);
    let keys = boot
        .credentials
        .iter()
        .filter(|one| one.source == Source::Env);
    found.candidates.extend(keys.map(|key| Candidate {
        credential: key.clone(),
        place: "the environment".to_owned(),
        remark: None,
    }));
    found
}

/// Keys and accounts of a `.env` file, found by the rules of the config.
fn variables_of(file: &Path, paths: &Paths) -> Result<Found, String> {
    let mut variables = Variables::default();
    let unreadable = |error: crate::config::error::ConfigError| error.to_string();
    variables.read_file(file).map_err(unreadable)?;
    // A config file that does not exist: only the variables count.
    let nowhere = file.with_file_name(".llmproxy-import").join("config.toml");
    let paths = Paths {
        config_file: nowhere,
        is_explicit: false,
        ..paths.clone()
    };
    let known = boot::known_providers();
    let mut loaded = load::load(Inputs {
        paths: &paths,
        environment: variables,
        env_files: &[],
        flags: Flags::default(),
        known: &known,
    })
    .map_err(unreadable)?;
    // Relative paths begin beside the file, as the programs that wrote it have it.
    for account in &mut loaded.accounts {
        if let AccountSource::File(path) = &mut account.source
            && let Ok(below) = path.strip_prefix(paths.config_dir())
        {
            *path = file.with_file_name("").join(below);
        }
    }
    let mut found = import::from_environment(&loaded.accounts);
    let place = file.display().to_string();
    let keys = boot::given_credentials(&loaded.config);
    found
        .candidates
        .extend(keys.into_iter().map(|credential| Candidate {
            credential,
            place: place.clone(),
            remark: None,
        }));
    Ok(found)
}

/// Says which of what was found belongs to services that have ended.
fn warn_closed(boot: &Boot, findings: &[Finding], context: &Context) {
    let mut said = Vec::new();
    for credential in findings.iter().filter_map(|one| one.credential.as_ref()) {
        let Ok(named) = creds::provider(boot, credential.id.provider()) else {
            continue;
        };
        let closed = way::closed(boot, &named, credential.account().is_some());
        if let Some(closed) = closed.filter(|_| !said.contains(&named.id)) {
            let sentence = closed.sentence(named.adapter.spec().title);
            context
                .printer
                .warn(&format!("{sentence}: {}", closed.instead));
            said.push(named.id);
        }
    }
}

fn absorb(found: &mut Found, more: Found) {
    found.candidates.extend(more.candidates);
    found.unusable.extend(more.unusable);
    found.dotenv.extend(more.dotenv);
}

/// Merges what was found into the store, or only says what would come of it.
fn take(dry_run: bool, boot: &Boot, candidates: Vec<Candidate>) -> Result<Vec<Finding>, Failure> {
    let now = Timestamp::now();
    if dry_run || candidates.is_empty() {
        return Ok(merge(candidates, &boot.store.load().credentials, now));
    }
    let change = boot.store.change().map_err(|error| creds::stored(&error))?;
    let findings = merge(candidates, &boot.store.load().credentials, now);
    for credential in findings.iter().filter_map(|one| one.credential.as_ref()) {
        change
            .put(credential)
            .map_err(|error| creds::stored(&error))?;
    }
    Ok(findings)
}

fn table(findings: &[Finding], unusable: &[Unusable]) -> Table {
    let mut table = Table::new()
        .column("RESULT")
        .column("ID")
        .prose("FROM")
        .prose("WHY");
    for finding in findings {
        let (word, style, why) = match finding.grade {
            Grade::Duplicate => ("duplicate", Style::Dim, "it is there already"),
            Grade::Taken => (
                "taken",
                Style::Good,
                finding.remark.as_deref().unwrap_or(""),
            ),
            Grade::Updated => ("updated", Style::Good, "its tokens are later ones"),
        };
        table.row([
            Cell::styled(word, style),
            finding.id.as_str().into(),
            finding.place.as_str().into(),
            why.into(),
        ]);
    }
    for one in unusable {
        table.row([
            Cell::styled("unusable", Style::Bad),
            "".into(),
            one.place.as_str().into(),
            one.why.as_str().into(),
        ]);
    }
    table
}
