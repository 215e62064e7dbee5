//! When a bot may send.

use muster_domain::Violation;
use muster_domain::window::{SendingWindow, Span};

use super::time::write_timestamp;
use crate::v1 as wire;

/// Reads a window. Paths are those of the window.
pub fn read(window: wire::SendingWindow) -> Result<SendingWindow, Vec<Violation>> {
    SendingWindow::new(&window.time_zone, &window.shifts)
}

/// Writes a window.
pub fn write(window: &SendingWindow) -> wire::SendingWindow {
    wire::SendingWindow { time_zone: window.time_zone().to_owned(), shifts: window.shifts().collect() }
}

/// Writes whether a window is open.
pub fn write_state(span: &Span) -> wire::WindowState {
    wire::WindowState {
        open: span.is_open,
        change_time: span.change.map(write_timestamp),
        open_time: span.opens.map(write_timestamp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_survive_the_wire_and_nonsense_is_named() {
        let window = SendingWindow::new("Europe/Lisbon", &["mon-fri 08:00-18:00", "sat 09:00-13:00"]).unwrap();
        assert_eq!(read(write(&window)).unwrap(), window);
        let wrong = wire::SendingWindow { time_zone: "Mars".into(), shifts: vec!["08:00-20:00".into(), "x".into()] };
        let fields: Vec<_> = read(wrong).unwrap_err().into_iter().map(|violation| violation.field).collect();
        assert_eq!(fields, ["time_zone", "shifts[1]"]);
    }
}
