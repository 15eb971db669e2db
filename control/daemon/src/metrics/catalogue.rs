//! The one table of everything that is exported: names, types, labels and what they mean. The exposition and the manual's
//! page `turnpike-metrics(7)` are made from it.

use std::fmt::Write as _;

/// What every name begins with.
pub const PREFIX: &str = "turnpike_";

/// How values of a metric move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// They only grow, until the dataplane is started anew. The name ends with `_total`.
    Counter,
    /// They come and go.
    Gauge,
    /// They are counted by the bounds that they are under.
    Histogram,
}

impl Kind {
    /// Prometheus' word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

macro_rules! metrics {
    ($( $metric:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal; )*) => {
        /// A metric.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Metric {
            $( #[doc = $help] $metric, )*
        }

        impl Metric {
            /// Every one, in the order of the exposition.
            pub const ALL: &[Self] = &[ $( Self::$metric, )* ];

            /// Its name, without [`PREFIX`].
            pub const fn name(self) -> &'static str {
                match self { $( Self::$metric => $name, )* }
            }

            /// Its type.
            pub const fn kind(self) -> Kind {
                match self { $( Self::$metric => Kind::$kind, )* }
            }

            /// What its series differ by.
            pub const fn labels(self) -> &'static [&'static str] {
                match self { $( Self::$metric => &[$($label),*], )* }
            }

            /// A sentence on it.
            pub const fn help(self) -> &'static str {
                match self { $( Self::$metric => $help, )* }
            }
        }
    };
}

metrics! {
    BuildInfo: Gauge "build_info" ["version"] "The version of turnpike-control; always 1.";
    DataplaneUp: Gauge "dataplane_up" [] "Whether the dataplane answered: 1, else 0 and its own metrics are missing.";
    DataplaneUptime: Gauge "dataplane_uptime_seconds" [] "Since the dataplane's start.";
    RulesetGeneration: Gauge "ruleset_generation" [] "Number of the live ruleset in the dataplane; 0 if there is none.";
    RulesetRevision: Gauge "ruleset_revision" [] "Number of the live revision; 0 if the live rules are none.";
    ConfirmationPending: Gauge "ruleset_confirmation_pending" [] "Whether the live revision awaits confirmation.";
    LastApply: Gauge "ruleset_last_apply_timestamp_seconds" [] "When rules were last made live by this process, in seconds since 1970.";
    ApplyFailures: Counter "ruleset_apply_failures_total" [] "Applies, rollbacks, reloads and reverts that failed.";

    PflogWritten: Counter "pflog_written_packets_total" [] "Logged packets that were written to the packet log by this process.";
    PflogFailed: Counter "pflog_failed_packets_total" [] "Logged packets that could not be written to the packet log.";
    IpfixSent: Counter "ipfix_records_total" [] "Records that were sent to the collector of flows by this process.";
    IpfixFailed: Counter "ipfix_failed_records_total" [] "Records that could not be sent to the collector.";
    IpfixMissed: Counter "ipfix_missed_events_total" [] "Events of states that were lost before they could become records.";

    RxPackets: Counter "rx_packets_total" ["interface"] "Frames received from the wire.";
    RxBytes: Counter "rx_bytes_total" ["interface"] "Bytes received from the wire, Ethernet headers included.";
    TxPackets: Counter "tx_packets_total" ["interface"] "Frames put on the wire.";
    TxBytes: Counter "tx_bytes_total" ["interface"] "Bytes put on the wire, Ethernet headers included.";
    PuntedPackets: Counter "punted_packets_total" ["interface"] "Frames handed to the host.";
    PuntedBytes: Counter "punted_bytes_total" ["interface"] "Bytes handed to the host, Ethernet headers included.";
    HostInPackets: Counter "host_in_packets_total" ["interface"] "Frames that the host sent.";
    HostInBytes: Counter "host_in_bytes_total" ["interface"] "Bytes that the host sent, Ethernet headers included.";
    PartialChecksums: Counter "partial_checksum_packets_total" ["interface"] "Packets whose checksum was left for a network card to complete and was not, among those that made states or were refused.";
    HandedOff: Counter "handed_off_packets_total" ["interface"] "Frames from the wire or from the host that another worker received than the one that owns their flow.";
    InterfaceUp: Gauge "interface_up" ["interface"] "Whether frames can be sent on the interface.";
    LinkUp: Gauge "link_up" ["interface"] "Whether the interface's device has a link.";
    LinkSpeed: Gauge "link_speed_bytes_per_second" ["interface"] "The speed of the device's link; missing where the driver does not know it.";
    DeviceMissed: Counter "device_rx_missed_packets_total" ["interface"] "Frames that the device dropped because its receive queues were full.";
    DeviceRxErrors: Counter "device_rx_errors_total" ["interface"] "Frames that the device received damaged.";
    DeviceNoBuffer: Counter "device_rx_no_buffer_total" ["interface"] "Frames that the device could not receive for want of a buffer.";
    DeviceTxErrors: Counter "device_tx_errors_total" ["interface"] "Frames that the device failed to send.";

    Drops: Counter "drops_total" ["reason", "interface"] "Packets dropped, by the reason, and the interface that they arrived on or should have left by.";
    Created: Counter "created_packets_total" ["kind"] "Packets that were made here.";
    Held: Gauge "held_packets" ["worker"] "Packets that wait for their next hop's Ethernet address, and fragments for the rest of their datagrams.";
    Joined: Counter "joined_packets_total" ["worker"] "Fragments put together with others, but for one of each datagram.";
    Fragments: Gauge "fragments" [] "Fragments that wait for the rest of their datagrams.";
    FragmentSearches: Counter "fragment_searches_total" [] "Searches for the datagram of a fragment.";
    FragmentInserts: Counter "fragment_inserts_total" [] "Datagrams of which a fragment came.";
    FragmentRemovals: Counter "fragment_removals_total" [] "Datagrams that were put together or given up.";
    Handoff: Counter "handoff_packets_total" ["worker", "direction"] "Packets handed between workers.";

    States: Gauge "states" [] "States now, as pf counts them: two for a forwarded connection.";
    StatesLimit: Gauge "states_limit" [] "The most states.";
    StateSearches: Counter "state_searches_total" [] "Lookups of states.";
    StateInserts: Counter "state_inserts_total" [] "States made.";
    StateRemovals: Counter "state_removals_total" [] "States removed.";

    SourceNodes: Gauge "source_nodes" [] "Source nodes now.";
    SourceNodesLimit: Gauge "source_nodes_limit" [] "The most source nodes.";
    SourceNodeSearches: Counter "source_node_searches_total" [] "Searches for a source node.";
    SourceNodeInserts: Counter "source_node_inserts_total" [] "Source nodes made.";
    SourceNodeRemovals: Counter "source_node_removals_total" [] "Source nodes that have gone.";
    LimitHits: Counter "limit_hits_total" ["limit"] "Times that a limit of a rule or of a source was met, and what followed.";
    Overloads: Counter "overloads_total" [] "Sources that the dataplane put into tables because they had exceeded a limit.";

    RuleEvaluations: Counter "rule_evaluations_total" ["rule", "anchor", "action"] "Packets compared with the rule.";
    RulePackets: Counter "rule_packets_total" ["rule", "anchor", "action"] "Packets that the rule decided, and of its states.";
    RuleBytes: Counter "rule_bytes_total" ["rule", "anchor", "action"] "Bytes of those packets, IP headers included.";
    RuleStates: Gauge "rule_states" ["rule", "anchor", "action"] "States that the rule made and that live.";
    RulesTruncated: Gauge "rule_series_truncated" [] "Series of rules left out because there are more than metrics_rules of turnpike.toml allows.";
    NatPorts: Gauge "nat_ports_in_use" ["address"] "Ports of an address that connections are translated to, one for each connection: towards different remote ends the same one counts again.";
    NatTruncated: Gauge "nat_series_truncated" [] "Series of addresses left out because there are more than metrics_rules of turnpike.toml allows; those in use least.";
    TableAddresses: Gauge "table_addresses" ["table"] "Addresses and networks in a table of the ruleset.";

    WorkerBusy: Counter "worker_busy_seconds_total" ["worker"] "Time of a worker in polls that found work.";
    WorkerIdle: Counter "worker_idle_seconds_total" ["worker"] "Time of a worker in polls that found none, and asleep.";
    WorkerPolls: Counter "worker_polls_total" ["worker"] "Polls of a worker.";
    WorkerStalls: Counter "worker_stalls_total" ["worker"] "Times that a worker did not come back from a poll within 200 ms.";
    AnswersWithheld: Counter "answers_withheld_total" ["worker"] "RSTs and ICMP errors that a worker did not send, because whoever they were for had got as many as a station gets, about 200 a second.";
    FlowsPlaced: Counter "flows_placed_total" ["worker"] "Flows of a worker that began with another one: because it was under load, or had no port left to translate them to.";
    FlowsAliased: Gauge "flows_aliased" ["worker"] "Flows and translated tuples of a worker that are with another one now.";
    BurstSize: Histogram "rx_burst_size" [] "Packets received at once, from the wire or from the host.";
    Latency: Histogram "latency_seconds" [] "Time from the reception of a burst until its packets are with a driver; a sample, at most one burst each millisecond and worker.";

    MbufsInUse: Gauge "mbufs_in_use" ["pool"] "Packet buffers held by packets, rings and devices.";
    MbufsSize: Gauge "mbufs_size" ["pool"] "Packet buffers in all.";
    LogLost: Counter "log_lost_packets_total" [] "Packets that log rules recorded in vain: the records were full, or a reader too slow.";
    EventsLost: Counter "state_events_lost_total" [] "Events of states that were lost: a worker's records were full, or one who listened was too slow.";
    NetlinkOverruns: Counter "netlink_overruns_total" [] "Times that the kernel dropped netlink messages, each followed by a full resynchronisation.";
}

/// The manual's list of metrics, for mdoc(7).
pub fn manual() -> String {
    let mut text = String::from(".Bl -tag -width Ds\n");
    for metric in Metric::ALL {
        let labels = match metric.labels() {
            [] => String::new(),
            labels => format!(" Brq {}", labels.join(" , ")),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            ".It Va {PREFIX}{}{labels} Pq {}\n{}",
            metric.name(),
            metric.kind().name(),
            metric.help()
        );
    }
    text + ".El\n"
}
