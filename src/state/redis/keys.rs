//! The names of all keys: `NAMESPACE:v1:{TAG}:WHAT`. What stands in braces decides the slot of a
//! Redis Cluster, so that all keys of one credential (and of one client, one provider) are together
//! and different ones are spread over the nodes.

use crate::secret::Fingerprint;

/// Longer names of model classes are hashed.
const LONGEST_CLASS: usize = 64;

/// Makes the names.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(namespace: &str) -> Self {
        Self {
            prefix: format!("{namespace}:v1"),
        }
    }

    /// Where all instances hear the news.
    pub(super) fn channel(&self) -> String {
        format!("{}:news", self.prefix)
    }

    /// Who is there, by when they were last heard of.
    pub(super) fn instances(&self) -> String {
        format!("{}:{{group}}:instances", self.prefix)
    }

    /// What they say of themselves.
    pub(super) fn instance_words(&self) -> String {
        format!("{}:{{group}}:about", self.prefix)
    }

    /// What is known of a provider's credentials.
    pub(super) fn states(&self, provider: &str) -> String {
        format!("{}:{{{provider}}}:states", self.prefix)
    }

    /// The conversations that were told in a stretch of time, counted from the epoch.
    pub(super) fn conversations(&self, provider: &str, stretch: i64) -> String {
        format!("{}:{{{provider}}}:conversations:{stretch}", self.prefix)
    }

    /// The leases of a holder of limits.
    pub(super) fn leases(&self, tag: &str) -> String {
        format!("{}:{{{tag}}}:leases", self.prefix)
    }

    /// The counts of one window of a holder of limits.
    pub(super) fn window(&self, tag: &str, window: &str) -> String {
        format!("{}:{{{tag}}}:window:{window}", self.prefix)
    }

    /// What all clients with a budget have spent on a day, counted from the epoch.
    pub(super) fn spent(&self, day: i64) -> String {
        format!("{}:{{clients}}:spent:{day}", self.prefix)
    }

    /// Who has counted anything on a day, counted from the epoch.
    pub(super) fn usage_books(&self, day: i64) -> String {
        format!("{}:{{usage/{day}}}:books", self.prefix)
    }

    /// What one of them has counted on a day.
    pub(super) fn usage(&self, day: i64, book: &str) -> String {
        format!("{}:{{usage/{day}/{book}}}:rows", self.prefix)
    }

    /// The right to refresh an account.
    pub(super) fn lock(&self, account: Fingerprint) -> String {
        format!("{}:{{{account}}}:lock", self.prefix)
    }

    /// An account's sealed tokens.
    pub(super) fn tokens(&self, account: Fingerprint) -> String {
        format!("{}:{{{account}}}:tokens", self.prefix)
    }
}

/// The tag of a credential's limits.
pub(super) fn credential_tag(provider: &str, name: Fingerprint) -> String {
    format!("{provider}/{name}")
}

/// A model class as part of a key: as it is if it is short and plain, else hashed, since clients
/// choose the names of models.
pub(super) fn class_part(class: &str) -> String {
    let is_plain = class
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte));
    if is_plain && class.len() <= LONGEST_CLASS {
        return class.to_owned();
    }
    hashed(class)
}

/// What a client is called in the group: its name is its owner's business.
pub fn client_mark(name: &str) -> String {
    hashed(name)
}

/// 16 hex digits of a text's SHA-256.
pub(super) fn hashed(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let short = digest.as_ref().first_chunk().copied().unwrap_or_default();
    format!("{:016x}", u64::from_be_bytes(short))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_of_a_credential_are_in_one_slot() {
        let keys = Keys::new("llmproxy");
        let tag = credential_tag("gemini", Fingerprint([1; 16]));
        let slot = |key: &str| {
            let (_, rest) = key.split_once('{').expect("a tag");
            rest.split_once('}').expect("its end").0.to_owned()
        };
        let all = [keys.leases(&tag), keys.window(&tag, "pro:86400000:rolling")];
        assert!(all.iter().all(|key| slot(key) == tag), "{all:?}");
        assert!(all.iter().all(|key| key.starts_with("llmproxy:v1:")));
    }

    #[test]
    fn names_of_models_that_are_odd_or_long_are_hashed() {
        assert_eq!(class_part("gemini-2.5-pro"), "gemini-2.5-pro");
        for odd in ["a b", "ä", "{x}", &"x".repeat(65)] {
            let part = class_part(odd);
            assert_eq!(part.len(), 16, "{odd}");
            assert!(part.bytes().all(|byte| byte.is_ascii_hexdigit()), "{part}");
        }
    }
}
