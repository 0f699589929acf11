//! Tencent Cloud: the published signature, what its own SDK signs, and a stand-in that answers number by number.

use super::*;
use crate::notify::{
    dispatch::{Kind, deliver},
    message::tests::{message, notice},
    stand_in::{self, Received, Reply, answer, hex, mac, reply, sha256},
};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(5);

fn config(url: Option<String>) -> Config {
    let params = [("1", "{{ alerts[0].labels.node }}"), ("2", "主机失联")];
    Config {
        secret_id: "AKtest".into(),
        secret_key: Secret::new("SKtest"),
        app_id: "1400000000".into(),
        sign_name: "运维".into(),
        template_id: "1110".into(),
        template_params: params.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect(),
        region: None,
        to: vec!["13800000000".into(), "+85212345678".into()],
        url,
        language: Language::Zh,
    }
}

fn rules(got: &Received) -> Reply {
    let no = |code: &str| {
        reply(
            200,
            &format!(r#"{{"Response":{{"Error":{{"Code":"{code}","Message":"m"}},"RequestId":"r"}}}}"#),
        )
    };
    let seconds: u64 = got.header("x-tc-timestamp").parse().unwrap_or(0);
    let date =
        jiff::Timestamp::from_second(seconds.try_into().unwrap()).unwrap().strftime("%Y-%m-%d").to_string();
    let canonical = format!(
        "POST\n/\n\ncontent-type:{}\nhost:{}\n\ncontent-type;host\n{}",
        got.header("content-type"),
        got.header("host"),
        sha256(&got.body)
    );
    let to_sign = format!("TC3-HMAC-SHA256\n{seconds}\n{date}/sms/tc3_request\n{}", sha256(canonical));
    let key = mac(mac(mac("TC3SKtest", &date), "sms"), "tc3_request");
    let expected = format!(
        "TC3-HMAC-SHA256 Credential=AKtest/{date}/sms/tc3_request, SignedHeaders=content-type;host, Signature={}",
        hex(mac(key, to_sign))
    );
    if got.header("authorization") != expected {
        return no("AuthFailure.SignatureFailure");
    }
    if seconds.abs_diff(stand_in::now_s()) > 300 {
        return no("AuthFailure.SignatureExpire");
    }
    if got.header("x-tc-action") != "SendSms" || got.header("x-tc-version") != "2021-01-11" {
        return no("InvalidAction");
    }
    if got.header("x-tc-region").is_empty() {
        return no("MissingParameter");
    }
    let status = |number: &Value| {
        let number = number.as_str().unwrap();
        let code = match number {
            "+8613800000009" => "FailedOperation.PhoneNumberInBlacklist",
            "+8613800000008" => "LimitExceeded.DeliveryFrequencyLimit",
            _ if !number.starts_with('+') => "InvalidParameterValue.IncorrectPhoneNumber",
            _ => "Ok",
        };
        json!({"SerialNo": "s", "PhoneNumber": number, "Fee": 1, "SessionContext": "", "Code": code, "Message": "m", "IsoCode": "CN"})
    };
    let statuses: Vec<Value> = got.json()["PhoneNumberSet"].as_array().unwrap().iter().map(status).collect();
    reply(200, &json!({"Response": {"SendStatusSet": statuses, "RequestId": "r"}}).to_string())
}

#[test]
fn the_signature_is_the_published_one() {
    let signed =
        authorization("AKtest", &Secret::new("SKtest"), "sms.tencentcloudapi.com", 1_700_000_000, "{}");
    let expected = "TC3-HMAC-SHA256 Credential=AKtest/2023-11-14/sms/tc3_request, SignedHeaders=content-type;host, \
        Signature=9f79c8de092fe4def87e26d4488cee74c21f1b8db247996f1c426fde410be43b";
    assert_eq!(signed, expected);
}

/// The fields and headers that tencentcloud-sdk-python-sms 3.1.153 sent, and what its signer made of this body.
#[test]
fn the_request_is_what_the_vendor_s_sdk_sends() {
    let request = request(&config(None), &message(vec![notice(1)]), WallTime(1_700_000_000_500)).unwrap();
    let body = r#"{"PhoneNumberSet":["+8613800000000","+85212345678"],"SignName":"运维","SmsSdkAppId":"1400000000","TemplateId":"1110","TemplateParamSet":["n1","主机失联"]}"#;
    assert_eq!((request.url.as_str(), request.body.as_str()), ("https://sms.tencentcloudapi.com/", body));
    let header = |name: &str| request.headers.iter().find(|(known, _)| known == name).unwrap().1.as_str();
    assert_eq!(header("x-tc-action"), "SendSms");
    assert_eq!(header("x-tc-version"), "2021-01-11");
    assert_eq!(header("x-tc-region"), "ap-guangzhou");
    assert_eq!(header("x-tc-timestamp"), "1700000000");
    let signature = "Signature=f64abe31c1911027deb36031abe6f09eb798b3cad83ff5d7ad253e52904be2b9";
    assert!(header("authorization").ends_with(signature), "{}", header("authorization"));
}

#[tokio::test]
async fn each_number_has_its_own_fate() {
    let cloud = stand_in::start(rules).await;
    let one = message(vec![notice(1)]);
    let send = async |to: &[&str]| {
        let to = to.iter().map(|number| (*number).to_owned()).collect();
        let config = Config { to, ..config(Some(format!("{}/", cloud.url))) };
        deliver(&Kind::TencentSms(config), &one, WITHIN).await
    };
    assert_eq!(send(&["13800000000", "+85212345678"]).await.unwrap(), "2 of 2 numbers accepted");
    let some = send(&["13800000000", "13800000009"]).await.unwrap_err();
    assert!(!some.retry && some.reason.contains("1 of 2 numbers accepted"), "{some}");
    assert!(some.reason.contains("+8613800000009: FailedOperation.PhoneNumberInBlacklist (m)"), "{some}");
    let none = send(&["13800000008", "13800000009"]).await.unwrap_err();
    assert!(none.retry && none.reason.contains("0 of 2"), "{none}");
}

#[tokio::test]
async fn the_cloud_finds_every_mistake() {
    let cloud = stand_in::start(rules).await;
    let one = message(vec![notice(1)]);
    let good = config(Some(format!("{}/", cloud.url)));
    let wrong = Config { secret_key: Secret::new("another"), ..good.clone() };
    let refused = deliver(&Kind::TencentSms(wrong), &one, WITHIN).await.unwrap_err();
    assert!(!refused.retry && refused.reason.contains("AuthFailure.SignatureFailure"), "{refused}");
    let late = request(&good, &one, WallTime((stand_in::now_s() - 400) * 1000)).unwrap();
    let refused = http::exchange(&late, None, judge).await.unwrap_err();
    assert!(refused.reason.contains("AuthFailure.SignatureExpire"), "{refused}");
}

#[test]
fn variables_are_numbered() {
    let of = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), format!("t{name}"))).collect();
    let eleven: BTreeMap<String, String> = of(&["1", "10", "11", "2", "3", "4", "5", "6", "7", "8", "9"]);
    assert_eq!(ordered(&eleven).unwrap()[8..], ["t9", "t10", "t11"]);
    assert!(ordered(&of(&[])).unwrap().is_empty());
    for bad in [["1", "3"], ["0", "1"], ["1", "node"]] {
        assert!(ordered(&of(&bad)).unwrap_err().contains("template_params"), "{bad:?}");
    }
}

#[test]
fn its_answers() {
    let error = |code: &str| format!(r#"{{"Response":{{"Error":{{"Code":"{code}","Message":"m"}}}}}}"#);
    for (code, retry) in [
        ("AuthFailure.SignatureExpire", false),
        ("FailedOperation.TemplateIncorrectOrUnapproved", false),
        ("RequestLimitExceeded", true),
        ("InternalError.Timeout", true),
    ] {
        let refused = judge(&answer(200, &[], &error(code))).unwrap_err();
        assert_eq!(refused.retry, retry, "{code}");
    }
    assert!(judge(&answer(200, &[], r#"{"Response":{"SendStatusSet":[]}}"#)).unwrap_err().retry);
    assert!(judge(&answer(200, &[], "<html>")).unwrap_err().retry);
    assert!(judge(&answer(502, &[], "")).unwrap_err().retry);
}
