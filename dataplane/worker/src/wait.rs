//! Pauses between polls, and waiting for packets instead of looking for them (`idle = "interrupt"`).
//!
//! Overview: [`Pause`] does what the [`Idler`] decides. A [`Waiter`] waits for the signals of a worker's receive queues,
//! and for its [`Bell`], which other workers ring when they have handed packets over. A worker arms its queues, polls once
//! more, and only then waits, so that no packet is slept over. Where a driver signals nothing the worker sleeps and looks
//! instead, as with `adaptive`.
//! Life cycle: made by the worker when it starts; queues come and go with their devices.
//! Ownership: the waiter is the worker's, its bell everybody's. Bounds: a wait ends after ten milliseconds, for
//! what nobody rings for: rules, routes, listings, states that expire.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::Duration;

use dpdk::RxQueue;
use dpdk::port::Speaks;
use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::Errno;

use crate::config::Idle;
use crate::idle::{Idler, Rest, Work};
use crate::worker::Attachment;

/// No wait is longer: also how late news other than packets may be.
const LONGEST: Duration = Duration::from_millis(10);
/// No wait is made shorter: that of a worker which sleeps and looks.
const SHORTEST: Duration = Duration::from_micros(500);

/// What wakes a worker that waits.
#[derive(Debug)]
pub struct Bell {
    eventfd: OwnedFd,
    waits: AtomicBool,
}

impl Bell {
    /// One that nobody waits for.
    ///
    /// # Errors
    /// The system's, if it has no descriptor left.
    pub fn new() -> io::Result<Self> {
        let eventfd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self { eventfd, waits: AtomicBool::new(false) })
    }

    /// Wakes the worker, if it waits or is about to. What it is to find must have been put where it looks.
    #[inline]
    pub fn ring(&self) {
        // Against the fence in `expect`: either it sees what was put there, or this sees that it waits.
        fence(Ordering::SeqCst);
        if self.waits.load(Ordering::Relaxed) && self.waits.swap(false, Ordering::Relaxed) {
            // It cannot be full: it is rung once for each wait.
            let _ = rustix::io::write(&self.eventfd, &1_u64.to_ne_bytes());
        }
    }

    /// From now on it is to be rung. What was put somewhere before may be there unannounced.
    fn expect(&self) {
        self.waits.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    fn ignore(&self) {
        self.waits.store(false, Ordering::Relaxed);
    }
}

/// What a worker does between its polls.
#[derive(Debug)]
pub struct Pause {
    idler: Idler,
    /// What it waits with, if it may and can.
    waiter: Option<Waiter>,
}

impl Pause {
    /// Pauses as configured, if its devices can signal packets.
    pub fn new(idle: Idle, attachment: &Attachment, bell: Option<Arc<Bell>>) -> Self {
        let mut pause = Self { idler: Idler::new(idle), waiter: None };
        if idle == Idle::Interrupt {
            match Waiter::new(attachment, bell) {
                Ok(waiter) => pause.waiter = Some(waiter),
                Err(why) => pause.look_instead(&why),
            }
        }
        pause
    }

    /// The pause after a poll. `limit` tells how long a wait may be.
    #[inline]
    pub fn after(&mut self, work: Work, attachment: &mut Attachment, limit: impl FnOnce() -> Duration) {
        match (self.idler.after(work), &self.waiter) {
            (Rest::Skip, _) => {}
            (Rest::Sleep(sleep), _) => std::thread::sleep(sleep),
            (Rest::Arm, Some(waiter)) => {
                if let Err(error) = waiter.arm(attachment) {
                    waiter.disarm(attachment);
                    self.look_instead(&error);
                }
            }
            (Rest::Wait, Some(waiter)) => {
                waiter.wait(limit());
                waiter.disarm(attachment);
            }
            (Rest::Disarm, Some(waiter)) => waiter.disarm(attachment),
            (Rest::Arm | Rest::Wait | Rest::Disarm, None) => unreachable!("who cannot wait sleeps"),
        }
    }

    /// An interface has another queue to receive from, or none, in place of `former`.
    #[cold]
    pub fn exchange(&mut self, former: Option<RxQueue>, interface: usize, attachment: &mut Attachment) {
        let Some(waiter) = &self.waiter else { return };
        if let Some(queue) = &former {
            waiter.forget(queue);
        }
        let Some(queue) = &attachment.interfaces[interface].wire.rx else { return };
        if let Err(why) = waiter.watch(queue) {
            waiter.disarm(attachment);
            self.look_instead(&why);
        }
    }

    /// From now on sleeps and looks.
    #[cold]
    fn look_instead(&mut self, why: &dyn fmt::Display) {
        tracing::warn!(%why, "packets are not signalled: this worker behaves as with idle = \"adaptive\"");
        *self = Self { idler: Idler::new(Idle::Adaptive), waiter: None };
    }
}

/// Why a worker cannot wait.
#[derive(Debug, thiserror::Error)]
pub enum Deaf {
    /// A device has no interrupts for received packets.
    #[error("{0} has no receive interrupts")]
    Device(String),
    /// The system refuses.
    #[error("cannot wait: {0}")]
    System(#[from] Errno),
}

/// What a worker waits with.
#[derive(Debug)]
pub struct Waiter {
    epoll: OwnedFd,
    bell: Option<Arc<Bell>>,
}

impl Waiter {
    /// Waits for all queues of a worker, and for its bell.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn new(attachment: &Attachment, bell: Option<Arc<Bell>>) -> Result<Self, Deaf> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        if let Some(bell) = &bell {
            let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
            epoll::add(&epoll, &bell.eventfd, epoll::EventData::new_u64(0), flags)?;
        }
        let waiter = Self { epoll, bell };
        attachment.receivers().try_for_each(|queue| waiter.watch(queue))?;
        Ok(waiter)
    }

    /// Waits for one more queue.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn watch(&self, queue: &RxQueue) -> Result<(), Deaf> {
        let signal = queue.signal().ok_or_else(|| Deaf::Device(queue.port_name().to_owned()))?;
        let flags = match signal.speaks {
            Speaks::WhileTrue => epoll::EventFlags::IN,
            Speaks::Once => epoll::EventFlags::IN | epoll::EventFlags::ET,
        };
        Ok(epoll::add(&self.epoll, signal.fd, epoll::EventData::new_u64(0), flags)?)
    }

    /// Waits for a queue no longer, before its device is closed.
    pub fn forget(&self, queue: &RxQueue) {
        if let Some(signal) = queue.signal() {
            // One that is not there is forgotten already.
            let _ = epoll::delete(&self.epoll, signal.fd);
        }
    }

    /// Has the next packet signalled. Poll once more before [`wait`](Self::wait).
    ///
    /// # Errors
    /// A driver's.
    pub fn arm(&self, attachment: &mut Attachment) -> dpdk::Result<()> {
        if let Some(bell) = &self.bell {
            bell.expect();
        }
        attachment.receivers_mut().try_for_each(RxQueue::arm)
    }

    /// Ends what [`arm`](Self::arm) began.
    pub fn disarm(&self, attachment: &mut Attachment) {
        if let Some(bell) = &self.bell {
            bell.ignore();
        }
        // A signal too many wakes the worker once for nothing.
        let _ = attachment.receivers_mut().try_for_each(RxQueue::disarm);
    }

    /// Waits for a signal, for about `limit` at most.
    pub fn wait(&self, limit: Duration) {
        let limit = limit.clamp(SHORTEST, LONGEST);
        let limit = Timespec { tv_sec: 0, tv_nsec: i64::from(limit.subsec_nanos()) };
        let mut events = Vec::with_capacity(1);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&limit)) {
            // A signal of the system is as good as one of a device.
            Ok(_) | Err(Errno::INTR) => {}
            // Whatever it is, polling goes on, and not faster than a worker that sleeps and looks.
            Err(_) => std::thread::sleep(SHORTEST),
        }
    }
}
