//! Which programs this machine has, and what becomes of a test whose program it lacks.

use libtest_mimic::{Completion, Failed};
use std::path::PathBuf;

/// Where servers are kept that aren't in everybody's search path.
const ALSO_IN: &str = "/usr/sbin:/sbin";

#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(std::env::split_paths(ALSO_IN));
    places.map(|place| place.join(name)).find(|file| file.is_file())
}

/// Of these programs, each with the package that has it, the first one that is missing, in a sentence.
#[must_use]
pub fn missing(programs: &[(&str, &str)]) -> Option<String> {
    let (name, package) = programs.iter().find(|(name, _)| program(name).is_none())?;
    Some(format!("no {name} here: `.ci/run` installs it, from Debian's package {package}"))
}

/// `ignored`, but a failure where everything was to be installed.
pub fn unless_ci(why: String) -> Result<Completion, Failed> {
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    if ci { Err(why.into()) } else { Ok(Completion::ignored_with(why)) }
}

/// Some servers start as root only, to give it up again.
#[must_use]
pub fn is_root() -> bool {
    // SAFETY: geteuid only reads, and can't fail.
    unsafe { libc::geteuid() == 0 }
}
