//! One packet buffer, owned.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::slice;

use dpdk_sys::rte_mbuf;

use crate::mempool::Mempool;

/// A packet in a buffer of a [`Mempool`], owned by whoever holds this; freed when dropped.
///
/// Bytes are those of the first segment: the whole packet if it is [contiguous](Mbuf::is_contiguous), as packets are
/// whose pool has room for the longest frame.
#[repr(transparent)]
pub struct Mbuf(NonNull<rte_mbuf>);

// SAFETY: the buffer has one owner, this value; pools take buffers back from any thread.
unsafe impl Send for Mbuf {}
// SAFETY: a shared reference only reads.
unsafe impl Sync for Mbuf {}

/// The buffer is too small, or the packet too short, for the change; nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the buffer has no room for this change")]
pub struct NoRoom;

/// What the device found out about a checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChecksumStatus {
    /// It did not look: verify in software.
    Unknown,
    /// It verified the checksum.
    Good,
    /// It found it wrong.
    Bad,
    /// The bytes of the checksum are not filled in, but the packet is intact: it never left the machine.
    NotNeeded,
}

/// Reads or writes a field of the mbuf by the offset that the C compiler reported.
macro_rules! field {
    ($mbuf:expr, $offset:ident, $type:ty) => {
        // The offset is that of a field of this type, which aligns it.
        $mbuf.0.as_ptr().cast::<u8>().add(dpdk_sys::$offset as usize).cast::<$type>()
    };
}

impl Mbuf {
    /// Takes ownership.
    ///
    /// # Safety
    /// `mbuf` must be a valid mbuf of some live pool that nobody else will use or free.
    #[inline]
    pub(crate) unsafe fn from_raw(mbuf: NonNull<rte_mbuf>) -> Mbuf {
        Mbuf(mbuf)
    }

    /// Gives up ownership.
    #[inline]
    pub(crate) fn into_raw(self) -> NonNull<rte_mbuf> {
        ManuallyDrop::new(self).0
    }

    #[inline]
    fn data_off(&self) -> u16 {
        // SAFETY: a field of a valid mbuf.
        unsafe { *field!(self, DPDK_MBUF_DATA_OFF, u16) }
    }

    #[inline]
    fn data_len(&self) -> u16 {
        // SAFETY: a field of a valid mbuf.
        unsafe { *field!(self, DPDK_MBUF_DATA_LEN, u16) }
    }

    #[inline]
    fn buf_len(&self) -> u16 {
        // SAFETY: a field of a valid mbuf.
        unsafe { *field!(self, DPDK_MBUF_BUF_LEN, u16) }
    }

    #[inline]
    fn ol_flags(&self) -> u64 {
        // SAFETY: a field of a valid mbuf.
        unsafe { *field!(self, DPDK_MBUF_OL_FLAGS, u64) }
    }

    #[inline]
    fn buf_addr(&self) -> *mut u8 {
        // SAFETY: a field of a valid mbuf.
        unsafe { *field!(self, DPDK_MBUF_BUF_ADDR, *mut u8) }
    }

    /// Moves the bounds of the first segment by as many bytes as the packet's length changes.
    ///
    /// # Safety
    /// `data_off + data_len` must be within the buffer.
    #[inline]
    unsafe fn set_bounds(&mut self, data_off: u16, data_len: u16) {
        debug_assert!(u32::from(data_off) + u32::from(data_len) <= u32::from(self.buf_len()));
        let others = self.packet_len() - u32::from(self.data_len());
        // SAFETY: fields of a valid mbuf, which this value owns.
        unsafe {
            *field!(self, DPDK_MBUF_DATA_OFF, u16) = data_off;
            *field!(self, DPDK_MBUF_DATA_LEN, u16) = data_len;
            *field!(self, DPDK_MBUF_PKT_LEN, u32) = others + u32::from(data_len);
        }
    }

    /// The bytes of the first segment.
    #[inline]
    pub fn data(&self) -> &[u8] {
        // SAFETY: offset and length are within the buffer, which was mapped, hence initialised, when the pool was made.
        unsafe { slice::from_raw_parts(self.buf_addr().add(self.data_off().into()), self.data_len().into()) }
    }

    /// The bytes of the first segment, to be changed.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        debug_assert!(self.is_exclusive(), "an mbuf shared through its reference count");
        // SAFETY: as in `data`; one owner.
        unsafe {
            slice::from_raw_parts_mut(self.buf_addr().add(self.data_off().into()), self.data_len().into())
        }
    }

    /// Whether nothing else shares the buffer. This crate never shares one.
    #[inline]
    fn is_exclusive(&self) -> bool {
        // SAFETY: a field of a valid mbuf.
        unsafe { *field!(self, DPDK_MBUF_REFCNT, u16) == 1 }
    }

    /// Bytes of the first segment.
    #[inline]
    pub fn len(&self) -> usize {
        self.data_len().into()
    }

    /// Whether the first segment has no byte.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.data_len() == 0
    }

    /// Bytes of all segments.
    #[inline]
    pub fn packet_len(&self) -> u32 {
        // SAFETY: a field of a valid mbuf.
        unsafe { *field!(self, DPDK_MBUF_PKT_LEN, u32) }
    }

    /// Whether the packet is in one segment.
    #[inline]
    pub fn is_contiguous(&self) -> bool {
        // SAFETY: a field of a valid mbuf.
        unsafe { *field!(self, DPDK_MBUF_NB_SEGS, u16) == 1 }
    }

    /// Bytes that [`prepend`](Mbuf::prepend) can add.
    #[inline]
    pub fn headroom(&self) -> usize {
        self.data_off().into()
    }

    /// Bytes that [`append`](Mbuf::append) can add to a contiguous packet.
    #[inline]
    pub fn tailroom(&self) -> usize {
        usize::from(self.buf_len()).saturating_sub(self.headroom() + self.len())
    }

    /// Adds `count` zero bytes in front, and returns them. They are cleared because a buffer holds what it held before.
    #[inline]
    pub fn prepend(&mut self, count: usize) -> Result<&mut [u8], NoRoom> {
        let count16 = u16::try_from(count).map_err(|_| NoRoom)?;
        let data_off = self.data_off().checked_sub(count16).ok_or(NoRoom)?;
        let data_len = self.data_len().checked_add(count16).ok_or(NoRoom)?;
        // SAFETY: the data grows into the headroom.
        unsafe { self.set_bounds(data_off, data_len) };
        let added = &mut self.data_mut()[..count];
        added.fill(0);
        Ok(added)
    }

    /// Adds `count` zero bytes at the end of a contiguous packet, and returns them.
    #[inline]
    pub fn append(&mut self, count: usize) -> Result<&mut [u8], NoRoom> {
        let added = self.grow(count)?;
        added.fill(0);
        Ok(added)
    }

    /// Adds `bytes` at the end of a contiguous packet.
    #[inline]
    pub fn extend_from_slice(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        self.grow(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    /// Adds the bytes of both at the end of a contiguous packet, one behind the other.
    #[inline]
    pub fn extend_from_slices(&mut self, first: &[u8], second: &[u8]) -> Result<(), NoRoom> {
        let (begin, end) = self.grow(first.len() + second.len())?.split_at_mut(first.len());
        begin.copy_from_slice(first);
        end.copy_from_slice(second);
        Ok(())
    }

    #[inline]
    fn grow(&mut self, count: usize) -> Result<&mut [u8], NoRoom> {
        if !self.is_contiguous() || count > self.tailroom() {
            return Err(NoRoom);
        }
        let old = self.len();
        // The tailroom is below 2^16.
        let data_len = self.data_len() + count as u16;
        // SAFETY: the data grows into the tailroom.
        unsafe { self.set_bounds(self.data_off(), data_len) };
        Ok(&mut self.data_mut()[old..])
    }

    /// Removes `count` bytes in front, at most those of the first segment.
    #[inline]
    pub fn trim_front(&mut self, count: usize) -> Result<(), NoRoom> {
        let count = u16::try_from(count).map_err(|_| NoRoom)?;
        let data_len = self.data_len().checked_sub(count).ok_or(NoRoom)?;
        // SAFETY: the data shrinks; the sum of offset and length stays.
        unsafe { self.set_bounds(self.data_off() + count, data_len) };
        Ok(())
    }

    /// Shortens a contiguous packet to `len` bytes.
    #[inline]
    pub fn truncate(&mut self, len: usize) -> Result<(), NoRoom> {
        if !self.is_contiguous() || len > self.len() {
            return Err(NoRoom);
        }
        // SAFETY: the data shrinks.
        unsafe { self.set_bounds(self.data_off(), len as u16) };
        Ok(())
    }

    /// Adds the segments of `tail` behind those of this packet, or gives it back if they would be too many.
    pub fn chain(&mut self, tail: Mbuf) -> Result<(), Mbuf> {
        let raw = tail.into_raw();
        // SAFETY: two valid mbufs, the second given up by its owner.
        let ret = unsafe { dpdk_sys::rte_pktmbuf_chain(self.0.as_ptr(), raw.as_ptr()) };
        // SAFETY: refused, it is still nobody else's.
        if ret == 0 { Ok(()) } else { Err(unsafe { Mbuf::from_raw(raw) }) }
    }

    /// Puts the packet into one segment, in a buffer from `pool` unless it is contiguous already. Refused, and nothing
    /// changed, if the pool is exhausted or its buffers are too small.
    pub fn linearise(&mut self, pool: &Mempool) -> Result<(), NoRoom> {
        if self.is_contiguous() {
            return Ok(());
        }
        let copy = self.copy(pool).filter(Mbuf::is_contiguous).ok_or(NoRoom)?;
        *self = copy;
        Ok(())
    }

    /// A copy with bytes of its own, metadata included, from `pool`, unless that is exhausted.
    pub fn copy(&self, pool: &Mempool) -> Option<Mbuf> {
        // SAFETY: reads a valid mbuf, allocates from a live pool.
        let copy = unsafe { dpdk_sys::rte_pktmbuf_copy(self.0.as_ptr(), pool.as_ptr(), 0, u32::MAX) };
        // SAFETY: freshly allocated.
        NonNull::new(copy).map(|copy| unsafe { Mbuf::from_raw(copy) })
    }

    /// The device's hash for receive-side scaling, if it computed one.
    #[inline]
    pub fn rss_hash(&self) -> Option<u32> {
        // SAFETY: a field of a valid mbuf.
        let hash = unsafe { *field!(self, DPDK_MBUF_RSS_HASH, u32) };
        (self.ol_flags() & dpdk_sys::DPDK_MBUF_RX_RSS_HASH != 0).then_some(hash)
    }

    /// What the device says of the IPv4 header checksum.
    #[inline]
    pub fn ip_checksum(&self) -> ChecksumStatus {
        self.checksum_status(
            dpdk_sys::DPDK_MBUF_RX_IP_CKSUM_MASK,
            dpdk_sys::DPDK_MBUF_RX_IP_CKSUM_GOOD,
            dpdk_sys::DPDK_MBUF_RX_IP_CKSUM_BAD,
        )
    }

    /// Says of the IPv4 header checksum what a device would, for packets that are made here and not received.
    #[inline]
    pub fn set_ip_checksum(&mut self, status: ChecksumStatus) {
        let flags = match status {
            ChecksumStatus::Unknown => 0,
            ChecksumStatus::Good => dpdk_sys::DPDK_MBUF_RX_IP_CKSUM_GOOD,
            ChecksumStatus::Bad => dpdk_sys::DPDK_MBUF_RX_IP_CKSUM_BAD,
            ChecksumStatus::NotNeeded => dpdk_sys::DPDK_MBUF_RX_IP_CKSUM_MASK,
        };
        let others = self.ol_flags() & !dpdk_sys::DPDK_MBUF_RX_IP_CKSUM_MASK;
        // SAFETY: a field of a valid mbuf, which this value owns.
        unsafe { *field!(self, DPDK_MBUF_OL_FLAGS, u64) = others | flags };
    }

    /// Says of the TCP or UDP checksum what a device would, for packets that are made here and not received.
    #[inline]
    pub fn set_l4_checksum(&mut self, status: ChecksumStatus) {
        let flags = match status {
            ChecksumStatus::Unknown => 0,
            ChecksumStatus::Good => dpdk_sys::DPDK_MBUF_RX_L4_CKSUM_GOOD,
            ChecksumStatus::Bad => dpdk_sys::DPDK_MBUF_RX_L4_CKSUM_BAD,
            ChecksumStatus::NotNeeded => dpdk_sys::DPDK_MBUF_RX_L4_CKSUM_MASK,
        };
        let others = self.ol_flags() & !dpdk_sys::DPDK_MBUF_RX_L4_CKSUM_MASK;
        // SAFETY: a field of a valid mbuf, which this value owns.
        unsafe { *field!(self, DPDK_MBUF_OL_FLAGS, u64) = others | flags };
    }

    /// What the device says of the TCP or UDP checksum.
    #[inline]
    pub fn l4_checksum(&self) -> ChecksumStatus {
        self.checksum_status(
            dpdk_sys::DPDK_MBUF_RX_L4_CKSUM_MASK,
            dpdk_sys::DPDK_MBUF_RX_L4_CKSUM_GOOD,
            dpdk_sys::DPDK_MBUF_RX_L4_CKSUM_BAD,
        )
    }

    #[inline]
    fn checksum_status(&self, mask: u64, good: u64, bad: u64) -> ChecksumStatus {
        match self.ol_flags() & mask {
            0 => ChecksumStatus::Unknown,
            flags if flags == mask => ChecksumStatus::NotNeeded,
            flags if flags == good => ChecksumStatus::Good,
            flags if flags == bad => ChecksumStatus::Bad,
            _ => ChecksumStatus::Unknown,
        }
    }

    /// The VLAN tag that the device took out of the frame, host byte order.
    #[inline]
    pub fn vlan_tci(&self) -> Option<u16> {
        // SAFETY: a field of a valid mbuf.
        let tci = unsafe { *field!(self, DPDK_MBUF_VLAN_TCI, u16) };
        (self.ol_flags() & dpdk_sys::DPDK_MBUF_RX_VLAN_STRIPPED != 0).then_some(tci)
    }

    /// Notes a VLAN tag (its control information, host byte order) as if the device had taken it out.
    #[inline]
    pub fn set_vlan_tci(&mut self, tci: u16) {
        let flags = self.ol_flags() | dpdk_sys::DPDK_MBUF_RX_VLAN_STRIPPED;
        // SAFETY: fields of a valid mbuf, which this value owns.
        unsafe {
            *field!(self, DPDK_MBUF_VLAN_TCI, u16) = tci;
            *field!(self, DPDK_MBUF_OL_FLAGS, u64) = flags;
        }
    }

    /// The port it was received on, by DPDK's number; meaningless on an mbuf that was not received.
    #[inline]
    pub fn port(&self) -> u16 {
        // SAFETY: a field of a valid mbuf.
        unsafe { *field!(self, DPDK_MBUF_PORT, u16) }
    }

    /// Notes a number in place of the port it was received on, for whoever gets the mbuf next.
    #[inline]
    pub fn set_port(&mut self, port: u16) {
        // SAFETY: a field of a valid mbuf, which is borrowed for change.
        unsafe { *field!(self, DPDK_MBUF_PORT, u16) = port };
    }

    /// Starts loading the mbuf itself, which must come before [`prefetch_data`](Mbuf::prefetch_data).
    #[inline]
    pub fn prefetch(&self) {
        prefetch(self.0.as_ptr().cast());
    }

    /// Starts loading the first cache line of the bytes.
    #[inline]
    pub fn prefetch_data(&self) {
        prefetch(self.data().as_ptr());
    }
}

/// Starts loading the first cache line of `value`.
#[inline(always)]
pub fn prefetch_value<T>(value: &T) {
    prefetch(std::ptr::from_ref(value).cast());
}

/// Hints that `address` will be read.
#[inline(always)]
fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the one owner ends here.
        unsafe { dpdk_sys::rte_pktmbuf_free(self.0.as_ptr()) };
    }
}

impl fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mbuf")
            .field("len", &self.packet_len())
            .field("port", &self.port())
            .field("contiguous", &self.is_contiguous())
            .finish()
    }
}
