//! Looking into JSON without a tree: a member found by its name's bytes, a value judged by its
//! first byte.
//!
//! A name inside a JSON string cannot be mistaken for a member: its quotes are escaped there, so
//! `"usage"` with plain quotes does not occur. (As a value it can: `{"type":"error"}`.)

use std::ops::Range;

use memchr::memchr2;
use memchr::memmem::Finder;

/// The members looked for in the frames of a dialect, without parsing.
pub(super) struct Marks {
    /// Names that make a frame worth parsing after content began, if a value follows that is not
    /// `null`.
    pub finders: Vec<Finder<'static>>,
    /// A member that holds usage which later frames repeat in full: the last such frame is kept
    /// and parsed at the end.
    pub repeated_usage: Option<Finder<'static>>,
    /// Members that hold answer text, the most usual first.
    pub texts: Vec<Finder<'static>>,
}

impl Marks {
    /// Names are given with their quotes.
    pub(super) fn new(
        names: &[&'static str],
        repeated_usage: Option<&'static str>,
        texts: &[&'static str],
    ) -> Self {
        let finders = |names: &[&'static str]| names.iter().copied().map(Finder::new).collect();
        Self {
            finders: finders(names),
            repeated_usage: repeated_usage.map(Finder::new),
            texts: finders(texts),
        }
    }
}

/// `true` if `quoted` (a name with its quotes) occurs and what follows is not `: null`. Looks at
/// every occurrence: vendors send `"usage":null` in one place and counts in another.
pub(super) fn follows(raw: &[u8], quoted: &Finder<'_>) -> bool {
    quoted
        .find_iter(raw)
        .any(|at| !is_null_member(raw.get(at + quoted.needle().len()..).unwrap_or_default()))
}

/// `true` if `rest` is `: null`, with any white space.
fn is_null_member(rest: &[u8]) -> bool {
    rest.trim_ascii_start()
        .strip_prefix(b":")
        .is_some_and(|value| value.trim_ascii_start().starts_with(b"null"))
}

/// Where the string lies that is the value of `quoted`'s first occurrence, without its quotes;
/// `None` if the member is absent, no string or empty.
pub(super) fn text_of(raw: &[u8], quoted: &Finder<'_>) -> Option<Range<usize>> {
    let at = quoted.find(raw)?;
    let rest = raw.get(at + quoted.needle().len()..)?.trim_ascii_start();
    let rest = rest.strip_prefix(b":")?.trim_ascii_start();
    let rest = rest.strip_prefix(b"\"")?;
    let start = raw.len() - rest.len();
    let end = start + string_length(rest);
    (end > start).then_some(start..end)
}

/// Up to the quote that ends a string, or to the end.
fn string_length(rest: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = rest.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found;
        if rest.get(at) == Some(&b'"') {
            return at;
        }
        at += 2;
    }
    rest.len()
}

/// How many bytes come before the quote that ends a JSON string; `None` if it has none, is empty, or
/// holds a raw control character, which no string may.
pub(super) fn plain_length(bytes: &[u8]) -> Option<usize> {
    // Deltas are a word long: a loop is faster than setting up a search.
    let mut at = 0;
    loop {
        match bytes.get(at)? {
            b'"' => return (at > 0).then_some(at),
            b'\\' => {
                bytes.get(at + 1).filter(|byte| **byte >= b' ')?;
                at += 2;
            }
            ..b' ' => return None,
            _ => at += 1,
        }
    }
}

/// Characters of a text; escapes count as they are written.
pub(super) fn chars(text: &[u8]) -> u64 {
    // Continuation bytes belong to the character before.
    text.iter().filter(|&byte| byte & 0xc0 != 0x80).count() as u64
}

/// `true` if a value says something: not `null`, `false`, `""`, `[]` or `{}`.
pub(super) fn is_filled(raw: &str) -> bool {
    match raw.as_bytes().first() {
        None | Some(b'n' | b'f') => false,
        Some(b'"') => raw.len() > 2,
        Some(open @ (b'[' | b'{')) => {
            let close = if *open == b'[' { b']' } else { b'}' };
            let inner = raw.as_bytes().get(1..).unwrap_or_default();
            inner.trim_ascii_start().first() != Some(&close)
        }
        Some(_) => true,
    }
}
