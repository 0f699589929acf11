//! `[schedule.NAME]` and `[[maintenance]]`: hours of a week, and times when known work makes alerts.

use super::{
    super::document::{FileError, Section},
    condition::check_timezone,
    condition_at, schedule_of, short,
};
use cluster_core::{
    ledger::{AlertingConfig, Maintenance, Schedule, Weekday},
    limits::SENTENCE_BYTES,
    time::WallTime,
};

pub(super) const KEYS: [&str; 4] = ["timezone", "days", "from", "to"];
pub(super) const MAINTENANCE_KEYS: [&str; 5] = ["match", "schedule", "from", "until", "comment"];
const DAY_MINUTES: u16 = 24 * 60;
const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

pub(super) fn read(section: &Section<'_>) -> Result<Schedule, FileError> {
    section.only(&KEYS, &[])?;
    let Some(timezone) = section.text("timezone")? else {
        return Err(section.wrong("doesn't say where; add timezone = \"Asia/Shanghai\", or \"UTC\""));
    };
    check_timezone(&timezone).map_err(|why| section.bad("timezone", why))?;
    let from_minute = time_of_day(section, "from")?.unwrap_or(0);
    let to_minute = time_of_day(section, "to")?.unwrap_or(DAY_MINUTES);
    if from_minute == DAY_MINUTES {
        return Err(section.bad("from", "no day begins at 24:00; write \"00:00\""));
    }
    if from_minute == to_minute {
        let what = "it is the same as from; write a later time, or take both out for whole days";
        return Err(section.bad("to", what));
    }
    Ok(Schedule { timezone, days: days(section)?, from_minute, to_minute })
}

/// In the week's order, each once; empty for all.
fn days(section: &Section<'_>) -> Result<Vec<Weekday>, FileError> {
    let Some(texts) = section.texts("days")? else { return Ok(Vec::new()) };
    if texts.is_empty() {
        return Err(section.bad("days", "the list is empty; name days, or take it out for every day"));
    }
    let mut chosen = [false; DAYS.len()];
    for text in &texts {
        let place = |word: &str| DAYS.iter().position(|(name, _)| *name == word);
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (Some(first), Some(last)) = (place(first.trim()), place(last.trim())) else {
            let what = format!(
                "\"{}\" isn't a day; write \"mon\", \"tue\", \"wed\", \"thu\", \"fri\", \"sat\" or \"sun\", or days in a \
                 row like \"mon-fri\"",
                text.escape_debug()
            );
            return Err(section.bad("days", what));
        };
        // "sat-mon" goes over the week's end.
        let count = (last + DAYS.len() - first) % DAYS.len();
        (0..=count).for_each(|n| chosen[(first + n) % DAYS.len()] = true);
    }
    Ok(DAYS.iter().zip(chosen).filter(|(_, chosen)| *chosen).map(|((_, day), _)| *day).collect())
}

/// Minutes since midnight.
fn time_of_day(section: &Section<'_>, key: &str) -> Result<Option<u16>, FileError> {
    let Some(text) = section.text(key)? else { return Ok(None) };
    let two = |digits: &str| match digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit()) {
        true => digits.parse::<u16>().ok(),
        false => None,
    };
    let minutes = text.split_once(':').and_then(|(hours, minutes)| {
        let (hours, minutes) = (two(hours)?, two(minutes)?);
        (minutes < 60).then_some(hours * 60 + minutes).filter(|all| *all <= DAY_MINUTES)
    });
    let quoted = text.escape_debug();
    let wrong = || section.bad(key, format!("\"{quoted}\" isn't a time of day; write one like \"09:00\""));
    minutes.map(Some).ok_or_else(wrong)
}

/// `config` has the schedules that a maintenance can name.
pub(super) fn maintenance(section: &Section<'_>, config: &AlertingConfig) -> Result<Maintenance, FileError> {
    section.only(&MAINTENANCE_KEYS, &[])?;
    let schedule = schedule_of(section, config)?;
    let (from, until) = (moment(section, "from")?, moment(section, "until")?);
    if schedule.is_none() && until.is_none() {
        let what = "never ends; add until = \"2026-01-31T12:00:00Z\", or schedule = \"NAME\"";
        return Err(section.wrong(what));
    }
    if from.zip(until).is_some_and(|(from, until)| from >= until) {
        return Err(section.bad("until", "it ends before it begins; write a time after from"));
    }
    let comment = short(section, "comment", SENTENCE_BYTES)?.unwrap_or_default();
    Ok(Maintenance { condition: condition_at(section, "match")?, schedule, from, until, comment })
}

/// RFC 3339, as a text or as TOML's own time.
fn moment(section: &Section<'_>, key: &str) -> Result<Option<WallTime>, FileError> {
    let Some(text) = section.moment(key)? else { return Ok(None) };
    let quoted = text.escape_debug();
    let wrong = || {
        let what = format!(
            "\"{quoted}\" isn't a time with its zone; write one like \"2026-01-31T12:00:00Z\" or \
             \"2026-01-31T20:00:00+08:00\""
        );
        section.bad(key, what)
    };
    let time: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
    u64::try_from(time.as_millisecond()).map(|ms| Some(WallTime(ms))).map_err(|_| wrong())
}
