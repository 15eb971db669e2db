//! Memory for large tables in transparent huge pages: at millions of entries most of a lookup's time is otherwise spent
//! in page walks. What is asked for zeroed takes memory only where it is used, a huge page at a time.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;

/// What the kernel backs by one huge page on x86-64 and on aarch64 with 4 KiB pages.
const HUGE: usize = 2 << 20;

/// What addresses for the kernel are multiples of.
const PAGE: usize = 4096;

/// The system's allocator, but for blocks of at least a huge page: those are mapped by themselves, with huge pages where the
/// kernel has some to give and ordinary ones elsewhere, and take memory as they are written.
#[derive(Clone, Copy, Debug, Default)]
pub struct HugePages;

/// The bytes that are mapped for a block, if it is a large one.
fn large(layout: Layout) -> Option<usize> {
    let size = layout.size();
    (size >= HUGE && layout.align() <= HUGE && size <= isize::MAX as usize - 2 * HUGE)
        .then(|| size.next_multiple_of(HUGE))
}

/// Maps `size` bytes of zeroes, a multiple of a huge page, aligned to one; null if there is no memory.
fn map(size: usize) -> *mut u8 {
    let all = size + HUGE;
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping at an address of the kernel's choice.
    let begin = unsafe { libc::mmap(ptr::null_mut(), all, access, kind, -1, 0) };
    if begin == libc::MAP_FAILED {
        return ptr::null_mut();
    }
    let begin = begin.cast::<u8>();
    // Mappings are aligned to ordinary pages, of which a huge page is a multiple.
    let before = begin.align_offset(HUGE);
    let block = begin.wrapping_add(before);
    for (part, bytes) in [(begin, before), (block.wrapping_add(size), HUGE - before)] {
        if bytes > 0 {
            // SAFETY: a part of the mapping that nobody has, before and behind the block.
            unsafe { libc::munmap(part.cast(), bytes) };
        }
    }
    // A refusal changes nothing but speed.
    // SAFETY: the range is mapped.
    unsafe { libc::madvise(block.cast(), size, libc::MADV_HUGEPAGE) };
    block
}

// SAFETY: whether a block is `System`'s or a mapping of its own is a function of the caller's layout alone, and it returns
// to where it came from; a mapping is as large and as aligned as asked for, and zeroed.
unsafe impl GlobalAlloc for HugePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match large(layout) {
            // SAFETY: the caller's promises.
            None => unsafe { System.alloc(layout) },
            Some(size) => map(size),
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match large(layout) {
            // SAFETY: allocated above with the same layout.
            None => unsafe { System.dealloc(block, layout) },
            Some(size) => {
                // SAFETY: mapped above with this size.
                unsafe { libc::munmap(block.cast(), size) };
            }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match large(layout) {
            // SAFETY: the caller's promises.
            None => unsafe { System.alloc_zeroed(layout) },
            Some(size) => map(size),
        }
    }
}

/// Has the kernel give memory to a range of addresses, as writing there would, so that whoever writes does not wait for it; what
/// is there stays. No effect on what is not mapped, where there is no memory, and before Linux 5.14.
pub fn populate(begin: usize, bytes: usize) {
    let first = begin / PAGE * PAGE;
    let bytes = (begin - first).saturating_add(bytes).next_multiple_of(PAGE);
    // SAFETY: no content changes, whatever is there or is not.
    unsafe { libc::madvise(ptr::without_provenance_mut(first), bytes, libc::MADV_POPULATE_WRITE) };
}

/// Has all threads of the process share so many heaps of the C library, in place of as many as the library finds right for
/// the CPUs that it counts: a thread that allocates for the first time then opens no file to count them, which
/// a list of system calls may forbid it. To be called before there are threads.
pub fn limit_heaps(most: u16) {
    // SAFETY: sets a number in the C library.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, most.into()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_blocks_are_aligned_zeroed_and_take_memory_where_they_are_written() {
        const PAGES: usize = 64;
        let layout = Layout::from_size_align(PAGES * HUGE - 5, 64).unwrap();
        // SAFETY: the size is not zero; the block is used within its size and freed once, with its layout.
        unsafe {
            let block = HugePages.alloc_zeroed(layout);
            assert!(!block.is_null() && block.addr().is_multiple_of(HUGE));
            block.write(1);
            block.add(layout.size() - 1).write(2);
            let step = 4096;
            let mut resident = vec![0_u8; PAGES * HUGE / step];
            assert_eq!(libc::mincore(block.cast(), PAGES * HUGE, resident.as_mut_ptr()), 0);
            let touched = resident.iter().filter(|page| **page & 1 == 1).count();
            assert!(touched >= 2 && touched <= 2 * HUGE / step, "{touched} pages");
            assert_eq!((block.read(), block.add(layout.size() - 1).read()), (1, 2));
            assert!((0..PAGES).all(|page| *block.add(page * HUGE + 12_345) == 0));
            HugePages.dealloc(block, layout);
        }
    }

    #[test]
    fn memory_is_there_once_it_is_populated_and_keeps_its_content() {
        let layout = Layout::from_size_align(8 * HUGE, 64).unwrap();
        // SAFETY: as above.
        unsafe {
            let block = HugePages.alloc_zeroed(layout);
            assert!(!block.is_null());
            block.add(HUGE + 5000).write(7);
            let resident = |from: usize| {
                let mut pages = vec![0_u8; 2 * HUGE / PAGE];
                assert_eq!(libc::mincore(block.add(from).cast(), 2 * HUGE, pages.as_mut_ptr()), 0);
                pages.iter().filter(|page| **page & 1 == 1).count()
            };
            assert_eq!(resident(4 * HUGE), 0);
            populate(block.addr() + HUGE + 5, 2 * HUGE - 5);
            assert_eq!((resident(HUGE), resident(4 * HUGE)), (2 * HUGE / PAGE, 0));
            assert_eq!((block.add(HUGE + 5000).read(), block.add(2 * HUGE).read()), (7, 0));
            // Where nothing is mapped nothing happens.
            populate(0, HUGE);
            HugePages.dealloc(block, layout);
        }
    }

    #[test]
    fn blocks_of_any_size_grow_and_keep_their_content() {
        let mut layout = Layout::from_size_align(1000, 8).unwrap();
        // SAFETY: as above; after each growth the layout is the block's.
        unsafe {
            let mut block = HugePages.alloc(layout);
            block.write(7);
            for size in [HUGE - 1, HUGE, 3 * HUGE + 1, 10] {
                block = HugePages.realloc(block, layout, size);
                layout = Layout::from_size_align(size, 8).unwrap();
                assert!(!block.is_null());
                assert_eq!(block.read(), 7, "at {size} bytes");
            }
            HugePages.dealloc(block, layout);
        }
    }
}
