//! One strict reader for every JSON text that comes from outside: token headers, claims, request bodies.
//!
//! It accepts RFC 8259 and nothing beside it, and is stricter where leniency has been used in attacks:
//!
//! 1. no object has a member twice, at any depth, also when one spelling is escaped (`"exp"`, `"\u0065xp"`);
//! 2. containers nest at most [`MAX_DEPTH`] deep;
//! 3. nothing stands before or after the value, no byte order mark, no lone surrogate;
//! 4. nothing is coerced: a number in quotes is text, `1.0` and `1e0` are not integers.
//!
//! Text is borrowed from the input wherever it holds no escape.
//!
//! ```
//! use gatekey_core::json::{Value, parse};
//!
//! assert!(matches!(parse(br#"{"a":[1,"x"]}"#), Ok(Value::Object(_))));
//! assert!(parse(br#"{"a":1,"\u0061":2}"#).is_err());
//! ```

use std::{borrow::Cow, fmt};

/// How deep arrays and objects may nest.
pub const MAX_DEPTH: u8 = 16;

/// Why a text was refused. Deliberately coarse: what was wrong goes to no client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonError {
    /// Not JSON, or not only JSON.
    Malformed,
    /// A member stands twice in one object.
    Duplicate,
    /// Nested deeper than [`MAX_DEPTH`].
    TooDeep,
    /// Well-formed, but not of the type asked for.
    Type,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "malformed JSON",
            Self::Duplicate => "a member stands twice",
            Self::TooDeep => "nested too deep",
            Self::Type => "a value of another type",
        })
    }
}

impl std::error::Error for JsonError {}

/// A JSON value. Numbers keep their text: what they mean is for the reader of the member to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as written.
    Number(&'a str),
    /// A text, unescaped.
    String(Cow<'a, str>),
    /// An array.
    Array(Vec<Value<'a>>),
    /// An object; members in the order they stand, none twice.
    Object(Vec<(Cow<'a, str>, Value<'a>)>),
}

impl<'a> Value<'a> {
    /// The member of an object; none of anything else.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        members.iter().find(|(own, _)| own == name).map(|(_, value)| value)
    }
}

/// Reads a whole text as one value.
///
/// # Errors
///
/// [`JsonError::Malformed`], [`JsonError::Duplicate`] or [`JsonError::TooDeep`].
pub fn parse(text: &[u8]) -> Result<Value<'_>, JsonError> {
    let mut reader = Reader::of(as_text(text)?);
    let value = reader.value()?;
    reader.end()?;
    Ok(value)
}

/// Reads the members of the object that a whole text is, without building a tree.
///
/// `member` is called with each name and must read exactly that member's value from the reader.
///
/// # Errors
///
/// As [`parse`], and whatever `member` returns; [`JsonError::Type`] if the text is no object.
pub(crate) fn members<'a>(
    text: &'a [u8],
    member: impl FnMut(&str, &mut Reader<'a>) -> Result<(), JsonError>,
) -> Result<(), JsonError> {
    members_of(as_text(text)?, member)
}

fn as_text(bytes: &[u8]) -> Result<&str, JsonError> {
    std::str::from_utf8(bytes).map_err(|_| JsonError::Malformed)
}

/// As [`members`], of what is known to be text.
pub(crate) fn members_of<'a>(
    text: &'a str,
    mut member: impl FnMut(&str, &mut Reader<'a>) -> Result<(), JsonError>,
) -> Result<(), JsonError> {
    let mut reader = Reader::of(text);
    reader.object(|name, reader| member(&name, reader))?;
    reader.end()
}

/// The texts of an array that a whole text is.
pub(crate) fn texts(text: &str) -> Result<Vec<String>, JsonError> {
    let mut reader = Reader::of(text);
    let texts = reader.strings()?.into_iter().map(Cow::into_owned).collect();
    reader.end()?;
    Ok(texts)
}

/// A position in a JSON text. After an error it must not be used further.
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: u8,
}

impl<'a> Reader<'a> {
    fn of(text: &'a str) -> Self {
        let mut reader = Self { text, at: 0, depth: 0 };
        reader.space();
        reader
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.take(byte) { Ok(()) } else { Err(JsonError::Malformed) }
    }

    fn word(&mut self, word: &str) -> Result<(), JsonError> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(())
        } else {
            Err(JsonError::Malformed)
        }
    }

    fn end(&mut self) -> Result<(), JsonError> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { Err(JsonError::Malformed) }
    }

    /// Where the next value is not of the wanted type: was it at least a value?
    fn mistyped<T>(&mut self) -> Result<T, JsonError> {
        self.value()?;
        Err(JsonError::Type)
    }

    pub(crate) fn value(&mut self) -> Result<Value<'a>, JsonError> {
        match self.peek() {
            Some(b'"') => self.string().map(Value::String),
            Some(b'{') => {
                let mut members = Vec::new();
                self.object(|name, reader| {
                    members.push((name, reader.value()?));
                    Ok(())
                })?;
                Ok(Value::Object(members))
            }
            Some(b'[') => {
                let mut elements = Vec::new();
                self.array(|reader| {
                    elements.push(reader.value()?);
                    Ok(())
                })?;
                Ok(Value::Array(elements))
            }
            Some(b't') => self.word("true").map(|()| Value::Bool(true)),
            Some(b'f') => self.word("false").map(|()| Value::Bool(false)),
            Some(b'n') => self.word("null").map(|()| Value::Null),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            _ => Err(JsonError::Malformed),
        }
    }

    pub(crate) fn is_array(&self) -> bool {
        self.peek() == Some(b'[')
    }

    /// Reads a value of any type and returns its text.
    pub(crate) fn raw(&mut self) -> Result<&'a str, JsonError> {
        let from = self.at;
        self.value()?;
        Ok(&self.text[from..self.at])
    }

    pub(crate) fn object(
        &mut self,
        mut member: impl FnMut(Cow<'a, str>, &mut Self) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        if !self.take(b'{') {
            return self.mistyped();
        }
        self.enter()?;
        let mut names = Names::new();
        self.space();
        if !self.take(b'}') {
            loop {
                self.space();
                if self.peek() != Some(b'"') {
                    return Err(JsonError::Malformed);
                }
                let name = self.string()?;
                self.space();
                self.expect(b':')?;
                self.space();
                match &name {
                    Cow::Borrowed(name) => names.push(name),
                    Cow::Owned(name) => names.more.push(Cow::Owned(name.clone())),
                }
                member(name, self)?;
                self.space();
                if !self.take(b',') {
                    break;
                }
            }
            self.expect(b'}')?;
        }
        self.depth -= 1;
        names.all_distinct()
    }

    pub(crate) fn array(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        if !self.take(b'[') {
            return self.mistyped();
        }
        self.enter()?;
        self.space();
        if !self.take(b']') {
            loop {
                self.space();
                element(self)?;
                self.space();
                if !self.take(b',') {
                    break;
                }
            }
            self.expect(b']')?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// Reads an array of texts.
    pub(crate) fn strings(&mut self) -> Result<Vec<Cow<'a, str>>, JsonError> {
        let mut found = Vec::new();
        self.array(|element| {
            found.push(element.string()?);
            Ok(())
        })?;
        Ok(found)
    }

    /// Reads an array of texts and returns the text that it is.
    pub(crate) fn raw_strings(&mut self) -> Result<&'a str, JsonError> {
        let from = self.at;
        self.array(|element| element.string().map(drop))?;
        Ok(&self.text[from..self.at])
    }

    fn enter(&mut self) -> Result<(), JsonError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(JsonError::TooDeep) } else { Ok(()) }
    }

    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        if !self.take(b'"') {
            return self.mistyped();
        }
        let plain = self.plain()?;
        if self.take(b'"') {
            return Ok(Cow::Borrowed(plain));
        }
        let mut text = plain.to_owned();
        while !self.take(b'"') {
            text.push(self.escape()?);
            text.push_str(self.plain()?);
        }
        Ok(Cow::Owned(text))
    }

    /// The text up to the next quote or backslash.
    #[inline(always)]
    fn plain(&mut self) -> Result<&'a str, JsonError> {
        let from = self.at;
        let length = special(&self.text.as_bytes()[from..]).ok_or(JsonError::Malformed)?;
        self.at = from + length;
        match self.peek() {
            Some(0..=0x1f) => Err(JsonError::Malformed),
            _ => Ok(&self.text[from..self.at]),
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        self.expect(b'\\')?;
        let byte = self.peek().ok_or(JsonError::Malformed)?;
        self.at += 1;
        Ok(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.hex4()?;
                let code = match unit {
                    0xd800..=0xdbff => {
                        self.expect(b'\\')?;
                        self.expect(b'u')?;
                        let low = self.hex4()?;
                        if !(0xdc00..=0xdfff).contains(&low) {
                            return Err(JsonError::Malformed);
                        }
                        0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00)
                    }
                    _ => unit,
                };
                char::from_u32(code).ok_or(JsonError::Malformed)?
            }
            _ => return Err(JsonError::Malformed),
        })
    }

    fn hex4(&mut self) -> Result<u32, JsonError> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).ok_or(JsonError::Malformed)?;
        self.at += 4;
        digits.iter().try_fold(0, |sum, digit| {
            Ok(sum * 16 + char::from(*digit).to_digit(16).ok_or(JsonError::Malformed)?)
        })
    }

    fn digits(&mut self) -> usize {
        let from = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - from
    }

    fn number(&mut self) -> Result<&'a str, JsonError> {
        let from = self.at;
        self.take(b'-');
        if !self.take(b'0') && self.digits() == 0 {
            return Err(JsonError::Malformed);
        }
        if self.take(b'.') && self.digits() == 0 {
            return Err(JsonError::Malformed);
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if !self.take(b'-') {
                self.take(b'+');
            }
            if self.digits() == 0 {
                return Err(JsonError::Malformed);
            }
        }
        Ok(&self.text[from..self.at])
    }

    /// An integer written without fraction or exponent, in the range of `i64`.
    pub(crate) fn integer(&mut self) -> Result<i64, JsonError> {
        let from = self.at;
        let negative = self.take(b'-');
        let mut value = 0_i64;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            // A time has ten digits. What has more than so many, and may not fit, is read below.
            if self.at - from == 18 {
                break;
            }
            value = value * 10 + i64::from(digit - b'0');
            self.at += 1;
        }
        let first = from + usize::from(negative);
        let plain = match self.text.as_bytes().get(first..self.at) {
            Some([b'1'..=b'9', ..] | [b'0']) => {
                !matches!(self.peek(), Some(b'0'..=b'9' | b'.' | b'e' | b'E'))
            }
            _ => false,
        };
        if plain {
            return Ok(if negative { -value } else { value });
        }
        self.at = from;
        match self.peek() {
            Some(b'-' | b'0'..=b'9') => self.number()?.parse().map_err(|_| JsonError::Type),
            _ => self.mistyped(),
        }
    }
}

/// Where the first byte is that plain text within quotes does not hold: a quote, a backslash, a control character.
fn special(text: &[u8]) -> Option<usize> {
    // Eight bytes at once: the top bit of each is set where that byte is one of them, or follows one (a borrow may go up
    // through the word, so only the lowest is looked at).
    const ONES: u64 = u64::MAX / 0xff;
    let (words, _) = text.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let is = |byte: u8| (word ^ (ONES * u64::from(byte))).wrapping_sub(ONES);
        let control = word.wrapping_sub(ONES * 0x20);
        let found = (control | is(b'"') | is(b'\\')) & !word & (ONES * 0x80);
        if found != 0 {
            return Some(at * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let rest = text.len() / 8 * 8;
    text[rest..].iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)).map(|at| rest + at)
}

/// The names seen in one object. Few are compared as they come, and without an allocation; a body stuffed with thousands
/// is sorted instead, so that its length does not cost its square.
struct Names<'a> {
    few: [&'a str; FEW],
    count: usize,
    /// A bit for each of the few: names whose bits differ need no comparison.
    bits: u64,
    /// Beyond the few, and those that were written with escapes.
    more: Vec<Cow<'a, str>>,
    twice: bool,
}

const FEW: usize = 24;

impl<'a> Names<'a> {
    fn new() -> Self {
        Self { few: [""; FEW], count: 0, bits: 0, more: Vec::new(), twice: false }
    }

    fn push(&mut self, name: &'a str) {
        if self.count == FEW {
            self.more.push(Cow::Borrowed(name));
            return;
        }
        let edge = |byte: Option<&u8>| usize::from(byte.copied().unwrap_or_default());
        let bytes = name.as_bytes();
        let bit = 1 << ((bytes.len() * 7 + edge(bytes.first()) * 3 + edge(bytes.last())) % 64);
        self.twice |= self.bits & bit != 0 && self.few[..self.count].contains(&name);
        self.bits |= bit;
        self.few[self.count] = name;
        self.count += 1;
    }

    fn all_distinct(&mut self) -> Result<(), JsonError> {
        if !self.more.is_empty() {
            self.more.extend(self.few[..self.count].iter().map(|name| Cow::Borrowed(*name)));
            self.more.sort_unstable();
            self.twice |= self.more.windows(2).any(|pair| pair[0] == pair[1]);
        }
        if self.twice { Err(JsonError::Duplicate) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
