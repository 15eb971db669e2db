//! What a packet does to the state that it finds (pf.md 2.4 to 2.8), on a copy: whoever asked decides what is kept.

use ruleset::{PeerState, Reason, Timeout};

use super::Oracle;
use super::hook::{Hook, Subject};
use super::packet::{Packet, QuotedTransport, Transport};
use super::reply::{self, Reply, Verdict};
use super::state::{Seen, State};
use super::tcp::{self, Fit, OwnFin, SeenBy};

/// The outcome, with the state as it would be.
pub(super) enum Tracked {
    /// The packet fits, and completes the handshake or not. Counters are not touched yet.
    Fits(State, bool),
    /// It does not.
    Refused {
        /// What pf keeps all the same.
        leaves: State,
        /// Whether the handshake's numbers were forgotten.
        forgot: Forgot,
        /// What becomes of the packet.
        verdict: Verdict,
    },
    /// A SYN on a connection that is over: the state goes, and the rules are asked ("state reuse").
    Reuse,
}

/// Whether a refusal took the sender's sequence numbers away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forgot {
    No,
    Yes,
}

impl Oracle {
    /// What `packet`, found to concern `state` as `subject` says, does to it.
    pub(super) fn track(
        &self,
        state: &State,
        hook: Hook,
        packet: &Packet,
        subject: Subject,
        now: u64,
    ) -> Tracked {
        let mut after = state.clone();
        match (subject, &packet.transport) {
            (Subject::Quoted, _) => return self.quoted(after, hook, packet),
            (Subject::Own, Transport::Tcp(tcp)) => return self.tcp(after, hook, packet, tcp, now),
            (Subject::Own, Transport::Icmp(_) | Transport::Icmp6(_)) => {
                // pf.md 2.8: "timeout icmp.error"; the peers stay 0:0.
                after.class = Timeout::IcmpError;
            }
            (Subject::Own, Transport::Udp { .. }) => {
                after.class = datagram(&mut after, hook, Timeout::UdpSingle, Timeout::UdpMultiple);
            }
            (Subject::Own, Transport::Other(_)) => {
                after.class = datagram(&mut after, hook, Timeout::OtherSingle, Timeout::OtherMultiple);
            }
        }
        after.last_seen = self.rounded(now);
        Tracked::Fits(after, false)
    }

    /// pf.md 2.4 and 2.5.
    fn tcp(&self, mut state: State, hook: Hook, packet: &Packet, tcp: &super::Tcp, now: u64) -> Tracked {
        let before = state.clone();
        let sloppy = state.options.sloppy;
        let seen_by = self.seen_by();
        if self.deviations.damage_refused && tcp::is_damaged(tcp) {
            let verdict = Verdict::drop(Reason::ProtoCksum);
            return Tracked::Refused { leaves: state, forgot: Forgot::No, verdict };
        }
        let told = self.deviations.numbers_as_told;
        let (src, dst) = state.peers(hook.direction);
        if tcp::opens(tcp) {
            let least = src.state.min(dst.state);
            if least >= PeerState::FinWait2 {
                return Tracked::Reuse;
            }
            if least >= PeerState::Established {
                let reply = Some(reply::challenge(src, dst, told));
                let verdict = Verdict::Drop { reason: Reason::Challenge, reply };
                return Tracked::Refused { leaves: state, forgot: Forgot::No, verdict };
            }
        }
        self.go_on_modulating(&mut state, hook.direction);
        let (src, dst) = state.peers(hook.direction);
        let (fit, completes) = if sloppy {
            (Fit::Strict, tcp::track_sloppy(src, dst, tcp, seen_by))
        } else {
            let own_fin = if self.deviations.fin_past_window { OwnFin::Behind } else { OwnFin::Counts };
            tcp::track_full(src, dst, tcp, seen_by, own_fin)
        };
        let class = tcp::class(src.state, dst.state);
        if fit != Fit::Mismatch
            && self.judge_stamps(&before, &mut state, hook.direction, packet, now).is_err()
        {
            let verdict = Verdict::drop(Reason::BadTimestamp);
            return Tracked::Refused { leaves: before, forgot: Forgot::No, verdict };
        }
        match fit {
            Fit::Strict => {
                state.class = class;
                state.last_seen = self.rounded(now);
                Tracked::Fits(state, completes)
            }
            Fit::Loose => Tracked::Fits(state, false),
            Fit::Mismatch => self.mismatch(state, hook, tcp),
        }
    }

    /// "ELSE drop, counter state-mismatch"; in a handshake of which both ends are in SYN_SENT the sender is reset and
    /// its numbers are forgotten. The numbers go even if the segment is itself a RST, which is not answered.
    fn mismatch(&self, mut state: State, hook: Hook, tcp: &super::Tcp) -> Tracked {
        let (src, dst) = state.peers(hook.direction);
        if src.state != PeerState::SynSent || dst.state != PeerState::SynSent {
            let verdict = Verdict::drop(Reason::StateMismatch);
            return Tracked::Refused { leaves: state, forgot: Forgot::No, verdict };
        }
        src.forget_sequence();
        let is_reset = tcp.flags.contains(wire::TcpFlags::RST);
        // "send RST (seq=th_ack)", whether or not the segment acknowledges anything.
        let reply = (!is_reset).then_some(Reply::Rst {
            seq: tcp.ack,
            ack: wire::Seq(0),
            flags: wire::TcpFlags::RST,
            ttl: 0,
        });
        let verdict = Verdict::Drop { reason: Reason::StateMismatch, reply };
        Tracked::Refused { leaves: state, forgot: Forgot::Yes, verdict }
    }

    /// pf.md 2.8: an ICMP error changes neither state nor time-out. About TCP it must quote a sequence number that its
    /// receiver may have sent.
    fn quoted(&self, mut state: State, hook: Hook, packet: &Packet) -> Tracked {
        let quoted = packet.icmp().and_then(|icmp| icmp.quoted.as_ref()).map(|quoted| quoted.transport);
        let seen_by = self.seen_by();
        if let Some(QuotedTransport::Tcp { seq, .. }) = quoted
            && !state.options.sloppy
        {
            // The quoted packet went the other way.
            let (src, dst) = state.peers(hook.direction.reverse());
            let dws = if src.wscale.is_some() { dst.wscale.unwrap_or(0) } else { 0 };
            let seq = seq.minus(src.seqdiff);
            let lowest = src.seqlo.minus(u32::from(dst.max_win) << dws);
            let unknown = seen_by == SeenBy::Bit && src.seen == Seen::No;
            if unknown || !(tcp::seq_geq(src.seqhi, seq) && tcp::seq_geq(seq, lowest)) {
                let verdict = Verdict::drop(Reason::StateMismatch);
                return Tracked::Refused { leaves: state, forgot: Forgot::No, verdict };
            }
        }
        Tracked::Fits(state, false)
    }

    pub(super) const fn seen_by(&self) -> SeenBy {
        if self.deviations.seen_bit { SeenBy::Bit } else { SeenBy::Seqlo }
    }
}

/// pf.md 2.11: "src < SINGLE → SINGLE; dst == SINGLE → MULTIPLE; both MULTIPLE → multiple else single".
fn datagram(state: &mut State, hook: Hook, single: Timeout, multiple: Timeout) -> Timeout {
    let (src, dst) = state.peers(hook.direction);
    if src.state < PeerState::Single {
        src.state = PeerState::Single;
    }
    if dst.state == PeerState::Single {
        dst.state = PeerState::Multiple;
    }
    if src.state == PeerState::Multiple && dst.state == PeerState::Multiple { multiple } else { single }
}
