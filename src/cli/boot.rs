//! From the global options to a running core: places, config, credentials, gateway. What `serve`
//! and the commands that need no server begin with.

use std::path::Path;
use std::sync::Arc;

use crate::cli::exit::Failure;
use crate::cli::{Context, Globals};
use crate::config::Config;
use crate::config::env::KnownProvider;
use crate::config::error::ConfigError;
use crate::config::load::{self, Flags, Inputs, Loaded};
use crate::config::origin::Level;
use crate::config::paths::Paths;
use crate::config::provider::{Kind, Rotation};
use crate::config::secret_ref::{self, SecretRef};
use crate::config::storage;
use crate::config::variables::Variables;
use crate::credentials::collect::{GivenKey, collect};
use crate::credentials::import::{self, Grade, merge};
use crate::credentials::store::{Overrides, Store, passing_fingerprint_key};
use crate::credentials::{Credential, Material, Source};
use crate::gateway::Gateway;
use crate::gateway::build::{self, BuildError, DEMO, Parts};
use crate::gateway::group::Group;
use crate::gateway::snapshot::Snapshot;
use crate::ids::{CredentialId, ProviderId};
use crate::providers;
use crate::secret::{FingerprintKey, Secret};
use crate::server::demo::{self, Demo};
use crate::state::kept::{self, Kept};
use crate::state::redis::{Redis, Settings as SharedSettings};
use crate::state::{Backend, State};
use crate::telemetry::request_log::{self, Known, is_secret_header};
use crate::time::Timestamp;

/// How the client keys begin that `llmproxy run` gives to its child. In the environment of that
/// child they are no vendor's keys.
pub const RUN_KEY_PREFIX: &str = "llmproxy-run-";

/// Everything read from disk and environment, ready to make a snapshot of.
pub struct Boot {
    pub paths: Paths,
    pub loaded: Loaded,
    pub store: Store,
    pub credentials: Vec<Credential>,
    /// What the user switched off that is not kept in the store.
    pub overrides: Overrides,
    pub fingerprint_key: FingerprintKey,
    /// What names credentials in a group of instances; `None` for one that is alone.
    pub group_key: Option<FingerprintKey>,
    /// What is odd about all that, a sentence each.
    pub remarks: Vec<String>,
}

impl Boot {
    /// Reads config, environment and credentials, and says on stderr what is odd about them.
    pub fn read(context: &Context, flags: Flags) -> Result<Self, Failure> {
        let boot = Self::read_quietly(&context.globals, flags)?;
        for remark in &boot.remarks {
            context.printer.warn(remark);
        }
        Ok(boot)
    }

    /// [`Boot::read`] without saying anything, for reloads.
    pub fn read_quietly(globals: &Globals, flags: Flags) -> Result<Self, Failure> {
        let (paths, loaded) = load_config(globals, flags)?;
        let odd = loaded.notes.iter().filter(|note| note.level > Level::Info);
        let mut remarks: Vec<String> = odd.map(ToString::to_string).collect();
        let store = Store::new(&paths.data_dir);
        let stored = store.load();
        remarks.extend(stored.problems.iter().map(ToString::to_string));
        let fingerprint_key = store.fingerprint_key().unwrap_or_else(|problem| {
            // Without it state is not found again after a restart; serving goes on.
            remarks.push(problem.to_string());
            passing_fingerprint_key()
        });
        let given = given_keys(&loaded.config);
        let mut credentials = collect(
            &given,
            stored.credentials,
            &stored.overrides,
            &fingerprint_key,
        );
        credentials.extend(keyless(&loaded.config, &credentials));
        let accounts = import::from_environment(&loaded.accounts);
        remarks.extend(accounts.unusable.iter().map(ToString::to_string));
        let accounts = merge(accounts.candidates, &credentials, Timestamp::now());
        // What is stored stands; the environment adds what is not.
        let accounts = accounts
            .into_iter()
            .filter(|found| found.grade == Grade::Taken)
            .filter_map(|found| found.credential);
        credentials.extend(accounts.map(|mut account| {
            account.source = Source::Env;
            account.disabled = stored
                .overrides
                .is_disabled(account.fingerprint(&fingerprint_key));
            account
        }));
        let group_key = shared_settings(&loaded.config).map(|shared| shared.names());
        Ok(Self {
            paths,
            loaded,
            store,
            credentials,
            overrides: stored.overrides,
            group_key,
            fingerprint_key,
            remarks,
        })
    }

    /// `true` if there is no credential at all.
    pub fn has_nothing(&self) -> bool {
        self.credentials.is_empty()
    }

    /// Adds the simulated provider to config and credentials.
    pub fn add_demo(&mut self, demo: &Demo) {
        let Ok(id) = ProviderId::parse(DEMO) else {
            return;
        };
        let settings = self.loaded.config.providers.entry(id.clone()).or_default();
        settings.kind = Some(Kind::OpenAi);
        settings.base_url = vec![demo.base_url()];
        // One after the other would show a newcomer one key only.
        settings.rotation = Rotation::Balanced;
        settings.api_keys.clear();
        let keys = demo::KEYS.map(|key| GivenKey {
            provider: id.clone(),
            source: Source::Config,
            secret: Secret::new(key),
            label: None,
            suffix: None,
            tier: None,
            priority: None,
            proxy: None,
        });
        self.credentials
            .retain(|credential| credential.id.provider() != DEMO);
        let demo = collect(&keys, Vec::new(), &self.overrides, &self.fingerprint_key);
        self.credentials.extend(demo);
    }

    /// The gateway over all this, its pools as the state knows them.
    pub fn gateway(&self) -> Result<Arc<Gateway>, Failure> {
        self.gateway_in(None, None)
    }

    /// The same, as one instance of the group that the config names, if it names one.
    pub fn gateway_in_group(&self) -> Result<Arc<Gateway>, Failure> {
        self.gateway_in(self.group()?, None)
    }

    /// The same, with the conversations that clients may go on from.
    pub fn gateway_to_serve(&self) -> Result<Arc<Gateway>, Failure> {
        self.gateway_in(self.group()?, self.kept())
    }

    fn gateway_in(
        &self,
        group: Option<Arc<Group>>,
        kept: Option<Kept>,
    ) -> Result<Arc<Gateway>, Failure> {
        let gateway = Gateway::in_group(self.snapshot(None)?, Some(self.state()), group, kept);
        self.switch_logs(&gateway);
        Ok(gateway)
    }

    fn group(&self) -> Result<Option<Arc<Group>>, Failure> {
        let redis = self.shared()?;
        Ok(redis.map(|redis| Arc::new(Group::new(redis))))
    }

    /// The shared state that the config names, if it names one; nothing is sent yet.
    pub fn shared(&self) -> Result<Option<Arc<Redis>>, Failure> {
        let Some(settings) = shared_settings(&self.loaded.config) else {
            return Ok(None);
        };
        let redis = Redis::new(&settings).map_err(|trouble| {
            Failure::usage(
                format!("`url` of [state] is not the address of a Redis: {trouble}"),
                "write \"redis://HOST:6379/0\", \"rediss://…\" for TLS, \"redis+sentinel://HOST,HOST/MASTER\", or \"redis+cluster://HOST,HOST\"",
            )
        })?;
        Ok(Some(Arc::new(redis)))
    }

    /// Has the gateway write down of requests what the config says, without any secret that is
    /// known here.
    pub fn switch_logs(&self, gateway: &Gateway) {
        if let Some(kept) = &gateway.kept {
            let known = Known::new(&self.secrets());
            kept.screen(move |value| {
                std::str::from_utf8(value).is_ok_and(|text| !known.is_in(text))
            });
        }
        let log = &self.loaded.config.log;
        let wanted = log.requests.then(|| {
            let settings = request_log::Settings {
                dir: self.paths.requests_dir(log),
                retention: log.retention,
                max_bytes: log.max_size,
            };
            (settings, Known::new(&self.secrets()))
        });
        gateway.telemetry.request_log.switch(wanted);
    }

    /// Every secret of config, environment and store.
    fn secrets(&self) -> Vec<Secret> {
        let mut secrets = Vec::new();
        for credential in &self.credentials {
            match &credential.material {
                Material::ApiKey(key) => secrets.push(key.clone()),
                Material::OAuth(account) => secrets.extend(
                    [
                        &account.access_token,
                        &account.refresh_token,
                        &account.client_secret,
                    ]
                    .into_iter()
                    .flatten()
                    .cloned(),
                ),
            }
            secrets.extend(credential.proxy.as_deref().and_then(password));
        }
        let config = &self.loaded.config;
        let clients = config.server.all_clients().map(|client| &client.key);
        let mut given: Vec<&SecretRef> = clients.chain([&config.state.url]).collect();
        given.extend(&config.state.token_key);
        for provider in config.providers.values() {
            given.extend(provider.api_keys.iter().map(|key| &key.key));
            given.extend(&provider.proxy);
            given.extend(&provider.oauth.client_secret);
            let headers = provider.headers.iter();
            given.extend(headers.filter_map(|(name, value)| {
                // A header written out may be anything; one from elsewhere is kept from view.
                let is_open = *value.source() == secret_ref::Source::Literal
                    && !is_secret_header(&name.to_ascii_lowercase());
                (!is_open).then_some(value)
            }));
        }
        for secret in given.into_iter().map(SecretRef::secret) {
            secrets.push(secret.clone());
            secrets.extend(password(secret.expose()));
        }
        secrets
    }

    /// The state that all processes of this home share.
    pub fn state(&self) -> State {
        let backend = match self.loaded.config.state.backend {
            storage::Backend::Memory => Backend::Memory,
            // Whatever is shared, each instance's own memory is kept as well.
            storage::Backend::Redis | storage::Backend::Sqlite => {
                Backend::Sqlite(self.paths.state_file())
            }
        };
        let (state, notice) = State::open(&backend, Timestamp::now());
        if let Some(notice) = notice {
            tracing::warn!("{} ({})", notice.text, notice.hint);
        }
        state
    }

    /// What is kept for clients to go on from, if it is to outlive the process. What an earlier
    /// configuration kept is deleted where this one wants nothing kept.
    fn kept(&self) -> Option<Kept> {
        let state = &self.loaded.config.state;
        let file = self.paths.conversations_file();
        if !state.keep_conversations {
            if let Err(error) = kept::delete(&file) {
                tracing::warn!("cannot delete {}: {error}", file.display());
            }
            return None;
        }
        if state.backend == storage::Backend::Memory {
            return None;
        }
        let (kept, notice) = Kept::open(&file, Timestamp::now());
        if let Some(notice) = notice {
            tracing::warn!("{} ({})", notice.text, notice.hint);
        }
        kept
    }

    /// The snapshot to serve by; pools of the one before go on.
    pub fn snapshot(&self, previous: Option<&Snapshot>) -> Result<Snapshot, Failure> {
        self.snapshot_of(&self.credentials, previous)
    }

    /// A snapshot that has only these credentials.
    pub fn snapshot_of(
        &self,
        credentials: &[Credential],
        previous: Option<&Snapshot>,
    ) -> Result<Snapshot, Failure> {
        let parts = Parts {
            cache_dir: Some(&self.paths.cache_dir),
            store: Some(&self.store),
            previous,
            ..self.parts(credentials)
        };
        self.built(&parts)
    }

    /// A snapshot to try a credential with before it is stored: nothing of it is kept.
    pub fn trial_of(&self, candidate: &Credential) -> Result<Snapshot, Failure> {
        self.built(&self.parts(std::slice::from_ref(candidate)))
    }

    fn parts<'a>(&'a self, credentials: &'a [Credential]) -> Parts<'a> {
        Parts {
            config: &self.loaded.config,
            credentials,
            fingerprint_key: &self.fingerprint_key,
            group_key: self.group_key.as_ref(),
            cache_dir: None,
            store: None,
            previous: None,
            now: Timestamp::now(),
        }
    }

    fn built(&self, parts: &Parts<'_>) -> Result<Snapshot, Failure> {
        build::snapshot(parts).map_err(|error| build_failure(&error, &self.paths.config_file))
    }
}

/// A running core: what the commands that need no server work with.
pub struct Core {
    pub boot: Boot,
    pub gateway: Arc<Gateway>,
}

impl Core {
    /// Makes the gateway; `demo` brings the simulated provider up beside the real ones.
    pub async fn start(mut boot: Boot, demo: bool) -> Result<Self, Failure> {
        if demo {
            let demo = start_demo(&boot.loaded.config).await?;
            boot.add_demo(&demo);
        }
        let gateway = boot.gateway()?;
        Ok(Self { boot, gateway })
    }
}

/// Where instances share their state, if the config says so.
fn shared_settings(config: &Config) -> Option<SharedSettings> {
    let state = &config.state;
    (state.backend == storage::Backend::Redis).then(|| SharedSettings {
        url: state.url.secret().clone(),
        namespace: state.namespace.clone(),
        token_key: state.token_key.as_ref().map(|key| key.secret().clone()),
    })
}

/// Finds the places; an error is exit code 2.
pub fn paths(globals: &Globals) -> Result<Paths, Failure> {
    let variable = |name: &str| std::env::var(name).ok();
    Paths::find(globals.config.as_deref(), &variable).map_err(|error| config_failure(&error))
}

/// Finds the places and loads the config; an error is exit code 2.
pub fn load_config(globals: &Globals, flags: Flags) -> Result<(Paths, Loaded), Failure> {
    let paths = paths(globals)?;
    let loaded = read_config(globals, &paths, flags).map_err(|error| config_failure(&error))?;
    Ok((paths, loaded))
}

/// Loads the config; an error still holds everything that is wrong.
pub fn read_config(globals: &Globals, paths: &Paths, flags: Flags) -> Result<Loaded, ConfigError> {
    let known = known_providers();
    let inputs = Inputs {
        paths,
        environment: Variables::new(std::env::vars_os().filter_map(|(name, value)| {
            // A name or value that is not UTF-8 is none of ours.
            Some((name.into_string().ok()?, value.into_string().ok()?))
        })),
        env_files: &globals.env_files,
        flags,
        known: &known,
    };
    load::load(inputs)
}

/// The built-in providers as the config floor needs to know them.
pub fn known_providers() -> Vec<KnownProvider> {
    providers::all()
        .map(|provider| {
            let spec = provider.spec();
            KnownProvider {
                id: spec.id,
                aliases: spec.aliases,
                key_env: spec.key_env,
                is_oauth: spec.is_oauth,
                key_optional: spec.key_optional,
                quota_groups: spec.quota_groups,
            }
        })
        .collect()
}

/// A config error as exit code 2, with its line, and how many others there are.
pub fn config_failure(error: &ConfigError) -> Failure {
    let sentence = match error.others().len() {
        0 => error.to_string(),
        more => format!("{error} (and {more} more: see `llmproxy config check`)"),
    };
    let failure = Failure::usage(sentence, error.hint());
    match error.excerpt() {
        Some(excerpt) => failure.with_excerpt(excerpt),
        None => failure,
    }
}

fn build_failure(error: &BuildError, file: &Path) -> Failure {
    Failure::usage(error.to_string(), format!("edit {}", file.display()))
}

/// The password in an address, if there is one.
fn password(address: &str) -> Option<Secret> {
    let (_, rest) = address.split_once("://")?;
    let (user, _) = rest.split_once('@')?;
    let (_, password) = user.split_once(':')?;
    Some(Secret::new(password))
}

/// The keys of a config as credentials, without regard to what is stored.
pub fn given_credentials(config: &Config) -> Vec<Credential> {
    let (overrides, key) = (Overrides::default(), passing_fingerprint_key());
    collect(&given_keys(config), Vec::new(), &overrides, &key)
}

fn given_keys(config: &Config) -> Vec<GivenKey> {
    let mut given = Vec::new();
    for (provider, settings) in &config.providers {
        let is_ours = |secret: &Secret| secret.expose().starts_with(RUN_KEY_PREFIX);
        let keys = settings.api_keys.iter();
        for key in keys.filter(|key| !is_ours(SecretRef::secret(&key.key))) {
            given.push(GivenKey {
                provider: provider.clone(),
                source: if key.env_suffix.is_some() {
                    Source::Env
                } else {
                    Source::Config
                },
                secret: SecretRef::secret(&key.key).clone(),
                label: key.label.clone(),
                suffix: key.env_suffix.clone().filter(|suffix| !suffix.is_empty()),
                tier: key.tier.clone(),
                priority: key.priority,
                proxy: key
                    .proxy
                    .as_ref()
                    .map(|proxy| proxy.secret().expose().to_owned()),
            });
        }
    }
    given
}

/// A credential without a key for each local server (Ollama, vLLM, …) that the config names and
/// gives none: it asks for none.
fn keyless(config: &Config, credentials: &[Credential]) -> Vec<Credential> {
    let bare = config.providers.keys().filter(|id| {
        let takes_none =
            providers::find(id.as_str()).is_some_and(|known| known.spec().key_optional);
        let has_some = credentials
            .iter()
            .any(|one| one.id.provider() == id.as_str());
        takes_none && !has_some
    });
    bare.filter_map(|id| CredentialId::new(id, "1").ok())
        .map(|id| Credential::api_key(id, Source::Config, Secret::new("")))
        .collect()
}

/// Brings up the simulated provider on loopback, to misbehave as the config says.
pub async fn start_demo(config: &Config) -> Result<Arc<Demo>, Failure> {
    let settings = config.providers.iter().find(|(id, _)| id.as_str() == DEMO);
    let script = match settings.and_then(|(_, settings)| settings.script.as_deref()) {
        None => demo::Script::default(),
        Some(text) => demo::Script::parse(text).map_err(|error| {
            Failure::usage(
                error.to_string(),
                "`script` of [providers.demo] is explained in config.example.toml",
            )
        })?,
    };
    let started = Demo::start(script).await;
    started.map(Arc::new).map_err(|error| {
        Failure::failed(
            format!("cannot start the demo provider: {error}"),
            "check that this machine lets programs listen on 127.0.0.1",
        )
    })
}
