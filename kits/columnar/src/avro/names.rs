//! Names as Avro allows them: letters, digits and underscores, no digit first.

use std::collections::HashSet;

/// Names of one kind that must differ: the fields of a record, or all records.
#[derive(Debug, Default)]
pub(super) struct Names(HashSet<String>);

impl Names {
    /// The name with every other character replaced by an underscore, and a number after it where an
    /// earlier one has become the same.
    pub(super) fn take(&mut self, name: &str) -> String {
        let plain = plain(name);
        let mut taken = plain.clone();
        let mut nth = 1_u32;
        while !self.0.insert(taken.clone()) {
            nth += 1;
            taken = format!("{plain}_{nth}");
        }
        taken
    }
}

pub(super) fn plain(name: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
    let mut plain: String = name.chars().map(fits).collect();
    if !plain.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        plain.insert(0, '_');
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::Names;

    #[test]
    fn names_that_become_the_same_are_told_apart() {
        let mut names = Names::default();
        for (name, expected) in [
            ("id", "id"),
            ("a b", "a_b"),
            ("a-b", "a_b_2"),
            ("a_b_2", "a_b_2_2"),
            ("1st", "_1st"),
            ("", "_"),
            ("é", "__2"),
        ] {
            assert_eq!(names.take(name), expected, "{name}");
        }
    }
}
