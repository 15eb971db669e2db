//! Lcores: EAL's pinned threads.

use std::ffi::{c_int, c_void};
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::eal::Eal;
use crate::error::{Call, Errno, Error, Result};

/// A worker lcore, idle. Whoever holds it decides what it runs.
#[derive(Debug)]
pub struct Lcore {
    _eal: Eal,
    id: u32,
}

impl Lcore {
    pub(crate) fn new(eal: Eal, id: u32) -> Lcore {
        Lcore { _eal: eal, id }
    }

    /// The number given in [`crate::EalArgs::lcore`].
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The number of the calling thread, if it is an lcore.
    pub fn current() -> Option<u32> {
        // SAFETY: reads a thread-local integer.
        let id = unsafe { dpdk_sys::rte_lcore_id() };
        (id != dpdk_sys::LCORE_ID_ANY).then_some(id)
    }

    /// Runs `work` on this lcore until it returns.
    pub fn launch<T, F>(self, work: F) -> Result<LcoreTask<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (done, result) = sync_channel(1);
        let job = Box::into_raw(Box::new(Job { work, done }));
        // SAFETY: `run` takes back the box exactly once, on the lcore; if the launch is refused it never runs.
        let ret = unsafe { dpdk_sys::rte_eal_remote_launch(Some(run::<T, F>), job.cast(), self.id) };
        if ret < 0 {
            // SAFETY: refused, so `run` will not take it.
            drop(unsafe { Box::from_raw(job) });
            return Err(Error::Refused {
                call: Call::Launch,
                subject: self.id.to_string(),
                errno: Errno::new(ret),
            });
        }
        Ok(LcoreTask { lcore: Some(self), result })
    }
}

struct Job<T, F> {
    work: F,
    done: SyncSender<thread::Result<T>>,
}

/// The entry on the lcore. A panic must not cross into C: it is carried to whoever joins.
unsafe extern "C" fn run<T, F: FnOnce() -> T>(job: *mut c_void) -> c_int {
    // SAFETY: `launch` made this box for exactly one call.
    let job = unsafe { Box::from_raw(job.cast::<Job<T, F>>()) };
    let Job { work, done } = *job;
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    // The channel holds one result and this is the only one: it neither blocks nor fails.
    let _ = done.send(result);
    0
}

impl Eal {
    /// Runs `work` on the thread that EAL keeps for interrupts and alarms, and waits for its result, or for the payload
    /// of its panic. Drivers are not told of anything meanwhile, so that it should be short.
    ///
    /// # Errors
    /// EAL's.
    pub fn run_on_interrupt_thread<T, F>(&self, work: F) -> Result<thread::Result<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        unsafe extern "C" fn on_alarm<T, F: FnOnce() -> T>(job: *mut c_void) {
            // SAFETY: the alarm goes off once.
            unsafe { run::<T, F>(job) };
        }
        let (done, result) = sync_channel(1);
        let job = Box::into_raw(Box::new(Job { work, done }));
        // SAFETY: `on_alarm` takes back the box exactly once; if the alarm is refused it never goes off.
        let ret = unsafe { dpdk_sys::rte_eal_alarm_set(1, Some(on_alarm::<T, F>), job.cast()) };
        if ret < 0 {
            // SAFETY: refused, so that nobody will take it.
            drop(unsafe { Box::from_raw(job) });
            let (call, subject) = (Call::Interrupt, "EAL".to_owned());
            return Err(Error::Refused { call, subject, errno: Errno::new(ret) });
        }
        Ok(result.recv().expect("the alarm goes off once"))
    }
}

/// What runs on an lcore. Dropping it waits for its end.
#[derive(Debug)]
pub struct LcoreTask<T> {
    lcore: Option<Lcore>,
    result: Receiver<thread::Result<T>>,
}

impl<T> LcoreTask<T> {
    /// The lcore it runs on.
    pub fn id(&self) -> u32 {
        self.lcore.as_ref().expect("held until joined").id
    }

    /// Waits for the end, and gives back the lcore with the result, or with the payload of a panic.
    pub fn join(mut self) -> (Lcore, thread::Result<T>) {
        let result = self.result.recv().expect("the lcore sends once before it ends");
        let lcore = self.lcore.take().expect("held until joined");
        lcore.wait();
        (lcore, result)
    }
}

impl Lcore {
    /// Waits until EAL may launch on it again.
    fn wait(&self) {
        // SAFETY: any worker lcore may be waited for; the handle keeps EAL alive.
        unsafe { dpdk_sys::rte_eal_wait_lcore(self.id) };
    }
}

impl<T> Drop for LcoreTask<T> {
    fn drop(&mut self) {
        if let Some(lcore) = self.lcore.take() {
            lcore.wait();
        }
    }
}

/// Whether some lcore other than the caller's runs something now.
pub(crate) fn any_other_runs(_eal: &Eal) -> bool {
    let own = Lcore::current();
    (0..dpdk_sys::RTE_MAX_LCORE).filter(|id| Some(*id) != own).any(|id| {
        // SAFETY: reads the state of a slot of EAL's table, which has RTE_MAX_LCORE of them.
        let state = unsafe { dpdk_sys::rte_eal_get_lcore_state(id) };
        state == dpdk_sys::RUNNING
    })
}
