//! TCP tracking by itself: stories, the matrix of all states, properties, and connections that must live.

mod flags;
mod host;
mod random;
mod story;

mod established;
mod liveness;
mod matrix;
mod properties;
mod proxy;
mod run;
mod stamps;
mod stories;
