//! Options that several scenarios share.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, anyhow, bail, ensure};
use clap::Args;

use crate::client::{Namespace, Target};
use crate::crew::Setup;
use crate::driver::{Dialler, Faults, Ramp, Sources};
use crate::expect::{self, Expectation};
use crate::payload::Form;
use crate::scenario::flow::Disturbance;
use crate::scenario::flow::layout::Layout;
use crate::scenario::load::Load;
use crate::scenario::{echo, fanout, flow};
use crate::tls::{Check, Tls};
use crate::units;

/// Rooms of a fan-out.
#[derive(Clone, Debug, Args)]
pub(crate) struct RoomArgs {
    /// Rooms, each with a publisher of its own that is not a member
    #[arg(long, default_value_t = 1)]
    pub(crate) rooms: usize,
    /// Members of each room; when not given, --clients are spread over the rooms
    #[arg(long)]
    pub(crate) members: Option<usize>,
}

/// Numbered messages while connections break.
#[derive(Clone, Debug, Args)]
pub(crate) struct FlowArgs {
    #[command(flatten)]
    pub(crate) rooms: RoomArgs,
    /// Rooms that get messages, the first ones; the others are quiet. All, when not given
    #[arg(long)]
    pub(crate) active_rooms: Option<usize>,
    /// Messages per second to everyone in the namespace, besides those to rooms
    #[arg(long)]
    pub(crate) broadcast_rate: Option<f64>,
}

/// How hard a scenario pushes.
#[derive(Clone, Debug, Args)]
pub(crate) struct LoadArgs {
    /// Messages in flight per room (or per client, for echo): the next is sent when one is done
    #[arg(long, conflicts_with = "rate")]
    window: Option<u32>,
    /// Messages per second per room (or per client, for echo), whether the server keeps up or not
    #[arg(long)]
    rate: Option<f64>,
    /// Characters of the argument, at least 32
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// Time under load before the measured time
    #[arg(long, default_value = "2s", value_parser = units::duration)]
    warmup: Duration,
    /// Measured time
    #[arg(long, default_value = "10s", value_parser = units::duration)]
    duration: Duration,
}

/// What every scenario takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    /// Servers, http://host:port or https://host, separated by commas; clients are spread over them
    #[arg(long, required = true, value_delimiter = ',')]
    url: Vec<String>,
    /// PEM file of certificates to trust beside those of this system
    #[arg(long)]
    ca: Option<PathBuf>,
    /// What of a server's certificate counts
    #[arg(long, value_enum, value_name = "CHECK", default_value_t = Check::Full)]
    tls_verify: Check,
    /// Clients
    #[arg(long, default_value_t = 100)]
    pub(crate) clients: usize,
    /// Path of the Engine.IO endpoint
    #[arg(long, default_value = "/socket.io/")]
    path: String,
    /// Namespace that all clients join
    #[arg(long, default_value = "/", value_parser = Namespace::parse)]
    namespace: Namespace,
    /// Messages carry their content as a binary attachment
    #[arg(long)]
    pub(crate) binary: bool,
    /// Payload of CONNECT as a JSON object, for example a token
    #[arg(long)]
    auth: Option<String>,
    /// Part of the clients that use long-polling: 0 none, 1 all
    #[arg(long)]
    polling_share: Option<f64>,
    /// Generator threads; more are taken when the descriptors of one are too few
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Connection attempts in flight
    #[arg(long, default_value_t = 200)]
    concurrency: usize,
    /// Connection attempts per second; as fast as they go when not given
    #[arg(long)]
    connect_rate: Option<f64>,
    /// When a connection attempt is given up
    #[arg(long, default_value = "20s", value_parser = units::duration)]
    attempt_timeout: Duration,
    /// How long all clients may take to get ready
    #[arg(long, default_value = "120s", value_parser = units::duration)]
    ready_within: Duration,
    /// Addresses to connect from, separated by commas; 25,000 connections each
    #[arg(long, value_delimiter = ',')]
    source: Vec<IpAddr>,
    /// Processes of the servers, to read CPU and memory from, separated by commas; may be given again
    #[arg(long, value_delimiter = ',')]
    pid: Vec<u32>,
    /// Write everything measured to this file, as JSON
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    /// Write a page with plots to this file
    #[arg(long)]
    pub(crate) report: Option<PathBuf>,
    /// Thresholds such as 'p99<50ms,lost=0,recovered>=99.9%'; exit code 1 when one does not hold
    #[arg(long, value_parser = Expectations::parse)]
    pub(crate) expect: Option<Expectations>,
    /// No progress on stderr
    #[arg(long)]
    quiet: bool,
}

/// Thresholds of one `--expect`.
#[derive(Clone, Debug)]
pub(crate) struct Expectations(pub(crate) Vec<Expectation>);

impl Expectations {
    fn parse(text: &str) -> Result<Self, String> {
        expect::parse(text).map(Self)
    }
}

impl RoomArgs {
    fn members(&self, clients: usize) -> Result<usize> {
        ensure!(self.rooms > 0, "--rooms has to be at least 1");
        let members = self.members.unwrap_or(clients / self.rooms);
        ensure!(members > 0, "there are fewer clients than rooms");
        Ok(members)
    }

    /// A fan-out over these rooms.
    pub(crate) fn fanout(&self, common: &Common, load: &LoadArgs) -> Result<fanout::Work> {
        Ok(fanout::Work {
            rooms: self.rooms,
            members: self.members(common.clients)?,
            load: load.load(4)?,
            size: load.size,
            form: common.form(),
            warmup: load.warmup,
            duration: load.duration,
        })
    }
}

impl FlowArgs {
    /// Numbered messages in these rooms.
    pub(crate) fn work(
        &self,
        common: &Common,
        rate: Option<f64>,
        disturbance: Disturbance,
    ) -> Result<flow::Work> {
        let rooms = self.rooms.rooms;
        let active = self.active_rooms.unwrap_or(rooms);
        ensure!(
            active <= rooms,
            "--active-rooms has to be at most --rooms, which is {rooms}"
        );
        for (name, rate) in [("--rate", rate), ("--broadcast-rate", self.broadcast_rate)] {
            let good = rate.is_none_or(|rate| rate.is_finite() && rate > 0.0);
            ensure!(good, "{name} has to be more than 0");
        }
        if let Disturbance::Jitter { half_open, .. } | Disturbance::Avalanche { half_open, .. } =
            disturbance
        {
            ensure!(
                (0.0..=1.0).contains(&half_open),
                "--half-open has to be from 0 to 1"
            );
        }
        Ok(flow::Work {
            layout: Layout {
                rooms,
                members: self.rooms.members(common.clients)?,
                active,
                broadcasts: self.broadcast_rate.is_some(),
            },
            rate,
            broadcast_rate: self.broadcast_rate,
            size: FLOW_SIZE,
            form: common.form(),
            disturbance,
        })
    }
}

/// Characters of the argument of numbered messages.
const FLOW_SIZE: usize = 64;

impl LoadArgs {
    fn load(&self, window: u32) -> Result<Load> {
        ensure!(
            self.size >= crate::payload::STAMP_LEN,
            "--size has to be at least 32"
        );
        ensure!(
            !self.duration.is_zero(),
            "--duration has to be longer than nothing"
        );
        match (self.window, self.rate) {
            (Some(0), _) => bail!("--window has to be at least 1"),
            (_, Some(rate)) if rate.is_finite() && rate > 0.0 => Ok(Load::Rate(rate)),
            (_, Some(_)) => bail!("--rate has to be more than 0"),
            (given, None) => Ok(Load::Window(given.unwrap_or(window))),
        }
    }

    /// Acknowledged messages.
    pub(crate) fn echo(&self, common: &Common) -> Result<echo::Work> {
        Ok(echo::Work {
            load: self.load(1)?,
            size: self.size,
            form: common.form(),
            warmup: self.warmup,
            duration: self.duration,
        })
    }
}

impl Common {
    /// How the content of messages travels.
    pub(crate) fn form(&self) -> Form {
        if self.binary {
            Form::Binary
        } else {
            Form::Text
        }
    }

    /// Refuses what makes no difference to clients that send no messages.
    pub(crate) fn without_messages(&self) -> Result<()> {
        ensure!(
            !self.binary,
            "--binary says how messages travel, and these clients only connect"
        );
        Ok(())
    }

    /// The servers, and how TLS is spoken with them.
    fn targets(&self) -> Result<(Vec<Target>, Option<Tls>)> {
        let parse = |url: &String| {
            let target = Target::parse(url, &self.path).map_err(|error| anyhow!(error))?;
            let namespace = self.namespace.clone();
            Ok(Target {
                namespace,
                ..target
            })
        };
        let targets: Vec<Target> = self.url.iter().map(parse).collect::<Result<_>>()?;
        if targets.iter().any(|target| target.name.is_some()) {
            return Ok((
                targets,
                Some(Tls::new(self.ca.as_deref(), self.tls_verify)?),
            ));
        }
        let asked = self.ca.is_some() || self.tls_verify != Check::Full;
        ensure!(
            !asked,
            "--ca and --tls-verify are for https:// and wss://, and --url has none"
        );
        Ok((targets, None))
    }

    /// The same for numbered messages.
    pub(crate) fn flow_setup(&self, name: &'static str, work: &flow::Work) -> Result<Setup> {
        let half_open = match work.disturbance {
            Disturbance::Jitter { half_open, .. } | Disturbance::Avalanche { half_open, .. } => {
                half_open > 0.0
            }
            Disturbance::Outside => false,
        };
        let setup = self.setup(name, work.layout.clients(), 0.0)?;
        Ok(Setup { half_open, ..setup })
    }

    /// Everything about connecting; `polling_share` unless the user gave another.
    pub(crate) fn setup(
        &self,
        name: &'static str,
        clients: usize,
        polling_share: f64,
    ) -> Result<Setup> {
        ensure!(clients > 0, "--clients has to be at least 1");
        ensure!(
            self.threads > 0 && self.threads <= 256,
            "--threads has to be from 1 to 256"
        );
        ensure!(self.concurrency > 0, "--concurrency has to be at least 1");
        let polling_share = self.polling_share.unwrap_or(polling_share);
        ensure!(
            (0.0..=1.0).contains(&polling_share),
            "--polling-share has to be from 0 to 1"
        );
        ensure!(
            self.path.starts_with('/'),
            "--path has to begin with a slash"
        );
        let (targets, tls) = self.targets()?;
        let interval = match self.connect_rate {
            None => None,
            Some(rate) if rate.is_finite() && rate > 0.0 => {
                Some(Duration::from_secs_f64(1.0 / rate))
            }
            Some(_) => bail!("--connect-rate has to be more than 0"),
        };
        if let Some(auth) = &self.auth {
            let parsed: serde_json::Value = serde_json::from_str(auth)?;
            ensure!(parsed.is_object(), "--auth has to be a JSON object");
        }
        // A process that cannot be read is better known before the run than after it.
        crate::proc::Usage::read(&self.pid)?;
        Ok(Setup {
            name,
            dialler: Dialler {
                clients,
                polling_share,
                targets,
                tls,
                payload: self.auth.clone().unwrap_or_default().into_bytes(),
                sources: Sources {
                    given: self.source.clone(),
                },
                faults: Faults::default(),
            },
            ramp: Ramp {
                concurrency: self.concurrency,
                interval,
                attempt_timeout: self.attempt_timeout,
            },
            threads: self.threads,
            half_open: false,
            pids: self.pid.clone(),
            ready_within: self.ready_within,
            progress: !self.quiet,
        })
    }
}
