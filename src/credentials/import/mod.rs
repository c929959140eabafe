//! Credentials of other programs, read and never changed: vendors' own files, LLM-API-Key-Proxy,
//! CLIProxyAPI, and our own export.
//!
//! A layout is recognised by its members, not by its name, since people move files about. Whatever
//! cannot be used is named with the reason, and the rest goes on.

mod expiry;
mod iflow;
mod layouts;
mod merge;

use std::fmt;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::config::env::{AccountSource, EnvAccount, EnvTokens};
use crate::credentials::import::layouts::Read;
use crate::credentials::{Account, Credential, Source};
use crate::ids::{CredentialId, ProviderId};
use crate::secret::Secret;

pub use merge::{Finding, Grade, merge};

/// No credential file is larger.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A directory with more files than this is none of credentials.
const MAX_FILES: usize = 10_000;

/// How far below a directory files are looked for: `.env` and `oauth_creds/` of
/// LLM-API-Key-Proxy lie one apart.
const MAX_DEPTH: usize = 2;

/// Whose layout a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    Antigravity,
    CliProxyApi,
    GeminiCli,
    IFlow,
    LlmApiKeyProxy,
    /// Our own export.
    Own,
    QwenCode,
}

/// A credential that was found.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its name is a number or an email address; the number may be taken and is then replaced.
    pub credential: Credential,
    /// Where it was found: a path or a variable.
    pub place: String,
    /// What its owner should know.
    pub remark: Option<String>,
}

/// Something that is no usable credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// Where it was found: a path or a variable.
    pub place: String,
    /// Why, a fragment without anything of the content.
    pub why: String,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.why)
    }
}

/// What a look around brought.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub candidates: Vec<Candidate>,
    pub unusable: Vec<Unusable>,
    /// `.env` files, which are read with the config's eyes.
    pub dotenv: Vec<PathBuf>,
}

/// Reads a file, or the files below a directory. `layout` is what the user says it is; `None`
/// recognises it.
pub fn read(path: &Path, layout: Option<Layout>) -> Found {
    let mut found = Found::default();
    if path.is_dir() {
        let mut files = Vec::new();
        walk(path, 0, &mut files);
        files.sort();
        for file in files {
            read_file(&file, layout, &mut found);
        }
        return found;
    }
    read_file(path, layout, &mut found);
    found
}

/// Reads what a file of this name holds, which need not be there.
pub fn read_content(path: &Path, content: &[u8], layout: Option<Layout>) -> Found {
    let mut found = Found::default();
    add_content(path, content, layout, &mut found);
    found
}

/// The places where the vendors' tools and other proxies keep credentials.
pub fn usual_places(layout: Layout, home: &Path) -> Vec<PathBuf> {
    match layout {
        Layout::Antigravity => vec![
            home.join(".gemini/antigravity-cli/antigravity-oauth-token"),
            home.join(".config/opencode/antigravity-accounts.json"),
        ],
        Layout::CliProxyApi => vec![home.join(".cli-proxy-api")],
        Layout::GeminiCli => vec![home.join(".gemini/oauth_creds.json")],
        Layout::IFlow => vec![
            home.join(".iflow/oauth_creds.json"),
            home.join(".iflow/settings.json"),
        ],
        Layout::LlmApiKeyProxy => vec![PathBuf::from("oauth_creds")],
        Layout::Own => Vec::new(),
        Layout::QwenCode => vec![home.join(".qwen/oauth_creds.json")],
    }
}

/// Accounts that the environment gives.
pub fn from_environment(accounts: &[EnvAccount]) -> Found {
    let mut found = Found::default();
    for account in accounts {
        let place = format!("{} of the environment", account.provider);
        match &account.source {
            AccountSource::File(path) => {
                let known = found.unusable.len();
                read_file(path, layout_of(&account.provider), &mut found);
                for unusable in found.unusable.iter_mut().skip(known) {
                    unusable.place = format!("{}: {}", account.file_variable(), unusable.place);
                }
            }
            AccountSource::Tokens(tokens) => {
                match from_tokens(&account.provider, &account.suffix, tokens) {
                    Ok(credential) => found.candidates.push(Candidate {
                        credential,
                        place,
                        remark: None,
                    }),
                    Err(why) => found.unusable.push(Unusable { place, why }),
                }
            }
        }
    }
    found
}

fn layout_of(provider: &ProviderId) -> Option<Layout> {
    match provider.as_str() {
        "antigravity" => Some(Layout::Antigravity),
        "gemini_cli" => Some(Layout::GeminiCli),
        "iflow" => Some(Layout::IFlow),
        "qwen_code" => Some(Layout::QwenCode),
        _ => None,
    }
}

fn from_tokens(
    provider: &ProviderId,
    suffix: &str,
    tokens: &EnvTokens,
) -> Result<Credential, String> {
    let mut account = Account {
        access_token: tokens.access_token.clone(),
        refresh_token: tokens.refresh_token.clone(),
        expires: tokens.expires_at,
        client_id: tokens.client_id.as_ref().map(|id| id.expose().to_owned()),
        client_secret: tokens.client_secret.clone(),
        ..Account::default()
    };
    if let Some(project) = &tokens.project_id {
        let project = project.as_str().into();
        account.extra.insert("project_id".to_owned(), project);
    }
    if let Some(url) = &tokens.resource_url {
        let url = url.as_str().into();
        account.extra.insert("resource_url".to_owned(), url);
    }
    if let Some(key) = &tokens.api_key {
        let key = key.expose().into();
        account.extra.insert("api_key".to_owned(), key);
    }
    let number = if suffix == "0" { "1" } else { suffix };
    let name = tokens.email.as_deref().unwrap_or(number);
    named(provider, name, account).map(|mut credential| {
        credential.source = Source::Env;
        credential.email.clone_from(&tokens.email);
        credential.tier.clone_from(&tokens.tier);
        credential
    })
}

/// An account under its email address, or under a number where that is no name.
fn named(provider: &ProviderId, name: &str, account: Account) -> Result<Credential, String> {
    if account.access_token.is_none() && account.refresh_token.is_none() {
        return Err("it holds neither an access nor a refresh token".to_owned());
    }
    let id = CredentialId::new(provider, name)
        .or_else(|_| CredentialId::new(provider, "1"))
        .map_err(|error| error.to_string())?;
    Ok(Credential::oauth(id, Source::Store, account))
}

fn walk(directory: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if files.len() >= MAX_FILES {
            return;
        }
        if path.is_dir() {
            if depth + 1 < MAX_DEPTH {
                walk(&path, depth + 1, files);
            }
        } else if is_promising(&path) {
            files.push(path);
        }
    }
}

/// `true` for names that credentials have; in a directory there may be anything.
fn is_promising(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    is_dotenv(path)
        || name == Some("antigravity-oauth-token")
        || path.extension().is_some_and(|end| end == "json")
}

fn is_dotenv(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == ".env")
        || path.extension().is_some_and(|end| end == "env")
}

fn read_file(path: &Path, layout: Option<Layout>, found: &mut Found) {
    let place = path.display().to_string();
    if layout.is_none() && is_dotenv(path) {
        found.dotenv.push(path.to_owned());
        return;
    }
    match content(path) {
        Ok(bytes) => add_content(path, &bytes, layout, found),
        Err(why) => found.unusable.push(Unusable { place, why }),
    }
}

fn add_content(path: &Path, content: &[u8], layout: Option<Layout>, found: &mut Found) {
    let place = path.display().to_string();
    for read in layouts::read(path, content, layout) {
        match read {
            Ok(Read { credential, remark }) => found.candidates.push(Candidate {
                credential,
                place: place.clone(),
                remark,
            }),
            Err(why) => found.unusable.push(Unusable {
                place: place.clone(),
                why,
            }),
        }
    }
}

fn content(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let file = fs::File::open(path).map_err(|error| format!("it cannot be read: {error}"))?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("it cannot be read: {error}"))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err("it is larger than 1 MiB".to_owned());
    }
    Ok(bytes)
}

/// A secret that is there.
fn secret(text: &str) -> Option<Secret> {
    Some(Secret::new(text)).filter(|secret| !secret.is_empty())
}

#[cfg(test)]
mod tests;
