//! The seam between the engine and whatever holds a frame's bytes.

/// What the NIC said of a received frame's checksums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RxChecksum {
    /// Nothing was said: whoever relies on a checksum verifies it.
    #[default]
    Unknown,
    /// It was verified and is right.
    Good,
    /// It was verified and is wrong.
    Bad,
}

/// The frame's buffer has no room for what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// An Ethernet frame in one contiguous piece, without its FCS. The engine reads it, rewrites it in place, and turns it
/// into a reply; the shell owns the buffer.
pub trait Frame {
    /// The frame, from the destination address on.
    fn bytes(&self) -> &[u8];

    /// The frame, to be rewritten.
    fn bytes_mut(&mut self) -> &mut [u8];

    /// Grows the frame at its front by `count` bytes of unspecified content.
    ///
    /// # Errors
    /// [`NoRoom`] if there is no such headroom; the frame is as it was.
    fn prepend(&mut self, count: usize) -> Result<(), NoRoom>;

    /// Cuts `count` bytes off the front; the whole frame if it is shorter.
    fn trim_front(&mut self, count: usize);

    /// Cuts the end off, so that `length` bytes remain; no effect if it is not longer.
    fn truncate(&mut self, length: usize);

    /// Grows the frame at its end by `count` bytes of unspecified content.
    ///
    /// # Errors
    /// [`NoRoom`] if there is no such tailroom; the frame is as it was.
    fn append(&mut self, count: usize) -> Result<(), NoRoom>;

    /// The hash that the NIC computed for receive-side scaling, if it did.
    fn rx_hash(&self) -> Option<u32> {
        None
    }

    /// The priority of the VLAN tag that was taken out of the frame (PCP of IEEE 802.1Q, 0 to 7), if it had one.
    fn priority_code(&self) -> Option<u8> {
        None
    }

    /// Has the frame leave with this priority, if it leaves with a VLAN tag. Who adds no tags need not keep it.
    fn set_priority_code(&mut self, code: u8) {
        let _ = code;
    }

    /// What the NIC said of the IPv4 header's checksum.
    fn ip_checksum(&self) -> RxChecksum {
        RxChecksum::Unknown
    }

    /// What the NIC said of the transport checksum.
    fn l4_checksum(&self) -> RxChecksum {
        RxChecksum::Unknown
    }
}

/// A frame in ordinary memory, as simulations, tests and replays use it.
impl Frame for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }

    fn prepend(&mut self, count: usize) -> Result<(), NoRoom> {
        self.splice(0..0, core::iter::repeat_n(0, count));
        Ok(())
    }

    fn trim_front(&mut self, count: usize) {
        let count = count.min(self.len());
        self.drain(..count);
    }

    fn truncate(&mut self, length: usize) {
        Self::truncate(self, length);
    }

    fn append(&mut self, count: usize) -> Result<(), NoRoom> {
        self.resize(self.len() + count, 0);
        Ok(())
    }
}
