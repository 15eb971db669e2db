//! The [`Packet`] of a frame that was read quickly, for the hooks: what [`parse`](crate::parse()) would make of it, of which
//! most is known already.

use wire::{Af, Proto, TcpFlags, ethernet, ipv4, ipv6, tcp};

use super::{Kind, Quick, part};
use crate::parse::window_scale;
use crate::state::{Family, Side};
use crate::track::{Plain, Segment};
use crate::{Address, Packet, Transport, Tuple, Zone};

impl Quick {
    /// The packet in the frame that was read, if that stands behind an Ethernet header without tags. `None` where only
    /// [`parse`](crate::parse()) can tell.
    #[inline]
    pub fn packet(&self, frame: &[u8], zone: Zone) -> Option<Packet> {
        const L3: u16 = ethernet::HEADER_LEN as u16;
        if self.kind == Kind::Other {
            return None;
        }
        let (ends, ports) = self.key.as_sent(self.sender);
        let [sport, dport] = [ports >> 16, ports].map(|port| wire::Port(port as u16));
        let datagram = frame.get(L3.into()..)?;
        let (af, header_len, [src, dst], (ttl, tos, dont_fragment)) = match self.key.family() {
            Family::Inet => {
                let head: &[u8; ipv4::HEADER_LEN] = datagram.first_chunk()?;
                let [_, tos, _, _, _, _, flags, _] = part::<0, 8, _>(head);
                let [ttl] = part::<8, 1, _>(head);
                let ends = [ends >> 32, ends & 0xffff_ffff].map(|address| Address(address.into()));
                (Af::Inet, ipv4::HEADER_LEN as u16, ends, (ttl, tos, flags & DONT_FRAGMENT != 0))
            }
            Family::Inet6 => {
                let head: &[u8; ipv6::HEADER_LEN] = datagram.first_chunk()?;
                let class = u16::from_be_bytes(part::<0, 2, _>(head)) >> 4;
                let [ttl] = part::<7, 1, _>(head);
                let [low, high] = self.wide;
                let ends = if self.sender == Side::Low { [low, high] } else { [high, low] };
                (Af::Inet6, ipv6::HEADER_LEN as u16, ends, (ttl, class as u8, true))
            }
        };
        let proto = self.key.proto();
        let transport = match proto {
            Proto::TCP => Transport::Tcp(self.segment_of(datagram.get(header_len.into()..)?)?),
            _ => Transport::Udp,
        };
        Some(Packet {
            tuple: Tuple { af, proto, zone, src, dst, sport, dport },
            l3: L3,
            l4: L3.checked_add(header_len)?,
            end: u32::from(L3).checked_add(self.length.into())?,
            ttl,
            tos,
            dont_fragment,
            options: false,
            group_frame: false,
            transport,
        })
    }

    fn segment_of(&self, octets: &[u8]) -> Option<Segment> {
        let Plain { seq, ack, window, len } = self.segment;
        let head: &[u8; tcp::HEADER_LEN] = octets.first_chunk()?;
        let header = tcp::Header::at(octets, 0).ok()?;
        let [offset] = part::<12, 1, _>(head);
        let flags = header.flags();
        let wscale = if flags.contains(TcpFlags::SYN) {
            let header_len = usize::from(offset >> 4) * 4;
            window_scale(tcp::Options::new(octets.get(tcp::HEADER_LEN..header_len)?))
        } else {
            None
        };
        Some(Segment { flags, seq, ack, window, len, wscale, strays: header.has_strays() })
    }
}

/// The flag of an IPv4 header, in its byte.
const DONT_FRAGMENT: u8 = 0x40;
