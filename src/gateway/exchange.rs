//! A request as it goes to one target: in the upstream's dialect, spliced or translated.

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::dialects::error::{ErrorKind, ErrorReply};
use crate::dialects::head;
use crate::dialects::loss::Losses;
use crate::dialects::{Dialect, Operation, ReplyContext, Target as CodecTarget, codec};
use crate::gateway::inbound::Scanned;
use crate::gateway::plan::Target;
use crate::providers::Outgoing;
use crate::time::Timestamp;

/// What is sent to a target, kept for all attempts on it, and how its answer comes back.
pub struct Exchange {
    pub operation: Operation,
    pub dialect: Dialect,
    /// Below the base URL.
    pub path: String,
    pub body: Bytes,
    pub back: Back,
    /// What the request lost in translation.
    pub losses: Losses,
}

/// How an answer comes back.
pub enum Back {
    Translated(Box<ReplyContext>),
    /// As it is.
    Verbatim,
}

/// Makes the request for a target.
pub fn prepare(scanned: &Scanned<'_>, target: &Target) -> Result<Exchange, ErrorReply> {
    let (inbound, adapter) = (scanned.inbound, target.runtime.adapter);
    let Some(dialect) = adapter.dialect_for(inbound.operation, inbound.dialect, &target.model)
    else {
        return Err(unsupported(inbound.operation, target));
    };
    let verbatim = dialect == inbound.dialect;
    let mut losses = Losses::default();
    let (body, back) = if verbatim {
        (splice(scanned, target), Back::Verbatim)
    } else {
        let (body, context) = translate(scanned, target, dialect, &mut losses)?;
        (body, Back::Translated(Box::new(context)))
    };
    let outgoing = Outgoing {
        operation: inbound.operation,
        dialect,
        model: &target.model,
        stream: scanned.stream,
        translated: !verbatim,
    };
    let body = adapter.adapt(body, &outgoing);
    let path = adapter.path(inbound.operation, dialect, &target.model, scanned.stream);
    Ok(Exchange {
        operation: inbound.operation,
        dialect,
        path,
        body,
        back,
        losses,
    })
}

fn splice(scanned: &Scanned<'_>, target: &Target) -> Bytes {
    let extra: Vec<(&str, &RawValue)> = target
        .runtime
        .extra_body
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_ref()))
        .collect();
    head::splice(&scanned.inbound.body, &scanned.head, &target.model, &extra)
}

fn translate(
    scanned: &Scanned<'_>,
    target: &Target,
    dialect: Dialect,
    losses: &mut Losses,
) -> Result<(Bytes, ReplyContext), ErrorReply> {
    let request = scanned.canonical()?;
    let to = CodecTarget::new(target.runtime.id.as_str(), &target.model);
    let body = Bytes::from(codec(dialect).write_request(&request, &to, losses)?);
    if scanned.inbound.strict && !losses.is_empty() {
        let message = format!(
            "strict translation: {} cannot take these fields of the request: {losses}",
            target.runtime.id
        );
        return Err(ErrorReply::invalid(message));
    }
    let context = ReplyContext {
        model: scanned.model.clone(),
        created: Timestamp::now().as_millis() / 1000,
        id_seed: scanned.inbound.id.0,
        include_usage: request.include_usage,
        request: Some(request),
    };
    Ok((body, context))
}

fn unsupported(operation: Operation, target: &Target) -> ErrorReply {
    let what = match operation {
        Operation::Chat => "chat",
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
