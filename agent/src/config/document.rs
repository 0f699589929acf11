//! Reading a TOML file so that every complaint names the file, the line, the key, and what to write instead.
//!
//! Not here: what keys there are. Each kind of file says that of itself.

use super::nearest::nearest;
use std::{collections::BTreeMap, path::Path};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// A configuration file larger than this is refused: it is none.
const FILE_BYTES: u64 = 1024 * 1024;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    #[error("{file}: {cause}; give the path of a readable file")]
    Unreadable { file: String, cause: String },
    #[error("{file}:{line}: {what}")]
    At { file: String, line: usize, what: String },
}

/// Reads a whole file as text.
pub fn read(path: &Path) -> Result<String, FileError> {
    let unreadable = |cause: String| FileError::Unreadable { file: path.display().to_string(), cause };
    let size = std::fs::metadata(path).map_err(|e| unreadable(plain(&e)))?.len();
    if size > FILE_BYTES {
        return Err(unreadable(format!("it has {size} bytes, more than the {FILE_BYTES} that are read")));
    }
    std::fs::read_to_string(path).map_err(|e| unreadable(plain(&e)))
}

fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".into(),
        std::io::ErrorKind::InvalidData => "it isn't text in UTF-8".into(),
        _ => error.to_string(),
    }
}

/// A parsed file, kept with its text so that places in it can be named.
pub struct Document<'t> {
    file: String,
    text: &'t str,
    root: DeTable<'t>,
}

impl<'t> Document<'t> {
    pub fn parse(file: &str, text: &'t str) -> Result<Self, FileError> {
        match DeTable::parse(text) {
            Ok(root) => Ok(Self { file: file.to_owned(), text, root: root.into_inner() }),
            Err(e) => {
                let line = line_of(text, e.span().map_or(0, |s| s.start));
                let what = format!("{}; the file must be TOML", e.message().replace('\n', ", "));
                Err(FileError::At { file: file.to_owned(), line, what })
            }
        }
    }

    #[must_use]
    pub fn root(&self) -> Section<'_> {
        Section { file: &self.file, text: self.text, path: String::new(), start: 0, table: &self.root }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes().iter().take(offset).filter(|b| **b == b'\n').count()
}

/// One table of a document.
pub struct Section<'d> {
    file: &'d str,
    text: &'d str,
    /// `join`, `workload.web.exec`; empty for the root.
    path: String,
    start: usize,
    table: &'d DeTable<'d>,
}

type Found<T> = Result<Option<T>, FileError>;

impl<'d> Section<'d> {
    /// Refuses every key that is neither known nor, with its own words, documented but not built yet.
    pub fn only(&self, known: &[&str], unbuilt: &[&str]) -> Result<(), FileError> {
        // In the order of the file, so that the first mistake is told first.
        let mut keys: Vec<_> = self.table.keys().map(|k| (k.span().start, k.get_ref().as_ref())).collect();
        keys.sort_unstable();
        for (offset, key) in keys {
            if known.contains(&key) {
                continue;
            }
            let name = self.full(key);
            if unbuilt.contains(&key) {
                let what = format!("{name} isn't supported by this version yet; take it out");
                return Err(self.at(offset, what));
            }
            let what = match nearest(key, known.iter().copied()) {
                Some(near) => format!("unknown key {name}; did you mean {}?", self.full(near)),
                None => format!("unknown key {name}; known here: {}", known.join(", ")),
            };
            return Err(self.at(offset, what));
        }
        Ok(())
    }

    pub fn text(&self, key: &str) -> Found<String> {
        self.typed(key, "a text in quotes", |v| v.as_str().map(str::to_owned))
    }

    /// A time, in quotes or as TOML's own; as it is written.
    pub fn moment(&self, key: &str) -> Found<String> {
        self.typed(key, "a time like \"2026-01-31T12:00:00Z\"", |v| match v.as_datetime() {
            Some(time) => Some(time.to_string()),
            None => v.as_str().map(str::to_owned),
        })
    }

    pub fn number(&self, key: &str) -> Found<i64> {
        self.typed(key, "a whole number", |v| {
            let n = v.as_integer()?;
            i64::from_str_radix(n.as_str(), n.radix()).ok()
        })
    }

    /// A number of a range; `what` it counts is named in the complaint.
    pub fn number_in(&self, key: &str, range: std::ops::RangeInclusive<u32>) -> Found<u32> {
        let Some(number) = self.number(key)? else { return Ok(None) };
        match u32::try_from(number) {
            Ok(n) if range.contains(&n) => Ok(Some(n)),
            _ => {
                Err(self
                    .bad(key, format!("{number} is out of range; use {} to {}", range.start(), range.end())))
            }
        }
    }

    pub fn switch(&self, key: &str) -> Found<bool> {
        self.typed(key, "true or false", DeValue::as_bool)
    }

    pub fn texts(&self, key: &str) -> Found<Vec<String>> {
        self.typed(key, "a list of texts, like [\"a\", \"b\"]", |v| {
            v.as_array()?.iter().map(|i| i.get_ref().as_str().map(str::to_owned)).collect()
        })
    }

    /// A table whose values are texts.
    pub fn pairs(&self, key: &str) -> Found<BTreeMap<String, String>> {
        self.typed(key, "a table of texts, like { KEY = \"value\" }", |v| {
            v.as_table()?
                .iter()
                .map(|(k, v)| Some((k.get_ref().to_string(), v.get_ref().as_str()?.to_owned())))
                .collect()
        })
    }

    pub fn section(&self, key: &str) -> Found<Section<'d>> {
        let Some((name, value)) = self.entry(key) else { return Ok(None) };
        match value.get_ref().as_table() {
            Some(table) => Ok(Some(self.inner(self.full(key), name.span().start, table))),
            None => Err(self.wrong_type(key, value.get_ref(), &format!("a table, [{}]", self.full(key)))),
        }
    }

    /// `[[key]]`, in order.
    pub fn sections(&self, key: &str) -> Result<Vec<Section<'d>>, FileError> {
        let Some((_, value)) = self.entry(key) else { return Ok(Vec::new()) };
        let wanted = format!("a list of tables, [[{}]]", self.full(key));
        let Some(array) = value.get_ref().as_array() else {
            return Err(self.wrong_type(key, value.get_ref(), &wanted));
        };
        array
            .iter()
            .map(|item| match item.get_ref().as_table() {
                Some(table) => Ok(self.inner(self.full(key), item.span().start, table)),
                None => Err(self.wrong_type(key, item.get_ref(), &wanted)),
            })
            .collect()
    }

    /// All keys, in the order of the file: for tables whose keys are names that the user chose.
    #[must_use]
    pub fn names(&self) -> Vec<&'d str> {
        let mut keys: Vec<_> = self.table.keys().map(|k| (k.span().start, k.get_ref().as_ref())).collect();
        keys.sort_unstable();
        keys.into_iter().map(|(_, k)| k).collect()
    }

    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    #[must_use]
    pub fn is_text(&self, key: &str) -> bool {
        self.entry(key).is_some_and(|(_, v)| v.get_ref().is_str())
    }

    /// The line that `key` stands on, or this section begins on when it has no such key.
    #[must_use]
    pub fn line(&self, key: &str) -> usize {
        line_of(self.text, self.entry(key).map_or(self.start, |(k, _)| k.span().start))
    }

    /// A complaint about the value of `key`: `what` says what is wrong, and what to write instead.
    #[must_use]
    pub fn bad(&self, key: &str, what: impl std::fmt::Display) -> FileError {
        let what = format!("{}: {what}", self.full(key));
        FileError::At { file: self.file.to_owned(), line: self.line(key), what }
    }

    /// A complaint about the section as a whole.
    #[must_use]
    pub fn wrong(&self, what: impl std::fmt::Display) -> FileError {
        let what = if self.path.is_empty() { what.to_string() } else { format!("[{}] {what}", self.path) };
        self.at(self.start, what)
    }

    fn typed<T>(&self, key: &str, wanted: &str, f: impl FnOnce(&DeValue<'d>) -> Option<T>) -> Found<T> {
        let Some((_, value)) = self.entry(key) else { return Ok(None) };
        f(value.get_ref()).map(Some).ok_or_else(|| self.wrong_type(key, value.get_ref(), wanted))
    }

    fn wrong_type(&self, key: &str, found: &DeValue<'_>, wanted: &str) -> FileError {
        self.bad(key, format!("found {}; write {wanted}", found.type_str()))
    }

    fn entry(&self, key: &str) -> Option<(&'d Spanned<toml::de::DeString<'d>>, &'d Spanned<DeValue<'d>>)> {
        self.table.iter().find(|(k, _)| k.get_ref() == key)
    }

    fn inner(&self, path: String, start: usize, table: &'d DeTable<'d>) -> Section<'d> {
        Section { file: self.file, text: self.text, path, start, table }
    }

    fn full(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn at(&self, offset: usize, what: String) -> FileError {
        FileError::At { file: self.file.to_owned(), line: line_of(self.text, offset), what }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(text: &str, f: impl FnOnce(&Section<'_>) -> Result<(), FileError>) -> String {
        let document = Document::parse("a.toml", text).unwrap();
        f(&document.root()).unwrap_err().to_string()
    }

    #[test]
    fn a_complaint_names_file_line_key_and_fix() {
        assert_eq!(
            complaint("a = 1\n\n[join]\nseds = []", |s| s.section("join")?.unwrap().only(&["seeds"], &[])),
            "a.toml:4: unknown key join.seds; did you mean join.seeds?"
        );
        assert_eq!(
            complaint("a = 1\nb = 2", |s| s.text("b").map(|_| ())),
            "a.toml:2: b: found integer; write a text in quotes"
        );
        assert_eq!(
            complaint("x = 1", |s| s.only(&["name", "zone"], &[])),
            "a.toml:1: unknown key x; known here: name, zone"
        );
        assert_eq!(
            complaint("vip = 1", |s| s.only(&["name"], &["vip"])),
            "a.toml:1: vip isn't supported by this version yet; take it out"
        );
    }

    #[test]
    fn the_first_mistake_of_the_file_is_told_first() {
        let said = complaint("zz = 1\naa = 2", |s| s.only(&["name"], &[]));
        assert!(said.starts_with("a.toml:1: unknown key zz"), "{said}");
    }

    #[test]
    fn broken_toml_is_told_with_its_line() {
        let error = Document::parse("a.toml", "a = 1\nb = = 2\n").err().unwrap().to_string();
        assert!(error.starts_with("a.toml:2: "), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }

    #[test]
    fn a_missing_file_is_one_sentence() {
        assert_eq!(
            read(Path::new("/nowhere/at/all.toml")).unwrap_err().to_string(),
            "/nowhere/at/all.toml: there is no such file; give the path of a readable file"
        );
    }
}
