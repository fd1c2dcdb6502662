//! The wire of Tidewire: generated messages and services, and conversions to and from
//! `tidewire_shared` that fail with the path of the field that does not fit.
//!
//! The messages are documented in the `.proto` files beside this crate's manifest.

pub mod convert;

/// What nodes and coordinators say to each other.
pub mod node {
    #[allow(missing_docs, unreachable_pub, clippy::pedantic, clippy::restriction, clippy::all)]
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("tidewire.node.v1");
    }
}

/// The surface for people and programs.
pub mod admin {
    #[allow(missing_docs, unreachable_pub, clippy::pedantic, clippy::restriction, clippy::all)]
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("tidewire.admin.v1");
    }
}

/// Channels of alerts, and what was told through them.
pub mod alert {
    #[allow(missing_docs, unreachable_pub, clippy::pedantic, clippy::restriction, clippy::all)]
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("tidewire.alert.v1");
    }
}

/// Registered connections, and what a node finds behind one.
pub mod connection {
    #[allow(missing_docs, unreachable_pub, clippy::pedantic, clippy::restriction, clippy::all)]
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("tidewire.connection.v1");
    }
}

/// What coordinators say to each other.
pub mod raft {
    #[allow(missing_docs, unreachable_pub, clippy::pedantic, clippy::restriction, clippy::all)]
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("tidewire.raft.v1");
    }
}

/// Records of the positions topic.
pub mod position {
    #[allow(missing_docs, unreachable_pub, clippy::pedantic, clippy::restriction, clippy::all)]
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("tidewire.position.v1");
    }
}

/// Tasks, faults, prechecks and reports, used by several services.
pub mod task {
    #[allow(missing_docs, unreachable_pub, clippy::pedantic, clippy::restriction, clippy::all)]
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("tidewire.task.v1");
    }
}

/// Descriptors of all services, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tidewire.bin"));
