//! Promises and measurements.

use perf::budget::{Budget, Verdict};
use perf::report::{Reference, Report, Row};

fn row(name: &str, proto: &str, cycles: f64) -> Row {
    let reference = Reference { rte_hash_floor: Some(80.0), ..Reference::default() };
    Row { name: name.into(), proto: proto.into(), flows: 1000, cycles, reference, ..Row::default() }
}

fn judge(promise: &str, rows: Vec<Row>) -> Verdict {
    let budget: Budget = toml::from_str(&format!("[[promise]]\n{promise}")).unwrap();
    budget.promises[0].judge(&Report { rows, histograms: Vec::new() })
}

#[test]
fn cycles_are_kept_or_missed_by_a_share() {
    let promise = "name = \"established\"\nproto = \"tcp4\"\nflows = 1000\nat_most = 100";
    assert_eq!(judge(promise, vec![row("established", "tcp4", 100.0)]), Verdict::Kept(100.0));
    assert_eq!(judge(promise, vec![row("established", "tcp4", 125.0)]), Verdict::Missed(125.0, 0.25));
    assert_eq!(judge(promise, vec![row("established", "udp4", 1.0)]), Verdict::NotMeasured);
    let other = Row { flows: 999, ..row("established", "tcp4", 1.0) };
    assert_eq!(judge(promise, vec![other]), Verdict::NotMeasured);
}

#[test]
fn ratios_are_to_a_reference_or_to_another_traffic() {
    let rows = || vec![row("established", "tcp4", 100.0), row("established", "tcp6", 150.0)];
    let to_floor = "name = \"established\"\nproto = \"tcp4\"\nover = \"rte_hash_floor\"\nat_most = 1.0";
    assert_eq!(judge(to_floor, rows()), Verdict::Missed(1.25, 0.25));
    let to_tcp4 = "name = \"established\"\nproto = \"tcp6\"\nover = \"tcp4\"\nat_most = 2";
    assert_eq!(judge(to_tcp4, rows()), Verdict::Kept(1.5));
    let to_nothing = "name = \"established\"\nproto = \"tcp6\"\nover = \"udp4\"\nat_most = 2";
    assert_eq!(judge(to_nothing, rows()), Verdict::NotMeasured);
}

#[test]
fn other_figures_and_lower_bounds() {
    let scaled =
        |efficiency| vec![row("scaling", "tcp4", 90.0).with("workers", 2.0).with("efficiency", efficiency)];
    let promise =
        "name = \"scaling\"\nproto = \"tcp4\"\nworkers = 2\nfigure = \"efficiency\"\nat_least = 0.5";
    assert_eq!(judge(promise, scaled(0.75)), Verdict::Kept(0.75));
    assert_eq!(judge(promise, scaled(0.25)), Verdict::Missed(0.25, 0.5));
    let of_four = promise.replace("workers = 2", "workers = 4");
    assert_eq!(judge(&of_four, scaled(0.75)), Verdict::NotMeasured);
}

#[test]
fn nothing_may_be_lost() {
    let lost = |count| vec![row("reload", "tcp4", 90.0).with("lost", count)];
    let promise = "name = \"reload\"\nproto = \"tcp4\"\nfigure = \"lost\"\nat_most = 0";
    assert_eq!(judge(promise, lost(0.0)), Verdict::Kept(0.0));
    assert!(matches!(judge(promise, lost(1.0)), Verdict::Missed(..)));
}

#[test]
fn the_budget_is_well_formed() {
    let budget = Budget::read(concat!(env!("CARGO_MANIFEST_DIR"), "/budget.toml").as_ref()).unwrap();
    assert!(budget.promises.iter().all(|promise| promise.at_most.is_some() != promise.at_least.is_some()));
    assert!(!budget.instructions.is_empty());
}

#[test]
fn a_report_is_read_as_it_was_written() {
    let report = Report {
        rows: vec![row("handoff", "tcp4", 60.0).with("taking_cycles", 5.5)],
        histograms: Vec::new(),
    };
    let read: Report = serde_json::from_str(&report.json().unwrap()).unwrap();
    assert_eq!(read.json().unwrap(), report.json().unwrap());
    let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
    assert_eq!(json["rows"][0]["taking_cycles"], 5.5);
    assert_eq!(json["rows"][0]["reference"]["rte_hash_floor"], 80.0);
}
