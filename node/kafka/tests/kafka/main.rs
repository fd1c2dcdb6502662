//! The room against a real broker.

mod broker;
mod late_requests;
mod positions;
mod security;
mod target;
mod transactions;
