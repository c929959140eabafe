//! Which model an agent is told to use: the one that was named, or the best of those there are.

use std::cmp::{Ordering, Reverse};

use crate::config::models::Pattern;

/// Families for agents, best first, where a preset's own are not to be had. Those that free keys
/// may call stand before those they may not.
const PREFERRED: &[&str] = &[
    "claude-sonnet-*",
    "gpt-5*",
    "gemini-*-flash",
    "gemini-*-pro",
    "*kimi-k*",
    "*qwen*coder*",
    "*glm-*",
    "*deepseek-*",
    "*grok-*",
    // The simulated provider's plainest.
    "echo",
    "*",
];

/// Words in the names of models that do not chat.
const SPEECHLESS: &[&str] = &[
    "aqa",
    "audio",
    "dall-e",
    "embed",
    "guard",
    "image",
    "live",
    "moderation",
    "ocr",
    "realtime",
    "rerank",
    "sora",
    "transcribe",
    "tts",
    "veo",
    "whisper",
];

/// Words in the names of models that are second choice in their family.
const LESSER: &[&str] = &["exp", "lite", "mini", "nano", "preview", "thinking"];

/// The best of `models` (`provider/model` each) for an agent that prefers these families.
pub(super) fn best<'a>(models: &'a [String], prefers: &[&str]) -> Option<&'a str> {
    let families = prefers.iter().chain(PREFERRED);
    families
        .copied()
        .find_map(|family| of_family(models, family))
}

/// The best of the models whose name, without its provider, matches a pattern.
pub(super) fn of_family<'a>(models: &'a [String], family: &str) -> Option<&'a str> {
    let pattern = Pattern::new(family);
    let members = models.iter().map(String::as_str).filter(|id| {
        let name = bare(id);
        pattern.matches(name) && !SPEECHLESS.iter().any(|word| name.contains(word))
    });
    members.max_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| newer(bare(a), bare(b))))
}

/// The name behind the provider, without the vendor that aggregators put before it.
fn bare(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}

fn rank(id: &str) -> Reverse<usize> {
    let name = bare(id);
    Reverse(LESSER.iter().filter(|word| name.contains(*word)).count())
}

/// Compares names so that numbers count as numbers: `gemini-10` comes after `gemini-9`.
fn newer(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (parts(a), parts(b));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            // `gpt-5` is the family, `gpt-5-2025-08-07` one day of it.
            (None, Some(_)) => return Ordering::Greater,
            (Some(_), None) => return Ordering::Less,
            (Some(a), Some(b)) if a == b => {}
            (Some(a), Some(b)) => return a.cmp(&b),
        }
    }
}

/// The runs of digits (by length, then text: a number of any size) and of other characters.
fn parts(name: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_number = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    let mut rest = name;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let digits = first.is_ascii_digit();
        let end = rest
            .find(|c: char| c.is_ascii_digit() != digits)
            .unwrap_or(rest.len());
        let (part, after) = rest.split_at(end);
        rest = after;
        let size = if is_number(part) {
            part.trim_start_matches('0').len()
        } else {
            0
        };
        Some((size, part))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn the_newest_full_model_of_the_preferred_family_is_taken() {
        for (names, prefers, expected) in [
            (
                &[
                    "g/gemini-2.5-flash",
                    "g/gemini-2.5-flash-lite",
                    "g/gemini-3-flash-preview",
                ][..],
                &["claude-sonnet-*"][..],
                "g/gemini-2.5-flash",
            ),
            (
                &[
                    "a/claude-sonnet-4-5",
                    "a/claude-sonnet-10",
                    "g/gemini-2.5-flash",
                ],
                &["claude-sonnet-*"],
                "a/claude-sonnet-10",
            ),
            (
                &["o/gpt-5", "o/gpt-5-2025-08-07", "o/gpt-4o"],
                &["gpt-5*"],
                "o/gpt-5",
            ),
            (
                &["r/anthropic/claude-sonnet-4", "r/x/y"],
                &["claude-sonnet-*"],
                "r/anthropic/claude-sonnet-4",
            ),
            (&["l/text-embed-1", "l/llama"], &[], "l/llama"),
        ] {
            assert_eq!(best(&models(names), prefers), Some(expected), "{names:?}");
        }
    }

    #[test]
    fn nothing_is_taken_where_nothing_chats() {
        assert_eq!(
            best(&models(&["o/whisper-1", "o/text-embedding-3"]), &[]),
            None
        );
        assert_eq!(best(&[], &["gpt-5*"]), None);
    }
}
