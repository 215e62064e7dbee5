//! What is done to whom, and when: drawn from a seed, so that a campaign can be run again.

use std::fmt;
use std::time::Duration;

use muster_simulator::{Delay, Faults};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

/// Nodes of a campaign: an agent and a gateway each.
pub(super) const NODES: usize = 2;

/// Bots of a campaign, over all nodes.
pub(super) const BOTS: usize = 12;

/// A process that is disturbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Server,
    /// The agent of a node.
    Agent(usize),
    Simulator,
}

impl Target {
    pub(super) const ALL: [Target; 4] = [Target::Server, Target::Agent(0), Target::Agent(1), Target::Simulator];
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Server => f.write_str("server"),
            Target::Agent(node) => write!(f, "agent {node}"),
            Target::Simulator => f.write_str("simulator"),
        }
    }
}

/// What is done to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blow {
    /// `kill -9`, and a new start after the time.
    Kill,
    /// `SIGSTOP`, and `SIGCONT` after the time.
    Freeze,
}

/// One disturbance of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Disturbance {
    /// When it begins, from the begin of the campaign.
    pub(super) at: Duration,
    pub(super) blow: Blow,
    /// How long it lasts.
    pub(super) lasts: Duration,
}

/// Something that goes wrong at a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Every call takes longer.
    Slow,
    /// Calls are refused before anything is sent.
    Refuses,
    /// Calls are never answered, and nothing is sent.
    HangsBefore,
    /// Calls are never answered, and everything is sent.
    HangsAfter,
    /// Connections are reset, and nothing is sent.
    ResetsBefore,
    /// Connections are reset, and everything is sent.
    ResetsAfter,
    /// Webhooks get lost.
    DropsWebhooks,
    /// Webhooks come twice.
    DoublesWebhooks,
    /// Webhooks come late and out of order.
    DelaysWebhooks,
}

impl Trouble {
    const ALL: [Trouble; 9] = [
        Trouble::Slow,
        Trouble::Refuses,
        Trouble::HangsBefore,
        Trouble::HangsAfter,
        Trouble::ResetsBefore,
        Trouble::ResetsAfter,
        Trouble::DropsWebhooks,
        Trouble::DoublesWebhooks,
        Trouble::DelaysWebhooks,
    ];

    /// The simulator's settings for it.
    pub(super) fn faults(self) -> Faults {
        let mut faults = Faults::default();
        match self {
            Trouble::Slow => faults.latency = Some(Delay::LogNormalMs { p50: 100, p99: 1_500 }),
            Trouble::Refuses => faults.send.connection_closed_500 = 0.5,
            Trouble::HangsBefore => faults.send.hang_before = 0.1,
            Trouble::HangsAfter => faults.send.hang_after = 0.1,
            Trouble::ResetsBefore => faults.send.reset_before = 0.3,
            Trouble::ResetsAfter => faults.send.reset_after = 0.3,
            Trouble::DropsWebhooks => faults.webhooks.drop = 0.7,
            Trouble::DoublesWebhooks => faults.webhooks.double = 0.7,
            Trouble::DelaysWebhooks => {
                faults.webhooks.late = 0.4;
                faults.webhooks.late_by = Delay::UniformMs(100, 3_000);
                faults.webhooks.out_of_order = 0.4;
            }
        }
        faults
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trouble::Slow => "is slow",
            Trouble::Refuses => "refuses",
            Trouble::HangsBefore => "hangs before it sends",
            Trouble::HangsAfter => "hangs after it sent",
            Trouble::ResetsBefore => "resets before it sends",
            Trouble::ResetsAfter => "resets after it sent",
            Trouble::DropsWebhooks => "drops webhooks",
            Trouble::DoublesWebhooks => "doubles webhooks",
            Trouble::DelaysWebhooks => "delays webhooks",
        })
    }
}

/// A time of trouble at a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spell {
    /// When it begins, from the begin of the campaign.
    pub(super) at: Duration,
    pub(super) trouble: Trouble,
    /// How long it lasts.
    pub(super) lasts: Duration,
}

/// What an operator asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// A node takes no new work for the time.
    Cordon(usize),
    /// A node is emptied, and takes no new work for the time.
    Drain(usize),
    /// A bot moves to the gateway of a node, and stays there.
    Move { bot: usize, to: usize },
}

/// One thing that an operator asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Errand {
    /// When it begins, from the begin of the campaign; later if the one before is not done by then.
    pub(super) at: Duration,
    pub(super) order: Order,
    /// How long it lasts.
    pub(super) lasts: Duration,
}

/// Operators of a campaign: one looks after the nodes, the other one after the bots.
pub(super) const OPERATORS: usize = 2;

/// A campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// For each of [`Target::ALL`], what is done to it, in order, never two at once.
    pub(super) disturbances: [Vec<Disturbance>; Target::ALL.len()],
    /// For each gateway, its troubles, in order, never two at once.
    pub(super) spells: [Vec<Spell>; NODES],
    /// For each operator, what is asked for, in order.
    pub(super) errands: [Vec<Errand>; OPERATORS],
}

impl Plan {
    /// Draws a campaign of a length from a seed. What happens to one process does not depend on the others.
    pub(super) fn draw(seed: u64, length: Duration) -> Self {
        let track = |number: u64| StdRng::seed_from_u64(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(number));
        let target = |number: usize| disturbances(&mut track(number as u64), length);
        let gateway = |number: usize| spells(&mut track((Target::ALL.len() + number) as u64), length);
        let operator = |number: usize| track((Target::ALL.len() + NODES + number) as u64);
        Self {
            disturbances: std::array::from_fn(target),
            spells: std::array::from_fn(gateway),
            errands: [node_errands(&mut operator(0), length), moves(&mut operator(1), length)],
        }
    }
}

fn disturbances(rng: &mut StdRng, length: Duration) -> Vec<Disturbance> {
    let draw = |rng: &mut StdRng| {
        let blow = *[Blow::Kill, Blow::Freeze].choose(rng).unwrap_or(&Blow::Kill);
        // One in five lasts longer than sessions may be silent, so that the other side gives up first.
        let lasts = if rng.random_bool(0.2) { rng.random_range(2_500..5_000) } else { rng.random_range(20..1_200) };
        (blow, lasts)
    };
    in_sequence(rng, length, 400..4_500, draw)
        .map(|(at, (blow, lasts))| Disturbance { at, blow, lasts: Duration::from_millis(lasts) })
        .collect()
}

fn spells(rng: &mut StdRng, length: Duration) -> Vec<Spell> {
    let draw = |rng: &mut StdRng| {
        let trouble = *Trouble::ALL.choose(rng).unwrap_or(&Trouble::Slow);
        (trouble, rng.random_range(300..2_500))
    };
    in_sequence(rng, length, 300..2_500, draw)
        .map(|(at, (trouble, lasts))| Spell { at, trouble, lasts: Duration::from_millis(lasts) })
        .collect()
}

fn node_errands(rng: &mut StdRng, length: Duration) -> Vec<Errand> {
    let draw = |rng: &mut StdRng| {
        let node = rng.random_range(0..NODES);
        let order = if rng.random_bool(0.5) { Order::Drain(node) } else { Order::Cordon(node) };
        (order, rng.random_range(200..2_500))
    };
    in_sequence(rng, length, 500..4_000, draw)
        .map(|(at, (order, lasts))| Errand { at, order, lasts: Duration::from_millis(lasts) })
        .collect()
}

fn moves(rng: &mut StdRng, length: Duration) -> Vec<Errand> {
    let draw = |rng: &mut StdRng| (Order::Move { bot: rng.random_range(0..BOTS), to: rng.random_range(0..NODES) }, 0);
    in_sequence(rng, length, 100..1_500, draw)
        .map(|(at, (order, _))| Errand { at, order, lasts: Duration::ZERO })
        .collect()
}

/// Draws until the length is used up, with a pause before each. Whatever is drawn second is how long it lasts, in ms.
fn in_sequence<T: Copy>(
    rng: &mut StdRng,
    length: Duration,
    pause_ms: std::ops::Range<u64>,
    mut draw: impl FnMut(&mut StdRng) -> (T, u64),
) -> impl Iterator<Item = (Duration, (T, u64))> {
    let mut free = Duration::ZERO;
    std::iter::from_fn(move || {
        let at = free + Duration::from_millis(rng.random_range(pause_ms.clone()));
        let drawn = draw(rng);
        free = at + Duration::from_millis(drawn.1);
        (at < length).then_some((at, drawn))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_plan() {
        let draw = |seed| Plan::draw(seed, Duration::from_secs(60));
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let longer = Plan::draw(1, Duration::from_secs(120));
        assert!(longer.disturbances[0].starts_with(&draw(1).disturbances[0]));
    }

    #[test]
    fn every_kind_of_thing_happens_and_never_two_at_once_to_one() {
        let plan = Plan::draw(7, Duration::from_secs(600));
        for track in &plan.disturbances {
            assert!(track.windows(2).all(|pair| pair[0].at + pair[0].lasts < pair[1].at));
            for blow in [Blow::Kill, Blow::Freeze] {
                assert!(track.iter().any(|disturbance| disturbance.blow == blow));
            }
        }
        for track in &plan.spells {
            assert!(track.windows(2).all(|pair| pair[0].at + pair[0].lasts < pair[1].at));
            assert!(Trouble::ALL.iter().all(|trouble| track.iter().any(|spell| spell.trouble == *trouble)));
        }
    }

    #[test]
    fn operators_ask_for_everything() {
        let Plan { errands: [nodes, bots], .. } = Plan::draw(7, Duration::from_secs(600));
        for node in 0..NODES {
            assert!(nodes.iter().any(|errand| errand.order == Order::Cordon(node)));
            assert!(nodes.iter().any(|errand| errand.order == Order::Drain(node)));
            let moved = |errand: &Errand| matches!(errand.order, Order::Move { to, .. } if to == node);
            assert!(bots.iter().any(moved));
        }
    }

    #[test]
    fn every_trouble_is_a_setting_that_the_simulator_takes() {
        for trouble in Trouble::ALL {
            trouble.faults().check().unwrap();
            assert_ne!(trouble.faults(), Faults::default());
        }
    }
}
