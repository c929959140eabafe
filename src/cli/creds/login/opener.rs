//! What opens a page for the user.

use std::process::{Command, Stdio};

/// A program that is run with the page's address.
pub(super) struct Opener {
    words: Vec<String>,
}

impl Opener {
    /// `--open-cmd`, else `BROWSER`, else the platform's opener.
    pub(super) fn new(command: Option<&str>) -> Self {
        let browser = std::env::var("BROWSER")
            .ok()
            .filter(|browser| !browser.is_empty());
        // BROWSER may hold several, separated by colons; the first is the favourite.
        let browser = browser.as_deref().and_then(|all| all.split(':').next());
        let platform = if cfg!(target_os = "macos") {
            "open"
        } else if cfg!(windows) {
            "rundll32 url.dll,FileProtocolHandler"
        } else {
            "xdg-open"
        };
        let command = command.or(browser).unwrap_or(platform);
        let words = command.split_whitespace().map(str::to_owned).collect();
        Self { words }
    }

    /// Starts the opener without waiting for it; `false` if there is none.
    pub(super) fn open(&self, url: &str) -> bool {
        let Some((program, arguments)) = self.words.split_first() else {
            return false;
        };
        let mut command = Command::new(program);
        let has_place = arguments.iter().any(|word| word.contains("%s"));
        command.args(arguments.iter().map(|word| word.replace("%s", url)));
        if !has_place {
            command.arg(url);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .is_ok()
    }
}
