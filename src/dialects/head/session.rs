//! Which conversation a request belongs to, so that it can stay on one credential.

use std::borrow::Cow;

use crate::dialects::head::scanner::{Scanner, Token};
use crate::dialects::head::{Head, HeadError};

/// Prefixes offered for look-up. The newest two find every ordinary next turn; more only help a
/// client that adds several turns at once.
const MAX_KEYS: usize = 8;

/// Bytes hashed of each end of a long string: prompts that agree in length and in both ends are
/// one conversation for our purpose.
const SAMPLE_BYTES: usize = 128;

/// Body members that name the conversation, best first (`pool.md`, "Affinity", and the spellings
/// that LLM-API-Key-Proxy knows). `user` comes last: it names a person, not a conversation.
const NAMES: [&str; 12] = [
    "session_id",
    "sessionId",
    "conversation_id",
    "conversationId",
    "thread_id",
    "threadId",
    "chat_id",
    "chatId",
    "conversation",
    "prompt_cache_key",
    "metadata",
    "user",
];

/// How good a hint the top-level member `name` is, 0 the best; `None` if it is none.
pub(super) fn rank(name: &str) -> Option<usize> {
    NAMES.iter().position(|known| *known == name)
}

/// The conversation named by a hint's value: text, a number, or the `id` of OpenAI's
/// `conversation` or the `user_id` of Anthropic's `metadata`.
pub(super) fn named<'a>(name: &str, value: &'a str) -> Option<Cow<'a, str>> {
    let value = match name {
        "metadata" => member(value, "user_id")?,
        "conversation" if value.starts_with('{') => member(value, "id")?,
        _ => value,
    };
    match value.as_bytes().first()? {
        b'"' => {
            let text = Scanner::new(value).string().ok()?.decode()?;
            Some(text).filter(|text| !text.is_empty())
        }
        b'-' | b'0'..=b'9' => Some(Cow::Borrowed(value)),
        _ => None,
    }
}

/// The raw value of a member of a (checked) object.
pub(super) fn member<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    let mut scanner = Scanner::new(object);
    let mut first = true;
    let mut found = None;
    while let Some(key) = scanner.next_member(first).ok()? {
        first = false;
        scanner.peek();
        let start = scanner.at();
        scanner.skip().ok()?;
        if key.raw() == name {
            found = Some(scanner.since(start));
        }
    }
    found
}

/// The keys one conversation may be known by, newest first; never empty.
///
/// A named conversation has one key. Else there is a key for each prefix of the conversation that
/// once was a whole request: the messages before each assistant turn, and all of them. The gateway
/// looks up the keys in order, takes the first that is known, and remembers the answer under
/// [`newest`](Self::newest). So turn N + 1 finds what turn N remembered, and two users who both
/// open with "hi" share a key only until the first answer, from where their histories differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionKeys(Vec<u64>);

impl SessionKeys {
    /// The key of a conversation that the client named, in a header or in the body.
    pub fn of_name(client: &str, name: &str) -> Self {
        let mut hash = Hash::of(client, "named");
        hash.add(name.as_bytes());
        Self(vec![hash.finish()])
    }

    /// The key that this request's whole history has: what to remember the conversation under.
    pub fn newest(&self) -> u64 {
        self.0.first().copied().unwrap_or_default()
    }

    /// All keys, newest first.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.0.iter().copied()
    }
}

impl Head<'_> {
    /// The keys this request's conversation may be known by, apart for each `client`; `None` if
    /// the body neither names a conversation nor holds one.
    ///
    /// The history is hashed by its names and strings, spacing and `cache_control` marks left out
    /// (they move from turn to turn), long strings by length and ends. Equal on every machine.
    pub fn session_keys(&self, client: &str) -> Option<SessionKeys> {
        if let Some(name) = &self.session {
            return Some(SessionKeys::of_name(client, name));
        }
        let mut hash = Hash::of(client, "history");
        hash.word(self.system);
        let keys = self.history.prefixes().map(|prefix| {
            let mut hash = hash;
            hash.word(prefix);
            hash.finish()
        });
        Some(SessionKeys(keys.collect())).filter(|keys| !keys.0.is_empty())
    }

    /// The one key to remember this request's conversation under: the newest of
    /// [`session_keys`](Self::session_keys).
    pub fn session_hash(&self, client: &str) -> Option<u64> {
        Some(self.session_keys(client)?.newest())
    }
}

/// The hashes of a conversation's prefixes, made while it is scanned.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// The newest last, [`MAX_KEYS`] at most.
    prefixes: [u64; MAX_KEYS],
    count: usize,
}

impl History {
    /// Reads the turns: an array, or the one text of a Responses `input`. Checks the value like
    /// [`Scanner::skip`].
    pub(super) fn read(scanner: &mut Scanner<'_>) -> Result<Self, HeadError> {
        let mut history = Self::default();
        let mut hash = Hash(Hash::FACTOR);
        match scanner.peek() {
            Some(b'[') => {}
            Some(b'"') => {
                hash.value(scanner)?;
                history.push(hash);
                return Ok(history);
            }
            _ => {
                scanner.skip()?;
                return Ok(history);
            }
        }
        let mut first = true;
        let mut answered = true;
        while scanner.next_item(first)? {
            first = false;
            let before = hash;
            let by_model = hash.value(scanner)?;
            if by_model && !answered {
                history.push(before);
            }
            answered = by_model;
        }
        if !first {
            history.push(hash);
        }
        Ok(history)
    }

    fn push(&mut self, hash: Hash) {
        if self.count == MAX_KEYS {
            self.prefixes.rotate_left(1);
            self.count -= 1;
        }
        if let Some(place) = self.prefixes.get_mut(self.count) {
            *place = hash.finish();
            self.count += 1;
        }
    }

    /// The prefixes' hashes, newest first.
    fn prefixes(&self) -> impl Iterator<Item = u64> {
        self.prefixes.iter().take(self.count).rev().copied()
    }
}

/// The hash of a system prompt, whatever its shape. Checks the value like [`Scanner::skip`].
pub(super) fn system_hash(scanner: &mut Scanner<'_>) -> Result<u64, HeadError> {
    let mut hash = Hash(Hash::FACTOR);
    hash.value(scanner)?;
    Ok(hash.finish())
}

/// A fast 64-bit hash of names and strings; not for secrets. Multiply and rotate, eight bytes a
/// step, and a last mixing round: the same everywhere, unlike the standard library's, so that
/// instances that share state agree.
#[derive(Clone, Copy)]
struct Hash(u64);

impl Hash {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

    fn of(client: &str, domain: &str) -> Self {
        let mut hash = Self(Self::FACTOR);
        hash.add(domain.as_bytes());
        hash.add(client.as_bytes());
        hash
    }

    /// Adds one string: its length, and all of it or its two ends.
    fn add(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        if bytes.len() <= 2 * SAMPLE_BYTES {
            self.bytes(bytes);
        } else {
            self.bytes(bytes.get(..SAMPLE_BYTES).unwrap_or_default());
            self.bytes(bytes.get(bytes.len() - SAMPLE_BYTES..).unwrap_or_default());
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        for byte in rest {
            self.word(u64::from(*byte));
        }
    }

    fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(Self::FACTOR);
    }

    /// Adds one value of the history, and tells whether the model said it.
    fn value(&mut self, scanner: &mut Scanner<'_>) -> Result<bool, HeadError> {
        let mut muted = None;
        let mut role = None;
        let mut kind = None;
        let mut name = "";
        scanner.walk(|token| match token {
            Token::Close { depth } => {
                if muted.is_some_and(|from| depth <= from) {
                    muted = None;
                }
            }
            Token::Key { depth, text } => {
                if muted.is_some_and(|from| depth <= from) {
                    muted = None;
                }
                if depth == 1 {
                    name = text.raw();
                }
                if matches!(text.raw(), "cache_control" | "prompt_cache_breakpoint") {
                    muted = muted.or(Some(depth));
                }
                if muted.is_none() {
                    self.add(text.raw().as_bytes());
                }
            }
            Token::Text { depth, text } => {
                if depth == 1 && name == "role" {
                    role = Some(text.raw());
                }
                if depth == 1 && name == "type" {
                    kind = Some(text.raw());
                }
                if muted.is_none() {
                    self.add(text.raw().as_bytes());
                }
            }
        })?;
        Ok(match role {
            Some(role) => matches!(role, "assistant" | "model"),
            // Items of the Responses dialect without a role: what the model did, or an output
            // that the client hands back.
            None => kind.is_some_and(|kind| !kind.ends_with("_output") && kind != "message"),
        })
    }

    const fn finish(self) -> u64 {
        let mixed = (self.0 ^ self.0 >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
        mixed ^ mixed >> 32
    }
}
