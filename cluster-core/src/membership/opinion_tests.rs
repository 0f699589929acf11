//! Scripts of second opinions: what happens to one node, and what the others find.

use super::{lab::*, opinion::*, *};
use crate::{ledger::NodeState, timing::LAN};

fn reports(lab: &Lab, host: usize) -> Vec<(u64, usize)> {
    let of = |(ms, e): &(u64, Effect)| match e {
        Effect::Report(report) => Some((*ms, report.findings.len())),
        _ => None,
    };
    lab.hosts[host].log.iter().filter_map(of).collect()
}

#[test]
fn each_verdict_by_what_is_known() {
    use {AgentState::*, DialOutcome::*, Trouble::*};
    let opinion = |keeper, dial, hears| (id(7), Opinion { keeper, dial, hears });
    let nothing = opinion(None, Some(NoRoute), false);
    let (gone, stalled) = (Verdict::Trouble(AgentGone), Verdict::Trouble(AgentStalled));
    let (link, host) = (Verdict::Trouble(LinkBad), Verdict::Trouble(HostGone));
    let table = [
        (None, None, vec![], false, host),
        (None, Some(NoRoute), vec![nothing, nothing, nothing], true, host),
        (None, Some(NoRoute), vec![nothing, opinion(None, None, true)], false, Verdict::Unsure),
        (None, Some(NoRoute), vec![opinion(Some(Up), None, false)], false, link),
        (None, Some(NoRoute), vec![opinion(None, Some(Answered), false)], false, link),
        (Some(Gone), Some(Refused), vec![opinion(None, Some(Answered), false)], false, link),
        (None, Some(NoRoute), vec![opinion(Some(Gone), None, true)], false, gone),
        (None, Some(NoRoute), vec![opinion(Some(Stalled), None, false)], false, stalled),
        (None, Some(NoRoute), vec![opinion(None, Some(Refused), false)], false, gone),
        (None, Some(NoRoute), vec![opinion(None, Some(Silent), false)], false, stalled),
        (None, Some(Refused), vec![], false, gone),
        (None, Some(Silent), vec![nothing], false, stalled),
        (Some(Gone), Some(Refused), vec![], false, gone),
        (Some(Stalled), Some(Silent), vec![], false, stalled),
        (Some(Up), Some(Refused), vec![], false, gone),
        (Some(Up), Some(Silent), vec![], false, Verdict::Cleared),
        (Some(Up), Some(Silent), vec![], true, stalled),
        (Some(Up), Some(NoRoute), vec![], true, Verdict::Cleared),
        (Some(Stalled), Some(Answered), vec![], false, Verdict::Cleared),
    ];
    for (keeper, dial, helpers, long, verdict) in table {
        let evidence = Evidence { keeper, dial, helpers, long };
        assert_eq!(weigh(&evidence), verdict, "{evidence:?}");
    }
}

#[test]
fn others_are_asked_after_150_ms_and_the_verdict_falls_at_350() {
    let mut inquiry = Inquiry::new(Instant::ZERO);
    inquiry.for_itself(Instant::ZERO, 9, false, false, &LAN);
    let at = Instant::from_millis;
    assert_eq!((inquiry.step(at(99), None, &LAN), inquiry.due(&LAN)), (None, Some(at(100))));
    assert_eq!(inquiry.step(at(100), None, &LAN), Some(Step::Dial));
    assert_eq!(inquiry.step(at(149), None, &LAN), None);
    assert_eq!(inquiry.due(&LAN), Some(at(150)));
    assert_eq!(inquiry.step(at(150), None, &LAN), Some(Step::AskHelp));
    inquiry.asked(vec![id(1), id(2)]);
    assert_eq!(inquiry.step(at(349), None, &LAN), None);
    let opinion = Opinion { keeper: Some(AgentState::Up), dial: None, hears: false };
    inquiry.help_answered(id(5), opinion);
    assert_eq!(inquiry.evidence().helpers, [], "it wasn't asked");
    inquiry.help_answered(id(2), opinion);
    inquiry.help_answered(id(2), Opinion { keeper: None, ..opinion });
    assert_eq!(inquiry.evidence().helpers, [(id(2), opinion)], "the first word counts");
    assert!(!inquiry.probe_answered(8, AgentState::Up), "the answer to another burst");
    assert_eq!(inquiry.step(at(350), None, &LAN), Some(Step::Verdict(Verdict::Trouble(Trouble::LinkBad))));
    assert!(inquiry.is_over());
}

#[test]
fn a_keeper_that_vouches_soon_saves_the_connection() {
    let began = |ended, long| {
        let mut inquiry = Inquiry::new(Instant::ZERO);
        inquiry.for_itself(Instant::ZERO, 9, ended, long, &LAN);
        inquiry
    };
    let at = Instant::from_millis;
    let mut silent = began(false, false);
    assert_eq!(silent.step(at(0), None, &LAN), None);
    assert!(silent.probe_answered(9, AgentState::Up));
    assert_eq!(silent.step(at(30), None, &LAN), Some(Step::Verdict(Verdict::Cleared)));
    let mut stalled = began(false, false);
    assert!(stalled.probe_answered(9, AgentState::Stalled));
    assert_eq!(stalled.step(at(99), None, &LAN), None);
    assert_eq!(stalled.step(at(100), None, &LAN), Some(Step::Dial));
    let mut long = began(false, true);
    assert!(long.probe_answered(9, AgentState::Up), "which may only look so");
    assert_eq!(long.step(at(100), None, &LAN), Some(Step::Dial));
    let mut ended = began(true, false);
    assert_eq!(ended.step(at(0), None, &LAN), Some(Step::Dial));
    assert!(ended.probe_answered(9, AgentState::Up));
    assert_eq!(ended.step(at(10), None, &LAN), None, "its connection may tell more");
}

#[test]
fn who_helps_answers_at_once_when_it_knows_and_in_time_when_it_does_not() {
    let mut inquiry = Inquiry::new(Instant::ZERO);
    let at = Instant::from_millis;
    inquiry.helps(at(0), 3, &LAN);
    inquiry.for_another(at(0), id(1));
    inquiry.for_another(at(0), id(1));
    inquiry.for_another(at(20), id(2));
    assert_eq!(inquiry.step(at(49), None, &LAN), None, "the keeper may yet answer");
    assert_eq!(inquiry.due(&LAN), Some(at(50)));
    assert_eq!(inquiry.step(at(100), None, &LAN), Some(Step::Dial));
    assert_eq!(inquiry.step(at(100), None, &LAN), None);
    let none = Opinion { keeper: None, dial: None, hears: true };
    assert_eq!(inquiry.step(at(150), Some(at(1)), &LAN), Some(Step::Answer { to: id(1), opinion: none }));
    assert_eq!(inquiry.step(at(150), Some(at(1)), &LAN), None);
    assert!(inquiry.probe_answered(3, AgentState::Stalled));
    let stalled = Opinion { keeper: Some(AgentState::Stalled), dial: None, hears: false };
    assert_eq!(inquiry.step(at(151), None, &LAN), Some(Step::Answer { to: id(2), opinion: stalled }));
    assert!(inquiry.is_over());

    let mut answered = Inquiry::new(Instant::ZERO);
    answered.helps(at(0), 4, &LAN);
    answered.for_another(at(0), id(1));
    assert!(answered.probe_answered(4, AgentState::Up));
    assert!(matches!(answered.step(at(20), None, &LAN), Some(Step::Answer { .. })));
    assert_eq!(
        (answered.step(at(60), None, &LAN), answered.due(&LAN)),
        (None, None),
        "no connection is tried"
    );
}

#[test]
fn a_stopped_agent_is_stalled_and_its_host_then_lost_is_found_as_fast_as_ever() {
    for seed in 0..20 {
        let mut lab = Lab::formed(5, seed);
        lab.run_to(10_000);
        lab.stop(3, 600_000);
        lab.run_to(14_000);
        for host in [0, 1, 2, 4] {
            assert_eq!(lab.findings(host), "n4 AgentStalled", "as n{} finds it", host + 1);
        }
        let off = 40_000 + seed * 30;
        lab.run_to(off);
        assert_eq!(lab.declarations(), [], "its host lives");
        lab.power_off(3);
        lab.run_to(off + 5_000);
        let declared = lab.declarations();
        assert_eq!(declared.len(), 1);
        assert!((off + 650..off + 1_400).contains(&declared[0].0), "{declared:?} after {off}");
    }
}

#[test]
fn a_stopped_agent_without_a_keeper_is_found_by_connections_alone() {
    let mut lab = Lab::formed(5, 1);
    lab.hosts[3].keeper = false;
    lab.run_to(10_000);
    lab.stop(3, 600_000);
    lab.run_to(14_000);
    assert_eq!(lab.findings(0), "n4 AgentStalled");
    lab.run_to(40_000);
    assert_eq!(lab.declarations(), []);
    lab.power_off(3);
    lab.run_to(41_500);
    assert_eq!(lab.declarations().len(), 1, "{:?}", lab.findings(0));
}

#[test]
fn a_stopped_agent_that_goes_on_is_well_at_once() {
    let mut lab = Lab::formed(5, 1);
    lab.run_to(10_000);
    lab.stop(3, 20_000);
    lab.run_to(29_000);
    assert_eq!(lab.findings(0), "n4 AgentStalled");
    lab.run_to(31_500);
    for host in 0..5 {
        assert_eq!(lab.findings(host), "", "as n{} finds it", host + 1);
    }
    for host in [0, 1, 2, 4] {
        let told = reports(&lab, host);
        assert_eq!(told.last().map(|r| r.1), Some(0), "the last report is an empty one");
        let repeated = told.windows(2).filter(|w| w[1].0 - w[0].0 > 900 && w[1].1 > 0 && w[0].1 > 0).count();
        assert_eq!(repeated, 0, "while there are findings they are told each heartbeat: {told:?}");
        assert!((30..80).contains(&told.len()), "and not oftener: {}", told.len());
    }
}

#[test]
fn only_the_way_from_here_is_bad() {
    let mut lab = Lab::formed(5, 1);
    lab.run_to(10_000);
    lab.cuts.extend([(3, 0), (0, 3)]);
    lab.run_to(12_000);
    assert_eq!(lab.findings(0), "n4 LinkBad");
    assert_eq!(lab.findings(1), "");
    assert_eq!(lab.list(0), "n1 alive, n2 alive, n3 alive, n4 alive, n5 alive", "nobody is suspect");
    lab.power_off(3);
    lab.run_to(16_000);
    assert_eq!(lab.declarations().len(), 1, "a bad link doesn't hide a death");
}

#[test]
fn one_way_loss_kills_nobody() {
    let mut lab = Lab::formed(5, 1);
    lab.run_to(10_000);
    lab.cuts.insert((3, 0));
    lab.run_to(60_000);
    assert_eq!(lab.declarations(), []);
    lab.cuts.clear();
    lab.run_to(70_000);
    for host in 0..5 {
        assert_eq!(lab.findings(host), "");
    }
}

/// Ten of a thousand questions at once would make a helper a flood.
#[test]
fn help_is_bounded_and_questions_about_one_subject_are_one_burst() {
    let mut lab = Lab::formed(3, 1);
    let (now, mut effects) = (lab.now, Vec::new());
    let far = |n: u64| MemberRecord { node: NodeId(n), ..record(2, 1, n) };
    let members: Vec<MemberRecord> = (100..200).map(far).collect();
    let hello = Hello { record: record(2, 1, 102), members };
    lab.hosts[0].members.step(now, Event::Hello(hello), &mut effects);
    effects.clear();
    for subject in 100..200 {
        for by in [id(1), id(2)] {
            lab.hosts[0].members.step(now, Event::HelpAsked { by, subject: NodeId(subject) }, &mut effects);
        }
    }
    let bursts: Vec<u32> = effects
        .iter()
        .filter_map(|e| if let Effect::ProbeBurst { count, .. } = e { Some(*count) } else { None })
        .collect();
    assert_eq!(bursts.len(), watch::HELP_MAX);
    assert!(bursts.iter().all(|count| *count <= 5), "{bursts:?}");
    effects.clear();
    for ms in [50, 100, 150, 200] {
        lab.hosts[0].members.step(now + Duration::from_millis(ms), Event::Tick, &mut effects);
    }
    let answers = effects.iter().filter(|e| matches!(e, Effect::AnswerHelp { .. })).count();
    assert_eq!(answers, 2 * watch::HELP_MAX, "each asker is answered");
}

#[test]
fn who_is_starved_itself_says_nothing_against_others() {
    let mut lab = Lab::formed(5, 1);
    lab.run_to(10_000);
    // Kept from reading again and again, it hears late and is asked to blame others.
    for round in 0..200 {
        lab.run_to(10_000 + round * 300);
        lab.pause(0, 200);
    }
    assert!(lab.hosts[0].members.report(lab.now).health >= 5);
    lab.power_off(3);
    for round in 200..230 {
        lab.run_to(10_000 + round * 300);
        lab.pause(0, 200);
    }
    assert_eq!(reports(&lab, 0), [], "it knows that it can't tell");
    assert_eq!(lab.declarations().len(), 1, "the others can");
}

#[test]
fn a_joiner_is_watched_by_whom_it_greeted_alone() {
    let mut lab = Lab::new(13, 1);
    lab.power_off(12);
    lab.run_to(1_000);
    lab.commit();
    lab.run_to(3_000);
    lab.start(12);
    lab.run_to(8_000);
    let watches = |lab: &Lab, host: usize| lab.hosts[host].members.silence(lab.now, id(12)).is_some();
    let watching = (0..12).filter(|host| watches(&lab, *host)).count();
    assert!(watches(&lab, 0) && watching <= 3, "the seed, and whom it tried while alone: {watching}");
    assert!((0..12).all(|host| lab.list(host).ends_with("n13 alive")), "everyone knows it");
    lab.power_off(12);
    lab.run_to(12_000);
    assert!((0..12).all(|host| lab.list(host).ends_with("n13 suspect")));
    assert_eq!(reports(&lab, 0), [], "no voter is told of who is in no view");
}

#[test]
fn old_edges_stay_until_the_new_ones_deliver() {
    let mut lab = Lab::formed(20, 3);
    lab.run_to(10_000);
    let watched = |lab: &Lab, host: usize| -> BTreeSet<NodeId> {
        (0..20).map(id).filter(|n| lab.hosts[host].members.silence(lab.now, *n).is_some()).collect()
    };
    let before: Vec<BTreeSet<NodeId>> = (0..20).map(|host| watched(&lab, host)).collect();
    // n20 leaves the view; its neighbours get new edges, over which nothing passes yet.
    let blocked: Vec<(usize, usize)> = (0..20).flat_map(|a| (0..20).map(move |b| (a, b))).collect();
    let fresh: Vec<(usize, usize)> =
        blocked.into_iter().filter(|(a, b)| a != b && !before[*a].contains(&id(*b))).collect();
    lab.cuts.extend(fresh);
    lab.power_off(19);
    lab.view.members.iter_mut().filter(|m| m.node == id(19)).for_each(|m| m.state = NodeState::Dead);
    lab.publish();
    lab.run_to(11_000);
    let changed: Vec<usize> =
        (0..19).filter(|host| !watched(&lab, *host).is_subset(&before[*host])).collect();
    assert!(!changed.is_empty(), "some have old and new edges");
    for host in &changed {
        assert!(before[*host].is_subset(&watched(&lab, *host)), "n{} keeps its old edges", host + 1);
    }
    lab.run_to(16_500);
    for host in changed {
        assert!(!before[host].is_subset(&watched(&lab, host)), "n{} gave them up in the end", host + 1);
    }
}

#[test]
fn a_cluster_of_fifty_is_watched_along_the_overlay_and_finds_its_dead() {
    let mut lab = Lab::formed(50, 2);
    lab.run_to(20_000);
    for host in 0..50 {
        let watched = (0..50).filter(|o| lab.hosts[host].members.silence(lab.now, id(*o)).is_some()).count();
        assert!((7..=10).contains(&watched), "n{} watches {watched}", host + 1);
        assert_eq!(lab.hosts[host].members.members().count(), 50);
    }
    let (sent, bursts) = (lab.sent, lab.bursts);
    lab.run_to(30_000);
    assert!(lab.sent - sent <= 50 * 10 * 26, "ten heartbeats each 400 ms: {}", lab.sent - sent);
    assert_eq!(lab.bursts - bursts, 0, "all is calm");
    [3, 17, 33].into_iter().for_each(|host| lab.power_off(host));
    lab.run_to(40_000);
    let declared: Vec<String> = lab.declarations().into_iter().map(|(_, names)| names).collect();
    assert_eq!(declared, ["n4 n18 n34"]);
}

#[test]
fn an_open_inquiry_is_told_once_others_are_asked_and_ends_with_what_is_found() {
    let told = |lab: &Lab| {
        let of = |(ms, e): &(u64, Effect)| match e {
            Effect::Report(r) => Some((*ms, r.findings.len(), r.asking.clone())),
            _ => None,
        };
        lab.hosts[0].log.iter().filter_map(of).collect::<Vec<_>>()
    };
    let mut lab = Lab::formed(5, 3);
    lab.run_to(10_000);
    lab.power_off(4);
    lab.run_to(12_500);
    let reports = told(&lab);
    let (asked, found) = (&reports[0], reports.iter().find(|r| r.1 == 1).expect("it is found gone"));
    assert_eq!((asked.1, &asked.2[..]), (0, &[id(4)][..]), "asked first: {reports:?}");
    assert!(found.0 >= asked.0 + 150 && found.2.is_empty(), "{reports:?}");
}
