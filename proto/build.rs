//! Compiles the .proto files without protoc and keeps their descriptors for reflection.

use std::path::PathBuf;

use prost::Message;

const FILES: [&str; 7] = [
    "tidewire/admin/v1/admin.proto",
    "tidewire/alert/v1/alert.proto",
    "tidewire/connection/v1/connection.proto",
    "tidewire/node/v1/node.proto",
    "tidewire/raft/v1/raft.proto",
    "tidewire/position/v1/position.proto",
    "tidewire/task/v1/task.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=tidewire");
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("tidewire.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
