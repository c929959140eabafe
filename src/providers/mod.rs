//! Vendors without I/O: what each one's addresses, headers and answers look like.
//!
//! A provider is data ([`Spec`]) and a few pure methods. What needs a round trip is described as a
//! [`Call`] that the gateway sends. A new OpenAI-compatible vendor is one row in `compatible`.

pub mod spec;
pub mod verdict;

use bytes::Bytes;
use http::{HeaderMap, Method};

use crate::dialects::{Dialect, Operation};
use crate::providers::spec::Spec;
use crate::providers::verdict::Failure;
use crate::time::Timestamp;

/// One vendor's way of doing things. Pure: no clock, no I/O, no logging.
pub trait Provider: Sync {
    /// The vendor's data.
    fn spec(&self) -> &Spec;

    /// The dialect this operation is spoken in upstream, or `None` if the vendor has no such
    /// operation. The default: the spec's dialect, and what OpenAI-compatible vendors offer.
    fn dialect_for(&self, operation: Operation, client: Dialect, model: &str) -> Option<Dialect>;

    /// Path and query below the base URL for one operation: `/chat/completions`,
    /// `/models/gemini-2.5-flash:streamGenerateContent?alt=sse`.
    fn path(&self, operation: Operation, dialect: Dialect, model: &str, stream: bool) -> String;

    /// Sets the header that proves who calls; the value is marked sensitive.
    fn authorise(&self, secret: &str, headers: &mut HeaderMap);

    /// Headers every call of this vendor needs (`anthropic-version`), set where the client's own
    /// request did not bring them.
    fn headers(&self, dialect: Dialect, headers: &mut HeaderMap);

    /// Adapts a request body to what this vendor takes, splicing where possible; returns it
    /// unchanged (no copy) when nothing is to do. `body` is already in the upstream's dialect.
    fn adapt(&self, body: Bytes, operation: Operation, model: &str) -> Bytes;

    /// Judges a failed answer: a status that is no success, or an error object inside a 200.
    fn judge(&self, answer: &Answer<'_>) -> Failure;

    /// The request that lists this vendor's models; `page` is the token of the page before.
    /// `None`: the vendor has no list.
    fn list_models(&self, page: Option<&str>) -> Option<Call>;

    /// Reads one page of models. Both shapes `{"data":[…]}` and `[…]` are taken.
    fn read_models(&self, body: &[u8]) -> Result<ModelPage, String>;

    /// The cheapest request that tells whether a key works.
    fn key_test(&self) -> Call;

    /// What the answer to [`Provider::key_test`] says of the key.
    fn read_key_test(&self, answer: &Answer<'_>) -> Result<(), Failure>;
}

/// An upstream's answer as far as it is needed to judge it.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    pub status: u16,
    pub headers: &'a HeaderMap,
    /// The body, at most its first 64 KiB.
    pub body: &'a [u8],
    /// The model asked for: some verdicts hang on whether the error is about it.
    pub model: &'a str,
    /// When the answer came: hints count from here.
    pub received: Timestamp,
}

/// A request for the gateway to send. `path` goes below the base URL, or is a whole URL where the
/// vendor keeps such things elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub method: Method,
    pub path: String,
    pub body: Option<String>,
    /// `false`: sent without credentials (a public list).
    pub authorised: bool,
}

impl Call {
    /// An authorised GET.
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            body: None,
            authorised: true,
        }
    }

    /// An authorised POST of a JSON body.
    pub fn post(path: impl Into<String>, body: impl Into<String>) -> Self {
        Self {
            method: Method::POST,
            path: path.into(),
            body: Some(body.into()),
            authorised: true,
        }
    }
}

/// One page of a vendor's model list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelPage {
    pub models: Vec<ListedModel>,
    /// The token of the next page.
    pub next: Option<String>,
}

/// A model as its vendor lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedModel {
    /// The id to call it by, without `models/` or the like in front.
    pub id: String,
    /// Seconds since the epoch.
    pub created: Option<i64>,
    pub context_window: Option<u64>,
    pub max_output: Option<u64>,
    pub display_name: Option<String>,
}
