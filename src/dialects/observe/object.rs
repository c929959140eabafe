//! JSON looked at in passing: names, and values as they are written.
//!
//! Built on the head's scanner: what is looked at is checked as strictly, without a tree. What may
//! be long is gone through once, with [`visit`]; what is short is an [`Object`].

use std::borrow::Cow;

use crate::dialects::head::HeadError;
use crate::dialects::head::scanner::Scanner;

/// The bytes so far are JSON, or are not.
pub(super) type Checked = Result<(), HeadError>;

/// Goes through one JSON object, showing each member's name; `each` takes the value. `false` if the
/// bytes are anything else, or more.
pub(super) fn visit<'a>(
    json: &'a [u8],
    each: impl FnMut(&str, &mut Scanner<'a>) -> Checked,
) -> bool {
    std::str::from_utf8(json).is_ok_and(|json| {
        let mut scanner = Scanner::new(json);
        scanner.peek() == Some(b'{')
            && members(&mut scanner, each).is_ok()
            && scanner.peek().is_none()
    })
}

/// [`visit`] of the value that the scanner stands before; one that is no object is skipped.
pub(super) fn members<'a>(
    scanner: &mut Scanner<'a>,
    mut each: impl FnMut(&str, &mut Scanner<'a>) -> Checked,
) -> Checked {
    if scanner.peek() != Some(b'{') {
        return scanner.skip();
    }
    let mut first = true;
    while let Some(name) = scanner.next_member(first)? {
        first = false;
        each(&name.decode().unwrap_or_default(), scanner)?;
    }
    Ok(())
}

/// Goes through the items of an array; `each` takes the item. Any other value is skipped.
pub(super) fn each_item<'a>(
    scanner: &mut Scanner<'a>,
    mut each: impl FnMut(&mut Scanner<'a>) -> Checked,
) -> Checked {
    if scanner.peek() != Some(b'[') {
        return scanner.skip();
    }
    let mut first = true;
    while scanner.next_item(first)? {
        first = false;
        each(scanner)?;
    }
    Ok(())
}

/// An object's members in their order.
#[derive(Debug)]
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Object<'a> {
    /// Reads bytes that are one JSON object and nothing else; `None` if they are not.
    pub(super) fn parse(json: &'a [u8]) -> Option<Self> {
        Self::of(std::str::from_utf8(json).ok()?)
    }

    /// [`Object::parse`] of text.
    pub(super) fn of(json: &'a str) -> Option<Self> {
        let mut scanner = Scanner::new(json);
        let mut members = Vec::with_capacity(8);
        while let Some(name) = scanner.next_member(members.is_empty()).ok()? {
            members.push((name.decode()?, scanner.value().ok()?));
        }
        scanner.peek().is_none().then_some(Self(members))
    }

    /// The value of a member; the last one if the name occurs twice.
    pub(super) fn raw(&self, name: &str) -> Option<&'a str> {
        let mut members = self.0.iter().rev();
        members.find(|(key, _)| key == name).map(|(_, raw)| *raw)
    }

    /// The value of a member that is an object itself.
    pub(super) fn object(&self, name: &str) -> Option<Self> {
        Self::of(self.raw(name)?)
    }

    /// The value of a member that is text.
    pub(super) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        text(self.raw(name)?)
    }

    /// The items of a member that is an array; none of any other.
    pub(super) fn items(&self, name: &str) -> Vec<&'a str> {
        self.raw(name).and_then(items).unwrap_or_default()
    }

    /// The first of the members that is a number, as a count: a negative one is 0, a huge one
    /// saturates, a fraction is cut off.
    pub(super) fn count(&self, names: &[&str]) -> Option<u64> {
        names.iter().find_map(|name| count(self.raw(name)?))
    }

    /// All members.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.0.iter().map(|(name, raw)| (name.as_ref(), *raw))
    }
}

/// The items of an array; `None` of anything else.
pub(super) fn items(json: &str) -> Option<Vec<&str>> {
    let mut scanner = Scanner::new(json);
    let mut items = Vec::new();
    while scanner.next_item(items.is_empty()).ok()? {
        items.push(scanner.value().ok()?);
    }
    scanner.peek().is_none().then_some(items)
}

/// `true` for one whole JSON value of any kind.
pub(super) fn is_json(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|json| {
        let mut scanner = Scanner::new(json);
        scanner.value().is_ok() && scanner.peek().is_none()
    })
}

/// A (checked) value as text, if it is a string.
pub(super) fn text(raw: &str) -> Option<Cow<'_, str>> {
    if raw.starts_with('"') {
        Scanner::new(raw).string().ok()?.decode()
    } else {
        None
    }
}

fn count(raw: &str) -> Option<u64> {
    if !raw.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return None;
    }
    raw.parse().ok().or_else(|| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturation is meant"
        )]
        raw.parse::<f64>().ok().map(|count| count as u64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_spelling_and_the_last_of_a_name_counts() {
        let object = Object::parse(br#" {"a":1e400,"b":[ 1, "x" ],"\u0061":"\u0041"} "#);
        let object = object.expect("an object");
        assert_eq!(object.raw("a"), Some(r#""\u0041""#));
        assert_eq!(object.text("a").as_deref(), Some("A"));
        assert_eq!(object.items("b"), ["1", r#""x""#]);
        assert!(object.object("b").is_none() && object.text("b").is_none());
    }

    #[test]
    fn what_is_not_one_whole_object_is_none() {
        for json in [
            "",
            "[]",
            "7",
            r#"{"a":1"#,
            r#"{"a":1} x"#,
            r#"{"a":}"#,
            "{a:1}",
        ] {
            assert!(Object::parse(json.as_bytes()).is_none(), "{json}");
        }
        assert!(Object::parse(b"{\"a\":\"\xff\"}").is_none());
    }

    #[test]
    fn a_visit_sees_each_name_once_and_checks_all_of_it() {
        let mut seen = Vec::new();
        let whole = visit(br#"{"a":{"b":[1,{"c":2}]},"d":7}"#, |name, scanner| {
            seen.push(name.to_owned());
            members(scanner, |name, scanner| {
                seen.push(name.to_owned());
                each_item(scanner, |scanner| {
                    seen.push(scanner.value()?.to_owned());
                    Ok(())
                })
            })
        });
        assert!(whole);
        assert_eq!(seen, ["a", "b", "1", r#"{"c":2}"#, "d"]);
        for json in [
            "",
            "[]",
            r#"{"a":{"b":[1,}}"#,
            r#"{"a":1}x"#,
            r#"{"a":{"b":1}"#,
        ] {
            let visited = visit(json.as_bytes(), |_, scanner| {
                members(scanner, |_, scanner| scanner.skip())
            });
            assert!(!visited, "{json}");
        }
    }

    #[test]
    fn counts_are_taken_as_they_come() {
        let object = Object::parse(br#"{"a":7,"b":-3,"c":2.9,"d":1e99,"e":"5","f":null}"#);
        let object = object.expect("an object");
        let counted = ["a", "b", "c", "d", "e", "f", "g"].map(|name| object.count(&[name]));
        let (some, none) = counted.split_at(4);
        assert_eq!(some, [Some(7), Some(0), Some(2), Some(u64::MAX)]);
        assert_eq!(none, [None; 3]);
        assert_eq!(object.count(&["e", "c"]), Some(2));
    }
}
