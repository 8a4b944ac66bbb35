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
    let first = serde_cbor::Deserializer::from_slice(bytes)
        .into_iter::<Value>()
        .next();
    let value = first
        .unwrap_or(Ok(Value::Null))
        .map_err(|error| error.to_string())?;
    let Value::Map(map) = value else {
        return Err("not a map".to_owned());
    };
    let fields = map.into_iter().filter_map(|(key, value)| match (key, value) {
        (Value::Text(key), Value::Integer(number)) => Some((key, Field::Number(number))),
        (Value::Text(key), Value::Text(text)) => Some((key, Field::Text(text))),
        _ => None,
    });
    Ok(fields.collect())
}

/// A value of a report that means something to us.
pub enum Field {
    /// An integer of either sign.
    Number(i128),
    /// A text string.
    Text(String),
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
