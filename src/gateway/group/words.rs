//! What instances tell each other of credentials: the pool's own records, without counts, with the
//! group's names in place of ids and the server's clock in place of ours.

use crate::gateway::group::names::{self, Names};
use crate::pool::{Change, SavedCooldown, Standing, Totals};
use crate::state::redis::Notice;
use crate::time::Timestamp;

/// A vendor's words are kept this short, in characters.
const LONGEST_MESSAGE: usize = 200;

/// Words on things that are well mean nothing after this long.
const WELL_FOR_MS: i64 = 3_600_000;

/// When a record last changed by the clock it is in; `None` for what has no such time.
pub(super) const fn changed_ms(change: &Change) -> Option<i64> {
    match change {
        Change::Class(saved) => Some(saved.changed_ms),
        Change::Credential(saved) => Some(saved.changed_ms),
        Change::Pause(saved) => Some(saved.changed_ms),
        Change::Session(_) | Change::Suspects(_) => None,
    }
}

/// What a word is about: a later word on the same takes its place.
pub(super) fn field(change: &Change) -> Option<String> {
    match change {
        Change::Class(saved) => {
            let kind = if saved.is_group { "group" } else { "model" };
            Some(format!("{}:{kind}:{}", saved.fingerprint, saved.class))
        }
        Change::Credential(saved) => Some(format!("{}:credential", saved.fingerprint)),
        Change::Pause(_) => Some("pause".to_owned()),
        Change::Session(_) | Change::Suspects(_) => None,
    }
}

/// A change as the group hears it; `None` for a credential that has no name there.
pub(super) fn outgoing(mut change: Change, names: &Names, offset_ms: i64) -> Option<Change> {
    let name = |id: &str| {
        let id = crate::ids::CredentialId::parse(id).ok()?;
        Some(names.of(&id)?.to_string())
    };
    match &mut change {
        Change::Class(saved) => {
            saved.fingerprint = name(&saved.credential)?;
            saved.credential.clear();
            saved.windows.clear();
            saved.totals = Totals::default();
        }
        Change::Credential(saved) => {
            saved.fingerprint = name(&saved.credential)?;
            saved.credential.clear();
            shorten_standing(&mut saved.standing);
        }
        Change::Pause(_) => {}
        Change::Session(saved) => saved.credential = name(&saved.credential)?,
        Change::Suspects(saved) => {
            let known = std::mem::take(&mut saved.suspects).into_iter();
            let known = known.filter_map(|(id, at)| Some((name(&id)?, at)));
            saved.suspects = known.collect();
        }
    }
    shift(&mut change, offset_ms);
    Some(change)
}

/// A change as our pool understands it; `None` for a credential that is not here.
pub(super) fn incoming(
    mut change: Change,
    names: &Names,
    offset_ms: i64,
    now: Timestamp,
) -> Option<Change> {
    shift(&mut change, offset_ms.saturating_neg());
    let now_ms = now.as_millis();
    match &mut change {
        Change::Class(saved) => {
            let (id, fingerprint) = names.here(&saved.fingerprint)?;
            saved.credential = id.to_string();
            saved.fingerprint = fingerprint.to_string();
            saved.changed_ms = saved.changed_ms.min(now_ms);
        }
        Change::Credential(saved) => {
            let (id, fingerprint) = names.here(&saved.fingerprint)?;
            saved.credential = id.to_string();
            saved.fingerprint = fingerprint.to_string();
            saved.changed_ms = saved.changed_ms.min(now_ms);
        }
        Change::Pause(saved) => saved.changed_ms = saved.changed_ms.min(now_ms),
        Change::Session(saved) => {
            saved.credential = names.here(&saved.credential)?.0.to_string();
        }
        Change::Suspects(saved) => {
            let known = std::mem::take(&mut saved.suspects).into_iter();
            let known = known.filter_map(|(name, at)| {
                let (id, _) = names.here(&name)?;
                Some((id.to_string(), at))
            });
            saved.suspects = known.collect();
        }
    }
    Some(change)
}

/// A change to be kept for those who come later; `None` for what is not.
pub(super) fn notice(change: &Change) -> Option<Notice> {
    Some(Notice {
        field: field(change)?,
        changed_ms: changed_ms(change)?,
        record: serde_json::to_string(change).ok()?,
    })
}

/// A conversation by its name, to be kept for those who come later; `None` for what is none.
pub(super) fn conversation(change: &Change) -> Option<(String, String)> {
    let Change::Session(saved) = change else {
        return None;
    };
    Some((
        format!("{:x}", saved.key),
        serde_json::to_string(change).ok()?,
    ))
}

/// Whether a word means nothing any more: the rest it tells of is over, or all has been well for a
/// while. Times by the server's clock.
fn is_over(change: &Change, now: Timestamp) -> bool {
    let now_ms = now.as_millis();
    let rests = |cooldown: &Option<SavedCooldown>| {
        let cooldown = cooldown.as_ref();
        cooldown.is_some_and(|rest| rest.until_ms > now_ms)
    };
    let is_old = changed_ms(change).is_some_and(|at| at.saturating_add(WELL_FOR_MS) < now_ms);
    is_old
        && match change {
            Change::Class(saved) => !rests(&saved.cooldown),
            Change::Credential(saved) => {
                saved.standing == Standing::Usable && !rests(&saved.cooldown)
            }
            Change::Pause(_) | Change::Session(_) | Change::Suspects(_) => true,
        }
}

/// What is kept in the group: words that still mean something, and the fields of those that do not.
/// What another version keeps in a shape of its own stays as it is.
pub(super) fn sorted(notices: Vec<Notice>, now: Timestamp) -> (Vec<Change>, Vec<String>) {
    let (mut changes, mut over) = (Vec::new(), Vec::new());
    for notice in notices {
        match serde_json::from_str(&notice.record) {
            Ok(change) if is_over(&change, now) => over.push(notice.field),
            Ok(change) => changes.push(change),
            Err(_) => {}
        }
    }
    (changes, over)
}

/// Moves all times of a record to another clock.
fn shift(change: &mut Change, by_ms: i64) {
    let move_by = |at: &mut i64| {
        // Zero is "never" where it stands.
        if *at != 0 {
            *at = at.saturating_add(by_ms);
        }
    };
    let move_rest = |rest: &mut Option<SavedCooldown>| {
        let Some(rest) = rest else { return };
        move_by(&mut rest.since_ms);
        move_by(&mut rest.until_ms);
        if let Some(probe) = &mut rest.probe {
            move_by(&mut probe.next_ms);
        }
        shorten(&mut rest.message);
    };
    match change {
        Change::Class(saved) => {
            move_by(&mut saved.changed_ms);
            move_rest(&mut saved.cooldown);
            if let Some(benched) = &mut saved.benched_ms {
                move_by(benched);
            }
            if let Some(reported) = &mut saved.reported {
                move_by(&mut reported.resets_ms);
            }
        }
        Change::Credential(saved) => {
            move_by(&mut saved.changed_ms);
            move_rest(&mut saved.cooldown);
            if let Some(benched) = &mut saved.benched_ms {
                move_by(benched);
            }
        }
        Change::Pause(saved) => {
            move_by(&mut saved.changed_ms);
            move_by(&mut saved.until_ms);
        }
        Change::Session(saved) => move_by(&mut saved.used_ms),
        Change::Suspects(saved) => {
            move_by(&mut saved.cleared_ms);
            saved.suspects.iter_mut().for_each(|(_, at)| move_by(at));
        }
    }
}

fn shorten_standing(standing: &mut Standing) {
    match standing {
        Standing::ActionNeeded { message, .. } | Standing::Dead { message, .. } => {
            shorten(message);
        }
        Standing::Expired | Standing::Usable => {}
    }
}

/// Leaves out addresses, and what is too long to be told.
fn shorten(message: &mut String) {
    *message = names::told(message);
    if let Some((at, _)) = message.char_indices().nth(LONGEST_MESSAGE) {
        message.truncate(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::{Credential, Source};
    use crate::ids::CredentialId;
    use crate::pool::{Reason, SavedCredential, SavedPause, SavedSession};
    use crate::secret::{FingerprintKey, Secret};

    fn names(id: &str, own: u8) -> Names {
        let id = CredentialId::parse(id).expect("an id");
        let credential = Credential::api_key(id, Source::Config, Secret::new("sk-canary-123"));
        let group = FingerprintKey::new(&[9; 32]);
        Names::new(
            [&credential].into_iter(),
            &group,
            &FingerprintKey::new(&[own; 32]),
        )
    }

    fn resting(id: &str) -> Change {
        Change::Credential(SavedCredential {
            credential: id.to_owned(),
            fingerprint: "local".to_owned(),
            standing: Standing::Usable,
            cooldown: Some(SavedCooldown {
                reason: Reason::RateLimit,
                since_ms: 1_000,
                until_ms: 61_000,
                message: "x".repeat(500),
                probe: None,
            }),
            strikes: 0,
            benched_ms: None,
            changed_ms: 1_000,
        })
    }

    #[test]
    fn a_rest_crosses_to_an_instance_with_other_ids_and_another_clock() {
        let (here, there) = (names("acme/1", 1), names("acme/work", 2));
        let told = outgoing(resting("acme/1"), &here, 300_000).expect("it has a name");
        let text = serde_json::to_string(&told).expect("JSON");
        assert!(
            !text.contains("acme/1") && !text.contains("canary"),
            "{text}"
        );
        // Their clock is two minutes behind the server's, ours was five.
        let now = Timestamp::from_millis(10_000_000);
        let heard = incoming(told, &there, 120_000, now).expect("the key is there");
        let Change::Credential(saved) = heard else {
            panic!("it is a credential's");
        };
        assert_eq!(
            (saved.credential.as_str(), saved.changed_ms),
            ("acme/work", 181_000)
        );
        let rest = saved.cooldown.expect("it rests");
        assert_eq!((rest.since_ms, rest.until_ms), (181_000, 241_000));
        assert_eq!(rest.message.chars().count(), LONGEST_MESSAGE);
    }

    #[test]
    fn a_rest_is_told_without_the_address_in_its_message() {
        let mut resting = resting("acme/1");
        if let Change::Credential(saved) = &mut resting
            && let Some(rest) = &mut saved.cooldown
        {
            rest.message = "no token for acme/jane@example.com".to_owned();
        }
        let told = outgoing(resting, &names("acme/1", 1), 0).expect("it has a name");
        let text = serde_json::to_string(&told).expect("JSON");
        assert!(text.contains("acme/j…@example.com"), "{text}");
    }

    #[test]
    fn words_on_credentials_that_are_not_here_are_passed_over() {
        let told = outgoing(resting("acme/1"), &names("acme/1", 1), 0).expect("it has a name");
        let now = Timestamp::from_millis(1);
        assert_eq!(incoming(told, &Names::default(), 0, now), None);
        assert_eq!(outgoing(resting("acme/9"), &names("acme/1", 1), 0), None);
    }

    #[test]
    fn conversations_are_told_by_hash_and_the_groups_name() {
        let session = Change::Session(SavedSession {
            key: 7,
            credential: "acme/1".to_owned(),
            used_ms: 5,
        });
        let here = names("acme/1", 1);
        let told = outgoing(session.clone(), &here, 0).expect("it has a name");
        assert!(notice(&told).is_none(), "it is told, not kept");
        assert_eq!(
            incoming(told, &here, 0, Timestamp::from_millis(9)),
            Some(session)
        );
    }

    #[test]
    fn words_are_kept_as_long_as_they_mean_something() {
        let late = Timestamp::from_millis(WELL_FOR_MS * 3);
        assert!(is_over(&resting("acme/1"), late));
        assert!(!is_over(&resting("acme/1"), Timestamp::from_millis(2_000)));
        let pause = Change::Pause(SavedPause {
            family: None,
            level: 0,
            until_ms: 0,
            changed_ms: 1,
        });
        assert!(is_over(&pause, late));
    }
}
