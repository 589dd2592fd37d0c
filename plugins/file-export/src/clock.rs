//! UTC in names and titles.

/// Days from 1 March of the year 0 to 1 January 1970, in the Gregorian calendar.
const EPOCH_DAYS: u64 = 719_468;

/// Seconds since 1970 as `20261124T022510Z` (ISO 8601 without separators, which file systems dislike).
pub(crate) fn utc(unix_seconds: u64) -> String {
    let (year, month, day) = date(unix_seconds / 86_400);
    let (hour, minute, second) = time(unix_seconds);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Seconds since 1970 as `2026-11-24 02:25:10 UTC`, for people.
pub(crate) fn readable(unix_seconds: u64) -> String {
    let (year, month, day) = date(unix_seconds / 86_400);
    let (hour, minute, second) = time(unix_seconds);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Tells whether `text` begins as [`utc`] writes, with `-` after it.
pub(crate) fn starts_with_utc(text: &str) -> bool {
    let shape = b"ddddddddTddddddZ-";
    let text = text.as_bytes();
    text.len() > shape.len()
        && shape.iter().zip(text).all(|(shape, byte)| match shape {
            b'd' => byte.is_ascii_digit(),
            _ => shape == byte,
        })
}

fn time(unix_seconds: u64) -> (u64, u64, u64) {
    let second = unix_seconds % 86_400;
    (second / 3600, second / 60 % 60, second % 60)
}

/// Year, month and day of a day since 1970. Years are counted from March, so that the leap day is the
/// last one and month lengths follow one rule: 153 days in every five months.
fn date(unix_day: u64) -> (u64, u64, u64) {
    let day = unix_day + EPOCH_DAYS;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_date_command() {
        // `date -u -d @<seconds> +%Y%m%dT%H%M%SZ`
        for (seconds, expected) in [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (951_868_800, "20000301T000000Z"),
            (1_795_487_110, "20261124T022510Z"),
            (4_107_542_399, "21000228T235959Z"),
            (4_107_542_400, "21000301T000000Z"),
            (253_402_300_799, "99991231T235959Z"),
        ] {
            assert_eq!(utc(seconds), expected);
        }
        assert_eq!(readable(1_795_487_110), "2026-11-24 02:25:10 UTC");
    }

    #[test]
    fn recognizes_its_own_names() {
        assert!(starts_with_utc("20261124T022510Z-000042"));
        assert!(!starts_with_utc("of-my-dog"));
        assert!(!starts_with_utc("20261124T022510Z"));
    }
}
