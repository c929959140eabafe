//! The text of a config file: unknown keys found, values located, the whole turned into a
//! [`Config`].

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::error::{ConfigError, Place};
use crate::config::keys::{self, Shape};
use crate::config::{Config, mask};
use crate::near;

/// A config file that was read: what it says, and where it says it.
pub(super) struct Document<'a> {
    pub(super) config: Config,
    file: &'a Path,
    source: &'a str,
    spans: BTreeMap<String, Range<usize>>,
}

impl<'a> Document<'a> {
    /// Reads the text. All unknown keys are reported; of other faults the first.
    pub(super) fn parse(file: &'a Path, source: &'a str) -> Result<Self, ConfigError> {
        let source = source.strip_prefix('\u{feff}').unwrap_or(source);
        let faulty = |error: &toml::de::Error| invalid(file, source, error);
        let table = DeTable::parse(source).map_err(|error| faulty(&error))?;
        let mut walk = Walk {
            spans: BTreeMap::new(),
            unknown: Vec::new(),
        };
        walk.table(table.get_ref(), "", "");
        let unknown = walk.unknown.into_iter().map(|found| {
            let place = Place::new(file, source, &found.span);
            found.error().at(place)
        });
        if let Some(error) = ConfigError::all(unknown) {
            return Err(error);
        }
        Ok(Self {
            config: toml::from_str(source).map_err(|error| faulty(&error))?,
            file,
            source,
            spans: walk.spans,
        })
    }

    /// Where the value of a path such as `providers.gemini.caps[0].limit` stands, or the nearest
    /// thing around it that the file has; `None` if it has none of it.
    pub(super) fn place(&self, path: &str) -> Option<Place> {
        let mut path = path;
        loop {
            if let Some(span) = self.spans.get(path) {
                return Some(Place::new(self.file, self.source, span));
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }

    /// Every path the file sets, with its line.
    pub(super) fn lines(&self) -> impl Iterator<Item = (&str, usize)> {
        self.spans.iter().map(|(path, span)| {
            let before = self.source.get(..span.start).unwrap_or_default();
            (path.as_str(), before.matches('\n').count() + 1)
        })
    }
}

struct Walk {
    spans: BTreeMap<String, Range<usize>>,
    unknown: Vec<Unknown>,
}

struct Unknown {
    name: String,
    parent: String,
    pattern: String,
    span: Range<usize>,
}

impl Unknown {
    fn error(&self) -> ConfigError {
        let known = keys::children(&self.pattern);
        let place = if self.parent.is_empty() {
            String::new()
        } else {
            format!(" in [{}]", self.parent)
        };
        let hint = near::did_you_mean(&self.name, known.iter().copied())
            .or_else(|| self.elsewhere())
            .unwrap_or_else(|| format!("the keys here are: {}", known.join(", ")));
        ConfigError::new(format!("unknown key `{}`{place}", self.name), hint)
    }

    /// A key that is right in another section.
    fn elsewhere(&self) -> Option<String> {
        let fits = |key: &&keys::Key| {
            !key.path.contains("[]") && key.path.rsplit('.').next() == Some(&self.name)
        };
        let key = keys::KEYS.iter().find(fits)?;
        let (section, _) = key.path.rsplit_once('.')?;
        Some(format!("`{}` belongs in [{section}]", self.name))
    }
}

impl Walk {
    /// Walks a table that stands at `path` and is described at `pattern`.
    fn table(&mut self, table: &DeTable<'_>, path: &str, pattern: &str) {
        for (name, value) in table {
            let text = name.get_ref().as_ref();
            let below = |parent: &str, name: &str| match parent {
                "" => name.to_owned(),
                _ => format!("{parent}.{name}"),
            };
            let (exact, any) = (below(pattern, text), below(pattern, "*"));
            let Some(key) = keys::find(&exact)
                .filter(|_| text != "*")
                .or_else(|| keys::find(&any))
            else {
                self.unknown.push(Unknown {
                    name: text.to_owned(),
                    parent: path.to_owned(),
                    pattern: pattern.to_owned(),
                    span: name.span(),
                });
                continue;
            };
            let path = below(path, text);
            self.spans.insert(path.clone(), span(name, value));
            self.value(value.get_ref(), &path, key.path, key.shape);
        }
    }

    fn value(&mut self, value: &DeValue<'_>, path: &str, pattern: &str, shape: Shape) {
        match value {
            // What is passed on as it is has keys of its own.
            _ if shape == Shape::Any => {}
            DeValue::Table(table) => self.table(table, path, pattern),
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    self.spans.insert(path.clone(), item.span());
                    if let DeValue::Table(table) = item.get_ref() {
                        self.table(table, &path, &format!("{pattern}[]"));
                    }
                }
            }
            _ => {}
        }
    }
}

/// What to point at: a value, or a section's name where the value is a whole section.
fn span(name: &Spanned<std::borrow::Cow<'_, str>>, value: &Spanned<DeValue<'_>>) -> Range<usize> {
    match value.get_ref() {
        DeValue::Table(_) => name.span(),
        _ => value.span(),
    }
}

/// An error of the TOML reader or of a value's own visitor.
fn invalid(file: &Path, source: &str, error: &toml::de::Error) -> ConfigError {
    let start = error.span().map_or(0, |span| span.start);
    let line = source
        .get(..start)
        .map_or(0, |before| before.rfind('\n').map_or(0, |at| at + 1));
    let line = source[line..].lines().next().unwrap_or_default();
    let message = mask::message(error.message(), line).replace('\n', ", ");
    let hint = hint(&message);
    let invalid = ConfigError::new(message, hint);
    match error.span() {
        Some(span) => invalid.at(Place::new(file, source, &span)),
        None => invalid,
    }
}

fn hint(message: &str) -> String {
    let suggested = message
        .split_once("unknown variant `")
        .and_then(|(_, rest)| {
            let (word, known) = rest.split_once('`')?;
            // "expected one of `a`, `b`": every other piece is a word.
            near::did_you_mean(word, known.split('`').skip(1).step_by(2))
        });
    suggested.unwrap_or_else(|| {
        "see config.example.toml, or `llmproxy config schema` for what each key takes".to_owned()
    })
}
