//! Thought signatures and who made them.
//!
//! Only its maker accepts a signature, but a client may take a conversation from one vendor to
//! another. So in the canonical form every signature (and the data of redacted thinking) says its
//! maker in a tag of 16 characters, `llmproxy/claude/`. Readers tag, writers untag:
//!
//! - reading an upstream's answer: [`tag`] with the upstream's dialect;
//! - writing a client's answer: [`for_client`] drops the tag where the client's own dialect made
//!   it, and leaves it on where not, so that it comes back with the next request;
//! - reading a client's request: [`from_client`] tags what bears no tag with the client's dialect;
//! - writing an upstream's request: [`for_upstream`] gives the bare signature to its maker and
//!   `None` to anybody else.
//!
//! The tags are 16 characters of the base64 alphabet, so a tagged base64 signature is still valid
//! base64 (Google's SDKs decode `thoughtSignature` to bytes and encode it again).

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::dialects::chat::ChatRequest;
use crate::dialects::{Dialect, recall};

/// What all tags begin with.
const MARK: &str = "llmproxy/";

/// What every tagged text begins with once it is in base64: Gemini clients hold foreign signatures
/// that way, because Google's SDKs decode them to bytes and encode them again.
pub(in crate::dialects) const WRAPPED_MARK: &str = "bGxtcHJveHkv";

/// What Responses clients hold of signatures that sign no reasoning (`openai_responses::held`).
const HELD: &[&str] = &["llmproxy/last/", "llmproxy/next/", "llmproxy/redacted/"];

const CLAUDE: &str = "llmproxy/claude/";
const GEMINI: &str = "llmproxy/gemini/";
const OPENAI: &str = "llmproxy/openai/";

/// The canonical form of a signature that the given dialect's vendor made.
pub fn tag(maker: Dialect, signature: &str) -> String {
    format!("{}{signature}", tag_of(maker))
}

/// The maker and the bare signature; `None` for a text without a tag.
pub fn maker(signature: &str) -> Option<(Dialect, &str)> {
    [
        (Dialect::Anthropic, CLAUDE),
        (Dialect::Gemini, GEMINI),
        (Dialect::OpenAiResponses, OPENAI),
    ]
    .into_iter()
    .find_map(|(dialect, tag)| Some((dialect, signature.strip_prefix(tag)?)))
}

/// What a client of the given dialect gets to hold: bare if its dialect made it, else tagged.
pub fn for_client(client: Dialect, signature: &str) -> &str {
    match maker(signature) {
        Some((made_by, bare)) if same_maker(made_by, client) => bare,
        _ => signature,
    }
}

/// The canonical form of what a client of the given dialect sent back.
pub fn from_client(client: Dialect, signature: &str) -> Cow<'_, str> {
    if maker(signature).is_some() {
        return Cow::Borrowed(signature);
    }
    Cow::Owned(tag(client, signature))
}

/// The bare signature if the upstream's dialect made it; `None` if it would refuse it.
pub fn for_upstream(upstream: Dialect, signature: &str) -> Option<&str> {
    let (made_by, bare) = maker(signature)?;
    same_maker(made_by, upstream).then_some(bare)
}

/// `true` if the body of a request holds a signature that the gateway tagged: then it must be
/// translated even to its own dialect, because no vendor knows the tag. A text that only speaks of
/// tags does not count: a tag begins its JSON string.
pub fn is_tagged(body: &[u8]) -> bool {
    // Hardly any body holds the name at all.
    static NAMES: LazyLock<[Finder<'static>; 2]> =
        LazyLock::new(|| ["llmproxy", WRAPPED_MARK].map(Finder::new));
    if NAMES.iter().all(|name| name.find(body).is_none()) {
        return false;
    }
    // The wrapped form is base64, which no text speaks of; it may follow a mark of its holder.
    begins_with_tag(body, MARK, &[CLAUDE, GEMINI, OPENAI])
        || begins_with_tag(body, MARK, HELD)
        // Some JSON writers escape slashes.
        || begins_with_tag(body, r"llmproxy\/", &[r"llmproxy\/"])
        || memchr::memmem::find(body, WRAPPED_MARK.as_bytes()).is_some()
}

fn begins_with_tag(body: &[u8], mark: &str, tags: &[&str]) -> bool {
    memchr::memmem::find_iter(body, mark.as_bytes()).any(|at| {
        let is_start = match body.get(..at) {
            Some([.., before, b'"']) => *before != b'\\',
            _ => false,
        };
        let rest = body.get(at..).unwrap_or_default();
        is_start && tags.iter().any(|tag| rest.starts_with(tag.as_bytes()))
    })
}

/// `true` if an upstream's message says that it refuses a signature, or thinking for want of one.
///
/// Anthropic: "Invalid `signature` in `thinking` block", "Expected `thinking` or
/// `redacted_thinking`, but found …", "`thinking` … blocks in the latest assistant message cannot
/// be modified"; Gemini: "Thought signature is not valid", "Function call is missing a
/// `thought_signature`", "Corrupted thought signature"; OpenAI: "The encrypted content … could not
/// be verified". (Vendors' errors as their SDKs' issue trackers quote them, read 2026-11-22.)
pub fn is_refusal(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    let has = |text: &str| message.contains(text);
    let is_thought = has("thinking") || has("thought") || has("reasoning");
    (has("signature") && is_thought)
        || has("signature.str")
        || has("redacted_thinking")
        || has("must contain thinking")
        || (has("encrypted content") && (has("verified") || has("decrypt")))
        || has("invalid_encrypted_content")
}

/// Takes all signatures out of a request, for the one retry after a vendor refused one: thinking
/// that bore one and redacted thinking go, calls and texts stay.
pub fn strip(request: &mut ChatRequest) {
    recall::drop_signatures(request, |_| true);
}

const fn tag_of(maker: Dialect) -> &'static str {
    match maker {
        Dialect::Anthropic => CLAUDE,
        Dialect::Gemini => GEMINI,
        Dialect::OpenAiChat | Dialect::OpenAiResponses => OPENAI,
    }
}

fn same_maker(a: Dialect, b: Dialect) -> bool {
    tag_of(a) == tag_of(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_comes_home_bare_and_to_nobody_else() {
        let canonical = tag(Dialect::Gemini, "QUJD");
        assert_eq!(for_client(Dialect::Gemini, &canonical), "QUJD");
        let held = for_client(Dialect::Anthropic, &canonical);
        assert_eq!(held, "llmproxy/gemini/QUJD");
        let back = from_client(Dialect::Anthropic, held);
        assert_eq!(for_upstream(Dialect::Gemini, &back), Some("QUJD"));
        assert_eq!(for_upstream(Dialect::Anthropic, &back), None);
    }

    #[test]
    fn an_untagged_signature_belongs_to_the_clients_dialect() {
        let canonical = from_client(Dialect::Anthropic, "EqQB");
        assert_eq!(for_upstream(Dialect::Anthropic, &canonical), Some("EqQB"));
        assert_eq!(for_upstream(Dialect::Gemini, &canonical), None);
    }

    #[test]
    fn refusals_of_signatures_are_told_from_other_errors() {
        for (message, refuses) in [
            (
                "messages.1.content.0: Invalid `signature` in `thinking` block",
                true,
            ),
            (
                "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found \
                 `tool_use`.",
                true,
            ),
            ("Thought signature is not valid", true),
            (
                "Function call is missing a thought_signature in functionCall parts.",
                true,
            ),
            (
                "The encrypted content for item rs_1 could not be verified.",
                true,
            ),
            (
                "messages.1.content.0.thinking.signature.str: Input should be a valid string",
                true,
            ),
            (
                "thinking.budget_tokens: Input should be greater than 1024",
                false,
            ),
            ("prompt is too long", false),
            ("invalid request signature", false),
        ] {
            assert_eq!(is_refusal(message), refuses, "{message}");
        }
    }

    #[test]
    fn tags_keep_base64_valid() {
        for tag in [CLAUDE, GEMINI, OPENAI] {
            assert_eq!(tag.len() % 4, 0);
            assert!(tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'/'));
        }
        assert!(is_tagged(br#"{"signature":"llmproxy/gemini/QUJD"}"#));
        assert!(is_tagged(br#"{"signature":"llmproxy\/gemini\/QUJD"}"#));
        for untagged in [
            r#"{"signature":"QUJD"}"#,
            r#"{"text":"see llmproxy/gemini/ there"}"#,
            r#"{"text":"\"llmproxy/gemini/\""}"#,
            r#"{"model":"llmproxy/other"}"#,
        ] {
            assert!(!is_tagged(untagged.as_bytes()), "{untagged}");
        }
    }
}
