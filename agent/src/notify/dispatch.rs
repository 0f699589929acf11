//! Which channel gets what: one call tells one message once through one channel, whatever its kind.
//!
//! Not here: retries, rates, failover, and where secrets lie: a `Kind` has read them.

use super::{
    Refused, body,
    channel::{
        alertmanager, aliyun_sms, dingtalk, exec, feishu, local, numbers, opsgenie, pagerduty, short_text,
        slack, smpp, smtp, tencent_sms, twilio, victorops, webhook, wecom, zabbix,
    },
    http,
    message::Message,
    words,
};
use crate::clock;
use cluster_core::time::WallTime;
use std::time::Duration;

/// Of channels that end on this host; nobody reads an alert of this length.
const LOCAL_ROOM_BYTES: usize = 16_000;
/// Text messages are filled from templates of their own.
const SMS_ROOM_BYTES: usize = 640;

#[derive(Clone, Debug)]
pub enum Kind {
    Webhook(webhook::Config),
    Console,
    File { path: String },
    DingTalk(dingtalk::Config),
    Feishu(feishu::Config),
    WeCom(wecom::Config),
    Slack(slack::Config),
    AliyunSms(aliyun_sms::Config),
    TencentSms(tencent_sms::Config),
    Twilio(twilio::Config),
    Smpp(smpp::Config),
    Alertmanager(alertmanager::Config),
    Opsgenie(opsgenie::Config),
    VictorOps(victorops::Config),
    PagerDuty(pagerduty::Config),
    Zabbix(zabbix::Config),
    Exec(exec::Config),
    Smtp(smtp::Config),
}

impl Kind {
    /// How long each of a message's texts may be, in bytes, for `Message::new`.
    #[must_use]
    pub fn room_bytes(&self) -> usize {
        match self {
            Self::Webhook(_) | Self::Console | Self::File { .. } | Self::Exec(_) | Self::Alertmanager(_) => {
                LOCAL_ROOM_BYTES
            }
            Self::DingTalk(_) => dingtalk::ROOM_BYTES,
            Self::Feishu(_) => feishu::ROOM_BYTES,
            Self::WeCom(_) => wecom::ROOM_BYTES,
            Self::Slack(_) => slack::ROOM_BYTES,
            Self::AliyunSms(_) | Self::TencentSms(_) => SMS_ROOM_BYTES,
            Self::Twilio(_) => twilio::ROOM_BYTES,
            Self::Smpp(_) => short_text::ROOM_BYTES,
            Self::Opsgenie(_) => opsgenie::ROOM_BYTES,
            Self::VictorOps(_) => victorops::ROOM_BYTES,
            Self::PagerDuty(_) => pagerduty::ROOM_BYTES,
            Self::Zabbix(_) => zabbix::ROOM_BYTES,
            Self::Smtp(_) => smtp::ROOM_BYTES,
        }
    }

    /// What would be refused whatever the message is, so that `alert apply` can refuse it first.
    ///
    /// # Errors
    /// A sentence.
    pub fn check(&self) -> Result<(), String> {
        let templates = |templates: &std::collections::BTreeMap<String, String>| {
            templates.values().try_for_each(|template| words::check(template))
        };
        match self {
            Self::AliyunSms(config) => numbers::check(&config.to).and(templates(&config.template_params)),
            Self::TencentSms(config) => {
                tencent_sms::ordered(&config.template_params)?;
                numbers::check(&config.to).and(templates(&config.template_params))
            }
            Self::Twilio(config) => numbers::check(&config.to),
            Self::Smpp(config) => config.check(),
            Self::Smtp(config) => config.check(),
            Self::Exec(config) if config.program().is_empty() => {
                Err("the channel's command is empty".to_owned())
            }
            Self::Alertmanager(config) if config.username.is_some() != config.password.is_some() => {
                Err("an alertmanager channel has both `username` and `password`, or neither".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Names the receiver without its secrets.
    fn target(&self) -> String {
        let or = |url: &Option<String>, default: &str| http::host(url.as_deref().unwrap_or(default));
        match self {
            Self::Webhook(config) => http::host(&config.url),
            Self::Console => "the console".to_owned(),
            Self::File { path } => path.clone(),
            Self::DingTalk(config) => http::host(config.url.expose()),
            Self::Feishu(config) => http::host(config.url.expose()),
            Self::WeCom(config) => http::host(config.url.expose()),
            Self::Slack(config) => http::host(config.url.expose()),
            Self::AliyunSms(config) => or(&config.url, aliyun_sms::URL),
            Self::TencentSms(config) => or(&config.url, tencent_sms::URL),
            Self::Twilio(config) => or(&config.url, twilio::URL),
            Self::Smpp(config) => config.address(),
            Self::Alertmanager(config) => http::host(&config.url),
            Self::Opsgenie(config) => or(&config.url, opsgenie::URL),
            Self::VictorOps(config) => or(&config.url, victorops::URL),
            Self::PagerDuty(config) => or(&config.url, pagerduty::URL),
            Self::Zabbix(config) => config.server.clone(),
            Self::Exec(config) => config.program().to_owned(),
            Self::Smtp(config) => format!("{}:{}", config.host, config.port()),
        }
    }
}

/// Tells `message` once. Returns the receiver's words.
///
/// # Errors
/// The receiver said no, or nothing within `within`; a repetition carries the same message id.
pub async fn deliver(kind: &Kind, message: &Message, within: Duration) -> Result<String, Refused> {
    match tokio::time::timeout(within, tell(kind, message, clock::wall(), within)).await {
        Ok(told) => told,
        Err(_) => Err(Refused::no_answer(&kind.target(), within)),
    }
}

async fn tell(kind: &Kind, message: &Message, now: WallTime, within: Duration) -> Result<String, Refused> {
    match kind {
        Kind::Webhook(config) => webhook::deliver(config, message, now).await,
        Kind::Console => {
            let lines: Vec<String> = message.notices.iter().map(body::line).collect();
            local::console(lines.join("\n")).await
        }
        Kind::File { path } => local::append(path.clone(), body::of(message)).await,
        Kind::DingTalk(config) => {
            http::exchange(&dingtalk::request(config, message, now), None, dingtalk::judge).await
        }
        Kind::Feishu(config) => {
            http::exchange(&feishu::request(config, message, now), None, feishu::judge).await
        }
        Kind::WeCom(config) => http::exchange(&wecom::request(config, message), None, wecom::judge).await,
        Kind::Slack(config) => http::exchange(&slack::request(config, message), None, slack::judge).await,
        Kind::AliyunSms(config) => {
            let nonce = format!("{:032x}", rand::random::<u128>());
            http::exchange(&aliyun_sms::request(config, message, now, &nonce)?, None, aliyun_sms::judge).await
        }
        Kind::TencentSms(config) => {
            http::exchange(&tencent_sms::request(config, message, now)?, None, tencent_sms::judge).await
        }
        Kind::Twilio(config) => twilio::deliver(config, message, within).await,
        Kind::Smpp(config) => smpp::deliver(config, message, within).await,
        Kind::Alertmanager(config) => {
            let request = alertmanager::request(config, message, now);
            http::exchange(&request, config.ca.as_deref(), alertmanager::judge).await
        }
        Kind::Opsgenie(config) => {
            http::exchange(&opsgenie::request(config, message), None, opsgenie::judge).await
        }
        Kind::VictorOps(config) => {
            http::exchange(&victorops::request(config, message), None, victorops::judge).await
        }
        Kind::PagerDuty(config) => {
            http::exchange(&pagerduty::request(config, message), None, pagerduty::judge).await
        }
        Kind::Zabbix(config) => zabbix::deliver(config, message, now).await,
        Kind::Exec(config) => exec::deliver(config, message).await,
        Kind::Smtp(config) => smtp::deliver(config, message, now).await,
    }
}
