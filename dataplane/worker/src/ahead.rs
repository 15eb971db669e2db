//! Memory for connections before they come: a new huge page has to be cleared, which takes longer than hundreds of packets.
//!
//! Overview: each worker [tells](Edge::tell) now and then where the memory lies that its next connections take, and a thread of
//! its own has the kernel give it. Life cycle: started with the workers, ends when it is dropped. Ownership: an [`Edge`] is
//! written by its worker and read by the thread. Bounds: what [`Shard::ahead`](engine::Shard::ahead) tells, which is not much
//! more than what is used; where connections come faster, workers meet pages that are not there, as they did before.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam::utils::CachePadded;
use engine::{AREAS, Area};

/// A worker that makes four million connections a second takes eight MiB of each array in 30 milliseconds.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Where a worker's next connections will be.
#[derive(Debug, Default)]
pub struct Edge(CachePadded<[(AtomicUsize, AtomicUsize); AREAS]>);

impl Edge {
    /// Says what memory is needed next.
    pub fn tell(&self, areas: &[Area; AREAS]) {
        for ((begin, bytes), area) in self.0.iter().zip(areas) {
            // Whoever reads one area's begin with another's length asks for memory that is needed soon, or for none.
            begin.store(area.begin, Ordering::Relaxed);
            bytes.store(area.bytes, Ordering::Relaxed);
        }
    }

    fn areas(&self) -> [Area; AREAS] {
        self.0.each_ref().map(|(begin, bytes)| Area {
            begin: begin.load(Ordering::Relaxed),
            bytes: bytes.load(Ordering::Relaxed),
        })
    }
}

/// The thread that has memory ready.
#[derive(Debug)]
pub struct Quartermaster {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Quartermaster {
    /// Has memory ready for these workers.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn start(edges: Vec<Arc<Edge>>) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::Builder::new().name("memory".into()).spawn(move || {
            let mut ready = vec![[Area::default(); AREAS]; edges.len()];
            while !stopped.load(Ordering::Relaxed) {
                for (edge, ready) in edges.iter().zip(&mut ready) {
                    provide(&edge.areas(), ready);
                }
                thread::sleep(LOOK_EVERY);
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

/// Has memory given to areas that are not `ready` yet, whole.
fn provide(areas: &[Area; AREAS], ready: &mut [Area; AREAS]) {
    for (area, ready) in areas.iter().zip(ready).filter(|(area, ready)| area != ready) {
        dpdk::populate(area.begin, area.bytes);
        *ready = *area;
    }
}

impl Drop for Quartermaster {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // It does not panic, and ends within its period.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const BYTES: usize = 64 << 20;

    fn resident() -> usize {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    #[test]
    fn memory_that_a_worker_tells_of_is_there_soon() {
        let memory = Vec::<u8>::with_capacity(BYTES);
        let edge = Arc::new(Edge::default());
        let before = resident();
        let _quartermaster = Quartermaster::start(vec![edge.clone()]).unwrap();
        let mut areas = [Area::default(); AREAS];
        areas[AREAS - 1] = Area { begin: memory.as_ptr().addr(), bytes: BYTES };
        edge.tell(&areas);
        let deadline = Instant::now() + Duration::from_secs(30);
        while resident() < before + BYTES / 4 * 3 {
            assert!(Instant::now() < deadline, "nobody has written there, and nothing has come");
            thread::sleep(Duration::from_millis(1));
        }
    }
}
