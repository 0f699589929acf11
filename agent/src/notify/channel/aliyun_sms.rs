//! Text messages through Alibaba Cloud's `SendSms`, signed as ACS3-HMAC-SHA256 ("signature V3").
//!
//! The text itself is a template that the cloud has approved; a message fills its variables.
//! Not here: the per-number limits, which the cloud enforces (`isv.BUSINESS_LIMIT_CONTROL`).

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
use std::{collections::BTreeMap, time::Duration};

pub const URL: &str = "https://dysmsapi.aliyuncs.com/";
const ALGORITHM: &str = "ACS3-HMAC-SHA256";
/// A number has had its share: sooner than this it won't have another.
const BUSINESS_LIMIT_FOR: Duration = Duration::from_secs(600);

#[derive(Clone, Debug)]
pub struct Config {
    pub access_key_id: String,
    pub access_key_secret: Secret,
    pub sign_name: String,
    pub template_code: String,
    /// The approved template's variables, each filled from a template of ours.
    pub template_params: BTreeMap<String, String>,
    pub to: Vec<String>,
    pub url: Option<String>,
    pub language: Language,
}

/// # Errors
/// A number or a template is bad.
pub fn request(config: &Config, message: &Message, now: WallTime, nonce: &str) -> Result<Request, Refused> {
    numbers::check(&config.to).map_err(Refused::for_good)?;
    let mut variables = BTreeMap::new();
    for (name, template) in &config.template_params {
        variables.insert(name, words::variable(template, message, config.language)?);
    }
    // Numbers abroad come without their plus sign too.
    let to: Vec<&str> = config.to.iter().map(|number| number.trim_start_matches('+')).collect();
    let query = query(&[
        ("PhoneNumbers", to.join(",")),
        ("SignName", config.sign_name.clone()),
        ("TemplateCode", config.template_code.clone()),
        ("TemplateParam", serde_json::json!(variables).to_string()),
    ]);
    let url = config.url.as_deref().unwrap_or(URL);
    let date = jiff::Timestamp::from_second(i64::try_from(now.0 / 1000).unwrap_or(0)).unwrap_or_default();
    let headers = [
        ("host", http::authority(url)),
        ("x-acs-action", "SendSms".to_owned()),
        ("x-acs-content-sha256", sign::sha256_hex("")),
        ("x-acs-date", date.to_string()),
        ("x-acs-signature-nonce", nonce.to_owned()),
        ("x-acs-version", "2017-05-25".to_owned()),
    ];
    let authorization = authorization(&config.access_key_id, &config.access_key_secret, &query, &headers);
    let request = Request::post(format!("{}/?{query}", url.trim_end_matches('/')), "");
    let request =
        headers.into_iter().skip(1).fold(request, |request, (name, value)| request.header(name, value));
    Ok(request.header("authorization", authorization).hiding(config.access_key_secret.expose()))
}

/// # Errors
/// The cloud says no with a `Code`, whatever the HTTP status is.
pub fn judge(answer: &Answer) -> Result<String, Refused> {
    let Some(code) = answer.json().ok().and_then(|body| Some(body["Code"].as_str()?.to_owned())) else {
        http::judge(answer)?;
        return Err(Refused::for_now(format!("answered {}, without a Code", answer.words())));
    };
    let text = format!("answered {}", answer.words());
    match code.as_str() {
        "OK" if answer.status < 300 => Ok(answer.words()),
        "isv.BUSINESS_LIMIT_CONTROL" => Err(Refused::wait(text, BUSINESS_LIMIT_FOR)),
        "isp.SYSTEM_ERROR" | "isp.UNKNOWN" | "InternalError" | "ServiceUnavailable" => {
            Err(Refused::for_now(text))
        }
        _ if code.starts_with("Throttling") => {
            Err(Refused { after: answer.retry_after(), ..Refused::for_now(text) })
        }
        _ if answer.status >= 500 => Err(Refused::for_now(text)),
        _ => Err(Refused::for_good(text)),
    }
}

/// `sorted` by name, as the signature wants it.
fn query(sorted: &[(&str, String)]) -> String {
    let pair = |(name, value): &(&str, String)| format!("{name}={}", sign::percent_encode(value));
    sorted.iter().map(pair).collect::<Vec<_>>().join("&")
}

/// Of a POST to `/` with an empty body. `headers` are sorted, in lower case, and all of them signed.
fn authorization(id: &str, secret: &Secret, query: &str, headers: &[(&str, String)]) -> String {
    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let canonical = format!("POST\n/\n{query}\n{lines}\n{names}\n{}", sign::sha256_hex(""));
    let to_sign = format!("{ALGORITHM}\n{}", sign::sha256_hex(canonical));
    let signature = sign::hex(sign::hmac(secret.expose(), to_sign));
    format!("{ALGORITHM} Credential={id},SignedHeaders={names},Signature={signature}")
}

#[cfg(test)]
#[path = "aliyun_sms_tests.rs"]
mod tests;
