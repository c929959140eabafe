//! A request as it goes to one target: in the upstream's dialect, spliced or translated.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::dialects::anthropic;
use crate::dialects::chat::ChatRequest;
use crate::dialects::embeddings::EmbeddingsRequest;
use crate::dialects::error::{ErrorKind, ErrorReply};
use crate::dialects::head;
use crate::dialects::loss::Losses;
use crate::dialects::openai_responses::store;
use crate::dialects::{Dialect, Operation, ReplyContext, RequestHint, codec, media, signature};
use crate::gateway::count;
use crate::gateway::inbound::Scanned;
use crate::gateway::overrides;
use crate::gateway::plan::Target;
use crate::gateway::reasoning::Reasoning;
use crate::gateway::thoughts::{Recalled, Server, Thoughts};
use crate::ids::CredentialId;
use crate::providers::Outgoing;
use crate::time::Timestamp;

/// What is sent to a target, kept for all attempts on it, and how its answer comes back.
pub struct Exchange {
    pub operation: Operation,
    pub dialect: Dialect,
    /// Below the base URL.
    pub path: String,
    /// What any credential is sent; [`Exchange::body_for`] knows the exception.
    body: Bytes,
    /// What the credential is sent that made the signatures of the conversation's thinking.
    own: Option<(CredentialId, Bytes)>,
    /// `true` if the gateway wrote the body.
    pub translated: bool,
    pub back: Back,
    /// What the request lost in translation.
    pub losses: Losses,
}

/// How an answer comes back.
pub enum Back {
    /// A token count of another dialect.
    Count,
    Embeddings(Box<Batches>),
    Translated(Box<ReplyContext>),
    /// As it is.
    Verbatim,
}

impl Back {
    /// The client's request in canonical form, where its answer is translated.
    pub fn canonical(&self) -> Option<&ChatRequest> {
        match self {
            Self::Translated(context) => context.request.as_deref(),
            Self::Count | Self::Embeddings(_) | Self::Verbatim => None,
        }
    }
}

/// Texts for vectors, in as many upstream calls as the upstream's limit makes necessary.
pub struct Batches {
    pub request: EmbeddingsRequest,
    /// Which inputs each call holds, and its body.
    pub calls: Vec<(Range<usize>, Bytes)>,
}

impl Exchange {
    /// The body for a credential.
    pub fn body_for(&self, credential: &CredentialId) -> &Bytes {
        match &self.own {
            Some((maker, body)) if maker == credential => body,
            _ => &self.body,
        }
    }

    /// The body that most credentials are sent, for its size.
    pub const fn body(&self) -> &Bytes {
        &self.body
    }
}

/// What a request for a target is made of.
#[derive(Clone, Copy)]
pub struct Wish<'a> {
    pub scanned: &'a Scanned<'a>,
    pub target: &'a Target,
    pub thoughts: &'a Thoughts,
    pub reasoning: &'a Reasoning,
    /// Whether thinking goes without its signatures, because the upstream refused one.
    pub unsigned: bool,
}

/// Makes the request for a target.
pub fn prepare(wish: Wish<'_>) -> Result<Exchange, ErrorReply> {
    let Wish {
        scanned, target, ..
    } = wish;
    let (inbound, adapter) = (scanned.inbound, target.runtime.adapter);
    let asked = inbound.operation;
    let (operation, dialect) = spoken(scanned, target)?;
    if let Some(id) = &scanned.head.previous_response
        && dialect != inbound.dialect
    {
        // It is not kept here, and nobody there can know it.
        return Err(store::not_found(id));
    }
    let mut losses = Losses::default();
    // A signature that the gateway tagged is for its maker only, and nobody else knows the tag.
    let is_tagged = operation == Operation::Chat && signature::is_tagged(&inbound.body);
    let is_enveloped = adapter.spec().enveloped;
    let comes_back =
        operation == asked && dialect == inbound.dialect && !is_tagged && !is_enveloped;
    let verbatim = comes_back && !wish.unsigned;
    let mut own = None;
    let (body, back) = match operation {
        _ if verbatim => (splice(scanned, target), Back::Verbatim),
        Operation::Embeddings => embed(scanned, target, dialect, &mut losses)?,
        Operation::CountTokens => (
            count::write_request(scanned, target, dialect, &mut losses)?,
            Back::Count,
        ),
        Operation::Chat | Operation::Compact | Operation::Completions => {
            let translated = translate(wish, dialect, &mut losses)?;
            own = translated.own;
            let back = if comes_back {
                Back::Verbatim
            } else {
                Back::Translated(Box::new(translated.context))
            };
            (translated.body, back)
        }
    };
    refuse_losses(scanned, target, &losses)?;
    let outgoing = Outgoing {
        stream: scanned.stream,
        translated: !verbatim,
        now: Timestamp::now(),
        canonical: back.canonical(),
        switches: target.runtime.switches,
        ..Outgoing::new(operation, dialect, &target.model)
    };
    let finished = |body: Bytes| {
        let body = match operation {
            Operation::Chat | Operation::Compact | Operation::Completions => {
                let options = target.runtime.model_options(&target.model);
                overrides::apply(body, dialect, options, target.runtime.temperature_zero)
            }
            Operation::CountTokens | Operation::Embeddings => body,
        };
        let body = adapter.adapt(body, &outgoing);
        if operation == Operation::Chat && remembers(target) {
            return wish.reasoning.restore(&inbound.owner, body, outgoing.now);
        }
        body
    };
    let mut path = adapter.path(operation, dialect, &target.model, scanned.stream);
    if verbatim && operation == Operation::Embeddings && !inbound.batch {
        // Adapters name the batch form, which translations use; a single text has its own verb.
        path = path.replace(":batchEmbedContents", ":embedContent");
    }
    Ok(Exchange {
        operation,
        dialect,
        path,
        own: own.map(|(credential, body)| (credential, finished(body))),
        body: finished(body),
        translated: !verbatim,
        back,
        losses,
    })
}

/// The dialect in which the bytes of media must be sent that the client named by URL; `None` if
/// nothing must be fetched.
pub fn wants_bytes(scanned: &Scanned<'_>, target: &Target) -> Result<Option<Dialect>, ErrorReply> {
    let inbound = scanned.inbound;
    let (operation, dialect) = spoken(scanned, target)?;
    if operation == Operation::Embeddings || dialect == inbound.dialect {
        return Ok(None);
    }
    let request = scanned.canonical()?;
    Ok(media::must_fetch(&request, dialect).then_some(dialect))
}

/// `true` if the model does better when its earlier reasoning comes back.
fn remembers(target: &Target) -> bool {
    let model = target.model.to_lowercase();
    let mut parts = target.runtime.adapter.spec().remembers.iter();
    parts.any(|part| model.starts_with(part))
}

/// What the target is asked for, and in which dialect.
fn spoken(scanned: &Scanned<'_>, target: &Target) -> Result<(Operation, Dialect), ErrorReply> {
    let (inbound, adapter) = (scanned.inbound, target.runtime.adapter);
    let asked = inbound.operation;
    match adapter.dialect_for(asked, inbound.dialect, &target.model) {
        Some(dialect) => Ok((asked, dialect)),
        // A text completion is a chat of one message; a summary is one more message.
        None if matches!(asked, Operation::Compact | Operation::Completions) => {
            let chat = adapter.dialect_for(Operation::Chat, inbound.dialect, &target.model);
            let dialect = chat.ok_or_else(|| unsupported(asked, target))?;
            Ok((Operation::Chat, dialect))
        }
        None => Err(unsupported(asked, target)),
    }
}

/// The client's own body with the target's model name and the configured members.
fn splice(scanned: &Scanned<'_>, target: &Target) -> Bytes {
    head::splice(
        &scanned.inbound.body,
        &scanned.head,
        &target.model,
        &extra(target),
    )
}

/// A translated body with the configured members.
fn with_extra(body: Bytes, target: &Target, dialect: Dialect) -> Bytes {
    let extra = extra(target);
    if extra.is_empty() {
        return body;
    }
    match head::scan(&body, dialect) {
        Ok(head) => head::splice(&body, &head, &target.model, &extra),
        Err(_) => body,
    }
}

fn extra(target: &Target) -> Vec<(&str, &RawValue)> {
    let extra = target.runtime.extra_body.iter();
    extra
        .map(|(name, value)| (name.as_str(), value.as_ref()))
        .collect()
}

/// A conversation in the upstream's dialect.
struct Translated {
    body: Bytes,
    own: Option<(CredentialId, Bytes)>,
    context: ReplyContext,
}

fn translate(
    wish: Wish<'_>,
    dialect: Dialect,
    losses: &mut Losses,
) -> Result<Translated, ErrorReply> {
    let Wish {
        scanned, target, ..
    } = wish;
    let inbound = scanned.inbound;
    let request = scanned.canonical()?;
    if inbound.dialect == Dialect::Anthropic && dialect != Dialect::Anthropic {
        anthropic::refuse_thread(&request)?;
    }
    let provider = target.runtime.id.as_str();
    let to = target.for_codec();
    let write = |request: &ChatRequest, losses: &mut Losses| -> Result<Bytes, ErrorReply> {
        let body = codec(dialect).write_request(request, &to, losses)?;
        Ok(with_extra(Bytes::from(body), target, dialect))
    };
    let now = Timestamp::now();
    let (body, own) = if wish.unsigned {
        let mut bare = ChatRequest::clone(&request);
        signature::strip(&mut bare);
        (write(&bare, losses)?, None)
    } else {
        let thoughts = wish.thoughts;
        let server = Server {
            provider,
            model: &target.model,
            fingerprint: &|credential| target.runtime.pool.fingerprint(credential),
        };
        match thoughts.recall(&inbound.owner, &request, server, now) {
            None => (write(&request, losses)?, None),
            Some(Recalled { own, plain }) => {
                let own = match own {
                    Some((maker, own)) => Some((maker, write(&own, &mut Losses::default())?)),
                    None => None,
                };
                (write(&plain, losses)?, own)
            }
        }
    };
    let context = ReplyContext {
        model: scanned.model.clone(),
        created: now.as_millis() / 1000,
        id_seed: inbound.id.0,
        include_usage: request.include_usage,
        request: Some(answered(scanned, request)),
    };
    Ok(Translated { body, own, context })
}

/// The request as its answer repeats it: with the response that it went on from.
fn answered(scanned: &Scanned<'_>, request: Arc<ChatRequest>) -> Arc<ChatRequest> {
    let Some(previous) = &scanned.resumed_from else {
        return request;
    };
    let mut request = ChatRequest::clone(&request);
    if let Ok(id) = serde_json::value::to_raw_value(previous) {
        let member = ("previous_response_id".to_owned(), id);
        request.extra.0.push(member);
    }
    Arc::new(request)
}

fn embed(
    scanned: &Scanned<'_>,
    target: &Target,
    dialect: Dialect,
    losses: &mut Losses,
) -> Result<(Bytes, Back), ErrorReply> {
    let inbound = scanned.inbound;
    let hint = RequestHint {
        model: inbound.path_model.as_deref(),
        stream: None,
    };
    let request = EmbeddingsRequest::read(inbound.dialect, &inbound.body, hint)?;
    let to = target.for_codec();
    let mut calls = Vec::new();
    for batch in request.batches(dialect) {
        let body = Bytes::from(request.write(dialect, &to, batch.clone(), losses));
        calls.push((batch, body));
    }
    let first = calls
        .first()
        .map(|(_, body)| body.clone())
        .unwrap_or_default();
    Ok((
        first,
        Back::Embeddings(Box::new(Batches { request, calls })),
    ))
}

/// `strict_translation`: a field that cannot be translated is a 400, not a named loss.
fn refuse_losses(
    scanned: &Scanned<'_>,
    target: &Target,
    losses: &Losses,
) -> Result<(), ErrorReply> {
    if !scanned.inbound.strict || losses.is_empty() {
        return Ok(());
    }
    let provider = &target.runtime.id;
    let message =
        format!("strict translation: {provider} cannot take these fields of the request: {losses}");
    Err(ErrorReply::new(
        400,
        ErrorKind::InvalidRequest,
        "untranslatable_field",
        message,
    ))
}

fn unsupported(operation: Operation, target: &Target) -> ErrorReply {
    let what = match operation {
        Operation::Chat => "chat",
        Operation::Compact => "compaction",
        Operation::Completions => "text completions",
        Operation::CountTokens => "token counts",
        Operation::Embeddings => "embeddings",
    };
    let message = format!("the provider {} offers no {what}", target.runtime.id);
    ErrorReply::new(
        400,
        ErrorKind::InvalidRequest,
        "unsupported_operation",
        message,
    )
}
