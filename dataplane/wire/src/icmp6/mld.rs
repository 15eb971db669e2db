//! Multicast listener discovery (RFC 2710, RFC 3810): the part that queries and version 1 reports share.

use core::net::Ipv6Addr;

use crate::field::header;

/// Octets of a version 1 message, and of the shared part of a version 2 query.
pub const LISTENER_LEN: usize = 24;

header! {
    /// A listener query, report or done message from its type octet on; not a version 2 report.
    pub Listener[LISTENER_LEN];
    /// Maximum response delay (version 1: milliseconds; version 2: the code of RFC 3810 §5.1.3).
    pub max_response, set_max_response: u16 = 4;
    /// The multicast group; unspecified in a general query.
    pub group, set_group: Ipv6Addr = 8;
}
