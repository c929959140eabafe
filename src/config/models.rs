//! Model patterns, and which models a provider's filters let through.
//!
//! `*` stands for any characters, slashes included, `?` for exactly one. A pattern is compared
//! with the bare model id and with `provider/model`.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::text;

/// A model name with wildcards.
#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern(String);

impl Pattern {
    /// Any text is a pattern; surrounding white space is dropped.
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole of `text` fits.
    pub fn matches(&self, text: &str) -> bool {
        glob(self.0.as_bytes(), text.as_bytes())
    }

    /// Whether a provider's model fits, by its bare id or as `provider/model`.
    pub fn matches_model(&self, provider: &str, model: &str) -> bool {
        if self.matches(model) {
            return true;
        }
        // The full id only where the pattern can reach over its slash.
        self.0.contains(['/', '*', '?']) && self.matches(&format!("{provider}/{model}"))
    }
}

/// Greedy matching with one point to come back to, the last `*`: linear in practice, never worse
/// than the product of the lengths. Bytes suffice: `?` alone could split a character, and takes
/// the whole of it.
pub(crate) fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(b'?') => {
                p += 1;
                t = after_character(text, t);
            }
            Some(byte) if text.get(t) == Some(byte) => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((after_star, from)) = retry else {
                    return false;
                };
                retry = Some((after_star, from + 1));
                (p, t) = (after_star, from + 1);
            }
        }
    }
    let mut rest = pattern.iter().skip(p);
    rest.all(|byte| *byte == b'*')
}

/// The index behind the UTF-8 character that begins at `start`.
fn after_character(text: &[u8], start: usize) -> usize {
    let continues = |byte: &&u8| (**byte & 0xC0) == 0x80;
    let rest = text.get(start + 1..).unwrap_or_default();
    start + 1 + rest.iter().take_while(continues).count()
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::parsed(
            deserializer,
            "a model name, with `*` for any characters",
            |text| {
                if text.trim().is_empty() {
                    return Err("an empty pattern matches nothing (write \"*\" for all)".to_owned());
                }
                Ok(Self::new(text))
            },
        )
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// What a provider's filters say of a model, and which pattern says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filtered<'a> {
    /// No pattern speaks of it.
    Allowed,
    /// `allow_models` names it, which wins over `ignore_models`.
    AllowedBy(&'a Pattern),
    /// `ignore_models` hides it.
    IgnoredBy(&'a Pattern),
}

impl Filtered<'_> {
    /// Whether the model may be listed and called.
    pub fn is_allowed(self) -> bool {
        !matches!(self, Self::IgnoredBy(_))
    }
}

/// Decides about one model: a match in `allow` always wins, a match in `ignore` hides, all else is
/// visible. `ignore = ["*"]` makes `allow` the whole list.
pub fn filter<'a>(
    provider: &str,
    model: &str,
    allow: &'a [Pattern],
    ignore: &'a [Pattern],
) -> Filtered<'a> {
    let fits = |pattern: &&Pattern| pattern.matches_model(provider, model);
    if let Some(pattern) = allow.iter().find(fits) {
        return Filtered::AllowedBy(pattern);
    }
    match ignore.iter().find(fits) {
        Some(pattern) => Filtered::IgnoredBy(pattern),
        None => Filtered::Allowed,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stars_stand_for_any_characters() {
        for (pattern, text, fits) in [
            ("gemini-2.5-pro", "gemini-2.5-pro", true),
            ("gemini-2.5-pro", "gemini-2.5-pro-x", false),
            ("*", "anything/at-all", true),
            ("*", "", true),
            ("*-preview*", "gemini-3-pro-preview-11", true),
            ("*-preview*", "gemini-3-pro", false),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbXb", false),
            ("gemini/*", "gemini/pro", true),
            ("gemini/*", "gemini_cli/pro", false),
            ("gpt-?", "gpt-5", true),
            ("gpt-?", "gpt-", false),
            ("gpt-?", "gpt-é", true),
            ("", "", true),
            ("", "a", false),
            ("GPT*", "gpt-5", false),
        ] {
            assert_eq!(
                Pattern::new(pattern).matches(text),
                fits,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn a_pattern_meets_the_bare_and_the_full_id() {
        for (pattern, fits) in [
            ("pro", true),
            ("gemini/pro", true),
            ("gemini/*", true),
            ("*/pro", true),
            ("other/*", false),
        ] {
            let pattern = Pattern::new(pattern);
            assert_eq!(pattern.matches_model("gemini", "pro"), fits, "{pattern}");
        }
    }

    #[test]
    fn allow_wins_over_ignore() {
        let (allow, ignore) = ([Pattern::new("gpt-5*")], [Pattern::new("*")]);
        assert!(filter("openai", "gpt-5-mini", &allow, &ignore).is_allowed());
        assert!(!filter("openai", "gpt-4o", &allow, &ignore).is_allowed());
        assert!(filter("openai", "gpt-4o", &allow, &[]).is_allowed());
    }

    #[test]
    fn a_hostile_pattern_ends_soon() {
        let pattern = Pattern::new(&"*a".repeat(200));
        assert!(!pattern.matches(&"a".repeat(199)));
        assert!(!pattern.matches(&format!("{}b", "a".repeat(20_000))));
    }

    /// The obvious exponential definition, to compare with.
    fn slow(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), None) => slow(rest, text),
            (Some(('*', rest)), Some((_, tail))) => slow(rest, text) || slow(pattern, tail),
            (Some(('?', rest)), Some((_, tail))) => slow(rest, tail),
            (Some((a, rest)), Some((b, tail))) => a == b && slow(rest, tail),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_its_definition(pattern in "[ab*?é]{0,8}", text in "[abé]{0,10}") {
            let (p, t): (Vec<_>, Vec<_>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(Pattern::new(&pattern).matches(&text), slow(&p, &t));
        }
    }
}
