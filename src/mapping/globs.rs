//! All glob rules as one automaton.
//!
//! The patterns are put into a tree, one level a segment, where `*` is an edge
//! of its own beside the literal ones. A name walks every path that fits it:
//!
//! ```text
//!  rules  1  a.b.*        root ─a─┬─b─┬─*─ (1)
//!         2  a.*.c                │   └─d─ (3)
//!         3  a.b.d                └─*───c─ (2)
//! ```
//!
//! `a.b.d` walks to (3) and (1); `a.b.c` to (1) and (2). In the default, ordered
//! mode the rule that stands first in the file wins. With
//! `glob_disable_ordering` the walk prefers literal edges and the first rule it
//! meets wins: the most specific one, read from the left.
//!
//! Each node knows the lengths of the patterns below it and the first rule below
//! it for each type, so that a walk turns back where nothing can be won. A node
//! is visited at most once, so a walk is never longer than the tree is large.
//!
//! One oddity of the reference is kept, since metrics got their names by it: a
//! pattern that is the beginning of an earlier, longer one is never reached
//! (`a.b` behind `a.b.c`). [`Globs::shadow_of`] finds such rules, so that the
//! user is told. It does not hold for rules with conditions of their own, such as
//! a tag: those stand beside each other at the end of the same pattern, and the
//! caller says which of them accept a sample.

use std::collections::HashMap;

use ahash::RandomState;

use crate::statsd::StatType;

/// No rule, or none yet: later than every rule.
const NO_RULE: u32 = u32::MAX;

/// See the module's documentation.
#[derive(Debug)]
pub struct Globs {
    ordered: bool,
    nodes: Vec<Node>,
    patterns: HashMap<u32, Pattern, RandomState>,
}

#[derive(Debug)]
struct Node {
    literals: HashMap<Box<str>, usize, RandomState>,
    star: Option<usize>,
    /// Shortest and longest way from here to the end of a pattern, in segments.
    remaining: (usize, usize),
    /// The rules whose pattern ends here and that can be reached, by type.
    rules: [Vec<u32>; StatType::ALL.len()],
    /// The first rule that ends here or below, by type.
    first_below: [u32; StatType::ALL.len()],
    /// The same among the rules without conditions.
    first_plain_below: [u32; StatType::ALL.len()],
}

#[derive(Debug)]
struct Pattern {
    segments: Box<[Box<str>]>,
    stats: Box<[StatType]>,
    is_conditional: bool,
}

/// How a rule keeps a later one from being reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shadow {
    /// Its pattern is the same, or begins with the later rule's pattern.
    Begins(u32),
    /// It fits every name that the later rule fits.
    Covers(u32),
}

impl Globs {
    /// An automaton without rules.
    pub fn new(ordered: bool) -> Globs {
        Globs {
            ordered,
            nodes: vec![Node::new()],
            patterns: HashMap::default(),
        }
    }

    /// Adds the rule of index `rule`, which must be larger than those before;
    /// `stat` restricts it to a type. Of equal patterns the first one without
    /// conditions ends the list, and no pattern counts that is the beginning
    /// of an earlier one of that kind.
    pub fn add(&mut self, rule: u32, pattern: &str, stat: Option<StatType>, is_conditional: bool) {
        let segments: Box<[Box<str>]> = pattern.split('.').map(Box::from).collect();
        let stats: Box<[StatType]> = match stat {
            Some(stat) => Box::from([stat]),
            None => Box::from(StatType::ALL),
        };
        let mut at = 0;
        let reachable = self.reachable(&segments, &stats);
        self.nodes[at].note(rule, &stats, segments.len(), is_conditional);
        for (index, segment) in segments.iter().enumerate() {
            at = self.child(at, segment);
            let remaining = segments.len() - index - 1;
            self.nodes[at].note(rule, &stats, remaining, is_conditional);
        }
        for stat in reachable {
            self.nodes[at].rules[stat as usize].push(rule);
        }
        self.patterns.insert(
            rule,
            Pattern {
                segments,
                stats,
                is_conditional,
            },
        );
    }

    /// The types for which a new rule of this pattern can be reached.
    fn reachable(&self, segments: &[Box<str>], stats: &[StatType]) -> Vec<StatType> {
        let segments: Vec<&str> = segments.iter().map(|segment| &**segment).collect();
        let first = self.end(&segments).map(|end| end.first_plain_below);
        let is_free =
            |stat: &&StatType| first.is_none_or(|first| first[**stat as usize] == NO_RULE);
        stats.iter().filter(is_free).copied().collect()
    }

    /// The rule for a name, given as its segments, among those that `accept`
    /// takes.
    pub fn find(
        &self,
        segments: &[&str],
        stat: StatType,
        accept: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let literal = |segment: &str, node: &Node| node.literals.get(segment).copied();
        self.walk(segments, stat, NO_RULE, literal, accept)
    }

    /// The pieces of a name that a rule's stars match, in order.
    pub fn captures<'n>(&self, rule: u32, segments: &[&'n str]) -> Vec<&'n str> {
        let pattern = self.patterns.get(&rule);
        let stars = pattern.into_iter().flat_map(|pattern| &pattern.segments);
        segments
            .iter()
            .zip(stars)
            .filter(|(_, star)| &***star == "*")
            .map(|(segment, _)| *segment)
            .collect()
    }

    /// The earlier rule that keeps a rule from ever being reached, for every
    /// type it is for; of several that share the work the last.
    pub fn shadow_of(&self, rule: u32) -> Option<Shadow> {
        let pattern = self.patterns.get(&rule)?;
        let segments: Vec<&str> = pattern.segments.iter().map(|segment| &**segment).collect();
        let shadows = pattern.stats.iter().map(|stat| {
            let end = self.end(&segments)?;
            let first = end.first_plain_below[*stat as usize];
            if first < rule {
                return Some(Shadow::Begins(first));
            }
            self.covering(&segments, *stat, rule).map(Shadow::Covers)
        });
        shadows.collect::<Option<Vec<Shadow>>>()?.into_iter().max()
    }

    /// Whether samples of a type can reach a rule at all.
    pub fn is_reachable(&self, rule: u32, stat: StatType) -> bool {
        self.patterns.get(&rule).is_some_and(|pattern| {
            let segments: Vec<&str> = pattern.segments.iter().map(|segment| &**segment).collect();
            self.end(&segments)
                .is_some_and(|end| end.rules[stat as usize].contains(&rule))
        })
    }

    /// The first rule before `limit` that takes, without conditions, whatever a
    /// pattern of these segments fits. None without order, where that one comes
    /// later.
    fn covering(&self, segments: &[&str], stat: StatType, limit: u32) -> Option<u32> {
        if !self.ordered {
            return None;
        }
        let literal = |segment: &str, node: &Node| {
            // Only a star covers a star.
            let literal = node.literals.get(segment).filter(|_| segment != "*");
            literal.copied()
        };
        self.walk(segments, stat, limit, literal, |rule| {
            !self.patterns[&rule].is_conditional
        })
    }

    /// The node where a pattern ends, if one was added that goes as far.
    fn end(&self, segments: &[&str]) -> Option<&Node> {
        segments.iter().try_fold(&self.nodes[0], |node, segment| {
            let literal = node.literals.get(*segment).copied();
            let child = if *segment == "*" { node.star } else { literal };
            child.map(|child| &self.nodes[child])
        })
    }

    /// The rule that wins among those before `limit` that `accept` takes, where
    /// `literal` says which literal edge a segment may take besides the star.
    fn walk(
        &self,
        segments: &[&str],
        stat: StatType,
        limit: u32,
        literal: impl Fn(&str, &Node) -> Option<usize>,
        accept: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let stat = stat as usize;
        let mut best = limit;
        // A stack instead of recursion: a datagram may hold 60,000 segments.
        let mut open = vec![(0, 0)];
        while let Some((at, depth)) = open.pop() {
            let node = &self.nodes[at];
            let left = segments.len() - depth;
            let fits = node.remaining.0 <= left && left <= node.remaining.1;
            if !fits || node.first_below[stat] >= best {
                continue;
            }
            let Some(segment) = segments.get(depth) else {
                let mut rules = node.rules[stat].iter().take_while(|rule| **rule < best);
                best = rules.find(|rule| accept(**rule)).copied().unwrap_or(best);
                if !self.ordered && best < limit {
                    break;
                }
                continue;
            };
            // Last in, first out: the literal edge is walked first.
            open.extend(node.star.map(|star| (star, depth + 1)));
            open.extend(literal(segment, node).map(|child| (child, depth + 1)));
        }
        (best < limit).then_some(best)
    }

    fn child(&mut self, parent: usize, segment: &str) -> usize {
        let new = self.nodes.len();
        let node = &mut self.nodes[parent];
        let child = if segment == "*" {
            *node.star.get_or_insert(new)
        } else {
            *node.literals.entry(Box::from(segment)).or_insert(new)
        };
        if child == new {
            self.nodes.push(Node::new());
        }
        child
    }

    /// The automaton as a Graphviz digraph, nodes numbered breadth first. Rules
    /// are named by `name`.
    pub fn to_dot(&self, name: impl Fn(u32) -> String) -> String {
        let mut dot = String::from("digraph rules {\nrankdir=LR;\n0 [label=\"\",shape=point];\n");
        let mut queue = std::collections::VecDeque::from([(0, 0)]);
        let mut last = 0;
        while let Some((at, number)) = queue.pop_front() {
            let node = &self.nodes[at];
            let mut edges: Vec<(&str, usize)> = node
                .literals
                .iter()
                .map(|(segment, child)| (&**segment, *child))
                .collect();
            edges.sort_unstable();
            edges.extend(node.star.map(|star| ("*", star)));
            for (segment, child) in edges {
                last += 1;
                let mut rules = self.nodes[child].rules.concat();
                rules.sort_unstable();
                rules.dedup();
                let label = rules.into_iter().map(&name).collect::<Vec<_>>().join("\\n");
                let style = if label.is_empty() {
                    "shape=circle"
                } else {
                    "shape=box,style=filled,fillcolor=gray"
                };
                dot += &format!("{last} [label=\"{label}\",{style}];\n");
                dot += &format!("{number} -> {last} [label=\"{segment}\"];\n");
                queue.push_back((child, last));
            }
        }
        dot + "}\n"
    }
}

impl Node {
    fn new() -> Node {
        Node {
            literals: HashMap::default(),
            star: None,
            remaining: (usize::MAX, 0),
            rules: Default::default(),
            first_below: [NO_RULE; StatType::ALL.len()],
            first_plain_below: [NO_RULE; StatType::ALL.len()],
        }
    }

    /// Notes that a pattern passes through with `remaining` segments to go.
    fn note(&mut self, rule: u32, stats: &[StatType], remaining: usize, is_conditional: bool) {
        self.remaining.0 = self.remaining.0.min(remaining);
        self.remaining.1 = self.remaining.1.max(remaining);
        for stat in stats {
            let first = &mut self.first_below[*stat as usize];
            *first = rule.min(*first);
            if !is_conditional {
                let first = &mut self.first_plain_below[*stat as usize];
                *first = rule.min(*first);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn globs(ordered: bool, patterns: &[&str]) -> Globs {
        let mut globs = Globs::new(ordered);
        for (index, pattern) in patterns.iter().enumerate() {
            let (pattern, stat) = match pattern.split_once(' ') {
                Some((pattern, "counter")) => (pattern, Some(StatType::Counter)),
                Some((pattern, "gauge")) => (pattern, Some(StatType::Gauge)),
                _ => (*pattern, None),
            };
            let conditional = pattern.strip_prefix('?');
            let pattern_only = conditional.unwrap_or(pattern);
            globs.add(index as u32, pattern_only, stat, conditional.is_some());
        }
        globs
    }

    fn find(globs: &Globs, name: &str) -> Option<u32> {
        let segments: Vec<&str> = name.split('.').collect();
        globs.find(&segments, StatType::Counter, |_| true)
    }

    /// Patterns, then names with the index of the rule that takes them.
    fn check(ordered: bool, patterns: &[&str], names: &[(&str, Option<u32>)]) {
        let globs = globs(ordered, patterns);
        for (name, rule) in names {
            assert_eq!(find(&globs, name), *rule, "{name} in {patterns:?}");
        }
    }

    #[test]
    fn the_first_rule_in_the_file_wins() {
        check(
            true,
            &["a.*.c", "a.b.*", "a.b.c", "*.b.c"],
            &[
                ("a.b.c", Some(0)),
                ("a.x.c", Some(0)),
                ("a.b.x", Some(1)),
                ("x.b.c", Some(3)),
                ("a.x.y", None),
                ("a.b", None),
                ("a.b.c.d", None),
                ("", None),
            ],
        );
        check(true, &["a.*", "a.b", "a.*"], &[("a.b", Some(0))]);
    }

    #[test]
    fn the_beginning_of_an_earlier_rule_is_never_reached() {
        check(
            true,
            &["a.b.c", "a.b", "x.*.z", "x.*"],
            &[("a.b.c", Some(0)), ("a.b", None), ("x.y", None)],
        );
        check(
            true,
            &["a.b", "a.b.c", "d.e.f gauge", "d.e"],
            &[("a.b", Some(0)), ("a.b.c", Some(1)), ("d.e", Some(3))],
        );
    }

    #[test]
    fn without_order_the_most_specific_wins() {
        check(
            false,
            &["a.*.*", "a.*.c", "a.b.d", "*.b.c"],
            &[
                ("a.b.d", Some(2)),
                // The literal way is a dead end; the star is still tried.
                ("a.b.c", Some(1)),
                ("a.b.e", Some(0)),
                ("x.b.c", Some(3)),
            ],
        );
    }

    #[test]
    fn types_are_apart() {
        check(
            true,
            &["a.* gauge", "a.b counter", "a.*"],
            &[("a.b", Some(1)), ("a.c", Some(2))],
        );
    }

    #[test]
    fn stars_match_any_one_segment() {
        check(
            true,
            &["*", "a.*"],
            &[
                ("", Some(0)),
                ("a", Some(0)),
                ("a.", Some(1)),
                ("a.*", Some(1)),
            ],
        );
        let globs = globs(true, &["a.*.c.*"]);
        assert_eq!(globs.captures(0, &["a", "*", "c", ""]), ["*", ""]);
    }

    #[test]
    fn rules_with_conditions_stand_beside_each_other() {
        let globs = globs(true, &["?a.b.c", "?a.b", "?a.b", "a.b", "?a.b", "a.*"]);
        let find = |name: &str, accept: &[u32]| {
            let segments: Vec<&str> = name.split('.').collect();
            globs.find(&segments, StatType::Counter, |rule| accept.contains(&rule))
        };
        assert_eq!(find("a.b", &[0, 1, 2, 3, 4, 5]), Some(1));
        assert_eq!(find("a.b", &[2, 3]), Some(2));
        assert_eq!(find("a.b", &[3, 5]), Some(3));
        // Behind one without conditions there is nothing to win.
        assert_eq!(find("a.b", &[4]), None);
        assert_eq!(find("a.b.c", &[0]), Some(0));
        assert_eq!(find("a.x", &[5]), Some(5));
        let shadows: Vec<Option<Shadow>> = (0..6).map(|rule| globs.shadow_of(rule)).collect();
        let begins = Some(Shadow::Begins(3));
        assert_eq!(shadows, [None, None, None, None, begins, None]);
        assert!(!globs.is_reachable(4, StatType::Gauge));
    }

    #[test]
    fn long_names_do_not_hurt() {
        let name = "a.".repeat(40_000);
        check(true, &["a.*.*", "a.*"], &[(&name, None)]);
    }

    #[test]
    fn rules_that_are_never_reached() {
        use Shadow::*;
        for (patterns, ordered, unordered) in [
            (&["a.*", "a.b"][..], Some(Covers(0)), None),
            (&["a.b", "a.*"], None, None),
            (&["a.b", "a.b"], Some(Begins(0)), Some(Begins(0))),
            (&["a.b.c", "a.b"], Some(Begins(0)), Some(Begins(0))),
            (&["a.* gauge", "a.b"], None, None),
            (&["a.* gauge", "a.b gauge"], Some(Covers(0)), None),
            (&["a.b.c gauge", "a.b"], None, None),
            (&["a.*.c", "a.b.*"], None, None),
        ] {
            let last = patterns.len() as u32 - 1;
            assert_eq!(
                globs(true, patterns).shadow_of(last),
                ordered,
                "{patterns:?}"
            );
            assert_eq!(
                globs(false, patterns).shadow_of(last),
                unordered,
                "{patterns:?}"
            );
        }
    }

    #[test]
    fn the_dump_names_edges_and_rules() {
        let dot = globs(true, &["a.*", "a.b"]).to_dot(|rule| format!("r{rule}"));
        for part in [
            "0 -> 1 [label=\"a\"]",
            "1 -> 2 [label=\"b\"]",
            "label=\"r1\"",
            "label=\"*\"",
        ] {
            assert!(dot.contains(part), "{part} in {dot}");
        }
    }

    proptest! {
        /// Ordered mode is "the first pattern that matches", but for patterns
        /// that are the beginning of earlier ones.
        #[test]
        fn ordered_is_first_match(
            patterns in prop::collection::vec("(a|b|\\*)(\\.(a|b|\\*)){0,3}", 1..12),
            name in "(a|b|c)(\\.(a|b|c|)){0,3}",
        ) {
            let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
            let segments: Vec<&str> = name.split('.').collect();
            let matches = |pattern: &str| {
                let pattern: Vec<&str> = pattern.split('.').collect();
                pattern.len() == segments.len()
                    && pattern.iter().zip(&segments).all(|(p, s)| *p == "*" || p == s)
            };
            let is_reached = |index: usize| {
                let begins = |earlier: &&str| format!("{earlier}.").starts_with(&format!("{}.", patterns[index]));
                !patterns[..index].iter().any(begins)
            };
            let expect = (0..patterns.len())
                .find(|index| is_reached(*index) && matches(patterns[*index]))
                .map(|index| index as u32);
            prop_assert_eq!(find(&globs(true, &patterns), &name), expect);
            // And without order something matches exactly when something does.
            prop_assert_eq!(find(&globs(false, &patterns), &name).is_some(), expect.is_some());
        }
    }
}
