//! Words for people: a message as title, text, Markdown and HTML, in a language, from our templates or the user's.
//!
//! Whatever was written into names, labels and templates, each text stays within the room its channel has.
//! Not here: bodies for machines (`body` and each channel), and what alerts say of themselves (cluster-core).

use super::{
    Refused, body,
    message::Message,
    phrases::{self, Language, Phrases},
};
use cluster_core::{
    alerting::Notice,
    ledger::{Phase, Severity},
    limits::TEMPLATE_BYTES,
};
use minijinja::{
    Environment, UndefinedBehavior, Value, context,
    syntax::SyntaxConfig,
    value::{Enumerator, Object},
};
use std::{collections::BTreeMap, sync::Arc};

/// Alerts that our own words spell out; the rest are counted.
const SHOWN_MAX: usize = 20;
/// Lines of a description that are told of an alert alone, and of one among others.
const LINES_ALONE: usize = 20;
const LINES_IN_GROUP: usize = 2;
/// Of an alert's name in the title.
const NAMES_MAX: usize = 3;
const TITLE_BYTES: usize = 240;
/// Of one variable of a text message.
const VARIABLE_CHARS: usize = 35;
/// Steps that a user's template may take: enough for a page about hundreds of alerts, not for an endless loop.
const FUEL: u64 = 200_000;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// One line.
    pub title: String,
    pub text: String,
    pub markdown: String,
    pub html: String,
}

/// How a channel wants its words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Style {
    pub language: Language,
    /// A user's own, instead of our text and Markdown.
    pub template: Option<String>,
}

/// A template of the user's that fails on this message gives way to our words, which then say so: no alert is lost
/// to a typing error.
#[must_use]
pub fn render(message: &Message, style: &Style, room_bytes: usize) -> Words {
    let phrases = phrases::of(style.language);
    let environment = environment();
    let title = title(&environment, message, phrases);
    let fitting = |name, source| {
        let mut text = String::new();
        for shown in [SHOWN_MAX, 10, 5, 2, 1] {
            ours(&environment, name, source, context(message, phrases, &title, shown))
                .trim()
                .clone_into(&mut text);
            if text.len() <= room_bytes {
                break;
            }
        }
        cut(&text, room_bytes)
    };
    let mut words = Words {
        text: fitting("text.txt", include_str!("templates/text.txt")),
        markdown: fitting("text.md", include_str!("templates/text.md")),
        html: fitting("mail.html", include_str!("templates/mail.html")),
        title: title.clone(),
    };
    if let Some(template) = &style.template {
        match fill(&environment, template, message, phrases) {
            Ok(text) => {
                words.text = cut(text.trim(), room_bytes);
                words.markdown = words.text.clone();
            }
            Err(why) => {
                words.text = cut(&format!("{}\n\n({why})", words.text), room_bytes);
                words.markdown = cut(&format!("{}\n\n({why})", words.markdown), room_bytes);
            }
        }
    }
    words
}

/// Fills a template of the user's for one variable of a text message, and cuts it: clouds refuse longer ones.
///
/// # Errors
/// The template is bad: says which line and why.
pub fn variable(template: &str, message: &Message, language: Language) -> Result<String, Refused> {
    let filled = fill(&environment(), template, message, phrases::of(language)).map_err(Refused::for_good)?;
    Ok(cut_chars(&one_line(&filled), VARIABLE_CHARS))
}

/// Tries a user's template on a firing and on a resolved message, so that `alert apply` can refuse it.
///
/// # Errors
/// A sentence that names the line.
pub fn check(template: &str) -> Result<(), String> {
    if template.len() > TEMPLATE_BYTES {
        return Err(format!("the template is longer than {TEMPLATE_BYTES} bytes"));
    }
    let environment = environment();
    for status in [Phase::Firing, Phase::Resolved] {
        fill(&environment, template, &phrases::sample(status), phrases::of(Language::En))?;
    }
    Ok(())
}

fn ours(environment: &Environment<'_>, name: &str, source: &str, context: Value) -> String {
    environment.render_named_str(name, source, context).expect("our own templates render every message")
}

fn title(environment: &Environment<'_>, message: &Message, phrases: &'static Phrases) -> String {
    let context = context(message, phrases, "", 1);
    cut(&one_line(&ours(environment, "title.txt", include_str!("templates/title.txt"), context)), TITLE_BYTES)
}

fn fill(
    environment: &Environment<'_>,
    template: &str,
    message: &Message,
    phrases: &'static Phrases,
) -> Result<String, String> {
    let title = title(environment, message, phrases);
    let context = context(message, phrases, &title, SHOWN_MAX);
    environment.render_named_str("template", template, context).map_err(|error| {
        let line = error.line().unwrap_or(1);
        let what = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
        let at = template.lines().nth(line - 1).unwrap_or_default();
        format!("line {line} of the channel's template can't be used: {what}, in \"{}\"", cut(at.trim(), 80))
    })
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the usual delimiters"));
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.add_filter("line", |text: &str| one_line(text));
    environment.add_filter("plain", |text: &str| plain(text));
    environment
}

/// What templates see.
fn context(message: &Message, phrases: &'static Phrases, title: &str, shown: usize) -> Value {
    let count = message.notices.len();
    // Of the same status as the whole: what the title speaks of.
    let alike: Vec<&Notice> = message.notices.iter().filter(|n| n.status == message.status).collect();
    let alerts: Vec<Value> = message.notices.iter().map(|notice| alert(notice, phrases, count)).collect();
    context! {
        title,
        status => body::status(message.status),
        severity => message.severity.name(),
        cluster => &message.cluster,
        count,
        alike => alike.len(),
        maybe_repeated => message.maybe_repeated,
        names => names(&alike, phrases),
        shown => alerts.iter().take(shown).cloned().collect::<Value>(),
        more => count.saturating_sub(shown),
        alerts => alerts.into_iter().collect::<Value>(),
        color => color(message.status, message.severity),
        say => phrases.value(message.status),
    }
}

fn alert(notice: &Notice, phrases: &'static Phrases, count: usize) -> Value {
    let lines = if count > 1 { LINES_IN_GROUP } else { LINES_ALONE };
    context! {
        alert => &notice.alert,
        status => body::status(notice.status),
        severity => notice.severity.name(),
        summary => &notice.summary,
        description => &notice.description,
        labels => Value::from_object(Labels(notice.labels.clone())),
        starts_at => body::rfc3339(notice.starts_at),
        ends_at => notice.ends_at.map(body::rfc3339),
        failure_id => notice.failure_id.map(|id| id.0),
        runbook => notice.runbook.as_deref(),
        ack_url => notice.ack_url.as_deref(),
        name => phrases.name(&notice.alert),
        level => phrases.level(notice.severity),
        lines => notice.description.lines().take(lines).map(Value::from).collect::<Value>(),
        when => phrases.when(notice),
    }
}

/// The alerts' names, each once.
fn names(notices: &[&Notice], phrases: &'static Phrases) -> String {
    let mut names: Vec<String> = Vec::new();
    for notice in notices {
        let name = phrases.name(&notice.alert);
        if !names.contains(&name) {
            names.push(name);
        }
        if names.len() > NAMES_MAX {
            names[NAMES_MAX] = "…".to_owned();
            break;
        }
    }
    names.join(", ")
}

fn color(status: Phase, severity: Severity) -> &'static str {
    match (status, severity) {
        (Phase::Resolved, _) => "green",
        (Phase::Firing, Severity::Critical) => "red",
        (Phase::Firing, Severity::Warning) => "darkorange",
        (Phase::Firing, Severity::Info) => "steelblue",
    }
}

/// Labels in a template: one that an alert doesn't have is empty, while any other unknown name is a mistake.
#[derive(Debug)]
struct Labels(BTreeMap<String, String>);

impl Object for Labels {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let value = self.0.get(key.as_str()?);
        Some(Value::from(value.map_or("", String::as_str)))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.keys().map(Value::from).collect())
    }
}

/// At most so many bytes, ending on a whole character; what was cut shows as "…".
#[must_use]
pub fn cut(text: &str, bytes: usize) -> String {
    const MARK: &str = "…";
    if text.len() <= bytes {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(bytes.saturating_sub(MARK.len()));
    let cut = format!("{}{MARK}", &text[..end]);
    if cut.len() > bytes { String::new() } else { cut }
}

/// A body of at most so many bytes: as much of `text` goes into it as fits, whatever its escapes add.
#[must_use]
pub fn fit(text: &str, body_bytes: usize, body: impl Fn(&str) -> serde_json::Value) -> String {
    let mut room = text.len();
    loop {
        let built = body(&cut(text, room)).to_string();
        if built.len() <= body_bytes || room == 0 {
            return built;
        }
        // As if escapes were spread evenly; where they aren't, the next turn cuts again.
        room = (room * body_bytes / built.len()).min(room - 1);
    }
}

/// At most so many characters, for providers that count those.
#[must_use]
pub fn cut_chars(text: &str, chars: usize) -> String {
    let end = text.char_indices().nth(chars).map_or(text.len(), |(at, _)| at);
    text[..end].to_owned()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace(char::is_control, "")
}

/// Can't mention people, open tags or make links in any provider's Markdown.
fn plain(text: &str) -> String {
    one_line(text).replace('<', "‹").replace('>', "›").replace("](", "] (").replace('@', "＠")
}

#[cfg(test)]
#[path = "words_tests.rs"]
mod tests;
