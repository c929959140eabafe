//! The user's hand on the credentials of a running gateway: what `creds enable`, `disable` and
//! `reset` do from outside, done here and counting at once.

use std::time::Duration;

use thiserror::Error;

use crate::credentials::store::StoreError;
use crate::gateway::Gateway;
use crate::ids::CredentialId;
use crate::pool::UserState;
use crate::time::Timestamp;

/// How long the change may take to reach the disk.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);

/// What is done to a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Keep it without using it.
    Disable,
    /// Use it again, whatever was held against it.
    Enable,
    /// End its cooldowns.
    Reset,
}

/// Why nothing was done.
#[derive(Debug, Error)]
pub enum SteerError {
    #[error("the switch could not be written down")]
    Store(#[from] StoreError),
    #[error("there is no credential `{0}` in use")]
    Unknown(String),
}

/// Does it. What another process must know is on disk when this returns. Blocks: not for a
/// runtime's own threads.
pub fn steer(gateway: &Gateway, id: &CredentialId, deed: Deed) -> Result<(), SteerError> {
    let unknown = || SteerError::Unknown(id.to_string());
    let snapshot = gateway.snapshot();
    let runtime = snapshot.providers.get(id.provider()).ok_or_else(unknown)?;
    let now = Timestamp::now();
    let is_known = match deed {
        Deed::Disable | Deed::Enable => {
            let disabled = deed == Deed::Disable;
            let holder = runtime.holders.get(id).ok_or_else(unknown)?;
            let fingerprint = runtime.pool.fingerprint(id).ok_or_else(unknown)?;
            // First where it lasts: what cannot be remembered is not done.
            if let Some(store) = &snapshot.store {
                store.switch((id, holder.source), fingerprint, disabled)?;
            }
            let state = if disabled {
                UserState::Disabled
            } else {
                UserState::Enabled
            };
            runtime.pool.set_state(id, &state, now)
        }
        Deed::Reset => runtime.pool.reset(id, None, now),
    };
    if !is_known {
        return Err(unknown());
    }
    gateway.flush(WRITE_PATIENCE);
    Ok(())
}

impl Deed {
    /// The deed of this name.
    pub fn parse(name: &str) -> Option<Self> {
        let all = [Self::Disable, Self::Enable, Self::Reset];
        all.into_iter().find(|deed| deed.as_str() == name)
    }

    /// The name in routes, as that of the command.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Enable => "enable",
            Self::Reset => "reset",
        }
    }
}
