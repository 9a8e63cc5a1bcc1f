//! Which keys belong to a stream. `*`, `?` and `[…]` stay within one part of the path and do not
//! match a dot in front; `**` as a part of its own stands for any number of parts.

use std::collections::BTreeSet;

/// The patterns of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Globs(Vec<Pattern>);

#[derive(Clone, Debug)]
struct Pattern {
    parts: Vec<Part>,
    /// What stands before the first wildcard.
    prefix: String,
}

#[derive(Clone, Debug)]
enum Part {
    AnyParts,
    Chars(Vec<Piece>),
}

#[derive(Clone, Debug)]
enum Piece {
    Literal(char),
    One,
    Many,
    Class { not: bool, ranges: Vec<(char, char)> },
}

impl Globs {
    pub(crate) fn new(globs: &[String]) -> Self {
        Self(globs.iter().map(|g| Pattern::new(g)).collect())
    }

    pub(crate) fn matches(&self, key: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(key))
    }

    /// The prefixes to list, none of which begins with another.
    pub(crate) fn prefixes(&self, within: &str) -> Vec<String> {
        let longer =
            |p: &Pattern| if p.prefix.starts_with(within) { p.prefix.clone() } else { within.to_owned() };
        let sorted: BTreeSet<String> = self.0.iter().map(longer).collect();
        let mut prefixes: Vec<String> = Vec::new();
        for prefix in sorted {
            if prefixes.last().is_none_or(|last| !prefix.starts_with(last.as_str())) {
                prefixes.push(prefix);
            }
        }
        prefixes
    }
}

impl Pattern {
    fn new(glob: &str) -> Self {
        let glob = glob.strip_prefix('/').unwrap_or(glob);
        let literal = glob.find(['*', '?', '[', '\\']).unwrap_or(glob.len());
        let part = |text: &str| if text == "**" { Part::AnyParts } else { Part::Chars(pieces(text)) };
        Self { parts: glob.split('/').map(part).collect(), prefix: glob[..literal].to_owned() }
    }

    fn matches(&self, key: &str) -> bool {
        if !key.starts_with(&self.prefix) {
            return false;
        }
        let names: Vec<&str> = key.split('/').collect();
        let (mut at, mut name) = (0, 0);
        // The last ** and how many names it has taken: only that one ever needs to take more.
        let mut again: Option<(usize, usize)> = None;
        loop {
            match self.parts.get(at) {
                Some(Part::AnyParts) => {
                    again = Some((at, name));
                    at += 1;
                    // At the end it stands for what is below, which has to be something.
                    if at == self.parts.len() {
                        return name < names.len() && names[name..].iter().all(|n| !n.starts_with('.'));
                    }
                    continue;
                }
                Some(Part::Chars(pieces)) if names.get(name).is_some_and(|n| part_matches(pieces, n)) => {
                    at += 1;
                    name += 1;
                    continue;
                }
                None if name == names.len() => return true,
                _ => {}
            }
            match again {
                Some((any, taken)) if taken < names.len() && !names[taken].starts_with('.') => {
                    again = Some((any, taken + 1));
                    at = any + 1;
                    name = taken + 1;
                }
                _ => return false,
            }
        }
    }
}

fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        pieces.push(match c {
            '*' => {
                if matches!(pieces.last(), Some(Piece::Many)) {
                    continue;
                }
                Piece::Many
            }
            '?' => Piece::One,
            '\\' => Piece::Literal(chars.next().unwrap_or('\\')),
            '[' => match class(chars.as_str()) {
                Some((class, rest)) => {
                    chars = rest.chars();
                    class
                }
                None => Piece::Literal('['),
            },
            other => Piece::Literal(other),
        });
    }
    pieces
}

/// What stands behind `[`, and what behind its `]`; `None` when there is none.
fn class(text: &str) -> Option<(Piece, &str)> {
    let not = text.starts_with(['!', '^']);
    let body = if not { &text[1..] } else { text };
    // A ] that stands first is one of the characters.
    let end = body.char_indices().skip(1).find(|(_, c)| *c == ']')?.0;
    let chars: Vec<char> = body[..end].chars().collect();
    let mut ranges = Vec::new();
    let mut i = 0;
    while i < chars.len() {
        if chars.get(i + 1) == Some(&'-') && i + 2 < chars.len() {
            ranges.push((chars[i], chars[i + 2]));
            i += 3;
        } else {
            ranges.push((chars[i], chars[i]));
            i += 1;
        }
    }
    Some((Piece::Class { not, ranges }, &body[end + 1..]))
}

fn part_matches(pieces: &[Piece], name: &str) -> bool {
    if name.starts_with('.') && !matches!(pieces.first(), Some(Piece::Literal('.'))) {
        return false;
    }
    let chars: Vec<char> = name.chars().collect();
    let (mut at, mut i) = (0, 0);
    let mut again: Option<(usize, usize)> = None;
    loop {
        match pieces.get(at) {
            Some(Piece::Many) => {
                again = Some((at, i));
                at += 1;
                continue;
            }
            Some(piece) if chars.get(i).is_some_and(|c| one_matches(piece, *c)) => {
                at += 1;
                i += 1;
                continue;
            }
            None if i == chars.len() => return true,
            _ => {}
        }
        match again {
            Some((many, taken)) if taken < chars.len() => {
                again = Some((many, taken + 1));
                at = many + 1;
                i = taken + 1;
            }
            _ => return false,
        }
    }
}

fn one_matches(piece: &Piece, c: char) -> bool {
    match piece {
        Piece::Literal(l) => *l == c,
        Piece::One | Piece::Many => true,
        Piece::Class { not, ranges } => ranges.iter().any(|(a, b)| (*a..=*b).contains(&c)) != *not,
    }
}

#[cfg(test)]
mod tests {
    use super::Globs;

    fn globs(patterns: &[&str]) -> Globs {
        Globs::new(&patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn s3_15_a_glob_matches_exactly_what_it_says() {
        for (pattern, key, expected) in [
            ("**", "a", true),
            ("**", "a/b/c.csv", true),
            ("**", ".hidden", false),
            ("**", "a/.hidden/b", false),
            ("*", "a/b", false),
            ("*", "a", true),
            ("**/*.csv", "a.csv", true),
            ("**/*.csv", "x/y/a.csv", true),
            ("**/*.csv", "x/y/a.csv.gz", false),
            ("a/**", "a/b", true),
            ("a/**", "a-1/b", false),
            ("a/*", "a/b/c", false),
            ("a/**/z/*.csv", "a/z/1.csv", true),
            ("a/**/z/*.csv", "a/b/z/c/z/1.csv", true),
            ("a/**/z/*.csv", "a/b/z/c/1.csv", false),
            ("?.csv", "é.csv", true),
            ("?.csv", "ab.csv", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]x", "]x", true),
            ("a[x", "a[x", true),
            ("\\*.csv", "*.csv", true),
            ("\\*.csv", "a.csv", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("data 2%2F+ü/*", "data 2%2F+ü/f", true),
            ("a**b", "axxb", true),
            ("a**b", "ax/xb", false),
        ] {
            assert_eq!(globs(&[pattern]).matches(key), expected, "{pattern} {key}");
        }
    }

    #[test]
    fn only_what_can_match_is_listed_and_only_once() {
        assert_eq!(globs(&["**"]).prefixes(""), [""]);
        assert_eq!(globs(&["a/b*.csv", "a/*.csv", "c/x.csv"]).prefixes(""), ["a/", "c/x.csv"]);
        assert_eq!(globs(&["**/*.csv"]).prefixes("old/"), ["old/"]);
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = format!("{}b", "*a".repeat(40));
        assert!(!globs(&[&pattern]).matches(&"a".repeat(400)));
        let pattern = format!("{}x", "**/a/".repeat(40));
        assert!(!globs(&[&pattern]).matches(&"a/".repeat(400)));
    }
}
