//! A home directory for one run: the user's own, with one setting changed.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Map, Value};
use tempfile::TempDir;

/// What a program must find changed in the settings below its home directory. Everything else
/// there it finds as ever, and what it writes there stays.
pub(super) struct Home {
    /// The variable that names the home directory to the program alone.
    pub(super) variable: &'static str,
    /// The directory that holds the settings, below the home directory.
    pub(super) directory: &'static str,
    /// The settings file in it: a JSON object.
    pub(super) file: &'static str,
    /// Where the setting stands, from the outermost member.
    pub(super) path: &'static [&'static str],
    pub(super) value: &'static str,
    /// What else the program looks for beside the directory.
    pub(super) beside: &'static [&'static str],
}

impl Home {
    /// A directory that takes the place of `own`; `None` if the setting stands there as wanted.
    ///
    /// Settings that are not the JSON expected are left out: the program would not take them
    /// either.
    pub(super) fn furnish(&self, own: &Path) -> io::Result<Option<TempDir>> {
        let text = fs::read(own.join(self.directory).join(self.file)).unwrap_or_default();
        let mut settings = match serde_json::from_slice(&text) {
            Ok(Value::Object(settings)) => settings,
            Ok(_) | Err(_) => Map::new(),
        };
        if !set(&mut settings, self.path, self.value) {
            return Ok(None);
        }
        // Of mode 0700.
        let home = tempfile::Builder::new().prefix("llmproxy-run-").tempdir()?;
        let inside = home.path().join(self.directory);
        fs::create_dir(&inside)?;
        for entry in fs::read_dir(own.join(self.directory))
            .into_iter()
            .flatten()
            .flatten()
        {
            if entry.file_name() != self.file {
                stand_in(&entry.path(), &inside.join(entry.file_name()))?;
            }
        }
        for name in self.beside {
            let real = own.join(name);
            if real.exists() {
                stand_in(&real, &home.path().join(name))?;
            }
        }
        fs::write(inside.join(self.file), Value::Object(settings).to_string())?;
        Ok(Some(home))
    }
}

/// Sets a member, making the objects around it; `false` if it has the value.
fn set(settings: &mut Map<String, Value>, path: &[&str], value: &str) -> bool {
    let Some((last, around)) = path.split_last() else {
        return false;
    };
    let mut object = settings;
    for name in around {
        let member = object.entry(*name).or_insert(Value::Null);
        if !member.is_object() {
            *member = Value::Object(Map::new());
        }
        let Value::Object(inner) = member else {
            return false;
        };
        object = inner;
    }
    let is_new = object.get(*last).and_then(Value::as_str) != Some(value);
    object.insert((*last).to_owned(), value.into());
    is_new
}

/// Makes `at` another name of `real`.
#[cfg(unix)]
fn stand_in(real: &Path, at: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(real, at)
}

/// A copy of `real`, if it is a file: links need a privilege here.
#[cfg(not(unix))]
fn stand_in(real: &Path, at: &Path) -> io::Result<()> {
    if real.is_file() {
        fs::copy(real, at)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: Home = Home {
        variable: "AGENT_HOME",
        directory: ".agent",
        file: "settings.json",
        path: &["security", "auth", "type"],
        value: "key",
        beside: &[".skills"],
    };

    fn own(settings: &str) -> TempDir {
        let own = TempDir::new().expect("a directory");
        fs::create_dir(own.path().join(".agent")).expect("created");
        fs::write(own.path().join(".agent/settings.json"), settings).expect("written");
        own
    }

    #[test]
    fn one_setting_changes_and_the_rest_is_the_users() {
        let own = own(r#"{"theme":"x","security":{"auth":{"type":"google"},"a":1}}"#);
        fs::write(own.path().join(".agent/history"), "h").expect("written");
        fs::create_dir(own.path().join(".skills")).expect("created");
        let home = HOME.furnish(own.path()).expect("furnished");
        let home = home.expect("another home");
        let settings = fs::read(home.path().join(".agent/settings.json")).expect("settings");
        let settings: Value = serde_json::from_slice(&settings).expect("JSON");
        assert_eq!(
            settings,
            serde_json::json!({"theme": "x", "security": {"auth": {"type": "key"}, "a": 1}})
        );
        let history = fs::read_to_string(home.path().join(".agent/history"));
        assert_eq!(history.expect("history"), "h");
        assert_eq!(home.path().join(".skills").exists(), cfg!(unix));
        let path = home.path().to_owned();
        drop(home);
        assert!(!path.exists());
        assert!(own.path().join(".agent/history").exists());
    }

    #[test]
    fn a_setting_that_stands_as_wanted_needs_no_other_home() {
        let own = own(r#"{"security":{"auth":{"type":"key"}}}"#);
        assert!(HOME.furnish(own.path()).expect("read").is_none());
    }

    #[test]
    fn a_user_without_settings_gets_the_one() {
        let own = TempDir::new().expect("a directory");
        let home = HOME
            .furnish(own.path())
            .expect("furnished")
            .expect("a home");
        let settings = fs::read_to_string(home.path().join(".agent/settings.json"));
        assert!(settings.expect("settings").contains("\"key\""));
    }
}
