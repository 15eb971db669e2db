//! Copies for a span port, on their way out: sampled, cut, tagged, or carried to a collector by GRE or ERSPAN.
//!
//! Overview: [`Span::takes`] draws which copies are made at all; [`Span::shape`] gives one its form, and says where it leaves: by
//! the port, or along the route to the collector, below the rules and states of the firewall, so that what carries a copy is not
//! copied. Ownership: a worker's. Bounds: a copy at a time; it waits for nothing but an Ethernet address, in the worker's hold.
//! Source: draft-foschiano-erspan-03 (type II), RFC 2784, RFC 2890 (sequence numbers).

use std::net::IpAddr;

use dpdk::{Mbuf, NoRoom};
use engine::fib::Path;
use engine::{Address, Entropy, Fib, InterfaceId, Unresolved};
use ruleset::Reason;
use wire::ethernet::{self, Tags};
use wire::{Af, EtherType, Mac, Proto, ipv4, ipv6};

use crate::config::{self, Carrier, Tunnel};
use crate::vlan;

/// Protocol of a GRE header in front of an Ethernet frame (RFC 1701).
const TRANSPARENT_BRIDGING: u16 = 0x6558;
/// Protocol of a GRE header in front of ERSPAN's, type II.
const ERSPAN: u16 = 0x88be;
/// A GRE header has a sequence number.
const SEQUENCED: u16 = 0x1000;
/// ERSPAN's version 1, which is type II.
const TYPE_II: u32 = 1 << 28;
/// ERSPAN: the frame still has its tag.
const TAG_IN_FRAME: u32 = 0b11 << 11;
/// ERSPAN: the frame was cut.
const TRUNCATED: u32 = 1 << 10;
/// Most octets of GRE and ERSPAN headers.
const CARRIER_MAX: usize = 16;

/// How copies leave by one span port.
#[derive(Debug)]
pub struct Span {
    form: config::Span,
    /// Copies that are left out until the next one.
    skip: u32,
    /// Of the next copy.
    sequence: u32,
    /// The number of this worker.
    worker: u16,
}

/// Where a copy goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Onto the wire of the span port.
    Port,
    /// Onto the wire of an interface, in an envelope with its Ethernet header.
    Carried(InterfaceId),
    /// Likewise, once its next hop is known.
    Waits(Unresolved),
}

impl Span {
    /// The form of copies that leave by a port of this worker; `None` if they leave as they are.
    pub fn new(form: &config::Span, worker: u16) -> Option<Box<Self>> {
        (*form != config::Span::default())
            .then(|| Box::new(Self { form: form.clone(), skip: 0, sequence: 0, worker }))
    }

    /// True if only some copies are made.
    pub const fn samples(&self) -> bool {
        self.form.sample > 1
    }

    /// True if the next copy is to be made: one of `sample` in the mean, at distances that nobody can foresee, and no regular
    /// traffic keeps step with.
    #[inline]
    pub fn takes(&mut self, entropy: &mut impl Entropy) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        let distances = 2 * u64::from(self.form.sample) - 1;
        self.skip = (entropy.next_u64() % distances) as u32;
        true
    }

    /// Gives a copy its form, and says where it goes.
    ///
    /// # Errors
    /// Why it cannot be sent.
    pub fn shape(&mut self, mbuf: &mut Mbuf, fib: &Fib) -> Result<Exit, Reason> {
        let snap = self.form.snap_bytes.map_or(usize::MAX, usize::from);
        let truncated = mbuf.len() > snap;
        if truncated {
            mbuf.truncate(snap).map_err(|NoRoom| Reason::NoBuffer)?;
        }
        if let Some(tag) = self.form.tag {
            vlan::insert(mbuf, tag).map_err(|NoRoom| Reason::NoBuffer)?;
        }
        let Some(tunnel) = self.form.tunnel else { return Ok(Exit::Port) };
        self.carry(mbuf, &tunnel, truncated, fib)
    }

    fn carry(
        &mut self,
        mbuf: &mut Mbuf,
        tunnel: &Tunnel,
        truncated: bool,
        fib: &Fib,
    ) -> Result<Exit, Reason> {
        let af = Af::of(&tunnel.collector);
        // One way for all of them, so that they arrive in their order.
        let path = fib.lookup(af, Address::from(tunnel.collector), 0);
        let Path::Forward { interface, next_hop, mac, mtu } = path else { return Err(Reason::NoRoute) };
        let out = fib.interface(interface).ok_or(Reason::NoRoute)?;
        let source = match tunnel.source {
            Some(source) => Address::from(source),
            None => out.source_address(af).ok_or(Reason::NoRoute)?,
        };
        let (carrier, length) = self.carrier(tunnel, mbuf.data(), truncated);
        let carried = length + mbuf.len();
        let ip_len = if af == Af::Inet { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN };
        if ip_len + carried > usize::from(mtu.map_or(out.mtu, |mtu| mtu.min(out.mtu))) {
            return Err(Reason::TooBig);
        }
        let head = mbuf.prepend(ethernet::HEADER_LEN + ip_len + length).map_err(|NoRoom| Reason::NoBuffer)?;
        let (link, rest) = head.split_at_mut(ethernet::HEADER_LEN);
        let (network, gre) = rest.split_at_mut(ip_len);
        gre.copy_from_slice(&carrier[..length]);
        let ether_type = put_network(network, af, [source, Address::from(tunnel.collector)], carried)?;
        let dst = mac.unwrap_or(Mac([0; 6]));
        let header = ethernet::Repr { dst, src: out.mac, tags: Tags::None, ether_type };
        header.emit(link).map_err(|_| Reason::NoBuffer)?;
        Ok(match mac {
            Some(_) => Exit::Carried(interface),
            None => Exit::Waits(Unresolved { interface, next_hop }),
        })
    }

    /// The headers between IP and the frame, and their length.
    fn carrier(&mut self, tunnel: &Tunnel, frame: &[u8], truncated: bool) -> ([u8; CARRIER_MAX], usize) {
        let mut bytes = [0; CARRIER_MAX];
        let mut length = 0;
        let mut put = |more: &[u8]| {
            bytes[length..length + more.len()].copy_from_slice(more);
            length += more.len();
        };
        match tunnel.carrier {
            Carrier::Gre => {
                put(&0_u16.to_be_bytes());
                put(&TRANSPARENT_BRIDGING.to_be_bytes());
            }
            Carrier::Erspan { session } => {
                put(&SEQUENCED.to_be_bytes());
                put(&ERSPAN.to_be_bytes());
                put(&self.sequence.to_be_bytes());
                self.sequence = self.sequence.wrapping_add(1);
                let vlan = vlan::number(frame).map_or(0, |vlan| u32::from(vlan) << 16 | TAG_IN_FRAME);
                let cut = if truncated { TRUNCATED } else { 0 };
                // Sequence numbers are a worker's own, and a session's.
                let session = u32::from(session + self.worker);
                put(&(TYPE_II | vlan | cut | session).to_be_bytes());
                put(&u32::from(self.worker).to_be_bytes());
            }
        }
        (bytes, length)
    }
}

fn put_network(
    out: &mut [u8],
    af: Af,
    [src, dst]: [Address; 2],
    carried: usize,
) -> Result<EtherType, Reason> {
    let written = match (src.to_ip(af), dst.to_ip(af)) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            ipv4::Repr { dont_fragment: true, ..ipv4::Repr::new(src, dst, Proto::GRE, carried) }.emit(out)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => ipv6::Repr::new(src, dst, Proto::GRE, carried).emit(out),
        _ => return Err(Reason::NoRoute),
    };
    written.map_err(|_| Reason::TooBig)?;
    Ok(if af == Af::Inet { EtherType::IPV4 } else { EtherType::IPV6 })
}
