//! Log-ins given by variables, for hosts without a disk: `GEMINI_CLI_1_REFRESH_TOKEN` and its
//! companions, or `GEMINI_CLI_OAUTH_1=/path` of a credential file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::env::{Overlay, upper_name};
use crate::config::paths::Paths;
use crate::config::secret_ref::SecretRef;
use crate::ids::ProviderId;
use crate::secret::Secret;
use crate::time::Timestamp;

/// An account that variables describe.
#[derive(Clone, Debug)]
pub struct EnvAccount {
    /// Whose account it is.
    pub provider: ProviderId,
    /// The number or word in the variables' names; 0 for names without one.
    pub suffix: String,
    /// What the variables hold.
    pub source: AccountSource,
}

impl EnvAccount {
    /// The variable that names a credential file: `GEMINI_CLI_OAUTH_1`.
    pub fn file_variable(&self) -> String {
        let provider = upper_name(self.provider.as_str());
        format!("{provider}_OAUTH_{}", self.suffix.to_uppercase())
    }
}

/// What variables hold of an account.
#[derive(Clone, Debug)]
pub enum AccountSource {
    /// The path of a credential file.
    File(PathBuf),
    /// The tokens themselves. They are refreshed in memory only.
    Tokens(Box<EnvTokens>),
}

/// The tokens of an account and what goes with them. At least one token is there.
#[derive(Clone, Debug, Default)]
pub struct EnvTokens {
    /// `_ACCESS_TOKEN`.
    pub access_token: Option<Secret>,
    /// `_REFRESH_TOKEN`.
    pub refresh_token: Option<Secret>,
    /// `_EXPIRY_DATE`, milliseconds since the epoch.
    pub expires_at: Option<Timestamp>,
    /// `_CLIENT_ID`.
    pub client_id: Option<Secret>,
    /// `_CLIENT_SECRET`.
    pub client_secret: Option<Secret>,
    /// `_TOKEN_URI`.
    pub token_uri: Option<String>,
    /// `_UNIVERSE_DOMAIN`.
    pub universe_domain: Option<String>,
    /// `_EMAIL`.
    pub email: Option<String>,
    /// `_PROJECT_ID`.
    pub project_id: Option<String>,
    /// `_TIER`.
    pub tier: Option<String>,
    /// `_RESOURCE_URL`: where Qwen's token may be used.
    pub resource_url: Option<String>,
    /// `_API_KEY`: the key that iFlow's account calls with.
    pub api_key: Option<Secret>,
}

const FIELDS: [&str; 12] = [
    "ACCESS_TOKEN",
    "API_KEY",
    "CLIENT_ID",
    "CLIENT_SECRET",
    "EMAIL",
    "EXPIRY_DATE",
    "PROJECT_ID",
    "REFRESH_TOKEN",
    "RESOURCE_URL",
    "TIER",
    "TOKEN_URI",
    "UNIVERSE_DOMAIN",
];

impl EnvTokens {
    fn set(&mut self, field: &str, value: &str) {
        let text = || Some(value.to_owned());
        let secret = || Some(Secret::new(value));
        match field {
            "ACCESS_TOKEN" => self.access_token = secret(),
            "API_KEY" => self.api_key = secret(),
            "CLIENT_ID" => self.client_id = secret(),
            "CLIENT_SECRET" => self.client_secret = secret(),
            "EMAIL" => self.email = text(),
            "EXPIRY_DATE" => {
                // Written by programs that divide: 1790000000000 or 1790000000000.0.
                let whole = value.split('.').next().unwrap_or_default();
                self.expires_at = whole.parse().ok().map(Timestamp::from_millis);
            }
            "PROJECT_ID" => self.project_id = text(),
            "REFRESH_TOKEN" => self.refresh_token = secret(),
            "RESOURCE_URL" => self.resource_url = text(),
            "TIER" => self.tier = text(),
            "TOKEN_URI" => self.token_uri = text(),
            _ => self.universe_domain = text(),
        }
    }

    fn is_account(&self) -> bool {
        self.access_token.is_some() || self.refresh_token.is_some()
    }
}

/// Whether a name is of the form `IFLOW_1_API_KEY`: a part of an account, not a provider's key.
pub(super) fn is_part_of_account(overlay: &Overlay<'_>, upper: &str) -> bool {
    let oauth = overlay.known.iter().filter(|known| known.is_oauth);
    oauth.into_iter().any(|known| {
        let number = upper.strip_prefix(&upper_name(known.id));
        let number = number.and_then(|rest| rest.strip_prefix('_'));
        number.is_some_and(|digits| {
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
        })
    })
}

pub(super) fn collect(overlay: &mut Overlay<'_>, paths: &Paths) {
    let known = overlay.known;
    for known in known.iter().filter(|known| known.is_oauth) {
        let Ok(id) = ProviderId::parse(known.id) else {
            continue;
        };
        tokens(overlay, &id);
        files(overlay, &id, paths);
    }
}

fn tokens(overlay: &mut Overlay<'_>, id: &ProviderId) {
    let prefix = format!("{}_", upper_name(id.as_str()));
    let mut accounts: BTreeMap<u64, EnvTokens> = BTreeMap::new();
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, rest, value) in overlay.beginning(&prefix) {
        let (number, field) = match rest.split_once('_') {
            Some((digits, field)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                (digits.parse().unwrap_or(0), field)
            }
            _ => (0, rest),
        };
        if FIELDS.contains(&field) {
            accounts.entry(number).or_default().set(field, value);
            if number == 0 {
                names.insert(field, name);
            }
        }
    }
    if let Some(unnumbered) = accounts.get(&0).filter(|tokens| !tokens.is_account()) {
        let unnumbered = unnumbered.clone();
        accounts.remove(&0);
        for_all(overlay, id, unnumbered, &names);
    }
    accounts.retain(|_, tokens| tokens.is_account());
    // The un-numbered form is for hosts with one account.
    if accounts.len() > 1 && accounts.remove(&0).is_some() {
        let name = format!("{prefix}ACCESS_TOKEN");
        overlay.info(&name, "ignored: there are numbered ones");
    }
    for (number, tokens) in accounts {
        overlay.found.accounts.push(EnvAccount {
            provider: id.clone(),
            suffix: number.to_string(),
            source: AccountSource::Tokens(Box::new(tokens)),
        });
    }
}

/// Names without a number and without tokens speak of all accounts of the provider.
fn for_all(
    overlay: &mut Overlay<'_>,
    id: &ProviderId,
    tokens: EnvTokens,
    names: &BTreeMap<&str, &str>,
) {
    let says_something = tokens.project_id.is_some()
        || tokens.client_id.is_some()
        || tokens.client_secret.is_some()
        || tokens.token_uri.is_some();
    if !says_something {
        return;
    }
    let path = |key: &str| format!("providers.{id}.oauth.{key}");
    let name = |field: &str| names.get(field).copied().unwrap_or_default();
    let client = |secret: &Secret, field| SecretRef::from_env(name(field), secret.expose());
    let oauth = &mut overlay.settings(id).oauth;
    let mut applied = Vec::new();
    if tokens.project_id.is_some() {
        oauth.project = tokens.project_id;
        applied.push(("project", "PROJECT_ID"));
    }
    if let Some(client_id) = tokens.client_id {
        oauth.client_id = Some(client(&client_id, "CLIENT_ID"));
        applied.push(("client_id", "CLIENT_ID"));
    }
    if let Some(secret) = tokens.client_secret {
        oauth.client_secret = Some(client(&secret, "CLIENT_SECRET"));
        applied.push(("client_secret", "CLIENT_SECRET"));
    }
    if tokens.token_uri.is_some() {
        oauth.token_url = tokens.token_uri;
        applied.push(("token_url", "TOKEN_URI"));
    }
    for (key, field) in applied {
        overlay.origin(path(key), name(field));
    }
}

fn files(overlay: &mut Overlay<'_>, id: &ProviderId, paths: &Paths) {
    let prefix = format!("{}_OAUTH_", upper_name(id.as_str()));
    for (name, suffix, value) in overlay.beginning(&prefix) {
        if suffix == "PORT" {
            match value.parse() {
                Ok(port) => {
                    overlay.settings(id).oauth.callback_port = Some(port);
                    overlay.origin(format!("providers.{id}.oauth.callback_port"), name);
                }
                Err(_) => overlay.warn(name, "ignored: it is not a port number"),
            }
            continue;
        }
        overlay.found.accounts.push(EnvAccount {
            provider: id.clone(),
            suffix: suffix.to_lowercase(),
            source: AccountSource::File(paths.resolve(Path::new(value))),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::env::sample::{overlaid, provider};

    fn suffixes(set: &[(&str, &str)]) -> Vec<String> {
        let (_, found, _) = overlaid(set);
        found
            .accounts
            .into_iter()
            .map(|account| account.suffix)
            .collect()
    }

    #[test]
    fn numbered_accounts_are_taken_in_order() {
        let set = [
            ("GEMINI_CLI_10_REFRESH_TOKEN", "r"),
            ("GEMINI_CLI_2_REFRESH_TOKEN", "r"),
            ("GEMINI_CLI_2_ACCESS_TOKEN", "a"),
            ("GEMINI_CLI_2_EXPIRY_DATE", "1790000000000.0"),
            ("GEMINI_CLI_2_EMAIL", "me@example.com"),
            ("GEMINI_CLI_2_TIER", "standard-tier"),
            ("GEMINI_CLI_REFRESH_TOKEN", "ignored"),
            ("GEMINI_CLI_3_EMAIL", "no tokens"),
            ("GEMINI_CLI_4_REFRESH_TOKEN", ""),
        ];
        assert_eq!(suffixes(&set), ["2", "10"]);
        let (_, found, _) = overlaid(&set);
        let AccountSource::Tokens(tokens) = &found.accounts[0].source else {
            panic!("tokens were given");
        };
        assert_eq!(
            tokens.expires_at,
            Some(Timestamp::from_millis(1_790_000_000_000))
        );
        assert_eq!(tokens.email.as_deref(), Some("me@example.com"));
    }

    #[test]
    fn the_form_without_number_is_one_account() {
        let set = [
            ("GEMINI_CLI_ACCESS_TOKEN", "a"),
            ("GEMINI_CLI_REFRESH_TOKEN", "r"),
        ];
        assert_eq!(suffixes(&set), ["0"]);
    }

    #[test]
    fn without_tokens_project_and_client_are_for_all_accounts() {
        let (provider, _) = provider(
            "gemini_cli",
            &[
                ("GEMINI_CLI_PROJECT_ID", "my-project"),
                ("GEMINI_CLI_CLIENT_ID", "id"),
                ("GEMINI_CLI_OAUTH_PORT", "9000"),
            ],
        );
        assert_eq!(provider.oauth.project.as_deref(), Some("my-project"));
        assert_eq!(provider.oauth.callback_port, Some(9000));
        assert!(provider.oauth.client_id.is_some());
    }

    #[test]
    fn a_path_is_an_account_too() {
        let (_, found, _) = overlaid(&[("GEMINI_CLI_OAUTH_1", "~/one.json")]);
        let AccountSource::File(path) = &found.accounts[0].source else {
            panic!("a path was given");
        };
        assert_eq!(path, Path::new("/home/someone/one.json"));
    }
}
