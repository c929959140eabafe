//! The files themselves. Members are those of the wire notes (`gemini_cli.md` A.4,
//! `antigravity.md` A.1, `qwen_code.md` A.4, `iflow.md` A.4, read 2026-11-22).

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::credentials::import::{Layout, expiry, iflow, named, secret};
use crate::credentials::{Account, Credential, file};
use crate::ids::ProviderId;

pub(super) type Members = Map<String, Value>;

/// Members that are read into an account's own fields, or that only describe the file.
const KNOWN: &[&str] = &[
    "_proxy_metadata",
    "access_token",
    "accessToken",
    "auto",
    "checked",
    "cookie",
    "client_id",
    "client_secret",
    "email",
    "expired",
    "expires_in",
    "expiry",
    "expiry_date",
    "id_token",
    "last_refresh",
    "refresh_token",
    "refreshToken",
    "timestamp",
    "token",
    "token_expiry",
    "type",
];

/// What one file, or a part of it, gives.
pub(super) struct Read {
    pub(super) credential: Credential,
    /// What its owner should know.
    pub(super) remark: Option<String>,
}

impl Read {
    fn of(credential: Credential) -> Self {
        // The vendor's tool and we would hold one refresh token, which dies when it is used.
        let shares = credential.id.provider() == "qwen_code" && credential.account().is_some();
        let remark = shares.then(|| {
            "Qwen Code's own tool will need a new log-in once these tokens are renewed".to_owned()
        });
        Self { credential, remark }
    }
}

/// Reads all credentials of one file's content; what is unusable is a reason.
pub(super) fn read(path: &Path, bytes: &[u8], layout: Option<Layout>) -> Vec<Result<Read, String>> {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
        return vec![Err("it is no JSON".to_owned())];
    };
    match value {
        Value::Array(items) if !items.is_empty() => items
            .into_iter()
            .map(|item| match item {
                Value::Object(members) => one(path, members, layout),
                _ => Err("its list holds something else than objects".to_owned()),
            })
            .collect(),
        Value::Object(mut members) => match members.remove("accounts") {
            Some(Value::Array(accounts)) => {
                let accounts = accounts.into_iter().map(plugin_account);
                accounts.map(|read| read.map(Read::of)).collect()
            }
            _ => vec![one(path, members, layout)],
        },
        _ => vec![Err("it is no JSON object".to_owned())],
    }
}

fn one(path: &Path, members: Members, layout: Option<Layout>) -> Result<Read, String> {
    let layout = match layout {
        // A directory of CLIProxyAPI or LLM-API-Key-Proxy holds several vendors' files.
        Some(Layout::CliProxyApi | Layout::LlmApiKeyProxy) | None => recognise(path, &members)?,
        Some(layout) => layout,
    };
    if layout != Layout::Own && iflow::is_key_file(path, &members, layout) {
        return iflow::key_file(&members);
    }
    let credential = match layout {
        Layout::Own => own(&members),
        Layout::CliProxyApi => {
            let kind = text(&members, "type").unwrap_or_default();
            let provider = match kind {
                "antigravity" => "antigravity",
                "gemini" | "gemini-cli" => "gemini_cli",
                "iflow" => "iflow",
                "qwen" => "qwen_code",
                other => return Err(format!("accounts of type `{other}` are not served")),
            };
            account(provider, members)
        }
        Layout::Antigravity => account("antigravity", members),
        Layout::GeminiCli => account("gemini_cli", members),
        Layout::IFlow => account("iflow", members),
        Layout::QwenCode => account("qwen_code", members),
        Layout::LlmApiKeyProxy => Err("its provider cannot be told".to_owned()),
    };
    credential.map(Read::of)
}

/// Whose file it is, by what is in it, then by where it lies.
fn recognise(path: &Path, members: &Members) -> Result<Layout, String> {
    if members.contains_key("provider") && members.contains_key("kind") {
        return Ok(Layout::Own);
    }
    if text(members, "type").is_some() {
        return Ok(Layout::CliProxyApi);
    }
    let path = path.to_string_lossy().to_lowercase();
    let in_path = |word: &str| path.contains(word);
    let scope = text(members, "scope").unwrap_or_default();
    let scopes = members.get("scopes").map(Value::to_string);
    let scopes = format!("{scope} {}", scopes.unwrap_or_default());
    Ok(if members.contains_key("resource_url") || in_path("qwen") {
        Layout::QwenCode
    } else if iflow::is_its_own(members)
        || members.contains_key("apiKey")
        || members.contains_key("api_key")
        || in_path("iflow")
    {
        Layout::IFlow
    } else if in_path("antigravity") || scopes.contains("experimentsandconfigs") {
        Layout::Antigravity
    } else if scopes.contains("googleapis.com")
        || in_path("gemini")
        || members.contains_key("credential")
    {
        Layout::GeminiCli
    } else if members.get("token").is_some_and(Value::is_object) {
        Layout::Antigravity
    } else if members.contains_key("access_token") || members.contains_key("refresh_token") {
        return Err("it holds tokens, but whose cannot be told (use --from)".to_owned());
    } else {
        return Err("it is no credential file that is known".to_owned());
    })
}

fn own(members: &Members) -> Result<Credential, String> {
    let text = Value::Object(members.clone()).to_string();
    file::parse(text.as_bytes()).map_err(|fault| match fault {
        file::Fault::Damaged(reason) => reason,
        file::Fault::Newer(version) => {
            format!("it was written by a newer llmproxy (format {version})")
        }
    })
}

/// An account of `{"token": {…}}`, `{"credential": {…}}` or plain members.
fn account(provider: &str, mut members: Members) -> Result<Credential, String> {
    let provider = ProviderId::parse(provider).map_err(|error| error.to_string())?;
    for inner in ["token", "credential"] {
        if let Some(Value::Object(nested)) = members.remove(inner) {
            for (name, value) in nested {
                members.entry(name).or_insert(value);
            }
        }
    }
    let metadata = match members.remove("_proxy_metadata") {
        Some(Value::Object(metadata)) => metadata,
        _ => Members::new(),
    };
    let email = text(&members, "email")
        .or_else(|| text(&metadata, "email"))
        .map(str::to_owned)
        .or_else(|| email_of(text(&members, "id_token")?));
    let tier = text(&members, "tier").or_else(|| text(&metadata, "tier"));
    let tier = tier.map(str::to_owned);
    let project = text(&members, "project_id").or_else(|| text(&metadata, "project_id"));
    // CLIProxyAPI may list several; requests go to the first.
    let project = project
        .and_then(|projects| {
            projects
                .split(',')
                .map(str::trim)
                .find(|one| !one.is_empty())
        })
        .map(str::to_owned);
    let expires = ["expiry_date", "expiry", "expired", "token_expiry"]
        .iter()
        .find_map(|name| expiry::read(members.get(*name)?));
    let mut account = Account {
        access_token: text(&members, "access_token").and_then(secret),
        refresh_token: text(&members, "refresh_token").and_then(secret),
        // A token whose end is unknown is taken to have ended: a refresh will tell.
        expires: Some(expires.unwrap_or_default()),
        client_id: text(&members, "client_id").map(str::to_owned),
        client_secret: text(&members, "client_secret").and_then(secret),
        ..Account::default()
    };
    if let Some(key) = members.remove("apiKey") {
        members.entry("api_key").or_insert(key);
    }
    members.retain(|name, value| !KNOWN.contains(&name.as_str()) && !value.is_null());
    if let Some(project) = project {
        members.insert("project_id".to_owned(), project.into());
    }
    // What another program noted is the vendor's word of that time, not the user's.
    if let Some(tier) = tier {
        members.insert("tier".to_owned(), tier.into());
    }
    account.extra = members;
    let mut credential = named(&provider, email.as_deref().unwrap_or("1"), account)?;
    credential.email = email;
    Ok(credential)
}

/// An account of the opencode plugin: `{"email","refreshToken","projectId","managedProjectId"}`.
fn plugin_account(value: Value) -> Result<Credential, String> {
    let Value::Object(mut members) = value else {
        return Err("its list of accounts holds something else than objects".to_owned());
    };
    // `refreshToken|projectId|managedProjectId` is the plugin's other spelling.
    let joined = text(&members, "refreshToken")
        .unwrap_or_default()
        .to_owned();
    let mut parts = joined.split('|');
    let refresh_token = parts.next().unwrap_or_default().to_owned();
    let joined_project = parts.next_back().map(str::to_owned);
    let project = ["managedProjectId", "projectId"]
        .iter()
        .find_map(|name| text(&members, name))
        .map(str::to_owned)
        .or(joined_project)
        .filter(|project| !project.is_empty());
    members.retain(|name, _| name == "email");
    members.insert("refresh_token".to_owned(), refresh_token.into());
    if let Some(project) = project {
        members.insert("project_id".to_owned(), project.into());
    }
    account("antigravity", members)
}

/// The address in an id token; its signature does not matter for a name.
fn email_of(id_token: &str) -> Option<String> {
    let payload = id_token.split('.').nth(1)?;
    let bytes = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let claims: Members = serde_json::from_slice(&bytes).ok()?;
    text(&claims, "email").map(str::to_owned)
}

pub(super) fn text<'a>(members: &'a Members, name: &str) -> Option<&'a str> {
    let text = members.get(name)?.as_str()?.trim();
    (!text.is_empty()).then_some(text)
}
