//! The config in force, written out again: secrets by their source or last four characters.

use crate::config::Config;
use crate::config::origin::Origins;

/// A value of the config in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// `providers.gemini.rotation`.
    pub path: String,
    /// As TOML writes it.
    pub value: String,
    /// Where it comes from: `default`, `--port`, `environment PORT`, `/etc/config.toml:3`.
    pub origin: String,
}

/// The config as TOML; what has no value and no default is left out.
pub fn document(config: &Config) -> String {
    toml::to_string(config).unwrap_or_default()
}

/// Each value with its origin, in the order of their paths.
pub fn values(config: &Config, origins: &Origins) -> Vec<Shown> {
    let mut values = Vec::new();
    if let Ok(table) = toml::Table::try_from(config) {
        collect(toml::Value::Table(table), "", origins, &mut values);
    }
    values
}

fn collect(value: toml::Value, path: &str, origins: &Origins, values: &mut Vec<Shown>) {
    match value {
        toml::Value::Table(table) => {
            for (name, value) in table {
                let below = match path {
                    "" => name,
                    _ => format!("{path}.{name}"),
                };
                collect(value, &below, origins, values);
            }
        }
        toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
            for (index, item) in items.into_iter().enumerate() {
                collect(item, &format!("{path}[{index}]"), origins, values);
            }
        }
        value => values.push(Shown {
            path: path.to_owned(),
            value: value.to_string(),
            origin: origins.get(path).to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::env::sample::overlaid_on;

    #[test]
    fn what_is_shown_reads_back_and_holds_no_secret() {
        let file = toml::from_str(
            "[providers.gemini]\napi_keys = [\"sk-canary-0123456789\"]\nextra_body = { a = [1] }\n\
             [[server.clients]]\nname = \"a\"\nkey = \"env:X\"",
        )
        .expect("a valid config");
        let set = [
            ("GEMINI_API_KEY", "sk-canary-9876543210"),
            ("GLOBAL_TIMEOUT", "8"),
        ];
        let (config, _, origins) = overlaid_on(file, &set);
        let text = document(&config);
        assert!(!text.contains("canary"), "{text}");
        let again: Config = toml::from_str(&text).expect("what is shown is a config");
        assert_eq!(again.routing.deadline, config.routing.deadline);
        let values = values(&config, &origins);
        let find = |path: &str| values.iter().find(|shown| shown.path == path);
        let deadline = find("routing.deadline").expect("it is shown");
        assert_eq!(
            (&*deadline.value, &*deadline.origin),
            ("\"8s\"", "environment GLOBAL_TIMEOUT")
        );
        let key = find("providers.gemini.api_keys[1].key").expect("it is shown");
        assert_eq!(key.value, "\"env:GEMINI_API_KEY\"");
        assert_eq!(key.origin, "environment GEMINI_API_KEY");
    }
}
