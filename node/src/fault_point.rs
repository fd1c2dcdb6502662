//! Named places where a fault test can hold this process.
//!
//! Built only with the feature `fault-points`, which no released binary has. A test arms a point by
//! creating `DIR/POINT.arm` (`DIR` is `TIDEWIRE_FAULT_DIR`); the first process to pass takes the file
//! away by renaming it to `POINT.hit.PID` and waits until `POINT.go` exists. Between the two the test
//! sends its signal and so knows for sure where it struck. By `TIDEWIRE_FAULT_WISHES`, names with commas
//! between them, a test wishes that what is seldom happens often.

/// Waits here when a test armed the point; costs nothing in a released binary.
#[cfg(feature = "fault-points")]
pub(crate) fn reach(point: &str) {
    let Some(dir) = std::env::var_os("TIDEWIRE_FAULT_DIR").map(std::path::PathBuf::from) else {
        return;
    };
    let hit = dir.join(format!("{point}.hit.{}", std::process::id()));
    if std::fs::rename(dir.join(format!("{point}.arm")), &hit).is_err() {
        return;
    }
    tracing::warn!(point, "held at a fault point");
    let go = dir.join(format!("{point}.go"));
    while !go.exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    tracing::warn!(point, "left a fault point");
}

/// Waits here when a test armed the point; costs nothing in a released binary.
#[cfg(not(feature = "fault-points"))]
pub(crate) fn reach(_point: &str) {}

/// Whether a test wishes it; never in a released binary.
#[cfg(feature = "fault-points")]
pub(crate) fn is_wished(wish: &str) -> bool {
    std::env::var("TIDEWIRE_FAULT_WISHES")
        .is_ok_and(|wishes| wishes.split(',').any(|it| it == wish))
}

/// Whether a test wishes it; never in a released binary.
#[cfg(not(feature = "fault-points"))]
pub(crate) fn is_wished(_wish: &str) -> bool {
    false
}
