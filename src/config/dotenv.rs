//! `.env` files: lines of `NAME=value`.
//!
//! The grammar is that of python-dotenv, for which existing files are written: optional `export`,
//! spaces around `=`, single quotes (literal), double quotes (escapes), comments, values over
//! several lines in quotes, `${NAME}` and `${NAME:-default}` outside single quotes.

use thiserror::Error;

/// One assignment of a `.env` file.
#[derive(Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The variable.
    pub name: String,
    /// Its value, unquoted and expanded.
    pub value: String,
    /// The line it begins on, from 1.
    pub line: usize,
}

/// A line that is no assignment.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{problem}")]
pub struct DotenvError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Problem {
    /// Text between the closing quote and the end of the line.
    #[error("there is text behind the closing quote")]
    AfterQuote,
    /// The part before `=` is no name.
    #[error("the part before `=` is not a variable name")]
    Name,
    /// No `=`.
    #[error("it is not NAME=value")]
    NoAssignment,
    /// A quote that is never closed.
    #[error("its quote is never closed")]
    Unclosed,
}

/// Reads the whole text. `outside` looks up names for `${NAME}` that the file itself has not set
/// before; names unknown to both expand to nothing.
pub fn parse(
    text: &str,
    outside: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<Assignment>, DotenvError> {
    let mut reader = Reader {
        rest: text.strip_prefix('\u{feff}').unwrap_or(text),
        line: 1,
    };
    let mut found: Vec<Assignment> = Vec::new();
    while !reader.rest.is_empty() {
        let line = reader.line;
        let at = |problem| DotenvError { line, problem };
        let Some(name) = reader.name().map_err(at)? else {
            continue;
        };
        let (raw, expands) = reader.value().map_err(at)?;
        let value = if expands {
            let lookup = |name: &str| {
                let own = found.iter().rev().find(|earlier| earlier.name == name);
                own.map(|earlier| earlier.value.clone())
                    .or_else(|| outside(name))
            };
            expand(&raw, &lookup)
        } else {
            raw
        };
        found.push(Assignment { name, value, line });
    }
    Ok(found)
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Reader<'a> {
    /// The name before `=`, with the reader left behind the `=`. `None` for a line without an
    /// assignment: blank, a comment, or a bare `export NAME`.
    fn name(&mut self) -> Result<Option<String>, Problem> {
        let line = self.rest.lines().next().unwrap_or_default();
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            self.skip_line();
            return Ok(None);
        }
        let Some((before, _)) = line.split_once('=') else {
            let name = without_export(trimmed);
            self.skip_line();
            // What a shell would take as "export what is set already".
            return if is_name(name) && name != trimmed {
                Ok(None)
            } else {
                Err(Problem::NoAssignment)
            };
        };
        let name = without_export(before.trim());
        if !is_name(name) {
            return Err(Problem::Name);
        }
        self.rest = &self.rest[before.len() + 1..];
        Ok(Some(name.to_owned()))
    }

    /// The value behind `=`, and whether `${NAME}` is expanded in it.
    fn value(&mut self) -> Result<(String, bool), Problem> {
        let start = self.rest.trim_start_matches([' ', '\t']);
        let Some(quote @ ('"' | '\'')) = start.chars().next() else {
            return Ok((unquoted(self.skip_line()).to_owned(), true));
        };
        let (value, rest) = quoted(&start[1..], quote)?;
        self.line += start[..start.len() - rest.len()].matches('\n').count();
        self.rest = rest;
        let behind = self.skip_line().trim();
        if !behind.is_empty() && !behind.starts_with('#') {
            return Err(Problem::AfterQuote);
        }
        Ok((value, quote == '"'))
    }

    /// Goes to the next line and returns what was left of this one.
    fn skip_line(&mut self) -> &'a str {
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        self.rest = rest;
        self.line += 1;
        line
    }
}

fn without_export(text: &str) -> &str {
    text.strip_prefix("export")
        .filter(|rest| rest.starts_with([' ', '\t']))
        .map_or(text, str::trim_start)
}

fn is_name(text: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && text.chars().all(legal)
}

/// The text up to the closing quote, escapes resolved, and what follows the quote.
fn quoted(text: &str, quote: char) -> Result<(String, &str), Problem> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        if c == quote {
            return Ok((value, &text[at + 1..]));
        }
        if c != '\\' {
            // A value over several lines of a file from Windows keeps plain line ends.
            if !(c == '\r' && text[at..].starts_with("\r\n")) {
                value.push(c);
            }
            continue;
        }
        match characters.next() {
            Some((_, escaped)) if escaped == quote || escaped == '\\' => value.push(escaped),
            Some((_, 'n')) if quote == '"' => value.push('\n'),
            Some((_, 'r')) if quote == '"' => value.push('\r'),
            Some((_, 't')) if quote == '"' => value.push('\t'),
            Some((_, other)) => {
                // `\$` stays two characters until expansion has seen it.
                value.push('\\');
                value.push(other);
            }
            None => break,
        }
    }
    Err(Problem::Unclosed)
}

/// An unquoted value ends at a `#` with white space before it, or at once at a leading `#`.
fn unquoted(line: &str) -> &str {
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        if c == '#' && before.is_whitespace() {
            return line[..at].trim();
        }
        before = c;
    }
    line.trim()
}

/// Replaces `${NAME}` and `${NAME:-default}`, once: what comes in is not expanded again.
fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, found) = rest.split_at(at);
        let Some(end) = found.find('}') else {
            break;
        };
        if let Some(kept) = before.strip_suffix('\\') {
            expanded.push_str(kept);
            expanded.push_str(&found[..=end]);
        } else {
            expanded.push_str(before);
            let inner = &found[2..end];
            let (name, default) = inner.split_once(":-").unwrap_or((inner, ""));
            let value = lookup(name).filter(|value| !value.is_empty());
            expanded.push_str(value.as_deref().unwrap_or(default));
        }
        rest = &found[end + 1..];
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn outside(name: &str) -> Option<String> {
        (name == "HOME").then(|| "/home/someone".to_owned())
    }

    fn read(text: &str) -> Vec<(String, String)> {
        let pairs = parse(text, &outside).expect("a valid file");
        pairs.into_iter().map(|one| (one.name, one.value)).collect()
    }

    #[test]
    fn every_way_to_write_a_value_is_read() {
        for (line, value) in [
            ("A=b", "b"),
            ("A = b ", "b"),
            ("export A=b", "b"),
            ("  A=b", "b"),
            ("A=", ""),
            ("A=''", ""),
            ("A=b # comment", "b"),
            ("A=b#no-comment", "b#no-comment"),
            ("A= # comment", ""),
            ("A='b # kept' # comment", "b # kept"),
            ("A=\"b \\\"c\\\" \\n\"", "b \"c\" \n"),
            ("A='b \\n'", "b \\n"),
            ("A='it\\'s'", "it's"),
            ("A=\"two\nlines\"", "two\nlines"),
            ("A=\"two\r\nlines\"\r", "two\nlines"),
            ("A=b\r", "b"),
            ("A=a=b==", "a=b=="),
            ("A=${HOME}/x", "/home/someone/x"),
            ("A='${HOME}'", "${HOME}"),
            ("A=\"${GONE:-there}\"", "there"),
            ("A=\\${HOME}", "${HOME}"),
            ("A=${HOME", "${HOME"),
            ("A=$HOME", "$HOME"),
            ("\u{feff}A=b", "b"),
        ] {
            assert_eq!(read(line), [("A".to_owned(), value.to_owned())], "{line:?}");
        }
    }

    #[test]
    fn blank_lines_and_comments_are_skipped() {
        assert_eq!(read("\n# A=b\n   \n\t# c\nexport A\n"), []);
    }

    #[test]
    fn a_name_may_hold_a_dash_and_refer_to_an_earlier_one() {
        let pairs = read("QUOTA_GROUPS_X_25-FLASH=a\nB=${QUOTA_GROUPS_X_25-FLASH}b");
        assert_eq!(pairs[1], ("B".to_owned(), "ab".to_owned()));
    }

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        for (text, line, problem) in [
            ("A=b\nnonsense", 2, Problem::NoAssignment),
            ("A=\"x\ny\"\n=b", 3, Problem::Name),
            ("1A=b", 1, Problem::Name),
            ("A B=c", 1, Problem::Name),
            ("\nA=\"never\nclosed", 2, Problem::Unclosed),
            ("A='b' c", 1, Problem::AfterQuote),
        ] {
            let error = parse(text, &outside).err();
            assert_eq!(error, Some(DotenvError { line, problem }), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[A-Z='\"\\\\#${}:\\- \r\né\u{0}]{0,60}") {
            let _ = parse(&text, &outside);
        }

        #[test]
        fn a_single_quoted_value_comes_back_whole(value in "[^'\\\\\r]{0,40}") {
            let pairs = read(&format!("A='{value}'\nB=1"));
            prop_assert_eq!(&pairs[0].1, &value);
            prop_assert_eq!(&pairs[1].1, "1");
        }
    }
}
