//! What the full-screen status shows: which credentials, in which order, and what the keys do to
//! that. Knows no terminal.

use std::cmp::Reverse;

use crate::gateway::quota_stats::document::{Credential, Document, Provider};
use crate::gateway::under_way::{Listed, Listing};

/// In which order credentials stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    /// By provider and name.
    #[default]
    Id,
    /// Most requests first.
    Requests,
    /// What does not serve first.
    State,
    /// Longest wait first.
    Wait,
}

impl Order {
    /// What the footer calls it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Requests => "requests",
            Self::State => "state",
            Self::Wait => "wait",
        }
    }

    /// The next one round.
    pub(super) const fn next(self) -> Self {
        match self {
            Self::Id => Self::State,
            Self::State => Self::Wait,
            Self::Wait => Self::Requests,
            Self::Requests => Self::Id,
        }
    }
}

/// What a key leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Disable(String),
    Enable(String),
    /// Ask the providers for their own numbers.
    Refresh,
    /// End the cooldowns of a credential.
    Reset(String),
}

/// What the next keys mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// A question is open; `y` does it.
    Asking(Deed),
    /// Keys go into the filter.
    Filtering,
    #[default]
    Looking,
}

/// The state of the screen.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) document: Document,
    /// What the server is at; empty where the state file is read.
    pub(super) requests: Listing,
    /// `http://…`, or empty where the state file is read.
    pub(super) source: String,
    /// `false` for a server on another machine: its credentials cannot be changed from here.
    pub(super) is_ours: bool,
    pub(super) filter: String,
    pub(super) order: Order,
    pub(super) mode: Mode,
    /// The id of the credential under the cursor.
    pub(super) selected: Option<String>,
    /// What was done last, or what went wrong.
    pub(super) said: String,
}

/// A line of the list.
#[derive(Clone, Copy, Debug)]
pub(super) enum Row<'a> {
    Credential(&'a Credential),
    Provider(&'a Provider),
}

impl View {
    /// The lines of the list: providers head their credentials, unless another order mixes them.
    pub(super) fn rows(&self) -> Vec<Row<'_>> {
        if self.order == Order::Id {
            let mut rows = Vec::new();
            for provider in self.document.providers.values() {
                let members = provider
                    .credentials
                    .values()
                    .filter(|one| self.is_shown(one));
                let before = rows.len();
                rows.push(Row::Provider(provider));
                rows.extend(members.map(Row::Credential));
                if rows.len() == before + 1 && !self.filter.is_empty() {
                    rows.pop();
                }
            }
            return rows;
        }
        let all = self
            .document
            .providers
            .values()
            .flat_map(|one| one.credentials.values());
        let mut shown: Vec<&Credential> = all.filter(|one| self.is_shown(one)).collect();
        match self.order {
            Order::Id => {}
            Order::Requests => shown.sort_by_key(|one| Reverse(one.totals.request_count)),
            Order::State => shown.sort_by_key(|one| (one.state == "ready", one.state.clone())),
            Order::Wait => shown.sort_by(|a, b| {
                let until = |one: &Credential| one.cooling_until.unwrap_or(0.0);
                until(b).total_cmp(&until(a))
            }),
        }
        shown.into_iter().map(Row::Credential).collect()
    }

    /// The credential under the cursor.
    pub(super) fn current(&self) -> Option<&Credential> {
        let id = self.selected.as_deref()?;
        self.ids_shown().find(|one| one.stable_id == id)
    }

    /// Takes a new document over; the cursor stays on its credential, or goes to the first.
    pub(super) fn update(&mut self, document: Document) {
        self.document = document;
        self.settle();
    }

    /// Moves the cursor by so many credentials.
    pub(super) fn move_by(&mut self, steps: isize) {
        let ids: Vec<String> = self.ids_shown().map(|one| one.stable_id.clone()).collect();
        let here = ids.iter().position(|id| Some(id) == self.selected.as_ref());
        let last = ids.len().saturating_sub(1);
        let there = here.map_or(0, |here| here.saturating_add_signed(steps).min(last));
        self.selected = ids.into_iter().nth(there);
    }

    /// Changes the filter; the cursor goes to what is left.
    pub(super) fn filter_by(&mut self, change: impl FnOnce(&mut String)) {
        change(&mut self.filter);
        self.settle();
    }

    fn settle(&mut self) {
        if self.current().is_none() {
            let first = self.ids_shown().next().map(|one| one.stable_id.clone());
            self.selected = first;
        }
    }

    fn ids_shown(&self) -> impl Iterator<Item = &Credential> {
        self.rows().into_iter().filter_map(|row| match row {
            Row::Credential(one) => Some(one),
            Row::Provider(_) => None,
        })
    }

    /// The requests under way that the filter lets through: by id, client, model or credential.
    pub(super) fn requests_shown(&self) -> Vec<&Listed> {
        let wanted = self.filter.to_lowercase();
        let fits = |one: &&Listed| {
            let credential = one.credential.as_deref().unwrap_or_default();
            [&one.id, &one.client, &one.model, credential]
                .iter()
                .any(|text| text.to_lowercase().contains(&wanted))
        };
        self.requests.data.iter().filter(fits).collect()
    }

    /// Whether the filter lets a credential through: by its id, state, tier or reason.
    fn is_shown(&self, one: &Credential) -> bool {
        let wanted = self.filter.to_lowercase();
        let reason = one.state_reason.as_deref().unwrap_or_default();
        let tier = one.tier.as_deref().unwrap_or_default();
        [one.stable_id.as_str(), &one.state, tier, reason]
            .iter()
            .any(|text| text.to_lowercase().contains(&wanted))
    }
}

impl Deed {
    /// The question before it is done; `None` where nothing is lost by it.
    pub(super) fn question(&self) -> Option<String> {
        match self {
            Self::Disable(id) => Some(format!("disable {id}? y/n")),
            Self::Enable(_) | Self::Refresh | Self::Reset(_) => None,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub(in crate::cli::status) fn view() -> View {
        let document = serde_json::from_value(json!({"timestamp": 100.0, "providers": {
            "gemini": {"provider": "gemini", "rotation_mode": "sequential", "credential_count": 2,
                "total_requests": 14, "credentials": {
                "gemini/1": {"stable_id": "gemini/1", "state": "exhausted", "cooling_until": 7300.0,
                    "state_reason": "pro: quota", "totals": {"request_count": 12, "total_tokens": 900},
                    "group_usage": {"pro": {"windows": {"daily": {
                        "request_count": 7, "limit": 10, "reset_at": 7300.0}}}}},
                "gemini/2": {"stable_id": "gemini/2", "state": "ready", "active_requests": 1,
                    "totals": {"request_count": 2}},
            }},
            "groq": {"provider": "groq", "rotation_mode": "balanced", "credential_count": 1,
                "credentials": {"groq/1": {"stable_id": "groq/1", "state": "cooling",
                    "cooling_until": 130.0}}},
        }}))
        .expect("a document");
        let mut view = View::default();
        view.update(document);
        view
    }

    fn ids(view: &View) -> Vec<&str> {
        view.ids_shown().map(|one| one.stable_id.as_str()).collect()
    }

    #[test]
    fn each_order_says_what_comes_first() {
        let mut view = view();
        for expected in [
            ["gemini/1", "gemini/2", "groq/1"],
            ["groq/1", "gemini/1", "gemini/2"],
            ["gemini/1", "groq/1", "gemini/2"],
            ["gemini/1", "gemini/2", "groq/1"],
        ] {
            assert_eq!(ids(&view), expected, "{:?}", view.order);
            view.order = view.order.next();
        }
        assert_eq!(view.order, Order::Id);
    }

    #[test]
    fn the_filter_looks_at_id_state_and_reason() {
        let mut view = view();
        for (filter, expected) in [
            ("GEM", &["gemini/1", "gemini/2"][..]),
            ("cooling", &["groq/1"]),
            ("quota", &["gemini/1"]),
            ("nothing", &[]),
        ] {
            view.filter_by(|text| filter.clone_into(text));
            assert_eq!(ids(&view), expected, "{filter}");
            assert_eq!(
                view.selected.as_deref(),
                expected.first().copied(),
                "{filter}"
            );
        }
    }

    #[test]
    fn the_cursor_stays_on_its_credential_and_within_the_list() {
        let mut view = view();
        view.move_by(1);
        assert_eq!(view.selected.as_deref(), Some("gemini/2"));
        let document = view.document.clone();
        view.update(document);
        assert_eq!(view.selected.as_deref(), Some("gemini/2"));
        view.move_by(9);
        assert_eq!(view.selected.as_deref(), Some("groq/1"));
        view.move_by(-9);
        assert_eq!(view.selected.as_deref(), Some("gemini/1"));
    }
}
