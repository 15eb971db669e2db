//! What rules change of packets: `pf_scrub`, and `struct pf_rule_actions` of which a state keeps what was asked (pf.md 1, `match`
//! and Scrub).

use ruleset::{Rule, SetPrio};
use wire::TcpFlags;

use super::packet::{Packet, Transport};

/// What `pf_rule_to_actions` adds up: what a later rule does not name stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Actions {
    /// `min-ttl`; 0 is none.
    pub min_ttl: u8,
    /// `reassemble tcp`.
    pub reassemble_tcp: bool,
    /// `set tos`.
    pub tos: Option<u8>,
    /// `set prio`.
    pub prio: Option<SetPrio>,
}

impl Actions {
    /// Adds what a rule asks for.
    pub(super) fn add(&mut self, rule: &Rule) {
        self.reassemble_tcp |= rule.scrub.reassemble_tcp;
        if rule.scrub.min_ttl != 0 {
            self.min_ttl = rule.scrub.min_ttl;
        }
        if let Some(tos) = rule.set_tos {
            self.tos = Some(tos);
        }
        if let Some(prio) = rule.set_prio {
            self.prio = Some(prio);
        }
    }

    /// Changes a packet that passed a hook; `prio` is its priority.
    pub(super) fn change(&self, packet: &mut Packet, prio: &mut u8) {
        if let Some(SetPrio { bulk, urgent }) = self.prio {
            // IPTOS_LOWDELAY, or an ACK without data (pf.md 1, `set prio`).
            let acknowledges = matches!(&packet.transport, Transport::Tcp(tcp) if tcp.flags.contains(TcpFlags::ACK) && tcp.payload == 0);
            *prio = if packet.tos & 0x10 != 0 || acknowledges { urgent } else { bulk };
        }
        packet.ttl = packet.ttl.max(self.min_ttl);
        if let Some(tos) = self.tos {
            // The bits of ECN stay; what pf keeps of an IPv6 packet's class has none.
            packet.tos = packet.tos & 0x03 | tos;
        }
    }
}
