//! The head scan and the splice against `serde_json`.

use bytes::Bytes;
use llmproxy::dialects::Dialect;
use llmproxy::dialects::head::{HeadError, scan, splice};
use serde::de::IgnoredAny;

/// The first byte chooses the dialect, the rest is the body.
pub(crate) fn check(data: &[u8]) {
    let Some((first, body)) = data.split_first() else {
        return;
    };
    let dialect = Dialect::ALL[usize::from(*first) % Dialect::ALL.len()];
    let is_object = std::str::from_utf8(body).is_ok()
        && body.trim_ascii_start().starts_with(b"{")
        && serde_json::from_slice::<IgnoredAny>(body).is_ok();
    let head = match scan(body, dialect) {
        Ok(head) => head,
        Err(error) => {
            assert!(error.at() <= body.len());
            let is_syntax = matches!(
                error,
                HeadError::NotJson { .. } | HeadError::NotObject { .. } | HeadError::NotUtf8 { .. }
            );
            assert!(!is_syntax || !is_object, "refused a sound body: {error}");
            return;
        }
    };
    assert!(is_object, "took what is no object");
    let _ = head.session_keys("client");
    let body = Bytes::copy_from_slice(body);
    let spliced = splice(&body, &head, "a \"new\" name", &[]);
    let Some(model) = &head.model else {
        assert_eq!(spliced, body);
        return;
    };
    if model.name == "a \"new\" name" {
        assert_eq!(spliced, body);
        return;
    }
    let (before, after) = (&body[..model.span.start], &body[model.span.end..]);
    assert!(spliced.starts_with(before) && spliced.ends_with(after));
    let middle = &spliced[before.len()..spliced.len() - after.len()];
    assert_eq!(middle, br#""a \"new\" name""#);
    let again = scan(&spliced, dialect).expect("a spliced body is as sound as before");
    assert_eq!(again.session_keys("client"), head.session_keys("client"));
}
