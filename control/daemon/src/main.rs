//! The control process: see the library.

fn main() {}
