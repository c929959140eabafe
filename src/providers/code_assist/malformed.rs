//! Calls that a Gemini model wrote in a form of its own: what Google says of one in `finishMessage`
//! is often enough to make the call that was meant.
//!
//! Two forms are seen (reports collected in the wire-format notes, read 2026-11-22):
//! `call:default_api:write{path: 'a', n: 1,}` and `print(default_api.write(path='a', n=1))`.

use serde_json::{Map, Number, Value};

/// What Google's sentence about such a call begins with.
pub(super) const SENTENCE: &str = "Malformed function call";

/// Longest text looked at.
const MAX_BYTES: usize = 256 << 10;

/// How deep values may be nested.
const MAX_DEPTH: u8 = 64;

/// A call that was meant.
#[derive(Debug, PartialEq)]
pub(super) struct Meant {
    pub(super) name: String,
    pub(super) arguments: Value,
}

/// The broken text behind Google's sentence; `None` if it is not about a malformed call.
pub(super) fn broken_text(message: &str) -> Option<&str> {
    let at = message.find(SENTENCE)?;
    let rest = message.get(at + SENTENCE.len()..)?;
    Some(rest.trim_start_matches([':', ' ', '\n']).trim_end())
}

/// The call that a broken text meant; `None` if that cannot be told for certain.
pub(super) fn meant(broken: &str) -> Option<Meant> {
    if broken.len() > MAX_BYTES {
        return None;
    }
    let text = broken.trim();
    let text = text.strip_prefix("print(").map_or(text, |inner| {
        inner.trim_end().strip_suffix(')').unwrap_or(inner)
    });
    let text = text.strip_prefix("call:").unwrap_or(text);
    let open = text.find(['{', '('])?;
    let (path, rest) = text.split_at_checked(open)?;
    let name = path
        .trim()
        .strip_prefix("default_api")
        .map_or_else(|| path.trim(), |rest| rest.trim_start_matches([':', '.']));
    let is_name = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || "_.:-".contains(c));
    if !is_name {
        return None;
    }
    let mut reader = Reader { rest };
    let arguments = if rest.starts_with('{') {
        reader.object(MAX_DEPTH)?
    } else {
        reader.keywords()?
    };
    reader.skip();
    // What follows a whole call is a second one, or a sign that the first was misread.
    let at_end = reader.rest.trim_matches([')', ';']).is_empty();
    at_end.then(|| Meant {
        name: name.to_owned(),
        arguments: Value::Object(arguments),
    })
}

/// Reads values as JavaScript and Python write them.
struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, c: char) -> bool {
        self.skip();
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn object(&mut self, depth: u8) -> Option<Map<String, Value>> {
        self.members('{', '}', depth)
    }

    /// `(path='a', n=1)`.
    fn keywords(&mut self) -> Option<Map<String, Value>> {
        self.members('(', ')', MAX_DEPTH)
    }

    fn members(&mut self, open: char, close: char, depth: u8) -> Option<Map<String, Value>> {
        let depth = depth.checked_sub(1)?;
        if !self.take(open) {
            return None;
        }
        let mut members = Map::new();
        loop {
            if self.take(close) {
                return Some(members);
            }
            let name = self.name()?;
            if !self.take(':') && !self.take('=') {
                return None;
            }
            let value = self.value(depth)?;
            members.insert(name, value);
            if !self.take(',') && !self.rest.starts_with(close) {
                return None;
            }
        }
    }

    fn name(&mut self) -> Option<String> {
        self.skip();
        if self.rest.starts_with(['"', '\'']) {
            return self.text();
        }
        let end = self
            .rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-' || c == '$'))?;
        let (name, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        (!name.is_empty()).then(|| name.to_owned())
    }

    fn value(&mut self, depth: u8) -> Option<Value> {
        self.skip();
        match self.rest.chars().next()? {
            '{' => self.object(depth).map(Value::Object),
            '[' => self.list(depth),
            '"' | '\'' => self.text().map(Value::String),
            _ => self.word(),
        }
    }

    fn list(&mut self, depth: u8) -> Option<Value> {
        let depth = depth.checked_sub(1)?;
        if !self.take('[') {
            return None;
        }
        let mut items = Vec::new();
        loop {
            if self.take(']') {
                return Some(Value::Array(items));
            }
            items.push(self.value(depth)?);
            if !self.take(',') && !self.rest.starts_with(']') {
                return None;
            }
        }
    }

    /// A text in either quotes, with the usual escapes.
    fn text(&mut self) -> Option<String> {
        let quote = self.rest.chars().next()?;
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => match chars.next()?.1 {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    'b' => text.push('\u{8}'),
                    'f' => text.push('\u{c}'),
                    'u' => {
                        let digits: String =
                            (0..4).filter_map(|_| chars.next()).map(|d| d.1).collect();
                        let code = u32::from_str_radix(&digits, 16).ok()?;
                        text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                    }
                    '\n' => {}
                    other => text.push(other),
                },
                c if c == quote => {
                    self.rest = self.rest.get(at + c.len_utf8()..)?;
                    return Some(text);
                }
                c => text.push(c),
            }
        }
        None
    }

    /// A number, a truth value or a bare word.
    fn word(&mut self) -> Option<Value> {
        let end = self.rest.find([',', '}', ']', ')', '\n'])?;
        let (word, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        let word = word.trim();
        Some(match word {
            "" => return None,
            "true" | "True" => Value::Bool(true),
            "false" | "False" => Value::Bool(false),
            "null" | "None" | "undefined" => Value::Null,
            word => match serde_json::from_str::<Number>(word) {
                Ok(number) => Value::Number(number),
                Err(_) => Value::String(word.to_owned()),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn both_forms_become_the_call_that_was_meant() {
        for (text, name, arguments) in [
            (
                "call:default_api:write{path: 'a'}",
                "write",
                json!({"path": "a"}),
            ),
            (
                r#"call:default_api:edit{"old": "it's", new: 'say "hi"\n', n: -1.5, deep: {l: [1, 'b', true,],},}"#,
                "edit",
                json!({"old": "it's", "new": "say \"hi\"\n", "n": -1.5, "deep": {"l": [1, "b", true]}}),
            ),
            (
                "print(default_api.search(query='x', limit=3, all=True, none=None))",
                "search",
                json!({"query": "x", "limit": 3, "all": true, "none": null}),
            ),
            ("call:list{}", "list", json!({})),
            (
                "call:default_api:mcp.x-y:z{mode: fast}",
                "mcp.x-y:z",
                json!({"mode": "fast"}),
            ),
        ] {
            let found = meant(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((found.name.as_str(), found.arguments), (name, arguments));
        }
    }

    #[test]
    fn what_cannot_be_told_for_certain_is_left() {
        for text in [
            "",
            "call:default_api:write",
            "call:default_api:write{path: 'a",
            "call:default_api:{a: 1}",
            "call:f{a: 1} call:g{b: 2}",
            "def f(x): return {",
            "call:f{a 1}",
        ] {
            assert_eq!(meant(text), None, "{text}");
        }
    }

    #[test]
    fn the_broken_text_stands_behind_googles_sentence() {
        assert_eq!(
            broken_text("Malformed function call: call:default_api:write{path: 'a'}"),
            Some("call:default_api:write{path: 'a'}")
        );
        assert_eq!(broken_text("Malformed function call: "), Some(""));
        assert_eq!(broken_text("the answer is empty"), None);
    }

    proptest! {
        #[test]
        fn json_arguments_come_back_as_they_were(text in ".{0,20}", number in any::<i32>()) {
            let arguments = json!({"t": text, "n": number, "l": [text, {"k": null}]});
            let said = format!("call:default_api:f{arguments}");
            let found = meant(&said).expect("a call");
            prop_assert_eq!(found.arguments, arguments);
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,80}") {
            let _ = meant(&text);
            let _ = meant(&format!("call:f{{{text}"));
        }
    }
}
