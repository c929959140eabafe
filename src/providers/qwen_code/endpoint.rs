//! Which address serves which account or key.

use http::Uri;
use serde_json::{Map, Value};

/// Where accounts are served that were given no address of their own.
pub const PORTAL: &str = "https://portal.qwen.ai/v1";

/// The fact that holds an address: the vendor's word for accounts, the user's choice for keys.
pub const FACT: &str = "resource_url";

/// The hosts that a token or key may be sent to on the vendor's word: it comes over the network.
const HOSTS: [&str; 2] = ["qwen.ai", "aliyuncs.com"];

/// A product whose keys speak this dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The word for it on the command line.
    pub id: &'static str,
    /// What people know it as.
    pub title: &'static str,
    pub base_url: &'static str,
    /// What its keys begin with.
    key_prefix: &'static str,
}

/// All of them, the likelier of two that share a prefix first
/// (<https://help.aliyun.com/zh/model-studio/coding-plan>, read 2026-11-22).
pub const ALL: [Endpoint; 5] = [
    Endpoint {
        id: "coding-intl",
        title: "Coding Plan (international)",
        base_url: "https://coding-intl.dashscope.aliyuncs.com/v1",
        key_prefix: "sk-sp-",
    },
    Endpoint {
        id: "coding-cn",
        title: "Coding Plan (China)",
        base_url: "https://coding.dashscope.aliyuncs.com/v1",
        key_prefix: "sk-sp-",
    },
    Endpoint {
        id: "dashscope-intl",
        title: "Model Studio (Singapore)",
        base_url: "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        key_prefix: "sk-",
    },
    Endpoint {
        id: "dashscope-cn",
        title: "Model Studio (China)",
        base_url: "https://dashscope.aliyuncs.com/compatible-mode/v1",
        key_prefix: "sk-",
    },
    Endpoint {
        id: "dashscope-us",
        title: "Model Studio (United States)",
        base_url: "https://dashscope-us.aliyuncs.com/compatible-mode/v1",
        key_prefix: "sk-",
    },
];

impl Endpoint {
    /// What to keep with a key so that it is sent here.
    pub fn facts(&self) -> Map<String, Value> {
        Map::from_iter([(FACT.to_owned(), self.base_url.into())])
    }
}

/// The likeliest endpoint of a key: its beginning tells the plan from Model Studio, not the region.
pub fn of_key(key: &str) -> Endpoint {
    let [first, ..] = ALL;
    let fits = |endpoint: &Endpoint| key.starts_with(endpoint.key_prefix);
    ALL.into_iter()
        .find(fits)
        .or_else(|| {
            ALL.into_iter()
                .find(|endpoint| endpoint.id == "dashscope-intl")
        })
        .unwrap_or(first)
}

/// A vendor's `resource_url` as a base URL: with scheme and version. `None` for what is no https
/// address of the vendor's own hosts.
pub fn base(resource_url: &str) -> Option<String> {
    let given = resource_url.trim().trim_end_matches('/');
    let url = if given.contains("://") {
        given.to_owned()
    } else {
        format!("https://{given}")
    };
    let uri: Uri = url.parse().ok()?;
    let authority = uri.authority()?;
    let host = authority.host().to_ascii_lowercase();
    let is_ours = HOSTS.iter().any(|ours| {
        host.strip_suffix(ours)
            .is_some_and(|before| before.ends_with('.'))
    });
    let is_plain = !authority.as_str().contains('@') && uri.query().is_none();
    if uri.scheme_str() != Some("https") || !is_ours || !is_plain {
        return None;
    }
    Some(if uri.path().ends_with("/v1") {
        url
    } else {
        format!("{url}/v1")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_url_becomes_a_base_url() {
        for (given, wanted) in [
            ("portal.qwen.ai", PORTAL),
            ("https://portal.qwen.ai/", PORTAL),
            ("https://portal.qwen.ai/v1/", PORTAL),
            (" portal.qwen.ai ", PORTAL),
            (
                "dashscope.aliyuncs.com/compatible-mode/v1",
                "https://dashscope.aliyuncs.com/compatible-mode/v1",
            ),
        ] {
            assert_eq!(base(given).as_deref(), Some(wanted), "{given}");
        }
    }

    #[test]
    fn no_other_host_gets_a_token() {
        for given in [
            "",
            "qwen.ai",
            "http://portal.qwen.ai",
            "https://evil.example/portal.qwen.ai",
            "https://portal.qwen.ai.evil.example/v1",
            "https://evilqwen.ai",
            "https://portal.qwen.ai@evil.example",
            "https://evil.example#.qwen.ai",
            "https://u:p@portal.qwen.ai",
            "file:///etc/qwen.ai",
            "portal.qwen.ai?x=1",
            "https://",
        ] {
            assert_eq!(base(given), None, "{given}");
        }
    }

    #[test]
    fn the_beginning_of_a_key_tells_its_product() {
        for (key, id) in [
            ("sk-sp-abc", "coding-intl"),
            ("sk-abc", "dashscope-intl"),
            ("other", "dashscope-intl"),
        ] {
            assert_eq!(of_key(key).id, id, "{key}");
        }
        for endpoint in ALL {
            assert_eq!(base(endpoint.base_url).as_deref(), Some(endpoint.base_url));
        }
    }
}
