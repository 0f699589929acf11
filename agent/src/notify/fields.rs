//! The table of all types of channels and their settings, which the alerting file, the wire and the senders share.
//!
//! Not here: what every channel has (`timeout`, `language`, `template`), and what a setting's value may be (`kinds`).

use Shape::{Flag, Number, Pairs, Secret, Text, Texts};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Text,
    Texts,
    Pairs,
    /// Written out, or the place where the sending host reads it.
    Secret,
    Flag,
    Number,
}

impl Shape {
    /// Follows "it must be".
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Texts => "a list of texts",
            Self::Pairs => "a table of texts",
            Self::Secret => "a secret",
            Self::Flag => "true or false",
            Self::Number => "a whole number",
        }
    }
}

#[derive(Debug)]
pub struct TypeSpec {
    pub name: &'static str,
    pub fields: &'static [Field],
}

#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    pub shape: Shape,
    /// How a required one is written; the others can be left out.
    pub like: Option<&'static str>,
}

const fn must(name: &'static str, shape: Shape, like: &'static str) -> Field {
    Field { name, shape, like: Some(like) }
}

const fn may(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, like: None }
}

const SECRET_LIKE: &str = "{ file = \"/…\" }";
const NUMBERS_LIKE: &str = "[\"+8613800000000\"]";
const URL_LIKE: &str = "\"https://…\"";

pub const TYPES: &[TypeSpec] = &[
    TypeSpec {
        name: "webhook",
        fields: &[must("url", Text, URL_LIKE), may("secret", Secret), may("headers", Pairs), may("ca", Text)],
    },
    TypeSpec {
        name: "smtp",
        fields: &[
            must("host", Text, "\"mail.example.org\""),
            may("port", Number),
            may("tls", Text),
            may("username", Text),
            may("password", Secret),
            must("from", Text, "\"alerts@example.org\""),
            must("to", Texts, "[\"ops@example.org\"]"),
            may("ca", Text),
        ],
    },
    TypeSpec {
        name: "dingtalk",
        fields: &[
            must("url", Secret, URL_LIKE),
            may("secret", Secret),
            may("at_mobiles", Texts),
            may("at_all", Flag),
        ],
    },
    TypeSpec { name: "feishu", fields: &[must("url", Secret, URL_LIKE), may("secret", Secret)] },
    TypeSpec { name: "wecom", fields: &[must("url", Secret, URL_LIKE)] },
    TypeSpec { name: "slack", fields: &[must("url", Secret, URL_LIKE)] },
    TypeSpec {
        name: "aliyun_sms",
        fields: &[
            must("access_key_id", Text, "\"…\""),
            must("access_key_secret", Secret, SECRET_LIKE),
            must("sign_name", Text, "\"…\""),
            must("template_code", Text, "\"SMS_…\""),
            may("template_params", Pairs),
            must("to", Texts, NUMBERS_LIKE),
            may("url", Text),
        ],
    },
    TypeSpec {
        name: "tencent_sms",
        fields: &[
            must("secret_id", Text, "\"…\""),
            must("secret_key", Secret, SECRET_LIKE),
            must("app_id", Text, "\"14…\""),
            must("sign_name", Text, "\"…\""),
            must("template_id", Text, "\"…\""),
            may("template_params", Pairs),
            may("region", Text),
            must("to", Texts, NUMBERS_LIKE),
            may("url", Text),
        ],
    },
    TypeSpec {
        name: "twilio",
        fields: &[
            must("account_sid", Text, "\"AC…\""),
            must("auth_token", Secret, SECRET_LIKE),
            must("from", Text, "\"+15005550006\""),
            must("to", Texts, NUMBERS_LIKE),
            may("url", Text),
        ],
    },
    TypeSpec {
        name: "smpp",
        fields: &[
            must("server", Text, "\"smsc.example.org\""),
            may("tls", Text),
            may("ca", Text),
            must("system_id", Text, "\"…\""),
            must("password", Secret, SECRET_LIKE),
            may("system_type", Text),
            may("from", Text),
            must("to", Texts, NUMBERS_LIKE),
        ],
    },
    TypeSpec {
        name: "alertmanager",
        fields: &[
            must("url", Text, "\"http://…:9093\""),
            may("username", Text),
            may("password", Secret),
            may("ca", Text),
        ],
    },
    TypeSpec {
        name: "opsgenie",
        fields: &[
            must("api_key", Secret, SECRET_LIKE),
            may("url", Text),
            may("responders", Texts),
            may("tags", Texts),
        ],
    },
    TypeSpec {
        name: "victorops",
        fields: &[must("api_key", Secret, SECRET_LIKE), must("routing_key", Text, "\"…\""), may("url", Text)],
    },
    TypeSpec { name: "pagerduty", fields: &[must("routing_key", Secret, SECRET_LIKE), may("url", Text)] },
    TypeSpec {
        name: "zabbix",
        fields: &[
            must("server", Text, "\"zabbix.example.org\""),
            must("host", Text, "\"…\""),
            must("key", Text, "\"holdfast.alert\""),
        ],
    },
    TypeSpec { name: "exec", fields: &[must("command", Texts, "[\"/path/to/program\"]")] },
    TypeSpec { name: "console", fields: &[] },
    TypeSpec { name: "file", fields: &[must("path", Text, "\"/…\"")] },
];
