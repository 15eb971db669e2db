//! Places of a fixed number that come and go, by number.

/// No place.
pub(super) const NONE: u32 = u32::MAX;

/// Places for values. Memory for all is reserved at the start; the system gives it as they are first used.
#[derive(Debug)]
pub(super) struct Slab<T> {
    places: Vec<T>,
    free: Vec<u32>,
    most: usize,
}

impl<T> Slab<T> {
    pub fn new(most: usize) -> Self {
        Self { places: Vec::with_capacity(most), free: Vec::with_capacity(most), most }
    }

    /// How many values there is room for.
    pub const fn room(&self) -> usize {
        self.most - self.places.len() + self.free.len()
    }

    /// The number of a place that has the value now; `None` if all are taken.
    pub fn put(&mut self, value: T) -> Option<u32> {
        if let Some(number) = self.free.pop() {
            self.places[number as usize] = value;
            return Some(number);
        }
        if self.places.len() == self.most {
            return None;
        }
        self.places.push(value);
        Some(self.places.len() as u32 - 1)
    }

    /// Gives a place back. Its value stays until the place is taken again.
    pub fn free(&mut self, number: u32) {
        debug_assert!(self.free.len() < self.places.len(), "a place is given back once");
        self.free.push(number);
    }
}

impl<T> core::ops::Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, number: u32) -> &T {
        &self.places[number as usize]
    }
}

impl<T> core::ops::IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, number: u32) -> &mut T {
        &mut self.places[number as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_values_fit_as_there_are_places_and_places_are_used_again() {
        let mut slab = Slab::new(2);
        let (first, second) = (slab.put('a').unwrap(), slab.put('b').unwrap());
        assert_eq!((slab.put('c'), slab.room()), (None, 0));
        slab.free(first);
        assert_eq!((slab.room(), slab.put('d')), (1, Some(first)));
        assert_eq!((slab[first], slab[second]), ('d', 'b'));
    }
}
