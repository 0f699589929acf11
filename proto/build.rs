//! Compiles the .proto files without protoc (protox parses them) and keeps the descriptors for reflection and JSON.

use prost::Message as _;
use std::{env, fs, path::PathBuf};

const PUBLIC: &[&str] = &[
    "holdfast/v1/types.proto",
    "holdfast/v1/cluster.proto",
    "holdfast/v1/workload.proto",
    "holdfast/v1/failure.proto",
    "holdfast/v1/alert.proto",
    "holdfast/v1/raft.proto",
];
const INTERNAL: &[&str] = &["holdfast/internal/v1/peer.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = PUBLIC.iter().chain(INTERNAL);
    let descriptors = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
