//! The files of `deploy/samples`, so that the demo runs wherever the executable is.

use std::io;
use std::path::Path;

/// Nodes, gateways and bots.
pub const FLEET: &str = include_str!("../../../deploy/samples/fleet.toml");

/// Two gateways.
pub const SIM: &str = include_str!("../../../deploy/samples/sim.toml");

/// The agents, with the nodes that they are and the gateways that they reach.
pub const AGENTS: [(&str, &str, &str); 2] = [
    ("agent-a", "evolution-a", include_str!("../../../deploy/samples/agent-a.toml")),
    ("agent-b", "evolution-b", include_str!("../../../deploy/samples/agent-b.toml")),
];

/// What every recipient is sent.
pub const TEXT: &str = "Olá {name}";

/// Media that rows of the file of recipients name.
pub const MEDIA: [(&str, &[u8]); 2] = [
    ("media/welcome.png", include_bytes!("../../../deploy/samples/media/welcome.png")),
    ("media/greeting.wav", include_bytes!("../../../deploy/samples/media/greeting.wav")),
];

const RECIPIENTS: &str = include_str!("../../../deploy/samples/recipients.csv");

/// The number of the first recipient beyond the rows of the file.
const FURTHER_RECIPIENTS: u64 = 5_511_910_000_000;

/// Rows of the file of recipients.
pub fn recipient_count() -> usize {
    RECIPIENTS.lines().count() - 1
}

/// A file with `count` recipients: the rows of the file, then the same rows with other numbers.
pub fn recipients(count: usize) -> String {
    let (header, rows) = RECIPIENTS.split_once('\n').unwrap_or((RECIPIENTS, ""));
    let rows: Vec<&str> = rows.lines().collect();
    let mut text = format!("{header}\n");
    for index in 0..count {
        let row = rows[index % rows.len()];
        if index < rows.len() {
            text.push_str(row);
        } else if let Some((_, rest)) = row.split_once(',') {
            text.push_str(&format!("+{},{rest}", FURTHER_RECIPIENTS + index as u64));
        }
        text.push('\n');
    }
    text
}

/// Writes everything into a folder.
pub fn write(folder: &Path, messages: usize) -> io::Result<()> {
    std::fs::create_dir_all(folder.join("media"))?;
    std::fs::write(folder.join("fleet.toml"), FLEET)?;
    std::fs::write(folder.join("sim.toml"), SIM)?;
    std::fs::write(folder.join("recipients.csv"), recipients(messages))?;
    for (name, _, text) in AGENTS {
        std::fs::write(folder.join(format!("{name}.toml")), text)?;
    }
    for (name, bytes) in MEDIA {
        std::fs::write(folder.join(name), bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_fleet_is_what_the_documents_say() {
        let fleet = muster_client::fleet_file::parse("fleet.toml", FLEET).unwrap();
        assert_eq!((fleet.nodes.len(), fleet.gateways.len(), fleet.bots.len()), (2, 2, 12));
        for (_, gateway, _) in AGENTS {
            assert!(fleet.gateways.keys().any(|id| id.as_str() == gateway), "{gateway}");
        }
    }

    #[test]
    fn there_are_as_many_recipients_as_asked_for_and_each_is_another() {
        assert_eq!(recipient_count(), 500);
        for count in [1, 500, 1_234] {
            let text = recipients(count);
            let numbers: HashSet<_> = text.lines().skip(1).filter_map(|row| row.split(',').next()).collect();
            assert_eq!(numbers.len(), count);
        }
    }
}
