//! Choices (`anyOf`, `oneOf`) and unions (`allOf`) on their way to the `OpenAPI` subset.

use crate::dialects::schema::openapi::{Built, Cleaner};
use crate::dialects::schema::tree::{Members, Tree};

/// One branch of a choice, references in place, and which they were.
pub(super) struct Variant {
    pub(super) node: Members,
    pub(super) opened: Vec<String>,
}

impl Cleaner<'_> {
    /// Takes `anyOf` and `oneOf` out. One variant left is merged into `input`, variants that
    /// are only constants become its `enum`; `None` unless a real choice remains.
    pub(super) fn variants(
        &mut self,
        input: &mut Members,
        built: &mut Built,
    ) -> Option<Vec<Variant>> {
        let mut variants = Vec::new();
        for keyword in ["anyOf", "oneOf"] {
            let Some(Tree::Array(list)) = input.take(keyword) else {
                continue;
            };
            for variant in list {
                let Tree::Object(mut variant) = variant else {
                    continue;
                };
                let mark = self.refs.mark();
                self.flatten(&mut variant);
                let opened = self.refs.close(mark);
                if is_null(&variant) {
                    built.nullable = true;
                } else {
                    variants.push(Variant {
                        node: variant,
                        opened,
                    });
                }
            }
        }
        if variants.len() > 1
            && let Some(values) = all_constants(&variants)
        {
            input.set("enum", Tree::Array(values));
            return None;
        }
        if variants.len() > 1 {
            return Some(variants);
        }
        if let Some(mut only) = variants.pop() {
            self.refs.reopen(only.opened);
            for (name, value) in input.0.drain(..) {
                only.node.set(&name, value);
            }
            *input = only.node;
            // The variant may have been a choice itself.
            return self.variants_of_single(input, built);
        }
        None
    }

    fn variants_of_single(
        &mut self,
        input: &mut Members,
        built: &mut Built,
    ) -> Option<Vec<Variant>> {
        if input.get("anyOf").is_none() && input.get("oneOf").is_none() {
            return None;
        }
        self.variants(input, built)
    }

    pub(super) fn clean_variants(&mut self, variants: Vec<Variant>) -> Vec<Members> {
        let mut cleaned = Vec::with_capacity(variants.len());
        for variant in variants {
            let mark = self.refs.mark();
            self.refs.reopen(variant.opened);
            cleaned.push(self.node(variant.node, false));
            self.refs.close(mark);
        }
        cleaned
    }

    /// A choice beside properties of its own (or at the root of a tool, which must be an
    /// object): the properties of all variants together, required what all require.
    pub(super) fn merge_variants(&mut self, input: &mut Members, variants: Vec<Variant>) {
        let mut in_all: Option<Vec<Tree>> = None;
        for Variant {
            node: mut variant,
            opened,
        } in variants
        {
            // Open until this node is done: what they name is part of it now.
            self.refs.reopen(opened);
            let required = match variant.take("required") {
                Some(Tree::Array(names)) => names,
                _ => Vec::new(),
            };
            in_all = Some(match in_all {
                None => required,
                Some(names) => names
                    .into_iter()
                    .filter(|name| required.contains(name))
                    .collect(),
            });
            variant.take("description");
            absorb(input, variant);
        }
        if let Some(names) = in_all.filter(|names| !names.is_empty()) {
            absorb(
                input,
                Members(vec![("required".to_owned(), Tree::Array(names))]),
            );
        }
    }
}

/// Merges a part of `allOf`, or a variant, into its parent; the parent wins.
pub(super) fn absorb(parent: &mut Members, part: Members) {
    for (name, value) in part.0 {
        match (name.as_str(), value) {
            ("properties", Tree::Object(theirs)) => {
                let mut ours = match parent.take("properties") {
                    Some(Tree::Object(ours)) => ours,
                    _ => Members::default(),
                };
                for (name, schema) in theirs.0 {
                    if ours.get(&name).is_none() {
                        ours.0.push((name, schema));
                    }
                }
                parent.set("properties", Tree::Object(ours));
            }
            ("required", Tree::Array(theirs)) => {
                let mut ours = match parent.take("required") {
                    Some(Tree::Array(ours)) => ours,
                    _ => Vec::new(),
                };
                for name in theirs {
                    if !ours.contains(&name) {
                        ours.push(name);
                    }
                }
                parent.set("required", Tree::Array(ours));
            }
            ("allOf", Tree::Array(theirs)) => {
                let mut all = match parent.take("allOf") {
                    Some(Tree::Array(ours)) => ours,
                    _ => Vec::new(),
                };
                all.extend(theirs);
                parent.set("allOf", Tree::Array(all));
            }
            (_, value) => {
                if parent.get(&name).is_none() {
                    parent.set(&name, value);
                }
            }
        }
    }
}

/// Whether a node has structure of its own beside a choice.
pub(super) fn has_structure(node: &Members) -> bool {
    node.get("properties").is_some() || node.get("items").is_some()
}

fn is_null(variant: &Members) -> bool {
    variant.get("type").and_then(Tree::as_str) == Some("null")
        || variant.get("const") == Some(&Tree::Null)
        || matches!(variant.get("enum"), Some(Tree::Array(values)) if values.as_slice() == [Tree::Null])
}

/// The values of variants that are nothing but constants.
fn all_constants(variants: &[Variant]) -> Option<Vec<Tree>> {
    let mut values = Vec::new();
    for variant in variants {
        match (variant.node.get("const"), variant.node.get("enum")) {
            (Some(value), None) => values.push(value.clone()),
            (None, Some(Tree::Array(more))) => values.extend(more.iter().cloned()),
            _ => return None,
        }
    }
    Some(values)
}

/// A choice stands alone in the subset: description and `nullable` move into its members.
pub(super) fn any_of(mut variants: Vec<Members>, input: &Members, built: &Built) -> Members {
    let description = input.get("description").and_then(Tree::as_str);
    for variant in &mut variants {
        if built.nullable {
            variant.set("nullable", Tree::Bool(true));
        }
        let Some(shared) = description else {
            continue;
        };
        let text = match variant.get("description").and_then(Tree::as_str) {
            Some(own) if own != shared => format!("{shared} {own}"),
            _ => shared.to_owned(),
        };
        variant.set("description", Tree::String(text));
    }
    let variants = variants.into_iter().map(Tree::Object).collect();
    Members(vec![("anyOf".to_owned(), Tree::Array(variants))])
}
