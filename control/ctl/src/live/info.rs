//! pfctl's `-si` and `-vvsI`.

use std::io::{self, Write};

use api::{
    Filtering, FloodStatus, FragmentStatus, Hooks, Info, InterfaceInfo, LimitCount, Logged, SourceStatus,
    Traffic, Verdicts,
};
use ruleset::Reason;

use super::status;

/// How many of the drop reasons are pf's own, which pfctl shows first.
const PF_REASONS: usize = Reason::NoRoute as usize + 1;

/// Writes the status, what the interface of `set loginterface` did, the state table's, if `verbose` the source nodes', the
/// fragments' and the limits', and the reasons' counters with their rates since they are counted, as pfctl does; our
/// own reasons follow pf's where they counted something.
pub fn write_info(out: &mut dyn Write, info: &Info, verbose: bool) -> io::Result<()> {
    let up = info.since_s;
    let clock = format!("{} days {:02}:{:02}:{:02}", up / 86_400, up / 3600 % 24, up / 60 % 60, up % 60);
    let enabled = match info.filtering {
        Filtering::On => "Enabled",
        Filtering::Off => "Disabled",
    };
    let debug = format!("Debug: {}", info.level);
    writeln!(out, "{:<44}{debug:>15}\n", format!("Status: {enabled} for {clock}"))?;
    if verbose {
        writeln!(out, "Hostid:   0x{:08x}\nChecksum: 0x{:0>32}\n", info.host_id, info.checksum)?;
    }
    if let Some(logged) = &info.logged {
        write_logged(out, logged)?;
    }
    writeln!(out, "{:<27} {:>14} {:>16}", "State Table", "Total", "Rate")?;
    writeln!(out, "  {:<25} {:>14} {:>14}", "current entries", info.states, "")?;
    writeln!(out, "  {:<25} {:>14} {:>14}", "half-open tcp", info.half_open, "")?;
    for (name, count) in [("searches", info.searches), ("inserts", info.inserts), ("removals", info.removals)]
    {
        counter(out, name, count, info.counted_s)?;
    }
    if verbose {
        let SourceStatus { current, searches, inserts, removals } = info.sources;
        writeln!(out, "Source Tracking Table")?;
        writeln!(out, "  {:<25} {current:>14} {:>14}", "current entries", "")?;
        for (name, count) in [("searches", searches), ("inserts", inserts), ("removals", removals)] {
            counter(out, name, count, info.counted_s)?;
        }
        let FragmentStatus { datagrams, searches, inserts, removals, .. } = info.fragments;
        writeln!(out, "Fragments")?;
        writeln!(out, "  {:<25} {datagrams:>14} {:>14}", "current entries", "")?;
        for (name, count) in [("searches", searches), ("inserts", inserts), ("removals", removals)] {
            counter(out, name, count, info.counted_s)?;
        }
    }
    writeln!(out, "Counters")?;
    for (number, reason) in Reason::ALL.into_iter().enumerate() {
        let count = info.drops.iter().find(|drop| drop.reason == reason).map_or(0, |drop| drop.packets);
        if number < PF_REASONS || count > 0 {
            counter(out, reason.name(), count, info.counted_s)?;
        }
    }
    if verbose {
        writeln!(out, "Limit Counters")?;
        for LimitCount { limit, count } in &info.limits {
            counter(out, limit.name(), *count, info.counted_s)?;
        }
        write_floods(out, &info.floods, info.counted_s)?;
    }
    Ok(())
}

/// pf's counters of floods, the last of its limits, and where cookies begin and end.
fn write_floods(out: &mut dyn Write, floods: &FloodStatus, seconds: u64) -> io::Result<()> {
    let FloodStatus { detected, cookies_sent, cookies_validated, watermarks } = *floods;
    for (name, count) in [
        ("synfloods detected", detected),
        ("syncookies sent", cookies_sent),
        ("syncookies validated", cookies_validated),
    ] {
        counter(out, name, count, seconds)?;
    }
    if let Some([start, end]) = watermarks {
        writeln!(out, "Adaptive Syncookies Watermarks")?;
        writeln!(out, "  {:<25} {start:>14} states", "start")?;
        writeln!(out, "  {:<25} {end:>14} states", "end")?;
    }
    Ok(())
}

/// Writes since when an interface is counted for, what refers to it, and what its hooks let pass and blocked, as `-vvsI`
/// does.
pub fn write_interface(
    out: &mut dyn Write,
    info: &InterfaceInfo,
    cleared: &str,
    states: usize,
    rules: usize,
) -> io::Result<()> {
    writeln!(out, "\tCleared:     {cleared}")?;
    writeln!(out, "\tReferences:  [ States:  {states:<18} Rules: {rules:<18} ]")?;
    let Hooks { in4, out4, in6, out6 } = info.hooks;
    for (name, Verdicts { passed, blocked }) in [("In4", in4), ("Out4", out4), ("In6", in6), ("Out6", out6)] {
        traffic(out, &format!("{name}/Pass:"), passed)?;
        traffic(out, &format!("{name}/Block:"), blocked)?;
    }
    Ok(())
}

/// Writes how each interface's link is, what it carried, Ethernet headers included, and how much was dropped on it.
pub fn write_carried(out: &mut dyn Write, interfaces: &[InterfaceInfo]) -> io::Result<()> {
    for info in interfaces {
        writeln!(out, "{} {}", info.name, status::link(info.link.state == "up", &info.link))?;
        let carried = [
            ("Received:", info.received),
            ("Sent:", info.sent),
            ("From host:", info.host_in),
            ("To host:", info.punted),
        ];
        for (name, carried) in carried {
            traffic(out, name, carried)?;
        }
        writeln!(out, "\t{:<12} [ Packets: {:<18} ]", "Dropped:", info.dropped)?;
    }
    Ok(())
}

fn traffic(out: &mut dyn Write, name: &str, Traffic { packets, bytes }: Traffic) -> io::Result<()> {
    writeln!(out, "\t{name:<12} [ Packets: {packets:<18} Bytes: {bytes:<18} ]")
}

/// What the hooks of the interface of `set loginterface` did.
fn write_logged(out: &mut dyn Write, Logged { name, hooks }: &Logged) -> io::Result<()> {
    let Hooks { in4, out4, in6, out6 } = hooks;
    writeln!(out, "Interface Stats for {name:<16} {:>5} {:>16}", "IPv4", "IPv6")?;
    let bytes = |verdicts: &Verdicts| verdicts.passed.and(verdicts.blocked).bytes;
    writeln!(out, "  {:<25} {:>14} {:>16}", "Bytes In", bytes(in4), bytes(in6))?;
    writeln!(out, "  {:<25} {:>14} {:>16}", "Bytes Out", bytes(out4), bytes(out6))?;
    for (title, inet, inet6) in [("Packets In", in4, in6), ("Packets Out", out4, out6)] {
        writeln!(out, "  {title}")?;
        writeln!(out, "    {:<23} {:>14} {:>16}", "Passed", inet.passed.packets, inet6.passed.packets)?;
        writeln!(out, "    {:<23} {:>14} {:>16}", "Blocked", inet.blocked.packets, inet6.blocked.packets)?;
    }
    writeln!(out)
}

fn counter(out: &mut dyn Write, name: &str, count: u64, seconds: u64) -> io::Result<()> {
    writeln!(out, "  {name:<25} {count:>14} {:>14.1}/s", count as f64 / seconds.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use api::LinkStatus;

    use super::*;

    fn hooks() -> Hooks {
        let traffic = |packets, bytes| Traffic { packets, bytes };
        let verdicts = |packets: u64| Verdicts {
            passed: traffic(packets, packets * 100),
            blocked: traffic(packets + 1, packets * 100 + 40),
        };
        Hooks { in4: verdicts(1), out4: verdicts(3), in6: verdicts(5), out6: verdicts(1_234_567) }
    }

    fn written(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).expect("a vector takes everything");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn interfaces_are_shown_as_pfctl_shows_them() {
        let info = InterfaceInfo { hooks: hooks(), ..InterfaceInfo::default() };
        let text = written(|out| write_interface(out, &info, "Sat Nov 28 10:17:01 2026", 4, 12));
        assert_eq!(
            text,
            "\tCleared:     Sat Nov 28 10:17:01 2026
\tReferences:  [ States:  4                  Rules: 12                 ]
\tIn4/Pass:    [ Packets: 1                  Bytes: 100                ]
\tIn4/Block:   [ Packets: 2                  Bytes: 140                ]
\tOut4/Pass:   [ Packets: 3                  Bytes: 300                ]
\tOut4/Block:  [ Packets: 4                  Bytes: 340                ]
\tIn6/Pass:    [ Packets: 5                  Bytes: 500                ]
\tIn6/Block:   [ Packets: 6                  Bytes: 540                ]
\tOut6/Pass:   [ Packets: 1234567            Bytes: 123456700          ]
\tOut6/Block:  [ Packets: 1234568            Bytes: 123456740          ]
"
        );
    }

    #[test]
    fn the_interface_of_loginterface_is_shown_above_the_state_table() {
        let logged = Some(Logged { name: "wan0".into(), hooks: hooks() });
        let level = "err".to_owned();
        let text = written(|out| write_info(out, &Info { logged, level, ..Info::default() }, false));
        let shown = "Status: Enabled for 0 days 00:00:00              Debug: err

Interface Stats for wan0              IPv4             IPv6
  Bytes In                             240             1040
  Bytes Out                            640        246913440
  Packets In
    Passed                               1                5
    Blocked                              2                6
  Packets Out
    Passed                               3          1234567
    Blocked                              4          1234568

State Table                          Total             Rate
";
        assert!(text.starts_with(shown), "{text}");
        let text = written(|out| write_info(out, &Info::default(), false));
        assert!(!text.contains("Interface Stats") && !text.contains("Hostid"), "{text}");
    }

    #[test]
    fn who_the_firewall_is_and_what_its_rules_are_is_shown_to_who_asks_for_more() {
        let (level, checksum) = ("err".to_owned(), format!("{:032x}", 0xabcd));
        let info = Info { level, host_id: 0xc0a8_0101, checksum, ..Info::default() };
        let shown = "Status: Enabled for 0 days 00:00:00              Debug: err

Hostid:   0xc0a80101
Checksum: 0x0000000000000000000000000000abcd

State Table                          Total             Rate
";
        let text = written(|out| write_info(out, &info, true));
        assert!(text.starts_with(shown), "{text}");
    }

    #[test]
    fn floods_and_watermarks_are_shown_behind_the_reasons() {
        let floods = FloodStatus {
            detected: 1,
            cookies_sent: 40,
            cookies_validated: 3,
            watermarks: Some([25_000, 12_000]),
        };
        let info = Info { floods, counted_s: 10, ..Info::default() };
        let shown = "  no-route                               0            0.0/s
Limit Counters
  synfloods detected                     1            0.1/s
  syncookies sent                       40            4.0/s
  syncookies validated                   3            0.3/s
Adaptive Syncookies Watermarks
  start                              25000 states
  end                                12000 states
";
        let text = written(|out| write_info(out, &info, true));
        assert!(text.ends_with(shown), "{text}");
        assert!(!written(|out| write_info(out, &info, false)).contains("Limit"));
    }

    #[test]
    fn what_interfaces_carried_is_shown_beside() {
        let received = Traffic { packets: 7, bytes: 700 };
        let link = LinkStatus { state: "up".into(), speed_mbps: Some(10_000), ..LinkStatus::default() };
        let info =
            InterfaceInfo { name: "lan0".into(), received, dropped: 3, link, ..InterfaceInfo::default() };
        let link = LinkStatus { state: "absent".into(), cause: Some("gone".into()), ..LinkStatus::default() };
        let gone = InterfaceInfo { link, ..info.clone() };
        assert!(written(|out| write_carried(out, &[gone])).starts_with("lan0 down (gone)\n"));
        let text = written(|out| write_carried(out, &[info]));
        assert_eq!(
            text,
            "lan0 up at 10000 Mb/s
\tReceived:    [ Packets: 7                  Bytes: 700                ]
\tSent:        [ Packets: 0                  Bytes: 0                  ]
\tFrom host:   [ Packets: 0                  Bytes: 0                  ]
\tTo host:     [ Packets: 0                  Bytes: 0                  ]
\tDropped:     [ Packets: 3                  ]
"
        );
    }
}
