//! Limits on what the dataplane keeps (pf.conf(5) `set limit`): one table of name, default and meaning.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! limits {
    ($( $variant:ident $name:literal $default:literal $doc:literal )*) => {
        /// A memory limit.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[repr(u8)]
        pub enum Limit {
            $( #[doc = $doc] $variant, )*
        }

        impl Limit {
            /// Every limit, in the order in which `pfctl -sm` prints them.
            pub const ALL: [Self; LIMIT_COUNT] = [ $( Self::$variant, )* ];

            /// The name in pf.conf(5).
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )* }
            }

            /// The default number of entries.
            pub const fn default_value(self) -> u32 {
                match self { $( Self::$variant => $default, )* }
            }

            /// One sentence for the manual.
            pub const fn doc(self) -> &'static str {
                match self { $( Self::$variant => $doc, )* }
            }
        }

        const LIMIT_COUNT: usize = [ $( $name, )* ].len();
    };
}

limits! {
    States "states" 100000 "States, counted as pf counts them: two for a forwarded connection."
    SrcNodes "src-nodes" 10000 "Source tracking nodes."
    Frags "frags" 65536 "Fragments waiting for reassembly."
    Tables "tables" 1000 "Tables."
    TableEntries "table-entries" 200000 "Addresses in all tables together."
    PktdelayPkts "pktdelay-pkts" 10000 "Packets held by `set delay`."
    Anchors "anchors" 512 "Anchors."
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The word is not the name of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownLimit;

impl FromStr for Limit {
    type Err = UnknownLimit;

    fn from_str(name: &str) -> Result<Self, UnknownLimit> {
        Self::ALL.into_iter().find(|limit| limit.name() == name).ok_or(UnknownLimit)
    }
}

/// A value for every limit, in entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits([u32; LIMIT_COUNT]);

impl Default for Limits {
    fn default() -> Self {
        Self(Limit::ALL.map(Limit::default_value))
    }
}

impl Limits {
    /// The value of one limit.
    #[inline]
    pub const fn get(&self, limit: Limit) -> u32 {
        self.0[limit as usize]
    }

    /// Sets the value of one limit.
    pub const fn set(&mut self, limit: Limit, value: u32) {
        self.0[limit as usize] = value;
    }
}
