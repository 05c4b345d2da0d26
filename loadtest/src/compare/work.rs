//! The works, and what is asked of the gateway in each.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::ValueEnum;
use serde::Serialize;

use super::server::{Kind, Servers};
use super::table::Cell;
use crate::client::Target;
use crate::crew::Setup;
use crate::driver::{Dialler, Faults, Ramp, Sources};
use crate::payload::Form;
use crate::scenario::load::Load;
use crate::scenario::{connect, echo, fanout, idle};
use crate::summary::{Summary, Unit, show};

/// One row of comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Work {
    /// One room of 1,000, 40 messages per second
    Paced,
    /// The same, 200
    #[value(name = "paced-200")]
    Paced200,
    /// The same, 500
    #[value(name = "paced-500")]
    Paced500,
    /// The same, 1,000
    #[value(name = "paced-1000")]
    Paced1000,
    /// The same, 2,000
    #[value(name = "paced-2000")]
    Paced2000,
    /// 100 rooms of 10, 40 messages per second in each
    #[value(name = "rooms-40")]
    Rooms40,
    /// The same, 100
    #[value(name = "rooms-100")]
    Rooms100,
    /// The same, 200
    #[value(name = "rooms-200")]
    Rooms200,
    /// One room of 1,000, window 32
    Window,
    /// 100 rooms of 10, 100 messages in flight in all
    Rooms,
    /// 100 rooms of one, one message in flight in each
    RoomsOfOne,
    /// Echo with ack, 100 connections
    Echo,
    /// TCP to joined namespace
    Connect,
    /// Resident bytes per idle connection
    Idle,
    /// Three nodes over one Redis, 3,000 members, window 32
    Cluster,
}

/// A room's messages come at their times, whether the server keeps up or not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct OpenLoop {
    pub(crate) rooms: usize,
    pub(crate) members: usize,
    /// Messages per second in each room.
    pub(crate) rate: f64,
}

/// How long, and how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Before the measured time.
    pub(crate) warmup: Duration,
    /// Measured time.
    pub(crate) duration: Duration,
    /// Connections of [`Work::Idle`].
    pub(crate) idle_clients: usize,
}

/// What the gateway has to reach against another server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// At least so many times the other's figure.
    AtLeast(Kind, f64),
    /// At most so many times the other's cost for the same work.
    CostAtMost(Kind, f64),
    /// At most so much, whatever others need.
    AtMost(f64),
    /// A p99 of at most so many times the other's.
    TailAtMost(Kind, f64),
}

impl Work {
    /// All of them, in the table's order.
    pub(crate) const ALL: [Self; 15] = [
        Self::Paced,
        Self::Paced200,
        Self::Paced500,
        Self::Paced1000,
        Self::Paced2000,
        Self::Rooms40,
        Self::Rooms100,
        Self::Rooms200,
        Self::Window,
        Self::Rooms,
        Self::RoomsOfOne,
        Self::Echo,
        Self::Connect,
        Self::Idle,
        Self::Cluster,
    ];

    /// Its rooms and rate, if it is an open loop.
    pub(crate) fn open_loop(self) -> Option<OpenLoop> {
        let (rooms, members, rate) = match self {
            Self::Paced => (1, 1000, 40.0),
            Self::Paced200 => (1, 1000, 200.0),
            Self::Paced500 => (1, 1000, 500.0),
            Self::Paced1000 => (1, 1000, 1000.0),
            Self::Paced2000 => (1, 1000, 2000.0),
            Self::Rooms40 => (100, 10, 40.0),
            Self::Rooms100 => (100, 10, 100.0),
            Self::Rooms200 => (100, 10, 200.0),
            Self::Window
            | Self::Rooms
            | Self::RoomsOfOne
            | Self::Echo
            | Self::Connect
            | Self::Idle
            | Self::Cluster => return None,
        };
        Some(OpenLoop {
            rooms,
            members,
            rate,
        })
    }

    /// What is done, and what is counted.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Paced => "fan-out, one room of 1,000, paced 40/s, 128 B",
            Self::Paced200 => "fan-out, one room of 1,000, paced 200/s, 128 B",
            Self::Paced500 => "fan-out, one room of 1,000, paced 500/s, 128 B",
            Self::Paced1000 => "fan-out, one room of 1,000, paced 1,000/s, 128 B",
            Self::Paced2000 => "fan-out, one room of 1,000, paced 2,000/s, 128 B",
            Self::Rooms40 => "fan-out, 100 rooms of 10, paced 40/s each, 128 B",
            Self::Rooms100 => "fan-out, 100 rooms of 10, paced 100/s each, 128 B",
            Self::Rooms200 => "fan-out, 100 rooms of 10, paced 200/s each, 128 B",
            Self::Window => "fan-out, one room of 1,000, window 32, 128 B",
            Self::Rooms => "fan-out, 100 rooms of 10, window 100 (one per room), 128 B",
            Self::RoomsOfOne => "fan-out, 100 rooms of one, window 100 (one per room), 128 B",
            Self::Echo => "echo with ack, 100 connections, 128 B",
            Self::Connect => "connects, TCP to joined namespace",
            Self::Idle => "idle WebSocket connections after 20 messages each",
            Self::Cluster => "fan-out across 3 nodes over one Redis, 3,000 members, window 32",
        }
    }

    /// What the figure counts.
    pub(crate) fn counted(self) -> &'static str {
        self.figure().1
    }

    /// The figure of a run's summary, and what it counts.
    fn figure(self) -> (&'static str, &'static str) {
        if self == Self::Echo {
            ("acks_per_cpu_second", "acks per server CPU second")
        } else if self == Self::Connect {
            ("connects_per_cpu_second", "connects per server CPU second")
        } else if self == Self::Idle {
            ("resident_per_connection", "resident bytes per connection")
        } else {
            (
                "deliveries_per_cpu_second",
                "deliveries per server CPU second",
            )
        }
    }

    /// For people.
    pub(crate) fn show(self, value: f64) -> String {
        show(value.round(), Unit::Number)
    }

    /// Who takes part.
    pub(crate) fn servers(self) -> &'static [Kind] {
        const ALONE: &[Kind] = &[
            Kind::Floor,
            Kind::FloorOne,
            Kind::FloorJoined,
            Kind::Node,
            Kind::Socketioxide,
            Kind::BunRaw,
            Kind::BunSocketio,
            Kind::Gateway,
        ];
        if self == Self::Cluster {
            return &[Kind::NodeRedis, Kind::Gateway];
        }
        // Bare sends keep nothing for a connection.
        if self == Self::Idle {
            return &ALONE[3..];
        }
        ALONE
    }

    /// Nodes of each server.
    pub(crate) fn nodes(self) -> usize {
        if self == Self::Cluster { 3 } else { 1 }
    }

    /// What the gateway has to reach.
    pub(crate) fn targets(self) -> &'static [Goal] {
        use Goal::{AtLeast, AtMost, CostAtMost, TailAtMost};
        match self {
            Self::Paced => &[
                AtLeast(Kind::Socketioxide, 2.0),
                CostAtMost(Kind::Floor, 1.25),
                AtLeast(Kind::BunRaw, 1.0),
                TailAtMost(Kind::BunRaw, 1.0),
            ],
            Self::Paced200 | Self::Paced2000 => {
                &[AtLeast(Kind::BunRaw, 1.5), TailAtMost(Kind::BunRaw, 1.0)]
            }
            Self::Paced500 | Self::Paced1000 => {
                &[AtLeast(Kind::BunRaw, 2.5), TailAtMost(Kind::BunRaw, 1.0)]
            }
            Self::Rooms40 | Self::Rooms100 | Self::Rooms200 | Self::RoomsOfOne => &[],
            Self::Window => &[
                AtLeast(Kind::Socketioxide, 4.0),
                AtLeast(Kind::Node, 20.0),
                AtLeast(Kind::BunRaw, 1.1),
            ],
            Self::Rooms => &[AtLeast(Kind::Socketioxide, 1.6), AtLeast(Kind::BunRaw, 1.2)],
            Self::Echo => &[AtLeast(Kind::Socketioxide, 1.5), AtLeast(Kind::BunRaw, 1.1)],
            Self::Connect => &[AtLeast(Kind::Socketioxide, 2.5), AtLeast(Kind::BunRaw, 1.1)],
            Self::Idle => &[AtMost(2500.0)],
            Self::Cluster => &[AtLeast(Kind::NodeRedis, 10.0)],
        }
    }

    /// Runs it once.
    pub(crate) fn run(self, servers: &Servers, times: Times) -> Result<Cell> {
        let summary = self.summary(servers, times)?;
        let value = summary
            .value(self.figure().0)
            .context("the server used no CPU")?;
        Ok(Cell { value, summary })
    }

    fn summary(self, servers: &Servers, times: Times) -> Result<Summary> {
        let fanout = |rooms, members, load| {
            let work = fanout::Work {
                rooms,
                members,
                load,
                size: 128,
                form: Form::Text,
                warmup: times.warmup,
                duration: times.duration,
            };
            fanout::run(setup("fanout", work.clients(), servers)?, &work)
        };
        match self {
            Self::Paced
            | Self::Paced200
            | Self::Paced500
            | Self::Paced1000
            | Self::Paced2000
            | Self::Rooms40
            | Self::Rooms100
            | Self::Rooms200 => {
                let open = self.open_loop().context("it has no rate")?;
                fanout(open.rooms, open.members, Load::Rate(open.rate))
            }
            Self::Window => fanout(1, 1000, Load::Window(32)),
            Self::Rooms => fanout(100, 10, Load::Window(1)),
            Self::RoomsOfOne => fanout(100, 1, Load::Window(1)),
            Self::Cluster => fanout(1, 3000, Load::Window(32)),
            Self::Echo => {
                let work = echo::Work {
                    load: Load::Window(1),
                    size: 128,
                    form: Form::Text,
                    warmup: times.warmup,
                    duration: times.duration,
                };
                echo::run(setup("echo", 100, servers)?, &work)
            }
            Self::Connect => {
                let work = connect::Work {
                    warmup_clients: 2000,
                    churn: None,
                };
                connect::run(setup("connect", 10_000, servers)?, &work)
            }
            Self::Idle => {
                let work = idle::Work {
                    messages: 20,
                    size: 64,
                    form: Form::Text,
                    hold: Duration::from_secs(5),
                    after: Duration::ZERO,
                };
                idle::run(setup("idle", times.idle_clients, servers)?, &work)
            }
        }
    }
}

fn setup(name: &'static str, clients: usize, servers: &Servers) -> Result<Setup> {
    let urls = servers.urls.iter();
    let targets: Result<Vec<_>> = urls
        .map(|url| Target::parse(url, "/socket.io/").map_err(|error| anyhow!(error)))
        .collect();
    Ok(Setup {
        half_open: false,
        name,
        dialler: Dialler {
            clients,
            polling_share: 0.0,
            targets: targets?,
            tls: None,
            payload: Vec::new(),
            sources: Sources::default(),
            faults: Faults::default(),
        },
        ramp: Ramp {
            concurrency: 100,
            interval: None,
            attempt_timeout: Duration::from_secs(20),
        },
        threads: 1,
        pids: servers.pids(),
        ready_within: Duration::from_secs(120),
        progress: false,
    })
}
