use std::time::Duration;

use redis::Pipeline;

use crate::commands::{CommandError, Commands};
use crate::servers::Servers;

/// How long Redis may take for one call.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Appends entries to a Redis Stream.
pub struct StreamWriter {
    commands: Commands,
    key: String,
    max_length: usize,
}

/// Why entries were not appended, as far as is known.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct AppendError(#[from] CommandError);

impl StreamWriter {
    /// Of the stream at `key`, which keeps about `max_length` entries. It connects when it has
    /// something to write.
    pub fn new(servers: &Servers, key: &str, max_length: usize) -> Result<Self, AppendError> {
        Ok(Self {
            commands: Commands::new(servers, TIMEOUT)?,
            key: key.to_owned(),
            max_length,
        })
    }

    /// Appends entries in their order, each with these fields. After an error all of them may be
    /// there, or none.
    pub async fn append(&self, entries: &[Vec<(&str, &[u8])>]) -> Result<(), AppendError> {
        let mut pipeline = Pipeline::with_capacity(entries.len());
        pipeline.atomic();
        for fields in entries {
            let command = pipeline.cmd("XADD").arg(&self.key);
            command.arg("MAXLEN").arg("~").arg(self.max_length).arg("*");
            for (name, value) in fields {
                command.arg(*name).arg(*value);
            }
        }
        // An error among the answers is no id.
        let _ids: Vec<String> = self.commands.run(&pipeline).await?;
        Ok(())
    }
}
