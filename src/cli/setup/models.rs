//! Names for models: the default one, and names of the user's own.

use futures_util::future::join_all;

use crate::cli::Context;
use crate::cli::boot::Core;
use crate::cli::exit::Failure;
use crate::cli::setup::change::change;
use crate::cli::setup::{ask, read};
use crate::config::edit::texts;
use crate::gateway::catalog;

/// `strategy`, and what each means.
const STRATEGIES: [(&str, &str); 3] = [
    ("ordered", "ordered: the first, the others when it fails"),
    ("balanced", "balanced: all alike"),
    ("fastest", "fastest: the one that answers soonest of late"),
];

/// Asks for `[chat] model`.
pub(super) fn default_model(context: &Context) -> Result<(), Failure> {
    let boot = read(context)?;
    let mut models: Vec<String> = boot.loaded.config.models.keys().cloned().collect();
    models.extend(listed(context)?);
    let question = "Which model for `chat` and `run` where none is named?";
    if models.is_empty() {
        let Some(model) = ask::text(&format!("{question} provider/model"), "")? else {
            return Ok(());
        };
        return change(context, |file| file.set(&["chat", "model"], model));
    }
    let Some(model) = ask::find(question, &models)?.and_then(|at| models.get(at)) else {
        return Ok(());
    };
    change(context, |file| file.set(&["chat", "model"], model.as_str()))
}

/// Adds or removes names of the user's own.
pub(super) fn aliases(context: &Context) -> Result<(), Failure> {
    let boot = read(context)?;
    let mut items = vec!["A new name".to_owned()];
    let names: Vec<&String> = boot.loaded.config.models.keys().collect();
    items.extend(boot.loaded.config.models.iter().map(|(name, alias)| {
        let targets: Vec<String> = alias.targets.iter().map(ToString::to_string).collect();
        format!("{name} = {} (remove)", targets.join(", then "))
    }));
    match ask::choose("Model names of your own:", &items)? {
        None => Ok(()),
        Some(0) => new_alias(context),
        Some(chosen) => {
            let Some(name) = names.get(chosen - 1) else {
                return Ok(());
            };
            if ask::confirm(&format!("Remove {name}?"), false)? != Some(true) {
                return Ok(());
            }
            change(context, |file| {
                file.remove(&["models", name]);
                Ok(())
            })
        }
    }
}

fn new_alias(context: &Context) -> Result<(), Failure> {
    let Some(name) = ask::text("The name clients will use, like smart", "")? else {
        return Ok(());
    };
    let models = listed(context)?;
    let mut targets: Vec<String> = Vec::new();
    loop {
        let question = if targets.is_empty() {
            "Which model does it stand for?"
        } else {
            "Which one when that fails? (Esc: no more)"
        };
        let target = if models.is_empty() {
            ask::text(&format!("{question} provider/model"), "")?
        } else {
            ask::find(question, &models)?.and_then(|at| models.get(at).cloned())
        };
        match target {
            Some(target) => targets.push(target),
            None => break,
        }
    }
    if targets.is_empty() {
        return Ok(());
    }
    let strategy = if targets.len() > 1 {
        let titles = STRATEGIES.map(|(_, title)| title.to_owned());
        let chosen = ask::choose("Which of them serves a request?", &titles)?;
        let Some(strategy) = chosen.and_then(|chosen| STRATEGIES.get(chosen)) else {
            return Ok(());
        };
        Some(strategy.0)
    } else {
        None
    };
    change(context, |file| {
        let targets = texts(targets.iter().map(String::as_str));
        file.set(&["models", &name, "targets"], targets)?;
        match strategy.filter(|strategy| *strategy != "ordered") {
            Some(strategy) => file.set(&["models", &name, "strategy"], strategy),
            None => Ok(()),
        }
    })
}

/// Every model that can be used now.
fn listed(context: &Context) -> Result<Vec<String>, Failure> {
    let boot = read(context)?;
    context.block_on(async {
        let core = Core::start(boot, false).await?;
        let snapshot = core.gateway.snapshot();
        let runtimes = snapshot.providers.values();
        let waiting = context.printer.waiting("listing models");
        // Who cannot list is left out; `llmproxy models` says why.
        join_all(runtimes.map(|runtime| catalog::refresh(runtime, false))).await;
        drop(waiting);
        Ok(snapshot.listed_models())
    })
}
