//! Searches all that comes out of the gateway for the mark that stands in every secret of the soak.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::canary::Search;

/// Stands in every key and token of the soak, and in nothing else.
pub(crate) const MARK: &str = "Canary7f3aZq";

/// No mark in any encoding is longer, so that one that lies across two pieces is found.
const OVERLAP: usize = 128;

/// How many finds are told in full.
const TOLD: usize = 20;

/// What was searched, and what was found.
pub(crate) struct Watch {
    search: Search,
    pub(crate) answers: AtomicU64,
    /// Bytes of log lines.
    pub(crate) logged: AtomicU64,
    /// Files and outputs of commands.
    pub(crate) documents: AtomicU64,
    pub(crate) leaks: AtomicU64,
    told: Mutex<Vec<String>>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self {
            search: Search::new(MARK),
            answers: AtomicU64::new(0),
            logged: AtomicU64::new(0),
            documents: AtomicU64::new(0),
            leaks: AtomicU64::new(0),
            told: Mutex::default(),
        }
    }

    /// Searches an answer's head and body.
    pub(crate) fn answer(&self, head: &hyper::HeaderMap, body: &[u8]) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        for (name, value) in head {
            self.look("a header", name.as_str().as_bytes());
            self.look(name.as_str(), value.as_bytes());
        }
        self.look("a body", body);
    }

    /// Searches a file or the output of a command.
    pub(crate) fn document(&self, place: &str, bytes: &[u8]) {
        self.documents.fetch_add(1, Ordering::Relaxed);
        self.look(place, bytes);
    }

    /// Searches all files below a directory.
    pub(crate) fn directory(&self, place: &Path) {
        for entry in fs::read_dir(place).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                self.directory(&path);
            } else if let Ok(bytes) = fs::read(&path) {
                self.document(&path.display().to_string(), &bytes);
            }
        }
    }

    /// Searches what is written to a pipe, until its end.
    pub(crate) fn log(&self, mut pipe: impl Read) {
        let mut piece = vec![0; 1 << 16];
        let mut kept = 0;
        while let Some(free) = piece.get_mut(kept..)
            && let Ok(read @ 1..) = pipe.read(free)
        {
            self.logged.fetch_add(read as u64, Ordering::Relaxed);
            let end = kept + read;
            self.look("the log", piece.get(..end).unwrap_or_default());
            kept = end.min(OVERLAP);
            piece.copy_within(end - kept..end, 0);
        }
    }

    /// The first finds, a line each.
    pub(crate) fn report(&self) -> String {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.concat()
    }

    fn look(&self, place: &str, bytes: &[u8]) {
        let Some((encoding, at)) = self.search.find(bytes) else {
            return;
        };
        self.leaks.fetch_add(1, Ordering::Relaxed);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < TOLD {
            let around = Search::around(bytes, at);
            told.push(format!("LEAK in {place}, {encoding}: {around:?}\n"));
        }
    }
}
