//! One value of a JSON text, found while reading: nothing else of the text is kept, which as values may take a hundred times its length.
//!
//! Where it stands is said by a JSON pointer (RFC 6901), not by JSONPath: wildcards, descendants and filters of that multiply with each
//! other and with the text, and patterns may even come out of it, so that a short expression could take the controller's time and memory
//! without end. A pointer names at most one value, in as many steps as it has names.

use std::cell::Cell;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use super::failure::shorten;

/// Whether this is a JSON pointer, known before any attempt.
///
/// # Errors
/// What is wrong with it, in words that hold at most 100 characters of it.
pub fn pointer(path: &str) -> Result<(), String> {
    if !path.is_empty() && !path.starts_with('/') {
        return Err(format!("{:?} does not begin with /; write a JSON pointer such as /checks/0/status", shorten(path)));
    }
    if path.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1'])) {
        return Err(format!("{:?} has a ~ without 0 or 1 behind it; write ~0 for a tilde in a name and ~1 for a slash", shorten(path)));
    }
    Ok(())
}

/// What stands at a pointer: what was wanted, or else something of this kind, in words for a sentence and without anything of the value itself.
pub(super) type Found = Result<(), &'static str>;

/// There is no such place.
const NOTHING: Found = Err("nothing");
const ANOTHER_NUMBER: &str = "another number";

/// Looks at the pointer `path` for what the spec writes as the text `wanted`.
///
/// # Errors
/// The text is not JSON, or is nested too deeply.
pub(super) fn look(text: &[u8], path: &str, wanted: &str) -> Result<Found, serde_json::Error> {
    seek(text, path, wanted, &Cell::new(None))
}

/// The number at the pointer `path`, if there is one.
///
/// # Errors
/// As for [`look`].
pub(super) fn number(text: &[u8], path: &str) -> Result<Option<f64>, serde_json::Error> {
    let seen = Cell::new(None);
    // No number is written as nothing, so each is another one.
    Ok(seek(text, path, "", &seen)?.is_err_and(|other| other == ANOTHER_NUMBER).then(|| seen.get()).flatten())
}

fn seek(text: &[u8], path: &str, wanted: &str, seen: &Cell<Option<f64>>) -> Result<Found, serde_json::Error> {
    let names: Option<Vec<String>> =
        pointer(path).is_ok().then(|| path.split('/').skip(1).map(|name| name.replace("~1", "/").replace("~0", "~")).collect());
    let mut reader = serde_json::Deserializer::from_slice(text);
    let found = match &names {
        Some(names) => Seek { names, wanted, seen }.deserialize(&mut reader)?,
        None => IgnoredAny::deserialize(&mut reader).map(|_| NOTHING)?,
    };
    reader.end()?;
    Ok(found)
}

/// The way that is left to go, and what must stand at its end.
#[derive(Clone, Copy)]
struct Seek<'a> {
    names: &'a [String],
    wanted: &'a str,
    /// The last number that stood there.
    seen: &'a Cell<Option<f64>>,
}

impl Seek<'_> {
    /// A value that has nothing in it.
    fn end(self, equal: bool, other: &'static str) -> Found {
        match (self.names, equal) {
            ([], true) => Ok(()),
            ([], false) => Err(other),
            _ => NOTHING,
        }
    }

    fn number(self, found: &Number) -> Found {
        if self.names.is_empty() {
            self.seen.set(found.as_f64());
        }
        self.end(self.wanted.parse().is_ok_and(|wanted| same(found, &wanted)), ANOTHER_NUMBER)
    }
}

/// Whole numbers are compared to the last digit, others as the floating point numbers that they are.
fn same(one: &Number, other: &Number) -> bool {
    one == other || (one.is_f64() || other.is_f64()) && one.as_f64() == other.as_f64()
}

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Found, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = Found;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, found: bool) -> Result<Found, E> {
        Ok(self.end(self.wanted.parse() == Ok(found), "another boolean"))
    }

    fn visit_i64<E: Error>(self, found: i64) -> Result<Found, E> {
        Ok(self.number(&found.into()))
    }

    fn visit_u64<E: Error>(self, found: u64) -> Result<Found, E> {
        Ok(self.number(&found.into()))
    }

    fn visit_f64<E: Error>(self, found: f64) -> Result<Found, E> {
        Ok(Number::from_f64(found).map_or(self.end(false, ANOTHER_NUMBER), |found| self.number(&found)))
    }

    fn visit_str<E: Error>(self, found: &str) -> Result<Found, E> {
        Ok(self.end(found == self.wanted, "another text"))
    }

    fn visit_unit<E: Error>(self) -> Result<Found, E> {
        Ok(self.end(self.wanted == "null", "null"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Found, A::Error> {
        let mut found = self.end(false, "a list");
        let way = self.names.split_first().and_then(|(name, names)| Some((place(name)?, Seek { names, ..self })));
        for at in 0.. {
            let more = match way {
                Some((place, inner)) if place == at => list.next_element_seed(inner)?.map(|inner| found = inner),
                _ => list.next_element::<IgnoredAny>()?.map(drop),
            };
            if more.is_none() {
                break;
            }
        }
        Ok(found)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Found, A::Error> {
        let mut found = self.end(false, "an object");
        let way = self.names.split_first().map(|(name, names)| (name, Seek { names, ..self }));
        while let Some(key) = object.next_key::<String>()? {
            match way {
                // Of several of one name the last counts, as with nearly every reader of JSON.
                Some((name, inner)) if *name == key => found = object.next_value_seed(inner)?,
                _ => drop(object.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
}

/// A place in a list as RFC 6901 has it: no sign, no zeros in front.
fn place(name: &str) -> Option<usize> {
    let plain = name.bytes().all(|byte| byte.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    plain.then(|| name.parse().ok()).flatten()
}
