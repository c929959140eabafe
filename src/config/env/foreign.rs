//! Variables of LLM-API-Key-Proxy that have no counterpart: each is answered by name.

use crate::config::env::Overlay;
use crate::config::origin::{Level, Note};

/// How a name is written in the table.
enum Name {
    /// The whole name.
    Is(&'static str),
    /// How it begins: the provider follows.
    Begins(&'static str),
    /// How it ends: the provider stands before.
    Ends(&'static str),
}

use self::Name::{Begins, Ends, Is};
use Level::{Info, Warning};

const AUTOMATIC: &str =
    "not needed: tokens are refreshed when they are used, and before they expire";
const MEASURED: &str = "not needed: quotas are read when they change";
const SIGNATURES: &str = "not needed: thought signatures travel with the conversation";
const TRANSLATION: &str =
    "not needed: the translation of tools does this where a model asks for it";

const TABLE: &[(Name, Level, &str)] = &[
    (
        Is("SKIP_OAUTH_INIT_CHECK"),
        Info,
        "not needed: accounts are checked when they are used",
    ),
    (Is("OAUTH_REFRESH_INTERVAL"), Info, AUTOMATIC),
    (
        Is("SMALL_COOLDOWN_RETRY_THRESHOLD"),
        Info,
        "not needed: a short cooldown is waited for when no other key can serve",
    ),
    (
        Is("TRANSIENT_RETRY_DELAY"),
        Info,
        "not needed: retries are paced with jitter (see [routing] same_key_retries)",
    ),
    (
        Is("TRANSIENT_RETRY_JITTER"),
        Info,
        "not needed: retries are paced with jitter (see [routing] same_key_retries)",
    ),
    (
        Is("STREAM_RETRY_ON_REASONING_ONLY"),
        Warning,
        "has no effect: once reasoning has reached the client, an answer is not started anew",
    ),
    (
        Is("TIMEOUT_WRITE"),
        Info,
        "has no effect: [timeouts] total bounds the whole call",
    ),
    (
        Is("TIMEOUT_POOL"),
        Info,
        "has no effect: connections are not limited in number",
    ),
    (
        Is("SUPPRESS_LITELLM_SERIALIZATION_WARNINGS"),
        Info,
        "not needed: there is no LiteLLM here",
    ),
    (
        Begins("SEQUENTIAL_FALLBACK_MULTIPLIER_"),
        Warning,
        "has no effect: set CONCURRENCY_MULTIPLIER_<PROVIDER>_PRIORITY_<N> for each priority",
    ),
    (
        Begins("FAIR_CYCLE_QUOTA_THRESHOLD_"),
        Warning,
        "has no effect: a credential's turn ends with a cooldown of EXHAUSTION_COOLDOWN_THRESHOLD",
    ),
    (
        Begins("FAIR_CYCLE_RESET_COOLDOWN_THRESHOLD_"),
        Info,
        "not needed: a cycle starts anew as soon as no other credential can serve",
    ),
    (Is("FIRMWARE_QUOTA_REFRESH_INTERVAL"), Info, MEASURED),
    (Ends("_QUOTA_REFRESH_INTERVAL"), Info, MEASURED),
    (Begins("DEEPSEEK_REASONING_CACHE_"), Info, SIGNATURES),
    (Begins("GEMINI_CLI_SIGNATURE_"), Info, SIGNATURES),
    (
        Is("GEMINI_CLI_PRESERVE_THOUGHT_SIGNATURES"),
        Info,
        SIGNATURES,
    ),
    (Is("GEMINI_CLI_ENABLE_SIGNATURE_CACHE"), Info, SIGNATURES),
    (Begins("GEMINI_CLI_GEMINI3_"), Info, TRANSLATION),
    (
        Is("GEMINI_CLI_ENABLE_JSON_STRING_PARSING"),
        Info,
        TRANSLATION,
    ),
    (Is("GEMINI_CLI_UA_VERSION"), Warning, FINGERPRINT),
    (Is("GEMINI_CLI_NODE_CLIENT_VERSION"), Warning, FINGERPRINT),
    (Is("GEMINI_CLI_GL_NODE_VERSION"), Warning, FINGERPRINT),
    (Is("GEMINI_CLI_PLATFORM_ARCH"), Warning, FINGERPRINT),
    (Is("GEMINI_CLI_ACCEPT_ENCODING"), Warning, FINGERPRINT),
];

const FINGERPRINT: &str = "has no effect: llmproxy does not pose as another client";

pub(super) fn report(overlay: &mut Overlay<'_>) {
    for (name, _) in overlay.set().collect::<Vec<_>>() {
        let mut table = TABLE.iter();
        let found = table.find(|(known, ..)| match known {
            Is(whole) => name == *whole,
            Begins(start) => name
                .strip_prefix(start)
                .is_some_and(|rest| !rest.is_empty()),
            Ends(end) => name
                .strip_suffix(end)
                .is_some_and(|upper| overlay.provider(upper).is_some()),
        });
        if let Some((_, level, text)) = found {
            overlay.found.notes.push(Note {
                level: *level,
                ..Note::info(name, *text)
            });
        }
    }
    // A stray PORT of the shell says nothing; one in a .env file was meant for a proxy.
    let port = overlay.variables.variable("PORT");
    if port.is_some_and(|variable| variable.line.is_some()) {
        overlay.info("PORT", "has no effect: use `serve --port` or [server] port");
    }
}

#[cfg(test)]
mod tests {
    use crate::config::env::sample::overlaid;

    #[test]
    fn every_name_without_counterpart_is_reported_once() {
        for name in [
            "SKIP_OAUTH_INIT_CHECK",
            "OAUTH_REFRESH_INTERVAL",
            "SMALL_COOLDOWN_RETRY_THRESHOLD",
            "TRANSIENT_RETRY_DELAY",
            "TRANSIENT_RETRY_JITTER",
            "STREAM_RETRY_ON_REASONING_ONLY",
            "TIMEOUT_WRITE",
            "TIMEOUT_POOL",
            "SUPPRESS_LITELLM_SERIALIZATION_WARNINGS",
            "SEQUENTIAL_FALLBACK_MULTIPLIER_GEMINI",
            "FAIR_CYCLE_QUOTA_THRESHOLD_GEMINI",
            "FAIR_CYCLE_RESET_COOLDOWN_THRESHOLD_GEMINI",
            "GEMINI_CLI_QUOTA_REFRESH_INTERVAL",
            "DEEPSEEK_REASONING_CACHE_TTL",
            "GEMINI_CLI_SIGNATURE_DISK_TTL",
            "GEMINI_CLI_PRESERVE_THOUGHT_SIGNATURES",
            "GEMINI_CLI_GEMINI3_TOOL_PREFIX",
            "GEMINI_CLI_UA_VERSION",
        ] {
            let (_, found, _) = overlaid(&[(name, "1")]);
            assert_eq!(found.notes.len(), 1, "{name} {:?}", found.notes);
            assert_eq!(found.notes[0].subject, name);
        }
    }

    #[test]
    fn variables_of_others_are_left_alone() {
        let (config, found, _) = overlaid(&[
            ("PATH", "/bin"),
            ("PORT", "80"),
            ("HTTPS_PROXY", "http://127.0.0.1:1"),
            ("MY_MODELS", "x"),
        ]);
        assert!(found.notes.is_empty() && config.providers.is_empty());
    }
}
