//! Whether a node has more than its share of the connections, and how many of them it is to let go.
//!
//! ```text
//!          it is over BAND above the mean, nodes neither came nor went nor drain for SETTLED,
//!          and it does so by itself, or somebody asked for it within PATIENCE
//!   Even ------------------------------------------------------------------------> LettingGo
//!    ^ ^                                                                             |  |
//!    | +---- it is at most ENOUGH above the mean; a node came, went or drains -------+  |
//!    |                                                                                  |
//!    |  REST is over; a node came or went;   none is left of the connections            |
//!    |  somebody asks                        that it had when it began                  |
//!    +--------------------------------- Resting <---------------------------------------+
//! ```
//!
//! No client is moved twice in a run: connections that came after its beginning stay. So a balancer that sends
//! every client back to where it was ends a run, and does not make it endless.
//!
//! What others have is known from their heartbeats, and clients that are on their way are nowhere. So the mean
//! is made of the most connections that the nodes had together of late: too few would have a node let go of too many.
//! And while many clients arrive, what others told is too little. So a node begins when the fewest that it had of late
//! are too many.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use adapter::{Member, NodeId};

/// By how much a node is above the mean before it lets go of any.
const BAND: f64 = 0.1;

/// By how much it may still be above it in the end.
const ENOUGH: f64 = 0.03;

/// Connections above the mean that are never worth it.
const FEW: f64 = 10.0;

/// For how long the nodes have to be the same ones, and none of them drain.
const SETTLED: Duration = Duration::from_secs(5);

/// For how long it is tried after somebody asked.
const PATIENCE: Duration = Duration::from_secs(30);

/// For how long it is not tried again after it led to nothing.
const REST: Duration = Duration::from_secs(600);

/// At how many looks, one after the other, a node has too many before it begins.
const STEADY: usize = 5;

/// For how long clients may be on their way.
const ON_THE_WAY: usize = 10;

/// How many of all connections a node has on average.
pub(crate) fn mean(connections: u64, nodes: usize) -> f64 {
    connections as f64 / nodes.max(1) as f64
}

/// Whether a node has so many more that it lets go of some.
pub(crate) fn is_above(connections: u64, mean: f64) -> bool {
    connections as f64 - mean > FEW.max(mean * BAND)
}

/// What a node decides from. Pure: time comes from outside.
#[derive(Debug)]
pub(crate) struct Rebalance {
    stage: Stage,
    /// The other nodes, and the number of the last request of each.
    nodes: HashMap<NodeId, u64>,
    /// The number of the last request at this node.
    own_request: u64,
    /// Since when the nodes are the same ones and none of them drains.
    settled_since: Instant,
    /// Until when somebody's request counts.
    asked_until: Option<Instant>,
    /// How many connections there were at the last looks.
    sums: VecDeque<u64>,
    /// How many this node had at the last looks.
    owns: VecDeque<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Even,
    LettingGo(Run),
    Resting(Instant),
}

/// One run, from its beginning until it is even.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// In milliseconds since 1970: connections of later stay.
    pub(crate) before: u64,
}

/// How a node is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Own {
    pub(crate) connections: u64,
    pub(crate) is_draining: bool,
    /// The number of the last request at this node.
    pub(crate) request: u64,
    /// Whether it lets go of connections without being asked.
    pub(crate) is_auto: bool,
    /// The most that it lets go until the next look.
    pub(crate) most: u64,
    /// Whether it let go of any since the last look, if it was to.
    pub(crate) has_let_go: bool,
}

/// What follows from a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Nothing is to be done.
    Nothing,
    /// A run begins, with this mean.
    Begin(Run, u64),
    /// It goes on: so many are to be let go.
    LetGo(Run, u64),
    /// It ends, and why.
    End(End),
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The node has about as many as the others.
    Even,
    /// A node came, went or drains.
    Unsettled,
    /// It let go of all that it had, and still has more than the others.
    InVain,
}

impl Rebalance {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            stage: Stage::Even,
            nodes: HashMap::new(),
            own_request: 0,
            settled_since: now,
            asked_until: None,
            sums: VecDeque::new(),
            owns: VecDeque::new(),
        }
    }

    /// Whether a run is under way.
    pub(crate) fn is_letting_go(&self) -> bool {
        matches!(self.stage, Stage::LettingGo(_))
    }

    /// A look at all nodes, about once a second. `members` are the other ones.
    pub(crate) fn look(&mut self, now: Instant, own: Own, members: &[&Member]) -> Decision {
        self.note(now, own, members);
        let sum = own.connections + members.iter().map(|it| it.state.connections).sum::<u64>();
        if self.sums.len() == ON_THE_WAY {
            self.sums.pop_front();
        }
        self.sums.push_back(sum);
        if self.owns.len() == STEADY {
            self.owns.pop_front();
        }
        self.owns.push_back(own.connections);
        let fewest = match self.owns.len() == STEADY {
            true => self.owns.iter().min().copied().unwrap_or(0),
            false => 0,
        };
        let most = self.sums.iter().max().copied().unwrap_or(sum);
        let mean = mean(most, members.len() + 1);
        let excess = own.connections as f64 - mean;
        let is_settled = now.saturating_duration_since(self.settled_since) >= SETTLED;
        let is_asked = self.asked_until.is_some_and(|until| now < until);
        match self.stage {
            Stage::Even => {
                let is_due = is_settled && (own.is_auto || is_asked);
                if !is_due || !is_above(fewest, mean) {
                    return Decision::Nothing;
                }
                let run = Run { before: wall() };
                self.asked_until = None;
                self.stage = Stage::LettingGo(run);
                Decision::Begin(run, mean as u64)
            }
            Stage::LettingGo(_) if !is_settled => self.end(Stage::Even, End::Unsettled),
            Stage::LettingGo(_) if excess <= FEW.min(mean * BAND).max(mean * ENOUGH) => {
                self.end(Stage::Even, End::Even)
            }
            Stage::LettingGo(_) if !own.has_let_go => {
                self.end(Stage::Resting(now + REST), End::InVain)
            }
            Stage::LettingGo(run) => {
                let surplus = excess - mean * ENOUGH;
                Decision::LetGo(run, own.most.min(surplus.ceil() as u64).max(1))
            }
            Stage::Resting(until) => {
                if now >= until || !is_settled || is_asked {
                    self.stage = Stage::Even;
                }
                Decision::Nothing
            }
        }
    }

    fn end(&mut self, stage: Stage, end: End) -> Decision {
        self.stage = stage;
        Decision::End(end)
    }

    /// Who is there, who drains, and who was asked.
    fn note(&mut self, now: Instant, own: Own, members: &[&Member]) {
        let mut is_same = members.len() == self.nodes.len();
        let mut is_asked = own.request != self.own_request;
        let mut drains = own.is_draining;
        self.own_request = own.request;
        let mut nodes = HashMap::with_capacity(members.len());
        for member in members {
            // What a node was asked before it was seen here is over.
            match self.nodes.get(&member.id) {
                Some(request) => is_asked |= *request != member.state.spread,
                None => is_same = false,
            }
            drains |= member.state.is_draining;
            nodes.insert(member.id.clone(), member.state.spread);
        }
        self.nodes = nodes;
        if !is_same || drains {
            self.settled_since = now;
        }
        if !is_same {
            self.sums.clear();
        }
        if is_asked {
            self.asked_until = Some(now + PATIENCE);
        }
    }
}

/// Now, in milliseconds since 1970.
fn wall() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use adapter::NodeState;

    use super::*;

    /// Nodes that look once a second. What others tell is a second old, and clients come back two seconds later.
    struct Fleet {
        now: Instant,
        nodes: Vec<Machine>,
        turn: usize,
        on_the_way: VecDeque<Vec<(usize, u64)>>,
        is_auto: bool,
        let_go: u64,
        heard: Vec<Member>,
    }

    struct Machine {
        rebalance: Rebalance,
        /// Connections of before a run, and later ones.
        old: u64,
        new: u64,
        had_let_go: bool,
        is_draining: bool,
        request: u64,
        ended: Option<End>,
    }

    impl Fleet {
        fn new(connections: &[u64], is_auto: bool) -> Self {
            let now = Instant::now();
            let mut fleet = Self {
                now,
                nodes: Vec::new(),
                turn: 0,
                on_the_way: VecDeque::from([Vec::new()]),
                is_auto,
                let_go: 0,
                heard: Vec::new(),
            };
            connections.iter().for_each(|it| fleet.join(*it));
            fleet
        }

        fn join(&mut self, connections: u64) {
            self.nodes.push(Machine {
                rebalance: Rebalance::new(self.now),
                old: connections,
                new: 0,
                had_let_go: true,
                is_draining: false,
                request: 0,
                ended: None,
            });
        }

        fn members(&self) -> Vec<Member> {
            let members = self.nodes.iter().enumerate().map(|(index, node)| Member {
                id: NodeId::new(&format!("gw-{index}")).unwrap(),
                tag: String::new(),
                address: String::new(),
                version: String::new(),
                state: NodeState {
                    connections: node.old + node.new,
                    is_draining: node.is_draining,
                    spread: node.request,
                },
            });
            members.collect()
        }

        /// Looks for so many seconds; clients return where `back` says, given who let go of them.
        fn run(&mut self, seconds: u64, back: impl Fn(usize, usize) -> usize) {
            for _ in 0..seconds {
                self.now += Duration::from_secs(1);
                let now = self.members();
                let before = std::mem::replace(&mut self.heard, now.clone());
                let members = if before.len() == now.len() {
                    before
                } else {
                    now
                };
                let mut leaving = Vec::new();
                for index in 0..self.nodes.len() {
                    let others: Vec<&Member> = members
                        .iter()
                        .enumerate()
                        .filter_map(|(other, it)| (other != index).then_some(it))
                        .collect();
                    let node = &mut self.nodes[index];
                    let own = Own {
                        connections: node.old + node.new,
                        is_draining: node.is_draining,
                        request: node.request,
                        is_auto: self.is_auto,
                        most: 200,
                        has_let_go: node.had_let_go,
                    };
                    node.had_let_go = true;
                    match node.rebalance.look(self.now, own, &others) {
                        Decision::Nothing => {}
                        Decision::Begin(..) => {
                            node.old += node.new;
                            node.new = 0;
                        }
                        Decision::LetGo(_, count) => {
                            let count = count.min(node.old);
                            node.had_let_go = count > 0;
                            node.old -= count;
                            self.let_go += count;
                            leaving.push((index, count));
                        }
                        Decision::End(end) => node.ended = Some(end),
                    }
                }
                self.on_the_way.push_back(leaving);
                for (from, count) in self.on_the_way.pop_front().unwrap() {
                    for _ in 0..count {
                        let to = back(from, self.turn);
                        self.turn = (self.turn + 1) % self.nodes.len();
                        self.nodes[to].new += 1;
                    }
                }
            }
        }

        fn counts(&self) -> Vec<u64> {
            self.nodes.iter().map(|it| it.old + it.new).collect()
        }
    }

    fn in_turn(_: usize, turn: usize) -> usize {
        turn
    }

    #[test]
    fn two_nodes_share_with_two_that_came() {
        let mut fleet = Fleet::new(&[4500, 4500], true);
        fleet.run(20, in_turn);
        assert_eq!(fleet.counts(), [4500, 4500], "they are even");
        fleet.join(0);
        fleet.join(0);
        fleet.run(60, in_turn);
        let counts = fleet.counts();
        assert_eq!(counts.iter().sum::<u64>(), 9000);
        assert!(
            counts.iter().all(|it| it.abs_diff(2250) <= 225),
            "{counts:?}"
        );
        assert_eq!(fleet.nodes[0].ended, Some(End::Even));
        let moved = fleet.let_go;
        fleet.run(600, in_turn);
        assert_eq!(fleet.let_go, moved, "it stops by itself");
    }

    #[test]
    fn within_the_band_and_with_few_nothing_is_moved() {
        for counts in [[1000, 900], [1099, 901], [12, 0], [0, 0]] {
            let mut fleet = Fleet::new(&counts, true);
            fleet.run(100, in_turn);
            assert_eq!(fleet.counts(), counts);
        }
    }

    #[test]
    fn nothing_is_moved_unless_it_is_wanted() {
        let mut fleet = Fleet::new(&[1000, 0], false);
        fleet.run(100, in_turn);
        assert_eq!(fleet.counts(), [1000, 0]);
        // The one that is asked need not be the one that has too many.
        fleet.nodes[1].request = 7;
        fleet.run(60, in_turn);
        assert!(fleet.counts()[0] <= 530, "{:?}", fleet.counts());
        fleet.join(0);
        fleet.run(100, in_turn);
        assert_eq!(fleet.counts()[2], 0, "a request counts once");
    }

    #[test]
    fn while_a_node_drains_nothing_is_moved() {
        let mut fleet = Fleet::new(&[3000, 3000, 0], true);
        fleet.nodes[2].is_draining = true;
        fleet.run(100, in_turn);
        assert_eq!(fleet.let_go, 0);
        fleet.nodes[2].is_draining = false;
        fleet.run(7, in_turn);
        assert!(fleet.let_go > 0 && fleet.nodes[0].rebalance.is_letting_go());
        fleet.nodes[2].is_draining = true;
        fleet.run(2, in_turn);
        assert_eq!(fleet.nodes[0].ended, Some(End::Unsettled));
        let moved = fleet.let_go;
        fleet.run(100, in_turn);
        assert_eq!(fleet.let_go, moved);
    }

    #[test]
    fn many_clients_that_arrive_are_not_taken_for_too_many() {
        let mut fleet = Fleet::new(&[0, 0], true);
        fleet.run(10, in_turn);
        for _ in 0..20 {
            fleet.nodes.iter_mut().for_each(|node| node.old += 450);
            fleet.run(1, in_turn);
        }
        assert_eq!(fleet.let_go, 0);
    }

    #[test]
    fn clients_that_always_come_back_are_moved_once() {
        let mut fleet = Fleet::new(&[1000, 0], true);
        fleet.run(500, |from, _| from);
        assert_eq!(fleet.nodes[0].ended, Some(End::InVain));
        assert_eq!(fleet.let_go, 1000);
        fleet.run(200, |from, _| from);
        assert!(fleet.let_go > 1000, "it is tried again later");
    }
}
