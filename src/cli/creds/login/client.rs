//! The OAuth client to log in with: its settings, its secret, and the way to the vendor.

use crate::cli::boot::Boot;
use crate::cli::creds::Named;
use crate::cli::exit::Failure;
use crate::cli::output::Printer;
use crate::cli::prompt;
use crate::config::env::upper_name;
use crate::credentials::oauth::{Client, Http};
use crate::gateway::upstream;
use crate::providers::code_assist::login::tool_of;
use crate::providers::oauth::OAuthSpec;

/// The provider's client with its secret, which is looked for in the config and environment, in
/// stored accounts, in the vendor's own tool, and last asked for.
pub(super) fn find(
    boot: &Boot,
    named: &Named,
    spec: &OAuthSpec,
    printer: &Printer,
) -> Result<Client, Failure> {
    let settings = boot.loaded.config.providers.get(&named.id);
    let overrides = settings.map(|settings| settings.oauth.clone());
    let configured = Client::new(*spec, &overrides.unwrap_or_default());
    let siblings = boot.credentials.iter();
    let siblings = siblings.filter(|one| one.id.provider() == named.id.as_str());
    let had_none = configured.lacks_secret();
    let mut client = configured.with_known_secret(siblings);
    if had_none && !client.lacks_secret() {
        let place = tool_of(&client.client_id).map_or("another account", |tool| tool.title);
        printer.note(&format!(
            "The client secret of {} was found with {place} on this machine.",
            named.id
        ));
    }
    if client.lacks_secret() && prompt::can_ask() {
        let what = format!("Client secret of {} (kept with the account)", named.id);
        client.client_secret = prompt::optional_secret(&what)?;
    }
    if client.lacks_secret() {
        return Err(missing(named, &client));
    }
    Ok(client)
}

fn missing(named: &Named, client: &Client) -> Failure {
    let variable = upper_name(named.id.as_str());
    let tool = tool_of(&client.client_id).map_or_else(String::new, |tool| {
        format!(", or install {} on this machine", tool.title)
    });
    Failure::usage(
        format!(
            "the OAuth client of {} needs its secret, and none was found",
            named.id
        ),
        format!(
            "set {variable}_CLIENT_SECRET, or `client_secret` in [providers.{}.oauth]{tool}",
            named.id
        ),
    )
}

/// The HTTP client of a provider's log-in, through the account's proxy (`own`) or its provider's.
pub(in crate::cli::creds) fn http(
    boot: &Boot,
    named: &Named,
    own: Option<&str>,
) -> Result<Http, Failure> {
    let config = &boot.loaded.config;
    let settings = config.providers.get(&named.id);
    let proxy = settings.and_then(|settings| settings.proxy.as_ref());
    let proxy = own.or(proxy.map(|proxy| proxy.secret().expose()));
    upstream::client(upstream::Way::of(proxy), config.timeouts.connect)
        .map(|client| Http::with(client.into_inner()))
        .map_err(|error| {
            Failure::failed(
                format!("{}: {error}", named.id),
                format!("edit {}", boot.paths.config_file.display()),
            )
        })
}
