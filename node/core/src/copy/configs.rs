//! Which settings of a topic its copy is given, and which are taken from it again.

use std::collections::BTreeMap;

use tidewire_shared::spec::SyncConfigs;

/// What of a topic's own settings its copy is given when it is made, and again when they change.
#[must_use]
pub fn carried(mut own: BTreeMap<String, String>, sync: &SyncConfigs) -> BTreeMap<String, String> {
    own.retain(|name, _| is_carried(name, sync));
    own
}

/// What has to be changed at a copy: what its original has otherwise, and what that had at the last look and
/// has no more. A setting that was made at the copy alone, or changed there since, is nobody's but theirs
/// who did it.
#[must_use]
pub fn differing(
    wanted: &BTreeMap<String, String>,
    before: Option<&BTreeMap<String, String>>,
    present: &BTreeMap<String, String>,
) -> BTreeMap<String, Option<String>> {
    let made = wanted.iter().filter(|(name, value)| present.get(*name) != Some(value));
    let made = made.map(|(name, value)| (name.clone(), Some(value.clone())));
    let given = |name: &String, value: &String| {
        !wanted.contains_key(name) && present.get(name) == Some(value)
    };
    let gone = before.into_iter().flatten().filter(|(name, value)| given(name, value));
    made.chain(gone.map(|(name, _)| (name.clone(), None))).collect()
}

/// Whether a copy is given a setting that was made for its original.
#[must_use]
pub fn is_carried(name: &str, sync: &SyncConfigs) -> bool {
    !sync.exclude.iter().any(|excluded| excluded == name) && !is_of_its_cluster(name)
}

/// Names replicas by the numbers of brokers, which are others at the target.
fn is_of_its_cluster(name: &str) -> bool {
    name.ends_with(".throttled.replicas")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_original_drops_is_taken_from_the_copy_unless_that_has_its_own() {
        let config = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let before =
            config(&[("cleanup.policy", "compact"), ("segment.ms", "1"), ("flush.ms", "7")]);
        let wanted = config(&[("segment.ms", "2")]);
        let present = config(&[
            ("cleanup.policy", "compact"),
            ("segment.ms", "1"),
            ("flush.ms", "8"),
            ("segment.bytes", "9"),
        ]);
        let changes = differing(&wanted, Some(&before), &present);
        let expected = [("cleanup.policy", None), ("segment.ms", Some("2"))];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.map(str::to_owned)));
        assert_eq!(changes, expected.into());
        let first = differing(&wanted, None, &present);
        assert_eq!(first.keys().collect::<Vec<_>>(), ["segment.ms"], "nothing is known to be gone");
    }

    #[test]
    fn what_is_excluded_or_names_brokers_stays() {
        let own = ["retention.ms", "segment.ms", "leader.replication.throttled.replicas"];
        let own = own.map(|name| (name.to_owned(), "1".to_owned())).into();
        let carried = carried(own, &SyncConfigs::default());
        assert_eq!(carried.keys().collect::<Vec<_>>(), ["segment.ms"]);
    }
}
