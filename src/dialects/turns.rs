//! The order of turns that vendors insist on: each call answered once, right after it was made,
//! and no answers to calls nobody made.
//!
//! Clients are lax (answers late, twice, never, or with other messages in between), vendors answer
//! 400. [`arrange`] gives the messages in an order every vendor takes; [`merge`] joins neighbours
//! of one role for vendors that want roles to alternate.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::dialects::chat::{Message, Part, Role, ToolCall, ToolKind, ToolResult};
use crate::dialects::fields::Extra;
use crate::dialects::ids::{CallIds, IdRule};

/// What stands in for the answer to a call that the history never answered.
pub const NO_RESULT: &str = "[No tool result was recorded]";

/// A turn in its final place, borrowing what did not change.
#[derive(Clone, Debug)]
pub struct Turn<'a> {
    /// Tool turns hold only results, in the order of their calls.
    pub role: Role,
    /// The first source message of this turn; `None` for turns made up here.
    pub source: Option<&'a Message>,
    pub parts: Vec<Cow<'a, Part>>,
}

/// Puts results right behind their calls and fits call ids to the rule.
///
/// - Results follow the assistant turn that asked, in the order of the calls; what stood between
///   comes after them. Of two results for one call the later one counts.
/// - A call without a result gets [`NO_RESULT`] (as an error), unless it is in the last turn.
/// - A result without its call becomes user text, `Tool result (id): …`.
/// - A repeated call id gets another id, together with its result; an identical repeat within one
///   turn goes.
/// - Assistant messages that follow each other are one turn if an earlier one makes calls.
/// - A message without parts goes.
pub fn arrange(messages: &[Message], rule: IdRule) -> Vec<Turn<'_>> {
    let mut ids = CallIds::new(rule);
    let mut turns = Vec::with_capacity(messages.len() + 2);
    let mut rest = messages;
    while let Some((message, after)) = rest.split_first() {
        if message.role != Role::Assistant {
            push_plain(message, &mut turns);
            rest = after;
            continue;
        }
        let run = assistant_run(rest);
        let (asking, after) = rest.split_at(run);
        let window = after
            .iter()
            .position(|message| message.role == Role::Assistant)
            .unwrap_or(after.len());
        let (between, next) = after.split_at(window);
        push_asking(asking, between, after.is_empty(), &mut ids, &mut turns);
        rest = next;
    }
    turns
}

/// Joins neighbours of one role; tool results count as the user's, and stand first in their turn.
pub fn merge(turns: Vec<Turn<'_>>) -> Vec<Turn<'_>> {
    let mut merged: Vec<Turn<'_>> = Vec::with_capacity(turns.len());
    for mut turn in turns {
        if turn.role == Role::Tool {
            turn.role = Role::User;
        }
        match merged.last_mut() {
            Some(last) if last.role == turn.role => last.parts.append(&mut turn.parts),
            _ => merged.push(turn),
        }
    }
    merged
}

/// The tool's name for each call id of arranged turns.
pub fn names_by_call<'t>(turns: &'t [Turn<'_>]) -> HashMap<&'t str, &'t str> {
    turns
        .iter()
        .flat_map(|turn| &turn.parts)
        .filter_map(|part| match part.as_ref() {
            Part::ToolCall(call) => Some((call.id.as_str(), call.name.as_str())),
            _ => None,
        })
        .collect()
}

/// System text in the middle of a conversation, as user text for models that know no such role.
pub fn operator_note(text: &str) -> String {
    format!("<system-reminder>\n{text}\n</system-reminder>")
}

/// How many messages at the front of `messages` make one assistant turn.
fn assistant_run(messages: &[Message]) -> usize {
    let mut run = 1;
    let mut has_calls = messages.first().is_some_and(calls);
    while let Some(next) = messages.get(run) {
        if next.role != Role::Assistant || !has_calls {
            break;
        }
        has_calls |= calls(next);
        run += 1;
    }
    run
}

fn calls(message: &Message) -> bool {
    message
        .parts
        .iter()
        .any(|part| matches!(part, Part::ToolCall(_)))
}

/// A message outside any window of calls: its results have no calls.
fn push_plain<'a>(message: &'a Message, turns: &mut Vec<Turn<'a>>) {
    let mut parts = Vec::with_capacity(message.parts.len());
    for part in &message.parts {
        match part {
            Part::ToolResult(result) => orphan(result, &mut parts),
            part => parts.push(Cow::Borrowed(part)),
        }
    }
    push(message, parts, turns);
}

fn push<'a>(message: &'a Message, parts: Vec<Cow<'a, Part>>, turns: &mut Vec<Turn<'a>>) {
    if parts.is_empty() {
        return;
    }
    let role = match message.role {
        Role::Tool => Role::User,
        role => role,
    };
    turns.push(Turn {
        role,
        source: Some(message),
        parts,
    });
}

/// A call with its new id and the answer found for it.
struct Asked<'a> {
    original: &'a str,
    id: Cow<'a, str>,
    answer: Option<&'a ToolResult>,
}

/// An assistant turn, the answers to its calls, and what stood between them.
fn push_asking<'a>(
    asking: &'a [Message],
    between: &'a [Message],
    is_last: bool,
    ids: &mut CallIds,
    turns: &mut Vec<Turn<'a>>,
) {
    let mut asked: Vec<Asked<'a>> = Vec::new();
    let parts = asking_parts(asking, ids, &mut asked);
    if let (Some(first), false) = (asking.first(), parts.is_empty()) {
        turns.push(Turn {
            role: Role::Assistant,
            source: Some(first),
            parts,
        });
    }
    let by_original = positions(&asked);
    let mut later = Vec::new();
    for message in between {
        let mut parts = Vec::new();
        for part in &message.parts {
            match part {
                Part::ToolResult(result) => match by_original.get(result.call_id.as_str()) {
                    Some(places) => answer(result, places, &mut asked),
                    None => orphan(result, &mut parts),
                },
                part => parts.push(Cow::Borrowed(part)),
            }
        }
        push(message, parts, &mut later);
    }
    if !is_last && !asked.is_empty() {
        turns.push(Turn {
            role: Role::Tool,
            source: between.iter().find(|message| message.role == Role::Tool),
            parts: asked.into_iter().map(result_part).collect(),
        });
    }
    turns.append(&mut later);
}

fn asking_parts<'a>(
    asking: &'a [Message],
    ids: &mut CallIds,
    asked: &mut Vec<Asked<'a>>,
) -> Vec<Cow<'a, Part>> {
    let mut parts: Vec<Cow<'a, Part>> = Vec::new();
    let mut seen: HashMap<&str, &ToolCall> = HashMap::new();
    for part in asking.iter().flat_map(|message| &message.parts) {
        let Part::ToolCall(call) = part else {
            parts.push(Cow::Borrowed(part));
            continue;
        };
        if let Some(first) = seen.insert(&call.id, call)
            && first.name == call.name
            && first.arguments == call.arguments
        {
            continue;
        }
        let id = ids.assign(&call.id);
        parts.push(if id == call.id {
            Cow::Borrowed(part)
        } else {
            Cow::Owned(Part::ToolCall(ToolCall {
                id: id.clone().into_owned(),
                ..call.clone()
            }))
        });
        asked.push(Asked {
            original: &call.id,
            id,
            answer: None,
        });
    }
    parts
}

fn positions<'a>(asked: &[Asked<'a>]) -> HashMap<&'a str, Vec<usize>> {
    let mut places: HashMap<&'a str, Vec<usize>> = HashMap::with_capacity(asked.len());
    for (at, call) in asked.iter().enumerate() {
        places.entry(call.original).or_default().push(at);
    }
    places
}

/// Gives a result to the first call of its id that has none, else to the last one.
fn answer<'a>(result: &'a ToolResult, places: &[usize], asked: &mut [Asked<'a>]) {
    let open = places
        .iter()
        .find(|at| asked.get(**at).is_some_and(|call| call.answer.is_none()));
    if let Some(call) = open.or(places.last()).and_then(|at| asked.get_mut(*at)) {
        call.answer = Some(result);
    }
}

fn result_part(call: Asked<'_>) -> Cow<'_, Part> {
    let call_id = call.id.into_owned();
    Cow::Owned(Part::ToolResult(match call.answer {
        Some(result) => ToolResult {
            call_id,
            ..result.clone()
        },
        None => ToolResult {
            call_id,
            name: None,
            parts: vec![Part::text(NO_RESULT)],
            is_error: true,
            cache_control: None,
            extra: Extra::default(),
        },
    }))
}

/// A result nobody asked for, as text and media.
fn orphan<'a>(result: &'a ToolResult, parts: &mut Vec<Cow<'a, Part>>) {
    let text: Vec<&str> = result
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::Text(text) => Some(text.text.as_str()),
            _ => None,
        })
        .collect();
    parts.push(Cow::Owned(Part::text(format!(
        "Tool result ({}): {}",
        result.call_id,
        text.join("\n")
    ))));
    parts.extend(
        result
            .parts
            .iter()
            .filter(|part| matches!(part, Part::Media(_)))
            .map(Cow::Borrowed),
    );
}

impl ToolCall {
    /// A function call with nothing attached.
    pub fn function(
        id: impl Into<String>,
        name: impl Into<String>,
        arguments: impl Into<String>,
    ) -> Self {
        Self {
            id: id.into(),
            name: name.into(),
            arguments: arguments.into(),
            kind: ToolKind::Function,
            signature: None,
            cache_control: None,
            extra: Extra::default(),
        }
    }
}

impl ToolResult {
    /// A text answer to a call.
    pub fn text(call_id: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            call_id: call_id.into(),
            name: None,
            parts: vec![Part::text(text)],
            is_error: false,
            cache_control: None,
            extra: Extra::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(role: Role, parts: Vec<Part>) -> Message {
        Message {
            role,
            parts,
            extra: Extra::default(),
        }
    }

    fn asks(ids: &[&str]) -> Message {
        let call = |id: &&str| Part::ToolCall(ToolCall::function(*id, "f", "{}"));
        message(Role::Assistant, ids.iter().map(call).collect())
    }

    fn answers(id: &str, text: &str) -> Message {
        message(
            Role::Tool,
            vec![Part::ToolResult(ToolResult::text(id, text))],
        )
    }

    fn says(text: &str) -> Message {
        message(Role::User, vec![Part::text(text)])
    }

    /// One line a turn: `user: go`, `assistant: c1 c2`, `tool: c1=1 c2=2`.
    fn sketch(turns: &[Turn<'_>]) -> Vec<String> {
        turns
            .iter()
            .map(|turn| {
                let parts: Vec<String> = turn
                    .parts
                    .iter()
                    .map(|part| match part.as_ref() {
                        Part::Text(text) => text.text.clone(),
                        Part::ToolCall(call) => call.id.clone(),
                        Part::ToolResult(result) => match result.parts.first() {
                            Some(Part::Text(text)) => {
                                let error = if result.is_error { "!" } else { "" };
                                format!("{}={}{error}", result.call_id, text.text)
                            }
                            _ => result.call_id.clone(),
                        },
                        other => format!("{other:?}"),
                    })
                    .collect();
                format!("{:?}: {}", turn.role, parts.join(" ")).to_lowercase()
            })
            .collect()
    }

    #[test]
    fn case_8_results_come_in_the_order_of_their_calls() {
        let history = [
            asks(&["c1", "c2"]),
            answers("c2", "2"),
            answers("c1", "1"),
            says("go"),
        ];
        assert_eq!(
            sketch(&arrange(&history, IdRule::Anthropic)),
            ["assistant: c1 c2", "tool: c1=1 c2=2", "user: go"]
        );
        let merged = merge(arrange(&history, IdRule::Anthropic));
        assert_eq!(sketch(&merged), ["assistant: c1 c2", "user: c1=1 c2=2 go"]);
    }

    #[test]
    fn case_9_what_stood_between_comes_after_the_results() {
        let history = [asks(&["c1"]), says("wait"), answers("c1", "1")];
        assert_eq!(
            sketch(&arrange(&history, IdRule::Any)),
            ["assistant: c1", "tool: c1=1", "user: wait"]
        );
    }

    #[test]
    fn case_10_a_call_without_result_gets_one_unless_it_is_last() {
        let history = [asks(&["c1"]), says("go")];
        let turns = arrange(&history, IdRule::Any);
        let expected = format!("tool: c1={NO_RESULT}!").to_lowercase();
        assert_eq!(sketch(&turns), ["assistant: c1", &expected, "user: go"]);
        let open = [says("go"), asks(&["c1"])];
        assert_eq!(
            sketch(&arrange(&open, IdRule::Any)),
            ["user: go", "assistant: c1"]
        );
    }

    #[test]
    fn case_11_a_result_without_call_becomes_text() {
        let history = [answers("x", "lost"), says("go")];
        assert_eq!(
            sketch(&arrange(&history, IdRule::Any)),
            ["user: tool result (x): lost", "user: go"]
        );
    }

    #[test]
    fn repeated_ids_are_told_apart_together_with_their_results() {
        let history = [
            asks(&["c"]),
            answers("c", "1"),
            asks(&["c"]),
            answers("c", "2"),
        ];
        let turns = arrange(&history, IdRule::Any);
        let seen = sketch(&turns);
        assert_eq!(seen[..2], ["assistant: c", "tool: c=1"]);
        let second = seen[2].strip_prefix("assistant: ").expect("a call");
        assert_ne!(second, "c");
        assert_eq!(seen[3], format!("tool: {second}=2"));
    }

    #[test]
    fn the_last_of_two_results_counts_and_identical_calls_are_one() {
        let history = [asks(&["c", "c"]), answers("c", "1"), answers("c", "2")];
        assert_eq!(
            sketch(&arrange(&history, IdRule::Any)),
            ["assistant: c", "tool: c=2"]
        );
    }

    #[test]
    fn consecutive_assistant_messages_with_calls_are_one_turn() {
        let history = [
            asks(&["a"]),
            asks(&["b"]),
            message(Role::Assistant, Vec::new()),
            message(Role::Assistant, Vec::new()),
            answers("a", "1"),
            answers("b", "2"),
        ];
        assert_eq!(
            sketch(&arrange(&history, IdRule::Any)),
            ["assistant: a b", "tool: a=1 b=2"]
        );
    }

    proptest! {
        #[test]
        fn every_call_is_answered_once_with_its_id(steps in prop::collection::vec((0..4_u8, 0..4_u8), 0..24)) {
            let history: Vec<Message> = steps
                .iter()
                .map(|(kind, id)| match kind {
                    0 => asks(&[&format!("c{id}")]),
                    1 => asks(&[&format!("c{id}"), "d"]),
                    2 => answers(&format!("c{id}"), "r"),
                    _ => says("t"),
                })
                .collect();
            let turns = arrange(&history, IdRule::Anthropic);
            for (at, turn) in turns.iter().enumerate() {
                let calls: Vec<&str> = turn.parts.iter().filter_map(|part| match part.as_ref() {
                    Part::ToolCall(call) => Some(call.id.as_str()),
                    _ => None,
                }).collect();
                let next = turns.get(at + 1);
                if !calls.is_empty() && let Some(next) = next {
                    let results: Vec<&str> = next.parts.iter().filter_map(|part| match part.as_ref() {
                        Part::ToolResult(result) => Some(result.call_id.as_str()),
                        _ => None,
                    }).collect();
                    prop_assert_eq!(calls, results);
                }
                if turn.role == Role::Tool {
                    prop_assert!(at > 0 && turns[at - 1].role == Role::Assistant);
                }
            }
            let mut ids: Vec<&str> = turns.iter().flat_map(|turn| &turn.parts).filter_map(|part| match part.as_ref() {
                Part::ToolCall(call) => Some(call.id.as_str()),
                _ => None,
            }).collect();
            let all = ids.len();
            ids.sort_unstable();
            ids.dedup();
            prop_assert_eq!(ids.len(), all);
        }
    }
}
