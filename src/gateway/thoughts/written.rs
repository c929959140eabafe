//! Thoughts in the file of what is kept: one row a turn, one a refused signature.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dialects::fields::Raw;
use crate::dialects::recall::{self, TurnThoughts};
use crate::gateway::shelf::Noted;
use crate::gateway::thoughts::{Known, Maker, Shelves, Turn};
use crate::ids::CredentialId;
use crate::secret::Fingerprint;
use crate::state::kept::{Kept, Key, Kind};
use crate::time::Timestamp;

/// A turn's row.
#[derive(Deserialize, Serialize)]
struct Written {
    credential: String,
    fingerprint: [u8; 16],
    family: String,
    names: Vec<u64>,
    /// How they were made, see [`recall::naming`].
    naming: u64,
    thoughts: Raw,
}

/// The key of a turn's row, by its first name.
pub(super) fn turn_key(owner: &Arc<str>, name: u64) -> Key {
    Key {
        kind: Kind::Turn,
        owner: owner.to_string(),
        name: format!("{name:016x}"),
    }
}

/// Writes a turn down; one without any name cannot come back.
pub(super) fn put(kept: &Kept, owner: &Arc<str>, turn: &Turn, now: Timestamp) {
    let (Some(first), Some(thoughts)) = (turn.names.first(), turn.thoughts.to_json()) else {
        return;
    };
    let written = Written {
        credential: turn.maker.credential.to_string(),
        fingerprint: turn.maker.fingerprint.0,
        family: turn.maker.family.clone(),
        names: turn.names.clone(),
        naming: recall::naming(),
        thoughts,
    };
    if let Ok(value) = serde_json::to_vec(&written) {
        kept.put(turn_key(owner, *first), value, now);
    }
}

/// Writes down that a vendor refused a signature.
pub(super) fn put_refusal(kept: &Kept, signature: u64, now: Timestamp) {
    let key = Key {
        kind: Kind::Refusal,
        owner: String::new(),
        name: format!("{signature:016x}"),
    };
    kept.put(key, recall::naming().to_string().into_bytes(), now);
}

/// Puts all that was written down on the shelves.
pub(super) fn read(kept: &Kept, shelves: &mut Shelves, now: Timestamp) {
    let idle = Kind::Turn.limits().idle;
    for row in kept.all(Kind::Turn, now) {
        let Some(mut turn) = turn_of(&row.value) else {
            continue;
        };
        // By when it was last used, as far as the file knows.
        let used = row.until - idle;
        turn.noted = Some(Noted::at(used));
        shelves.add(&Arc::from(row.owner), &Arc::new(turn), used);
    }
    for row in kept.all(Kind::Refusal, now) {
        let name = u64::from_str_radix(&row.name, 16);
        if let Ok(name) = name
            && row.value == recall::naming().to_string().as_bytes()
        {
            let used = row.until - Kind::Refusal.limits().idle;
            shelves.makers.put(name, Known::Refused, 0, used);
        }
    }
}

fn turn_of(value: &[u8]) -> Option<Turn> {
    let written: Written = serde_json::from_slice(value).ok()?;
    if written.naming != recall::naming() {
        return None;
    }
    Some(Turn {
        maker: Maker {
            credential: CredentialId::parse(&written.credential).ok()?,
            fingerprint: Fingerprint(written.fingerprint),
            family: written.family,
        },
        thoughts: TurnThoughts::from_json(written.thoughts.get())?,
        names: written.names,
        noted: None,
    })
}
