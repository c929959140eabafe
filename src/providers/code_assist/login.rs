//! How one logs in to Google's accounts as Gemini CLI and as Antigravity do.
//!
//! Both are "installed applications" at Google: a code with PKCE that the browser brings to a
//! loopback port, any port and path. Their client secrets are no part of this program: they are
//! looked for where the vendor's own tool is installed.

use crate::providers::oauth::{ClientAuth, Flow, OAuthSpec, Redirect, Tool, Userinfo};

/// Where a Google account logs in
/// (<https://developers.google.com/identity/protocols/oauth2/native-app>, read 2026-11-22).
const AUTH_URL: &str = "https://accounts.google.com/o/oauth2/v2/auth";
const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";
const USERINFO_URL: &str = "https://www.googleapis.com/oauth2/v2/userinfo";

/// A refresh token comes with offline access only, and only when consent is asked for anew.
const AUTH_PARAMS: &[(&str, &str)] = &[("access_type", "offline"), ("prompt", "consent")];

/// Log-in of Gemini CLI (google-gemini/gemini-cli, `code_assist/oauth2.ts`, read 2026-11-22).
pub const GEMINI_CLI: OAuthSpec = OAuthSpec {
    client_id: "681255809395-oo8ft2oprdrnp9e3aqf6av3hmdib135j.apps.googleusercontent.com",
    needs_secret: true,
    auth_url: AUTH_URL,
    token_url: TOKEN_URL,
    device_url: None,
    userinfo_url: Some(USERINFO_URL),
    userinfo: &Userinfo::STANDARD,
    pace: None,
    scopes: &[
        "https://www.googleapis.com/auth/cloud-platform",
        "https://www.googleapis.com/auth/userinfo.email",
        "https://www.googleapis.com/auth/userinfo.profile",
    ],
    auth_params: AUTH_PARAMS,
    flow: Flow::Code { pkce: true },
    redirect: Redirect {
        host: "127.0.0.1",
        // The vendor's tool takes any free one as well.
        port: 0,
        path: "/oauth2callback",
        parameter: "redirect_uri",
    },
    client_auth: ClientAuth::Form,
    fresh_refusal_is_final: false,
    refresh_lead_secs: 15 * 60,
};

/// Log-in of Antigravity (observed behaviour of its clients; wire notes read 2026-11-22).
pub const ANTIGRAVITY: OAuthSpec = OAuthSpec {
    client_id: "1071006060591-tmhssin2h21lcre235vtolojh4g403ep.apps.googleusercontent.com",
    scopes: &[
        "https://www.googleapis.com/auth/cloud-platform",
        "https://www.googleapis.com/auth/userinfo.email",
        "https://www.googleapis.com/auth/userinfo.profile",
        "https://www.googleapis.com/auth/cclog",
        "https://www.googleapis.com/auth/experimentsandconfigs",
    ],
    redirect: Redirect {
        host: "localhost",
        port: 51121,
        path: "/oauth-callback",
        parameter: "redirect_uri",
    },
    fresh_refusal_is_final: false,
    refresh_lead_secs: 30 * 60,
    ..GEMINI_CLI
};

/// The vendor's programs whose clients these are. Secrets of Google's clients are `GOCSPX-` and 28
/// characters.
static TOOLS: [Tool; 2] = [
    Tool {
        client_id: GEMINI_CLI.client_id,
        title: "Gemini CLI",
        commands: &["gemini"],
        packages: &["@google/gemini-cli", "@google/gemini-cli-core"],
        applications: &[],
        secret_prefix: "GOCSPX-",
        secret_chars: 35,
    },
    Tool {
        client_id: ANTIGRAVITY.client_id,
        title: "Antigravity",
        commands: &["agy", "antigravity"],
        packages: &[],
        applications: &[
            "/Applications/Antigravity.app/Contents/Resources/app",
            "~/Applications/Antigravity.app/Contents/Resources/app",
            "/usr/share/antigravity/resources/app",
            "/opt/Antigravity/resources/app",
            "/opt/antigravity/resources/app",
            "~/.local/share/antigravity/resources/app",
            "~/.local/bin/agy",
            "~/AppData/Local/Programs/Antigravity/resources/app",
        ],
        secret_prefix: "GOCSPX-",
        secret_chars: 35,
    },
];

/// The program that logs in as this client.
pub fn tool_of(client_id: &str) -> Option<&'static Tool> {
    TOOLS.iter().find(|tool| tool.client_id == client_id)
}
