//! One list of all credentials, whichever of config file, environment and store they are in.

use std::collections::{HashMap, HashSet};

use crate::credentials::store::Overrides;
use crate::credentials::{Credential, Material, Source};
use crate::ids::{CredentialId, ProviderId};
use crate::secret::{FingerprintKey, Secret};

/// A key that the config file or the environment gives.
#[derive(Clone, Debug)]
pub struct GivenKey {
    pub provider: ProviderId,
    pub source: Source,
    pub secret: Secret,
    pub label: Option<String>,
    /// What its id should rather be called than by the next number: the `2` or `prod` behind
    /// `OPENAI_API_KEY_`. Weaker than a label.
    pub suffix: Option<String>,
    pub tier: Option<String>,
    pub priority: Option<u32>,
    pub proxy: Option<String>,
}

/// Merges keys that are given with credentials that are stored.
///
/// Empty keys never count, the same key counts once; where it is given and stored, the stored one
/// stands, because its id was promised. Ids are labels, else suffixes, else the smallest free
/// numbers in the order of `given`; a given key that is also stored still takes its name, so that
/// storing it renames no other.
pub fn collect(
    given: &[GivenKey],
    stored: Vec<Credential>,
    overrides: &Overrides,
    key: &FingerprintKey,
) -> Vec<Credential> {
    let known: HashSet<(String, String)> = stored.iter().filter_map(key_of).collect();
    let mut taken: HashSet<CredentialId> = stored.iter().map(|one| one.id.clone()).collect();
    let given = distinct(given);
    // Labels first: a number must not take what a label further down asks for.
    let labels: Vec<Option<CredentialId>> =
        given.iter().map(|one| labelled(one, &mut taken)).collect();
    let mut next: HashMap<&str, u64> = HashMap::new();
    let mut credentials = Vec::new();
    for (one, label) in given.iter().zip(labels) {
        let counter = next.entry(one.provider.as_str()).or_insert(1);
        let id = label
            .or_else(|| suffixed(one, &mut taken))
            .or_else(|| numbered(&one.provider, counter, &mut taken));
        let Some(id) = id else {
            continue;
        };
        let text = one.secret.expose().to_owned();
        if known.contains(&(one.provider.to_string(), text)) {
            continue;
        }
        let mut credential = Credential::api_key(id, one.source, one.secret.clone());
        credential.label.clone_from(&one.label);
        credential.tier.clone_from(&one.tier);
        credential.priority = one.priority;
        credential.proxy.clone_from(&one.proxy);
        credential.disabled = overrides.is_disabled(credential.fingerprint(key));
        credentials.push(credential);
    }
    credentials.extend(stored);
    credentials
}

/// The smallest number that is free as a name of this provider.
pub fn free_name(provider: &ProviderId, existing: &[Credential]) -> String {
    let taken: HashSet<&str> = existing
        .iter()
        .filter(|one| one.id.provider() == provider.as_str())
        .map(|one| one.id.name())
        .collect();
    (1..=u64::MAX)
        .map(|number| number.to_string())
        .find(|name| !taken.contains(name.as_str()))
        .unwrap_or_default()
}

/// A label as a name: blanks and slashes, which ids do not have, become dashes.
pub fn name_of_label(label: &str) -> String {
    label
        .trim()
        .chars()
        .map(|c| {
            if c.is_whitespace() || c.is_control() || c == '/' {
                '-'
            } else {
                c
            }
        })
        .collect()
}

/// Without empty keys, and each key once.
fn distinct(given: &[GivenKey]) -> Vec<&GivenKey> {
    let mut seen = HashSet::new();
    given
        .iter()
        .filter(|one| !one.secret.is_empty())
        .filter(|one| seen.insert((one.provider.as_str(), one.secret.expose())))
        .collect()
}

fn labelled(one: &GivenKey, taken: &mut HashSet<CredentialId>) -> Option<CredentialId> {
    let name = name_of_label(one.label.as_deref()?);
    // A second key with one label becomes `label-2`.
    (1..=taken.len() + 1).find_map(|round| {
        let name = if round == 1 {
            name.clone()
        } else {
            format!("{name}-{round}")
        };
        let id = CredentialId::new(&one.provider, &name).ok()?;
        taken.insert(id.clone()).then_some(id)
    })
}

fn suffixed(one: &GivenKey, taken: &mut HashSet<CredentialId>) -> Option<CredentialId> {
    let id = CredentialId::new(&one.provider, one.suffix.as_deref()?).ok()?;
    taken.insert(id.clone()).then_some(id)
}

fn numbered(
    provider: &ProviderId,
    next: &mut u64,
    taken: &mut HashSet<CredentialId>,
) -> Option<CredentialId> {
    loop {
        let id = CredentialId::new(provider, &next.to_string()).ok()?;
        *next += 1;
        if taken.insert(id.clone()) {
            return Some(id);
        }
    }
}

fn key_of(credential: &Credential) -> Option<(String, String)> {
    match &credential.material {
        Material::ApiKey(secret) => Some((
            credential.id.provider().to_owned(),
            secret.expose().to_owned(),
        )),
        Material::OAuth(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::store::passing_fingerprint_key;

    fn given(provider: &str, secret: &str, label: Option<&str>) -> GivenKey {
        GivenKey {
            provider: ProviderId::parse(provider).expect("a valid name"),
            source: Source::Env,
            secret: Secret::new(secret),
            label: label.map(str::to_owned),
            suffix: None,
            tier: None,
            priority: None,
            proxy: None,
        }
    }

    fn stored(id: &str, secret: &str) -> Credential {
        let id = CredentialId::parse(id).expect("a valid id");
        Credential::api_key(id, Source::Store, Secret::new(secret))
    }

    fn ids(given: &[GivenKey], stored: Vec<Credential>) -> Vec<String> {
        let key = passing_fingerprint_key();
        collect(given, stored, &Overrides::default(), &key)
            .iter()
            .map(|one| format!("{}={}", one.id, one.secret().expect("a key").expose()))
            .collect()
    }

    #[test]
    fn unlabelled_keys_are_numbered_a_provider_at_a_time() {
        let given = [
            given("openai", "a", None),
            given("groq", "b", None),
            given("openai", "c", None),
        ];
        assert_eq!(
            ids(&given, vec![]),
            ["openai/1=a", "groq/1=b", "openai/2=c"]
        );
    }

    #[test]
    fn empty_keys_never_count_and_equal_keys_count_once() {
        let given = [
            given("openai", " ", None),
            given("openai", "a", None),
            given("openai", "a\n", None),
            given("openai", "b", None),
            given("groq", "a", None),
        ];
        assert_eq!(
            ids(&given, vec![]),
            ["openai/1=a", "openai/2=b", "groq/1=a"]
        );
    }

    #[test]
    fn a_stored_key_keeps_its_id_and_renames_no_other() {
        let keys = [given("openai", "a", None), given("openai", "b", None)];
        assert_eq!(
            ids(
                &keys,
                vec![stored("openai/work", "a"), stored("openai/3", "c")]
            ),
            ["openai/2=b", "openai/work=a", "openai/3=c"]
        );
        assert_eq!(
            ids(&keys, vec![stored("openai/1", "c")]),
            ["openai/2=a", "openai/3=b", "openai/1=c"]
        );
    }

    #[test]
    fn labels_are_names_and_numbers_go_around_them() {
        let keys = [
            given("openai", "a", None),
            given("openai", "b", Some("1")),
            given("openai", "c", Some("my work/key")),
            given("openai", "d", Some("1")),
        ];
        assert_eq!(
            ids(&keys, vec![]),
            [
                "openai/2=a",
                "openai/1=b",
                "openai/my-work-key=c",
                "openai/1-2=d"
            ]
        );
    }

    #[test]
    fn numbers_of_the_environment_are_kept_where_they_are_free() {
        let with = |secret: &str, suffix: &str| GivenKey {
            suffix: Some(suffix.to_owned()),
            ..given("openai", secret, None)
        };
        let keys = [with("a", "1"), with("c", "3"), with("p", "prod")];
        assert_eq!(
            ids(&keys, vec![]),
            ["openai/1=a", "openai/3=c", "openai/prod=p"]
        );
        let plain = [given("openai", "0", None), with("a", "1"), with("b", "2")];
        assert_eq!(
            ids(&plain, vec![]),
            ["openai/1=0", "openai/2=a", "openai/3=b"]
        );
    }

    #[test]
    fn a_given_key_that_was_switched_off_stays_off() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = crate::credentials::store::Store::new(dir.path());
        let key = store.fingerprint_key().expect("usable");
        let keys = [given("openai", "a", None), given("openai", "b", None)];
        let id = CredentialId::parse("openai/1").expect("a valid id");
        let fingerprint = keys[0].secret.fingerprint(&key);
        let change = store.change().expect("free");
        change
            .set_disabled(&id, fingerprint, true)
            .expect("writable");
        let all = collect(&keys, vec![], &store.load().overrides, &key);
        assert!(all[0].disabled);
        assert!(!all[1].disabled);
    }

    #[test]
    fn the_free_name_is_the_smallest_number_not_taken() {
        let provider = ProviderId::parse("openai").expect("a valid name");
        let existing = [
            stored("openai/1", "a"),
            stored("openai/3", "b"),
            stored("groq/2", "c"),
        ];
        assert_eq!(free_name(&provider, &existing), "2");
    }
}
