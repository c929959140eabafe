//! The bare pass-through to measure against: the least a hyper gateway can do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use llmproxy::dialects::Dialect;
use llmproxy::dialects::head::{scan, splice};

use crate::Result;

/// The keys that the scanning variant takes turns with.
const KEYS: [&str; 3] = ["Bearer k1", "Bearer k2", "Bearer k3"];

struct Pass {
    client: Client<HttpConnector, Full<Bytes>>,
    upstream: Uri,
    scans: bool,
    turn: AtomicUsize,
}

/// Serves until killed. With `scans`, the body's head is scanned, the model's name spliced and a
/// key picked: what llmproxy must do at least.
pub(crate) async fn serve(scans: bool) -> Result<()> {
    let upstream = std::env::var(crate::UPSTREAM)?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let pass = Arc::new(Pass {
        client: Client::builder(TokioExecutor::new()).build(connector),
        upstream: format!("http://{upstream}/v1/chat/completions").parse()?,
        scans,
        turn: AtomicUsize::new(0),
    });
    crate::listen(move |request| {
        let pass = Arc::clone(&pass);
        async move { pass.answer(request).await }
    })
    .await
}

impl Pass {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Incoming>> {
        let mut body = request.into_body().collect().await?.to_bytes();
        let mut key = KEYS[0];
        if self.scans {
            let head = scan(&body, Dialect::OpenAiChat)?;
            let name = head.model.as_ref().map_or("", |model| &model.name);
            let name = name.split_once('/').map_or(name, |(_, name)| name);
            body = splice(&body, &head, name, &[]);
            key = KEYS[self.turn.fetch_add(1, Ordering::Relaxed) % KEYS.len()];
        }
        let mut request = Request::post(self.upstream.clone()).body(Full::new(body))?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(AUTHORIZATION, HeaderValue::from_static(key));
        Ok(self.client.request(request).await?)
    }
}
