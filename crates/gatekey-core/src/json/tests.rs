use proptest::{prelude::*, test_runner::RngSeed};

use super::*;

#[test]
fn what_rfc_8259_allows_is_read() {
    for text in [
        "{}",
        " [ ] ",
        "null",
        "-0",
        "-0.5e+10",
        "1E400",
        r#""\u00e9\ud83d\ude00\/""#,
        "\"\u{7f}\u{2028}\"",
        "{\"a\":{\"a\":1},\"b\":[{\"a\":1},{\"a\":2}]}",
    ] {
        assert!(parse(text.as_bytes()).is_ok(), "{text}");
    }
}

#[test]
fn each_kind_of_value_is_read_as_what_it_is() {
    let text = br#"{"no":false,"yes":true,"none":null,"number":-1.50e3,"text":"a","list":[false,"b"],"more":{"no":1}}"#;
    let read = parse(text).unwrap();
    for (name, value) in [
        ("no", Value::Bool(false)),
        ("yes", Value::Bool(true)),
        ("none", Value::Null),
        // As it was written: what it means is for its reader to say.
        ("number", Value::Number("-1.50e3")),
        ("text", Value::String("a".into())),
        ("list", Value::Array(vec![Value::Bool(false), Value::String("b".into())])),
        ("more", Value::Object(vec![("no".into(), Value::Number("1"))])),
    ] {
        assert_eq!(read.member(name), Some(&value), "{name}");
    }
    assert_eq!((read.member("other"), read.member("no").unwrap().member("no")), (None, None));
    assert_eq!(texts(r#" ["a","\u0062"] "#), Ok(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(texts(r#"["a",1]"#), Err(JsonError::Type));
    assert_eq!(texts(r#"["a"]x"#), Err(JsonError::Malformed));
}

#[test]
fn each_escape_is_the_character_of_rfc_8259() {
    for (escape, character) in [
        (r#"\""#, '"'),
        (r"\\", '\\'),
        (r"\/", '/'),
        (r"\b", '\u{8}'),
        (r"\f", '\u{c}'),
        (r"\n", '\n'),
        (r"\r", '\r'),
        (r"\t", '\t'),
        (r"\u0041", 'A'),
        (r"\u00e9", '\u{e9}'),
        (r"\uD7FF", '\u{d7ff}'),
        (r"\ue000", '\u{e000}'),
        (r"\ud800\udc00", '\u{1_0000}'),
        (r"\ud83d\ude00", '\u{1_f600}'),
        (r"\uDBFF\uDFFF", '\u{10_ffff}'),
    ] {
        let text = format!("\"a{escape}b\"");
        assert_eq!(parse(text.as_bytes()), Ok(Value::String(format!("a{character}b").into())), "{escape}");
    }
    for escape in [
        r"\a",
        r"\B",
        r"\0",
        r"\x41",
        r"\u41",
        r"\U0041",
        r"\ud800",
        r"\udc00",
        r"\ud800\ue000",
        r"\ud800\ud800",
    ] {
        assert_eq!(parse(format!("\"{escape}\"").as_bytes()), Err(JsonError::Malformed), "{escape}");
    }
}

#[test]
fn what_rfc_8259_does_not_allow_is_refused() {
    for text in [
        "",
        " ",
        "{",
        "{}{}",
        "{} x",
        "\u{feff}{}",
        "{\"a\":1,}",
        "[1,]",
        "[,1]",
        "{'a':1}",
        "{a:1}",
        "{\"a\" 1}",
        "{1:1}",
        "NaN",
        "Infinity",
        "-",
        "+1",
        "01",
        "1.",
        ".5",
        "1e",
        "0x10",
        "\"\n\"",
        "\"\u{0}\"",
        "\"\\x41\"",
        "\"\\u12\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\u0041\"",
        "\"open",
        "tru",
        "// comment\n{}",
    ] {
        assert_eq!(parse(text.as_bytes()), Err(JsonError::Malformed), "{text}");
    }
    assert_eq!(parse(b"\"\xff\""), Err(JsonError::Malformed));
    assert_eq!(parse(b"\xff\xfe{\0}\0"), Err(JsonError::Malformed));
}

#[test]
fn a_member_twice_is_refused_at_any_depth_and_in_any_spelling() {
    for text in [r#"{"a":1,"a":1}"#, r#"{"a":1,"\u0061":2}"#, r#"[{"x":{"b":1,"c":2,"b":3}}]"#] {
        assert_eq!(parse(text.as_bytes()), Err(JsonError::Duplicate), "{text}");
    }
    // Whatever the name, and beside whatever others.
    let long = "x".repeat(1000);
    let names = ["", "a", "!~", "~!", "axb", "ayb", "\u{10ffff}", &long];
    let object = |names: &[&str]| format!("{{\"{}\":1}}", names.join("\":1,\""));
    assert!(parse(object(&names).as_bytes()).is_ok());
    for name in names {
        let text = object(&[&names[..], &[name]].concat());
        assert_eq!(parse(text.as_bytes()), Err(JsonError::Duplicate), "{text}");
    }
    let many: String = (0..3000).map(|i| format!("\"{}\":0,", i % 2999)).collect();
    assert_eq!(parse(format!("{{{}}}", many.trim_end_matches(',')).as_bytes()), Err(JsonError::Duplicate));
}

#[test]
fn sixteen_levels_are_read_and_seventeen_are_not() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse(nested(16).as_bytes()).is_ok());
    // Beside each other is not within each other.
    for deep in [nested(15), nested(15).replace('[', "{\"a\":").replace(']', "}").replace(":}", ":1}")] {
        let beside = vec![deep.as_str(); 100].join(",");
        assert!(parse(format!("[{beside}]").as_bytes()).is_ok(), "{deep}");
        assert_eq!(parse(format!("[[{beside}]]").as_bytes()), Err(JsonError::TooDeep), "{deep}");
    }
    assert_eq!(parse(nested(17).as_bytes()), Err(JsonError::TooDeep));
    assert_eq!(parse("[".repeat(100_000).as_bytes()), Err(JsonError::TooDeep));
}

#[test]
fn integers_are_not_coerced_from_anything_else() {
    let integer = |text: &'static str| {
        let mut found = None;
        members(text.as_bytes(), |_, reader| {
            found = Some(reader.integer()?);
            Ok(())
        })
        .map(|()| found)
    };
    for (text, expected) in [
        (r#"{"exp":9223372036854775807}"#, i64::MAX),
        (r#"{"exp":-9223372036854775808}"#, i64::MIN),
        (r#"{"exp":1000000000000000000}"#, 1_000_000_000_000_000_000),
        (r#"{"exp":999999999999999999}"#, 999_999_999_999_999_999),
        (r#"{"exp":-99999999999999999}"#, -99_999_999_999_999_999),
        (r#"{"exp":1800000000}"#, 1_800_000_000),
        (r#"{"exp":-1}"#, -1),
        (r#"{"exp":0}"#, 0),
        (r#"{"exp":-0}"#, 0),
    ] {
        assert_eq!(integer(text), Ok(Some(expected)), "{text}");
    }
    for text in
        [r#"{"exp":01}"#, r#"{"exp":-}"#, r#"{"exp":-01}"#, r#"{"exp":1.}"#, r#"{"exp":00}"#, r#"{"exp":+1}"#]
    {
        assert_eq!(integer(text), Err(JsonError::Malformed), "{text}");
    }
    for text in [
        r#"{"exp":9223372036854775808}"#,
        r#"{"exp":9999999999999999999}"#,
        r#"{"exp":18446744073709551617}"#,
        r#"{"exp":0.0}"#,
        r#"{"exp":0e1}"#,
        r#"{"exp":"1"}"#,
        r#"{"exp":1.0}"#,
        r#"{"exp":1e3}"#,
        r#"{"exp":null}"#,
        r#"{"exp":true}"#,
        r#"{"exp":[1]}"#,
        r#"{"exp":{}}"#,
    ] {
        assert_eq!(integer(text), Err(JsonError::Type), "{text}");
    }
    assert_eq!(integer(r#"[1]"#), Err(JsonError::Type));
    // Wherever it stands in the text.
    assert_eq!(integer(r#"{"as_late_as_can_be":9223372036854775807}"#), Ok(Some(i64::MAX)));
    assert_eq!(integer(r#"{"as_late_as_can_be":18446744073709551617}"#), Err(JsonError::Type));
    assert_eq!(integer(r#"{"as_late_as_can_be":1800000000}"#), Ok(Some(1_800_000_000)));
}

fn same(ours: &Value<'_>, theirs: &serde_json::Value) -> bool {
    match (ours, theirs) {
        (Value::Null, serde_json::Value::Null) => true,
        (Value::Bool(a), serde_json::Value::Bool(b)) => a == b,
        (Value::Number(a), serde_json::Value::Number(b)) => {
            serde_json::from_str::<serde_json::Number>(a).is_ok_and(|a| a == *b)
        }
        (Value::String(a), serde_json::Value::String(b)) => a == b,
        (Value::Array(a), serde_json::Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), serde_json::Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(&**name).is_some_and(|b| same(a, b)))
        }
        _ => false,
    }
}

#[test]
fn a_refusal_says_of_which_kind_it_is_and_nothing_of_the_text() {
    for (text, said) in [
        ("{\"alice\"", "malformed JSON"),
        ("{\"alice\":1,\"alice\":2}", "a member stands twice"),
        (&format!("{}\"alice\"{}", "[".repeat(17), "]".repeat(17)), "nested too deep"),
    ] {
        assert_eq!(parse(text.as_bytes()).unwrap_err().to_string(), said);
    }
    assert_eq!(JsonError::Type.to_string(), "a value of another type");
}

proptest! {
    // The same cases every time: a test that fails now and then is not believed.
    #![proptest_config(ProptestConfig {
        cases: 1_000,
        rng_seed: RngSeed::Fixed(8259),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whatever we accept, a widely used parser reads in the same way: two readers of one text cannot be played off
    /// against each other.
    #[test]
    fn what_is_accepted_means_the_same_to_serde_json(
        text in r#"[\[\]{}:,"a-c\\u0-9dE.+ -]{0,24}|(\{("[ab]":(1|"x"|\[\]|\{"a":null\})(,)?){0,3}\})"#
    ) {
        if let Ok(ours) = parse(text.as_bytes()) {
            // Numbers beyond what serde_json can hold are refused by it and are text to us.
            match serde_json::from_str::<serde_json::Value>(&text) {
                Ok(theirs) => prop_assert!(same(&ours, &theirs)),
                Err(error) => prop_assert!(error.to_string().contains("number out of range"), "{error}"),
            }
        }
    }

    #[test]
    fn the_end_of_plain_text_is_found_eight_bytes_at_once_as_one_at_a_time(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0x1e_u8..0x23, 0x5b_u8..0x5e, Just(b'a')], 0..40)
    ) {
        let expected = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
        prop_assert_eq!(special(&bytes), expected);
        // Far more often there is none for a while.
        let text = [&b"a long plain text \xc3\xa9 of the usual kind and more"[..bytes.len()], &bytes].concat();
        prop_assert_eq!(special(&text), expected.map(|at| at + bytes.len()));
    }

    #[test]
    fn any_bytes_are_answered_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }
}
