//! Every key of `config.toml`: one table behind "did you mean", the JSON Schema and the masking.

mod table;

pub use self::table::KEYS;

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Where it stands: `server.port`, `providers.*.api_keys[].label`. `*` is a name of the
    /// user's own, `[]` an element of a list.
    pub path: &'static str,
    /// What it takes.
    pub shape: Shape,
    /// What it is for, one line without a full stop.
    pub about: &'static str,
}

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Anything: it is passed on as it is.
    Any,
    /// `true` or `false`.
    Boolean,
    /// `"30s"`.
    Duration,
    /// A list of durations.
    Durations,
    /// A whole number, not negative, at most this.
    Integer(u64),
    /// A list of secrets, or of tables described by the `[]` keys.
    Keys,
    /// A number of requests, `"80%"` or `"-20"`.
    Limit,
    /// A list of texts, or of tables described by the `[]` keys.
    Named,
    /// A number.
    Number,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A text, `env:NAME` or `file:PATH`.
    Secret,
    /// `"32MiB"`, or a number of bytes.
    Size,
    /// A table, whose keys follow.
    Table,
    /// A list of tables, whose keys follow.
    Tables,
    /// A text.
    Text,
    /// One text or a list of texts.
    TextOrTexts,
    /// A list of texts.
    Texts,
}

/// The key at a pattern path.
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The names directly below a pattern path; `""` is the top.
pub fn children(path: &str) -> Vec<&'static str> {
    KEYS.iter()
        .filter_map(|key| match (path, key.path.rsplit_once('.')) {
            ("", None) => Some(key.path),
            (_, Some((parent, name))) if parent == path => Some(name),
            _ => None,
        })
        .collect()
}

/// `true` for names that never hold a secret wherever they stand.
pub(super) fn is_harmless(name: &str) -> bool {
    let mut known = KEYS
        .iter()
        .filter(|key| key.path.rsplit('.').next() == Some(name))
        .peekable();
    known.peek().is_some()
        && known.all(|key| {
            !matches!(
                key.shape,
                Shape::Any
                    | Shape::Keys
                    | Shape::Named
                    | Shape::Secret
                    | Shape::Table
                    | Shape::Tables
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_stands_below_one_that_is_listed() {
        for key in KEYS {
            let Some((parent, _)) = key.path.rsplit_once('.') else {
                continue;
            };
            let parent = parent.trim_end_matches("[]");
            assert!(find(parent).is_some(), "{}", key.path);
        }
    }

    #[test]
    fn no_key_stands_twice() {
        let mut paths: Vec<_> = KEYS.iter().map(|key| key.path).collect();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), KEYS.len());
    }

    #[test]
    fn names_that_can_hold_secrets_are_not_harmless() {
        for (name, harmless) in [
            ("host", true),
            ("targets", true),
            ("key", false),
            ("api_keys", false),
            ("url", false),
            ("extra_body", false),
            ("unheard_of", false),
        ] {
            assert_eq!(is_harmless(name), harmless, "{name}");
        }
    }
}
