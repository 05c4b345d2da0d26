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
    /// One room of 1,000, window 32
    Window,
    /// One room of 1,000, 40 messages per second
    Paced,
    /// 100 rooms of 10, 100 messages in flight in all
    Rooms,
    /// Echo with ack, 100 connections
    Echo,
    /// TCP to joined namespace
    Connect,
    /// Resident bytes per idle connection
    Idle,
    /// Three nodes over one Redis, 3,000 members, window 32
    Cluster,
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
}

impl Work {
    /// All of them, in the table's order.
    pub(crate) const ALL: [Self; 7] = [
        Self::Window,
        Self::Paced,
        Self::Rooms,
        Self::Echo,
        Self::Connect,
        Self::Idle,
        Self::Cluster,
    ];

    /// What is done, and what is counted.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Window => "fan-out, one room of 1,000, window 32, 128 B",
            Self::Paced => "fan-out, one room of 1,000, paced 40/s, 128 B",
            Self::Rooms => "fan-out, 100 rooms of 10, window 100 (one per room), 128 B",
            Self::Echo => "echo with ack, 100 connections, 128 B",
            Self::Connect => "connects, TCP to joined namespace",
            Self::Idle => "idle WebSocket connections after 20 messages each",
            Self::Cluster => "fan-out across 3 nodes over one Redis, 3,000 members, window 32",
        }
    }

    /// What the figure counts.
    pub(crate) fn counted(self) -> &'static str {
        match self {
            Self::Window | Self::Paced | Self::Rooms | Self::Cluster => {
                "deliveries per server CPU second"
            }
            Self::Echo => "acks per server CPU second",
            Self::Connect => "connects per server CPU second",
            Self::Idle => "resident bytes per connection",
        }
    }

    /// The figure of a run's summary.
    fn figure(self) -> &'static str {
        match self {
            Self::Window | Self::Paced | Self::Rooms | Self::Cluster => "deliveries_per_cpu_second",
            Self::Echo => "acks_per_cpu_second",
            Self::Connect => "connects_per_cpu_second",
            Self::Idle => "resident_per_connection",
        }
    }

    /// For people.
    pub(crate) fn show(self, value: f64) -> String {
        show(value.round(), Unit::Number)
    }

    /// Who takes part.
    pub(crate) fn servers(self) -> &'static [Kind] {
        match self {
            Self::Window | Self::Paced | Self::Rooms => &Kind::ALL,
            Self::Echo | Self::Connect | Self::Idle => {
                &[Kind::Node, Kind::Socketioxide, Kind::Gateway]
            }
            Self::Cluster => &[Kind::NodeRedis, Kind::Gateway],
        }
    }

    /// Nodes of each server.
    pub(crate) fn nodes(self) -> usize {
        if self == Self::Cluster { 3 } else { 1 }
    }

    /// What the gateway has to reach.
    pub(crate) fn targets(self) -> &'static [Goal] {
        use Goal::{AtLeast, AtMost, CostAtMost};
        match self {
            Self::Window => &[AtLeast(Kind::Socketioxide, 4.0), AtLeast(Kind::Node, 20.0)],
            Self::Paced => &[
                AtLeast(Kind::Socketioxide, 2.0),
                CostAtMost(Kind::Floor, 1.25),
            ],
            Self::Rooms => &[AtLeast(Kind::Socketioxide, 1.6)],
            Self::Echo => &[AtLeast(Kind::Socketioxide, 1.5)],
            Self::Connect => &[AtLeast(Kind::Socketioxide, 2.5)],
            Self::Idle => &[AtMost(2500.0)],
            Self::Cluster => &[AtLeast(Kind::NodeRedis, 10.0)],
        }
    }

    /// Runs it once.
    pub(crate) fn run(self, servers: &Servers, times: Times) -> Result<Cell> {
        let summary = self.summary(servers, times)?;
        let value = summary
            .value(self.figure())
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
            Self::Window => fanout(1, 1000, Load::Window(32)),
            Self::Paced => fanout(1, 1000, Load::Rate(40.0)),
            Self::Rooms => fanout(100, 10, Load::Window(1)),
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
