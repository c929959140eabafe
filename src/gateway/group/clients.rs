//! Limits of clients that hold for all instances together.

use std::sync::Arc;
use std::time::Duration;

use crate::gateway::group::admit::share;
use crate::gateway::group::{Group, GroupLease};
use crate::state::redis::{Admission, Away, Limits};
use crate::time::Timestamp;

/// What the group says to a client's request.
#[derive(Debug)]
pub enum ClientAdmission {
    /// It may be served; given back when dropped.
    Granted(Option<GroupLease>),
    /// The client is over its limit everywhere together; when to try again.
    Refused(Duration),
}

impl Group {
    /// Asks for one more request of a client; 0 is no limit.
    pub async fn admit_client(
        &self,
        client: &Arc<str>,
        max_concurrent: u32,
        rpm: u32,
    ) -> ClientAdmission {
        let limits = Limits::of_client(client, max_concurrent, rpm);
        match self.ask(&limits).await {
            Ok(Admission::Taken(ticket)) => {
                let holder = Arc::from(format!("client {client}"));
                ClientAdmission::Granted(Some(self.ledger.hold(limits, ticket, holder)))
            }
            Ok(Admission::Busy) => ClientAdmission::Refused(Duration::from_secs(1)),
            Ok(Admission::Full { room, .. }) => {
                ClientAdmission::Refused(Timestamp::now().until(room))
            }
            // This instance's own count holds on, by its share: see `client_share`.
            Err(Away) => ClientAdmission::Granted(None),
        }
    }

    /// What of a client's limit is ours alone while the server is away; all of it otherwise.
    pub fn client_share(&self, limit: u32) -> u32 {
        if self.redis.is_up() {
            return limit;
        }
        share(limit, self.instances())
    }
}
