//! The frames of connections, and putting them on their way.

use anyhow::Result;

use crate::end::End;
use crate::flow::{Flows, Role, Tuple};
use crate::frame::{Layout, SEGMENT_MAX, Tcp, Template};
use crate::mark::{self, Mark};
use crate::traffic::Place;

/// A template for each length of data.
#[derive(Debug)]
pub struct Segments {
    syn: Template,
    /// By octets of data, from none to the most.
    lengths: Vec<Option<Box<Template>>>,
    layout: Layout,
    place: Place,
}

/// Puts a segment on its way; false if there is no room.
#[inline]
pub fn write(end: &mut End, template: &Template, tuple: &Tuple, tcp: Tcp, mark: Option<&Mark>) -> bool {
    end.answer(|mbuf| template.write(mbuf, tuple, Some(tcp), mark).expect("buffers have room for any frame"))
}

impl Segments {
    /// The frames of an end.
    ///
    /// # Errors
    /// A frame is too long.
    pub fn new(layout: Layout, place: Place) -> Result<Self> {
        let syn = Template::syn(layout, place.own, place.peer)?;
        let mut lengths = vec![None; SEGMENT_MAX + 1];
        lengths[0] = Some(Box::new(Template::new(layout, 0, place.own, place.peer)?));
        Ok(Self { syn, lengths, layout, place })
    }

    /// Sends a segment with SYN.
    pub fn syn(&self, end: &mut End, flows: &Flows, role: Role, flow: u32, tcp: Tcp) -> bool {
        write(end, &self.syn, &flows.tuple(flow, role), tcp, None)
    }

    /// Sends a segment without data.
    pub fn control(&self, end: &mut End, flows: &Flows, role: Role, flow: u32, tcp: Tcp) -> bool {
        let template = self.lengths[0].as_deref().expect("made at the start");
        write(end, template, &flows.tuple(flow, role), tcp, None)
    }

    /// Sends a segment with so many octets of data, at most [`SEGMENT_MAX`], which begin with a mark if it fits.
    pub fn data(
        &mut self,
        end: &mut End,
        flows: &Flows,
        role: Role,
        octets: u32,
        tcp: Tcp,
        mark: &Mark,
    ) -> bool {
        let octets = octets as usize;
        let (layout, place) = (self.layout, self.place);
        // A script has two or three lengths: each is made when it is first needed.
        let template = self.lengths[octets].get_or_insert_with(|| {
            Box::new(Template::new(layout, octets, place.own, place.peer).expect("a segment fits a packet"))
        });
        write(end, template, &flows.tuple(mark.flow, role), tcp, (octets >= mark::LEN).then_some(mark))
    }
}
