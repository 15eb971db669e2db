//! The control process of turnpike.
#![forbid(unsafe_code)]
