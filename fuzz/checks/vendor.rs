//! What vendors answer: failures are judged, lists of models and quotas read, whatever they hold.

use std::sync::LazyLock;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use llmproxy::providers::account::AccountView;
use llmproxy::providers::{self, Answer, Provider};
use llmproxy::time::Timestamp;
use serde_json::Map;

/// Longer messages are cut.
const MAX_MESSAGE_BYTES: usize = 1 << 10;

static PROVIDERS: LazyLock<Vec<&dyn Provider>> = LazyLock::new(|| providers::all().collect());

/// The first byte chooses the provider, the second the status and what is read of the answer, the next
/// line is a `Retry-After`, the rest is the body.
pub(crate) fn check(data: &[u8]) {
    let [first, second, rest @ ..] = data else {
        return;
    };
    let provider = PROVIDERS[usize::from(*first) % PROVIDERS.len()];
    let mut parts = rest.splitn(2, |byte| *byte == b'\n');
    let (stated, body) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(stated) {
        headers.insert(header::RETRY_AFTER, value);
    }
    let received = Timestamp::from_secs(1_764_000_000);
    let status = [200, 400, 401, 402, 403, 404, 429, 500, 503, 529];
    let answer = Answer {
        status: status[usize::from(*second) % status.len()],
        headers: &headers,
        body,
        model: "gemini-2.5-pro",
        received,
    };
    match usize::from(*second) / status.len() % 4 {
        0 => {
            let failure = provider.judge(&answer);
            assert!(failure.message.len() <= MAX_MESSAGE_BYTES + '…'.len_utf8());
            if let Some(hint) = failure.hint {
                let wait = received.until(hint.end(received));
                assert!(wait <= Duration::from_hours(31 * 24), "{hint:?}");
            }
        }
        1 => drop(provider.read_key_test(&answer)),
        2 => {
            if let Ok(page) = provider.read_models(body) {
                assert!(page.models.iter().all(|model| !model.id.is_empty()));
            }
        }
        _ => quotas(provider, body, received),
    }
}

fn quotas(provider: &dyn Provider, body: &[u8], received: Timestamp) {
    let facts = Map::new();
    let account = AccountView {
        facts: &facts,
        email: None,
        tier: None,
        generation: 1,
        kind_is_account: true,
    };
    for which in 0..provider.quota_calls(&account).len() {
        let _ = provider.read_quota(which, body, received);
    }
}
