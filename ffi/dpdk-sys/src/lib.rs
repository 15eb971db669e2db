//! Raw bindings to the installed DPDK, generated at build time, and the shims for what bindgen cannot reach (shims.h).
//!
//! Nothing here is safe to call as it is: the crate `dpdk` wraps it. Linking is shared by default; the feature `static`
//! puts DPDK's libraries and drivers into the binary.

#![allow(missing_docs, reason = "generated from DPDK's own headers, which document it")]
#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals, reason = "DPDK's own names")]
#![allow(clippy::all, clippy::undocumented_unsafe_blocks, reason = "generated code")]
#![allow(unsafe_op_in_unsafe_fn, unnecessary_transmutes, reason = "generated code")]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
