//! The cluster tests: the public command line, real servers, real faults, and the proof.

#![allow(clippy::unwrap_used, reason = "what fails here fails its test")]

mod accidents;
mod at_least_once;
mod brokers;
mod connections;
mod copy;
mod copy_first_start;
mod copy_rewind;
mod end_txn;
mod failover;
mod formats;
mod kept_slot;
mod large;
mod leader;
mod life;
mod objects;
mod old_brokers;
mod others;
mod records;
mod reshard;
mod secured;
mod smoke;
mod solo;
mod surroundings;
mod target_accidents;
mod types;
mod zombie;
