//! YAML text to a tree of nodes, as the mapping language wants it.
//!
//! Mapping files were written for Go's yaml.v2, a reader of YAML 1.1 whose
//! scanner descends from libyaml. So does the crate `libyaml-safer`, and so the
//! same files are well-formed here. What is left is to keep from it what it
//! cannot stand (`prepare`), to build the tree, and to bound it. Scalars stay
//! text until someone asks what they mean (`scalar`).
//!
//! An alias is the very node its anchor names. A tree can therefore be far
//! larger than its text, which is why both limits below count aliased nodes as
//! often as they are seen.

mod prepare;
mod scalar;

use std::collections::HashMap;
use std::rc::Rc;

use libyaml_safer::{Encoding, Error, Event, EventData, Mark, Parser, ScalarStyle};

use self::prepare::{Prepared, prepare};

pub use scalar::{Scalar, Value};

/// Weight of a tree, about its bytes in memory if aliases were copies. The
/// reader yaml.v2 allows aliases some 400 000 nodes; these are a million.
const WEIGHT_MAX: usize = 64 << 20;

/// Weight of a node without its text.
const NODE_WEIGHT: usize = 64;

/// Collections within collections, those of aliased nodes included. Readers
/// of the tree may recurse as deep; a mapping file has a depth of six.
const DEPTH_MAX: usize = 100;

/// A value with its place in the file.
#[derive(Debug)]
pub struct Node {
    /// Where it starts, counting from 1.
    pub line: usize,
    /// What it is.
    pub content: Content,
    /// How many collections are nested here, itself included.
    height: usize,
    /// Weight of the whole of it.
    weight: usize,
}

/// What a node holds.
#[derive(Debug)]
pub enum Content {
    /// One value.
    Scalar(Scalar),
    /// Values in order.
    List(Vec<Rc<Node>>),
    /// Keys and values in order, a key possibly twice.
    Map(Vec<(Rc<Node>, Rc<Node>)>),
}

/// The first document of a text; there are no others to a mapping file.
#[derive(Debug)]
pub struct Document {
    /// None if there is not even an empty document.
    pub root: Option<Rc<Node>>,
    /// Where something follows that is not read.
    pub unread_line: Option<usize>,
}

/// Why a text is not YAML.
#[derive(Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Counting from 1.
    pub line: usize,
    /// What is wrong and how to mend it.
    pub message: String,
}

impl SyntaxError {
    fn new(line: usize, message: impl Into<String>) -> SyntaxError {
        SyntaxError {
            line,
            message: message.into(),
        }
    }
}

impl From<Error> for SyntaxError {
    fn from(error: Error) -> SyntaxError {
        let line = error.problem_mark().map_or(1, line_of);
        let problem = error.problem();
        let context = match (error.context(), error.context_mark().map(line_of)) {
            (Some(context), Some(start)) if start != line => {
                format!(" {context} that starts in line {start}")
            }
            (Some(context), _) => format!(" {context}"),
            (None, _) => String::new(),
        };
        let advice = advice(problem, error.context().unwrap_or(""));
        SyntaxError::new(
            line,
            format!("not valid YAML: {problem}{context}; {advice}"),
        )
    }
}

fn line_of(mark: Mark) -> usize {
    mark.line as usize + 1
}

/// The likely mistake behind a complaint of the scanner.
fn advice(problem: &str, context: &str) -> &'static str {
    if context == "while scanning an alias" {
        return "quote what starts with an asterisk, as in '*.count'";
    }
    match problem {
        "found character that cannot start any token" => {
            "indent with spaces, and quote what starts with a special character"
        }
        _ if problem.contains("a tab character") => "indent with spaces",
        "mapping values are not allowed in this context" => {
            "check the indentation, and quote what contains a colon and a space"
        }
        "found unknown escape character" => {
            "between double quotes, double the backslash, or remove it before a single quote"
        }
        "found incompatible YAML document" => "remove the %YAML line",
        _ => "check indentation, brackets and quotes up to this line",
    }
}

/// Reads the first document of `text`.
///
/// # Errors
/// For what is not YAML 1.1 in UTF-8 (or UTF-16 with a byte order mark), and
/// for what exceeds the limits of this module.
pub fn parse(text: &[u8]) -> Result<Document, SyntaxError> {
    let Prepared {
        text,
        unterminated_end,
    } = prepare(text)?;
    let mut parser = Parser::new();
    parser.set_encoding(Encoding::Utf8);
    parser.set_input(text.as_bytes());
    let mut builder = Builder {
        parser,
        unterminated_end,
        anchors: HashMap::new(),
        weight: 0,
    };
    builder.document()
}

/// What is in a collection, and the height of the highest part of it.
type Contents = Result<(Content, usize), SyntaxError>;

/// Turns the parser's events into a tree.
struct Builder<'a> {
    parser: Parser<&'a [u8]>,
    /// See [`Prepared`].
    unterminated_end: Option<u64>,
    /// What each name stands for from here on; none while that is not complete.
    anchors: HashMap<String, Option<Rc<Node>>>,
    /// Of all that was built so far, aliased nodes as often as they were seen.
    weight: usize,
}

impl Builder<'_> {
    fn document(&mut self) -> Result<Document, SyntaxError> {
        self.parser.parse()?;
        let start = self.parser.parse()?;
        let EventData::DocumentStart {
            version_directive, ..
        } = start.data
        else {
            return Ok(Document {
                root: None,
                unread_line: None,
            });
        };
        if version_directive.is_some_and(|version| version.minor != 1) {
            return Err(SyntaxError::new(
                line_of(start.start_mark),
                "the file is read as YAML 1.1: remove the %YAML line",
            ));
        }
        let event = self.parser.parse()?;
        let root = self.node(event, 0)?;
        self.parser.parse()?;
        let unread_line = match self.parser.parse() {
            Ok(event) if event.data == EventData::StreamEnd => None,
            Ok(event) => Some(line_of(event.start_mark)),
            Err(error) => Some(SyntaxError::from(error).line),
        };
        Ok(Document {
            root: Some(root),
            unread_line,
        })
    }

    /// The node that `event` starts, inside of `depth` collections.
    fn node(&mut self, event: Event, depth: usize) -> Result<Rc<Node>, SyntaxError> {
        let line = line_of(event.start_mark);
        match event.data {
            EventData::Alias { anchor } => self.alias(&anchor, depth, line),
            EventData::Scalar {
                anchor,
                tag,
                mut value,
                plain_implicit,
                style,
                ..
            } => {
                let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                let unterminated = block && self.unterminated_end == Some(event.end_mark.index);
                if unterminated && value.ends_with('\n') {
                    value.pop();
                }
                self.charge(NODE_WEIGHT + value.len(), line)?;
                let node = Rc::new(Node {
                    line,
                    height: 0,
                    weight: NODE_WEIGHT + value.len(),
                    content: Content::Scalar(Scalar::new(value, tag, plain_implicit)),
                });
                if let Some(name) = anchor {
                    self.anchors.insert(name, Some(node.clone()));
                }
                Ok(node)
            }
            EventData::SequenceStart { anchor, .. } => {
                self.collection(anchor, depth, line, Self::list)
            }
            EventData::MappingStart { anchor, .. } => {
                self.collection(anchor, depth, line, Self::map)
            }
            // The parser gives nothing else in the place of a node.
            _ => Err(SyntaxError::new(line, "a value is missing: add one")),
        }
    }

    fn alias(&mut self, name: &str, depth: usize, line: usize) -> Result<Rc<Node>, SyntaxError> {
        match self.anchors.get(name) {
            Some(Some(node)) => {
                let node = node.clone();
                self.charge(node.weight, line)?;
                check_depth(depth + node.height, line)?;
                Ok(node)
            }
            Some(None) => Err(SyntaxError::new(
                line,
                format!("the alias `*{name}` stands inside of what it repeats: write that out"),
            )),
            None => Err(SyntaxError::new(
                line,
                format!(
                    "there is no anchor `&{name}` above: add it, or quote what starts with an asterisk"
                ),
            )),
        }
    }

    fn collection(
        &mut self,
        anchor: Option<String>,
        depth: usize,
        line: usize,
        content: fn(&mut Self, usize) -> Contents,
    ) -> Result<Rc<Node>, SyntaxError> {
        check_depth(depth + 1, line)?;
        let weight_before = self.weight;
        self.charge(NODE_WEIGHT, line)?;
        if let Some(name) = &anchor {
            self.anchors.insert(name.clone(), None);
        }
        let (content, height) = content(self, depth + 1)?;
        let node = Rc::new(Node {
            line,
            content,
            height: height + 1,
            weight: self.weight - weight_before,
        });
        // Something within may have taken the name over.
        if let Some(open @ None) = anchor.and_then(|name| self.anchors.get_mut(&name)) {
            *open = Some(node.clone());
        }
        Ok(node)
    }

    /// The rest of a list.
    fn list(&mut self, depth: usize) -> Contents {
        let mut list = Vec::new();
        let mut height = 0;
        loop {
            let event = self.parser.parse()?;
            if event.data == EventData::SequenceEnd {
                return Ok((Content::List(list), height));
            }
            let node = self.node(event, depth)?;
            height = height.max(node.height);
            list.push(node);
        }
    }

    /// The rest of a map.
    fn map(&mut self, depth: usize) -> Contents {
        let mut map = Vec::new();
        let mut height = 0;
        loop {
            let event = self.parser.parse()?;
            if event.data == EventData::MappingEnd {
                return Ok((Content::Map(map), height));
            }
            let key = self.node(event, depth)?;
            let event = self.parser.parse()?;
            let value = self.node(event, depth)?;
            height = height.max(key.height).max(value.height);
            map.push((key, value));
        }
    }

    /// Adds to the weight of the tree.
    fn charge(&mut self, weight: usize, line: usize) -> Result<(), SyntaxError> {
        self.weight = self.weight.saturating_add(weight);
        if self.weight > WEIGHT_MAX {
            let message =
                "the file is too large, its aliases written out: use fewer rules or aliases";
            return Err(SyntaxError::new(line, message));
        }
        Ok(())
    }
}

fn check_depth(depth: usize, line: usize) -> Result<(), SyntaxError> {
    if depth > DEPTH_MAX {
        let message =
            format!("more than {DEPTH_MAX} lists and maps within each other: flatten them");
        return Err(SyntaxError::new(line, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node in one line: lists in brackets, maps in braces.
    fn show(node: &Node) -> String {
        let join = |parts: Vec<String>| parts.join(", ");
        match &node.content {
            Content::Scalar(scalar) => scalar.text().escape_debug().to_string(),
            Content::List(list) => {
                format!("[{}]", join(list.iter().map(|node| show(node)).collect()))
            }
            Content::Map(map) => {
                let entry =
                    |(key, value): &(Rc<Node>, Rc<Node>)| format!("{}: {}", show(key), show(value));
                format!("{{{}}}", join(map.iter().map(entry).collect()))
            }
        }
    }

    fn check_bytes(text: &[u8], tree: &str) {
        let document = parse(text).unwrap();
        let root = document
            .root
            .map_or("nothing".to_owned(), |root| show(&root));
        assert_eq!(root, tree, "{}", text.escape_ascii());
        assert_eq!(document.unread_line, None, "{}", text.escape_ascii());
    }

    fn check(text: &str, tree: &str) {
        check_bytes(text.as_bytes(), tree);
    }

    fn check_error(text: impl AsRef<[u8]>, line: usize, fragment: &str) {
        let error = parse(text.as_ref()).unwrap_err();
        assert!(error.message.contains(fragment), "{}", error.message);
        assert_eq!(error.line, line, "{}", error.message);
    }

    #[test]
    fn trees() {
        check("", "nothing");
        check("# comment", "nothing");
        check("---", "");
        check("a", "a");
        check("a: b", "{a: b}");
        check("a: b\nc:\n- d\n- e: f\n", "{a: b, c: [d, {e: f}]}");
        check(
            "{a: b, c, ? d : e, f: [g, h: i]}",
            "{a: b, c: , d: e, f: [g, {h: i}]}",
        );
        check("a: b\na: c", "{a: b, a: c}");
        check("a: 'it''s'\nb: \"\\u00e9\\t\"", "{a: it\\'s, b: é\\t}");
        check("a: {\nb: c\n}", "{a: {b: c}}");
        check("a: b\r\nc: |\r\n  d\r\n", "{a: b, c: d\\n}");
        check("%YAML 1.1\n%TAG !e! tag:e,\n--- !e!x\na", "a");
    }

    #[test]
    fn anchors() {
        check("[&a x, *a, *a]", "[x, x, x]");
        check("a: &a {b: [c]}\nd: *a", "{a: {b: [c]}, d: {b: [c]}}");
        check("[&a x, &a y, *a]", "[x, y, y]");
        check("[&a [&a x], *a]", "[[x], x]");
        check_error("a: b\nc: *d", 2, "no anchor `&d`");
        check_error("&a [\n*a]", 2, "inside of what it repeats");
        check_error("match: *.a", 1, "quote what starts with an asterisk");
    }

    #[test]
    fn the_last_line_may_lack_its_break() {
        for (text, help) in [
            ("a: |\n  x", "x"),
            ("a: |\n  x\n", "x\\n"),
            ("a: |+\n  x\n\n", "x\\n\\n"),
            ("a: |+\n  x", "x"),
            ("a: |-\n  x", "x"),
            ("a: >\n  x\n  y", "x y"),
            ("a: |\n  x\n  ", "x\\n"),
            ("a: |", ""),
            ("a: x", "x"),
        ] {
            check(text, &format!("{{a: {help}}}"));
        }
        check_error("a: \"\\", 2, "unexpected end of stream");
    }

    #[test]
    fn one_document() {
        fn check(text: &str, tree: &str, unread_line: Option<usize>) {
            let document = parse(text.as_bytes()).unwrap();
            assert_eq!(show(&document.root.unwrap()), tree);
            assert_eq!(document.unread_line, unread_line, "{text}");
        }
        check("a: b\n...\n# c\n", "{a: b}", None);
        check("---\n---\na: b", "", Some(2));
        check("a: b\n...\nc: [", "{a: b}", Some(3));
        check(" a: b\nc: d", "{a: b}", Some(2));
    }

    #[test]
    fn errors_have_lines_and_advice() {
        check_error("a: b\n\tc: d", 2, "indent with spaces");
        check_error("a:\n\t- b", 2, "indent with spaces");
        check_error("a: [b", 2, "a flow sequence that starts in line 1");
        check_error("a: b: c", 1, "quote what contains a colon");
        check_error("a:\n  b: c\n d: e", 3, "did not find expected key");
        check_error("\n\na: \"\\'\"", 3, "remove it before a single quote");
        check_error("\n%YAML 1.2\n---\na: b", 2, "remove the %YAML line");
        check_error("%YAML 2.0\n---\na: b", 1, "remove the %YAML line");
    }

    #[test]
    fn limits() {
        check(
            &format!("{}x{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX)),
            &format!("{}x{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX)),
        );
        for open in ["[", "{a: ", "- ", "? ", "[\n"] {
            let error = parse(open.repeat(100_000).as_bytes()).unwrap_err();
            assert!(error.message.contains("flatten"), "{}", error.message);
        }
        let chain = |from: &str| {
            let next =
                |n: usize| format!("- &a{} [{}]\n", n + 1, from.replace('N', &n.to_string()));
            "- &a0 x\n".to_owned() + &(0..200).map(next).collect::<String>()
        };
        check_error(chain("*aN"), 101, "flatten");
        let error = parse(chain("*aN, *aN").as_bytes()).unwrap_err();
        assert!(error.message.contains("too large"), "{}", error.message);
    }

    /// Token by token, for the scanner has had panics in corners.
    #[test]
    fn no_text_panics() {
        const TOKENS: [&str; 32] = [
            " ",
            "\n",
            "\n  ",
            "- ",
            ": ",
            "? ",
            "[",
            "]",
            "{",
            "}",
            ",",
            "&a ",
            "*a ",
            "!x",
            "!<a,b>",
            "!!str ",
            "|",
            ">",
            "'",
            "\"",
            "\\",
            "a",
            "<<: ",
            "#",
            "---\n",
            "...\n",
            "%TAG ! x\n",
            "\t",
            "\r",
            "\u{2028}",
            "%c3",
            "+1\n",
        ];
        let mut random = 1_u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..1 + random % 24 {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                text.push_str(TOKENS[(random >> 59) as usize]);
            }
            let _ = parse(text.as_bytes());
        }
    }
}
