//! The language, from text to rules and back.

mod anchors;
mod compile;
mod fuzz;
mod generated;
mod golden;
mod lint;
mod loaded;
mod machine;
mod manual;
mod optimize;
mod robust;
