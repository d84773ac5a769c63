//! Tests against real files: the embedded log, and sled.

mod approvals;
mod crash;
mod damage;
mod emptied;
mod groups;
mod handover;
mod history;
mod holds;
mod mesh;
mod model;
mod moments;
mod people;
mod property;
mod removal;
mod replay;
mod shuffle;
mod stream;
mod support;
mod thinned;
mod traces;
mod turns;
mod what_if;
