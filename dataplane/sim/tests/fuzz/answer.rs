//! What a station says to a frame that it got, or next: the other half of a conversation, through whatever translation.

use sim::rng::Rng;
use wire::Proto;

use super::frame::{Layout, read, repair, write};

const SYN: u32 = 2;
const ACK: u32 = 16;

/// How somebody goes on.
#[derive(Clone, Copy, Debug)]
pub enum Manner {
    /// As one does: a SYN is acknowledged and answered, data acknowledged, an echo replied to.
    Politely,
    /// With so much data.
    Talking(u16),
    /// With other control bits.
    Flags(u8),
    /// With an error: its type and code, and octets of what it is about.
    Error(u8, u8, u16),
}

pub fn manner(rng: &mut Rng) -> Manner {
    match rng.below(10) {
        0..=4 => Manner::Politely,
        5..=6 => Manner::Talking(*rng.pick(&[1, 100, 536, 1400])),
        7 => Manner::Flags(*rng.pick(&[0x11, 0x11, 0x14, 4, 2, 0x12, 0x10, 0x18, 1, 0])),
        _ => {
            let (kind, code) = *rng.pick(&[
                (3, 1),
                (3, 3),
                (3, 4),
                (11, 0),
                (12, 0),
                (4, 0),
                (1, 0),
                (1, 4),
                (2, 0),
                (5, 1),
            ]);
            Manner::Error(kind, code, *rng.pick(&[28, 48, 60, 128, 1500]))
        }
    }
}

/// The same station speaks again.
pub fn next(frame: &[u8], manner: Manner) -> Option<Vec<u8>> {
    let layout = Layout::of(frame)?;
    let mut out = frame.to_vec();
    if layout.proto == Proto::TCP && layout.whole {
        let (seq, length) = (read(frame, layout.upper + 4, 4), sequence_length(frame, &layout));
        write(&mut out, layout.upper + 4, 4, seq.wrapping_add(length));
        say(&mut out, &layout, manner, read(frame, layout.upper + 13, 1) & !3 | ACK);
    }
    repair(&mut out, true);
    Some(out)
}

/// Who gets the frame speaks back.
pub fn back(frame: &[u8], manner: Manner) -> Option<Vec<u8>> {
    let layout = Layout::of(frame)?;
    if let Manner::Error(kind, code, quote) = manner {
        return Some(error(frame, &layout, kind, code, quote));
    }
    let mut out = frame.to_vec();
    turn(&mut out, &layout);
    let upper = layout.upper;
    if !layout.whole {
        return Some(out);
    }
    match layout.proto {
        Proto::TCP => {
            let (seq, ack) = (read(frame, upper + 4, 4), read(frame, upper + 8, 4));
            let flags = read(frame, upper + 13, 1);
            let isn = seq.wrapping_mul(0x9e37_79b9) ^ 0x5bd1_e995;
            write(&mut out, upper + 4, 4, if flags & ACK == 0 { isn } else { ack });
            write(&mut out, upper + 8, 4, seq.wrapping_add(sequence_length(frame, &layout)));
            swap_stamps(&mut out, &layout);
            say(&mut out, &layout, manner, if flags & (SYN | ACK) == SYN { SYN | ACK } else { ACK });
        }
        Proto::ICMP if frame.get(upper) == Some(&8) => write(&mut out, upper, 1, 0),
        Proto::ICMP6 if frame.get(upper) == Some(&128) => write(&mut out, upper, 1, 129),
        _ => {}
    }
    repair(&mut out, true);
    Some(out)
}

/// Octets of sequence space that a segment takes.
fn sequence_length(frame: &[u8], layout: &Layout) -> u32 {
    let flags = read(frame, layout.upper + 13, 1);
    let payload = layout.end.saturating_sub(payload_at(frame, layout)) as u32;
    payload + (flags & 1) + (flags >> 1 & 1)
}

fn payload_at(frame: &[u8], layout: &Layout) -> usize {
    layout.upper + (read(frame, layout.upper + 12, 1) >> 4) as usize * 4
}

/// Control bits and data.
fn say(out: &mut Vec<u8>, layout: &Layout, manner: Manner, usual: u32) {
    let payload = payload_at(out, layout);
    out.truncate(payload.max(layout.upper + 20));
    let flags = match manner {
        Manner::Flags(flags) => flags.into(),
        _ => usual,
    };
    write(out, layout.upper + 13, 1, flags);
    if let Manner::Talking(octets) = manner {
        out.resize(out.len() + usize::from(octets), 7);
    }
}

/// Exchanges who sends and who gets.
fn turn(out: &mut [u8], layout: &Layout) {
    let size = if layout.ipv4 { 4 } else { 16 };
    let at = layout.network + if layout.ipv4 { 12 } else { 8 };
    exchange(out, at, size);
    if matches!(layout.proto, Proto::TCP | Proto::UDP) && layout.whole {
        exchange(out, layout.upper, 2);
    }
}

fn exchange(out: &mut [u8], at: usize, size: usize) {
    if let Some(both) = out.get_mut(at..at + 2 * size) {
        both.rotate_left(size);
    }
}

/// A timestamp is echoed, and another one given.
fn swap_stamps(out: &mut [u8], layout: &Layout) {
    let mut at = layout.upper + 20;
    let end = payload_at(out, layout).min(out.len());
    while at + 1 < end {
        match out[at] {
            0 => return,
            1 => at += 1,
            8 => {
                exchange(out, at + 2, 4);
                let value = read(out, at + 2, 4);
                return write(out, at + 2, 4, value.wrapping_add(10).max(1000));
            }
            _ => at += usize::from(out[at + 1].max(2)),
        }
    }
}

fn error(frame: &[u8], layout: &Layout, kind: u8, code: u8, quote: u16) -> Vec<u8> {
    let end = layout.end.min(frame.len()).min(layout.network + usize::from(quote));
    let about = frame.get(layout.network..end).unwrap_or_default();
    let header = if layout.ipv4 { 20 } else { 40 };
    let mut out = frame[..(layout.network + header).min(frame.len())].to_vec();
    turn(&mut out, &Layout { proto: Proto::ICMP, ..*layout });
    match layout.ipv4 {
        true => {
            write(&mut out, layout.network, 1, 0x45);
            write(&mut out, layout.network + 6, 3, 64);
            write(&mut out, layout.network + 9, 1, Proto::ICMP.0.into());
        }
        false => write(&mut out, layout.network + 6, 2, u32::from(Proto::ICMP6.0) << 8 | 64),
    }
    // A next hop's MTU, where it means one.
    out.extend([kind, code, 0, 0, 0, 0, 2, 0x40]);
    out.extend(about);
    repair(&mut out, true);
    out
}
