//! How one logs in to a vendor's accounts, as data. Client secrets are not in it: they are looked
//! for in the config, the environment and the vendor's own tool.

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
    /// Where the account's email is read, with the access token as bearer.
    pub userinfo_url: Option<&'static str>,
    pub scopes: &'static [&'static str],
    /// Further query parameters of the log-in page: `access_type=offline`.
    pub auth_params: &'static [(&'static str, &'static str)],
    pub flow: Flow,
    pub redirect: Redirect,
    pub client_auth: ClientAuth,
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
