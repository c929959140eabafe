//! What the names mean that an agent asks for: those it asks for by itself, and those that it is
//! told of a model shorter than they are.

use crate::cli::run::presets::Preset;
use crate::config::alias::{Alias, Strategy, Target};
use crate::config::models::Pattern;
use crate::gateway::plan;
use crate::gateway::snapshot::Snapshot;

/// The meanings that this run gives to names.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) aliases: Vec<(String, Alias)>,
}

impl Names {
    /// A meaning for each name that the agent asks for by itself and nobody here has: the provider
    /// that lists it, where there are several, or else the model that was chosen.
    pub(super) fn stand_ins(&mut self, preset: &Preset, model: &str, snapshot: &Snapshot) {
        for &name in preset.asks_for {
            if plan::targets(snapshot, name, &|_, _, _| true).is_ok() {
                continue;
            }
            let lister = snapshot.providers.values().find(|one| one.lists(name));
            let target =
                lister.map_or_else(|| model.to_owned(), |one| format!("{}/{name}", one.id));
            self.mean(name, &target);
        }
    }

    /// Takes the provider off a name where the agent wants its vendor's own ([`Preset::own_names`])
    /// and nobody else has it.
    pub(super) fn shorten(&mut self, preset: &Preset, name: &mut String, snapshot: &Snapshot) {
        let Some((provider, own)) = name.split_once('/') else {
            return;
        };
        if !preset
            .own_names
            .is_some_and(|names| Pattern::new(names).matches(own))
        {
            return;
        }
        let meant = self.aliases.iter().find(|(alias, _)| alias == own);
        let is_its = match (meant, plan::targets(snapshot, own, &|_, _, _| true)) {
            (Some((_, alias)), _) => Target::parse(name).is_ok_and(|own| alias.targets == [own]),
            (None, Ok(targets)) => targets
                .iter()
                .all(|target| target.runtime.id.as_str() == provider && target.model == own),
            (None, Err(_)) => self.mean(own, name),
        };
        if is_its {
            *name = own.to_owned();
        }
    }

    fn mean(&mut self, name: &str, target: &str) -> bool {
        let Ok(target) = Target::parse(target) else {
            return false;
        };
        let alias = Alias {
            targets: vec![target],
            strategy: Strategy::default(),
        };
        self.aliases.push((name.to_owned(), alias));
        true
    }
}
