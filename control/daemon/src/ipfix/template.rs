//! What records consist of: the information elements that IANA has given numbers to, and for the way back those of RFC 5103.

/// A field of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its number.
    element: u16,
    /// Octets.
    length: u16,
    /// It is about the packets that go back.
    reverse: bool,
}

/// The enterprise under which the elements of the way back have the numbers of those of the way there (RFC 5103 §6.1).
const REVERSE: u32 = 29_305;
/// An enterprise follows.
const ENTERPRISE: u16 = 1 << 15;

impl Field {
    const fn new(element: u16, length: u16) -> Self {
        Self { element, length, reverse: false }
    }

    const fn back(self) -> Self {
        Self { reverse: true, ..self }
    }

    /// As a template has it.
    pub fn specifier(&self) -> Vec<u8> {
        let element = self.element | if self.reverse { ENTERPRISE } else { 0 };
        let mut bytes = [element.to_be_bytes(), self.length.to_be_bytes()].concat();
        if self.reverse {
            bytes.extend(REVERSE.to_be_bytes());
        }
        bytes
    }
}

/// A template.
#[derive(Clone, Copy, Debug)]
pub struct Template {
    /// Its number, from 256 on.
    pub id: u16,
    /// Its fields.
    pub fields: &'static [Field],
}

const OCTETS: Field = Field::new(1, 8);
const PACKETS: Field = Field::new(2, 8);
const PROTOCOL: Field = Field::new(4, 1);
const SOURCE_PORT: Field = Field::new(7, 2);
const SOURCE_V4: Field = Field::new(8, 4);
const DESTINATION_PORT: Field = Field::new(11, 2);
const DESTINATION_V4: Field = Field::new(12, 4);
const SOURCE_V6: Field = Field::new(27, 16);
const DESTINATION_V6: Field = Field::new(28, 16);
const FLOW_DIRECTION: Field = Field::new(61, 1);
const END_REASON: Field = Field::new(136, 1);
const EXPORTING_PROCESS: Field = Field::new(144, 4);
const FLOW_ID: Field = Field::new(148, 8);
const START_MS: Field = Field::new(152, 8);
const END_MS: Field = Field::new(153, 8);
const NOT_SENT_FLOWS: Field = Field::new(166, 8);
const NAT_SOURCE_V4: Field = Field::new(225, 4);
const NAT_DESTINATION_V4: Field = Field::new(226, 4);
const NAT_SOURCE_PORT: Field = Field::new(227, 2);
const NAT_DESTINATION_PORT: Field = Field::new(228, 2);
const NAT_EVENT: Field = Field::new(230, 1);
const POOL_ID: Field = Field::new(283, 4);
const BIFLOW_DIRECTION: Field = Field::new(239, 1);
const NAT_SOURCE_V6: Field = Field::new(281, 16);
const NAT_DESTINATION_V6: Field = Field::new(282, 16);
const OBSERVED_MS: Field = Field::new(323, 8);
const RANGE_START: Field = Field::new(361, 2);
const RANGE_END: Field = Field::new(362, 2);
const RANGE_STEP: Field = Field::new(363, 2);
const RANGE_PORTS: Field = Field::new(364, 2);
const QUOTA_EVENT: Field = Field::new(466, 4);
const ENTRIES_PER_USER: Field = Field::new(473, 4);

/// The fields of a flow with these addresses, and more.
macro_rules! flow {
    ($source:ident, $destination:ident $(, $more:ident)*) => {
        &[
            FLOW_ID, FLOW_DIRECTION, BIFLOW_DIRECTION, PROTOCOL, $source, $destination, SOURCE_PORT,
            DESTINATION_PORT, OCTETS, PACKETS, OCTETS.back(), PACKETS.back(), START_MS, END_MS, END_REASON
            $(, $more)*
        ]
    };
}

/// The fields of a flow that was translated.
macro_rules! nat_flow {
    ($source:ident, $destination:ident, $nat_source:ident, $nat_destination:ident) => {
        flow!($source, $destination, $nat_source, $nat_destination, NAT_SOURCE_PORT, NAT_DESTINATION_PORT)
    };
}

/// The fields of a session of translation to IPv4.
macro_rules! nat_session {
    ($source:ident, $destination:ident) => {
        &[
            OBSERVED_MS,
            NAT_EVENT,
            FLOW_ID,
            PROTOCOL,
            $source,
            $destination,
            SOURCE_PORT,
            DESTINATION_PORT,
            NAT_SOURCE_V4,
            NAT_DESTINATION_V4,
            NAT_SOURCE_PORT,
            NAT_DESTINATION_PORT,
        ]
    };
}

/// A flow of IPv4.
pub const FLOW_4: u16 = 256;
/// A flow of IPv6.
pub const FLOW_6: u16 = 257;
/// A flow of IPv4 that was translated.
pub const NAT_FLOW_4: u16 = 258;
/// A flow of IPv6 that was translated.
pub const NAT_FLOW_6: u16 = 259;
/// A session of translation of IPv4 has begun or ended (RFC 8158 §5.6).
pub const NAT44_SESSION: u16 = 260;
/// What this process could not send (RFC 7011 §4.3).
pub const UNSENT: u16 = 261;
/// A flow of IPv6 that was translated to IPv4.
pub const FLOW_64: u16 = 262;
/// A flow of IPv4 that was translated to IPv6.
pub const FLOW_46: u16 = 263;
/// A session of translation from IPv6 to IPv4 has begun or ended.
pub const NAT64_SESSION: u16 = 264;
/// A block of ports is in use, or not any more.
pub const NAT_BLOCK: u16 = 265;
/// No address of a pool has a port left.
pub const POOL_EXHAUSTED: u16 = 266;
/// A subscriber has no port left.
pub const QUOTA_EXCEEDED: u16 = 267;

/// The templates of flows and events.
pub const TEMPLATES: [Template; 11] = [
    Template { id: FLOW_4, fields: flow!(SOURCE_V4, DESTINATION_V4) },
    Template { id: FLOW_6, fields: flow!(SOURCE_V6, DESTINATION_V6) },
    Template {
        id: NAT_FLOW_4,
        fields: nat_flow!(SOURCE_V4, DESTINATION_V4, NAT_SOURCE_V4, NAT_DESTINATION_V4),
    },
    Template {
        id: NAT_FLOW_6,
        fields: nat_flow!(SOURCE_V6, DESTINATION_V6, NAT_SOURCE_V6, NAT_DESTINATION_V6),
    },
    Template { id: FLOW_64, fields: nat_flow!(SOURCE_V6, DESTINATION_V6, NAT_SOURCE_V4, NAT_DESTINATION_V4) },
    Template { id: FLOW_46, fields: nat_flow!(SOURCE_V4, DESTINATION_V4, NAT_SOURCE_V6, NAT_DESTINATION_V6) },
    Template { id: NAT44_SESSION, fields: nat_session!(SOURCE_V4, DESTINATION_V4) },
    Template { id: NAT64_SESSION, fields: nat_session!(SOURCE_V6, DESTINATION_V6) },
    Template {
        id: NAT_BLOCK,
        fields: &[
            OBSERVED_MS,
            NAT_EVENT,
            SOURCE_V4,
            NAT_SOURCE_V4,
            RANGE_START,
            RANGE_END,
            RANGE_STEP,
            RANGE_PORTS,
        ],
    },
    Template { id: POOL_EXHAUSTED, fields: &[OBSERVED_MS, NAT_EVENT, POOL_ID] },
    Template {
        id: QUOTA_EXCEEDED,
        fields: &[OBSERVED_MS, NAT_EVENT, QUOTA_EVENT, ENTRIES_PER_USER, SOURCE_V4, NAT_SOURCE_V4, PROTOCOL],
    },
];

/// The template of options.
pub const OPTIONS: Template = Template { id: UNSENT, fields: &[EXPORTING_PROCESS, NOT_SENT_FLOWS] };
