//! Conditions: CEL (the Common Expression Language) over an alert, as routes, inhibitions and maintenances have them, or
//! over a node or a workload, as users' rules have them.
//!
//! A text is compiled once. Whatever fails in an evaluation makes the condition false; the caller is told why. Not here:
//! what can be asked of nodes and workloads (`facts`); and the ledger's apply never evaluates one, since builds may
//! differ in what they understand.

use super::facts;
use crate::{
    ledger::{Alert, Over, Severity},
    limits::CONDITION_BYTES,
};
use cel::{Context, ExecutionError, Program, Value};
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// What a condition over an alert may ask.
pub const VARIABLES: [&str; 10] =
    ["alert", "severity", "subject", "labels", "node", "workload", "zone", "info", "warning", "critical"];

#[derive(Debug)]
pub struct Condition(Program);

/// One subject, ready to be asked about.
pub struct Facts {
    pub(super) context: Context<'static, 'static>,
    /// What may be asked of subjects of its kind, whether or not it is known of this one.
    pub(super) variables: &'static [&'static str],
}

impl Condition {
    /// Over alerts.
    ///
    /// # Errors
    /// A sentence that names the place.
    pub fn compile(text: &str) -> Result<Self, String> {
        Self::tried_on(text, &Facts::of(&sample()))
    }

    /// Over nodes or workloads.
    ///
    /// # Errors
    /// A sentence that names the place.
    pub fn of_rule(text: &str, over: Over) -> Result<Self, String> {
        Self::tried_on(text, &facts::sample(over))
    }

    fn tried_on(text: &str, sample: &Facts) -> Result<Self, String> {
        if text.trim().is_empty() || text.len() > CONDITION_BYTES {
            return Err(format!("a condition has 1 to {CONDITION_BYTES} bytes"));
        }
        // The parser is generated code that is known to panic on some texts.
        let program = match catch_unwind(AssertUnwindSafe(|| Program::compile(text))) {
            Ok(Ok(program)) => program,
            Ok(Err(errors)) => {
                let Some(first) = errors.errors.first() else {
                    return Err("it can't be understood".to_owned());
                };
                let what = first.msg.lines().next().unwrap_or_default();
                let (line, column) = (first.pos.0.max(1), first.pos.1.max(1));
                return Err(format!("it can't be understood at line {line}, column {column}: {what}"));
            }
            Err(_) => return Err("it can't be understood; write it in a simpler way".to_owned()),
        };
        let condition = Self(program);
        condition.holds(sample).map(|_| condition)
    }

    /// A label that the subject hasn't, or something that isn't known of it now, makes it false and is no error.
    ///
    /// # Errors
    /// A sentence: it can't be evaluated, or says neither true nor false. It doesn't hold then.
    pub fn holds(&self, facts: &Facts) -> Result<bool, String> {
        match catch_unwind(AssertUnwindSafe(|| self.0.execute(&facts.context))) {
            Ok(Ok(Value::Bool(holds))) => Ok(holds),
            Ok(Ok(other)) => Err(format!("it is {}, neither true nor false", other.type_of())),
            Ok(Err(ExecutionError::NoSuchKey(_))) => Ok(false),
            Ok(Err(ExecutionError::UndeclaredReference(name))) => {
                if facts.variables.contains(&name.as_str()) {
                    return Ok(false);
                }
                Err(format!("\"{name}\" isn't known; there are {}", facts.variables.join(", ")))
            }
            Ok(Err(why)) => Err(why.to_string().lines().next().unwrap_or_default().to_owned()),
            Err(_) => Err("it can't be evaluated".to_owned()),
        }
    }
}

impl Facts {
    #[must_use]
    pub fn of(alert: &Alert) -> Self {
        let label = |name: &str| alert.labels.get(name).cloned().unwrap_or_default();
        let (node, workload) = (label("node"), label("workload"));
        let (kind, name) = match (workload.as_str(), node.as_str()) {
            ("", "") => ("cluster", ""),
            ("", node) => ("node", node),
            (workload, _) => ("workload", workload),
        };
        let subject = BTreeMap::from([("kind", kind), ("name", name)]);
        let mut context = Context::default();
        for severity in Severity::ALL {
            context.add_variable_from_value(severity.name(), Value::Int(rank(severity)));
        }
        context.add_variable_from_value("severity", Value::Int(rank(alert.severity)));
        context.add_variable_from_value("alert", alert.name.clone());
        context.add_variable_from_value("zone", label("zone"));
        let maps = context
            .add_variable("subject", &subject)
            .and_then(|()| context.add_variable("labels", &alert.labels));
        maps.expect("maps of strings always become values");
        context.add_variable_from_value("node", node);
        context.add_variable_from_value("workload", workload);
        Self { context, variables: &VARIABLES }
    }
}

fn rank(severity: Severity) -> i64 {
    match severity {
        Severity::Info => 0,
        Severity::Warning => 1,
        Severity::Critical => 2,
    }
}

/// What a new condition is tried on.
fn sample() -> Alert {
    let labels = [("node", "n1"), ("zone", "a")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    Alert {
        name: "NodeDead".to_owned(),
        severity: Severity::Critical,
        dedup_key: "NodeDead/n1".to_owned(),
        failure: None,
        labels: labels.into(),
        summary: String::new(),
        resolution: String::new(),
        description: String::new(),
        starts_at: crate::time::WallTime(0),
        ends_at: None,
        notifications: Vec::new(),
        valid_until: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(text: &str) -> bool {
        Condition::compile(text).unwrap().holds(&Facts::of(&sample())).unwrap()
    }

    #[test]
    fn a_condition_asks_for_name_severity_subject_and_labels() {
        assert!(says("severity >= warning && subject.kind == 'node' && subject.name == 'n1'"));
        assert!(says("alert == 'NodeDead' && labels.zone == 'a' && node == 'n1' && workload == ''"));
        assert!(says(
            "alert in ['NodeDead', 'LeaseLost'] && node.startsWith('n') && node.matches('n[0-9]+')"
        ));
        assert!(!says("severity < critical"));
        assert!(!says("labels.workload == 'db'"), "it has no such label");
        assert!(says("has(labels.zone) && !has(labels.workload)"));
    }

    #[test]
    fn what_cant_be_understood_is_said_in_one_sentence_with_its_place() {
        let wrong = |text: &str| Condition::compile(text).unwrap_err();
        assert!(wrong("alert == ").contains("line 1, column"), "{}", wrong("alert == "));
        assert!(wrong("alert ==\n  && true").contains("line 2"), "{}", wrong("alert ==\n  && true"));
        assert!(wrong("alart == 'x'").contains("\"alart\" isn't known"));
        assert!(wrong("alert").contains("neither true nor false"));
        assert!(wrong(" ").contains("bytes"));
        for odd in ["((((", "'", "a.b.c(", "\u{0}", "1 +", "[", "{", "has(", "x.exists(y)", "\"\\u"] {
            assert!(!wrong(odd).contains('\n'), "{odd}");
        }
        let _deep = Condition::compile(&"(".repeat(CONDITION_BYTES));
        let _long = Condition::compile(&"!".repeat(CONDITION_BYTES));
    }
}
