//! The environment on top of the config file: every name that LLM-API-Key-Proxy reads, with the
//! meaning its documents give it.
//!
//! What has a counterpart is applied; what has none is reported by name, with what to use instead.
//! Bad values are reported and skipped: a stray variable must not stop a server.

mod accounts;
mod caps;
mod credentials;
mod foreign;
mod settings;

pub use self::accounts::{AccountSource, EnvAccount, EnvTokens};

use crate::config::Config;
use crate::config::origin::{Note, Origin, Origins};
use crate::config::paths::Paths;
use crate::config::provider::Provider;
use crate::config::variables::Variables;
use crate::ids::ProviderId;

/// What must be known of a built-in provider to read its variables. Adapters are out of reach from
/// here, so the caller says.
#[derive(Clone, Copy, Debug)]
pub struct KnownProvider {
    /// The id users write.
    pub id: &'static str,
    /// Other names it goes by.
    pub aliases: &'static [&'static str],
    /// Variables that hold a key; each also with `_1`, `_2`, … behind it.
    pub key_env: &'static [&'static str],
    /// `true` for accounts (log-in), `false` for API keys.
    pub is_oauth: bool,
    /// `true` for local servers that ask for no key: to name one is to use it.
    pub key_optional: bool,
    /// Built-in quota groups: (group, models).
    pub quota_groups: &'static [(&'static str, &'static [&'static str])],
}

impl KnownProvider {
    /// Whether users may call it so.
    pub fn is_named(&self, name: &str) -> bool {
        self.names().any(|own| own == name)
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.id).chain(self.aliases.iter().copied())
    }
}

/// What the environment adds besides changes to the config.
#[derive(Default)]
pub struct Found {
    /// Log-ins given by variables.
    pub accounts: Vec<EnvAccount>,
    /// What to tell the user.
    pub notes: Vec<Note>,
}

/// Applies the environment to a config.
pub(super) fn apply(
    config: &mut Config,
    origins: &mut Origins,
    variables: &Variables,
    known: &[KnownProvider],
    paths: &Paths,
) -> Found {
    let mut overlay = Overlay {
        config,
        origins,
        variables,
        known,
        found: Found::default(),
    };
    // Bases first: they decide which names are providers.
    credentials::bases(&mut overlay);
    credentials::keys(&mut overlay);
    credentials::client_key(&mut overlay);
    accounts::collect(&mut overlay, paths);
    settings::apply(&mut overlay);
    caps::groups(&mut overlay);
    caps::caps(&mut overlay);
    foreign::report(&mut overlay);
    overlay.found
}

struct Overlay<'a> {
    config: &'a mut Config,
    origins: &'a mut Origins,
    variables: &'a Variables,
    known: &'a [KnownProvider],
    found: Found,
}

impl<'a> Overlay<'a> {
    /// All variables that are not empty, white space removed.
    fn set(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.variables
            .iter()
            .map(|(name, variable)| (name, variable.value.trim()))
            .filter(|(_, value)| !value.is_empty())
    }

    /// The non-empty variables whose names begin with `prefix`, with the rest of their names.
    fn beginning(&self, prefix: &str) -> Vec<(&'a str, &'a str, &'a str)> {
        self.set()
            .filter_map(|(name, value)| Some((name, name.strip_prefix(prefix)?, value)))
            .filter(|(_, rest, _)| !rest.is_empty())
            .collect()
    }

    /// The provider that `GEMINI_CLI` or, by its key variable, `TOGETHERAI` stands for.
    fn provider(&self, upper: &str) -> Option<ProviderId> {
        let own = self.config.providers.keys();
        if let Some(id) = own.into_iter().find(|id| upper_name(id.as_str()) == upper) {
            return Some(id.clone());
        }
        let by_key = format!("{upper}_API_KEY");
        let known = self
            .known
            .iter()
            .find(|known| known.names().any(|name| upper_name(name) == upper))
            .or_else(|| {
                let named = |known: &&KnownProvider| known.key_env.contains(&by_key.as_str());
                self.known.iter().find(named)
            })?;
        self.own_name(known)
    }

    /// The name the config file has for a built-in provider, else its id.
    fn own_name(&self, known: &KnownProvider) -> Option<ProviderId> {
        let mut own = self.config.providers.keys();
        own.find(|id| known.names().any(|name| name == id.as_str()))
            .cloned()
            .or_else(|| ProviderId::parse(known.id).ok())
    }

    /// Splits `GEMINI_CLI_PRO` into a provider and the rest behind `_`: the longest name wins.
    fn split_provider<'n>(&self, text: &'n str) -> Option<(ProviderId, &'n str)> {
        let cuts = text.match_indices('_').map(|(at, _)| at);
        let mut cuts: Vec<usize> = cuts.collect();
        cuts.reverse();
        cuts.into_iter()
            .find_map(|at| Some((self.provider(&text[..at])?, &text[at + 1..])))
    }

    fn known(&self, id: &ProviderId) -> Option<&'a KnownProvider> {
        self.known.iter().find(|known| known.is_named(id.as_str()))
    }

    /// A provider's settings, to change.
    fn settings(&mut self, id: &ProviderId) -> &mut Provider {
        self.config.providers.entry(id.clone()).or_default()
    }

    /// Remembers that the variable `name` decided the value at `path`.
    fn origin(&mut self, path: impl Into<String>, name: &str) {
        let line = self
            .variables
            .variable(name)
            .and_then(|variable| variable.line.clone());
        let name = name.to_owned();
        self.origins.set(path, Origin::Env { name, line });
    }

    fn warn(&mut self, name: &str, text: impl Into<String>) {
        self.found.notes.push(Note::warning(name, text));
    }

    /// Says something of a variable that may be another program's; in a `.env` file it was meant
    /// for us.
    fn stray(&mut self, name: &str, text: impl Into<String>) {
        let variable = self.variables.variable(name);
        let is_ours = variable.is_some_and(|variable| variable.line.is_some());
        self.found.notes.push(if is_ours {
            Note::warning(name, text)
        } else {
            Note::stray(name, text)
        });
    }

    fn info(&mut self, name: &str, text: impl Into<String>) {
        self.found.notes.push(Note::info(name, text));
    }
}

/// A provider's name as variables spell it: `MY_VLLM`.
pub fn upper_name(id: &str) -> String {
    let spelt = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    };
    id.chars().map(spelt).collect()
}

#[cfg(test)]
pub(super) mod sample {
    //! Providers and environments for tests.

    use super::*;

    pub(in crate::config) const KNOWN: &[KnownProvider] = &[
        KnownProvider {
            id: "gemini",
            aliases: &[],
            key_env: &["GEMINI_API_KEY"],
            is_oauth: false,
            key_optional: false,
            quota_groups: &[],
        },
        KnownProvider {
            id: "gemini_cli",
            aliases: &[],
            key_env: &[],
            is_oauth: true,
            key_optional: false,
            quota_groups: &[
                ("pro", &["gemini-2.5-pro", "gemini-3-pro-preview"]),
                ("25-flash", &["gemini-2.5-flash"]),
            ],
        },
        KnownProvider {
            id: "together",
            aliases: &["together_ai"],
            key_env: &["TOGETHER_API_KEY", "TOGETHERAI_API_KEY"],
            is_oauth: false,
            key_optional: false,
            quota_groups: &[],
        },
        KnownProvider {
            id: "huggingface",
            aliases: &[],
            key_env: &["HF_TOKEN"],
            is_oauth: false,
            key_optional: false,
            quota_groups: &[],
        },
        KnownProvider {
            id: "openai",
            aliases: &[],
            key_env: &["OPENAI_API_KEY"],
            is_oauth: false,
            key_optional: false,
            quota_groups: &[],
        },
    ];

    /// A config with only the given variables applied.
    pub(in crate::config) fn overlaid(set: &[(&str, &str)]) -> (Config, Found, Origins) {
        overlaid_on(Config::default(), set)
    }

    pub(in crate::config) fn overlaid_on(
        mut config: Config,
        set: &[(&str, &str)],
    ) -> (Config, Found, Origins) {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let variables = Variables::new(set.iter().map(owned));
        let mut origins = Origins::default();
        let home = |name: &str| (name == "HOME").then(|| "/home/someone".to_owned());
        let paths = Paths::find(None, &home).expect("places");
        let found = apply(&mut config, &mut origins, &variables, KNOWN, &paths);
        (config, found, origins)
    }

    /// One provider's settings out of [`overlaid`].
    pub(in crate::config) fn provider(id: &str, set: &[(&str, &str)]) -> (Provider, Vec<Note>) {
        let (config, found, _) = overlaid(set);
        let id = ProviderId::parse(id).expect("a valid id");
        let provider = config.providers.get(&id).cloned().unwrap_or_default();
        (provider, found.notes)
    }
}
