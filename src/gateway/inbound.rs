//! A client's request, scanned once and understood as far as any target needs it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use crate::dialects::chat::ChatRequest;
use crate::dialects::completions::Completions;
use crate::dialects::error::{ErrorReply, ReadError};
use crate::dialects::head::{self, Head, SessionKeys};
use crate::dialects::openai_responses::compact::Compaction;
use crate::dialects::{
    Codec, Dialect, Operation, ReplyContext, RequestHint, StreamWriter, codec, gemini,
};
use crate::ids::RequestId;
use crate::telemetry::request_log::{Asked, Recording};

/// Headers in which a client may name its conversation.
const SESSION_HEADERS: [&str; 3] = ["x-session-id", "session_id", "conversation_id"];

/// Headers in which the vendors' SDKs say after how many seconds they give up: until there is an
/// answer at all (JavaScript), or between two pieces of one (Python's `_base_client.py`). Neither sees
/// anything of one before its first content. Read 2026-11-26.
const PATIENCE_HEADERS: [&str; 2] = ["x-stainless-read-timeout", "x-stainless-timeout"];

/// Said in less, it is no wait but a mistake.
const SHORTEST_PATIENCE: Duration = Duration::from_secs(1);

/// What a client asks for. Made by `server` and by the commands that need no server.
#[derive(Clone, Debug)]
pub struct Inbound {
    pub id: RequestId,
    /// The client's name: separates sessions, counts and limits.
    pub client: Arc<str>,
    /// Whose are the things kept for later requests (responses, signatures): a name that no other
    /// client ever has, whatever becomes of the configuration.
    pub owner: Arc<str>,
    pub dialect: Dialect,
    pub operation: Operation,
    /// The client's own headers; [`crate::gateway::headers`] decides which go on.
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The model and stream flag of a Gemini path.
    pub path_model: Option<String>,
    pub path_stream: Option<bool>,
    /// `:batchEmbedContents`.
    pub batch: bool,
    /// A Gemini stream as one JSON array (no `alt=sse`).
    pub array_stream: bool,
    /// `strict_translation`, or the header that asks for it.
    pub strict: bool,
}

/// An [`Inbound`] with what one scan of its body found.
pub struct Scanned<'a> {
    pub inbound: &'a Inbound,
    pub head: Head<'a>,
    pub model: String,
    pub stream: bool,
    /// The conversation, for affinity.
    pub session: Option<SessionKeys>,
    /// The response it goes on from, if the gateway put the conversation into the body.
    pub resumed_from: Option<String>,
    /// Where it is logged; `None` if it is not.
    pub recording: Option<Recording>,
    canonical: OnceLock<Result<Arc<ChatRequest>, ReadError>>,
    /// The canonical request with the bytes of media that the client named by URL.
    fetched: Mutex<Option<Arc<ChatRequest>>>,
}

impl Inbound {
    /// The client as a number, by which the pools serve those who wait in turn.
    pub fn client_number(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.client.hash(&mut hasher);
        hasher.finish()
    }

    /// How long the client waits for the first word, if it says so; what is begun later serves
    /// nobody. A tenth less, so that it hears why before it goes.
    pub fn patience(&self) -> Option<Duration> {
        let stated = PATIENCE_HEADERS.iter().filter_map(|name| {
            let text = self.headers.get(*name)?.to_str().ok()?;
            Duration::try_from_secs_f64(text.trim().parse().ok()?).ok()
        });
        let shortest = stated.filter(|stated| *stated >= SHORTEST_PATIENCE).min()?;
        Some(shortest.mul_f64(0.9))
    }

    /// Scans the body: well-formed, a model named, the stream flag a flag.
    pub fn scan(&self) -> Result<Scanned<'_>, ErrorReply> {
        let head = head::scan(&self.body, self.dialect)?;
        let model = match (&self.path_model, &head.model) {
            (Some(model), _) => model.clone(),
            (None, Some(span)) => span.name.clone().into_owned(),
            (None, None) => {
                let message = "The body names no `model`; write `\"model\": \"provider/model\"`.";
                return Err(ErrorReply::invalid(message).with_param("model"));
            }
        };
        let stream = self.path_stream.or(head.stream).unwrap_or(false);
        let named = SESSION_HEADERS
            .iter()
            .find_map(|name| self.headers.get(*name)?.to_str().ok());
        let session = match named {
            Some(name) => Some(SessionKeys::of_name(&self.client, name)),
            None => head.session_keys(&self.client),
        };
        Ok(Scanned {
            inbound: self,
            head,
            model,
            stream,
            session,
            resumed_from: None,
            recording: None,
            canonical: OnceLock::new(),
            fetched: Mutex::new(None),
        })
    }

    /// The same wish in other words.
    #[must_use]
    pub fn with_body(&self, body: Bytes) -> Self {
        Self {
            body,
            ..self.clone()
        }
    }

    /// What the request log keeps of it.
    pub fn asked(&self) -> Asked {
        Asked {
            id: self.id,
            client: Arc::clone(&self.client),
            dialect: self.dialect,
            operation: self.operation,
            headers: self.headers.clone(),
            body: self.body.clone(),
            path_model: self.path_model.clone(),
            path_stream: self.path_stream,
            batch: self.batch,
            array_stream: self.array_stream,
            strict: self.strict,
        }
    }

    /// A writer for the client's stream, in its dialect and framing.
    pub fn stream_writer(&self, context: &ReplyContext) -> Box<dyn StreamWriter> {
        if self.array_stream {
            return gemini::stream_writer(context.clone(), gemini::Framing::Array);
        }
        self.codec().stream_writer(context.clone())
    }

    /// The codec of what the client speaks.
    pub fn codec(&self) -> &'static dyn Codec {
        client_codec(self.dialect, self.operation)
    }
}

/// The codec of a client dialect and operation: legacy completions and compactions have forms of
/// their own.
pub fn client_codec(dialect: Dialect, operation: Operation) -> &'static dyn Codec {
    match operation {
        Operation::Compact => &Compaction,
        Operation::Completions => &Completions,
        Operation::Chat | Operation::CountTokens | Operation::Embeddings => codec(dialect),
    }
}

impl Scanned<'_> {
    /// The request in canonical form, read at most once.
    pub fn canonical(&self) -> Result<Arc<ChatRequest>, ErrorReply> {
        let fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(request) = fetched.as_ref() {
            return Ok(Arc::clone(request));
        }
        drop(fetched);
        let read = self.canonical.get_or_init(|| {
            let hint = RequestHint {
                model: self.inbound.path_model.as_deref(),
                stream: self.inbound.path_stream,
            };
            self.inbound
                .codec()
                .read_request(&self.inbound.body, hint)
                .map(Arc::new)
        });
        match read {
            Ok(request) => Ok(Arc::clone(request)),
            Err(error) => Err(unreadable(error)),
        }
    }

    /// Puts a request in place of the canonical one that has the bytes of its media.
    pub fn set_fetched(&self, request: ChatRequest) {
        let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        *fetched = Some(Arc::new(request));
    }
}

/// The 400 for a body that a codec cannot read.
pub(super) fn unreadable(error: &ReadError) -> ErrorReply {
    match error {
        ReadError::Field(field) => {
            ErrorReply::invalid(field.to_string()).with_param(field.name.clone())
        }
        error => ErrorReply::invalid(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience(headers: &[(&'static str, &'static str)]) -> Option<Duration> {
        let header = |&(name, value): &(&'static str, &'static str)| {
            let name = http::HeaderName::from_static(name);
            (name, http::HeaderValue::from_static(value))
        };
        let inbound = Inbound {
            id: RequestId::random(),
            client: Arc::from("c"),
            owner: Arc::from("c"),
            dialect: Dialect::OpenAiChat,
            operation: Operation::Chat,
            headers: headers.iter().map(header).collect(),
            body: Bytes::new(),
            path_model: None,
            path_stream: None,
            batch: false,
            array_stream: false,
            strict: false,
        };
        inbound.patience()
    }

    #[test]
    fn c30_how_long_an_sdk_waits_is_read_and_nonsense_is_not() {
        let read = "x-stainless-read-timeout";
        assert_eq!(patience(&[]), None);
        assert_eq!(patience(&[(read, "600")]), Some(Duration::from_mins(9)));
        assert_eq!(
            patience(&[(read, "2.5")]),
            Some(Duration::from_millis(2250))
        );
        let both = [(read, "600"), ("x-stainless-timeout", "20")];
        assert_eq!(patience(&both), Some(Duration::from_secs(18)));
        for nonsense in [
            "",
            "0",
            "-5",
            "0.2",
            "NaN",
            "inf",
            "1e400",
            "not_given",
            "5s",
        ] {
            assert_eq!(patience(&[(read, nonsense)]), None, "{nonsense}");
        }
        let one_is = [(read, "soon"), ("x-stainless-timeout", "10")];
        assert_eq!(patience(&one_is), Some(Duration::from_secs(9)));
    }
}
