//! pf's names for ICMP and ICMPv6 types and codes (pf.conf(5) `icmp-type`, `icmp6-type`).

use wire::Af;

/// Where a number has several names, the first is printed.
#[rustfmt::skip]
const TYPES: &[(&str, u8)] = &[
    ("echoreq", 8), ("echorep", 0), ("unreach", 3), ("squench", 4), ("redir", 5), ("althost", 6),
    ("routeradv", 9), ("routersol", 10), ("timex", 11), ("paramprob", 12), ("timereq", 13), ("timerep", 14),
    ("inforeq", 15), ("inforep", 16), ("maskreq", 17), ("maskrep", 18), ("trace", 30), ("dataconv", 31),
    ("mobredir", 32), ("ipv6-where", 33), ("ipv6-here", 34), ("mobregreq", 35), ("mobregrep", 36), ("skip", 39),
    ("photuris", 40),
];

#[rustfmt::skip]
const TYPES6: &[(&str, u8)] = &[
    ("unreach", 1), ("toobig", 2), ("timex", 3), ("paramprob", 4), ("echoreq", 128), ("echorep", 129),
    ("groupqry", 130), ("listqry", 130), ("grouprep", 131), ("listenrep", 131), ("groupterm", 132),
    ("listendone", 132), ("routersol", 133), ("routeradv", 134), ("neighbrsol", 135), ("neighbradv", 136),
    ("redir", 137), ("routrrenum", 138), ("wrureq", 139), ("wrurep", 140), ("fqdnreq", 139), ("fqdnrep", 140),
    ("niqry", 139), ("nirep", 140), ("mtraceresp", 200), ("mtrace", 201),
];

/// Name, type, code.
#[rustfmt::skip]
const CODES: &[(&str, u8, u8)] = &[
    ("net-unr", 3, 0), ("host-unr", 3, 1), ("proto-unr", 3, 2), ("port-unr", 3, 3), ("needfrag", 3, 4),
    ("srcfail", 3, 5), ("net-unk", 3, 6), ("host-unk", 3, 7), ("isolate", 3, 8), ("net-prohib", 3, 9),
    ("host-prohib", 3, 10), ("net-tos", 3, 11), ("host-tos", 3, 12), ("filter-prohib", 3, 13),
    ("host-preced", 3, 14), ("cutoff-preced", 3, 15), ("redir-net", 5, 0), ("redir-host", 5, 1),
    ("redir-tos-net", 5, 2), ("redir-tos-host", 5, 3), ("normal-adv", 9, 0), ("common-adv", 9, 16),
    ("transit", 11, 0), ("reassemb", 11, 1), ("badhead", 12, 0), ("optmiss", 12, 1), ("badlen", 12, 2),
    ("unknown-ind", 40, 1), ("auth-fail", 40, 2), ("decrypt-fail", 40, 3),
];

#[rustfmt::skip]
const CODES6: &[(&str, u8, u8)] = &[
    ("admin-unr", 1, 1), ("noroute-unr", 1, 0), ("notnbr-unr", 1, 2), ("beyond-unr", 1, 2), ("addr-unr", 1, 3),
    ("port-unr", 1, 4), ("transit", 3, 0), ("reassemb", 3, 1), ("badhead", 4, 0), ("nxthdr", 4, 1),
    ("redironlink", 137, 0), ("redirrouter", 137, 1),
];

const fn types(af: Af) -> &'static [(&'static str, u8)] {
    match af {
        Af::Inet => TYPES,
        Af::Inet6 => TYPES6,
    }
}

const fn codes(af: Af) -> &'static [(&'static str, u8, u8)] {
    match af {
        Af::Inet => CODES,
        Af::Inet6 => CODES6,
    }
}

/// The number of a type.
pub(crate) fn type_number(name: &str, af: Af) -> Option<u8> {
    types(af).iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// Every name of a type.
pub(crate) fn type_names(af: Af) -> impl Iterator<Item = &'static str> {
    types(af).iter().map(|(name, _)| *name)
}

/// The name of a type, if it has one.
pub(crate) fn type_name(kind: u8, af: Af) -> Option<&'static str> {
    types(af).iter().find(|(_, number)| *number == kind).map(|(name, _)| *name)
}

/// The number of a code of a type.
pub(crate) fn code_number(kind: u8, name: &str, af: Af) -> Option<u8> {
    codes(af).iter().find(|(known, of, _)| *known == name && *of == kind).map(|(_, _, code)| *code)
}

/// The name of a code of a type, if it has one.
pub(crate) fn code_name(kind: u8, code: u8, af: Af) -> Option<&'static str> {
    codes(af).iter().find(|(_, of, number)| *of == kind && *number == code).map(|(name, _, _)| *name)
}
