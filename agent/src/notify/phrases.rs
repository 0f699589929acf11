//! The phrases that our own words are made of, in each language that there is.
//!
//! Not here: what alerts say of themselves: summaries are the ledger's, in English.

use super::{body, message::Message, words::Words};
use cluster_core::{
    alerting::{NOTICE_VERSION, Notice},
    ids::{ClusterId, FailureId},
    ledger::{Phase, Severity},
    time::WallTime,
};
use minijinja::{Value, context};
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    #[default]
    En,
    Zh,
}

pub struct Phrases {
    /// As HTML has it.
    tag: &'static str,
    firing: &'static str,
    resolved: &'static str,
    info: &'static str,
    warning: &'static str,
    critical: &'static str,
    since: &'static str,
    until: &'static str,
    failure: &'static str,
    runbook: &'static str,
    acknowledge: &'static str,
    and: &'static str,
    more: &'static str,
    repeated: &'static str,
    /// What built-in alerts are called, if not by their names alone.
    names: &'static [(&'static str, &'static str)],
}

const EN: Phrases = Phrases {
    tag: "en",
    firing: "FIRING",
    resolved: "RESOLVED",
    info: "Info",
    warning: "Warning",
    critical: "Critical",
    since: "since",
    until: "until",
    failure: "failure",
    runbook: "What to do",
    acknowledge: "Acknowledge",
    and: "and",
    more: "more",
    repeated: "You may have been told this before.",
    names: &[],
};

const ZH: Phrases = Phrases {
    tag: "zh-CN",
    firing: "告警",
    resolved: "恢复",
    info: "提示",
    warning: "警告",
    critical: "严重",
    since: "开始于",
    until: "结束于",
    failure: "故障编号",
    runbook: "处理方法",
    acknowledge: "确认告警",
    and: "另有",
    more: "条",
    repeated: "本通知可能重复发送。",
    names: &[
        ("NodeDead", "主机失联"),
        ("WorkloadDown", "服务中断"),
        ("LeaseLost", "租约丢失"),
        ("AgentDown", "代理停止"),
        ("QuorumAtRisk", "多数派有风险"),
        ("QuorumLost", "多数派丢失"),
        ("BrakeEngaged", "自动恢复已暂停"),
        ("Unplaceable", "无处可调度"),
        ("CrashLoop", "反复崩溃"),
        ("Test", "测试"),
    ],
};

#[must_use]
pub fn of(language: Language) -> &'static Phrases {
    match language {
        Language::En => &EN,
        Language::Zh => &ZH,
    }
}

impl Phrases {
    /// For templates, as `say`.
    pub(super) fn value(&self, status: Phase) -> Value {
        context! {
            tag => self.tag,
            status => match status { Phase::Firing => self.firing, Phase::Resolved => self.resolved },
            runbook => self.runbook,
            acknowledge => self.acknowledge,
            and => self.and,
            more => self.more,
            repeated => self.repeated,
        }
    }

    pub(super) fn level(&self, severity: Severity) -> &'static str {
        match severity {
            Severity::Info => self.info,
            Severity::Warning => self.warning,
            Severity::Critical => self.critical,
        }
    }

    /// The alert's own name stays in it, since that is what one searches for.
    pub(super) fn name(&self, alert: &str) -> String {
        let known = self.names.iter().find(|(name, _)| *name == alert);
        known.map_or_else(|| alert.to_owned(), |(_, said)| format!("{said} {alert}"))
    }

    /// One line: from when to when, and which failure.
    pub(super) fn when(&self, notice: &Notice) -> String {
        let mut when = format!("{} {}", self.since, body::rfc3339(notice.starts_at));
        if let Some(end) = notice.ends_at {
            when.push_str(&format!(", {} {}", self.until, body::rfc3339(end)));
        }
        if let Some(id) = notice.failure_id {
            when.push_str(&format!(", {} {}", self.failure, id.0));
        }
        when
    }
}

/// A made-up message that templates are tried on.
pub(super) fn sample(status: Phase) -> Message {
    let notice = Notice {
        id: "1".to_owned(),
        version: NOTICE_VERSION,
        status,
        alert: "NodeDead".to_owned(),
        severity: Severity::Critical,
        dedup_key: "NodeDead/web-1".to_owned(),
        cluster: "shop".to_owned(),
        cluster_id: ClusterId(1),
        leader: "web-2".to_owned(),
        term: 1,
        labels: BTreeMap::from([("node".to_owned(), "web-1".to_owned())]),
        summary: "web-1 is dead: checkout moved to web-2".to_owned(),
        description: "web-1 was last seen 1.1 s before it was declared.".to_owned(),
        failure_id: Some(FailureId(1)),
        starts_at: WallTime(1_700_000_000_000),
        ends_at: (status == Phase::Resolved).then_some(WallTime(1_700_000_060_000)),
        runbook: None,
        ack_url: None,
    };
    Message {
        id: notice.message_id(),
        key: notice.dedup_key.clone(),
        status,
        severity: notice.severity,
        cluster: notice.cluster.clone(),
        notices: vec![notice],
        words: Words::default(),
        maybe_repeated: false,
        answers: Vec::new(),
    }
}
