//! What is known about one setting.

use super::value::{Shape, Value};

/// All that is known about one setting: a row of the table [`SETTINGS`](super::SETTINGS).
pub struct Setting {
    /// Its name, which is also its key in the file (`redis.url`).
    pub name: &'static str,
    /// What it is for; the first sentence is the help of its flag.
    pub doc: &'static str,
    /// The value that counts when nothing else is said.
    pub default: Default,
    /// A value that is right and is not the default.
    pub example: &'static str,
    /// What type of value it has, in words.
    pub kind: &'static str,
    /// Whether the feature exists in this build; refused by name otherwise.
    pub built: bool,
    /// The feature of the build without which it is refused; `None` if every build has it.
    pub feature: Option<&'static str>,
    /// Whether its value may never be shown.
    pub secret: bool,
    /// Settings without which it has no effect.
    pub needs: &'static [&'static str],
    /// Settings of which at least one has to be set for it to have an effect.
    pub needs_any: &'static [&'static str],
    /// Smallest and largest value, as they would be written.
    pub range: Option<(&'static str, &'static str)>,
    /// How another value comes into force while a node serves.
    pub changes_by: ChangesBy,
    pub(super) shape: Shape,
    parse: fn(&str) -> Result<u128, String>,
}

/// What another value of a setting takes to come into force.
#[expect(clippy::exhaustive_enums, reason = "a setting changes by one of these")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangesBy {
    /// The node reads its settings again and goes on.
    Reload,
    /// The node is started again.
    Restart,
}

/// What counts when a setting is not given.
#[expect(clippy::exhaustive_enums, reason = "a default is one of these")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// This value.
    Text(&'static str),
    /// Nothing, or something found at the start; in words. `none` says the same in a source.
    Absent(&'static str),
}

impl Setting {
    /// A setting that always has a value.
    pub(super) const fn with<T: Value>(
        name: &'static str,
        default: &'static str,
        example: &'static str,
        doc: &'static str,
    ) -> Self {
        Self::of::<T>(name, Default::Text(default), example, doc)
    }

    /// A setting that may have no value. `absence` says what happens then.
    pub(super) const fn optional<T: Value>(
        name: &'static str,
        absence: &'static str,
        example: &'static str,
        doc: &'static str,
    ) -> Self {
        Self::of::<T>(name, Default::Absent(absence), example, doc)
    }

    const fn of<T: Value>(
        name: &'static str,
        default: Default,
        example: &'static str,
        doc: &'static str,
    ) -> Self {
        Self {
            name,
            doc,
            default,
            example,
            kind: T::KIND,
            built: true,
            feature: None,
            secret: false,
            needs: &[],
            needs_any: &[],
            range: None,
            changes_by: ChangesBy::Restart,
            shape: T::SHAPE,
            parse: |text| T::parse(text).map(|value| value.magnitude()),
        }
    }

    /// The smallest and the largest value that make sense.
    pub(super) const fn between(mut self, least: &'static str, most: &'static str) -> Self {
        self.range = Some((least, most));
        self
    }

    /// Without those it would be ignored.
    pub(super) const fn needs(mut self, others: &'static [&'static str]) -> Self {
        self.needs = others;
        self
    }

    /// Without one of those it would be ignored.
    pub(super) const fn needs_any(mut self, others: &'static [&'static str]) -> Self {
        self.needs_any = others;
        self
    }

    /// Its value is never shown.
    pub(super) const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// A node that serves takes another value over.
    pub(super) const fn reloadable(mut self) -> Self {
        self.changes_by = ChangesBy::Reload;
        self
    }

    /// Its feature does not exist yet.
    #[allow(dead_code, reason = "every setting is built; the next one may not be")]
    pub(super) const fn unbuilt(mut self) -> Self {
        self.built = false;
        self
    }

    /// Only a build with this feature has it, which `built` says of this one.
    pub(super) const fn of_feature(mut self, feature: &'static str, built: bool) -> Self {
        self.feature = Some(feature);
        self.built = built;
        self
    }

    /// Returns the environment variable that sets it.
    ///
    /// ```
    /// let setting = gateway::config::setting("redis.url").unwrap();
    /// assert_eq!(setting.variable(), "GATEWAY_REDIS_URL");
    /// assert_eq!(setting.flag(), "redis-url");
    /// assert_eq!(setting.section(), Some("redis"));
    /// assert_eq!(setting.toml("redis://localhost"), "url = \"redis://localhost\"");
    /// ```
    #[must_use]
    pub fn variable(&self) -> String {
        variable(self.name)
    }

    /// Returns the flag that sets it, without the dashes before it.
    #[must_use]
    pub fn flag(&self) -> String {
        flag(self.name)
    }

    /// Returns the section of the file that it stands in. Settings before all sections have none.
    #[must_use]
    pub fn section(&self) -> Option<&'static str> {
        self.name.split_once('.').map(|(section, _)| section)
    }

    /// Returns its key within its section.
    #[must_use]
    pub fn key(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(_, key)| key)
    }

    /// Whether `text` says that there is to be no value.
    pub(super) fn is_absent(&self, text: &str) -> bool {
        matches!(self.default, Default::Absent(_)) && text == "none"
    }

    /// Whether `text` says what would count anyway.
    pub(super) fn is_default(&self, text: &str) -> bool {
        match self.default {
            Default::Text(default) => text == default,
            Default::Absent(_) => text == "none",
        }
    }

    /// Whether `text` is a right value; if not, what is wrong with it. The value of a secret is
    /// not repeated.
    pub(super) fn check(&self, text: &str) -> Result<(), String> {
        if self.is_absent(text) {
            return Ok(());
        }
        let magnitude = (self.parse)(text)?;
        match self.beyond(magnitude) {
            Some(problem) => Err(format!("{text} {problem}")),
            None => Ok(()),
        }
    }

    /// What is wrong with a value that is not within the range.
    pub(super) fn beyond(&self, magnitude: u128) -> Option<String> {
        let (least, most) = self.range?;
        let bound =
            |text| (self.parse)(text).expect("the table's ranges are right, which a test checks");
        let is_within = (bound(least)..=bound(most)).contains(&magnitude);
        (!is_within).then(|| format!("is not between {least} and {most}"))
    }

    /// Returns the line of the file that sets it to `text`, within its section.
    #[must_use]
    pub fn toml(&self, text: &str) -> String {
        let value = match self.shape {
            _ if self.is_absent(text) => quoted(text),
            Shape::Places if text.contains(',') => list(text),
            Shape::Text | Shape::TextOrList | Shape::Places | Shape::Measure => quoted(text),
            Shape::Number | Shape::Decimal | Shape::Boolean => text.to_owned(),
            Shape::List if text.is_empty() => "[]".to_owned(),
            Shape::List => list(text),
        };
        format!("{} = {value}", self.key())
    }
}

/// The environment variable of a name.
pub(super) fn variable(name: &str) -> String {
    format!("GATEWAY_{}", name.replace('.', "_").to_uppercase())
}

/// The flag of a name, without the dashes before it.
pub(super) fn flag(name: &str) -> String {
    name.replace(['.', '_'], "-")
}

fn list(text: &str) -> String {
    let items: Vec<_> = text.split(',').map(|item| quoted(item.trim())).collect();
    format!("[{}]", items.join(", "))
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
