//! A request that runs into a bug of ours is answered like any other failure, and harms no other.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

use crate::dialects::Dialect;
use crate::dialects::error::{ErrorKind, ErrorReply};
use crate::server::respond::{self, Answer};

/// The answer, or a 500 if making it panics. What the request held (its credential, its client's
/// place) is given back as it is for a client that leaves.
pub(super) async fn contained(dialect: Dialect, answer: impl Future<Output = Answer>) -> Answer {
    // What is shared between requests is kept whole by its own locks.
    let answered = AssertUnwindSafe(answer).catch_unwind().await;
    answered.unwrap_or_else(|_| {
        let message = "the gateway has a bug that this request runs into; its log says where";
        let error = ErrorReply::new(500, ErrorKind::Provider, "internal_error", message);
        respond::error(dialect, &error)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn l28_a_panic_is_a_500_and_what_the_request_held_is_given_back() {
        let held = Arc::new(());
        let place = Arc::clone(&held);
        let dialect = Dialect::OpenAiChat;
        let answer = contained(dialect, async move {
            tokio::task::yield_now().await;
            assert_eq!(Arc::strong_count(&place), 1, "a bug");
            respond::error(dialect, &ErrorReply::invalid("never"))
        });
        let answer = answer.await;
        assert_eq!(answer.status(), 500);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
