//! The public API, `holdfast.v1`: any agent answers; what needs the leader is passed on to it.
//!
//! Not here: what agents say to each other, and listening.

mod alert;
pub mod alerting;
mod call;
pub mod channels;
mod cluster;
mod errors;
mod failure;
mod health;
mod leader;
mod logs;
mod page;
mod plan;
mod preview;
mod raft;
mod silence;
mod specs;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod watch;
mod workload;

pub use call::{ACTOR_METADATA, HOPS_METADATA};
pub use errors::{DOMAIN, LEADER_METADATA};

use crate::{limits::MESSAGE_BYTES, shared::Shared};
use holdfast_proto::v1::{
    alert_service_server::AlertServiceServer, cluster_service_server::ClusterServiceServer,
    failure_service_server::FailureServiceServer, raft_service_server::RaftServiceServer,
    workload_service_server::WorkloadServiceServer,
};
use leader::Api;
use std::sync::Arc;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::server::Builder as Reflection;

/// All public services, health and reflection, to which the agents' own service is added.
#[must_use]
pub fn routes(shared: &Arc<Shared>) -> Routes {
    let api = Api { shared: Arc::clone(shared) };
    macro_rules! bounded {
        ($server:ident, $service:expr) => {
            $server::new($service)
                .max_decoding_message_size(MESSAGE_BYTES)
                .max_encoding_message_size(MESSAGE_BYTES)
        };
    }
    let descriptors = || {
        Reflection::configure()
            .register_encoded_file_descriptor_set(holdfast_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let v1 = descriptors().build_v1().expect("the descriptors were made by this build");
    let v1alpha = descriptors().build_v1alpha().expect("the descriptors were made by this build");
    Routes::default()
        .add_service(bounded!(ClusterServiceServer, cluster::Cluster(api.clone())))
        .add_service(bounded!(WorkloadServiceServer, workload::Workloads(api.clone())))
        .add_service(bounded!(FailureServiceServer, failure::Failures(api.clone())))
        .add_service(bounded!(AlertServiceServer, alert::Alerts(api.clone())))
        .add_service(bounded!(RaftServiceServer, raft::Consensus(api)))
        .add_service(bounded!(HealthServer, health::LeaderKnown(Arc::clone(shared))))
        .add_service(v1)
        .add_service(v1alpha)
}
