//! Packets of one family that become packets of the other (pf.conf(5) `af-to`, NAT64 and NAT46, RFC 6146, RFC 7915).
//!
//! Overview: the IN hook gives the packet a tuple of the other family, as it does for [`translate`](crate::translate), and a
//! state, which is one for both ways: its answers find it by what it was translated to, where they come in. Behind the hook a
//! packet [crosses](Shard::cross): it is routed as one of its new family, and leaves without meeting a rule for `out`. What
//! is refused is answered in the family in which its sender spoke. Which IPv4 address an IPv6 address holds says its
//! [prefix], what becomes of headers and checksums the [frame], and of ICMP errors the [message].
//! Life cycle: a translation is made with the root. Ownership: the shard. Bounds: 20 bytes more in front of a frame, 40 for
//! an ICMP error.
//!
//! IPv6 packets of more than 1280 bytes find out what fits on the way behind as if all of it were IPv6. IPv4 packets that may
//! be fragmented are, where they are longer than 1280 bytes over IPv6. Fragments are put together before.
//!
//! Deviation: states float, whatever the policy is, as in FreeBSD: their answers come in by another interface. Nothing leads to
//! the firewall's own host, nor across a transparent pair. IPv6 packets with routing or authentication headers are dropped.

mod frame;
mod message;
mod prefix;

use ruleset::{Direction, Reason};
use wire::{Af, IpOptions, Port, Proto, icmp4, icmp6, ipv4, ipv6};

use crate::Address;
use crate::eval::Root;
use crate::fate::Fate;
use crate::fib::{Interface, NextHop};
use crate::frame::{Frame, NoRoom};
use crate::hook::{Answer, Passage, Passed, Stop, write_stamps};
use crate::packet::{Packet, Quoted, Transport, Tuple, ip_header_len};
use crate::parse::verify_transport;
use crate::reply::Problem;
use crate::rewrite;
use crate::routing::{Guide, Out, Route, gate_forwarding, is_group, is_martian, link_of, route};
use crate::scrub;
use crate::shard::{Shard, View};
use crate::translate::{Aim, Translation};
use message::{Message, Mtus};
pub(crate) use prefix::Network;

/// `af-to` of a rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AfTo {
    /// The family that packets get.
    pub af: Af,
    /// How long the prefix is in front of the IPv4 address in an IPv6 packet's destination.
    pub asked: u8,
    /// Where destinations are, if that is a network.
    pub to: Option<Network>,
}

impl AfTo {
    /// The length of the well-known prefix (RFC 6052 §2.1), and of one that nothing says.
    pub const WELL_KNOWN: u8 = 96;
}

/// Where packets go whose source is chosen behind their destination.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Far {
    Given(Address),
    /// Under the prefix of 96 bits that their source has.
    UnderSource(u32),
}

impl Far {
    /// The destination, of a packet from this source.
    pub const fn of(self, source: Address) -> Address {
        match self {
            Self::Given(address) => address,
            Self::UnderSource(v4) => Address(prefix::embed(source.0, AfTo::WELL_KNOWN, v4)),
        }
    }
}

/// RFC 7915 §5.1: IPv4 packets longer than this may not be fragmented.
const DF_ABOVE: usize = 1260;

/// RFC 7915 §4: IPv4 packets that may be fragmented are cut to this, since nobody on an IPv6 path does.
const CUT_ABOVE: u32 = 1280;

/// The type of an echo, or of its reply, in a family; `None` of other types.
const fn query_kind(af: Af, kind: u8) -> Option<u8> {
    const REQUEST4: u8 = icmp4::Type::ECHO_REQUEST.0;
    const REPLY4: u8 = icmp4::Type::ECHO_REPLY.0;
    const REQUEST6: u8 = icmp6::Type::ECHO_REQUEST.0;
    const REPLY6: u8 = icmp6::Type::ECHO_REPLY.0;
    Some(match (af, kind) {
        (Af::Inet, REQUEST6) => REQUEST4,
        (Af::Inet, REPLY6) => REPLY4,
        (Af::Inet6, REQUEST4) => REQUEST6,
        (Af::Inet6, REPLY4) => REPLY6,
        _ => return None,
    })
}

/// What ICMP is in a family.
pub(crate) const fn proto_in(af: Af, proto: Proto) -> Proto {
    match (af, proto) {
        (Af::Inet, Proto::ICMP6) => Proto::ICMP,
        (Af::Inet6, Proto::ICMP) => Proto::ICMP6,
        _ => proto,
    }
}

/// What the checksum of an upper layer of this length covers of the addresses; nothing, of ICMP over IPv4.
fn pseudo_header(tuple: &Tuple, length: u32) -> [u8; 40] {
    let mut covered = [0; 40];
    if tuple.proto != Proto::ICMP {
        covered[..16].copy_from_slice(&tuple.src.0.to_be_bytes());
        covered[16..32].copy_from_slice(&tuple.dst.0.to_be_bytes());
        covered[32..36].copy_from_slice(&length.to_be_bytes());
        covered[39] = tuple.proto.0;
    }
    covered
}

/// A packet with a tuple of the other family, as it will be. Of an IPv6 packet, whether it may be fragmented is told as long
/// as it has not left.
fn crossed(packet: &Packet, tuple: Tuple) -> Packet {
    let l4 = packet.l3 + ip_header_len(tuple.af) as u16;
    let end = u32::from(l4) + packet.end - u32::from(packet.l4);
    let length = (end - u32::from(packet.l3)) as usize;
    let transport = match packet.transport {
        Transport::IcmpQuery { kind, code } => {
            Transport::IcmpQuery { kind: query_kind(tuple.af, kind).unwrap_or(kind), code }
        }
        other => other,
    };
    let dont_fragment = match tuple.af {
        Af::Inet => length > DF_ABOVE,
        Af::Inet6 => packet.dont_fragment,
    };
    Packet { tuple, l4, end, options: false, dont_fragment, transport, ..*packet }
}

/// True for a packet that means the same in the other family. Numbers that are a header there, or another protocol, are none.
fn may_cross(packet: &Packet) -> bool {
    let means_more = |proto: Proto| {
        matches!(
            proto,
            Proto::HOP_BY_HOP
                | Proto::ROUTING
                | Proto::FRAGMENT
                | Proto::AH
                | Proto::NO_NEXT
                | Proto::DST_OPTS
                | Proto::ICMP
                | Proto::ICMP6
        )
    };
    let af = packet.tuple.af.other();
    match packet.transport {
        Transport::Tcp(_) | Transport::Udp => true,
        Transport::IcmpQuery { kind, .. } => {
            query_kind(af, kind).is_some() && crate::eval::is_request(packet.tuple.af, kind)
        }
        Transport::Other => !means_more(packet.tuple.proto),
        Transport::IcmpError { .. } | Transport::IcmpOther { .. } | Transport::Fragment => false,
    }
}

const NOTHING_THERE: Stop = Stop::silent(Reason::Translate);

impl Passage<'_> {
    /// The packet as hooks count it: of the family in which it came to them.
    pub const fn as_counted(&self) -> &Packet {
        match &self.arrived {
            Some(arrived) if self.turned_over => arrived,
            _ => self.packet,
        }
    }

    /// Makes it a packet of the other family.
    #[cold]
    pub fn turn_over(&mut self, tuple: Tuple) {
        self.keep_arrived();
        *self.packet = crossed(self.packet, tuple);
        (self.turned, self.turned_over) = (true, true);
    }

    /// Makes an ICMP error one of the other family, about a packet of this tuple. It comes from whom the quoted packet was for;
    /// over IPv6, where routers have addresses too, from the router itself (RFC 6146 §3.5.1, RFC 6052 §5.1).
    #[cold]
    pub fn turn_over_quoted(&mut self, tuple: Tuple) {
        let Transport::IcmpError { kind, code, quoted } = self.packet.transport else { return };
        let Tuple { af, src: receiver, dst: asked, .. } = tuple;
        let outer = self.packet.tuple;
        let src = match af {
            Af::Inet => asked,
            Af::Inet6 => {
                let length = prefix::holding(asked.0, quoted.tuple.dst.v4()).unwrap_or(AfTo::WELL_KNOWN);
                Address(prefix::embed(asked.0, length, outer.src.v4()))
            }
        };
        let proto = proto_in(af, outer.proto);
        self.turn_over(Tuple { af, proto, src, dst: receiver, ..outer });
        self.packet.transport = Transport::IcmpError { kind, code, quoted: Quoted { tuple, ..quoted } };
    }
}

impl Shard {
    /// Makes a packet one of the other family, as a rule asks.
    #[cold]
    pub(crate) fn translate_family(
        &mut self,
        view: &View<'_>,
        root: &Root,
        passage: &mut Passage<'_>,
        (translation, af_to): (&Translation, AfTo),
    ) -> Result<(), Stop> {
        let received_on = passage.received_on.and_then(|interface| view.fib.interface(interface));
        if received_on.is_none_or(|own| own.bridge().is_some()) || !may_cross(passage.packet) {
            return Err(NOTHING_THERE);
        }
        if passage.offered.is_some() {
            return Err(Stop::silent(Reason::Synproxy));
        }
        let Some((pool, ports)) = &translation.nat else { return Err(NOTHING_THERE) };
        let asked = passage.packet.tuple;
        let v4 = match af_to.af {
            Af::Inet => prefix::extract(af_to.asked, asked.dst.0),
            Af::Inet6 => asked.dst.v4(),
        };
        let far = match (&translation.rdr, af_to.to) {
            (_, Some(network)) => Far::Given(Address(network.with(v4))),
            (Some((pool, _)), None) => Far::Given(self.destination_of(view, root, pool, &asked, af_to.af)?),
            (None, None) if af_to.af == Af::Inet => Far::Given(Address(v4.into())),
            (None, None) => Far::UnderSource(v4),
        };
        let dport = match (passage.packet.transport, &translation.rdr) {
            (Transport::IcmpQuery { kind, .. }, _) => Port(query_kind(af_to.af, kind).map_or(0, u16::from)),
            (Transport::Tcp(_) | Transport::Udp, Some((_, ports))) => ports.of(asked.dport),
            _ => asked.dport,
        };
        let base = Tuple { af: af_to.af, proto: proto_in(af_to.af, asked.proto), dport, ..asked };
        let aim = Aim { base, far: Some(far), interface: None };
        self.replace_source(view, root, passage, (pool, *ports), &aim)
    }

    /// The way of a packet that the IN hook has made one of the other family.
    #[cold]
    #[inline(never)]
    pub(crate) fn cross<F: Frame>(
        &mut self,
        view: &View<'_>,
        own: &Interface,
        frame: &mut F,
        passage: &mut Passage<'_>,
        entered: &Passed,
    ) -> Result<Fate, Stop> {
        let Some(arrived) = passage.arrived else { return Err(NOTHING_THERE) };
        let packet = &*passage.packet;
        let Tuple { af, src, dst, .. } = packet.tuple;
        if is_martian(packet)
            || is_group(af, dst)
            || src == dst
            || has_binding_headers(frame.bytes(), &arrived)
        {
            return Err(NOTHING_THERE);
        }
        let told = |stop: Stop| as_told(stop, arrived.tuple.af);
        let routed = route(view.fib, packet, passage.flow.hash.0, Guide::Table(passage.routed.table));
        let out = match routed.map_err(|stop| told(self.blame_table(passage, stop)))? {
            Route::Out(out) => out,
            Route::Host => return Err(NOTHING_THERE),
        };
        gate_forwarding(packet)?;
        let link = link_of(view, out.hop.interface)?;
        let message = self.message_across(own, &out, link, frame.bytes(), (&arrived, passage.packet))?;
        self.gate_size_across(frame.bytes(), (&arrived, passage.packet), &out.hop, link).map_err(told)?;
        let ident = match self.normalizer.ident() {
            Some(ident) => ident as u16,
            None => self.draw() as u16,
        };
        frame::cross(frame, &arrived, passage.packet, ident, message.as_ref())
            .map_err(|NoRoom| Stop::silent(Reason::Memory))?;
        self.commit(view, passage, entered);
        if let Some(flags) = passage.repaired {
            rewrite::set_tcp_flags(frame, passage.packet, flags);
        }
        if let Some(stamps) = passage.restamped {
            write_stamps(frame, passage.packet, stamps);
        }
        scrub::write(frame, passage, Direction::In);
        rewrite::decrement_ttl(frame, passage.packet).map_err(Stop::silent)?;
        Ok(self.send_by(view, frame, passage, &out, link))
    }

    /// What an ICMP error becomes, as which the packet is as long as that; nothing of other packets.
    fn message_across(
        &self,
        own: &Interface,
        out: &Out,
        link: &Interface,
        frame: &[u8],
        (arrived, packet): (&Packet, &mut Packet),
    ) -> Result<Option<Message>, Stop> {
        if !matches!(packet.transport, Transport::IcmpError { .. }) {
            return Ok(None);
        }
        // It gets a checksum of its own, which is not to hide that this one is wrong.
        verify_transport(frame, arrived).map_err(Stop::silent)?;
        let mtus = Mtus { coming: own.mtu.into(), leaving: mtu_of(&out.hop, link) };
        let message = Message::of(frame, arrived, packet, mtus).ok_or(NOTHING_THERE)?;
        packet.end = u32::from(packet.l4) + message.length();
        packet.dont_fragment = false;
        Ok(Some(message))
    }

    /// What is longer than the next link takes is cut up, or its sender told so, in terms of its own family.
    fn gate_size_across(
        &mut self,
        frame: &[u8],
        (arrived, packet): (&Packet, &mut Packet),
        hop: &NextHop,
        link: &Interface,
    ) -> Result<(), Stop> {
        if packet.tuple.af == Af::Inet {
            // What came in fragments may leave in some.
            packet.dont_fragment &= !self.normalizer.has_joined();
            return self.gate_size(packet, hop, link);
        }
        let mtu = mtu_of(hop, link);
        let fits = mtu.min(CUT_ABOVE);
        if packet.dont_fragment && packet.length() > mtu {
            return Err(Stop::router(Reason::TooBig, Problem::TooBig { mtu }));
        }
        if !packet.dont_fragment && packet.length() > fits {
            let ident = ipv4::Header::at(frame, arrived.l3.into()).map_or(0, |header| header.ident());
            self.normalizer.cut_for(fits, ident);
        }
        Ok(())
    }

    /// Makes a frame again what its sender sent, of which a packet of the other family was made. False if it cannot.
    #[cold]
    pub(crate) fn take_back_family<F: Frame>(
        &mut self,
        frame: &mut F,
        packet: &mut Packet,
        tuple: Tuple,
    ) -> bool {
        if matches!(packet.transport, Transport::IcmpError { .. }) {
            return false;
        }
        let (left, sent) = (*packet, crossed(packet, tuple));
        *packet = sent;
        frame::cross(frame, &left, &sent, 0, None).is_ok()
    }
}

/// The MTU of a link and of a route by it.
fn mtu_of(hop: &NextHop, link: &Interface) -> u32 {
    hop.mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu)).into()
}

/// True for an IPv6 packet whose headers say more of it than an IPv4 header can: by which routers it goes, or that its
/// addresses are signed.
fn has_binding_headers(frame: &[u8], packet: &Packet) -> bool {
    const BINDING: u8 = IpOptions::ROUTING.union(IpOptions::AUTH).0;
    let chain = |bytes| ipv6::Packet::parse(bytes).and_then(|ip| ip.chain());
    packet.tuple.af == Af::Inet6
        && usize::from(packet.l4 - packet.l3) > ipv6::HEADER_LEN
        && frame
            .get(packet.l3.into()..)
            .is_none_or(|bytes| chain(bytes).is_ok_and(|chain| chain.seen.0 & BINDING != 0))
}

/// An answer about the way over the other family, to a sender of this one.
fn as_told(stop: Stop, af: Af) -> Stop {
    const LONGER: u32 = (ipv6::HEADER_LEN - ipv4::HEADER_LEN) as u32;
    let Stop::Refused { reason, answer: Answer::Router(problem) } = stop else { return stop };
    let problem = match (problem, af) {
        (Problem::TooBig { mtu }, Af::Inet) => Problem::TooBig { mtu: mtu.saturating_sub(LONGER) },
        (Problem::TooBig { mtu }, Af::Inet6) => Problem::TooBig { mtu: (mtu + LONGER).max(CUT_ABOVE) },
        (Problem::Unreachable { code: icmp6::unreachable::PROHIBITED }, Af::Inet) => {
            Problem::Unreachable { code: icmp4::unreachable::FILTERED }
        }
        (Problem::Unreachable { code: icmp4::unreachable::FILTERED }, Af::Inet6) => {
            Problem::Unreachable { code: icmp6::unreachable::PROHIBITED }
        }
        (other, _) => other,
    };
    Stop::router(reason, problem)
}
