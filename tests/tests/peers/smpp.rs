//! An SMSC of other people's takes our text messages, in both alphabets and in parts, or doesn't.

use super::{check, cluster, refused};
use holdfast_tests::{
    lab::{LabError, wait::wait_until},
    peers::{
        installed::unless_ci,
        smpp::{self, PASSWORD, Smsc},
        trouble,
    },
};
use libtest_mimic::{Completion, Failed};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

const TAKEN_WITHIN: Duration = Duration::from_secs(30);
const GSM: u64 = 0;
const UCS2: u64 = 8;

pub fn takes_texts() -> Result<Completion, Failed> {
    if let Some(why) = smpp::missing() {
        return unless_ci(why);
    }
    let mut smsc = Smsc::start()?;
    let channel = |name: &str, language: &str, password: &str, to: &str| {
        format!(
            "[channel.{name}]\ntype = \"smpp\"\nserver = \"127.0.0.1:{}\"\ntls = \"none\"\nsystem_id = \
             \"holdfast\"\npassword = \"{password}\"\nfrom = \"Holdfast\"\nto = {to}\nlanguage = \"{language}\"\n",
            smsc.port
        )
    };
    let one = "[\"+8613800000001\"]";
    let lab = cluster(
        &(channel("good", "en", PASSWORD, one)
            + &channel("chinese", "zh", PASSWORD, one)
            + &channel("guess", "en", "guess", one)
            + &channel("some", "en", PASSWORD, "[\"+8613800000099\", \"13800000002\"]")
            + "[[route]]\nchannels = [\"good\"]\n"),
    )?;

    trouble::begin(&lab)?;
    until(&smsc, "(FIRING) CrashLoop: checkout keeps failing", GSM)?;
    trouble::end(&lab)?;
    until(&smsc, "(RESOLVED) CrashLoop: checkout serves again", GSM)?;
    lab.ask(0, &["alert", "test", "chinese"])?;
    until(&smsc, "[告警] 测试 Test: Test of channel chinese (lab)\n", UCS2)?;
    for sm in smsc.taken()? {
        let kinds = json!([5, 0, 1, 1]);
        let told =
            json!([sm["source_addr_ton"], sm["source_addr_npi"], sm["dest_addr_ton"], sm["dest_addr_npi"]]);
        check(told == kinds && sm["source_addr"] == "Holdfast", || format!("{sm}"))?;
        check(sm["destination_addr"] == "8613800000001", || format!("{sm}"))?;
    }

    refused(&lab, "guess", &["0x0E", "mend `password`"])?;
    refused(&lab, "some", &["1 of 2 numbers accepted", "+8613800000099: refused with 0x0B"])?;
    smsc.stop();
    refused(&lab, "good", &["can't be reached"])?;
    Ok(Completion::Completed)
}

/// It took a text that begins like this, in this alphabet.
fn until(smsc: &Smsc, start: &str, coding: u64) -> Result<(), LabError> {
    wait_until(&format!("the SMSC to take \"{start}\""), TAKEN_WITHIN, || {
        let taken = smsc.taken().map_err(|e| e.to_string())?;
        let texts = joined(&taken)?;
        let found = texts.iter().any(|(of, text)| *of == coding && text.starts_with(start));
        if found { Ok(()) } else { Err(format!("{texts:?}")) }
    })
}

/// Each text as a telephone shows it, with its alphabet: parts are put together by their headers.
fn joined(taken: &[Value]) -> Result<Vec<(u64, String)>, String> {
    let mut whole = Vec::new();
    let mut parts: BTreeMap<u8, BTreeMap<u8, Vec<u8>>> = BTreeMap::new();
    for sm in taken {
        let coding = sm["data_coding"].as_u64().ok_or("no data_coding")?;
        let octets = bytes(sm["octets"].as_str().unwrap_or_default())?;
        match (sm["esm_class"].as_u64(), octets.as_slice()) {
            (Some(0), _) => whole.push((coding, text(coding, &octets)?)),
            (Some(0x40), [5, 0, 3, reference, count, number, part @ ..]) => {
                let so_far = parts.entry(*reference).or_default();
                so_far.insert(*number, part.to_vec());
                if so_far.len() == usize::from(*count) {
                    let all: Vec<u8> = so_far.values().flatten().copied().collect();
                    whole.push((coding, text(coding, &all)?));
                }
            }
            _ => return Err(format!("a strange header: {sm}")),
        }
    }
    Ok(whole)
}

fn bytes(hex: &str) -> Result<Vec<u8>, String> {
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).map_err(|e| format!("{e}: {hex}"));
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn text(coding: u64, octets: &[u8]) -> Result<String, String> {
    if coding == GSM {
        return String::from_utf8(octets.to_vec()).map_err(|e| e.to_string());
    }
    let units: Vec<u16> = octets.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    String::from_utf16(&units).map_err(|e| e.to_string())
}
