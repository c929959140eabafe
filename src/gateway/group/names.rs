//! What a provider's credentials are called in the group: keyed hashes of their secrets, the same
//! in every instance whatever ids they have there.

use std::collections::HashMap;

use crate::credentials::Credential;
use crate::ids::CredentialId;
use crate::secret::{Fingerprint, FingerprintKey};

/// The names, both ways; empty where nothing is shared.
#[derive(Debug, Default)]
pub struct Names {
    by_id: HashMap<CredentialId, Fingerprint>,
    by_name: HashMap<Fingerprint, (CredentialId, Fingerprint)>,
}

impl Names {
    /// The names of these credentials by the group's key, for an installation with its `own` key.
    pub fn new<'a>(
        credentials: impl Iterator<Item = &'a Credential>,
        group: &FingerprintKey,
        own: &FingerprintKey,
    ) -> Self {
        let mut names = Self::default();
        for credential in credentials {
            let name = credential.fingerprint(group);
            names.by_id.insert(credential.id.clone(), name);
            let here = (credential.id.clone(), credential.fingerprint(own));
            names.by_name.insert(name, here);
        }
        names
    }

    /// The group's name of a credential.
    pub fn of(&self, id: &CredentialId) -> Option<Fingerprint> {
        self.by_id.get(id).copied()
    }

    /// Whether a credential is called so here.
    pub fn knows(&self, id: &str) -> bool {
        CredentialId::parse(id).is_ok_and(|id| self.by_id.contains_key(&id))
    }

    /// The group's name of a credential whose secret has this fingerprint here (32 hex digits);
    /// `None` if another secret has taken its place.
    pub fn of_secret(&self, id: &str, own: &str) -> Option<Fingerprint> {
        let name = self.of(&CredentialId::parse(id).ok()?)?;
        let (_, known) = self.by_name.get(&name)?;
        (known.to_string() == own).then_some(name)
    }

    /// The credential that the group calls so (32 hex digits), and its fingerprint here.
    pub fn here(&self, name: &str) -> Option<&(CredentialId, Fingerprint)> {
        if name.len() != 32 {
            return None;
        }
        let name = u128::from_str_radix(name, 16).ok()?;
        self.by_name.get(&Fingerprint(name.to_be_bytes()))
    }
}

/// An id, a client's name or a sentence as it is told to others: of an address, which accounts are
/// called by, only what tells it from another.
pub fn told(text: &str) -> String {
    let is_local = |c: char| c.is_alphanumeric() || "._%+-".contains(c);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('@') {
        let kept = before.trim_end_matches(is_local);
        let local = before.strip_prefix(kept).unwrap_or_default();
        out.push_str(kept);
        if let Some(first) = local.chars().next() {
            out.push(first);
            out.push('…');
        }
        out.push('@');
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Source;
    use crate::secret::Secret;

    #[test]
    fn nobody_is_told_an_address() {
        for (said, heard) in [
            ("gemini_cli/jane@example.com", "gemini_cli/j…@example.com"),
            ("client jane.doe@example.com", "client j…@example.com"),
            ("j…@example.com", "j…@example.com"),
            (
                "another process is refreshing gemini_cli/jane@example.com for too long",
                "another process is refreshing gemini_cli/j…@example.com for too long",
            ),
            ("é@b and \"ü.x@b\"", "é…@b and \"ü…@b\""),
            ("@", "@"),
            ("openai/work", "openai/work"),
        ] {
            assert_eq!(told(said), heard);
        }
    }

    #[test]
    fn the_same_key_is_found_under_another_id_elsewhere() {
        let group = FingerprintKey::new(&[7; 32]);
        let names = |id: &str, own: u8| {
            let id = CredentialId::parse(id).expect("an id");
            let key = Secret::new("sk-0123456789abcdef");
            let credential = Credential::api_key(id, Source::Config, key);
            Names::new(
                [&credential].into_iter(),
                &group,
                &FingerprintKey::new(&[own; 32]),
            )
        };
        let (one, two) = (names("acme/1", 1), names("acme/2", 2));
        let id = CredentialId::parse("acme/1").expect("an id");
        let name = one.of(&id).expect("it is known").to_string();
        let (_, own) = one.here(&name).expect("it is ours");
        assert_eq!(one.of_secret("acme/1", &own.to_string()), one.of(&id));
        assert_eq!(one.of_secret("acme/1", "another"), None);
        let (there, _) = two.here(&name).expect("it is the same key");
        assert_eq!(there.as_str(), "acme/2");
        assert!(two.here("nonsense").is_none());
    }
}
