//! The other form of a request that Code Assist could not take or answer: with a word on the call
//! that came out broken, without credits that are spent.

use std::time::Duration;

use bytes::Bytes;

use crate::providers::Outgoing;
use crate::providers::code_assist::body::{Body, Content};
use crate::providers::code_assist::malformed;
use crate::providers::forms::{FailedForm, SecondForm, Switches};

/// A broken call is asked for again so often, a second apart (LLM-API-Key-Proxy's rule).
const CORRECTIONS: u32 = 2;
const CORRECTION_PAUSE: Duration = Duration::from_secs(1);

/// Longest broken text that is shown to the model again.
const MAX_SHOWN: usize = 4096;

/// The next form, if there is one.
pub(super) fn of(
    failed: &FailedForm<'_>,
    request: &Outgoing<'_>,
    times: u32,
) -> Option<SecondForm> {
    let form = |body: Bytes| SecondForm {
        body,
        switches: request.switches,
        pause: Duration::ZERO,
    };
    if let Some(broken) = malformed::broken_text(&failed.failure.message) {
        if times >= CORRECTIONS {
            return None;
        }
        return Some(SecondForm {
            pause: CORRECTION_PAUSE,
            ..form(corrected(failed.body, broken)?)
        });
    }
    if times > 0 {
        return None;
    }
    if request.switches.spend_credits && is_about_credits(failed) {
        return Some(SecondForm {
            switches: Switches {
                spend_credits: false,
                ..request.switches
            },
            ..form(failed.body.clone())
        });
    }
    None
}

fn is_about_credits(failed: &FailedForm<'_>) -> bool {
    memchr::memmem::find(failed.answer, b"INSUFFICIENT_G1_CREDITS_BALANCE").is_some()
}

/// The conversation with the broken call and a word on it.
fn corrected(body: &Bytes, broken: &str) -> Option<Bytes> {
    let mut body = Body::parse(body)?;
    let shown = broken.get(..broken.floor_char_boundary(MAX_SHOWN))?;
    if !shown.is_empty() {
        body.contents.push(Content::model(shown));
    }
    let word = "Your last tool call could not be read. Make it again as a proper function call, \
        with arguments that are valid JSON and fit the tool's declaration.";
    let asks_already = body.contents.last().is_some_and(Content::is_user);
    if asks_already {
        let part = Content::user(word).parts;
        if let Some(last) = body.contents.last_mut() {
            last.parts.extend(part);
        }
    } else {
        body.contents.push(Content::user(word));
    }
    Some(body.write(None).into())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::dialects::{Dialect, Operation};
    use crate::providers::verdict::{Failure, Fault, Verdict};

    fn second(
        model: &str,
        failure: &Failure,
        answer: &str,
        body: &Value,
        times: u32,
    ) -> Option<(Value, SecondForm)> {
        let body = Bytes::from(body.to_string());
        let request = Outgoing {
            switches: Switches {
                spend_credits: true,
                guard_tools: false,
                no_dummy_tool: false,
            },
            ..Outgoing::new(Operation::Chat, Dialect::Gemini, model)
        };
        let failed = FailedForm {
            failure,
            answer: answer.as_bytes(),
            body: &body,
        };
        let form = of(&failed, &request, times)?;
        Some((serde_json::from_slice(&form.body).expect("JSON"), form))
    }

    fn refused(status: u16, message: &str) -> Failure {
        Failure {
            status: Some(status),
            ..Failure::new(Verdict::BadRequest, message)
        }
    }

    fn history() -> Value {
        json!({"contents": [
            {"role": "user", "parts": [{"text": "go"}]},
            {"role": "model", "parts": [
                {"text": "hm", "thought": true, "thoughtSignature": "S"},
                {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "T"},
                {"functionCall": {"name": "f", "args": {}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]},
        ], "generationConfig": {"thinkingConfig": {"thinkingBudget": 1}}})
    }

    #[test]
    fn a_broken_call_is_asked_for_again_twice() {
        let failure = || {
            Failure::new(
                Verdict::Transient(Fault::Garbage),
                "Malformed function call: call:default_api:f{a",
            )
        };
        for times in 0..2 {
            let (body, form) =
                second("gemini-pro-agent", &failure(), "", &history(), times).expect("a form");
            assert_eq!(form.pause, CORRECTION_PAUSE);
            assert_eq!(
                body["contents"][3]["parts"][0]["text"],
                "call:default_api:f{a"
            );
            assert_eq!(body["contents"][4]["role"], "user");
        }
        assert!(second("gemini-pro-agent", &failure(), "", &history(), 2).is_none());
    }

    #[test]
    fn spent_credits_are_left_out() {
        let failure = || refused(429, "no credits");
        let answer = r#"{"error":{"details":[{"reason":"INSUFFICIENT_G1_CREDITS_BALANCE"}]}}"#;
        let (_, form) =
            second("gemini-3-pro-preview", &failure(), answer, &history(), 0).expect("a form");
        assert!(!form.switches.spend_credits);
        assert!(second("gemini-3-pro-preview", &failure(), "{}", &history(), 0).is_none());
    }
}
