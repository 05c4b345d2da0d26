//! The labels of metrics: closed sets of values, so that the number of series is known beforehand.

use protocol::engineio::{CloseReason, Transport};

/// Names of labels and their values.
pub(crate) type Labels = Vec<(&'static str, String)>;

/// A label whose values are a closed set.
pub(crate) trait Label: Copy + 'static {
    /// The name of the label.
    const NAME: &'static str;
    /// Every value, in the order of [`index`](Self::index).
    const ALL: &'static [Self];

    /// Its position in [`ALL`](Self::ALL).
    fn index(self) -> usize;

    /// How the value is written.
    fn label(self) -> &'static str;
}

/// What tells the series of one metric apart: a label, or two of them.
pub(crate) trait Series: Copy + 'static {
    /// Every one, in the order of [`index`](Self::index).
    fn all() -> impl Iterator<Item = Self>;

    /// Its position in [`all`](Self::all).
    fn index(self) -> usize;

    /// The labels, by their names.
    fn labels(self) -> Labels;
}

impl<L: Label> Series for L {
    fn all() -> impl Iterator<Item = Self> {
        L::ALL.iter().copied()
    }

    fn index(self) -> usize {
        Label::index(self)
    }

    fn labels(self) -> Labels {
        vec![(L::NAME, self.label().to_owned())]
    }
}

impl<A: Label, B: Label> Series for (A, B) {
    fn all() -> impl Iterator<Item = Self> {
        A::all().flat_map(|first| B::all().map(move |second| (first, second)))
    }

    fn index(self) -> usize {
        Label::index(self.0) * B::ALL.len() + Label::index(self.1)
    }

    fn labels(self) -> Labels {
        let mut labels = [self.0.labels(), self.1.labels()].concat();
        labels.sort_unstable();
        labels
    }
}

impl<A: Label, B: Label, C: Label> Series for (A, B, C) {
    fn all() -> impl Iterator<Item = Self> {
        <(A, B)>::all().flat_map(|(a, b)| C::ALL.iter().map(move |c| (a, b, *c)))
    }

    fn index(self) -> usize {
        Series::index((self.0, self.1)) * C::ALL.len() + Label::index(self.2)
    }

    fn labels(self) -> Labels {
        let mut labels = [(self.0, self.1).labels(), self.2.labels()].concat();
        labels.sort_unstable();
        labels
    }
}

/// Makes an enum whose values are those of a label, from one list: value, name in metrics.
macro_rules! label {
    (
        $(#[$about:meta])*
        $visibility:vis enum $name:ident: $label:literal {
            $($(#[$about_value:meta])* $value:ident = $written:literal,)+
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $visibility enum $name {
            $($(#[$about_value])* $value,)+
        }

        impl $crate::count::Label for $name {
            const NAME: &'static str = $label;
            const ALL: &'static [Self] = &[$(Self::$value,)+];

            fn index(self) -> usize {
                self as usize
            }

            fn label(self) -> &'static str {
                match self {
                    $(Self::$value => $written,)+
                }
            }
        }
    };
}

pub(crate) use label;

impl Label for Transport {
    const NAME: &'static str = "transport";
    const ALL: &'static [Self] = &Self::ALL;

    fn index(self) -> usize {
        self as usize
    }

    fn label(self) -> &'static str {
        self.name()
    }
}

impl Label for CloseReason {
    const NAME: &'static str = "reason";
    const ALL: &'static [Self] = &Self::ALL;

    fn index(self) -> usize {
        self as usize
    }

    fn label(self) -> &'static str {
        Self::label(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::count::{
        CallName, Code, Kind, Origin, Outcome, PacketType, ParserName, Refused, RevisionName,
        SlowCause, Suspect, TokenReason, TokenResult, Unknown, Upgraded,
    };

    fn indexes_are_positions<S: Series>() {
        for (position, series) in S::all().enumerate() {
            assert_eq!(series.index(), position);
        }
    }

    #[test]
    fn every_series_has_an_index_of_its_own() {
        indexes_are_positions::<CallName>();
        indexes_are_positions::<(ParserName, RevisionName, Transport)>();
        indexes_are_positions::<Code>();
        indexes_are_positions::<Origin>();
        indexes_are_positions::<PacketType>();
        indexes_are_positions::<Refused>();
        indexes_are_positions::<SlowCause>();
        indexes_are_positions::<Suspect>();
        indexes_are_positions::<TokenReason>();
        indexes_are_positions::<TokenResult>();
        indexes_are_positions::<Transport>();
        indexes_are_positions::<Unknown>();
        indexes_are_positions::<Upgraded>();
        indexes_are_positions::<(Kind, Outcome)>();
        indexes_are_positions::<(Transport, CloseReason)>();
    }

    #[test]
    fn two_labels_stand_in_the_order_of_their_names() {
        let labels = (Transport::Polling, CloseReason::PingTimeout).labels();
        let names: Vec<_> = labels.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["reason", "transport"]);
    }
}
