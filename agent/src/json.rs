//! Messages as JSON by the documented rules: snake_case names, lower-case enums without prefix, RFC 3339 times, and
//! nothing absent.
//!
//! The canonical protobuf JSON differs in all of these, so it isn't used. What a field is comes from the descriptors
//! of the .proto files; the order is that of the field numbers. Not here: reading JSON.

use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, ReflectMessage as _, Value,
};
use std::{fmt::Write as _, sync::LazyLock};

const TIMESTAMP: &str = "google.protobuf.Timestamp";
const INDENT: &str = "  ";

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(holdfast_proto::DESCRIPTORS).expect("the build wrote these descriptors")
});

/// A message of the public API that can be printed.
pub trait Public: Message {
    /// `holdfast.v1.Node`
    const NAME: &'static str;
}

macro_rules! public {
    ($($name:ident)*) => {
        $(impl Public for holdfast_proto::v1::$name {
            const NAME: &'static str = concat!("holdfast.v1.", stringify!($name));
        })*
        #[cfg(test)]
        pub(crate) const PRINTABLE: &[&str] = &[$(concat!("holdfast.v1.", stringify!($name))),*];
    };
}

public! {
    GetStatusResponse Node Workload Failure Alert Availability Event
    ApplyWorkloadsResponse ApplyAlertingResponse TestChannelResponse PreviewChannelResponse Silence AddSilenceResponse GetRaftStatusResponse TakeSnapshotResponse StreamLogsResponse
}

/// One object over several lines, for people and programs, without a line's end after it.
pub fn object<M: Public>(message: &M) -> String {
    let mut out = String::new();
    Writer { out: &mut out, pretty: true, depth: 0 }.message(&dynamic(message));
    out
}

/// One object on one line.
pub fn line<M: Public>(message: &M) -> String {
    let mut out = String::new();
    Writer { out: &mut out, pretty: false, depth: 0 }.message(&dynamic(message));
    out
}

/// `{"nodes": […]}`: a whole list, its pages already joined.
pub fn list<M: Public>(name: &str, items: &[M]) -> String {
    let mut out = String::new();
    let mut writer = Writer { out: &mut out, pretty: true, depth: 0 };
    writer.block('{', '}', std::iter::once(()), |w, ()| {
        w.key(name);
        w.block('[', ']', items.iter(), |w, item| w.message(&dynamic(item)));
    });
    out
}

fn dynamic<M: Public>(message: &M) -> DynamicMessage {
    let descriptor = POOL.get_message_by_name(M::NAME).expect("every public message is described");
    // Through its encoding: that is what both sides agree on.
    DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())
        .expect("a message reads what it wrote")
}

struct Writer<'o> {
    out: &'o mut String,
    pretty: bool,
    depth: usize,
}

impl Writer<'_> {
    fn message(&mut self, message: &DynamicMessage) {
        let mut fields: Vec<FieldDescriptor> = message.descriptor().fields().collect();
        fields.sort_by_key(FieldDescriptor::number);
        self.block('{', '}', fields.into_iter(), |w, field| {
            w.key(field.name());
            if field.supports_presence() && !message.has_field(&field) {
                w.out.push_str("null");
            } else {
                w.value(&field.kind(), &message.get_field(&field));
            }
        });
    }

    fn value(&mut self, kind: &Kind, value: &Value) {
        match value {
            Value::Bool(b) => self.plain(b),
            Value::I32(n) => self.plain(n),
            Value::I64(n) => self.plain(n),
            Value::U32(n) => self.plain(n),
            Value::U64(n) => self.plain(n),
            Value::F32(n) => self.number(f64::from(*n)),
            Value::F64(n) => self.number(*n),
            Value::String(text) => self.text(text),
            Value::Bytes(bytes) => {
                let text = base64(bytes);
                self.text(&text);
            }
            Value::EnumNumber(number) => {
                let Kind::Enum(descriptor) = kind else { unreachable!("an enum's value has an enum's kind") };
                self.enumeration(descriptor, *number);
            }
            Value::Message(message) if message.descriptor().full_name() == TIMESTAMP => self.time(message),
            Value::Message(message) => self.message(message),
            Value::List(items) => self.block('[', ']', items.iter(), |w, item| w.value(kind, item)),
            Value::Map(map) => {
                let Kind::Message(entry) = kind else { unreachable!("a map's kind is its entry") };
                let kind = entry.map_entry_value_field().kind();
                let mut entries: Vec<(String, &Value)> = map.iter().map(|(k, v)| (key_text(k), v)).collect();
                entries.sort_by(|a, b| a.0.cmp(&b.0));
                self.block('{', '}', entries.into_iter(), |w, (key, value)| {
                    w.key(&key);
                    w.value(&kind, value);
                });
            }
        }
    }

    /// `HEALTH_DEGRADED` of `Health` is `degraded`; what is unspecified, or of a later version, is `null`.
    fn enumeration(&mut self, descriptor: &EnumDescriptor, number: i32) {
        match descriptor.get_value(number).filter(|_| number != 0) {
            Some(value) => {
                let prefix = upper_snake(descriptor.name());
                let name = value.name();
                let word = name.strip_prefix(&prefix).and_then(|n| n.strip_prefix('_')).unwrap_or(name);
                self.text(&word.to_lowercase());
            }
            None => self.out.push_str("null"),
        }
    }

    fn time(&mut self, message: &DynamicMessage) {
        let part = |name: &str| message.get_field_by_name(name).map(|v| v.into_owned());
        let seconds = part("seconds").and_then(|v| v.as_i64()).unwrap_or_default();
        let nanos = part("nanos").and_then(|v| v.as_i32()).unwrap_or_default();
        match time(seconds, nanos) {
            Some(text) => self.text(&text),
            None => self.out.push_str("null"),
        }
    }

    /// JSON has neither infinity nor not-a-number.
    fn number(&mut self, number: f64) {
        if number.is_finite() { self.plain(&number) } else { self.out.push_str("null") }
    }

    fn plain(&mut self, value: &impl std::fmt::Display) {
        write!(self.out, "{value}").expect("a string takes everything");
    }

    fn text(&mut self, text: &str) {
        self.out.push_str(&serde_json::Value::from(text).to_string());
    }

    fn key(&mut self, name: &str) {
        self.text(name);
        self.out.push_str(": ");
    }

    fn block<T>(
        &mut self,
        open: char,
        close: char,
        items: impl Iterator<Item = T>,
        mut each: impl FnMut(&mut Writer<'_>, T),
    ) {
        self.out.push(open);
        self.depth += 1;
        let mut first = true;
        for item in items {
            if !first {
                self.out.push(',');
            }
            self.gap(!first);
            first = false;
            each(&mut Writer { out: self.out, pretty: self.pretty, depth: self.depth }, item);
        }
        self.depth -= 1;
        if !first {
            self.gap(false);
        }
        self.out.push(close);
    }

    fn gap(&mut self, between: bool) {
        if self.pretty {
            self.out.push('\n');
            self.out.push_str(&INDENT.repeat(self.depth));
        } else if between {
            self.out.push(' ');
        }
    }
}

/// RFC 3339, UTC, milliseconds; `None` outside the years 0 to 9999.
#[must_use]
pub fn time(seconds: i64, nanos: i32) -> Option<String> {
    let timestamp = jiff::Timestamp::new(seconds, nanos).ok()?;
    Some(timestamp.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(b) => b.to_string(),
        MapKey::I32(n) => n.to_string(),
        MapKey::I64(n) => n.to_string(),
        MapKey::U32(n) => n.to_string(),
        MapKey::U64(n) => n.to_string(),
        MapKey::String(text) => text.clone(),
    }
}

/// `NodeState` → `NODE_STATE`.
fn upper_snake(camel: &str) -> String {
    let mut snake = String::new();
    for c in camel.chars() {
        if c.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(c.to_ascii_uppercase());
    }
    snake
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let [a, b, c] = [0, 1, 2].map(|i| u32::from(chunk.get(i).copied().unwrap_or(0)));
        let bits = a << 16 | b << 8 | c;
        for place in 0..4 {
            let digit = usize::try_from(bits >> (18 - 6 * place) & 63).expect("six bits");
            // A chunk of n bytes has n + 1 digits; the rest is padding.
            out.push(if place <= chunk.len() { char::from(ALPHABET[digit]) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
