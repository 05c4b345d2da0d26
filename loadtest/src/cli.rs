//! The command line.

mod common;
mod scenarios;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::compare;
use crate::expect::Expectation;
use crate::summary::Summary;
use crate::units;
pub(crate) use common::Common;
use scenarios::{
    AvalancheArgs, ConnectArgs, EchoArgs, FanoutArgs, IdleArgs, JitterArgs, KillArgs, PollingArgs,
    RecoveryArgs, RolloutArgs,
};

/// Load generator for Socket.IO servers: many clients, scenarios, reports.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// All scenarios and what goes with them.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Connections that only answer heartbeats: memory, heartbeats and their lateness
    Idle(IdleArgs),
    /// Connections per second, from TCP to the joined namespace
    Connect(ConnectArgs),
    /// One publisher per room, every member gets what it publishes
    Fanout(FanoutArgs),
    /// Messages with an ack
    Echo(EchoArgs),
    /// The same over HTTP long-polling, or mixed with WebSockets
    Polling(PollingArgs),
    /// Every member's connection is cut now and then while numbered messages flow
    Jitter(JitterArgs),
    /// All members are cut at the same moment and come back at once
    Avalanche(AvalancheArgs),
    /// Nodes are restarted in turn while numbered messages flow
    Rollout(RolloutArgs),
    /// Nodes are killed (kill -9) in turn and started again while numbered messages flow
    Kill(KillArgs),
    /// Whether connection state recovery works: a small jitter that expects nothing lost and all recovered
    Recovery(RecoveryArgs),
    /// The gateway and what users would pick instead, on the same work
    Compare(compare::Options),
    /// A server that only sends ready frames, one `send` each: the cost below which nobody gets
    Floor {
        /// Where to serve
        #[arg(long, default_value = "127.0.0.1:3999")]
        listen: SocketAddr,
        /// Threads, among which the sockets are spread; each sends to its own
        #[arg(long, default_value = "1")]
        threads: NonZeroUsize,
        /// How long a room's frames wait after a thread wrote, so that one `send` takes all that came; 0 none
        #[arg(long, default_value = "0ms", value_parser = units::duration)]
        join: Duration,
    },
}

/// A scenario with all its options.
pub(crate) trait Scenario {
    /// What every scenario takes.
    fn common(&self) -> &Common;

    /// What has to hold, or the exit code is 1.
    fn expectations(&self) -> Vec<Expectation> {
        let given = self.common().expect.iter();
        given.flat_map(|given| given.0.clone()).collect()
    }

    /// Runs it.
    fn run(&self) -> Result<Summary>;
}
