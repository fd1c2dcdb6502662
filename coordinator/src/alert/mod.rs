//! Alerts, the shell: a look once a second, and the way of messages to their receivers.
//!
//! What begins and ends is decided in the core ([`tidewire_coordinator_core::alert`]); here the leader
//! proposes it, and sends what the log says is to be sent, off the way of everything else.
//!
//! | file | holds |
//! |---|---|
//! | `look.rs` | the look at every alert, once a second |
//! | `courier.rs` | which message goes out now, retries, what came of it |
//! | `letter.rs` | what a message says, to people and to programs |
//! | `send.rs` | one message to one channel |
//! | `webhook.rs`, `shape.rs`, `sign.rs` | HTTP: the request, what each receiver wants, signatures |
//! | `mail.rs` | SMTP |

mod courier;
mod letter;
mod look;
mod mail;
mod send;
mod shape;
mod sign;
mod webhook;

pub(crate) use courier::push_word;
pub(crate) use letter::{Letter, subject};
pub(crate) use send::try_channel;
