//! Stories: what hosts send, and what becomes of it, as text tables.
//!
//! A file holds stories; each begins with `story` or `story sloppy` and its title. A line is one segment:
//!
//! ```text
//! dir flags seq ack len win opts verdict timer initiator responder
//! ```
//!
//! `dir` is `>` for the host that began and `<` for the other. `opts` is `ws7` for a window scale option. What is absent is
//! `-`. The verdicts:
//!
//! - `open`: there was no state, it makes one; `reuse`: the same, in place of one that is over;
//! - `pass`; `up` if it also completes the handshake; `loose` if it fits loosely and the timer is left alone;
//! - `drop:13` refused by clauses 1 and 3, and nothing has changed;
//! - `reset:3@500` refused by clause 3, answered by a RST with sequence number 500, and its sender forgotten;
//!   `forget:3` the same for a RST, which is not answered;
//! - `challenge:9001/1000` dropped and answered by an ACK with that sequence and acknowledgment number.
//!
//! `timer` is the time-out that it starts. The ends are `state`, or `state@seqlo+window` with pfctl's notation for the
//! numbers; `=` stands for the state that it had. `seqdiff 7 9` before the first segment modulates both ends.

use core::fmt::Write as _;

use engine::track::{Mode, Peer, Segment, TcpOutcome, WindowCheck, open_tcp, tcp};
use ruleset::{PeerState, Timeout};
use wire::Seq;

use crate::flags::parse_flags;

/// Runs every story of a file and fails with every line that is not true.
pub fn run(file: &str, text: &str) {
    let mut failures = String::new();
    let mut told = 0;
    let mut story: Option<Story> = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let at = format!("{file}:{}", index + 1);
        if let Some(title) = line.strip_prefix("story ") {
            story = Some(Story::new(title));
        } else if let Some(differences) = line.strip_prefix("seqdiff ") {
            story.as_mut().unwrap_or_else(|| panic!("{at}: no story yet")).modulate(differences);
        } else if line.starts_with(['>', '<']) {
            let story = story.as_mut().unwrap_or_else(|| panic!("{at}: no story yet"));
            told += 1;
            if let Err(difference) = story.tell(line) {
                writeln!(failures, "{at}: {}\n    {line}\n{difference}", story.title).expect("a string");
            }
        } else {
            assert!(
                line.is_empty() || line.starts_with("dir "),
                "{at}: not a story, segment or header: {line}"
            );
        }
    }
    assert!(told > 0, "{file} tells nothing");
    assert!(failures.is_empty(), "\n{failures}");
}

/// One line of a story.
struct Line<'a> {
    initiator_sends: bool,
    segment: Segment,
    verdict: &'a str,
    timer: &'a str,
    ends: [&'a str; 2],
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Self {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let &[dir, flags, seq, ack, len, win, opts, verdict, timer, initiator, responder] =
            columns.as_slice()
        else {
            panic!("11 columns expected, found {}: {line}", columns.len());
        };
        let number = |text: &str| -> u32 {
            if text == "-" {
                0
            } else {
                text.parse().unwrap_or_else(|_| panic!("not a number: {text}: {line}"))
            }
        };
        let segment = Segment {
            flags: parse_flags(flags),
            seq: Seq(number(seq)),
            ack: Seq(number(ack)),
            window: u16::try_from(number(win)).expect("a window of 16 bits"),
            len: number(len),
            wscale: opts.strip_prefix("ws").map(|shift| shift.parse().expect("a shift")),
            strays: false,
        };
        Self { initiator_sends: dir == ">", segment, verdict, timer, ends: [initiator, responder] }
    }
}

/// A connection while its story is told.
struct Story {
    title: String,
    mode: Mode,
    seqdiff: [u32; 2],
    /// Initiator and responder.
    ends: Option<[Peer; 2]>,
}

impl Story {
    fn new(title: &str) -> Self {
        let (mode, title) = match title.strip_prefix("sloppy ") {
            Some(title) => (Mode::Sloppy, title),
            None => (Mode::Strict, title),
        };
        Self { title: title.to_owned(), mode, seqdiff: [0, 0], ends: None }
    }

    fn modulate(&mut self, differences: &str) {
        let differences: Vec<u32> =
            differences.split_whitespace().map(|number| number.parse().expect("a number")).collect();
        self.seqdiff = differences.try_into().expect("two differences");
    }

    /// Lets the segment pass the firewall. `Err` tells how what happened differs from the line.
    fn tell(&mut self, line: &str) -> Result<(), String> {
        let line = Line::parse(line);
        let before = self.ends.unwrap_or_default();
        let (verdict, timer) = self.receive(line.initiator_sends, &line.segment);
        let after = self.ends.unwrap_or_default();

        let mut difference = String::new();
        let mut compare = |what: &str, told: &str, true_: &str, same: bool| {
            if !same {
                writeln!(difference, "    {what}: told {told}, in truth {true_}").expect("a string");
            }
        };
        compare("verdict", line.verdict, &verdict, line.verdict == verdict);
        compare("timer", line.timer, &timer, line.timer == timer);
        for (who, name) in ["initiator", "responder"].into_iter().enumerate() {
            let (told, is) = (line.ends[who], End(&after[who]));
            compare(name, told, &is.to_string(), is.agrees(told, before[who].state));
        }
        // Every number of both ends, not only what the line shows; a segment that is forgotten changes its sender alone.
        let refused = ["drop:", "challenge:"].iter().any(|word| line.verdict.starts_with(word));
        let forgotten = ["reset:", "forget:"].iter().any(|word| line.verdict.starts_with(word));
        let receiver = usize::from(line.initiator_sends);
        let unchanged = if refused {
            after == before
        } else {
            !forgotten || (after[receiver] == before[receiver] && !after[1 - receiver].seen)
        };
        compare("after a refusal", &format!("{before:?}"), &format!("{after:?}"), unchanged);
        if difference.is_empty() { Ok(()) } else { Err(difference) }
    }

    /// What a shard does with a segment: the verdict and the timer as a line has them.
    fn receive(&mut self, initiator_sends: bool, segment: &Segment) -> (String, String) {
        let Some([initiator, responder]) = self.ends else {
            return self.open("open", initiator_sends, segment);
        };
        let (from, to) = if initiator_sends { (initiator, responder) } else { (responder, initiator) };
        let untouched = || "-".to_owned();
        match tcp(&from, &to, segment, self.mode) {
            TcpOutcome::Pass { from, to, refresh, established } => {
                self.commit(initiator_sends, from, to);
                let verdict = match (refresh, established) {
                    (None, _) => "loose",
                    (Some(_), true) => "up",
                    (Some(_), false) => "pass",
                };
                (verdict.to_owned(), refresh.map_or_else(untouched, |timeout| timeout.to_string()))
            }
            TcpOutcome::Mismatch { check, from: forgotten, reset } => {
                self.commit(initiator_sends, forgotten.unwrap_or(from), to);
                (mismatch(check, forgotten, reset), untouched())
            }
            TcpOutcome::Reuse => self.open("reuse", initiator_sends, segment),
            TcpOutcome::Challenge { seq, ack } => (format!("challenge:{seq}/{ack}"), untouched()),
        }
    }

    fn open(&mut self, verdict: &str, initiator_sends: bool, segment: &Segment) -> (String, String) {
        let (mut from, mut to, timeout): (Peer, Peer, Timeout) = open_tcp(segment);
        let [initiator, responder] = self.seqdiff;
        (from.seqdiff, to.seqdiff) =
            if initiator_sends { (initiator, responder) } else { (responder, initiator) };
        self.commit(initiator_sends, from, to);
        (verdict.to_owned(), timeout.to_string())
    }

    fn commit(&mut self, initiator_sends: bool, from: Peer, to: Peer) {
        self.ends = Some(if initiator_sends { [from, to] } else { [to, from] });
    }
}

fn mismatch(check: WindowCheck, forgotten: Option<Peer>, reset: Option<Seq>) -> String {
    let clauses: String = check.failed().collect();
    match (forgotten, reset) {
        (None, None) => format!("drop:{clauses}"),
        (Some(_), Some(seq)) => format!("reset:{clauses}@{seq}"),
        (Some(_), None) => format!("forget:{clauses}"),
        (None, Some(_)) => "reset, but not forgotten".to_owned(),
    }
}

/// An end as a story shows it.
struct End<'a>(&'a Peer);

impl core::fmt::Display for End<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Peer { state, seqlo, seqhi, .. } = self.0;
        write!(f, "{}@{seqlo}+{}", word(*state), seqhi.0.wrapping_sub(seqlo.0))
    }
}

impl End<'_> {
    /// True if the end is what a line tells, which may leave out the numbers.
    fn agrees(&self, told: &str, before: PeerState) -> bool {
        let truth = self.to_string();
        let told = told.replacen('=', &word(before), 1);
        told == truth || truth.split('@').next() == Some(told.as_str())
    }
}

/// pfctl's name for a state in the form of the stories: `syn-sent`.
fn word(state: PeerState) -> String {
    state.name().to_lowercase().replace('_', "-")
}
