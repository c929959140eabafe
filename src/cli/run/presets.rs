//! What coding agents must be told to talk to this gateway: variables, arguments and settings,
//! as data. A new agent is a row of [`ALL`].

use crate::cli::run::home::Home;

/// One agent's needs. In every template `{url}` is the gateway's address without a path, `{key}` the
/// client key of this run, `{model}` the model, `{context}` how many tokens it can take, and `{models}`
/// a JSON object with a member for each model that can be used.
pub(super) struct Preset {
    /// What `--for` takes.
    pub(super) name: &'static str,
    /// File names the agent goes by, without extension: known ones need no `--for`.
    pub(super) programs: &'static [&'static str],
    /// Variables that always apply.
    pub(super) variables: &'static [(&'static str, &'static str)],
    /// Variables that apply where there is a model.
    pub(super) model_variables: &'static [(&'static str, &'static str)],
    /// Variables for a class of models, and the names of its members; the model itself stands in
    /// where the class has none, or where the user named one.
    pub(super) class_variables: &'static [(&'static str, &'static str)],
    /// Variables that would lead the agent elsewhere.
    pub(super) removed: &'static [&'static str],
    /// Arguments behind the program's name.
    pub(super) arguments: &'static [&'static str],
    /// The same where there is a model.
    pub(super) model_arguments: &'static [&'static str],
    /// The same where it is known how much the model can take.
    pub(super) context_arguments: &'static [&'static str],
    /// A setting that no variable and no argument changes.
    pub(super) home: Option<Home>,
    /// Models to take where none is named, best first.
    pub(super) prefers: &'static [&'static str],
    /// Models the agent asks for by itself, whatever it was told.
    pub(super) asks_for: &'static [&'static str],
    /// Models to be told by their vendor's own names, without the provider.
    pub(super) own_names: Option<&'static str>,
}

/// The agents that are known, by name.
pub(super) const ALL: &[Preset] = &[AIDER, CLAUDE, CODEX, GEMINI, OPENCODE];

/// <https://aider.chat/docs/llms/openai-compat.html>, <https://aider.chat/docs/config/dotenv.html>;
/// read 2026-11-25. The prefix `openai/` picks aider's OpenAI client and is not sent.
const AIDER: Preset = Preset {
    name: "aider",
    programs: &["aider"],
    variables: &[
        ("OPENAI_API_BASE", "{url}/v1"),
        ("AIDER_OPENAI_API_BASE", "{url}/v1"),
        ("AIDER_OPENAI_API_KEY", "{key}"),
        // It would warn of every model that is not in its own list.
        ("AIDER_SHOW_MODEL_WARNINGS", "false"),
    ],
    model_variables: &[
        ("AIDER_MODEL", "openai/{model}"),
        ("AIDER_WEAK_MODEL", "openai/{model}"),
        ("AIDER_EDITOR_MODEL", "openai/{model}"),
    ],
    class_variables: &[],
    removed: &[],
    arguments: &[],
    model_arguments: &[],
    context_arguments: &[],
    home: None,
    prefers: &["claude-sonnet-*", "gpt-5*", "gemini-*-pro*"],
    asks_for: &[],
    own_names: None,
};

/// <https://code.claude.com/docs/en/env-vars>, <https://code.claude.com/docs/en/model-config>; read
/// 2026-11-25. An API key beside the token sends two credentials, and the clouds' switches win over
/// the base URL.
const CLAUDE: Preset = Preset {
    name: "claude",
    programs: &["claude", "@anthropic-ai/claude-code"],
    variables: &[],
    model_variables: &[("ANTHROPIC_MODEL", "{model}")],
    class_variables: &[
        ("ANTHROPIC_DEFAULT_OPUS_MODEL", "claude-opus-*"),
        ("ANTHROPIC_DEFAULT_SONNET_MODEL", "claude-sonnet-*"),
        ("ANTHROPIC_DEFAULT_HAIKU_MODEL", "claude-haiku-*"),
        ("ANTHROPIC_SMALL_FAST_MODEL", "claude-haiku-*"),
    ],
    removed: &[
        "CLAUDE_CODE_OAUTH_TOKEN",
        "CLAUDE_CODE_SUBAGENT_MODEL",
        "CLAUDE_CODE_USE_BEDROCK",
        "CLAUDE_CODE_USE_FOUNDRY",
        "CLAUDE_CODE_USE_VERTEX",
    ],
    arguments: &[],
    model_arguments: &[],
    context_arguments: &[],
    home: None,
    prefers: &["claude-sonnet-*", "claude-opus-*"],
    asks_for: &[
        "claude-haiku-4-5",
        "claude-haiku-4-5-20251001",
        "claude-haiku-5-5",
        "claude-opus-4-5",
        "claude-opus-4-5-20251101",
        "claude-opus-5-5",
        "claude-sonnet-4-5",
        "claude-sonnet-4-5-20250929",
        "claude-sonnet-5-5",
    ],
    // Version 2.1.197 sends thinking back only if the answer named the very model it asked for, and
    // an answer of Anthropic's names it as Anthropic does.
    own_names: Some("claude-*"),
};

/// <https://developers.openai.com/codex/config-reference>; read 2026-11-25. `-c` takes a dotted key
/// and a TOML value and wins over `config.toml`; a provider of its own reads no stored log-in.
const CODEX: Preset = Preset {
    name: "codex",
    programs: &["codex", "@openai/codex"],
    variables: &[],
    model_variables: &[],
    class_variables: &[],
    removed: &["CODEX_API_KEY"],
    arguments: &[
        "-c",
        "model_provider=\"llmproxy\"",
        "-c",
        "model_providers.llmproxy.name=\"llmproxy\"",
        "-c",
        "model_providers.llmproxy.base_url=\"{url}/v1\"",
        "-c",
        "model_providers.llmproxy.env_key=\"OPENAI_API_KEY\"",
        "-c",
        "model_providers.llmproxy.wire_api=\"responses\"",
    ],
    model_arguments: &["-c", "model=\"{model}\"", "-c", "review_model=\"{model}\""],
    // It would take every model that it does not know for one of its own.
    context_arguments: &["-c", "model_context_window={context}"],
    home: None,
    prefers: &["gpt-*-codex", "gpt-5*"],
    asks_for: &["codex-mini-latest", "gpt-5-codex", "gpt-5.1-codex-mini"],
    own_names: None,
};

/// <https://geminicli.com/docs/reference/configuration>; read 2026-11-25. Where a base URL is set,
/// version 0.61 takes no key unless the settings choose it, and a stored choice to log in with
/// Google would pass the gateway by. System settings could change that for root alone.
const GEMINI: Preset = Preset {
    name: "gemini",
    programs: &["gemini", "@google/gemini-cli"],
    variables: &[],
    model_variables: &[("GEMINI_MODEL", "{model}")],
    class_variables: &[],
    removed: &["GOOGLE_GENAI_USE_GCA", "GOOGLE_GENAI_USE_VERTEXAI"],
    arguments: &[],
    model_arguments: &[],
    context_arguments: &[],
    home: Some(Home {
        variable: "GEMINI_CLI_HOME",
        directory: ".gemini",
        file: "settings.json",
        path: &["security", "auth", "selectedType"],
        value: "gemini-api-key",
        beside: &[".agents"],
    }),
    prefers: &["gemini-*-flash", "gemini-*-pro"],
    asks_for: &[
        "gemini-2.5-flash",
        "gemini-2.5-flash-lite",
        "gemini-2.5-pro",
        "gemini-3-flash-preview",
        "gemini-3-pro-preview",
        "gemini-3.1-pro-preview",
    ],
    own_names: None,
};

/// <https://opencode.ai/docs/config>, <https://opencode.ai/docs/migrate-v1> (version 2 reads this
/// shape too); read 2026-11-25. The inline configuration wins over files and adds to them.
const OPENCODE: Preset = Preset {
    name: "opencode",
    programs: &["opencode", "opencode-ai", "opencode2"],
    variables: &[],
    model_variables: &[(
        "OPENCODE_CONFIG_CONTENT",
        "{\"model\":\"llmproxy/{model}\",\"small_model\":\"llmproxy/{model}\",\"provider\":{\"llmproxy\":{\
         \"npm\":\"@ai-sdk/openai-compatible\",\"name\":\"llmproxy\",\"options\":{\"baseURL\":\
         \"{url}/v1\",\"apiKey\":\"{env:OPENAI_API_KEY}\"},\"models\":{models}}}}",
    )],
    class_variables: &[],
    removed: &[],
    arguments: &[],
    model_arguments: &[],
    context_arguments: &[],
    home: None,
    prefers: &["claude-sonnet-*", "gpt-5*", "gemini-*-pro"],
    asks_for: &[],
    own_names: None,
};

/// The preset of this name.
pub(super) fn named(name: &str) -> Option<&'static Preset> {
    ALL.iter().find(|preset| preset.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_and_programs_are_told_apart() {
        let names: BTreeSet<_> = ALL.iter().map(|preset| preset.name).collect();
        assert_eq!(names.len(), ALL.len());
        let programs = || ALL.iter().flat_map(|preset| preset.programs);
        assert_eq!(
            programs().collect::<BTreeSet<_>>().len(),
            programs().count()
        );
    }

    #[test]
    fn every_preset_tells_its_model() {
        for preset in ALL {
            let templates = preset.model_variables.iter().map(|(_, template)| *template);
            let mut templates = templates.chain(preset.model_arguments.iter().copied());
            assert!(
                templates.any(|text| text.contains("{model}")),
                "{}",
                preset.name
            );
        }
    }
}
