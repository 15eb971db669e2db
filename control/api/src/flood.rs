//! Floods of SYNs, as they are told of.

use serde::{Deserialize, Serialize};

/// What is known of floods of SYNs, and of those that were answered without a state (`set syncookies`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloodStatus {
    /// Floods that began.
    pub detected: u64,
    /// SYNs that were answered without a state.
    pub cookies_sent: u64,
    /// ACKs that had been told by such an answer.
    pub cookies_validated: u64,
    /// At how many half-open states that begins and ends, where it is adaptive.
    pub watermarks: Option<[u32; 2]>,
}
