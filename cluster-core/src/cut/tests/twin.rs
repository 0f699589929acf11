//! The counting against its dumb twin: one that keeps every report that ever came and looks through all of them.

use super::*;
use crate::cut::{
    marks::Marks,
    reports::Reports,
    roster::Roster,
    tally::{Tally, tally},
};
use proptest::prelude::*;

/// Enough for rings, few enough that random reports meet.
const MEMBERS: u64 = 14;
const ME: NodeId = NodeId(3);
const LIVES: Duration = Duration::from_millis(1_200);

#[derive(Clone, Debug)]
struct Said {
    at: u64,
    report: Report,
}

fn finding() -> impl Strategy<Value = Found> {
    let trouble = prop_oneof![
        6 => Just(Trouble::HostGone),
        1 => Just(Trouble::AgentGone),
        1 => Just(Trouble::AgentStalled),
        1 => Just(Trouble::LinkBad),
    ];
    // Few subjects, so that many speak of the same.
    (1u64..=5, 0u64..=2, trouble).prop_map(|(node, incarnation, trouble)| Found {
        node: NodeId(node),
        incarnation: Incarnation(incarnation),
        trouble,
        silence: ms(1_000),
        suspected: ms(350),
        ended: None,
        helpers_asked: 0,
        helpers_answered: 0,
        dial: None,
    })
}

fn said() -> impl Strategy<Value = Said> {
    (0u64..400, 1u64..=MEMBERS, 1u64..=2, prop::collection::vec(finding(), 0..5)).prop_map(
        |(at, observer, view, findings)| {
            let (observer, view) = (NodeId(observer), ViewEpoch(view));
            Said { at, report: Report { observer, view, health: 0, findings, asking: vec![] } }
        },
    )
}

/// A view in which some are dead, and node 2 began a new life with the second one.
fn view(epoch: u64, dead: &BTreeSet<u64>) -> View {
    let mut members: Vec<ViewMember> = (1..=MEMBERS).map(|n| member(NodeId(n))).collect();
    for m in &mut members {
        m.state = if dead.contains(&m.node.0) { NodeState::Dead } else { NodeState::Alive };
        m.incarnation = Incarnation(if m.node == NodeId(2) { epoch } else { 1 });
    }
    View { epoch: ViewEpoch(epoch), members }
}

/// What everyone says at this moment, by looking through all that was ever said.
struct Twin<'a> {
    said: &'a [Said],
    now: u64,
    living: BTreeSet<NodeId>,
}

impl Twin<'_> {
    /// The observer's newest report, if it still counts; of an older view than one before it: not a report at all.
    fn word(&self, observer: NodeId) -> Option<&Report> {
        let mut newest: Option<&Said> = None;
        for said in self.said.iter().filter(|said| said.report.observer == observer) {
            let live = newest.filter(|n| ms(said.at - n.at) <= LIVES);
            if live.is_none_or(|n| n.report.view <= said.report.view) {
                newest = Some(said);
            }
        }
        newest.filter(|n| ms(self.now - n.at) <= LIVES && self.living.contains(&observer)).map(|n| &n.report)
    }

    fn trouble(&self, observer: NodeId, subject: NodeId) -> Option<Trouble> {
        let reborn = subject == NodeId(2);
        let word = self.word(observer)?;
        let finding = word.findings.iter().rev().find(|f| f.node == subject && f.node != observer)?;
        let (life, knows) = if reborn { (2, 2) } else { (1, 1) };
        (finding.incarnation.0 >= life && word.view.0 >= knows).then_some(finding.trouble)
    }

    fn observers(&self, subject: NodeId) -> Vec<NodeId> {
        Overlay::of(&self.living).watchers(subject).to_vec()
    }

    fn accusers(&self, subject: NodeId) -> Vec<NodeId> {
        let mut observers = self.observers(subject);
        observers.retain(|o| self.trouble(*o, subject) == Some(Trouble::HostGone));
        observers
    }

    fn marks(&self, subject: NodeId) -> Marks {
        Marks::of(self.observers(subject).len())
    }

    /// Rounds of looking at everybody, more than there can be news in.
    fn gone(&self) -> BTreeSet<NodeId> {
        let mut gone = BTreeSet::new();
        for _ in 0..=MEMBERS {
            let known = gone.clone();
            gone.extend(self.living.iter().filter(|&&n| {
                let accusers = self.accusers(n).len();
                accusers + self.implied(n, &known).len() >= self.marks(n).high
            }));
        }
        gone
    }

    fn implied(&self, subject: NodeId, gone: &BTreeSet<NodeId>) -> Vec<NodeId> {
        let mut observers = self.observers(subject);
        let enough = self.accusers(subject).len() > self.marks(subject).low;
        observers
            .retain(|o| enough && self.trouble(*o, subject).is_none() && self.mute(*o) && gone.contains(o));
        observers
    }

    fn mute(&self, observer: NodeId) -> bool {
        observer != ME && self.word(observer).is_none()
    }

    fn host_lives(&self, subject: NodeId) -> Vec<NodeId> {
        let mut observers = self.observers(subject);
        observers.retain(|o| self.trouble(*o, subject).is_some_and(|t| t != Trouble::HostGone));
        observers
    }

    fn are_last_witnesses(&self, subject: NodeId) -> bool {
        let silent = |o: &NodeId| self.mute(*o) && self.accusers(*o).len() >= 2;
        let observers = self.observers(subject);
        let mut rest = observers.iter().filter(|o| self.trouble(**o, subject).is_none());
        self.accusers(subject).len() >= 2 && self.host_lives(subject).is_empty() && rest.all(silent)
    }
}

proptest! {
    #[test]
    fn counts_as_its_dumb_twin_does(
        before in prop::collection::vec(said(), 0..60),
        dead in prop::collection::btree_set(6u64..=MEMBERS, 0..6),
        after in prop::collection::vec(said(), 0..60),
    ) {
        let (mut reports, mut roster) = (Reports::default(), Roster::default());
        let mut now = 0;
        let mut hear = |reports: &mut Reports, roster: &Roster, said: &mut Said| {
            now += said.at / 8;
            said.at = now;
            reports.expire(Instant::from_millis(now), LIVES);
            if roster.get(said.report.observer).is_some() {
                reports.hear(Instant::from_millis(now), said.report.clone());
            }
        };
        let (mut before, mut after) = (before, after);
        roster.commit(&view(1, &BTreeSet::new()));
        before.iter_mut().for_each(|said| hear(&mut reports, &roster, said));
        roster.commit(&view(2, &dead));
        reports.keep(&roster.ids());
        after.iter_mut().for_each(|said| hear(&mut reports, &roster, said));
        let all: Vec<Said> = before.into_iter().chain(after).collect();
        let twin = Twin { said: &all, now, living: roster.ids() };
        let tallies = tally(ME, &reports, &roster);
        let gone = twin.gone();
        for subject in (1..=MEMBERS).map(NodeId).filter(|n| twin.living.contains(n)) {
            let none = Tally {
                marks: twin.marks(subject),
                accusers: vec![],
                implied: vec![],
                host_lives: vec![],
                agent: vec![],
                others: twin.observers(subject),
                accused: vec![],
                last_witnesses: false,
            };
            let tally = tallies.get(&subject).unwrap_or(&none);
            prop_assert_eq!(&tally.accusers, &twin.accusers(subject), "accusers of {}", subject);
            prop_assert_eq!(&tally.implied, &twin.implied(subject, &gone), "implied of {}", subject);
            prop_assert_eq!(&tally.host_lives, &twin.host_lives(subject), "host lives of {}", subject);
            prop_assert_eq!(tally.last_witnesses, twin.are_last_witnesses(subject), "last of {}", subject);
            let known = tally.accusers.len() + tally.implied.len() + tally.host_lives.len();
            prop_assert_eq!(known + tally.others.len(), twin.observers(subject).len());
        }
    }
}
