/// Milliseconds since 1970 at most, as in `Date`.
const MAX_MILLISECONDS: f64 = 8.64e15;

/// Appends `milliseconds` since 1970 as `JSON.stringify` writes a `Date`: ISO 8601 in quotes, or
/// `null` if there is no such date.
pub(super) fn push_date(out: &mut Vec<u8>, milliseconds: f64) {
    if !milliseconds.is_finite() || milliseconds.abs() > MAX_MILLISECONDS {
        out.extend_from_slice(b"null");
        return;
    }
    #[allow(clippy::cast_possible_truncation, reason = "bounded above")]
    let milliseconds = milliseconds.trunc() as i64;
    let (days, time) = (
        milliseconds.div_euclid(86_400_000),
        milliseconds.rem_euclid(86_400_000),
    );
    let (year, month, day) = civil(days);
    let year = match year {
        0..=9999 => format!("{year:04}"),
        _ => format!("{year:+07}"),
    };
    let (hours, minutes) = (time / 3_600_000, time / 60_000 % 60);
    let (seconds, milliseconds) = (time / 1000 % 60, time % 1000);
    let text = format!(
        "\"{year}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{milliseconds:03}Z\""
    );
    out.extend_from_slice(text.as_bytes());
}

/// Year, month and day of the proleptic Gregorian calendar, `days` after 1970-01-01. Counts in eras
/// of 400 years that begin in March, so that the leap day comes last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_look_as_in_javascript() {
        let table = [
            (0.0, "\"1970-01-01T00:00:00.000Z\""),
            (1_700_000_000_123.0, "\"2023-11-14T22:13:20.123Z\""),
            (951_782_400_000.0, "\"2000-02-29T00:00:00.000Z\""),
            (-1.0, "\"1969-12-31T23:59:59.999Z\""),
            (-0.5, "\"1970-01-01T00:00:00.000Z\""),
            (-62_198_755_200_000.0, "\"-000001-01-01T00:00:00.000Z\""),
            (253_402_300_800_000.0, "\"+010000-01-01T00:00:00.000Z\""),
            (8.64e15, "\"+275760-09-13T00:00:00.000Z\""),
            (-8.64e15, "\"-271821-04-20T00:00:00.000Z\""),
            (8.64e15 + 1.0, "null"),
            (f64::NAN, "null"),
        ];
        for (milliseconds, expected) in table {
            let mut out = Vec::new();
            push_date(&mut out, milliseconds);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
