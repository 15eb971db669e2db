//! Limits a process to a list of system calls; any other one ends it with SIGSYS.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, BpfProgramRef, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

use crate::{Error, list};

/// A system call that is allowed, or one way of making it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    number: i64,
    condition: Option<Condition>,
}

/// What an argument must be: its bits of `mask` are those of `value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Condition {
    argument: u8,
    mask: u64,
    value: u64,
}

impl Call {
    /// With any arguments.
    pub const fn any(number: i64) -> Self {
        Self { number, condition: None }
    }

    /// If an argument of 32 bits is this.
    pub const fn with(number: i64, argument: u8, value: u64) -> Self {
        Self::with_bits(number, argument, u32::MAX as u64, value)
    }

    /// If an argument has none of these bits.
    pub const fn without_bits(number: i64, argument: u8, bits: u64) -> Self {
        Self::with_bits(number, argument, bits, 0)
    }

    /// If the bits of `mask` of an argument are these.
    pub const fn with_bits(number: i64, argument: u8, mask: u64, value: u64) -> Self {
        Self { number, condition: Some(Condition { argument, mask, value }) }
    }

    fn rule(&self) -> Result<Option<SeccompRule>, seccompiler::BackendError> {
        let Some(Condition { argument, mask, value }) = self.condition else { return Ok(None) };
        // Of an argument of 32 bits the rest of the register may be anything.
        let length =
            if mask <= u64::from(u32::MAX) { SeccompCmpArgLen::Dword } else { SeccompCmpArgLen::Qword };
        let condition = SeccompCondition::new(argument, length, SeccompCmpOp::MaskedEq(mask), value)?;
        SeccompRule::new(vec![condition]).map(Some)
    }
}

/// What a process or a thread may ask of the kernel.
#[derive(Clone, Debug)]
pub struct Filter {
    /// In the order that the kernel applies them; of several answers the strictest counts.
    programs: [BpfProgram; 2],
}

impl Filter {
    /// A filter that allows the calls of these lists. What would start another process is refused in such a way that
    /// the C library starts threads by a call whose arguments can be looked at.
    ///
    /// # Errors
    /// The list is too long, or this machine's kind is unknown.
    pub fn new(lists: &[&[Call]]) -> Result<Self, Error> {
        // Signals go to this process alone: abort(3) and pthread_kill(3).
        let own = u64::from(std::process::id());
        let signals = [Call::with(libc::SYS_tgkill, 0, own)];
        let calls = lists.iter().copied().chain([list::ALWAYS, list::UNKNOWN, &signals[..]]).flatten();
        let allowed = compile(calls, SeccompAction::KillProcess, SeccompAction::Allow)?;
        let unknown = SeccompAction::Errno(libc::ENOSYS as u32);
        let unknown = compile(list::UNKNOWN.iter(), SeccompAction::Allow, unknown)?;
        Ok(Self { programs: [allowed, unknown] })
    }

    /// Limits every thread of this process. Later filters must be at least as strict to matter.
    ///
    /// # Errors
    /// The kernel's; also if some thread has a filter of its own already.
    pub fn apply_to_process(&self) -> Result<(), Error> {
        // The last one first, as the first one may not allow to add another.
        self.apply(seccompiler::apply_filter_all_threads)
    }

    /// Limits the calling thread.
    ///
    /// # Errors
    /// The kernel's.
    pub fn apply_to_thread(&self) -> Result<(), Error> {
        self.apply(seccompiler::apply_filter)
    }

    fn apply(&self, apply: impl Fn(BpfProgramRef<'_>) -> seccompiler::Result<()>) -> Result<(), Error> {
        self.programs
            .iter()
            .rev()
            .try_for_each(|program| apply(program))
            .map_err(|error| Error::Filter(error.to_string()))
    }
}

/// A program that answers `matched` for these calls and `otherwise` for all others.
fn compile<'a>(
    calls: impl Iterator<Item = &'a Call>,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram, Error> {
    let failed = |error: seccompiler::BackendError| Error::Filter(error.to_string());
    let mut rules: BTreeMap<i64, Option<Vec<SeccompRule>>> = BTreeMap::new();
    for call in calls {
        // A call with any arguments outdoes its other ways.
        let known = rules.entry(call.number).or_insert_with(|| Some(Vec::new()));
        match call.rule().map_err(failed)? {
            Some(rule) => known.iter_mut().for_each(|rules| rules.push(rule.clone())),
            None => *known = None,
        }
    }
    let rules = rules.into_iter().map(|(number, rules)| (number, rules.unwrap_or_default())).collect();
    let machine = TargetArch::try_from(std::env::consts::ARCH).map_err(failed)?;
    let filter = SeccompFilter::new(rules, otherwise, matched, machine).map_err(failed)?;
    BpfProgram::try_from(filter).map_err(failed)
}
