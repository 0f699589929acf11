//! Words and times as people read them.
//!
//! Not here: layout (`table`), and JSON.

use prost_types::Timestamp;
use std::{borrow::Cow, time::SystemTime};

/// What stands where there is nothing.
pub const NOTHING: &str = "-";

/// How the answer is looked at: when, and on what.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// Milliseconds since 1970, for "12 s ago".
    pub now_ms: i64,
    pub color: bool,
}

impl View {
    /// Now, and with colour if standard output is a terminal whose user doesn't mind.
    pub fn of_this_terminal() -> Self {
        use std::io::IsTerminal as _;
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
            && std::env::var_os("TERM").is_none_or(|t| t != "dumb");
        Self {
            now_ms: i64::try_from(since_1970.as_millis()).expect("the clock is before the year 292 million"),
            color: wanted && std::io::stdout().is_terminal(),
        }
    }
}

/// How something is meant to look; nothing rests on it alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    #[default]
    Plain,
    Good,
    Warn,
    Bad,
    Heading,
}

impl Tone {
    #[must_use]
    pub fn paint(self, text: &str, color: bool) -> String {
        let code = match self {
            Self::Plain => return text.to_owned(),
            _ if !color => return text.to_owned(),
            Self::Good => "32",
            Self::Warn => "33",
            Self::Bad => "1;31",
            Self::Heading => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// What came from another host can't steer this terminal: control characters are shown, not sent.
#[must_use]
pub fn clean(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        let shown = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
        Cow::Owned(shown.collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// `text`, or a dash when it is empty.
#[must_use]
pub fn or_dash(text: &str) -> String {
    if text.is_empty() { NOTHING.into() } else { clean(text).into_owned() }
}

/// An enum's name without its prefix, in lower case: `NODE_STATE_ALIVE` → `alive`.
#[must_use]
pub fn word(name: &str, prefix: &str) -> String {
    let word = name.strip_prefix(prefix).unwrap_or(name).trim_start_matches('_').to_lowercase();
    if word == "unspecified" { NOTHING.into() } else { word }
}

#[must_use]
pub fn millis(time: &Timestamp) -> i64 {
    time.seconds.saturating_mul(1_000).saturating_add(i64::from(time.nanos) / 1_000_000)
}

/// A span as people say it, two units at most: `870 ms`, `2.01 s`, `12 s`, `5 min`, `2 h 5 min`, `4 d 3 h`.
#[must_use]
pub fn span(ms: u64) -> String {
    let two = |big: u64, big_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{big} {big_unit}"),
        _ => format!("{big} {big_unit} {small} {small_unit}"),
    };
    let (seconds, minutes, hours, days) = (ms / 1_000, ms / 60_000, ms / 3_600_000, ms / 86_400_000);
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..10_000 => format!("{seconds}.{:02} s", ms % 1_000 / 10),
        10_000..60_000 => format!("{seconds} s"),
        60_000..600_000 => two(minutes, "min", seconds % 60, "s"),
        600_000..3_600_000 => format!("{minutes} min"),
        3_600_000..86_400_000 => two(hours, "h", minutes % 60, "min"),
        _ => two(days, "d", hours % 24, "h"),
    }
}

/// `12 s ago`; to the second, since clocks of hosts differ by more than that matters.
#[must_use]
pub fn ago(time: Option<&Timestamp>, view: View) -> String {
    let Some(time) = time else { return NOTHING.into() };
    match u64::try_from(view.now_ms.saturating_sub(millis(time))) {
        Ok(ms) if ms >= 1_000 => format!("{} ago", span(ms / 1_000 * 1_000).replace(".00", "")),
        _ => "just now".into(),
    }
}

/// `2026-11-24 23:38:05.042 UTC`
#[must_use]
pub fn absolute(time: &Timestamp) -> String {
    match crate::json::time(time.seconds, time.nanos) {
        Some(text) => text.replace('T', " ").replace('Z', " UTC"),
        None => "an impossible time".into(),
    }
}

/// `2026-11-24 23:38:05.042 UTC (12 s ago)`
#[must_use]
pub fn both(time: Option<&Timestamp>, view: View) -> String {
    match time {
        Some(at) => format!("{} ({})", absolute(at), ago(time, view)),
        None => NOTHING.into(),
    }
}

/// `1 node`, `2 nodes`
#[must_use]
pub fn count(n: impl Into<u64>, one: &str) -> String {
    let n = n.into();
    format!("{n} {one}{}", if n == 1 { "" } else { "s" })
}

/// `99.95 %`
#[must_use]
pub fn percent(ratio: f64) -> String {
    // Rounded down: 99.9999 % isn't all.
    format!("{:.3} %", (ratio * 100_000.0).floor() / 1_000.0)
}

/// The time that `--since` means: so long ago, or since then.
pub fn since(text: &str, now_ms: i64) -> Result<Timestamp, super::CliError> {
    let from_millis = |ms: i64| Timestamp {
        seconds: ms.div_euclid(1_000),
        nanos: i32::try_from(ms.rem_euclid(1_000) * 1_000_000).expect("less than a second"),
    };
    if let Ok(ms) = crate::config::duration::milliseconds(text) {
        return Ok(from_millis(now_ms.saturating_sub_unsigned(ms).max(0)));
    }
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => Ok(from_millis(time.as_millisecond())),
        Err(_) => Err(super::CliError::Usage(format!(
            "--since {text}: it is neither a duration like 24h or 30d nor a time like 2026-01-31T12:00:00Z"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_the_grain_that_matters() {
        for (ms, said) in [
            (0, "0 ms"),
            (870, "870 ms"),
            (2_010, "2.01 s"),
            (12_900, "12 s"),
            (61_000, "1 min 1 s"),
            (754_000, "12 min"),
            (7_500_000, "2 h 5 min"),
            (86_400_000, "1 d"),
        ] {
            assert_eq!(span(ms), said);
        }
    }

    #[test]
    fn the_past_is_told_from_now() {
        let view = View { now_ms: 20_900, color: false };
        let at = |seconds| Timestamp { seconds, nanos: 0 };
        assert_eq!(ago(Some(&at(8)), view), "12 s ago");
        assert_eq!(ago(Some(&at(18)), view), "2 s ago");
        assert_eq!(ago(Some(&at(20)), view), "just now");
        assert_eq!(ago(Some(&at(99)), view), "just now");
        assert_eq!(ago(None, view), "-");
        assert_eq!(both(Some(&at(8)), view), "1970-01-01 00:00:08.000 UTC (12 s ago)");
    }

    #[test]
    fn since_takes_durations_and_times() {
        assert_eq!(since("1h", 3_600_500).unwrap(), Timestamp { seconds: 0, nanos: 500_000_000 });
        assert_eq!(since("1970-01-01T00:00:09Z", 0).unwrap().seconds, 9);
        assert!(since("yesterday", 0).unwrap_err().to_string().contains("24h"));
    }

    #[test]
    fn words_lose_prefix_and_control_characters() {
        assert_eq!(word("NODE_STATE_ALIVE", "NODE_STATE"), "alive");
        assert_eq!(word("NODE_STATE_UNSPECIFIED", "NODE_STATE"), "-");
        assert_eq!(clean("a\x1b[31mb"), "a\u{fffd}[31mb");
        assert_eq!(percent(0.999_999), "99.999 %");
        assert_eq!(count(1_u32, "node"), "1 node");
    }
}
