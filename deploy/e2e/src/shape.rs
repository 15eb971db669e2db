//! What the ports of a bed are like, where they are not as usual.

use std::fmt::Write as _;

use crate::{Links, Ports};

/// The links of a bed and what the dataplane is told of them.
#[derive(Clone, Debug)]
pub struct Shape {
    /// How the ports are linked.
    pub links: Links,
    /// What the ports are to each other.
    pub ports: Ports,
    /// The largest datagrams inside and outside, in bytes.
    pub mtu: [u16; 2],
    /// The VLANs of the inside.
    pub vlans: Vec<u16>,
    /// What the span port, `span0`, is.
    pub span: Span,
    /// Whether there is a second way outside, `wan1`: a TAP whose other end, `eth-up`, is the server's.
    pub uplink: bool,
}

/// A span port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// There is none.
    None,
    /// A TAP whose other end, `eth-span`, stays with the firewall.
    Tap,
    /// Copies are carried to a collector, as these lines of turnpike.toml say.
    Carried(&'static str),
}

impl From<Links> for Shape {
    fn from(links: Links) -> Self {
        Self {
            links,
            ports: Ports::Routed,
            mtu: [1500; 2],
            vlans: Vec::new(),
            span: Span::None,
            uplink: false,
        }
    }
}

impl Shape {
    /// turnpike.toml for a port inside and one outside, each with its name and the interface of its station.
    pub(crate) fn configuration(&self, ports: [(&str, &str); 2]) -> String {
        let mut text =
            String::from("[dataplane]\nidle = \"adaptive\"\nhugepages = \"off\"\nmemory_mib = 256\n");
        let mode = match self.ports {
            Ports::Routed => "routed",
            Ports::Bridged => "bridge",
        };
        for (number, ((name, station), mtu)) in ports.into_iter().zip(self.mtu).enumerate() {
            let device = match self.links {
                Links::Tap => format!("net_tap{number},iface={station}"),
                Links::AfPacket => {
                    let ring = if mtu > 1500 {
                        "framesz=16384,blocksz=65536,framecnt=512"
                    } else {
                        "blocksz=65536,framecnt=2048"
                    };
                    format!("net_af_packet{number},iface=p-{name},qdisc_bypass=1,{ring}")
                }
                Links::AfXdp => format!("net_af_xdp{number},iface=p-{name}"),
            };
            let vlans: &[u16] = if number == 0 { &self.vlans } else { &[] };
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "\n[[port]]\nname = \"{name}\"\ndevice = \"{device}\"\nmode = \"{mode}\"\nmtu = {mtu}\nvlans = {vlans:?}\n"
            );
        }
        let span = match self.span {
            Span::None => "",
            Span::Tap => "device = \"net_tap2,iface=eth-span\"\n",
            Span::Carried(keys) => keys,
        };
        if !span.is_empty() {
            let _ = write!(text, "\n[[port]]\nname = \"span0\"\nmode = \"span\"\n{span}");
        }
        if self.uplink {
            text.push_str(
                "\n[[port]]\nname = \"wan1\"\ndevice = \"net_tap3,iface=eth-up\"\nmode = \"routed\"\n",
            );
        }
        if self.ports == Ports::Bridged {
            text.push_str("\n[[bridge]]\nname = \"br0\"\nports = [\"lan0\", \"wan0\"]\nnon_ip = \"block\"\n");
        }
        text
    }
}
