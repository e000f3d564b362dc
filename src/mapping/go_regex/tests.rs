//! What patterns match, what is refused, and how the translation reads.

use super::*;

/// What the groups captured, joined by commas; `-` for one without part.
fn captured(pattern: &str, name: &str) -> String {
    let regex = GoRegex::new(pattern).unwrap_or_else(|e| panic!("{pattern} {e}"));
    let captures = regex.captures(name);
    assert_eq!(regex.is_match(name), captures.is_some(), "{pattern}");
    let Some(captures) = captures else {
        return "no match".into();
    };
    let text = |group: Option<regex::Match>| group.map_or("-".into(), |m| m.as_str().to_owned());
    captures.iter().map(text).collect::<Vec<_>>().join(",")
}

fn check(pattern: &str, name: &str, expected: &str) {
    assert_eq!(captured(pattern, name), expected, "{pattern} on {name:?}");
}

#[test]
fn leftmost_first_anywhere() {
    check("", "a", "");
    check("b.", "abcbd", "bc");
    check(r"(a+?)(a*)b\.(9|99)", "aab.99", "aab.9,a,a,9");
    check(r"^(.*)\.(.*)$", "foo.bar.baz", "foo.bar.baz,foo.bar,baz");
    check("(ab|abc)(cd|d)", "abcd", "abcd,ab,cd");
    check("a|ab|", "ab", "a");
    check("x(solo)?(y)?", "xy", "xy,-,y");
}

#[test]
fn repetitions() {
    check("(a*)*", "aab", "aa,aa");
    check("(a*)+", "b", ",");
    check("(|a)*", "aa", ",");
    check("(|a)+", "aa", ",");
    check("(a|b)*?c", "abc", "abc,b");
    check("(a|b){2,}?", "abab", "ab,b");
    check("(a){0}(b)", "ab", "b,-,b");
    check("(a{0}b)", "ab", "b,b");
    check("a{2}", "aaa", "aa");
    check("a{2,3}?", "aaa", "aa");
    check("a??b", "ab", "ab");
    check("^*a", "ba", "a");
    check(r"\b*a", "ba", "a");
    check("a(?i)*", "aA", "a");
    check("a+(?i)?", "aa", "aa");
    check("(?:a*(?i)*b)", "aab", "aab");
    check("(?:)*a", "a", "a");
    check(r"a\Q\E*", "aa", "aa");
    check(r"\Qab\E+", "abb", "abb");
    check("(?U)a+", "aa", "a");
    check("(?U)a+?", "aa", "aa");
    check("(?U)a{1,2}", "aa", "a");
    check("(?U:a*)b*", "abb", "");
    check("((a{100}){10}){1}|b", "b", "b,-,-");
    check("((a{1000}){0}){1000}(b)", "b", "b,,-,b");
}

#[test]
fn braces_that_count_nothing() {
    check("br{x", "br{x", "br{x");
    check("a{", "a{", "a{");
    check("a{,5}", "a{,5}", "a{,5}");
    check("a{}", "a{}", "a{}");
    check("a{01}", "a{01}", "a{01}");
    check("a{1,02}", "a{1,02}", "a{1,02}");
    check("a{ 1}", "a{ 1}", "a{ 1}");
    check("a{1", "a{1", "a{1");
    check("a{1}{", "a{", "a{");
    check("{1x}", "{1x}", "{1x}");
    check("sq]}$", "sq]}", "sq]}");
}

#[test]
fn borders() {
    check("^b", "a\nb", "no match");
    check("(?m)^b$", "a\nb\nc", "b");
    check("a$", "a\n", "no match");
    check("(?m)a$", "a\n", "a");
    check(r"\Ab", "a\nb", "no match");
    check(r"(?m)\Ab", "a\nb", "no match");
    check(r"(?m)a\z", "a\n", "no match");
    check(r"\bb\b", "éb", "b");
    check(r"\Bé\B", "aé", "no match");
    check(r"a\b", "aé", "a");
    check(r"\B", "é", "");
    check(r"x|\Bx?", "aéa", "no match");
}

#[test]
fn dots() {
    check("w(.)", "wé", "wé,é");
    check(".", "\n", "no match");
    check("(?s).", "\n", "\n");
    check("(?s)(?-s).", "\n", "no match");
    check(".", "\r", "\r");
}

#[test]
fn flags_end_with_their_group() {
    check("(?i:a)b", "Ab", "Ab");
    check("(?i:a)b", "AB", "no match");
    check("((?i)a)b", "AB", "no match");
    check("a(?i)b|c", "C", "C");
    check("(?i)a(?-i)b", "AB", "no match");
    check("(?i-i)a", "A", "no match");
    check("(?is-m:a.)", "A\n", "A\n");
    check("(?)a", "a", "a");
    check("(?s-i:.)", "\n", "\n");
}

#[test]
fn folding() {
    check("(?i)K", "\u{212A}", "\u{212A}");
    check("(?i)ſ", "S", "S");
    check("(?i)σ", "ς", "ς");
    check("(?i)É", "é", "é");
    check("(?i)ß", "ss", "no match");
    check(r"(?i)\w", "\u{212A}", "\u{212A}");
    check(r"(?i)\W", "\u{212A}", "no match");
    check("(?i)[^k]", "\u{212A}", "no match");
    check("(?i)[a-c]", "B", "B");
    check("(?i)[[:lower:]]", "ſ", "ſ");
    check(r"(?i)\p{Lu}", "a", "a");
    check(r"(?i)\P{Lu}", "a1", "1");
    check(r"(?i)[\P{Lu}]", "a1", "1");
    check(r"(?i)\Qk.\E", "K.", "K.");
    check(r"(?i)\x6B", "K", "K");
    check("(?i)é+", "éÉ", "éÉ");
}

#[test]
fn perl_classes_are_ascii() {
    check(r"(\w+)\.(\d+)", "aéb.9", "b.9,b,9");
    check(r"\D", "٣", "٣");
    check(r"\d", "٣", "no match");
    check(r"\W", "é", "é");
    check(r"\s", " ", " ");
    check(r"\s", "\u{A0}", "no match");
    check(r"\s", "\u{B}", "no match");
    check(r"\S", "\u{B}", "\u{B}");
    check(r"[\w-z]+", "a-z", "a-z");
    check(r"[\d\s]+", "a1 2", "1 2");
    check(r"[^\D]", "a1", "1");
    check(r"[^\W_]", "_a", "a");
}

#[test]
fn brackets() {
    check("[]a]+", "]a", "]a");
    check("[^]a]", "]ab", "b");
    check("[a[b]+", "a[b", "a[b");
    check("[a&&b]+", "a&b", "a&b");
    check("[a~~b]+", "a~b", "a~b");
    check("[!--]+", "#-", "#-");
    check("[--/]+", "-./", "-./");
    check("[a-]+", "a-", "a-");
    check("[-a]+", "a-", "a-");
    check("[a-c-e]+", "b-e", "b-e");
    check("[a^]+", "a^", "a^");
    check("[^^]", "^a", "a");
    check(r"[\]\-\\]+", r"]-\", r"]-\");
    check("[ #]+", " #", " #");
    check("[^a]", "\n", "\n");
    check("[é-ü]", "ê", "ê");
    check(r"[\x41-\103]+", "ABCD", "ABC");
    check("[(|)*$.]+", "(|)*$.", "(|)*$.");
    check("[[:word:].]+", "-a_1.-", "a_1.");
    check("[[:^alpha:]]", "aé", "é");
    check("[^[:^digit:]]", "a1", "1");
    check("[:word:]+", "word:", "word:");
    check("[[:word]+", "[:word", "[:word");
    check("[[:]+", "[:", "[:");
    check("[[.a.]]", "a]", "a]");
    check("[[=a=]]", "=]", "=]");
}

#[test]
fn unicode_classes() {
    check(r"\p{Greek}+", "aΩΨb", "ΩΨ");
    check(r"\p{^Greek}", "Ωa", "a");
    check(r"\P{Greek}", "Ωa", "a");
    check(r"\P{^Greek}", "aΩ", "Ω");
    check(r"\pN", "a٣", "٣");
    check(r"\pZZ", "a Z", " Z");
    check(r"\PLL", "aL1L", "1L");
    check(r"\p{Lu}", "aÉ", "É");
    check(r"\p{uppercase_letter}", "aÉ", "É");
    check(r"[\p{Lu}\p{Nd}]+", "aÉ1", "É1");
    check(r"[^\PL]", "1é", "é");
    check(r"\p{Sc}", "€", "€");
    check(r"\p{Any}", "a", "a");
    check(r"\p{ASCII}+", "ab€", "ab");
    check(r"\p{Old_Italic}", "𐌀", "𐌀");
    check(r"\p{Zl}", "\u{2028}", "\u{2028}");
}

#[test]
fn surrogates_match_nothing() {
    check(r"a|\x{D800}", "a", "a");
    check(r"[\x{D800}a]", "a", "a");
    check(r"[^\x{D800}]", "a", "a");
    check(r"[\x{D000}-\x{DFFF}]", "\u{D7FF}", "\u{D7FF}");
    check(r"[\x{D800}-\x{DFFF}]", "a", "no match");
    check(r"\p{Cs}", "a", "no match");
    check(r"\P{Cs}", "a", "a");
    check(r"[^\x00-\x{10FFFF}]", "a", "no match");
}

#[test]
fn escapes() {
    check(r"\Qa.b*c\E", "a.b*c", "a.b*c");
    check(r"\Qa(", "a(", "a(");
    check(r"\Q\d\E", r"\d", r"\d");
    check(r"\<\>(x)", "<>x", "<>x,x");
    check(r"\-\/\:\_\&\#\~\ \!", "-/:_&#~ !", "-/:_&#~ !");
    check(r"\173", "{", "{");
    check(r"\0", "\0", "\0");
    check(r"\08", "\u{0}8", "\u{0}8");
    check(r"\1234", "S4", "S4");
    check(r"\777", "ǿ", "ǿ");
    check(r"\x{9}", "\t", "\t");
    check(r"\x7e", "~", "~");
    check(r"\x{10FFFF}", "\u{10FFFF}", "\u{10FFFF}");
    check(
        r"\a\f\n\r\t\v",
        "\u{7}\u{C}\n\r\t\u{B}",
        "\u{7}\u{C}\n\r\t\u{B}",
    );
    check("a#b c", "a#b c", "a#b c");
}

#[test]
fn names_of_groups() {
    let groups = |pattern: &str, name: &str| -> Vec<usize> {
        GoRegex::new(pattern).unwrap().groups(name).collect()
    };
    assert_eq!(groups("(a)(?P<n>b)", "n"), [2]);
    assert_eq!(groups("(?<n>a)", "n"), [1]);
    assert_eq!(groups("(?P<n>a)(?:b)(?P<n>c)", "n"), [1, 2]);
    assert_eq!(groups("(?P<1>a)(?P<01>b)(?P<_>c)", "01"), [2]);
    assert!(groups("(?P<n>a)", "m").is_empty());
    assert!(groups("(?P<n>a)", "N").is_empty());
    check("(?P<n>a)(?P<n>b)(c)", "abc", "abc,a,b,c");
}

#[test]
fn what_go_refuses() {
    let check = |pattern: &str, part: &str| {
        let error = GoRegex::new(pattern).expect_err(pattern);
        assert!(error.contains(part), "{pattern} {error}");
    };
    check("a(?=b)", "`(?=`");
    check("a(?!b)", "`(?!`");
    check("(?<=a)b", "look-around");
    check("(?<!a)b", "look-around");
    check("(?>a)", "`(?>`");
    check("(?#a)", "`(?#`");
    check("(?x)a b", "`(?x`");
    check("(?i-)a", "`(?i-)`");
    check("(?--i)a", "`(?--`");
    check("(?i", "`(?i`");
    check("(?", "`(?`");
    check("(?P=n)", "`(?P`");
    check("(?'n'a)", "`(?'`");
    check("(?P<n", "`(?P<n`");
    check("(?P<>a)", "`(?P<>`");
    check("(?P<é>a)", "`(?P<é>`");
    check("(?P<a b>a)", "`(?P<a b>`");
    check(r"(a)\1", r"escape `\1`");
    check(r"\18", r"escape `\1`");
    check(r"\8", r"escape `\8`");
    for escape in [
        r"\Z", r"\C", r"\h", r"\u", r"\e", r"\K", r"\R", r"\X", r"\E", r"\é",
    ] {
        check(&format!("{escape}0041"), &format!("escape `{escape}`"));
    }
    for escape in [
        r"\x",
        r"\x4",
        r"\xg1",
        r"\x{}",
        r"\x{g}",
        r"\x{110000}",
        r"\x{4",
    ] {
        check(escape, r"escape `\x");
    }
    check("a\\", "ends with a backslash");
    check("a**", "`**`");
    check("a++", "`++`");
    check("a*??", "`*??`");
    check("a{2}{3}", "`{2}{3}`");
    check("*a", "nothing that `*`");
    check("a|+", "nothing that `+`");
    check("(?:?)", "nothing that `?`");
    check("(?i)*", "nothing that `*`");
    check("{2}", "nothing that `{2}`");
    check("a{1001}", "count `{1001}`");
    check("a{1001,}", "count `{1001,}`");
    check("a{2,1}", "count `{2,1}`");
    check("a{99999999999}", "count `{99999999999}`");
    check("(a{100}){11}", "1000 copies with `{11}`");
    check("((a{2,10}b{5}){10,}c)+{2}", "`+{2}`");
    check("(?:(?:a{2,10}b{5}){10,}c){11}", "1000 copies with `{11}`");
    check("(a", "`)`");
    check("a)", "`)`");
    check("(a))", "`)`");
    check("[a", "`]`");
    check("[]", "`]`");
    check("[^]", "`]`");
    check(r"[\d", "`]`");
    check("[a-", "`]`");
    check("[z-a]", "range `z-a`");
    check(
        &format!("(?<{}>a)", "é".repeat(100)),
        &format!("`(?<{}…`", "é".repeat(38)),
    );
    check(r"[a-\d]", r"escape `\d`");
    check(r"[\Qa\E]", r"escape `\Q`");
    check(r"[\b]", r"escape `\b`");
    check("[[:nope:]]", "class `[:nope:]`");
    check(r"\p{Nope}", r"class `\p{Nope}`");
    check(r"\p{^^Greek}", r"class `\p{^^Greek}`");
    check(r"\p{}", r"class `\p{}`");
    check(r"\p{Greek", r"class `\p{Greek`");
    check(r"\p{gc=L}", r"class `\p{gc=L}`");
    check(r"[\pX]", r"class `\pX`");
    check(r"\pé", r"class `\pé`");
    check(r"\p", r"class `\p`");
    check(r"\P{Alphabetic}", r"class `\P{Alphabetic}`");
}

#[test]
fn limits() {
    let refused = |pattern: &str| GoRegex::new(pattern).err();
    let check = |pattern: &str, part: &str| {
        let error = refused(pattern).expect("refused");
        assert!(error.contains(part), "{error}");
    };
    let nested = |open: &str, depth: usize, close: &str| {
        format!("{}a{}", open.repeat(depth), close.repeat(depth))
    };
    for (open, levels, close) in [
        ("(", 1, ")"),
        ("(a|b", 2, "c)*"),
        ("(?i:k|(?:[a-z]b)?", 1, ")"),
    ] {
        let deepest = (DEPTH_MAX - 3) / levels;
        assert_eq!(refused(&nested(open, deepest, close)), None, "{open}");
        check(
            &nested(open, deepest + 4, close),
            "nested more than 250 deep",
        );
    }
    check(&nested("(", 20_000, ")"), "nested more than 250 deep");
    check(
        &format!("a*{}", "(?i)*".repeat(300)),
        "nested more than 250 deep",
    );
    check(
        &"a".repeat(PATTERN_BYTES_MAX + 1),
        "longer than 65536 bytes",
    );
    assert_eq!(refused("[^.]{1000}"), None);
    check(r"\pL{1000}", "4194304 bytes when compiled");
    check(&r"\pL".repeat(20_000), "4194304 bytes when compiled");
    assert_eq!(refused(&r"(?i)[\x00-\x{10FFFF}]".repeat(50)), None);
    check(&r"(?i)\pL".repeat(101), "too many large classes");
    check(
        &r"(?i)[\x00-\x{10FFFF}]".repeat(101),
        "too many large classes",
    );
}

#[test]
fn translations_stay_readable() {
    let check = |pattern: &str, rust: &str| {
        assert_eq!(GoRegex::new(pattern).unwrap().as_rust(), rust);
    };
    check(r"^airflow\.dag\.(.*)\.run$", r"^airflow\.dag\.(.*)\.run$");
    check(r"(?P<x>\w+)\s?a{", r"([[:word:]]+)[\t\n\f\r\x20]?a\{");
    check("(?i)a1(?-i)[^a&&b]", r"(?i:a)1[^a\&\&b]");
    check("(?sm)^.(?U)a*(?i)?", "(?m:^)(?s:.)(?:a*?)??");
}
