//! The clients that may call: their keys, limits and models.

use std::sync::Arc;

use crate::config;
use crate::config::models::Pattern;
use crate::secret::{Digest, FingerprintKey};
use crate::server::limits::ClientLimits;

/// One client.
#[derive(Debug)]
pub struct Client {
    pub name: Arc<str>,
    /// Made of the key: names like `key-1` go to another when the configuration changes.
    pub owner: Arc<str>,
    /// Whether the live page shows it other clients' requests and lets it switch credentials: a key
    /// of `[server] api_keys` without limits of its own. Named clients are other people.
    pub is_owner: bool,
    /// Known by its digest; the key itself is not kept.
    key: Option<Digest>,
    /// The models it may use, with wildcards; empty is all.
    models: Vec<Pattern>,
    pub limits: ClientLimits,
    /// US dollars it may spend a calendar day (UTC).
    pub budget_usd: Option<f64>,
}

/// All clients; none means that no key is asked for.
#[derive(Debug)]
pub struct Clients {
    known: Vec<Arc<Client>>,
    anyone: Arc<Client>,
}

impl Clients {
    /// The clients of a configuration. What is kept for them outlives this process, so the key is
    /// this installation's.
    pub fn new(server: &config::server::Server, key_of_owners: &FingerprintKey) -> Self {
        let keys = server.api_keys.iter().map(|key| (key, is_unlimited(key)));
        let named = server.clients.iter().map(|client| (client, false));
        let known = keys
            .chain(named)
            .filter(|(client, _)| !client.key.secret().is_empty())
            .map(|(client, is_owner)| {
                Arc::new(Client {
                    name: Arc::from(client.name.as_str()),
                    owner: Arc::from(client.digest().fingerprint(key_of_owners).to_string()),
                    is_owner,
                    key: Some(client.digest()),
                    models: client.models.clone(),
                    limits: ClientLimits {
                        rpm: client.rpm.unwrap_or(0),
                        max_concurrent: client.max_concurrent.unwrap_or(0),
                    },
                    budget_usd: client.budget_usd,
                })
            })
            .collect();
        let anyone = Client {
            name: Arc::from("anyone"),
            owner: Arc::from("anyone"),
            is_owner: true,
            key: None,
            models: Vec::new(),
            limits: ClientLimits::default(),
            budget_usd: None,
        };
        Self {
            known,
            anyone: Arc::new(anyone),
        }
    }

    /// `true` if no key is asked for.
    pub fn is_open(&self) -> bool {
        self.known.is_empty()
    }

    /// The client everybody is while no key is asked for.
    pub fn anyone(&self) -> Arc<Client> {
        Arc::clone(&self.anyone)
    }

    /// The client of this [`Client::owner`], if it still may call.
    pub fn of_owner(&self, owner: &str) -> Option<&Arc<Client>> {
        if self.is_open() {
            return Some(&self.anyone).filter(|anyone| *anyone.owner == *owner);
        }
        self.known.iter().find(|client| *client.owner == *owner)
    }

    /// The client with this key. All keys are compared, always, so that time tells nothing.
    pub fn find(&self, key: &str) -> Option<Arc<Client>> {
        let sent = Digest::of(key);
        let mut found = None;
        for client in &self.known {
            if client.key.as_ref().is_some_and(|own| own.matches(&sent)) {
                found = Some(client);
            }
        }
        found.map(Arc::clone)
    }
}

fn is_unlimited(client: &config::server::Client) -> bool {
    client.models.is_empty()
        && client.rpm.is_none()
        && client.max_concurrent.is_none()
        && client.budget_usd.is_none()
}

impl Client {
    /// Whether the client may use a model, by the name it asked for or the one it comes to.
    pub fn may_use(&self, asked: &str, provider: &str, model: &str) -> bool {
        self.models.is_empty()
            || self
                .models
                .iter()
                .any(|pattern| pattern.matches(asked) || pattern.matches_model(provider, model))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::Instant;

    use super::*;
    use crate::config::secret_ref::SecretRef;
    use crate::config::server::{Client as Configured, Server};

    fn clients(keys: &[&str]) -> Clients {
        let client = |key: &&str| Configured::unlimited(*key, SecretRef::literal(key));
        let server = Server {
            clients: keys.iter().map(client).collect(),
            ..Server::default()
        };
        Clients::new(&server, &FingerprintKey::new(&[7; 32]))
    }

    #[test]
    fn a3_a_key_known_by_its_digest_lets_in_and_the_digest_does_not() {
        let hashed = "sha256:9b346041bc9a49574eb2665b2ad2a0a3f9f9cce4e42f5d1f26deb8a256b5966a";
        let clients = clients(&["key-two", hashed]);
        let found = clients.find("key-one").expect("its digest is known");
        assert_eq!(&*found.name, hashed);
        for wrong in [hashed, &hashed["sha256:".len()..], "key-onf", ""] {
            assert!(clients.find(wrong).is_none(), "{wrong}");
        }
    }

    /// How long it takes to refuse a key, in nanoseconds.
    fn refusal(clients: &Clients, key: &str) -> f64 {
        let began = Instant::now();
        assert!(std::hint::black_box(clients.find(key)).is_none());
        began.elapsed().as_secs_f64() * 1e9
    }

    /// Mean, variance and number of what is left when the slowest tenth, which the machine is to
    /// blame for, is left out.
    fn moments(mut times: Vec<f64>) -> (f64, f64, f64) {
        times.sort_by(f64::total_cmp);
        times.truncate(times.len() * 9 / 10);
        let count = f64::from(u32::try_from(times.len()).expect("some million"));
        let mean = times.iter().sum::<f64>() / count;
        let squares = times.iter().map(|time| (time - mean).powi(2));
        (mean, squares.sum::<f64>() / (count - 1.0), count)
    }

    /// Welch's t of two kinds of wrong keys, taken in turns that nobody can foresee.
    fn difference(samples: usize, rng: &mut fastrand::Rng) -> f64 {
        // Long, so that a comparison that stops early would be seen to.
        let key = "k".repeat(8 << 10);
        let (early, late) = (format!("x{}", &key[1..]), format!("{}x", &key[1..]));
        let clients = clients(&[&key]);
        let (mut of_early, mut of_late) = (Vec::new(), Vec::new());
        for _ in 0..samples {
            if rng.bool() {
                of_early.push(refusal(&clients, &early));
            } else {
                of_late.push(refusal(&clients, &late));
            }
        }
        let ((a, va, na), (b, vb, nb)) = (moments(of_early), moments(of_late));
        (a - b) / (va / na + vb / nb).sqrt()
    }

    #[test]
    fn ab8_how_long_a_refusal_takes_does_not_tell_where_a_key_is_wrong() {
        let samples = std::env::var("LLMPROXY_SAMPLES").ok();
        let samples = samples.and_then(|text| text.parse().ok()).unwrap_or(6000);
        let mut rng = fastrand::Rng::with_seed(1);
        // What the comparison tells it tells each time; a machine under load, now and then.
        let rounds: Vec<f64> = (0..3).map(|_| difference(samples, &mut rng)).collect();
        let _ = writeln!(std::io::stdout(), "t: {rounds:.2?}");
        assert!(rounds.iter().any(|t| t.abs() < 4.5), "{rounds:?}");
    }

    #[test]
    fn only_keys_without_limits_of_their_own_are_owners() {
        let client = |key: &str| Configured::unlimited(key, SecretRef::literal(key));
        let limited = Configured {
            rpm: Some(60),
            ..client("limited")
        };
        let server = Server {
            api_keys: vec![client("plain"), limited],
            clients: vec![client("named")],
            ..Server::default()
        };
        let key = FingerprintKey::new(&[7; 32]);
        let clients = Clients::new(&server, &key);
        for (key, is_owner) in [("plain", true), ("limited", false), ("named", false)] {
            let found = clients.find(key).expect("it is known");
            assert_eq!(found.is_owner, is_owner, "{key}");
            assert!(clients.of_owner(&found.owner).is_some(), "{key}");
        }
        assert!(clients.of_owner("anyone").is_none(), "a key is asked for");
        let open = Clients::new(&Server::default(), &key);
        assert!(open.anyone().is_owner && open.of_owner("anyone").is_some());
    }
}
