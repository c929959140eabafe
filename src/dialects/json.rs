//! Writes JSON straight into a buffer, members in the order they are written.
//!
//! Codecs write wire formats member by member; a tree in between would cost a copy of every text
//! and lose the order that prompt caches depend on.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::dialects::fields::{Extra, Raw};

/// Writes one object into `out`.
pub fn object<R>(out: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>) -> R) -> R {
    out.push(b'{');
    let result = write(&mut Object {
        out: &mut *out,
        is_first: true,
    });
    out.push(b'}');
    result
}

/// Writes one array into `out`.
pub fn array<R>(out: &mut Vec<u8>, write: impl FnOnce(&mut Array<'_>) -> R) -> R {
    out.push(b'[');
    let result = write(&mut Array {
        out: &mut *out,
        is_first: true,
    });
    out.push(b']');
    result
}

/// Writes one value into `out`.
pub fn value(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    let start = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        // Only maps with keys that are no strings fail; nothing here has such.
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
}

/// An object as an owned raw value.
pub fn raw_object(write: impl FnOnce(&mut Object<'_>)) -> Raw {
    let mut out = Vec::new();
    object(&mut out, write);
    into_raw(out)
}

/// An array as an owned raw value.
pub fn raw_array(write: impl FnOnce(&mut Array<'_>)) -> Raw {
    let mut out = Vec::new();
    array(&mut out, write);
    into_raw(out)
}

fn into_raw(out: Vec<u8>) -> Raw {
    String::from_utf8(out)
        .ok()
        .and_then(|json| RawValue::from_string(json).ok())
        .unwrap_or_else(|| RawValue::NULL.to_owned())
}

/// An object being written.
#[derive(Debug)]
pub struct Object<'o> {
    out: &'o mut Vec<u8>,
    is_first: bool,
}

impl Object<'_> {
    /// Writes a member with any value.
    pub fn put(&mut self, name: &str, member: &(impl Serialize + ?Sized)) {
        value(self.key(name), member);
    }

    /// Writes a member if there is a value.
    pub fn put_some(&mut self, name: &str, member: Option<&(impl Serialize + ?Sized)>) {
        if let Some(member) = member {
            self.put(name, member);
        }
    }

    /// Writes a member that is JSON already.
    pub fn raw(&mut self, name: &str, member: &RawValue) {
        self.key(name).extend_from_slice(member.get().as_bytes());
    }

    /// Writes a member that is JSON already, if there is one.
    pub fn raw_some(&mut self, name: &str, member: Option<&Raw>) {
        if let Some(member) = member {
            self.raw(name, member);
        }
    }

    /// Writes all members of an `extra`.
    pub fn extra(&mut self, extra: &Extra) {
        for (name, member) in &extra.0 {
            self.raw(name, member);
        }
    }

    /// Writes an object as a member.
    pub fn object<R>(&mut self, name: &str, write: impl FnOnce(&mut Object<'_>) -> R) -> R {
        object(self.key(name), write)
    }

    /// Writes an array as a member.
    pub fn array<R>(&mut self, name: &str, write: impl FnOnce(&mut Array<'_>) -> R) -> R {
        array(self.key(name), write)
    }

    /// Writes `null` as a member.
    pub fn null(&mut self, name: &str) {
        self.key(name).extend_from_slice(b"null");
    }

    /// Writes the name; the caller writes the value into the returned buffer.
    pub fn key(&mut self, name: &str) -> &mut Vec<u8> {
        if !self.is_first {
            self.out.push(b',');
        }
        self.is_first = false;
        value(self.out, name);
        self.out.push(b':');
        self.out
    }
}

/// An array being written.
#[derive(Debug)]
pub struct Array<'o> {
    out: &'o mut Vec<u8>,
    is_first: bool,
}

impl Array<'_> {
    /// Writes an item with any value.
    pub fn put(&mut self, item: &(impl Serialize + ?Sized)) {
        value(self.next(), item);
    }

    /// Writes an item that is JSON already.
    pub fn raw(&mut self, item: &RawValue) {
        self.next().extend_from_slice(item.get().as_bytes());
    }

    /// Writes an object as an item.
    pub fn object<R>(&mut self, write: impl FnOnce(&mut Object<'_>) -> R) -> R {
        object(self.next(), write)
    }

    /// `true` if nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.is_first
    }

    fn next(&mut self) -> &mut Vec<u8> {
        if !self.is_first {
            self.out.push(b',');
        }
        self.is_first = false;
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_values_come_out_in_order_and_escaped() {
        let mut out = Vec::new();
        object(&mut out, |o| {
            o.put("z", "a\"b\n");
            o.put_some("none", None::<&str>);
            o.array("list", |a| {
                assert!(a.is_empty());
                a.put(&1);
                a.object(|o| o.null("n"));
            });
            o.object("e", |_| {});
        });
        assert_eq!(
            String::from_utf8(out).expect("UTF-8"),
            r#"{"z":"a\"b\n","list":[1,{"n":null}],"e":{}}"#
        );
    }
}
