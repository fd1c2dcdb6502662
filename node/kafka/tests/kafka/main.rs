//! The room against a real broker.

mod broker;
mod late_requests;
mod positions;
mod target;
mod transactions;
