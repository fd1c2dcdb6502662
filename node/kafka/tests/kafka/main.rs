//! The room against a real broker.

mod broker;
mod discover;
mod late_requests;
mod old_brokers;
mod positions;
mod precheck;
mod security;
mod target;
mod transactions;
mod written;
