//! Promise 1: two instances of a singleton never run at the same moment, in true time.

use super::Violation;
use cluster_core::{
    ids::{Generation, InstanceId, NodeId},
    time::Instant,
};
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
struct Running {
    node: NodeId,
    generation: Generation,
    since: Instant,
}

#[derive(Debug, Default)]
pub struct AtMostOnce {
    running: BTreeMap<String, BTreeMap<InstanceId, Running>>,
    /// Starts seen, of all singletons.
    pub starts: u64,
}

impl AtMostOnce {
    /// # Errors
    /// Another instance of the same singleton is running.
    pub fn started(
        &mut self,
        now: Instant,
        singleton: &str,
        instance: InstanceId,
        node: NodeId,
        generation: Generation,
    ) -> Result<(), Violation> {
        self.starts += 1;
        let running = self.running.entry(singleton.to_owned()).or_default();
        let other = running.values().next().cloned();
        running.insert(instance, Running { node, generation, since: now });
        let Some(other) = other else { return Ok(()) };
        let what = format!(
            "{singleton}: generation {generation} starts on n{} at {} ms, while generation {} runs on n{} since {} ms",
            node.0,
            now.as_millis(),
            other.generation,
            other.node.0,
            other.since.as_millis(),
        );
        Err(Violation { promise: "at most once", what })
    }

    pub fn ended(&mut self, singleton: &str, instance: InstanceId) {
        if let Some(running) = self.running.get_mut(singleton) {
            running.remove(&instance);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlap_is_found_and_a_handover_is_not() {
        let mut check = AtMostOnce::default();
        let at = Instant::from_millis;
        check.started(at(1), "db", InstanceId(1), NodeId(1), Generation(1)).unwrap();
        check.started(at(1), "web", InstanceId(2), NodeId(1), Generation(2)).unwrap();
        check.ended("db", InstanceId(1));
        check.started(at(2), "db", InstanceId(3), NodeId(2), Generation(3)).unwrap();
        assert!(check.started(at(3), "db", InstanceId(4), NodeId(3), Generation(4)).is_err());
    }
}
