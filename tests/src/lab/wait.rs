//! Waiting for a condition with a deadline; the only way in which the lab lets time pass.

use super::error::LabError;
use std::time::{Duration, Instant};

/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(15);

/// Looks until `condition` answers `Ok`; its `Err` says what was seen instead, and ends up in the error.
pub fn wait_until<T>(
    what: &str,
    within: Duration,
    mut condition: impl FnMut() -> Result<T, String>,
) -> Result<T, LabError> {
    let deadline = Instant::now() + within;
    loop {
        match condition() {
            Ok(found) => return Ok(found),
            Err(last) if Instant::now() >= deadline => {
                return Err(LabError::Late { what: what.to_owned(), within, last });
            }
            Err(_) => std::thread::sleep(LOOK_EVERY),
        }
    }
}

/// Checks that `condition` holds all the time: the proof of something that must not happen.
pub fn stays_true(
    what: &str,
    during: Duration,
    mut condition: impl FnMut() -> Result<(), String>,
) -> Result<(), LabError> {
    let deadline = Instant::now() + during;
    while Instant::now() < deadline {
        condition().map_err(|seen| LabError::Broken(format!("{what} should have stayed true: {seen}")))?;
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}
