//! How a secret may be written by somebody who repeats it.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// A secret as it may be written in a URL or a JSON text, beside as it is.
pub(super) fn usual(secret: &str) -> Vec<Cow<'_, str>> {
    let mut forms = vec![Cow::Borrowed(secret)];
    if !secret.bytes().all(is_unreserved) {
        forms.push(Cow::Owned(percent(secret, is_unreserved)));
        if let Ok(json) = serde_json::to_string(secret) {
            let inner = json.get(1..json.len() - 1).unwrap_or("");
            forms.push(Cow::Owned(inner.to_owned()));
        }
    }
    forms
}

/// The [`usual`] ones, and all others that a reader could turn back: each byte escaped for a URL, JSON
/// or HTML, hexadecimal, Base64 of either alphabet wherever in its text the secret begins, and the
/// secret from its end to its beginning.
pub(super) fn all(secret: &str) -> Vec<Cow<'_, str>> {
    let mut forms = usual(secret);
    let hex = of_each(secret, |byte, form| write!(form, "{byte:02x}"));
    forms.push(Cow::Owned(hex.to_uppercase()));
    forms.push(Cow::Owned(hex));
    // What is written with a letter first and hexadecimal digits after it, in either case.
    let escaped = percent(secret, |_| false);
    forms.push(Cow::Owned(escaped.to_lowercase()));
    forms.push(Cow::Owned(escaped));
    let partly = percent(secret, is_unreserved);
    if partly != secret {
        forms.push(Cow::Owned(lower_percent(&partly)));
        forms.push(Cow::Owned(secret.replace('/', "\\/")));
    }
    for (prefix, digits, suffix) in [("\\u", 4, ""), ("&#x", 2, ";")] {
        for upper in [false, true] {
            let form = of_each_character(secret, |character, form| {
                let code = u32::from(character);
                if upper {
                    write!(form, "{prefix}{code:0digits$X}{suffix}")
                } else {
                    write!(form, "{prefix}{code:0digits$x}{suffix}")
                }
            });
            forms.push(Cow::Owned(form));
        }
    }
    let decimal = |character, form: &mut String| write!(form, "&#{};", u32::from(character));
    forms.push(Cow::Owned(of_each_character(secret, decimal)));
    for before in 0..3 {
        let text = base64(secret, before);
        let url_safe = text.replace('+', "-").replace('/', "_");
        forms.push(Cow::Owned(text));
        forms.push(Cow::Owned(url_safe));
    }
    forms.push(Cow::Owned(secret.chars().rev().collect()));
    forms.sort_unstable();
    forms.dedup();
    forms
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte)
}

/// Percent-encoded, but for the bytes that may stay.
fn percent(secret: &str, stays: impl Fn(u8) -> bool) -> String {
    of_each(secret, |byte, form| {
        if stays(byte) {
            form.push(char::from(byte));
            Ok(())
        } else {
            write!(form, "%{byte:02X}")
        }
    })
}

/// The digits after each `%` in lower case.
fn lower_percent(text: &str) -> String {
    let mut pieces = text.split('%');
    let mut lower = pieces.next().unwrap_or("").to_owned();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2).unwrap_or((piece, ""));
        lower.push('%');
        lower.push_str(&digits.to_lowercase());
        lower.push_str(rest);
    }
    lower
}

/// The characters of Base64 that say nothing but this secret, where so many bytes (modulo 3) stand
/// before it.
fn base64(secret: &str, before: usize) -> String {
    let mut bytes = vec![0; before];
    bytes.extend_from_slice(secret.as_bytes());
    let text = STANDARD_NO_PAD.encode(&bytes);
    let (from, to) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
    text.get(from..to).unwrap_or("").to_owned()
}

fn of_each(secret: &str, write: impl Fn(u8, &mut String) -> std::fmt::Result) -> String {
    let mut form = String::new();
    for byte in secret.bytes() {
        // Writing to a String never fails.
        let _ = write(byte, &mut form);
    }
    form
}

fn of_each_character(
    secret: &str,
    write: impl Fn(char, &mut String) -> std::fmt::Result,
) -> String {
    let mut form = String::new();
    for character in secret.chars() {
        let _ = write(character, &mut form);
    }
    form
}
