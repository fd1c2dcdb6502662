//! The room against a real broker.

mod broker;
mod copy;
mod copy_precheck;
mod discover;
mod late_requests;
mod manage;
mod old_brokers;
mod old_source;
mod positions;
mod precheck;
mod properties;
mod security;
mod source;
mod source_apart;
mod source_faults;
mod source_rights;
mod target;
mod transactions;
mod written;
