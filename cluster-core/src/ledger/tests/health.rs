//! Agents that are down on hosts that live, and nodes that the cluster holds back.

use super::*;

fn agent(node: &str, incarnation: u64, state: AgentState, since_ms: u64) -> Body {
    Body::AgentState {
        node: id(node),
        incarnation: Incarnation(incarnation),
        state,
        since: WallTime(since_ms),
        observers: vec![id("n2")],
        evidence: vec!["n2: its host answers, but its agent's process is gone".to_owned()],
    }
}

fn held_back(node: &str, drain: bool) -> Body {
    Body::NodeHeldBack { node: id(node), drain, evidence: vec!["it died 3 times within 10 min".to_owned()] }
}

#[test]
fn an_agents_trouble_stands_until_it_is_up() {
    let mut script = Script::with(&["n1", "n2"]);
    let view = script.ledger.view_epoch;
    script.serve("db", "n1");
    script.ok(agent("n1", 1, AgentState::Gone, 400));
    assert_eq!(script.node("n1").agent.since, Some(WallTime(400)));
    assert_eq!(script.last_event(), EventType::NodeSuspected);
    assert_eq!(script.refused(agent("n1", 1, AgentState::Gone, 500)), "DUPLICATE");
    script.ok(agent("n1", 1, AgentState::Stalled, 900));
    assert_eq!(script.node("n1").agent.since, Some(WallTime(400)), "it is the same trouble");
    assert_eq!(script.ledger.agents_down(), [(id("n1"), AgentState::Stalled)].into());
    script.ok(agent("n1", 1, AgentState::Up, 900));
    assert_eq!(script.node("n1").agent, AgentStanding::default());
    assert_eq!(script.last_event(), EventType::NodeBack);
    assert_eq!(script.placement("db", 0).node, id("n1"), "it was left where it is");
    assert_eq!(script.ledger.view_epoch, view, "no member came or went");
}

#[test]
fn a_new_life_has_an_agent_that_is_up_and_old_words_do_not_touch_it() {
    let mut script = Script::with(&["n1", "n2"]);
    script.ok(agent("n1", 1, AgentState::Gone, 400));
    let Body::NodeUp { node, profile, boot, session, replaces, returning, .. } = node_up("n1", 1, None)
    else {
        panic!()
    };
    script.ok(Body::NodeUp {
        node,
        profile,
        boot,
        session,
        incarnation: Incarnation(2),
        replaces,
        returning,
    });
    assert_eq!(script.node("n1").agent.state, AgentState::Up);
    assert_eq!(script.last_event(), EventType::NodeBack);
    assert_eq!(script.refused(agent("n1", 1, AgentState::Gone, 400)), "STALE");
    script.dies("n1");
    assert_eq!(script.refused(agent("n1", 2, AgentState::Gone, 400)), "NOT_ALIVE");
    assert_eq!(script.refused(agent("n9", 1, AgentState::Gone, 400)), "NOT_FOUND");
}

#[test]
fn a_quarantined_node_is_given_no_work_and_keeps_what_it_has() {
    let mut script = Script::with(&["n1", "n2"]);
    script.serve("db", "n1");
    script.ok(held_back("n1", false));
    assert_eq!(script.node("n1").scheduling, Scheduling::Quarantined);
    assert_eq!(script.refused(held_back("n1", false)), "NODE_NOT_ELIGIBLE");
    script.apply(singleton("web"));
    assert_eq!(script.refused(script.placed("web", 0, "n1")), "NODE_NOT_ELIGIBLE");
    assert!(script.placement("db", 0).evicted.is_none());
    script.ok(Body::NodeReleased { node: id("n1"), evidence: vec![] });
    script.place("web", 0, "n1");
    assert_eq!(script.refused(Body::NodeReleased { node: id("n1"), evidence: vec![] }), "NOT_HELD_BACK");
}

#[test]
fn a_persons_word_takes_over_from_the_clusters() {
    let mut script = Script::with(&["n1", "n2"]);
    script.dies("n1");
    script.ok(node_up("n1", 1, None));
    script.ok(held_back("n1", false));
    script.ok(Body::NodeDraining { node: id("n1") });
    assert_eq!(script.node("n1").scheduling, Scheduling::Drained);
    assert_eq!(script.refused(Body::NodeReleased { node: id("n1"), evidence: vec![] }), "NOT_HELD_BACK");
    assert_eq!(script.node("n1").deaths.len(), 1);
    script.ok(Body::NodeUndrained { node: id("n1") });
    assert_eq!(script.node("n1").deaths.len(), 0, "and what was is forgiven");
}

#[test]
fn a_sick_node_that_is_drained_stays_the_clusters_to_give_back() {
    let mut script = Script::with(&["n1", "n2"]);
    script.ok(held_back("n1", true));
    assert_eq!(script.node("n1").scheduling, Scheduling::Drained, "nothing was placed there");
    script.ok(Body::NodeReleased { node: id("n1"), evidence: vec![] });
    assert_eq!(script.node("n1").scheduling, Scheduling::Eligible);
}

#[test]
fn the_times_of_few_deaths_are_kept() {
    let mut script = Script::with(&["n1", "n2"]);
    for _ in 0..crate::limits::DEATHS_MAX + 3 {
        script.now_ms += 1_000;
        script.dies("n1");
        script.ok(node_up("n1", 1, None));
    }
    assert_eq!(script.node("n1").deaths.len(), crate::limits::DEATHS_MAX);
    assert_eq!(script.node("n1").deaths.last(), Some(&WallTime(script.now_ms)));
}
