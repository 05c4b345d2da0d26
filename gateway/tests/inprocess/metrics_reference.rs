//! docs/metrics.md says what is exported: no more, no less.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use gateway::{Config, Server};

use crate::support::{TestGateway, config};

/// Labels whose values nobody can list.
const OPEN_LABELS: [&str; 4] = ["namespace", "version", "commit", "le"];

#[derive(Debug, PartialEq, Eq)]
struct Described {
    kind: String,
    labels: BTreeSet<String>,
}

#[tokio::test]
async fn the_reference_of_metrics_is_what_is_exported() {
    let exported = Exported::parse(&all_metrics().await);
    let reference = Reference::parse();
    let names = |of: &BTreeMap<String, Described>| of.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&exported.metrics), names(&reference.metrics));
    for (name, metric) in &exported.metrics {
        assert_eq!(metric, &reference.metrics[name], "{name}");
    }
}

#[tokio::test]
async fn the_reference_of_label_values_is_what_is_exported() {
    let exported = Exported::parse(&all_metrics().await);
    let reference = Reference::parse();
    for ((metric, label), values) in &exported.values {
        if OPEN_LABELS.contains(&label.as_str()) {
            continue;
        }
        let own = (metric.clone(), label.clone());
        let any = (String::new(), label.clone());
        let listed = reference.values.get(&own).or(reference.values.get(&any));
        assert_eq!(listed, Some(values), "{label} of {metric}");
    }
}

async fn all_metrics() -> String {
    let mut config = config();
    config.metrics.socket_io_aliases = true;
    let backends = Config::from_toml(
        "redis.url = \"redis://127.0.0.1:9\"\nbackend.stream = \"events\"\n\
         backend.url = \"http://127.0.0.1:9/\"\nbackend.secret = \"0123456789abcdef\"\n\
         otel.endpoint = \"http://127.0.0.1:9\"\n\
         cluster.secret = \"0123456789abcdef\"\nadmin.user = \"a\"\nadmin.password = \
         \"$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy\"\n",
    );
    let backends = backends.unwrap();
    (config.redis, config.backend) = (backends.redis, backends.backend);
    config.otel = backends.otel;
    config.presence.users = true;
    (config.admin, config.cluster.secret) = (backends.admin, backends.cluster.secret);
    let gateway = TestGateway::start(Server::new(config)).await;
    gateway.metrics().await
}

#[derive(Default)]
struct Exported {
    metrics: BTreeMap<String, Described>,
    /// By metric and label.
    values: BTreeMap<(String, String), BTreeSet<String>>,
}

impl Exported {
    fn parse(text: &str) -> Self {
        let mut exported = Self::default();
        let mut current = String::new();
        for line in text.lines() {
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                name.clone_into(&mut current);
                let described = Described {
                    kind: kind.to_owned(),
                    labels: BTreeSet::new(),
                };
                exported.metrics.insert(current.clone(), described);
            } else if !line.starts_with('#')
                && let Some((_, labels)) = line.split_once('{')
            {
                let (labels, _) = labels.rsplit_once('}').unwrap();
                for pair in labels.split(',') {
                    let (label, value) = pair.split_once('=').unwrap();
                    let key = (current.clone(), label.to_owned());
                    let value = value.trim_matches('"').to_owned();
                    exported.values.entry(key).or_default().insert(value);
                    if label != "le" {
                        let described = exported.metrics.get_mut(&current).unwrap();
                        described.labels.insert(label.to_owned());
                    }
                }
            }
        }
        exported
    }
}

#[derive(Default)]
struct Reference {
    metrics: BTreeMap<String, Described>,
    /// By metric and label; without a metric for all that have no list of their own.
    values: BTreeMap<(String, String), BTreeSet<String>>,
}

impl Reference {
    fn parse() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
        let text = std::fs::read_to_string(path).unwrap();
        let mut reference = Self::default();
        let mut lines = text.lines().peekable();
        // The words before a table that tell what it lists.
        let mut before = String::new();
        while let Some(line) = lines.next() {
            let next_is_rule = lines.peek().is_some_and(|line| line.starts_with("|---"));
            if line.starts_with('|') && next_is_rule {
                let head: Vec<_> = cells(line).collect();
                lines.next();
                while let Some(row) = lines.next_if(|line| line.starts_with('|')) {
                    reference.take(&before, &head, &cells(row).collect::<Vec<_>>());
                }
            } else if !line.is_empty() {
                line.clone_into(&mut before);
            }
        }
        reference
    }

    fn take(&mut self, before: &str, head: &[&str], row: &[&str]) {
        let quoted_before: Vec<_> = quoted(before).collect();
        match (head[0], quoted_before.as_slice()) {
            ("metric", _) => {
                let with_labels = head[2] == "labels";
                for name in quoted(row[0]) {
                    let described = Described {
                        kind: row[1].to_owned(),
                        labels: if with_labels {
                            quoted(row[2]).collect()
                        } else {
                            BTreeSet::new()
                        },
                    };
                    assert!(self.metrics.insert(name, described).is_none());
                }
            }
            // `label` | values, or `label` of `metric` | values
            ("label", _) => {
                let mut words = quoted(row[0]);
                let label = words.next().unwrap();
                let key = (words.next().unwrap_or_default(), label);
                self.values.insert(key, quoted(row[1]).collect());
            }
            // `label` of `metric`:
            ("value", [label, metric]) => {
                let key = (metric.clone(), label.clone());
                self.values.entry(key).or_default().extend(quoted(row[0]));
            }
            // Of another label of the same metric first: `direction` and `result`.
            (_, [label, metric]) if head[1] == "value" => {
                for (label, cell) in [(head[0], row[0]), (label, row[1])] {
                    let key = (metric.clone(), label.to_owned());
                    self.values.entry(key).or_default().extend(quoted(cell));
                }
            }
            _ => {}
        }
    }
}

fn cells(row: &str) -> impl Iterator<Item = &str> {
    row.trim_matches('|').split('|').map(str::trim)
}

/// The words between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split('`').skip(1).step_by(2).map(str::to_owned)
}
