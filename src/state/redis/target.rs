//! Where the server is: an address, some nodes of a cluster, or the sentinels that know the one in
//! charge.

/// The scheme of sentinels; `rediss+sentinel` speaks TLS with them and with the server.
const SENTINEL: &str = "redis+sentinel://";
const SENTINEL_TLS: &str = "rediss+sentinel://";

/// The scheme of several nodes of one cluster. One alone may be named by a plain address as well.
const CLUSTER: &str = "redis+cluster://";
const CLUSTER_TLS: &str = "rediss+cluster://";

/// Where to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Addresses as the redis crate reads them: one, or of a cluster
    /// `redis+cluster://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]…]`.
    Addresses(Vec<String>),
    /// `redis+sentinel://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]…]/MASTER[/DB]`.
    Sentinels {
        /// The addresses of the sentinels.
        sentinels: Vec<String>,
        /// The name they know the server in charge by.
        master: String,
        /// What of the server's address does not change: scheme and who logs in.
        scheme: &'static str,
        login: String,
        database: String,
    },
}

impl Target {
    /// Reads an address. The error says what is wrong, without quoting it.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        for (prefix, scheme) in [(CLUSTER, "redis"), (CLUSTER_TLS, "rediss")] {
            if let Some(rest) = url.strip_prefix(prefix) {
                return Self::nodes(rest, scheme);
            }
        }
        let (rest, scheme) = if let Some(rest) = url.strip_prefix(SENTINEL) {
            (rest, "redis")
        } else if let Some(rest) = url.strip_prefix(SENTINEL_TLS) {
            (rest, "rediss")
        } else {
            return Ok(Self::Addresses(vec![url.to_owned()]));
        };
        let (hosts, path) = rest
            .split_once('/')
            .ok_or("the sentinels' address names no master: write …/NAME")?;
        let (login, hosts) = login_of(hosts);
        let (master, database) = path.split_once('/').unwrap_or((path, "0"));
        if master.is_empty() || hosts.is_empty() {
            return Err("the sentinels' address needs a host and the master's name".to_owned());
        }
        let sentinels = hosts.split(',');
        let sentinels = sentinels.map(|host| format!("{scheme}://{}", with_port(host, 26379)));
        Ok(Self::Sentinels {
            sentinels: sentinels.collect(),
            master: master.to_owned(),
            scheme,
            login,
            database: database.to_owned(),
        })
    }

    /// Some nodes of a cluster.
    fn nodes(rest: &str, scheme: &str) -> Result<Self, String> {
        let (login, hosts) = login_of(rest.trim_end_matches('/'));
        if hosts.is_empty() || hosts.contains('/') {
            return Err("the cluster's address is a list of hosts, without a database".to_owned());
        }
        let nodes = hosts.split(',');
        let nodes = nodes.map(|host| format!("{scheme}://{login}{}", with_port(host, 6379)));
        Ok(Self::Addresses(nodes.collect()))
    }

    /// The server's address, once the sentinels have said where it is.
    pub(super) fn at(&self, host: &str, port: u16) -> String {
        match self {
            Self::Addresses(addresses) => addresses.first().cloned().unwrap_or_default(),
            Self::Sentinels {
                scheme,
                login,
                database,
                ..
            } => {
                let host = if host.contains(':') {
                    format!("[{host}]")
                } else {
                    host.to_owned()
                };
                format!("{scheme}://{login}{host}:{port}/{database}")
            }
        }
    }
}

/// Who logs in, as it stands before the hosts, and the hosts.
fn login_of(hosts: &str) -> (String, &str) {
    match hosts.rsplit_once('@') {
        Some((login, hosts)) => (format!("{login}@"), hosts),
        None => (String::new(), hosts),
    }
}

fn with_port(host: &str, port: u16) -> String {
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port {
        host.to_owned()
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_address_is_taken_as_it_is() {
        let target = Target::parse("rediss://:p@host:1/2").expect("an address");
        let plain = Target::Addresses(vec!["rediss://:p@host:1/2".to_owned()]);
        assert_eq!(target, plain);
    }

    #[test]
    fn a_cluster_is_named_by_some_of_its_nodes() {
        let target = Target::parse("rediss+cluster://:p@a,b:1").expect("a cluster");
        let nodes = ["rediss://:p@a:6379", "rediss://:p@b:1"].map(str::to_owned);
        assert_eq!(target, Target::Addresses(nodes.to_vec()));
        for url in ["redis+cluster://", "redis+cluster://a,b/3"] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn sentinels_lead_to_the_server_in_charge() {
        let target = Target::parse("redis+sentinel://u:p@a,b:1/mymaster/3").expect("sentinels");
        let Target::Sentinels {
            sentinels, master, ..
        } = &target
        else {
            panic!("{target:?}");
        };
        assert_eq!(sentinels, &["redis://a:26379", "redis://b:1"]);
        assert_eq!(master, "mymaster");
        assert_eq!(target.at("10.0.0.1", 6379), "redis://u:p@10.0.0.1:6379/3");
        assert_eq!(target.at("::1", 6379), "redis://u:p@[::1]:6379/3");
    }

    #[test]
    fn sentinels_without_a_master_are_refused() {
        for url in [
            "redis+sentinel://a",
            "redis+sentinel://a/",
            "rediss+sentinel:///m",
        ] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }
}
