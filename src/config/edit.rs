//! Changes to `config.toml` by programs: comments, order and layout of the rest stay as they are.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, Value};

use crate::config::error::ConfigError;

/// A config file that is being changed. Nothing is written before [`ConfigFile::save`].
#[derive(Debug)]
pub struct ConfigFile {
    path: PathBuf,
    document: DocumentMut,
}

impl ConfigFile {
    /// Opens a file; one that does not exist is empty.
    pub fn open(path: &Path) -> Result<Self, ConfigError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(ConfigError::unreadable(path, &error)),
        };
        Self::parse(path, &text)
    }

    /// Takes a text as the contents of the file at `path`.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let document = text.parse().map_err(|_| {
            ConfigError::new(
                format!("{} is not valid TOML", path.display()),
                "`llmproxy config check` shows the line",
            )
        })?;
        Ok(Self {
            path: path.to_owned(),
            document,
        })
    }

    /// Sets a value, making the tables on the way: `["server", "port"]`. A comment behind an old
    /// value stays.
    pub fn set(&mut self, path: &[&str], value: impl Into<Value>) -> Result<(), ConfigError> {
        let Some((name, table)) = self.parent(path)? else {
            return Ok(());
        };
        let mut value = value.into();
        match table.get_mut(name) {
            Some(Item::Value(old)) => {
                *value.decor_mut() = old.decor().clone();
                *old = value;
            }
            _ => {
                table.insert(name, Item::Value(value));
            }
        }
        Ok(())
    }

    /// Removes a value or a table; `false` if there was none.
    pub fn remove(&mut self, path: &[&str]) -> bool {
        let Some((name, parents)) = path.split_last() else {
            return false;
        };
        let mut table: &mut dyn toml_edit::TableLike = self.document.as_table_mut();
        for parent in parents {
            let Some(below) = table.get_mut(parent).and_then(Item::as_table_like_mut) else {
                return false;
            };
            table = below;
        }
        table.remove(name).is_some()
    }

    /// Adds a value to the end of a list, making the list where there is none.
    pub fn push(&mut self, path: &[&str], value: impl Into<Value>) -> Result<(), ConfigError> {
        let file = self.path.clone();
        let Some((name, table)) = self.parent(path)? else {
            return Ok(());
        };
        let list = table
            .entry(name)
            .or_insert_with(|| Item::Value(Value::Array(Array::new())));
        match list.as_array_mut() {
            Some(list) => {
                list.push(value);
                Ok(())
            }
            None => Err(in_the_way(&file, path)),
        }
    }

    /// Adds a key to a provider: as text, or as a table where there is more to say.
    pub fn add_provider_key(
        &mut self,
        provider: &str,
        key: &NewKey<'_>,
    ) -> Result<(), ConfigError> {
        let path = ["providers", provider, "api_keys"];
        if key.label.is_none() && key.tier.is_none() && key.priority.is_none() {
            return self.push(&path, key.key);
        }
        let mut table = InlineTable::new();
        table.insert("key", key.key.into());
        if let Some(label) = key.label {
            table.insert("label", label.into());
        }
        if let Some(tier) = key.tier {
            table.insert("tier", tier.into());
        }
        if let Some(priority) = key.priority {
            table.insert("priority", i64::from(priority).into());
        }
        self.push(&path, table)
    }

    /// Adds a client with a name and a key of its own to `[server] api_keys`.
    pub fn add_client(&mut self, name: &str, key: &str) -> Result<(), ConfigError> {
        let mut client = InlineTable::new();
        client.insert("key", key.into());
        client.insert("name", name.into());
        self.push(&["server", "api_keys"], client)
    }

    /// Removes the entry at `index` of `[server] api_keys`, or of `[[server.clients]]` behind them;
    /// `false` if there is none.
    pub fn remove_client(&mut self, index: usize) -> bool {
        let Some(server) = self.document.get_mut("server") else {
            return false;
        };
        let keys = server.get_mut("api_keys").and_then(Item::as_array_mut);
        let count = keys.as_ref().map_or(0, |keys| keys.len());
        if let Some(keys) = keys.filter(|_| index < count) {
            keys.remove(index);
            return true;
        }
        let at = index.saturating_sub(count);
        match server
            .get_mut("clients")
            .and_then(Item::as_array_of_tables_mut)
        {
            Some(clients) if at < clients.len() => {
                clients.remove(at);
                true
            }
            _ => false,
        }
    }

    /// The text as it would be written.
    pub fn text(&self) -> String {
        self.document.to_string()
    }

    /// Writes the file whole or not at all. It keeps its mode; a new one is for its owner only.
    pub fn save(&self) -> Result<(), ConfigError> {
        write_whole(&self.path, &self.text())
    }

    /// The table that holds the last name of a path, made where it is missing.
    fn parent<'a, 'p>(
        &'a mut self,
        path: &[&'p str],
    ) -> Result<Option<(&'p str, &'a mut dyn toml_edit::TableLike)>, ConfigError> {
        let Some((name, parents)) = path.split_last() else {
            return Ok(None);
        };
        let file = self.path.clone();
        let mut table: &mut dyn toml_edit::TableLike = self.document.as_table_mut();
        for (depth, parent) in parents.iter().enumerate() {
            let is_last = depth + 1 == parents.len();
            let below = table.entry(parent).or_insert_with(|| {
                let mut made = Table::new();
                // `[providers.gemini]` needs no `[providers]` above it.
                made.set_implicit(!is_last);
                Item::Table(made)
            });
            table = below
                .as_table_like_mut()
                .ok_or_else(|| in_the_way(&file, path))?;
        }
        Ok(Some((*name, table)))
    }
}

/// A list of texts as a value to [`ConfigFile::set`].
pub fn texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Value {
    Value::Array(texts.into_iter().collect())
}

/// A key for [`ConfigFile::add_provider_key`].
#[derive(Clone, Copy, Debug)]
pub struct NewKey<'a> {
    /// The reference as it is written: `env:NAME`, `file:PATH`, or the key itself.
    pub key: &'a str,
    /// Its name in the credential's id.
    pub label: Option<&'a str>,
    /// The account's tier.
    pub tier: Option<&'a str>,
    /// Lower numbers are used first.
    pub priority: Option<u32>,
}

fn in_the_way(file: &Path, path: &[&str]) -> ConfigError {
    ConfigError::new(
        format!(
            "{} has something else where `{}` belongs",
            file.display(),
            path.join(".")
        ),
        "`llmproxy config check` shows the line",
    )
}

/// Writes a file beside its place and moves it there. Links are followed, so that a config kept
/// elsewhere stays there; directories are made, for their owner only.
pub fn write_whole(path: &Path, text: &str) -> Result<(), ConfigError> {
    write(path, text).map_err(|error| {
        ConfigError::new(
            format!("cannot write {}: {error}", path.display()),
            "check the owner and mode of the directory, and the space on the disk",
        )
    })
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    make_private(directory)?;
    // `tempfile` makes files of mode 0600.
    let mut file = tempfile::Builder::new()
        .prefix(".config-")
        .tempfile_in(directory)?;
    file.write_all(text.as_bytes())?;
    if let Ok(old) = fs::metadata(&target) {
        file.as_file().set_permissions(old.permissions())?;
    }
    file.as_file().sync_all()?;
    file.persist(&target).map_err(|error| error.error)?;
    // The new name is safe only when the directory is.
    fs::File::open(directory).and_then(|directory| directory.sync_all())
}

#[cfg(unix)]
fn make_private(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;

    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
}

#[cfg(not(unix))]
fn make_private(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(text: &str, edit: impl FnOnce(&mut ConfigFile)) -> String {
        let mut file = ConfigFile::parse(Path::new("c.toml"), text).expect("valid TOML");
        edit(&mut file);
        file.text()
    }

    #[test]
    fn a_changed_value_keeps_its_comments() {
        let text = "# top\n[server]\n# why\nport = 1 # note\nhost = \"a\"\n";
        let new = edited(text, |file| file.set(&["server", "port"], 9).expect("set"));
        assert_eq!(new, text.replace("port = 1", "port = 9"));
    }

    #[test]
    fn missing_tables_are_made() {
        let new = edited("# top\n", |file| {
            file.set(&["providers", "gemini", "rotation"], "balanced")
                .expect("set");
            file.push(&["providers", "gemini", "ignore_models"], "*x*")
                .expect("pushed");
        });
        assert!(
            new.contains(
                "[providers.gemini]\nrotation = \"balanced\"\nignore_models = [\"*x*\"]\n"
            ),
            "{new}"
        );
        assert!(!new.contains("[providers]\n"), "{new}");
    }

    #[test]
    fn keys_are_added_behind_those_that_are_there() {
        let text = "[providers.gemini]\napi_keys = [\"env:A\"] # mine\n";
        let new = edited(text, |file| {
            let key = NewKey {
                key: "env:B",
                label: Some("work"),
                tier: None,
                priority: Some(2),
            };
            file.add_provider_key("gemini", &key).expect("added");
        });
        assert!(
            new.contains("[\"env:A\", { key = \"env:B\", label = \"work\", priority = 2 }] # mine"),
            "{new}"
        );
    }

    #[test]
    fn clients_are_added_and_removed_by_their_place() {
        let text = "[server]\napi_keys = [\"env:A\"] # mine\n\n[[server.clients]]\nname = \"b\"\nkey = \"k\"\n";
        let added = edited(text, |file| file.add_client("c", "x").expect("added"));
        assert!(
            added.contains("[\"env:A\", { key = \"x\", name = \"c\" }] # mine"),
            "{added}"
        );
        let fewer = edited(&added, |file| {
            assert!(file.remove_client(2));
            assert!(file.remove_client(0));
            assert!(!file.remove_client(1));
        });
        assert!(
            fewer.contains("{ key = \"x\", name = \"c\" }] # mine"),
            "{fewer}"
        );
        assert!(
            !fewer.contains("clients") && !fewer.contains("env:A"),
            "{fewer}"
        );
    }

    #[test]
    fn values_and_tables_are_removed() {
        let text = "[a]\nb = 1\nc = 2\n[d.e]\nf = 1\n";
        let new = edited(text, |file| {
            assert!(file.remove(&["a", "b"]));
            assert!(file.remove(&["d", "e"]));
            assert!(!file.remove(&["x", "y"]));
        });
        assert_eq!(new, "[a]\nc = 2\n");
    }

    #[test]
    fn what_is_no_table_is_not_overwritten() {
        edited("server = 5\n", |file| {
            assert!(file.set(&["server", "port"], 1).is_err());
            assert!(file.push(&["server"], 1).is_err());
        });
    }

    #[test]
    fn a_file_is_written_whole_and_keeps_its_mode() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("new/config.toml");
        let mut file = ConfigFile::open(&path).expect("a missing file is empty");
        file.set(&["server", "port"], 1).expect("set");
        file.save().expect("saved");
        assert_eq!(
            fs::read_to_string(&path).expect("written"),
            "[server]\nport = 1\n"
        );
        let entries = fs::read_dir(dir.path().join("new")).expect("a directory");
        assert_eq!(entries.count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_new_file_is_for_its_owner_and_a_link_stays_one() {
        use std::os::unix::fs::{PermissionsExt, symlink};

        let dir = tempfile::tempdir().expect("a temporary directory");
        let (real, link) = (dir.path().join("real.toml"), dir.path().join("link.toml"));
        write_whole(&real, "a = 1\n").expect("written");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&real), 0o600);
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).expect("changed");
        symlink(&real, &link).expect("linked");
        write_whole(&link, "a = 2\n").expect("written");
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&real).expect("there"), "a = 2\n");
        assert_eq!(mode(&real), 0o640);
    }
}
