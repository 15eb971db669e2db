//! An mbuf as the engine sees it.

use bytemuck::TransparentWrapper;
use dpdk::{ChecksumStatus, Mbuf};
use engine::{Frame, NoRoom, RxChecksum};

use crate::vlan;

/// A frame in an mbuf. Contiguous: the worker makes sure of it before the engine sees it.
#[derive(TransparentWrapper)]
#[repr(transparent)]
pub struct MbufFrame(Mbuf);

impl MbufFrame {
    /// Mbufs as frames, in place.
    pub fn of(mbufs: &mut [Mbuf]) -> &mut [Self] {
        Self::wrap_slice_mut(mbufs)
    }

    /// An mbuf as a frame, in place.
    pub fn of_one(mbuf: &mut Mbuf) -> &mut Self {
        Self::wrap_mut(mbuf)
    }
}

const fn rx_checksum(status: ChecksumStatus) -> RxChecksum {
    match status {
        // A checksum that is not filled in is no reason to trust the packet's bytes less, nor more.
        ChecksumStatus::Unknown | ChecksumStatus::NotNeeded => RxChecksum::Unknown,
        ChecksumStatus::Good => RxChecksum::Good,
        ChecksumStatus::Bad => RxChecksum::Bad,
    }
}

impl Frame for MbufFrame {
    #[inline(always)]
    fn bytes(&self) -> &[u8] {
        self.0.data()
    }

    #[inline(always)]
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.data_mut()
    }

    #[inline]
    fn prepend(&mut self, count: usize) -> Result<(), NoRoom> {
        self.0.prepend(count).map(|_| ()).map_err(|_| NoRoom)
    }

    #[inline]
    fn trim_front(&mut self, count: usize) {
        let count = count.min(self.0.len());
        self.0.trim_front(count).expect("bounded by the length of a contiguous frame");
    }

    #[inline]
    fn truncate(&mut self, length: usize) {
        if length < self.0.len() {
            self.0.truncate(length).expect("shorter than a contiguous frame");
        }
    }

    #[inline]
    fn append(&mut self, count: usize) -> Result<(), NoRoom> {
        self.0.append(count).map(|_| ()).map_err(|_| NoRoom)
    }

    #[inline]
    fn rx_hash(&self) -> Option<u32> {
        self.0.rss_hash()
    }

    fn priority_code(&self) -> Option<u8> {
        self.0.vlan_tci().map(vlan::priority)
    }

    fn set_priority_code(&mut self, code: u8) {
        self.0.set_vlan_tci(vlan::control(code, 0));
    }

    #[inline]
    fn ip_checksum(&self) -> RxChecksum {
        rx_checksum(self.0.ip_checksum())
    }

    #[inline]
    fn l4_checksum(&self) -> RxChecksum {
        rx_checksum(self.0.l4_checksum())
    }
}
