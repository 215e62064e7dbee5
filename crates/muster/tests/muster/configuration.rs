//! Configuration, and how a role tells that it cannot start.

use std::net::TcpListener;

use crate::stage::{muster, sample};

fn with_file(role: &str, content: &str) -> crate::stage::Ran {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.toml");
    std::fs::write(&path, content).unwrap();
    muster(&[role, "--config", path.to_str().unwrap()])
}

#[test]
fn an_unknown_key_is_placed_and_corrected() {
    let ran = with_file("server", "database = \"x.db\"\nlissten = \"127.0.0.1:0\"\n").ended(78);
    assert!(ran.err.contains("file.toml:2:1: unknown field `lissten`"), "{}", ran.err);
    assert!(ran.err.contains("did you mean `listen`?"), "{}", ran.err);
    let ran = with_file("agent", "[gateways.a]\nurl = \"http://127.0.0.1:1\"\napi_kye = \"secret\"\n").ended(78);
    assert!(ran.err.contains("file.toml:3:1") && ran.err.contains("`api_key`"), "{}", ran.err);
    assert!(!ran.err.contains("secret"), "{}", ran.err);
    let ran = with_file(
        "sim",
        "[[gateways]]\nname = \"a\"\nlisten = \"127.0.0.1:0\"\napi_key = \"k\"\n[gateways.faults]\nhang = 1\n",
    );
    assert!(ran.ended(78).err.contains("unknown field `hang`"));
}

#[test]
fn wrong_values_are_wrong_configuration() {
    for (role, content, told) in [
        ("server", "listen = \"nowhere\"", "file.toml:1:10"),
        ("server", "stall_timeout = \"1s\"", "stall_timeout must be at least two heartbeat intervals"),
        ("server", "[retention]\nmessages = 5", "file.toml:2:12"),
        ("server", "database = ", "file.toml:1:"),
        ("agent", "node = \"Not A Node\"", "node: must consist of"),
        ("agent", "server = \"http://127.0.0.1:1\"", "node: is missing"),
        ("sim", "gateways = []", "must name at least one gateway"),
    ] {
        let ran = with_file(role, content).ended(78);
        assert!(ran.err.replace(": ", " ").contains(&told.replace(": ", " ")), "{role} {content}: {}", ran.err);
    }
    let ran = muster(&["server", "--config", "/no/such/file.toml"]).ended(78);
    assert!(ran.err.contains("read /no/such/file.toml"), "{}", ran.err);
    muster(&["server", "--listen", "nowhere"]).ended(2);
}

#[test]
fn what_is_printed_can_be_read_and_keys_are_masked() {
    for (role, file) in
        [("server", "server.toml"), ("agent", "agent-a.toml"), ("agent", "agent-b.toml"), ("sim", "sim.toml")]
    {
        let printed = muster(&["config", "print", role, "--config", sample(file).to_str().unwrap()]).done().out;
        assert!(!printed.contains("sim-key"), "{printed}");
        let parsed: toml::Table = toml::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"));
        assert!(!parsed.is_empty());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("printed.toml");
        std::fs::write(&path, &printed).unwrap();
        let again = muster(&["config", "print", role, "--config", path.to_str().unwrap()]).done().out;
        assert_eq!(again, printed);
    }
    let defaults = muster(&["config", "print", "server"]).done().out;
    assert!(defaults.contains("# The database file, created where there is none."), "{defaults}");
    assert!(defaults.contains("database = \"muster.db\""), "{defaults}");
}

#[test]
fn the_environment_stands_between_file_and_flags() {
    let print = |environment: &[(&str, &str)]| {
        let mut command = std::process::Command::new(crate::stage::MUSTER);
        command.args(["config", "print", "server", "--config", sample("server.toml").to_str().unwrap()]);
        String::from_utf8(command.envs(environment.iter().copied()).output().unwrap().stdout).unwrap()
    };
    assert!(print(&[]).contains("database = \"muster.db\""));
    assert!(print(&[("MUSTER_DATABASE", "other.db")]).contains("database = \"other.db\""));
}

#[test]
fn a_port_in_use_and_a_database_that_cannot_be_opened_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let database = folder.path().join("muster.db");
    let ran = muster(&["server", "--listen", &address, "--database", database.to_str().unwrap()]).ended(1);
    assert!(
        ran.err.contains(&format!("listen on {address}")) && ran.err.contains("another program has it"),
        "{}",
        ran.err
    );
    assert!(!database.exists());

    let start = |database: &str| muster(&["server", "--listen", "127.0.0.1:0", "--database", database]).ended(1).err;
    let told = start("/no/such/folder/muster.db");
    assert!(told.contains("open the database /no/such/folder/muster.db"), "{told}");
    std::fs::write(&database, vec![b'x'; 8_192]).unwrap();
    let told = start(database.to_str().unwrap());
    assert!(told.contains("damaged"), "{told}");

    let ran = muster(&[
        "sim",
        "--admin",
        "127.0.0.1:0",
        "--ledger",
        folder.path().join("l").to_str().unwrap(),
        "--gateway",
        &format!("a={address}"),
    ]);
    assert!(ran.ended(1).err.contains("cannot listen on"));
}
