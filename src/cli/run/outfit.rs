//! What the child gets: variables, arguments, settings files. Decided before it starts, as plain
//! values.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli::run::model;
use crate::cli::run::presets::{ALL, Preset};
use crate::providers::catalog_data::ModelFacts;

/// Variables that would make a child's SDK pass the gateway by, or send a second key with ours.
const MISLEADING: &[&str] = &[
    "ANTHROPIC_API_KEY",
    "GOOGLE_API_KEY",
    "GOOGLE_GENAI_USE_VERTEXAI",
    "GOOGLE_VERTEX_BASE_URL",
    "OPENAI_API_BASE",
    "OPENAI_ORGANIZATION",
    "OPENAI_ORG_ID",
    "OPENAI_PROJECT",
    "OPENAI_PROJECT_ID",
];

/// Proxies that a child would send even its calls to this machine through.
const PROXIES: &[&str] = &[
    "ALL_PROXY",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "all_proxy",
    "http_proxy",
    "https_proxy",
];

/// Models told to a client that wants a list: an environment variable has its limits.
const MAX_LISTED: usize = 200;

/// Where the gateway is and how to be let in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Door<'a> {
    /// `http://127.0.0.1:PORT`.
    pub(super) url: &'a str,
    pub(super) key: &'a str,
}

/// The models a child may be told of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice<'a> {
    /// The one to use.
    pub(super) model: Option<&'a str>,
    /// The user named it: it is meant for everything.
    pub(super) is_named: bool,
    /// All that can be used.
    pub(super) listed: &'a [String],
    /// What is known of them.
    pub(super) facts: &'a HashMap<String, ModelFacts>,
}

impl Choice<'_> {
    /// How many tokens the model can take, where that is known.
    fn context(&self) -> Option<u64> {
        self.facts.get(self.model?)?.context_window
    }
}

/// What a child gets beside what it was given.
#[derive(Debug, Default)]
pub(super) struct Outfit {
    pub(super) set: BTreeMap<String, String>,
    pub(super) removed: Vec<&'static str>,
    /// Arguments to put behind the program's name.
    pub(super) arguments: Vec<String>,
    /// Kept while the child runs, gone with it.
    home: Option<TempDir>,
}

impl Outfit {
    /// Decides on everything; `is_set` tells which variables the user has set.
    pub(super) fn new(
        preset: Option<&Preset>,
        door: Door<'_>,
        choice: Choice<'_>,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> io::Result<Self> {
        let mut outfit = Self::default();
        outfit.removed.extend(MISLEADING);
        for (name, template) in [
            ("OPENAI_BASE_URL", "{url}/v1"),
            ("OPENAI_API_KEY", "{key}"),
            ("ANTHROPIC_BASE_URL", "{url}"),
            ("ANTHROPIC_AUTH_TOKEN", "{key}"),
            ("GOOGLE_GEMINI_BASE_URL", "{url}"),
            ("GEMINI_API_KEY", "{key}"),
        ] {
            outfit.put(name, fill(template, door, choice, choice.model));
        }
        outfit.bypass_proxies(variable);
        match preset {
            Some(preset) => outfit.follow(preset, door, choice, variable)?,
            None if choice.is_named => {
                for name in ["ANTHROPIC_MODEL", "GEMINI_MODEL", "OPENAI_MODEL"] {
                    outfit.put(name, fill("{model}", door, choice, choice.model));
                }
            }
            None => {}
        }
        let set = &outfit.set;
        outfit.removed.retain(|name| !set.contains_key(*name));
        Ok(outfit)
    }

    fn put(&mut self, name: &str, value: String) {
        self.set.insert(name.to_owned(), value);
    }

    fn bypass_proxies(&mut self, variable: &dyn Fn(&str) -> Option<String>) {
        if !PROXIES.iter().any(|name| variable(name).is_some()) {
            return;
        }
        for name in ["NO_PROXY", "no_proxy"] {
            let own = variable(name).filter(|list| !list.is_empty());
            let list = own.map_or_else(String::new, |list| format!("{list},"));
            self.put(name, format!("{list}127.0.0.1,localhost"));
        }
    }

    fn follow(
        &mut self,
        preset: &Preset,
        door: Door<'_>,
        choice: Choice<'_>,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> io::Result<()> {
        self.removed.extend(preset.removed);
        let filled = |template| fill(template, door, choice, choice.model);
        for (name, template) in preset.variables {
            self.put(name, filled(template));
        }
        self.arguments
            .extend(preset.arguments.iter().map(|template| filled(template)));
        if choice.model.is_some() {
            for (name, template) in preset.model_variables {
                self.put(name, filled(template));
            }
            let arguments = preset.model_arguments.iter();
            self.arguments
                .extend(arguments.map(|template| filled(template)));
        }
        if let Some(context) = choice.context() {
            let arguments = preset.context_arguments.iter();
            self.arguments
                .extend(arguments.map(|word| word.replace("{context}", &context.to_string())));
        }
        for (name, family) in preset.class_variables {
            let own = model::of_family(choice.listed, family).filter(|_| !choice.is_named);
            if let Some(model) = own.or(choice.model) {
                self.put(name, model.to_owned());
            }
        }
        if let Some(home) = &preset.home
            && let Some(own) = variable(home.variable)
                .map(PathBuf::from)
                .or_else(std::env::home_dir)
            && let Some(furnished) = home.furnish(&own)?
        {
            self.put(
                home.variable,
                furnished.path().to_string_lossy().into_owned(),
            );
            self.home = Some(furnished);
        }
        Ok(())
    }

    /// The words of a command line with the arguments in their place: behind the first word that
    /// is the preset's program (`npx @openai/codex exec`). `false` if it is not among them.
    pub(super) fn dress(&self, words: &[OsString], programs: &[&str]) -> (Vec<OsString>, bool) {
        if self.arguments.is_empty() {
            return (words.to_vec(), true);
        }
        let Some(at) = words.iter().position(|word| is_program(word, programs)) else {
            return (words.to_vec(), false);
        };
        let (before, after) = words.split_at(at + 1);
        let mut dressed = before.to_vec();
        dressed.extend(self.arguments.iter().map(OsString::from));
        dressed.extend_from_slice(after);
        (dressed, true)
    }
}

/// The preset of the program that a command line starts.
pub(super) fn recognised(words: &[OsString]) -> Option<&'static Preset> {
    let program = words.first()?;
    ALL.iter()
        .find(|preset| is_program(program, preset.programs))
}

/// Whether a word is one of the programs: by its file name, or as a package with a version.
fn is_program(word: &OsStr, programs: &[&str]) -> bool {
    let path = Path::new(word);
    let stem = path.file_stem().and_then(OsStr::to_str).unwrap_or_default();
    let text = word.to_str().unwrap_or_default();
    programs.iter().any(|program| {
        let package = text.strip_prefix(program);
        stem == *program || package.is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
    })
}

/// A template with its values; within quotes (JSON and TOML alike) they are escaped.
fn fill(template: &str, door: Door<'_>, choice: Choice<'_>, model: Option<&str>) -> String {
    let is_quoted = template.contains('"');
    let value = |text: &str| {
        if !is_quoted {
            return text.to_owned();
        }
        let quoted = Value::from(text).to_string();
        quoted.trim_matches('"').to_owned()
    };
    let mut filled = template.replace("{url}", &value(door.url));
    filled = filled.replace("{key}", &value(door.key));
    if filled.contains("{models}") {
        filled = filled.replace("{models}", &listing(choice));
    }
    filled.replace("{model}", &value(model.unwrap_or_default()))
}

/// `{"provider/model":{…},…}`, the chosen one first among them.
fn listing(choice: Choice<'_>) -> String {
    let listed = choice.listed.iter().map(String::as_str).take(MAX_LISTED);
    let names = choice.model.into_iter().chain(listed);
    let members = names.map(|name| {
        let told = choice.facts.get(name).map_or_else(|| json!({}), described);
        (name.to_owned(), told)
    });
    Value::Object(members.collect()).to_string()
}

/// A model as `OpenCode` takes it (its configuration's JSON Schema, read 2026-11-26): without the word
/// that a model takes pictures it reads none, and without the limits it never shortens a
/// conversation.
fn described(facts: &ModelFacts) -> Value {
    let mut told = json!({});
    let can = facts.capabilities;
    if can.vision || can.pdf {
        let input: Vec<&str> = [(true, "text"), (can.vision, "image"), (can.pdf, "pdf")]
            .into_iter()
            .filter_map(|(has, name)| has.then_some(name))
            .collect();
        told["attachment"] = json!(true);
        told["modalities"] = json!({"input": input, "output": ["text"]});
    }
    if let (Some(context), Some(output)) = (facts.context_window, facts.max_output) {
        told["limit"] = json!({"context": context, "output": output});
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::run::presets::named;
    use crate::providers::catalog_data::Capabilities;

    const DOOR: Door<'static> = Door {
        url: "http://127.0.0.1:9",
        key: "k",
    };

    fn outfit(preset: &str, model: Option<&str>, is_named: bool, listed: &[&str]) -> Outfit {
        let listed: Vec<String> = listed.iter().map(|&id| id.to_owned()).collect();
        let facts = ModelFacts {
            context_window: Some(1000),
            max_output: Some(100),
            capabilities: Capabilities {
                vision: true,
                ..Capabilities::default()
            },
            prices: None,
        };
        let choice = Choice {
            model,
            is_named,
            listed: &listed,
            facts: &HashMap::from([("g/flash".to_owned(), facts)]),
        };
        Outfit::new(named(preset), DOOR, choice, &|_| None).expect("a temporary directory")
    }

    fn words(line: &[&str]) -> Vec<OsString> {
        line.iter().map(OsString::from).collect()
    }

    #[test]
    fn the_six_variables_are_as_each_sdk_takes_them() {
        let outfit = outfit("", None, false, &[]);
        let expected = [
            ("ANTHROPIC_AUTH_TOKEN", "k"),
            ("ANTHROPIC_BASE_URL", "http://127.0.0.1:9"),
            ("GEMINI_API_KEY", "k"),
            ("GOOGLE_GEMINI_BASE_URL", "http://127.0.0.1:9"),
            ("OPENAI_API_KEY", "k"),
            ("OPENAI_BASE_URL", "http://127.0.0.1:9/v1"),
        ];
        let set = outfit
            .set
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        assert_eq!(set.collect::<Vec<_>>(), expected);
        assert!(outfit.removed.contains(&"ANTHROPIC_API_KEY"));
    }

    #[test]
    fn claude_gets_its_classes_unless_a_model_is_named() {
        let listed = ["a/claude-haiku-4-5", "a/claude-sonnet-4-5"];
        let chosen = outfit("claude", Some("a/claude-sonnet-4-5"), false, &listed);
        assert_eq!(
            chosen.set["ANTHROPIC_DEFAULT_HAIKU_MODEL"],
            "a/claude-haiku-4-5"
        );
        assert_eq!(
            chosen.set["ANTHROPIC_DEFAULT_OPUS_MODEL"],
            "a/claude-sonnet-4-5"
        );
        let named = outfit("claude", Some("g/flash"), true, &listed);
        assert_eq!(named.set["ANTHROPIC_DEFAULT_HAIKU_MODEL"], "g/flash");
        assert_eq!(named.set["ANTHROPIC_MODEL"], "g/flash");
    }

    #[test]
    fn codex_gets_its_settings_behind_its_name() {
        let outfit = outfit("codex", Some("o/gpt\"5"), true, &[]);
        let programs = named("codex").expect("there").programs;
        let (line, placed) =
            outfit.dress(&words(&["npx", "@openai/codex@1", "exec", "hi"]), programs);
        assert!(placed);
        assert_eq!(line[..3], words(&["npx", "@openai/codex@1", "-c"]));
        assert_eq!(line[line.len() - 2..], words(&["exec", "hi"]));
        assert!(
            line.contains(&OsString::from("model=\"o/gpt\\\"5\"")),
            "{line:?}"
        );
        assert!(
            !line
                .iter()
                .any(|word| word.to_string_lossy().contains("context"))
        );
        let (line, placed) = outfit.dress(&words(&["sh", "-c", "x"]), programs);
        assert_eq!((line, placed), (words(&["sh", "-c", "x"]), false));
    }

    #[test]
    fn codex_is_told_how_much_a_model_takes_where_that_is_known() {
        let outfit = outfit("codex", Some("g/flash"), true, &[]);
        let last = outfit.arguments.last().map(String::as_str);
        assert_eq!(last, Some("model_context_window=1000"));
    }

    #[test]
    fn opencode_gets_valid_json_with_all_models() {
        let outfit = outfit("opencode", Some("g/flash"), false, &["g/flash", "a/b\"c"]);
        let text = &outfit.set["OPENCODE_CONFIG_CONTENT"];
        let config: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(config["model"], "llmproxy/g/flash");
        let provider = &config["provider"]["llmproxy"];
        assert_eq!(provider["options"]["apiKey"], "{env:OPENAI_API_KEY}");
        assert_eq!(
            provider["models"],
            json!({
                "a/b\"c": {},
                "g/flash": {
                    "attachment": true,
                    "limit": {"context": 1000, "output": 100},
                    "modalities": {"input": ["text", "image"], "output": ["text"]},
                },
            })
        );
    }

    #[test]
    fn a_home_of_another_setting_lasts_as_long_as_the_outfit() {
        let own = TempDir::new().expect("a directory");
        let variable = |name: &str| {
            let own = own.path().to_str().expect("text").to_owned();
            (name == "GEMINI_CLI_HOME").then_some(own)
        };
        let choice = Choice {
            model: Some("g/flash"),
            is_named: false,
            listed: &[],
            facts: &HashMap::new(),
        };
        let outfit = Outfit::new(named("gemini"), DOOR, choice, &variable).expect("an outfit");
        let home = PathBuf::from(&outfit.set["GEMINI_CLI_HOME"]);
        let text = std::fs::read_to_string(home.join(".gemini/settings.json")).expect("a file");
        assert!(text.contains("gemini-api-key"), "{text}");
        drop(outfit);
        assert!(!home.exists());
    }

    #[test]
    fn calls_to_this_machine_pass_no_proxy() {
        let variable = |name: &str| match name {
            "HTTPS_PROXY" => Some("http://p".to_owned()),
            "NO_PROXY" => Some("corp".to_owned()),
            _ => None,
        };
        let choice = Choice {
            model: None,
            is_named: false,
            listed: &[],
            facts: &HashMap::new(),
        };
        let outfit = Outfit::new(None, DOOR, choice, &variable).expect("no files");
        assert_eq!(outfit.set["NO_PROXY"], "corp,127.0.0.1,localhost");
        assert_eq!(outfit.set["no_proxy"], "127.0.0.1,localhost");
    }

    #[test]
    fn agents_are_known_by_their_file_names() {
        for (word, expected) in [
            ("claude", Some("claude")),
            ("/opt/bin/codex", Some("codex")),
            ("gemini.cmd", Some("gemini")),
            ("claude-trace", None),
            ("sh", None),
        ] {
            let preset = recognised(&words(&[word, "-p", "x"]));
            assert_eq!(preset.map(|preset| preset.name), expected, "{word}");
        }
    }
}
