//! Real TCP/IP stacks on both sides of the firewall, on links that lose, repeat, delay and damage: a correct pair of hosts
//! is never cut, and every run replays from its seed.

use engine::{InterfaceId, Tick};
use pfconf::Interfaces;
use ruleset::{Reason, Ruleset};
use sim::firewall::Firewall;
use sim::host::Host;
use sim::link::{Corruption, Faults, Link};
use sim::network::{HostId, Network};
use sim::program::{Buffers, Caller, Echo, Ping, Stream, text};
use sim::replay::{is_replay, report, seeds, seeds_of};
use sim::rng::Rng;
use sim::topology;
use wire::Af;

const INSIDE: InterfaceId = InterfaceId(0);
const OUTSIDE: InterfaceId = InterfaceId(1);

/// Virtual time that is more than enough, even for a bad link.
const DEADLINE: Tick = Tick::from_secs(3600);

const MILLISECOND: u64 = 1_000_000;

/// What the protected network may do: open anything towards the outside, and nothing the other way.
const OUTBOUND_ONLY: &str = "
    block
    pass in on em0
    pass out
";

fn compile(text: &str) -> Ruleset {
    pfconf::compile(text, &Interfaces::default()).unwrap_or_else(|findings| panic!("{findings}"))
}

/// A client inside, a server outside, and a firewall of one to three workers between them.
struct Bed {
    network: Network,
    client: HostId,
    server: HostId,
    rng: Rng,
}

impl Bed {
    fn new(seed: u64, rules: &str, faults: impl Fn(&mut Rng) -> Faults) -> Self {
        let mut rng = Rng::new(seed);
        let workers = rng.between(1, 3) as u16;
        let mut firewall = Firewall::new(topology::fib(), workers, 64, rng.fork());
        firewall.load(&compile(rules)).expect("rules that the engine takes");
        let mut network = Network::new(firewall);
        let mut attach = |interface, station| {
            let host = Host::new(interface, station, &mut rng);
            let link = Link::new(faults(&mut rng), rng.fork());
            network.attach(host, link)
        };
        let (client, server) = (attach(INSIDE, 2), attach(OUTSIDE, 3));
        Self { network, client, server, rng }
    }

    fn server_address(&self, af: Af) -> std::net::IpAddr {
        topology::address(af, OUTSIDE, 3)
    }

    /// One connection that carries so many octets each way.
    fn transfer(&mut self, af: Af, up: usize, down: usize) {
        self.transfer_on(af, 80, up, down);
    }

    /// The same to a port of the server.
    fn transfer_on(&mut self, af: Af, port: u16, up: usize, down: usize) {
        let (request, response) = (text(&mut self.rng, up), text(&mut self.rng, down));
        let (here, there) = (buffers(&mut self.rng), buffers(&mut self.rng));
        let own = 40_000 + self.rng.below(1000) as u16;
        let remote = (self.server_address(af), port);
        Stream::listen(self.network.host(self.server), port, there, response.clone(), request.clone());
        Stream::connect(self.network.host(self.client), own, remote, here, request, response);
    }

    /// Runs to the end, and tells how to see it again if it is not a good one.
    fn run(mut self, test: &str, seed: u64) -> Network {
        if let Err(what) = self.network.run(DEADLINE) {
            fail(test, seed, &mut self.network, &what);
        }
        self.network.firewall().check_conservation();
        self.network
    }
}

fn fail(test: &str, seed: u64, network: &mut Network, what: &str) -> ! {
    let saved = match network.capture().save(&format!("turnpike-{test}-{seed}")) {
        Ok(path) => path.display().to_string(),
        Err(error) => format!("not saved: {error}"),
    };
    let drops: Vec<String> = Reason::ALL
        .into_iter()
        .map(|reason| (reason, network.firewall().dropped(reason)))
        .filter(|(_, count)| *count > 0)
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    let at = network.now().0 as f64 / 1e9;
    let details = format!(
        "{what}, at {at:.6} s\ncapture: {saved}\n{}drops: {}\nstates:\n{}",
        network.describe(),
        drops.join(", "),
        network.dump()
    );
    panic!("{}", report(test, seed, &details));
}

/// Small ones, the largest without window scaling, and large ones.
fn buffers(rng: &mut Rng) -> Buffers {
    let sizes = [2_000, 16_384, 65_535, 262_144, 1_048_576];
    Buffers { receive: *rng.pick(&sizes), send: *rng.pick(&sizes) }
}

/// A link with a bit of everything, worse with some seeds than with others; what arrives damaged is damaged where the
/// hosts find it.
fn bad_link(rng: &mut Rng) -> Faults {
    let delay = *rng.pick(&[MILLISECOND / 10, 5 * MILLISECOND, 60 * MILLISECOND]);
    Faults {
        delay,
        jitter: *rng.pick(&[0, delay / 4, 2 * delay]),
        loss: *rng.pick(&[0, 50, 200, 500]),
        duplication: *rng.pick(&[0, 100, 500]),
        corruption: *rng.pick(&[0, 0, 100]),
        corrupts: Corruption::Payload,
    }
}

fn good_link(_rng: &mut Rng) -> Faults {
    Faults { delay: MILLISECOND, ..Faults::default() }
}

#[test]
fn a_correct_pair_of_hosts_is_never_cut() {
    let mut frames = 0;
    for seed in seeds(1, 200) {
        let mut bed = Bed::new(seed, OUTBOUND_ONLY, bad_link);
        let af = if seed % 4 == 0 { Af::Inet6 } else { Af::Inet };
        let up = *bed.rng.pick(&[0, 1, 1000, 200_000]);
        bed.transfer(af, up, 200_000);
        frames += bed.run("a_correct_pair_of_hosts_is_never_cut", seed).capture().frames();
    }
    println!("{frames} frames");
}

/// Rulesets that take each other's place. All of them admit what the first does, or nothing new at all.
const RELOADED: [&str; 4] = [
    OUTBOUND_ONLY,
    "block\npass in on em0 inet\npass in on em0 inet6\npass out label \"later\"\n",
    "block\n",
    "set state-policy if-bound\nblock return\npass in on em0 proto { tcp udp }\npass out\n",
];

/// Hosts that speak, of which none comes further, though every frame gets through: the stack that they have (smoltcp 0.14) may
/// forget what was lost around a zero window, whatever its probes are answered. Who cuts a connection refuses its frames.
#[derive(Default)]
struct Standstill {
    since: Tick,
    /// How many frames were dropped, and how far the hosts were.
    then: (u64, String),
}

impl Standstill {
    const LONG: Tick = Tick::from_secs(3600);

    fn lasts(&mut self, now: Tick, network: &mut Network) -> bool {
        let so_far = (network.firewall().ledger().dropped, network.describe());
        if so_far != self.then {
            (self.since, self.then) = (now, so_far);
        }
        now - self.since > Self::LONG
    }
}

/// Where both ends have said their last, and much of it was lost, a host that waits a minute before it repeats (RFC 6298 §2.5)
/// comes too late for pf's 45 seconds.
fn patiently(text: &str) -> Ruleset {
    compile(&format!("set timeout tcp.finwait 180\n{text}"))
}

/// Four connections at once, together of ten thousand packets and more, while the rules are loaded again and again. Where
/// nothing new is admitted for a moment, those that are there go on, and others begin a little later.
#[test]
fn a_correct_pair_of_hosts_is_never_cut_by_reloads_among_ten_thousand_packets() {
    // Where windows are small, the way is long and much is lost, a few megabytes take their time.
    const LATEST: Tick = Tick::from_secs(12 * 3600);
    const TEST: &str = "a_correct_pair_of_hosts_is_never_cut_by_reloads_among_ten_thousand_packets";
    let (mut packets, mut runs, mut stalled) = (0, 0, 0);
    for seed in seeds_of(10 << 20, 10_000) {
        let mut bed = Bed::new(seed, RELOADED[0], bad_link);
        let af = if seed % 4 == 0 { Af::Inet6 } else { Af::Inet };
        for number in 0..4 {
            bed.transfer_on(af, 80 + number, 350_000, 350_000);
        }
        let (mut until, mut still) = (Tick(0), Standstill::default());
        while until < LATEST {
            until = until + Tick::from_millis(bed.rng.between(20, 2000));
            match bed.network.run(until) {
                Ok(()) => break,
                Err(what) if what.starts_with("not finished") && still.lasts(until, &mut bed.network) => {
                    stalled += 1;
                    break;
                }
                Err(what) if what.starts_with("not finished") && until < LATEST => {}
                Err(what) => fail(TEST, seed, &mut bed.network, &what),
            }
            let text: &str = bed.rng.pick::<&str>(&RELOADED);
            bed.network.firewall().load(&patiently(text)).expect("rules that the engine takes");
        }
        bed.network.firewall().check_conservation();
        (packets, runs) = (packets + bed.network.firewall().ledger().received, runs + 1);
    }
    println!("{packets} packets in {runs} runs, of which {stalled} were stalled by a host");
    assert!(is_replay() || packets >= 10_000 * runs, "{packets} packets in {runs} runs");
    assert!(is_replay() || stalled <= 1 + runs / 100, "{stalled} of {runs} runs were stalled");
}

#[test]
fn on_good_links_nothing_at_all_is_dropped() {
    for seed in seeds(1 << 20, 40) {
        let mut bed = Bed::new(seed, OUTBOUND_ONLY, good_link);
        bed.transfer(Af::Inet, 200_000, 200_000);
        let mut network = bed.run("on_good_links_nothing_at_all_is_dropped", seed);
        if Reason::ALL.into_iter().any(|reason| network.firewall().dropped(reason) > 0) {
            fail("on_good_links_nothing_at_all_is_dropped", seed, &mut network, "something was dropped");
        }
    }
}

#[test]
fn a_seed_replays_to_the_last_bit() {
    let run = |seed| {
        let mut bed = Bed::new(seed, OUTBOUND_ONLY, bad_link);
        bed.transfer(Af::Inet, 50_000, 50_000);
        let server = bed.server_address(Af::Inet);
        Ping::start(bed.network.host(bed.client), 7, server, 20);
        let network = bed.run("a_seed_replays_to_the_last_bit", seed);
        (network.capture().digest(), network.capture().frames(), network.now(), network.dump())
    };
    for seed in seeds(2 << 20, 10) {
        assert_eq!(run(seed), run(seed), "seed {seed}");
        assert_ne!(run(seed).0, run(seed + 1000).0, "another seed is another run");
    }
}

#[test]
fn pings_and_datagrams_are_answered() {
    for seed in seeds(3 << 20, 60) {
        let mut bed = Bed::new(seed, OUTBOUND_ONLY, bad_link);
        for (af, port) in [(Af::Inet, 7), (Af::Inet6, 9)] {
            let server = bed.server_address(af);
            Echo::start(bed.network.host(bed.server), port);
            Caller::start(bed.network.host(bed.client), 5000 + port, (server, port), 30);
            Ping::start(bed.network.host(bed.client), 600 + port, server, 30);
        }
        let mut network = bed.run("pings_and_datagrams_are_answered", seed);
        assert_eq!(network.firewall().dropped(Reason::StateMismatch), 0, "seed {seed}");
    }
}

#[test]
fn states_bound_to_their_interfaces_carry_a_connection_as_well() {
    let rules = format!("set state-policy if-bound\n{OUTBOUND_ONLY}");
    for seed in seeds(4 << 20, 40) {
        let mut bed = Bed::new(seed, &rules, bad_link);
        bed.transfer(Af::Inet, 1000, 100_000);
        bed.run("states_bound_to_their_interfaces_carry_a_connection_as_well", seed);
    }
}

#[test]
fn sloppy_and_strict_states_on_the_two_sides_carry_a_connection_as_well() {
    let rules = "block; pass in on em0 keep state (sloppy); pass out".replace("; ", "\n");
    for seed in seeds(5 << 20, 40) {
        let mut bed = Bed::new(seed, &rules, bad_link);
        bed.transfer(Af::Inet, 100_000, 1000);
        bed.run("sloppy_and_strict_states_on_the_two_sides_carry_a_connection_as_well", seed);
    }
}

/// What leaves by `em1` comes from its address; on both sides of the firewall states may be bound, or sloppy.
const MASQUERADED: [&str; 3] = ["", "set state-policy if-bound", "pass in on em0 keep state (sloppy)"];

#[test]
fn hosts_behind_one_address_are_never_cut() {
    for seed in seeds(8 << 20, 90) {
        let extra = MASQUERADED[(seed % 3) as usize];
        let rules = format!(
            "{}\nblock\nmatch out on em1 nat-to (em1)\npass in on em0\npass out\n{}",
            if extra.starts_with("set") { extra } else { "" },
            if extra.starts_with("set") { "" } else { extra }
        );
        let mut bed = Bed::new(seed, &rules, bad_link);
        let af = if seed % 4 == 0 { Af::Inet6 } else { Af::Inet };
        bed.transfer(af, 20_000, 100_000);
        let server = bed.server_address(af);
        Echo::start(bed.network.host(bed.server), 7);
        Caller::start(bed.network.host(bed.client), 5007, (server, 7), 30);
        Ping::start(bed.network.host(bed.client), 607, server, 30);
        let states = bed.run("hosts_behind_one_address_are_never_cut", seed).dump();
        let public = topology::address(af, OUTSIDE, 1).to_string();
        assert!(states.contains(&public), "seed {seed}: nothing was translated\n{states}");
    }
}

/// One side modulates, or the other, or both; states are bound, or translated.
const MODULATED: [&str; 5] = [
    "block; pass in on em0 proto tcp modulate state; pass out",
    "block; pass in on em0; pass out proto tcp modulate state",
    "block; pass in on em0 proto tcp modulate state; pass out proto tcp modulate state",
    "set state-policy if-bound; block; pass proto tcp modulate state",
    "block; match out on em1 nat-to (em1); pass proto tcp modulate state",
];

/// A19. With real stacks, selective acknowledgments and loss.
#[test]
fn a19_connections_with_other_numbers_on_each_side_are_never_cut() {
    for seed in seeds(10 << 20, 100) {
        let rules = MODULATED[(seed % 5) as usize].replace("; ", "\n") + "\n";
        let mut bed = Bed::new(seed, &rules, bad_link);
        let af = if seed % 4 == 0 { Af::Inet6 } else { Af::Inet };
        bed.transfer(af, 50_000, 100_000);
        let network = bed.run("a19_connections_with_other_numbers_on_each_side_are_never_cut", seed);
        assert!(network.dump().contains("](+"), "seed {seed}: no number was changed\n{}", network.dump());
    }
}

/// Handshakes are completed for the server, by a rule or for all who come, with numbers, addresses and states of any kind behind
/// that.
const PROXIED: [&str; 6] = [
    "block; pass in on em0 proto tcp synproxy state; pass out",
    "set syncookies always; block; pass in on em0; pass out",
    "set syncookies always; block; pass in on em0 proto tcp synproxy state; pass out proto tcp modulate state",
    "set state-policy if-bound; block; pass in on em0 proto tcp synproxy state; pass out",
    "block; match out on em1 nat-to (em1); pass in on em0 proto tcp synproxy state; pass out",
    "set syncookies adaptive (start 2%, end 1%); block; pass in on em0 proto tcp modulate state; pass out",
];

/// A19, E2. With real stacks and loss, as long as the client has something to say.
#[test]
fn a19_connections_whose_handshakes_are_completed_for_the_server_are_never_cut() {
    for seed in seeds(11 << 20, 120) {
        let rules = PROXIED[(seed % 6) as usize].replace("; ", "\n") + "\n";
        let mut bed = Bed::new(seed, &rules, bad_link);
        let af = if seed % 4 == 0 { Af::Inet6 } else { Af::Inet };
        bed.transfer(af, 50_000, 100_000);
        let test = "a19_connections_whose_handshakes_are_completed_for_the_server_are_never_cut";
        let mut network = bed.run(test, seed);
        let proxied = network.firewall().dropped(Reason::Synproxy);
        assert!(proxied >= 3 || seed % 6 == 5, "seed {seed}: {proxied} packets of handshakes");
    }
}

/// Timestamps are changed by both sides of the firewall, or by one; states are bound, or translated, with other numbers.
const RESTAMPED: [&str; 5] = [
    "block; match scrub (reassemble tcp); pass in on em0; pass out",
    "block; pass in on em0 scrub (reassemble tcp); pass out",
    "block; pass in on em0; pass out scrub (reassemble tcp)",
    "set state-policy if-bound; block; match scrub (reassemble tcp); pass in on em0; pass out",
    "block; match scrub (reassemble tcp); match out on em1 nat-to (em1); pass proto tcp modulate state",
];

/// Whoever overtakes nobody has no timestamp refused; elsewhere the stack, which echoes whatever came last, has to repeat some.
#[test]
fn connections_whose_timestamps_are_changed_are_never_cut() {
    let in_order = |rng: &mut Rng| Faults { jitter: 0, duplication: 0, ..bad_link(rng) };
    for seed in seeds(12 << 20, 100) {
        let rules = RESTAMPED[(seed % 5) as usize].replace("; ", "\n") + "\n";
        let ordered = seed % 2 == 0;
        let mut bed =
            if ordered { Bed::new(seed, &rules, in_order) } else { Bed::new(seed, &rules, bad_link) };
        for host in [bed.client, bed.server] {
            bed.network.host(host).use_timestamps();
        }
        let af = if seed % 4 == 0 { Af::Inet6 } else { Af::Inet };
        bed.transfer(af, 50_000, 100_000);
        let test = "connections_whose_timestamps_are_changed_are_never_cut";
        let mut network = bed.run(test, seed);
        let refused = network.firewall().dropped(Reason::BadTimestamp);
        if ordered && refused > 0 {
            fail(test, seed, &mut network, &format!("{refused} timestamps were refused"));
        }
    }
}

#[test]
fn a_server_behind_a_redirection_is_never_cut_off() {
    let inside = topology::address(Af::Inet, INSIDE, 2);
    let rules = format!(
        "block\npass in on em1 inet proto tcp to (em1) port 80 rdr-to {inside} port 8080\npass out on em0\n"
    );
    for seed in seeds(9 << 20, 40) {
        let mut bed = Bed::new(seed, &rules, bad_link);
        let (request, response) = (text(&mut bed.rng, 20_000), text(&mut bed.rng, 100_000));
        let (here, there) = (buffers(&mut bed.rng), buffers(&mut bed.rng));
        let public = topology::address(Af::Inet, OUTSIDE, 1);
        Stream::listen(bed.network.host(bed.client), 8080, there, response.clone(), request.clone());
        Stream::connect(bed.network.host(bed.server), 40_000, (public, 80), here, request, response);
        bed.run("a_server_behind_a_redirection_is_never_cut_off", seed);
    }
}

#[test]
fn nobody_connects_to_the_inside() {
    for seed in seeds(6 << 20, 10) {
        let mut bed = Bed::new(seed, OUTBOUND_ONLY, good_link);
        let inside = topology::address(Af::Inet, INSIDE, 2);
        Stream::listen(bed.network.host(bed.client), 22, buffers(&mut bed.rng), Vec::new(), vec![0]);
        let own = buffers(&mut bed.rng);
        Stream::connect(bed.network.host(bed.server), 40_000, (inside, 22), own, vec![0], Vec::new());
        Caller::start(bed.network.host(bed.server), 5000, (inside, 7), 1);
        Ping::start(bed.network.host(bed.server), 1, inside, 1);
        let error = bed.network.run(Tick::from_secs(60)).expect_err("nothing gets through");
        assert!(error.starts_with("not finished"), "seed {seed}: {error}");
        assert!(bed.network.firewall().dropped(Reason::Match) > 10, "seed {seed}");
        assert_eq!(bed.network.dump(), "", "seed {seed}: and leaves no state");
    }
}

#[test]
fn damage_anywhere_is_never_delivered_as_data() {
    let worst = |rng: &mut Rng| Faults { corruption: 300, corrupts: Corruption::Anywhere, ..bad_link(rng) };
    let mut finished = 0;
    for seed in seeds(7 << 20, 60) {
        let mut bed = Bed::new(seed, OUTBOUND_ONLY, worst);
        bed.transfer(Af::Inet, 20_000, 20_000);
        // Damaged headers can close a state, as they can in pf; then the transfer starves, but it never lies.
        match bed.network.run(DEADLINE) {
            Ok(()) => finished += 1,
            Err(what) if what.starts_with("not finished") || what.starts_with("the connection was cut") => {}
            Err(what) => {
                fail("damage_anywhere_is_never_delivered_as_data", seed, &mut bed.network, &what);
            }
        }
        bed.network.firewall().check_conservation();
    }
    println!("{finished} transfers finished");
}
