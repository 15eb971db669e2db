//! Addresses as text: pf's short networks, prefixes, ranges.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// An IPv4 address of one to four octets; missing octets are zero. With it, the prefix length that its class or the
/// number of its octets implies (`inet_net_pton(3)`).
pub(super) fn short_v4(text: &str) -> Option<(Ipv4Addr, u8)> {
    let mut octets = [0u8; 4];
    let mut count = 0;
    for part in text.split('.') {
        let digits = !part.is_empty() && part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
        *octets.get_mut(count)? = digits.then(|| part.parse().ok()).flatten()?;
        count += 1;
    }
    let class = match octets[0] {
        240.. => 32,
        224.. => 4,
        192.. => 24,
        128.. => 16,
        _ => 8,
    };
    Some((Ipv4Addr::from(octets), class.max(count as u8 * 8)))
}

/// An address or network of either family, with the interface behind a `%`.
pub(super) fn network(text: &str) -> Option<(IpNet, Option<&str>)> {
    let (address, prefix) = match text.rsplit_once('/') {
        Some((address, prefix)) => (address, Some(prefix.parse::<u8>().ok()?)),
        None => (text, None),
    };
    if let Some((address, implied)) = short_v4(address) {
        let net = IpNet::new(IpAddr::V4(address), prefix.unwrap_or(implied)).ok()?;
        return Some((net.trunc(), None));
    }
    let (address, scope) = match address.split_once('%') {
        Some((address, scope)) if (1..=15).contains(&scope.len()) => (address, Some(scope)),
        Some(_) => return None,
        None => (address, None),
    };
    let address: Ipv6Addr = address.parse().ok()?;
    let net = IpNet::new(IpAddr::V6(address), prefix.unwrap_or(128)).ok()?;
    Some((net.trunc(), scope))
}
