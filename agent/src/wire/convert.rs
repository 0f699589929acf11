//! Heartbeats, renewals and their answers: from wire to core and back, by hand and total.
//!
//! A number that no build of this feature level writes is an error of the sender: the message is dropped whole.

use super::peer::{role_number, role_of};
use cluster_core::{
    ids::{BootId, ClusterId, Incarnation, LeaseEpoch, LogId, NodeId, SessionId, ViewEpoch},
    lease::{Refusal, Renewal, Verdict},
    limits::clip,
    membership::{Exchange, Heartbeat, MemberRecord, MemberState, SICK_BYTES, VITALS_MAX, Vitals, VitalsOf},
};
use holdfast_proto::internal as pb;
use std::time::Duration;

/// What one agent tells another with each beat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// None while the sender belongs to no cluster.
    pub cluster: Option<ClusterId>,
    pub cluster_name: String,
    pub heartbeat: Heartbeat,
    /// Of a voter to the leader: how long ago it last acknowledged each living epoch.
    pub ack_ages: Vec<(LeaseEpoch, Duration)>,
}

/// A voter's answer to a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenewalAnswer {
    pub voter: NodeId,
    pub session: SessionId,
    pub nonce: u64,
    pub verdict: Verdict,
}

/// The message makes no sense; its sender is of another build, or broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message names an unknown {what} ({number}); update the older of the two agents")]
pub struct Unknown {
    pub(super) what: &'static str,
    pub(super) number: u32,
}

pub(super) fn micros(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}

pub fn beat_to_wire(beat: &Beat) -> pb::Heartbeat {
    let h = &beat.heartbeat;
    pb::Heartbeat {
        cluster_id: beat.cluster.map_or(0, |c| c.0),
        cluster_name: beat.cluster_name.clone(),
        from: h.from.0,
        session: h.session.0,
        incarnation: h.incarnation.0,
        sequence: h.seq,
        health: u32::from(h.health),
        exchange: match h.exchange {
            Exchange::Deltas => 0,
            Exchange::Ask => 1,
            Exchange::Answer => 2,
        },
        deltas: h.deltas.iter().map(record_to_wire).collect(),
        vitals: h.vitals.iter().map(vitals_to_wire).collect(),
        ack_ages: ages_to_wire(&beat.ack_ages),
        view_epoch: h.view.0,
        report: None,
        asks_key: None,
        key: None,
    }
}

pub fn beat_from_wire(w: pb::Heartbeat) -> Result<Beat, Unknown> {
    let exchange = match w.exchange {
        0 => Exchange::Deltas,
        1 => Exchange::Ask,
        2 => Exchange::Answer,
        number => return Err(Unknown { what: "kind of exchange", number }),
    };
    let heartbeat = Heartbeat {
        from: NodeId(w.from),
        session: SessionId(w.session),
        incarnation: Incarnation(w.incarnation),
        seq: w.sequence,
        health: u8::try_from(w.health).unwrap_or(u8::MAX),
        view: ViewEpoch(w.view_epoch),
        exchange,
        deltas: w.deltas.into_iter().map(record_from_wire).collect::<Result<_, _>>()?,
        vitals: w.vitals.into_iter().take(VITALS_MAX).map(vitals_from_wire).collect(),
    };
    Ok(Beat {
        cluster: (w.cluster_id != 0).then_some(ClusterId(w.cluster_id)),
        cluster_name: w.cluster_name,
        heartbeat,
        ack_ages: ages_from_wire(&w.ack_ages),
    })
}

pub(super) fn ages_to_wire(ages: &[(LeaseEpoch, Duration)]) -> Vec<pb::AckAge> {
    ages.iter().map(|(epoch, age)| pb::AckAge { epoch: epoch.0, age_us: micros(*age) }).collect()
}

pub(super) fn ages_from_wire(ages: &[pb::AckAge]) -> Vec<(LeaseEpoch, Duration)> {
    ages.iter().map(|a| (LeaseEpoch(a.epoch), Duration::from_micros(a.age_us))).collect()
}

fn vitals_to_wire(of: &VitalsOf) -> pb::Vitals {
    let v = of.vitals;
    pb::Vitals {
        node: of.node.0,
        incarnation: of.incarnation.0,
        revision: of.revision,
        load: v.load.into(),
        memory: v.memory.into(),
        cpu_pressure: v.cpu_pressure.into(),
        memory_pressure: v.memory_pressure.into(),
        io_pressure: v.io_pressure.into(),
        health: v.health.into(),
        disk: v.disk.into(),
        certificate_ends: v.certificate_ends,
    }
}

fn vitals_from_wire(w: pb::Vitals) -> VitalsOf {
    let short = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
    VitalsOf {
        node: NodeId(w.node),
        incarnation: Incarnation(w.incarnation),
        revision: w.revision,
        vitals: Vitals {
            load: short(w.load),
            memory: short(w.memory),
            cpu_pressure: short(w.cpu_pressure),
            memory_pressure: short(w.memory_pressure),
            io_pressure: short(w.io_pressure),
            health: u8::try_from(w.health).unwrap_or(u8::MAX),
            disk: short(w.disk),
            certificate_ends: w.certificate_ends,
        },
    }
}

pub(super) fn record_to_wire(r: &MemberRecord) -> pb::Record {
    pb::Record {
        node: r.node.0,
        name: r.name.clone(),
        address: r.address.clone(),
        http: r.http.clone(),
        zone: r.zone.clone(),
        role: role_number(r.role),
        incarnation: r.incarnation.0,
        state: match r.state {
            MemberState::Alive => 0,
            MemberState::Suspect => 1,
            MemberState::Dead => 2,
            MemberState::Left => 3,
        },
        version: r.version.clone(),
        session: r.session.0,
        revision: r.revision,
        sick: r.sick.clone(),
    }
}

pub(super) fn record_from_wire(w: pb::Record) -> Result<MemberRecord, Unknown> {
    Ok(MemberRecord {
        node: NodeId(w.node),
        incarnation: Incarnation(w.incarnation),
        state: match w.state {
            0 => MemberState::Alive,
            1 => MemberState::Suspect,
            2 => MemberState::Dead,
            3 => MemberState::Left,
            number => return Err(Unknown { what: "state of a member", number }),
        },
        session: SessionId(w.session),
        revision: w.revision,
        sick: w.sick.map(|reason| clip(&reason, SICK_BYTES)),
        name: w.name,
        address: w.address,
        http: w.http,
        zone: w.zone,
        role: role_of(w.role),
        version: w.version,
    })
}

pub fn renewal_to_wire(cluster: ClusterId, r: &Renewal) -> pb::Renewal {
    pb::Renewal {
        cluster_id: cluster.0,
        node: r.node.0,
        epoch: r.epoch.0,
        boot: r.boot.0,
        session: r.session.0,
        nonce: r.nonce,
        config_term: r.voter_config.term,
        config_index: r.voter_config.index,
        lease_ms: r.lease_ms,
    }
}

pub fn renewal_from_wire(w: &pb::Renewal) -> Renewal {
    Renewal {
        node: NodeId(w.node),
        epoch: LeaseEpoch(w.epoch),
        boot: BootId(w.boot),
        session: SessionId(w.session),
        nonce: w.nonce,
        voter_config: LogId { term: w.config_term, index: w.config_index },
        lease_ms: w.lease_ms,
    }
}

pub fn answer_to_wire(a: &RenewalAnswer) -> pb::RenewalAnswer {
    let (verdict, newer) = match a.verdict {
        Verdict::Acked => (0, LogId::default()),
        Verdict::Refused(Refusal::Revoked) => (1, LogId::default()),
        Verdict::Refused(Refusal::NotCurrent) => (2, LogId::default()),
        Verdict::Refused(Refusal::OldVoterConfig { newer }) => (3, newer),
        Verdict::Refused(Refusal::Recovering) => (4, LogId::default()),
    };
    pb::RenewalAnswer {
        nonce: a.nonce,
        session: a.session.0,
        verdict,
        config_term: newer.term,
        config_index: newer.index,
        voter: a.voter.0,
        epoch: 0,
    }
}

pub fn answer_from_wire(w: &pb::RenewalAnswer) -> Result<RenewalAnswer, Unknown> {
    let newer = LogId { term: w.config_term, index: w.config_index };
    let verdict = match w.verdict {
        0 => Verdict::Acked,
        1 => Verdict::Refused(Refusal::Revoked),
        2 => Verdict::Refused(Refusal::NotCurrent),
        3 => Verdict::Refused(Refusal::OldVoterConfig { newer }),
        4 => Verdict::Refused(Refusal::Recovering),
        number => return Err(Unknown { what: "verdict on a renewal", number }),
    };
    Ok(RenewalAnswer { voter: NodeId(w.voter), session: SessionId(w.session), nonce: w.nonce, verdict })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use cluster_core::ledger::Role;

    pub fn beat() -> Beat {
        let record = MemberRecord {
            node: NodeId(1),
            incarnation: Incarnation(2),
            state: MemberState::Suspect,
            session: SessionId(3),
            revision: 4,
            sick: Some("its disk is full".into()),
            name: "n1".into(),
            address: "n1:7400".into(),
            http: Some("n1:7401".into()),
            zone: "a".into(),
            role: Role::Witness,
            version: "0.1.0".into(),
        };
        Beat {
            cluster: Some(ClusterId(9)),
            cluster_name: "shop".into(),
            heartbeat: Heartbeat {
                from: NodeId(4),
                session: SessionId(5),
                incarnation: Incarnation(6),
                seq: 7,
                health: 8,
                view: ViewEpoch(9),
                exchange: Exchange::Answer,
                deltas: vec![record],
                vitals: vec![VitalsOf {
                    node: NodeId(1),
                    incarnation: Incarnation(2),
                    revision: 3,
                    vitals: Vitals {
                        load: 1,
                        memory: 2,
                        cpu_pressure: 3,
                        memory_pressure: 4,
                        io_pressure: 5,
                        health: 6,
                        disk: 7,
                        certificate_ends: Some(8),
                    },
                }],
            },
            ack_ages: vec![(LeaseEpoch(12), Duration::from_micros(13))],
        }
    }

    #[test]
    fn a_beat_reads_back_as_it_was_written() {
        assert_eq!(beat_from_wire(beat_to_wire(&beat())), Ok(beat()));
    }

    #[test]
    fn unknown_numbers_are_refused() {
        let mut wire = beat_to_wire(&beat());
        wire.deltas[0].state = 4;
        assert!(beat_from_wire(wire).is_err());
        let mut wire = beat_to_wire(&beat());
        wire.exchange = 3;
        assert!(beat_from_wire(wire).is_err());
    }

    #[test]
    fn renewals_and_every_verdict_read_back() {
        let renewal = Renewal {
            node: NodeId(1),
            epoch: LeaseEpoch(2),
            boot: BootId(3),
            session: SessionId(4),
            nonce: 5,
            voter_config: LogId { term: 6, index: 7 },
            lease_ms: 8,
        };
        assert_eq!(renewal_from_wire(&renewal_to_wire(ClusterId(1), &renewal)), renewal);
        let refusals = [
            Refusal::Revoked,
            Refusal::NotCurrent,
            Refusal::OldVoterConfig { newer: LogId { term: 1, index: 2 } },
            Refusal::Recovering,
        ];
        for verdict in refusals.map(Verdict::Refused).into_iter().chain([Verdict::Acked]) {
            let answer = RenewalAnswer { voter: NodeId(1), session: SessionId(2), nonce: 3, verdict };
            assert_eq!(answer_from_wire(&answer_to_wire(&answer)), Ok(answer));
        }
    }
}
