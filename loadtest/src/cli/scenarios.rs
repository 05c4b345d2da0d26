//! The scenarios' own options, and what they ask of the scenarios.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

use super::Scenario;
use super::common::{Common, LoadArgs, RoomArgs};
use crate::scenario::flow::Disturbance;
use crate::scenario::{avalanche, connect, echo, fanout, idle, jitter, rollout};
use crate::summary::Summary;
use crate::units;

/// `loadtest idle`
#[derive(Debug, Args)]
pub(crate) struct IdleArgs {
    #[command(flatten)]
    common: Common,
    /// Echoed messages of each client before the held time
    #[arg(long, default_value_t = 20)]
    messages: u32,
    /// Characters of their argument
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// How long all connections are held and measured
    #[arg(long, default_value = "60s", value_parser = units::duration)]
    hold: Duration,
    /// How long after all have left the servers' memory is read again
    #[arg(long, default_value = "15s", value_parser = units::duration)]
    after: Duration,
}

impl Scenario for IdleArgs {
    fn common(&self) -> &Common {
        &self.common
    }

    fn run(&self) -> Result<Summary> {
        let work = idle::Work {
            messages: self.messages,
            size: self.size,
            hold: self.hold,
            after: self.after,
        };
        idle::run(self.common.setup("idle", self.common.clients, 0.0)?, &work)
    }
}

/// `loadtest connect`
#[derive(Debug, Args)]
pub(crate) struct ConnectArgs {
    #[command(flatten)]
    common: Common,
    /// Clients that connect before the measured time; a tenth, when not given
    #[arg(long)]
    warmup_clients: Option<usize>,
    /// Cut each connection once it has joined and connect again, for so long
    #[arg(long, value_parser = units::duration)]
    churn: Option<Duration>,
}

impl Scenario for ConnectArgs {
    fn common(&self) -> &Common {
        &self.common
    }

    fn run(&self) -> Result<Summary> {
        let clients = self.common.clients;
        let work = connect::Work {
            warmup_clients: self.warmup_clients.unwrap_or(clients / 10),
            churn: self.churn,
        };
        let measured = work.warmup_clients < clients;
        ensure!(measured, "--warmup-clients leaves nobody to measure");
        connect::run(self.common.setup("connect", clients, 0.0)?, &work)
    }
}

/// `loadtest fanout`
#[derive(Debug, Args)]
pub(crate) struct FanoutArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    rooms: RoomArgs,
    #[command(flatten)]
    load: LoadArgs,
}

impl Scenario for FanoutArgs {
    fn common(&self) -> &Common {
        &self.common
    }

    fn run(&self) -> Result<Summary> {
        let work = self.rooms.fanout(&self.common, &self.load)?;
        fanout::run(self.common.setup("fanout", work.clients(), 0.0)?, &work)
    }
}

/// `loadtest echo`
#[derive(Debug, Args)]
pub(crate) struct EchoArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    load: LoadArgs,
}

impl Scenario for EchoArgs {
    fn common(&self) -> &Common {
        &self.common
    }

    fn run(&self) -> Result<Summary> {
        let setup = self.common.setup("echo", self.common.clients, 0.0)?;
        echo::run(setup, &self.load.echo()?)
    }
}

/// `loadtest polling`
#[derive(Debug, Args)]
pub(crate) struct PollingArgs {
    #[command(flatten)]
    common: Common,
    /// What the clients do
    #[arg(long, value_enum, default_value_t = PollingWork::Echo)]
    work: PollingWork,
    #[command(flatten)]
    rooms: RoomArgs,
    #[command(flatten)]
    load: LoadArgs,
}

/// What polling clients do.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum PollingWork {
    /// Messages with an ack
    Echo,
    /// One publisher per room
    Fanout,
    /// Connections per second
    Connect,
}

impl Scenario for PollingArgs {
    fn common(&self) -> &Common {
        &self.common
    }

    fn run(&self) -> Result<Summary> {
        let setup = |clients| self.common.setup("polling", clients, 1.0);
        let clients = self.common.clients;
        match self.work {
            PollingWork::Echo => echo::run(setup(clients)?, &self.load.echo()?),
            PollingWork::Fanout => {
                let work = self.rooms.fanout(&self.common, &self.load)?;
                fanout::run(setup(work.clients())?, &work)
            }
            PollingWork::Connect => {
                let work = connect::Work {
                    warmup_clients: clients / 10,
                    churn: None,
                };
                connect::run(setup(clients)?, &work)
            }
        }
    }
}

/// `loadtest jitter`
#[derive(Debug, Args)]
pub(crate) struct JitterArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    rooms: RoomArgs,
    /// Messages per second in each room
    #[arg(long, default_value_t = 10.0)]
    rate: f64,
    /// Mean time between two cuts of a member
    #[arg(long, default_value = "15s", value_parser = units::duration)]
    every: Duration,
    /// How long it is away
    #[arg(long, default_value = "2s", value_parser = units::duration)]
    away: Duration,
    /// How long messages flow
    #[arg(long, default_value = "60s", value_parser = units::duration)]
    duration: Duration,
}

impl Scenario for JitterArgs {
    fn common(&self) -> &Common {
        &self.common
    }

    fn run(&self) -> Result<Summary> {
        ensure!(
            !self.every.is_zero(),
            "--every has to be longer than nothing"
        );
        let disturbance = Disturbance::Jitter {
            every: self.every,
            away: self.away,
        };
        let work = self
            .rooms
            .flow(&self.common, Some(self.rate), disturbance)?;
        let clients = work.layout().clients();
        jitter::run(
            self.common.setup("jitter", clients, 0.0)?,
            &work,
            self.duration,
        )
    }
}

/// `loadtest avalanche`
#[derive(Debug, Args)]
pub(crate) struct AvalancheArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    rooms: RoomArgs,
    /// Messages per second in each room meanwhile; none when not given
    #[arg(long)]
    rate: Option<f64>,
    /// How long members wait before they come back, by half more or less
    #[arg(long, default_value = "0s", value_parser = units::duration)]
    away: Duration,
    /// How long they may take
    #[arg(long, default_value = "120s", value_parser = units::duration)]
    within: Duration,
}

impl Scenario for AvalancheArgs {
    fn common(&self) -> &Common {
        &self.common
    }

    fn run(&self) -> Result<Summary> {
        let disturbance = Disturbance::Avalanche { away: self.away };
        let work = self.rooms.flow(&self.common, self.rate, disturbance)?;
        let clients = work.layout().clients();
        avalanche::run(
            self.common.setup("avalanche", clients, 0.0)?,
            &work,
            self.within,
        )
    }
}

/// `loadtest rollout`
#[derive(Debug, Args)]
pub(crate) struct RolloutArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    rooms: RoomArgs,
    /// Messages per second in each room
    #[arg(long, default_value_t = 10.0)]
    rate: f64,
    /// Shell command that restarts a node and ends when that is done; once per node, in their order
    #[arg(long)]
    restart: Vec<String>,
    /// Process to terminate, for nodes that a supervisor starts again; once per node, in their order
    #[arg(long)]
    terminate: Vec<u32>,
    /// Time before the first restart, between two, and after the last
    #[arg(long, default_value = "10s", value_parser = units::duration)]
    pause: Duration,
}

impl Scenario for RolloutArgs {
    fn common(&self) -> &Common {
        &self.common
    }

    fn run(&self) -> Result<Summary> {
        let terminations = self.terminate.iter().map(|pid| format!("kill -TERM {pid}"));
        let restarts: Vec<String> = self.restart.iter().cloned().chain(terminations).collect();
        ensure!(
            !restarts.is_empty(),
            "neither --restart nor --terminate says what to do"
        );
        let plan = rollout::Plan {
            restarts,
            pause: self.pause,
        };
        let work = self
            .rooms
            .flow(&self.common, Some(self.rate), Disturbance::Outside)?;
        let clients = work.layout().clients();
        rollout::run(self.common.setup("rollout", clients, 0.0)?, &work, &plan)
    }
}
