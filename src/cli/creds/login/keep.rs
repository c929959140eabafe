//! The account of a log-in, on its way into the store.

use crate::cli::boot::Boot;
use crate::cli::creds::add::{AddArgs, check_label};
use crate::cli::creds::{self, Named};
use crate::cli::exit::Failure;
use crate::cli::prompt;
use crate::credentials::collect::free_name;
use crate::credentials::oauth::Client;
use crate::credentials::oauth::exchange::Tokens;
use crate::credentials::refresh::with_tokens;
use crate::credentials::{Account, Credential, Material, Source};
use crate::ids::CredentialId;
use crate::time::Timestamp;

/// The name of an account before it has one; nothing is stored under it.
const DRAFT: &str = "candidate";

/// An account in the store, and what storing it changed.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) credential: Credential,
    pub(super) change: Change,
}

/// What storing an account changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Added,
    /// Another account had the label.
    Replaced,
    /// The same account.
    Updated,
}

/// The account as the log-in gave it, under an id for the moment. `name` is an email address, or
/// what else the vendor names its accounts by (a phone number).
pub(super) fn draft(
    named: &Named,
    client: &Client,
    args: &AddArgs,
    tokens: Tokens,
    name: Option<String>,
) -> Result<Credential, Failure> {
    let id = CredentialId::new(&named.id, DRAFT)
        .map_err(|error| Failure::usage(error.to_string(), "give it a --label"))?;
    let mut account = with_tokens(Account::default(), tokens, Timestamp::now());
    account.client_id = Some(client.client_id.clone());
    account.client_secret.clone_from(&client.client_secret);
    if let Some(project) = &args.project {
        let project = project.as_str().into();
        account.extra.insert("project_id".to_owned(), project);
    }
    let (email, name) = match name {
        Some(name) if name.contains('@') => (Some(name), None),
        name => (None, name),
    };
    Ok(Credential {
        email,
        label: args.label.clone().or(name),
        tier: args.tier.clone(),
        priority: args.priority,
        proxy: args.proxy.clone(),
        ..Credential::oauth(id, Source::Store, account)
    })
}

/// Writes the account: in the place of the one with the same address, or anew.
pub(super) fn keep(
    boot: &Boot,
    named: &Named,
    args: &AddArgs,
    draft: Credential,
) -> Result<Kept, Failure> {
    let label = args.label.as_deref();
    let label = label.map(|label| check_label(named, label)).transpose()?;
    confirm_replacement(boot, label.as_ref(), &draft, args.yes)?;
    let store = boot.store.change().map_err(|error| creds::stored(&error))?;
    let stored = boot.store.load().credentials;
    let of_provider = || {
        stored
            .iter()
            .filter(|one| one.id.provider() == named.id.as_str())
    };
    let is_same = |one: &&Credential| match (&one.email, &draft.email) {
        (Some(one), Some(email)) => one.eq_ignore_ascii_case(email),
        _ if label.is_some() => Some(&one.id) == label.as_ref(),
        // Vendors that know no addresses still name their accounts.
        _ => draft.label.is_some() && one.label == draft.label,
    };
    let now = Timestamp::now();
    let known = of_provider().find(is_same).cloned();
    let is_known = known.is_some();
    let by_email = || CredentialId::new(&named.id, draft.email.as_deref()?).ok();
    let mut credential = match known {
        Some(known) => known,
        None => fresh(boot, named, &stored, label.or_else(by_email), now)?,
    };
    let before = credential.account().cloned().unwrap_or_default();
    let mut account = draft.account().cloned().unwrap_or_default();
    // A running server takes the higher number for the newer tokens, also of another account.
    let replaced = stored.iter().find(|one| one.id == credential.id);
    let replaced = replaced.and_then(Credential::account);
    let generation = replaced.map_or(0, |account| account.generation);
    account.generation = generation.saturating_add(1);
    // What was known of the account and is not said anew stays.
    for (name, value) in before.extra {
        account.extra.entry(name).or_insert(value);
    }
    credential.material = Material::OAuth(Box::new(account));
    credential.extra.extend(draft.extra);
    credential.disabled = false;
    credential.updated = Some(now);
    credential.email = draft.email.or(credential.email);
    credential.label = draft.label.or(credential.label);
    credential.tier = draft.tier.or(credential.tier);
    credential.priority = draft.priority.or(credential.priority);
    credential.proxy = draft.proxy.or(credential.proxy);
    store
        .put(&credential)
        .map_err(|error| creds::stored(&error))?;
    let change = match (is_known, replaced) {
        (true, _) => Change::Updated,
        (false, Some(_)) => Change::Replaced,
        (false, None) => Change::Added,
    };
    Ok(Kept { credential, change })
}

/// Asks before another account under the same label is replaced. Before the lock is taken: a person
/// may take a while to answer.
fn confirm_replacement(
    boot: &Boot,
    label: Option<&CredentialId>,
    draft: &Credential,
    yes: bool,
) -> Result<(), Failure> {
    let Some(label) = label else { return Ok(()) };
    let holder = boot.store.get(label);
    let holder = holder.map_err(|error| creds::stored(&error))?;
    let others = holder.filter(|holder| match (&holder.email, &draft.email) {
        (Some(own), Some(email)) => !own.eq_ignore_ascii_case(email),
        _ => false,
    });
    let Some(holder) = others else { return Ok(()) };
    let whose = holder.email.as_deref().unwrap_or_default();
    if prompt::confirm(&format!("{label} is {whose}. Replace it?"), yes)? {
        return Ok(());
    }
    Err(Failure::failed(
        format!("{label} was left as it is"),
        "choose another --label",
    ))
}

/// An account without tokens, under the given id or the smallest free number.
fn fresh(
    boot: &Boot,
    named: &Named,
    stored: &[Credential],
    id: Option<CredentialId>,
    now: Timestamp,
) -> Result<Credential, Failure> {
    let taken = [&boot.credentials, stored].concat();
    let numbered = || CredentialId::new(&named.id, &free_name(&named.id, &taken));
    let id = id
        .map_or_else(numbered, Ok)
        .map_err(|error| Failure::usage(error.to_string(), "give it a --label"))?;
    Ok(Credential {
        created: Some(now),
        ..Credential::oauth(id, Source::Store, Account::default())
    })
}
