//! Breadth-first search over every situation that can be reached.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::rc::Rc;

use super::disk::Journals;
use super::world::{Bounds, Event, Fault, World};

/// How much there was to look at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) situations: usize,
    events: usize,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} situations, {} events", self.situations, self.events)
    }
}

/// A broken promise, and the shortest way there.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) broken: String,
    pub(super) path: Vec<String>,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, when", self.broken)?;
        self.path.iter().zip(1..).try_for_each(|(step, i)| writeln!(f, "{i:4}  {step}"))
    }
}

/// What was reached, in the order in which it was.
struct Reached {
    places: HashMap<Rc<World>, usize>,
    worlds: Vec<Rc<World>>,
    /// How each was reached first.
    came_from: Vec<Option<(usize, Event)>>,
}

impl Reached {
    fn new(start: World) -> Self {
        let start = Rc::new(start);
        Reached { places: [(Rc::clone(&start), 0)].into(), worlds: vec![start], came_from: vec![None] }
    }

    /// The number of a situation, which is new if it was not reached before.
    fn note(&mut self, world: World, from: usize, event: Event) -> usize {
        let world = Rc::new(world);
        match self.places.entry(Rc::clone(&world)) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(place) => {
                let number = self.worlds.len();
                place.insert(number);
                self.worlds.push(world);
                self.came_from.push(Some((from, event)));
                number
            }
        }
    }

    fn found(&self, broken: String, mut at: usize) -> Found {
        let mut path = Vec::new();
        while let Some((from, event)) = self.came_from[at] {
            path.push(format!("{event}  [{}]", self.worlds[at].summary()));
            at = from;
        }
        path.reverse();
        Found { broken, path }
    }
}

/// Looks at every situation that can be reached within the bounds.
pub(super) fn explore(bounds: Bounds, fault: Fault) -> Result<Size, Found> {
    let mut journals = Journals::default();
    let mut reached = Reached::new(World::new(bounds));
    // Per situation, those that lead to it in the ordinary course of things.
    let mut leads_here: Vec<Vec<usize>> = vec![Vec::new()];
    let mut events = 0;
    let mut at = 0;
    while at < reached.worlds.len() {
        let world = Rc::clone(&reached.worlds[at]);
        if let Some(broken) = world.broken() {
            return Err(reached.found(broken, at));
        }
        let mut is_quiet = true;
        for (event, next) in world.next(&mut journals, fault) {
            events += 1;
            let next = reached.note(next, at, event);
            leads_here.resize_with(reached.worlds.len(), Vec::new);
            if event.is_ordinary() && next != at {
                is_quiet = false;
                leads_here[next].push(at);
            }
        }
        let broken = match world.is_at_rest(&mut journals, fault) {
            true => world.broken_at_rest(),
            false => is_quiet.then(|| "everything stands still before the end".to_owned()),
        };
        if let Some(broken) = broken {
            return Err(reached.found(broken, at));
        }
        at += 1;
    }
    all_come_to_their_end(&reached, &leads_here)?;
    Ok(Size { situations: reached.worlds.len(), events })
}

/// From each situation the ordinary course of things leads to an end.
fn all_come_to_their_end(reached: &Reached, leads_here: &[Vec<usize>]) -> Result<(), Found> {
    let mut ends: Vec<bool> = reached.worlds.iter().map(|world| world.is_at_its_end()).collect();
    let mut open: Vec<usize> = (0..ends.len()).filter(|at| ends[*at]).collect();
    while let Some(at) = open.pop() {
        for from in &leads_here[at] {
            if !std::mem::replace(&mut ends[*from], true) {
                open.push(*from);
            }
        }
    }
    match ends.iter().position(|ends| !ends) {
        Some(at) => Err(reached.found("the message never comes to its end".to_owned(), at)),
        None => Ok(()),
    }
}
