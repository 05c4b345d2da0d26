use std::pin::Pin;
use std::time::Duration;

use redis::Pipeline;

use crate::link::commands::{CommandError, Commands};
use crate::link::refusal::Meaning;
use crate::link::servers::Servers;

/// How long Redis may take for one call, beside the time in which a slow link carries it.
const TIMEOUT: Duration = Duration::from_secs(6);
/// Bytes per second of the slowest link for which that suffices.
const SLOWEST: usize = 50_000;

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

impl AppendError {
    /// Whether Redis answered that it did not do it. If not, nobody knows whether it did.
    pub fn is_refusal(&self) -> bool {
        self.0.meaning().is_some()
    }
}

impl StreamWriter {
    /// A writer to the stream at `key`, which keeps about `max_length` entries. It connects when it has
    /// something to write.
    ///
    /// # Errors
    ///
    /// If there are no trusted certificates for TLS, or no connection can be prepared to these servers.
    pub fn new(servers: &Servers, key: &str, max_length: usize) -> Result<Self, AppendError> {
        Ok(Self {
            commands: Commands::new(servers, TIMEOUT)?,
            key: key.to_owned(),
            max_length,
        })
    }

    /// Appends entries in their order, each with these fields. Redis gets 6 seconds, and time for the bytes on a slow
    /// link.
    ///
    /// # Errors
    ///
    /// If Redis refuses them, does not answer in time, or cannot be reached. All of them may be there then, or none.
    pub fn append<'a>(
        &'a self,
        entries: &'a [Vec<(&'a str, &'a [u8])>],
    ) -> Pin<Box<dyn Future<Output = Result<(), AppendError>> + Send + 'a>> {
        // Behind a pointer, so that a program that waits for it does not compile all of it again.
        Box::pin(self.write(entries))
    }

    async fn write(&self, entries: &[Vec<(&str, &[u8])>]) -> Result<(), AppendError> {
        let mut pipeline = Pipeline::with_capacity(entries.len());
        pipeline.atomic();
        for fields in entries {
            let command = pipeline.cmd("XADD").arg(&self.key);
            command.arg("MAXLEN").arg("~").arg(self.max_length).arg("*");
            for (name, value) in fields {
                command.arg(*name).arg(*value);
            }
        }
        let bytes = entries.iter().flatten().map(|(_, value)| value.len());
        let moving = bytes.sum::<usize>().saturating_mul(1000) / SLOWEST;
        let limit = TIMEOUT + Duration::from_millis(moving as u64);
        // An error among the answers is no id.
        let appended: Result<Vec<String>, _> = self.commands.run_within(limit, &pipeline).await;
        if let Err(error) = &appended
            && error.meaning() == Some(Meaning::NoMaster)
        {
            // Perhaps another server has become the master, and these connections are old ones.
            self.commands.forget();
        }
        appended?;
        Ok(())
    }
}
