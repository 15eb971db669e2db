//! Real stacks on a bad cable (reliability A11): however much is lost, overtaken and repeated, no segment of theirs is refused.

use anyhow::{Result, ensure};
use e2e::relay::{Impairment, Relay};
use e2e::transfer::iperf3_from;
use e2e::{Lab, Links, bed, installed};

const OPEN: &str = "block drop all\n\
    pass in on lan0 proto tcp to 10.2.0.2\n\
    pass out on wan0 proto tcp to 10.2.0.2\n";

const BED: &str = "relay-tap";

#[test]
fn a11_nothing_of_a_long_transfer_over_a_bad_cable_is_refused() {
    bed(BED, Links::Tap, &format!("{OPEN}{}", Lab::QUIET), transfers);
}

/// A hundred megabytes each way, ten times that with `--long`.
fn transfers(lab: &mut Lab) -> Result<()> {
    if !installed("iperf3", "a transfer over a bad cable") {
        return Ok(());
    }
    let long = std::env::var_os("TURNPIKE_LONG").is_some();
    let megabytes = if long { 1000 } else { 100 };
    let relay = Relay::start(lab, BED, Impairment { loss: 1.0, late: 5.0, twice: 1.0 })?;
    let before = lab.drops()?;
    for (direction, flag) in [("up", ""), ("down", " -R")] {
        let arguments = format!("-n {megabytes}M{flag}");
        let bytes = iperf3_from(lab, &relay.station, Lab::SERVER, &arguments, 900)?;
        println!("{direction}: {:.0} MB", bytes / 1e6);
        ensure!(bytes >= f64::from(megabytes) * 1e6, "only {bytes} bytes {direction}");
    }
    // The cable was as bad as it was to be.
    let again = relay.sent_again()?;
    ensure!(again > 100, "{again} segments were sent again");
    // A link may be too slow for what a sender tries. Nothing else may be wrong.
    let dropped = lab.drops()?.since(&before);
    let full = dropped.of_reason("tx-full");
    ensure!(dropped.total() == full, "dropped: {dropped}");
    Ok(())
}
