//! Whatever is proposed, in whatever order: the ledger doesn't panic, refusals change nothing, generations grow, and
//! a singleton is never placed while it may still run elsewhere.
//!
//! What may still run is judged by a model that knows nothing of slots: it notes who was placed under which epoch, and
//! forgets it only when its node confirms the end, or the epoch is safe.

use super::{
    wishes::{Wish, proposal, wish},
    *,
};
use crate::limits::NODE_GONE_LISTED_MS;
use proptest::{collection::vec, prelude::*};

/// Who may run, by the plainest book-keeping: placed, and neither confirmed to have ended nor under a safe epoch.
#[derive(Default)]
struct Model {
    may_run: Vec<(String, NodeId, LeaseEpoch, Generation)>,
    generation: Generation,
}

impl Model {
    fn check(&mut self, ledger: &Ledger, body: &Body, reply: &Reply) {
        match (body, reply) {
            (Body::Placed { workload, node, epoch, .. }, Reply::Generation(generation)) => {
                assert!(*generation > self.generation, "generations only grow");
                self.generation = *generation;
                let twice = self.may_run.iter().find(|(name, ..)| name == workload);
                if ledger.workloads[workload].spec.kind == Kind::Singleton {
                    assert!(twice.is_none(), "{workload} may still run: {twice:?}");
                }
                self.may_run.push((workload.clone(), *node, *epoch, *generation));
            }
            (
                Body::InstanceReported {
                    node,
                    generation,
                    report: Report::Ended { .. } | Report::GaveUp { .. },
                    ..
                },
                Reply::Done,
            ) => {
                self.may_run.retain(|(_, on, _, placed)| (on, placed) != (node, generation));
            }
            (Body::EpochSafe { epoch, .. }, Reply::Done) => {
                self.may_run.retain(|(_, _, under, _)| under != epoch);
            }
            _ => {}
        }
    }
}

/// What must hold of the ledger after every entry.
fn consistent(ledger: &Ledger) {
    for (id, node) in &ledger.nodes {
        assert!(
            node.state == NodeState::Alive || node.epoch == LeaseEpoch(0),
            "{id} holds a lease and isn't alive"
        );
        assert!(!ledger.revocations.contains_key(&node.epoch), "{id} holds an epoch that ended");
        assert!(node.failure.is_none_or(|f| ledger.failures[&f].recovered_at.is_none()));
        let drained = node.scheduling == Scheduling::Drained;
        let eligible = node.scheduling == Scheduling::Eligible;
        assert!(!eligible || node.held_back.is_none(), "{id} is held back and eligible");
        assert!(node.scheduling != Scheduling::Quarantined || node.held_back.is_some());
        assert!((node.agent.state == AgentState::Up) == node.agent.since.is_none());
        assert!(!drained || ledger.placements_on(*id).next().is_none(), "{id} is drained and has work");
    }
    for (name, index, placement) in ledger.placements() {
        assert!(
            ledger.is_current(placement.node, placement.epoch),
            "{name} {index} is placed without a lease"
        );
    }
    for (name, workload) in &ledger.workloads {
        for (index, slot) in &workload.slots {
            assert_eq!(
                slot.waits_for,
                ledger.blocking_epoch(name, *index),
                "{name} {index} waits for the wrong one"
            );
            assert!(slot.failure.is_none_or(|f| ledger.failures[&f].recovered_at.is_none()));
            assert!(
                *index < workload.spec.replicas || slot.placement.is_some(),
                "an empty surplus slot stayed"
            );
        }
    }
    let unlinked = |id: FailureId, f: &Failure| ledger.failure_of(&f.subject) != Some(id);
    assert!(!ledger.open_failures().any(|(id, f)| unlinked(id, f)), "an open failure that nothing can close");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_proposed_the_promises_hold(wishes in vec((wish(), 0u64..400), 1..120)) {
        let mut script = Script::new();
        let mut twin = Script::new();
        let mut model = Model::default();
        for (wish, passed_ms) in &wishes {
            let body = proposal(&script.ledger, wish);
            for script in [&mut script, &mut twin] {
                script.now_ms += passed_ms + if matches!(wish, Wish::Forget) { NODE_GONE_LISTED_MS } else { 0 };
            }
            let before = script.ledger.clone();
            let reply = script.propose(body.clone());
            if let Reply::Rejected(rejection) = &reply {
                let (applied, clock, format) = (script.ledger.applied, script.ledger.clock, script.ledger.format);
                let same = Ledger { applied, clock, format, ..before } == script.ledger;
                prop_assert!(same, "a refusal changed something: {rejection:?} {body:?}");
            }
            model.check(&script.ledger, &body, &reply);
            consistent(&script.ledger);
            prop_assert_eq!(twin.propose(body), reply);
        }
        prop_assert_eq!(script.ledger, twin.ledger);
    }
}
