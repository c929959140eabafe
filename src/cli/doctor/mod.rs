//! `llmproxy doctor`: looks for what keeps the gateway from working, and says how to fix it.

mod files;
mod network;
mod shared;

use std::path::Path;

use clap::Args;
use serde::Serialize;

use crate::cli::Context;
use crate::cli::boot::{Boot, config_failure, paths, read_config};
use crate::cli::exit::{Failure, Kind};
use crate::cli::output::Style;
use crate::config::exposure::exposure;
use crate::config::load::{Flags, Loaded};
use crate::config::origin;
use crate::providers;

/// Look for what keeps llmproxy from working, and say how to fix it
///
/// Checks the config, credentials, file modes, locks, the clock, the port, and whether each provider
/// in use can be reached. Sends no key anywhere. Exit code 1 if something is broken.
#[derive(Args)]
#[command(after_help = "Examples:
  llmproxy doctor
  llmproxy doctor --json | jq '.[] | select(.level == \"error\")'")]
pub(super) struct DoctorArgs {
    /// Print the findings as JSON: [{"level","check","message","fix"}]
    #[arg(long)]
    json: bool,
}

/// How bad a finding is, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    /// Checked, and right.
    Ok,
    /// It works, but not as one might think.
    Warning,
    /// Something does not work.
    Error,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    level: Level,
    /// What was looked at: `config`, `files`, `locks`, `clock`, `port`, `reachability`, ….
    check: &'static str,
    message: String,
    /// What to do; `null` where all is well.
    fix: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self {
            level: Level::Ok,
            check,
            message: message.into(),
            fix: None,
        }
    }

    fn warning(check: &'static str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            level: Level::Warning,
            fix: Some(fix.into()),
            ..Self::ok(check, message)
        }
    }

    fn error(check: &'static str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            level: Level::Error,
            ..Self::warning(check, message, fix)
        }
    }
}

/// Runs all checks; one that cannot be made does not stop the others.
pub(super) fn run(args: &DoctorArgs, context: &Context) -> Result<(), Failure> {
    let paths = paths(&context.globals)?;
    // First: reading credentials makes their directory private if it is not.
    let files = files::check(&paths);
    let mut findings = Vec::new();
    match read_config(&context.globals, &paths, Flags::default()) {
        Ok(loaded) => {
            config(&loaded, &paths.config_file, &mut findings);
            let boot = Boot::read_quietly(&context.globals, Flags::default())?;
            credentials(&boot, &mut findings);
            retired(&boot, &mut findings);
            let waiting = context.printer.waiting("looking at the network");
            let checked = async { Ok(network::check(&boot).await) };
            findings.extend(context.block_on(checked)?);
            drop(waiting);
        }
        Err(error) => {
            for one in error.each() {
                let failure = config_failure(&one);
                findings.push(Finding::error("config", failure.sentence(), failure.hint()));
            }
        }
    }
    findings.extend(files);
    report(args, &findings, context)?;
    let is_broken = findings.iter().any(|one| one.level == Level::Error);
    if is_broken {
        return Err(Failure::reported(Kind::Failed));
    }
    Ok(())
}

fn config(loaded: &Loaded, file: &Path, findings: &mut Vec<Finding>) {
    let state = if file.exists() {
        "is right"
    } else {
        "does not exist: defaults hold"
    };
    findings.push(Finding::ok("config", format!("{} {state}", file.display())));
    for note in &loaded.notes {
        if note.level > origin::Level::Info {
            let fix = "change or remove it";
            findings.push(Finding::warning("config", note.to_string(), fix));
        }
    }
    let server = &loaded.config.server;
    if let Some(exposed) = exposure(server) {
        let sentence = exposed.sentence(&server.host);
        findings.push(Finding::error("config", sentence, exposed.hint()));
    }
}

fn credentials(boot: &Boot, findings: &mut Vec<Finding>) {
    for problem in boot.store.load().problems {
        findings.push(Finding::error(
            "credentials",
            problem.to_string(),
            problem.hint(),
        ));
    }
    findings.push(match boot.credentials.len() {
        0 => Finding::warning(
            "credentials",
            "there is no credential",
            "add one with `llmproxy creds add PROVIDER`",
        ),
        1 => Finding::ok("credentials", "1 credential"),
        many => Finding::ok("credentials", format!("{many} credentials")),
    });
}

/// Providers in use whose service has ended; an address of the user's own wins over that.
fn retired(boot: &Boot, findings: &mut Vec<Finding>) {
    let mut seen = Vec::new();
    for credential in &boot.credentials {
        let name = credential.id.provider();
        let Some(spec) = providers::find(name).map(providers::Provider::spec) else {
            continue;
        };
        let Some(closed) = spec
            .closed_to(credential.account().is_some())
            .filter(|_| !seen.contains(&name) && !credential.defies_closing())
        else {
            continue;
        };
        seen.push(name);
        let mut own = boot.loaded.config.providers.iter();
        let is_moved = own.any(|(id, own)| id.as_str() == name && own.is_elsewhere());
        if !is_moved {
            let message = closed.sentence(spec.title);
            findings.push(Finding::warning("providers", message, closed.instead));
        }
    }
}

fn report(args: &DoctorArgs, findings: &[Finding], context: &Context) -> Result<(), Failure> {
    let printer = &context.printer;
    if args.json {
        return printer.json(&findings);
    }
    for finding in findings {
        let (style, word) = match finding.level {
            Level::Ok => (Style::Good, "ok"),
            Level::Warning => (Style::Warning, "warning"),
            Level::Error => (Style::Bad, "error"),
        };
        // Padded before it is painted: escape codes have no width.
        let word = printer.paint(style, &format!("{word:<7}"));
        printer.line(&format!("{word} {}: {}", finding.check, finding.message))?;
        if let Some(fix) = &finding.fix {
            printer.line(&format!("        fix: {fix}"))?;
        }
    }
    Ok(())
}
