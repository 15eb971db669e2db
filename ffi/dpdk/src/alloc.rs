//! Memory for large tables in transparent huge pages: at millions of entries most of a lookup's time is otherwise spent
//! in page walks.

use std::alloc::{GlobalAlloc, Layout, System};

/// What the kernel backs by one huge page on x86-64 and on aarch64 with 4 KiB pages.
const HUGE: usize = 2 << 20;

/// The system's allocator, which asks for huge pages for whatever is at least as large as one. Where the kernel has none
/// to give, memory is ordinary.
#[derive(Clone, Copy, Debug, Default)]
pub struct HugePages;

fn aligned(layout: Layout) -> Option<Layout> {
    if layout.size() < HUGE { None } else { layout.align_to(HUGE).ok() }
}

// SAFETY: every block comes from and returns to `System` with the same layout, a function of the caller's layout alone.
unsafe impl GlobalAlloc for HugePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(large) = aligned(layout) else {
            // SAFETY: the caller's promises.
            return unsafe { System.alloc(layout) };
        };
        // SAFETY: the size is not zero, and the layout is valid.
        let block = unsafe { System.alloc(large) };
        if !block.is_null() {
            // A refusal changes nothing but speed.
            // SAFETY: the range is within the block.
            unsafe { libc::madvise(block.cast(), large.size(), libc::MADV_HUGEPAGE) };
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as allocated above.
        unsafe { System.dealloc(block, aligned(layout).unwrap_or(layout)) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if aligned(layout).is_none() {
            // SAFETY: the caller's promises.
            return unsafe { System.alloc_zeroed(layout) };
        }
        // SAFETY: the caller's promises.
        let block = unsafe { self.alloc(layout) };
        if !block.is_null() {
            // SAFETY: the block has this many bytes.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }
}
