//! The command as a user calls it: what it prints where, and with which code it ends.

mod cli;
mod control;
mod folder;
mod packets;
mod pfctl;
mod sites;
