//! Ids of tool calls and names of tools, made fit for each dialect by pure functions.
//!
//! The same id always maps to the same id, so the two places where a call's id stands (the call
//! and its result) agree without any state, and a conversation that grows keeps its ids. Legal
//! ids and names pass as they are. Patterns as the vendors document them, read 2026-11-22.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write as _;

use ring::digest::{SHA256, digest};

/// Base62 digits, in the order ids are written with.
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Longest call id that is sent: OpenAI and Bedrock refuse longer ones.
const MAX_CALL_ID: usize = 64;

/// Longest `user` that is sent: OpenAI refuses longer ones.
const MAX_USER: usize = 64;

/// What some gateways glue onto call ids to carry a Gemini signature; kilobytes that others refuse.
const SMUGGLED: &str = "__thought__";

/// The pattern a target wants call ids to have.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum IdRule {
    /// `^[a-zA-Z0-9_-]+$`, at most 64.
    Anthropic,
    /// Any text of at most 64 bytes: Gemini 3 and later, and most OpenAI-compatible servers.
    Any,
    /// Exactly nine of `[a-zA-Z0-9]`.
    Mistral,
}

/// The pattern a target wants tool names to have.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum NameRule {
    /// `^[a-zA-Z0-9_-]{1,128}$`.
    Anthropic,
    /// A letter or `_`, then `[a-zA-Z0-9_.:-]`, at most 64 in all.
    Gemini,
    /// `^[a-zA-Z0-9_-]{1,64}$`.
    OpenAi,
}

impl NameRule {
    /// All rules, for mapping an answer's names back.
    pub const ALL: [Self; 3] = [Self::Anthropic, Self::Gemini, Self::OpenAi];
}

/// Makes a call id fit the rule. Legal ids pass untouched.
///
/// Two ids may become one (`a.b` and `a:b`); [`CallIds`] keeps those apart within a request.
pub fn call_id(id: &str, rule: IdRule) -> Cow<'_, str> {
    let id = id.split(SMUGGLED).next().unwrap_or(id);
    match rule {
        IdRule::Any if id.len() <= MAX_CALL_ID => Cow::Borrowed(id),
        IdRule::Any => Cow::Owned(shortened(id, MAX_CALL_ID)),
        IdRule::Anthropic if !id.is_empty() && id.len() <= MAX_CALL_ID && id.bytes().all(word) => {
            Cow::Borrowed(id)
        }
        IdRule::Anthropic => {
            let clean = cleaned(id, word);
            if clean.len() > MAX_CALL_ID {
                Cow::Owned(shortened_from(&clean, id, MAX_CALL_ID))
            } else if clean.bytes().all(|byte| byte == b'_') {
                Cow::Owned(format!("call_{}", hash8(id)))
            } else {
                Cow::Owned(clean)
            }
        }
        IdRule::Mistral if id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric()) => {
            Cow::Borrowed(id)
        }
        IdRule::Mistral => Cow::Owned(base62(&sha256(id), 9)),
    }
}

/// Call ids of one request: [`call_id`], with ids that would collide kept apart.
#[derive(Debug)]
pub struct CallIds {
    rule: IdRule,
    taken: HashSet<String>,
}

impl CallIds {
    /// Ids of one request for a target with this rule.
    pub fn new(rule: IdRule) -> Self {
        Self {
            rule,
            taken: HashSet::new(),
        }
    }

    /// The id for the next call of the conversation; a second call of the same id gets another.
    pub fn assign<'a>(&mut self, id: &'a str) -> Cow<'a, str> {
        let plain = call_id(id, self.rule);
        if self.taken.insert(plain.clone().into_owned()) {
            return plain;
        }
        let mut round = 0_u32;
        loop {
            let salted = format!("{id}#{round}");
            let other = match self.rule {
                IdRule::Mistral => base62(&sha256(&salted), 9),
                IdRule::Anthropic | IdRule::Any => shortened_from(&plain, &salted, plain.len() + 9),
            };
            let other = call_id(&other, self.rule).into_owned();
            if self.taken.insert(other.clone()) {
                return Cow::Owned(other);
            }
            round += 1;
        }
    }
}

/// Makes a tool name fit the rule: illegal characters become `_`, and a name that changed ends in
/// eight hex digits of its hash, so that two names never become one. Legal names pass untouched.
pub fn tool_name(name: &str, rule: NameRule) -> Cow<'_, str> {
    let (legal, max): (fn(u8) -> bool, usize) = match rule {
        NameRule::Anthropic => (word, 128),
        NameRule::Gemini => (|byte| word(byte) || matches!(byte, b'.' | b':'), 64),
        NameRule::OpenAi => (word, 64),
    };
    let begins_well = rule != NameRule::Gemini
        || name
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if !name.is_empty() && name.len() <= max && begins_well && name.bytes().all(legal) {
        return Cow::Borrowed(name);
    }
    let mut clean = cleaned(name, legal);
    if !begins_well {
        clean.insert(0, '_');
    }
    Cow::Owned(shortened_from(&clean, name, max))
}

/// Ids the gateway makes up for one answer, from a seed: unlike each other, the same on each run.
#[derive(Clone, Debug)]
pub struct IdSource {
    seed: u128,
    count: u32,
}

impl IdSource {
    /// A source for one answer.
    pub const fn new(seed: u128) -> Self {
        Self { seed, count: 0 }
    }

    /// A source with a seed of its own, for readers, which get none.
    pub fn random() -> Self {
        Self::new(fastrand::u128(..))
    }

    /// The prefix and 24 base62 digits: `toolu_…`, `call_…`, `msg_…`, `chatcmpl-…`.
    pub fn make(&mut self, prefix: &str) -> String {
        let hash = sha256(&format!("{:x}/{}", self.seed, self.count));
        self.count = self.count.wrapping_add(1);
        format!("{prefix}{}", base62(&hash, 24))
    }
}

impl IdSource {
    /// An id for a call that the upstream gave none: `call_` and 24 base62 digits, the last of which
    /// tell that it was made here.
    pub fn make_call(&mut self) -> String {
        let mut id = self.make(MADE_CALL);
        id.truncate(MADE_CALL.len() + MADE_DIGITS);
        let sign = sign_of(id.get(MADE_CALL.len()..).unwrap_or_default());
        id + &sign
    }
}

/// The beginning of ids that were made here, and of those that Anthropic makes.
const MADE_CALL: &str = "call_";
const ANTHROPIC_CALL: &str = "toolu_";

/// Random digits of an id that was made here, and how many follow that tell so.
const MADE_DIGITS: usize = 20;
const SIGN_DIGITS: usize = 4;

fn sign_of(digits: &str) -> String {
    base62(&sha256(digits), SIGN_DIGITS)
}

/// What an id made here has after its beginning, whichever that is; `None` for any other id.
fn made_digits(id: &str) -> Option<&str> {
    let digits = id
        .strip_prefix(MADE_CALL)
        .or_else(|| id.strip_prefix(ANTHROPIC_CALL))?;
    let (random, sign) = digits.split_at_checked(MADE_DIGITS)?;
    (sign == sign_of(random)).then_some(digits)
}

/// A call's id for an Anthropic client: legal, and like one of Anthropic's if it was made here.
pub fn call_id_for_anthropic(id: &str) -> Cow<'_, str> {
    match made_digits(id) {
        Some(digits) => Cow::Owned(format!("{ANTHROPIC_CALL}{digits}")),
        None => call_id(id, IdRule::Anthropic),
    }
}

/// What tells a call from others, whichever dialect its id went through.
pub fn call_identity(id: &str) -> &str {
    made_digits(id).unwrap_or(id)
}

/// An end user's id as OpenAI takes it: long ones (Claude Code's are JSON) become their hash.
pub fn openai_user(user: &str) -> Cow<'_, str> {
    if user.len() <= MAX_USER {
        return Cow::Borrowed(user);
    }
    Cow::Owned(format!("user_{}", hash8(user)))
}

/// Eight hex digits of the text's SHA-256.
pub fn hash8(text: &str) -> String {
    let mut hex = String::with_capacity(8);
    for byte in sha256(text).iter().take(4) {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

fn word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn cleaned(text: &str, legal: fn(u8) -> bool) -> String {
    text.chars()
        .map(|c| match u8::try_from(c) {
            Ok(byte) if c.is_ascii() && legal(byte) => c,
            _ => '_',
        })
        .collect()
}

fn shortened(text: &str, max: usize) -> String {
    shortened_from(text, text, max)
}

/// The beginning of `clean` and the hash of `original`, `max` bytes at most.
fn shortened_from(clean: &str, original: &str, max: usize) -> String {
    let mut keep = max.saturating_sub(9).min(clean.len());
    while !clean.is_char_boundary(keep) {
        keep -= 1;
    }
    let head = clean.get(..keep).unwrap_or_default();
    format!("{head}_{}", hash8(original))
}

fn sha256(text: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    for (to, from) in hash
        .iter_mut()
        .zip(digest(&SHA256, text.as_bytes()).as_ref())
    {
        *to = *from;
    }
    hash
}

fn base62(bytes: &[u8], length: usize) -> String {
    bytes
        .iter()
        .take(length)
        .filter_map(|byte| BASE62.get(usize::from(*byte) % BASE62.len()))
        .map(|digit| char::from(*digit))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_74_an_id_made_here_is_anthropics_for_its_clients_and_others_stay() {
        let mut ids = IdSource::new(7);
        let (first, second) = (ids.make_call(), ids.make_call());
        assert_ne!(first, second);
        assert!(first.starts_with("call_") && first.len() == 29, "{first}");
        let told = call_id_for_anthropic(&first).into_owned();
        assert!(told.starts_with("toolu_") && told.len() == 30, "{told}");
        assert_eq!(call_id_for_anthropic(&told), told);
        assert_eq!(call_identity(&told), call_identity(&first));
        assert_ne!(call_identity(&told), call_identity(&second));
        let vendors = IdSource::new(7).make("call_");
        for id in [vendors.as_str(), "call_1", "toolu_01AbC", "call_é", ""] {
            assert_eq!(call_identity(id), id);
        }
        assert_eq!(call_id_for_anthropic(&vendors), vendors);
    }

    #[test]
    fn legal_ids_pass_untouched() {
        for (id, rule) in [
            ("toolu_01AbC-9", IdRule::Anthropic),
            ("functions.Bash:0", IdRule::Any),
            ("a1B2c3D4e", IdRule::Mistral),
        ] {
            assert!(matches!(call_id(id, rule), Cow::Borrowed(kept) if kept == id));
        }
    }

    #[test]
    fn case_12_illegal_characters_become_underscores_and_collisions_stay_apart() {
        assert_eq!(
            call_id("functions.Bash:0", IdRule::Anthropic),
            "functions_Bash_0"
        );
        let mut ids = CallIds::new(IdRule::Anthropic);
        let first = ids.assign("functions.Bash:0").into_owned();
        let second = ids.assign("functions:Bash.0").into_owned();
        assert_eq!(first, "functions_Bash_0");
        assert_ne!(first, second);
        assert!(second.bytes().all(word), "{second}");
    }

    #[test]
    fn every_rule_is_kept_by_every_id() {
        let long = "x".repeat(300);
        for id in ["", "é", "...", &long, "a b", "call_1__thought__QUJD"] {
            let anthropic = call_id(id, IdRule::Anthropic);
            assert!(
                !anthropic.is_empty() && anthropic.len() <= 64,
                "{anthropic}"
            );
            assert!(anthropic.bytes().all(word), "{anthropic}");
            let mistral = call_id(id, IdRule::Mistral);
            assert!(mistral.len() == 9 && mistral.bytes().all(|b| b.is_ascii_alphanumeric()));
            assert!(call_id(id, IdRule::Any).len() <= 64);
        }
        assert_eq!(call_id("call_1__thought__QUJD", IdRule::Any), "call_1");
    }

    #[test]
    fn long_and_odd_tool_names_are_shortened_with_their_hash() {
        let long = "mcp__".repeat(18);
        let short = tool_name(&long, NameRule::OpenAi);
        assert_eq!(short.len(), 64);
        assert!(short.starts_with(&long[..55]));
        assert_eq!(tool_name(&long, NameRule::Anthropic), long);
        assert_ne!(
            tool_name("my.tool/x", NameRule::OpenAi),
            tool_name("my/tool.x", NameRule::OpenAi)
        );
        assert!(tool_name("9lives", NameRule::Gemini).starts_with("_9lives_"));
    }

    #[test]
    fn made_up_ids_differ_and_repeat_with_the_seed() {
        let mut ids = IdSource::new(7);
        let (first, second) = (ids.make("call_"), ids.make("call_"));
        assert_ne!(first, second);
        assert_eq!(first.len(), 29);
        assert_eq!(IdSource::new(7).make("call_"), first);
    }
}
