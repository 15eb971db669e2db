//! Names of TCP and UDP services (IANA, and the traditional names of services(5)).

use wire::{Port, Proto};

use super::services_freebsd;
use crate::dialect::Dialect;

#[rustfmt::skip]
const SERVICES: &[(&str, u16)] = &[
    ("tcpmux", 1), ("echo", 7), ("discard", 9), ("systat", 11), ("daytime", 13), ("netstat", 15), ("qotd", 17),
    ("chargen", 19), ("ftp-data", 20), ("ftp", 21), ("ssh", 22), ("telnet", 23), ("smtp", 25), ("mail", 25),
    ("time", 37), ("rlp", 39), ("nameserver", 42), ("whois", 43), ("nicname", 43), ("tacacs", 49),
    ("re-mail-ck", 50), ("domain", 53), ("mtp", 57), ("tacacs-ds", 65), ("bootps", 67), ("bootpc", 68),
    ("tftp", 69), ("gopher", 70), ("rje", 77), ("finger", 79), ("www", 80), ("http", 80), ("www-http", 80),
    ("link", 87), ("kerberos", 88), ("supdup", 95), ("hostnames", 101), ("iso-tsap", 102), ("x400", 103),
    ("csnet-ns", 105), ("rtelnet", 107), ("pop2", 109), ("pop3", 110), ("pop-3", 110), ("sunrpc", 111),
    ("portmap", 111), ("rpcbind", 111), ("auth", 113), ("ident", 113), ("sftp", 115), ("uucp-path", 117),
    ("nntp", 119), ("ntp", 123), ("epmap", 135), ("netbios-ns", 137), ("netbios-dgm", 138),
    ("netbios-ssn", 139), ("imap", 143), ("imap2", 143), ("bftp", 152), ("snmp", 161), ("snmp-trap", 162),
    ("snmptrap", 162), ("cmip-man", 163), ("cmip-agent", 164), ("xdmcp", 177), ("nextstep", 178), ("bgp", 179),
    ("prospero", 191), ("irc", 194), ("smux", 199), ("at-rtmp", 201), ("at-nbp", 202), ("at-echo", 204),
    ("at-zis", 206), ("qmtp", 209), ("wais", 210), ("z3950", 210), ("ipx", 213), ("imap3", 220), ("bgmp", 264),
    ("rap", 38), ("pdap", 344), ("ldap", 389), ("svrloc", 427), ("mobileip-agent", 434), ("mobilip-mn", 435),
    ("https", 443), ("snpp", 444), ("microsoft-ds", 445), ("kpasswd", 464), ("urd", 465), ("smtps", 465),
    ("submissions", 465), ("photuris", 468), ("saft", 487), ("isakmp", 500), ("ike", 500), ("exec", 512),
    ("biff", 512), ("comsat", 512), ("login", 513), ("who", 513), ("whod", 513), ("shell", 514), ("cmd", 514),
    ("syslog", 514), ("printer", 515), ("spooler", 515), ("talk", 517), ("ntalk", 518), ("route", 520),
    ("router", 520), ("efs", 520), ("ripng", 521), ("timed", 525), ("tempo", 526), ("courier", 530),
    ("conference", 531), ("netnews", 532), ("netwall", 533), ("uucp", 540), ("uucpd", 540), ("klogin", 543),
    ("kshell", 544), ("rtsp", 554), ("nntps", 563), ("submission", 587), ("msa", 587), ("ipp", 631),
    ("ldaps", 636), ("ldp", 646), ("kerberos-adm", 749), ("kerberos-iv", 750), ("webster", 765),
    ("rsync", 873), ("domain-s", 853), ("iscsi", 3260), ("ftps-data", 989), ("ftps", 990), ("telnets", 992),
    ("imaps", 993), ("ircs", 994), ("pop3s", 995), ("socks", 1080), ("kpop", 1109), ("openvpn", 1194),
    ("ms-sql-s", 1433), ("ms-sql-m", 1434), ("ingreslock", 1524), ("l2tp", 1701), ("pptp", 1723),
    ("radius", 1812), ("radacct", 1813), ("hsrp", 1985), ("cisco-sccp", 2000), ("nfsd", 2049), ("nfs", 2049),
    ("zephyr-srv", 2102), ("zephyr-clt", 2103), ("zephyr-hm", 2104), ("cvspserver", 2401), ("venus", 2430),
    ("mysql", 3306), ("rdp", 3389), ("ms-wbt-server", 3389), ("stun", 3478), ("bfd-control", 3784),
    ("bfd-echo", 3785), ("svn", 3690), ("epmd", 4369), ("ipsec-nat-t", 4500), ("ipsec-msft", 4500),
    ("vxlan", 4789), ("sip", 5060), ("sips", 5061), ("xmpp-client", 5222), ("xmpp-server", 5269), ("mdns", 5353),
    ("postgresql", 5432), ("amqp", 5672), ("x11", 6000), ("ircd", 6667), ("afs3-fileserver", 7000),
    ("git", 9418), ("bacula-dir", 9101), ("bacula-fd", 9102), ("bacula-sd", 9103), ("spamd", 8025),
    ("spamd-sync", 8025), ("spamd-cfg", 8026), ("http-alt", 8080), ("https-alt", 8443), ("sane-port", 6566),
    ("ftp-proxy", 8021), ("hunt", 26740), ("bpcd", 13782), ("wnn6", 22273), ("dhcpv6-client", 546),
    ("dhcpv6-server", 547), ("rtr", 323), ("nut", 3493), ("netplan", 2983), ("sieve", 4190),
];

/// The port that a name or a C-style number stands for.
///
/// # Errors
/// pfctl's words.
pub(crate) fn service_port(word: &str, dialect: Dialect) -> Result<u16, String> {
    if let Some(number) = c_number(word) {
        return u16::try_from(number).map_err(|_| format!("illegal port value {number}"));
    }
    let freebsd = if dialect == Dialect::FreeBsd { services_freebsd::port(word) } else { None };
    let known = || SERVICES.iter().find(|(name, _)| *name == word).map(|(_, port)| *port);
    match freebsd.or_else(known) {
        Some(port) => Ok(port),
        None => Err(format!("unknown port {word}")),
    }
}

/// What a dialect's services(5) calls a port; where it has several names, the first.
pub(crate) fn service_name(port: Port, proto: Proto, dialect: Dialect) -> Option<&'static str> {
    match dialect {
        Dialect::FreeBsd => services_freebsd::service_name(port, proto),
        Dialect::OpenBsd => SERVICES.iter().find(|(_, number)| *number == port.0).map(|(name, _)| *name),
    }
}

/// Every name.
pub(crate) fn service_names() -> impl Iterator<Item = &'static str> {
    SERVICES.iter().map(|(name, _)| *name)
}

/// A number as C writes it: `0x` for hexadecimal, a leading 0 for octal.
pub(crate) fn c_number(word: &str) -> Option<u64> {
    match word.as_bytes() {
        [b'0', b'x' | b'X', ..] => u64::from_str_radix(&word[2..], 16).ok(),
        [b'0', _, ..] => u64::from_str_radix(word, 8).ok(),
        [first, ..] if first.is_ascii_digit() => word.parse().ok(),
        _ => None,
    }
}
