//! One line typed on a terminal, in the clear or hidden, that Esc leaves. The terminal stays in raw
//! mode from the first key to the last, so nothing that is pasted shows up by itself.

use std::io::{self, Write};

use console::{measure_text_width, truncate_str};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use zeroize::Zeroizing;

use crate::cli::pick::columns;

/// Nothing typed is longer: keys and addresses are not.
const MAX_CHARACTERS: usize = 16 * 1024;

/// How a line ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// Ctrl-C.
    Interrupted,
    /// Esc, or Ctrl-D on an empty line.
    Left,
    /// Enter.
    Text(Zeroizing<String>),
}

/// Asks for a line behind `prompt`. `initial` stands there to be edited; a hidden line shows how
/// many characters it has.
pub(super) fn ask(prompt: &str, initial: &str, is_hidden: bool) -> io::Result<Typed> {
    let mut out = io::stderr();
    let _raw = Raw::enter()?;
    let mut line = Line::new(initial, is_hidden);
    loop {
        line.draw(prompt, &mut out)?;
        let pressed = match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => line.press(key),
            Event::Paste(text) => {
                text.chars().for_each(|character| line.insert(character));
                None
            }
            _ => None,
        };
        if let Some(typed) = pressed {
            write!(out, "\r\n")?;
            out.flush()?;
            return Ok(typed);
        }
    }
}

/// Raw mode for as long as it lives.
pub(super) struct Raw;

impl Raw {
    /// Keys come one by one from now on, and show nowhere.
    pub(super) fn enter() -> io::Result<Self> {
        enable_raw_mode()?;
        Ok(Self)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = disable_raw_mode();
    }
}

struct Line {
    text: Zeroizing<String>,
    /// Where the next character goes, in bytes.
    at: usize,
    is_hidden: bool,
}

impl Line {
    fn new(initial: &str, is_hidden: bool) -> Self {
        // Room for all of it: a text that grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(MAX_CHARACTERS));
        text.push_str(initial);
        Self {
            at: text.len(),
            text,
            is_hidden,
        }
    }

    fn insert(&mut self, character: char) {
        if !character.is_control() && self.text.len() + character.len_utf8() <= MAX_CHARACTERS {
            self.text.insert(self.at, character);
            self.at += character.len_utf8();
        }
    }

    fn before(&self) -> usize {
        let before = self.text.get(..self.at).unwrap_or_default();
        before.char_indices().next_back().map_or(0, |(at, _)| at)
    }

    fn after(&self) -> usize {
        let after = self.text.get(self.at..).unwrap_or_default();
        self.at + after.chars().next().map_or(0, char::len_utf8)
    }

    fn remove(&mut self, from: usize, to: usize) {
        self.text.replace_range(from..to, "");
        self.at = from;
    }

    fn press(&mut self, key: KeyEvent) -> Option<Typed> {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if is_control => return Some(Typed::Interrupted),
            KeyCode::Char('d') if is_control && self.text.is_empty() => return Some(Typed::Left),
            KeyCode::Char('u') if is_control => self.remove(0, self.at),
            KeyCode::Char('a') if is_control => self.at = 0,
            KeyCode::Char('e') if is_control => self.at = self.text.len(),
            // What a pasted line ends with.
            KeyCode::Char('j' | 'm') if is_control => return Some(self.taken()),
            KeyCode::Char(_) if is_control || key.modifiers.contains(KeyModifiers::ALT) => {}
            KeyCode::Char(character) => self.insert(character),
            KeyCode::Enter => return Some(self.taken()),
            KeyCode::Esc => return Some(Typed::Left),
            KeyCode::Backspace => self.remove(self.before(), self.at),
            KeyCode::Delete => self.remove(self.at, self.after()),
            KeyCode::Left => self.at = self.before(),
            KeyCode::Right => self.at = self.after(),
            KeyCode::Home => self.at = 0,
            KeyCode::End => self.at = self.text.len(),
            _ => {}
        }
        None
    }

    fn taken(&mut self) -> Typed {
        Typed::Text(std::mem::take(&mut self.text))
    }

    /// Draws it on one row: a long text is shown around the cursor, a long prompt is cut.
    fn draw(&self, prompt: &str, out: &mut impl Write) -> io::Result<()> {
        let columns = columns();
        let prompt = truncate_str(prompt, (columns * 2 / 3).max(8), "…");
        let room = columns
            .saturating_sub(measure_text_width(&prompt) + 4)
            .max(4);
        let (shown, cursor) = self.shown(room);
        let column = measure_text_width(&prompt) + 2 + cursor;
        write!(out, "\r\u{1b}[K{prompt}: {shown}\r\u{1b}[{column}C")?;
        out.flush()
    }

    /// What stands behind the prompt, and the cursor's column in it.
    fn shown(&self, room: usize) -> (String, usize) {
        if self.is_hidden {
            let shown = match self.text.chars().count() {
                0 => String::new(),
                count => format!("({count} characters)"),
            };
            let width = shown.chars().count();
            return (shown, width);
        }
        let before = self.text.get(..self.at).unwrap_or_default();
        let mut from = 0;
        while let Some(rest) = before.get(from..)
            && measure_text_width(rest) > room
            && let Some(first) = rest.chars().next()
        {
            from += first.len_utf8();
        }
        let visible = self.text.get(from..).unwrap_or_default();
        let cursor = measure_text_width(before.get(from..).unwrap_or_default());
        (truncate_str(visible, room, "").into_owned(), cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(line: &mut Line, code: KeyCode) -> Option<Typed> {
        line.press(KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn type_in(line: &mut Line, text: &str) {
        for character in text.chars() {
            press(line, KeyCode::Char(character));
        }
    }

    #[test]
    fn a_line_is_edited_in_the_middle() {
        let mut line = Line::new("", false);
        type_in(&mut line, "añc");
        for code in [KeyCode::Left, KeyCode::Backspace] {
            press(&mut line, code);
        }
        type_in(&mut line, "b");
        press(&mut line, KeyCode::Home);
        press(&mut line, KeyCode::Delete);
        let typed = press(&mut line, KeyCode::Enter);
        assert_eq!(typed, Some(Typed::Text(Zeroizing::new("bc".to_owned()))));
    }

    #[test]
    fn esc_leaves_and_ctrl_c_interrupts() {
        let mut line = Line::new("x", false);
        assert_eq!(press(&mut line, KeyCode::Esc), Some(Typed::Left));
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(line.press(interrupt), Some(Typed::Interrupted));
    }

    #[test]
    fn a_hidden_line_shows_its_length_only() {
        let mut line = Line::new("", true);
        type_in(&mut line, "sk-secret");
        assert_eq!(line.shown(40), ("(9 characters)".to_owned(), 14));
    }

    #[test]
    fn a_long_line_is_shown_around_its_end() {
        let mut line = Line::new("", false);
        type_in(&mut line, "0123456789");
        assert_eq!(line.shown(4), ("6789".to_owned(), 4));
    }
}
