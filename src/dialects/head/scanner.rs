//! A strict JSON scanner over borrowed text: it checks and skips, and builds nothing.
//!
//! The grammar is RFC 8259's. Escaped surrogates are not judged here: whoever decodes a string
//! does that.

use std::borrow::Cow;

use memchr::memchr2;

use crate::dialects::head::HeadError;

/// Deepest nesting taken, the outermost value included: the bits of [`Nesting`].
pub(in crate::dialects) const MAX_DEPTH: u32 = u128::BITS;

/// A string as it was written.
#[derive(Clone, Copy, Debug)]
pub(in crate::dialects) struct Text<'a> {
    /// The string with its quotes.
    pub quoted: &'a str,
    escaped: bool,
}

impl<'a> Text<'a> {
    /// What stands between the quotes, undecoded.
    pub(in crate::dialects) fn raw(self) -> &'a str {
        self.quoted
            .get(1..self.quoted.len().saturating_sub(1))
            .unwrap_or("")
    }

    /// The string's value; it borrows unless there are escapes. `None` for a lone surrogate.
    pub(in crate::dialects) fn decode(self) -> Option<Cow<'a, str>> {
        if self.escaped {
            serde_json::from_str(self.quoted).ok().map(Cow::Owned)
        } else {
            Some(Cow::Borrowed(self.raw()))
        }
    }
}

/// What [`Scanner::walk`] meets on its way through one value. `depth` counts the containers around
/// a thing, from 1 for the members of the value itself.
#[derive(Clone, Copy, Debug)]
pub(in crate::dialects) enum Token<'a> {
    /// A container ends whose members were at `depth`.
    Close { depth: u32 },
    /// A member's name.
    Key { depth: u32, text: Text<'a> },
    /// A string value.
    Text { depth: u32, text: Text<'a> },
}

/// A cursor in JSON text.
#[derive(Clone, Debug)]
pub(in crate::dialects) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// Containers entered with [`Scanner::next_member`] and [`Scanner::next_item`].
    depth: u32,
}

impl<'a> Scanner<'a> {
    /// Stands before the first value of `text`.
    pub(in crate::dialects) const fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
        }
    }

    /// Where the cursor stands, as a byte offset.
    pub(in crate::dialects) const fn at(&self) -> usize {
        self.at
    }

    /// The text from `start` to the cursor.
    pub(in crate::dialects) fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or("")
    }

    /// Skips white space and returns the next byte without taking it.
    pub(in crate::dialects) fn peek(&mut self) -> Option<u8> {
        let rest = self.rest();
        let blank = rest
            .iter()
            .position(|byte| !matches!(byte, b' ' | b'\n' | b'\r' | b'\t'))
            .unwrap_or(rest.len());
        self.at += blank;
        rest.get(blank).copied()
    }

    /// Takes the next byte if it is `wanted`, after white space.
    pub(in crate::dialects) fn take(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    /// Steps to the next member of an object and takes its name and colon. Before the first call
    /// the cursor stands at the object's `{`, and `first` is `true`. `None`: the object is over.
    pub(in crate::dialects) fn next_member(
        &mut self,
        first: bool,
    ) -> Result<Option<Text<'a>>, HeadError> {
        if !self.step(first, b'{', b'}', "`,` or `}`")? {
            return Ok(None);
        }
        self.name().map(Some)
    }

    /// Steps to the next item of an array; `first` as in [`Scanner::next_member`]. `false`: the
    /// array is over.
    pub(in crate::dialects) fn next_item(&mut self, first: bool) -> Result<bool, HeadError> {
        self.step(first, b'[', b']', "`,` or `]`")
    }

    fn step(
        &mut self,
        first: bool,
        open: u8,
        close: u8,
        expected: &'static str,
    ) -> Result<bool, HeadError> {
        if first {
            if !self.take(open) {
                return Err(self.expected("a container"));
            }
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return Err(HeadError::TooDeep { at: self.at });
            }
        }
        if self.take(close) {
            self.depth = self.depth.saturating_sub(1);
            return Ok(false);
        }
        if !first && !self.take(b',') {
            return Err(self.expected(expected));
        }
        Ok(true)
    }

    /// Takes a member's name and its colon.
    fn name(&mut self) -> Result<Text<'a>, HeadError> {
        if self.peek() != Some(b'"') {
            return Err(self.expected("a member's name in quotes"));
        }
        let name = self.string()?;
        if !self.take(b':') {
            return Err(self.expected("`:`"));
        }
        Ok(name)
    }

    /// Takes one value, checking it: as it is written, without the white space around it.
    pub(in crate::dialects) fn value(&mut self) -> Result<&'a str, HeadError> {
        self.peek();
        let start = self.at;
        self.skip()?;
        Ok(self.since(start))
    }

    /// Skips one value, checking it.
    pub(in crate::dialects) fn skip(&mut self) -> Result<(), HeadError> {
        self.walk(|_| {})
    }

    /// Goes through one value, checking it and showing `visit` names, strings and ends.
    ///
    /// Without recursion: hostile nesting costs a bit a level.
    pub(in crate::dialects) fn walk(
        &mut self,
        mut visit: impl FnMut(Token<'a>),
    ) -> Result<(), HeadError> {
        let mut nesting = Nesting::default();
        loop {
            match self.peek() {
                Some(b'"') => {
                    let text = self.string()?;
                    visit(Token::Text {
                        depth: nesting.depth,
                        text,
                    });
                }
                Some(open @ (b'{' | b'[')) => {
                    self.at += 1;
                    if self.depth + nesting.depth >= MAX_DEPTH {
                        return Err(HeadError::TooDeep { at: self.at });
                    }
                    nesting.enter(open == b'{');
                    if !self.take(nesting.close()) {
                        if nesting.in_object() {
                            let text = self.name()?;
                            visit(Token::Key {
                                depth: nesting.depth,
                                text,
                            });
                        }
                        continue;
                    }
                    visit(Token::Close {
                        depth: nesting.depth,
                    });
                    nesting.leave();
                }
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.literal("true")?,
                Some(b'f') => self.literal("false")?,
                Some(b'n') => self.literal("null")?,
                _ => return Err(self.expected("a value")),
            }
            // After a value: what follows in the containers it stands in.
            loop {
                if nesting.depth == 0 {
                    return Ok(());
                }
                if self.take(b',') {
                    if nesting.in_object() {
                        let text = self.name()?;
                        visit(Token::Key {
                            depth: nesting.depth,
                            text,
                        });
                    }
                    break;
                }
                if !self.take(nesting.close()) {
                    return Err(self.expected(if nesting.in_object() {
                        "`,` or `}`"
                    } else {
                        "`,` or `]`"
                    }));
                }
                visit(Token::Close {
                    depth: nesting.depth,
                });
                nesting.leave();
            }
        }
    }

    /// Takes a string; the cursor stands at its opening quote.
    pub(in crate::dialects) fn string(&mut self) -> Result<Text<'a>, HeadError> {
        let start = self.at;
        let mut escaped = false;
        self.at += 1;
        loop {
            self.at += plain_bytes(self.rest());
            match self.next() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Text {
                        quoted: self.since(start),
                        escaped,
                    });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.expected("no raw control character in a string")),
                None => return Err(self.expected("the end of a string")),
            }
        }
    }

    /// Takes one escape; the cursor stands at the backslash.
    fn escape(&mut self) -> Result<(), HeadError> {
        let length = match self.rest().get(1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') => {
                let digits = self.rest().get(2..6).unwrap_or_default();
                if digits.len() < 4 || !digits.iter().all(u8::is_ascii_hexdigit) {
                    return Err(self.expected("four hexadecimal digits after `\\u`"));
                }
                6
            }
            _ => return Err(self.expected("a valid escape")),
        };
        self.at += length;
        Ok(())
    }

    /// Takes a number; the cursor stands at its first byte.
    fn number(&mut self) -> Result<(), HeadError> {
        self.at += usize::from(self.next() == Some(b'-'));
        match self.next() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            _ => return Err(self.expected("a digit")),
        }
        if self.next() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.next(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.next(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), HeadError> {
        let rest = self.rest();
        let count = rest
            .iter()
            .position(|byte| !byte.is_ascii_digit())
            .unwrap_or(rest.len());
        if count == 0 {
            return Err(self.expected("a digit"));
        }
        self.at += count;
        Ok(())
    }

    fn literal(&mut self, word: &'static str) -> Result<(), HeadError> {
        if !self.rest().starts_with(word.as_bytes()) {
            return Err(self.expected("a value"));
        }
        self.at += word.len();
        Ok(())
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn next(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The error that something else should stand at the cursor.
    pub(in crate::dialects) const fn expected(&self, expected: &'static str) -> HeadError {
        HeadError::NotJson {
            at: self.at,
            expected,
        }
    }
}

/// Which containers the cursor is in: a bit each, 1 for an object.
#[derive(Default)]
struct Nesting {
    objects: u128,
    depth: u32,
}

impl Nesting {
    fn enter(&mut self, object: bool) {
        self.objects = self.objects << 1 | u128::from(object);
        self.depth += 1;
    }

    fn leave(&mut self) {
        self.objects >>= 1;
        self.depth = self.depth.saturating_sub(1);
    }

    const fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    const fn close(&self) -> u8 {
        if self.in_object() { b'}' } else { b']' }
    }
}

/// Bytes looked at eight at a time before a string counts as long: in text, an escape comes
/// sooner; in a picture, none comes at all.
const SHORT_BYTES: usize = 64;

/// How many bytes of a string come before one that is special: a quote, a backslash or a raw
/// control character.
fn plain_bytes(bytes: &[u8]) -> usize {
    let mut at = 0;
    for chunk in bytes.as_chunks().0.iter().take(SHORT_BYTES / 8) {
        let special = special_lanes(*chunk);
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let end = if rest.len() < 8 {
        rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))
    } else {
        memchr2(b'"', b'\\', rest)
    };
    let plain = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
    // Folds instead of stopping early, which the compiler turns into vector instructions.
    let control = plain
        .iter()
        .fold(0, |found, byte| found | u8::from(*byte < b' '));
    if control == 0 {
        return at + plain.len();
    }
    at + plain.iter().position(|byte| *byte < b' ').unwrap_or(0)
}

/// Marks the special bytes among eight: the lowest bit set is in the lane of the first one. (A
/// borrow may mark lanes above it.)
fn special_lanes(chunk: [u8; 8]) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let lanes = u64::from_le_bytes(chunk);
    let below = |lanes: u64, bound: u8| lanes.wrapping_sub(ONES * u64::from(bound)) & !lanes;
    let control = below(lanes, b' ');
    let quote = below(lanes ^ (ONES * u64::from(b'"')), 1);
    let backslash = below(lanes ^ (ONES * u64::from(b'\\')), 1);
    (control | quote | backslash) & (ONES << 7)
}
