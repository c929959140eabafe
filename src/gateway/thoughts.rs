//! Thought signatures, remembered for clients that cannot hold them.
//!
//! An answer's signatures are kept for the client, by the turn, with who made them: the credential
//! and the model family. A later request that brings the turn back bare gets them back, if the same
//! credential serves a model of that family; any other gets the turn without ([`Recalled`]). Within
//! the limits of [`Kind::Turn`] and [`Kind::Refusal`], in memory and, unless the client said
//! `store: false`, in the file of what is kept (`written`). What a vendor refused is never sent again.

mod written;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::dialects::chat::{ChatRequest, Choice, Part, Role};
use crate::dialects::error::ErrorReply;
use crate::dialects::event::{Event, EventKind};
use crate::dialects::loss::Losses;
use crate::dialects::recall::{self, Names, TurnThoughts};
use crate::dialects::{StreamWriter, models};
use crate::gateway::reshape;
use crate::gateway::shelf::{Noted, Shelf};
use crate::ids::CredentialId;
use crate::secret::Fingerprint;
use crate::state::kept::{Kept, Kind};
use crate::time::Timestamp;

/// What is remembered. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct Thoughts {
    shelves: Arc<Mutex<Shelves>>,
    kept: Option<Kept>,
}

#[derive(Debug)]
struct Shelves {
    /// By client and name of the turn.
    turns: Shelf<(Arc<str>, u64), Arc<Turn>>,
    /// By name of the signature.
    makers: Shelf<u64, Known>,
}

#[derive(Debug)]
struct Turn {
    maker: Maker,
    thoughts: TurnThoughts,
    /// All names of the turn; what is written down of it has the first.
    names: Vec<u64>,
    /// When the file was last told that it is in use; `None` if it is not in the file.
    noted: Option<Noted>,
}

/// What is known of a signature.
#[derive(Clone, Debug)]
enum Known {
    MadeBy(Maker),
    Refused,
}

/// Who made a signature: only there is it good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maker {
    credential: CredentialId,
    /// Of its secret: another key under the same name is another account.
    fingerprint: Fingerprint,
    family: String,
}

impl Maker {
    /// A credential serving a model.
    pub fn new(credential: CredentialId, fingerprint: Fingerprint, model: &str) -> Self {
        Self {
            credential,
            fingerprint,
            family: models::family(model),
        }
    }
}

/// Who is to serve a request.
#[derive(Clone, Copy)]
pub struct Server<'a> {
    pub provider: &'a str,
    pub model: &'a str,
    /// The fingerprints of its credentials now.
    pub fingerprint: &'a dyn Fn(&CredentialId) -> Option<Fingerprint>,
}

impl Server<'_> {
    /// Whether it has the credential that made something, with a model of the same family.
    fn is(self, maker: &Maker, family: &str) -> bool {
        maker.family == family
            && maker.credential.provider() == self.provider
            && (self.fingerprint)(&maker.credential) == Some(maker.fingerprint)
    }
}

/// A request of which something is known that the client cannot know.
#[derive(Clone, Debug)]
pub struct Recalled {
    /// For the credential that made the signatures, if it serves this model.
    pub own: Option<(CredentialId, ChatRequest)>,
    /// For any other: without signatures that are known to be somebody else's.
    pub plain: ChatRequest,
}

impl Default for Thoughts {
    fn default() -> Self {
        let shelves = Shelves {
            turns: Shelf::new(Kind::Turn.limits()),
            makers: Shelf::new(Kind::Refusal.limits()),
        };
        Self {
            shelves: Arc::new(Mutex::new(shelves)),
            kept: None,
        }
    }
}

impl Shelves {
    fn add(&mut self, owner: &Arc<str>, turn: &Arc<Turn>, now: Timestamp) {
        for signature in turn.thoughts.signatures() {
            let known = Known::MadeBy(turn.maker.clone());
            let bytes = turn.maker.family.len();
            self.makers
                .put(recall::name_of(signature), known, bytes, now);
        }
        for name in &turn.names {
            let key = (Arc::clone(owner), *name);
            let bytes = turn.thoughts.size();
            self.turns.put(key, Arc::clone(turn), bytes, now);
        }
    }
}

impl Thoughts {
    /// With what is kept of before, and to be kept from now on. Reads the file.
    pub fn kept_in(kept: Option<Kept>, now: Timestamp) -> Self {
        let thoughts = Self {
            kept,
            ..Self::default()
        };
        if let Some(kept) = &thoughts.kept {
            thoughts.with(|shelves| written::read(kept, shelves, now));
        }
        thoughts
    }

    /// Remembers the signatures of an answer; without any, nothing.
    pub fn remember(&self, asked: &Asked, parts: &[Part], now: Timestamp) {
        let Some(thoughts) = TurnThoughts::of(parts) else {
            return;
        };
        let kept = self.kept.as_ref().filter(|_| asked.may_be_kept());
        let turn = Arc::new(Turn {
            maker: asked.maker.clone(),
            thoughts,
            names: Names::of(&asked.request).of_turn(parts),
            noted: kept.map(|_| Noted::at(now)),
        });
        if let Some(kept) = kept {
            written::put(kept, &asked.owner, &turn, now);
        }
        self.with(|shelves| shelves.add(&asked.owner, &turn, now));
    }

    /// What is known of a request's turns; `None` if nothing is: it goes as it came.
    pub fn recall(
        &self,
        owner: &Arc<str>,
        request: &ChatRequest,
        server: Server<'_>,
        now: Timestamp,
    ) -> Option<Recalled> {
        let family = models::family(server.model);
        let mut turns: Vec<(usize, Arc<Turn>)> = Vec::new();
        let mut signatures: HashMap<u64, Known> = HashMap::new();
        let mut newest: Option<Maker> = None;
        let mut note = |maker: &Maker| {
            if newest.as_ref() == Some(maker) || server.is(maker, &family) {
                newest = Some(maker.clone());
            }
        };
        self.with(|shelves| {
            if shelves.turns.is_empty() && shelves.makers.is_empty() {
                return;
            }
            let names = Names::of(request);
            for (at, message) in request.messages.iter().enumerate() {
                if message.role != Role::Assistant {
                    continue;
                }
                if recall::is_bare(&message.parts) {
                    let found = names
                        .of_turn(&message.parts)
                        .into_iter()
                        .find_map(|name| shelves.turns.get(&(Arc::clone(owner), name), now));
                    if let Some(turn) = found {
                        note(&turn.maker);
                        self.used(owner, &turn, now);
                        turns.push((at, turn));
                    }
                    continue;
                }
                for signature in message.parts.iter().filter_map(recall::of_part) {
                    let name = recall::name_of(signature);
                    if let Some(known) = shelves.makers.get(&name, now) {
                        if let Known::MadeBy(maker) = &known {
                            note(maker);
                        }
                        signatures.insert(name, known);
                    }
                }
            }
        });
        if turns.is_empty() && signatures.is_empty() {
            return None;
        }
        let known = |signature: &str| signatures.get(&recall::name_of(signature));
        let mut plain = request.clone();
        recall::drop_signatures(&mut plain, |signature| known(signature).is_some());
        let own = newest.map(|maker| {
            let mut own = request.clone();
            recall::drop_signatures(&mut own, |signature| {
                known(signature).is_some_and(
                    |known| !matches!(known, Known::MadeBy(made_by) if *made_by == maker),
                )
            });
            for (at, turn) in &turns {
                if turn.maker == maker
                    && let Some(message) = own.messages.get_mut(*at)
                {
                    turn.thoughts.put_back(&mut message.parts);
                }
            }
            (maker.credential, own)
        });
        Some(Recalled { own, plain })
    }

    /// Forgets what a vendor refused: the signatures that a request brought or got back.
    pub fn forget(&self, owner: &Arc<str>, request: &ChatRequest, now: Timestamp) {
        let names = Names::of(request);
        self.with(|shelves| {
            for message in &request.messages {
                if message.role != Role::Assistant {
                    continue;
                }
                for name in names.of_turn(&message.parts) {
                    shelves.turns.remove(&(Arc::clone(owner), name));
                    if let Some(kept) = &self.kept {
                        kept.delete(written::turn_key(owner, name));
                    }
                }
                for signature in message.parts.iter().filter_map(recall::of_part) {
                    let name = recall::name_of(signature);
                    shelves.makers.put(name, Known::Refused, 0, now);
                    if let Some(kept) = &self.kept {
                        written::put_refusal(kept, name, now);
                    }
                }
            }
        });
    }

    /// A client's stream that has its signatures remembered when it ends.
    pub fn watch(&self, asked: Asked, writer: Box<dyn StreamWriter>) -> Box<dyn StreamWriter> {
        Box::new(Watched {
            thoughts: self.clone(),
            asked,
            writer,
            answer: Choice::default(),
        })
    }

    /// A turn that is in the file lives on there as well.
    fn used(&self, owner: &Arc<str>, turn: &Turn, now: Timestamp) {
        let is_due = turn.noted.as_ref().is_some_and(|noted| noted.is_due(now));
        if let (Some(kept), Some(first), true) = (&self.kept, turn.names.first(), is_due) {
            kept.used(written::turn_key(owner, *first), now);
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Shelves) -> T) -> T {
        act(&mut self.shelves.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The request an answer belongs to.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Whose it is.
    pub owner: Arc<str>,
    pub request: Arc<ChatRequest>,
    /// Who answered.
    pub maker: Maker,
}

impl Asked {
    /// `false` if the client wants nothing of it stored.
    fn may_be_kept(&self) -> bool {
        let store = self.request.extra.get("store");
        store.is_none_or(|store| store.get() != "false")
    }
}

/// See [`Thoughts::watch`].
struct Watched {
    thoughts: Thoughts,
    asked: Asked,
    writer: Box<dyn StreamWriter>,
    /// The first choice so far, arguments left out.
    answer: Choice,
}

impl StreamWriter for Watched {
    fn write(&mut self, event: &Event, out: &mut Vec<u8>) {
        let matters = matches!(
            event.kind,
            EventKind::RedactedThinking(_)
                | EventKind::Signature { .. }
                | EventKind::Text(_)
                | EventKind::Thinking(_)
                | EventKind::ToolStart { .. }
        );
        if matters && event.choice == 0 {
            reshape::add(&mut self.answer, event.kind.clone());
        }
        self.writer.write(event, out);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.writer.finish(out);
        self.thoughts
            .remember(&self.asked, &self.answer.parts, Timestamp::now());
    }

    fn fail(&mut self, error: &ErrorReply, out: &mut Vec<u8>) {
        self.writer.fail(error, out);
    }

    fn losses(&self) -> &Losses {
        self.writer.losses()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialects::chat::{Message, Thinking, ToolCall};
    use crate::dialects::event::SignatureOf;
    use crate::dialects::fields::Extra;
    use crate::dialects::openai_chat::OpenAiChat;
    use crate::dialects::{Codec, Dialect, ReplyContext};

    const NOW: Timestamp = Timestamp::from_secs(1_764_000_000);
    const MODEL: &str = "gemini-3-pro-preview";
    const ONE: Fingerprint = Fingerprint([1; 16]);

    fn server(model: &str) -> Server<'_> {
        Server {
            provider: "gemini",
            model,
            fingerprint: &|_| Some(ONE),
        }
    }

    fn id(name: &str) -> CredentialId {
        CredentialId::parse(&format!("gemini/{name}")).expect("an id")
    }

    fn message(role: Role, parts: Vec<Part>) -> Message {
        Message {
            role,
            parts,
            extra: Extra::default(),
        }
    }

    fn call(signature: Option<&str>) -> Part {
        Part::ToolCall(ToolCall {
            signature: signature.map(str::to_owned),
            ..ToolCall::function("call_1", "f", "{}")
        })
    }

    fn asked(credential: &str, model: &str) -> Asked {
        let mut request = ChatRequest::new(Dialect::OpenAiChat, "m");
        request
            .messages
            .push(message(Role::User, vec![Part::text("hi")]));
        Asked {
            owner: Arc::from("a"),
            request: Arc::new(request),
            maker: Maker::new(id(credential), ONE, model),
        }
    }

    /// The next request, with the turn as the client sends it back.
    fn next(turn: Vec<Part>) -> ChatRequest {
        let mut request = ChatRequest::new(Dialect::OpenAiChat, "m");
        request
            .messages
            .push(message(Role::User, vec![Part::text("hi")]));
        request.messages.push(message(Role::Assistant, turn));
        request
    }

    fn signatures(request: &ChatRequest) -> Vec<&str> {
        let parts = request.messages.iter().flat_map(|message| &message.parts);
        parts.filter_map(recall::of_part).collect()
    }

    fn recalled(thoughts: &Thoughts, owner: &str, model: &str, now: Timestamp) -> Vec<String> {
        let request = next(vec![call(None)]);
        let recalled = thoughts.recall(&Arc::from(owner), &request, server(model), now);
        let own = recalled.and_then(|recalled| recalled.own);
        own.map_or(Vec::new(), |(_, own)| {
            signatures(&own).into_iter().map(str::to_owned).collect()
        })
    }

    fn remembering() -> Thoughts {
        let thoughts = Thoughts::default();
        thoughts.remember(&asked("one", MODEL), &[call(Some("S"))], NOW);
        thoughts
    }

    #[test]
    fn a_bare_turn_gets_its_signatures_back_from_its_maker_only() {
        let thoughts = remembering();
        let request = next(vec![call(None)]);
        let recalled = thoughts
            .recall(&Arc::from("a"), &request, server(MODEL), NOW)
            .expect("remembered");
        let (credential, own) = recalled.own.expect("the same family");
        assert_eq!((credential, signatures(&own)), (id("one"), vec!["S"]));
        assert_eq!(signatures(&recalled.plain), Vec::<&str>::new());
    }

    #[test]
    fn another_client_family_or_provider_gets_nothing_back() {
        let thoughts = remembering();
        assert_eq!(recalled(&thoughts, "a", MODEL, NOW), ["S"]);
        assert_eq!(
            recalled(&thoughts, "b", MODEL, NOW),
            Vec::<String>::new(),
            "client"
        );
        let other = "gemini-2.5-pro";
        assert_eq!(
            recalled(&thoughts, "a", other, NOW),
            Vec::<String>::new(),
            "family"
        );
        let request = next(vec![call(None)]);
        let vertex = Server {
            provider: "vertex",
            ..server(MODEL)
        };
        let another_key = Server {
            fingerprint: &|_| Some(Fingerprint([2; 16])),
            ..server(MODEL)
        };
        for elsewhere in [vertex, another_key] {
            let found = thoughts.recall(&Arc::from("a"), &request, elsewhere, NOW);
            assert!(found.is_some_and(|recalled| recalled.own.is_none()));
        }
    }

    #[test]
    fn what_lies_a_day_is_forgotten() {
        let thoughts = remembering();
        let later = NOW + Kind::Turn.limits().idle;
        assert_eq!(recalled(&thoughts, "a", MODEL, later), Vec::<String>::new());
    }

    #[test]
    fn a_signature_the_client_held_itself_is_kept_from_other_credentials() {
        let thoughts = remembering();
        let request = next(vec![call(Some("S"))]);
        let recalled = thoughts
            .recall(&Arc::from("a"), &request, server(MODEL), NOW)
            .expect("its maker is known");
        let (_, own) = recalled.own.expect("the same family");
        assert_eq!(signatures(&own), ["S"]);
        assert_eq!(signatures(&recalled.plain), Vec::<&str>::new());
        // Of one that is not known nothing is taken away.
        let request = next(vec![call(Some("unknown"))]);
        let recalled = thoughts.recall(&Arc::from("a"), &request, server(MODEL), NOW);
        assert!(recalled.is_none());
    }

    #[test]
    fn a_refused_signature_is_not_sent_again() {
        let thoughts = remembering();
        let held = next(vec![call(Some("S"))]);
        thoughts.forget(&Arc::from("a"), &held, NOW);
        assert_eq!(recalled(&thoughts, "a", MODEL, NOW), Vec::<String>::new());
        let recalled = thoughts
            .recall(&Arc::from("a"), &held, server(MODEL), NOW)
            .expect("it is known");
        assert!(recalled.own.is_none());
        assert_eq!(signatures(&recalled.plain), Vec::<&str>::new());
    }

    #[test]
    fn a_streams_signatures_are_remembered_when_it_ends() {
        let thoughts = Thoughts::default();
        let context = ReplyContext {
            model: "m".to_owned(),
            created: 0,
            id_seed: 1,
            include_usage: false,
            request: None,
        };
        let writer = OpenAiChat.stream_writer(context);
        let mut writer = thoughts.watch(asked("one", MODEL), writer);
        let mut out = Vec::new();
        for kind in [
            EventKind::Thinking("hm".into()),
            EventKind::Signature {
                of: SignatureOf::Thinking,
                value: "S".into(),
            },
            EventKind::Text("so".into()),
        ] {
            writer.write(&Event::first(kind), &mut out);
        }
        let request = next(vec![Part::text("so")]);
        let recall = || thoughts.recall(&Arc::from("a"), &request, server(MODEL), NOW);
        assert!(recall().is_none());
        writer.finish(&mut out);
        let (_, own) = recall().and_then(|found| found.own).expect("remembered");
        assert!(matches!(&own.messages[1].parts[0],
            Part::Thinking(Thinking { text, .. }) if text == "hm"));
    }
}
