//! Hides secrets in lines of the config that are shown.

use crate::config::keys;

/// Beginnings that keys of the better-known vendors have.
const PREFIXES: [&str; 17] = [
    "sk-", "AIza", "gsk_", "xai-", "nvapi-", "hf_", "ya29.", "eyJ", "csk-", "pplx-", "fw_", "AQ.",
    "GOCSPX-", "1//", "tgp_", "ghp_", "r8_",
];

/// No setting has a word this long that must be read to understand an error.
const LONGEST_PLAIN_WORD: usize = 39;

/// A line of `config.toml` to show. Behind a key that can hold secrets, and on lines without a key
/// (the inside of a list), every word of some length is hidden but `env:` and `file:` references;
/// elsewhere only what looks like a key.
pub(super) fn line(line: &str) -> String {
    let harmless = is_harmless(line);
    words(line, |word, rest| {
        if looks_like_a_key(word) {
            return true;
        }
        let is_name = rest
            .trim_start_matches(['"', '\'', ' ', '\t'])
            .starts_with('=');
        !harmless && !is_name && word.chars().count() > 5
    })
}

/// A message of the TOML reader about a `line` to show: it may quote the value.
pub(super) fn message(text: &str, line: &str) -> String {
    let quoted = (!is_harmless(line))
        .then(|| text.split_once("string \""))
        .flatten();
    let Some((before, value)) = quoted else {
        return words(text, |word, _| looks_like_a_key(word));
    };
    let after = value
        .rsplit_once("\", expected")
        .map_or("", |(_, after)| after);
    format!("{before}string \"…\", expected{after}")
}

/// `true` for a line whose values are no secrets: that of a key which never holds one, or the head
/// of a section.
fn is_harmless(line: &str) -> bool {
    let name = line
        .split_once('=')
        .map(|(before, _)| before.trim().trim_matches(['"', '\'']))
        .map(|path| path.rsplit('.').next().unwrap_or(path).trim());
    match name {
        Some(name) => keys::is_harmless(name),
        None => line.trim_start().starts_with('[') && line.trim_end().ends_with(']'),
    }
}

fn looks_like_a_key(word: &str) -> bool {
    let known = PREFIXES.iter().any(|prefix| word.starts_with(prefix));
    let has_password = word.contains("://") && word.contains('@');
    has_password
        || (known && word.len() > 8)
        || (word.len() > LONGEST_PLAIN_WORD && !word.contains('/'))
}

/// Replaces the words for which `hide(word, what follows it)` says so.
fn words(text: &str, hide: impl Fn(&str, &str) -> bool) -> String {
    let in_word = |c: char| c.is_alphanumeric() || "-_./+:@".contains(c);
    let mut shown = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| !in_word(c)).unwrap_or(rest.len());
        if end == 0 {
            let next = rest.chars().next().map_or(1, char::len_utf8);
            shown.push_str(&rest[..next]);
            rest = &rest[next..];
            continue;
        }
        let (word, after) = rest.split_at(end);
        let reference = ["env:", "file:"]
            .iter()
            .any(|prefix| word.starts_with(prefix));
        shown.push_str(if !reference && hide(word, after) {
            "…"
        } else {
            word
        });
        rest = after;
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_and_the_rest_is_not() {
        for (written, shown) in [
            ("host = \"127.0.0.1\"", "host = \"127.0.0.1\""),
            ("host = \"sk-0123456789\"", "host = \"…\""),
            ("api_keys = [\"my-own-secret\"]", "api_keys = [\"…\"]"),
            ("api_keys = [my-own-secret]", "api_keys = […]"),
            (
                "api_keys = [\"env:GEMINI_API_KEY\"]",
                "api_keys = [\"env:GEMINI_API_KEY\"]",
            ),
            ("  \"my-own-secret\",", "  \"…\","),
            (
                "{ key = \"my-own-secret\", label = \"work\" }",
                "{ key = \"…\", label = \"work\" }",
            ),
            (
                "client_secret = 'GOCSPX-aaaaaaaaaaaa'",
                "client_secret = '…'",
            ),
            (
                "server.clients.key = \"my-own-secret\"",
                "server.clients.key = \"…\"",
            ),
            ("url = \"redis://:password@host/0\"", "url = \"…\""),
            ("[providers.gemini]", "[providers.gemini]"),
            ("unknown_thing = \"my-own-secret\"", "unknown_thing = \"…\""),
            (
                "targets = [\"gemini/gemini-2.5-pro\"]",
                "targets = [\"gemini/gemini-2.5-pro\"]",
            ),
        ] {
            assert_eq!(line(written), shown);
        }
    }

    #[test]
    fn a_quoted_value_in_a_message_is_hidden_where_it_may_be_a_key() {
        let quoting = |value: &str| format!("invalid type: string \"{value}\", expected a list");
        for (line, value, shown) in [
            (
                "metrics = \"sk-canary-0123456789\"",
                "sk-canary-0123456789",
                "…",
            ),
            ("metrics = \"yes\"", "yes", "yes"),
            ("api_keys = \"hunter2\"", "hunter2", "…"),
            ("api_keys = \"a\\\", expected b\"", "a\", expected b", "…"),
        ] {
            assert_eq!(message(&quoting(value), line), quoting(shown));
        }
    }
}
