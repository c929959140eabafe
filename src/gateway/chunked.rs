//! Bodies in chunks (RFC 9112 §7.1): what they hold and where they end. Upstream answers are read with
//! it; of requests, which hyper reads itself, only the end is looked for.

/// How far into a chunked body (RFC 9112 §7.1) the connection is. Begins with [`Chunks::default`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chunks {
    place: Place,
    /// The size of the chunk so far, then how much of it is to come.
    left: u64,
    /// Whether the size has begun.
    has_digits: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    Data,
    DataCr,
    DataLf,
    /// Behind a `;`: up to the line's end.
    Extension,
    #[default]
    Size,
    SizeLf,
    /// White space behind the size.
    SizePad,
    /// In a line of the trailer.
    Trailer,
    /// Where a line of the trailer, or the blank line that ends the body, begins.
    TrailerBegin,
    TrailerEndLf,
    TrailerLf,
}

/// What became of the bytes shown to [`Chunks::feed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fed {
    /// The body ended after so many of them.
    Ended(usize),
    /// It is no chunked body, and where it ends cannot be known.
    Malformed,
    /// All belong to the body.
    More,
}

impl Chunks {
    /// Looks at the next bytes of the body and hands on what they hold. Follows hyper's reader step by
    /// step: what one takes and the other does not could be read in two ways.
    pub fn feed(&mut self, bytes: &[u8], mut held: impl FnMut(&[u8])) -> Fed {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if self.place == Place::Data {
                let here = (bytes.len() - at) as u64;
                let skip = self.left.min(here);
                self.left -= skip;
                // No more than there is in `bytes`.
                let end = at + usize::try_from(skip).unwrap_or(usize::MAX);
                held(bytes.get(at..end).unwrap_or_default());
                at = end;
                if self.left == 0 {
                    self.place = Place::DataCr;
                }
                continue;
            }
            at += 1;
            self.place = match (self.place, byte) {
                (Place::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                    // One more digit does not fit into 64 bits.
                    if self.left >> 60 != 0 {
                        return Fed::Malformed;
                    }
                    let digit = char::from(byte).to_digit(16).unwrap_or_default();
                    self.has_digits = true;
                    self.left = self.left << 4 | u64::from(digit);
                    Place::Size
                }
                (Place::Size, _) if !self.has_digits => return Fed::Malformed,
                (Place::Size | Place::SizePad, b' ' | b'\t') => Place::SizePad,
                (Place::Size | Place::SizePad, b';') => Place::Extension,
                (Place::Size | Place::SizePad | Place::Extension, b'\r') => Place::SizeLf,
                (Place::Extension, byte) if byte != b'\n' => Place::Extension,
                (Place::SizeLf, b'\n') if self.left == 0 => Place::TrailerBegin,
                (Place::SizeLf, b'\n') => Place::Data,
                (Place::DataCr, b'\r') => Place::DataLf,
                (Place::DataLf, b'\n') => {
                    *self = Self::default();
                    Place::Size
                }
                (Place::TrailerBegin, b'\r') => Place::TrailerEndLf,
                (Place::TrailerEndLf, b'\n') => return Fed::Ended(at),
                (Place::Trailer, b'\r') => Place::TrailerLf,
                (Place::Trailer | Place::TrailerBegin, _) => Place::Trailer,
                (Place::TrailerLf, b'\n') => Place::TrailerBegin,
                _ => return Fed::Malformed,
            };
        }
        Fed::More
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of the bytes in pieces of each size; all must agree.
    fn fed(bytes: &[u8]) -> (Fed, String) {
        let of_pieces = |size: usize| {
            let mut chunks = Chunks::default();
            let (mut before, mut held) = (0, Vec::new());
            let mut end = Fed::More;
            for piece in bytes.chunks(size) {
                end = match chunks.feed(piece, |data| held.extend_from_slice(data)) {
                    Fed::Ended(at) => Fed::Ended(before + at),
                    other => other,
                };
                if end != Fed::More {
                    break;
                }
                before += piece.len();
            }
            (end, String::from_utf8(held).expect("ASCII"))
        };
        let whole = of_pieces(bytes.len());
        for size in 1..bytes.len() {
            assert_eq!(of_pieces(size), whole, "in pieces of {size}");
        }
        whole
    }

    #[test]
    fn a_body_ends_behind_its_trailer() {
        for (body, held) in [
            ("0\r\n\r\n", ""),
            ("00000000000000001\r\na\r\n0\r\n\r\n", "a"),
            ("3\r\nabc\r\n0\r\n\r\n", "abc"),
            ("2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", "abc"),
            (
                "A;x=\"y\"\r\n0123456789\r\n00 \r\na: b\r\nc: d\r\n\r\n",
                "0123456789",
            ),
        ] {
            let more = fed(format!("{body}GET /").as_bytes());
            assert_eq!(more, (Fed::Ended(body.len()), held.to_owned()));
            let less = fed(&body.as_bytes()[..body.len() - 1]);
            assert_eq!(less, (Fed::More, held.to_owned()), "{body}");
        }
    }

    #[test]
    fn what_is_no_chunk_is_malformed() {
        for body in [
            "\r\n",
            "0x2\r\n",
            "-1\r\n",
            "3\nabc\r\n",
            "3\r\nabcd\r\n",
            "3\r\nabc\n",
            "1;a\nb\r\n",
            "10000000000000000\r\n",
            "0\r\n\rx",
        ] {
            assert_eq!(fed(body.as_bytes()).0, Fed::Malformed, "{body:?}");
        }
    }
}
