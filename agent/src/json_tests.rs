//! The JSON rules, on every public message and on the documented objects.

use super::*;
use holdfast_proto::v1;
use prost_reflect::{Cardinality, MessageDescriptor};
use prost_types::Timestamp;
use serde_json::{Value as Json, json};

/// 2026-11-24T23:38:05.042999999Z
fn moment() -> Timestamp {
    Timestamp { seconds: 1_795_563_485, nanos: 42_999_999 }
}

fn printed(message: &DynamicMessage) -> Json {
    let mut out = String::new();
    Writer { out: &mut out, pretty: true, depth: 0 }.message(message);
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"))
}

fn public_messages() -> Vec<MessageDescriptor> {
    let found: Vec<_> =
        POOL.all_messages().filter(|m| m.package_name() == "holdfast.v1" && !m.is_map_entry()).collect();
    assert!(found.len() > 60, "the public API has more messages than {}", found.len());
    found
}

/// A message with every field set, to `depth` levels.
fn filled(descriptor: &MessageDescriptor, depth: usize) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        let one = |kind: &Kind| -> Option<Value> {
            Some(match kind {
                Kind::Bool => Value::Bool(true),
                Kind::Uint32 => Value::U32(7),
                Kind::Int32 => Value::I32(7),
                Kind::Int64 => Value::I64(7),
                Kind::Uint64 => Value::U64((1 << 53) - 1),
                Kind::Double => Value::F64(0.5),
                Kind::String => Value::String("x".into()),
                Kind::Bytes => Value::Bytes("hold".into()),
                Kind::Enum(_) => Value::EnumNumber(1),
                Kind::Message(inner) if depth > 0 => Value::Message(filled(inner, depth - 1)),
                Kind::Message(_) => return None,
                other => panic!("{other:?} isn't used in this API"),
            })
        };
        let kind = field.kind();
        let value = if field.is_map() {
            let Kind::Message(entry) = &kind else { unreachable!() };
            one(&entry.map_entry_value_field().kind())
                .map(|v| Value::Map([(MapKey::String("k".into()), v)].into()))
        } else if field.cardinality() == Cardinality::Repeated {
            one(&kind).map(|v| Value::List(vec![v]))
        } else {
            one(&kind)
        };
        if let Some(value) = value {
            message.set_field(&field, value);
        }
    }
    message
}

fn check_names(json: &Json) {
    match json {
        Json::Object(map) => {
            for (key, value) in map {
                assert!(
                    key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'),
                    "{key} isn't snake_case"
                );
                check_names(value);
            }
        }
        Json::Array(items) => items.iter().for_each(check_names),
        Json::String(text) => assert!(!text.contains("UNSPECIFIED"), "{text}"),
        _ => {}
    }
}

#[test]
fn no_message_has_a_field_that_is_absent_or_in_camel_case() {
    for descriptor in public_messages() {
        for message in [DynamicMessage::new(descriptor.clone()), filled(&descriptor, 4)] {
            let json = printed(&message);
            let object = json.as_object().unwrap();
            let names: Vec<_> = descriptor.fields().map(|f| f.name().to_owned()).collect();
            assert_eq!(object.len(), names.len(), "{}", descriptor.full_name());
            for name in names {
                assert!(object.contains_key(&name), "{} lacks {name}", descriptor.full_name());
            }
            check_names(&json);
        }
    }
}

#[test]
fn every_enum_word_loses_its_whole_prefix() {
    for descriptor in POOL.all_enums().filter(|e| e.package_name() == "holdfast.v1") {
        for value in descriptor.values() {
            let mut out = String::new();
            Writer { out: &mut out, pretty: false, depth: 0 }.enumeration(&descriptor, value.number());
            if value.number() == 0 {
                assert_eq!(out, "null");
                continue;
            }
            let prefix = format!("{}_", upper_snake(descriptor.name()).to_lowercase());
            assert!(!out.contains(&prefix), "{out} still has {prefix}");
            assert_eq!(out, out.to_lowercase());
        }
    }
}

#[test]
fn every_printable_message_is_described() {
    for name in PRINTABLE {
        assert!(POOL.get_message_by_name(name).is_some(), "{name}");
    }
}

#[test]
fn an_empty_status_has_everything_all_the_same() {
    let text = object(&v1::GetStatusResponse::default());
    assert_eq!(
        serde_json::from_str::<Json>(&text).unwrap(),
        json!({
            "cluster": "", "cluster_id": null, "health": null, "reasons": [], "leader": null, "term": 0,
            "view_epoch": 0, "voters": 0, "voters_online": 0, "observed_by": "", "consistent": false,
            "nodes": [], "workloads": [], "open_failures": 0, "alerts_firing": 0, "notifications_failed": 0
        })
    );
}

#[test]
fn a_node_reads_as_documented_and_in_order() {
    let node = v1::Node {
        id: "00abcdef01234567".into(),
        name: "web-1".into(),
        state: v1::NodeState::Alive.into(),
        agent: v1::AgentState::Stalled.into(),
        lease_epoch: (1 << 53) - 1,
        labels: [("b".to_owned(), "2".to_owned()), ("a".to_owned(), "\"1\"\n".to_owned())].into(),
        changed_at: Some(moment()),
        ..v1::Node::default()
    };
    assert_eq!(
        line(&node),
        "{\"id\": \"00abcdef01234567\", \"name\": \"web-1\", \"address\": \"\", \"zone\": \"\", \
         \"state\": \"alive\", \"scheduling\": null, \"role\": null, \"voter\": false, \"leader\": false, \
         \"incarnation\": 0, \"agent\": \"stalled\", \"lease_epoch\": 9007199254740991, \
         \"lease_remaining_ms\": null, \"safe_to_start_in_ms\": 0, \"version\": \"\", \
         \"labels\": {\"a\": \"\\\"1\\\"\\n\", \"b\": \"2\"}, \"changed_at\": \"2026-11-24T23:38:05.042Z\", \
         \"workloads\": []}"
    );
}

#[test]
fn an_optional_zero_is_not_null() {
    let node = v1::Node { lease_remaining_ms: Some(0), ..v1::Node::default() };
    assert!(line(&node).contains("\"lease_remaining_ms\": 0"));
}

#[test]
fn a_list_has_its_name_and_nothing_of_pages() {
    assert_eq!(list::<v1::Node>("nodes", &[]), "{\n  \"nodes\": []\n}");
    let json: Json = serde_json::from_str(&list(
        "availability",
        &[v1::Availability::default(), v1::Availability::default()],
    ))
    .unwrap();
    assert_eq!(json["availability"].as_array().unwrap().len(), 2);
    assert_eq!(json.as_object().unwrap().len(), 1);
    assert_eq!(json["availability"][0]["mtbf_ms"], Json::Null);
}

#[test]
fn several_lines_are_indented_by_two() {
    let subject = v1::Subject { kind: "node".into(), name: "n1".into() };
    let text = object(&v1::Availability { subject: Some(subject), availability: 1.0, ..Default::default() });
    assert!(
        text.starts_with("{\n  \"subject\": {\n    \"kind\": \"node\",\n    \"name\": \"n1\"\n  },\n"),
        "{text}"
    );
    assert!(text.contains("\n  \"availability\": 1,\n"), "{text}");
    assert!(text.ends_with("\n}"), "{text}");
}

#[test]
fn bytes_are_base64() {
    for (bytes, text) in [("", ""), ("h", "aA=="), ("ho", "aG8="), ("hol", "aG9s"), ("hold", "aG9sZA==")] {
        assert_eq!(base64(bytes.as_bytes()), text);
    }
}
