//! Time-outs of states: one table of name, default, unit and meaning (pf.conf(5) `set timeout`).

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! timeouts {
    ($( $variant:ident $name:literal $default:literal $doc:literal )*) => {
        /// A time-out, or one of the two thresholds of adaptive scaling, which are counted in states.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[repr(u8)]
        pub enum Timeout {
            $( #[doc = $doc] $variant, )*
        }

        impl Timeout {
            /// Every time-out, in the order in which `pfctl -st` prints them.
            pub const ALL: [Self; TIMEOUT_COUNT] = [ $( Self::$variant, )* ];

            /// The name in pf.conf(5).
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )* }
            }

            /// The default, in seconds (in states for `adaptive.*`).
            pub const fn default_value(self) -> u32 {
                match self { $( Self::$variant => $default, )* }
            }

            /// One sentence for the manual.
            pub const fn doc(self) -> &'static str {
                match self { $( Self::$variant => $doc, )* }
            }
        }

        /// How many time-outs there are.
        pub const TIMEOUT_COUNT: usize = [ $( $name, )* ].len();
    };
}

timeouts! {
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
    Interval "interval" 10 "Between purges of expired states."
    AdaptiveStart "adaptive.start" 60000 "States at which time-outs begin to shrink."
    AdaptiveEnd "adaptive.end" 120000 "States at which every time-out would be zero."
    SrcTrack "src.track" 0 "How long a source node outlives its last state."
}

impl Timeout {
    /// True for the two thresholds, which count states instead of seconds.
    pub const fn counts_states(self) -> bool {
        matches!(self, Self::AdaptiveStart | Self::AdaptiveEnd)
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The word is not the name of a time-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownTimeout;

impl FromStr for Timeout {
    type Err = UnknownTimeout;

    fn from_str(name: &str) -> Result<Self, UnknownTimeout> {
        Self::ALL.into_iter().find(|timeout| timeout.name() == name).ok_or(UnknownTimeout)
    }
}

/// A value for every time-out, in seconds (states for `adaptive.*`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Timeouts([u32; TIMEOUT_COUNT]);

impl Default for Timeouts {
    fn default() -> Self {
        Self(Timeout::ALL.map(Timeout::default_value))
    }
}

impl Timeouts {
    /// The value of one time-out.
    #[inline]
    pub const fn get(&self, timeout: Timeout) -> u32 {
        self.0[timeout as usize]
    }

    /// Sets the value of one time-out.
    pub const fn set(&mut self, timeout: Timeout, value: u32) {
        self.0[timeout as usize] = value;
    }
}
