//! How thinking is switched, model by model; nothing is sent where the client says nothing.

use serde_json::{Value, json};

use crate::dialects::edit::Members;

/// The member that switches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Switch {
    /// None: it always thinks, or never.
    None,
    /// Top-level `reasoning_split`.
    ReasoningSplit,
    /// `chat_template_kwargs.enable_thinking`.
    Template,
    /// The same with `clear_thinking: false` beside it when it is on.
    TemplateKeeping,
}

/// By the beginning of the model's name; the first counts. The clients disagreed on the edges:
/// here each model gets the switch that some client is known to have sent it.
const SWITCHES: [(&str, Switch); 6] = [
    ("deepseek-v3.2-reasoner", Switch::None),
    ("deepseek-v3.1", Switch::Template),
    ("deepseek-v3.2", Switch::Template),
    ("glm-", Switch::TemplateKeeping),
    ("minimax-", Switch::ReasoningSplit),
    ("qwen3-max-preview", Switch::Template),
];

/// Words that mean no thinking.
const OFF: [&str; 5] = ["none", "disabled", "off", "0", "false"];

/// Puts what the client says of thinking into the model's own switch. A switch that the client set
/// itself stays.
pub(super) fn switch(members: &mut Members<'_>, model: &str) {
    let wanted = wanted(members);
    for name in ["reasoning_effort", "reasoning", "thinking", "extra_body"] {
        members.remove(name);
    }
    let Some(on) = wanted else { return };
    let model = model.to_lowercase();
    let found = SWITCHES.iter().find(|(name, _)| model.starts_with(name));
    let arguments = match found.map_or(Switch::None, |(_, switch)| *switch) {
        Switch::None => return,
        Switch::ReasoningSplit => {
            members.set_if_absent("reasoning_split", on.to_string());
            return;
        }
        Switch::TemplateKeeping if on => {
            r#"{"enable_thinking":true,"clear_thinking":false}"#.to_owned()
        }
        Switch::Template | Switch::TemplateKeeping => json!({"enable_thinking": on}).to_string(),
    };
    members.set_if_absent("chat_template_kwargs", arguments);
}

/// Whether the client wants thinking; `None` if it does not say. `extra_body` is what SDKs merge
/// into the body, and what some clients forget to.
fn wanted(members: &Members<'_>) -> Option<bool> {
    let value = |name: &str| serde_json::from_str::<Value>(members.raw(name)?).ok();
    if let Some(effort) = value("reasoning_effort") {
        let word = effort
            .as_str()
            .map_or_else(|| effort.to_string(), str::to_lowercase);
        return Some(!OFF.contains(&word.as_str()));
    }
    let extra = value("extra_body");
    let nested = extra
        .as_ref()
        .and_then(|extra| extra.get("thinking").cloned());
    let thinking = value("thinking").or(nested)?;
    if let Some(budget) = thinking.get("budget_tokens") {
        return Some(budget.as_f64() != Some(0.0));
    }
    thinking.get("type").map(|kind| kind != "disabled")
}
