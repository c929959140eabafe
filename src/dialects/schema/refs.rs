//! Inlining of local `$ref`s, bounded in every direction: cycles, chains and doubling fans.

use crate::dialects::schema::tree::{Members, Tree};

/// References open inside each other; real schemas seldom pass four.
const MAX_OPEN: usize = 10;

/// References resolved in one schema. A fan of definitions that each name the next one twice
/// doubles with each level; what comes after this many is cut like a cycle.
const MAX_RESOLVED: usize = 2_000;

/// Looks up the references of one schema and knows which are open.
pub(super) struct Refs<'a> {
    root: &'a Tree,
    open: Vec<String>,
    resolved: usize,
}

impl<'a> Refs<'a> {
    pub(super) fn new(root: &'a Tree) -> Self {
        Self {
            root,
            open: Vec::new(),
            resolved: 0,
        }
    }

    /// How many references are open: give it to [`Self::close`] when the node is done.
    pub(super) fn mark(&self) -> usize {
        self.open.len()
    }

    /// Closes the references opened since `mark` and returns them.
    pub(super) fn close(&mut self, mark: usize) -> Vec<String> {
        self.open.split_off(mark.min(self.open.len()))
    }

    /// Opens references again that [`Self::close`] returned.
    pub(super) fn reopen(&mut self, names: Vec<String>) {
        self.open.extend(names);
    }

    /// Replaces a node's `$ref` by what it names; members beside it win. A reference that is open
    /// already, or that leads nowhere, becomes a plain object that says so.
    pub(super) fn inline(&mut self, node: &mut Members) {
        while let Some(reference) = node.get("$ref").and_then(Tree::as_str).map(str::to_owned) {
            node.take("$ref");
            let target = if self.may_open(&reference) {
                pointer(self.root, &reference)
            } else {
                None
            };
            let Some(target) = target else {
                cut(node, &reference, self.open.contains(&reference));
                return;
            };
            self.resolved += 1;
            self.open.push(reference);
            let mut merged = match target {
                Tree::Object(members) => members.clone(),
                _ => Members::default(),
            };
            for (name, value) in node.0.drain(..) {
                merged.set(&name, value);
            }
            *node = merged;
        }
    }

    fn may_open(&self, reference: &str) -> bool {
        self.open.len() < MAX_OPEN
            && self.resolved < MAX_RESOLVED
            && reference != "#"
            && !self.open.iter().any(|open| open == reference)
    }
}

/// Makes a plain object of a node whose reference is not followed.
fn cut(node: &mut Members, reference: &str, recursive: bool) {
    let name = reference.rsplit('/').next().unwrap_or(reference);
    let note = if recursive || reference == "#" {
        format!("recursive: {name}")
    } else {
        format!("see {reference}")
    };
    let description = match node.get("description").and_then(Tree::as_str) {
        Some(own) if !own.is_empty() => format!("{own} ({note})"),
        _ => note,
    };
    node.set("description", Tree::String(description));
    if node.get("type").is_none() {
        node.set("type", Tree::text("object"));
    }
}

/// Follows a local JSON pointer (RFC 6901 in a URI fragment).
fn pointer<'a>(root: &'a Tree, reference: &str) -> Option<&'a Tree> {
    let path = reference.strip_prefix("#/")?;
    let mut at = root;
    for step in path.split('/') {
        let step = unescape(step);
        at = match at {
            Tree::Object(members) => members.get(&step)?,
            Tree::Array(items) => items.get(step.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(at)
}

/// Undoes percent-encoding, then `~1` and `~0`.
fn unescape(step: &str) -> String {
    let mut bytes = Vec::with_capacity(step.len());
    let mut rest = step.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%'
            && let Some(hex) = tail.get(..2)
            && let Some(byte) = std::str::from_utf8(hex)
                .ok()
                .and_then(|hex| u8::from_str_radix(hex, 16).ok())
        {
            bytes.push(byte);
            rest = tail.get(2..).unwrap_or_default();
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes)
        .replace("~1", "/")
        .replace("~0", "~")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_follow_escapes_and_arrays() {
        let root: Tree =
            serde_json::from_str(r#"{"$defs":{"a/b c":[1,{"x":"found"}]}}"#).expect("JSON");
        let found = pointer(&root, "#/$defs/a~1b%20c/1/x");
        assert_eq!(found, Some(&Tree::text("found")));
        assert_eq!(pointer(&root, "#/$defs/none"), None);
        assert_eq!(pointer(&root, "https://example.com/x"), None);
        assert_eq!(unescape("a%zz%4"), "a%zz%4");
    }
}
