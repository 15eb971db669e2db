//! The files of other generators say what the definitions say.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tgen::export;
use tgen::profile::{BUILT_IN, Network, Profile};

/// The folder of `trex` and `pktgen`.
fn perf() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn every_file_is_as_its_definition_says() {
    let update = std::env::var_os("UPDATE_EXPORTS").is_some();
    let network = Network::built_in();
    let mut made = BTreeSet::new();
    for (name, _) in BUILT_IN {
        let profile = Profile::find(name).expect("built in");
        for export::File { path, text } in export::files(&profile, &network) {
            let file = perf().join(&path);
            if update {
                fs::write(&file, &text).expect("a folder to write to");
            }
            let found = fs::read_to_string(&file).unwrap_or_default();
            assert_eq!(found, text, "{path} is not what {name}.toml says; UPDATE_EXPORTS=1 writes it anew");
            made.insert(file);
        }
    }
    let there = ["trex/stl", "trex/astf", "pktgen"].map(|folder| perf().join(folder));
    for file in there.iter().flat_map(|folder| fs::read_dir(folder).expect("a folder")) {
        let file = file.expect("a file").path();
        let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        let by_hand = ["throughput.lua", "check.lua"].iter().any(|name| file.ends_with(name));
        if ["py", "pkt", "lua"].contains(&ending) && !by_hand {
            assert!(made.contains(&file), "{} is of no definition", file.display());
        }
    }
}

#[test]
fn every_definition_in_the_folder_is_built_in() {
    let folder = fs::read_dir(perf().join("profiles")).expect("the definitions");
    let found: BTreeSet<String> = folder
        .map(|file| file.expect("a file").path().file_stem().expect("a name").to_string_lossy().into_owned())
        .filter(|name| name != "network")
        .collect();
    assert_eq!(found, BUILT_IN.iter().map(|(name, _)| (*name).to_owned()).collect());
    let network = Network::built_in();
    for name in found {
        Profile::find(&name).and_then(|profile| profile.fits(&network)).expect(&name);
    }
}

#[test]
fn what_a_definition_may_not_say_is_refused() {
    let with = |line: &str, stream: &str| {
        let text = format!("about = \"x\"\n{line}\n[{stream}");
        Profile::parse("x", &text).expect_err("must be refused").to_string()
    };
    let good = "flows = 10\nclients = 10\nservers = 1\nserver_port = 9";
    let udp = "udp]\nframes = [{ bytes = 64, share = 1 }]";
    assert!(Profile::parse("x", &format!("about = \"x\"\n{good}\n[{udp}")).is_ok());
    for (line, stream, told) in [
        ("flows = 0\nclients = 1\nservers = 1\nserver_port = 9", udp, "flows = 0"),
        ("flows = 100000\nclients = 1\nservers = 1\nserver_port = 9", udp, "need 2 at least"),
        (good, "udp]\nframes = []", "shares add up to 0"),
        (good, "udp]\nframes = [{ bytes = 63, share = 1 }]", "64 to 1518"),
        (good, "established]\nframes = [{ bytes = 64, share = 1 }]", "76 to 1518"),
        (good, "connections]\nrequest_bytes = 2000\nresponse_bytes = 0", "one segment"),
        (good, "connections]\nrequest_bytes = 0\nresponse_bytes = 0\nspeed = 1", "speed"),
        (good, "nothing]", "unknown field"),
    ] {
        let refused = with(line, stream);
        assert!(refused.contains(told), "{line} [{stream}: {refused}");
    }
}
