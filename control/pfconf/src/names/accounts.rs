//! Accounts of the base systems, for `user` and `group`.

use crate::dialect::Dialect;

#[rustfmt::skip]
const USERS: &[(&str, u32)] = &[
    ("root", 0), ("daemon", 1), ("operator", 2), ("bin", 3), ("build", 21), ("sshd", 27), ("_portmap", 28),
    ("_identd", 29), ("_rstatd", 30), ("_rusersd", 32), ("_fingerd", 33), ("_x11", 35), ("_unwind", 48),
    ("_switchd", 49), ("_traceroute", 50), ("_ping", 51), ("_unbound", 53), ("_spamd", 62), ("uucp", 66),
    ("www", 67), ("named", 70), ("proxy", 71), ("_pflogd", 74), ("_bgpd", 75), ("_tcpdump", 76), ("_dhcp", 77),
    ("_ntp", 83), ("_ftp_proxy", 84), ("_ospfd", 85), ("_hostapd", 86), ("_dvmrpd", 87), ("_ripd", 88),
    ("_relayd", 89), ("_snmpd", 91), ("_isakmpd", 68), ("_syslogd", 73), ("_smtpd", 95), ("_smtpq", 103),
    ("nobody", 32767),
];

#[rustfmt::skip]
const GROUPS: &[(&str, u32)] = &[
    ("wheel", 0), ("daemon", 1), ("kmem", 2), ("sys", 3), ("tty", 4), ("operator", 5), ("bin", 7), ("wsrc", 9),
    ("users", 10), ("auth", 11), ("games", 13), ("staff", 20), ("wobj", 21), ("sshd", 27), ("guest", 31),
    ("utmp", 45), ("crontab", 66), ("www", 67), ("network", 69), ("named", 70), ("proxy", 71), ("authpf", 72),
    ("_pflogd", 74), ("_bgpd", 75), ("_tcpdump", 76), ("_dhcp", 77), ("_ntp", 83), ("_ftp_proxy", 84),
    ("nogroup", 32766), ("nobody", 32767),
];

#[rustfmt::skip]
const FREEBSD_USERS: &[(&str, u32)] = &[
    ("root", 0), ("toor", 0), ("daemon", 1), ("operator", 2), ("bin", 3), ("tty", 4), ("kmem", 5), ("games", 7),
    ("news", 8), ("man", 9), ("sshd", 22), ("smmsp", 25), ("mailnull", 26), ("bind", 53), ("unbound", 59),
    ("proxy", 62), ("_pflogd", 64), ("_dhcp", 65), ("uucp", 66), ("pop", 68), ("auditdistd", 78), ("www", 80),
    ("ntpd", 123), ("_ypldap", 160), ("hast", 845), ("nobody", 65534),
];

#[rustfmt::skip]
const FREEBSD_GROUPS: &[(&str, u32)] = &[
    ("wheel", 0), ("daemon", 1), ("kmem", 2), ("sys", 3), ("tty", 4), ("operator", 5), ("mail", 6), ("bin", 7),
    ("news", 8), ("man", 9), ("games", 13), ("ftp", 14), ("staff", 20), ("sshd", 22), ("smmsp", 25),
    ("mailnull", 26), ("guest", 31), ("video", 44), ("realtime", 47), ("bind", 53), ("unbound", 59), ("proxy", 62),
    ("authpf", 63), ("_pflogd", 64), ("_dhcp", 65), ("uucp", 66), ("dialer", 68), ("network", 69), ("audit", 77),
    ("www", 80), ("ntpd", 123), ("_ypldap", 160), ("hast", 845), ("nogroup", 65533), ("nobody", 65534),
];

/// The number of a user.
pub(crate) fn user_number(name: &str, dialect: Dialect) -> Option<u32> {
    find(if dialect == Dialect::FreeBsd { FREEBSD_USERS } else { USERS }, name)
}

/// The number of a group.
pub(crate) fn group_number(name: &str, dialect: Dialect) -> Option<u32> {
    find(if dialect == Dialect::FreeBsd { FREEBSD_GROUPS } else { GROUPS }, name)
}

fn find(table: &[(&str, u32)], name: &str) -> Option<u32> {
    table.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}
