//! What comes back from a log-in: the address a user pastes, and the token endpoint's answer.

use std::sync::{LazyLock, OnceLock};

use http::StatusCode;
use llmproxy::config::provider::OAuth as Overrides;
use llmproxy::credentials::oauth::exchange::refresh;
use llmproxy::credentials::oauth::loopback::pasted;
use llmproxy::credentials::oauth::{Client, Http, OAuthError};
use llmproxy::providers;
use llmproxy::secret::Secret;
use oauth2::HttpResponse;
use tokio::runtime::{Builder, Runtime};

/// No message may quote it.
const CANARY: &str = "canary-refresh-0123456789";

static CLIENTS: LazyLock<Vec<Client>> = LazyLock::new(|| {
    let specs = providers::all().filter_map(|provider| provider.spec().oauth);
    let clients = specs.map(|spec| Client::new(*spec, &Overrides::default()));
    clients.collect()
});

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// The first byte chooses the provider and the status, the rest is what came back.
pub(crate) fn check(data: &[u8]) {
    let Some((first, answer)) = data.split_first() else {
        return;
    };
    if let Ok(text) = std::str::from_utf8(answer) {
        let _ = pasted(text);
    }
    let client = &CLIENTS[usize::from(*first) % CLIENTS.len()];
    let status = [200, 400, 401, 500][usize::from(*first >> 6)];
    let body = answer.to_vec();
    let http = Http::new(move |_| {
        let mut reply = HttpResponse::new(body.clone());
        *reply.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
        async move { Ok(reply) }
    });
    let runtime = RUNTIME.get_or_init(|| Builder::new_current_thread().build().expect("a runtime"));
    match runtime.block_on(refresh(client, &Secret::new(CANARY), &http)) {
        Ok(tokens) => assert!(status == 200 && !tokens.access_token.expose().is_empty()),
        Err(error) => assert!(!says_canary(&error), "{error}"),
    }
}

fn says_canary(error: &OAuthError) -> bool {
    format!("{error} {error:?}").contains(CANARY)
}
