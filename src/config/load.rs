//! Loading: files, environment and flags, one on top of the other, into a checked [`Config`].

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::config::check;
use crate::config::document::Document;
use crate::config::env::{self, EnvAccount, KnownProvider};
use crate::config::error::ConfigError;
use crate::config::origin::{Note, Origin, Origins};
use crate::config::paths::Paths;
use crate::config::provider::Provider;
use crate::config::secret_ref::{ResolveError, SecretRef, Source};
use crate::config::storage::Backend;
use crate::config::variables::Variables;

/// What a config is loaded from.
pub struct Inputs<'a> {
    /// Where things are; see [`Paths::find`].
    pub paths: &'a Paths,
    /// The process's environment.
    pub environment: Variables,
    /// `--env-file`, in the order given; later ones win.
    pub env_files: &'a [PathBuf],
    /// Options that decide config values.
    pub flags: Flags,
    /// The built-in providers.
    pub known: &'a [KnownProvider],
}

/// Options of the command line that decide config values.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--host`.
    pub host: Option<String>,
    /// `--port`.
    pub port: Option<u16>,
    /// `--log-requests`.
    pub log_requests: bool,
}

/// A config that was loaded, and what is known about it.
pub struct Loaded {
    /// The config, its secrets resolved.
    pub config: Config,
    /// Log-ins given by environment variables.
    pub accounts: Vec<EnvAccount>,
    /// What to tell the user.
    pub notes: Vec<Note>,
    /// Where each value comes from.
    pub origins: Origins,
    /// The files that were read, or would be if they existed: to watch.
    pub files: Vec<PathBuf>,
    /// The environment with the `.env` files below it.
    pub variables: Variables,
}

/// Loads the config. A missing file means defaults, unless the user named it.
///
/// Fails on files that cannot be read or parsed, on values that make no sense, and on client keys
/// that cannot be resolved. Provider keys that cannot be resolved are left out with a note.
pub fn load(inputs: Inputs<'_>) -> Result<Loaded, ConfigError> {
    let Inputs {
        paths,
        environment: mut variables,
        env_files,
        flags,
        known,
    } = inputs;
    let mut files = vec![paths.config_file.clone(), paths.env_file()];
    if paths.env_file().is_file() {
        variables.read_file(&paths.env_file())?;
    }
    for file in env_files {
        variables.read_file(file)?;
        files.push(file.clone());
    }

    let source = read(paths)?;
    let document = Document::parse(&paths.config_file, &source)?;
    let mut origins = Origins::default();
    for (path, line) in document.lines() {
        let file = paths.config_file.clone();
        origins.set(path, Origin::File { path: file, line });
    }
    let mut config = document.config.clone();
    place_files(&mut config, paths);
    if let Some(tls) = &config.server.tls {
        // A renewed certificate counts like a changed config.
        files.extend([tls.cert.clone(), tls.key.clone()]);
    }

    let mut secrets = Secrets {
        variables: &variables,
        paths,
        notes: Vec::new(),
        failures: Vec::new(),
    };
    secrets.resolve_all(&mut config);
    let Secrets {
        mut notes,
        failures,
        ..
    } = secrets;

    let found = env::apply(&mut config, &mut origins, &variables, known, paths);
    notes.extend(found.notes);
    flags.apply(&mut config, &mut origins);

    let (problems, odd) = check::check(&config, &origins, known);
    notes.extend(odd);
    let located = failures.into_iter().chain(problems).map(|problem| {
        let message = match origins.get(&problem.path) {
            Origin::File { .. } | Origin::Default => problem.message,
            elsewhere => format!("{elsewhere}: {}", problem.message),
        };
        let error = ConfigError::new(message, problem.hint);
        match document.place(&problem.path) {
            Some(place) => error.at(place),
            None => error,
        }
    });
    if let Some(error) = ConfigError::all(located) {
        return Err(error);
    }
    Ok(Loaded {
        config,
        accounts: found.accounts,
        notes,
        origins,
        files,
        variables,
    })
}

fn read(paths: &Paths) -> Result<String, ConfigError> {
    let path = &paths.config_file;
    match std::fs::read(path) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|_| ConfigError::not_text(path)),
        Err(error) if error.kind() == ErrorKind::NotFound && !paths.is_explicit => {
            Ok(String::new())
        }
        Err(error) => Err(ConfigError::unreadable(path, &error)),
    }
}

/// Makes paths of the config absolute: relative ones start beside the file.
fn place_files(config: &mut Config, paths: &Paths) {
    let place = |path: &mut PathBuf| *path = paths.resolve(path);
    config.log.dir.as_mut().map(place);
    if let Some(tls) = &mut config.server.tls {
        place(&mut tls.cert);
        place(&mut tls.key);
    }
}

impl Flags {
    fn apply(self, config: &mut Config, origins: &mut Origins) {
        if let Some(host) = self.host {
            config.server.host = host;
            origins.set("server.host", Origin::Flag("--host"));
        }
        if let Some(port) = self.port {
            config.server.port = port;
            origins.set("server.port", Origin::Flag("--port"));
        }
        if self.log_requests {
            config.log.requests = true;
            origins.set("log.requests", Origin::Flag("--log-requests"));
        }
    }
}

/// Resolves `env:` and `file:` references.
struct Secrets<'a> {
    variables: &'a Variables,
    paths: &'a Paths,
    notes: Vec<Note>,
    failures: Vec<check::Problem>,
}

impl Secrets<'_> {
    fn resolve_all(&mut self, config: &mut Config) {
        for (index, client) in config.server.api_keys.iter_mut().enumerate() {
            self.required(&mut client.key, format!("server.api_keys[{index}]"));
        }
        for (index, client) in config.server.clients.iter_mut().enumerate() {
            self.required(&mut client.key, format!("server.clients[{index}].key"));
        }
        if config.state.backend == Backend::Redis {
            self.required(&mut config.state.url, "state.url".to_owned());
            if let Some(key) = &mut config.state.token_key {
                self.required(key, "state.token_key".to_owned());
            }
        }
        for (id, provider) in &mut config.providers {
            let path = format!("providers.{id}");
            if provider.enabled {
                self.provider(provider, &path);
            } else {
                // Nobody will use them; what is unset need not worry anyone.
                provider
                    .api_keys
                    .retain(|key| *key.key.source() == Source::Literal);
            }
        }
    }

    fn provider(&mut self, provider: &mut Provider, path: &str) {
        let mut index = 0;
        provider.api_keys.retain_mut(|key| {
            let at = format!("{path}.api_keys[{index}]");
            index += 1;
            // Without its proxy the key must not go out.
            let resolved = self.resolve(&mut key.key).and_then(|()| {
                key.proxy
                    .as_mut()
                    .map_or(Ok(()), |proxy| self.resolve(proxy))
            });
            match resolved {
                Ok(()) => true,
                Err(error) => {
                    self.notes
                        .push(Note::warning(at, format!("left out: {}", chain(&error))));
                    false
                }
            }
        });
        for (name, value) in &mut provider.headers {
            self.required(value, format!("{path}.headers.{name}"));
        }
        let oauth = &mut provider.oauth;
        for (key, secret) in [
            ("proxy", &mut provider.proxy),
            ("oauth.client_id", &mut oauth.client_id),
            ("oauth.client_secret", &mut oauth.client_secret),
        ] {
            if let Some(secret) = secret {
                self.required(secret, format!("{path}.{key}"));
            }
        }
    }

    fn required(&mut self, secret: &mut SecretRef, path: String) {
        let Err(error) = self.resolve(secret) else {
            return;
        };
        let hint = match &error {
            ResolveError::Empty(_) => "give it a value, or remove the entry".to_owned(),
            ResolveError::EnvUnset(name) => format!(
                "set {name}, or write it into {}",
                self.paths.env_file().display()
            ),
            ResolveError::File { .. } => "check the path and the file's mode".to_owned(),
        };
        self.failures.push(check::Problem {
            message: format!("`{path}`: {}", chain(&error)),
            path,
            hint,
        });
    }

    fn resolve(&self, secret: &mut SecretRef) -> Result<(), ResolveError> {
        let lookup = |name: &str| self.variables.get(name).map(str::to_owned);
        let base: &Path = self.paths.config_dir();
        secret.resolve(&lookup, base, self.paths.home.as_deref())
    }
}

/// An error with its cause, in one line.
fn chain(error: &ResolveError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::env::sample::KNOWN;

    struct Place {
        dir: tempfile::TempDir,
        flags: Flags,
    }

    impl Place {
        fn new(config: &str) -> Self {
            let dir = tempfile::tempdir().expect("a temporary directory");
            std::fs::write(dir.path().join("config.toml"), config).expect("a written file");
            Self {
                dir,
                flags: Flags::default(),
            }
        }

        fn load(&self, set: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
            let home = |name: &str| (name == "HOME").then(|| "/nowhere".to_owned());
            let file = self.dir.path().join("config.toml");
            let paths = Paths::find(Some(&file), &home)?;
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            load(Inputs {
                paths: &paths,
                environment: Variables::new(set.iter().map(owned)),
                env_files: &[],
                flags: self.flags.clone(),
                known: KNOWN,
            })
        }

        fn error(&self, set: &[(&str, &str)]) -> String {
            let error = self.load(set).err().expect("a config that does not load");
            let text = format!(
                "{error}\n{}\nhint: {}",
                error.excerpt().unwrap_or_default(),
                error.hint()
            );
            text.replace(&self.dir.path().display().to_string(), "DIR")
        }
    }

    #[test]
    fn flag_wins_over_environment_over_file_over_default() {
        let mut place = Place::new("[server]\nport = 1\n[routing]\ndeadline = \"7s\"");
        std::fs::write(place.dir.path().join(".env"), "GLOBAL_TIMEOUT=8\n").expect("written");
        place.flags.port = Some(9);
        let loaded = place
            .load(&[("TIMEOUT_CONNECT", "3")])
            .expect("a valid config");
        assert_eq!(loaded.config.server.port, 9);
        assert_eq!(loaded.config.routing.deadline.as_secs(), 8);
        assert_eq!(loaded.config.timeouts.connect.as_secs(), 3);
        let origin = |path: &str| loaded.origins.get(path).to_string();
        assert_eq!(origin("server.port"), "--port");
        assert!(origin("routing.deadline").starts_with("GLOBAL_TIMEOUT in "));
        assert_eq!(origin("timeouts.connect"), "environment TIMEOUT_CONNECT");
        assert_eq!(origin("timeouts.total"), "default");
    }

    #[test]
    fn an_unknown_key_is_named_with_its_place_and_a_guess() {
        let place = Place::new("[server]\nprot = 80\n");
        assert_eq!(
            place.error(&[]),
            "DIR/config.toml:2:1: unknown key `prot` in [server]\n  |\n2 | prot = 80\n  | ^^^^\n\
             hint: did you mean `port`?"
        );
    }

    #[test]
    fn a_key_in_the_wrong_section_is_sent_to_the_right_one() {
        let place = Place::new("[server]\nfirst_byte = \"1s\"\n");
        assert!(
            place
                .error(&[])
                .ends_with("hint: `first_byte` belongs in [timeouts]")
        );
    }

    #[test]
    fn all_unknown_keys_are_found_at_once() {
        let place = Place::new("a = 1\n[server]\nb = 1\n[providers.gemini]\nc = 1\n");
        let error = place.load(&[]).err().expect("unknown keys");
        assert_eq!(error.others().len(), 2);
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_shown_in_its_line() {
        for (line, message) in [
            (
                "[server]\nport = \"80\"",
                ":2:8: invalid type: string \"80\", expected u16",
            ),
            (
                "[routing]\ndeadline = \"soon\"",
                ":2:12: `soon` is not a duration",
            ),
            (
                "[routing]\ndeadline = 30",
                ":2:12: invalid type: integer `30`, expected a duration",
            ),
            (
                "[server]\nport = 99999",
                ":2:8: invalid value: integer `99999`, expected u16",
            ),
            ("[server\n", ":1:"),
            ("[server]\nport = 1\nport = 2", ":3:1: duplicate key"),
        ] {
            let shown = Place::new(line).error(&[]);
            assert!(
                shown.starts_with(&format!("DIR/config.toml{message}")),
                "{shown}"
            );
        }
    }

    #[test]
    fn a_wrong_word_gets_a_guess() {
        let shown = Place::new("[providers.gemini]\nrotation = \"sequental\"").error(&[]);
        assert!(
            shown.ends_with("hint: did you mean `sequential`?"),
            "{shown}"
        );
    }

    #[test]
    fn no_error_shows_a_secret() {
        for text in [
            "[providers.gemini]\napi_keys = [\"sk-canary-1234567890\"\n",
            "[providers.gemini]\napi_keys = [\"canary-1234567890\", 5]\n",
            "[providers.gemini]\napi_keys = [canary-1234567890]\n",
            "[providers.gemini]\napi_keys = \"canary-1234567890\"\n",
            "[providers.gemini]\napi_keys = [\n  \"canary-1234567890\"\n  \"canary-0987654321\",\n]\n",
            "[providers.gemini]\napi_key = \"canary-1234567890\"\n",
            "[providers.gemini]\nenabled = \"sk-canary-1234567890\"\n",
            "[providers.gemini]\nheaders = { x = \"canary-1234567890\", x = 1 }\n",
            "[server]\napi_keys = [{ key = \"canary-1234567890\", nme = \"x\" }]\n",
            "[providers.gemini.oauth]\nclient_secret = canary-1234567890\n",
            "[state]\nbackend = \"redis\"\nurl = \"http://:canary-1234567890@host\"\n",
            "[providers.gemini]\nproxy = \"ftp://u:canary-1234567890@host\"\n",
            "[providers.gemini]\nbase_url = \"https://u:canary-1234567890@host\"\n",
        ] {
            let shown = Place::new(text).error(&[]);
            assert!(!shown.contains("canary"), "{shown}");
        }
    }

    #[test]
    fn a_client_key_that_is_not_set_is_an_error() {
        let place = Place::new("[server]\napi_keys = [\"env:GONE\"]");
        let shown = place.error(&[]);
        assert!(
            shown.contains(":2:13: `server.api_keys[0]`: the environment variable GONE"),
            "{shown}"
        );
        assert!(place.load(&[("GONE", "here")]).is_ok());
        assert!(place.load(&[("GONE", "")]).is_err());
    }

    #[test]
    fn a_provider_key_that_is_not_set_is_left_out_with_a_note() {
        let place = Place::new("[providers.gemini]\napi_keys = [\"env:GONE\", \"\", \"sk-here\"]");
        let loaded = place.load(&[]).expect("a config that loads");
        let provider = loaded.config.providers.values().next().expect("gemini");
        assert_eq!(provider.api_keys.len(), 1);
        assert_eq!(loaded.notes.len(), 2);
        let note = loaded.notes[0].to_string();
        assert!(
            note.contains("api_keys[0]") && note.contains("GONE"),
            "{note}"
        );
    }

    #[test]
    fn a_missing_file_is_an_error_only_if_it_was_named() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let home = dir.path().display().to_string();
        let variable = |name: &str| (name == "HOME").then(|| home.clone());
        let unnamed = Paths::find(None, &variable).expect("places");
        let named = Paths::find(Some(&dir.path().join("gone.toml")), &variable).expect("places");
        for (paths, loads) in [(unnamed, true), (named, false)] {
            let loaded = load(Inputs {
                paths: &paths,
                environment: Variables::default(),
                env_files: &[],
                flags: Flags::default(),
                known: &[],
            });
            assert_eq!(loaded.is_ok(), loads);
        }
    }

    #[test]
    fn a_problem_of_the_environment_names_the_variable() {
        let place = Place::new("[timeouts]\ntotal = \"1m\"");
        // 900 s for an answer cannot fit into a minute, but the variable stretches the whole.
        assert!(place.load(&[("TIMEOUT_READ_NON_STREAMING", "900")]).is_ok());
        let mut place = Place::new("");
        place.flags.host = Some("http://x".to_owned());
        assert!(
            place
                .error(&[])
                .starts_with("--host: `http://x` is not an address")
        );
    }

    #[test]
    fn paths_and_secrets_start_beside_the_file() {
        let place = Place::new(
            "[log]\ndir = \"logs\"\n[server]\napi_keys = [\"file:key\"]\ntls = { cert = \"c\", key = \"k\" }",
        );
        std::fs::write(place.dir.path().join("key"), "from-file\n").expect("written");
        let loaded = place.load(&[]).expect("a valid config");
        assert_eq!(loaded.config.log.dir, Some(place.dir.path().join("logs")));
        let client = loaded.config.server.all_clients().next().expect("a client");
        assert_eq!(client.key.secret().expose(), "from-file");
    }
}
