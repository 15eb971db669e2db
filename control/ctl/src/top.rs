//! `tpctl top`: what is busiest now: states, rules, workers, and why packets are dropped.
//!
//! Overview: a [`Sample`] is read every interval, and what differs from the one before is a [`Picture`], which is printed. The
//! states are read as a listing, a slice at a time, and only what is counted for each is kept until the next sample. Bounds: 24
//! octets a state; however many there are, a worker gives it some ten microseconds of a poll.

mod picture;
mod sample;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::{live, output, time};
use picture::Picture;
use sample::Sample;

#[derive(Args)]
pub struct Arguments {
    /// What the busiest have the most of
    #[arg(long, value_enum, default_value_t = Order::Bytes)]
    by: Order,
    /// States that are shown, and half as many rules and reasons
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    lines: usize,
    /// Time between two looks
    #[arg(long, value_name = "TIME", value_parser = time::seconds, default_value = "2s")]
    interval: u32,
    /// End after so many pictures
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
    /// As --count 1: one picture, an interval long
    #[arg(long, conflicts_with = "count")]
    once: bool,
    /// Print JSON, an object a line
    #[arg(long)]
    json: bool,
}

/// What the busiest have the most of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Order {
    /// Bytes a second.
    Bytes,
    /// Packets a second.
    Packets,
}

/// Prints pictures until there are as many as wanted, or nobody reads any more.
pub fn run(arguments: &Arguments, socket: &Path) -> anyhow::Result<ExitCode> {
    let count = if arguments.once { 1 } else { arguments.count.unwrap_or(u64::MAX) };
    let clear = output::clear();
    let (mut before, _) = Sample::take(socket, None)?;
    for number in 0..count {
        std::thread::sleep(Duration::from_secs(arguments.interval.into()));
        let ranking = sample::Ranking::new(&before, arguments.by, arguments.lines);
        let (sample, busiest) = Sample::take(socket, Some(ranking))?;
        let rules = live::connect(socket)?.rules()?;
        let picture = Picture::new(&before, &sample, busiest, rules.as_ref(), arguments);
        let mut text = Vec::new();
        match arguments.json {
            true => {
                serde_json::to_writer(&mut text, &picture)?;
                text.push(b'\n');
            }
            false => {
                let between = if !clear.is_empty() {
                    clear
                } else if number > 0 {
                    "\n"
                } else {
                    ""
                };
                write!(text, "{between}{picture}")?;
            }
        }
        // As a whole, so that nothing flickers.
        let mut out = io::stdout().lock();
        match out.write_all(&text).and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            written => written?,
        }
        before = sample;
    }
    Ok(ExitCode::SUCCESS)
}
