//! Characters that a stream cuts in two. Servers that count in UTF-16 may end one event's text with
//! the first half of an emoji and begin the next with the second, each escaped by itself
//! (`"\ud83e"`): no text to any strict reader, who would lose the whole piece.

use std::borrow::Cow;

/// Bytes of `\uXXXX`.
const ESCAPE: usize = 6;

/// Puts the halves of one stream together.
#[derive(Debug, Default)]
pub struct Halves {
    /// A first half whose second has not come yet.
    first: Option<u16>,
}

impl Halves {
    /// An event's JSON without lone halves: a first one waits for the event that has the second;
    /// a second without a first becomes U+FFFD.
    pub fn join<'d>(&mut self, data: Cow<'d, [u8]>) -> Cow<'d, [u8]> {
        let is_suspect = data.contains(&b'\\')
            && data
                .windows(3)
                .any(|bytes| bytes.eq_ignore_ascii_case(br"\ud"));
        if !is_suspect {
            return data;
        }
        let mut joined = Vec::with_capacity(data.len() + ESCAPE);
        let mut rest: &[u8] = &data;
        while let Some(&byte) = rest.first() {
            let width = match (byte, escaped(rest)) {
                (b'\\', Some(unit)) if is_first(unit) => {
                    if rest.get(ESCAPE..).and_then(escaped).is_some_and(is_second) {
                        2 * ESCAPE
                    } else {
                        self.first = Some(unit);
                        rest = rest.get(ESCAPE..).unwrap_or_default();
                        continue;
                    }
                }
                (b'\\', Some(unit)) if is_second(unit) => {
                    let Some(first) = self.first.take() else {
                        joined.extend_from_slice(br"\ufffd");
                        rest = rest.get(ESCAPE..).unwrap_or_default();
                        continue;
                    };
                    joined.extend_from_slice(format!("\\u{first:04x}").as_bytes());
                    ESCAPE
                }
                // Whatever is escaped, it begins no escape of its own.
                (b'\\', _) => 2,
                _ => 1,
            };
            let (taken, after) = rest.split_at(width.min(rest.len()));
            joined.extend_from_slice(taken);
            rest = after;
        }
        Cow::Owned(joined)
    }
}

/// The UTF-16 unit that `\uXXXX` at the beginning of `text` names.
fn escaped(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(br"\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

const fn is_first(unit: u16) -> bool {
    matches!(unit, 0xD800..=0xDBFF)
}

const fn is_second(unit: u16) -> bool {
    matches!(unit, 0xDC00..=0xDFFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(events: &[&str]) -> Vec<String> {
        let mut halves = Halves::default();
        let join = |event: &&str| {
            let data = halves.join(Cow::Borrowed(event.as_bytes())).into_owned();
            String::from_utf8(data).expect("UTF-8")
        };
        events.iter().map(join).collect()
    }

    #[test]
    fn a_half_waits_for_its_other_half() {
        assert_eq!(
            joined(&[r#"{"t":"a\ud83e"}"#, r#"{"ping":1}"#, r#"{"t":"\udd80b"}"#]),
            [r#"{"t":"a"}"#, r#"{"ping":1}"#, r#"{"t":"\ud83e\udd80b"}"#]
        );
    }

    #[test]
    fn what_is_whole_stays_as_it_is() {
        for event in [
            r#"{"t":"\ud83e\udd80 \u00fc \n"}"#,
            r#"{"t":"C:\\udead \\\\ud83e"}"#,
            r#"{"t":"🦀"}"#,
            r#"{"t":"\ud8"#,
            r"\",
        ] {
            assert_eq!(joined(&[event]), [event]);
        }
    }

    #[test]
    fn a_second_half_alone_is_a_replacement_character() {
        assert_eq!(joined(&[r#"{"t":"\uDD80"}"#]), [r#"{"t":"\ufffd"}"#]);
    }
}
