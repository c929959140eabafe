//! What types cannot say: values that contradict each other, or that would never do anything.

mod models;
mod providers;
mod server;

use std::time::Duration;

use crate::config::Config;
use crate::config::env::KnownProvider;
use crate::config::origin::{Note, Origin, Origins};
use crate::config::routing::Action;
use crate::config::storage::Backend;
use crate::ids::ProviderId;
use crate::near;

/// Something wrong with a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// The value: `providers.gemini.caps[0].limit`.
    pub(super) path: String,
    /// A sentence without full stop.
    pub(super) message: String,
    pub(super) hint: String,
}

/// Reads a whole config and returns all that is wrong, and what is merely odd.
pub(super) fn check(
    config: &Config,
    origins: &Origins,
    known: &[KnownProvider],
) -> (Vec<Problem>, Vec<Note>) {
    let mut checked = Checked {
        config,
        origins,
        known,
        problems: Vec::new(),
        notes: Vec::new(),
    };
    server::check(&mut checked);
    checked.routing();
    checked.cooldown();
    checked.timeouts();
    checked.storage();
    checked.catalog();
    providers::check(&mut checked);
    models::check(&mut checked);
    checked.model_facts();
    (checked.problems, checked.notes)
}

struct Checked<'a> {
    config: &'a Config,
    origins: &'a Origins,
    known: &'a [KnownProvider],
    problems: Vec<Problem>,
    notes: Vec<Note>,
}

impl Checked<'_> {
    fn refuse(
        &mut self,
        path: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.problems.push(Problem {
            path: path.into(),
            message: message.into(),
            hint: hint.into(),
        });
    }

    fn refuse_zero(&mut self, path: &str, time: Duration) {
        if time.is_zero() {
            self.refuse(
                path,
                format!("`{path}` cannot be 0"),
                "to wait almost for ever, write a long time such as \"24h\"",
            );
        }
    }

    /// Whether a provider of that name can exist: built in, or in the config.
    fn has_provider(&self, name: &str) -> bool {
        self.known.iter().any(|known| known.is_named(name))
            || self.config.providers.keys().any(|id| id.as_str() == name)
    }

    /// "did you mean" over all provider names, or where to define one.
    fn provider_hint(&self, name: &str) -> String {
        let own = self.config.providers.keys().map(ProviderId::as_str);
        let all = self
            .known
            .iter()
            .map(|known| known.id)
            .chain(own.filter(|own| *own != name));
        near::did_you_mean(name, all).unwrap_or_else(|| {
            format!("a provider of your own needs [providers.{name}] with kind and base_url")
        })
    }

    fn model_facts(&mut self) {
        for (index, entry) in self.config.model_facts.iter().enumerate() {
            let path = format!("model_facts[{index}]");
            if entry.model.trim().is_empty() {
                self.refuse(
                    format!("{path}.model"),
                    "an empty name is every model's beginning",
                    "write the model's name, without the provider",
                );
            }
            if let Some(word) = entry.unknown_efforts().next() {
                self.refuse(
                    format!("{path}.efforts"),
                    format!("`{word}` is not an effort"),
                    "write none, minimal, low, medium, high, xhigh or max",
                );
            }
            if entry
                .thinking_budget
                .is_some_and(|(least, most)| least > most)
            {
                self.refuse(
                    format!("{path}.thinking_budget"),
                    "the least is more than the most",
                    "write the smaller number first",
                );
            }
        }
    }

    fn routing(&mut self) {
        let routing = &self.config.routing;
        self.refuse_zero("routing.deadline", routing.deadline);
        if routing.max_attempts == 0 {
            self.refuse(
                "routing.max_attempts",
                "with 0 attempts no request is ever sent",
                "write at least 1",
            );
        }
        if !(0.0..=1.0).contains(&routing.retry_budget) {
            self.refuse(
                "routing.retry_budget",
                format!("a share of {} is not between 0 and 1", routing.retry_budget),
                "write 0.2 for a fifth of all requests",
            );
        }
        for (index, rule) in routing.errors.iter().enumerate() {
            let path = format!("routing.errors[{index}]");
            let is_blank = rule.body_contains.as_ref().is_none_or(String::is_empty);
            if rule.provider.is_none() && rule.status.is_none() && is_blank {
                self.refuse(
                    path.as_str(),
                    "a rule without provider, status or body_contains matches every error",
                    "say which errors it is about",
                );
            }
            if let Some(status) = rule.status.filter(|status| !(100..=599).contains(status)) {
                self.refuse(
                    format!("{path}.status"),
                    format!("{status} is not an HTTP status"),
                    "write a number from 100 to 599",
                );
            }
            if let Some(name) = rule
                .provider
                .as_ref()
                .filter(|name| !self.has_provider(name))
            {
                let hint = self.provider_hint(name);
                self.refuse(
                    format!("{path}.provider"),
                    format!("there is no provider `{name}`"),
                    hint,
                );
            }
            if rule.action == Action::Cool(Duration::ZERO) {
                self.refuse(
                    format!("{path}.action"),
                    "to cool for 0 s does nothing",
                    "write \"cool:60s\", or \"rotate\" to pass on without a cooldown",
                );
            }
        }
    }

    fn cooldown(&mut self) {
        let cooldown = &self.config.cooldown;
        if cooldown.steps.is_empty() || cooldown.steps.iter().any(Duration::is_zero) {
            self.refuse(
                "cooldown.steps",
                "a failing key must rest for some time",
                "write for example [\"10s\", \"30s\", \"60s\", \"120s\"]",
            );
        }
        if cooldown.steps.iter().any(|step| *step > cooldown.max) {
            let path = match self.origins.get("cooldown.max") {
                Origin::Default => "cooldown.steps",
                _ => "cooldown.max",
            };
            self.refuse(
                path,
                "`cooldown.max` is shorter than one of `cooldown.steps`",
                "make max at least as long as the longest step",
            );
        }
        for (path, time) in [
            ("cooldown.max", cooldown.max),
            ("cooldown.probe_after", cooldown.probe_after),
            ("cooldown.rate_limit_default", cooldown.rate_limit_default),
            ("cooldown.auth_error", cooldown.auth_error),
        ] {
            self.refuse_zero(path, time);
        }
    }

    fn timeouts(&mut self) {
        let timeouts = &self.config.timeouts;
        for (path, time) in [
            ("timeouts.connect", timeouts.connect),
            ("timeouts.first_byte", timeouts.first_byte),
            ("timeouts.stream_idle", timeouts.stream_idle),
            ("timeouts.total", timeouts.total),
        ] {
            self.refuse_zero(path, time);
        }
        // A short total alone is fine: it simply ends the call first.
        let both_set = ["timeouts.total", "timeouts.first_byte"]
            .iter()
            .all(|path| *self.origins.get(path) != Origin::Default);
        if both_set && timeouts.first_byte > timeouts.total {
            self.refuse(
                "timeouts.first_byte",
                "`first_byte` is longer than `total`, which ends the whole call",
                "make total at least as long as first_byte",
            );
        }
    }

    fn catalog(&mut self) {
        let catalog = &self.config.catalog;
        self.refuse_zero("catalog.every", catalog.every);
        for (path, url) in [
            ("catalog.models_dev_url", &catalog.models_dev_url),
            ("catalog.openrouter_url", &catalog.openrouter_url),
        ] {
            if let Some(problem) = providers::url_problem(url).filter(|_| !url.is_empty()) {
                let hint = "write the whole address, or \"\" for none";
                self.refuse(path, format!("`{url}` {problem}"), hint);
            }
        }
        for (name, known) in &catalog.models {
            for (key, price) in known.prices() {
                if price.is_some_and(|price| !price.is_finite() || price < 0.0) {
                    self.refuse(
                        format!("catalog.models.{name}.{key}"),
                        format!("`{key}` of `{name}` is no price"),
                        "write US dollars a million tokens",
                    );
                }
            }
        }
    }

    fn storage(&mut self) {
        let state = &self.config.state;
        if state.backend == Backend::Redis {
            let url = state.url.secret().expose();
            let schemes = [
                "redis://",
                "rediss://",
                "unix://",
                "redis+unix://",
                "valkey://",
                "valkeys://",
                "redis+sentinel://",
                "rediss+sentinel://",
                "redis+cluster://",
                "rediss+cluster://",
            ];
            if !schemes.iter().any(|scheme| url.starts_with(scheme)) {
                self.refuse(
                    "state.url",
                    "`url` is not the address of a Redis",
                    "write \"redis://HOST:6379/0\", or \"rediss://…\" for TLS",
                );
            }
        }
        let odd = |c: char| c.is_whitespace() || c.is_control() || "{}".contains(c);
        if state.namespace.is_empty() || state.namespace.contains(odd) {
            self.refuse(
                "state.namespace",
                "`namespace` must be a word without spaces or braces",
                "write for example \"llmproxy\"",
            );
        }
        self.refuse_zero("log.retention", self.config.log.retention);
    }
}

#[cfg(test)]
pub(super) mod sample {
    //! Checks of small configs for tests.

    use super::*;
    use crate::config::env::sample::KNOWN;

    /// The paths of all problems of a config text.
    pub(in crate::config) fn refused(text: &str) -> Vec<String> {
        let config: Config = toml::from_str(text).expect("a config that parses");
        let (problems, _) = check(&config, &origins(text), KNOWN);
        problems.into_iter().map(|problem| problem.path).collect()
    }

    /// The notes on a config text.
    pub(in crate::config) fn noted(text: &str) -> Vec<String> {
        let config: Config = toml::from_str(text).expect("a config that parses");
        let (_, notes) = check(&config, &origins(text), KNOWN);
        notes.into_iter().map(|note| note.to_string()).collect()
    }

    fn origins(text: &str) -> Origins {
        let file = std::path::Path::new("c.toml");
        let document = crate::config::document::Document::parse(file, text).expect("known keys");
        let mut origins = Origins::default();
        for (path, line) in document.lines() {
            let file = file.to_owned();
            origins.set(path, Origin::File { path: file, line });
        }
        origins
    }
}

#[cfg(test)]
mod tests {
    use super::sample::refused;

    #[test]
    fn the_defaults_are_consistent() {
        assert_eq!(refused(""), Vec::<String>::new());
    }

    #[test]
    fn contradictions_are_refused_at_their_key() {
        for (text, path) in [
            ("[routing]\ndeadline = \"0s\"", "routing.deadline"),
            ("[routing]\nmax_attempts = 0", "routing.max_attempts"),
            ("[routing]\nretry_budget = 1.5", "routing.retry_budget"),
            ("[routing]\nretry_budget = nan", "routing.retry_budget"),
            ("[[routing.errors]]\naction = \"fail\"", "routing.errors[0]"),
            (
                "[[routing.errors]]\nstatus = 42\naction = \"fail\"",
                "routing.errors[0].status",
            ),
            (
                "[[routing.errors]]\nstatus = 400\naction = \"cool:0s\"",
                "routing.errors[0].action",
            ),
            (
                "[[routing.errors]]\nprovider = \"gemni\"\naction = \"fail\"",
                "routing.errors[0].provider",
            ),
            ("[[model_facts]]\nmodel = \"\"", "model_facts[0].model"),
            (
                "[[model_facts]]\nmodel = \"m\"\nefforts = [\"lots\"]",
                "model_facts[0].efforts",
            ),
            (
                "[[model_facts]]\nmodel = \"m\"\nthinking_budget = [2, 1]",
                "model_facts[0].thinking_budget",
            ),
            ("[cooldown]\nsteps = []", "cooldown.steps"),
            ("[cooldown]\nsteps = [\"0s\"]", "cooldown.steps"),
            ("[cooldown]\nsteps = [\"10m\"]", "cooldown.steps"),
            ("[cooldown]\nmax = \"1m\"", "cooldown.max"),
            ("[timeouts]\nconnect = \"0s\"", "timeouts.connect"),
            (
                "[timeouts]\nfirst_byte = \"2m\"\ntotal = \"1m\"",
                "timeouts.first_byte",
            ),
            (
                "[state]\nbackend = \"redis\"\nurl = \"localhost\"",
                "state.url",
            ),
            ("[state]\nnamespace = \"\"", "state.namespace"),
            ("[log]\nretention = \"0s\"", "log.retention"),
        ] {
            assert_eq!(refused(text), [path], "{text}");
        }
    }

    #[test]
    fn a_short_total_alone_is_fine() {
        assert_eq!(refused("[timeouts]\ntotal = \"1m\""), Vec::<String>::new());
    }
}
