//! What FreeBSD's services(5) calls ports, which its pfctl prints in place of their numbers.

use wire::{Port, Proto};

#[rustfmt::skip]
const BOTH: &[(u16, &str)] = &[
    (1, "tcpmux"), (2, "compressnet"), (3, "compressnet"), (5, "rje"), (7, "echo"), (9, "discard"), (11, "systat"),
    (13, "daytime"), (17, "qotd"), (18, "msp"), (19, "chargen"), (20, "ftp-data"), (21, "ftp"), (22, "ssh"),
    (23, "telnet"), (25, "smtp"), (27, "nsw-fe"), (29, "msg-icp"), (31, "msg-auth"), (33, "dsp"), (37, "time"),
    (38, "rap"), (39, "rlp"), (41, "graphics"), (42, "nameserver"), (43, "nicname"), (44, "mpm-flags"), (45, "mpm"),
    (46, "mpm-snd"), (47, "ni-ftp"), (48, "auditd"), (49, "tacacs"), (50, "re-mail-ck"), (51, "la-maint"),
    (52, "xns-time"), (53, "domain"), (54, "xns-ch"), (55, "isi-gl"), (56, "xns-auth"), (58, "xns-mail"),
    (61, "ni-mail"), (62, "acas"), (64, "covia"), (65, "tacacs-ds"), (66, "sql*net"), (67, "bootps"),
    (68, "bootpc"), (69, "tftp"), (70, "gopher"), (71, "netrjs-1"), (72, "netrjs-2"), (73, "netrjs-3"),
    (74, "netrjs-4"), (76, "deos"), (78, "vettcp"), (79, "finger"), (80, "http"), (82, "xfer"), (83, "mit-ml-dev"),
    (84, "ctf"), (85, "mit-ml-dev"), (86, "mfcobol"), (88, "kerberos-sec"), (89, "su-mit-tg"), (90, "dnsix"),
    (91, "mit-dov"), (92, "npp"), (93, "dcp"), (94, "objcall"), (95, "supdup"), (96, "dixie"), (97, "swift-rvf"),
    (98, "tacnews"), (99, "metagram"), (101, "hostname"), (102, "iso-tsap"), (103, "gppitnp"), (104, "acr-nema"),
    (105, "csnet-ns"), (107, "rtelnet"), (108, "snagas"), (109, "pop2"), (110, "pop3"), (111, "sunrpc"),
    (112, "mcidas"), (113, "auth"), (114, "audionews"), (115, "sftp"), (116, "ansanotify"), (117, "uucp-path"),
    (118, "sqlserv"), (119, "nntp"), (120, "cfdptkt"), (121, "erpc"), (122, "smakynet"), (123, "ntp"),
    (124, "ansatrader"), (125, "locus-map"), (126, "unitary"), (127, "locus-con"), (128, "gss-xlicen"),
    (129, "pwdgen"), (130, "cisco-fna"), (131, "cisco-tna"), (132, "cisco-sys"), (133, "statsrv"),
    (134, "ingres-net"), (135, "loc-srv"), (136, "profile"), (137, "netbios-ns"), (138, "netbios-dgm"),
    (139, "netbios-ssn"), (140, "emfis-data"), (141, "emfis-cntl"), (142, "bl-idm"), (143, "imap"), (144, "news"),
    (145, "uaac"), (146, "iso-tp0"), (147, "iso-ip"), (148, "cronus"), (149, "aed-512"), (150, "sql-net"),
    (151, "hems"), (152, "bftp"), (153, "sgmp"), (154, "netsc-prod"), (155, "netsc-dev"), (156, "sqlsrv"),
    (157, "knet-cmp"), (158, "pcmail-srv"), (159, "nss-routing"), (160, "sgmp-traps"), (161, "snmp"),
    (162, "snmptrap"), (163, "cmip-man"), (165, "xns-courier"), (166, "s-net"), (167, "namp"), (168, "rsvd"),
    (169, "send"), (170, "print-srv"), (171, "multiplex"), (173, "xyplex-mux"), (174, "mailq"), (175, "vmnet"),
    (176, "genrad-mux"), (177, "xdmcp"), (178, "nextstep"), (179, "bgp"), (180, "ris"), (181, "unify"),
    (182, "audit"), (183, "ocbinder"), (184, "ocserver"), (185, "remote-kis"), (186, "kis"), (187, "aci"),
    (188, "mumps"), (189, "qft"), (190, "gacp"), (191, "prospero"), (192, "osu-nms"), (193, "srmp"), (194, "irc"),
    (195, "dn6-nlm-aud"), (196, "dn6-smm-red"), (197, "dls"), (198, "dls-mon"), (199, "smux"), (200, "src"),
    (201, "at-rtmp"), (202, "at-nbp"), (204, "at-echo"), (206, "at-zis"), (209, "qmtp"), (210, "z39.50"),
    (213, "ipx"), (218, "mpp"), (220, "imap3"), (264, "bgmp"), (280, "http-mgmt"), (350, "matip-type-a"),
    (351, "matip-type-b"), (363, "rsvp_tunnel"), (366, "odmr"), (369, "rpc2portmap"), (371, "clearcase"),
    (389, "ldap"), (427, "svrloc"), (434, "mobileip-agent"), (443, "https"), (444, "snpp"), (445, "microsoft-ds"),
    (464, "kpasswd"), (496, "pim-rp-disc"), (500, "isakmp"), (521, "ripng"), (540, "uucp"), (543, "klogin"),
    (544, "kshell"), (546, "dhcpv6-client"), (547, "dhcpv6-server"), (548, "afpovertcp"), (554, "rtsp"),
    (563, "nntps"), (587, "submission"), (631, "ipp"), (636, "ldaps"), (639, "msdp"), (646, "ldp"),
    (749, "kerberos-adm"), (853, "domain-s"), (860, "iscsi"), (873, "rsync"), (989, "ftps-data"), (990, "ftps"),
    (992, "telnets"), (993, "imaps"), (994, "ircs"), (995, "pop3s"), (1080, "socks"), (1194, "openvpn"),
    (1433, "ms-sql-s"), (1434, "ms-sql-m"), (1701, "l2tp"), (1723, "pptp"), (1812, "radius"), (1813, "radacct"),
    (1985, "hsrp"), (2049, "nfsd"), (3260, "iscsi-target"), (3306, "mysql"), (3389, "rdp"), (3690, "svn"),
    (4500, "sae-urn"), (5060, "sip"), (5061, "sip-tls"), (5222, "xmpp-client"), (5269, "xmpp-server"),
    (5353, "mdns"), (5432, "postgresql"), (8080, "http-alt"), (9418, "git"),
];

#[rustfmt::skip]
const TCP: &[(u16, &str)] = &[
    (15, "netstat"), (63, "whois++"), (106, "pop3pw"), (465, "smtps"), (512, "exec"), (513, "login"), (514, "shell"),
    (515, "printer"), (2628, "dict"), (6667, "ircd"),
];

#[rustfmt::skip]
const UDP: &[(u16, &str)] = &[
    (106, "3com-tsmux"), (512, "biff"), (513, "who"), (514, "syslog"), (515, "printer"), (517, "talk"), (518, "ntalk"),
    (520, "router"), (525, "timed"),
];

/// What a port is called, if it has a name for the protocol.
pub(super) fn service_name(port: Port, proto: Proto) -> Option<&'static str> {
    let own = match proto {
        Proto::TCP => TCP,
        Proto::UDP => UDP,
        _ => return None,
    };
    BOTH.iter().chain(own).find(|(number, _)| *number == port.0).map(|(_, name)| *name)
}

/// The port that a name stands for.
pub(super) fn port(name: &str) -> Option<u16> {
    let all = BOTH.iter().chain(TCP).chain(UDP);
    all.into_iter().find(|(_, known)| *known == name).map(|(port, _)| *port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Dialect;
    use crate::names::service_port;

    #[test]
    fn what_is_printed_is_read_as_the_same() {
        for proto in [Proto::TCP, Proto::UDP] {
            for number in 0..=u16::MAX {
                // Two ports share one name, as in FreeBSD.
                let shared = [3, 85].contains(&number);
                if let Some(name) = service_name(Port(number), proto).filter(|_| !shared) {
                    assert_eq!(service_port(name, Dialect::FreeBsd), Ok(number), "{name}");
                }
            }
        }
    }
}
