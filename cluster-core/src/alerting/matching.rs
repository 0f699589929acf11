//! Matching: whether a silence's matchers take an alert. Asked when one is added, to tell what it keeps back, and whenever
//! an alert is about to be told.

use crate::ledger::{Alert, MatchOp, Matcher};
use regex::{Regex, RegexBuilder};

/// Memory that one user's expression may take.
const REGEX_BYTES: usize = 256 * 1024;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{value}\" isn't a regular expression that can be used: {why}")]
pub struct BadExpression {
    pub value: String,
    pub why: String,
}

/// Matchers that can be asked.
#[derive(Debug)]
pub struct Matching(Vec<(Matcher, Option<Regex>)>);

impl Matching {
    /// # Errors
    /// The first expression that can't be understood, or would take too much.
    pub fn of(matchers: &[Matcher]) -> Result<Self, BadExpression> {
        let one = |matcher: &Matcher| Ok((matcher.clone(), expression(matcher)?));
        matchers.iter().map(one).collect::<Result<_, _>>().map(Self)
    }

    /// All matchers match.
    #[must_use]
    pub fn takes(&self, alert: &Alert) -> bool {
        self.0.iter().all(|(matcher, expression)| {
            let value = value(alert, &matcher.label);
            let matches = expression.as_ref().is_some_and(|expression| expression.is_match(value));
            match matcher.op {
                MatchOp::Equal => value == matcher.value,
                MatchOp::NotEqual => value != matcher.value,
                MatchOp::Matches => matches,
                MatchOp::MatchesNot => !matches,
            }
        })
    }
}

/// Anchored at both ends, as Alertmanager's are; none for the plain comparisons.
fn expression(matcher: &Matcher) -> Result<Option<Regex>, BadExpression> {
    if matches!(matcher.op, MatchOp::Equal | MatchOp::NotEqual) {
        return Ok(None);
    }
    let build = |text: &str| RegexBuilder::new(text).size_limit(REGEX_BYTES).build();
    // By itself first: "a)|(b" would be sound within the brackets, and mean something else.
    let built = build(&matcher.value).and_then(|_| build(&format!("^(?:{})$", matcher.value)));
    built.map(Some).map_err(|why| {
        let why = why.to_string();
        let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        BadExpression { value: matcher.value.clone(), why }
    })
}

/// A label's, or that of what can be asked like one; empty where there is none.
#[must_use]
pub fn value<'a>(alert: &'a Alert, label: &str) -> &'a str {
    match label {
        "alert" | "alertname" => &alert.name,
        "severity" => alert.severity.name(),
        label => alert.labels.get(label).map_or("", String::as_str),
    }
}
