//! Datagrams, counted at both ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tgen::outcome::Outcome;
use tgen::profile::Profile;
use tgen::report::Trial;

use crate::Bed;
use crate::device::Behaviour;

/// What each direction sent, received and lost; all that was planned was sent, but for what a busy machine kept the tester
/// from.
fn counts(outcome: &Outcome, planned: u64) -> [(u64, u64, u64); 2] {
    outcome.directions().map(|way| {
        assert_eq!(way.from.sent + way.from.left_out, planned);
        (way.from.sent, way.to.received, way.lost())
    })
}

/// Every `n`th is lost.
fn without_each(n: u64, counts: [(u64, u64, u64); 2]) {
    for (sent, received, lost) in counts {
        assert_eq!((received, lost), (sent - sent / n, sent / n));
    }
}

pub fn what_is_planned_is_sent_and_arrives(bed: &mut Bed) {
    for profile in ["udp-64", "udp6-84", "imix", "udp-1518", "many-flows"] {
        let outcome = bed.trial(profile, Behaviour::default(), 20_000.0, 0.2);
        let sent = counts(&outcome, 4_000).map(|(sent, received, lost)| {
            assert_eq!((received, lost), (sent, 0), "{profile}");
            sent
        });
        assert!(sent.iter().all(|sent| *sent > 0), "{profile}");
        let [forth, back] = outcome.directions();
        for tally in [forth.to, back.to] {
            assert_eq!(
                (tally.reordered, tally.duplicates, tally.damaged, tally.late),
                (0, 0, 0, 0),
                "{profile}"
            );
            assert_eq!(tally.latency.len(), tally.received);
        }
    }
}

pub fn each_loss_is_counted(bed: &mut Bed) {
    let outcome = bed.trial("udp-64", Behaviour { lose: 10, ..Behaviour::default() }, 20_000.0, 0.2);
    without_each(10, counts(&outcome, 4_000));
    let report = Trial::new(&Profile::find("udp-64").expect("built in"), &outcome);
    assert!((report.clients_to_servers.loss_ratio - 0.1).abs() < 0.01);
    let lost = report.servers_to_clients.lost;
    assert!(report.text().contains(&format!("{lost} (")), "{}", report.text());
}

pub fn copies_and_late_ones_are_told_apart(bed: &mut Bed) {
    let text = "about = \"few flows\"\nflows = 1\nclients = 1\nservers = 1\nserver_port = 9\n\
                [udp]\nframes = [{ bytes = 64, share = 1 }]\n";
    let profile = Profile::parse("one-flow", text).expect("a profile");
    let behaviour = Behaviour { copy: 10, swap: 25, ..Behaviour::default() };
    let outcome =
        bed.with(&profile, 1, behaviour, |tester| tester.trial(20_000.0, 0.2, &mut || ()).expect("a trial"));
    for way in outcome.directions() {
        // The last of all may be held back for ever; what is both copied and held back has its copy sent first.
        let sent = way.from.sent;
        let held = sent.is_multiple_of(25) && !sent.is_multiple_of(50);
        assert_eq!((way.to.received, way.lost()), (sent - u64::from(held), u64::from(held)));
        assert_eq!(way.to.duplicates, sent / 10 - u64::from(sent.is_multiple_of(50)));
        assert_eq!(way.to.reordered, sent / 25 - sent / 50 - u64::from(held));
    }
}

pub fn damage_is_no_arrival(bed: &mut Bed) {
    let outcome = bed.trial("udp-64", Behaviour { damage: 100, ..Behaviour::default() }, 20_000.0, 0.2);
    for way in outcome.directions() {
        let damaged = way.from.sent / 100;
        assert_eq!(
            (way.to.received, way.to.damaged, way.lost()),
            (way.from.sent - damaged, damaged, damaged)
        );
    }
}

pub fn what_comes_back_to_its_sender_is_no_arrival(bed: &mut Bed) {
    let outcome = bed.trial("udp-64", Behaviour { reflect: true, ..Behaviour::default() }, 20_000.0, 0.1);
    for way in outcome.directions() {
        assert_eq!((way.to.received, way.to.other), (0, way.to.sent));
    }
    let [clients, servers] = &outcome.ends;
    assert!(clients.sent > 0);
    assert_eq!((servers.sent, servers.left_out), (0, 0), "servers hear of no flow that they could send by");
}

pub fn one_way_traffic_goes_one_way(bed: &mut Bed) {
    for (senders, sender) in [("clients", 0), ("servers", 1)] {
        let text = format!(
            "about = \"one way\"\nsenders = \"{senders}\"\nflows = 100\nclients = 10\nservers = 1\nserver_port = 9\n\
             [udp]\nframes = [{{ bytes = 64, share = 1 }}]\n"
        );
        let profile = Profile::parse("one-way", &text).expect("a profile");
        let outcome = bed.with(&profile, 1, Behaviour::default(), |tester| {
            tester.trial(20_000.0, 0.1, &mut || ()).expect("a trial")
        });
        let ways = outcome.directions();
        assert_eq!(ways[sender].from.sent + ways[sender].from.left_out, 2_000);
        assert_eq!(ways[sender].to.received, ways[sender].from.sent);
        assert_eq!((ways[1 - sender].from.sent, ways[1 - sender].to.received), (0, 0));
    }
}

pub fn two_lcores_do_as_one(bed: &mut Bed) {
    let profile = Profile::find("udp-64").expect("built in");
    let outcome = bed.with(&profile, 2, Behaviour::default(), |tester| {
        tester.trial(20_000.0, 0.2, &mut || ()).expect("a trial")
    });
    assert!(counts(&outcome, 4_000).iter().all(|(sent, received, lost)| sent == received && *lost == 0));
}

pub fn trials_follow_each_other_on_their_own(bed: &mut Bed) {
    let profile = Profile::find("udp-64").expect("built in");
    bed.with(&profile, 1, Behaviour { lose: 2, ..Behaviour::default() }, |tester| {
        for rate in [20_000.0, 10_000.0, 30_000.0] {
            let outcome = tester.trial(rate, 0.1, &mut || ()).expect("a trial");
            let planned = (rate * 0.1) as u64;
            for (sent, received, lost) in counts(&outcome, planned) {
                // The device counts on from trial to trial.
                assert!(sent == received + lost && lost.abs_diff(sent / 2) <= 1);
            }
            assert!(!outcome.interrupted);
        }
    });
}

pub fn an_interruption_ends_a_trial_with_its_counts(bed: &mut Bed) {
    let profile = Profile::find("udp-64").expect("built in");
    let outcome = bed.with(&profile, 1, Behaviour::default(), |tester| {
        let (stop, progress): (Arc<AtomicBool>, _) = (tester.stopper(), tester.progress());
        let outcome = tester
            .trial(20_000.0, 600.0, &mut || {
                if progress.totals().1 > 1_000 {
                    stop.store(true, Ordering::Relaxed);
                }
            })
            .expect("a trial");
        assert!(tester.is_interrupted());
        outcome
    });
    assert!(outcome.interrupted && outcome.seconds < 600.0 && outcome.lost() == 0);
    assert!(outcome.sent() > 1_000);
}

pub fn a_device_that_does_not_answer_is_named(bed: &mut Bed) {
    let profile = Profile::find("udp-64").expect("built in");
    let refused = bed.refusal(&profile, Behaviour { deaf: true, ..Behaviour::default() });
    assert!(
        refused.contains("nobody answers for 198.18.0.1") && refused.contains("--client-peer"),
        "{refused}"
    );
}
