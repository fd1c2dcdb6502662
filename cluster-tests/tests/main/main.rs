//! The cluster tests: the public command line, real servers, real faults, and the proof.

#![allow(clippy::unwrap_used, reason = "what fails here fails its test")]

mod accidents;
mod at_least_once;
mod brokers;
mod connections;
mod copy;
mod copy_first_start;
mod copy_later;
mod copy_rewind;
mod document_keys;
mod end_txn;
mod failover;
mod follow;
mod formats;
mod generated;
mod going_on;
mod identities;
mod kept_slot;
mod large;
mod leader;
mod leftovers;
mod life;
mod objects;
mod old_brokers;
mod others;
mod outsiders;
mod publication_gaps;
mod records;
mod reshard;
mod secured;
mod smoke;
mod solo;
mod surroundings;
mod target_accidents;
mod truncates;
mod types;
mod zombie;
