//! The fake upstream: fixed answers, chosen by the model's name.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::{Body, Frame, Incoming};
use hyper::{Request, Response};
use memchr::memmem;

use crate::Result;

/// Events of one streamed answer.
pub(crate) const EVENTS: usize = 100;

const EVENT: &str = "data: {\"id\":\"chatcmpl-AbCdEfGhIjKlMnOpQrStUvWx\",\"object\":\"chat.completion.chunk\",\
\"created\":1764000000,\"model\":\"fake-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"},\
\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}\n\n";

const LAST: &str = "data: {\"id\":\"chatcmpl-AbCdEfGhIjKlMnOpQrStUvWx\",\"object\":\"chat.completion.chunk\",\
\"created\":1764000000,\"model\":\"fake-1\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\
\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":100,\"total_tokens\":109}}\n\ndata: [DONE]\n\n";

/// Serves until killed.
pub(crate) async fn serve() -> Result<()> {
    crate::listen(answer).await
}

async fn answer(request: Request<Incoming>) -> Result<Response<BoxBody<Bytes, Infallible>>> {
    let body = request.into_body().collect().await?.to_bytes();
    let asks = |model: &[u8]| memmem::find(&body, model).is_some();
    let (kind, body) = if asks(b"each\"") {
        ("text/event-stream", events(1).boxed())
    } else if asks(b"burst\"") {
        ("text/event-stream", events(20).boxed())
    } else if asks(b"model\"") {
        ("application/json", whole().boxed())
    } else {
        ("application/json", list().boxed())
    };
    Ok(Response::builder()
        .header("content-type", kind)
        .body(body)?)
}

/// About 1 KB, as long as a short answer is.
fn whole() -> http_body_util::Full<Bytes> {
    let text = "All work and no play makes a dull answer. ".repeat(16);
    let body = format!(
        "{{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1764000000,\"model\":\"fake-1\",\
         \"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"{text}\"}},\
         \"finish_reason\":\"stop\"}}],\
         \"usage\":{{\"prompt_tokens\":9,\"completion_tokens\":160,\"total_tokens\":169}}}}"
    );
    body.into()
}

/// The model list, for discovery.
fn list() -> http_body_util::Full<Bytes> {
    let list =
        "{\"object\":\"list\",\"data\":[{\"id\":\"whole\"},{\"id\":\"each\"},{\"id\":\"burst\"}]}";
    Bytes::from_static(list.as_bytes()).into()
}

fn events(per_write: usize) -> Events {
    Events {
        chunk: Bytes::from(EVENT.repeat(per_write)),
        left: EVENTS / per_write,
        pause: false,
    }
}

/// A streamed answer, a write for each chunk: between two chunks hyper finds nothing and flushes.
struct Events {
    chunk: Bytes,
    left: usize,
    pause: bool,
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Infallible>>> {
        self.pause = !self.pause;
        if self.pause {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        match self.left {
            0 => {
                self.left = usize::MAX;
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(LAST.as_bytes())))))
            }
            usize::MAX => Poll::Ready(None),
            _ => {
                self.left -= 1;
                Poll::Ready(Some(Ok(Frame::data(self.chunk.clone()))))
            }
        }
    }
}
