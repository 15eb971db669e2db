//! Names that stand for numbers, the same on every machine, so that a ruleset means and prints the same everywhere.

mod accounts;
mod icmp;
mod protocols;
mod services;
mod services_freebsd;
mod tos;

pub(crate) use accounts::{group_number, user_number};
pub(crate) use icmp::{code_name, code_number, type_name, type_names, type_number};
pub(crate) use protocols::{protocol_name, protocol_names, protocol_number};
pub(crate) use services::{c_number, service_name, service_names, service_port};
pub(crate) use tos::tos_value;
