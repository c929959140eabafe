//! How one logged in: an authorization code without PKCE, its parameters by other names.

use crate::providers::oauth::{Bearer, ClientAuth, Flow, OAuthSpec, Redirect, TokenIn, Userinfo};

/// Clients of February to April 2026, read 2026-11-22. The client's secret is looked for in the
/// configuration and the environment.
pub(super) const OAUTH: OAuthSpec = OAuthSpec {
    client_id: "10009311001",
    needs_secret: true,
    auth_url: "https://iflow.cn/oauth",
    token_url: "https://iflow.cn/oauth/token",
    device_url: None,
    userinfo_url: Some("https://iflow.cn/api/oauth/getUserInfo"),
    userinfo: &Userinfo {
        token_in: TokenIn::Query("accessToken"),
        names: &["/data/email", "/data/phone"],
        bearer: Bearer::Fact {
            name: "api_key",
            pointer: "/data/apiKey",
        },
    },
    scopes: &[],
    auth_params: &[("loginMethod", "phone"), ("type", "phone")],
    flow: Flow::Code { pkce: false },
    pace: None,
    redirect: Redirect {
        host: "localhost",
        port: 11451,
        path: "/oauth2callback",
        // In the token request it has its usual name.
        parameter: "redirect",
    },
    client_auth: ClientAuth::BasicAndForm,
    fresh_refusal_is_final: true,
    // Tokens live two or three days.
    refresh_lead_secs: 24 * 60 * 60,
};
