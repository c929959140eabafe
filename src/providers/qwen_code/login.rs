//! How one logged in: RFC 8628's device flow with PKCE, as a public client without a secret.

use crate::providers::oauth::{ClientAuth, Flow, OAuthSpec, Pace, Redirect, Userinfo};

/// QwenLM/qwen-code `packages/core/src/qwen/qwenOAuth2.ts`, read 2026-11-22.
pub(super) const OAUTH: OAuthSpec = OAuthSpec {
    client_id: "f0304373b74a44d2b584a3fb70ca9e56",
    needs_secret: false,
    auth_url: "https://chat.qwen.ai/authorize",
    token_url: "https://chat.qwen.ai/api/v1/oauth2/token",
    device_url: Some("https://chat.qwen.ai/api/v1/oauth2/device/code"),
    // There is none for this client: a label is the user's.
    userinfo_url: None,
    userinfo: &Userinfo::STANDARD,
    scopes: &["openid", "profile", "email", "model.completion"],
    auth_params: &[],
    flow: Flow::Device { pkce: true },
    // The vendor's own: 429 `slow_down` makes the pause half as long again.
    pace: Some(Pace {
        first_secs: 2,
        slower_by: 1.5,
        longest_secs: 10,
    }),
    redirect: Redirect {
        host: "127.0.0.1",
        port: 0,
        path: "/callback",
        parameter: "redirect_uri",
    },
    client_auth: ClientAuth::Form,
    fresh_refusal_is_final: true,
    // Tokens live about six hours.
    refresh_lead_secs: 20 * 60,
};
