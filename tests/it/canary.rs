//! Looks for a secret in all that a gateway lets out, whichever of eight encodings it has come to. The
//! tests and `examples/soak` share it, so it uses nothing of either.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use memchr::memmem::Finder;

/// An encoding: what it is called, and how a text looks in it.
pub(crate) type Encoding = (&'static str, fn(&str) -> String);

/// What a secret is looked for in.
pub(crate) const ENCODINGS: [Encoding; 8] = [
    ("as it is", str::to_owned),
    ("percent-encoded", |text| {
        each(text, |byte| format!("%{byte:02X}"))
    }),
    ("Base64", |text| STANDARD.encode(text)),
    ("URL-safe Base64", |text| URL_SAFE.encode(text)),
    ("hexadecimal", |text| {
        each(text, |byte| format!("{byte:02x}"))
    }),
    ("JSON escapes", |text| {
        each(text, |byte| format!("\\u{byte:04x}"))
    }),
    ("HTML references", |text| {
        each(text, |byte| format!("&#{byte};"))
    }),
    ("reversed", |text| text.chars().rev().collect()),
];

/// Finds a mark that stands in every secret, and nowhere else.
pub(crate) struct Search(Vec<(&'static str, Finder<'static>)>);

impl Search {
    /// Of a mark of ASCII letters and digits.
    pub(crate) fn new(mark: &str) -> Self {
        let mut forms: Vec<(&str, String)> = Vec::new();
        for (name, encode) in ENCODINGS {
            match name {
                "Base64" | "URL-safe Base64" => {
                    forms.extend((0..3).map(|before| (name, core(mark, before, encode))));
                }
                "HTML references" => {
                    forms.push((name, each(mark, |byte| format!("&#x{byte:x};"))));
                    forms.push((name, each(mark, |byte| format!("&#x{byte:X};"))));
                    forms.push((name, encode(mark)));
                }
                _ => forms.push((name, encode(mark))),
            }
        }
        // The digits of the others in the other case.
        forms.push(("percent-encoded", each(mark, |byte| format!("%{byte:02x}"))));
        forms.push(("hexadecimal", each(mark, |byte| format!("{byte:02X}"))));
        forms.push(("JSON escapes", each(mark, |byte| format!("\\u{byte:04X}"))));
        let finder = |(name, form): (&'static str, String)| {
            (name, Finder::new(form.as_bytes()).into_owned())
        };
        Self(forms.into_iter().map(finder).collect())
    }

    /// The encoding in which the mark stands there, and where.
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<(&'static str, usize)> {
        let mut finders = self.0.iter();
        finders.find_map(|(name, finder)| Some((*name, finder.find(bytes)?)))
    }

    /// Bytes around a find, for whoever has to understand it.
    pub(crate) fn around(bytes: &[u8], at: usize) -> String {
        let window = at.saturating_sub(200)..bytes.len().min(at + 200);
        String::from_utf8_lossy(bytes.get(window).unwrap_or_default()).into_owned()
    }
}

/// The characters that Base64 has for this text alone, behind so many other bytes.
fn core(mark: &str, before: usize, encode: fn(&str) -> String) -> String {
    let text = encode(&("-".repeat(before) + mark));
    let range = (before * 8).div_ceil(6)..(before + mark.len()) * 8 / 6;
    text.get(range).unwrap_or_default().to_owned()
}

fn each(text: &str, write: impl Fn(u8) -> String) -> String {
    text.bytes().map(write).collect()
}
