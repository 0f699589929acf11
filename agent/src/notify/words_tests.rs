//! What people read, in both languages, and that no text is ever too long, broken or dangerous.

use super::*;
use crate::notify::message::tests::{message, notice, resolved};

fn words(notices: Vec<Notice>, style: &Style, room: usize) -> Words {
    render(&message(notices), style, room)
}

fn of(template: &str) -> Style {
    Style { language: Language::En, template: Some(template.to_owned()) }
}

#[test]
fn english() {
    let firing = words(vec![notice(1)], &Style::default(), 5_000);
    assert_eq!(firing.title, "[FIRING] NodeDead: n1 is dead: checkout moved to n2 (shop)");
    let expected = concat!(
        "[FIRING] NodeDead: n1 is dead: checkout moved to n2 (shop)\n",
        "n was last seen 1.13 s before it was declared.\n",
        "by n1 <n2> & n3\n",
        "since 2023-11-14T22:13:20.123Z, failure 12",
    );
    assert_eq!(firing.text, expected);
    let ended = words(vec![resolved(1)], &Style::default(), 5_000);
    assert_eq!(ended.title, "[RESOLVED] NodeDead: n1 is back (shop)");
    assert!(
        ended.text.ends_with("since 2023-11-14T22:13:20.123Z, until 2023-11-14T22:13:29.000Z, failure 12")
    );
}

#[test]
fn chinese() {
    let style = Style { language: Language::Zh, template: None };
    let firing = words(vec![notice(1)], &style, 5_000);
    assert_eq!(firing.title, "[告警] 主机失联 NodeDead: n1 is dead: checkout moved to n2 (shop)");
    assert!(firing.text.contains("开始于 2023-11-14T22:13:20.123Z"), "{}", firing.text);
    let group = words((1..=200).map(notice).collect(), &style, 4_096);
    assert_eq!(group.title, "[告警:200] 主机失联 NodeDead (shop)");
    assert!(group.text.ends_with("另有 180 条") || group.text.ends_with("另有 190 条"), "{}", group.text);
}

#[test]
fn a_group_of_200_says_how_many_it_leaves_out_and_fits_its_room() {
    let group: Vec<Notice> = (1..=200).map(notice).collect();
    let roomy = words(group.clone(), &Style::default(), 100_000);
    assert!(
        roomy.text.ends_with("and 180 more") && roomy.markdown.ends_with("and 180 more"),
        "{}",
        roomy.text
    );
    assert!(roomy.html.contains("and 180 more"));
    assert_eq!(roomy.text.matches("Critical NodeDead: n").count(), 20);
    for room in [0, 1, 2, 3, 10, 100, 500, 640, 2_048, 4_096] {
        let words = words(group.clone(), &Style::default(), room);
        for text in [&words.text, &words.markdown, &words.html] {
            assert!(text.len() <= room, "{} bytes in a room of {room}", text.len());
        }
    }
    let five = words(group, &Style::default(), 1_500);
    assert!(five.text.ends_with("and 195 more"), "{}", five.text);
}

#[test]
fn mixed_alerts_are_named_once_each() {
    let named = |alert: &str| Notice { alert: alert.into(), ..notice(1) };
    let names = ["NodeDead", "NodeDead", "CrashLoop", "LeaseLost", "AgentDown", "QuorumAtRisk"];
    let group = words(names.map(named).to_vec(), &Style::default(), 5_000);
    assert_eq!(group.title, "[FIRING:6] NodeDead, CrashLoop, LeaseLost, … (shop)");
}

#[test]
fn cutting_never_splits_a_character() {
    let text = "节点 n1 已失联 🔥 abc";
    for bytes in 0..=text.len() {
        let cut = cut(text, bytes);
        assert!(cut.len() <= bytes && cut.is_char_boundary(cut.len()), "{bytes}: {cut}");
        assert!(cut.is_empty() || cut == text || cut.ends_with('…'), "{bytes}: {cut}");
    }
    assert_eq!(cut_chars(text, 2), "节点");
    assert_eq!(cut_chars("ab", 5), "ab");
}

#[test]
fn a_body_fits_whatever_its_escapes_add() {
    let text = "\"quotes\"\n\u{1}".repeat(3_000);
    let body = fit(&text, 20_000, |text| serde_json::json!({"text": text}));
    assert!(body.len() <= 20_000 && body.len() > 10_000, "{}", body.len());
    serde_json::from_str::<serde_json::Value>(&body).unwrap();
    assert_eq!(fit("short", 100, |text| serde_json::json!(text)), "\"short\"");
}

#[test]
fn nothing_in_a_name_mentions_links_or_opens_a_tag() {
    let odd = Notice {
        summary: "<@all> @all [x](http://evil) <script>\n# head".into(),
        description: "<font color=\"red\">".into(),
        ..notice(1)
    };
    let words = words(vec![odd], &Style::default(), 5_000);
    assert!(!words.markdown.contains(['<', '@']) && !words.markdown.contains("]("), "{}", words.markdown);
    assert!(!words.html.contains("<script>") && words.html.contains("&lt;script&gt;"), "{}", words.html);
    assert!(!words.title.contains('\n'));
}

#[test]
fn a_user_s_template_replaces_the_text_and_markdown() {
    let template = "{{ status }} {{ severity }} {{ cluster }} {{ count }}\n\
        {% for a in alerts %}\n\
        {{ a.alert }} {{ a.labels.node }}/{{ a.labels.rack }} {{ a.failure_id }} {{ a.runbook or 'none' }}\n\
        {% endfor %}";
    let mixed = vec![notice(1), resolved(2)];
    let words = words(mixed, &of(template), 5_000);
    assert_eq!(words.text, "firing critical shop 2\nNodeDead n1/ 12 none\nNodeDead n2/ 12 none");
    assert_eq!(words.markdown, words.text);
    assert!(words.title.starts_with("[FIRING:1]") && words.html.contains("n1 is dead"));
}

#[test]
fn a_bad_template_names_its_line() {
    let why = check("ok\n{{ status }}\n{{ stauts }}").unwrap_err();
    assert!(why.starts_with("line 3 of the channel's template") && why.contains("{{ stauts }}"), "{why}");
    let why = check("{% for a in alerts %}\n{{ a.sumary }}\n{% endfor %}").unwrap_err();
    assert!(why.starts_with("line 2"), "{why}");
    let why = check("a\n\n{% if %}").unwrap_err();
    assert!(why.starts_with("line 3"), "{why}");
    let why = check("{{ status | shout }}").unwrap_err();
    assert!(why.starts_with("line 1") && why.contains("shout"), "{why}");
    check("{{ alerts[0].labels.whatever }}{% if alerts[0].ends_at %}{{ alerts[0].ends_at }}{% endif %}")
        .unwrap();
}

#[test]
fn a_template_ends_however_it_is_written() {
    let endless = "{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}";
    assert!(check(endless).unwrap_err().contains("line 1"));
    assert!(check(&"x".repeat(20_000)).is_err());
    let long = words(vec![notice(1)], &of("{% for a in range(2000) %}节{% endfor %}"), 1_000);
    assert!(long.text.len() <= 1_000 && long.text.len() > 990, "{}", long.text.len());
}

#[test]
fn an_alert_is_told_even_if_its_template_fails() {
    let words = words(vec![notice(1)], &of("\n{{ alerts[7].summary }}"), 5_000);
    assert!(words.text.contains("n1 is dead") && words.text.contains("(line 2 of the channel's template"));
}

#[test]
fn a_variable_is_one_line() {
    let text = variable(
        "{{ alerts[0].labels.node }}\n\t{{ alerts[0].severity }}",
        &message(vec![notice(1)]),
        Language::En,
    );
    assert_eq!(text.unwrap(), "n1 critical");
    let bad = variable("{{ oops }}", &message(vec![notice(1)]), Language::En).unwrap_err();
    assert!(!bad.retry && bad.reason.starts_with("line 1"), "{bad}");
}

#[test]
fn a_repetition_says_so() {
    let mut repeated = message(vec![notice(1)]);
    repeated.maybe_repeated = true;
    let words = render(&repeated, &Style::default(), 5_000);
    for text in [words.text, words.markdown, words.html] {
        assert!(text.contains("You may have been told this before."), "{text}");
    }
}

#[test]
fn a_link_to_acknowledge_by_stands_first_so_that_no_cut_takes_it() {
    let url = "https://holdfast.example.com/ack/AQ_-";
    let linked = |node| Notice { ack_url: Some(url.to_owned()), ..notice(node) };
    let words =
        |notices, language, room| super::render(&message(notices), &Style { language, template: None }, room);
    let firing = words(vec![linked(1)], Language::En, 5_000);
    let expected = concat!(
        "[FIRING] NodeDead: n1 is dead: checkout moved to n2 (shop)\n",
        "Acknowledge: https://holdfast.example.com/ack/AQ_-\n",
        "n was last seen 1.13 s before it was declared.\n",
    );
    assert!(firing.text.starts_with(expected), "{}", firing.text);
    assert!(firing.markdown.contains(&format!("\n- [Acknowledge]({url})\n")), "{}", firing.markdown);
    let anchor = "<a href=\"https:&#x2f;&#x2f;holdfast.example.com&#x2f;ack&#x2f;AQ_-\">Acknowledge</a>";
    assert!(firing.html.contains(anchor), "{}", firing.html);

    let zh = words(vec![linked(1)], Language::Zh, 5_000);
    assert!(zh.text.contains(&format!("\n确认告警: {url}\n")), "{}", zh.text);
    assert!(zh.markdown.contains(&format!("[确认告警]({url})")), "{}", zh.markdown);

    let base = "https://".to_owned() + &"x".repeat(cluster_core::limits::ACK_URL_BYTES);
    let long = Notice {
        ack_url: Some(format!("{base}/ack/{}", "A".repeat(150))),
        summary: "s".repeat(1_024),
        description: "d".repeat(8_000),
        ..notice(1)
    };
    let cut = words(vec![long.clone()], Language::En, 3_000);
    let url = long.ack_url.unwrap();
    assert!(
        cut.text.contains(&url) && cut.markdown.contains(&url) && cut.text.ends_with('…'),
        "{}",
        cut.text
    );
    let group = words((1..=200).map(linked).collect(), Language::En, 3_000);
    let whole = |text: &str| text.lines().all(|line| !line.contains("/ack/") || line.contains("/ack/AQ_-"));
    assert!(whole(&group.text) && whole(&group.markdown) && group.text.ends_with(" more"), "{}", group.text);
}

#[test]
fn a_users_template_may_place_the_link() {
    let template =
        of("{% for a in alerts %}{% if a.ack_url %}{{ a.ack_url }}{% else %}-{% endif %} {% endfor %}");
    let linked = Notice { ack_url: Some("https://x/ack/A".to_owned()), ..notice(1) };
    assert_eq!(words(vec![linked, resolved(2)], &template, 5_000).text, "https://x/ack/A -");
    check(template.template.as_deref().unwrap()).unwrap();
}
