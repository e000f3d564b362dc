//! From tags to labels.

use std::borrow::Cow;

use super::escape::escape;
use super::rules::OwnText;

/// Legal label names, ascending, each once, with their values.
pub(super) type Labels<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// What a rule changes about tags before they are labels.
#[derive(Debug, Default)]
pub(super) struct TagEdits {
    /// Keys and the labels they become.
    renames: Box<[(Box<str>, Box<str>)]>,
    drops: Box<[Box<str>]>,
}

impl TagEdits {
    /// What `own` says, and `defaults` where that says nothing.
    pub(super) fn new(own: &OwnText, defaults: &OwnText) -> TagEdits {
        let of = || [own, defaults].into_iter();
        TagEdits {
            renames: of()
                .flat_map(|of| &of.rename_tags)
                .map(|(key, label)| (key.as_str().into(), label.as_str().into()))
                .collect(),
            drops: of()
                .flat_map(|of| &of.drop_tags)
                .map(|key| key.as_str().into())
                .collect(),
        }
    }

    /// Tags as labels: keys edited and made legal, ascending, of equal ones the
    /// last.
    pub(super) fn labels<'a>(&'a self, tags: &[(&'a str, &'a str)]) -> Labels<'a> {
        let kept = tags
            .iter()
            .filter(|(key, _)| !self.drops.iter().any(|drop| **drop == **key));
        let mut labels: Labels<'a> = kept
            .map(|(key, value)| (escape(self.renamed(key)), Cow::Borrowed(*value)))
            .collect();
        labels.sort_by(|a, b| a.0.cmp(&b.0));
        // The sort keeps equal keys in order, so the later one is the one to keep.
        labels.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                std::mem::swap(&mut later.1, &mut kept.1);
            }
            same
        });
        labels
    }

    fn renamed<'a>(&'a self, key: &'a str) -> &'a str {
        let mut renames = self.renames.iter();
        let found = renames.find(|(old, _)| **old == *key);
        found.map_or(key, |(_, new)| new)
    }
}

/// Sets a label; `keeps` says whether one that is there stays as it is.
pub(super) fn set<'a>(labels: &mut Labels<'a>, name: &'a str, value: Cow<'a, str>, keeps: bool) {
    match labels.binary_search_by(|(label, _)| (**label).cmp(name)) {
        Ok(_) if keeps => {}
        Ok(at) => labels[at].1 = value,
        Err(at) => labels.insert(at, (Cow::Borrowed(name), value)),
    }
}
