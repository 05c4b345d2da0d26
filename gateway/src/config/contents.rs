//! What stands in the files that settings name.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use super::{Config, Trust};

/// A fingerprint of each file that a reload reads again: one that differs is another value of its setting,
/// although the path is the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Contents(Vec<(&'static str, Option<PathBuf>, u64)>);

impl Contents {
    /// Reads the files. One that cannot be read differs from one that can.
    pub(crate) fn read(config: &Config) -> Self {
        let (auth, backend) = (&config.auth, &config.backend);
        let key = ("auth.jwt_public_key", auth.jwt_public_key.as_ref());
        let files = of_trust(
            &auth.trust,
            ["auth.ca_file", "auth.tls_cert", "auth.tls_key"],
        );
        let names = ["backend.ca_file", "backend.tls_cert", "backend.tls_key"];
        let files = files.into_iter().chain(of_trust(&backend.trust, names));
        let print = |(setting, path): (_, Option<&PathBuf>)| {
            let content = path.map(|path| std::fs::read(path).ok());
            let mut hasher = DefaultHasher::new();
            content.hash(&mut hasher);
            (setting, path.cloned(), hasher.finish())
        };
        Self(files.chain([key]).map(print).collect())
    }

    /// The settings whose files have another content than before.
    pub(crate) fn differ(&self, before: &Self) -> impl Iterator<Item = &'static str> {
        let pairs = self.0.iter().zip(&before.0);
        pairs
            .filter(|(now, then)| now != then)
            .map(|(now, _)| now.0)
    }
}

fn of_trust<'a>(
    trust: &'a Trust,
    [ca, cert, key]: [&'static str; 3],
) -> [(&'static str, Option<&'a PathBuf>); 3] {
    let client = trust.client.as_ref();
    [
        (ca, trust.ca_file.as_ref()),
        (cert, client.map(|it| &it.cert)),
        (key, client.map(|it| &it.key)),
    ]
}
