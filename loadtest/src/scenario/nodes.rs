//! The nodes that are restarted or killed: the user's own, by commands, or started by this tool.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::flow::Part;
use crate::client::Target;
use crate::clock;
use crate::crew::Crew;

/// How nodes end and begin again.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    /// Shell commands, each of which ends a node and starts it again, and ends when that is done.
    Commands(Vec<String>),
    /// Command lines of nodes. This tool starts them, ends them, and starts them again.
    Nodes(Vec<String>),
}

impl Plan {
    /// How many nodes there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Commands(commands) | Self::Nodes(commands) => commands.len(),
        }
    }
}

/// How a node of ours ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// It is told to, and may take its time.
    Terminate,
    /// It is killed, and starts again so much later.
    Kill(Duration),
}

/// All nodes; those that this tool has started end with it.
pub(crate) struct Nodes {
    plan: Plan,
    /// By node, when they are ours.
    children: Vec<Child>,
    /// Where each of ours serves, when that is known: the URLs are as many.
    addresses: Vec<SocketAddr>,
}

impl Nodes {
    /// Starts them, when they are ours, and waits until they serve.
    pub(crate) fn start(plan: Plan, targets: &[Target]) -> Result<Self> {
        let mut nodes = Self {
            plan,
            children: Vec::new(),
            addresses: Vec::new(),
        };
        if let Plan::Nodes(commands) = &nodes.plan {
            if targets.len() == commands.len() {
                nodes.addresses = targets.iter().map(|target| target.address).collect();
            }
            for address in &nodes.addresses {
                let taken = serves(*address);
                ensure!(!taken, "something serves at {address} already");
            }
            for command in commands {
                nodes.children.push(spawn(command)?);
            }
        }
        for node in 0..nodes.addresses.len() {
            nodes.wait_until_serving(node, || {
                std::thread::sleep(STEP);
                Ok(())
            })?;
        }
        Ok(nodes)
    }

    /// Waits until a node of ours serves, if it is known where.
    fn wait_until_serving(
        &mut self,
        node: usize,
        mut pass_time: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        let Some(&address) = self.addresses.get(node) else {
            return Ok(());
        };
        let deadline = clock::now() + clock::nanos(SERVES_WITHIN);
        while !serves(address) {
            self.check()?;
            ensure!(
                clock::now() < deadline,
                "node {} does not serve at {address} after {SERVES_WITHIN:?}",
                node + 1
            );
            pass_time()?;
        }
        Ok(())
    }

    /// Ends a node and starts it again. The load goes on meanwhile.
    pub(crate) fn restart(&mut self, node: usize, end: End, crew: &mut Crew<Part>) -> Result<()> {
        let command = match &self.plan {
            Plan::Commands(commands) => return run(&commands[node], crew),
            Plan::Nodes(commands) => commands[node].clone(),
        };
        self.check()?;
        let child = &mut self.children[node];
        match end {
            End::Kill(down) => {
                child.kill()?;
                child.wait()?;
                crew.run_for(down)?;
            }
            End::Terminate => {
                let pid = child.id().to_string();
                let status = Command::new("kill").args(["-TERM", &pid]).status()?;
                ensure!(status.success(), "kill -TERM {pid} ended with {status}");
                wait(child, crew)?;
            }
        }
        self.children[node] = spawn(&command)?;
        self.wait_until_serving(node, || crew.run_for(STEP))
    }

    /// Nodes of ours that have ended by themselves end the run: it would say nothing.
    pub(crate) fn check(&mut self) -> Result<()> {
        let Plan::Nodes(commands) = &self.plan else {
            return Ok(());
        };
        for (child, command) in self.children.iter_mut().zip(commands) {
            if let Some(status) = child.try_wait()? {
                bail!("the node `{command}` ended by itself with {status}");
            }
        }
        Ok(())
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for child in &mut self.children {
            // Whoever has ended already needs no kill.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// How long a node may take to serve.
const SERVES_WITHIN: Duration = Duration::from_secs(60);

/// How often something that takes its time is looked at.
const STEP: Duration = Duration::from_millis(50);

/// `env` takes assignments in front, and `exec` makes the process that of the command, which is the one to kill.
fn spawn(command: &str) -> Result<Child> {
    Command::new("sh")
        .args(["-c", &format!("exec env {command}")])
        .stdin(Stdio::null())
        // The summary is what belongs there.
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("starting `{command}`"))
}

fn run(command: &str, crew: &mut Crew<Part>) -> Result<()> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("starting `{command}`"))?;
    let status = wait(&mut child, crew)?;
    ensure!(status.success(), "`{command}` ended with {status}");
    Ok(())
}

fn wait(child: &mut Child, crew: &mut Crew<Part>) -> Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        crew.run_for(STEP)?;
    }
}

fn serves(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, STEP).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A port that is free, as far as that can be known.
    fn free_port() -> u16 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    }

    fn start(command: &str, port: u16) -> Result<Nodes> {
        let target = Target::parse(&format!("http://127.0.0.1:{port}"), "/socket.io/").unwrap();
        Nodes::start(Plan::Nodes(vec![command.to_owned()]), &[target])
    }

    #[test]
    fn a_node_that_takes_its_time_is_waited_for() {
        // Not the node but this test serves, after the first look.
        let port = free_port();
        std::thread::spawn(move || {
            std::thread::sleep(4 * STEP);
            let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
            listener.incoming().for_each(drop);
        });
        let nodes = start("sleep 60", port).unwrap();
        assert!(serves(nodes.addresses[0]));
    }

    #[test]
    fn a_node_that_ends_while_it_starts_is_told() {
        let said = start("sh -c 'exit 3'", free_port()).err().unwrap();
        assert!(
            said.to_string()
                .contains("ended by itself with exit status: 3"),
            "{said}"
        );
    }
}
