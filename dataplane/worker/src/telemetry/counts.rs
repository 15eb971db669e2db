//! The tables of what is counted: each line is a counter, by the name that it has in the segment.

/// A set of counters: their names and their values, in the same order.
pub(super) trait Counts: Sized {
    /// The names.
    const NAMES: &[&str];

    /// The values.
    fn values(&self) -> impl Iterator<Item = u64>;

    /// As many values as there are names; `None` if there are fewer.
    fn take(values: &mut impl Iterator<Item = u64>) -> Option<Self>;

    /// Adds another set's.
    fn add(&mut self, other: &Self);

    /// The names of the set of `owner`.
    fn names_of(owner: &str) -> impl Iterator<Item = String> {
        Self::NAMES.iter().map(move |name| format!("{owner}.{name}"))
    }
}

macro_rules! counters {
    ($(#[$meta:meta])* $type:ident { $( $(#[$doc:meta])* $name:ident )* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $type {
            $( $(#[$doc])* pub $name: u64, )*
        }

        impl Counts for $type {
            const NAMES: &[&str] = &[ $( stringify!($name), )* ];

            fn values(&self) -> impl Iterator<Item = u64> {
                [ $( self.$name, )* ].into_iter()
            }

            fn take(values: &mut impl Iterator<Item = u64>) -> Option<Self> {
                Some(Self { $( $name: values.next()?, )* })
            }

            fn add(&mut self, other: &Self) {
                $( self.$name += other.$name; )*
            }
        }

        impl $type {
            /// What was counted since it was `earlier`.
            pub fn less(&self, earlier: &Self) -> Self {
                Self { $( $name: self.$name.saturating_sub(earlier.$name), )* }
            }
        }
    };
}

counters! {
    /// What a worker did.
    WorkerCounts {
        /// Polls.
        polls
        /// Nanoseconds in polls that found work.
        busy_ns
        /// Nanoseconds in polls that found none, and asleep.
        idle_ns
        /// States now, as pf counts them.
        states
        /// Of those, TCP's whose first SYN is not acknowledged.
        half_open
        /// Lookups of states.
        searches
        /// States made.
        inserts
        /// States removed.
        removals
        /// Packets that `log` rules recorded in vain.
        log_lost
        /// Events of states that found no room.
        events_lost
        /// Packets waiting for a neighbour now, and fragments for the rest of their datagrams.
        held
        /// Fragments put together, but for one of each datagram.
        joined
        /// Fragments waiting now.
        fragments
        /// Datagrams of which fragments wait now.
        fragmented
        /// Searches for the datagram of a fragment.
        fragment_searches
        /// Datagrams of which a fragment came.
        fragment_inserts
        /// Datagrams that were put together or given up.
        fragment_removals
        /// Packets from other workers.
        handoff_in
        /// Packets to other workers.
        handoff_out
        /// RSTs and ICMP errors that were due, but whose receiver had got enough.
        withheld
        /// Floods of SYNs that began.
        floods
        /// SYNs that were answered without a state.
        cookies_sent
        /// ACKs that had been told by such an answer.
        cookies_validated
        /// Flows of its own that were placed with other workers.
        placed
        /// Flows and translated tuples of its own that are with other workers now.
        aliases
    }
}

counters! {
    /// What one interface carried.
    InterfaceCounts {
        /// Frames from the wire.
        rx_packets
        /// Their bytes.
        rx_bytes
        /// Frames from there or from the host that another worker owned than the one that received them.
        handed_off_packets
        /// Frames onto the wire.
        tx_packets
        /// Their bytes.
        tx_bytes
        /// Frames from the host.
        host_in_packets
        /// Their bytes.
        host_in_bytes
        /// Frames to the host.
        punted_packets
        /// Their bytes.
        punted_bytes
        /// Packets that made states or were refused, and whose checksum nobody had completed.
        partial_checksums
    }
}

counters! {
    /// What the device behind an interface says.
    DeviceCounts {
        /// 1 if it has a link.
        link_up
        /// The link's speed in Mbit/s; 0 if it is not known.
        link_mbps
        /// Frames that found its receive queues full.
        rx_missed
        /// Frames that it received damaged.
        rx_errors
        /// Frames that found no buffer.
        rx_no_buffer
        /// Frames that it failed to send.
        tx_errors
    }
}

counters! {
    /// How a worker progresses.
    ProgressCounts {
        /// Times that it did not come back from a poll in time.
        stalls
        /// 1 while it does not.
        stalled
    }
}
