//! The CBOR library behind two functions. `serde_cbor` is archived; this file is what replacing it costs.

use std::collections::BTreeMap;

use serde_cbor::Value;

/// What a manifest is made of: no floats, no byte strings, no tags.
pub enum Item {
    /// An unsigned integer.
    Number(u64),
    /// A text string.
    Text(String),
    /// A list.
    List(Vec<Item>),
    /// A map with integer keys.
    Map(Vec<(u8, Item)>),
}

/// Encodes canonically: definite lengths, shortest integers, keys in order.
pub fn encode(item: Item) -> Vec<u8> {
    serde_cbor::to_vec(&value(item)).expect("integers, text, lists and maps always encode")
}

/// Decodes a map with text keys into its numbers and texts; everything else in it is passed over.
///
/// # Errors
/// The first item is not a complete map, in the decoder's words. Bytes behind it are ignored, as devices do.
pub fn decode_fields(bytes: &[u8]) -> Result<Vec<(String, Field)>, String> {
    let fields = decode_map(bytes)?
        .into_iter()
        .filter_map(|(key, value)| match (key, value) {
            (Value::Text(key), Value::Integer(number)) => Some((key, Field::Number(number))),
            (Value::Text(key), Value::Text(text)) => Some((key, Field::Text(text))),
            _ => None,
        });
    Ok(fields.collect())
}

/// Decodes a map with text keys into JSON: byte strings become hexadecimal text, tags are passed over, and so is what has
/// another key.
///
/// # Errors
/// As [`decode_fields`].
pub fn decode_json(bytes: &[u8]) -> Result<serde_json::Map<String, serde_json::Value>, String> {
    let entries = decode_map(bytes)?
        .into_iter()
        .filter_map(|(key, value)| match key {
            Value::Text(key) => Some((key, json(value))),
            _ => None,
        });
    Ok(entries.collect())
}

/// A value of a report that means something to us.
pub enum Field {
    /// An integer of either sign.
    Number(i128),
    /// A text string.
    Text(String),
}

fn decode_map(bytes: &[u8]) -> Result<BTreeMap<Value, Value>, String> {
    let first = serde_cbor::Deserializer::from_slice(bytes)
        .into_iter::<Value>()
        .next();
    let value = first
        .unwrap_or(Ok(Value::Null))
        .map_err(|error| error.to_string())?;
    match value {
        Value::Map(map) => Ok(map),
        _ => Err("not a map".to_owned()),
    }
}

/// As deep as the decoder lets a value be, which is bounded.
fn json(value: Value) -> serde_json::Value {
    match value {
        Value::Bool(truth) => truth.into(),
        // Beyond 64 bits JSON has no integers.
        Value::Integer(number) => i64::try_from(number)
            .map(serde_json::Value::from)
            .or_else(|_| u64::try_from(number).map(serde_json::Value::from))
            .unwrap_or_else(|_| number.to_string().into()),
        Value::Float(number) => number.into(),
        Value::Bytes(bytes) => data_encoding::HEXLOWER.encode(&bytes).into(),
        Value::Text(text) => text.into(),
        Value::Array(values) => values.into_iter().map(json).collect(),
        Value::Map(map) => {
            let entries = map.into_iter().filter_map(|(key, value)| match key {
                Value::Text(key) => Some((key, json(value))),
                _ => None,
            });
            serde_json::Value::Object(entries.collect())
        }
        Value::Tag(_, tagged) => json(*tagged),
        // Null and undefined; the library keeps a last variant to itself.
        _ => serde_json::Value::Null,
    }
}

fn value(item: Item) -> Value {
    match item {
        Item::Number(number) => Value::Integer(number.into()),
        Item::Text(text) => Value::Text(text),
        Item::List(items) => Value::Array(items.into_iter().map(value).collect()),
        Item::Map(entries) => {
            let entries = entries
                .into_iter()
                .map(|(key, item)| (Value::Integer(key.into()), value(item)));
            Value::Map(entries.collect::<BTreeMap<_, _>>())
        }
    }
}
