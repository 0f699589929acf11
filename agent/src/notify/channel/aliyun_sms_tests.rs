//! Alibaba Cloud: its documented signature, what its own SDK signs, and a stand-in that checks everything again.

use super::*;
use crate::notify::{
    dispatch::{Kind, deliver},
    message::tests::{message, notice},
    stand_in::{self, Received, Reply, answer, hex, mac, reply, sha256},
};
use std::sync::Mutex;

const WITHIN: Duration = Duration::from_secs(5);
const NONCE: &str = "3156853299f313e23d1673dc12e1703d";

fn config(url: Option<String>) -> Config {
    let params = [("node", "{{ alerts[0].labels.node }}"), ("what", "主机失联")];
    Config {
        access_key_id: "LTAItest".into(),
        access_key_secret: Secret::new("SKtest-of-the-cloud"),
        sign_name: "运维".into(),
        template_code: "SMS_1".into(),
        template_params: params.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect(),
        to: vec!["13800000000".into(), "+85212345678".into()],
        url,
        language: Language::Zh,
    }
}

/// Signature V3 and the API's own rules.
fn rules(got: &Received, seen: &Mutex<Vec<String>>) -> Reply {
    let no = |status: u16, code: &str| {
        reply(status, &format!(r#"{{"Code":"{code}","Message":"m","RequestId":"r"}}"#))
    };
    let authorization = got.header("authorization");
    let field = |name: &str| {
        let fields = authorization.strip_prefix("ACS3-HMAC-SHA256 ").unwrap_or_default().split(',');
        fields
            .filter_map(|field| field.split_once('='))
            .find(|(field, _)| *field == name)
            .map_or("", |(_, v)| v)
    };
    let signed: Vec<&str> = field("SignedHeaders").split(';').collect();
    let mut must: Vec<&str> = got.headers.keys().map(|name| name.as_str()).collect();
    must.retain(|name| name.starts_with("x-acs-") || ["host", "content-type"].contains(name));
    let mut pairs: Vec<&str> = got.raw_query.split('&').collect();
    pairs.sort_unstable();
    let lines: String = signed.iter().map(|name| format!("{name}:{}\n", got.header(name))).collect();
    let canonical = format!(
        "POST\n{}\n{}\n{lines}\n{}\n{}",
        got.path,
        pairs.join("&"),
        signed.join(";"),
        sha256(&got.body)
    );
    let expected = hex(mac("SKtest-of-the-cloud", format!("ACS3-HMAC-SHA256\n{}", sha256(canonical))));
    let date: Option<jiff::Timestamp> = got.header("x-acs-date").parse().ok();
    let late =
        date.is_none_or(|date| u64::try_from(date.as_second()).unwrap().abs_diff(stand_in::now_s()) > 900);
    let nonce = got.header("x-acs-signature-nonce").to_owned();
    let numbers: Vec<&str> = got.query.get("PhoneNumbers").map_or("", String::as_str).split(',').collect();
    let variables = got
        .query
        .get("TemplateParam")
        .and_then(|text| serde_json::from_str::<BTreeMap<String, String>>(text).ok());
    match () {
        () if !signed.is_sorted() || must.iter().any(|name| !signed.contains(name)) => {
            no(400, "IncompleteSignature")
        }
        () if field("Credential") != "LTAItest" => no(404, "InvalidAccessKeyId.NotFound"),
        () if field("Signature") != expected => no(400, "SignatureDoesNotMatch"),
        () if late => no(400, "InvalidTimeStamp.Expired"),
        () if seen.lock().unwrap().contains(&nonce) || nonce.len() < 16 => no(400, "SignatureNonceUsed"),
        () if got.header("x-acs-action") != "SendSms" || got.header("x-acs-version") != "2017-05-25" => {
            no(404, "InvalidAction.NotFound")
        }
        () if numbers.iter().any(|number| number.parse::<u64>().is_err()) => {
            no(200, "isv.MOBILE_NUMBER_ILLEGAL")
        }
        () if variables.is_none_or(|all| all.values().any(|value| value.chars().count() > 35)) => {
            no(200, "isv.PARAM_LENGTH_LIMIT")
        }
        () => {
            seen.lock().unwrap().push(nonce);
            no(200, "OK")
        }
    }
}

/// The example in Alibaba Cloud's page about signature V3.
#[test]
fn the_signature_is_the_documented_one() {
    let headers = [
        ("host", "ecs.cn-shanghai.aliyuncs.com"),
        ("x-acs-action", "RunInstances"),
        ("x-acs-content-sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("x-acs-date", "2023-10-26T10:22:32Z"),
        ("x-acs-signature-nonce", NONCE),
        ("x-acs-version", "2014-05-26"),
    ]
    .map(|(name, value)| (name, value.to_owned()));
    let image = "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd".to_owned();
    let query = query(&[("ImageId", image), ("RegionId", "cn-shanghai".to_owned())]);
    let signed = authorization("YourAccessKeyId", &Secret::new("YourAccessKeySecret"), &query, &headers);
    let expected = "06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0";
    assert!(signed.ends_with(&format!("Signature={expected}")), "{signed}");
}

/// Expected values from alibabacloud-dysmsapi20170525 4.6.0: the query it sent, and what its signer made of our headers.
#[test]
fn the_request_is_what_the_vendor_s_sdk_sends() {
    let secret = Secret::new("SKtest");
    let config = Config { access_key_secret: secret, ..config(None) };
    let now = WallTime(1_700_000_000_500);
    let request = request(&config, &message(vec![notice(1)]), now, NONCE).unwrap();
    let query = "PhoneNumbers=13800000000%2C85212345678&SignName=%E8%BF%90%E7%BB%B4&TemplateCode=SMS_1&TemplateParam=\
        %7B%22node%22%3A%22n1%22%2C%22what%22%3A%22%E4%B8%BB%E6%9C%BA%E5%A4%B1%E8%81%94%22%7D";
    assert_eq!(request.url, format!("https://dysmsapi.aliyuncs.com/?{query}"));
    assert_eq!(request.body, "");
    let authorization = &request.headers.iter().find(|(name, _)| name == "authorization").unwrap().1;
    let expected = "ACS3-HMAC-SHA256 Credential=LTAItest,SignedHeaders=host;x-acs-action;x-acs-content-sha256;\
        x-acs-date;x-acs-signature-nonce;x-acs-version,\
        Signature=583f6a356aad4127c50174033d3d4d338f8fdb26fe651c43c85fab64b8738763";
    assert_eq!(authorization, expected);
    assert!(request.headers.contains(&("x-acs-date".into(), "2023-11-14T22:13:20Z".into())));
}

#[tokio::test]
async fn the_cloud_takes_it_and_finds_every_mistake() {
    let seen = Mutex::new(Vec::new());
    let cloud = stand_in::start(move |got| rules(got, &seen)).await;
    let good = config(Some(cloud.url.clone()));
    let one = message(vec![notice(1)]);
    deliver(&Kind::AliyunSms(good.clone()), &one, WITHIN).await.unwrap();
    let long = BTreeMap::from([(
        "what".to_owned(),
        "{{ alerts[0].summary }} 和很多很多很多很多很多很多字".repeat(3),
    )]);
    deliver(&Kind::AliyunSms(Config { template_params: long, ..good.clone() }), &one, WITHIN).await.unwrap();

    let wrong = Config { access_key_secret: Secret::new("another-secret"), ..good.clone() };
    let refused = deliver(&Kind::AliyunSms(wrong), &one, WITHIN).await.unwrap_err();
    assert!(!refused.retry && refused.reason.contains("SignatureDoesNotMatch"), "{refused}");
    let at = async |now_s: u64, nonce: &str| {
        let request = request(&good, &one, WallTime(now_s * 1000), nonce).unwrap();
        http::exchange(&request, None, judge).await
    };
    at(stand_in::now_s(), NONCE).await.unwrap();
    let replayed = at(stand_in::now_s(), NONCE).await.unwrap_err();
    assert!(replayed.reason.contains("SignatureNonceUsed"), "{replayed}");
    let late = at(stand_in::now_s() - 1_000, "another-nonce-of-ours").await.unwrap_err();
    assert!(late.reason.contains("InvalidTimeStamp"), "{late}");
}

#[test]
fn what_can_t_be_sent_isn_t() {
    let one = message(vec![notice(1)]);
    let odd = Config { to: vec!["138-0000".into()], ..config(None) };
    let refused = request(&odd, &one, WallTime(0), NONCE).unwrap_err();
    assert!(!refused.retry && refused.reason.contains("138-0000"), "{refused}");
    let typo = BTreeMap::from([("node".to_owned(), "{{ nodes }}".to_owned())]);
    assert!(request(&Config { template_params: typo, ..config(None) }, &one, WallTime(0), NONCE).is_err());
}

#[test]
fn its_answers() {
    let cases = [
        (200, "isv.BUSINESS_LIMIT_CONTROL", true, Some(600)),
        (200, "isv.DAY_LIMIT_CONTROL", false, None),
        (200, "isv.SMS_SIGNATURE_SCENE_ILLEGAL", false, None),
        (200, "isv.OUT_OF_SERVICE", false, None),
        (200, "isp.RAM_PERMISSION_DENY", false, None),
        (200, "isp.SYSTEM_ERROR", true, None),
        (400, "SignatureDoesNotMatch", false, None),
        (400, "Throttling.User", true, None),
        (503, "ServiceUnavailable", true, None),
        (500, "SomethingNew", true, None),
    ];
    for (status, code, retry, after) in cases {
        let refused =
            judge(&answer(status, &[], &format!(r#"{{"Code":"{code}","Message":"m"}}"#))).unwrap_err();
        assert_eq!((refused.retry, refused.after.map(|after| after.as_secs())), (retry, after), "{code}");
        assert!(refused.reason.contains(code), "{refused}");
    }
    assert!(judge(&answer(200, &[], r#"{"Code":"OK","Message":"OK","BizId":"b"}"#)).is_ok());
    assert!(judge(&answer(200, &[], "")).unwrap_err().retry);
    assert!(!judge(&answer(404, &[], "no")).unwrap_err().retry);
}
