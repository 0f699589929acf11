//! Whether what a person wrote in a language of its own can be understood: conditions and time zones.
//!
//! The one place where the file and the wire ask that. Not here: what a condition or a time zone means.

use cluster_core::{
    alerting::{Condition, is_time_zone},
    ledger::Over,
    limits::CONDITION_BYTES,
};

/// Of a condition over an alert.
///
/// # Errors
/// A sentence that follows the condition's place.
pub fn check_condition(text: &str) -> Result<(), String> {
    check(text, "severity >= warning", |text| Condition::compile(text).map(drop))
}

/// Of a rule's condition, which is over nodes or workloads.
///
/// # Errors
/// A sentence that follows the condition's place.
pub fn check_rule_condition(text: &str, over: Over) -> Result<(), String> {
    let like = match over {
        Over::Nodes => "memory_percent > 90",
        Over::Workloads => "running < desired",
    };
    check(text, like, |text| Condition::of_rule(text, over).map(drop))
}

fn check(text: &str, like: &str, compile: impl Fn(&str) -> Result<(), String>) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err(format!("the condition is empty; write one like \"{like}\", or take it out"));
    }
    if text.len() > CONDITION_BYTES {
        return Err(format!(
            "the condition has {} bytes; shorten it to at most {CONDITION_BYTES}",
            text.len()
        ));
    }
    compile(text).map_err(|why| format!("the condition is wrong: {why}"))
}

/// By the time zones that this build brings along, so that every host answers alike.
///
/// # Errors
/// A sentence that follows the time zone's place.
pub fn check_timezone(name: &str) -> Result<(), String> {
    if is_time_zone(name) {
        return Ok(());
    }
    let shown = crate::notify::words::cut(name, 40).escape_debug().to_string();
    Err(format!("there is no time zone \"{shown}\"; name one like \"Asia/Shanghai\" or \"UTC\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_condition_can_be_is_refused() {
        assert_eq!(check_condition("severity >= warning"), Ok(()));
        assert!(check_condition(" \n").unwrap_err().contains("empty"));
        assert!(check_condition("alart == 'NodeDead'").unwrap_err().contains("\"alart\" isn't known"));
        assert!(check_condition(&"x".repeat(CONDITION_BYTES + 1)).unwrap_err().contains("2049 bytes"));
    }

    #[test]
    fn a_rules_condition_asks_of_its_own_subjects() {
        assert_eq!(check_rule_condition("memory_percent > 90", Over::Nodes), Ok(()));
        assert_eq!(check_rule_condition("running < desired", Over::Workloads), Ok(()));
        let wrong = |text: &str, over| check_rule_condition(text, over).unwrap_err();
        assert!(wrong("severity >= warning", Over::Nodes).contains("isn't known; there are name, zone"));
        assert!(wrong("memory_percent > 90", Over::Workloads).contains("\"memory_percent\" isn't known"));
        assert!(wrong("", Over::Workloads).contains("write one like \"running < desired\""));
    }

    #[test]
    fn time_zones_are_known_by_their_names() {
        for good in ["UTC", "Asia/Shanghai", "Europe/Berlin"] {
            assert_eq!(check_timezone(good), Ok(()));
        }
        for wrong in ["", "Mars/Base", "+08:00"] {
            assert!(check_timezone(wrong).unwrap_err().starts_with("there is no time zone"), "{wrong}");
        }
    }
}
