//! `status --watch` on a terminal: the screen is redrawn as the numbers and the keys come.

use std::io;
use std::time::Duration;

use http::Method;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;

use crate::cli::exit::Failure;
use crate::cli::output::Printer;
use crate::cli::signals::{self, Stops};
use crate::cli::status::Place;
use crate::cli::status::screen::draw;
use crate::cli::status::view::{Deed, Mode, View};
use crate::cli::{Context, perform};
use crate::time::Timestamp;

/// How often the numbers are looked at; countdowns run by the second.
const INTERVAL: Duration = Duration::from_secs(1);

/// Shows the screen until the user leaves it.
pub(super) async fn watch(context: &Context, place: &Place, mut view: View) -> Result<(), Failure> {
    view.update(place.document().await?);
    view.requests = place.requests().await;
    // Before the screen changes: a signal must find it and give it back.
    let mut stops = Stops::listen().map_err(|error| signals::deaf(&error))?;
    let mut screen = Screen::enter(context.printer.is_colored())?;
    let mut keys = keys();
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        screen.show(&view)?;
        let pressed = tokio::select! {
            pressed = keys.recv() => pressed,
            () = stops.next() => return Err(Failure::interrupted()),
            _ = ticks.tick() => {
                view.requests = place.requests().await;
                match place.document().await {
                    Ok(document) => view.update(document),
                    // The last numbers stay: a server may come back.
                    Err(failure) => failure.sentence().clone_into(&mut view.said),
                }
                continue;
            }
        };
        match pressed {
            None => return Ok(()),
            Some(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                match press(&mut view, key) {
                    Pressed::Leave => return Ok(()),
                    Pressed::Interrupt => return Err(Failure::interrupted()),
                    Pressed::Do(deed) => {
                        view.said = done(&deed, &view, place, context).await;
                        view.update(place.document().await?);
                    }
                    Pressed::Nothing => {}
                }
            }
            Some(_) => {}
        }
    }
}

/// The terminal's other screen, given back when this is dropped.
struct Screen {
    terminal: DefaultTerminal,
    colored: bool,
}

impl Screen {
    fn enter(colored: bool) -> Result<Self, Failure> {
        let terminal = ratatui::try_init().map_err(|error| broken(&error))?;
        Ok(Self { terminal, colored })
    }

    fn show(&mut self, view: &View) -> Result<(), Failure> {
        let now = seconds(Timestamp::now());
        let colored = self.colored;
        let drawn = self.terminal.draw(|frame| draw(frame, view, now, colored));
        drawn.map(drop).map_err(|error| broken(&error))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // There is no other screen to complain on.
        let _ = ratatui::try_restore();
    }
}

fn broken(error: &io::Error) -> Failure {
    Failure::failed(
        format!("cannot draw on this terminal: {error}"),
        "`llmproxy status` without --watch needs no screen",
    )
}

/// Seconds since the epoch, as the document counts.
fn seconds(now: Timestamp) -> f64 {
    let millis = u32::try_from(now.as_millis().rem_euclid(1000)).unwrap_or(0);
    let whole = u32::try_from(now.as_millis().div_euclid(1000)).unwrap_or(u32::MAX);
    f64::from(whole) + f64::from(millis) / 1000.0
}

/// Events as they come, from a thread of their own that ends with the program.
fn keys() -> mpsc::UnboundedReceiver<Event> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.send(event).is_err() {
                return;
            }
        }
    });
    receiver
}

/// What a key means to the loop.
#[derive(Debug, PartialEq, Eq)]
enum Pressed {
    Do(Deed),
    Interrupt,
    Leave,
    Nothing,
}

fn press(view: &mut View, key: KeyEvent) -> Pressed {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Pressed::Interrupt,
            _ => Pressed::Nothing,
        };
    }
    match std::mem::take(&mut view.mode) {
        Mode::Asking(deed) if matches!(key.code, KeyCode::Char('y' | 'Y')) => Pressed::Do(deed),
        Mode::Asking(_) => {
            "left as it is".clone_into(&mut view.said);
            Pressed::Nothing
        }
        Mode::Filtering => {
            filter(view, key.code);
            Pressed::Nothing
        }
        Mode::Looking => look(view, key.code),
    }
}

fn filter(view: &mut View, code: KeyCode) {
    match code {
        KeyCode::Enter => return,
        KeyCode::Esc => return view.filter_by(String::clear),
        KeyCode::Backspace => view.filter_by(|text| {
            text.pop();
        }),
        KeyCode::Char(character) => view.filter_by(|text| text.push(character)),
        _ => {}
    }
    view.mode = Mode::Filtering;
}

fn look(view: &mut View, code: KeyCode) -> Pressed {
    view.said.clear();
    let about = |view: &View, deed: fn(String) -> Deed| view.selected.clone().map(deed);
    let deed = match code {
        KeyCode::Char('q') => return Pressed::Leave,
        // Esc takes back first what was narrowed down.
        KeyCode::Esc if view.filter.is_empty() => return Pressed::Leave,
        KeyCode::Esc => {
            view.filter_by(String::clear);
            None
        }
        KeyCode::Up | KeyCode::Char('k') => {
            view.move_by(-1);
            None
        }
        KeyCode::Down | KeyCode::Char('j') => {
            view.move_by(1);
            None
        }
        KeyCode::PageUp => {
            view.move_by(-10);
            None
        }
        KeyCode::PageDown => {
            view.move_by(10);
            None
        }
        KeyCode::Char('/' | 'f') => {
            view.mode = Mode::Filtering;
            None
        }
        KeyCode::Char('s') => {
            view.order = view.order.next();
            None
        }
        KeyCode::Char('r') => about(view, Deed::Reset),
        KeyCode::Char('d') => about(view, Deed::Disable),
        KeyCode::Char('e') => about(view, Deed::Enable),
        KeyCode::Char('u') => Some(Deed::Refresh),
        _ => None,
    };
    match deed {
        None => Pressed::Nothing,
        Some(deed) if !view.is_ours && deed != Deed::Refresh => {
            "that server is on another machine: change its credentials there"
                .clone_into(&mut view.said);
            Pressed::Nothing
        }
        Some(deed) if deed.question().is_some() => {
            view.mode = Mode::Asking(deed);
            Pressed::Nothing
        }
        Some(deed) => Pressed::Do(deed),
    }
}

/// Does it the way the commands do, and says what came of it.
async fn done(deed: &Deed, view: &View, place: &Place, context: &Context) -> String {
    let (words, said) = match deed {
        Deed::Disable(id) => (["creds", "disable", id], format!("disabled {id}")),
        Deed::Enable(id) => (["creds", "enable", id], format!("enabled {id}")),
        Deed::Reset(id) => (["creds", "reset", id], format!("reset {id}")),
        Deed::Refresh => return refreshed(view, place).await,
    };
    // What the command would print belongs to no place on this screen.
    let silent = Context {
        globals: context.globals.clone(),
        printer: Printer::silent(),
    };
    let words: Vec<String> = words.iter().map(ToString::to_string).collect();
    let ran = tokio::task::spawn_blocking(move || {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        perform(&words, &silent)
    });
    match ran.await {
        Ok(Ok(())) => said,
        Ok(Err(failure)) => failure.sentence().to_owned(),
        Err(_) => "that broke off".to_owned(),
    }
}

async fn refreshed(view: &View, place: &Place) -> String {
    let Place::There(remote) = place else {
        return "quotas are fetched by a running server: start `llmproxy serve`".to_owned();
    };
    let body = "{\"action\":\"force_refresh\"}".into();
    match remote.send(Method::POST, "/v1/quota-stats", body).await {
        Ok(_) => format!("asked {} to refresh the quotas", view.source),
        Err(failure) => failure.sentence().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::status::view::tests::view;

    fn key(view: &mut View, code: KeyCode) -> Pressed {
        press(view, KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn disabling_asks_first_and_no_is_no() {
        let mut view = view();
        view.is_ours = true;
        assert_eq!(key(&mut view, KeyCode::Char('d')), Pressed::Nothing);
        assert_eq!(key(&mut view, KeyCode::Char('n')), Pressed::Nothing);
        assert_eq!(view.mode, Mode::Looking);
        key(&mut view, KeyCode::Char('d'));
        let deed = Deed::Disable("gemini/1".to_owned());
        assert_eq!(key(&mut view, KeyCode::Char('y')), Pressed::Do(deed));
    }

    #[test]
    fn a_server_elsewhere_is_not_changed_from_here() {
        let mut view = view();
        assert_eq!(key(&mut view, KeyCode::Char('r')), Pressed::Nothing);
        assert!(view.said.contains("another machine"), "{}", view.said);
        assert_eq!(
            key(&mut view, KeyCode::Char('u')),
            Pressed::Do(Deed::Refresh)
        );
    }

    #[test]
    fn keys_typed_into_the_filter_do_nothing_else() {
        let mut view = view();
        for code in ['/', 'q', 'r'].map(KeyCode::Char) {
            assert_eq!(key(&mut view, code), Pressed::Nothing);
        }
        assert_eq!(view.filter, "qr");
        key(&mut view, KeyCode::Enter);
        assert_eq!(key(&mut view, KeyCode::Esc), Pressed::Nothing);
        assert_eq!(view.filter, "");
        assert_eq!(key(&mut view, KeyCode::Esc), Pressed::Leave);
    }
}
