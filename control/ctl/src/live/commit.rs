//! Handing a ruleset to the dataplane itself, past turnpike-control.

use anyhow::{Result, bail};
use api::{Candidate, Cut};
use pfconf::print_rule;
use ruleset::Ruleset;

use super::{Sockets, connect};
use crate::session;

/// Makes a ruleset the live one, and returns its number. One that cuts off the connection that this command is given through
/// is refused unless it is forced.
pub fn commit(sockets: &Sockets, ruleset: &Ruleset, force: bool) -> Result<u64> {
    let mut client = connect(sockets.dataplane())?;
    let candidate = Candidate { ruleset: ruleset.clone(), ..Candidate::default() };
    if let Some(cut) = Cut::find(&mut client, candidate, &session::operator(force).sessions)? {
        let what = cut.sentence(ruleset, print_rule);
        if !force {
            bail!("{what}; pass it, or use --force if that is what you want");
        }
        eprintln!("warning: {what}");
    }
    Ok(client.commit(ruleset)?)
}
