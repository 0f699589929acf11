//! What may stand in the alerting configuration and in a silence: sizes, and that names lead somewhere. Not here: whether
//! conditions, expressions and time zones can be understood; who applies them asks that before.

use super::{
    state_alert::Silence,
    state_alerting::{AlertingConfig, Channel, Escalation, Route, SecretRef, Setting, Watchdog},
    validate::{Checked, ensure, labels},
};
use crate::limits::{
    ACK_URL_BYTES, ALERTING_PARTS_MAX, ALERTING_WAIT_MAX_MS, CHANNEL_TEXTS_MAX, CHANNELS_MAX,
    COMPARED_LABELS_MAX, CONDITION_BYTES, DESCRIPTION_BYTES, ESCALATIONS_MAX, MATCHERS_MAX, NAME_BYTES,
    RATE_MESSAGES_MAX, ROUTES_MAX, SENTENCE_BYTES, SETTINGS_MAX, TEMPLATE_BYTES, VALUE_BYTES,
    WATCHDOG_EVERY_MS,
};

const DAY_MINUTES: u16 = 24 * 60;

fn fits(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len())
}

fn is_condition(text: &str) -> bool {
    fits(text, CONDITION_BYTES)
}

pub(super) fn alerting(config: &AlertingConfig) -> Checked {
    ensure(config.channels.len() <= CHANNELS_MAX && config.routes.len() <= ROUTES_MAX, || {
        format!("alerting: at most {CHANNELS_MAX} channels and {ROUTES_MAX} routes")
    })?;
    let parts =
        [config.inhibits.len(), config.schedules.len(), config.maintenances.len(), config.rules.len()];
    ensure(parts.iter().all(|count| *count <= ALERTING_PARTS_MAX), || {
        format!("alerting: at most {ALERTING_PARTS_MAX} inhibitions, schedules, maintenances and rules each")
    })?;
    for (name, channel) in &config.channels {
        ensure(fits(name, NAME_BYTES), || {
            format!("alerting: \"{name}\" can't be a channel's name: 1 to {NAME_BYTES} bytes")
        })?;
        ensure(channel_fits(channel), || {
            format!(
                "alerting: channel \"{name}\" has more than {SETTINGS_MAX} settings, or an empty one, or one that is too long"
            )
        })?;
        failover(config, name, channel)?;
    }
    config.routes.iter().try_for_each(|route| self::route(config, route))?;
    inhibits(config)?;
    schedules(config)?;
    maintenances(config)?;
    rules(config)?;
    ensure(config.watchdog.as_ref().is_none_or(watchdog_fits), || {
        let (least, most) = (WATCHDOG_EVERY_MS.start(), WATCHDOG_EVERY_MS.end());
        format!("alerting: the watchdog has no url, a too long one, or `every` isn't {least} to {most} ms")
    })?;
    ensure(config.runbooks.as_ref().is_none_or(|base| fits(base, VALUE_BYTES)), || {
        format!("alerting: runbooks is empty or longer than {VALUE_BYTES} bytes")
    })?;
    ensure(config.ack_url.as_ref().is_none_or(|base| fits(base, ACK_URL_BYTES)), || {
        format!("alerting: ack_url is empty or longer than {ACK_URL_BYTES} bytes")
    })
}

fn channel_fits(channel: &Channel) -> bool {
    let counts = |rate: &super::Rate| {
        (1..=RATE_MESSAGES_MAX).contains(&rate.messages) && (1..=ALERTING_WAIT_MAX_MS).contains(&rate.per_ms)
    };
    fits(&channel.kind, NAME_BYTES)
        && channel.settings.len() <= SETTINGS_MAX
        && channel.settings.iter().all(|(key, setting)| fits(key, NAME_BYTES) && setting_fits(setting))
        && channel.language.as_ref().is_none_or(|language| fits(language, NAME_BYTES))
        && channel.template.as_ref().is_none_or(|template| fits(template, TEMPLATE_BYTES))
        && channel.rate.as_ref().is_none_or(counts)
}

fn watchdog_fits(watchdog: &Watchdog) -> bool {
    setting_fits(&Setting::Secret(watchdog.url.clone())) && WATCHDOG_EVERY_MS.contains(&watchdog.every_ms)
}

fn setting_fits(setting: &Setting) -> bool {
    let fits = |text: &str| fits(text, VALUE_BYTES);
    match setting {
        Setting::Text(text) => fits(text),
        Setting::Texts(texts) => {
            texts.len() <= CHANNEL_TEXTS_MAX && texts.iter().all(|text| text.len() <= VALUE_BYTES)
        }
        Setting::Pairs(pairs) => labels(pairs).is_ok(),
        Setting::Secret(SecretRef::File(text) | SecretRef::Env(text) | SecretRef::Inline(text)) => fits(text),
        Setting::Flag(_) | Setting::Number(_) => true,
    }
}

/// Leads to a channel that is there, and never back.
fn failover(config: &AlertingConfig, name: &str, channel: &Channel) -> Checked {
    let (mut next, mut steps) = (channel.failover.as_ref(), 0);
    while let Some(to) = next {
        let Some(found) = config.channels.get(to) else {
            return ensure(false, || {
                format!("alerting: channel \"{name}\" fails over to \"{to}\", which isn't defined")
            });
        };
        steps += 1;
        ensure(to != name && steps <= config.channels.len(), || {
            format!("alerting: channel \"{name}\" fails over in a circle, by way of \"{to}\"")
        })?;
        next = found.failover.as_ref();
    }
    Ok(())
}

fn route(config: &AlertingConfig, route: &Route) -> Checked {
    lead_somewhere(config, "a route", &route.channels)?;
    ensure(route.condition.as_deref().is_none_or(is_condition), || {
        format!("alerting: a route's condition is empty or longer than {CONDITION_BYTES} bytes")
    })?;
    ensure(route.group_by.as_ref().is_none_or(|names| names_fit(names)), || {
        format!(
            "alerting: a route groups by more than {COMPARED_LABELS_MAX} labels, or by one without a name"
        )
    })?;
    let waits = [route.group_wait_ms, route.group_interval_ms, route.repeat_ms];
    ensure(waits.into_iter().flatten().all(|ms| ms <= ALERTING_WAIT_MAX_MS), || {
        "alerting: a route waits for longer than 31 days".to_owned()
    })?;
    ensure(route.repeat_ms.is_none_or(|ms| ms > 0), || {
        "alerting: a route repeats without a pause".to_owned()
    })?;
    is_scheduled(config, "a route", route.schedule.as_ref())?;
    ensure(route.escalations.len() <= ESCALATIONS_MAX, || {
        format!("alerting: a route has more than {ESCALATIONS_MAX} escalations")
    })?;
    for Escalation { after_ms, channels, schedule } in &route.escalations {
        lead_somewhere(config, "an escalation", channels)?;
        is_scheduled(config, "an escalation", schedule.as_ref())?;
        ensure(*after_ms <= ALERTING_WAIT_MAX_MS, || {
            "alerting: an escalation waits for longer than 31 days".to_owned()
        })?;
    }
    Ok(())
}

fn lead_somewhere(config: &AlertingConfig, who: &str, channels: &[String]) -> Checked {
    for channel in channels {
        ensure(config.channels.contains_key(channel), || {
            format!("alerting: {who} names channel \"{channel}\", which isn't defined")
        })?;
    }
    ensure(channels.len() <= CHANNELS_MAX, || {
        format!("alerting: {who} names more than {CHANNELS_MAX} channels")
    })
}

fn is_scheduled(config: &AlertingConfig, who: &str, name: Option<&String>) -> Checked {
    let Some(name) = name else { return Ok(()) };
    ensure(config.schedules.contains_key(name), || {
        format!("alerting: {who} names schedule \"{name}\", which isn't defined")
    })
}

fn names_fit(names: &[String]) -> bool {
    names.len() <= COMPARED_LABELS_MAX && names.iter().all(|name| fits(name, NAME_BYTES))
}

fn inhibits(config: &AlertingConfig) -> Checked {
    let good = config.inhibits.iter().all(|inhibit| {
        is_condition(&inhibit.source) && is_condition(&inhibit.target) && names_fit(&inhibit.equal)
    });
    ensure(good, || {
        format!(
            "alerting: an inhibition's source or target is empty or longer than {CONDITION_BYTES} bytes, or it compares \
             more than {COMPARED_LABELS_MAX} labels"
        )
    })
}

fn schedules(config: &AlertingConfig) -> Checked {
    for (name, schedule) in &config.schedules {
        ensure(fits(name, NAME_BYTES) && fits(&schedule.timezone, NAME_BYTES), || {
            format!(
                "alerting: schedule \"{name}\": its name and its time zone have 1 to {NAME_BYTES} bytes each"
            )
        })?;
        let minutes = schedule.from_minute <= DAY_MINUTES && schedule.to_minute <= DAY_MINUTES;
        ensure(minutes && schedule.days.len() <= 7, || {
            format!("alerting: schedule \"{name}\": a time of day is above 24:00, or a day is named twice")
        })?;
    }
    Ok(())
}

fn maintenances(config: &AlertingConfig) -> Checked {
    for maintenance in &config.maintenances {
        is_scheduled(config, "a maintenance", maintenance.schedule.as_ref())?;
        ensure(maintenance.condition.as_deref().is_none_or(is_condition), || {
            format!("alerting: a maintenance's condition is empty or longer than {CONDITION_BYTES} bytes")
        })?;
        let ends = maintenance.schedule.is_some() || maintenance.until.is_some();
        ensure(ends, || "alerting: a maintenance has neither a schedule nor an end".to_owned())?;
        ensure(maintenance.comment.len() <= SENTENCE_BYTES, || {
            format!("alerting: a maintenance's comment is longer than {SENTENCE_BYTES} bytes")
        })?;
    }
    Ok(())
}

fn rules(config: &AlertingConfig) -> Checked {
    for rule in &config.rules {
        let name = &rule.name;
        ensure(fits(name, NAME_BYTES), || {
            format!("alerting: \"{name}\" can't be a rule's name: 1 to {NAME_BYTES} bytes")
        })?;
        let texts = rule.summary.len() <= SENTENCE_BYTES
            && rule.description.len() <= DESCRIPTION_BYTES
            && rule.runbook.as_ref().is_none_or(|link| fits(link, VALUE_BYTES));
        ensure(is_condition(&rule.condition) && texts && rule.for_ms <= ALERTING_WAIT_MAX_MS, || {
            format!("alerting: rule \"{name}\" has no condition, or one of its texts or its wait is too long")
        })?;
        labels(&rule.labels)?;
    }
    Ok(())
}

pub(super) fn silence(silence: &Silence) -> Checked {
    let matchers = &silence.matchers;
    let good = |m: &super::Matcher| fits(&m.label, NAME_BYTES) && m.value.len() <= CONDITION_BYTES;
    ensure((1..=MATCHERS_MAX).contains(&matchers.len()) && matchers.iter().all(good), || {
        format!(
            "a silence has 1 to {MATCHERS_MAX} matchers, each with a label's name, and values of at most {CONDITION_BYTES} \
             bytes"
        )
    })?;
    ensure(silence.starts_at < silence.ends_at, || "the silence ends before it starts".to_owned())?;
    ensure(silence.author.len() <= NAME_BYTES && silence.comment.len() <= SENTENCE_BYTES, || {
        format!("a silence's author has at most {NAME_BYTES} bytes, its comment {SENTENCE_BYTES}")
    })
}
