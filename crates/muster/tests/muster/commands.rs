//! Client commands: what they say when something is wrong, and what their answers look like.

use crate::stage::{Stage, muster, sample};

#[test]
fn wrong_usage_is_told_before_anything_is_connected() {
    for args in [
        &["send"][..],
        &["send", "sales-1"],
        &["send", "sales-1", "+5511900000001", "--file", "x.csv"],
        &["send", "Not A Bot", "+5511900000001", "--text", "x"],
        &["send", "--file", "x.csv", "--text", "Olá {name"],
        &["send", "--file", "x.csv", "--text", "x", "--not-before", "2h"],
        &["message", "get", "nonsense"],
        &["message", "ls", "--state", "flying"],
        &["bot", "hold", "sales-1"],
        &["bot", "ls", "--server", "https://127.0.0.1:1"],
        &["nonsense"],
    ] {
        let ran = muster(args).ended(2);
        assert!(ran.out.is_empty() && !ran.err.is_empty(), "{args:?}");
    }
}

#[test]
fn a_server_that_is_not_there_is_told_with_what_to_do() {
    let ran = muster(&["message", "ls", "--server", "127.0.0.1:1"]).ended(1);
    assert_eq!(
        ran.err,
        "muster: no server answers at http://127.0.0.1:1; start one with `muster server`, or name another with --server or \
         MUSTER_SERVER\n"
    );
}

#[test]
fn every_command_teaches_itself() {
    let help = muster(&["--help"]).done().out;
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    for command in commands.filter_map(|line| line.split_whitespace().next()) {
        let help = muster(&["help", command]).done().out;
        assert!(help.contains("Usage: muster"), "{command}");
    }
    assert!(help.contains("Exit codes: 0 done, 1 failed or partly refused, 2 wrong usage, 78 wrong configuration."));
}

#[test]
fn a_wrong_number_is_told_in_words() {
    for number in ["0", "-1", "many"] {
        let told = muster(&["demo", &format!("--messages={number}")]).ended(2).err;
        assert!(told.contains("expected a whole number, at least 1"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_applied_once_and_its_faults_are_told_with_their_lines() {
    let stage = Stage::start().await;
    let fleet = sample("fleet.toml");
    let fleet = fleet.to_str().unwrap();
    let planned = stage.muster(&["apply", "-f", fleet, "--dry-run"]).done().out;
    assert!(planned.contains("+ bots/sales-1  gateway=evolution-a  address=+55*******9001"), "{planned}");
    assert!(planned.ends_with("16 to create, 0 to change, 0 to remove, 0 as declared\n"), "{planned}");
    assert_eq!(stage.muster(&["bot", "ls", "-o", "json"]).done().json(), serde_json::json!([]));
    let applied = stage.muster(&["apply", "-f", fleet, "-o", "json"]).done().json();
    assert_eq!((applied["applied"].as_bool(), applied["differences"].as_array().map(Vec::len)), (Some(true), Some(16)));
    assert_eq!(stage.muster(&["apply", "-f", fleet]).done().out, "nothing to do: 16 resources as declared\n");

    let smaller: String =
        std::fs::read_to_string(fleet).unwrap().split("[[bot]]").take(12).collect::<Vec<_>>().join("[[bot]]");
    let smaller = stage.file("smaller.toml", smaller);
    assert!(stage.muster(&["apply", "-f", &smaller]).done().out.starts_with("nothing to do"));
    let refused = stage.muster(&["apply", "-f", &smaller, "--prune"]).ended(2);
    assert!(refused.err.contains("1 resource would be removed; pass --yes"), "{}", refused.err);
    let pruned = stage.muster(&["apply", "-f", &smaller, "--prune", "--yes"]).done().out;
    assert!(pruned.contains("- bots/support-6"), "{pruned}");

    let broken = stage.file("broken.toml", "[[bot]]\nid = \"A\"\ngateway = \"g\"\n");
    let told = stage.muster(&["apply", "-f", &broken]).ended(1).err;
    assert!(told.contains("broken.toml:2:6: id: must consist of"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_refuses_is_told_with_reason_and_field() {
    let stage = Stage::with_fleet().await;
    let told = stage.muster(&["send", "sales-9", "+5511900000001", "--text", "x"]).ended(1).err;
    assert!(told.starts_with("muster: ") && told.contains("bots/sales-9") && told.contains("(BOT_UNKNOWN)"), "{told}");
    let told = stage.muster(&["send", "sales-1", "nobody", "--text", "x"]).ended(1).err;
    assert!(told.contains("recipient: must be a WhatsApp address") && told.contains("INVALID_MESSAGE"), "{told}");
    assert!(!told.contains("nobody"), "{told}");
    let told = stage.muster(&["send", "sales-1", "+5511900000001", "--image", "/no/such.png"]).ended(1).err;
    assert!(told.contains("--image: read /no/such.png"), "{told}");

    let first = stage.muster(&["send", "sales-1", "+5511900000001", "--text", "x", "--key", "k", "-o", "json"]).done();
    let again = stage.muster(&["send", "sales-1", "+5511900000001", "--text", "x", "--key", "k", "-o", "json"]).done();
    assert_eq!(first.json()["name"], again.json()["name"]);
    assert!(again.err.contains("accepted before"), "{}", again.err);
    let told = stage.muster(&["send", "sales-1", "+5511900000001", "--text", "y", "--key", "k"]).ended(1).err;
    assert!(told.contains("IDEMPOTENCY_KEY_REUSED"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_waits_is_explained_and_can_be_taken_back() {
    let stage = Stage::with_fleet().await;
    stage.muster(&["bot", "hold", "sales-1", "--reason", "new SIM", "--until", "2h", "--author", "ana"]).done();
    let sent = stage.muster(&["send", "sales-1", "+5511900000001", "--text", "Olá!", "-o", "json"]).done().json();
    let id = sent["name"].as_str().unwrap().strip_prefix("messages/").unwrap().to_owned();

    let listed = stage.muster(&["message", "ls", "--state", "waiting"]).done().out;
    assert!(
        listed.contains(&id) && listed.contains("+55*******0001") && !listed.contains("+5511900000001"),
        "{listed}"
    );
    let shown = stage.muster(&["message", "ls", "--show-addresses"]).done().out;
    assert!(shown.contains("+5511900000001"), "{shown}");

    let trace = stage.muster(&["message", "trace", &id]).done().out;
    assert!(
        trace.contains("waits: BOT_HELD") && trace.contains("new SIM") && trace.contains("looked at again"),
        "{trace}"
    );
    let trace = stage.muster(&["message", "trace", &id, "-o", "json"]).done().json();
    assert_eq!(trace["message"]["waiting"]["reason"], "BOT_HELD");
    assert_eq!(trace["message"]["content"], serde_json::json!({"kind": "text", "body": "Olá!"}));

    let held = stage.muster(&["bot", "ls", "--held"]).done().out;
    assert!(held.contains("sales-1") && held.contains("new SIM") && !held.contains("sales-2"), "{held}");
    stage.muster(&["bot", "resume", "sales-1"]).done();
    let trace = stage.muster(&["message", "trace", &id]).done().out;
    assert!(trace.contains("waits: NODE_OFFLINE"), "{trace}");

    stage.muster(&["message", "cancel", &id]).done();
    let told = stage.muster(&["message", "cancel", &id]).ended(1).err;
    assert!(told.contains("CANCELLED"), "{told}");
    assert_eq!(stage.count("CANCELLED"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_where_the_one_before_ended() {
    let stage = Stage::with_fleet().await;
    let watch = |args: &[&str], lines: usize| -> (Vec<serde_json::Value>, String) {
        use std::io::{BufRead, BufReader, Read};
        let mut child = stage
            .command(&[&["message", "watch", "-o", "jsonl"], args].concat())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        let read = (0..lines).map(|_| serde_json::from_str(&out.next().unwrap().unwrap()).unwrap()).collect();
        let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let mut told = String::new();
        child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        assert!(child.wait().unwrap().success(), "{told}");
        let cursor = told.lines().find_map(|line| line.strip_prefix("go on with --cursor ")).unwrap().to_owned();
        (read, cursor)
    };
    for number in 1..=3 {
        stage.muster(&["send", "sales-1", &format!("+551190000000{number}"), "--text", "x"]).done();
    }
    let (first, cursor) = watch(&["--from-start"], 3);
    assert!(first.iter().all(|change| change["state"] == "WAITING"), "{first:?}");
    stage.muster(&["send", "sales-1", "+5511900000004", "--text", "x"]).done();
    let (next, _) = watch(&["--cursor", &cursor], 1);
    assert!(first.iter().all(|change| change["message"] != next[0]["message"]), "{next:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_is_no_failure() {
    let stage = Stage::with_fleet().await;
    let mut child = stage
        .command(&["bot", "ls", "-o", "jsonl"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_outlives_its_server() {
    use std::io::{BufRead, BufReader};
    let mut stage = Stage::with_fleet().await;
    let address = stage.address();
    stage.server.set_option("--listen", address.strip_prefix("http://").unwrap());
    let mut child = stage
        .command(&["message", "watch", "--from-start", "-o", "jsonl"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next =
        || serde_json::from_str::<serde_json::Value>(&out.next().unwrap().unwrap()).unwrap()["message"].clone();
    let send = |stage: &Stage, number: u8| {
        let to = format!("+551190000000{number}");
        stage.muster(&["send", "sales-1", &to, "--text", "x", "-o", "json"]).done().json()["name"].clone()
    };
    let first = send(&stage, 1);
    assert_eq!(next(), first);
    stage.server.kill().await.unwrap();
    stage.server.start().await.unwrap();
    let second = send(&stage, 2);
    assert_eq!(next(), second);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn shells_complete_every_command_and_bash_takes_the_script() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = muster(&["completions", shell]).done().out;
        for word in ["muster", "message", "trace", "reply-to", "ready-file"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    // What bash would offer after `muster inbo`.
    let complete = "source <(\"$0\" completions bash); COMP_WORDS=(muster inbo); COMP_CWORD=1; \
                    _muster muster inbo muster; echo \"${COMPREPLY[*]}\"";
    let ran = std::process::Command::new("bash").args(["-c", complete, crate::stage::MUSTER]).output().unwrap();
    assert_eq!(String::from_utf8(ran.stdout).unwrap().trim(), "inbound", "{}", String::from_utf8_lossy(&ran.stderr));
    muster(&["completions", "tcsh"]).ended(2);
}
