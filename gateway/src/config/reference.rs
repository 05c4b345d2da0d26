//! What the program tells about its own settings.

use std::fmt::Write;

use super::setting::{ChangesBy, Default, Setting};
use super::table::SETTINGS;

/// Returns a `gateway.toml` with every setting at its default.
#[must_use]
pub fn default_file() -> String {
    let mut file = String::new();
    comment(
        &mut file,
        "Every setting of the gateway at its default. A setting without one is commented out and \
         shows an example.",
    );
    comment(
        &mut file,
        "Durations are a whole number with ms, s, m, h or d; sizes one with B, kB, MB, GB (powers \
         of 1000) or KiB, MiB, GiB (powers of 1024). Only 0 needs no unit.",
    );
    let mut section = None;
    for setting in SETTINGS {
        file.push('\n');
        if setting.section() != section {
            section = setting.section();
            let _ = writeln!(file, "[{}]\n", section.unwrap_or_default());
        }
        comment(&mut file, setting.doc);
        if let Some(notes) = notes(setting) {
            comment(&mut file, &notes);
        }
        let _ = match setting.default {
            Default::Text(default) => writeln!(file, "{}", setting.toml(default)),
            Default::Absent(absence) => {
                comment(&mut file, &format!("Default: {absence}."));
                writeln!(file, "# {}", setting.toml(setting.example))
            }
        };
    }
    file
}

/// Returns the reference of all settings in Markdown, which is `docs/configuration.md`.
#[must_use]
pub fn markdown() -> String {
    let mut page = INTRODUCTION.to_owned();
    let mut section = Some("");
    for setting in SETTINGS {
        if setting.section() != section {
            section = setting.section();
            let _ = match section {
                Some(section) => writeln!(page, "\n## `{section}`"),
                None => writeln!(page, "\n## The node"),
            };
        }
        let _ = writeln!(page, "\n### `{}`\n", setting.name);
        wrap(&mut page, "", setting.doc);
        page.push('\n');
        let default = match setting.default {
            Default::Text("") => "empty".to_owned(),
            Default::Text(default) => format!("`{default}`"),
            Default::Absent(absence) => absence.to_owned(),
        };
        let _ = writeln!(page, "- Type: {}", setting.kind);
        let _ = writeln!(page, "- Default: {default}");
        let _ = writeln!(page, "- Example: `{}`", setting.toml(setting.example));
        let _ = writeln!(
            page,
            "- Elsewhere: `{}`, `--{}`",
            setting.variable(),
            setting.flag()
        );
        let change = match setting.changes_by {
            ChangesBy::Reload => "by a [reload](reload.md), while the node serves",
            ChangesBy::Restart => "needs a restart",
        };
        let _ = writeln!(page, "- Change: {change}");
        if let Some(notes) = notes(setting) {
            let _ = writeln!(page, "- {notes}");
        }
    }
    page
}

const INTRODUCTION: &str = "\
# Configuration

After this page you know every setting: its name, type, default, an example, and whether it changes while a
node serves.

`gateway default-config --markdown` prints this page. `gateway default-config` prints a
`gateway.toml` with every setting at its default.

Every setting has one name in three spellings. `redis.url` is

- the key `url` in the section `[redis]` of `gateway.toml`,
- the environment variable `GATEWAY_REDIS_URL`,
- the flag `--redis-url`.

Flags win over the environment, the environment over the file, the file over the default. The file
is the one of `--config FILE`, else of `GATEWAY_CONFIG`, else `gateway.toml` in the working
directory if there is one.

- Durations are a whole number with `ms`, `s`, `m`, `h` or `d`.
- Sizes are a whole number with `B`, `kB`, `MB`, `GB` (powers of 1000) or `KiB`, `MiB`, `GiB` (powers
  of 1024). Only `0` needs no unit.
- Lists are arrays of strings in the file; in the environment and in flags their items are
  separated by commas.
- `none` takes a setting back to having no value, for those that need not have one (in the file,
  `\"none\"`). An empty list is `[]` in the file and an empty flag.
- An empty environment variable counts as one that is not there. Variables that Kubernetes makes
  for Services (`GATEWAY_SERVICE_HOST`, `GATEWAY_PORT=tcp://..`) have no effect. Any other unknown
  variable that begins with `GATEWAY_` is a warning, with the nearest known name if one is near. It
  may belong to another program (CGI has a `GATEWAY_INTERFACE`).
- The start checks everything, and names all faults at once. It names unknown names, with the nearest
  known one if one is near, and wrong values with the place that they come from. It also names settings
  that would have no effect, and settings whose feature is not built yet.
- If all of that is right, the start reads the whole of `redis.url` and the files that settings name:
  certificates, keys, the client's files. It names all faults of these at once, too.
- In both cases the program ends with status 2. `gateway check-config [FILE]` makes all these checks,
  and neither listens nor connects to anything. It ends with status 0 if all is well, else with 2.
- A node that cannot listen at its addresses ends with status 1.
- The program never prints secrets. Other users of the machine can see flags, so give secrets in the
  environment or in files.
- A secret may stand in a file of its own. Its name then has `_file` behind it: `api.key_file`,
  `GATEWAY_API_KEY_FILE`, `--api-key-file`. The node reads the file at the start and at each
  [reload](reload.md), and cuts line breaks at its end. The file has one line and at most 64 KiB. If
  the value and its file are given in the same place, that is an error. A path may begin with
  `$CREDENTIALS_DIRECTORY/`, which is where systemd puts what `LoadCredential=` names.
";

/// What there is to say beside the documentation.
fn notes(setting: &Setting) -> Option<String> {
    let mut notes = Vec::new();
    if let Some((least, most)) = setting.range {
        notes.push(format!("From {least} to {most}."));
    }
    if !setting.needs_any.is_empty() {
        notes.push(format!("Needs {}.", setting.needs_any.join(" or ")));
    }
    if !setting.needs.is_empty() {
        notes.push(format!("Needs {}.", setting.needs.join(", ")));
    }
    if let Some(name) = setting.file_name() {
        notes.push(format!("Secret; `{name}` names a file that holds it."));
    }
    if let Some(feature) = setting.feature {
        notes.push(format!(
            "Refused by a program without the feature `{feature}`."
        ));
    } else if !setting.built {
        notes.push("Not built yet: refused at the start.".to_owned());
    }
    Some(notes.join(" ")).filter(|notes| !notes.is_empty())
}

fn comment(file: &mut String, text: &str) {
    wrap(file, "# ", text);
}

/// Lines of at most 100 characters.
fn wrap(page: &mut String, before: &str, text: &str) {
    let mut line = before.to_owned();
    for word in text.split_whitespace() {
        if line.len() > before.len() && line.len() + word.len() >= 100 {
            let _ = writeln!(page, "{}", line.trim_end());
            before.clone_into(&mut line);
        }
        line.push_str(word);
        line.push(' ');
    }
    let _ = writeln!(page, "{}", line.trim_end());
}
