//! Types of channels: which settings each has, whether a channel's are sound, and the `Kind` that they make.
//!
//! The command line and the leader check with this before a channel enters the ledger; whoever sends builds its `Kind`
//! with it. Not here: the file's syntax (`config::alerting`), and what each type sends (`channel`).

use super::{
    Refused,
    channel::{
        alertmanager, aliyun_sms, dingtalk, exec, feishu, opsgenie, pagerduty, slack, smpp, smtp,
        tencent_sms, twilio, victorops, webhook, wecom, zabbix,
    },
    dispatch::Kind,
    fields::{Shape, TYPES, TypeSpec},
    phrases::Language,
    secret::Secret,
    words::{self, Style},
};
use cluster_core::ledger::{Channel, SecretRef, Setting};
use std::collections::BTreeMap;

/// Stands for a secret that lies elsewhere while the rest is checked; wherever a url may be secret, it is one.
const PLACEHOLDER: &str = "https://example.org/";

/// Stands for a secret where what is sent is shown.
const HIDDEN: &str = "(hidden)";

/// What can't be used: of one setting, or of the channel as a whole if there is no `key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    pub key: Option<&'static str>,
    /// Follows the key or the channel's name.
    pub what: String,
}

impl Wrong {
    fn whole(what: impl Into<String>) -> Self {
        Self { key: None, what: what.into() }
    }

    fn of(key: &'static str, what: impl Into<String>) -> Self {
        Self { key: Some(key), what: what.into() }
    }
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.key {
            Some(key) => write!(f, "{key}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// With its secrets read on this host.
///
/// # Errors
/// A secret isn't here, or the settings can't be used.
pub async fn kind(channel: &Channel) -> Result<Kind, Refused> {
    let unusable = |wrong| Refused::for_good(format!("the channel's settings can't be used: {wrong}"));
    well_formed(channel).map_err(unusable)?;
    let mut secrets = BTreeMap::new();
    for (key, setting) in &channel.settings {
        if let Setting::Secret(from) = setting {
            secrets.insert(key.as_str(), Secret::read(from).await?);
        }
    }
    Settings { channel, secrets }.kind().map_err(unusable)
}

/// To show what would be sent, and never to send it: every secret is hidden, those that the channel itself holds too.
///
/// # Errors
/// The settings can't be used.
pub fn without_secrets(channel: &Channel) -> Result<Kind, Wrong> {
    well_formed(channel)?;
    let secrets = channel.settings.iter().filter(|(_, setting)| shape(setting) == Shape::Secret);
    let secrets = secrets.map(|(key, _)| (key.as_str(), Secret::new(HIDDEN))).collect();
    Settings { channel, secrets }.kind()
}

/// How the channel wants its words; what isn't known (a newer version's language) gives way to the default.
#[must_use]
pub fn style(channel: &Channel) -> Style {
    let language = language(channel).unwrap_or_default();
    Style { language, template: channel.template.clone() }
}

/// All that can be told without its receiver and without secrets that lie elsewhere.
///
/// # Errors
/// The first thing that can't be used.
pub fn check(channel: &Channel) -> Result<(), Wrong> {
    let spec = well_formed(channel)?;
    for field in spec.fields {
        if let Some(setting) = channel.settings.get(field.name) {
            check_setting(spec, field.name, setting).map_err(|what| Wrong::of(field.name, what))?;
        }
    }
    language(channel)?;
    if let Some(template) = &channel.template {
        if template.trim().is_empty() {
            return Err(Wrong::of("template", EMPTY));
        }
        words::check(template).map_err(|what| Wrong::of("template", what))?;
    }
    let secrets = channel.settings.iter().filter_map(|(key, setting)| match setting {
        Setting::Secret(SecretRef::Inline(text)) => Some((key.as_str(), Secret::new(text))),
        Setting::Secret(_) => Some((key.as_str(), Secret::new(PLACEHOLDER))),
        _ => None,
    });
    let kind = Settings { channel, secrets: secrets.collect() }.kind()?;
    kind.check().map_err(|what| Wrong::whole(format!("can't be used: {what}")))
}

/// Its type is known, has these settings in these shapes, and lacks none.
fn well_formed(channel: &Channel) -> Result<&'static TypeSpec, Wrong> {
    let Some(spec) = TYPES.iter().find(|spec| spec.name == channel.kind) else {
        let names: Vec<&str> = TYPES.iter().map(|spec| spec.name).collect();
        let kind = words::cut(&channel.kind, 40);
        let what =
            format!("has type \"{kind}\", which this version doesn't know; known: {}", names.join(", "));
        return Err(Wrong::whole(what));
    };
    for (key, setting) in &channel.settings {
        let Some(field) = spec.fields.iter().find(|field| field.name == key) else {
            let what = format!("has a setting \"{}\", which {} has not", words::cut(key, 40), spec.name);
            return Err(Wrong::whole(what));
        };
        if shape(setting) != field.shape {
            return Err(Wrong::of(field.name, format!("it must be {}", field.shape.words())));
        }
    }
    match spec.fields.iter().find(|field| !channel.settings.contains_key(field.name) && field.like.is_some())
    {
        Some(field) if field.name == "path" => Err(Wrong::of("path", FILE_PATH)),
        Some(field) => {
            let (name, like) = (field.name, field.like.unwrap_or_default());
            Err(Wrong::whole(format!("has no {name}; add {name} = {like}")))
        }
        None => Ok(spec),
    }
}

fn shape(setting: &Setting) -> Shape {
    match setting {
        Setting::Text(_) => Shape::Text,
        Setting::Texts(_) => Shape::Texts,
        Setting::Pairs(_) => Shape::Pairs,
        Setting::Secret(_) => Shape::Secret,
        Setting::Flag(_) => Shape::Flag,
        Setting::Number(_) => Shape::Number,
    }
}

const EMPTY: &str = "it is empty; write something or take it out";
const FILE_PATH: &str = "give the file's path, beginning with \"/\"";
const PEM_PATH: &str = "give the path of a PEM file, beginning with \"/\"";

fn check_setting(spec: &TypeSpec, key: &str, setting: &Setting) -> Result<(), String> {
    match (key, setting) {
        // The value isn't repeated: complaints end up in logs and chat.
        ("url", Setting::Text(url) | Setting::Secret(SecretRef::Inline(url))) if !is_url(url) => {
            Err("it isn't a URL; write one like \"https://example.org/hook\"".to_owned())
        }
        ("path", Setting::Text(path)) if !path.starts_with('/') => Err(FILE_PATH.to_owned()),
        ("ca", Setting::Text(path)) if !path.starts_with('/') => Err(PEM_PATH.to_owned()),
        ("headers", Setting::Pairs(headers)) => check_headers(headers),
        ("secret", Setting::Secret(SecretRef::Inline(text)))
            if spec.name == "webhook" && !is_signing_secret(text) =>
        {
            Err("it isn't \"whsec_\" and base64; take the receiver's signing secret as it is".to_owned())
        }
        (_, Setting::Text(text) | Setting::Secret(SecretRef::Inline(text))) if text.trim().is_empty() => {
            Err(EMPTY.to_owned())
        }
        ("password", Setting::Secret(SecretRef::Inline(text))) if spec.name == "smpp" => {
            smpp::check_password(text.trim())
        }
        _ => Ok(()),
    }
}

#[must_use]
pub fn is_url(text: &str) -> bool {
    reqwest::Url::parse(text.trim())
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

fn is_signing_secret(text: &str) -> bool {
    let key = text.trim().strip_prefix("whsec_").filter(|key| !key.is_empty());
    key.is_some_and(|key| standardwebhooks::Webhook::new(key).is_ok())
}

fn check_headers(headers: &BTreeMap<String, String>) -> Result<(), String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let good = |name: &str, value: &str| {
        !name.is_empty() && name.bytes().all(token) && !value.chars().any(char::is_control)
    };
    match headers.iter().find(|(name, value)| !good(name, value)) {
        None => Ok(()),
        Some((name, _)) => {
            Err(format!("\"{}\" can't be a header; names are like X-Team", name.escape_debug()))
        }
    }
}

fn language(channel: &Channel) -> Result<Language, Wrong> {
    match channel.language.as_deref() {
        None => Ok(Language::default()),
        Some("en") => Ok(Language::En),
        Some("zh") => Ok(Language::Zh),
        Some(other) => {
            let what =
                format!("\"{}\" isn't known; write \"en\" or \"zh\"", words::cut(other, 40).escape_debug());
            Err(Wrong::of("language", what))
        }
    }
}

fn no_such_tls(other: &str, known: &str) -> Wrong {
    let other = words::cut(other, 40).escape_debug().to_string();
    Wrong::of("tls", format!("\"{other}\" isn't known; write {known}"))
}

/// Of a well-formed channel, so that what is required is there.
struct Settings<'c> {
    channel: &'c Channel,
    secrets: BTreeMap<&'c str, Secret>,
}

impl Settings<'_> {
    fn text(&self, key: &str) -> Option<String> {
        match self.channel.settings.get(key) {
            Some(Setting::Text(text)) => Some(text.clone()),
            _ => None,
        }
    }

    fn needed(&self, key: &str) -> String {
        self.text(key).unwrap_or_default()
    }

    fn texts(&self, key: &str) -> Vec<String> {
        match self.channel.settings.get(key) {
            Some(Setting::Texts(texts)) => texts.clone(),
            _ => Vec::new(),
        }
    }

    fn pairs(&self, key: &str) -> BTreeMap<String, String> {
        match self.channel.settings.get(key) {
            Some(Setting::Pairs(pairs)) => pairs.clone(),
            _ => BTreeMap::new(),
        }
    }

    fn flag(&self, key: &str) -> bool {
        matches!(self.channel.settings.get(key), Some(Setting::Flag(true)))
    }

    fn secret(&self, key: &str) -> Option<Secret> {
        self.secrets.get(key).cloned()
    }

    fn needed_secret(&self, key: &str) -> Secret {
        self.secret(key).unwrap_or_else(|| Secret::new(""))
    }

    fn kind(&self) -> Result<Kind, Wrong> {
        Ok(match self.channel.kind.as_str() {
            "webhook" => Kind::Webhook(webhook::Config {
                url: self.needed("url"),
                secret: self.secret("secret"),
                headers: self.pairs("headers"),
                ca: self.text("ca"),
            }),
            "smtp" => Kind::Smtp(self.smtp()?),
            "dingtalk" => Kind::DingTalk(dingtalk::Config {
                url: self.needed_secret("url"),
                secret: self.secret("secret"),
                at_mobiles: self.texts("at_mobiles"),
                at_all: self.flag("at_all"),
            }),
            "feishu" => {
                Kind::Feishu(feishu::Config { url: self.needed_secret("url"), secret: self.secret("secret") })
            }
            "wecom" => Kind::WeCom(wecom::Config { url: self.needed_secret("url") }),
            "slack" => Kind::Slack(slack::Config { url: self.needed_secret("url") }),
            "aliyun_sms" => Kind::AliyunSms(self.aliyun_sms()),
            "tencent_sms" => Kind::TencentSms(self.tencent_sms()),
            "twilio" => Kind::Twilio(self.twilio()),
            "smpp" => Kind::Smpp(self.smpp()?),
            "alertmanager" => Kind::Alertmanager(self.alertmanager()),
            "opsgenie" => Kind::Opsgenie(self.opsgenie()),
            "victorops" => Kind::VictorOps(victorops::Config {
                api_key: self.needed_secret("api_key"),
                routing_key: self.needed("routing_key"),
                url: self.text("url"),
            }),
            "pagerduty" => Kind::PagerDuty(pagerduty::Config {
                routing_key: self.needed_secret("routing_key"),
                url: self.text("url"),
            }),
            "zabbix" => Kind::Zabbix(zabbix::Config {
                server: self.needed("server"),
                host: self.needed("host"),
                key: self.needed("key"),
            }),
            "exec" => Kind::Exec(exec::Config { command: self.texts("command") }),
            "console" => Kind::Console,
            "file" => Kind::File { path: self.needed("path") },
            other => unreachable!("{other} is in the table of types and nobody builds it"),
        })
    }

    fn smtp(&self) -> Result<smtp::Config, Wrong> {
        let tls = match self.text("tls").as_deref() {
            None | Some("starttls") => smtp::Tls::StartTls,
            Some("implicit") => smtp::Tls::Implicit,
            Some("none") => smtp::Tls::None,
            Some(other) => return Err(no_such_tls(other, "\"starttls\" or \"implicit\" or \"none\"")),
        };
        let port = match self.channel.settings.get("port") {
            Some(Setting::Number(number)) => match u16::try_from(*number) {
                Ok(port) if port != 0 => Some(port),
                _ => {
                    return Err(Wrong::of("port", format!("{number} is out of range; use 1 to 65535")));
                }
            },
            _ => None,
        };
        Ok(smtp::Config {
            host: self.needed("host"),
            port,
            tls,
            username: self.text("username"),
            password: self.secret("password"),
            from: self.needed("from"),
            to: self.texts("to"),
            ca: self.text("ca"),
        })
    }

    fn aliyun_sms(&self) -> aliyun_sms::Config {
        aliyun_sms::Config {
            access_key_id: self.needed("access_key_id"),
            access_key_secret: self.needed_secret("access_key_secret"),
            sign_name: self.needed("sign_name"),
            template_code: self.needed("template_code"),
            template_params: self.pairs("template_params"),
            to: self.texts("to"),
            url: self.text("url"),
            language: style(self.channel).language,
        }
    }

    fn tencent_sms(&self) -> tencent_sms::Config {
        tencent_sms::Config {
            secret_id: self.needed("secret_id"),
            secret_key: self.needed_secret("secret_key"),
            app_id: self.needed("app_id"),
            sign_name: self.needed("sign_name"),
            template_id: self.needed("template_id"),
            template_params: self.pairs("template_params"),
            region: self.text("region"),
            to: self.texts("to"),
            url: self.text("url"),
            language: style(self.channel).language,
        }
    }

    fn twilio(&self) -> twilio::Config {
        twilio::Config {
            account_sid: self.needed("account_sid"),
            auth_token: self.needed_secret("auth_token"),
            from: self.needed("from"),
            to: self.texts("to"),
            url: self.text("url"),
        }
    }

    fn smpp(&self) -> Result<smpp::Config, Wrong> {
        let tls = match self.text("tls").as_deref() {
            None | Some("implicit") => smpp::Tls::Implicit,
            Some("none") => smpp::Tls::None,
            Some(other) => return Err(no_such_tls(other, "\"implicit\" or \"none\"")),
        };
        Ok(smpp::Config {
            server: self.needed("server"),
            tls,
            ca: self.text("ca"),
            system_id: self.needed("system_id"),
            password: self.needed_secret("password"),
            system_type: self.text("system_type"),
            from: self.text("from"),
            to: self.texts("to"),
        })
    }

    fn alertmanager(&self) -> alertmanager::Config {
        alertmanager::Config {
            url: self.needed("url"),
            username: self.text("username"),
            password: self.secret("password"),
            ca: self.text("ca"),
        }
    }

    fn opsgenie(&self) -> opsgenie::Config {
        opsgenie::Config {
            api_key: self.needed_secret("api_key"),
            url: self.text("url"),
            responders: self.texts("responders"),
            tags: self.texts("tags"),
        }
    }
}

#[cfg(test)]
#[path = "kinds_tests.rs"]
mod tests;
