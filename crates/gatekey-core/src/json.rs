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
    reader.object(|name, reader| member(name.read(text), reader))?;
    reader.end()
}

/// The texts of an array that a whole text is.
pub(crate) fn texts(text: &str) -> Result<Vec<String>, JsonError> {
    let mut reader = Reader::of(text);
    let mut texts = Vec::new();
    reader.sequence(b'[', b']', |element| {
        texts.push(element.string()?.into_owned());
        Ok(())
    })?;
    reader.end()?;
    Ok(texts)
}

/// A part of a text: from one byte of it to before another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: usize,
    pub(crate) to: usize,
}

impl Span {
    /// What stands there; nothing in a text that it is none of.
    pub(crate) fn read(self, text: &str) -> &str {
        text.get(self.from..self.to).unwrap_or_default()
    }

    fn bytes(self, text: &str) -> &[u8] {
        &text.as_bytes()[self.from..self.to]
    }

    pub(crate) fn is_empty(self) -> bool {
        self.from == self.to
    }
}

/// Texts that are put behind another one.
pub(crate) struct Behind {
    from: usize,
    pub(crate) texts: String,
}

impl Behind {
    pub(crate) fn new(text: &str) -> Self {
        Self { from: text.len(), texts: String::new() }
    }

    /// Where it will stand.
    pub(crate) fn put(&mut self, text: &str) -> Span {
        let from = self.from + self.texts.len();
        self.texts.push_str(text);
        Span { from, to: from + text.len() }
    }
}

/// What stands between two quotes.
enum Quoted {
    /// As it is written.
    Plain(Span),
    /// Written with escapes, which are resolved here.
    Escaped(String),
}

impl Quoted {
    fn read<'t>(&'t self, text: &'t str) -> &'t str {
        match self {
            Self::Plain(span) => span.read(text),
            Self::Escaped(text) => text,
        }
    }

    fn into_text(self, text: &str) -> Cow<'_, str> {
        match self {
            Self::Plain(span) => Cow::Borrowed(span.read(text)),
            Self::Escaped(text) => Cow::Owned(text),
        }
    }
}

/// A position in a JSON text, before the white space that the next token may have. After an error it must not be used
/// further.
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: u8,
}

impl<'a> Reader<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// The byte that the next token begins with.
    fn next(&mut self) -> Option<u8> {
        self.space();
        self.peek()
    }

    /// Takes a byte that stands right here.
    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Takes a byte that is the next token.
    fn token(&mut self, byte: u8) -> bool {
        // Between most tokens there is no white space.
        self.take(byte) || {
            self.space();
            self.take(byte)
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.token(byte) { Ok(()) } else { Err(JsonError::Malformed) }
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
        match self.next() {
            None => Ok(()),
            Some(_) => Err(JsonError::Malformed),
        }
    }

    /// Where the next value is not of the wanted type: was it at least a value?
    fn mistyped<T>(&mut self) -> Result<T, JsonError> {
        self.value()?;
        Err(JsonError::Type)
    }

    pub(crate) fn value(&mut self) -> Result<Value<'a>, JsonError> {
        match self.next() {
            Some(b'"') => self.string().map(Value::String),
            Some(b'{') => {
                let mut members = Vec::new();
                self.object(|name, reader| {
                    members.push((name.into_text(reader.text), reader.value()?));
                    Ok(())
                })?;
                Ok(Value::Object(members))
            }
            Some(b'[') => {
                let mut elements = Vec::new();
                self.sequence(b'[', b']', |reader| {
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

    pub(crate) fn is_array(&mut self) -> bool {
        self.next() == Some(b'[')
    }

    /// Reads a value of any type, for its form alone.
    pub(crate) fn skip(&mut self) -> Result<(), JsonError> {
        self.value().map(drop)
    }

    /// Reads what stands between two brackets, with commas between.
    fn sequence(
        &mut self,
        open: u8,
        close: u8,
        mut element: impl FnMut(&mut Self) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        if !self.token(open) {
            return self.mistyped();
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(JsonError::TooDeep);
        }
        if !self.token(close) {
            loop {
                element(self)?;
                if !self.token(b',') {
                    break;
                }
            }
            self.expect(close)?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// Takes the name of a member and its colon.
    fn name(&mut self) -> Result<Quoted, JsonError> {
        if self.next() != Some(b'"') {
            return Err(JsonError::Malformed);
        }
        let name = self.quoted()?;
        self.expect(b':')?;
        Ok(name)
    }

    fn object(
        &mut self,
        mut member: impl FnMut(Quoted, &mut Self) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        let mut names = Names::new(self.text);
        self.sequence(b'{', b'}', |reader| {
            let name = reader.name()?;
            names.add(&name);
            member(name, reader)
        })?;
        names.all_distinct()
    }

    /// Reads an array of texts and returns where it stands.
    pub(crate) fn strings(&mut self) -> Result<Span, JsonError> {
        self.space();
        let from = self.at;
        self.sequence(b'[', b']', |element| element.quoted().map(drop))?;
        Ok(Span { from, to: self.at })
    }

    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        Ok(self.quoted()?.into_text(self.text))
    }

    /// Reads a text and returns where it stands; one that is written with escapes is put behind.
    pub(crate) fn span(&mut self, behind: &mut Behind) -> Result<Span, JsonError> {
        Ok(match self.quoted()? {
            Quoted::Plain(span) => span,
            Quoted::Escaped(text) => behind.put(&text),
        })
    }

    fn quoted(&mut self) -> Result<Quoted, JsonError> {
        if !self.token(b'"') {
            return self.mistyped();
        }
        let plain = self.plain()?;
        if self.take(b'"') { Ok(Quoted::Plain(plain)) } else { self.escaped(plain) }
    }

    /// The text up to the next quote or backslash.
    fn plain(&mut self) -> Result<Span, JsonError> {
        let from = self.at;
        self.at += special(&self.text.as_bytes()[from..]).ok_or(JsonError::Malformed)?;
        match self.peek() {
            Some(0..=0x1f) => Err(JsonError::Malformed),
            _ => Ok(Span { from, to: self.at }),
        }
    }

    /// Goes on where an escape follows what was plain.
    #[cold]
    fn escaped(&mut self, plain: Span) -> Result<Quoted, JsonError> {
        let mut text = plain.read(self.text).to_owned();
        while !self.take(b'"') {
            text.push(self.escape()?);
            text.push_str(self.plain()?.read(self.text));
        }
        Ok(Quoted::Escaped(text))
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        self.exactly(b'\\')?;
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
                        self.exactly(b'\\')?;
                        self.exactly(b'u')?;
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

    /// As [`Self::expect`], within a text, where white space is no separator.
    fn exactly(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.take(byte) { Ok(()) } else { Err(JsonError::Malformed) }
    }

    fn hex4(&mut self) -> Result<u32, JsonError> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).ok_or(JsonError::Malformed)?;
        self.at += 4;
        digits.iter().try_fold(0, |sum, digit| {
            Ok(sum * 16 + char::from(*digit).to_digit(16).ok_or(JsonError::Malformed)?)
        })
    }

    fn digits(&mut self) -> usize {
        let rest = &self.text.as_bytes()[self.at..];
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        count
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
        match self.next() {
            Some(b'-' | b'0'..=b'9') => self.number()?.parse().map_err(|_| JsonError::Type),
            _ => self.mistyped(),
        }
    }
}

/// Reading what stands in a known form, byte for byte. `None` says that it stands otherwise, not that it is wrong: what reads
/// it then is all of the above. What is read here is read there in the same way.
impl Reader<'_> {
    /// What comes after these bytes, if they are next.
    #[inline(always)]
    pub(crate) fn after(&mut self, written: &str) -> Option<&mut Self> {
        let here = self.text.as_bytes().get(self.at..)?.starts_with(written.as_bytes());
        self.at += if here { written.len() } else { 0 };
        here.then_some(self)
    }

    /// A text without escapes.
    pub(crate) fn plain_text(&mut self) -> Option<Span> {
        self.after("\"")?;
        let span = self.plain().ok()?;
        self.after("\"")?;
        Some(span)
    }

    /// An integer of at most 18 digits and more than 0.
    pub(crate) fn plain_integer(&mut self) -> Option<i64> {
        let (from, mut value) = (self.at, 0_i64);
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            value = value.wrapping_mul(10).wrapping_add(i64::from(digit - b'0'));
            self.at += 1;
        }
        let first = self.text.as_bytes().get(from).copied();
        (first != Some(b'0') && (1..=18).contains(&(self.at - from))).then_some(value)
    }

    /// The rest of an object and the end of the text, if none of its names is taken.
    pub(crate) fn rest(&mut self, taken: &[&str]) -> Option<()> {
        self.depth += 1;
        let mut names = Names::new(self.text);
        while self.take(b',') {
            let name = self.name().ok()?;
            if taken.contains(&name.read(self.text)) {
                return None;
            }
            names.add(&name);
            self.skip().ok()?;
        }
        names.all_distinct().ok()?;
        self.after("}")?.end().ok()
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
    text: &'a str,
    few: [Span; FEW],
    count: usize,
    /// A bit for each of the few: names whose bits differ need no comparison.
    bits: u64,
    /// Beyond the few, and those that were written with escapes.
    more: Vec<Cow<'a, [u8]>>,
    twice: bool,
}

const FEW: usize = 16;

impl<'a> Names<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, few: [Span::default(); FEW], count: 0, bits: 0, more: Vec::new(), twice: false }
    }

    fn add(&mut self, name: &Quoted) {
        let span = match name {
            Quoted::Plain(span) if self.count < FEW => *span,
            Quoted::Plain(span) => return self.more.push(Cow::Borrowed(span.bytes(self.text))),
            Quoted::Escaped(name) => return self.more.push(Cow::Owned(name.clone().into_bytes())),
        };
        let name = span.bytes(self.text);
        let edge = |byte: Option<&u8>| byte.copied().unwrap_or_default();
        let bit = 1 << (edge(name.first()).wrapping_mul(3).wrapping_add(edge(name.last())) % 64);
        let seen = &self.few[..self.count];
        self.twice |= self.bits & bit != 0 && seen.iter().any(|other| other.bytes(self.text) == name);
        self.bits |= bit;
        self.few[self.count] = span;
        self.count += 1;
    }

    fn all_distinct(mut self) -> Result<(), JsonError> {
        if !self.more.is_empty() {
            let few = self.few[..self.count].iter().map(|name| Cow::Borrowed(name.bytes(self.text)));
            self.more.extend(few);
            self.more.sort_unstable();
            self.twice |= self.more.windows(2).any(|pair| pair[0] == pair[1]);
        }
        if self.twice { Err(JsonError::Duplicate) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
