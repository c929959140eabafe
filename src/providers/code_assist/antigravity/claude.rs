//! What Claude wants of a conversation in Gemini's form (wire-format notes, C.4 to C.7, read
//! 2026-11-22): its own thoughts with their signatures byte for byte or none at all, no empty parts,
//! thoughts before texts before calls, the user's turn last.

use crate::providers::code_assist::body::{Body, Content, Members, Part};

/// Shorter texts are no signatures of Claude's.
const LEAST_SIGNATURE_BYTES: usize = 50;

/// What the user says where the conversation would end with the model's turn, or a turn of the
/// user's says nothing: Claude continues no text of its own, and refuses blank ones.
const CONTINUE: &str = "Continue.";

/// One sentence for Claude with tools and thinking: the service has no other switch for thinking
/// between calls.
const INTERLEAVED: &str =
    "You may think again after each tool result before you call the next tool or answer.";

/// Makes a conversation fit for Claude.
pub(super) fn fit(body: &mut Body) {
    for content in &mut body.contents {
        if content.is_model() {
            fit_model_turn(content);
        } else {
            fit_user_turn(content);
        }
    }
    body.contents.retain(|content| !content.parts.is_empty());
    merge(&mut body.contents);
    if body.contents.last().is_none_or(Content::is_model) {
        body.contents.push(Content::user(CONTINUE));
    }
    if body.contents.first().is_some_and(Content::is_model) {
        body.contents.insert(0, Content::user(CONTINUE));
    }
}

/// `true` if thinking can go on: inside a loop of tools the model's first turn must begin with the
/// thoughts it had, and those may be lost.
pub(super) fn may_think(contents: &[Content]) -> bool {
    let begin = contents
        .iter()
        .rposition(|content| content.is_user() && !content.parts.iter().all(Part::is_response));
    let turns = begin
        .and_then(|at| contents.get(at + 1..))
        .unwrap_or(contents);
    turns
        .iter()
        .find(|content| content.is_model())
        .and_then(|content| content.parts.first())
        .is_none_or(Part::is_thought)
}

/// Tells the model that it may think between calls.
pub(super) fn interleave(body: &mut Body) {
    body.system.push(Part::of_text(INTERLEAVED));
}

/// What Claude does not take together: sampling is fixed while it thinks, and else one parameter
/// of two.
pub(super) fn fit_sampling(config: &mut Members, thinks: bool) {
    if thinks {
        for name in ["temperature", "topP", "topK"] {
            config.remove(name);
        }
    } else if config.get("temperature").is_some() {
        config.remove("topP");
    }
}

fn fit_model_turn(content: &mut Content) {
    content.parts.retain(|part| {
        if part.is_thought() {
            return part
                .signature()
                .is_some_and(|signature| is_claudes(&signature));
        }
        part.has_data()
    });
    for part in &mut content.parts {
        if !part.is_thought() {
            part.remove_signature();
        }
    }
    // Stable: within each sort the order stays.
    content.parts.sort_by_key(|part| match part {
        part if part.is_thought() => 0,
        part if part.is_call() => 2,
        _ => 1,
    });
}

fn fit_user_turn(content: &mut Content) {
    let says = |part: &Part| {
        part.text()
            .map_or(part.has_data(), |text| !text.trim().is_empty())
    };
    let before = content.parts.len();
    content.parts.retain(says);
    if content.parts.is_empty() && before > 0 {
        content.parts.push(Part::of_text(CONTINUE));
    }
}

fn merge(contents: &mut Vec<Content>) {
    let mut merged: Vec<Content> = Vec::with_capacity(contents.len());
    for mut content in contents.drain(..) {
        match merged.last_mut() {
            Some(last) if last.role == content.role => last.parts.append(&mut content.parts),
            _ => merged.push(content),
        }
    }
    *contents = merged;
}

/// `true` for what looks like a signature of Claude's: base64 of at least 50 characters that begins
/// with `E` or `R`.
fn is_claudes(signature: &str) -> bool {
    signature.len() >= LEAST_SIGNATURE_BYTES
        && signature.starts_with(['E', 'R'])
        && signature
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature() -> String {
        format!("E{}", "a".repeat(59))
    }

    fn fitted(contents: &str) -> (String, bool) {
        let json = format!(r#"{{"contents":{contents}}}"#);
        let mut body = Body::parse(json.as_bytes()).expect("a body");
        fit(&mut body);
        let may = may_think(&body.contents);
        (body.contents_json().get().to_owned(), may)
    }

    #[test]
    fn signed_thoughts_stand_first_and_others_go() {
        let signed = format!(
            r#"{{"text":"hm","thought":true,"thoughtSignature":"{}"}}"#,
            signature()
        );
        let call = r#"{"functionCall":{"id":"c","name":"f","args":{}}}"#;
        let history = format!(
            r#"[{{"role":"user","parts":[{{"text":"go"}}]}},{{"role":"model","parts":[{call},{{"text":""}},{{"text":"t"}},{signed},{{"text":"unsigned","thought":true}},{{"text":"x","thought":true,"thoughtSignature":"Eshort"}}]}},{{"role":"user","parts":[{{"functionResponse":{{"id":"c","name":"f","response":{{}}}}}}]}}]"#
        );
        let (out, may) = fitted(&history);
        let turn = format!(r#"{{"role":"model","parts":[{signed},{{"text":"t"}},{call}]}}"#);
        assert!(out.contains(&turn), "{out}");
        assert!(may);
    }

    #[test]
    fn thinking_ends_where_its_beginning_is_lost() {
        let call = r#"{"functionCall":{"id":"c","name":"f","args":{}}}"#;
        let answer = r#"{"functionResponse":{"id":"c","name":"f","response":{}}}"#;
        let lost = format!(
            r#"[{{"role":"user","parts":[{{"text":"go"}}]}},{{"role":"model","parts":[{call}]}},{{"role":"user","parts":[{answer}]}}]"#
        );
        assert!(!fitted(&lost).1);
        let new_turn = format!(
            r#"[{{"role":"user","parts":[{{"text":"go"}}]}},{{"role":"model","parts":[{call}]}},{{"role":"user","parts":[{answer},{{"text":"and now?"}}]}}]"#
        );
        assert!(fitted(&new_turn).1);
    }

    #[test]
    fn blank_texts_go_and_the_user_has_the_last_word() {
        let (out, _) = fitted(
            r#"[{"role":"model","parts":[{"text":"hi"}]},{"role":"user","parts":[{"text":" "},{"text":"a"}]},{"role":"user","parts":[{"text":""}]},{"role":"model","parts":[{"text":"so"}]}]"#,
        );
        assert_eq!(
            out,
            r#"[{"role":"user","parts":[{"text":"Continue."}]},{"role":"model","parts":[{"text":"hi"}]},{"role":"user","parts":[{"text":"a"},{"text":"Continue."}]},{"role":"model","parts":[{"text":"so"}]},{"role":"user","parts":[{"text":"Continue."}]}]"#
        );
    }

    #[test]
    fn sampling_is_fixed_while_it_thinks() {
        let json = r#"{"contents":[],"generationConfig":{"temperature":0.5,"topP":0.9,"topK":5}}"#;
        for (thinks, left) in [(true, "{}"), (false, r#"{"temperature":0.5,"topK":5}"#)] {
            let mut body = Body::parse(json.as_bytes()).expect("a body");
            fit_sampling(&mut body.config, thinks);
            assert_eq!(body.config.to_raw().get(), left);
        }
    }
}
