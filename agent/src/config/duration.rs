//! Durations as people write them: `500ms`, `10s`, `5m`, `2h`, `30d`.

/// Longer than this is surely a slip.
const LONGEST_MS: u64 = 10 * 365 * 86_400_000;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" isn't a duration; write one like \"500ms\", \"10s\", \"5m\", \"2h\" or \"30d\"")]
pub struct NotADuration(pub String);

/// Milliseconds of one duration: digits and a unit.
pub fn milliseconds(text: &str) -> Result<u64, NotADuration> {
    let refused = || NotADuration(text.to_owned());
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let unit = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(refused()),
    };
    let count: u64 = text[..digits].parse().map_err(|_| refused())?;
    count.checked_mul(unit).filter(|ms| *ms <= LONGEST_MS).ok_or_else(refused)
}

/// `500ms..30s`, both in milliseconds, the shorter first.
pub fn range(text: &str) -> Result<(u64, u64), String> {
    let shape = || format!("\"{text}\" isn't a range of durations; write one like \"500ms..30s\"");
    let (low, high) = text.split_once("..").ok_or_else(shape)?;
    let (low, high) =
        (milliseconds(low.trim()).map_err(|_| shape())?, milliseconds(high.trim()).map_err(|_| shape())?);
    if low > high {
        return Err(format!("\"{text}\" ends before it begins; write the shorter wait first"));
    }
    Ok((low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_digits_and_one_unit() {
        assert_eq!(milliseconds("500ms"), Ok(500));
        assert_eq!(milliseconds("10s"), Ok(10_000));
        assert_eq!(milliseconds("5m"), Ok(300_000));
        assert_eq!(milliseconds("2h"), Ok(7_200_000));
        assert_eq!(milliseconds("30d"), Ok(2_592_000_000));
        for wrong in ["", "s", "10", "1.5s", "-1s", "10 s", "10sec", "ä", "99999999999999999999s", "99999d"]
        {
            assert!(milliseconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_range_goes_upwards() {
        assert_eq!(range("500ms..30s"), Ok((500, 30_000)));
        assert!(range("30s..500ms").unwrap_err().contains("shorter wait first"));
        assert!(range("30s").unwrap_err().contains("500ms..30s"));
    }
}
