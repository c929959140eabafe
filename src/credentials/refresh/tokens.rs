//! What the tokens of an account are worth, and which of two sets of them is the later one.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::credentials::Account;
use crate::credentials::oauth::exchange::Tokens;
use crate::secret::Secret;
use crate::time::Timestamp;

/// A token with less life left than this may end on its way to the provider.
pub(super) const USABLE_MARGIN: Duration = Duration::from_secs(10);

/// Puts facts over what is known; `null` takes a member away.
pub(super) fn merge(known: &mut Map<String, Value>, facts: &Map<String, Value>) {
    for (name, value) in facts {
        if value.is_null() {
            known.remove(name);
        } else {
            known.insert(name.clone(), value.clone());
        }
    }
}

/// Puts new tokens into an account: the old refresh token stays where none came.
pub fn with_tokens(mut account: Account, tokens: Tokens, now: Timestamp) -> Account {
    account.access_token = Some(tokens.access_token);
    account.expires = tokens.expires_in.map(|life| now + life);
    if let Some(refresh_token) = tokens.refresh_token {
        account.refresh_token = Some(refresh_token);
    }
    if let Some(scope) = tokens.scope {
        account.extra.insert("scope".to_owned(), scope.into());
    }
    account.extra.extend(tokens.extra);
    account.generation += 1;
    account.expired_reason = None;
    account
}

/// Whether `one` holds something that `other` does not know: a later refresh, or a new log-in.
pub(crate) fn is_newer(one: &Account, other: &Account) -> bool {
    let text = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
    one.generation > other.generation
        || (one.generation == other.generation
            && text(&one.refresh_token) != text(&other.refresh_token)
            && one.expired_reason.is_none())
}
