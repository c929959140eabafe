//! Splits `<think>…</think>` out of an answer's text, however the stream is cut.
//!
//! Servers of open models leave the reasoning in the text where nobody told them which parser to
//! use; Qwen's portal and iFlow do so too. Rules, and why:
//!
//! * `<think>` and `<thinking>` open, `</think>` and `</thinking>` close, in any case. The tags
//!   vanish, every other byte comes out again.
//! * What may be the beginning of a tag waits for the next piece: ten bytes at most.
//! * A missing end tag is no reason to lose text: the rest is reasoning.
//! * Inside a code span or a fenced block of the answer a tag is what the answer is about, so it
//!   stays. Reasoning is not looked at for code: it may leave a fence open.
//! * Templates that open the tag in the prompt leave a lone end tag. In a stream it vanishes if no
//!   answer text came before; in a whole answer, what stands before it is reasoning. Elsewhere it
//!   is text.

use memchr::memchr;

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text of the answer.
    Text(String),
    /// Reasoning.
    Thinking(String),
}

/// The state of one answer on its way through.
#[derive(Clone, Debug, Default)]
pub struct ThinkTags {
    sort: Sort,
    /// Any tag was seen.
    has_tags: bool,
    /// Any text of the answer but white space went out.
    has_text: bool,
    /// What may be the beginning of a tag.
    held: String,
    code: Code,
    /// The text pushed is all there is.
    is_whole: bool,
}

/// What the next text is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sort {
    #[default]
    Text,
    /// Between an opening tag and its end.
    Thinking,
}

/// Splits an answer that is there as a whole.
pub fn split_whole(text: &str) -> Vec<Piece> {
    let mut tags = ThinkTags {
        is_whole: true,
        ..ThinkTags::default()
    };
    let mut pieces = Vec::new();
    tags.push(text, &mut pieces);
    tags.flush(&mut pieces);
    pieces
}

impl ThinkTags {
    /// Takes the next text and appends what it brings, in order. Neighbours of one sort are one
    /// piece, and no piece is empty.
    pub fn push(&mut self, text: &str, out: &mut Vec<Piece>) {
        let mut joined = std::mem::take(&mut self.held);
        let text = if joined.is_empty() {
            text
        } else {
            joined.push_str(text);
            &joined
        };
        let mut start = 0;
        let mut at = 0;
        while let Some(offset) = self.next_bracket(text, at) {
            at = offset;
            let rest = text.get(at..).unwrap_or_default();
            match read_tag(rest, self.sort) {
                Tag::Cut if self.may_be_tag() => {
                    self.emit(text.get(start..at), out);
                    rest.clone_into(&mut self.held);
                    return;
                }
                Tag::Whole { closes, bytes } if self.may_be_tag() => {
                    if closes && self.sort == Sort::Text && !self.is_lone_end(text.get(start..at)) {
                        self.code.see(b'<');
                        at += 1;
                        continue;
                    }
                    self.emit(text.get(start..at), out);
                    if closes && self.is_whole && !self.has_tags {
                        all_thinking(out);
                    }
                    at += bytes;
                    start = at;
                    self.sort = if closes { Sort::Text } else { Sort::Thinking };
                    self.has_tags = true;
                    self.code = Code::default();
                }
                Tag::Cut | Tag::None | Tag::Whole { .. } => {
                    self.code.see(b'<');
                    at += 1;
                }
            }
        }
        self.emit(text.get(start..), out);
    }

    /// Gives out what is held back: nothing that continues it is coming.
    pub fn flush(&mut self, out: &mut Vec<Piece>) {
        let held = std::mem::take(&mut self.held);
        for byte in held.bytes() {
            self.code.see(byte);
        }
        self.emit(Some(&held), out);
    }

    /// `true` while text is held back.
    pub const fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Where the next `<` stands, from `at` on. Text passed over is looked at for code.
    fn next_bracket(&mut self, text: &str, at: usize) -> Option<usize> {
        let rest = text.as_bytes().get(at..)?;
        let found = memchr(b'<', rest);
        if self.sort == Sort::Text {
            let passed = rest.get(..found.unwrap_or(rest.len())).unwrap_or_default();
            for byte in passed {
                self.code.see(*byte);
            }
        }
        found.map(|offset| at + offset)
    }

    /// `false` where a tag would be part of code.
    fn may_be_tag(&mut self) -> bool {
        self.sort == Sort::Thinking || !self.code.contains_next()
    }

    /// `true` if an end tag without a beginning means something here. `before` is the text not yet
    /// given out.
    fn is_lone_end(&self, before: Option<&str>) -> bool {
        let has_text = self.has_text || before.is_some_and(|text| !text.trim().is_empty());
        !has_text || (self.is_whole && !self.has_tags)
    }

    fn emit(&mut self, text: Option<&str>, out: &mut Vec<Piece>) {
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            return;
        };
        if self.sort == Sort::Thinking {
            if let Some(Piece::Thinking(last)) = out.last_mut() {
                last.push_str(text);
            } else {
                out.push(Piece::Thinking(text.to_owned()));
            }
            return;
        }
        self.has_text |= !text.trim().is_empty();
        if let Some(Piece::Text(last)) = out.last_mut() {
            last.push_str(text);
        } else {
            out.push(Piece::Text(text.to_owned()));
        }
    }
}

/// What came before a lone end tag was all reasoning.
fn all_thinking(out: &mut [Piece]) {
    for piece in out {
        if let Piece::Text(text) = piece {
            *piece = Piece::Thinking(std::mem::take(text));
        }
    }
}

/// What stands at a `<`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag {
    /// The text ends before it is clear.
    Cut,
    /// Something else.
    None,
    Whole {
        closes: bool,
        bytes: usize,
    },
}

/// Reads the tag that `text` begins with. Within reasoning only an end counts.
fn read_tag(text: &str, sort: Sort) -> Tag {
    const TAGS: [(&str, bool); 4] = [
        ("</think>", true),
        ("</thinking>", true),
        ("<think>", false),
        ("<thinking>", false),
    ];
    let text = text.as_bytes();
    let mut found = Tag::None;
    for (name, closes) in TAGS {
        if sort == Sort::Thinking && !closes {
            continue;
        }
        let common = text.len().min(name.len());
        let matches = text
            .get(..common)
            .zip(name.as_bytes().get(..common))
            .is_some_and(|(text, name)| text.eq_ignore_ascii_case(name));
        if !matches {
            continue;
        }
        if common == name.len() {
            let bytes = name.len();
            return Tag::Whole { closes, bytes };
        }
        found = Tag::Cut;
    }
    found
}

/// Whether a place in Markdown is code: a span in backticks, or a fenced block. Spans end with
/// their line, so that a single stray backtick hides no tag further down.
#[derive(Clone, Copy, Debug)]
struct Code {
    /// Only white space and quote marks came since the line began.
    leads: bool,
    /// The fence that is open: its byte and length.
    fence: Option<(u8, usize)>,
    /// The length of the run of backticks that opened a span.
    span: Option<usize>,
    /// The run of fence bytes that is going on.
    run: Option<(u8, usize)>,
}

impl Default for Code {
    fn default() -> Self {
        Self {
            leads: true,
            fence: None,
            span: None,
            run: None,
        }
    }
}

impl Code {
    /// `true` if a byte that is no backtick or tilde would be code here.
    fn contains_next(&mut self) -> bool {
        self.end_run();
        self.fence.is_some() || self.span.is_some()
    }

    fn see(&mut self, byte: u8) {
        match self.run {
            Some((of, length)) if of == byte => {
                self.run = Some((of, length.saturating_add(1)));
                return;
            }
            Some(_) => self.end_run(),
            None => {}
        }
        match byte {
            b'`' | b'~' => self.run = Some((byte, 1)),
            b'\n' => {
                self.leads = true;
                self.span = None;
            }
            b' ' | b'\t' | b'\r' | b'>' => {}
            _ => self.leads = false,
        }
    }

    fn end_run(&mut self) {
        let Some((byte, length)) = self.run.take() else {
            return;
        };
        let leads = std::mem::take(&mut self.leads);
        match self.fence {
            Some((of, least)) if leads && of == byte && length >= least => self.fence = None,
            None if leads && length >= 3 => self.fence = Some((byte, length)),
            None if byte == b'`' => {
                self.span = match self.span {
                    Some(of) if of == length => None,
                    Some(of) => Some(of),
                    None => Some(length),
                };
            }
            Some(_) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The whole text, reasoning in square brackets.
    fn shown(pieces: &[Piece]) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Thinking(text) => format!("[{text}]"),
        };
        pieces.iter().map(piece).collect()
    }

    /// The pieces of a stream in these parts.
    fn streamed<'t>(parts: impl IntoIterator<Item = &'t str>) -> Vec<Piece> {
        let mut tags = ThinkTags::default();
        let mut out = Vec::new();
        for part in parts {
            tags.push(part, &mut out);
        }
        tags.flush(&mut out);
        out
    }

    fn split(text: &str) -> String {
        shown(&streamed([text]))
    }

    /// Tags of all sorts, in prose, spans, fences, nested, cut off and alone.
    const FIXTURE: &str = concat!(
        "<think>Plan: use `</thin`.\n```\nopen fence</THINK>\n\nUse the `<think>` tag, or ",
        "``<thinking>``:\n\n```html\n<think>stays</think>\n~~~\n```\n> ~~~~ x\n> </thinking>\n> ~~~~\n",
        "a < b, a <t, <thinker>, </thinkers> <<think>>über</think></think> it`s\n",
        "<ThInKiNg>é<think>nested</thinking></think>end `<think>\n<think>never ended </thin",
    );

    const SPLIT: &str = concat!(
        "[Plan: use `</thin`.\n```\nopen fence]\n\nUse the `<think>` tag, or ",
        "``<thinking>``:\n\n```html\n<think>stays</think>\n~~~\n```\n> ~~~~ x\n> </thinking>\n> ~~~~\n",
        "a < b, a <t, <thinker>, </thinkers> <[>über]</think> it`s\n",
        "[é<think>nested]</think>end `<think>\n[never ended </thin]",
    );

    #[test]
    fn tags_vanish_and_all_else_stays() {
        for (text, expected) in [
            ("<think>x</think>y", "[x]y"),
            ("<THINK>x</Think>y", "[x]y"),
            ("<thinking>x</think>y", "[x]y"),
            ("<think>x", "[x]"),
            ("<think>x</thin", "[x</thin]"),
            ("<thinker>", "<thinker>"),
            ("a<b", "a<b"),
            ("a<", "a<"),
            ("<think></think>y", "y"),
            ("x<think>y</think>z<thinking>u</thinking>", "x[y]z[u]"),
            ("", ""),
        ] {
            assert_eq!(split(text), expected, "{text}");
        }
        assert_eq!(split(FIXTURE), SPLIT);
    }

    #[test]
    fn every_cut_gives_the_same() {
        let uncut = streamed([FIXTURE]);
        let places = || (0..=FIXTURE.len()).filter(|at| FIXTURE.is_char_boundary(*at));
        for first in places() {
            for second in places().filter(|second| *second >= first) {
                let parts = [
                    &FIXTURE[..first],
                    &FIXTURE[first..second],
                    &FIXTURE[second..],
                ];
                assert_eq!(streamed(parts), uncut, "{first} {second}");
            }
        }
        let mut letters = Vec::new();
        for (at, letter) in FIXTURE.char_indices() {
            letters.push(&FIXTURE[at..at + letter.len_utf8()]);
        }
        assert_eq!(streamed(letters), uncut);
    }

    #[test]
    fn pieces_of_a_tag_wait_and_pieces_of_text_do_not() {
        let mut tags = ThinkTags::default();
        let mut out = Vec::new();
        for (part, shows) in [
            ("<thi", ""),
            ("nk>I should l", "[I should l]"),
            ("ook.</th", "[ook.]"),
            ("ink>Let me check", "Let me check"),
            (" 1 < 2.", " 1 < 2."),
            ("a<", "a"),
            ("b", "<b"),
        ] {
            out.clear();
            tags.push(part, &mut out);
            assert_eq!(shown(&out), shows, "{part}");
        }
    }

    #[test]
    fn a_lone_end_tag_makes_reasoning_only_where_no_text_went_out() {
        assert_eq!(split("\n</think>answer"), "\nanswer");
        assert_eq!(split("reasons</think>answer"), "reasons</think>answer");
        assert_eq!(
            shown(&split_whole("reasons</think>answer")),
            "[reasons]answer"
        );
        assert_eq!(
            shown(&split_whole("reasons</think>see </think>")),
            "[reasons]see </think>"
        );
        assert_eq!(
            shown(&split_whole("<think>a</think>b</think>")),
            "[a]b</think>"
        );
        assert_eq!(shown(&split_whole("no tags")), "no tags");
    }

    #[test]
    fn no_piece_is_empty() {
        for piece in streamed(["", "<think>", "", "</think>", "a", "", "<think>"]) {
            let (Piece::Text(text) | Piece::Thinking(text)) = piece;
            assert!(!text.is_empty());
        }
    }

    proptest! {
        #[test]
        fn no_cut_changes_anything(
            words in prop::collection::vec(prop::sample::select(vec![
                "<think>", "</think>", "<thinking>", "</thinking>", "<THI", "nk>", "</", "<", ">",
                "`", "``", "```", "~~~", "\n", " ", "> ", "text", "é", "`s",
            ]), 0..40),
            cuts in prop::collection::vec(0usize..200, 0..12),
        ) {
            let text = words.concat();
            let mut places: Vec<usize> = cuts
                .into_iter()
                .filter(|at| text.is_char_boundary(*at))
                .collect();
            places.extend([0, text.len()]);
            places.retain(|at| *at <= text.len());
            places.sort_unstable();
            let parts = places.windows(2).map(|pair| &text[pair[0]..pair[1]]);
            prop_assert_eq!(streamed(parts), streamed([text.as_str()]));
        }

        #[test]
        fn only_tags_are_lost(text in "[<>/`a-k \\n]{0,60}(<think>[^<]{0,9}(</think>)?)?.{0,20}") {
            let shown: usize = streamed([text.as_str()])
                .iter()
                .map(|piece| match piece {
                    Piece::Text(text) | Piece::Thinking(text) => text.len(),
                })
                .sum();
            prop_assert!(shown <= text.len());
            let tags = text.to_lowercase().matches("think").count();
            prop_assert!(text.len() - shown <= tags * "</thinking>".len());
        }
    }
}
