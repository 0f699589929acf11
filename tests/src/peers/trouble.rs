//! A failure that people are told of, and its end.

use crate::lab::{Lab, LabError};

/// As the workload is called that fails.
pub const WORKLOAD: &str = "checkout";

/// It fails at once, and isn't started again: a CrashLoop.
pub fn begin(lab: &Lab) -> Result<(), LabError> {
    apply(lab, r#"["/bin/false"]"#)
}

/// The program is mended.
pub fn end(lab: &Lab) -> Result<(), LabError> {
    apply(lab, r#"["/bin/sleep", "3600"]"#)
}

fn apply(lab: &Lab, command: &str) -> Result<(), LabError> {
    let text = format!(
        "[workload.{WORKLOAD}]\nexec.command = {command}\nrecovery.restart = {{ attempts = 0 }}\nrecovery.then = []\n"
    );
    lab.apply(0, "trouble.toml", &text)
}
