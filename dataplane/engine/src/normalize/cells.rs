//! Bytes of fragments, in cells of one size. Bounds: as many cells as it was made with.

use super::slab::{NONE, Slab};

/// Bytes in a cell: with its link, half a kibibyte.
const CELL: usize = 508;

#[derive(Debug)]
struct Cell {
    next: u32,
    bytes: [u8; CELL],
}

/// Strings of bytes, each by the number of its first cell.
#[derive(Debug)]
pub(super) struct Cells(Slab<Cell>);

impl Cells {
    pub fn new(most: usize) -> Self {
        Self(Slab::new(most))
    }

    /// True if there is room for so many bytes.
    pub const fn have_room(&self, bytes: usize) -> bool {
        bytes.div_ceil(CELL) <= self.0.room()
    }

    /// Keeps bytes; `None`, and nothing is kept, if there is no room.
    pub fn put(&mut self, bytes: &[u8]) -> Option<u32> {
        if !self.have_room(bytes.len()) {
            return None;
        }
        let mut first = NONE;
        for chunk in bytes.chunks(CELL).rev() {
            let mut cell = Cell { next: first, bytes: [0; CELL] };
            cell.bytes[..chunk.len()].copy_from_slice(chunk);
            first = self.0.put(cell)?;
        }
        Some(first)
    }

    /// Copies the bytes from the `skip`th on, as many as fit into `out`.
    pub fn copy(&self, first: u32, mut skip: usize, out: &mut [u8]) {
        let (mut cell, mut done) = (first, 0);
        while cell != NONE && done < out.len() {
            let Cell { next, bytes } = &self.0[cell];
            let part = bytes.get(skip..).unwrap_or_default();
            let part = &part[..part.len().min(out.len() - done)];
            out[done..done + part.len()].copy_from_slice(part);
            done += part.len();
            skip = skip.saturating_sub(CELL);
            cell = *next;
        }
    }

    /// Lets bytes go.
    pub fn free(&mut self, first: u32) {
        let mut cell = first;
        while cell != NONE {
            let next = self.0[cell].next;
            self.0.free(cell);
            cell = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_from_any_place_on() {
        let mut cells = Cells::new(5);
        let bytes: Vec<u8> = (0..CELL * 3 + 9).map(|at| (at / 3) as u8).collect();
        let first = cells.put(&bytes).unwrap();
        for (skip, length) in [(0, bytes.len()), (1, 5), (CELL - 1, 2), (CELL, CELL), (2 * CELL + 7, CELL)] {
            let mut out = vec![0; length];
            cells.copy(first, skip, &mut out);
            assert_eq!(out, bytes[skip..skip + length], "{skip}");
        }
        assert_eq!(cells.put(&bytes), None, "one cell is left");
        cells.free(first);
        assert!(cells.put(&bytes).is_some());
    }
}
