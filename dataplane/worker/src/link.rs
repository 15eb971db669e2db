//! What a port's device goes through: its link comes and goes, it is unplugged, it comes back. Pure.
//!
//! Overview: [`Link::see`] takes what was seen of the device and says what is to be done. Life cycle: a device that is
//! there is up or down; one that goes away, or that must be made anew, gives its queues back, is closed, and is opened
//! again when it is there. Ownership: the main thread. Bounds: while a driver recovers by itself, and after a device has
//! gone, [`Link::may_ask`] is false: no function of the control path may be called (rte_ethdev.h,
//! `RTE_ETH_EVENT_ERR_RECOVERING`).

use std::fmt;

/// Where a device stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has carrier.
    Up,
    /// It has none.
    Down,
    /// Its driver mends it, and tells when that is done.
    Recovering,
    /// Workers are giving its queues back.
    Leaving,
    /// It is closed, and opened again when it is there.
    Absent,
}

impl State {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Recovering => "recovering",
            Self::Leaving => "leaving",
            Self::Absent => "absent",
        }
    }
}

/// Why a port does not forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The link has no carrier.
    NoCarrier,
    /// The device is gone.
    Removed,
    /// The driver wants the device to be made anew.
    Reset,
    /// The driver mends an error.
    Error,
    /// The driver could not mend an error.
    ErrorStays,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoCarrier => "no carrier",
            Self::Removed => "the device is gone; it is taken up again when it is back",
            Self::Reset => "the driver wants the device to be made anew",
            Self::Error => "the driver is mending an error",
            Self::ErrorStays => "the driver could not mend an error; the device is made anew",
        })
    }
}

/// What was seen of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It has carrier.
    Carrier,
    /// It has none.
    NoCarrier,
    /// It is gone.
    Removed,
    /// Its driver wants it to be made anew.
    ResetWanted,
    /// Its driver begins to mend it.
    Recovering,
    /// Its driver has mended it.
    Recovered,
    /// Its driver could not.
    RecoveryFailed,
    /// Every worker has given its queues back.
    Released,
    /// It was opened again, and workers are getting its queues.
    Opened,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// Nothing.
    Nothing,
    /// Tell the kernel that the link is there.
    TellUp,
    /// Tell the kernel that it is not.
    TellDown,
    /// The same, and have the workers give its queues back.
    TakeBack,
    /// Close the device.
    Close,
}

/// A device, as far as it was seen.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    state: State,
    cause: Option<Cause>,
}

impl Link {
    /// Of a device that has just been opened: forwarding begins with it, until something else is seen.
    pub const fn new() -> Self {
        Self { state: State::Up, cause: None }
    }

    /// Where it stands.
    pub const fn state(&self) -> State {
        self.state
    }

    /// Why it does not forward, if it does not.
    pub const fn cause(&self) -> Option<Cause> {
        self.cause
    }

    /// True if the driver may be asked about it.
    pub const fn may_ask(&self) -> bool {
        matches!(self.state, State::Up | State::Down)
    }

    /// Takes what was seen.
    pub fn see(&mut self, seen: Seen) -> Step {
        match (self.state, seen) {
            (State::Down, Seen::Carrier) => self.enter(State::Up, None, Step::TellUp),
            (State::Up, Seen::NoCarrier) => self.enter(State::Down, Some(Cause::NoCarrier), Step::TellDown),
            (State::Up | State::Down, Seen::Recovering) => {
                self.enter(State::Recovering, Some(Cause::Error), Step::TellDown)
            }
            // Whether there is carrier is asked next.
            (State::Recovering, Seen::Recovered) | (State::Absent, Seen::Opened) => {
                self.enter(State::Down, Some(Cause::NoCarrier), Step::Nothing)
            }
            (State::Up | State::Down | State::Recovering, Seen::Removed) => self.leave(Cause::Removed),
            (State::Up | State::Down, Seen::ResetWanted) => self.leave(Cause::Reset),
            (State::Recovering, Seen::RecoveryFailed) => self.leave(Cause::ErrorStays),
            (State::Leaving, Seen::Released) => {
                self.state = State::Absent;
                Step::Close
            }
            // A device that goes while it leaves will not be back at once.
            (State::Leaving | State::Absent, Seen::Removed) => {
                self.cause = Some(Cause::Removed);
                Step::Nothing
            }
            _ => Step::Nothing,
        }
    }

    fn leave(&mut self, cause: Cause) -> Step {
        self.enter(State::Leaving, Some(cause), Step::TakeBack)
    }

    fn enter(&mut self, state: State, cause: Option<Cause>, step: Step) -> Step {
        (self.state, self.cause) = (state, cause);
        step
    }
}

impl Default for Link {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(link: &mut Link, seen: &[Seen]) -> Vec<Step> {
        seen.iter().map(|seen| link.see(*seen)).collect()
    }

    #[test]
    fn carrier_is_told_once_each_time() {
        let mut link = Link::new();
        let seen = [Seen::Carrier, Seen::NoCarrier, Seen::NoCarrier, Seen::Carrier, Seen::Carrier];
        let steps = [Step::Nothing, Step::TellDown, Step::Nothing, Step::TellUp, Step::Nothing];
        assert_eq!(told(&mut link, &seen), steps);
        assert_eq!((link.state(), link.cause()), (State::Up, None));
    }

    #[test]
    fn g05_nothing_is_asked_of_a_driver_that_recovers_until_it_says_how_that_ended() {
        let mut link = Link::new();
        assert!(link.may_ask());
        assert_eq!(link.see(Seen::Recovering), Step::TellDown);
        // Whatever else is seen meanwhile changes nothing.
        for seen in [Seen::Carrier, Seen::NoCarrier, Seen::ResetWanted, Seen::Recovering, Seen::Released] {
            assert_eq!(link.see(seen), Step::Nothing, "{seen:?}");
            assert!(!link.may_ask());
            assert_eq!(link.state(), State::Recovering);
        }
        assert_eq!(link.see(Seen::Recovered), Step::Nothing);
        assert!(link.may_ask());
        assert_eq!(link.see(Seen::Carrier), Step::TellUp);
    }

    #[test]
    fn g05_a_device_that_could_not_be_mended_is_made_anew() {
        let mut link = Link::new();
        let seen = [Seen::Recovering, Seen::RecoveryFailed, Seen::Carrier, Seen::Released, Seen::Opened];
        let steps = [Step::TellDown, Step::TakeBack, Step::Nothing, Step::Close, Step::Nothing];
        assert_eq!(told(&mut link, &seen), steps);
        assert_eq!(link.see(Seen::Carrier), Step::TellUp);
    }

    #[test]
    fn g05_a_device_that_is_gone_is_closed_only_when_every_queue_is_back() {
        for before in [&[][..], &[Seen::NoCarrier], &[Seen::Recovering]] {
            let mut link = Link::new();
            let _ = told(&mut link, before);
            assert_eq!(link.see(Seen::Removed), Step::TakeBack);
            assert!(!link.may_ask());
            assert_eq!(link.see(Seen::Removed), Step::Nothing, "it goes once");
            assert_eq!(link.see(Seen::Released), Step::Close);
            assert_eq!((link.state(), link.cause()), (State::Absent, Some(Cause::Removed)));
            assert_eq!(link.see(Seen::Carrier), Step::Nothing, "it is not open");
        }
    }
}
