//! Credentials on their way out, for another machine: our own JSON, or `.env` lines.

use zeroize::Zeroizing;

use crate::config::env::upper_name;
use crate::credentials::{Credential, Material, file};
use crate::time::Timestamp;

/// The file form, which `creds import` reads. It holds the secret.
pub fn json(credential: &Credential) -> Zeroizing<Vec<u8>> {
    file::write(credential)
}

/// `.env` lines. `key_variable` is the provider's name for a key: `GEMINI_API_KEY`. They hold the
/// secret.
pub fn env(credential: &Credential, key_variable: &str) -> Zeroizing<String> {
    let mut lines = Zeroizing::new(String::new());
    let mut line = |name: &str, value: Option<&str>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            lines.push_str(name);
            lines.push('=');
            lines.push_str(&quoted(value));
            lines.push('\n');
        }
    };
    let account = match &credential.material {
        Material::ApiKey(secret) => {
            line(key_variable, Some(secret.expose()));
            return lines;
        }
        Material::OAuth(account) => account,
    };
    let prefix = upper_name(credential.id.provider());
    if prefix.starts_with(|c: char| c.is_ascii_digit()) {
        // No shell and no `.env` reader takes such a name.
        lines.push_str("# no variable can be named after ");
        lines.push_str(credential.id.provider());
        lines.push('\n');
        return lines;
    }
    let mut field = |name: &str, value: Option<&str>| line(&format!("{prefix}_1_{name}"), value);
    let exposed = |secret: &'_ Option<crate::secret::Secret>| {
        secret.as_ref().map(|secret| secret.expose().to_owned())
    };
    field("ACCESS_TOKEN", exposed(&account.access_token).as_deref());
    field("REFRESH_TOKEN", exposed(&account.refresh_token).as_deref());
    let expires = account.expires.map(Timestamp::as_millis);
    field("EXPIRY_DATE", expires.map(|end| end.to_string()).as_deref());
    field("CLIENT_ID", account.client_id.as_deref());
    field("CLIENT_SECRET", exposed(&account.client_secret).as_deref());
    field("EMAIL", credential.email.as_deref());
    field("TIER", credential.tier());
    for (name, member) in [
        ("PROJECT_ID", "project_id"),
        ("RESOURCE_URL", "resource_url"),
        ("API_KEY", "api_key"),
    ] {
        field(
            name,
            account.extra.get(member).and_then(|value| value.as_str()),
        );
    }
    lines
}

/// Quotes a value where a shell or a `.env` reader would take it apart.
fn quoted(value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.~/+=:@,%".contains(c);
    if value.chars().all(is_plain) {
        return value.to_owned();
    }
    // Shells and `.env` readers differ inside double quotes; single ones are literal to both, but for
    // a quote itself and a backslash, which python-dotenv takes for an escape: those are written
    // between double ones.
    if !value.contains(['\'', '\\']) {
        return format!("'{value}'");
    }
    let escaped = value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('$', "\\$");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::dotenv;
    use crate::credentials::{Account, Source};
    use crate::ids::CredentialId;
    use crate::secret::Secret;

    fn id(text: &str) -> CredentialId {
        CredentialId::parse(text).expect("a valid id")
    }

    #[test]
    fn whatever_a_key_holds_it_is_read_as_it_was() {
        for key in [
            r"a\",
            r"\\\",
            r"it's \",
            r#"say "hi" \n"#,
            "a$b ${c}",
            "#no comment",
        ] {
            let secret = Secret::new(key);
            let credential = Credential::api_key(id("gemini/1"), Source::Store, secret);
            let lines = env(&credential, "GEMINI_API_KEY");
            let read = dotenv::parse(&lines, &|_| None).expect("a sound .env");
            assert_eq!(read[0].value, key, "{}", *lines);
        }
    }

    #[test]
    fn a_key_is_one_line() {
        let key = Credential::api_key(id("gemini/1"), Source::Store, Secret::new("AIza-x_1"));
        assert_eq!(
            env(&key, "GEMINI_API_KEY").as_str(),
            "GEMINI_API_KEY=AIza-x_1\n"
        );
        let odd = Credential::api_key(id("x/1"), Source::Store, Secret::new("a b$c"));
        assert_eq!(env(&odd, "X_API_KEY").as_str(), "X_API_KEY='a b$c'\n");
    }

    #[test]
    fn an_account_is_a_line_for_each_thing_known() {
        let mut account = Account {
            refresh_token: Some(Secret::new("1//r")),
            expires: Some(Timestamp::from_secs(1)),
            ..Account::default()
        };
        account.extra.insert("project_id".to_owned(), "p".into());
        let account = Credential::oauth(id("gemini_cli/1"), Source::Store, account);
        assert_eq!(
            env(&account, "").as_str(),
            "GEMINI_CLI_1_REFRESH_TOKEN=1//r\nGEMINI_CLI_1_EXPIRY_DATE=1000\n\
             GEMINI_CLI_1_PROJECT_ID=p\n"
        );
    }
}
