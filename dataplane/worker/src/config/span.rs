//! `[[port]]` of mode `span`: how copies leave.

use std::net::IpAddr;

use super::decode::Fields;
use super::fault::Misfit;
use super::{Carrier, Mode, Span, Tunnel, VLAN_RANGE};

/// The keys that only span ports have.
const KEYS: [&str; 7] = ["sample", "snap_bytes", "tag", "encapsulation", "collector", "source", "session"];
/// Bounds of `snap_bytes`: the headers that a probe looks at, and the longest frame.
const SNAP_RANGE: (u32, u32) = (64, 9728);
/// ERSPAN's session numbers have 10 bits.
const SESSION_MAX: u16 = 1023;

/// How copies leave by a port.
pub(super) fn span(fields: &Fields<'_>, mode: Mode, workers: u16) -> Result<Span, Misfit> {
    if mode != Mode::Span {
        let foreign = KEYS.into_iter().find_map(|key| Some((key, fields.value(key)?)));
        return match foreign {
            None => Ok(Span::default()),
            Some((key, value)) => {
                let what = format!("`{key}` of a port that takes no copies");
                Err(Misfit::new(value.span(), what, "leave it out, or write mode = \"span\""))
            }
        };
    }
    let optional = |name: &str, (low, high): (u32, u32)| {
        let given = fields.value(name).is_some();
        Ok(given.then_some(fields.number(name, low..=high, low)? as u16))
    };
    let tag = optional("tag", (VLAN_RANGE.0.into(), VLAN_RANGE.1.into()))?;
    let tunnel = tunnel(fields, workers)?;
    if tunnel.is_some()
        && let Some(value) = fields.value("tag")
    {
        let what = "`tag` of copies that are encapsulated";
        return Err(Misfit::new(
            value.span(),
            what,
            "leave it out: they leave along the route to the collector",
        ));
    }
    let sample = fields.number("sample", 1..=1_000_000, 1)?;
    Ok(Span { sample, snap_bytes: optional("snap_bytes", SNAP_RANGE)?, tag, tunnel })
}

fn tunnel(fields: &Fields<'_>, workers: u16) -> Result<Option<Tunnel>, Misfit> {
    if fields.value("encapsulation").is_none() {
        let alone =
            ["collector", "source", "session"].into_iter().find_map(|key| Some((key, fields.value(key)?)));
        return match alone {
            None => Ok(None),
            Some((key, value)) => {
                let what = format!("`{key}` without `encapsulation`");
                Err(Misfit::new(value.span(), what, "add encapsulation = \"gre\" or \"erspan\""))
            }
        };
    }
    let session = fields.number("session", 0..=u32::from(SESSION_MAX), 0)? as u16;
    let carrier = fields.word(
        "encapsulation",
        &[("gre", Carrier::Gre), ("erspan", Carrier::Erspan { session })],
        Carrier::Gre,
    )?;
    if let Some(value) = fields.value("session") {
        if carrier == Carrier::Gre {
            return Err(Misfit::new(
                value.span(),
                "`session` of GRE",
                "leave it out: only ERSPAN has sessions",
            ));
        }
        if session + (workers - 1) > SESSION_MAX {
            let what =
                format!("`session` is {session} with {workers} workers, each of which has one of its own");
            return Err(Misfit::new(
                value.span(),
                what,
                format!("{} is the last one possible", SESSION_MAX + 1 - workers),
            ));
        }
    }
    if let Some(device) = fields.value("device") {
        let what = "`device` of a port whose copies are encapsulated";
        return Err(Misfit::new(
            device.span(),
            what,
            "leave it out: they leave along the route to the collector",
        ));
    }
    let collector = fields.require::<String>("collector")?;
    let Ok(to) = collector.get_ref().parse::<IpAddr>() else {
        return Err(fields.misfit("collector", collector.span(), &format!("{:?}", collector.get_ref())));
    };
    let source = match fields.get::<String>("source")? {
        None => None,
        Some(source) => match source.get_ref().parse::<IpAddr>() {
            Ok(address) if address.is_ipv4() == to.is_ipv4() => Some(address),
            Ok(_) => {
                let what = format!("`source` is {} and `collector` is {to}", source.get_ref());
                return Err(Misfit::new(source.span(), what, "write two of the same family"));
            }
            Err(_) => return Err(fields.misfit("source", source.span(), &format!("{:?}", source.get_ref()))),
        },
    };
    Ok(Some(Tunnel { carrier, collector: to, source }))
}
