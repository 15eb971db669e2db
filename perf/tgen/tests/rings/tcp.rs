//! Connections, through a device that checks what firewalls check.

use tgen::profile::Profile;
use tgen::report::Trial;

use crate::Bed;
use crate::device::Behaviour;

const STRICT: Behaviour = Behaviour {
    strict: true,
    lose: 0,
    copy: 0,
    swap: 0,
    damage: 0,
    lose_segments_after: 0,
    reflect: false,
    deaf: false,
};

fn profile(text: &str) -> Profile {
    Profile::parse("test", text).expect("a profile")
}

/// Connections with so many octets each way, `flows` at once.
fn exchange(family: &str, flows: u32, request: u32, response: u32) -> Profile {
    profile(&format!(
        "about = \"test\"\nfamily = \"{family}\"\nflows = {flows}\nclients = 10\nservers = 3\nserver_port = 80\n\
         [connections]\nrequest_bytes = {request}\nresponse_bytes = {response}\n"
    ))
}

pub fn connections_are_opened_used_and_closed(bed: &mut Bed) {
    // Packets of one connection from the client and from the server.
    for (request, response, packets) in
        [(0, 0, [4, 2]), (100, 0, [4, 3]), (100, 300, [4, 3]), (0, 300, [4, 3])]
    {
        for family in ["ipv4", "ipv6"] {
            let profile = exchange(family, 1_000, request, response);
            bed.with(&profile, 1, STRICT, |tester| {
                // The second trial finds the same flows as the first.
                for _ in 0..2 {
                    let outcome = tester.trial(5_000.0, 0.1, &mut || ()).expect("a trial");
                    let opening = outcome.connections().expect("connections").clone();
                    assert_eq!(
                        opening.opened + outcome.ends[0].left_out,
                        500,
                        "{family} {request} {response}"
                    );
                    let counts = [opening.established, opening.completed, opening.failed];
                    assert_eq!(counts, [opening.opened, opening.opened, 0], "{family} {request} {response}");
                    let sent = outcome.ends.each_ref().map(|end| end.sent);
                    assert_eq!(
                        sent,
                        packets.map(|each| each * opening.opened),
                        "{family} {request} {response}"
                    );
                    assert!(outcome.is_clean());
                }
            });
        }
    }
    let large = exchange("ipv4", 200, 250, 100_000);
    bed.with(&large, 2, STRICT, |tester| {
        let outcome = tester.trial(500.0, 0.2, &mut || ()).expect("a trial");
        let opening = outcome.connections().expect("connections");
        assert_eq!((opening.completed, opening.failed), (opening.opened, 0));
        assert!(outcome.is_clean() && opening.opened > 0);
        // Seventy segments of 1440 octets, the SYN's answer, and the FIN.
        assert_eq!(outcome.ends[1].sent, 72 * opening.opened);
        let text = Trial::new(&large, &outcome).text();
        assert!(text.contains("connections: ") && text.contains("from SYN to its answer"), "{text}");
    });
}

pub fn a_connection_that_loses_its_way_is_given_up_and_counted(bed: &mut Bed) {
    let profile = exchange("ipv4", 1_000, 0, 0);
    bed.with(&profile, 1, Behaviour { lose: 7, ..STRICT }, |tester| {
        let outcome = tester.trial(5_000.0, 0.1, &mut || ()).expect("a trial");
        let opening = outcome.connections().expect("connections").clone();
        assert!(opening.failed > 0 && opening.completed > 0);
        assert_eq!(opening.completed + opening.failed, opening.opened);
        assert!(outcome.lost() > 0 && !outcome.is_clean());
    });
}

pub fn a_lost_segment_is_a_loss_and_no_end(bed: &mut Bed) {
    let profile = exchange("ipv4", 100, 100, 14_500);
    // Of ten full segments the fifth and the tenth; a short one comes behind them.
    let behaviour = Behaviour { lose_segments_after: 5, ..STRICT };
    bed.with(&profile, 1, behaviour, |tester| {
        let outcome = tester.trial(500.0, 0.1, &mut || ()).expect("a trial");
        let opening = outcome.connections().expect("connections").clone();
        assert_eq!((opening.completed, opening.failed), (opening.opened, 0));
        let [forth, back] = outcome.directions();
        assert_eq!((forth.lost(), back.lost()), (0, 2 * opening.opened));
    });
}

/// Five times as much as the device has room for, at once: answers wait for it.
pub fn a_device_that_is_full_loses_no_answer(bed: &mut Bed) {
    let profile = exchange("ipv4", 1_000, 100, 14_400);
    bed.with(&profile, 1, STRICT, |tester| {
        let outcome = tester.trial(50_000.0, 0.01, &mut || ()).expect("a trial");
        let opening = outcome.connections().expect("connections").clone();
        assert!(opening.opened > 0 && outcome.is_clean());
        assert_eq!((opening.completed, opening.failed), (opening.opened, 0));
    });
}

/// Connections that stay.
fn established(senders: &str) -> Profile {
    profile(&format!(
        "about = \"test\"\nsenders = \"{senders}\"\nflows = 300\nclients = 10\nservers = 3\nserver_port = 80\n\
         [established]\nframes = [{{ bytes = 100, share = 1 }}, {{ bytes = 1000, share = 1 }}]\n"
    ))
}

pub fn established_connections_carry_data_both_ways_and_are_closed(bed: &mut Bed) {
    let profile = established("both");
    bed.with(&profile, 2, STRICT, |tester| {
        tester.open(&profile, 5_000.0, &mut || ()).expect("all open");
        for _ in 0..2 {
            let outcome = tester.trial(10_000.0, 0.2, &mut || ()).expect("a trial");
            for way in outcome.directions() {
                assert_eq!(way.from.sent + way.from.left_out, 2_000);
                assert!(way.lost() == 0 && way.to.latency.len() == way.to.received && way.from.sent > 0);
            }
        }
        tester.close(&profile, 5_000.0, &mut || ()).expect("all closed");
        assert_eq!(tester.connections_open(), 0);
        tester.open(&profile, 5_000.0, &mut || ()).expect("and again");
        assert_eq!(tester.connections_open(), 300);
    });
}

pub fn one_way_data_is_acknowledged(bed: &mut Bed) {
    for (senders, sender) in [("clients", 0), ("servers", 1)] {
        let profile = established(senders);
        bed.with(&profile, 1, STRICT, |tester| {
            tester.open(&profile, 5_000.0, &mut || ()).expect("all open");
            let outcome = tester.trial(10_000.0, 0.2, &mut || ()).expect("a trial");
            let ways = outcome.directions();
            assert_eq!(ways[sender].from.sent + ways[sender].from.left_out, 2_000);
            let (data, acks) = (ways[sender].to.received, ways[1 - sender].to.received);
            assert!(data == ways[sender].from.sent && outcome.is_clean());
            // Every second segment of each connection.
            assert!(acks > 0 && data / 2 - acks <= 150, "{acks} for {data}");
            tester.close(&profile, 5_000.0, &mut || ()).expect("all closed");
        });
    }
}

pub fn connections_that_do_not_open_are_told(bed: &mut Bed) {
    let profile = established("both");
    bed.with(&profile, 1, Behaviour { lose: 1, ..STRICT }, |tester| {
        let refused = tester.open(&profile, 5_000.0, &mut || ()).expect_err("nothing opens").to_string();
        assert!(refused.contains("only 0 of 300 connections"), "{refused}");
    });
}
