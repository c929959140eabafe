//! What a Responses client holds in `encrypted_content`: signatures of any maker, redacted
//! thinking, and signatures that belong to another item.
//!
//! Only reasoning items have such a member, so a signature on a text or a call (Gemini's) gets a
//! reasoning item of its own, before or behind the item it signs. Clients send the items back in
//! order; [`read`] says what each one is.

use std::borrow::Cow;

use crate::dialects::Dialect;
use crate::dialects::signature::{for_client, from_client};

const LAST: &str = "llmproxy/last/";
const NEXT: &str = "llmproxy/next/";
const REDACTED: &str = "llmproxy/redacted/";

/// What an `encrypted_content` is. Signatures are tagged.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// Signs the text or call before it.
    Last(String),
    /// Signs the call after it.
    Next(String),
    /// The data of redacted thinking.
    Redacted(String),
    /// Signs the reasoning it stands in.
    Own(String),
}

pub(super) fn read(content: &str) -> Held {
    let canonical = |text: &str| from_client(Dialect::OpenAiResponses, text).into_owned();
    if let Some(signature) = content.strip_prefix(LAST) {
        Held::Last(canonical(signature))
    } else if let Some(signature) = content.strip_prefix(NEXT) {
        Held::Next(canonical(signature))
    } else if let Some(data) = content.strip_prefix(REDACTED) {
        Held::Redacted(data.to_owned())
    } else {
        Held::Own(canonical(content))
    }
}

pub(super) fn own(signature: &str) -> Cow<'_, str> {
    Cow::Borrowed(for_client(Dialect::OpenAiResponses, signature))
}

pub(super) fn last(signature: &str) -> String {
    format!("{LAST}{signature}")
}

pub(super) fn next(signature: &str) -> String {
    format!("{NEXT}{signature}")
}

pub(super) fn redacted(data: &str) -> String {
    format!("{REDACTED}{data}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialects::signature::{is_tagged, tag};

    #[test]
    fn what_is_held_comes_back_as_what_it_was() {
        let claude = tag(Dialect::Anthropic, "abc");
        let openai = tag(Dialect::OpenAiResponses, "gAAA");
        assert_eq!(own(&openai), "gAAA");
        assert_eq!(read("gAAA"), Held::Own(openai));
        assert_eq!(read(&own(&claude)), Held::Own(claude.clone()));
        assert_eq!(read(&last(&claude)), Held::Last(claude.clone()));
        assert_eq!(read(&next(&claude)), Held::Next(claude.clone()));
        assert_eq!(read(&redacted(&claude)), Held::Redacted(claude.clone()));
        for held in [last(&claude), next(&claude), redacted("x")] {
            let body = format!(r#"{{"encrypted_content":"{held}"}}"#);
            assert!(is_tagged(body.as_bytes()), "{body}");
        }
    }
}
