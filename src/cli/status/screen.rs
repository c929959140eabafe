//! Draws the full-screen status; meant for 80×24 and more, and cut where there is less.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::cli::status::view::{Mode, Row, View};
use crate::cli::status::{headline, left, limited};
use crate::gateway::quota_stats::document::{Credential, Window};
use crate::time::humanize;

/// Rows of the windows below the list: the heading and at most so many bars.
const MAX_BARS: u16 = 6;

/// Rows of the requests under way, the heading included.
const MAX_REQUESTS: u16 = 6;

/// Cells of a bar.
const BAR: u16 = 20;

/// Draws everything. `colored` is off for `NO_COLOR`: words and signs say the same.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View, now: f64, colored: bool) {
    let pen = Pen { colored };
    let bars = bars(view, now, pen);
    let heading = u16::from(!bars.is_empty());
    let height = u16::try_from(bars.len()).unwrap_or(MAX_BARS).min(MAX_BARS) + heading;
    let requests = requests(view, pen);
    let [top, list, live, below, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Min(3),
        Constraint::Length(u16::try_from(requests.len()).unwrap_or(MAX_REQUESTS)),
        Constraint::Length(height),
        Constraint::Length(2),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(header(view, now, pen)), top);
    draw_list(frame, list, view, now, pen);
    frame.render_widget(Paragraph::new(requests), live);
    if let Some(current) = view.current().filter(|_| height > 0) {
        let title = format!("windows of {}", current.stable_id);
        let mut lines = vec![Line::styled(title, pen.dim())];
        lines.extend(bars);
        frame.render_widget(Paragraph::new(lines), below);
    }
    frame.render_widget(Paragraph::new(footer(view, pen)), foot);
}

/// Styles, or none.
#[derive(Clone, Copy)]
struct Pen {
    colored: bool,
}

impl Pen {
    fn color(self, color: Color) -> Style {
        if self.colored {
            Style::new().fg(color)
        } else {
            Style::new()
        }
    }

    fn dim(self) -> Style {
        if self.colored {
            Style::new().add_modifier(Modifier::DIM)
        } else {
            Style::new()
        }
    }

    fn state(self, state: &str) -> Style {
        match state {
            "ready" => self.color(Color::Green),
            "cooling" | "exhausted" => self.color(Color::Yellow),
            "disabled" => self.dim(),
            _ => self.color(Color::Red),
        }
    }
}

fn header(view: &View, now: f64, pen: Pen) -> Vec<Line<'static>> {
    let credentials = || {
        view.document
            .providers
            .values()
            .flat_map(|one| one.credentials.values())
    };
    let ready = credentials().filter(|one| one.state == "ready").count();
    let active: u32 = credentials().map(|one| one.active_requests).sum();
    let waiting: u32 = view
        .document
        .providers
        .values()
        .map(|one| one.waiting_requests)
        .sum();
    let source = if view.source.is_empty() {
        "state file (no server runs)"
    } else {
        &view.source
    };
    let soonest = credentials()
        .filter_map(|one| one.cooling_until)
        .filter(|until| *until > now)
        .fold(f64::INFINITY, f64::min);
    let requests = if active == 1 { "request" } else { "requests" };
    let mut text = format!(
        "{ready} of {} ready, {active} {requests} under way, {waiting} waiting",
        credentials().count()
    );
    if soonest.is_finite() {
        text.push_str(", next back in ");
        text.push_str(&left(soonest, now));
    }
    vec![
        Line::from(vec![
            Span::styled("llmproxy ", Style::new().add_modifier(Modifier::BOLD)),
            Span::styled(source.to_owned(), pen.dim()),
        ]),
        Line::from(text),
    ]
}

fn draw_list(frame: &mut Frame<'_>, area: Rect, view: &View, now: f64, pen: Pen) {
    let heading = Line::styled(
        format!(
            "  {:<26} {:<13} {:>8} {:>8} {:>6} {:>5}  REASON",
            "ID", "STATE", "FOR", "REQUESTS", "FAILED", "LIVE"
        ),
        pen.dim(),
    );
    let rows = view.rows();
    let is_selected = |row: &Row<'_>| match row {
        Row::Credential(one) => Some(&one.stable_id) == view.selected.as_ref(),
        Row::Provider(_) => false,
    };
    let at = rows.iter().position(is_selected).unwrap_or(0);
    let room = usize::from(area.height.saturating_sub(1));
    let skipped = at.saturating_sub(room.saturating_sub(1));
    let mut lines = vec![heading];
    if rows.is_empty() {
        let text = if view.filter.is_empty() {
            "  there is no credential; `llmproxy creds add PROVIDER` adds one"
        } else {
            "  nothing fits the filter"
        };
        lines.push(Line::from(text));
    }
    for row in rows.iter().skip(skipped).take(room) {
        lines.push(match row {
            Row::Credential(one) => credential(one, is_selected(row), now, pen),
            Row::Provider(provider) => {
                let text = format!("{}  {}", provider.provider, headline(provider, now));
                Line::styled(text, Style::new().add_modifier(Modifier::BOLD))
            }
        });
    }
    frame.render_widget(Paragraph::new(lines), area);
}

fn credential(one: &Credential, is_selected: bool, now: f64, pen: Pen) -> Line<'static> {
    let until = one
        .cooling_until
        .map_or_else(String::new, |until| left(until, now));
    let cursor = if is_selected { "> " } else { "  " };
    let base = if is_selected {
        Style::new().add_modifier(Modifier::REVERSED)
    } else {
        Style::new()
    };
    let reason = one.state_reason.clone().unwrap_or_default();
    Line::from(vec![
        Span::raw(format!("{cursor}{:<26} ", clip(&one.stable_id, 26))),
        Span::styled(format!("{:<13}", one.state), pen.state(&one.state)),
        Span::raw(format!(
            " {until:>8} {:>8} {:>6} {:>5}  ",
            one.totals.request_count, one.totals.failure_count, one.active_requests
        )),
        Span::raw(reason.replace(char::is_control, " ")),
    ])
    .style(base)
}

/// The requests under way, oldest first, under a heading; nothing where there are none.
fn requests(view: &View, pen: Pen) -> Vec<Line<'static>> {
    let shown = view.requests_shown();
    if shown.is_empty() {
        return Vec::new();
    }
    let heading = format!(
        "  {:<8} {:<12} {:<24} {:<14} {:<9} {:>6}",
        "REQUEST", "CLIENT", "MODEL", "CREDENTIAL", "DOES", "FOR"
    );
    let mut lines = vec![Line::styled(heading, pen.dim())];
    let room = usize::from(MAX_REQUESTS) - 1;
    let is_too_many = shown.len().max(view.requests.total) > room;
    let rows = if is_too_many { room - 1 } else { room };
    for one in shown.iter().take(rows) {
        let credential = one.credential.as_deref().unwrap_or("-");
        lines.push(Line::from(format!(
            "  {:<8} {:<12} {:<24} {:<14} {:<9} {:>6}",
            // Enough for `explain`.
            one.id.get(..8).unwrap_or(&one.id),
            clip(&one.client, 12),
            clip(&one.model, 24),
            clip(credential, 14),
            one.state.as_str(),
            humanize(Duration::from_secs(one.age_ms / 1000)),
        )));
    }
    if is_too_many {
        let more = view.requests.total.max(shown.len()).saturating_sub(rows);
        lines.push(Line::styled(format!("  and {more} more"), pen.dim()));
    }
    lines
}

/// A text in so many characters.
fn clip(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// A bar for each limit of the credential under the cursor.
fn bars(view: &View, now: f64, pen: Pen) -> Vec<Line<'static>> {
    let Some(current) = view.current() else {
        return Vec::new();
    };
    let windows = limited(current).map(|(class, name, window)| {
        let (used, limit, unit) = counted(window);
        let resets = window.reset_at.map_or_else(String::new, |at| left(at, now));
        let resets = if resets.is_empty() {
            resets
        } else {
            format!(", resets in {resets}")
        };
        bar(
            &format!("{class} {name}"),
            used,
            limit,
            &format!("{unit}{resets}"),
            pen,
        )
    });
    let groups = current.group_usage.iter();
    let groups = groups.filter_map(|(class, usage)| Some((class, usage.custom_cap.as_ref()?)));
    let models = current.model_usage.iter();
    let models = models.filter_map(|(class, usage)| Some((class, usage.custom_cap.as_ref()?)));
    let caps = groups.chain(models).map(|(class, cap)| {
        bar(
            &format!("{class} cap"),
            cap.used,
            cap.limit,
            "requests",
            pen,
        )
    });
    windows.chain(caps).collect()
}

fn counted(window: &Window) -> (u64, u64, &'static str) {
    match (window.limit, window.token_limit) {
        (Some(limit), _) => (window.request_count, limit, "requests"),
        (None, limit) => (window.total_tokens, limit.unwrap_or(0), "tokens"),
    }
}

fn bar(name: &str, used: u64, limit: u64, rest: &str, pen: Pen) -> Line<'static> {
    let share = u128::from(used.min(limit)) * u128::from(BAR);
    let full = share.checked_div(u128::from(limit)).unwrap_or(0);
    let full = usize::try_from(full).unwrap_or(0);
    let empty = usize::from(BAR).saturating_sub(full);
    let color = match full * 10 / usize::from(BAR) {
        10 => Color::Red,
        8 | 9 => Color::Yellow,
        _ => Color::Green,
    };
    Line::from(vec![
        Span::raw(format!("  {:<22} ", clip(name, 22))),
        Span::styled("█".repeat(full), pen.color(color)),
        Span::styled("░".repeat(empty), pen.dim()),
        Span::raw(format!(" {used}/{limit} {rest}")),
    ])
}

fn footer(view: &View, pen: Pen) -> Vec<Line<'static>> {
    let first = match &view.mode {
        Mode::Asking(deed) => {
            let question = deed.question().unwrap_or_default();
            Line::styled(question, Style::new().add_modifier(Modifier::BOLD))
        }
        Mode::Filtering => Line::from(format!(
            "filter: {}_  (Enter keeps it, Esc drops it)",
            view.filter
        )),
        Mode::Looking if !view.filter.is_empty() && view.said.is_empty() => {
            Line::from(format!("filter: {}", view.filter))
        }
        Mode::Looking => Line::from(view.said.clone()),
    };
    let keys = format!(
        "/ filter  s sort ({})  r reset  u refresh quotas  d disable  e enable  q quit",
        view.order.name()
    );
    vec![first, Line::styled(keys, pen.dim())]
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::cli::status::view::Deed;
    use crate::cli::status::view::tests::view;

    fn drawn(view: &View, columns: u16, rows: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).expect("a terminal");
        terminal
            .draw(|frame| draw(frame, view, 100.0, false))
            .expect("drawing into memory");
        let buffer = terminal.backend().buffer().clone();
        let cells: Vec<&str> = buffer
            .content()
            .iter()
            .map(ratatui::buffer::Cell::symbol)
            .collect();
        let lines = cells.chunks(usize::from(columns)).map(<[&str]>::concat);
        lines
            .map(|line| line.trim_end().to_owned() + "\n")
            .collect()
    }

    #[test]
    fn eighty_by_twenty_four_show_states_countdowns_and_bars() {
        let text = drawn(&view(), 80, 24);
        for part in [
            "1 of 3 ready, 1 request under way, 0 waiting, next back in 30s",
            "gemini  sequential, 1 of 2 ready, 14 requests",
            "> gemini/1                   exhausted           2h       12      0     0  pro:",
            "  groq/1                     cooling            30s",
            "pro daily              ██████████████░░░░░░ 7/10 requests, resets in 2h",
            "s sort (id)",
            "q quit",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
    }

    #[test]
    fn requests_under_way_are_named_and_too_many_are_counted() {
        let mut view = view();
        let request = |number: u64, state: &str| {
            serde_json::json!({"id": format!("{number:032x}"), "client": "laptop", "model": "smart",
                "stream": true, "state": state, "credential": "gemini/2", "attempts": 1,
                "age_ms": 65_000})
        };
        let mut list = |count: u64| {
            let data: Vec<_> = (0..count)
                .map(|number| request(number, "streaming"))
                .collect();
            let listing = serde_json::json!({"object": "list", "data": data, "total": count});
            view.requests = serde_json::from_value(listing).expect("a listing");
            drawn(&view, 80, 24)
        };
        let text = list(2);
        let row = "laptop       smart                    gemini/2       streaming  1m 5s";
        assert_eq!(text.matches(row).count(), 2, "{text}");
        let text = list(70);
        assert_eq!(text.matches(row).count(), 4, "{text}");
        assert!(text.contains("  and 66 more"), "{text}");
        assert!(
            text.contains("pro daily"),
            "the windows stay in sight:\n{text}"
        );
    }

    #[test]
    fn a_question_stands_where_the_answer_is_looked_for() {
        let mut view = view();
        view.mode = Mode::Asking(Deed::Disable("gemini/1".to_owned()));
        assert!(drawn(&view, 80, 24).contains("disable gemini/1? y/n"));
    }

    #[test]
    fn small_terminals_and_empty_documents_are_no_reason_to_panic() {
        for (columns, rows) in [(1, 1), (10, 3), (40, 8), (200, 60)] {
            drawn(&view(), columns, rows);
            drawn(&View::default(), columns, rows);
        }
    }

    #[test]
    fn the_cursor_stays_in_sight() {
        let mut view = view();
        view.move_by(2);
        let text = drawn(&view, 80, 9);
        assert!(text.contains("> groq/1"), "{text}");
    }
}
