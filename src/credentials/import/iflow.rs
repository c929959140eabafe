//! iFlow's files that hold a key and no tokens: the settings of its tool, and what other programs
//! kept of a browser's session (`iflow.md` A.4, read 2026-11-22).
//!
//! The key is taken over, the session's cookie never: it belongs to a website, not to an API.

use std::path::Path;

use serde_json::Value;

use crate::credentials::import::Layout;
use crate::credentials::import::layouts::{Members, Read, text};
use crate::credentials::import::secret;
use crate::credentials::{Credential, Source};
use crate::ids::{CredentialId, ProviderId};

/// The address its keys are good at, if no other is named.
const HOST: &str = "apis.iflow.cn";

/// `true` for members that only iFlow's files have.
pub(super) fn is_its_own(members: &Members) -> bool {
    let names = |name: &str, part: &str| {
        text(members, name).is_some_and(|text| text.to_lowercase().contains(part))
    };
    names("cookie", "bxauth")
        || names("selectedAuthType", "iflow")
        || names("baseUrl", "iflow")
        || text(members, "type") == Some("iflow")
}

/// `true` for a file with a key, or a cookie, in place of tokens.
pub(super) fn is_key_file(path: &Path, members: &Members, layout: Layout) -> bool {
    if ["access_token", "refresh_token", "token"]
        .iter()
        .any(|name| has(members, name))
    {
        return false;
    }
    let keys = ["apiKey", "api_key", "cookie", "selectedAuthType"];
    let is_here = path.to_string_lossy().to_lowercase().contains("iflow");
    let is_iflow = is_its_own(members) || (layout == Layout::IFlow && is_here);
    is_iflow && keys.iter().any(|name| has(members, name))
}

/// The key of such a file.
pub(super) fn key_file(members: &Members) -> Result<Read, String> {
    let key = ["apiKey", "api_key"]
        .iter()
        .find_map(|name| text(members, name));
    let Some(key) = key.and_then(secret) else {
        let why = if has(members, "cookie") {
            "it holds a browser's cookie and no API key; cookies are not used"
        } else {
            "it holds no API key; an account's tokens are in oauth_creds.json"
        };
        return Err(why.to_owned());
    };
    let provider = ProviderId::parse("iflow").map_err(|error| error.to_string())?;
    let label = text(members, "email").or_else(|| text(members, "name"));
    let id = label
        .and_then(|label| CredentialId::new(&provider, label).ok())
        .map_or_else(|| CredentialId::new(&provider, "1"), Ok)
        .map_err(|error| error.to_string())?;
    let mut credential = Credential::api_key(id, Source::Store, key);
    credential.email = text(members, "email").map(str::to_owned);
    credential.label = label.map(str::to_owned);
    let elsewhere = text(members, "baseUrl").filter(|url| !url.contains(HOST));
    let remark = if has(members, "cookie") {
        Some("its API key only: cookies are not used, so nobody renews it".to_owned())
    } else {
        elsewhere.map(|url| format!("put its address into the config: base_url = \"{url}\""))
    };
    Ok(Read { credential, remark })
}

fn has(members: &Members, name: &str) -> bool {
    match members.get(name) {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.trim().is_empty(),
        Some(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::credentials::import::layouts;

    fn read(path: &str, file: &Value) -> Result<Read, String> {
        layouts::read(Path::new(path), file.to_string().as_bytes(), None).remove(0)
    }

    #[test]
    fn the_key_of_its_settings_is_taken_and_another_address_is_said() {
        let mut settings = json!({
            "apiKey": "sk-1", "baseUrl": "https://apis.iflow.cn/v1", "modelName": "glm-4.6",
            "selectedAuthType": "iflow",
        });
        let taken = read("/home/me/.iflow/settings.json", &settings).expect("taken");
        assert_eq!(taken.credential.id.as_str(), "iflow/1");
        assert_eq!(
            taken
                .credential
                .secret()
                .map(|key| key.expose().to_owned())
                .as_deref(),
            Some("sk-1")
        );
        assert_eq!(taken.remark, None);
        settings["baseUrl"] = json!("https://bridge.example/v1");
        let taken = read("/home/me/.iflow/settings.json", &settings).expect("taken");
        assert!(
            taken
                .remark
                .is_some_and(|remark| remark.contains("bridge.example"))
        );
        settings["apiKey"] = json!("");
        let refused = read("/home/me/.iflow/settings.json", &settings).map(|_| ());
        assert!(refused.is_err_and(|why| why.contains("no API key")));
    }

    #[test]
    fn of_a_browsers_session_only_the_key_is_taken() {
        let mut file = json!({
            "cookie": "BXAuth=secret;", "api_key": "sk-2", "name": "me", "expire_time": "2026-02-01 10:00",
            "_proxy_metadata": {"credential_type": "cookie"},
        });
        let taken = read("/x/oauth_creds/iflow_oauth_1.json", &file).expect("taken");
        assert_eq!(taken.credential.id.as_str(), "iflow/me");
        let kept = format!("{:?} {:?}", taken.credential.extra, taken.credential.label);
        assert!(!kept.contains("BXAuth"), "{kept}");
        assert!(
            taken
                .remark
                .is_some_and(|remark| remark.contains("cookies are not used"))
        );
        file["api_key"] = json!("");
        let refused = read("/x/1.json", &file).map(|_| ());
        assert!(refused.is_err_and(|why| why.contains("cookie")));
    }

    #[test]
    fn tokens_make_an_account_and_strangers_settings_no_key() {
        let account = json!({"access_token": "a", "refresh_token": "r", "apiKey": "sk-3", "cookie": "BXAuth=x"});
        let taken = read("/home/me/.iflow/oauth_creds.json", &account).expect("taken");
        let account = taken.credential.account().expect("an account");
        assert_eq!(account.extra["api_key"], "sk-3");
        assert!(!account.extra.contains_key("cookie"), "{:?}", account.extra);
        let stranger = json!({"apiKey": "sk-4", "baseUrl": "https://other.example"});
        assert!(read("/home/me/other/settings.json", &stranger).is_err());
    }
}
