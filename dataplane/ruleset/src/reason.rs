//! Why a packet was dropped: pf's 17 reasons in pf's order, then ours.
//!
//! Every packet that is not forwarded increments exactly one of them. The table below is the one definition of each
//! reason: variant, name in counters, metrics and logs, and the sentence of the manual.

use core::fmt;

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($( $variant:ident $name:literal $doc:literal )*) => {
        /// Why a packet was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[repr(u8)]
        pub enum Reason {
            $( #[doc = $doc] #[serde(rename = $name)] $variant, )*
        }

        impl Reason {
            /// Every reason, in counter order; the first 17 are pf's, in pf's order (and pflog's `reason` values).
            pub const ALL: [Self; REASON_COUNT] = [ $( Self::$variant, )* ];

            /// The name in counters, metrics and logs.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )* }
            }

            /// One sentence for the manual.
            pub const fn doc(self) -> &'static str {
                match self { $( Self::$variant => $doc, )* }
            }
        }

        /// How many reasons there are.
        pub const REASON_COUNT: usize = [ $( $name, )* ].len();
    };
}

reasons! {
    Match "match" "A block rule matched."
    BadOffset "bad-offset" "A header points outside the packet."
    Fragment "fragment" "A fragment, which cannot be reassembled or is not accepted."
    Short "short" "The packet ends before its headers or its stated length do."
    Normalize "normalize" "A header that no honest sender makes: illegal TCP flags, a bad version or length."
    Memory "memory" "No memory was left for what the packet needed: `set limit states` was reached."
    BadTimestamp "bad-timestamp" "A TCP timestamp outside what `reassemble tcp` allows."
    Congestion "congestion" "The input queue was congested."
    IpOption "ip-option" "IP options or extension headers without `allow-opts`."
    ProtoCksum "proto-cksum" "A checksum was wrong."
    StateMismatch "state-mismatch" "The packet does not fit the state of its connection."
    StateInsert "state-insert" "A state with the same key exists already."
    StateLimit "state-limit" "The limit on the states of one rule was reached (`max`)."
    SrcLimit "src-limit" "A limit on a source was reached."
    Synproxy "synproxy" "The packet was handled by synproxy."
    Translate "translate" "No address or port was left to translate to."
    NoRoute "no-route" "There is no route to the destination, or it was refused by one."
    // Ours.
    NoRules "no-rules" "No ruleset has been committed yet: nothing is forwarded."
    NotOurs "not-ours" "The frame was addressed to another station's Ethernet address."
    EtherType "ether-type" "Neither IP nor anything that the host needs, or that a transparent pair lets pass."
    Vlan "vlan" "Tagged for a VLAN that the port does not have, or tagged twice."
    Martian "martian" "A source or destination that may not appear here: multicast source, loopback, source equal to destination."
    Ttl "ttl" "The time to live or hop limit ran out."
    TooBig "too-big" "Larger than the next link's MTU, and may not be fragmented."
    NoNeighbor "no-neighbor" "The next hop's Ethernet address is unknown and the hold queue could not keep the packet, or kept it in vain."
    LinkScope "link-scope" "Link-local or multicast traffic, which is never forwarded."
    ShardFull "shard-full" "The connection table of this worker had no place, although the limit was not reached."
    HandoffFull "handoff-full" "The ring to the worker that owns the flow was full."
    HandoffLimit "handoff-limit" "The packet was handed from worker to worker three times, and none had its flow."
    Challenge "challenge" "A SYN on an established connection: answered by a challenge ACK (RFC 5961 §4)."
    IcmpMismatch "icmp-mismatch" "An ICMP error whose addresses do not agree with the packet that it quotes."
    NoBuffer "no-buffer" "No packet buffer was left."
    TxFull "tx-full" "The transmit queue did not take the packet."
    HostFull "host-full" "The host interface did not take the packet."
    PortDown "port-down" "The port to transmit on is down or absent."
    Sample "sample" "A copy that its span port leaves out, as `sample` in turnpike.toml says."
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
