//! Time-outs of states: one table of name, default, unit and meaning (pf.conf(5) `set timeout`).

use crate::tunable::tunables;

tunables! {
    /// A time-out in seconds, or one of the two thresholds of adaptive scaling, which are counted in states.
    Timeout,
    /// The word is not the name of a time-out.
    UnknownTimeout,
    /// A value for every time-out, in seconds (states for `adaptive.*`).
    Timeouts,
    /// How many time-outs there are.
    pub TIMEOUT_COUNT;
    TcpFirst "tcp.first" 120 "After the first packet of a TCP connection."
    TcpOpening "tcp.opening" 30 "Before the destination host has answered."
    TcpEstablished "tcp.established" 86400 "While the connection is fully established."
    TcpClosing "tcp.closing" 900 "After the first FIN."
    TcpFinwait "tcp.finwait" 45 "After both FINs have been exchanged."
    TcpClosed "tcp.closed" 90 "After both FINs were acknowledged, or a RST."
    TcpTsdiff "tcp.tsdiff" 30 "Allowed difference of TCP timestamps, `reassemble tcp`."
    UdpFirst "udp.first" 60 "After the first UDP packet."
    UdpSingle "udp.single" 30 "While only one host has sent more than one packet."
    UdpMultiple "udp.multiple" 60 "Once both hosts have sent packets."
    IcmpFirst "icmp.first" 20 "After the first ICMP query."
    IcmpError "icmp.error" 10 "After a reply to, or an error about, an ICMP query."
    OtherFirst "other.first" 60 "After the first packet of another protocol."
    OtherSingle "other.single" 30 "While only one host has sent more than one packet."
    OtherMultiple "other.multiple" 60 "Once both hosts have sent packets."
    Frag "frag" 60 "Until an incomplete datagram is given up."
    Interval "interval" 10 "Between purges of expired states: they are looked for all the time here, whatever it says."
    AdaptiveStart "adaptive.start" 60000 "States at which time-outs begin to shrink: 60 % of `set limit states`, unless a threshold is given."
    AdaptiveEnd "adaptive.end" 120000 "States at which every time-out would be zero: 120 % of it, likewise."
    SrcTrack "src.track" 0 "How long a source node outlives its last state."
}

impl Timeout {
    /// True for the two thresholds, which count states instead of seconds.
    pub const fn counts_states(self) -> bool {
        matches!(self, Self::AdaptiveStart | Self::AdaptiveEnd)
    }
}

/// Where adaptive scaling begins and ends for so many states at most, in states, if the ruleset does not say it: at 60 and
/// at 120 of 100, as pfctl reckons it, which rounds the limit down to tens.
pub const fn adaptive_thresholds(states_limit: u32) -> [(Timeout, u32); 2] {
    let tenth = states_limit / 10;
    [(Timeout::AdaptiveStart, tenth.saturating_mul(6)), (Timeout::AdaptiveEnd, tenth.saturating_mul(12))]
}
