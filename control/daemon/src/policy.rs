//! The rules of a box that has none of its own yet.

use api::control::Sources;

/// What is live as long as no revision can be: the box itself can be reached by SSH and ping, keeps its leases and its
/// neighbours, and may speak; nothing is forwarded, because only packets from the box itself may leave. The limit is what
/// the smallest `max_connections` has memory for.
pub const MANAGEMENT_ONLY: &str = "\
# Built in: management of the box itself, and no forwarding.
set limit states 2000
block all
pass in proto tcp to (self) port 22
pass in inet proto icmp to (self) icmp-type echoreq
pass in inet6 proto icmp6 to (self) icmp6-type echoreq
pass inet6 proto icmp6 icmp6-type neighbrsol
pass inet6 proto icmp6 icmp6-type neighbradv
pass in inet6 proto icmp6 icmp6-type routeradv
pass out inet6 proto icmp6 icmp6-type routersol
pass out inet proto udp from any port 68 to any port 67
pass in inet proto udp from any port 67 to 255.255.255.255 port 68
pass out from (self)
";

/// [`MANAGEMENT_ONLY`], ready to be compiled.
pub fn sources() -> Sources {
    Sources { name: "built-in policy".into(), text: MANAGEMENT_ONLY.into(), ..Sources::default() }
}
