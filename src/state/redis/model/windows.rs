//! The part of the model that counts: leases and windows, given and given back.

use std::collections::BTreeMap;

use super::{Args, Store, number, parsed};

/// One window of a call.
#[derive(Clone, Copy)]
struct Terms {
    span: i64,
    /// 0: it ends as a whole.
    slices: i64,
}

impl Terms {
    /// How long one part of it is.
    const fn part(self) -> i64 {
        (self.span + self.slices - 1) / self.slices
    }

    /// How long what is counted is kept.
    const fn life(self) -> i64 {
        match self.slices {
            0 => self.span,
            _ => self.span + 2 * self.part(),
        }
    }

    /// What the counts of this time are called.
    fn suffix(self, time: i64) -> String {
        match self.slices {
            0 => String::new(),
            _ => time.div_euclid(self.part()).to_string(),
        }
    }
}

/// What a caller was told of a window.
#[derive(Clone, Copy)]
struct Known {
    requests: i64,
    ends: i64,
    said: i64,
}

impl Known {
    /// Three arguments of a call.
    fn at(args: &Args<'_>, at: usize) -> Self {
        Self {
            requests: args.number(at),
            ends: args.number(at + 1),
            said: args.number(at + 2),
        }
    }
}

/// What a window holds, and when it has room again.
struct Count {
    requests: i64,
    tokens: i64,
    room: i64,
}

impl Store {
    pub(super) fn admit(&mut self, keys: &[String], args: &Args<'_>) -> Vec<i64> {
        let (now, most, life) = (self.now, args.number(1), args.number(2));
        let mut answer = vec![0, now];
        let windows = || keys.iter().skip(1).zip((3..).step_by(7));
        for (place, (key, at)) in (1..).zip(windows()) {
            let terms = Terms {
                span: args.number(at),
                slices: args.number(at + 1),
            };
            let most = (args.number(at + 2), args.number(at + 3));
            let count = match terms.slices {
                0 => self.whole(key, terms, Known::at(args, at + 4)),
                _ => self.rolling(key, terms, most),
            };
            if is_reached(count.requests, most.0) || is_reached(count.tokens, most.1) {
                return vec![place, now, count.room];
            }
            answer.extend([count.requests + 1, count.room]);
        }
        if most > 0 {
            let leases = self.scores(&keys[0]);
            leases.retain(|_, ends| *ends > now);
            if number(leases.len()) >= most {
                return vec![-1, now];
            }
            leases.insert(args.text(0), now + life);
            self.ends_in(&keys[0], 2 * life);
        }
        for (key, at) in windows() {
            let terms = Terms {
                span: args.number(at),
                slices: args.number(at + 1),
            };
            self.add(key, &format!("r{}", terms.suffix(now)), 1);
            if terms.slices > 0 {
                self.keep_open(key, terms.life());
            } else if self.left(key).is_none() {
                self.open(key, terms.life());
            }
        }
        answer
    }

    /// A window that ends as a whole; one that was lost is opened with what the caller knows.
    fn whole(&mut self, key: &str, terms: Terms, known: Known) -> Count {
        let now = self.now;
        if self.left(key) == Some(0) {
            self.kept.remove(key);
        }
        let is_lost = self.left(key).is_none();
        let is_more = known.requests > self.count(key, "b") && known.ends > now + 2000;
        if is_more && (is_lost || known.said < self.count(key, "o")) {
            self.restore(key, known, is_lost);
        }
        Count {
            requests: self.count(key, "r"),
            tokens: self.count(key, "t"),
            room: now + self.left(key).unwrap_or(terms.span),
        }
    }

    fn rolling(&mut self, key: &str, terms: Terms, most: (i64, i64)) -> Count {
        let newest = self.now.div_euclid(terms.part());
        let mut ages: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
        if self.kept.contains_key(key) {
            let age = |field: &String| newest - parsed(&field.as_bytes()[1..]);
            let parts = self.hash(key);
            parts.retain(|field, _| field == "o" || age(field) <= terms.slices);
            for (field, count) in parts.iter().filter(|(field, _)| *field != "o") {
                let part = ages.entry(age(field).max(0)).or_default();
                if field.starts_with('r') {
                    part.0 += parsed(count);
                } else {
                    part.1 += parsed(count);
                }
            }
            self.drop_empty(key);
        }
        let requests = ages.values().map(|part| part.0).sum();
        let tokens = ages.values().map(|part| part.1).sum();
        let (mut left, mut room) = ((requests, tokens), self.now + 1000);
        for (age, part) in ages.iter().rev() {
            left = (left.0 - part.0, left.1 - part.1);
            if !is_reached(left.0, most.0) && !is_reached(left.1, most.1) {
                room = (newest - age + terms.slices + 1) * terms.part();
                break;
            }
        }
        Count {
            requests,
            tokens,
            room,
        }
    }

    pub(super) fn settle(&mut self, keys: &[String], args: &Args<'_>) -> i64 {
        let (now, taken) = (self.now, args.number(1));
        let (requests, tokens) = (args.number(2), args.number(3));
        if !args.0[0].is_empty() {
            let lease = args.text(0);
            self.scores(&keys[0]).remove(&lease);
            self.drop_empty(&keys[0]);
        }
        for (key, at) in keys.iter().skip(1).zip((4..).step_by(5)) {
            let terms = Terms {
                span: args.number(at),
                slices: args.number(at + 1),
            };
            let mut known = Known::at(args, at + 2);
            let is_known = known.requests > 0 && known.ends > now + 2000;
            if requests >= 0 && terms.slices == 0 && is_known {
                if requests == 0 {
                    (known.requests, known.said) = (known.requests + 1, taken);
                }
                let is_lost = !self.has(key, "r");
                let is_more = known.requests > self.count(key, "b");
                if is_lost || (is_more && known.said < self.count(key, "o")) {
                    self.restore(key, known, is_lost);
                }
            }
            if requests < 0 {
                let counted = format!("r{}", terms.suffix(taken));
                let is_here = self.count(key, "o") <= taken;
                if is_here && self.count(key, &counted) + requests >= 0 {
                    self.add(key, &counted, requests);
                }
            } else if requests > 0 {
                self.add(key, &format!("r{}", terms.suffix(now)), requests);
            }
            if tokens > 0 {
                self.add(key, &format!("t{}", terms.suffix(now)), tokens);
            }
            if self.kept.contains_key(key) && terms.slices > 0 {
                self.keep_open(key, terms.life());
            } else if self.kept.contains_key(key) && self.left(key).is_none() {
                self.open(key, terms.life());
            }
        }
        1
    }

    /// Adds what a caller was told before the window was lost, as far as no other has told of it.
    fn restore(&mut self, key: &str, known: Known, is_lost: bool) {
        let more = known.requests - self.count(key, "b");
        self.add(key, "r", more);
        self.put(key, "b", known.requests);
        if is_lost {
            self.open(key, known.ends - self.now);
        }
    }

    /// Notes when a window was opened, and lets it end.
    fn open(&mut self, key: &str, life: i64) {
        let now = self.now;
        self.put(key, "o", now);
        self.ends_in(key, life);
    }

    /// The same for one that may be open already, and never ends as long as it is used.
    fn keep_open(&mut self, key: &str, life: i64) {
        if !self.has(key, "o") {
            self.put(key, "o", self.now);
        }
        self.ends_in(key, life);
    }

    fn has(&self, key: &str, field: &str) -> bool {
        self.fields(key).iter().any(|(known, _)| known == field)
    }

    fn count(&self, key: &str, field: &str) -> i64 {
        let fields = self.fields(key);
        let known = fields.iter().find(|(known, _)| known == field);
        known.map_or(0, |(_, count)| parsed(count.as_bytes()))
    }

    fn put(&mut self, key: &str, field: &str, count: i64) {
        let count = count.to_string().into_bytes();
        self.hash(key).insert(field.to_owned(), count);
    }

    fn add(&mut self, key: &str, field: &str, more: i64) {
        let count = self.count(key, field) + more;
        self.put(key, field, count);
    }
}

/// Whether a limit is reached; 0 is none.
const fn is_reached(count: i64, most: i64) -> bool {
    most > 0 && count >= most
}
