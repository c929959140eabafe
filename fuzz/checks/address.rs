//! Which addresses a client's URL may lead to, against a second table of the same registries and
//! the standard library; and that no spelling of an address passes for a name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use llmproxy::gateway::public_address::is_public;
use llmproxy::gateway::remote_media::literal;
use llmproxy::gateway::upstream::Url;

/// IPv4 blocks that are not for the public, as first address and bits of prefix.
const NOT_PUBLIC: [([u8; 4], u32); 16] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
    ([255, 255, 255, 255], 32),
];

/// The bytes of an address, or else the host of a URL.
pub(crate) fn check(data: &[u8]) {
    if let Ok(octets) = <[u8; 4]>::try_from(data) {
        let address = Ipv4Addr::from(octets);
        assert_eq!(is_public(address.into()), expected_v4(address), "{address}");
        for inside in [address.to_ipv6_mapped(), address.to_ipv6_compatible()] {
            let (inner, outer) = (expected_v4(address), is_public(inside.into()));
            assert_eq!(outer, inner, "{inside}");
        }
    }
    if let Ok(octets) = <[u8; 16]>::try_from(data) {
        let address = Ipv6Addr::from(octets);
        assert_eq!(is_public(address.into()), expected_v6(address), "{address}");
    }
    if let Ok(host) = std::str::from_utf8(data) {
        for text in [format!("http://{host}/x"), format!("http://[{host}]:8080/")] {
            host_of(&text);
        }
    }
}

fn expected_v4(address: Ipv4Addr) -> bool {
    let is_in = |(first, bits): &([u8; 4], u32)| {
        let differing = u32::from_be_bytes(*first) ^ u32::from(address);
        differing.leading_zeros() >= *bits
    };
    let is_public = !NOT_PUBLIC.iter().any(is_in);
    let is_known_private = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_documentation()
        || address.is_multicast()
        || address.is_unspecified();
    assert!(!(is_public && is_known_private), "{address}");
    is_public
}

fn expected_v6(address: Ipv6Addr) -> bool {
    let bits = u128::from(address);
    let is_in = |first: u128, prefix: u32| (first ^ bits).leading_zeros() >= prefix;
    let inner = |shift: u32| u32::try_from((bits >> shift) & 0xffff_ffff).expect("32 bits");
    let from_text = |text: &str| u128::from(text.parse::<Ipv6Addr>().expect("an address"));
    let holds_its_last = ["::", "::ffff:0:0", "64:ff9b::"];
    if holds_its_last
        .iter()
        .any(|first| is_in(from_text(first), 96))
    {
        return expected_v4(inner(0).into());
    }
    if is_in(from_text("2002::"), 16) {
        return expected_v4(inner(80).into());
    }
    let special = [("2001::", 23), ("2001:db8::", 32), ("3fff::", 20)];
    let is_special = special
        .iter()
        .any(|(first, prefix)| is_in(from_text(first), *prefix));
    let is_public = is_in(from_text("2000::"), 3) && !is_special;
    let is_known_private =
        address.is_loopback() || address.is_multicast() || address.is_unspecified();
    assert!(!(is_public && is_known_private), "{address}");
    is_public
}

/// `0x7f.1`, `2130706433` and the like are addresses to whoever connects, so they are to us.
fn host_of(text: &str) {
    let Ok(url) = Url::parse(text) else {
        return;
    };
    let is_address = url.has_host() && url.domain().is_none();
    let found = literal(&url);
    assert_eq!(found.is_some(), is_address, "{text}");
    if let (Some(IpAddr::V4(address)), Some(host)) = (found, url.host_str()) {
        assert_eq!(address.to_string(), host, "{text}");
    }
}
