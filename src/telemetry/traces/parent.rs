//! The client's place in a trace of its own: the `traceparent` header (W3C Trace Context,
//! <https://www.w3.org/TR/trace-context/#traceparent-header>, read 2026-11-26).

/// The span that a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    pub trace: u128,
    pub span: u64,
    /// Whether the caller keeps the trace.
    pub is_sampled: bool,
}

impl Parent {
    /// Reads `00-<trace>-<span>-<flags>`, and of later versions what they have in common with it.
    /// `None` for anything else: such a header is to be treated as absent.
    pub fn read(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let version = hex(parts.next()?, 2)?;
        let trace = hex(parts.next()?, 32)?;
        let span = u64::try_from(hex(parts.next()?, 16)?).ok()?;
        let flags = hex(parts.next()?, 2)?;
        let is_longer = parts.next().is_some();
        if version == 0xff || version == 0 && is_longer || trace == 0 || span == 0 {
            return None;
        }
        Some(Self {
            trace,
            span,
            is_sampled: flags & 1 == 1,
        })
    }
}

/// So many lower-case hex digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let fits = text.len() == digits && text.bytes().all(is_hex);
    fits.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_read_and_its_sampling_kept() {
        for (flags, is_sampled) in [("01", true), ("00", false), ("03", true)] {
            let text = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
            let parent = Parent {
                trace: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
                span: 0xb7ad_6b71_6920_3331,
                is_sampled,
            };
            assert_eq!(Parent::read(&text), Some(parent));
        }
    }

    #[test]
    fn what_the_standard_forbids_is_no_parent() {
        let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        let zeros = "0".repeat(32);
        for text in [
            String::new(),
            format!("ff-{trace}-{span}-01"),
            format!("00-{trace}-{span}-01-extra"),
            format!("00-{zeros}-{span}-01"),
            format!("00-{trace}-{}-01", &zeros[..16]),
            format!("00-{}-{span}-01", trace.to_uppercase()),
            format!("00-{trace}-{span}"),
            format!("00-{trace}-{}-01", &span[1..]),
        ] {
            assert_eq!(Parent::read(&text), None, "{text}");
        }
        let later = format!("01-{trace}-{span}-01-what-may-come");
        assert!(Parent::read(&later).is_some());
    }
}
