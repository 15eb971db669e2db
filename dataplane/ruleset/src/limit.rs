//! Limits on what the dataplane keeps (pf.conf(5) `set limit`): one table of name, default and meaning.

use crate::tunable::tunables;

tunables! {
    /// A memory limit, in entries.
    Limit,
    /// The word is not the name of a limit.
    UnknownLimit,
    /// A value for every limit, in entries.
    Limits,
    /// How many limits there are.
    LIMIT_COUNT;
    States "states" 100000 "States, counted as pf counts them: two for a forwarded connection."
    SrcNodes "src-nodes" 10000 "Source tracking nodes."
    Frags "frags" 65536 "Fragments waiting for reassembly."
    Tables "tables" 1000 "Tables."
    TableEntries "table-entries" 200000 "Addresses in all tables together."
    PktdelayPkts "pktdelay-pkts" 10000 "Packets held by `set delay`: there are none here."
    Anchors "anchors" 512 "Anchors."
}
