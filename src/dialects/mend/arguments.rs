//! How far the JSON text of a call's arguments has come, piece by piece.

use serde::de::IgnoredAny;

/// Longer arguments pass as they are.
const MAX_BYTES: usize = 1 << 20;

/// The arguments of one call so far.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    text: String,
    /// The closing brackets that are still to come, the last one first.
    open: Vec<char>,
    at: At,
    /// The outermost object or list has ended.
    is_whole: bool,
    /// They are too long to be kept.
    is_lost: bool,
}

/// Where the text stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// Behind the backslash in a string.
    Escape,
    #[default]
    Outside,
    String,
}

impl Arguments {
    /// Takes the next piece and returns what of it belongs to them: what follows a whole document
    /// is a repetition.
    pub(super) fn push<'t>(&mut self, piece: &'t str) -> &'t str {
        let mut end = piece.len();
        for (at, letter) in piece.char_indices() {
            if self.is_whole {
                end = at;
                break;
            }
            self.see(letter);
        }
        let kept = piece.get(..end).unwrap_or_default();
        self.is_lost |= self.text.len() + kept.len() > MAX_BYTES;
        if self.is_lost {
            self.text = String::new();
        } else {
            self.text.push_str(kept);
        }
        kept
    }

    /// `true` once the outermost object or list has ended.
    pub(super) const fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// What must follow to make them valid JSON: `{}` where there is nothing, else closing quotes
    /// and brackets. `None` if nothing must, or nothing can.
    pub(super) fn rest(&self) -> Option<String> {
        if self.is_whole || self.is_lost {
            return None;
        }
        if self.text.trim().is_empty() {
            return Some("{}".to_owned());
        }
        let quote = if self.at == At::Outside { "" } else { "\"" };
        let closing = quote.chars().chain(self.open.iter().rev().copied());
        let closing: String = closing.collect();
        let whole = format!("{}{closing}", self.text);
        let is_valid = serde_json::from_str::<IgnoredAny>(&whole).is_ok();
        (is_valid && !closing.is_empty()).then_some(closing)
    }

    fn see(&mut self, letter: char) {
        match (self.at, letter) {
            (At::Escape, _) | (At::Outside, '"') => self.at = At::String,
            (At::String, '\\') => self.at = At::Escape,
            (At::String, '"') => self.at = At::Outside,
            (At::Outside, '{') => self.open.push('}'),
            (At::Outside, '[') => self.open.push(']'),
            (At::Outside, '}' | ']') if self.open.last() == Some(&letter) => {
                self.open.pop();
                self.is_whole = self.open.is_empty();
            }
            (At::String | At::Outside, _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(pieces: &[&str]) -> Option<String> {
        let mut arguments = Arguments::default();
        for piece in pieces {
            arguments.push(piece);
        }
        arguments.rest()
    }

    #[test]
    fn what_is_missing_is_known() {
        for (pieces, missing) in [
            (&[][..], Some("{}")),
            (&["", " "], Some("{}")),
            (&["{"], Some("}")),
            (&["{\"a\":[1,{\"b", "\":\"x}"], Some("\"}]}")),
            (&["{\"a\":\"\\\""], Some("\"}")),
            (&["{\"a\":1}"], None),
            (&["{\"a\":1} "], None),
            (&["{\"a\":"], None),
            (&["{\"a\":\"\\"], None),
            (&["{\"a\":1]"], None),
            (&["7"], None),
            (&["nonsense"], None),
        ] {
            assert_eq!(rest(pieces).as_deref(), missing, "{pieces:?}");
        }
    }

    #[test]
    fn a_repetition_is_told_from_the_rest() {
        let mut arguments = Arguments::default();
        assert_eq!(arguments.push("{\"a\":\"}\""), "{\"a\":\"}\"");
        assert_eq!(arguments.push("}{\"a\""), "}");
        assert_eq!(arguments.push(":\"}\"}"), "");
        assert!(arguments.is_whole());
    }

    #[test]
    fn what_is_too_long_is_not_kept() {
        let mut arguments = Arguments::default();
        arguments.push("{\"a\":\"");
        let long = "x".repeat(MAX_BYTES);
        assert_eq!(arguments.push(&long).len(), MAX_BYTES);
        assert_eq!(arguments.rest(), None);
        assert_eq!(arguments.push("\"}again"), "\"}");
    }
}
