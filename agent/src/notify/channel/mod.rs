//! A file a channel: its settings, what it sends, and what its receiver's answers mean.
//!
//! Over HTTP that is a pure `request` and a pure `judge`; time and randomness are arguments, secrets have been read.
//! Not here: the words (`words`), HTTP itself (`http`), and which channel gets what (`dispatch`).

pub mod alertmanager;
pub mod aliyun_sms;
pub mod dingtalk;
pub mod exec;
pub mod feishu;
pub mod local;
pub mod mail;
pub mod numbers;
pub mod opsgenie;
pub mod pagerduty;
#[cfg(test)]
mod paging_tests;
pub mod short_text;
pub mod slack;
pub mod smpp;
pub mod smtp;
pub mod tencent_sms;
pub mod twilio;
pub mod victorops;
pub mod webhook;
pub mod wecom;
pub mod zabbix;
