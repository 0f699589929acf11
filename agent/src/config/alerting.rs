//! The alerting file: through which channels people are told, as `alert apply` sends it.
//!
//! What is documented and not built yet is refused by name. Not here: sending, and reading secrets; a secret's place
//! travels, and the host that sends reads it there.

use super::{
    document::{Document, FileError, Section},
    names::check_name,
    workload::{one_of, time},
};
use holdfast_proto::v1::{
    ApplyAlertingRequest, Channel, ConsoleChannel, FileChannel, Route, Secret, WebhookChannel, channel,
    secret,
};

const DEFAULT_TIMEOUT_MS: u64 = 5_000;
const TIMEOUT_MS: std::ops::RangeInclusive<u64> = 100..=60_000;

const TYPES_NOT_YET: &[&str] = &[
    "smtp",
    "dingtalk",
    "feishu",
    "wecom",
    "slack",
    "aliyun_sms",
    "tencent_sms",
    "twilio",
    "alertmanager",
    "opsgenie",
    "victorops",
    "pagerduty",
    "zabbix",
    "exec",
];
const CHANNEL_NOT_YET: &[&str] = &["rate_limit", "template", "language", "failover"];
const ROUTE_NOT_YET: &[&str] = &["match", "group_by", "group_wait", "repeat"];

#[derive(Clone, Copy)]
enum Type {
    Webhook,
    Console,
    File,
}

/// The whole file; `request_id` is left for the caller.
pub fn parse(file: &str, text: &str) -> Result<ApplyAlertingRequest, FileError> {
    let document = Document::parse(file, text)?;
    let root = document.root();
    root.only(&["channel", "route"], &["inhibit"])?;
    let mut channels = Vec::new();
    if let Some(section) = root.section("channel")? {
        for name in section.names() {
            check_name(name).map_err(|why| section.bad(name, why))?;
            channels.push(channel(name, &section.section(name)?.expect("a name that was just read"))?);
        }
    }
    let routes = root.sections("route")?.iter().map(|r| route(r, &channels)).collect::<Result<_, _>>()?;
    Ok(ApplyAlertingRequest { channels, routes, request_id: String::new() })
}

fn channel(name: &str, section: &Section<'_>) -> Result<Channel, FileError> {
    let types = [("webhook", Type::Webhook), ("console", Type::Console), ("file", Type::File)];
    let Some(kind) = one_of(section, "type", &types, TYPES_NOT_YET)? else {
        return Err(section.wrong("has no type; add type = \"webhook\", \"console\" or \"file\""));
    };
    let kind = match kind {
        Type::Webhook => channel::Kind::Webhook(webhook(section)?),
        Type::Console => {
            section.only(&["type", "timeout"], CHANNEL_NOT_YET)?;
            channel::Kind::Console(ConsoleChannel {})
        }
        Type::File => {
            section.only(&["type", "timeout", "path"], CHANNEL_NOT_YET)?;
            match section.text("path")? {
                Some(path) if path.starts_with('/') => channel::Kind::File(FileChannel { path }),
                _ => return Err(section.bad("path", "give the file's path, beginning with \"/\"")),
            }
        }
    };
    let timeout_ms = time(section, "timeout", TIMEOUT_MS)?.unwrap_or(DEFAULT_TIMEOUT_MS);
    Ok(Channel { name: name.to_owned(), kind: Some(kind), timeout_ms })
}

fn webhook(section: &Section<'_>) -> Result<WebhookChannel, FileError> {
    section.only(&["type", "timeout", "url", "secret", "headers", "ca"], CHANNEL_NOT_YET)?;
    let Some(url) = section.text("url")? else {
        return Err(section.wrong("has no url; add url = \"https://…\""));
    };
    match reqwest::Url::parse(&url) {
        Ok(parsed) if matches!(parsed.scheme(), "http" | "https") && parsed.has_host() => {}
        _ => return Err(section.bad("url", "it isn't a URL; write one like \"https://example.org/hook\"")),
    }
    let headers = section.pairs("headers")?.unwrap_or_default();
    for (name, value) in &headers {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(token) || value.chars().any(char::is_control) {
            let what = format!("\"{}\" can't be a header; names are like X-Team", name.escape_debug());
            return Err(section.bad("headers", what));
        }
    }
    let ca = section.text("ca")?;
    if ca.as_deref().is_some_and(|path| !path.starts_with('/')) {
        return Err(section.bad("ca", "give the path of a PEM file, beginning with \"/\""));
    }
    Ok(WebhookChannel { url, secret: secret(section)?, headers: headers.into_iter().collect(), ca })
}

/// `{ file = … }`, `{ env = … }`, or the secret itself.
fn secret(section: &Section<'_>) -> Result<Option<Secret>, FileError> {
    const KEY: &str = "secret";
    if !section.has(KEY) {
        return Ok(None);
    }
    let source = if section.is_text(KEY) {
        let inline = section.text(KEY)?.unwrap_or_default();
        let key = inline.strip_prefix("whsec_").filter(|key| !key.is_empty());
        // The value isn't repeated: complaints end up in logs and chat.
        if key.is_none_or(|key| standardwebhooks::Webhook::new(key).is_err()) {
            let what = "it isn't \"whsec_\" and base64; take the receiver's signing secret as it is";
            return Err(section.bad(KEY, what));
        }
        secret::Source::Inline(inline)
    } else {
        let Some(place) = section.section(KEY)? else { return Ok(None) };
        place.only(&["file", "env"], &[])?;
        match (place.text("file")?, place.text("env")?) {
            (Some(file), None) if file.starts_with('/') => secret::Source::File(file),
            (Some(_), None) => return Err(place.bad("file", "the path is relative; begin it with \"/\"")),
            (None, Some(env)) if !env.is_empty() && !env.contains(['=', '\0']) => secret::Source::Env(env),
            (None, Some(_)) => return Err(place.bad("env", "give a variable's name")),
            _ => {
                let what = "write { file = \"/path\" } or { env = \"NAME\" }, one of them";
                return Err(section.bad(KEY, what));
            }
        }
    };
    Ok(Some(Secret { source: Some(source) }))
}

fn route(section: &Section<'_>, channels: &[Channel]) -> Result<Route, FileError> {
    section.only(&["channels"], ROUTE_NOT_YET)?;
    let named = section.texts("channels")?.unwrap_or_default();
    if named.is_empty() {
        return Err(section.wrong("leads nowhere; add channels = [\"NAME\"]"));
    }
    for name in &named {
        if channels.iter().any(|c| c.name == *name) {
            continue;
        }
        let hint = match super::nearest::nearest(name, channels.iter().map(|c| c.name.as_str())) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("add [channel.{}], or take it out", name.escape_debug()),
        };
        let what = format!("there is no channel \"{}\" in this file; {hint}", name.escape_debug());
        return Err(section.bad("channels", what));
    }
    Ok(Route { channels: named })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(text: &str) -> String {
        let said = parse("a.toml", text).unwrap_err().to_string();
        assert!(!said.contains('\n'), "{said}");
        said
    }

    #[test]
    fn channels_and_catch_all_routes_are_read() {
        let applied = parse(
            "a.toml",
            r#"
            [channel.oncall]
            type = "webhook"
            url = "http://127.0.0.1:9000/hook"
            secret = { file = "/etc/holdfast/secrets/hook" }
            headers = { X-Team = "ops" }
            timeout = "2s"
            [channel.inline]
            type = "webhook"
            url = "https://example.org"
            secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
            [channel.screen]
            type = "console"
            [channel.log]
            type = "file"
            path = "/var/log/alerts"
            [[route]]
            channels = ["oncall", "screen"]
            [[route]]
            channels = ["log"]
            "#,
        )
        .unwrap();
        let names: Vec<_> = applied.channels.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["oncall", "inline", "screen", "log"]);
        assert_eq!(applied.channels[0].timeout_ms, 2_000);
        assert_eq!(applied.channels[1].timeout_ms, DEFAULT_TIMEOUT_MS);
        let Some(channel::Kind::Webhook(hook)) = &applied.channels[0].kind else { panic!() };
        let file = secret::Source::File("/etc/holdfast/secrets/hook".into());
        assert_eq!(hook.secret, Some(Secret { source: Some(file) }));
        assert_eq!(applied.routes.len(), 2);
        assert_eq!(applied.routes[0].channels, ["oncall", "screen"]);
    }

    #[test]
    fn every_mistake_has_its_sentence() {
        for (text, sentence) in [
            (
                "[channel.a]\n",
                "a.toml:1: [channel.a] has no type; add type = \"webhook\", \"console\" or \"file\"",
            ),
            (
                "[channel.a]\ntype = \"smtp\"",
                "a.toml:2: channel.a.type: \"smtp\" isn't supported by this version yet; write \"webhook\" or \"console\" or \"file\"",
            ),
            (
                "[channel.a]\ntype = \"webhok\"",
                "a.toml:2: channel.a.type: \"webhok\" isn't known; did you mean \"webhook\"?",
            ),
            ("[channel.a]\ntype = \"webhook\"", "a.toml:1: [channel.a] has no url; add url = \"https://…\""),
            (
                "[channel.a]\ntype = \"webhook\"\nurl = \"ftp://x\"",
                "a.toml:3: channel.a.url: it isn't a URL; write one like \"https://example.org/hook\"",
            ),
            (
                "[channel.a]\ntype = \"webhook\"\nurl = \"http://x\"\nsecret = \"hunter2\"",
                "a.toml:4: channel.a.secret: it isn't \"whsec_\" and base64; take the receiver's signing secret as it is",
            ),
            (
                "[channel.a]\ntype = \"webhook\"\nurl = \"http://x\"\nsecret = \"whsec_***\"",
                "a.toml:4: channel.a.secret: it isn't \"whsec_\" and base64; take the receiver's signing secret as it is",
            ),
            (
                "[channel.a]\ntype = \"webhook\"\nurl = \"http://x\"\nsecret = {}",
                "a.toml:4: channel.a.secret: write { file = \"/path\" } or { env = \"NAME\" }, one of them",
            ),
            (
                "[channel.a]\ntype = \"console\"\nfailover = \"b\"",
                "a.toml:3: channel.a.failover isn't supported by this version yet; take it out",
            ),
            (
                "[channel.a]\ntype = \"file\"",
                "a.toml:1: channel.a.path: give the file's path, beginning with \"/\"",
            ),
            (
                "[[route]]\nmatch = \"x\"",
                "a.toml:2: route.match isn't supported by this version yet; take it out",
            ),
            ("[[route]]\n", "a.toml:1: [route] leads nowhere; add channels = [\"NAME\"]"),
            (
                "[channel.oncall]\ntype = \"console\"\n[[route]]\nchannels = [\"onccall\"]",
                "a.toml:4: route.channels: there is no channel \"onccall\" in this file; did you mean \"oncall\"?",
            ),
            (
                "[[inhibit]]\nsource = \"x\"",
                "a.toml:1: inhibit isn't supported by this version yet; take it out",
            ),
            ("[chanel.a]", "a.toml:1: unknown key chanel; did you mean channel?"),
        ] {
            assert_eq!(complaint(text), sentence);
        }
    }
}
