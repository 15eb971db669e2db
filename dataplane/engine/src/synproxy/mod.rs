//! Handshakes that are completed for a server (pf.conf(5) `synproxy state`, `set syncookies`).
//!
//! Overview: the hook at which a client's SYN makes a state of a `synproxy` rule answers it in the server's name, with a window
//! of 0, so that nothing follows before the server is known. The ACK that completes the client's handshake becomes a SYN to
//! the server in its place, which is routed, meets the OUT rules and makes a state there as any SYN does. The server's SYN|ACK becomes
//! what opens the window for the client, and is answered besides. From then on both ends' numbers are changed as those of
//! [modulated](crate::renumber) connections are. With [cookies](cookie) there is no state before the client's ACK either.
//!
//! As in pf, every packet of the handshakes counts for the reason `synproxy`, those that go on in place of another one too:
//! they are a drop and a packet that was made. Neither end scales windows, since what the server would have offered is not known
//! when the client is answered. On transparent pairs there are no addresses to speak from: the states are ordinary ones there,
//! as for SYNs that leave.
//! Ownership: the shard. Bounds: a packet becomes one other, and one besides.
//!
//! Deviation: a connection whose handshakes are complete is established by its time-out, too; in pf it is so behind the next packet.

pub(crate) mod cookie;

use ruleset::{Direction, Reason, StateMode, Timeout};
use wire::{Af, Seq, TcpFlags, tcp};

use crate::events::StateChange;
use crate::fate::{Arrival, Created, Fate, Source};
use crate::frame::Frame;
use crate::hook::{Answer, Hook, Passage, Pending, Stop};
use crate::packet::ip_header_len;
use crate::parse::verify_transport;
use crate::reply;
use crate::routing::endpoints;
use crate::shard::{Shard, View};
use crate::state::RecordId;
use crate::track::{self, Mode, ProxyOutcome, ProxySide, Segment, TcpOutcome, await_client};
use crate::witness::Seen;
use crate::{Packet, Transport};
use cookie::Offered;

/// What tells initial sequence numbers of the two handshakes from each other, and from what modulation adds.
const FOR_CLIENT: u8 = 2;
const FOR_SERVER: u8 = 3;

/// The largest segments of a host that says nothing about them (RFC 9293 §3.7.1).
const MSS_DEFAULT: u16 = 536;
const MSS_DEFAULT6: u16 = 1220;

/// The least that a host is taken at its word.
const MSS_MIN: u16 = 64;

/// What a packet is in place of the one that arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remade {
    /// The option of that name.
    mss: Option<u16>,
    /// The server was told by a packet of its own, which the other face of the connection, on this side, has not met.
    told: Option<(RecordId, Segment)>,
}

/// A handshake that a rule completes for a server, of whose client this is known.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Client {
    /// It has said SYN.
    Asks,
    /// It has answered what it was told without a state.
    Answers(Offered),
}

impl Remade {
    /// Makes the frame of the packet that arrived that of this one.
    pub fn write(&self, frame: &mut impl Frame, packet: &Packet) {
        reply::remake(frame, packet, self.mss);
    }
}

impl Passage<'_> {
    /// Has another segment of the same connection go on in place of this one.
    fn remake(&mut self, segment: Segment, remade: Remade) {
        self.keep_arrived();
        let packet = &mut *self.packet;
        packet.l4 = packet.l3 + ip_header_len(packet.tuple.af) as u16;
        packet.end = u32::from(packet.l4) + reply::header_len(remade.mss) as u32;
        (packet.ttl, packet.tos, packet.dont_fragment, packet.options) = (reply::TTL, 0, true, false);
        packet.transport = Transport::Tcp(segment);
        self.remade = Some(remade);
    }

    /// Refuses what its sender has not sent like this. What the host sends may still lack its checksum.
    pub fn verify(&self, frame: &[u8]) -> Result<(), Stop> {
        match self.received_on {
            Some(_) => verify_transport(frame, self.as_arrived()).map_err(Stop::silent),
            None => Ok(()),
        }
    }
}

/// The largest segments that a SYN allows.
fn offered_mss(frame: &[u8], packet: &Packet) -> u16 {
    let octets = frame.get(usize::from(packet.l4)..packet.end as usize).unwrap_or_default();
    let offered = tcp::Segment::parse(octets).ok().and_then(|segment| segment.options().mss());
    let default = if packet.tuple.af == Af::Inet { MSS_DEFAULT } else { MSS_DEFAULT6 };
    offered.unwrap_or(default).max(MSS_MIN)
}

impl Shard {
    /// Whether the handshake of a packet that a rule passes is completed for its receiver, who does not see it before.
    #[inline]
    pub(crate) fn proxies(
        &self,
        view: &View<'_>,
        passage: &Passage<'_>,
        hook: &Hook<'_>,
        state: StateMode,
    ) -> Option<Client> {
        if let Some(offered) = passage.offered {
            return Some(Client::Answers(offered));
        }
        (state == StateMode::Synproxy && self.may_proxy(view, passage, hook)).then_some(Client::Asks)
    }

    /// True for a SYN that enters where there are addresses.
    #[cold]
    fn may_proxy(&self, view: &View<'_>, passage: &Passage<'_>, hook: &Hook<'_>) -> bool {
        const OPEN: TcpFlags = TcpFlags::SYN.union(TcpFlags::ACK);
        let opens = matches!(passage.packet.transport, Transport::Tcp(segment)
            if segment.flags.masked(OPEN) == TcpFlags::SYN);
        let is_bridged = view.fib.interface(hook.interface).is_some_and(|own| own.bridge().is_some());
        opens && hook.direction == Direction::In && !is_bridged && !self.normalizer.has_joined()
    }

    /// The largest segments of a client, as far as its own link takes them.
    fn mss_of(&self, view: &View<'_>, passage: &Passage<'_>, hook: &Hook<'_>) -> u16 {
        let arrived = passage.as_arrived();
        let headers = tcp::HEADER_LEN + ip_header_len(arrived.tuple.af);
        let link = view.fib.interface(hook.interface).map_or(u16::MAX, |own| own.mtu);
        offered_mss(hook.frame, arrived).min(link.saturating_sub(headers as u16).max(MSS_MIN))
    }

    /// Begins the handshake with a client, whose packet has made a state at the IN hook.
    #[cold]
    pub(crate) fn meet_client(
        &mut self,
        view: &View<'_>,
        passage: &mut Passage<'_>,
        hook: &Hook<'_>,
        record: RecordId,
        client: Client,
    ) -> Result<(), Stop> {
        let sender = passage.flow.sender;
        let (opened, server) = self.connections.peers(record, sender);
        match client {
            Client::Asks => {
                let mss = self.mss_of(view, passage, hook);
                let isn = Seq(self.isn.draw(&passage.as_arrived().tuple, FOR_CLIENT, view.now));
                self.connections.set_peers(record, sender, &(await_client(opened, isn), server));
                self.connections.set_mss(record, hook.side(sender), mss);
                let answer = Answer::SynAck { seq: isn, ack: opened.seqlo.plus(1), mss };
                Err(Stop::Refused { reason: Reason::Synproxy, answer })
            }
            Client::Answers(Offered { mss, segment, .. }) => {
                passage.offered = None;
                self.connections.set_mss(record, hook.side(sender), mss);
                let client = await_client(opened, segment.ack.minus(1));
                let isn = Seq(self.isn.draw(&passage.packet.tuple, FOR_SERVER, view.now));
                match track::proxy(&client, &server, &segment, ProxySide::Client, isn) {
                    ProxyOutcome::Ask { client, server, syn } => {
                        self.connect(view, &passage.flow, record, hook.side(sender))?;
                        self.connections.set_peers(record, sender, &(client, server));
                        passage.remake(syn, Remade { mss: Some(mss), told: None });
                        Ok(())
                    }
                    _ => Err(Stop::silent(Reason::Synproxy)),
                }
            }
        }
    }

    /// Follows the handshakes of a connection whose state at a hook a packet has met.
    #[cold]
    #[inline(never)]
    pub(crate) fn follow_handshakes(
        &mut self,
        view: &View<'_>,
        passage: &mut Passage<'_>,
        hook: &Hook<'_>,
        record: RecordId,
        segment: &Segment,
    ) -> Result<Pending, Stop> {
        passage.verify(hook.frame)?;
        let refused = Stop::silent(Reason::Synproxy);
        if self.normalizer.has_joined() {
            return Err(refused);
        }
        let sender = passage.flow.sender;
        let side = hook.side(sender);
        let peers = self.connections.peers(record, sender);
        let by_client = track::is_proxied(&peers.0);
        let (client, server) = if by_client { peers } else { (peers.1, peers.0) };
        let (client_side, by) =
            if by_client { (sender, ProxySide::Client) } else { (sender.other(), ProxySide::Server) };
        let mss = self.connections.mss(record);
        let isn = Seq(self.isn.draw(&passage.packet.tuple, FOR_SERVER, view.now));
        match track::proxy(&client, &server, segment, by, isn) {
            ProxyOutcome::Drop => Err(refused),
            ProxyOutcome::Repeat { seq, ack } => {
                Err(Stop::Refused { reason: Reason::Synproxy, answer: Answer::SynAck { seq, ack, mss } })
            }
            ProxyOutcome::Ask { client, server, syn } => {
                self.connect(view, &passage.flow, record, side)?;
                passage.remake(syn, Remade { mss: Some(mss), told: None });
                Ok(Pending::new(record, &passage.flow, side, Some((client, server)), None))
            }
            ProxyOutcome::Join { client, server, to_client, to_server } => {
                let told = self.tell_server(view, passage, hook, to_server);
                self.connections.set_peers(record, client_side, &(client, server));
                let mut differences = [0; 2];
                differences[client_side.index()] = client.seqdiff;
                differences[client_side.other().index()] = server.seqdiff;
                self.connections.renumber(record, side, differences);
                self.tell_both(view, record, StateChange::Changed);
                passage.remake(to_client, Remade { mss: None, told });
                Ok(Pending::new(record, &passage.flow, side, None, Some(Timeout::TcpEstablished)))
            }
            ProxyOutcome::End { client, server, to_client } => {
                self.connections.set_peers(record, client_side, &(client, server));
                self.connections.refresh(record, Timeout::TcpClosed, view.sixteenths());
                self.tell_both(view, record, StateChange::Changed);
                let reset = to_client.ok_or(refused)?;
                passage.remake(reset, Remade { mss: None, told: None });
                Ok(Pending::new(record, &passage.flow, side, None, None))
            }
        }
    }

    /// Sends the server its ACK, by the way that its SYN|ACK came. Returns the connection's other face, which is to meet it.
    fn tell_server(
        &mut self,
        view: &View<'_>,
        passage: &Passage<'_>,
        hook: &Hook<'_>,
        ack: Segment,
    ) -> Option<(RecordId, Segment)> {
        let arrived = passage.as_arrived();
        let Transport::Tcp(answered) = arrived.transport else { return None };
        let (arrival, fate) = match passage.received_on {
            Some(interface) => (Arrival { interface, source: Source::Wire }, Fate::Transmit(interface)),
            None => {
                let interface = hook.interface;
                (Arrival { interface, source: Source::Host }, Fate::Host(interface))
            }
        };
        let ends = endpoints(view.fib, arrival, arrived);
        let was_sent = self.normalizer.send_beside(hook.frame, arrival, fate, |frame| {
            reply::ack(frame, arrived, ends, answered.ack, answered.seq.plus(1), ack.window)
        });
        if was_sent {
            self.counters.create(Created::Handshake, 1);
        }
        Some((hook.first?.record()?, ack))
    }

    /// Counts a packet that went on in place of another one, and has the state on the server's side meet what the server was
    /// told besides.
    #[cold]
    pub(crate) fn finish_remade(
        &mut self,
        view: &View<'_>,
        arrival: Arrival,
        passage: &Passage<'_>,
        remade: &Remade,
    ) {
        let place = (arrival, arrival.interface);
        self.witness.note(view.now, Reason::Synproxy, place, Seen::Packet(*passage.as_arrived()));
        self.counters.drop_packet(arrival.interface, Reason::Synproxy);
        self.counters.create(Created::Handshake, 1);
        let Some((record, ack)) = remade.told else { return };
        // It goes the other way, and meets the face on the side of its receiver.
        let server = passage.flow.sender;
        let Some(class) = self.connections.face(record, server) else { return };
        let mode = if class.rule.sloppy { Mode::Sloppy } else { Mode::Strict };
        let (from, to) = self.connections.peers_at(record, server, server.other());
        if let TcpOutcome::Pass { from, to, refresh, .. } = track::tcp(&from, &to, &ack, mode) {
            self.connections.set_peers_at(record, server, server.other(), &(from, to));
            if let Some(timeout) = refresh {
                self.connections.refresh(record, timeout, view.sixteenths());
            }
            let length = passage.packet.length();
            self.connections.count(record, server.other(), length);
            self.tell_both(view, record, StateChange::Changed);
        }
    }
}
