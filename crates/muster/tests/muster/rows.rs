//! `muster send --file`, from good rows to bad ones.

use std::fmt::Write as _;
use std::process::Stdio;

use crate::stage::{MUSTER, Stage, sample, until};

fn csv(rows: usize) -> String {
    let mut text = "to,name,bot\n".to_owned();
    for row in 0..rows {
        writeln!(text, "+55119{row:08},Ana {row},sales-{}", row % 6 + 1).unwrap();
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_file_twice_sends_nothing_twice() {
    let stage = Stage::with_fleet().await;
    let file = sample("recipients.csv");
    let args = ["send", "--file", file.to_str().unwrap(), "--text", "Olá {name}"];
    assert_eq!(stage.muster(&args).done().out, "500 rows: 500 accepted\n");
    assert_eq!(stage.muster(&args).done().out, "500 rows: 0 accepted, 500 already accepted\n");
    let shuffled = {
        let text = std::fs::read_to_string(&file).unwrap();
        let (header, rows) = text.split_once('\n').unwrap();
        let mut rows: Vec<&str> = rows.lines().collect();
        rows.reverse();
        rows.truncate(100);
        format!("{header}\n{}\n", rows.join("\n"))
    };
    let media = sample("media");
    std::fs::create_dir(stage.folder.path().join("media")).unwrap();
    for entry in std::fs::read_dir(media).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, stage.folder.path().join("media").join(path.file_name().unwrap())).unwrap();
    }
    let shuffled = stage.file("shuffled.csv", shuffled);
    let ran = stage.muster(&["send", "--file", &shuffled, "--text", "Olá {name}"]).done();
    assert_eq!(ran.out, "100 rows: 0 accepted, 100 already accepted\n");
    let ran =
        stage.muster(&["send", "--file", &shuffled, "--text", "Olá {name}", "--run", "again", "-o", "json"]).done();
    assert_eq!(ran.json()["accepted"], 100);
    assert_eq!(stage.count("WAITING"), 600);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_rows_are_told_with_line_and_column_and_do_not_stop_the_others() {
    let stage = Stage::with_fleet().await;
    let mut bytes = "\u{feff}to;name;bot\r\n+5511900000001;\"Ana; Maria\";sales-1\r\n".as_bytes().to_vec();
    bytes.extend_from_slice(b"+5511900000002;Jo\xe3o;sales-1\r\n");
    bytes.extend_from_slice("nobody;Rui;sales-1\r\n+5511900000003;Rui\r\n+5511900000004;Zé;sales-99\r\n".as_bytes());
    bytes.extend_from_slice("+5511900000005;Zé;sales-2".as_bytes());
    let file = stage.file("mixed.csv", &bytes);
    let ran = stage.muster(&["send", "--file", &file, "--text", "Olá {name}", "-o", "json"]).ended(1);
    let summary = ran.json();
    assert_eq!((summary["rows"].as_u64(), summary["accepted"].as_u64()), (Some(6), Some(2)), "{ran:#?}");
    let expected = [
        ("line 3, column 2 (name)", "is not UTF-8"),
        ("line 4, column 1 (to)", "must be a WhatsApp address"),
        ("line 5, column 3 (bot)", "has 2 fields where the header has 3"),
        ("line 6, column 3 (bot)", "BOT_UNKNOWN"),
    ];
    for (place, told) in expected {
        let found = ran.err.lines().any(|line| line.contains(place) && line.contains(told));
        assert!(found, "{place} {told}: {}", ran.err);
    }
    assert!(!ran.err.contains("nobody"), "{}", ran.err);

    let checked = stage.muster(&["send", "--file", &file, "--text", "Olá {name}", "--dry-run", "-o", "json"]).ended(1);
    assert_eq!(checked.json()["refused"]["INVALID_VALUE"], 2, "{checked:#?}");
    assert_eq!(stage.count("WAITING"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_ends_with_the_first_bad_row() {
    let stage = Stage::with_fleet().await;
    let text = "to,bot\n+5511900000001,sales-1\n+5511900000002,sales-99\n+5511900000003,sales-1\n";
    let ran = stage.muster_with_input(&["send", "--file", "-", "--text", "x", "--strict"], text.as_bytes()).ended(1);
    assert!(ran.out.contains("stopped at line 3; rows after it were not sent"), "{}", ran.out);
    assert_eq!(stage.count("WAITING"), 1);
    let ran =
        stage.muster_with_input(&["send", "--file", "-", "--text", "{nome}", "--strict"], text.as_bytes()).ended(1);
    assert!(ran.err.contains("line 2: the text names {nome}"), "{}", ran.err);
    assert_eq!(stage.count("WAITING"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn json_lines_come_from_standard_input() {
    let stage = Stage::with_fleet().await;
    let text =
        "{\"to\": \"+5511900000001\", \"name\": \"Ana\"}\n{\"to\": \n{\"to\": \"+5511900000002\", \"name\": \"Rui\"}\n";
    let args = ["send", "--file", "-", "--format", "jsonl", "--bot", "sales-1", "--text", "Olá {name}"];
    let ran = stage.muster_with_input(&args, text.as_bytes()).ended(1);
    assert!(ran.err.contains("standard input, line 2, column"), "{}", ran.err);
    assert_eq!(stage.count("WAITING"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_none_is_refused_as_a_whole() {
    let stage = Stage::with_fleet().await;
    let told = |content: &[u8]| {
        let file = stage.file("wrong.csv", content);
        stage.muster(&["send", "--file", &file, "--text", "x"]).ended(1).err
    };
    assert!(told(b"").contains("the file is empty"));
    assert!(told(b"phone,name\n+1,Ana\n").contains("no column is named \"to\""));
    assert!(told(b"\xff\xfet\0o\0").contains("UTF-16"));
    assert_eq!(stage.count("WAITING"), 0);
    let unclosed = format!("to,bot\n+5511900000001,sales-1\n+5511900000002,\"sales-1\n{}", "x\n".repeat(1_000_000));
    let ran = stage.muster_with_input(&["send", "--file", "-", "--text", "x"], unclosed.as_bytes()).ended(1);
    assert!(ran.err.contains("line 3: the row has more than 1048576 bytes"), "{}", ran.err);
    assert!(ran.out.contains("1 row: 1 accepted"), "{}", ran.out);
    assert_eq!(stage.count("WAITING"), 1);
    let missing = stage.muster(&["send", "--file", "/no/such.csv", "--text", "x"]).ended(1).err;
    assert!(missing.contains("read /no/such.csv"), "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_in_between_costs_nothing_and_doubles_nothing() {
    let mut stage = Stage::with_fleet().await;
    let address = stage.address();
    stage.server.set_option("--listen", address.strip_prefix("http://").unwrap());
    let rows = 20_000;
    let file = stage.file("many.csv", csv(rows));
    let sending = stage
        .command(&["send", "--file", &file, "--text", "Olá {name}", "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    for accepted in [500, 5_000] {
        until("some rows are accepted", || stage.count("WAITING") > accepted);
        stage.server.kill().await.unwrap();
        stage.server.start().await.unwrap();
    }
    let output = tokio::task::spawn_blocking(|| sending.wait_with_output().unwrap()).await.unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && told.contains("lost the server"), "{told}");
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let accepted = summary["accepted"].as_u64().unwrap() + summary["replayed"].as_u64().unwrap();
    assert_eq!((accepted, stage.count("WAITING")), (rows as u64, rows as u64), "{summary}");
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_does_not_grow_with_the_file() {
    let stage = Stage::with_fleet().await;
    let peak = |rows: usize| {
        let file = stage.file(&format!("{rows}.csv"), csv(rows));
        let mut command = std::process::Command::new(MUSTER);
        let mut child = command
            .args(["send", "--file", &file, "--text", "Olá {name}", "--dry-run"])
            .env("MUSTER_SERVER", stage.address())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let status = format!("/proc/{}/status", child.id());
        let mut peak = 0;
        while child.try_wait().unwrap().is_none() {
            let text = std::fs::read_to_string(&status).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            peak = line
                .and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok())
                .map_or(peak, |kb| peak.max(kb));
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        assert!(child.wait().unwrap().success());
        peak
    };
    let (small, large) = (peak(20_000), peak(200_000));
    // The numbering of equal rows takes about 20 bytes each; everything else must stay what it is.
    assert!(large < small + 8 * 1024, "{small} kB for 20,000 rows, {large} kB for 200,000");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_bot_takes_no_more_of_waits_for_room() {
    let stage = Stage::with_fleet().await;
    // Nobody sends: what a bot takes for a message is then assumed to be a millisecond. These make room by expiring.
    let rows = |count: usize| (0..count).fold("to\n".to_owned(), |text, row| text + &format!("+55119{row:08}\n"));
    let many = stage.file("many.csv", rows(2_000));
    let args = ["send", "--file", &many, "--bot", "sales-1", "--text", "x", "--validity", "15s"];
    assert_eq!(stage.muster(&args).done().out, "2,000 rows: 2,000 accepted\n");

    let few = stage.file("few.csv", rows(3));
    let file = ["send", "--file", &few, "--bot", "sales-1", "--text", "y", "--validity", "1s", "-o", "json"];
    let one = ["send", "sales-1", "+5511900000001", "--text", "z", "--validity", "1s"];
    let refused = stage.muster(&[&one[..], &["--wait", "0s"]].concat()).ended(1).err;
    assert!(refused.contains("BACKLOG_FULL") && refused.contains("send it again in"), "{refused}");
    let refused = stage.muster(&[&file[..], &["--wait", "0s"]].concat()).ended(1);
    assert_eq!(refused.json()["refused"]["BACKLOG_FULL"], 3, "{refused:#?}");

    let sent = stage.muster(&file).done();
    let (told, tally) = (&sent.err, sent.json());
    assert_eq!((tally["accepted"].as_u64(), tally["refused"].to_string()), (Some(3), "{}".to_owned()));
    assert!(tally["postponed"].as_u64() >= Some(3) && tally["waited_ms"].as_u64() >= Some(1_000), "{tally}");
    assert!(told.contains("its rows wait, until nothing was accepted for 10 min (--wait)"), "{told}");
    stage.muster(&one).done();
}
