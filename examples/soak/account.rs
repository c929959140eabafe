//! The vendor's accounts: one whose access token is refused after some seconds, so that it is renewed
//! again and again, with a refresh token that is good for one use.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::watch::MARK;

/// How long an access token is taken.
const LIFE: Duration = Duration::from_secs(10);

/// What the vendor knows of its one account.
pub(crate) struct Account(Mutex<Books>);

struct Books {
    given: u64,
    access: String,
    refresh: String,
    since: Instant,
    /// Refresh tokens that were shown after they had been replaced.
    spent: u64,
}

impl Account {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Books {
            given: 0,
            access: access(0),
            refresh: refresh(0),
            since: Instant::now(),
            spent: 0,
        }))
    }

    /// The account as the vendor's own tool keeps it.
    pub(crate) fn file(&self) -> String {
        let books = self.books();
        format!(
            "{{\"access_token\":\"{}\",\"refresh_token\":\"{}\",\"token_type\":\"Bearer\",\
             \"resource_url\":\"portal.qwen.ai\",\"expiry_date\":4102444799000}}",
            books.access, books.refresh
        )
    }

    /// Whether an access token is the present one and young.
    pub(crate) fn takes(&self, token: &str) -> bool {
        let books = self.books();
        books.access == token && books.since.elapsed() < LIFE
    }

    /// New tokens for this form of a refresh; `None` refuses it.
    pub(crate) fn renew(&self, form: &str) -> Option<String> {
        let mut books = self.books();
        let shown = form
            .split('&')
            .find_map(|pair| pair.strip_prefix("refresh_token="));
        if shown != Some(&books.refresh) {
            books.spent += 1;
            return None;
        }
        books.given += 1;
        books.access = access(books.given);
        books.refresh = refresh(books.given);
        books.since = Instant::now();
        Some(format!(
            "{{\"access_token\":\"{}\",\"refresh_token\":\"{}\",\"token_type\":\"Bearer\",\"expires_in\":21600}}",
            books.access, books.refresh
        ))
    }

    /// How often it was renewed, and how often somebody came with a spent refresh token.
    pub(crate) fn renewals(&self) -> (u64, u64) {
        let books = self.books();
        (books.given, books.spent)
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn access(number: u64) -> String {
    format!("at-{MARK}-0123456789abcdef-{number}")
}

fn refresh(number: u64) -> String {
    format!("rt-{MARK}-0123456789abcdef-{number}")
}
