//! Windows against a reference that asks the calendar of each minute, and against known days of known zones.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::limits::WINDOW_MARGIN;

const ZONES: [&str; 7] = [
    "America/Sao_Paulo",
    "America/New_York",
    "Europe/Lisbon",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Kiritimati",
    "UTC",
];

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

fn window(zone: &str, shifts: &[&str]) -> SendingWindow {
    SendingWindow::new(zone, shifts).unwrap()
}

fn violations(zone: &str, shifts: &[&str]) -> Vec<String> {
    let found = SendingWindow::new(zone, shifts).unwrap_err();
    found.iter().map(ToString::to_string).collect()
}

/// Whether the window is open, by what a clock on the wall shows and the texts of the shifts.
fn is_open_by_the_clock(window: &SendingWindow, now: Timestamp) -> bool {
    let shown = window.zone.on_the_wall(now);
    let today = shown.weekday().to_monday_zero_offset() as u16;
    let yesterday = (today + 6) % 7;
    let minute = shown.hour() as u16 * 60 + shown.minute() as u16;
    window.shifts.iter().any(|shift| {
        let on = |day| shift.days().any(|known| known == day);
        shift.intervals().iter().any(|interval| {
            let (begin, end) = (interval.begin(), interval.begin() + interval.minutes());
            (on(today) && (begin..end).contains(&minute))
                || (on(yesterday) && (begin..end).contains(&(minute + 24 * 60)))
        })
    })
}

/// The spans from `from` on, against the reference, minute by minute.
fn check(window: &SendingWindow, from: Timestamp, minutes: u32) {
    let mut span = window.at(from);
    for nth in 0..minutes {
        let now = from + MINUTE * i32::try_from(nth).unwrap();
        let open = is_open_by_the_clock(window, now);
        if !span.covers(now) {
            assert_eq!(span.change, Some(now), "{} changes at {now} and not before", window.to_text());
            let next = window.at(now);
            assert_ne!(next.is_open, span.is_open);
            assert_eq!(span.opens, if next.is_open { Some(now) } else { next.opens });
            span = next;
        }
        assert_eq!(
            span.is_open,
            open,
            "{} at {now}, where clocks show {}",
            window.to_text(),
            window.zone.on_the_wall(now)
        );
        let again = window.at(now);
        assert_eq!(again, Span { from: now, ..span }, "the same wherever one looks from");
    }
}

fn any_interval() -> impl Strategy<Value = String> {
    (0u16..24, 0u16..60, 0u16..=24, 0u16..60).prop_map(|(from, minute, to, end)| {
        let end = if to == 24 { 0 } else { end };
        format!("{from:02}:{minute:02}-{to:02}:{end:02}")
    })
}

/// A window of any shifts that do not overlap.
fn any_window() -> impl Strategy<Value = SendingWindow> {
    let zone = prop::sample::select(ZONES.to_vec());
    (zone, prop::collection::vec(any_shift(), 1..4))
        .prop_filter_map("overlaps", |(zone, shifts)| SendingWindow::new(zone, &shifts).ok())
}

fn any_shift() -> impl Strategy<Value = String> {
    let days = prop::sample::select(vec!["", "mon-fri ", "sat,sun ", "sun ", "fri-mon ", "tue,thu ", "wed "]);
    (days, prop::collection::vec(any_interval(), 1..3))
        .prop_map(|(days, intervals)| format!("{days}{}", intervals.join(",")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Any window in any zone is what a clock on the wall makes of it, around any change of the clocks and anywhere else.
    #[test]
    fn a_window_is_open_when_the_clock_says_so(
        window in any_window(), start in 0i32..60 * 365 * 24 * 60, at_a_change: bool,
    ) {
        let start = Timestamp::UNIX_EPOCH + MINUTE * start;
        let clocks = window.zone.clocks_change_after(start).filter(|_| at_a_change);
        // Changes of the clocks come at full minutes since 1970 in all of these.
        check(&window, clocks.map_or(start, |clocks| clocks - MINUTE * 12 * 60), 3 * 24 * 60);
    }

    /// What is shown of a window is read as the same one.
    #[test]
    fn a_window_is_its_text(window in any_window()) {
        let again = SendingWindow::from_text(&window.to_text()).unwrap();
        prop_assert_eq!(&again, &window);
        prop_assert_eq!(again.to_text(), window.to_text());
    }

    /// Any text is a window or is refused, and a window has an opening within 8 days: a week, and a day that a zone skips.
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,40}", days in 0i32..20_000) {
        let _ = SendingWindow::new(&text, &[&text]);
        if let Ok(window) = SendingWindow::new("Pacific/Apia", &[&text]) {
            let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24) * days;
            let span = window.at(now);
            prop_assert!(span.is_open || span.opens.is_some_and(|opens| opens <= now + SignedDuration::from_hours(24 * 8)));
        }
    }

    /// Time passes for a queue only while the window is open.
    #[test]
    fn time_passes_while_it_is_open(minutes in 0u32..3_000, start in 0i32..20_000) {
        let window = window("America/New_York", &["mon-fri 09:00-12:00,13:00-17:30", "sat 22:00-02:00"]);
        let now = window.zone.instant("2026-10-28T00:00") + MINUTE * start;
        let limit = now + SignedDuration::from_hours(24 * 60);
        let reached = window.after_open(now, Duration::from_secs(60) * minutes, limit).unwrap();
        let mut left = minutes;
        let mut at = now;
        while left > 0 || !is_open_by_the_clock(&window, at) {
            left -= u32::from(is_open_by_the_clock(&window, at));
            at += MINUTE;
        }
        prop_assert_eq!(reached, at);
        prop_assert_eq!(window.after_open(now, Duration::from_secs(60) * minutes, reached), Some(reached));
        prop_assert_eq!(window.after_open(now, Duration::from_secs(60) * minutes, reached - MINUTE), None);
    }
}

/// Opening and closing of a window on one day of a zone, as instants.
fn opening(zone: &str, shift: &str, day: &str) -> (String, String) {
    let window = window(zone, &[shift]);
    let before = window.at(window.zone.instant(&format!("{day}T00:00")) - MINUTE);
    let opens = before.opens.unwrap();
    (opens.to_string(), window.at(opens).change.unwrap().to_string())
}

#[test]
fn clocks_that_are_set_move_the_window_with_them() {
    let of = |opens: &str, closes: &str| (format!("{opens}:00Z"), format!("{closes}:00Z"));
    // The hour from 02:00 is not there in spring, and there twice in autumn.
    let night = |day| opening("America/New_York", "01:30-03:30", day);
    assert_eq!(night("2026-03-07"), of("2026-03-07T06:30", "2026-03-07T08:30"));
    assert_eq!(night("2026-03-08"), of("2026-03-08T06:30", "2026-03-08T07:30"));
    let early = |day| opening("America/New_York", "00:30-01:30", day);
    assert_eq!(early("2026-11-01"), of("2026-11-01T04:30", "2026-11-01T05:30"));
    // Clocks in Lisbon go by UTC in winter.
    let day = |day| opening("Europe/Lisbon", "08:00-20:00", day);
    assert_eq!(day("2026-03-28"), of("2026-03-28T08:00", "2026-03-28T20:00"));
    assert_eq!(day("2026-03-29"), of("2026-03-29T07:00", "2026-03-29T19:00"));
    assert_eq!(day("2026-10-25"), of("2026-10-25T08:00", "2026-10-25T20:00"));
    // Half an hour.
    let day = |day| opening("Australia/Lord_Howe", "08:00-20:00", day);
    assert_eq!(day("2026-04-04"), of("2026-04-03T21:00", "2026-04-04T09:00"));
    assert_eq!(day("2026-04-05"), of("2026-04-04T21:30", "2026-04-05T09:30"));
    // At midnight: the day begins at 01:00, and since 2019 no more.
    let day = |day| opening("America/Sao_Paulo", "00:00-06:00", day);
    assert_eq!(day("2018-11-04"), of("2018-11-04T03:00", "2018-11-04T08:00"));
    assert_eq!(day("2019-11-03"), of("2019-11-03T03:00", "2019-11-03T09:00"));
}

#[test]
fn an_hour_that_is_shown_twice_counts_twice() {
    let window = window("America/New_York", &["01:00-01:30"]);
    let mut now = window.zone.instant("2026-11-01T00:00");
    let mut opened = Vec::new();
    while opened.len() < 3 {
        let span = window.at(now);
        opened.extend(span.is_open.then(|| now.to_string()));
        now = span.change.unwrap();
    }
    assert_eq!(opened, ["2026-11-01T05:00:00Z", "2026-11-01T06:00:00Z", "2026-11-02T06:00:00Z"]);
}

#[test]
fn a_day_that_a_zone_skips_is_not_there() {
    // Samoa had no Friday 30 December 2011: it went from Thursday to Saturday.
    let friday = window("Pacific/Apia", &["fri 09:00-10:00"]);
    let before = friday.zone.instant("2011-12-29T12:00");
    assert_eq!(friday.zone.on_the_wall(friday.at(before).opens.unwrap()).to_string(), "2012-01-06T09:00:00");
    // What goes on past midnight goes on into the day that the clocks show.
    let night = window("Pacific/Apia", &["22:00-02:00"]);
    let evening = night.zone.instant("2011-12-29T23:00");
    assert_eq!(night.at(evening).change, Some(evening + SignedDuration::from_hours(3)));
    assert_eq!(night.zone.on_the_wall(evening + SignedDuration::from_hours(3)).to_string(), "2011-12-31T02:00:00");
    // Kiritimati, 14 hours ahead of UTC, had no 31 December 1994 (it was a Saturday).
    let saturday = window("Pacific/Kiritimati", &["sat 00:00-24:00"]);
    let before = saturday.zone.instant("1994-12-30T12:00");
    assert_eq!(saturday.zone.on_the_wall(saturday.at(before).opens.unwrap()).to_string(), "1995-01-07T00:00:00");
    assert_eq!(saturday.at(before).opens.unwrap().to_string(), "1995-01-06T10:00:00Z");
}

#[test]
fn a_change_is_at_a_full_minute_whenever_one_looks() {
    let window = window("UTC", &["08:00-10:00"]);
    let span = window.at("2026-01-01T07:59:59.123456789Z".parse().unwrap());
    assert_eq!(span.opens.unwrap().to_string(), "2026-01-01T08:00:00Z");
    assert!(!window.at("2026-01-01T07:59:59.999999999Z".parse().unwrap()).is_open);
    assert!(window.at("2026-01-01T08:00:00.000000001Z".parse().unwrap()).is_open);
}

#[test]
fn leap_days_have_their_weekday() {
    let window = window("UTC", &["tue 12:00-13:00"]);
    let opens = window.at("2028-02-28T00:00:00Z".parse().unwrap()).opens.unwrap();
    assert_eq!(opens.to_string(), "2028-02-29T12:00:00Z");
}

#[test]
fn a_window_that_is_always_open_never_changes() {
    for shifts in [&["00:00-24:00"][..], &["mon-fri 00:00-24:00", "sat,sun 00:00-12:00,12:00-24:00"]] {
        let span = window("America/Sao_Paulo", shifts).at("2018-11-04T00:00:00Z".parse().unwrap());
        assert_eq!((span.is_open, span.change, span.opens), (true, None, None));
        assert_eq!(span.room(span.from), Some(Duration::MAX));
    }
}

#[test]
fn nothing_is_chosen_in_the_last_moments() {
    let window = window("UTC", &["08:00-18:00"]);
    let room = |text: &str| {
        let now = text.parse().unwrap();
        window.at(now).room(now)
    };
    assert_eq!(room("2026-01-01T07:59:59.999999Z"), None);
    assert_eq!(room("2026-01-01T08:00:00Z"), Some(Duration::from_secs(10 * 3_600) - WINDOW_MARGIN));
    assert_eq!(room("2026-01-01T17:59:29.999999Z"), Some(Duration::from_micros(1)));
    assert_eq!(room("2026-01-01T17:59:30Z"), None);
    assert_eq!(room("2026-01-01T18:00:00Z"), None);
}

#[test]
fn shifts_are_read_in_every_spelling_and_shown_in_one() {
    for (text, shown) in [
        ("mon-fri 8:00-12:00, 13:00-18:00", "mon-fri 08:00-12:00,13:00-18:00"),
        (" 08:00-20:00 ", "08:00-20:00"),
        ("mon-sun 00:00-24:00", "00:00-24:00"),
        ("Fri-Mon 22:00-02:00", "mon,fri-sun 22:00-02:00"),
        ("sun,sat 10:00-00:00", "sat,sun 10:00-00:00"),
        ("mon,tue,wed 10:00-11:00", "mon-wed 10:00-11:00"),
    ] {
        assert_eq!(Shift::parse(text).unwrap().to_string(), shown);
    }
    let found = SendingWindow::new("america/sao_paulo", &["08:00-20:00"]).unwrap();
    assert_eq!(found.to_text(), "America/Sao_Paulo; 08:00-20:00");
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let good = "08:00-20:00";
    let wrong = |shift| violations("UTC", &[good, shift]).join("\n");
    for (shift, told) in [
        ("08:00-08:00", "shifts[1]: \"08:00-08:00\" is empty; the whole day is 00:00-24:00"),
        ("8-20", "shifts[1]: \"8-20\" must be an interval such as 08:00-12:00, within 00:00-24:00"),
        ("24:00-02:00", "shifts[1]: \"24:00-02:00\" must be an interval"),
        ("08:00-24:01", "shifts[1]: \"08:00-24:01\" must be an interval"),
        ("08:60-09:00", "shifts[1]: \"08:60-09:00\" must be an interval"),
        ("+8:00-09:00", "shifts[1]: \"+8:00-09:00\" must be an interval"),
        ("", "shifts[1]: \"\" must be an interval"),
        ("noday 08:00-09:00", "shifts[1]: \"noday\" must be a day of mon, tue,"),
        ("mon,mon-wed 06:00-07:00", "shifts[1]: \"mon,mon-wed\" names mon twice"),
        ("mon 19:59-21:00", "shifts[1]: \"mon 19:59-21:00\" overlaps with \"08:00-20:00\""),
        ("sun 23:00-08:01", "shifts[1]: \"sun 23:00-08:01\" overlaps with \"08:00-20:00\""),
        ("20:00-21:00,20:30-22:00", "shifts[1]: \"20:00-21:00,20:30-22:00\" has intervals that overlap"),
        (good, "shifts[1]: \"08:00-20:00\" overlaps with \"08:00-20:00\""),
    ] {
        assert!(wrong(shift).starts_with(told), "{}", wrong(shift));
    }
    assert!(violations("Mars/Olympus", &[good])[0].starts_with("time_zone: \"Mars/Olympus\" must be a time zone"));
    assert!(violations("Etc/Unknown", &[good])[0].starts_with("time_zone:"));
    assert_eq!(violations("UTC", &[]), ["shifts: must name at least one shift: the window would never open"]);
    let both = violations("", &["x"]);
    assert_eq!(both.len(), 2, "{both:?}");
    // Touching is not overlapping, also across the end of the week.
    assert!(SendingWindow::new("UTC", &[good, "20:00-08:00"]).unwrap().at(Timestamp::UNIX_EPOCH).change.is_none());
}

#[test]
fn a_window_has_so_many_intervals_and_no_more() {
    let shifts = |count: usize| -> Vec<String> { (0..count).map(|nth| format!("{nth:02}:00-{nth:02}:30")).collect() };
    assert!(SendingWindow::new("UTC", &shifts(WINDOW_INTERVALS_MAX)).is_ok());
    let found = SendingWindow::new("UTC", &shifts(WINDOW_INTERVALS_MAX + 1)).unwrap_err();
    assert_eq!(found[0].to_string(), "shifts: must have at most 16 intervals in all");
}
