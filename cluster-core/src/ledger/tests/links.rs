//! The key that signs links: made once, kept as long as links are wanted, never shown.

use super::{alerts::alerting, *};
use crate::limits::ACK_URL_BYTES;

fn applied(ack_url: Option<&str>, key: u8) -> Body {
    let Body::AlertingApplied { mut config, .. } = alerting(&["hook"]) else { unreachable!() };
    config.ack_url = ack_url.map(str::to_owned);
    Body::AlertingApplied { config, link_key: Some(LinkKey([key; 32])) }
}

fn key(script: &Script) -> Option<u8> {
    script.ledger.link_key.as_ref().map(|key| key.0[0])
}

const BASE: Option<&str> = Some("https://holdfast.example.com");

#[test]
fn the_first_key_stays_until_links_are_no_longer_wanted() {
    let mut script = Script::new();
    script.ok(applied(None, 1));
    assert_eq!(key(&script), None);
    script.ok(applied(BASE, 2));
    script.ok(applied(BASE, 3));
    script.ok(applied(Some("https://elsewhere.example.com"), 4));
    assert_eq!(key(&script), Some(2));
    // How an operator makes all links void.
    script.ok(applied(None, 5));
    assert_eq!(key(&script), None);
    script.ok(applied(BASE, 6));
    assert_eq!(key(&script), Some(6));
}

#[test]
fn an_older_leaders_apply_brings_no_key_and_takes_none() {
    let mut script = Script::new();
    let without = || {
        let Body::AlertingApplied { config, .. } = applied(BASE, 1) else { unreachable!() };
        Body::AlertingApplied { config, link_key: None }
    };
    script.ok(without());
    assert_eq!(key(&script), None);
    script.ok(applied(BASE, 2));
    script.ok(without());
    assert_eq!(key(&script), Some(2));
}

#[test]
fn a_refused_configuration_makes_no_key() {
    let mut script = Script::new();
    let (empty, long) = (Some(""), format!("https://{}", "x".repeat(ACK_URL_BYTES)));
    assert_eq!(script.refused(applied(empty, 1)), "INVALID");
    assert_eq!(script.refused(applied(Some(&long), 1)), "INVALID");
}

#[test]
fn it_is_in_no_text() {
    let mut script = Script::new();
    script.ok(applied(BASE, 77));
    let shown = format!("{:?} {:?}", script.ledger, applied(BASE, 77));
    assert!(shown.contains("LinkKey(hidden)") && !shown.contains("77, 77"), "{shown}");
}
