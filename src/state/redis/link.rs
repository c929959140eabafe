//! The connection: there or away, never waited for. Whoever finds it broken says so and goes on;
//! the one who keeps it connects again.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::{Client, ErrorKind, RedisError, RedisResult, ServerErrorKind};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::state::redis::connection::Connection;
use crate::state::redis::target::Target;
use crate::state::redis::{BACKGROUND_PATIENCE, COMMAND_PATIENCE};

/// How long one connection may take to be made.
pub(super) const CONNECT_PATIENCE: Duration = Duration::from_secs(2);

/// The server is away, or was too late: the caller goes on with what it knows.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the shared state is away")]
pub struct Away;

/// The connection of this instance.
pub(super) struct Link {
    target: Target,
    inner: Mutex<Inner>,
    lost: Notify,
}

#[derive(Default)]
struct Inner {
    connection: Option<Connection>,
    /// Counts connections: what fails on an old one says nothing of the present.
    epoch: u64,
    trouble: Option<String>,
}

impl Link {
    pub(super) fn new(url: &str) -> Result<Self, String> {
        let target = Target::parse(url)?;
        if let Target::Addresses(addresses) = &target {
            for address in addresses {
                Client::open(address.as_str()).map_err(|error| words(&error))?;
            }
        }
        Ok(Self {
            target,
            inner: Mutex::default(),
            lost: Notify::new(),
        })
    }

    pub(super) fn is_up(&self) -> bool {
        self.lock().connection.is_some()
    }

    pub(super) fn trouble(&self) -> Option<String> {
        self.lock().trouble.clone()
    }

    pub(super) async fn lost(&self) {
        // What was noted of an earlier connection says nothing of this one.
        while self.is_up() {
            self.lost.notified().await;
        }
    }

    /// Connects, and listens to a channel. The server counts as there once it has answered in the
    /// time that requests would wait for it.
    pub(super) async fn open(&self, channel: &str) -> Result<PubSub, Away> {
        self.adopt(self.connect(channel)).await
    }

    /// Speaks over a stream that is there already, to nobody else and without a listener.
    pub(super) async fn attach<S>(&self, stream: S) -> Result<(), Away>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.adopt(async {
            let mut server = Connection::over(stream)
                .await
                .map_err(|error| words(&error))?;
            refuse_replica(&mut server).await?;
            Ok((Connection::Server(server), ()))
        })
        .await
    }

    /// Takes over a connection that is made in time, with what else came of it.
    async fn adopt<T>(
        &self,
        made: impl Future<Output = Result<(Connection, T), String>>,
    ) -> Result<T, Away> {
        let made = timeout(CONNECT_PATIENCE, made).await;
        let made = made.unwrap_or_else(|_| Err("no connection in time".to_owned()));
        let mut inner = self.lock();
        match made {
            Ok((connection, rest)) => {
                inner.connection = Some(connection);
                inner.epoch += 1;
                inner.trouble = None;
                Ok(rest)
            }
            Err(trouble) => {
                inner.trouble = Some(trouble);
                Err(Away)
            }
        }
    }

    /// Asks something of the server, if it is there.
    pub(super) async fn ask<T, F>(
        &self,
        patience: Duration,
        ask: impl FnOnce(Connection) -> F,
    ) -> Result<T, Away>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let (connection, epoch) = {
            let inner = self.lock();
            (inner.connection.clone().ok_or(Away)?, inner.epoch)
        };
        let trouble = match timeout(patience, ask(connection)).await {
            Ok(Ok(answer)) => return Ok(answer),
            // These keys are just on their way to another node; all others are there.
            Ok(Err(error)) if is_moving(&error) => return Err(Away),
            Ok(Err(error)) => words(&error),
            Err(_) => format!("no answer within {} ms", patience.as_millis()),
        };
        self.lose(epoch, trouble);
        Err(Away)
    }

    /// Notes that the listener's connection has ended.
    pub(super) fn hang_up(&self) {
        let epoch = self.lock().epoch;
        self.lose(epoch, "the connection ended".to_owned());
    }

    fn lose(&self, epoch: u64, trouble: String) {
        let mut inner = self.lock();
        if inner.epoch == epoch && inner.connection.take().is_some() {
            inner.trouble = Some(trouble);
            drop(inner);
            self.lost.notify_one();
        }
    }

    async fn connect(&self, channel: &str) -> Result<(Connection, PubSub), String> {
        let addresses = self.addresses().await?;
        let (mut connection, client) = Connection::open(&addresses)
            .await
            .map_err(|error| words(&error))?;
        if let Connection::Server(server) = &mut connection {
            refuse_replica(server).await?;
        }
        // What is published at one node of a cluster is heard at all.
        let mut listener = client
            .get_async_pubsub()
            .await
            .map_err(|error| words(&error))?;
        listener
            .subscribe(channel)
            .await
            .map_err(|error| words(&error))?;
        Ok((connection, listener))
    }

    /// Where the server is now: sentinels are asked each time.
    async fn addresses(&self) -> Result<Vec<String>, String> {
        let (sentinels, master) = match &self.target {
            Target::Addresses(addresses) => return Ok(addresses.clone()),
            Target::Sentinels {
                sentinels, master, ..
            } => (sentinels, master),
        };
        let mut trouble = "no sentinel answers".to_owned();
        for sentinel in sentinels {
            match timeout(BACKGROUND_PATIENCE, master_of(sentinel, master)).await {
                Ok(Ok(Some((host, port)))) => return Ok(vec![self.target.at(&host, port)]),
                Ok(Ok(None)) => trouble = format!("the sentinels do not know `{master}`"),
                Ok(Err(error)) => trouble = words(&error),
                Err(_) => {}
            }
        }
        Err(trouble)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The address may hold a password.
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

async fn master_of(sentinel: &str, master: &str) -> RedisResult<Option<(String, u16)>> {
    let mut connection = Client::open(sentinel)?
        .get_multiplexed_async_connection()
        .await?;
    redis::cmd("SENTINEL")
        .arg("GET-MASTER-ADDR-BY-NAME")
        .arg(master)
        .query_async(&mut connection)
        .await
}

/// Whether a cluster says that keys are at another node, even after it was asked again.
fn is_moving(error: &RedisError) -> bool {
    let ErrorKind::Server(kind) = error.kind() else {
        return false;
    };
    matches!(
        kind,
        ServerErrorKind::Ask | ServerErrorKind::Moved | ServerErrorKind::TryAgain
    )
}

/// One that is loading, or a replica that may not be written to, is none to count on.
async fn refuse_replica(server: &mut MultiplexedConnection) -> Result<(), String> {
    let role = redis::cmd("ROLE");
    let role = timeout(COMMAND_PATIENCE, role.query_async(server));
    let role = role.await.map_err(|_| "it answers too slowly".to_owned())?;
    if is_replica(&role.map_err(|error| words(&error))?) {
        return Err("it is a replica, which cannot be written to".to_owned());
    }
    Ok(())
}

fn is_replica(role: &redis::Value) -> bool {
    let redis::Value::Array(role) = role else {
        return false;
    };
    let first: Option<String> = role
        .first()
        .and_then(|first| redis::from_redis_value(first.clone()).ok());
    first.is_some_and(|role| role == "slave")
}

/// An error in words; the crate's own hold no address and no password.
fn words(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code}: {detail}"),
        _ => error.to_string(),
    }
}
