//! How a provider's keys are used, and which of its models are shown.

use std::collections::BTreeSet;

use crate::cli::Context;
use crate::cli::boot::Core;
use crate::cli::exit::Failure;
use crate::cli::setup::change::change;
use crate::cli::setup::{ask, read, tried};
use crate::config::edit::texts;
use crate::config::models::{Pattern, filter};
use crate::gateway::catalog;

/// Models named in a preview.
const NAMED: usize = 8;

/// `rotation`, and what each way means.
const ROTATIONS: [(&str, &str); 3] = [
    (
        "sequential",
        "sequential: one key until it is used up, then the next",
    ),
    ("balanced", "balanced: all keys alike"),
    ("expiring", "expiring: first what resets soonest"),
];

/// Lets the user pick a provider and change its settings.
pub(super) fn settings(context: &Context) -> Result<(), Failure> {
    let boot = read(context)?;
    let used = boot
        .credentials
        .iter()
        .map(|one| one.id.provider().to_owned());
    let configured = boot.loaded.config.providers.keys().map(ToString::to_string);
    let names: BTreeSet<String> = used.chain(configured).collect();
    let names: Vec<String> = names.into_iter().collect();
    if names.is_empty() {
        context
            .printer
            .note("There is no provider yet: add a key first.");
        return Ok(());
    }
    let Some(name) = ask::find("Which provider?", &names)?.and_then(|at| names.get(at)) else {
        return Ok(());
    };
    loop {
        let choices = [
            "Rotation of its keys",
            "Requests at once on one key",
            "Models to hide",
            "Models to keep whatever is hidden",
            "Back",
        ];
        let done = match ask::choose(&format!("{name}:"), &choices.map(str::to_owned))? {
            Some(0) => rotation(context, name),
            Some(1) => concurrency(context, name),
            Some(2) => filters(context, name, "ignore_models"),
            Some(3) => filters(context, name, "allow_models"),
            _ => return Ok(()),
        };
        tried(context, done)?;
    }
}

fn rotation(context: &Context, name: &str) -> Result<(), Failure> {
    let titles = ROTATIONS.map(|(_, title)| title.to_owned());
    let chosen = ask::choose("In which order?", &titles)?;
    let Some((rotation, _)) = chosen.and_then(|chosen| ROTATIONS.get(chosen)) else {
        return Ok(());
    };
    change(context, |file| {
        file.set(&["providers", name, "rotation"], *rotation)
    })
}

fn concurrency(context: &Context, name: &str) -> Result<(), Failure> {
    let boot = read(context)?;
    let mut settings = boot.loaded.config.providers.iter();
    let own = settings.find(|(id, _)| id.as_str() == name);
    let now = own.map_or(0, |(_, own)| own.max_concurrent_per_key);
    let question = "At most so many requests at once on one key (0: no limit)";
    let Some(answer) = ask::text(question, &now.to_string())? else {
        return Ok(());
    };
    let limit: u32 = answer
        .parse()
        .map_err(|_| Failure::failed(format!("`{answer}` is not a number"), "write 0, 1, 2, …"))?;
    let limit = i64::from(limit);
    change(context, |file| {
        file.set(&["providers", name, "max_concurrent_per_key"], limit)
    })
}

/// Asks for patterns and shows what they would hide before they are written.
fn filters(context: &Context, name: &str, key: &str) -> Result<(), Failure> {
    let boot = read(context)?;
    let mut settings = boot.loaded.config.providers.iter();
    let own = settings.find(|(id, _)| id.as_str() == name);
    let (ignored, allowed) = own.map_or_else(Default::default, |(_, own)| {
        (own.ignore_models.clone(), own.allow_models.clone())
    });
    let is_ignore = key == "ignore_models";
    let old = if is_ignore { &ignored } else { &allowed };
    let written: Vec<&str> = old.iter().map(Pattern::as_str).collect();
    let question = "Patterns with * and commas between them";
    let Some(answer) = ask::line(question, &written.join(", "))? else {
        return Ok(());
    };
    let patterns: Vec<Pattern> = answer
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(Pattern::new)
        .collect();
    let (ignored, allowed) = if is_ignore {
        (patterns.clone(), allowed)
    } else {
        (ignored, patterns.clone())
    };
    let models = all_models(context, name)?;
    context
        .printer
        .note(&preview(name, &models, &allowed, &ignored));
    if ask::confirm("Write it?", true)? != Some(true) {
        return Ok(());
    }
    let names = texts(patterns.iter().map(Pattern::as_str));
    change(context, |file| file.set(&["providers", name, key], names))
}

/// Every model the provider lists, filters aside.
fn all_models(context: &Context, name: &str) -> Result<Vec<String>, Failure> {
    let boot = read(context)?;
    context.block_on(async {
        let core = Core::start(boot, false).await?;
        let snapshot = core.gateway.snapshot();
        let Some(runtime) = snapshot.providers.get(name) else {
            return Ok(Vec::new());
        };
        let waiting = context.printer.waiting("listing models");
        // What was known before serves as well; the reason was logged.
        let _ = catalog::refresh(runtime, false).await;
        drop(waiting);
        let listing = runtime.models.listing();
        Ok(listing
            .models
            .iter()
            .map(|model| model.id.clone())
            .collect())
    })
}

fn preview(name: &str, models: &[String], allowed: &[Pattern], ignored: &[Pattern]) -> String {
    if models.is_empty() {
        return format!("{name} lists no models now, so there is nothing to show of the effect.");
    }
    let is_hidden = |model: &&String| !filter(name, model, allowed, ignored).is_allowed();
    let hidden: Vec<&String> = models.iter().filter(is_hidden).collect();
    let named: Vec<&str> = hidden
        .iter()
        .take(NAMED)
        .map(|model| model.as_str())
        .collect();
    let more = match hidden.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let which = if named.is_empty() {
        String::new()
    } else {
        format!(": {}{more}", named.join(", "))
    };
    format!(
        "That hides {} of {} models{which}",
        hidden.len(),
        models.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_names_what_is_hidden() {
        let models = ["a-preview", "b", "c-preview"].map(str::to_owned);
        let ignored = [Pattern::new("*-preview")];
        let text = preview("g", &models, &[], &ignored);
        assert_eq!(text, "That hides 2 of 3 models: a-preview, c-preview");
        let allowed = [Pattern::new("c-*")];
        let text = preview("g", &models, &allowed, &ignored);
        assert_eq!(text, "That hides 1 of 3 models: a-preview");
    }
}
