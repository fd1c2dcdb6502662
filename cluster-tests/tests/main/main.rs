//! The cluster tests: the public command line, real servers, real faults, and the proof.

#![allow(clippy::unwrap_used, reason = "what fails here fails its test")]

mod brokers;
mod end_txn;
mod failover;
mod formats;
mod leader;
mod smoke;
mod surroundings;
mod types;
mod zombie;
