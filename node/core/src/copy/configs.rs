//! Which settings of a topic its copy is given.

use std::collections::BTreeMap;

use tidewire_shared::spec::SyncConfigs;

/// What of a topic's own settings its copy is given when it is made, and again when they change.
#[must_use]
pub fn carried(mut own: BTreeMap<String, String>, sync: &SyncConfigs) -> BTreeMap<String, String> {
    own.retain(|name, _| is_carried(name, sync));
    own
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
    fn what_is_excluded_or_names_brokers_stays() {
        let own = ["retention.ms", "segment.ms", "leader.replication.throttled.replicas"];
        let own = own.map(|name| (name.to_owned(), "1".to_owned())).into();
        let carried = carried(own, &SyncConfigs::default());
        assert_eq!(carried.keys().collect::<Vec<_>>(), ["segment.ms"]);
    }
}
