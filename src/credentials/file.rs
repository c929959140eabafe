//! The form of a credential file: versioned JSON with a check sum, unknown members kept.
//!
//! ```json
//! {"version":1,"kind":"api_key","provider":"gemini","name":"work","key":"…","tier":"paid",
//!  "check":"…"}
//! ```
//!
//! An account has `oauth` in place of `key`. `check` is a SHA-256 over all other members; a file
//! without it (written by hand) is taken as it is.

use std::path::Path;

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::credentials::durable::StoreError;
use crate::credentials::{Account, Credential, Kind, Material, Source};
use crate::ids::{CredentialId, ProviderId};
use crate::secret::Secret;
use crate::time::Timestamp;

/// The format this version writes.
const VERSION: u64 = 1;

/// File names longer than this are shortened; file systems allow 255 bytes.
const MAX_STEM_BYTES: usize = 200;

/// The file's name for a credential's name: safe on every file system, also those that do not
/// tell upper from lower case. The name itself is in the file.
pub(super) fn file_name(name: &str) -> String {
    let mut stem = String::new();
    for (at, byte) in name.bytes().enumerate() {
        let plain = byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"@_-+".contains(&byte);
        if plain || (byte == b'.' && at > 0) {
            stem.push(char::from(byte));
        } else {
            stem.push('%');
            stem.push_str(&hex(&[byte]));
        }
    }
    if stem.len() > MAX_STEM_BYTES {
        stem.truncate(MAX_STEM_BYTES - 33);
        stem.push('~');
        stem.push_str(&sum(name.as_bytes()));
    }
    stem.push_str(".json");
    stem
}

/// Writes a credential in its file form.
pub(super) fn write(credential: &Credential) -> Zeroizing<Vec<u8>> {
    let mut members = credential.extra.clone();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            members.insert(name.to_owned(), value);
        }
    };
    put("version", Some(VERSION.into()));
    put("kind", Some(credential.kind().as_str().into()));
    put("provider", Some(credential.id.provider().into()));
    put("name", Some(credential.id.name().into()));
    put("label", credential.label.clone().map(Value::from));
    put("email", credential.email.clone().map(Value::from));
    put("tier", credential.tier.clone().map(Value::from));
    put("priority", credential.priority.map(Value::from));
    put("proxy", credential.proxy.clone().map(Value::from));
    put("disabled", credential.disabled.then_some(Value::Bool(true)));
    put("created_at", time(credential.created));
    put("updated_at", time(credential.updated));
    match &credential.material {
        Material::ApiKey(secret) => put("key", Some(secret.expose().into())),
        Material::OAuth(account) => put("oauth", Some(Value::Object(write_account(account)))),
    }
    let check = sum(Value::Object(members.clone()).to_string().as_bytes());
    members.insert("check".to_owned(), check.into());
    let mut text = Zeroizing::new(format!("{:#}", Value::Object(members)).into_bytes());
    text.push(b'\n');
    text
}

/// Reads a file's content. `path` is only for the error.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Credential, StoreError> {
    parse(bytes).map_err(|fault| match fault {
        Fault::Newer(version) => StoreError::Newer {
            path: path.to_owned(),
            version,
        },
        Fault::Damaged(reason) => StoreError::damaged(path, reason),
    })
}

/// Reads a credential as [`write`] writes it, wherever it comes from.
pub(super) fn parse(bytes: &[u8]) -> Result<Credential, Fault> {
    let mut members: Map<String, Value> = serde_json::from_slice(bytes).map_err(|error| {
        // serde's own words may quote the content, which is a secret.
        let (line, column) = (error.line(), error.column());
        Fault::Damaged(format!(
            "it is no JSON object (line {line}, column {column})"
        ))
    })?;
    match members.remove("version").and_then(|value| value.as_u64()) {
        Some(VERSION) => {}
        Some(version) if version > VERSION => return Err(Fault::Newer(version)),
        _ => return Err(bad("`version` is missing or unknown")),
    }
    if let Some(check) = members.remove("check") {
        let mut summed = members.clone();
        summed.insert("version".to_owned(), VERSION.into());
        if check != sum(Value::Object(summed).to_string().as_bytes()) {
            return Err(bad(
                "its check sum does not match (after a change by hand, remove `check`)",
            ));
        }
    }
    let kind = take_text(&mut members, "kind")?;
    let provider = take_text(&mut members, "provider")?.unwrap_or_default();
    let name = take_text(&mut members, "name")?.unwrap_or_default();
    let id = ProviderId::parse(&provider)
        .and_then(|provider| CredentialId::new(&provider, &name))
        .map_err(|error| Fault::Damaged(error.to_string()))?;
    let mut credential = match kind.as_deref() {
        Some(kind) if kind == Kind::ApiKey.as_str() => {
            let secret = take_secret(&mut members, "key")?.ok_or_else(|| bad("`key` is empty"))?;
            Credential::api_key(id, Source::Store, secret)
        }
        Some(kind) if kind == Kind::OAuth.as_str() => {
            let Some(Value::Object(account)) = members.remove("oauth") else {
                return Err(bad("`oauth` is missing"));
            };
            Credential::oauth(id, Source::Store, read_account(account)?)
        }
        _ => return Err(bad("`kind` is neither \"api_key\" nor \"oauth\"")),
    };
    credential.label = take_text(&mut members, "label")?;
    credential.email = take_text(&mut members, "email")?;
    credential.tier = take_text(&mut members, "tier")?;
    credential.proxy = take_text(&mut members, "proxy")?;
    credential.priority = match members.remove("priority") {
        None | Some(Value::Null) => None,
        Some(value) => Some(
            value
                .as_u64()
                .and_then(|number| u32::try_from(number).ok())
                .ok_or_else(|| bad("`priority` is no number"))?,
        ),
    };
    credential.disabled = members.remove("disabled") == Some(Value::Bool(true));
    credential.created = take_time(&mut members, "created_at")?;
    credential.updated = take_time(&mut members, "updated_at")?;
    credential.extra = members;
    Ok(credential)
}

/// What is wrong with a file's content.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Damaged(String),
    Newer(u64),
}

/// An account's tokens and facts as JSON, as another instance reads them with [`account_of`].
pub(super) fn text_of(account: &Account) -> Zeroizing<Vec<u8>> {
    let members = Value::Object(write_account(account));
    Zeroizing::new(members.to_string().into_bytes())
}

/// An account that was written by [`text_of`]; `None` for anything else.
pub(super) fn account_of(text: &[u8]) -> Option<Account> {
    read_account(serde_json::from_slice(text).ok()?).ok()
}

fn write_account(account: &Account) -> Map<String, Value> {
    let mut members = account.extra.clone();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            members.insert(name.to_owned(), value);
        }
    };
    let secret = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose().into());
    put("access_token", secret(&account.access_token));
    put("refresh_token", secret(&account.refresh_token));
    put("expires_at", time(account.expires));
    put("client_id", account.client_id.clone().map(Value::from));
    put("client_secret", secret(&account.client_secret));
    put("generation", Some(account.generation.into()));
    put(
        "expired_reason",
        account.expired_reason.clone().map(Value::from),
    );
    members
}

fn read_account(mut members: Map<String, Value>) -> Result<Account, Fault> {
    Ok(Account {
        access_token: take_secret(&mut members, "access_token")?,
        refresh_token: take_secret(&mut members, "refresh_token")?,
        expires: take_time(&mut members, "expires_at")?,
        client_id: take_text(&mut members, "client_id")?,
        client_secret: take_secret(&mut members, "client_secret")?,
        generation: members
            .remove("generation")
            .and_then(|value| value.as_u64())
            .unwrap_or(0),
        expired_reason: take_text(&mut members, "expired_reason")?,
        extra: members,
    })
}

fn take_text(members: &mut Map<String, Value>, name: &str) -> Result<Option<String>, Fault> {
    match members.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(bad(&format!("`{name}` is no text"))),
    }
}

/// `None` for an absent or empty secret.
fn take_secret(members: &mut Map<String, Value>, name: &str) -> Result<Option<Secret>, Fault> {
    let text = take_text(members, name)?.map(Zeroizing::new);
    Ok(text
        .map(|text| Secret::new(&text))
        .filter(|secret| !secret.is_empty()))
}

fn take_time(members: &mut Map<String, Value>, name: &str) -> Result<Option<Timestamp>, Fault> {
    take_text(members, name)?
        .map(|text| {
            Timestamp::parse_rfc3339(&text)
                .ok_or_else(|| bad(&format!("`{name}` is no RFC 3339 time")))
        })
        .transpose()
}

fn time(time: Option<Timestamp>) -> Option<Value> {
    time.map(|time| time.to_rfc3339().into())
}

fn bad(reason: &str) -> Fault {
    Fault::Damaged(reason.to_owned())
}

/// The first half of a SHA-256 in hex: against accidents, not against people.
fn sum(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    hex(digest.as_ref().get(..16).unwrap_or_default())
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(u32::from(digit), 16));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Credential {
        let id = CredentialId::parse("gemini/work").expect("a valid id");
        let mut credential = Credential::api_key(id, Source::Store, Secret::new("key-0123456789"));
        credential.tier = Some("paid".to_owned());
        credential.priority = Some(2);
        credential.created = Some(Timestamp::from_secs(1_795_600_000));
        credential
            .extra
            .insert("from_the_future".to_owned(), Value::from("kept"));
        credential
    }

    fn account() -> Credential {
        let id = CredentialId::parse("gemini_cli/me@example.com").expect("a valid id");
        let mut account = Account {
            access_token: Some(Secret::new("at-1")),
            refresh_token: Some(Secret::new("rt-1")),
            expires: Some(Timestamp::from_secs(1_795_600_000)),
            generation: 7,
            ..Account::default()
        };
        account
            .extra
            .insert("project_id".to_owned(), Value::from("p-1"));
        Credential::oauth(id, Source::Store, account)
    }

    #[test]
    fn a_credential_survives_its_file_with_unknown_members() {
        for credential in [sample(), account()] {
            let text = write(&credential);
            let back = parse(&text).expect("our own form");
            assert_eq!(back.id, credential.id);
            assert_eq!(back.kind(), credential.kind());
            assert_eq!(back.tier, credential.tier);
            assert_eq!(back.priority, credential.priority);
            assert_eq!(back.extra, credential.extra);
            assert_eq!(*write(&back), *text);
        }
    }

    #[test]
    fn tokens_and_vendor_data_of_an_account_survive() {
        let back = parse(&write(&account())).expect("our own form");
        let account = back.account().expect("an account");
        assert_eq!(account.generation, 7);
        assert_eq!(account.expires, Some(Timestamp::from_secs(1_795_600_000)));
        assert_eq!(account.extra.get("project_id"), Some(&Value::from("p-1")));
        let refresh = account.refresh_token.as_ref().expect("kept");
        assert_eq!(refresh.expose(), "rt-1");
    }

    #[test]
    fn an_account_crosses_to_another_instance_whole() {
        let account = account().account().expect("an account").clone();
        let crossed = account_of(&text_of(&account)).expect("it can be read");
        assert_eq!(*text_of(&crossed), *text_of(&account));
        assert_eq!(crossed.generation, account.generation);
        assert!(account_of(b"nonsense").is_none());
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_noticed_or_harmless() {
        let text = write(&sample());
        for at in 0..text.len() - 1 {
            assert!(parse(&text[..at]).is_err(), "cut at {at}");
            let mut flipped = text.to_vec();
            flipped[at] ^= 0x01;
            // White space between members may change; the content may not.
            if let Ok(credential) = parse(&flipped) {
                let secret = credential.secret().expect("a key").expose().to_owned();
                assert_eq!(
                    (secret.as_str(), credential.id.as_str()),
                    ("key-0123456789", "gemini/work"),
                    "flip at {at}"
                );
            }
        }
    }

    #[test]
    fn a_file_of_a_later_version_is_told_from_a_damaged_one() {
        assert_eq!(
            parse(br#"{"version":2}"#).expect_err("unknown"),
            Fault::Newer(2)
        );
        for damaged in [
            "",
            "[]",
            "{}",
            "null",
            r#"{"version":"1"}"#,
            "{\"version\":1",
        ] {
            let fault = parse(damaged.as_bytes()).expect_err(damaged);
            assert!(matches!(fault, Fault::Damaged(_)), "{damaged}");
        }
    }

    #[test]
    fn a_file_written_by_hand_needs_no_check_sum() {
        let text = br#"{"version":1,"kind":"api_key","provider":"openai","name":"1","key":"k"}"#;
        assert!(parse(text).is_ok());
        let empty = br#"{"version":1,"kind":"api_key","provider":"openai","name":"1","key":""}"#;
        assert!(parse(empty).is_err());
    }

    #[test]
    fn numbers_of_other_programs_do_not_break_the_check_sum() {
        // Python's time.time() has more digits than a number is read with in a hurry.
        for number in [
            "1764000017.3451927",
            "30000000000000000000000000000000000000",
            "11111111111111113111111111111111111111111111111111",
        ] {
            let text = format!(
                r#"{{"version":1,"kind":"oauth","provider":"gemini_cli","name":"1","seen":{number},
                    "oauth":{{"access_token":"a","refresh_token":"r","at":{number}}}}}"#
            );
            let credential = parse(text.as_bytes()).expect("a credential");
            let written = write(&credential);
            let again = parse(&written).expect(number);
            assert_eq!(*write(&again), *written, "{number}");
        }
    }

    #[test]
    fn file_names_are_safe_and_distinct() {
        let long = "é".repeat(127);
        let names = [
            "1",
            "me@example.com",
            "Work",
            "work",
            "..",
            ".hidden",
            "a\\b",
            "%57ork",
            &long,
        ];
        let files: Vec<String> = names.iter().map(|name| file_name(name)).collect();
        for file in &files {
            assert!(!file.starts_with('.') && file.len() < 255, "{file}");
            assert!(!file.contains(['/', '\\']), "{file}");
        }
        let mut distinct = files.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), names.len());
        assert_eq!(files[1], "me@example.com.json");
    }
}
