use std::sync::OnceLock;

use redis::{Arg, Cmd, FromRedisValue, Pipeline, Value};

use crate::link::commands::{CommandError, Commands};

/// A script that only servers get whole which do not know it: at the others it runs by its name.
pub(crate) struct Script {
    source: &'static str,
    /// Redis makes it of the source, so all servers give the same.
    name: OnceLock<String>,
}

/// Characters of a name.
const NAME_LENGTH: usize = 40;

impl Script {
    pub(crate) const fn new(source: &'static str) -> Self {
        Self {
            source,
            name: OnceLock::new(),
        }
    }
}

impl Commands {
    /// Runs a script on keys of one slot, in which the hash `key` is. Its `arguments` are how many keys there are, these,
    /// and what else it is to know.
    ///
    /// A server that was restarted, took over or forgot its scripts is given this one again. What it did not know it did
    /// not run.
    pub(crate) async fn script<T: FromRedisValue>(
        &self,
        script: &Script,
        key: &str,
        arguments: &Cmd,
    ) -> Result<T, CommandError> {
        let name = match script.name.get() {
            Some(name) => name,
            None => {
                let name = self.load(script, key).await?;
                script.name.get_or_init(|| name)
            }
        };
        let mut pipeline = at(key);
        pipeline.add_command(call(name, arguments));
        let answer = self.run(&pipeline).await;
        if !matches!(&answer, Err(CommandError::Refused(text)) if text.starts_with("NOSCRIPT")) {
            return answer.map(|(_, answer): (Value, T)| answer);
        }
        // On one connection, so that it is the same server that learns it and runs it.
        let mut pipeline = at(key);
        pipeline.add_command(load(script));
        pipeline.add_command(call(name, arguments));
        let answer = self.run(&pipeline).await;
        answer.map(|(_, _, answer): (Value, Value, T)| answer)
    }

    async fn load(&self, script: &Script, key: &str) -> Result<String, CommandError> {
        let mut pipeline = at(key);
        pipeline.add_command(load(script));
        let (_, name): (Value, String) = self.run(&pipeline).await?;
        let is_name = name.len() == NAME_LENGTH && name.bytes().all(|it| it.is_ascii_hexdigit());
        match is_name {
            true => Ok(name),
            false => Err(CommandError::Refused(
                "a script was given another kind of name".to_owned(),
            )),
        }
    }
}

/// A pipeline to the server of `key`: its first command says so.
fn at(key: &str) -> Pipeline {
    let mut pipeline = redis::pipe();
    pipeline.cmd("HGET").arg(key).arg("");
    pipeline
}

fn load(script: &Script) -> Cmd {
    let mut command = redis::cmd("SCRIPT");
    command.arg("LOAD").arg(script.source);
    command
}

fn call(name: &str, arguments: &Cmd) -> Cmd {
    let mut command = redis::cmd("EVALSHA");
    command.arg(name);
    for argument in arguments.args_iter() {
        if let Arg::Simple(argument) = argument {
            command.arg(argument);
        }
    }
    command
}
