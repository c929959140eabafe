//! What was found against what is there: each candidate is taken, brought up to date, or known.

use crate::credentials::collect::free_name;
use crate::credentials::import::Candidate;
use crate::credentials::{Credential, Material, Source};
use crate::ids::{CredentialId, ProviderId};
use crate::secret::Secret;
use crate::time::Timestamp;

/// What becomes of a candidate.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Grade {
    /// It is there already.
    Duplicate,
    /// It is new.
    Taken,
    /// It is there with older tokens.
    Updated,
}

/// One candidate's fate, with the credential to store; `None` for a duplicate.
#[derive(Clone, Debug)]
pub struct Finding {
    pub id: CredentialId,
    pub place: String,
    pub grade: Grade,
    pub credential: Option<Credential>,
    /// What its owner should know.
    pub remark: Option<String>,
}

/// Compares candidates with what is stored and with each other. Pure: nothing is written.
pub fn merge(candidates: Vec<Candidate>, stored: &[Credential], now: Timestamp) -> Vec<Finding> {
    let mut known: Vec<Credential> = stored.to_vec();
    let mut findings = Vec::new();
    for candidate in candidates {
        let finding = judge(candidate, &known, now);
        if let Some(credential) = &finding.credential {
            known.retain(|one| one.id != credential.id);
            known.push(credential.clone());
        }
        findings.push(finding);
    }
    findings
}

fn judge(candidate: Candidate, known: &[Credential], now: Timestamp) -> Finding {
    let Candidate {
        credential,
        place,
        remark,
    } = candidate;
    let finding = |id: &CredentialId, grade, credential| Finding {
        id: id.clone(),
        place: place.clone(),
        grade,
        credential,
        remark: remark.clone(),
    };
    if let Some(same) = known.iter().find(|one| is_same(one, &credential)) {
        let Some(newer) = newer(same, &credential, now) else {
            return finding(&same.id, Grade::Duplicate, None);
        };
        return finding(&same.id, Grade::Updated, Some(newer));
    }
    let mut credential = credential;
    credential.source = Source::Store;
    credential.created = credential.created.or(Some(now));
    credential.updated = Some(now);
    if known.iter().any(|one| one.id == credential.id)
        && let Ok(provider) = ProviderId::parse(credential.id.provider())
        && let Ok(id) = CredentialId::new(&provider, &free_name(&provider, known))
    {
        credential.id = id;
    }
    finding(&credential.id.clone(), Grade::Taken, Some(credential))
}

/// The same key, or the same account: by its address, else by its refresh token.
fn is_same(one: &Credential, other: &Credential) -> bool {
    if one.id.provider() != other.id.provider() {
        return false;
    }
    match (&one.material, &other.material) {
        (Material::ApiKey(a), Material::ApiKey(b)) => a.matches(b.expose()),
        (Material::OAuth(a), Material::OAuth(b)) => match (&one.email, &other.email) {
            (Some(a), Some(b)) => a.eq_ignore_ascii_case(b),
            _ => same_secret(a.refresh_token.as_ref(), b.refresh_token.as_ref()),
        },
        _ => false,
    }
}

fn same_secret(a: Option<&Secret>, b: Option<&Secret>) -> bool {
    a.zip(b).is_some_and(|(a, b)| a.matches(b.expose()))
}

/// The known account with the candidate's tokens, if they are later ones.
fn newer(known: &Credential, candidate: &Credential, now: Timestamp) -> Option<Credential> {
    let (old, new) = (known.account()?, candidate.account()?);
    let is_other = !same_secret(old.refresh_token.as_ref(), new.refresh_token.as_ref());
    let is_later = new.expires > old.expires || old.expired_reason.is_some();
    if !is_other || !is_later || new.refresh_token.is_none() {
        return None;
    }
    let mut account = new.clone();
    account.generation = old.generation.saturating_add(1);
    // What we learned about the account and the file does not say stays.
    for (name, value) in &old.extra {
        account.extra.entry(name).or_insert_with(|| value.clone());
    }
    Some(Credential {
        material: Material::OAuth(Box::new(account)),
        tier: candidate.tier.clone().or_else(|| known.tier.clone()),
        updated: Some(now),
        ..known.clone()
    })
}
