//! pf's names for values of the type of service and traffic class octet (RFC 1349, RFC 2474).

#[rustfmt::skip]
const VALUES: &[(&str, u8)] = &[
    ("critical", 0xa0), ("inetcontrol", 0xc0), ("lowdelay", 0x10), ("netcontrol", 0xe0), ("throughput", 0x08),
    ("reliability", 0x04), ("af11", 0x28), ("af12", 0x30), ("af13", 0x38), ("af21", 0x48), ("af22", 0x50),
    ("af23", 0x58), ("af31", 0x68), ("af32", 0x70), ("af33", 0x78), ("af41", 0x88), ("af42", 0x90),
    ("af43", 0x98), ("cs0", 0x00), ("cs1", 0x20), ("cs2", 0x40), ("cs3", 0x60), ("cs4", 0x80), ("cs5", 0xa0),
    ("cs6", 0xc0), ("cs7", 0xe0), ("ef", 0xb8), ("va", 0xb0),
];

/// The octet that a name or a C-style number stands for.
pub(crate) fn tos_value(word: &str) -> Option<u8> {
    let named = VALUES.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, value)| *value);
    named.or_else(|| super::services::c_number(word).and_then(|number| u8::try_from(number).ok()))
}
