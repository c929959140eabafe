//! How one logs in to a vendor's accounts, as data. Client secrets are not in it: they are looked
//! for in the config, the environment and the vendor's own tool.

use std::time::Duration;

/// A vendor's log-in. Everything can be overridden in `[providers.NAME.oauth]`.
#[derive(Clone, Copy, Debug)]
pub struct OAuthSpec {
    /// The public id of the client that accounts are used through.
    pub client_id: &'static str,
    /// `true` if the token endpoint wants the client's secret as well.
    pub needs_secret: bool,
    /// Where the user logs in.
    pub auth_url: &'static str,
    /// Where codes and refresh tokens become access tokens.
    pub token_url: &'static str,
    /// Where a device flow begins.
    pub device_url: Option<&'static str>,
    /// Where the account's name is read.
    pub userinfo_url: Option<&'static str>,
    /// How that is asked, and what its answer holds.
    pub userinfo: &'static Userinfo,
    pub scopes: &'static [&'static str],
    /// Further query parameters of the log-in page: `access_type=offline`.
    pub auth_params: &'static [(&'static str, &'static str)],
    pub flow: Flow,
    /// How fast a device flow asks; `None`: as RFC 8628 has it.
    pub pace: Option<Pace>,
    pub redirect: Redirect,
    pub client_auth: ClientAuth,
    /// A token that is refused although it was just renewed means that the account needs a new
    /// log-in.
    pub fresh_refusal_is_final: bool,
    /// How long before its end an access token is renewed, in seconds.
    pub refresh_lead_secs: u64,
}

/// The vendor's own program, whose files hold the secret of its OAuth client.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    /// The client that it logs in as.
    pub client_id: &'static str,
    /// Its name as the vendor writes it.
    pub title: &'static str,
    /// The commands it is started by.
    pub commands: &'static [&'static str],
    /// The npm packages it is installed as.
    pub packages: &'static [&'static str],
    /// Files or directories of the application; `~/` is the user's home.
    pub applications: &'static [&'static str],
    /// What the secret begins with, and how long it is with that.
    pub secret_prefix: &'static str,
    pub secret_chars: usize,
}

/// What the user-info endpoint is like.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub struct Userinfo {
    /// Where the access token goes.
    pub token_in: TokenIn,
    /// JSON pointers to what names the account, the first that is filled counts. What holds an `@`
    /// is an email address, anything else a label.
    pub names: &'static [&'static str],
    /// What requests are sent with.
    pub bearer: Bearer,
}

/// Where a user-info request carries the access token.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum TokenIn {
    /// `Authorization: Bearer`.
    Header,
    /// A query parameter of this name.
    Query(&'static str),
}

/// What inference requests of an account are sent with.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Bearer {
    AccessToken,
    /// A key that user info tells, read anew after each refresh.
    Fact {
        /// What it is kept as with the account.
        name: &'static str,
        /// Where the answer holds it (JSON pointer).
        pointer: &'static str,
    },
}

/// How often a device flow asks whether the user is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// The first pause, where the server names none, in seconds.
    pub first_secs: u64,
    /// What `slow_down` multiplies the pause by.
    pub slower_by: f64,
    /// The longest pause, in seconds.
    pub longest_secs: u64,
}

impl Userinfo {
    /// The standard's (OIDC Core 1.0 §5.3).
    pub const STANDARD: Self = Self {
        token_in: TokenIn::Header,
        names: &["/email"],
        bearer: Bearer::AccessToken,
    };
}

impl Pace {
    /// The pause after `slow_down`.
    #[must_use]
    pub fn slower(self, pause: Duration) -> Duration {
        let longest = Duration::from_secs(self.longest_secs);
        pause.mul_f64(self.slower_by.clamp(1.0, 10.0)).min(longest)
    }
}

/// How the user's consent comes back.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Flow {
    /// A code that the browser brings to a loopback port.
    Code {
        /// Whether the vendor understands PKCE (RFC 7636); `true` unless it is known not to.
        pkce: bool,
    },
    /// A code that the user types in at another device (RFC 8628).
    Device {
        /// Whether the device request carries a PKCE challenge.
        pkce: bool,
    },
}

/// Where the browser comes back to. The listener is on 127.0.0.1 whatever the URL says.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub struct Redirect {
    /// The host in the URL: `127.0.0.1`, or `localhost` where that is what is registered.
    pub host: &'static str,
    /// The registered port; 0 where any will do.
    pub port: u16,
    /// The path with its slash.
    pub path: &'static str,
    /// The name of the parameter on the log-in page; `redirect_uri` in the standard.
    pub parameter: &'static str,
}

/// How the client proves itself to the token endpoint.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum ClientAuth {
    /// Id and secret in an `Authorization: Basic` header and in the form.
    BasicAndForm,
    /// Id and secret (if there is one) in the form.
    Form,
}
