//! `[[bridge]]`: which ports are pairs.

use engine::fib::NonIpPolicy;
use toml::Spanned;
use toml::de::DeValue;

use super::decode::{Fields, is_interface_name, sections};
use super::fault::Misfit;
use super::schema::BRIDGE;
use super::{Bridge, Mode, Port};

/// Reads the pairs, and refuses ports of mode bridge that are in none. `modes` is where each port's mode stands.
pub(super) fn bridges(
    value: Option<&Spanned<DeValue<'_>>>,
    ports: &[Port],
    modes: &[std::ops::Range<usize>],
) -> Result<Vec<Bridge>, Misfit> {
    let mut bridges: Vec<Bridge> = Vec::new();
    for entry in value.map_or(Ok(&[][..]), |value| sections(BRIDGE, value))? {
        let fields = Fields::of(BRIDGE, entry)?;
        let bridge = bridge(&fields, ports, &bridges)?;
        bridges.push(bridge);
    }
    let alone = |number: &usize| {
        ports[*number].mode == Mode::Bridge && bridges.iter().all(|bridge| !bridge.ports.contains(number))
    };
    match (0..ports.len()).find(alone) {
        None => Ok(bridges),
        Some(number) => {
            let name = &ports[number].name;
            let what = format!("the port {name:?} is of mode \"bridge\" and in no [[bridge]]");
            let fix = format!("add one with ports = [{name:?}, …], or make the port routed");
            Err(Misfit::new(modes[number].clone(), what, fix))
        }
    }
}

fn bridge(fields: &Fields<'_>, ports: &[Port], others: &[Bridge]) -> Result<Bridge, Misfit> {
    const POLICIES: [(&str, NonIpPolicy); 2] = [("pass", NonIpPolicy::Pass), ("block", NonIpPolicy::Block)];

    let name = fields.require::<String>("name")?;
    if !is_interface_name(name.get_ref()) {
        return Err(fields.misfit("name", name.span(), &format!("{:?}", name.get_ref())));
    }
    let is_interface = ports.iter().flat_map(Port::interfaces).any(|other| other.name == *name.get_ref());
    if is_interface || others.iter().any(|other| other.name == *name.get_ref()) {
        let what = format!("another interface or bridge has the name {:?}", name.get_ref());
        return Err(Misfit::new(name.span(), what, "give each its own"));
    }
    let ports = pair(fields, ports, others)?;
    let non_ip = fields.word("non_ip", &POLICIES, NonIpPolicy::Pass)?;
    Ok(Bridge { name: name.into_inner(), ports, non_ip })
}

/// The numbers of the two ports.
fn pair(fields: &Fields<'_>, ports: &[Port], others: &[Bridge]) -> Result<[usize; 2], Misfit> {
    let names = fields.require::<Vec<String>>("ports")?;
    let fault = |what: String, fix: &str| Err(Misfit::new(names.span(), what, fix));
    let [one, other] = &names.get_ref()[..] else {
        return Err(fields.misfit("ports", names.span(), &format!("a list of {}", names.get_ref().len())));
    };
    if one == other {
        return fault(format!("`ports` names {one:?} twice"), "a pair is two different ports");
    }
    let mut numbers = [0; 2];
    for (number, name) in numbers.iter_mut().zip([one, other]) {
        let Some(found) = ports.iter().position(|port| port.name == *name) else {
            return fault(format!("there is no port {name:?}"), "name two of the [[port]] sections");
        };
        if ports[found].mode != Mode::Bridge {
            return fault(
                format!("the port {name:?} is not of mode \"bridge\""),
                "write mode = \"bridge\" there",
            );
        }
        if let Some(bridge) = others.iter().find(|bridge| bridge.ports.contains(&found)) {
            return fault(
                format!("the port {name:?} is in {:?} already", bridge.name),
                "a port is in one pair",
            );
        }
        *number = found;
    }
    Ok(numbers)
}
