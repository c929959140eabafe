//! A list on a terminal to pick one line of, with arrows or by typing a part of it. The terminal is
//! in raw mode before the list shows: a key that is pressed early is neither lost nor echoed.

use std::io::{self, Write};

use console::{measure_text_width, truncate_str};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::terminal;

use crate::cli::field::Raw;

/// Lines of the list shown at once.
const ROWS: usize = 12;

/// How a list was left.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Picked {
    /// Ctrl-C.
    Interrupted,
    /// The line with this index.
    Item(usize),
    /// Esc.
    Left,
}

/// Lets the user pick one of `items`; the cursor begins at `default`. Where the list `narrows`,
/// what is typed picks out the lines that hold it.
pub(super) fn ask(
    question: &str,
    items: &[String],
    default: usize,
    narrows: bool,
) -> io::Result<Picked> {
    let mut list = List::new(items, default, narrows);
    let mut out = io::stderr();
    let _raw = Raw::enter()?;
    let mut drawn = 0;
    let picked = loop {
        drawn = list.draw(question, drawn, &mut out)?;
        match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                if let Some(picked) = list.press(key) {
                    break picked;
                }
            }
            _ => {}
        }
    };
    clear(drawn, &mut out)?;
    let answer = match &picked {
        Picked::Item(index) => items.get(*index).map_or("", String::as_str),
        Picked::Interrupted | Picked::Left => "",
    };
    let room = columns().saturating_sub(1);
    let line = format!("{question}: {answer}");
    write!(
        out,
        "{}\r\n",
        truncate_str(line.trim_end_matches(": "), room, "…")
    )?;
    out.flush()?;
    Ok(picked)
}

/// Asks for `y` or `n`; Enter is the default.
pub(super) fn yes_or_no(question: &str, default: bool) -> io::Result<Option<bool>> {
    let mut out = io::stderr();
    let _raw = Raw::enter()?;
    let choices = if default { "[Y/n]" } else { "[y/N]" };
    let room = columns().saturating_sub(choices.len() + 6).max(8);
    write!(out, "{} {choices} ", truncate_str(question, room, "…"))?;
    out.flush()?;
    let answer = loop {
        let Event::Key(key) = event::read()? else {
            continue;
        };
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            _ if key.kind == KeyEventKind::Release => {}
            KeyCode::Char('c') if is_control => {
                write!(out, "\r\n")?;
                return Err(io::ErrorKind::Interrupted.into());
            }
            KeyCode::Char('y' | 'Y') => break Some(true),
            KeyCode::Char('n' | 'N') => break Some(false),
            KeyCode::Enter => break Some(default),
            KeyCode::Esc => break None,
            _ => {}
        }
    };
    let word = match answer {
        Some(true) => "yes",
        Some(false) => "no",
        None => "",
    };
    write!(out, "{word}\r\n")?;
    out.flush()?;
    Ok(answer)
}

/// The terminal's width; 80 where it does not say, as one made by a program may not.
pub(super) fn columns() -> usize {
    let told = terminal::size().map_or(0, |(columns, _)| usize::from(columns));
    if told == 0 { 80 } else { told }
}

/// Takes back so many lines.
fn clear(lines: usize, out: &mut impl Write) -> io::Result<()> {
    if lines > 0 {
        write!(out, "\r\u{1b}[{lines}A\u{1b}[J")?;
    }
    Ok(())
}

struct List<'a> {
    items: &'a [String],
    narrows: bool,
    wanted: String,
    /// Index into what is shown.
    at: usize,
}

impl<'a> List<'a> {
    fn new(items: &'a [String], default: usize, narrows: bool) -> Self {
        Self {
            items,
            narrows,
            wanted: String::new(),
            at: default.min(items.len().saturating_sub(1)),
        }
    }

    /// The lines that hold what was typed, with their index; those that begin with it first.
    fn shown(&self) -> Vec<(usize, &'a str)> {
        let wanted = self.wanted.to_lowercase();
        let all = self.items.iter().map(String::as_str).enumerate();
        let mut shown: Vec<(usize, &str)> = all
            .filter(|(_, item)| item.to_lowercase().contains(&wanted))
            .collect();
        if !wanted.is_empty() {
            shown.sort_by_key(|(_, item)| !item.to_lowercase().starts_with(&wanted));
        }
        shown
    }

    fn press(&mut self, key: KeyEvent) -> Option<Picked> {
        let shown = self.shown();
        let last = shown.len().saturating_sub(1);
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return (key.code == KeyCode::Char('c')).then_some(Picked::Interrupted);
        }
        match key.code {
            KeyCode::Esc => return Some(Picked::Left),
            KeyCode::Enter => return shown.get(self.at).map(|(index, _)| Picked::Item(*index)),
            KeyCode::Up | KeyCode::BackTab => {
                self.at = self.at.checked_sub(1).unwrap_or(last);
            }
            KeyCode::Down | KeyCode::Tab => self.at = if self.at >= last { 0 } else { self.at + 1 },
            KeyCode::PageUp => self.at = self.at.saturating_sub(ROWS),
            KeyCode::PageDown => self.at = self.at.saturating_add(ROWS).min(last),
            KeyCode::Home => self.at = 0,
            KeyCode::End => self.at = last,
            KeyCode::Backspace if self.narrows => {
                self.wanted.pop();
                self.at = 0;
            }
            KeyCode::Char(character) if self.narrows => {
                self.wanted.push(character);
                self.at = 0;
            }
            _ => {}
        }
        None
    }

    /// Draws it over the lines drawn before; returns how many there are now.
    fn draw(&self, question: &str, before: usize, out: &mut impl Write) -> io::Result<usize> {
        let room = columns().saturating_sub(1).max(8);
        let lines = self.lines(question, room);
        clear(before, out)?;
        for line in &lines {
            write!(out, "{line}\r\n")?;
        }
        out.flush()?;
        Ok(lines.len())
    }

    fn lines(&self, question: &str, room: usize) -> Vec<String> {
        let fit = |text: String| truncate_str(&text, room, "…").into_owned();
        let heading = if self.narrows {
            format!("{question} (type to find): {}", self.wanted)
        } else {
            question.to_owned()
        };
        let heading = if measure_text_width(&heading) > room && !self.wanted.is_empty() {
            format!("find: {}", self.wanted)
        } else {
            heading
        };
        let mut lines = vec![fit(heading)];
        let shown = self.shown();
        let first = self.at.saturating_sub(ROWS - 1);
        for (row, (_, item)) in shown.iter().enumerate().skip(first).take(ROWS) {
            let cursor = if row == self.at { ">" } else { " " };
            lines.push(fit(format!("{cursor} {item}")));
        }
        if shown.is_empty() {
            lines.push("  nothing has that in it".to_owned());
        } else if shown.len() > ROWS {
            lines.push(fit(format!("  ({} in all)", shown.len())));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items() -> Vec<String> {
        ["alpha", "beta", "gamma", "a beta test"]
            .map(str::to_owned)
            .into()
    }

    fn press(list: &mut List<'_>, codes: &[KeyCode]) -> Option<Picked> {
        let mut picked = None;
        for code in codes {
            picked = list.press(KeyEvent::new(*code, KeyModifiers::NONE));
        }
        picked
    }

    #[test]
    fn arrows_go_round_and_enter_picks() {
        let items = items();
        for (codes, index) in [
            (&[KeyCode::Enter][..], 0),
            (&[KeyCode::Down, KeyCode::Enter], 1),
            (&[KeyCode::Up, KeyCode::Enter], 3),
            (&[KeyCode::End, KeyCode::Down, KeyCode::Enter], 0),
        ] {
            let picked = press(&mut List::new(&items, 0, false), codes);
            assert_eq!(picked, Some(Picked::Item(index)), "{codes:?}");
        }
    }

    #[test]
    fn typing_narrows_and_what_begins_so_comes_first() {
        let items = items();
        let mut list = List::new(&items, 2, true);
        press(&mut list, &['b', 'e'].map(KeyCode::Char));
        assert_eq!(list.shown(), [(1, "beta"), (3, "a beta test")]);
        assert_eq!(press(&mut list, &[KeyCode::Enter]), Some(Picked::Item(1)));
        press(&mut list, &['x'].map(KeyCode::Char));
        assert_eq!(press(&mut list, &[KeyCode::Enter]), None);
        assert_eq!(press(&mut list, &[KeyCode::Esc]), Some(Picked::Left));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_the_cursor_is_in_sight() {
        let items: Vec<String> = (0..40)
            .map(|number| format!("{number} {}", "x".repeat(60)))
            .collect();
        let list = List::new(&items, 30, true);
        let lines = list.lines("A question that is itself rather long", 39);
        assert!(
            lines.iter().all(|line| measure_text_width(line) <= 39),
            "{lines:?}"
        );
        assert!(
            lines.iter().any(|line| line.starts_with("> 30")),
            "{lines:?}"
        );
        assert_eq!(lines.len(), ROWS + 2);
    }
}
