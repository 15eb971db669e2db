//! DPDK's hash table, `rte_hash`: the usual way to find a flow, and hence what others are measured by.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use dpdk_sys::rte_hash;

use crate::eal::{Eal, c_string};
use crate::error::{Call, Errno, Error, Result};

/// Most keys in one [`Hash::lookup_bulk`].
pub const LOOKUP_MAX: usize = dpdk_sys::RTE_HASH_LOOKUP_BULK_MAX as usize;

/// A table of keys, hashed by CRC32C. A key's position is a number below [`Hash::positions`] that callers index their
/// own values with.
#[derive(Debug)]
pub struct Hash<K> {
    table: NonNull<rte_hash>,
    positions: usize,
    _eal: Eal,
    _keys: PhantomData<K>,
}

// SAFETY: the table belongs to its owner, whichever thread that is.
unsafe impl<const N: usize> Send for Hash<[u8; N]> {}

impl<const N: usize> Hash<[u8; N]> {
    /// A table for `entries` keys of `N` octets. The name is unique in the process, at most 25 bytes.
    pub fn new(eal: &Eal, name: &str, entries: u32) -> Result<Self> {
        let name_text = c_string(name)?;
        let parameters = dpdk_sys::rte_hash_parameters {
            name: name_text.as_ptr(),
            entries,
            key_len: N as u32,
            hash_func: Some(dpdk_sys::rte_hash_crc),
            ..Default::default()
        };
        // SAFETY: the parameters and the name they point to live through the call, which copies both.
        let table = unsafe { dpdk_sys::rte_hash_create(&raw const parameters) };
        let refused =
            || Error::Refused { call: Call::CreateHash, subject: name.to_owned(), errno: Errno::last() };
        let table = NonNull::new(table).ok_or_else(refused)?;
        // Without lock-free or multi-writer options positions run from 0 to the number of entries.
        let positions = entries as usize + 1;
        Ok(Self { table, positions, _eal: eal.clone(), _keys: PhantomData })
    }

    /// Adds a key, and returns its position; `None` if there is no place. A key that is there keeps its position.
    pub fn add(&mut self, key: &[u8; N]) -> Option<usize> {
        // SAFETY: the table is alive and reads `N` octets of the key.
        let position = unsafe { dpdk_sys::rte_hash_add_key(self.table.as_ptr(), key.as_ptr().cast()) };
        usize::try_from(position).ok()
    }

    /// Looks up to [`LOOKUP_MAX`] keys up, and stores each position, or a negative number. `keys` and `positions` are of
    /// the same length; what is longer in either is not looked at.
    #[inline]
    pub fn lookup_bulk(&self, keys: &[[u8; N]], positions: &mut [i32]) {
        let count = keys.len().min(positions.len()).min(LOOKUP_MAX);
        if count == 0 {
            return;
        }
        let mut pointers: [*const c_void; LOOKUP_MAX] = [ptr::null(); LOOKUP_MAX];
        for (pointer, key) in pointers.iter_mut().zip(&keys[..count]) {
            *pointer = key.as_ptr().cast();
        }
        // SAFETY: `count` pointers to keys of `N` octets, and room for `count` positions.
        unsafe {
            dpdk_sys::rte_hash_lookup_bulk(
                self.table.as_ptr(),
                pointers.as_mut_ptr(),
                count as u32,
                positions.as_mut_ptr(),
            );
        }
    }

    /// Every position is below this.
    pub fn positions(&self) -> usize {
        self.positions
    }
}

impl<K> Drop for Hash<K> {
    fn drop(&mut self) {
        // SAFETY: made in `new`, freed once.
        unsafe { dpdk_sys::rte_hash_free(self.table.as_ptr()) };
    }
}
