//! Telephone numbers that text messages go to, and how it is told which of them got one.
//!
//! Not here: how each provider wants them written.

use crate::notify::Refused;

/// Of a channel: who needs more wants a mailing list or a paging system.
pub const NUMBERS_MAX: usize = 100;
/// Numbers that a refusal names.
const NAMED_MAX: usize = 10;

/// # Errors
/// A sentence: there is none, there are too many, or one isn't a number.
pub fn check(numbers: &[String]) -> Result<(), String> {
    if numbers.is_empty() || numbers.len() > NUMBERS_MAX {
        return Err(format!("`to` must have 1 to {NUMBERS_MAX} telephone numbers, not {}", numbers.len()));
    }
    match numbers.iter().find(|number| !is_number(number)) {
        None => Ok(()),
        Some(odd) => {
            Err(format!("\"{odd}\" in `to` isn't a telephone number: + and 7 to 15 digits are expected"))
        }
    }
}

/// E.164; without the `+` as the provider's own country writes it.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    (7..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0')
}

/// What became of each number, in one answer. Once somebody has been told nothing is repeated to everybody: those who
/// weren't are named instead.
///
/// # Errors
/// Somebody wasn't told. To be tried again if nobody was, and one might yet be.
pub fn settle(outcomes: Vec<(String, Result<(), Refused>)>) -> Result<String, Refused> {
    let all = outcomes.len();
    let failed: Vec<(String, Refused)> =
        outcomes.into_iter().filter_map(|(number, told)| Some((number, told.err()?))).collect();
    if failed.is_empty() {
        return Ok(format!("{all} of {all} numbers accepted"));
    }
    let told = all - failed.len();
    let mut named: Vec<String> =
        failed.iter().take(NAMED_MAX).map(|(number, why)| format!("{number}: {}", why.reason)).collect();
    if failed.len() > NAMED_MAX {
        named.push(format!("and {} more", failed.len() - NAMED_MAX));
    }
    Err(Refused {
        reason: format!("{told} of {all} numbers accepted; not {}", named.join("; ")),
        retry: told == 0 && failed.iter().any(|(_, why)| why.retry),
        after: failed.iter().filter_map(|(_, why)| why.after).max(),
        heard: told > 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_are_numbers() {
        for good in ["+8613800000000", "13800000000", "+15005550006"] {
            check(&[good.to_owned()]).unwrap();
        }
        for bad in ["", "+", "12345", "+86 138", "ops@example.org", "0123456789", "+1234567890123456"] {
            let why = check(&[bad.to_owned()]).unwrap_err();
            assert!(why.contains(&format!("\"{bad}\"")), "{why}");
        }
        assert!(check(&[]).is_err() && check(&vec!["13800000000".to_owned(); 101]).is_err());
    }

    #[test]
    fn once_somebody_was_told_the_rest_is_named_and_nothing_repeated() {
        let busy = || Err(Refused::for_now("busy"));
        let of = |outcomes: Vec<Result<(), Refused>>| {
            settle(outcomes.into_iter().enumerate().map(|(i, told)| (format!("+{i}"), told)).collect())
        };
        assert_eq!(of(vec![Ok(()), Ok(())]).unwrap(), "2 of 2 numbers accepted");
        let some = of(vec![Ok(()), busy()]).unwrap_err();
        assert_eq!((some.reason.as_str(), some.retry), ("1 of 2 numbers accepted; not +1: busy", false));
        assert!(some.heard, "the other hears of the end");
        let none = of(vec![busy(), Err(Refused::for_good("no such number"))]).unwrap_err();
        assert!(none.retry && !none.heard, "{none}");
        assert!(!of(vec![Err(Refused::for_good("no such number"))]).unwrap_err().retry);
        let many = of((0..30).map(|_| busy()).collect()).unwrap_err();
        assert!(many.reason.ends_with("and 20 more"), "{many}");
    }
}
