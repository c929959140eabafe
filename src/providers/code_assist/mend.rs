//! What the answers of Code Assist get wrong, put right on their way into the canonical form: names
//! and arguments of calls, calls that broke, thoughts told twice, signatures of Claude's, and
//! sentences for people in place of an answer.

use std::collections::HashMap;

use crate::dialects::chat::{ChatReply, ChatRequest, Choice, Part, Tool, ToolCall};
use crate::dialects::error::{ReadError, UpstreamError};
use crate::dialects::event::{Event, EventKind, StopReason};
use crate::dialects::fields::{Extra, Raw};
use crate::dialects::ids::{IdSource, NameRule, tool_name};
use crate::dialects::schema::restore_validated;
use crate::dialects::{Dialect, StreamReader, signature};
use crate::providers::code_assist::{guard, judge, malformed};

/// Thoughts shorter than this are not compared: short texts begin alike by chance.
const LEAST_REPEATED_BYTES: usize = 20;

/// Thoughts kept to compare later ones with.
const MAX_THOUGHTS_BYTES: usize = 1 << 20;

/// Which service answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    Antigravity,
    GeminiCli,
}

/// What is known of the request whose answer is mended.
#[derive(Clone, Debug)]
pub(super) struct Mender {
    service: Service,
    /// Whether Claude answers, whose signatures are its own.
    is_claude: bool,
    /// Whether tools were declared under guarded names.
    is_guarded: bool,
    /// Schemas by the name the upstream knows.
    tools: HashMap<String, Option<Raw>>,
}

impl Mender {
    /// For the answer to a request.
    pub(super) fn new(
        service: Service,
        model: &str,
        request: Option<&ChatRequest>,
        is_guarded: bool,
    ) -> Self {
        let tools = request.map_or(&[][..], |request| &request.tools);
        let tools = tools.iter().filter_map(|tool| {
            let name = tool_name(tool.name()?, NameRule::Gemini).into_owned();
            let schema = match tool {
                Tool::Function(function) => function.parameters.clone(),
                Tool::Custom { .. } | Tool::Hosted { .. } => None,
            };
            Some((name, schema))
        });
        Self {
            service,
            is_claude: model.contains("claude"),
            is_guarded: is_guarded && guard::concerns(model),
            tools: tools.collect(),
        }
    }

    /// A reader that mends what `inner` reads.
    pub(super) fn around(self, inner: Box<dyn StreamReader>) -> Box<dyn StreamReader> {
        Box::new(MendingReader {
            inner,
            mender: self,
            read: Vec::new(),
            thoughts: String::new(),
            calls: HashMap::new(),
            has_begun: false,
            ends_otherwise: false,
        })
    }

    /// Mends a whole answer.
    pub(super) fn whole(
        &self,
        reply: Result<ChatReply, ReadError>,
        body: &[u8],
    ) -> Result<ChatReply, ReadError> {
        let mut reply = match reply {
            Ok(reply) => reply,
            Err(ReadError::Upstream(error)) => {
                let Some(call) = self.meant_call(&error) else {
                    return Err(ReadError::Upstream(Box::new(told(*error))));
                };
                return Ok(ChatReply {
                    choices: vec![Choice {
                        parts: vec![Part::ToolCall(call)],
                        stop: Some(StopReason::ToolUse),
                        stop_sequence: None,
                        logprobs: None,
                        extra: Extra::default(),
                    }],
                    ..ChatReply::default()
                });
            }
            Err(error) => return Err(error),
        };
        let ends_otherwise = is_other(body);
        for choice in &mut reply.choices {
            if ends_otherwise && choice.stop == Some(StopReason::ContentFilter) {
                choice.stop = Some(StopReason::EndTurn);
            }
            if let [Part::Text(text)] = &choice.parts[..]
                && let Some(error) = self.refusal(&text.text)
            {
                return Err(ReadError::Upstream(Box::new(error)));
            }
            join_thoughts(&mut choice.parts);
            for part in &mut choice.parts {
                match part {
                    Part::Thinking(thinking) => self.retag(thinking.signature.as_mut()),
                    Part::Text(text) => self.retag(text.signature.as_mut()),
                    Part::ToolCall(call) => {
                        self.retag(call.signature.as_mut());
                        call.name = self.name(&call.name);
                        call.arguments = self.arguments(&call.name, &call.arguments);
                    }
                    Part::Media(_)
                    | Part::Raw { .. }
                    | Part::RedactedThinking { .. }
                    | Part::Refusal(_)
                    | Part::ToolResult(_) => {}
                }
            }
        }
        Ok(reply)
    }

    /// The name the tool was given by the request's writer.
    fn name(&self, called: &str) -> String {
        if !self.is_guarded {
            return called.to_owned();
        }
        let declared = self.tools.keys().map(String::as_str);
        guard::unguarded(called, declared).into_owned()
    }

    /// A call's arguments as its own schema would have them.
    fn arguments(&self, name: &str, arguments: &str) -> String {
        match (self.service, self.tools.get(name)) {
            (Service::Antigravity, Some(schema)) => {
                restore_validated(arguments, schema.as_deref()).into_owned()
            }
            _ => arguments.to_owned(),
        }
    }

    /// Says whose signature it is. The reader of the dialect takes all for Gemini's; Claude's are
    /// good at Anthropic's own endpoint too, and no good to Gemini.
    fn retag(&self, signature: Option<&mut String>) {
        if let Some(signature) = signature.filter(|_| self.is_claude)
            && let Some((Dialect::Gemini, bare)) = signature::maker(signature)
        {
            *signature = signature::tag(Dialect::Anthropic, bare);
        }
    }

    /// The call that a malformed one meant, if it is of a tool that was declared.
    fn meant_call(&self, error: &UpstreamError) -> Option<ToolCall> {
        let meant = malformed::meant(malformed::broken_text(&error.message)?)?;
        let name = self.name(&meant.name);
        if !self.tools.contains_key(&name) {
            return None;
        }
        let arguments = self.arguments(&name, &meant.arguments.to_string());
        let id = IdSource::random().make("call_");
        Some(ToolCall::function(id, name, arguments))
    }

    /// The error that a sentence in place of an answer stands for.
    fn refusal(&self, text: &str) -> Option<UpstreamError> {
        let is_refusal = self.service == Service::Antigravity && judge::outdated(text);
        is_refusal.then(|| {
            told(UpstreamError {
                kind: Some("CLIENT_OUTDATED".to_owned()),
                message: format!(
                    "{} (the version is told by the header `user-agent`, which `headers` of the \
                     config can set)",
                    text.trim()
                ),
                ..UpstreamError::default()
            })
        })
    }
}

/// Makes one thought of the pieces that a whole answer has it in: the signature often comes in a
/// piece of its own, without text.
fn join_thoughts(parts: &mut Vec<Part>) {
    let mut joined: Vec<Part> = Vec::with_capacity(parts.len());
    for part in parts.drain(..) {
        match (joined.last_mut(), part) {
            (Some(Part::Thinking(open)), Part::Thinking(next)) if open.signature.is_none() => {
                open.text.push_str(&next.text);
                open.signature = next.signature;
            }
            (_, part) => joined.push(part),
        }
    }
    *parts = joined;
}

/// `true` if the answer ends with the reason `OTHER`: here that is a plain end, elsewhere a filter.
fn is_other(json: &[u8]) -> bool {
    let Some(at) = memchr::memmem::find(json, b"\"finishReason\"") else {
        return false;
    };
    let reason = json.get(at..).unwrap_or_default().iter().skip(14);
    let mut reason = reason.skip_while(|byte| byte.is_ascii_whitespace() || **byte == b':');
    b"\"OTHER\"".iter().all(|byte| reason.next() == Some(byte))
}

/// An error that the dialect's reader worded itself, with a body that can be judged.
fn told(mut error: UpstreamError) -> UpstreamError {
    if error.raw.is_empty() {
        let status = error.kind.as_deref().unwrap_or("INTERNAL");
        let body = serde_json::json!({"error": {
            "code": 502, "message": error.message, "status": status,
        }});
        error.raw = body.to_string();
    }
    error
}

/// See [`Mender::around`].
struct MendingReader {
    inner: Box<dyn StreamReader>,
    mender: Mender,
    /// What the inner reader has read.
    read: Vec<Event>,
    /// All thoughts so far.
    thoughts: String,
    /// The tools of the calls under way, by index.
    calls: HashMap<u32, String>,
    /// Whether anything of the answer was seen.
    has_begun: bool,
    /// Whether the answer ended with the reason `OTHER`.
    ends_otherwise: bool,
}

impl MendingReader {
    fn pass(&mut self, out: &mut Vec<Event>) {
        for event in std::mem::take(&mut self.read) {
            let choice = event.choice;
            if let Some(kind) = self.mended(event.kind) {
                out.push(Event { choice, kind });
            }
        }
    }

    fn mended(&mut self, kind: EventKind) -> Option<EventKind> {
        Some(match kind {
            EventKind::Text(text) => {
                let is_first = !std::mem::replace(&mut self.has_begun, true);
                match self.mender.refusal(&text).filter(|_| is_first) {
                    Some(error) => EventKind::Error(Box::new(error)),
                    None => EventKind::Text(text),
                }
            }
            EventKind::Thinking(text) => {
                self.has_begun = true;
                EventKind::Thinking(self.fresh(text)?)
            }
            EventKind::Signature { of, mut value } => {
                self.mender.retag(Some(&mut value));
                EventKind::Signature { of, value }
            }
            EventKind::ToolStart {
                index,
                id,
                name,
                kind,
                mut signature,
            } => {
                self.has_begun = true;
                self.mender.retag(signature.as_mut());
                let name = self.mender.name(&name);
                self.calls.insert(index, name.clone());
                EventKind::ToolStart {
                    index,
                    id,
                    name,
                    kind,
                    signature,
                }
            }
            // The back end sends arguments whole.
            EventKind::ToolArguments { index, delta } => {
                let name = self.calls.get(&index).map_or("", String::as_str);
                let delta = self.mender.arguments(name, &delta);
                EventKind::ToolArguments { index, delta }
            }
            EventKind::Stop {
                reason: StopReason::ContentFilter,
                sequence,
            } if self.ends_otherwise => EventKind::Stop {
                reason: StopReason::EndTurn,
                sequence,
            },
            EventKind::Error(error) => EventKind::Error(Box::new(told(*error))),
            other => other,
        })
    }

    /// What a thought adds: some models repeat all they have thought so far each time.
    fn fresh(&mut self, text: String) -> Option<String> {
        let known = self.thoughts.len();
        if known > LEAST_REPEATED_BYTES
            && let Some(rest) = text.strip_prefix(self.thoughts.as_str())
        {
            let rest = rest.to_owned();
            self.thoughts = text;
            return (!rest.is_empty()).then_some(rest);
        }
        if known < MAX_THOUGHTS_BYTES {
            self.thoughts.push_str(&text);
        }
        Some(text)
    }
}

impl StreamReader for MendingReader {
    fn read(&mut self, name: &str, data: &[u8], out: &mut Vec<Event>) -> Result<(), ReadError> {
        self.ends_otherwise |= is_other(data);
        let read = self.inner.read(name, data, &mut self.read);
        self.pass(out);
        read
    }

    fn is_over(&self) -> bool {
        self.inner.is_over()
    }

    fn finish(&mut self, out: &mut Vec<Event>) -> Result<(), ReadError> {
        let finished = self.inner.finish(&mut self.read);
        self.pass(out);
        let Err(ReadError::Upstream(error)) = finished else {
            return finished;
        };
        let Some(call) = self.mender.meant_call(&error) else {
            return Err(ReadError::Upstream(Box::new(told(*error))));
        };
        let index = 0;
        out.extend(
            [
                EventKind::ToolStart {
                    index,
                    id: call.id,
                    name: call.name,
                    kind: call.kind,
                    signature: None,
                },
                EventKind::ToolArguments {
                    index,
                    delta: call.arguments,
                },
                EventKind::ToolEnd { index },
                EventKind::Stop {
                    reason: StopReason::ToolUse,
                    sequence: None,
                },
            ]
            .map(Event::first),
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::dialects::chat::Function;
    use crate::dialects::codec;

    fn request(schema: &Value) -> ChatRequest {
        let mut request = ChatRequest::new(Dialect::OpenAiChat, "m");
        request.tools.push(Tool::Function(Function {
            name: "read_file".to_owned(),
            description: None,
            parameters: serde_json::value::to_raw_value(schema).ok(),
            strict: None,
            cache_control: None,
            extra: Extra::default(),
        }));
        request
    }

    fn stream(mender: Mender, chunks: &[Value]) -> (Vec<EventKind>, Result<(), ReadError>) {
        let mut reader = mender.around(codec(Dialect::Gemini).stream_reader());
        let mut events = Vec::new();
        for chunk in chunks {
            let data = json!({"response": chunk}).to_string();
            reader
                .read("", data.as_bytes(), &mut events)
                .expect("a chunk");
        }
        let end = reader.finish(&mut events);
        (events.into_iter().map(|event| event.kind).collect(), end)
    }

    fn parts(parts: &Value, finish: Option<&str>) -> Value {
        let mut candidate = json!({"content": {"role": "model", "parts": parts}});
        if let Some(finish) = finish {
            candidate["finishReason"] = finish.into();
        }
        json!({"candidates": [candidate]})
    }

    fn antigravity(model: &str, schema: &Value) -> Mender {
        Mender::new(Service::Antigravity, model, Some(&request(schema)), false)
    }

    #[test]
    fn what_the_schema_was_given_leaves_the_call_again() {
        let mender = antigravity(
            "gemini-pro-agent",
            &json!({"type": "object", "properties": {}}),
        );
        let call = parts(
            &json!([{"functionCall": {"id": "1", "name": "read_file", "args": {"reason": "look"}}}]),
            Some("STOP"),
        );
        let (events, end) = stream(mender.clone(), std::slice::from_ref(&call));
        assert!(end.is_ok());
        assert!(
            events.iter().any(
                |kind| matches!(kind, EventKind::ToolArguments { delta, .. } if delta == "{}")
            )
        );
        let whole = codec(Dialect::Gemini).read_reply(call.to_string().as_bytes());
        let whole = mender.whole(whole, b"").expect("an answer");
        assert!(
            matches!(&whole.choices[0].parts[..], [Part::ToolCall(call)] if call.arguments == "{}")
        );
    }

    #[test]
    fn claudes_signatures_are_its_own() {
        let mender = antigravity("claude-opus-4-6-thinking", &json!({}));
        let chunk = parts(
            &json!([{"thought": true, "text": "hm", "thoughtSignature": "RWFi"}, {"text": "x"}]),
            Some("STOP"),
        );
        let (events, _) = stream(mender.clone(), std::slice::from_ref(&chunk));
        let signed = events.iter().find_map(|kind| match kind {
            EventKind::Signature { value, .. } => Some(value.as_str()),
            _ => None,
        });
        assert_eq!(signed, Some("llmproxy/claude/RWFi"));
        let pieces = parts(
            &json!([{"thought": true, "text": "h"}, {"thought": true, "text": "m"},
                {"thought": true, "text": "", "thoughtSignature": "RWFi"}, {"text": "x"}]),
            Some("STOP"),
        );
        let whole = codec(Dialect::Gemini).read_reply(pieces.to_string().as_bytes());
        let whole = mender.whole(whole, b"").expect("an answer");
        assert_eq!(whole.choices[0].parts.len(), 2);
        let Part::Thinking(thinking) = &whole.choices[0].parts[0] else {
            panic!("no thinking: {whole:?}");
        };
        assert_eq!(thinking.text, "hm");
        assert_eq!(thinking.signature.as_deref(), Some("llmproxy/claude/RWFi"));
    }

    #[test]
    fn a_malformed_call_is_made_as_it_was_meant() {
        let mender = antigravity(
            "gemini-3.8-flash-high",
            &json!({"properties": {"path": {"type": "string"}}}),
        );
        let mut chunk = parts(&json!([]), Some("MALFORMED_FUNCTION_CALL"));
        chunk["candidates"][0]["finishMessage"] =
            "Malformed function call: call:default_api:read_file{path: 'a', reason: 'r'}".into();
        let (events, end) = stream(mender.clone(), std::slice::from_ref(&chunk));
        assert!(end.is_ok());
        assert!(events.iter().any(
            |kind| matches!(kind, EventKind::ToolArguments { delta, .. } if delta == r#"{"path":"a"}"#)
        ));
        assert!(matches!(
            events.last(),
            Some(EventKind::Stop {
                reason: StopReason::ToolUse,
                ..
            })
        ));
        let whole = codec(Dialect::Gemini).read_reply(chunk.to_string().as_bytes());
        let whole = mender.whole(whole, b"").expect("an answer");
        assert_eq!(whole.choices[0].stop, Some(StopReason::ToolUse));

        chunk["candidates"][0]["finishMessage"] =
            "Malformed function call: call:other{a: 1}".into();
        let (_, end) = stream(mender.clone(), std::slice::from_ref(&chunk));
        let Err(ReadError::Upstream(error)) = end else {
            panic!("no error");
        };
        assert!(error.raw.contains("call:other"), "{}", error.raw);
    }

    #[test]
    fn thoughts_told_again_from_the_start_are_told_once() {
        let mender = antigravity("gemini-pro-agent", &json!({}));
        let first = "I am thinking about the weather.";
        let second = format!("{first} It rains.");
        let chunks = [
            parts(&json!([{"thought": true, "text": first}]), None),
            parts(&json!([{"thought": true, "text": second}]), None),
            parts(&json!([{"thought": true, "text": second}]), None),
            parts(
                &json!([{"thought": true, "text": " New."}, {"text": "ok"}]),
                Some("STOP"),
            ),
        ];
        let (events, _) = stream(mender, &chunks);
        let told: String = events
            .iter()
            .filter_map(|kind| match kind {
                EventKind::Thinking(text) => Some(text.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(told, format!("{second} New."));
    }

    #[test]
    fn a_sentence_for_people_is_an_error() {
        let sentence = "This version of Antigravity is no longer supported. Please update to receive the latest features!";
        let chunk = parts(&json!([{"text": sentence}]), Some("STOP"));
        let mender = antigravity("gemini-pro-agent", &json!({}));
        let (events, _) = stream(mender.clone(), std::slice::from_ref(&chunk));
        assert!(events.iter().any(|kind| matches!(kind, EventKind::Error(error) if error.raw.contains("no longer supported"))));
        let whole = codec(Dialect::Gemini).read_reply(chunk.to_string().as_bytes());
        assert!(matches!(
            mender.whole(whole, b""),
            Err(ReadError::Upstream(_))
        ));
        let cli = Mender::new(Service::GeminiCli, "gemini-2.5-pro", None, false);
        let (events, end) = stream(cli, std::slice::from_ref(&chunk));
        assert!(end.is_ok() && events.iter().any(|kind| matches!(kind, EventKind::Text(_))));
    }

    #[test]
    fn any_other_end_is_a_plain_one() {
        let mender = antigravity("gemini-pro-agent", &json!({}));
        let chunk = parts(&json!([{"text": "ok"}]), Some("OTHER"));
        let (events, _) = stream(mender.clone(), std::slice::from_ref(&chunk));
        assert!(matches!(
            events.last(),
            Some(EventKind::Stop {
                reason: StopReason::EndTurn,
                ..
            })
        ));
        let body = json!({"response": chunk}).to_string();
        let whole = codec(Dialect::Gemini).read_reply(body.as_bytes());
        let whole = mender.whole(whole, body.as_bytes()).expect("an answer");
        assert_eq!(whole.choices[0].stop, Some(StopReason::EndTurn));
        assert!(is_other(br#"{"finishReason" : "OTHER"}"#));
        assert!(!is_other(br#"{"finishReason":"SAFETY","x":"OTHER"}"#));
    }

    #[test]
    fn guarded_names_come_back() {
        let mender = Mender::new(
            Service::GeminiCli,
            "gemini-3-pro-preview",
            Some(&request(&json!({}))),
            true,
        );
        let call = parts(
            &json!([{"functionCall": {"name": "gemini3_read_file", "args": {}}}]),
            Some("STOP"),
        );
        let (events, _) = stream(mender, &[call]);
        assert!(
            events.iter().any(
                |kind| matches!(kind, EventKind::ToolStart { name, .. } if name == "read_file")
            )
        );
    }
}
