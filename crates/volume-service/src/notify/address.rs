//! Which addresses a webhook may have.
//!
//! Only an operator at the machine adds webhooks, so receivers in private networks are meant. What is refused is what nobody
//! means and an attacker who gets hold of a name would: the machine itself, the addresses of its links, where clouds answer
//! for metadata, and what is no single host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// True for an address that a webhook may be told at without being marked as local.
pub fn may_be_told(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => may_be_told_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(address) => may_be_told_v4(address),
            None => may_be_told_v6(address),
        },
    }
}

fn may_be_told_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    !(first == 0
        // Oracle's and Azure's.
        || [first, second, third] == [192, 0, 0]
        || address == Ipv4Addr::new(168, 63, 129, 16)
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || first >= 240
        // Carriers' shared space, where some clouds have their metadata.
        || (first == 100 && (64..128).contains(&second)))
}

fn may_be_told_v6(address: Ipv6Addr) -> bool {
    let first = address.segments()[0];
    // Amazon's metadata, in the space of private networks.
    let metadata = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    !(address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || (first & 0xffc0) == 0xfe80
        || (first & 0xffc0) == 0xfec0
        || address == metadata)
}

/// The IPv4 address behind one of IPv6's forms of it: mapped, compatible, NAT64, 6to4.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let [.., a, b] = segments;
    let last = Ipv4Addr::from((u32::from(a) << 16) | u32::from(b));
    if address.to_ipv4_mapped().is_some()
        || segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0]
        || (segments[..6] == [0; 6] && u32::from(last) > 1)
    {
        return Some(last);
    }
    if segments[0] == 0x2002 {
        return Some(Ipv4Addr::from(
            (u32::from(segments[1]) << 16) | u32::from(segments[2]),
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_its_links_and_metadata_are_refused() {
        let refused = [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "::",
            "::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "fd00:ec2::254",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "::127.0.0.1",
            "2002:7f00:1::",
        ];
        for text in refused {
            assert!(!may_be_told(text.parse().unwrap()), "{text}");
        }
        for text in [
            "10.0.0.9",
            "192.168.1.1",
            "172.16.0.1",
            "8.8.8.8",
            "fd12:3456::1",
            "2606:4700::1111",
            "::ffff:10.0.0.9",
        ] {
            assert!(may_be_told(text.parse().unwrap()), "{text}");
        }
    }
}
