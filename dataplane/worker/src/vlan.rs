//! VLANs of a port: which interface a frame belongs to, and the tag in front of what it sends.
//!
//! Overview: a tag (IEEE 802.1Q) says that a frame belongs to the interface of a VLAN. It is taken out where the frame is
//! received and put in where one is sent, so that the engine sees frames without tags, of many interfaces. Frames of no
//! known VLAN stay with the port, as they came: what they are is the engine's to judge. The priority of a tag stays with the
//! frame and is that of the tag with which it leaves, unless a rule gives it another (pf.conf(5) `set prio`).
//! Ownership: a [`Trunk`] is a worker's. Bounds: a burst for each VLAN; a table of all VLAN numbers.

use std::mem;

use dpdk::{Burst, Mbuf, NoRoom};
use engine::InterfaceId;
use wire::EtherType;
use wire::ethernet::{TAG_LEN, TAGS_AT};

/// VLAN numbers have 12 bits.
const VLANS: usize = 1 << 12;

/// What a burst holds for one VLAN.
struct Lane {
    /// The VLAN's interface.
    interface: InterfaceId,
    /// Its frames, without their tags.
    burst: Burst,
}

/// The VLANs of a port.
pub struct Trunk {
    /// By VLAN number: one more than the index of its lane; 0 if it has none.
    lane_of: Box<[u16; VLANS]>,
    lanes: Vec<Lane>,
}

impl Trunk {
    /// The trunk of these VLANs, by number and interface.
    pub fn new(vlans: impl IntoIterator<Item = (u16, InterfaceId)>) -> Self {
        let mut trunk = Self { lane_of: Box::new([0; VLANS]), lanes: Vec::new() };
        for (vlan, interface) in vlans {
            trunk.lanes.push(Lane { interface, burst: Burst::new() });
            trunk.lane_of[usize::from(vlan) % VLANS] = trunk.lanes.len() as u16;
        }
        trunk
    }

    /// Moves the frames of known VLANs from `burst`, whose frames are contiguous, into their lanes, in their order.
    pub fn sort(&mut self, burst: &mut Burst) {
        let mut rest = Burst::new();
        for mut mbuf in burst.drain() {
            let control = control_of(mbuf.data());
            let lane = control.and_then(|control| Some((control, self.lane(control)?)));
            let into = match lane {
                Some((control, lane)) => {
                    strip(&mut mbuf, control);
                    &mut lane.burst
                }
                None => &mut rest,
            };
            if into.push(mbuf).is_err() {
                unreachable!("as many as came out of a burst fit in one");
            }
        }
        *burst = rest;
    }

    fn lane(&mut self, control: u16) -> Option<&mut Lane> {
        let number = usize::from(self.lane_of[usize::from(control) % VLANS]);
        self.lanes.get_mut(number.checked_sub(1)?)
    }

    /// Takes the frames of the next lane that has some.
    pub fn take(&mut self) -> Option<(InterfaceId, Burst)> {
        let lane = self.lanes.iter_mut().find(|lane| !lane.burst.is_empty())?;
        Some((lane.interface, mem::take(&mut lane.burst)))
    }
}

/// The VLAN number of a frame's first tag, if that is an 802.1Q tag.
pub fn number(frame: &[u8]) -> Option<u16> {
    control_of(frame).map(|control| control & (VLANS as u16 - 1))
}

/// The bit of a tag's control information at which its priority begins (IEEE 802.1Q).
const PRIORITY_SHIFT: u16 = 13;

/// The priority in a tag's control information.
pub const fn priority(control: u16) -> u8 {
    (control >> PRIORITY_SHIFT) as u8
}

/// A tag's control information.
pub const fn control(priority: u8, vlan: u16) -> u16 {
    (priority as u16) << PRIORITY_SHIFT | vlan
}

/// The control information of a frame's first tag, if that is an 802.1Q tag.
fn control_of(frame: &[u8]) -> Option<u16> {
    let [t0, t1, c0, c1] = *frame.get(TAGS_AT..)?.first_chunk()?;
    (EtherType(u16::from_be_bytes([t0, t1])) == EtherType::VLAN).then(|| u16::from_be_bytes([c0, c1]))
}

/// Takes the first tag out of a contiguous frame that has one, and keeps its control information with the frame.
fn strip(mbuf: &mut Mbuf, control: u16) {
    mbuf.set_vlan_tci(control);
    mbuf.data_mut().copy_within(..TAGS_AT, TAG_LEN);
    mbuf.trim_front(TAG_LEN).expect("a frame with a tag is longer than the tag");
}

/// Puts a tag of this VLAN into a frame, with the priority that the frame came with or was given, else that of ordinary traffic.
///
/// # Errors
/// If there is no room in front of the frame, or it ends before its addresses do; it is as it was.
pub fn insert(mbuf: &mut Mbuf, vlan: u16) -> Result<(), NoRoom> {
    if mbuf.len() < TAGS_AT {
        return Err(NoRoom);
    }
    let [c0, c1] = control(mbuf.vlan_tci().map_or(0, priority), vlan).to_be_bytes();
    mbuf.prepend(TAG_LEN)?;
    let frame = mbuf.data_mut();
    frame.copy_within(TAG_LEN..TAG_LEN + TAGS_AT, 0);
    let [t0, t1] = EtherType::VLAN.0.to_be_bytes();
    frame[TAGS_AT..TAGS_AT + TAG_LEN].copy_from_slice(&[t0, t1, c0, c1]);
    Ok(())
}
