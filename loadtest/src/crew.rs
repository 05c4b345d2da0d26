//! The generator threads together: started with their shares, led through the phases, watched meanwhile.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use mio::{Poll, Waker};

use crate::client::Failure;
use crate::clock;
use crate::descriptors;
use crate::driver::{Dialler, Driver, Ramp, WAKER, reach};
use crate::proc::{self, Usage};
use crate::progress::Progress;
use crate::scenario::{Io, Mail, Mailbox, Phase, Scenario, Share};
use crate::stats::{Count, Tally, Times, Totals};
use crate::timeline::{Moment, Timeline};

/// What every scenario needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// Name of the scenario, for the progress line.
    pub(crate) name: &'static str,
    /// How to connect.
    pub(crate) dialler: Dialler,
    /// How fast, for all threads together.
    pub(crate) ramp: Ramp,
    /// Threads wanted; more are taken when descriptors require it.
    pub(crate) threads: usize,
    /// Clients leave open connections behind: each may hold one more.
    pub(crate) half_open: bool,
    /// The servers' processes.
    pub(crate) pids: Vec<u32>,
    /// How long clients may take to get ready.
    pub(crate) ready_within: Duration,
    /// Show progress on stderr.
    pub(crate) progress: bool,
}

/// Generator threads at work.
pub(crate) struct Crew<P> {
    setup: Setup,
    threads: Vec<JoinHandle<std::io::Result<P>>>,
    mailboxes: Arc<[Mailbox]>,
    tallies: Vec<Arc<Tally>>,
    samples: Receiver<Times>,
    timeline: Timeline,
    progress: Progress,
    phase: Phase,
}

/// Everything that is known at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    /// The clock.
    pub(crate) at: u64,
    /// All counters.
    pub(crate) totals: Totals,
    /// The servers' processes, when given.
    pub(crate) server: Option<Usage>,
    /// This process.
    pub(crate) own: Usage,
    /// Its generator threads.
    pub(crate) threads: usize,
}

/// What is left of a run.
pub(crate) struct Finished<P> {
    /// Each thread's part of the scenario.
    pub(crate) parts: Vec<P>,
    /// All threads' histograms.
    pub(crate) times: Times,
    /// The run second by second.
    pub(crate) moments: Vec<Moment>,
    /// What went wrong first, in a sentence.
    pub(crate) fault: Option<String>,
}

impl<P: Send + 'static> Crew<P> {
    /// Starts the threads; `make` builds each one's part of the scenario.
    pub(crate) fn start<S>(setup: Setup, make: impl Fn(Share) -> S) -> Result<Self>
    where
        S: Scenario<Part = P>,
    {
        reach(&setup.dialler)?;
        let lanes = if setup.dialler.polling_share > 0.0 {
            2
        } else {
            1
        };
        let connections = lanes * (1 + usize::from(setup.half_open));
        let found = descriptors::secure((setup.dialler.clients * connections) as u64)?;
        let threads = setup.threads.max(found.threads);
        if found.split && setup.progress {
            eprintln!(
                "The limit of open files could not be raised (it takes the privilege CAP_SYS_RESOURCE): \
                 {threads} threads share the connections, each with a table of its own."
            );
        }
        // All wakers exist before any table is split off, so their descriptors are valid in every table.
        let mut polls = Vec::new();
        let mut mailboxes = Vec::new();
        for _ in 0..threads {
            let poll = Poll::new()?;
            let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
            let (sender, mail) = mpsc::channel();
            mailboxes.push(Mailbox { sender, waker });
            polls.push((poll, mail));
        }
        let mailboxes: Arc<[Mailbox]> = mailboxes.into();
        let tallies: Vec<Arc<Tally>> = (0..threads).map(|_| Arc::default()).collect();
        let (sampled, samples) = mpsc::channel();
        let ramp = setup.ramp.per_thread(threads);
        let mut handles = Vec::new();
        for (thread, (poll, mail)) in polls.into_iter().enumerate() {
            let share = Share { thread, threads };
            let io = Io::new(
                Arc::clone(&tallies[thread]),
                Arc::clone(&mailboxes),
                thread as u64 + 1,
            );
            let dialling = (setup.dialler.clone(), ramp);
            let driver = Driver::new(
                poll,
                make(share),
                share,
                io,
                dialling,
                (mail, sampled.clone()),
            );
            let body = move || {
                if found.split {
                    descriptors::own_table()?;
                }
                driver.run()
            };
            handles.push(
                thread::Builder::new()
                    .name(format!("generator-{thread}"))
                    .spawn(body)?,
            );
        }
        let timeline = Timeline::new(clock::now(), setup.pids.clone());
        let progress = Progress::new(setup.name, setup.dialler.clients, setup.progress);
        Ok(Self {
            setup,
            threads: handles,
            mailboxes,
            tallies,
            samples,
            timeline,
            progress,
            phase: Phase::Connect,
        })
    }

    /// Begins a phase.
    pub(crate) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.progress.enter(phase);
        for mailbox in self.mailboxes.iter() {
            mailbox.post(Mail::Phase(phase));
        }
    }

    /// Connects all clients and waits until they are ready.
    pub(crate) fn connect(&mut self) -> Result<()> {
        self.enter(Phase::Connect);
        self.wait_for_ready(self.setup.dialler.clients)
    }

    /// Waits until so many clients are ready. Who refuses everybody is not asked for longer than [`REFUSED_BY_ALL`].
    pub(crate) fn wait_for_ready(&mut self, clients: usize) -> Result<()> {
        let limit = self.setup.ready_within;
        let is_enough = |totals: &Totals| totals.of_count(Count::Ready) >= clients as u64;
        let first = limit.min(REFUSED_BY_ALL);
        if self.wait(first, is_enough)? {
            return Ok(());
        }
        let totals = self.totals();
        let nobody_may = totals.of_count(Count::Ready) == 0 && totals.refused() > 0;
        let limit = if nobody_may { first } else { limit };
        if self.wait(limit - first, is_enough)? {
            return Ok(());
        }
        let totals = self.totals();
        bail!(
            "only {} of {clients} clients were ready after {limit:?} ({} joined). {} {}",
            totals.of_count(Count::Ready),
            totals.of_count(Count::Connected),
            describe_failures(&totals),
            self.setup.dialler.faults.describe().unwrap_or_default()
        );
    }

    /// Waits for something to be counted; says whether it came in time.
    pub(crate) fn wait(
        &mut self,
        limit: Duration,
        until: impl Fn(&Totals) -> bool,
    ) -> Result<bool> {
        let end = clock::now() + clock::nanos(limit);
        loop {
            if until(&self.totals()) {
                return Ok(true);
            }
            if clock::now() >= end {
                return Ok(false);
            }
            self.tick(end)?;
        }
    }

    /// Waits until all clients are ready, those that had to come back too; says whether they were in time.
    pub(crate) fn wait_for_all(&mut self, limit: Duration) -> Result<bool> {
        let clients = self.setup.dialler.clients as u64;
        self.wait(limit, |totals| totals.of_count(Count::Ready) >= clients)
    }

    /// Lets the run go on for a time.
    pub(crate) fn run_for(&mut self, duration: Duration) -> Result<()> {
        let end = clock::now() + clock::nanos(duration);
        while clock::now() < end {
            self.tick(end)?;
        }
        Ok(())
    }

    /// Reads everything now.
    pub(crate) fn mark(&self) -> Result<Mark> {
        let pids = &self.setup.pids;
        let server = if pids.is_empty() {
            None
        } else {
            Usage::read(pids).ok()
        };
        Ok(Mark {
            at: clock::now(),
            totals: self.totals(),
            server,
            own: Usage::read(&[proc::own_pid()])?,
            threads: self.tallies.len(),
        })
    }

    /// The servers' resident bytes by their page tables.
    pub(crate) fn resident(&self) -> Result<Option<u64>> {
        let pids = &self.setup.pids;
        if pids.is_empty() {
            return Ok(None);
        }
        proc::resident_exactly(pids).map(Some)
    }

    /// Runs the warm-up and the measured time.
    pub(crate) fn measure(&mut self, warmup: Duration, duration: Duration) -> Result<(Mark, Mark)> {
        self.enter(Phase::Warmup);
        self.run_for(warmup)?;
        self.enter(Phase::Measure);
        let begin = self.mark()?;
        self.run_for(duration)?;
        let end = self.mark()?;
        self.enter(Phase::Drain);
        Ok((begin, end))
    }

    /// Waits until nothing more arrives: all that is due is there, or ten seconds brought nothing. A server that has too
    /// little of a core may well say nothing for two.
    pub(crate) fn drain(&mut self) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(10);
        loop {
            let before = self.totals();
            let arrived = before.of_count(Count::Delivered) + before.of_count(Count::Acked);
            let more = self.wait(PATIENCE, |totals| {
                totals.of_count(Count::Delivered) + totals.of_count(Count::Acked) > arrived
                    || totals.of_count(Count::Delivered) >= totals.of_count(Count::Due)
            })?;
            let totals = self.totals();
            if !more || totals.of_count(Count::Delivered) >= totals.of_count(Count::Due) {
                return Ok(());
            }
        }
    }

    /// The same with all clients there. That a server fell silent for one shows only when a heartbeat is late. So one may
    /// leave while the last messages are awaited, and is waited for as well, some times.
    pub(crate) fn drain_with_all(&mut self, limit: Duration) -> Result<()> {
        const MOST: usize = 5;
        for _ in 0..MOST {
            let were_there = self.wait_for_all(limit)?;
            self.drain()?;
            if !were_there || self.wait_for_all(Duration::ZERO)? {
                break;
            }
        }
        Ok(())
    }

    /// Stops the threads and gathers what they hold.
    pub(crate) fn finish(mut self) -> Result<Finished<P>> {
        for mailbox in self.mailboxes.iter() {
            mailbox.post(Mail::Stop);
        }
        let mut parts = Vec::new();
        for thread in self.threads.drain(..) {
            let part = thread
                .join()
                .map_err(|_| anyhow!("a generator thread panicked"))?;
            parts.push(part.context("a generator thread's event loop failed")?);
        }
        self.take_samples();
        self.progress.finish();
        Ok(Finished {
            parts,
            times: self.timeline.times,
            moments: self.timeline.moments,
            fault: self.setup.dialler.faults.describe(),
        })
    }

    /// The counters now.
    pub(crate) fn totals(&self) -> Totals {
        Totals::of(self.tallies.iter().map(Arc::as_ref))
    }

    fn tick(&mut self, end: u64) -> Result<()> {
        let left = Duration::from_nanos(end.saturating_sub(clock::now()));
        thread::sleep(left.min(TICK));
        if let Some(thread) = self.threads.iter().position(JoinHandle::is_finished) {
            let ended = self.threads.swap_remove(thread).join();
            let error = ended.map_err(|_| anyhow!("a generator thread panicked"))?;
            return match error {
                Err(error) => Err(error).context("a generator thread's event loop failed"),
                Ok(_) => Err(anyhow!("a generator thread ended early")),
            };
        }
        self.take_samples();
        let totals = self.totals();
        self.timeline.observe(clock::now(), self.phase, &totals);
        self.progress.show(&self.timeline, &totals);
        Ok(())
    }

    fn take_samples(&mut self) {
        while let Ok(times) = self.samples.try_recv() {
            self.timeline.add(&times);
        }
    }
}

/// How often the run is looked at.
const TICK: Duration = Duration::from_millis(20);

/// How long a server is asked that lets nobody in: it refuses each CONNECT, or each join of a room.
const REFUSED_BY_ALL: Duration = Duration::from_secs(10);

/// Why sessions ended, in words.
pub(crate) fn describe_failures(totals: &Totals) -> String {
    let failures: Vec<String> = Failure::ALL
        .into_iter()
        .zip(totals.failures)
        .filter(|&(_, count)| count > 0)
        .map(|(failure, count)| format!("{count} {}", failure.name()))
        .collect();
    if failures.is_empty() {
        "No connection failed.".to_owned()
    } else {
        format!("Failed connections: {}.", failures.join(", "))
    }
}

impl Ramp {
    fn per_thread(self, threads: usize) -> Self {
        Self {
            concurrency: self.concurrency.div_ceil(threads),
            interval: self.interval.map(|interval| interval * threads as u32),
            attempt_timeout: self.attempt_timeout,
        }
    }
}
