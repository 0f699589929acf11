//! The kernel's words as numbers, in per mille.

/// `/proc/loadavg`: the runnable of the last minute, as a share of the processors.
pub fn load(text: &str, processors: u32) -> Option<u16> {
    let one_minute = decimal(text.split_whitespace().next()?, 1_000)?;
    Some(capped(one_minute / u64::from(processors.max(1))))
}

/// `/proc/meminfo`: what is taken and can't be had back.
pub fn memory(text: &str) -> Option<u16> {
    let field = |name: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
        rest.split_whitespace().next()?.parse::<u64>().ok()
    };
    let (total, available) = (field("MemTotal:")?, field("MemAvailable:")?);
    (total > 0).then(|| capped(total.saturating_sub(available) * 1_000 / total))
}

/// `/proc/pressure/*`: the share of the last ten seconds in which something waited.
pub fn pressure(text: &str) -> Option<u16> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let percent = some.split_whitespace().find_map(|field| field.strip_prefix("avg10="))?;
    Some(capped(decimal(percent, 10)?))
}

/// `/proc/*/schedstat`: how long the thread waited for a processor, ever.
pub fn run_delay_ns(text: &str) -> Option<u64> {
    text.split_whitespace().nth(1)?.parse().ok()
}

/// `12.34` times a power of ten, without floats; further digits are cut off.
fn decimal(text: &str, times: u64) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut value = whole.parse::<u64>().ok()?.checked_mul(times)?;
    let mut unit = times;
    for digit in fraction.chars() {
        unit /= 10;
        value += u64::from(digit.to_digit(10)?) * unit;
    }
    Some(value)
}

fn capped(per_mille: u64) -> u16 {
    u16::try_from(per_mille).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_become_per_mille() {
        assert_eq!(load("1.50 0.75 0.50 2/345 6789\n", 2), Some(750));
        assert_eq!(memory("MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 250 kB\n"), Some(750));
        let psi = "some avg10=12.34 avg60=0.00 avg300=0.00 total=1\nfull avg10=1.00 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(pressure(psi), Some(123));
        assert_eq!(run_delay_ns("123 456 7\n"), Some(456));
    }

    #[test]
    fn what_has_another_form_is_left_out() {
        assert_eq!(load("", 2), None);
        assert_eq!(memory("MemTotal: 0 kB\nMemAvailable: 0 kB\n"), None);
        assert_eq!(pressure("full avg10=1.00"), None);
        assert_eq!(pressure("some avg10=x"), None);
        assert_eq!(run_delay_ns("1"), None);
    }
}
