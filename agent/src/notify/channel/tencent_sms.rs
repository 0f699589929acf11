//! Text messages through Tencent Cloud's `SendSms`, signed as TC3-HMAC-SHA256.
//!
//! The text itself is a template that the cloud has approved; a message fills its variables, which are numbered.
//! Each number has a status of its own in the answer.

use super::numbers;
use crate::notify::{
    Refused,
    http::{self, Answer, Request},
    message::Message,
    phrases::Language,
    secret::Secret,
    sign, words,
};
use cluster_core::time::WallTime;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub const URL: &str = "https://sms.tencentcloudapi.com/";
pub const REGION: &str = "ap-guangzhou";
const ALGORITHM: &str = "TC3-HMAC-SHA256";
const CONTENT_TYPE: &str = "application/json";

#[derive(Clone, Debug)]
pub struct Config {
    pub secret_id: String,
    pub secret_key: Secret,
    /// `SmsSdkAppId`.
    pub app_id: String,
    pub sign_name: String,
    pub template_id: String,
    /// By number, from "1".
    pub template_params: BTreeMap<String, String>,
    /// `REGION` unless given.
    pub region: Option<String>,
    pub to: Vec<String>,
    pub url: Option<String>,
    pub language: Language,
}

/// # Errors
/// A number or a template is bad.
pub fn request(config: &Config, message: &Message, now: WallTime) -> Result<Request, Refused> {
    numbers::check(&config.to).map_err(Refused::for_good)?;
    let mut variables = Vec::new();
    for template in ordered(&config.template_params).map_err(Refused::for_good)? {
        variables.push(words::variable(template, message, config.language)?);
    }
    let to: Vec<String> = config.to.iter().map(|number| international(number)).collect();
    let body = json!({
        "PhoneNumberSet": to,
        "SmsSdkAppId": config.app_id,
        "SignName": config.sign_name,
        "TemplateId": config.template_id,
        "TemplateParamSet": variables,
    });
    let body = body.to_string();
    let url = config.url.as_deref().unwrap_or(URL);
    let seconds = now.0 / 1000;
    let signed = authorization(&config.secret_id, &config.secret_key, &http::authority(url), seconds, &body);
    Ok(Request::post(url, body)
        .header("content-type", CONTENT_TYPE)
        .header("x-tc-action", "SendSms")
        .header("x-tc-version", "2021-01-11")
        .header("x-tc-region", config.region.as_deref().unwrap_or(REGION))
        .header("x-tc-timestamp", seconds.to_string())
        .header("authorization", signed)
        .hiding(config.secret_key.expose()))
}

/// # Errors
/// The request as a whole was refused, or the message to some of the numbers, who are then named.
pub fn judge(answer: &Answer) -> Result<String, Refused> {
    http::judge(answer)?;
    let body = answer.json()?;
    let response = &body["Response"];
    if let Some(code) = response["Error"]["Code"].as_str() {
        let text = format!("answered {code}: {}", response["Error"]["Message"].as_str().unwrap_or_default());
        return Err(Refused { retry: is_temporary(code), ..Refused::for_good(http::shown(&text)) });
    }
    let Some(statuses) = response["SendStatusSet"].as_array().filter(|statuses| !statuses.is_empty()) else {
        return Err(Refused::for_now(format!("answered {}, without a status", answer.words())));
    };
    numbers::settle(statuses.iter().map(settled).collect()).map_err(|refused| refused.said_by("answered"))
}

fn settled(status: &Value) -> (String, Result<(), Refused>) {
    let text = |field: &str| status[field].as_str().unwrap_or_default();
    let told = match text("Code") {
        "Ok" => Ok(()),
        code => {
            let reason = http::shown(&format!("{code} ({})", text("Message")));
            Err(Refused { retry: is_temporary(code), ..Refused::for_good(reason) })
        }
    };
    (text("PhoneNumber").to_owned(), told)
}

fn is_temporary(code: &str) -> bool {
    [
        "InternalError",
        "RequestLimitExceeded",
        "LimitExceeded",
        "ResourceUnavailable",
        "FailedOperation.InsufficientBalance",
    ]
    .iter()
    .any(|temporary| code.starts_with(temporary))
}

/// The variables' templates in the order of their numbers.
///
/// # Errors
/// A sentence: the names aren't "1", "2", … without a gap.
pub fn ordered(variables: &BTreeMap<String, String>) -> Result<Vec<&str>, String> {
    let in_order = (1..=variables.len()).map(|number| variables.get(&number.to_string()).map(String::as_str));
    in_order.collect::<Option<Vec<_>>>().ok_or_else(|| {
        "`template_params` of a tencent_sms channel are numbered as in its template: \"1\", \"2\" and so on".to_owned()
    })
}

/// Mainland numbers may be written without their country.
fn international(number: &str) -> String {
    if number.starts_with('+') {
        number.to_owned()
    } else if number.len() == 11 && number.starts_with('1') {
        format!("+86{number}")
    } else {
        format!("+{number}")
    }
}

fn authorization(id: &str, secret: &Secret, host: &str, now_s: u64, body: &str) -> String {
    let time = jiff::Timestamp::from_second(i64::try_from(now_s).unwrap_or(0)).unwrap_or_default();
    let date = time.strftime("%Y-%m-%d").to_string();
    let names = "content-type;host";
    let hash = sign::sha256_hex(body);
    let canonical = format!("POST\n/\n\ncontent-type:{CONTENT_TYPE}\nhost:{host}\n\n{names}\n{hash}");
    let scope = format!("{date}/sms/tc3_request");
    let to_sign = format!("{ALGORITHM}\n{now_s}\n{scope}\n{}", sign::sha256_hex(canonical));
    let day_key = sign::hmac(format!("TC3{}", secret.expose()), &date);
    let key = sign::hmac(sign::hmac(day_key, "sms"), "tc3_request");
    let signature = sign::hex(sign::hmac(key, to_sign));
    format!("{ALGORITHM} Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}")
}

#[cfg(test)]
#[path = "tencent_sms_tests.rs"]
mod tests;
