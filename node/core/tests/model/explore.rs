//! Breadth-first enumeration of everything that can happen, with the shortest way to a violation.

use std::collections::HashMap;
use std::collections::hash_map::{DefaultHasher, Entry};
use std::fmt::Debug;
use std::hash::{Hash, Hasher};

/// A system whose every behaviour is enumerated.
pub(crate) trait System {
    type State: Clone + Hash;
    type Action: Copy + Debug;

    fn first(&self) -> Self::State;
    fn actions(&self, state: &Self::State, into: &mut Vec<Self::Action>);
    /// The state after an action, or `None` where it can do nothing.
    fn next(&self, state: &Self::State, action: Self::Action) -> Option<Self::State>;
    /// What is wrong with a state.
    fn violation(&self, state: &Self::State) -> Option<String>;
    /// Whether a state is one that must be reachable, by its name.
    fn goals(&self, state: &Self::State) -> Vec<&'static str>;
}

/// What an exploration found.
#[derive(Debug)]
pub(crate) struct Explored<A> {
    /// Distinct states.
    pub(crate) states: usize,
    /// Steps from the first state to the farthest one.
    pub(crate) depth: usize,
    /// The first violation, with the actions that lead to it.
    pub(crate) violation: Option<(String, Vec<A>)>,
    /// The goals that were reached.
    pub(crate) goals: Vec<&'static str>,
}

/// Explores every state of `system`, up to the first violation. States are told apart by 64 bits.
pub(crate) fn explore<S: System>(system: &S) -> Explored<S::Action> {
    let first = system.first();
    let mut seen: HashMap<u64, Option<(u64, S::Action)>> = HashMap::new();
    let id = identity(&first);
    seen.insert(id, None);
    let mut level = vec![(id, first)];
    let (mut depth, mut goals, mut actions) = (0, Vec::new(), Vec::new());
    while !level.is_empty() {
        let mut below = Vec::new();
        for (from, state) in &level {
            actions.clear();
            system.actions(state, &mut actions);
            for &action in &actions {
                let Some(next) = system.next(state, action) else { continue };
                let id = identity(&next);
                let Entry::Vacant(vacant) = seen.entry(id) else { continue };
                vacant.insert(Some((*from, action)));
                if let Some(what) = system.violation(&next) {
                    let violation = Some((what, path(&seen, id)));
                    return Explored { states: seen.len(), depth, violation, goals };
                }
                for goal in system.goals(&next) {
                    if !goals.contains(&goal) {
                        goals.push(goal);
                    }
                }
                below.push((id, next));
            }
        }
        level = below;
        depth += 1;
    }
    Explored { states: seen.len(), depth, violation: None, goals }
}

fn identity(state: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

fn path<A: Copy>(seen: &HashMap<u64, Option<(u64, A)>>, mut id: u64) -> Vec<A> {
    let mut path = Vec::new();
    while let Some(Some((from, action))) = seen.get(&id) {
        path.push(*action);
        id = *from;
    }
    path.reverse();
    path
}
