//! What tpctl sees of a machine and does to it, against machines made of files.

mod doctor;
mod generate;
mod machine;
mod nic;
