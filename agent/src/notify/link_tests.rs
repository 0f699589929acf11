//! Links that are good, and every way in which one isn't. And which notices get one.

use super::*;
use crate::{
    notify::message::tests::{notice, resolved},
    view::testing::Stage,
};
use cluster_core::{
    ids::NodeId,
    ledger::{AlertingConfig, Body, Channel, Subject},
};

const TOLD: WallTime = WallTime(1_700_000_000_123);
/// The end of 21 November 2023; `TOLD` is of the 14th.
const END: WallTime = WallTime(1_700_611_200_000);

fn links(key: &LinkKey, cluster: u64) -> Links<'_> {
    Links { cluster: ClusterId(cluster), base: "https://holdfast.example.com/", key }
}

fn key() -> LinkKey {
    LinkKey(std::array::from_fn(|i| u8::try_from(i).unwrap()))
}

fn token(url: &str) -> &str {
    url.strip_prefix("https://holdfast.example.com/ack/").unwrap()
}

#[test]
fn a_known_answer() {
    // Python: hmac.new(bytes(range(32)), b"holdfast acknowledge link, 1" + pack(">Q", 5) + said, sha256), where
    // said = b"\x01" + pack(">QQ", 118, 1700611200000) + b"team".
    let key = key();
    let url = links(&key, 5).url(FailureId(118), "team", TOLD);
    let expected = "AQAAAAAAAAB2AAABi_RTlAB0ZWFtIYmf_PBAt8iYhKjyl7TpSgLYgrQkVX-ymbP1uRNUe90";
    assert_eq!(token(&url), expected);
    let said = Link { failure: FailureId(118), channel: "team".into(), expires_at: END };
    assert_eq!(links(&key, 5).read(expected, TOLD), Ok(said));
}

#[test]
fn it_lasts_a_week_and_says_the_same_all_day() {
    let key = key();
    let links = links(&key, 5);
    let url = links.url(FailureId(118), "team", TOLD);
    assert_eq!(links.url(FailureId(118), "team", WallTime(TOLD.0 + 3_600_000)), url);
    assert!(links.read(token(&url), WallTime(END.0 - 1)).is_ok());
    let Err(BadLink::Expired(link)) = links.read(token(&url), END) else { panic!("it is over") };
    assert_eq!(link.failure, FailureId(118));
    const { assert!(END.0 - TOLD.0 >= 7 * DAY_MS && END.0 - TOLD.0 <= 8 * DAY_MS) };
}

#[test]
fn whatever_is_changed_in_it_it_is_void() {
    let key = key();
    let links = links(&key, 5);
    let url = links.url(FailureId(118), "team", TOLD);
    let good = URL_SAFE_NO_PAD.decode(token(&url)).unwrap();
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            assert_eq!(links.read(&URL_SAFE_NO_PAD.encode(bad), TOLD), Err(BadLink::Forged), "{at} {bit}");
        }
        assert_eq!(links.read(&URL_SAFE_NO_PAD.encode(&good[..at]), TOLD), Err(BadLink::Forged));
        assert_eq!(links.read(&URL_SAFE_NO_PAD.encode(&good[at + 1..]), TOLD), Err(BadLink::Forged));
    }
    for odd in ["", "AQ", "%", "ack", &format!("{}=", token(&url)), &format!("{}A", token(&url))] {
        assert_eq!(links.read(odd, TOLD), Err(BadLink::Forged), "{odd}");
    }
    // A later end under the earlier one's signature.
    let later = links.url(FailureId(118), "team", WallTime(TOLD.0 + DAY_MS));
    let mut bytes = URL_SAFE_NO_PAD.decode(token(&later)).unwrap();
    let said = bytes.len() - MAC_BYTES;
    bytes[said..].copy_from_slice(&good[said..]);
    assert_eq!(links.read(&URL_SAFE_NO_PAD.encode(bytes), TOLD), Err(BadLink::Forged));
}

#[test]
fn another_cluster_and_another_key_sign_otherwise() {
    let (key, other) = (key(), LinkKey([9; 32]));
    let url = links(&key, 5).url(FailureId(118), "team", TOLD);
    assert_eq!(links(&key, 6).read(token(&url), TOLD), Err(BadLink::Forged));
    assert_eq!(links(&other, 5).read(token(&url), TOLD), Err(BadLink::Forged));
}

#[test]
fn a_version_that_isnt_known_is_refused_though_it_is_signed() {
    let key = key();
    let links = links(&key, 5);
    for said in [&[2_u8; NUMBERS_BYTES + 4][..], &[1; NUMBERS_BYTES - 1]] {
        let mut bytes = said.to_vec();
        bytes.extend(links.mac(said).finalize());
        assert_eq!(links.read(&URL_SAFE_NO_PAD.encode(bytes), WallTime(0)), Err(BadLink::Forged));
    }
}

fn staged(kind: &str, ack_url: Option<&str>) -> (Stage, FailureId) {
    let mut stage = Stage::healthy();
    let config = AlertingConfig {
        channels: [("team".to_owned(), Channel::new(kind, 1_000))].into(),
        ack_url: ack_url.map(str::to_owned),
        ..AlertingConfig::default()
    };
    stage.play(Body::AlertingApplied { config: Box::new(config), link_key: Some(key()) });
    stage.die(2);
    stage.play(Body::FailureOpened { subject: Subject::Node(NodeId(2)), caused_by: None });
    let failure = FailureId(stage.ledger.applied.index);
    (stage, failure)
}

#[test]
fn what_fires_and_nobody_acknowledged_has_a_link_where_there_is_room() {
    let filled = |stage: &Stage, failure| {
        let of = |n: Notice| Notice { failure_id: failure, ..n };
        let mut notices = [of(notice(1)), of(resolved(2))];
        add(&stage.ledger, "team", TOLD, &mut notices);
        assert_eq!(notices[1].ack_url, None, "it is over");
        notices[0].ack_url.clone()
    };
    let base = Some("https://holdfast.example.com");
    let (mut stage, failure) = staged("slack", base);
    let url = filled(&stage, Some(failure)).unwrap();
    let read = Links::of(&stage.ledger).unwrap().read(token(&url), TOLD).unwrap();
    assert_eq!((read.failure, read.channel.as_str()), (failure, "team"));
    assert_eq!(filled(&stage, None), None, "there is nothing to acknowledge");
    stage.play(Body::FailureAcknowledged { failure });
    assert_eq!(filled(&stage, Some(failure)), None);

    for kind in ["aliyun_sms", "tencent_sms", "twilio"] {
        let (stage, failure) = staged(kind, base);
        assert_eq!(filled(&stage, Some(failure)), None, "{kind}");
    }
    let (stage, failure) = staged("slack", None);
    assert_eq!(filled(&stage, Some(failure)), None);
}

#[test]
fn who_only_looks_gets_no_good_link() {
    let (stage, failure) = staged("slack", Some("https://holdfast.example.com/x/"));
    let mut notices = [Notice { failure_id: Some(failure), ..notice(1) }];
    add_hidden(&stage.ledger, "team", &mut notices);
    assert_eq!(notices[0].ack_url.as_deref(), Some("https://holdfast.example.com/x/ack/(hidden)"));
}

#[test]
fn a_base_is_an_address_that_needs_no_escape() {
    for good in ["https://holdfast.example.com", "http://10.0.0.1:7401/", "https://[::1]:7401/x/y_z"] {
        assert_eq!(check_base(good), Ok(()), "{good}");
    }
    for bad in [
        "",
        "holdfast",
        "ftp://x",
        "https://",
        "https://x/?a=b",
        "https://x/#a",
        "https://u@x",
        "https://x/a b",
        "https://x/)",
        "https://x/\"",
        " https://x",
    ] {
        assert!(check_base(bad).is_err(), "{bad}");
    }
}
