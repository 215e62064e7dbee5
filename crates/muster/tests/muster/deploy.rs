//! What stands in `deploy/` and in the documents is understood by the executable: command lines, flags and configuration keys.

use std::path::{Path, PathBuf};

use crate::stage::{Stage, muster};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files.sort();
    assert!(!files.is_empty(), "{folder} has no *.{extension}");
    files
}

/// Has the executable read a command line without carrying it out: it refuses what it does not know before it comes to the
/// help.
#[track_caller]
fn is_understood(place: &str, words: &[String]) {
    let words: Vec<&str> = words.iter().map(String::as_str).chain(["--help"]).collect();
    let ran = muster(&words);
    assert_eq!(ran.code, Some(0), "{place}: muster {}\n{}", words.join(" "), ran.err);
}

/// The words of a line of a shell, up to whatever is not part of the command: a comment, a pipe, another command.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quote) = (None::<String>, None);
    for c in line.chars().chain([' ']) {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if "|&;<>".contains(c) || (c == '#' && word.is_none()) => {
                words.extend(word);
                return words;
            }
            None if c.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    words
}

#[test]
fn lines_of_a_shell_are_taken_apart() {
    assert_eq!(
        words("muster send a +55 --text 'Olá {name}' # why"),
        ["muster", "send", "a", "+55", "--text", "Olá {name}"]
    );
    assert_eq!(words("muster message ls | head"), ["muster", "message", "ls"]);
    assert_eq!(words("muster message watch &"), ["muster", "message", "watch"]);
}

#[test]
fn units_start_what_there_is() {
    for unit in files("deploy/systemd", "service") {
        let text = read(&unit);
        let starts: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("ExecStart=/usr/bin/muster ")).collect();
        assert_eq!(starts.len(), 1, "{}", unit.display());
        is_understood(&unit.display().to_string(), &words(starts[0]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_start_what_there_is_with_a_configuration_that_is_understood() {
    let folder = root().join("deploy/compose");
    let text = read(&folder.join("compose.yaml"));
    let commands = text.lines().filter_map(|line| line.trim().strip_prefix("command: [")?.strip_suffix(']'));
    let commands: Vec<Vec<String>> = commands.map(|list| words(&list.replace(',', " "))).collect();
    assert_eq!(commands.len(), 3);
    for command in commands {
        is_understood("compose.yaml", &command);
        if let Some(at) = command.iter().position(|word| word == "--config") {
            let name = Path::new(&command[at + 1]).file_name().unwrap();
            let file = folder.join(name);
            muster(&["config", "print", &command[0], "--config", file.to_str().unwrap()]).done();
        }
    }
    let stage = Stage::start().await;
    stage.muster(&["apply", "-f", folder.join("fleet.toml").to_str().unwrap(), "--dry-run"]).done();
}

#[test]
fn documents_show_commands_that_there_are() {
    let documents = [files("docs/guides", "md"), vec![root().join("README.md")]].concat();
    let mut shown = 0;
    for document in documents {
        let text = read(&document);
        let mut in_shell = false;
        for (number, line) in text.lines().enumerate() {
            if let Some(language) = line.trim().strip_prefix("```") {
                in_shell = language == "sh";
                continue;
            }
            let words = words(line);
            if let (true, Some((first, rest))) = (in_shell, words.split_first())
                && first == "muster"
            {
                is_understood(&format!("{}:{}", document.display(), number + 1), rest);
                shown += 1;
            }
        }
    }
    assert!(shown > 0);
}
