//! The three layers of the agent's settings (file, `HOLDFAST_*` variables, flags) and where each value came from.
//!
//! Not here: what a value means (`agent`).

use super::{
    document::{self, Document, FileError},
    nearest::{distance, nearest},
};
use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

/// How a setting is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Text,
    Number,
    Switch,
    List,
    Pairs,
}

/// Every key of the agent's file, by its path.
const KEYS: &[(&str, Shape)] = &[
    ("name", Shape::Text),
    ("cluster", Shape::Text),
    ("data_dir", Shape::Text),
    ("zone", Shape::Text),
    ("role", Shape::Text),
    ("labels", Shape::Pairs),
    ("profile", Shape::Text),
    ("agent_timeout", Shape::Text),
    ("drain_when_sick", Shape::Switch),
    ("insecure", Shape::Switch),
    ("listen.grpc", Shape::Text),
    ("listen.advertise", Shape::Text),
    ("listen.http", Shape::Text),
    ("listen.alerts", Shape::Switch),
    ("join.seeds", Shape::List),
    ("join.expect", Shape::Number),
    ("tls.ca", Shape::Text),
    ("tls.cert", Shape::Text),
    ("tls.key", Shape::Text),
    ("last_resort.command", Shape::List),
    ("last_resort.file", Shape::Text),
];
const TABLES: &[&str] = &["listen", "join", "tls", "last_resort"];

/// Variables that are no settings of the agent, though their names begin like one.
const OTHER_VARIABLES: &[&str] = &[
    "HOLDFAST_ADDR",
    "HOLDFAST_CA",
    "HOLDFAST_CERT",
    "HOLDFAST_KEY",
    "HOLDFAST_LOG",
    "HOLDFAST_WORKLOAD",
    "HOLDFAST_INSTANCE",
    "HOLDFAST_INDEX",
    "HOLDFAST_NODE",
    "HOLDFAST_GENERATION",
];

/// How far a variable's name may be from a setting's to be taken for a slip of it.
const SLIP: usize = 2;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    File {
        file: PathBuf,
        line: usize,
        key: String,
    },
    Variable(String),
    Flag(&'static str),
    /// Nowhere: it is what holds when nothing was written.
    Default(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line, key } => write!(f, "{}:{line}: {key}", file.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
            Self::Default(key) => write!(f, "{key} (not set anywhere)"),
        }
    }
}

/// Why the agent can't be configured; one sentence that says what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{origin}: {what}")]
    Value { origin: Origin, what: String },
}

impl ConfigError {
    /// Was it typed on the command line, and so wrong usage, not wrong configuration?
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Value { origin: Origin::Flag(_), .. })
    }
}

/// One flag that was given: the key it sets, its own name, and what was written after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagValue {
    pub key: &'static str,
    pub flag: &'static str,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Number(i64),
    Switch(bool),
    List(Vec<String>),
    Pairs(BTreeMap<String, String>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub value: Value,
    pub origin: Origin,
}

/// By key; a later layer replaces what an earlier one said.
pub type Settings = BTreeMap<&'static str, Setting>;

pub fn from_file(path: &Path) -> Result<Settings, ConfigError> {
    let text = document::read(path)?;
    let document = Document::parse(&path.display().to_string(), &text)?;
    let root = document.root();
    let top: Vec<&str> =
        KEYS.iter().map(|(k, _)| *k).filter(|k| !k.contains('.')).chain(TABLES.iter().copied()).collect();
    root.only(&top, &[])?;
    let mut settings = Settings::new();
    for table in TABLES {
        let Some(section) = root.section(table)? else { continue };
        let prefix = format!("{table}.");
        let known: Vec<&str> = KEYS.iter().filter_map(|(k, _)| k.strip_prefix(prefix.as_str())).collect();
        section.only(&known, &[])?;
    }
    for (path_of_key, shape) in KEYS {
        let (table, key) = path_of_key.rsplit_once('.').unwrap_or(("", path_of_key));
        let inner = if table.is_empty() { None } else { root.section(table)? };
        let section = match (table, &inner) {
            ("", _) => &root,
            (_, Some(section)) => section,
            (_, None) => continue,
        };
        let value = match shape {
            Shape::Text => section.text(key)?.map(Value::Text),
            Shape::Number => section.number(key)?.map(Value::Number),
            Shape::Switch => section.switch(key)?.map(Value::Switch),
            Shape::List => section.texts(key)?.map(Value::List),
            Shape::Pairs => section.pairs(key)?.map(Value::Pairs),
        };
        if let Some(value) = value {
            let origin =
                Origin::File { file: path.into(), line: section.line(key), key: (*path_of_key).to_owned() };
            settings.insert(path_of_key, Setting { value, origin });
        }
    }
    Ok(settings)
}

/// Variables are the upper-case paths of the keys: `HOLDFAST_LISTEN_GRPC`.
pub fn from_variables(
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Settings, ConfigError> {
    let named: Vec<(String, &'static str, Shape)> = KEYS
        .iter()
        .map(|(k, shape)| (format!("HOLDFAST_{}", k.replace('.', "_").to_uppercase()), *k, *shape))
        .collect();
    let mut settings = Settings::new();
    for (name, text) in variables {
        if !name.starts_with("HOLDFAST_") || OTHER_VARIABLES.contains(&name.as_str()) {
            continue;
        }
        let origin = Origin::Variable(name.clone());
        if let Some((_, key, shape)) = named.iter().find(|(n, _, _)| *n == name) {
            let value =
                typed(*shape, &text).map_err(|what| ConfigError::Value { origin: origin.clone(), what })?;
            settings.insert(key, Setting { value, origin });
            continue;
        }
        // A stranger's variable may begin like ours (container platforms make such); a slip is told.
        let near = nearest(&name, named.iter().map(|(n, _, _)| n.as_str()));
        if let Some(near) = near.filter(|near| distance(&name, near) <= SLIP) {
            let what = format!("unknown variable; did you mean {near}?");
            return Err(ConfigError::Value { origin, what });
        }
    }
    Ok(settings)
}

pub fn from_flags(flags: &[FlagValue]) -> Result<Settings, ConfigError> {
    let mut settings = Settings::new();
    for FlagValue { key, flag, text } in flags {
        let shape = KEYS.iter().find(|(k, _)| k == key).expect("every flag sets a known key").1;
        let origin = Origin::Flag(flag);
        let value = typed(shape, text).map_err(|what| ConfigError::Value { origin: origin.clone(), what })?;
        settings.insert(key, Setting { value, origin });
    }
    Ok(settings)
}

/// Reads a value that was written as plain text: lists and pairs with commas between.
fn typed(shape: Shape, text: &str) -> Result<Value, String> {
    let items = || text.split(',').map(str::trim).filter(|s| !s.is_empty());
    match shape {
        Shape::Text => Ok(Value::Text(text.to_owned())),
        Shape::Number => match text.parse() {
            Ok(number) => Ok(Value::Number(number)),
            Err(_) => Err(format!("\"{text}\" isn't a whole number; write digits alone")),
        },
        Shape::Switch => match text {
            "true" | "1" => Ok(Value::Switch(true)),
            "false" | "0" | "" => Ok(Value::Switch(false)),
            _ => Err(format!("\"{text}\" is neither true nor false; write one of them")),
        },
        Shape::List => Ok(Value::List(items().map(str::to_owned).collect())),
        Shape::Pairs => items()
            .map(|item| match item.split_once('=') {
                Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
                _ => Err(format!("\"{item}\" isn't a label; write key=value")),
            })
            .collect::<Result<_, _>>()
            .map(Value::Pairs),
    }
}
