//! One connection to a server, or one to each node of a cluster: spoken to alike.

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, Pipeline, RedisConnectionInfo, RedisFuture, RedisResult,
    Value,
};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::state::redis::BACKGROUND_PATIENCE;
use crate::state::redis::link::CONNECT_PATIENCE;

/// How often a command is sent again where a cluster says that its keys are at another node.
const REDIRECTIONS: u32 = 3;

/// Pauses before a node is asked again, in milliseconds: a request waits.
const SHORTEST_WAIT: u64 = 5;
const LONGEST_WAIT: u64 = 15;

/// Cloning shares it.
#[derive(Clone)]
pub(super) enum Connection {
    /// Finds the node of a key, and follows where it moved to.
    Cluster(ClusterConnection),
    Server(MultiplexedConnection),
}

impl Connection {
    /// Connects to the first of some addresses that is there, and from it to the others of its
    /// cluster, if it is in one. Returns the client of that first one as well.
    pub(super) async fn open(addresses: &[String]) -> RedisResult<(Self, Client)> {
        let mut last = None;
        for address in addresses {
            match Self::open_one(address, addresses).await {
                Ok(opened) => return Ok(opened),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| {
            (redis::ErrorKind::InvalidClientConfig, "there is no address").into()
        }))
    }

    /// A server at the other end of a stream.
    pub(super) async fn over<S>(stream: S) -> RedisResult<MultiplexedConnection>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let login = RedisConnectionInfo::default().set_skip_set_lib_name();
        let made = MultiplexedConnection::new_with_config(&login, stream, config()).await?;
        let (server, driver) = made;
        tokio::spawn(driver);
        Ok(server)
    }

    async fn open_one(address: &str, all: &[String]) -> RedisResult<(Self, Client)> {
        let client = Client::open(address)?;
        let mut server = client
            .get_multiplexed_async_connection_with_config(&config())
            .await?;
        if !is_in_cluster(&mut server).await {
            return Ok((Self::Server(server), client));
        }
        // The one that has answered comes first: it knows the others.
        let others = all.iter().map(String::as_str).filter(|one| *one != address);
        let cluster = ClusterClient::builder([address].into_iter().chain(others))
            .connection_timeout(CONNECT_PATIENCE)
            .response_timeout(BACKGROUND_PATIENCE)
            .retries(REDIRECTIONS)
            .min_retry_wait(SHORTEST_WAIT)
            .max_retry_wait(LONGEST_WAIT)
            .build()?;
        let cluster = cluster.get_async_connection().await?;
        Ok((Self::Cluster(cluster), client))
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Cluster(cluster) => cluster.req_packed_command(cmd),
            Self::Server(server) => server.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Cluster(cluster) => cluster.req_packed_commands(pipeline, offset, count),
            Self::Server(server) => server.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Cluster(cluster) => cluster.get_db(),
            Self::Server(server) => server.get_db(),
        }
    }
}

fn config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_PATIENCE))
        .set_response_timeout(Some(BACKGROUND_PATIENCE))
}

/// Whether it keeps only some of the keys. One that does not say is taken to keep all.
async fn is_in_cluster(server: &mut MultiplexedConnection) -> bool {
    let mut info = redis::cmd("INFO");
    let said: RedisResult<String> = info.arg("cluster").query_async(server).await;
    said.is_ok_and(|said| said.contains("cluster_enabled:1"))
}
