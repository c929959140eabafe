//! The way to a model: through this process's own gateway, or to one that is running.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};

use crate::cli::Context;
use crate::cli::boot::{Boot, Core};
use crate::cli::chat::prompt::Conversation;
use crate::cli::exit::Failure;
use crate::cli::refusal::no_model;
use crate::cli::remote::Remote;
use crate::dialects::error::ErrorReply;
use crate::dialects::{Dialect, Operation};
use crate::gateway::answer::AnsweredBody;
use crate::gateway::attempt;
use crate::gateway::inbound::Inbound;
use crate::gateway::plan;
use crate::gateway::relay::Relay;
use crate::gateway::upstream::ReplyBody;
use crate::ids::RequestId;

/// How long the last counts may take to reach the disk.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);

/// An open way to a model.
pub(super) enum Line {
    Own(Box<Core>),
    Url(Remote),
}

/// An answer: whole, or piece by piece.
pub(super) enum Reply {
    Relay(Box<Relay>),
    Remote(ReplyBody),
    Whole(Bytes),
}

impl Line {
    /// Opens it. The demo provider is brought up where its model is asked for.
    pub(super) async fn open(url: Option<&str>, boot: Boot, model: &str) -> Result<Self, Failure> {
        let Some(url) = url else {
            let core = Core::start(boot, model.starts_with("demo/")).await?;
            return Ok(Self::Own(Box::new(core)));
        };
        Ok(Self::Url(Remote::new(url, &boot)?))
    }

    /// Sends one chat request.
    pub(super) async fn send(
        &self,
        conversation: &Conversation,
        stream: bool,
        context: &Context,
    ) -> Result<Reply, Failure> {
        // Until its first word, or all of it.
        let _waiting = context
            .printer
            .waiting(&format!("waiting for {}", conversation.model));
        match self {
            Self::Own(core) => own(core, conversation.body(stream), &conversation.model).await,
            Self::Url(remote) => {
                let body = conversation.body(stream).into();
                let sent = remote.send(Method::POST, "/v1/chat/completions", body);
                Ok(Reply::Remote(sent.await?.body))
            }
        }
    }

    /// Whether a model can be used, as far as that is known without asking anybody.
    pub(super) fn check(&self, model: &str) -> Result<(), Failure> {
        let Self::Own(core) = self else {
            return Ok(());
        };
        let snapshot = core.gateway.snapshot();
        match plan::targets(&snapshot, model, &|_, _, _| true) {
            Ok(_) => Ok(()),
            Err(error) => Err(no_model(&error, model, &snapshot)),
        }
    }

    /// Writes down what was counted.
    pub(super) fn close(&self) {
        if let Self::Own(core) = self {
            core.gateway.flush(FLUSH_PATIENCE);
        }
    }
}

async fn own(core: &Core, body: String, model: &str) -> Result<Reply, Failure> {
    let inbound = Inbound {
        id: RequestId::random(),
        client: Arc::from("chat"),
        owner: Arc::from("chat"),
        dialect: Dialect::OpenAiChat,
        operation: Operation::Chat,
        headers: HeaderMap::new(),
        body: body.into(),
        path_model: None,
        path_stream: None,
        batch: false,
        array_stream: false,
        strict: core.boot.loaded.config.routing.strict_translation,
    };
    match attempt::serve(&core.gateway, inbound, &|_, _, _| true).await {
        Ok(answered) => Ok(match answered.body {
            AnsweredBody::Stream(relay) => Reply::Relay(relay),
            AnsweredBody::Whole(body) => Reply::Whole(body),
        }),
        Err(dead_end) => Err(failure(&dead_end.error, core, model)),
    }
}

/// An error of our own gateway by its exit code: 3 where no credential can serve, else 1.
fn failure(error: &ErrorReply, core: &Core, model: &str) -> Failure {
    let message = error.message.clone();
    match error.code.as_deref() {
        Some("no_credentials") => {
            let hint = "`llmproxy creds list` shows what there is";
            Failure::no_credential(message, hint)
        }
        Some("credentials_refused") => {
            Failure::no_credential(message, "`llmproxy test-keys` checks every credential")
        }
        Some("all_credentials_cooling" | "all_credentials_busy") => Failure::no_credential(
            message,
            "try again then, or add a credential with `llmproxy creds add`",
        ),
        Some("model_not_found") => no_model(error, model, &core.gateway.snapshot()),
        _ => Failure::failed(message, "-v shows each attempt"),
    }
}
