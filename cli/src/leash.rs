//! Children that do not outlive `tidewire dev`, even when it is killed.
//!
//! The parent holds the other end of a child's stdin; the kernel closes it when the parent dies,
//! whatever it died of. (`PR_SET_PDEATHSIG` follows the parent's thread, not the process.)

use std::io::Read;

use crate::failure::{Exit, Failure};

/// Ends this process when its stdin ends.
pub(crate) fn follow_parent() -> Result<(), Failure> {
    let watch = || {
        let mut byte = [0];
        while matches!(std::io::stdin().read(&mut byte), Ok(1..)) {}
        tracing::warn!("the parent is gone: exiting");
        std::process::exit(1);
    };
    std::thread::Builder::new().name("leash".to_owned()).spawn(watch).map(drop).map_err(|error| {
        Failure::new(Exit::Failed, "failed", "thread leash", error).remedy("allow more threads")
    })
}
