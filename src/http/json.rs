//! Strict JSON: no duplicate names, no deep nesting, and a reader that names every field that is
//! unknown or of the wrong type instead of stopping at the first.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::error::{ApiError, ProblemCode};
use super::wire::parse_time;
use crate::domain::limits::JSON_DEPTH_MAX;
use crate::domain::time::Timestamp;
use crate::service::draft::{Field, FieldCode, FieldError};

/// Unknown fields named in one answer.
const UNKNOWN_MAX: usize = 10;
/// Characters of an unknown name that are repeated in the answer.
const NAME_CHARS_MAX: usize = 64;

/// Parses a body. Refuses bad UTF-8, duplicate names, nesting beyond `JSON_DEPTH_MAX` and anything
/// after the value.
pub(crate) fn parse(body: &[u8]) -> Result<Value, ApiError> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let parsed = Strict { depth: 0 }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    parsed.map_err(|error| {
        let why = match error.classify() {
            serde_json::error::Category::Eof => "it ends too early",
            serde_json::error::Category::Data => {
                "it repeats a name, nests too deeply or holds a number out of range"
            }
            _ => "it is malformed",
        };
        let (line, column) = (error.line(), error.column());
        let detail = format!("the body is not acceptable JSON: {why}, line {line} column {column}");
        ApiError::new(ProblemCode::InvalidRequest, detail)
    })
}

/// Builds a value and keeps count of how deep it stands.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Strict {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth >= JSON_DEPTH_MAX {
            return Err(E::custom("too deep"));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut map = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(inner)?;
            if map.insert(name, value).is_some() {
                return Err(A::Error::custom("duplicate name"));
            }
        }
        Ok(Value::Object(map))
    }
}

/// Takes an object apart field by field; what nobody asked for is refused at the end.
pub(crate) struct Reader {
    map: Map<String, Value>,
    pointer: String,
    faults: Vec<FieldError>,
}

impl Reader {
    /// Opens the object that stands at `pointer` in the body.
    pub(crate) fn open(value: Value, pointer: &str) -> Result<Self, FieldError> {
        match value {
            Value::Object(map) => Ok(Self { map, pointer: pointer.to_owned(), faults: Vec::new() }),
            other => {
                let detail = format!("expected an object, got {}", kind(&other));
                Err(FieldError::new(pointer, FieldCode::WrongType, detail))
            }
        }
    }

    pub(crate) fn refuse(&mut self, name: &str, code: FieldCode, detail: impl Into<String>) {
        self.faults.push(FieldError::new(format!("{}/{name}", self.pointer), code, detail));
    }

    pub(crate) fn has_faults(&self) -> bool {
        !self.faults.is_empty()
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name)
    }

    pub(crate) fn string(&mut self, name: &str) -> Field<String> {
        self.field(name, "a string", |value| match value {
            Value::String(text) => Some(text),
            _ => None,
        })
    }

    pub(crate) fn boolean(&mut self, name: &str) -> Field<bool> {
        self.field(name, "true or false", |value| value.as_bool())
    }

    /// A whole number from zero, also when it is written `3.0`. One that is too large for 64 bits
    /// is taken for the largest, which every range refuses.
    pub(crate) fn count(&mut self, name: &str) -> Field<u64> {
        match self.field(name, "a whole number", |value| whole(&value)) {
            Field::Set(number) => match u64::try_from(number) {
                Ok(number) => Field::Set(number),
                Err(_) if number > 0 => Field::Set(u64::MAX),
                Err(_) => {
                    self.refuse(name, FieldCode::OutOfRange, "must not be negative");
                    Field::Absent
                }
            },
            Field::Null => Field::Null,
            Field::Absent => Field::Absent,
        }
    }

    pub(crate) fn time(&mut self, name: &str) -> Field<Timestamp> {
        match self.string(name) {
            Field::Set(text) => match parse_time(&text) {
                Some(time) => Field::Set(time),
                None => {
                    let detail = "expected a time like 2026-01-31T12:00:00Z";
                    self.refuse(name, FieldCode::InvalidTime, detail);
                    Field::Absent
                }
            },
            Field::Null => Field::Null,
            Field::Absent => Field::Absent,
        }
    }

    /// One of a few words.
    pub(crate) fn word<T>(
        &mut self,
        name: &str,
        words: &[&str],
        parse: impl Fn(&str) -> Option<T>,
    ) -> Field<T> {
        match self.string(name) {
            Field::Set(text) => match parse(&text) {
                Some(value) => Field::Set(value),
                None => {
                    let detail = format!("one of {}", words.join(", "));
                    self.refuse(name, FieldCode::InvalidValue, detail);
                    Field::Absent
                }
            },
            Field::Null => Field::Null,
            Field::Absent => Field::Absent,
        }
    }

    pub(crate) fn strings(&mut self, name: &str) -> Field<Vec<String>> {
        let items = match self.array(name) {
            Field::Set(items) => items,
            Field::Null => return Field::Null,
            Field::Absent => return Field::Absent,
        };
        let mut texts = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            match item {
                Value::String(text) => texts.push(text),
                other => {
                    let detail = format!("expected a string, got {}", kind(&other));
                    self.refuse(&format!("{name}/{index}"), FieldCode::WrongType, detail);
                }
            }
        }
        Field::Set(texts)
    }

    pub(crate) fn array(&mut self, name: &str) -> Field<Vec<Value>> {
        self.field(name, "an array", |value| match value {
            Value::Array(items) => Some(items),
            _ => None,
        })
    }

    /// A field of a later version: fine while it says nothing.
    pub(crate) fn not_available(&mut self, name: &str) {
        let says_nothing = match self.take(name) {
            None | Some(Value::Null) => true,
            Some(Value::String(text)) => text.is_empty(),
            Some(Value::Array(items)) => items.is_empty(),
            Some(Value::Object(map)) => map.is_empty(),
            Some(_) => false,
        };
        if !says_nothing {
            let detail = format!("`{name}` is not available in this version");
            self.refuse(name, FieldCode::NotAvailable, detail);
        }
    }

    /// Refuses what is left, and hands over all faults.
    pub(crate) fn close(mut self) -> Vec<FieldError> {
        for name in self.map.keys().take(UNKNOWN_MAX) {
            let shown: String = name.chars().take(NAME_CHARS_MAX).collect();
            let escaped = shown.replace('~', "~0").replace('/', "~1");
            let pointer = format!("{}/{escaped}", self.pointer);
            let detail = "this field is unknown or not yours to set";
            self.faults.push(FieldError::new(pointer, FieldCode::UnknownField, detail));
        }
        self.faults
    }

    fn field<T>(
        &mut self,
        name: &str,
        expected: &str,
        convert: impl FnOnce(Value) -> Option<T>,
    ) -> Field<T> {
        let value = match self.map.remove(name) {
            None => return Field::Absent,
            Some(Value::Null) => return Field::Null,
            Some(value) => value,
        };
        let got = kind(&value);
        match convert(value) {
            Some(value) => Field::Set(value),
            None => {
                let detail = format!("expected {expected}, got {got}");
                self.refuse(name, FieldCode::WrongType, detail);
                Field::Absent
            }
        }
    }
}

fn whole(value: &Value) -> Option<i128> {
    let number = value.as_number()?;
    if let Some(number) = number.as_u64() {
        return Some(number.into());
    }
    if let Some(number) = number.as_i64() {
        return Some(number.into());
    }
    // Beyond 64 bits, or with a fraction.
    number.as_f64().filter(|number| number.fract() == 0.0).map(|number| number as i128)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn reader(body: &str) -> Reader {
        Reader::open(parse(body.as_bytes()).unwrap(), "").unwrap()
    }

    fn pointers(reader: Reader) -> Vec<String> {
        reader.close().into_iter().map(|fault| fault.pointer).collect()
    }

    #[test]
    fn what_is_not_strict_json_is_refused() {
        let deep = format!("{}1{}", "[".repeat(33), "]".repeat(33));
        let unclosed = "[".repeat(100_000);
        for body in [
            "",
            "{",
            "{}x",
            "{\"a\":1,\"a\":1}",
            "{\"a\":{\"b\":1,\"b\":2}}",
            "[1,]",
            "nul",
            "'a'",
            "\"\\ud800\"",
            "1e999",
            "\u{feff}{}",
            &deep,
            &unclosed,
        ] {
            let error = parse(body.as_bytes()).unwrap_err();
            assert_eq!(error.code(), ProblemCode::InvalidRequest, "{body:.40}");
        }
        assert!(parse(b"{\"a\":\"\xff\"}").is_err());
        let just = format!("{}1{}", "[".repeat(32), "]".repeat(32));
        assert!(parse(just.as_bytes()).is_ok());
    }

    #[test]
    fn every_fault_is_named_with_its_place() {
        let mut reader = reader(
            r#"{"text":1,"flag":"x","n":-1,"at":"noon","list":["a",2],"who/m~e":1,"word":"up"}"#,
        );
        reader.string("text");
        reader.boolean("flag");
        reader.count("n");
        reader.time("at");
        reader.strings("list");
        reader.word("word", &["down"], |word| (word == "down").then_some(()));
        let named = pointers(reader);
        assert_eq!(
            named,
            ["/text", "/flag", "/n", "/at", "/list/1", "/word", "/who~1m~0e"],
            "in the order they were read, the unknown one last"
        );
    }

    #[test]
    fn absent_null_and_given_are_three_things() {
        let mut reader = reader(r#"{"a":null,"b":"x"}"#);
        assert_eq!(reader.string("a"), Field::Null);
        assert_eq!(reader.string("b"), Field::Set("x".to_owned()));
        assert_eq!(reader.string("c"), Field::Absent);
        assert!(reader.close().is_empty());
    }

    #[test]
    fn whole_numbers_may_be_written_with_a_point_and_are_never_cut() {
        let mut reader = reader(
            r#"{"a":3.0,"b":3.5,"c":18446744073709551615,"d":99999999999999999999999,"e":-0.0}"#,
        );
        assert_eq!(reader.count("a"), Field::Set(3));
        assert_eq!(reader.count("b"), Field::Absent);
        assert_eq!(reader.count("c"), Field::Set(u64::MAX));
        assert_eq!(reader.count("d"), Field::Set(u64::MAX));
        assert_eq!(reader.count("e"), Field::Set(0));
        assert_eq!(pointers(reader), ["/b"]);
    }

    #[test]
    fn fields_of_later_versions_may_say_nothing() {
        let mut reader = reader(r#"{"a":null,"b":"","c":[],"d":{},"f":[1]}"#);
        for name in ["a", "b", "c", "d", "e", "f"] {
            reader.not_available(name);
        }
        assert_eq!(pointers(reader), ["/f"]);
    }
}
