//! The live page: one document inside the binary, and what it is told while it is open.
//!
//! The document holds no data and is the same for everybody. Its style and its script are named in
//! the content security policy by their hashes, so that a browser runs nothing else: no inline
//! handler, no `eval`, no other origin.

mod live;
pub(super) mod picture;

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use ring::digest::{SHA256, digest};

pub use crate::server::dashboard::live::Live;
pub(super) use crate::server::dashboard::live::{Viewer, watch};
use crate::server::respond::{self, Answer};

const DOCUMENT: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");

/// One script of several files, each a part of the page.
const SCRIPT: &str = concat!(
    include_str!("script/dom.js"),
    include_str!("script/wire.js"),
    include_str!("script/chart.js"),
    include_str!("script/pools.js"),
    include_str!("script/requests.js"),
    include_str!("script/models.js"),
    include_str!("script/page.js"),
);

/// What documents with data may do in a browser: nothing.
const NOTHING: &str = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'";

static PAGE: LazyLock<Page> = LazyLock::new(Page::made);

/// The document in its two forms, and its policy.
struct Page {
    /// Where no key is asked for.
    open: Bytes,
    /// Where the page must ask for one.
    locked: Bytes,
    policy: HeaderValue,
}

/// `GET /dashboard`.
pub(super) fn page(asks_for_key: bool) -> Answer {
    let body = if asks_for_key {
        &PAGE.locked
    } else {
        &PAGE.open
    };
    let mut answer = respond::with_type(StatusCode::OK, "text/html; charset=utf-8", body.clone());
    answer
        .headers_mut()
        .insert(header::CONTENT_SECURITY_POLICY, PAGE.policy.clone());
    answer
}

/// Sets what every answer below `/dashboard` carries: kept nowhere, framed nowhere, and nothing
/// but what it says it is.
pub(super) fn seal(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(NOTHING));
}

impl Page {
    fn made() -> Self {
        let with = |auth: &str| {
            let page = DOCUMENT
                .replace("{{auth}}", auth)
                .replace("{{version}}", env!("CARGO_PKG_VERSION"))
                .replace("{{style}}", STYLE)
                .replace("{{script}}", SCRIPT);
            Bytes::from(page)
        };
        let policy = format!(
            "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'; trusted-types 'none'",
            hash(SCRIPT),
            hash(STYLE),
        );
        Self {
            open: with("none"),
            locked: with("key"),
            policy: HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static(NOTHING)),
        }
    }
}

/// How a policy names an inline text: `sha256-…`
/// (<https://www.w3.org/TR/CSP3/#grammardef-hash-source>, read 2026-11-22).
fn hash(text: &str) -> String {
    let digest = digest(&SHA256, text.as_bytes());
    format!("sha256-{}", STANDARD.encode(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_holds_exactly_what_its_policy_names() {
        let page = std::str::from_utf8(&PAGE.open).expect("text");
        for (tag, text) in [("style", STYLE), ("script", SCRIPT)] {
            let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
            let (_, rest) = page.split_once(&open).expect("it has one");
            let (inside, rest) = rest.split_once(&close).expect("it ends");
            assert_eq!(inside, text, "{tag}");
            assert!(!rest.contains(&open), "one {tag} only");
            let policy = PAGE.policy.to_str().expect("text");
            assert!(policy.contains(&hash(text)), "{policy}");
        }
        assert!(!page.contains("{{"), "nothing is left to fill in");
    }

    #[test]
    fn the_document_asks_nobody_else_and_makes_no_markup_of_data() {
        let page = std::str::from_utf8(&PAGE.locked).expect("text");
        for sink in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "createContextualFragment",
            "setHTML",
            "srcdoc",
            " onclick=",
            " style=",
            "@import",
            "url(",
            "src=\"",
        ] {
            assert!(!page.contains(sink), "{sink}");
        }
        // The name of a vocabulary is no address that anybody asks.
        let asked = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!asked.contains("://"), "no address of another origin");
        assert!(page.contains("data-auth=\"key\""));
    }

    #[test]
    fn the_policy_lets_nothing_in_but_the_page() {
        let policy = PAGE.policy.to_str().expect("text");
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert!(!policy.contains('*'), "{policy}");
    }
}
