//! A real trapper takes our value, or doesn't.

use super::{check, cluster, refused};
use holdfast_tests::{
    lab::wait::wait_until,
    peers::{
        installed::unless_ci,
        zabbix::{self, Proxy},
    },
};
use libtest_mimic::{Completion, Failed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// It writes to its database once a second.
const KEPT_WITHIN: Duration = Duration::from_secs(20);

pub fn keeps_the_value() -> Result<Completion, Failed> {
    if let Some(why) = zabbix::missing() {
        return unless_ci(why);
    }
    let mut proxy = Proxy::start()?;
    let channel = |name: &str, host: &str, key: &str| {
        format!(
            "[channel.{name}]\ntype = \"zabbix\"\nserver = \"127.0.0.1:{}\"\nhost = \"{host}\"\nkey = \
             \"{key}\"\nlanguage = \"zh\"\n",
            proxy.port
        )
    };
    let lab = cluster(
        &(channel("good", "holdfast", "holdfast.alert")
            + &channel("no_host", "elsewhere", "holdfast.alert")
            + &channel("no_item", "holdfast", "elsewhere.alert")
            + &channel("not_ours", "holdfast", "others.alert")),
    )?;

    let asked_at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    lab.ask(0, &["alert", "test", "good"])?;
    refused(&lab, "no_host", &["processed: 0; failed: 1", "host elsewhere"])?;
    refused(&lab, "no_item", &["processed: 0; failed: 1", "elsewhere.alert"])?;
    refused(&lab, "not_ours", &["processed: 0; failed: 1", "others.alert"])?;
    let kept = wait_until("the proxy to keep the value", KEPT_WITHIN, || {
        let kept = proxy.values().map_err(|e| e.to_string())?;
        if kept.is_empty() { Err("none".to_owned()) } else { Ok(kept) }
    })?;
    check(kept.len() == 1 && kept[0]["key_"] == "holdfast.alert", || format!("{kept:?}"))?;
    let value = kept[0]["value"].as_str().unwrap_or_default();
    let title = "[告警] 测试 Test: Test of channel good (lab)\n";
    check(value.starts_with(title) && value.contains("开始于"), || format!("\"{value}\" was kept"))?;
    let clock = kept[0]["clock"].as_u64().unwrap_or_default();
    check(clock.abs_diff(asked_at) <= 20, || format!("sent at {asked_at}, kept as of {clock}"))?;

    proxy.stop();
    refused(&lab, "good", &["can't be reached"])?;
    Ok(Completion::Completed)
}
