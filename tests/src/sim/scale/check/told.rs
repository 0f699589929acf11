//! Promise 4, one failure, one alert: of one outage each channel gets one message that lists all who died, and one that
//! lists all who are back.
//!
//! A leader that fell between a message and its answer may have it repeated, once for each such fall; the repetition is
//! marked where the provider doesn't know it by its key. Nothing else is told to anybody.

use crate::sim::{
    check::Violation,
    scale::{
        ground::CHANNELS,
        node::id,
        options::Tells,
        provider::{Got, Listed},
        world::World,
    },
};
use cluster_core::{
    ledger::{Channel, Phase},
    recovery::brake,
};
use std::collections::{BTreeMap, BTreeSet};

/// What people heard.
#[derive(Clone, Copy, Debug)]
struct Heard<'a> {
    got: &'a [Got],
    /// By message: how many leaders fell that had begun to send it, before the ledger said what came of that.
    unheard: &'a BTreeMap<u64, u32>,
}

impl World {
    /// # Errors
    /// People weren't told what they should be, or the ledger isn't what all nodes go by.
    pub(crate) fn verdict_of_the_desk(&self) -> Result<(), Violation> {
        let (Some(desk), Some(Tells { lost })) = (&self.desk, &self.options.tells) else { return Ok(()) };
        let viewed = self.office.view.members.iter().map(|m| (m.node, m.state));
        if !desk.states().eq(viewed) {
            let what = "the ledger's nodes and the view's differ".to_owned();
            return Err(Violation { promise: "all agree", what });
        }
        let heard = Heard { got: &desk.providers.got, unheard: &desk.providers.unheard };
        let members = self.nodes.len();
        let braked = lost.len() > brake::ALWAYS_MOVED.max(members * brake::MOVED_PERCENT / 100);
        let lost = lost.iter().map(|node| format!("node-{}", id(*node).0)).collect();
        CHANNELS.into_iter().try_for_each(|(channel, kind)| told(heard, (channel, kind), &lost, braked))
    }
}

/// `braked`: so many died that nothing is moved, which is told with them.
///
/// # Errors
/// The channel got something else than two messages about all of these.
fn told(
    heard: Heard<'_>,
    (channel, kind): (&str, &str),
    lost: &BTreeSet<String>,
    braked: bool,
) -> Result<(), Violation> {
    let fail = |what: String| {
        Err(Violation { promise: "one failure, one alert", what: format!("{channel} got {what}") })
    };
    let mut messages: Vec<&Got> = Vec::new();
    let mut times: BTreeMap<u64, u32> = BTreeMap::new();
    for got in heard.got.iter().filter(|got| got.channel == channel) {
        let times = times.entry(got.id).or_default();
        *times += 1;
        if *times == 1 {
            messages.push(got);
        } else if *times - 1 > heard.unheard.get(&got.id).copied().unwrap_or(0) {
            return fail(format!("message {} {times} times, and nothing had happened to its sender", got.id));
        } else if !got.repeated && !Channel::new(kind, 0).is_keyed() {
            return fail(format!("message {} again, without a mark", got.id));
        }
    }
    let [firing, over] = messages.as_slice() else {
        let say = |got: &&Got| {
            let fire = got.lists.iter().filter(|(_, _, phase)| *phase == Phase::Firing).count();
            let names: BTreeSet<&str> = got.lists.iter().map(|(name, _, _)| name.as_str()).collect();
            let (at, over) = (got.at / 1_000_000, got.lists.len() - fire);
            format!("at {at} ms {fire} firing and {over} over {names:?}")
        };
        let said: Vec<String> = messages.iter().take(8).map(say).collect();
        return fail(format!("{} messages: {}", messages.len(), said.join("; ")));
    };
    for (got, phase) in [(firing, Phase::Firing), (over, Phase::Resolved)] {
        let mut wanted: Vec<Listed> =
            lost.iter().map(|node| ("NodeDead".to_owned(), node.clone(), phase)).collect();
        wanted.extend(braked.then(|| ("BrakeEngaged".to_owned(), String::new(), phase)));
        wanted.sort();
        let mut lists = got.lists.clone();
        lists.sort();
        if lists != wanted {
            let other = lists.iter().find(|listed| !wanted.contains(listed));
            let missing = wanted.iter().find(|listed| !lists.contains(listed));
            return fail(format!(
                "a message that lists {} instead of {}: {other:?} is none of them, {missing:?} isn't there",
                lists.len(),
                wanted.len()
            ));
        }
    }
    if !firing.open || over.open || firing.incident != over.incident {
        return fail("two messages that aren't the beginning and the end of one incident".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn got(id: u64, nodes: &[&str], phase: Phase) -> Got {
        Got {
            at: id,
            id,
            channel: "chat".to_owned(),
            incident: 1,
            open: phase == Phase::Firing,
            repeated: false,
            lists: nodes.iter().map(|n| ("NodeDead".to_owned(), (*n).to_owned(), phase)).collect(),
        }
    }

    fn check(got: &[Got], unheard: &[(u64, u32)]) -> Result<(), Violation> {
        let unheard = unheard.iter().copied().collect();
        let lost = ["a", "b"].map(str::to_owned).into();
        told(Heard { got, unheard: &unheard }, ("chat", "slack"), &lost, false)
    }

    #[test]
    fn two_messages_about_all_are_right_and_anything_else_is_not() {
        let (all, over) = (got(1, &["a", "b"], Phase::Firing), got(2, &["a", "b"], Phase::Resolved));
        assert_eq!(check(&[all.clone(), over.clone()], &[]), Ok(()));
        assert!(check(std::slice::from_ref(&all), &[]).is_err());
        assert!(check(&[got(1, &["a"], Phase::Firing), over.clone()], &[]).is_err());
        let halves = [got(1, &["a"], Phase::Firing), got(3, &["b"], Phase::Firing), over.clone()];
        assert!(check(&halves, &[]).is_err());
        let another = Got { incident: 2, ..over };
        assert!(check(&[all, another], &[]).is_err());
    }

    #[test]
    fn a_repetition_needs_a_fall_and_a_mark() {
        let (all, over) = (got(1, &["a", "b"], Phase::Firing), got(2, &["a", "b"], Phase::Resolved));
        let again = Got { repeated: true, ..all.clone() };
        assert!(check(&[all.clone(), again.clone(), over.clone()], &[]).is_err());
        assert_eq!(check(&[all.clone(), again.clone(), over.clone()], &[(1, 1)]), Ok(()));
        assert!(check(&[all.clone(), again.clone(), again, over.clone()], &[(1, 1)]).is_err());
        assert!(check(&[all.clone(), all, over], &[(1, 1)]).is_err());
    }
}
