//! `config.example.toml`: every key, commented out, with its default.

/// The file's text; `llmproxy config init` writes it.
pub const EXAMPLE: &str = include_str!("../../config.example.toml");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::EXAMPLE;
    use crate::config::document::Document;
    use crate::config::env::KnownProvider;
    use crate::config::keys;
    use crate::config::origin::Origins;
    use crate::config::{Config, check};

    /// The example with all its settings in force.
    fn uncommented() -> String {
        let is_setting = |rest: &&str| rest.starts_with(|c: char| c.is_alphabetic() || c == '[');
        let lines = EXAMPLE
            .lines()
            .map(|line| line.strip_prefix('#').filter(is_setting).unwrap_or(line));
        lines.collect::<Vec<_>>().join("\n")
    }

    fn read(text: &str) -> Config {
        let document = Document::parse(Path::new("config.example.toml"), text);
        document
            .map_err(|error| error.to_string())
            .expect("a valid example")
            .config
    }

    fn table(config: &Config) -> toml::Table {
        toml::Table::try_from(config).expect("a config is a table")
    }

    #[test]
    fn as_it_stands_it_changes_nothing() {
        assert_eq!(table(&read(EXAMPLE)), table(&Config::default()));
    }

    #[test]
    fn with_all_settings_in_force_it_is_valid() {
        let known = ["gemini", "antigravity", "anthropic", "demo"].map(|id| KnownProvider {
            id,
            aliases: &[],
            key_env: &[],
            is_oauth: false,
            key_optional: false,
            quota_groups: &[],
        });
        let config = read(&uncommented());
        let (problems, notes) = check::check(&config, &Origins::default(), &known);
        assert_eq!((problems, notes), (Vec::new(), Vec::new()));
    }

    #[test]
    fn the_values_it_shows_are_the_defaults() {
        // Samples where there is no default to show.
        let samples = [
            "server.api_keys",
            "server.clients",
            "server.debug_headers",
            "server.tls",
            "routing.errors",
            "log.dir",
            "state.token_key",
            "catalog.models",
            "chat.model",
        ];
        let (shown, defaults) = (table(&read(&uncommented())), table(&Config::default()));
        for section in [
            "server", "routing", "cooldown", "timeouts", "state", "log", "catalog", "chat",
        ] {
            let section_of = |table: &toml::Table| {
                let found = table[section].as_table().cloned().unwrap_or_default();
                let named = |key: &String| samples.contains(&format!("{section}.{key}").as_str());
                found
                    .into_iter()
                    .filter(|(key, _)| !named(key))
                    .collect::<toml::Table>()
            };
            assert_eq!(section_of(&shown), section_of(&defaults), "[{section}]");
        }
    }

    #[test]
    fn every_key_stands_in_it() {
        let text = uncommented();
        let document = Document::parse(Path::new("config.example.toml"), &text);
        let document = document
            .map_err(|error| error.to_string())
            .expect("a valid example");
        let shown: BTreeSet<String> = document.lines().map(|(path, _)| pattern(path)).collect();
        let missing: Vec<_> = keys::KEYS
            .iter()
            .map(|key| key.path)
            // Written like the clients below them, which the example says.
            .filter(|path| !path.starts_with("server.api_keys[]"))
            // What is passed on has no keys of ours below it.
            .filter(|path| !shown.contains(*path))
            .collect();
        assert_eq!(missing, Vec::<&str>::new());
    }

    /// `providers.gemini.caps[0].limit` as the table of keys writes it.
    fn pattern(path: &str) -> String {
        let mut pattern = String::new();
        for part in path.split('.') {
            let (name, is_element) = match part.split_once('[') {
                Some((name, _)) => (name, true),
                None => (part, false),
            };
            let exact = join(&pattern, name);
            pattern = match keys::find(&exact) {
                Some(_) => exact,
                None => join(&pattern, "*"),
            };
            if is_element {
                pattern.push_str("[]");
            }
        }
        pattern
    }

    fn join(parent: &str, name: &str) -> String {
        if parent.is_empty() {
            return name.to_owned();
        }
        format!("{parent}.{name}")
    }
}
