//! Signatures in `thoughtSignature`, which Google's SDKs decode from base64 and encode again, in
//! either alphabet.
//!
//! What Gemini itself made is in base64 already and passes bare. Everything else (Claude's
//! signatures, OpenAI's encrypted reasoning, redacted thinking) is wrapped: the tagged text of
//! [`crate::dialects::signature`], in base64 once more. All wrapped ones begin alike.

use std::borrow::Cow;

use crate::dialects::Dialect;
use crate::dialects::media::{decode, encode, standard_base64};
use crate::dialects::signature::{for_client, from_client, maker};

/// Marks redacted thinking inside the wrapping.
const REDACTED: &str = "llmproxy/redacted/";

/// What Google documents for calls whose signature is not at hand (thought signatures page, read
/// 2026-11-22): without one Gemini 3 refuses the turn.
pub(super) const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// The other text that Google takes for one (same page).
const OTHER_NO_SIGNATURE: &str = "context_engineering_is_the_way_to_go";

/// What comes out of a `thoughtSignature`.
pub(super) enum Held {
    /// The stand-in for a signature: writers put it where it is needed.
    Nothing,
    /// The data of a redacted thinking block, tagged.
    Redacted(String),
    /// A signature, tagged.
    Signature(String),
}

/// The canonical form of a `thoughtSignature`, a client's or Gemini's own.
pub(super) fn read(signature: &str) -> Held {
    if let Some(text) = unwrapped(signature) {
        return match text.strip_prefix(REDACTED) {
            Some(data) => Held::Redacted(data.to_owned()),
            None => Held::Signature(text),
        };
    }
    if stands_in(signature) {
        return Held::Nothing;
    }
    let plain = standard_base64(signature).unwrap_or(Cow::Borrowed(signature));
    Held::Signature(from_client(Dialect::Gemini, &plain).into_owned())
}

/// Whether it is the stand-in: as documented, as an SDK that took it for base64 encodes it again, or
/// encoded by a client that has texts where Google's SDK wants bytes.
fn stands_in(signature: &str) -> bool {
    [NO_SIGNATURE, OTHER_NO_SIGNATURE].iter().any(|known| {
        signature.replace('/', "_") == *known
            || signature.trim_end_matches('=') == encode(known.as_bytes()).trim_end_matches('=')
    })
}

/// A canonical signature for a Gemini client to hold.
pub(super) fn write(signature: &str) -> Cow<'_, str> {
    match for_client(Dialect::Gemini, signature) {
        foreign if maker(foreign).is_some() => Cow::Owned(encode(foreign.as_bytes())),
        bare => Cow::Borrowed(bare),
    }
}

/// Redacted thinking for a Gemini client to hold.
pub(super) fn write_redacted(data: &str) -> String {
    encode(format!("{REDACTED}{data}").as_bytes())
}

fn unwrapped(signature: &str) -> Option<String> {
    if !signature.starts_with(crate::dialects::signature::WRAPPED_MARK) {
        return None;
    }
    String::from_utf8(decode(signature)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialects::signature::{is_tagged, tag};

    #[test]
    fn foreign_signatures_survive_either_base64_alphabet() {
        let claude = tag(Dialect::Anthropic, "ab-_+/=?>");
        let held = write(&claude).into_owned();
        for returned in [held.clone(), held.replace('+', "-").replace('/', "_")] {
            assert!(matches!(read(&returned), Held::Signature(back) if back == claude));
            assert!(is_tagged(returned.as_bytes()));
        }
        let own = tag(Dialect::Gemini, "U0lHMQ==");
        assert_eq!(write(&own), "U0lHMQ==");
        assert!(matches!(read("U0lHMQ"), Held::Signature(back) if back == own));
        for stand_in in [
            "skip/thought/signature/validator",
            "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I=",
            "Y29udGV4dF9lbmdpbmVlcmluZ19pc190aGVfd2F5X3RvX2dv",
        ] {
            assert!(matches!(read(stand_in), Held::Nothing), "{stand_in}");
        }
        let redacted = write_redacted(&claude);
        assert!(matches!(read(&redacted), Held::Redacted(back) if back == claude));
    }
}
