//! Tests against real files: the embedded log, and sled.

mod crash;
mod damage;
mod history;
mod holds;
mod model;
mod property;
mod stream;
mod support;
mod traces;
mod turns;
