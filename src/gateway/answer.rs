//! From an upstream's answer to the client's: judged before anything is committed, then passed
//! on as it is or translated.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::time::Instant;

use crate::dialects::chat::ChatReply;
use crate::dialects::error::{ReadError, UpstreamError};
use crate::dialects::loss::Losses;
use crate::dialects::mend::Mender;
use crate::dialects::observe::{self, inspect};
use crate::dialects::usage::Usage;
use crate::dialects::{Dialect, Operation, ReplyContext, StreamWriter, codec};
use crate::gateway::Gateway;
use crate::gateway::count;
use crate::gateway::exchange::{Back, Exchange};
use crate::gateway::failure::{self, Lost, LostReply};
use crate::gateway::frames::{self, Frames, Repair};
use crate::gateway::headers;
use crate::gateway::inbound::Scanned;
use crate::gateway::plan::Target;
use crate::gateway::relay::{self, Relay, RelayContext};
use crate::gateway::reshape;
use crate::gateway::sink::{ArrayFraming, Sink};
use crate::gateway::thoughts::{Asked, Maker};
use crate::gateway::upstream::{MAX_ANSWER_BYTES, Reply};
use crate::ids::CredentialId;
use crate::providers::verdict::{Failure, Fault, Verdict};
use crate::providers::{Answer, Outgoing, Provider};
use crate::secret::Secret;
use crate::time::Timestamp;

/// How much of a failed answer is read: error bodies are short, pages of HTML are not.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// A good answer, held in hand: nothing has gone to the client yet.
pub struct Ready {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: ReadyBody,
    /// What the answer lost in translation; a stream's later losses are only counted.
    pub losses: Losses,
}

/// See [`Ready`].
pub enum ReadyBody {
    Stream(Box<Relay>),
    Whole {
        body: Bytes,
        usage: Option<Usage>,
        output_chars: u64,
    },
}

/// A served request.
pub struct Answered {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: AnsweredBody,
    pub losses: Losses,
    /// Who served; absent where no provider was asked.
    pub credential: Option<CredentialId>,
    pub attempts: usize,
}

impl Answered {
    /// An answer the gateway gave without asking anybody.
    pub fn made_here(body: Bytes) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        let body = AnsweredBody::Whole(body);
        Self {
            status: StatusCode::OK,
            headers,
            body,
            losses: Losses::default(),
            credential: None,
            attempts: 0,
        }
    }
}

/// See [`Answered`].
pub enum AnsweredBody {
    Stream(Box<Relay>),
    Whole(Bytes),
}

/// What judging an answer needs to know of its circumstances.
#[derive(Clone, Copy)]
pub struct Circumstances<'a> {
    pub gateway: &'a Arc<Gateway>,
    pub scanned: &'a Scanned<'a>,
    pub target: &'a Target,
    pub exchange: &'a Exchange,
    pub credential: &'a CredentialId,
    pub secret: Option<&'a Secret>,
    /// When the first event of a stream must be there.
    pub first_byte_by: Instant,
}

impl Circumstances<'_> {
    /// Judges an answer: a good one is returned up to its first content, anything else is lost.
    pub async fn judge(self, mut reply: Reply) -> Result<Ready, Lost> {
        if !reply.status.is_success() {
            let body = reply.body.read_prefix(MAX_ERROR_BYTES).await;
            return Err(self.lost(reply.status, &reply.headers, &body));
        }
        if let Some(coding) = reply.headers.get(header::CONTENT_ENCODING)
            && coding != "identity"
        {
            let message = "the answer is compressed though nobody asked for that";
            return Err(Lost::garbage(reply.status, message));
        }
        let is_event_stream = content_type(&reply.headers).starts_with("text/event-stream");
        match (self.scanned.stream, is_event_stream) {
            (true, true) => self.stream(reply).await,
            _ => self.whole(reply, is_event_stream).await,
        }
    }

    async fn stream(self, reply: Reply) -> Result<Ready, Lost> {
        let inbound = self.scanned.inbound;
        let sink = match &self.exchange.back {
            Back::Translated(context) => {
                let dialects_own = codec(self.exchange.dialect).stream_reader();
                let adapter = self.target.runtime.adapter;
                let reader = adapter.reader(dialects_own, &self.outgoing());
                Sink::translated(reader, self.stream_writer(context), inbound.array_stream)
            }
            Back::Count | Back::Embeddings(_) | Back::Verbatim => {
                let observer = observe::observer(self.exchange.dialect, self.exchange.operation);
                let array = inbound.array_stream.then(ArrayFraming::default);
                Sink::verbatim(observer, inbound.codec(), array)
            }
        };
        let status = reply.status;
        let headers = self.stream_headers(&reply.headers);
        let relay = relay::open(
            reply.body,
            Frames::new(self.repair()),
            sink,
            self.relay_context(),
            self.first_byte_by,
        )
        .await
        .map_err(Lost::judged)?;
        let body = ReadyBody::Stream(Box::new(relay));
        Ok(Ready {
            status,
            headers,
            body,
            losses: Losses::default(),
        })
    }

    /// The request as far as reading its answer needs it.
    fn outgoing(&self) -> Outgoing<'_> {
        let (exchange, target) = (self.exchange, self.target);
        Outgoing {
            stream: self.scanned.stream,
            translated: exchange.translated,
            canonical: exchange.back.canonical(),
            switches: target.runtime.switches,
            ..Outgoing::new(exchange.operation, exchange.dialect, &target.model)
        }
    }

    fn stream_headers(self, upstream: &HeaderMap) -> HeaderMap {
        let kind = if self.scanned.inbound.array_stream {
            "application/json"
        } else {
            "text/event-stream"
        };
        let mut headers = headers::to_client(upstream, self.secret);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        // nginx would collect the stream otherwise.
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        headers
    }

    async fn whole(self, mut reply: Reply, is_event_stream: bool) -> Result<Ready, Lost> {
        let status = reply.status;
        let body = reply
            .body
            .read_all(MAX_ANSWER_BYTES)
            .await
            .map_err(Lost::unsent)?;
        if is_event_stream {
            let stream = frames::mended(body, self.repair());
            return self.gathered(status, &reply.headers, stream);
        }
        let body = match self.envelope() {
            Some(adapter) => adapter.unwrap(body),
            None => body,
        };
        let body = match self.repair() {
            Some(repair) => repair.whole(body),
            None => body,
        };
        let inspection = inspect(self.exchange.dialect, self.exchange.operation, &body);
        if inspection.error.is_some() {
            return Err(self.lost(status, &reply.headers, &body));
        }
        // What its adapter puts right may be empty only at first sight.
        let is_read_first = self.envelope().is_some() && self.exchange.back.canonical().is_some();
        let is_blank = body.trim_ascii().is_empty();
        if is_blank || (inspection.complete && inspection.empty && !is_read_first) {
            let failure = Failure::new(Verdict::Transient(Fault::Empty), "the answer is empty");
            return Err(Lost::judged(Failure {
                status: Some(status.as_u16()),
                ..failure
            }));
        }
        if !inspection.complete {
            let kind = content_type(&reply.headers);
            let message = format!("the answer is not the JSON expected (content type `{kind}`)");
            return Err(Lost::garbage(status, message));
        }
        let output_chars = body.len() as u64;
        let mut losses = Losses::default();
        let client = match &self.exchange.back {
            Back::Verbatim if self.scanned.stream => {
                let events = reshape::events(self.read_reply(status, &body)?);
                let mut writer = self.stream_writer(&self.plain_context());
                reshape::write_all(&events, writer.as_mut())
            }
            Back::Embeddings(_) | Back::Verbatim => body,
            Back::Translated(context) if self.scanned.stream => {
                let read = self.right_reply(status, &reply.headers, &body)?;
                let events = reshape::events(read);
                let mut writer = self.stream_writer(context);
                reshape::write_all(&events, writer.as_mut())
            }
            Back::Translated(context) => {
                let read = self.right_reply(status, &reply.headers, &body)?;
                self.write_reply(&read, context, &mut losses)
            }
            Back::Count => {
                let tokens = count::read_reply(self.exchange.dialect, &body)
                    .ok_or_else(|| Lost::garbage(status, "the answer holds no token count"))?;
                count::write_reply(self.scanned.inbound.dialect, tokens, false)
            }
        };
        let mut headers = headers::to_client(&reply.headers, self.secret);
        if self.scanned.stream {
            headers = self.stream_headers(&reply.headers);
        } else if !matches!(self.exchange.back, Back::Verbatim)
            || !headers.contains_key(header::CONTENT_TYPE)
        {
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            );
        }
        let body = ReadyBody::Whole {
            body: client,
            usage: inspection.usage,
            output_chars,
        };
        Ok(Ready {
            status,
            headers,
            body,
            losses,
        })
    }

    /// A stream that came where a whole answer was asked for.
    fn gathered(
        self,
        status: StatusCode,
        headers: &HeaderMap,
        stream: Bytes,
    ) -> Result<Ready, Lost> {
        let output_chars = stream.len() as u64;
        let codec_of_it = codec(self.exchange.dialect);
        let adapter = self.target.runtime.adapter;
        let gathered = reshape::gather(stream, codec_of_it, self.envelope());
        let reply = match adapter.mend(gathered, b"", &self.outgoing()) {
            Ok(reply) => reply,
            Err(ReadError::Upstream(error)) => {
                return Err(self.lost(status, headers, &Bytes::from(error.raw)));
            }
            Err(error) => {
                return Err(Lost::garbage(
                    status,
                    format!("the answer cannot be read: {error}"),
                ));
            }
        };
        if reply
            .choices
            .iter()
            .all(|choice| choice.parts.is_empty() && choice.stop.is_none())
        {
            return Err(Lost::garbage(status, "the answer is an empty event stream"));
        }
        let usage = reply.usage;
        let mut losses = Losses::default();
        let plain = self.plain_context();
        let context = match &self.exchange.back {
            Back::Translated(context) => context,
            Back::Count | Back::Embeddings(_) | Back::Verbatim => &plain,
        };
        let body = self.write_reply(&reply, context, &mut losses);
        let mut headers = headers::to_client(headers, self.secret);
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        Ok(Ready {
            status,
            headers,
            body: ReadyBody::Whole {
                body,
                usage,
                output_chars,
            },
            losses,
        })
    }

    /// Who opens the envelope that the answer comes in, if it does.
    fn envelope(self) -> Option<&'static dyn Provider> {
        let adapter = self.target.runtime.adapter;
        adapter.spec().enveloped.then_some(adapter)
    }

    /// What puts the provider's answer right; `None` where nothing needs it.
    fn repair(self) -> Option<Repair> {
        let mending = self.target.runtime.mending;
        let is_chat = self.exchange.dialect == Dialect::OpenAiChat
            && self.exchange.operation == Operation::Chat;
        (is_chat && !mending.is_none()).then(|| Repair {
            mender: Mender::new(mending),
            keeper: mending.keeps_thoughts.then(|| {
                let inbound = self.scanned.inbound;
                self.gateway.reasoning.keeper(&inbound.owner, &inbound.body)
            }),
        })
    }

    /// The reply as the dialect's codec reads it, with what the vendor gets wrong put right.
    fn right_reply(
        self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<ChatReply, Lost> {
        let adapter = self.target.runtime.adapter;
        let read = codec(self.exchange.dialect).read_reply(body);
        match adapter.mend(read, body, &self.outgoing()) {
            Ok(reply) => Ok(reply),
            Err(ReadError::Upstream(error)) if adapter.spec().enveloped => {
                Err(self.lost(status, headers, &Bytes::from(error.raw)))
            }
            Err(error) => {
                let message = format!("the answer cannot be read: {error}");
                Err(Lost::garbage(status, message))
            }
        }
    }

    fn read_reply(self, status: StatusCode, body: &Bytes) -> Result<ChatReply, Lost> {
        codec(self.exchange.dialect)
            .read_reply(body)
            .map_err(|error| Lost::garbage(status, format!("the answer cannot be read: {error}")))
    }

    /// The client's answer in its dialect; a response is kept for what goes on from it.
    fn write_reply(self, reply: &ChatReply, context: &ReplyContext, losses: &mut Losses) -> Bytes {
        let inbound = self.scanned.inbound;
        let body = inbound.codec().write_reply(reply, context, losses);
        if let (Some(asked), [first, ..]) = (self.asked(context), reply.choices.as_slice()) {
            let thoughts = &self.gateway.thoughts;
            thoughts.remember(&asked, &first.parts, Timestamp::now());
        }
        if let Some(keeper) = self.gateway.responses.keeper(self.scanned) {
            keeper.keep(&body, Timestamp::now());
        }
        body.into()
    }

    /// A writer of the client's stream; a response is kept when it ends.
    fn stream_writer(self, context: &ReplyContext) -> Box<dyn StreamWriter> {
        let mut writer = self.scanned.inbound.stream_writer(context);
        if let Some(asked) = self.asked(context) {
            writer = self.gateway.thoughts.watch(asked, writer);
        }
        match self.gateway.responses.keeper(self.scanned) {
            Some(keeper) => keeper.keep_stream(writer),
            None => writer,
        }
    }

    /// Whose answer it is; `None` where the client's dialect is the upstream's, and so the client
    /// holds signatures as well as the vendor expects.
    fn asked(self, context: &ReplyContext) -> Option<Asked> {
        let inbound = self.scanned.inbound;
        let request = context.request.as_ref()?;
        if self.exchange.dialect == inbound.dialect {
            return None;
        }
        let fingerprint = self.target.runtime.pool.fingerprint(self.credential)?;
        Some(Asked {
            owner: Arc::clone(&inbound.owner),
            request: Arc::clone(request),
            maker: Maker::new(self.credential.clone(), fingerprint, &self.target.model),
        })
    }

    /// What a writer needs where the request was not translated.
    fn plain_context(self) -> ReplyContext {
        ReplyContext {
            model: self.target.model.clone(),
            created: Timestamp::now().as_millis() / 1000,
            id_seed: self.scanned.inbound.id.0,
            include_usage: self.scanned.head.include_usage.unwrap_or(false),
            request: None,
        }
    }

    /// A failed answer, judged by the vendor's table and cleaned of keys.
    pub fn lost(self, status: StatusCode, headers: &HeaderMap, body: &Bytes) -> Lost {
        let runtime = &self.target.runtime;
        let answer = Answer {
            status: status.as_u16(),
            headers,
            body,
            model: &self.target.model,
            received: Timestamp::now(),
        };
        let mut failure = runtime.adapter.judge(&answer);
        failure.message = runtime.redact(&failure.message, self.secret);
        // A page of HTML is no answer in any dialect: the client gets the gateway's own words.
        let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
        let body = match std::str::from_utf8(body) {
            Ok(text) if is_json => Bytes::from(runtime.redact(text, self.secret)),
            Ok(_) | Err(_) => Bytes::new(),
        };
        let reply = LostReply {
            dialect: self.exchange.dialect,
            status,
            headers: headers::to_client(headers, self.secret),
            body,
        };
        Lost {
            failure,
            reply: Some(Box::new(reply)),
            rule: None,
        }
    }

    fn relay_context(self) -> RelayContext {
        let runtime = Arc::clone(&self.target.runtime);
        let (model, secret) = (self.target.model.clone(), self.secret.cloned());
        let judge = move |error: &UpstreamError| {
            let headers = HeaderMap::new();
            let answer = Answer {
                status: error.status.unwrap_or(200),
                headers: &headers,
                body: error.raw.as_bytes(),
                model: &model,
                received: Timestamp::now(),
            };
            let mut failure = runtime.adapter.judge(&answer);
            failure.message = runtime.redact(&failure.message, secret.as_ref());
            failure
        };
        let provider = self.target.runtime.id.to_string();
        RelayContext {
            keepalive: self.gateway.keepalive(),
            envelope: self.envelope(),
            judge: Box::new(judge),
            explain: Box::new(move |failure| {
                failure::of_failure(&provider, failure, Timestamp::now())
            }),
        }
    }
}

fn content_type(headers: &HeaderMap) -> &str {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}
