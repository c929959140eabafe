//! API keys, base URLs and the client key.

use std::cmp::Ordering;

use crate::config::env::{Overlay, accounts};
use crate::config::exposure;
use crate::config::provider::{ApiKey, Kind};
use crate::config::secret_ref::SecretRef;
use crate::config::server::Client;
use crate::ids::ProviderId;

const KEY: &str = "_API_KEY";
const BASE: &str = "_API_BASE";

/// Names with `_API_KEY` in them that are no provider's key: the key clients send to us, and the
/// key our own `chat --url` sends.
const OURS: [&str; 2] = ["LLMPROXY_API_KEY", "PROXY_API_KEY"];

/// What stands behind `_API_KEY_` in names that hold no key.
const NO_KEYS: [&str; 8] = [
    "BASE", "HELPER", "ID", "PATH", "SECRET", "TYPE", "URL", "VERSION",
];

/// `<P>_API_BASE`: overrides a known provider's address, or makes an OpenAI-compatible provider of
/// an unknown name that also has a key.
pub(super) fn bases(overlay: &mut Overlay<'_>) {
    let all: Vec<_> = overlay.set().collect();
    for &(name, value) in &all {
        let Some(upper) = name.strip_suffix(BASE).filter(|upper| !upper.is_empty()) else {
            continue;
        };
        let known = overlay.provider(upper);
        if known.is_none() && !all.iter().any(|(other, _)| is_key_of(other, upper)) {
            overlay.info(
                name,
                format!("ignored: there is no provider of that name and no {upper}{KEY}"),
            );
            continue;
        }
        if !value.starts_with("http://") && !value.starts_with("https://") {
            overlay.warn(name, "ignored: a base URL begins with http:// or https://");
            continue;
        }
        let Some(id) = known.or_else(|| ProviderId::parse(&upper.to_lowercase()).ok()) else {
            overlay.warn(
                name,
                "ignored: the part before _API_BASE is no provider name",
            );
            continue;
        };
        let is_custom = overlay.known(&id).is_none();
        let settings = overlay.settings(&id);
        settings.base_url = vec![value.trim_end_matches('/').to_owned()];
        if is_custom && settings.kind.is_none() {
            settings.kind = Some(Kind::OpenAi);
            overlay.origin(format!("providers.{id}.kind"), name);
        }
        overlay.origin(format!("providers.{id}.base_url"), name);
    }
}

fn is_key_of(name: &str, upper: &str) -> bool {
    split_key(name).is_some_and(|(owner, _)| owner == upper)
}

/// Splits `GEMINI_API_KEY_2` into `GEMINI` and `2`. `GEMINI_API_KEYRING` is no key.
fn split_key(name: &str) -> Option<(&str, &str)> {
    let at = name.find(KEY).filter(|at| *at > 0)?;
    let suffix = &name[at + KEY.len()..];
    match suffix.strip_prefix('_') {
        None if suffix.is_empty() => Some((&name[..at], "")),
        None | Some("") => None,
        Some(suffix) => Some((&name[..at], suffix)),
    }
}

/// A variable that may hold a provider's key.
struct Candidate<'a> {
    name: &'a str,
    value: &'a str,
    suffix: &'a str,
    provider: ProviderId,
}

/// `<P>_API_KEY`, `<P>_API_KEY_<ANY>` and the vendors' own names.
pub(super) fn keys(overlay: &mut Overlay<'_>) {
    let all: Vec<_> = overlay.set().collect();
    let mut candidates = Vec::new();
    for (name, value) in all {
        if OURS.contains(&name) {
            continue;
        }
        let Some((upper, suffix)) = vendor_key(overlay, name).or_else(|| split_key(name)) else {
            continue;
        };
        if accounts::is_part_of_account(overlay, upper) {
            continue;
        }
        let Some(provider) = overlay
            .provider(upper)
            .or_else(|| by_vendor_name(overlay, upper))
        else {
            overlay.stray(
                name,
                format!(
                    "ignored: there is no provider `{}` (set {upper}{BASE} to the address of an \
                         OpenAI-compatible one)",
                    upper.to_lowercase()
                ),
            );
            continue;
        };
        candidates.push(Candidate {
            name,
            value,
            suffix,
            provider,
        });
    }
    candidates.sort_by(|a, b| {
        a.provider
            .cmp(&b.provider)
            .then_with(|| by_number(a.suffix, b.suffix))
            .then_with(|| a.name.cmp(b.name))
    });
    for candidate in candidates {
        add_key(overlay, &candidate);
    }
}

/// Vendors' own names that do not end in `_API_KEY`, such as `HF_TOKEN`: alone or numbered.
fn vendor_key<'n>(overlay: &Overlay<'_>, name: &'n str) -> Option<(&'n str, &'n str)> {
    let all = overlay.known.iter().flat_map(|known| known.key_env);
    all.filter(|vendor| !vendor.ends_with(KEY))
        .find_map(|vendor| {
            let suffix = name.strip_prefix(vendor)?;
            match suffix.strip_prefix('_') {
                None if suffix.is_empty() => Some((name, "")),
                Some(number) if number.parse::<u32>().is_ok() => {
                    Some((&name[..vendor.len()], number))
                }
                _ => None,
            }
        })
}

fn by_vendor_name(overlay: &Overlay<'_>, name: &str) -> Option<ProviderId> {
    let mut known = overlay.known.iter();
    let found = known.find(|known| known.key_env.contains(&name))?;
    overlay.own_name(found)
}

/// No suffix, then numbers by their value, then words.
fn by_number(a: &str, b: &str) -> Ordering {
    let rank = |suffix: &str| match suffix.parse::<u64>() {
        _ if suffix.is_empty() => (0, 0),
        Ok(number) => (1, number),
        Err(_) => (2, 0),
    };
    rank(a).cmp(&rank(b)).then_with(|| a.cmp(b))
}

fn add_key(overlay: &mut Overlay<'_>, candidate: &Candidate<'_>) {
    let Candidate {
        name,
        value,
        suffix,
        provider: id,
    } = candidate;
    if overlay
        .known(id)
        .is_some_and(|known| known.is_oauth && known.key_env.is_empty())
    {
        overlay.warn(
            name,
            format!("ignored: {id} takes no keys (log in with `llmproxy creds add {id}`)"),
        );
        return;
    }
    let last_word = suffix.rsplit('_').next().unwrap_or_default();
    if NO_KEYS.contains(&last_word) {
        overlay.info(name, "ignored: by its name it holds no key");
        return;
    }
    if last_word == "FILE" {
        read_key_file(overlay, candidate);
        return;
    }
    if is_placeholder(value) {
        overlay.warn(
            name,
            "ignored: it still holds the example's text in place of a key",
        );
        return;
    }
    if value.chars().any(|c| c.is_whitespace() || c.is_control()) {
        overlay.warn(name, "ignored: a key has no spaces or line breaks inside");
        return;
    }
    let key = ApiKey {
        env_suffix: Some(suffix.to_lowercase()),
        ..ApiKey::new(SecretRef::from_env(name, value))
    };
    push_key(overlay, id, key, name);
}

/// `<P>_API_KEY_FILE`, as container platforms mount secrets.
fn read_key_file(overlay: &mut Overlay<'_>, candidate: &Candidate<'_>) {
    let name = candidate.name;
    match std::fs::read_to_string(candidate.value) {
        Ok(text) if !text.trim().is_empty() => {
            let key = ApiKey {
                env_suffix: Some(candidate.suffix.to_lowercase()),
                ..ApiKey::new(SecretRef::from_env(name, &text))
            };
            push_key(overlay, &candidate.provider, key, name);
        }
        Ok(_) => overlay.warn(name, format!("ignored: {} is empty", candidate.value)),
        Err(error) => {
            overlay.warn(
                name,
                format!("ignored: cannot read {}: {error}", candidate.value),
            );
        }
    }
}

fn push_key(overlay: &mut Overlay<'_>, id: &ProviderId, key: ApiKey, name: &str) {
    let settings = overlay.settings(id);
    let text = key.key.secret().expose();
    if settings
        .api_keys
        .iter()
        .any(|other| other.key.secret().matches(text))
    {
        return;
    }
    let index = settings.api_keys.len();
    settings.api_keys.push(key);
    overlay.origin(format!("providers.{id}.api_keys[{index}]"), name);
}

/// What example files hold in place of keys.
fn is_placeholder(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    let words = ["your_", "your-", "<", "xxxx", "changeme", "replace"];
    words.iter().any(|word| lower.starts_with(word)) || lower.ends_with("...")
}

/// `PROXY_API_KEY`: what clients must send. It counts beside the keys of the file.
pub(super) fn client_key(overlay: &mut Overlay<'_>) {
    let name = "PROXY_API_KEY";
    let Some((_, value)) = overlay.set().find(|(known, _)| *known == name) else {
        return;
    };
    let named = Client::unlimited("default", SecretRef::from_env(name, value));
    let is_same = |client: &Client| client.digest().matches(&named.digest());
    if overlay.config.server.all_clients().any(is_same) {
        return;
    }
    if exposure::is_published(value) {
        overlay.info(
            name,
            "its value is known to everyone from the documents; loopback only",
        );
    }
    let keys = &mut overlay.config.server.api_keys;
    let index = keys.len();
    keys.push(named);
    overlay.origin(format!("server.api_keys[{index}]"), name);
}

#[cfg(test)]
mod tests {
    use crate::config::env::sample::{overlaid, overlaid_on, provider};
    use crate::config::provider::Kind;
    use crate::ids::ProviderId;

    fn keys(id: &str, set: &[(&str, &str)]) -> Vec<String> {
        let (provider, _) = provider(id, set);
        let exposed = |key: &crate::config::provider::ApiKey| key.key.secret().expose().to_owned();
        provider.api_keys.iter().map(exposed).collect()
    }

    #[test]
    fn keys_are_ordered_by_number() {
        let set = [
            ("GEMINI_API_KEY_PROD", "e"),
            ("GEMINI_API_KEY_10", "d"),
            ("GEMINI_API_KEY_2", "c"),
            ("GEMINI_API_KEY_1", "b"),
            ("GEMINI_API_KEY", "a"),
            ("GEMINI_API_KEY_3", "a"),
        ];
        assert_eq!(keys("gemini", &set), ["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn what_is_no_key_never_becomes_one() {
        for (name, value) in [
            ("GEMINI_API_KEY", ""),
            ("GEMINI_API_KEY", "  \n"),
            ("GEMINI_API_KEYRING", "x"),
            ("GEMINI_API_KEY_", "x"),
            ("GEMINI_API_KEY_ID", "x"),
            ("GEMINI_API_KEY_1", "YOUR_GEMINI_API_KEY_1"),
            ("GEMINI_API_KEY", "two words"),
            ("MY_GEMINI_API_KEY", "x"),
            ("_API_KEY", "x"),
            ("GEMINI_CLI_API_KEY", "x"),
            ("AWS_API_KEY_ID_X", "x"),
            ("PROXY_API_KEY", "x"),
            ("LLMPROXY_API_KEY", "x"),
        ] {
            let (config, ..) = overlaid(&[(name, value)]);
            assert!(config.providers.is_empty(), "{name}={value}");
        }
    }

    #[test]
    fn a_key_of_an_unknown_provider_is_named_and_ignored() {
        let (config, found, _) = overlaid(&[("FOO_API_KEY", "sk-canary")]);
        assert!(config.providers.is_empty());
        let note = found.notes[0].to_string();
        assert!(
            note.contains("FOO_API_KEY") && note.contains("FOO_API_BASE"),
            "{note}"
        );
        assert!(!note.contains("canary"));
    }

    #[test]
    fn a_key_and_a_base_make_a_provider() {
        let (foo, notes) = provider(
            "my_local",
            &[
                ("MY_LOCAL_API_BASE", "http://127.0.0.1:8001/v1/"),
                ("MY_LOCAL_API_KEY", "none"),
            ],
        );
        assert_eq!(foo.kind, Some(Kind::OpenAi));
        assert_eq!(foo.base_url, ["http://127.0.0.1:8001/v1"]);
        assert_eq!(foo.api_keys.len(), 1);
        assert_eq!(notes, []);
    }

    #[test]
    fn a_base_overrides_a_known_providers_address() {
        let (openai, notes) = provider("openai", &[("OPENAI_API_BASE", "https://example.com/v1")]);
        assert_eq!(openai.base_url, ["https://example.com/v1"]);
        assert_eq!((openai.kind, notes.len()), (None, 0));
        let (openai, notes) = provider("openai", &[("OPENAI_API_BASE", "example.com")]);
        assert_eq!((openai.base_url.len(), notes.len()), (0, 1));
    }

    #[test]
    fn vendors_own_names_lead_to_their_provider() {
        assert_eq!(keys("together", &[("TOGETHERAI_API_KEY_2", "t")]), ["t"]);
        assert_eq!(keys("together", &[("TOGETHER_AI_API_KEY", "t")]), ["t"]);
        let set = [
            ("HF_TOKEN", "a"),
            ("HF_TOKEN_1", "b"),
            ("HF_TOKEN_PATH", "/x"),
        ];
        assert_eq!(keys("huggingface", &set), ["a", "b"]);
    }

    #[test]
    fn keys_go_to_the_name_the_file_has_for_a_provider() {
        let file = toml::from_str("[providers.together_ai]").expect("valid");
        let (config, ..) = overlaid_on(file, &[("TOGETHER_API_KEY", "t")]);
        let names: Vec<_> = config.providers.keys().map(ProviderId::as_str).collect();
        assert_eq!(names, ["together_ai"]);
    }

    #[test]
    fn the_environment_adds_to_the_files_keys() {
        let file = toml::from_str("[providers.gemini]\napi_keys = [\"a\"]").expect("valid");
        let set = [("GEMINI_API_KEY_1", "a"), ("GEMINI_API_KEY_2", "b")];
        let (config, _, origins) = overlaid_on(file, &set);
        let provider = config.providers.values().next().expect("gemini");
        assert_eq!(provider.api_keys.len(), 2);
        assert_eq!(provider.api_keys[1].env_suffix.as_deref(), Some("2"));
        assert_eq!(
            origins.get("providers.gemini.api_keys[1]").to_string(),
            "environment GEMINI_API_KEY_2"
        );
    }

    #[test]
    fn the_client_key_counts_beside_those_of_the_file() {
        let file = toml::from_str("[server]\napi_keys = [\"a\"]").expect("valid");
        let (config, ..) = overlaid_on(file, &[("PROXY_API_KEY", "b")]);
        let names: Vec<_> = config
            .server
            .all_clients()
            .map(|c| c.name.as_str())
            .collect();
        assert_eq!(names, ["key-1", "default"]);
    }
}
