//! Hours: the hours of a week in some place, so that a schedule can be asked whether it is on. By the time zones that
//! this build brings along: no host is asked, so every leader answers alike.

use crate::{
    ledger::{Schedule, Weekday},
    time::WallTime,
};
use jiff::{
    Timestamp,
    tz::{TimeZone, TimeZoneDatabase},
};

#[derive(Debug)]
pub struct Hours {
    zone: TimeZone,
    schedule: Schedule,
}

/// Whether a schedule can be of this place.
#[must_use]
pub fn is_time_zone(name: &str) -> bool {
    TimeZoneDatabase::bundled().get(name).is_ok()
}

impl Hours {
    /// # Errors
    /// A sentence: there is no such time zone.
    pub fn of(schedule: &Schedule) -> Result<Self, String> {
        let zone = TimeZoneDatabase::bundled().get(&schedule.timezone).map_err(|_| {
            format!("there is no time zone \"{}\"; name one like Asia/Shanghai", schedule.timezone)
        })?;
        Ok(Self { zone, schedule: schedule.clone() })
    }

    /// By the clocks on the wall there, whatever daylight saving does to them. A time that no calendar has is outside.
    #[must_use]
    pub fn include(&self, at: WallTime) -> bool {
        let Some(at) = i64::try_from(at.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()) else {
            return false;
        };
        let local = at.to_zoned(self.zone.clone());
        let minute = u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        let today = day(local.weekday());
        let Schedule { days, from_minute, to_minute, .. } = &self.schedule;
        let begins_on = |day: Weekday| days.is_empty() || days.contains(&day);
        if from_minute < to_minute {
            return begins_on(today) && (*from_minute..*to_minute).contains(&minute);
        }
        let yesterday = day(local.weekday().previous());
        (begins_on(today) && minute >= *from_minute) || (begins_on(yesterday) && minute < *to_minute)
    }
}

fn day(day: jiff::civil::Weekday) -> Weekday {
    use jiff::civil::Weekday as Civil;
    match day {
        Civil::Monday => Weekday::Monday,
        Civil::Tuesday => Weekday::Tuesday,
        Civil::Wednesday => Weekday::Wednesday,
        Civil::Thursday => Weekday::Thursday,
        Civil::Friday => Weekday::Friday,
        Civil::Saturday => Weekday::Saturday,
        Civil::Sunday => Weekday::Sunday,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(zone: &str, days: &[Weekday], from: u16, to: u16) -> Hours {
        let schedule = Schedule {
            timezone: zone.to_owned(),
            days: days.to_vec(),
            from_minute: from * 60,
            to_minute: to * 60,
        };
        Hours::of(&schedule).unwrap()
    }

    fn at(utc: &str) -> WallTime {
        let time: Timestamp = utc.parse().unwrap();
        WallTime(u64::try_from(time.as_millisecond()).unwrap())
    }

    #[test]
    fn office_hours_are_those_of_the_place() {
        let office = hours("Asia/Shanghai", &[Weekday::Friday], 9, 18);
        // 2024-03-01 was a Friday; Shanghai is eight hours ahead.
        for (utc, on) in [
            ("2024-03-01T00:59:59Z", false),
            ("2024-03-01T01:00:00Z", true),
            ("2024-03-01T09:59:59Z", true),
            ("2024-03-01T10:00:00Z", false),
            ("2024-02-29T05:00:00Z", false),
        ] {
            assert_eq!(office.include(at(utc)), on, "{utc}");
        }
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let night = hours("UTC", &[Weekday::Friday], 22, 6);
        for (utc, on) in [
            ("2024-03-01T03:00:00Z", false),
            ("2024-03-01T23:00:00Z", true),
            ("2024-03-02T05:59:00Z", true),
            ("2024-03-02T06:00:00Z", false),
            ("2024-03-02T23:00:00Z", false),
        ] {
            assert_eq!(night.include(at(utc)), on, "{utc}");
        }
        assert!(hours("UTC", &[], 0, 0).include(at("2024-03-01T12:00:00Z")), "all day, every day");
    }

    #[test]
    fn daylight_saving_moves_them_and_an_unknown_place_is_refused() {
        let morning = hours("Europe/Berlin", &[], 9, 10);
        assert!(morning.include(at("2024-03-30T08:30:00Z")) && !morning.include(at("2024-03-31T08:30:00Z")));
        assert!(morning.include(at("2024-03-31T07:30:00Z")));
        let schedule = Schedule { timezone: "Mars/Base".into(), days: vec![], from_minute: 0, to_minute: 1 };
        assert!(Hours::of(&schedule).unwrap_err().contains("Mars/Base"));
    }
}
