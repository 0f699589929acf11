//! Reports, findings and opinions: from wire to core and back, by hand and total.
//!
//! As in `convert`: a number that no build of this feature level writes is an error of the sender.

use super::convert::{Unknown, micros};
use cluster_core::{
    ids::{Incarnation, NodeId, SessionId, ViewEpoch},
    membership::{AgentState, DialOutcome, Finding, Opinion, Report, Trouble},
};
use holdfast_proto::internal as pb;
use std::time::Duration;

/// One report on its way, by two ways: the receiver keeps the newest of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentReport {
    pub session: SessionId,
    pub sequence: u64,
    pub report: Report,
}

pub fn report_to_wire(sent: &SentReport) -> pb::Report {
    let Report { observer, view, health, findings, asking } = &sent.report;
    pb::Report {
        observer: observer.0,
        session: sent.session.0,
        sequence: sent.sequence,
        view_epoch: view.0,
        health: u32::from(*health),
        findings: findings.iter().map(finding_to_wire).collect(),
        asking: asking.iter().map(|node| node.0).collect(),
    }
}

pub fn report_from_wire(w: pb::Report) -> Result<SentReport, Unknown> {
    let report = Report {
        observer: NodeId(w.observer),
        view: ViewEpoch(w.view_epoch),
        health: u8::try_from(w.health).unwrap_or(u8::MAX),
        findings: w.findings.iter().map(finding_from_wire).collect::<Result<_, _>>()?,
        asking: w.asking.into_iter().map(NodeId).collect(),
    };
    Ok(SentReport { session: SessionId(w.session), sequence: w.sequence, report })
}

fn finding_to_wire(f: &Finding) -> pb::Finding {
    pb::Finding {
        node: f.node.0,
        incarnation: f.incarnation.0,
        trouble: match f.trouble {
            Trouble::HostGone => 0,
            Trouble::AgentGone => 1,
            Trouble::AgentStalled => 2,
            Trouble::LinkBad => 3,
        },
        silence_us: micros(f.silence),
        suspected_us: micros(f.suspected),
        ended_us: f.ended.map(micros),
        helpers_asked: u32::from(f.helpers_asked),
        helpers_answered: u32::from(f.helpers_answered),
        dial: dial_number(f.dial),
    }
}

fn finding_from_wire(w: &pb::Finding) -> Result<Finding, Unknown> {
    Ok(Finding {
        node: NodeId(w.node),
        incarnation: Incarnation(w.incarnation),
        trouble: match w.trouble {
            0 => Trouble::HostGone,
            1 => Trouble::AgentGone,
            2 => Trouble::AgentStalled,
            3 => Trouble::LinkBad,
            number => return Err(Unknown { what: "kind of trouble", number }),
        },
        silence: Duration::from_micros(w.silence_us),
        suspected: Duration::from_micros(w.suspected_us),
        ended: w.ended_us.map(Duration::from_micros),
        helpers_asked: u8::try_from(w.helpers_asked).unwrap_or(u8::MAX),
        helpers_answered: u8::try_from(w.helpers_answered).unwrap_or(u8::MAX),
        dial: dial_of(w.dial)?,
    })
}

pub fn opinion_to_wire(o: &Opinion) -> pb::Opinion {
    let keeper = match o.keeper {
        None => 0,
        Some(AgentState::Up) => 1,
        Some(AgentState::Stalled) => 2,
        Some(AgentState::Gone) => 3,
    };
    pb::Opinion { keeper, dial: dial_number(o.dial), hears: o.hears }
}

pub fn opinion_from_wire(w: pb::Opinion) -> Result<Opinion, Unknown> {
    let keeper = match w.keeper {
        0 => None,
        1 => Some(AgentState::Up),
        2 => Some(AgentState::Stalled),
        3 => Some(AgentState::Gone),
        number => return Err(Unknown { what: "state of an agent", number }),
    };
    Ok(Opinion { keeper, dial: dial_of(w.dial)?, hears: w.hears })
}

const fn dial_number(dial: Option<DialOutcome>) -> u32 {
    match dial {
        None => 0,
        Some(DialOutcome::Answered) => 1,
        Some(DialOutcome::Silent) => 2,
        Some(DialOutcome::Refused) => 3,
        Some(DialOutcome::NoRoute) => 4,
    }
}

const fn dial_of(number: u32) -> Result<Option<DialOutcome>, Unknown> {
    match number {
        0 => Ok(None),
        1 => Ok(Some(DialOutcome::Answered)),
        2 => Ok(Some(DialOutcome::Silent)),
        3 => Ok(Some(DialOutcome::Refused)),
        4 => Ok(Some(DialOutcome::NoRoute)),
        number => Err(Unknown { what: "outcome of a dial", number }),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    const DIALS: [Option<DialOutcome>; 5] = [
        None,
        Some(DialOutcome::Answered),
        Some(DialOutcome::Silent),
        Some(DialOutcome::Refused),
        Some(DialOutcome::NoRoute),
    ];

    pub fn sent() -> SentReport {
        let troubles = [Trouble::HostGone, Trouble::AgentGone, Trouble::AgentStalled, Trouble::LinkBad];
        let finding = |(trouble, dial)| Finding {
            node: NodeId(1),
            incarnation: Incarnation(2),
            trouble,
            silence: Duration::from_micros(3),
            suspected: Duration::from_micros(4),
            ended: (trouble == Trouble::AgentGone).then_some(Duration::from_micros(5)),
            helpers_asked: 6,
            helpers_answered: 7,
            dial,
        };
        let findings = troubles.into_iter().cycle().zip(DIALS).map(finding).collect();
        let asking = vec![NodeId(13), NodeId(14)];
        let report = Report { observer: NodeId(8), view: ViewEpoch(9), health: 10, findings, asking };
        SentReport { session: SessionId(11), sequence: 12, report }
    }

    #[test]
    fn a_report_reads_back_and_unknown_numbers_are_refused() {
        assert_eq!(report_from_wire(report_to_wire(&sent())), Ok(sent()));
        let mut wire = report_to_wire(&sent());
        wire.findings[0].trouble = 4;
        assert!(report_from_wire(wire).is_err());
        let mut wire = report_to_wire(&sent());
        wire.findings[0].dial = 5;
        assert!(report_from_wire(wire).is_err());
    }

    #[test]
    fn every_opinion_reads_back() {
        let keepers = [None, Some(AgentState::Up), Some(AgentState::Stalled), Some(AgentState::Gone)];
        for (keeper, dial) in keepers.into_iter().flat_map(|k| DIALS.map(|d| (k, d))) {
            for hears in [false, true] {
                let opinion = Opinion { keeper, dial, hears };
                assert_eq!(opinion_from_wire(opinion_to_wire(&opinion)), Ok(opinion));
            }
        }
        assert!(opinion_from_wire(pb::Opinion { keeper: 4, dial: 0, hears: false }).is_err());
        assert!(opinion_from_wire(pb::Opinion { keeper: 0, dial: 5, hears: false }).is_err());
    }
}
