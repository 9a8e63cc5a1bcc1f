//! How streams are named at the destination.

use std::collections::HashMap;

use protocol::StreamDescriptor;

use crate::error::Error;
use crate::sync_file::NamespaceRule;

/// The `namespace` and `prefix` keys of a sync.
#[derive(Clone, Debug)]
pub struct Mapping {
    namespace: NamespaceRule,
    prefix: String,
}

impl Mapping {
    /// A mapping by these two keys.
    #[must_use]
    pub fn new(namespace: NamespaceRule, prefix: &str) -> Self {
        Self { namespace, prefix: prefix.to_owned() }
    }

    /// The stream's name at the destination.
    #[must_use]
    pub fn target(&self, source: &StreamDescriptor) -> StreamDescriptor {
        let from = source.namespace.as_deref().unwrap_or_default();
        let namespace = match &self.namespace {
            NamespaceRule::Source => from.to_owned(),
            NamespaceRule::Destination => String::new(),
            NamespaceRule::Template(template) => template.replace("${SOURCE_NAMESPACE}", from),
        };
        let namespace = Some(namespace.as_str()).filter(|n| !n.trim().is_empty());
        StreamDescriptor::new(namespace, &format!("{}{}", self.prefix, source.name))
    }

    /// The names of all streams, which must stay apart: two streams in one table would
    /// mix, and with overwrite one would replace the other.
    ///
    /// # Errors
    /// When two streams get the same name.
    pub fn targets(&self, sources: &[StreamDescriptor]) -> Result<Vec<StreamDescriptor>, Error> {
        let mut taken: HashMap<StreamDescriptor, &StreamDescriptor> = HashMap::new();
        let mut targets = Vec::with_capacity(sources.len());
        for source in sources {
            let target = self.target(source);
            if let Some(other) = taken.insert(target.clone(), source) {
                return Err(Error::Usage(format!(
                    "streams {other} and {source} would both be written to {target}; choose another namespace, e.g. ${{SOURCE_NAMESPACE}}, or sync them apart"
                )));
            }
            targets.push(target);
        }
        Ok(targets)
    }
}

#[cfg(test)]
mod tests {
    use super::Mapping;
    use crate::sync_file::NamespaceRule;
    use protocol::StreamDescriptor;

    fn map(rule: NamespaceRule, prefix: &str, namespace: Option<&str>) -> StreamDescriptor {
        Mapping::new(rule, prefix).target(&StreamDescriptor::new(namespace, "s"))
    }

    #[test]
    fn follows_the_three_rules() {
        let template = |t: &str| NamespaceRule::Template(t.to_owned());
        let named = |n| StreamDescriptor::new(n, "s");
        assert_eq!(map(NamespaceRule::Source, "", Some("a")), named(Some("a")));
        assert_eq!(map(NamespaceRule::Destination, "", Some("a")), named(None));
        assert_eq!(map(template("x_${SOURCE_NAMESPACE}_y"), "", Some("a")), named(Some("x_a_y")));
        assert_eq!(map(template("${SOURCE_NAMESPACE}"), "", None), named(None));
        assert_eq!(map(NamespaceRule::Source, "ml_", None), StreamDescriptor::new(None, "ml_s"));
    }

    #[test]
    fn refuses_two_streams_under_one_name() {
        let streams = [StreamDescriptor::new(Some("a"), "s"), StreamDescriptor::new(Some("b"), "s")];
        assert!(Mapping::new(NamespaceRule::Source, "").targets(&streams).is_ok());
        let error = Mapping::new(NamespaceRule::Destination, "").targets(&streams).unwrap_err();
        assert!(error.to_string().contains("a.s and b.s"), "{error}");
    }
}
