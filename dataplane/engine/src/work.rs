//! Work, counted: tests bound it where a clock would tell of the machine.
//!
//! Overview: the places that read a bucket of the index or visit a record say so here. Nothing is counted, and nothing is
//! compiled, but in the crate's own tests. Ownership: each thread counts its own.

/// A bucket of the index is read.
#[inline(always)]
pub(crate) fn bucket() {
    #[cfg(test)]
    counted::add(|work| work.buckets += 1);
}

/// A record is visited.
#[inline(always)]
pub(crate) fn record() {
    #[cfg(test)]
    counted::add(|work| work.records += 1);
}

#[cfg(test)]
pub(crate) use counted::{Work, of};

#[cfg(test)]
mod counted {
    use std::cell::Cell;

    /// What was done.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct Work {
        pub buckets: u64,
        pub records: u64,
    }

    thread_local! {
        static DONE: Cell<Work> = const { Cell::new(Work { buckets: 0, records: 0 }) };
    }

    pub(super) fn add(more: impl FnOnce(&mut Work)) {
        let mut done = DONE.get();
        more(&mut done);
        DONE.set(done);
    }

    /// The work of an action, and what it returns.
    pub(crate) fn of<T>(action: impl FnOnce() -> T) -> (Work, T) {
        let before = DONE.get();
        let result = action();
        let done = DONE.get();
        let work = Work { buckets: done.buckets - before.buckets, records: done.records - before.records };
        (work, result)
    }
}
