//! The scenarios' own options, and what they ask of the scenarios.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use super::Scenario;
use super::common::{Common, FlowArgs, LoadArgs, RoomArgs};
use crate::expect::{self, Expectation};
use crate::scenario::flow::Disturbance;
use crate::scenario::nodes::{self, End};
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
            form: self.common.form(),
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
        self.common.without_messages()?;
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
        echo::run(setup, &self.load.echo(&self.common)?)
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
            PollingWork::Echo => echo::run(setup(clients)?, &self.load.echo(&self.common)?),
            PollingWork::Fanout => {
                let work = self.rooms.fanout(&self.common, &self.load)?;
                fanout::run(setup(work.clients())?, &work)
            }
            PollingWork::Connect => {
                self.common.without_messages()?;
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
    flow: FlowArgs,
    /// Messages per second in each active room
    #[arg(long, default_value_t = 10.0)]
    rate: f64,
    /// Mean time between two cuts of a member
    #[arg(long, default_value = "15s", value_parser = units::duration)]
    every: Duration,
    /// How long it is away
    #[arg(long, default_value = "2s", value_parser = units::duration)]
    away: Duration,
    /// Part of the cuts that leave the old connection open, without a word: the server sees no end of it
    #[arg(long, default_value_t = 0.0)]
    half_open: f64,
    /// How long messages flow
    #[arg(long, default_value = "60s", value_parser = units::duration)]
    duration: Duration,
}

impl Scenario for JitterArgs {
    fn common(&self) -> &Common {
        &self.common
    }

    fn run(&self) -> Result<Summary> {
        let disturbance = jitter(self.every, self.away, self.half_open)?;
        let work = self.flow.work(&self.common, Some(self.rate), disturbance)?;
        let setup = self.common.flow_setup("jitter", &work)?;
        jitter::run(setup, &work, self.duration)
    }
}

fn jitter(every: Duration, away: Duration, half_open: f64) -> Result<Disturbance> {
    ensure!(!every.is_zero(), "--every has to be longer than nothing");
    Ok(Disturbance::Jitter {
        every,
        away,
        half_open,
    })
}

/// `loadtest recovery`
#[derive(Debug, Args)]
pub(crate) struct RecoveryArgs {
    #[command(flatten)]
    common: Common,
    /// Mean time between two cuts of a client
    #[arg(long, default_value = "4s", value_parser = units::duration)]
    every: Duration,
    /// How long it is away
    #[arg(long, default_value = "1s", value_parser = units::duration)]
    away: Duration,
    /// How long messages flow
    #[arg(long, default_value = "20s", value_parser = units::duration)]
    duration: Duration,
}

impl Scenario for RecoveryArgs {
    fn common(&self) -> &Common {
        &self.common
    }

    fn run(&self) -> Result<Summary> {
        // Half of the rooms are quiet but for what goes to everyone, and a fifth of the cuts are half open.
        let flow = FlowArgs {
            rooms: RoomArgs {
                rooms: 10.min(self.common.clients),
                members: None,
            },
            active_rooms: Some(5.min(self.common.clients)),
            broadcast_rate: Some(0.5),
        };
        let disturbance = jitter(self.every, self.away, 0.2)?;
        let work = flow.work(&self.common, Some(5.0), disturbance)?;
        let setup = self.common.flow_setup("recovery", &work)?;
        jitter::run(setup, &work, self.duration)
    }

    fn expectations(&self) -> Vec<Expectation> {
        match &self.common.expect {
            Some(expectations) => expectations.0.clone(),
            None => expect::parse(RECOVERY).expect("a test parses them"),
        }
    }
}

/// What a server with recovery has to show.
const RECOVERY: &str =
    "recovered=100%,renamed=0,lost=0,duplicated=0,out_of_order=0,refused=0,turned_away=0";

/// `loadtest avalanche`
#[derive(Debug, Args)]
pub(crate) struct AvalancheArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    flow: FlowArgs,
    /// Messages per second in each active room meanwhile; none when not given
    #[arg(long)]
    rate: Option<f64>,
    /// How long members wait before they come back, by half more or less
    #[arg(long, default_value = "0s", value_parser = units::duration)]
    away: Duration,
    /// Part of the cuts that leave the old connection open, without a word: the server sees no end of it
    #[arg(long, default_value_t = 0.0)]
    half_open: f64,
    /// How long they may take
    #[arg(long, default_value = "120s", value_parser = units::duration)]
    within: Duration,
}

impl Scenario for AvalancheArgs {
    fn common(&self) -> &Common {
        &self.common
    }

    fn run(&self) -> Result<Summary> {
        let disturbance = Disturbance::Avalanche {
            away: self.away,
            half_open: self.half_open,
        };
        let work = self.flow.work(&self.common, self.rate, disturbance)?;
        let setup = self.common.flow_setup("avalanche", &work)?;
        avalanche::run(setup, &work, self.within)
    }
}

/// `loadtest rollout`
#[derive(Debug, Args)]
pub(crate) struct RolloutArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    flow: FlowArgs,
    /// Messages per second in each active room
    #[arg(long, default_value_t = 10.0)]
    rate: f64,
    /// Shell command that restarts a node and ends when that is done; once per node, in their order
    #[arg(long)]
    restart: Vec<String>,
    /// Process to terminate, for nodes that a supervisor starts again; once per node, in their order
    #[arg(long)]
    terminate: Vec<u32>,
    /// Command line of a node, which this tool starts, terminates and starts again; once per node
    #[arg(long, conflicts_with_all = ["restart", "terminate"])]
    node: Vec<String>,
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
        let nodes = plan(restarts, &self.node)
            .context("none of --restart, --terminate and --node says what to do")?;
        let plan = rollout::Plan {
            times: nodes.len(),
            nodes,
            end: End::Terminate,
            pause: self.pause,
            spread: 0.0,
            figure: "restarts",
        };
        let work = self
            .flow
            .work(&self.common, Some(self.rate), Disturbance::Outside)?;
        rollout::run(self.common.flow_setup("rollout", &work)?, &work, &plan)
    }
}

fn plan(commands: Vec<String>, nodes: &[String]) -> Option<nodes::Plan> {
    match (commands.is_empty(), nodes.is_empty()) {
        (false, _) => Some(nodes::Plan::Commands(commands)),
        (true, false) => Some(nodes::Plan::Nodes(nodes.to_vec())),
        (true, true) => None,
    }
}

/// `loadtest kill`
#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    flow: FlowArgs,
    /// Messages per second in each active room
    #[arg(long, default_value_t = 10.0)]
    rate: f64,
    /// Command line of a node, which this tool starts, kills (SIGKILL) and starts again; once per node
    #[arg(long)]
    node: Vec<String>,
    /// Shell command that kills a node, has it started again, and ends when that is done; once per node
    #[arg(long, conflicts_with = "node")]
    kill: Vec<String>,
    /// How many times a node is killed, one after the other in turn; once each, when not given
    #[arg(long)]
    times: Option<usize>,
    /// Mean time before the first kill and between two; by half more or less. Time after the last
    #[arg(long, default_value = "10s", value_parser = units::duration)]
    pause: Duration,
    /// How long a killed --node stays away
    #[arg(long, default_value = "2s", value_parser = units::duration)]
    down: Duration,
}

impl Scenario for KillArgs {
    fn common(&self) -> &Common {
        &self.common
    }

    fn run(&self) -> Result<Summary> {
        let nodes = plan(self.kill.clone(), &self.node)
            .context("neither --node nor --kill says what to do")?;
        let plan = rollout::Plan {
            times: self.times.unwrap_or(nodes.len()),
            nodes,
            end: End::Kill(self.down),
            pause: self.pause,
            spread: 0.5,
            figure: "kills",
        };
        let work = self
            .flow
            .work(&self.common, Some(self.rate), Disturbance::Outside)?;
        rollout::run(self.common.flow_setup("kill", &work)?, &work, &plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_recovery_expects_is_well_formed() {
        assert!(expect::parse(RECOVERY).is_ok());
    }
}
