//! Channels to and from the wire. Not here: which settings a type of channel has (`notify::kinds`).

use cluster_core::ledger::{Channel, Rate, SecretRef, Setting};
use holdfast_proto::v1::{self, secret::Source, setting::Value};

/// A channel without its own time-out is given up after this.
pub const CHANNEL_TIMEOUT_MS: u64 = 5_000;

pub fn to_wire(name: &str, channel: Channel) -> v1::Channel {
    v1::Channel {
        name: name.to_owned(),
        r#type: channel.kind,
        settings: channel
            .settings
            .into_iter()
            .map(|(key, setting)| (key, v1::Setting { value: Some(to_value(setting)) }))
            .collect(),
        timeout_ms: channel.timeout_ms,
        language: channel.language,
        template: channel.template,
        rate: channel.rate.map(|rate| v1::Rate { messages: rate.messages, per_ms: rate.per_ms }),
        failover: channel.failover,
    }
}

fn to_value(setting: Setting) -> Value {
    match setting {
        Setting::Text(text) => Value::Text(text),
        Setting::Texts(values) => Value::Texts(v1::Texts { values }),
        Setting::Pairs(pairs) => Value::Pairs(v1::Pairs { values: pairs.into_iter().collect() }),
        Setting::Secret(from) => Value::Secret(secret_to_wire(from)),
        Setting::Flag(flag) => Value::Flag(flag),
        Setting::Number(number) => Value::Number(number),
    }
}

/// # Errors
/// A sentence that follows the channel's name: a setting or a secret has no value.
pub fn from_wire(channel: v1::Channel) -> Result<Channel, String> {
    let timeout_ms = match channel.timeout_ms {
        0 => CHANNEL_TIMEOUT_MS,
        ms => ms,
    };
    let mut read = Channel::new(&channel.r#type, timeout_ms);
    read.language = channel.language;
    read.template = channel.template;
    read.rate = channel.rate.map(|rate| Rate { messages: rate.messages, per_ms: rate.per_ms });
    read.failover = channel.failover;
    for (key, setting) in channel.settings {
        let value = setting.value.and_then(from_value);
        let value =
            value.ok_or_else(|| format!("has a setting \"{}\" without a value", key.escape_debug()))?;
        read.settings.insert(key, value);
    }
    Ok(read)
}

fn from_value(value: Value) -> Option<Setting> {
    Some(match value {
        Value::Text(text) => Setting::Text(text),
        Value::Texts(texts) => Setting::Texts(texts.values),
        Value::Pairs(pairs) => Setting::Pairs(pairs.values.into_iter().collect()),
        Value::Secret(secret) => Setting::Secret(secret_from_wire(secret)?),
        Value::Flag(flag) => Setting::Flag(flag),
        Value::Number(number) => Setting::Number(number),
    })
}

#[must_use]
pub fn secret_to_wire(from: SecretRef) -> v1::Secret {
    let source = match from {
        SecretRef::File(path) => Source::File(path),
        SecretRef::Env(name) => Source::Env(name),
        SecretRef::Inline(text) => Source::Inline(text),
    };
    v1::Secret { source: Some(source) }
}

/// None when it says of no place.
#[must_use]
pub fn secret_from_wire(secret: v1::Secret) -> Option<SecretRef> {
    Some(match secret.source? {
        Source::File(path) => SecretRef::File(path),
        Source::Env(name) => SecretRef::Env(name),
        Source::Inline(text) => SecretRef::Inline(text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_comes_back_as_it_went() {
        let mut channel = Channel::new("dingtalk", 2_000);
        channel.language = Some("zh".to_owned());
        channel.template = Some("{{ title }}".to_owned());
        channel.rate = Some(Rate { messages: 20, per_ms: 60_000 });
        channel.failover = Some("b".to_owned());
        channel.settings = [
            ("text", Setting::Text("a".to_owned())),
            ("texts", Setting::Texts(vec!["a".to_owned(), "b".to_owned()])),
            ("none", Setting::Texts(Vec::new())),
            ("pairs", Setting::Pairs([("k".to_owned(), "v".to_owned())].into())),
            ("file", Setting::Secret(SecretRef::File("/f".to_owned()))),
            ("env", Setting::Secret(SecretRef::Env("E".to_owned()))),
            ("inline", Setting::Secret(SecretRef::Inline("s".to_owned()))),
            ("flag", Setting::Flag(false)),
            ("number", Setting::Number(0)),
        ]
        .map(|(key, setting)| (key.to_owned(), setting))
        .into();
        assert_eq!(from_wire(to_wire("a", channel.clone())), Ok(channel));
    }

    #[test]
    fn what_has_no_value_is_refused_by_name() {
        let mut bare = to_wire("a", Channel::new("slack", 1));
        bare.settings.insert("url".to_owned(), v1::Setting { value: None });
        assert!(from_wire(bare.clone()).unwrap_err().contains("\"url\""));
        let value = Some(Value::Secret(v1::Secret { source: None }));
        bare.settings.insert("url".to_owned(), v1::Setting { value });
        assert!(from_wire(bare).unwrap_err().contains("\"url\""));
    }
}
