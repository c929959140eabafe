//! Adapts request bodies to what a vendor takes, by its [`Quirks`].

use bytes::Bytes;

use crate::providers::Outgoing;
use crate::providers::quirks::Quirks;

/// Returns the body unchanged, without a copy, where nothing is to do.
pub(super) fn by_quirks(body: Bytes, _request: &Outgoing<'_>, _quirks: &Quirks) -> Bytes {
    body
}
