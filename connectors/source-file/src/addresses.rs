//! Which addresses may be connected to. A config is written by people who may not be
//! allowed to see what this machine sees, so private networks are closed unless opened;
//! the check is made on the very addresses that the connection then uses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Which side of the line a connection may go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowed {
    Public,
    /// For plain http: nothing that leaves the premises.
    Private,
    Any,
}

impl Allowed {
    pub(crate) fn permits(self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Public => is_public(address),
            Self::Private => !is_public(address),
        }
    }
}

/// No permitted address; the text follows the file's name.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refused(pub(crate) &'static str);

impl Refused {
    pub(crate) fn by(allowed: Allowed) -> Self {
        Self(match allowed {
            Allowed::Private => "plain http is only for loopback and private addresses; use https",
            Allowed::Public | Allowed::Any => {
                "its server has a loopback or private address, which is not allowed; if that is meant, set allow_private_addresses"
            }
        })
    }
}

/// Resolves names, and leaves out what is not permitted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checked(pub(crate) Allowed);

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = self.0;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let permitted: Vec<SocketAddr> = found.into_iter().filter(|a| allowed.permits(a.ip())).collect();
            if permitted.is_empty() {
                Err(Refused::by(allowed).into())
            } else {
                Ok(Box::new(permitted.into_iter()) as Addrs)
            }
        })
    }
}

/// Whether the address belongs to the public internet.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = matches!(
        (a, b, c),
        // This network, carrier-grade NAT, protocol assignments, benchmarks, reserved.
        (0, ..) | (100, 64..=127, _) | (192, 0, 0) | (198, 18..=19, _) | (240..=255, ..)
    );
    !(special
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(v4) = address.to_ipv4() {
        // Mapped, and the old compatible form, ::1 among it.
        return is_public_v4(v4) && !address.is_loopback();
    }
    match address.segments() {
        // Both NAT64 prefixes and 6to4 carry an IPv4 address.
        [0x64, 0xFF9B, 0, 0, 0, 0, high, low] => {
            is_public_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
        }
        [0x2002, high, low, ..] => is_public_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))),
        // Documentation, Teredo.
        [0x2001, 0xDB8 | 0, ..] => false,
        // 2000::/3 is all that is given out.
        [first, ..] => first & 0xE000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::{Allowed, is_public};

    #[test]
    fn s3_16_only_the_public_internet_is_public() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00:ec2::254",
            "fc00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:db8::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in ["1.1.1.1", "8.8.8.8", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        assert!(!Allowed::Private.permits("1.1.1.1".parse().unwrap()));
    }
}
