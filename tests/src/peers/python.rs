//! A Python interpreter that has gRPC's client and its reflection, from PyPI.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

const IMPORTS: &str = "import grpc, grpc_reflection.v1alpha";

/// Where one is: `HOLDFAST_PYTHON`, the environment that `.ci/run` makes, or the machine's own.
#[must_use]
pub fn with_grpc() -> Option<PathBuf> {
    let made = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/peers-venv/bin/python");
    let named = std::env::var_os("HOLDFAST_PYTHON").map(PathBuf::from);
    named.into_iter().chain([made.into(), "python3".into()]).find(|python| {
        let mut import = Command::new(python);
        import.args(["-c", IMPORTS]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        import.status().is_ok_and(|status| status.success())
    })
}

/// The client that knows none of our files.
#[must_use]
pub fn script() -> PathBuf {
    concat!(env!("CARGO_MANIFEST_DIR"), "/peers/status_by_reflection.py").into()
}
