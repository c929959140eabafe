//! What the user types in a conversation: a line editor with history, on a thread of its own,
//! because it blocks.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc as blocking;
use std::thread;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::{History, MemHistory, SearchDirection};
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Behavior, Config, Editor, Helper};
use tokio::sync::mpsc;

use crate::config::edit::write_whole;

/// Turns remembered from one conversation to the next.
const MAX_REMEMBERED: usize = 500;

/// Longer turns (pasted files, mostly) are not remembered.
const MAX_TURN_BYTES: usize = 4096;

/// What was typed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Ctrl-D.
    End,
    /// Ctrl-C: the line is dropped.
    Interrupted,
    /// One turn, its lines joined.
    Text(String),
    /// The terminal fails.
    Unreadable(String),
}

/// The line editor, at work when it is asked for a turn.
pub(super) struct Keyboard {
    wanted: blocking::Sender<()>,
    turns: mpsc::UnboundedReceiver<Turn>,
}

impl Keyboard {
    /// Starts it; `history` is where turns are kept.
    pub(super) fn open(history: PathBuf) -> Self {
        let (wanted, asked) = blocking::channel();
        let (sender, turns) = mpsc::unbounded_channel();
        thread::spawn(move || {
            let mut editor = match editor(&history) {
                Ok(editor) => editor,
                Err(error) => {
                    // The receiver is gone when the conversation is.
                    let _ = sender.send(Turn::Unreadable(error.to_string()));
                    return;
                }
            };
            while asked.recv().is_ok() {
                let turn = read(&mut editor, &history);
                if sender.send(turn).is_err() {
                    return;
                }
            }
        });
        Self { wanted, turns }
    }

    /// Waits for the next turn.
    pub(super) async fn turn(&mut self) -> Turn {
        // A thread that has ended has left word why.
        let _ = self.wanted.send(());
        self.turns.recv().await.unwrap_or(Turn::End)
    }
}

type LineEditor = Editor<Lines, MemHistory>;

fn editor(history: &Path) -> rustyline::Result<LineEditor> {
    let config = Config::builder()
        // The prompt belongs on the terminal: stdout may be a file that takes the answers.
        .behavior(Behavior::PreferTerm)
        .max_history_size(MAX_REMEMBERED)?
        .auto_add_history(false)
        .build();
    let mut remembered = MemHistory::with_config(&config);
    for turn in load(history) {
        remembered.add(&turn)?;
    }
    let mut editor = Editor::with_history(config, remembered)?;
    editor.set_helper(Some(Lines));
    Ok(editor)
}

fn read(editor: &mut LineEditor, history: &Path) -> Turn {
    match editor.readline("> ") {
        Ok(text) => {
            let turn = joined(&text);
            let is_new = editor.add_history_entry(turn.trim()).unwrap_or(false);
            if is_new && turn.len() <= MAX_TURN_BYTES {
                save(editor.history(), history);
            }
            Turn::Text(turn)
        }
        Err(ReadlineError::Eof) => Turn::End,
        Err(ReadlineError::Interrupted) => Turn::Interrupted,
        Err(error) => Turn::Unreadable(error.to_string()),
    }
}

/// A turn without the `\` that let its lines go on.
fn joined(text: &str) -> String {
    text.replace("\\\n", "\n")
}

/// The turns of a history file, oldest first: one a line, line breaks and backslashes escaped.
fn load(file: &Path) -> Vec<String> {
    // None yet, or none that can be read: the conversation does without.
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(unescaped).collect()
}

fn save(history: &MemHistory, file: &Path) {
    let mut text = String::new();
    for at in 0..history.len() {
        let Ok(Some(found)) = history.get(at, SearchDirection::Forward) else {
            continue;
        };
        if found.entry.len() <= MAX_TURN_BYTES {
            text.push_str(&escaped(&found.entry));
            text.push('\n');
        }
    }
    if let Err(error) = write_whole(file, &text) {
        tracing::debug!("{error}");
    }
}

fn escaped(turn: &str) -> String {
    turn.replace('\\', "\\\\").replace('\n', "\\n")
}

fn unescaped(line: &str) -> String {
    let mut turn = String::with_capacity(line.len());
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('n') => turn.push('\n'),
                Some(other) => turn.push(other),
                None => turn.push('\\'),
            },
            other => turn.push(other),
        }
    }
    turn
}

/// Lets a line that ends with `\` go on.
struct Lines;

impl Validator for Lines {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        if context.input().ends_with('\\') {
            return Ok(ValidationResult::Incomplete);
        }
        Ok(ValidationResult::Valid(None))
    }
}

impl Helper for Lines {}

impl Completer for Lines {
    type Candidate = String;
}

impl Highlighter for Lines {}

impl Hinter for Lines {
    type Hint = String;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_of_several_lines_come_back_from_the_file() {
        for turn in ["one", "two\nlines", "a \\n that is none", "back\\slash\\"] {
            assert_eq!(unescaped(&escaped(turn)), turn);
            assert!(!escaped(turn).contains('\n'));
        }
    }

    #[test]
    fn a_line_that_goes_on_loses_its_backslash() {
        assert_eq!(joined("one \\\ntwo"), "one \ntwo");
    }
}
