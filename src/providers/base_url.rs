//! Joins base URLs, as the vendors' SDKs take them, with paths.

/// Joins `base` and `path`. A `base` may end in a slash; nothing is added to it. Each leading `..`
/// of `path` takes one segment off the base, never the host: an endpoint beside the
/// OpenAI-compatible ones (`../user/balance`) is found under an overridden base URL as well, and no
/// key goes to a host the user did not name. A whole URL is returned as it is.
pub fn join(base: &str, path: &str) -> String {
    if path.starts_with("https://") || path.starts_with("http://") {
        return path.to_owned();
    }
    let mut base = base.trim_end_matches('/');
    let mut path = path;
    while let Some(rest) = path.strip_prefix("../") {
        path = rest;
        base = parent(base);
    }
    let slash = if path.starts_with('/') { "" } else { "/" };
    format!("{base}{slash}{path}")
}

/// Adds `version` to a base URL whose path does not end in one: the SDKs of Anthropic and Google
/// take the host, people paste it with the version.
pub fn versioned(base: &str, version: &str) -> String {
    let base = base.trim_end_matches('/');
    if ends_in_version(base) {
        return base.to_owned();
    }
    format!("{base}/{version}")
}

/// `true` for `…/v1`, `…/v1beta`, `…/v1alpha2`.
fn ends_in_version(base: &str) -> bool {
    let Some((_, last)) = base.rsplit_once('/') else {
        return false;
    };
    last.strip_prefix('v').is_some_and(|version| {
        version.starts_with(|c: char| c.is_ascii_digit())
            && version.chars().all(|c| c.is_ascii_alphanumeric())
    })
}

/// The URL without its last path segment; the bare origin stays.
fn parent(base: &str) -> &str {
    let path_start = base.find("://").map_or(0, |scheme| scheme + 3);
    match base.rfind('/') {
        Some(slash) if slash >= path_start => base.get(..slash).unwrap_or(base),
        _ => base,
    }
}

/// Percent-encodes what is not unreserved, so that a model name is one path segment whatever it
/// holds (`../`, `?`, `#`).
pub(super) fn segment(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_~.:@".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.extend(['%', hex_digit(byte >> 4), hex_digit(byte & 15)]);
        }
    }
    // A segment of dots only would be taken for "here" or "up".
    if encoded.bytes().all(|byte| byte == b'.') {
        return encoded.replace('.', "%2E");
    }
    encoded
}

/// The upper-case hex digit of a number below 16.
fn hex_digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16).map_or('0', |digit| digit.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_go_below_the_base_as_given() {
        for (base, path, url) in [
            (
                "https://h/v1",
                "/chat/completions",
                "https://h/v1/chat/completions",
            ),
            ("https://h/v1/", "/models", "https://h/v1/models"),
            (
                "https://h/api/paas/v4",
                "/chat/completions",
                "https://h/api/paas/v4/chat/completions",
            ),
            (
                "https://h/inference",
                "/models",
                "https://h/inference/models",
            ),
            ("https://h", "/models", "https://h/models"),
            (
                "http://[::1]:8080/v1",
                "models",
                "http://[::1]:8080/v1/models",
            ),
        ] {
            assert_eq!(join(base, path), url);
        }
    }

    #[test]
    fn leading_dots_climb_but_never_leave_the_host() {
        for (base, path, url) in [
            ("https://h/v1", "../user/balance", "https://h/user/balance"),
            ("https://h", "../user/balance", "https://h/user/balance"),
            (
                "https://h/compatibility/v1/",
                "../../v1/models",
                "https://h/v1/models",
            ),
            ("http://h:1/v1", "../../../x", "http://h:1/x"),
        ] {
            assert_eq!(join(base, path), url);
        }
    }

    #[test]
    fn a_version_is_added_only_where_none_is() {
        for (base, url) in [
            ("https://h", "https://h/v1"),
            ("https://h/", "https://h/v1"),
            ("https://h/v1", "https://h/v1"),
            ("https://h/v1beta/", "https://h/v1beta"),
            ("https://h/anthropic", "https://h/anthropic/v1"),
            ("https://h/vendor", "https://h/vendor/v1"),
        ] {
            assert_eq!(versioned(base, "v1"), url);
        }
    }

    #[test]
    fn a_model_name_stays_one_segment() {
        assert_eq!(segment("gemini-2.5-flash"), "gemini-2.5-flash");
        assert_eq!(segment("../../secret?x#y"), "..%2F..%2Fsecret%3Fx%23y");
        assert_eq!(segment(".."), "%2E%2E");
        assert_eq!(segment("ü"), "%C3%BC");
    }
}
