use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

fn rows(format: RowFormat, bytes: impl Into<Vec<u8>>) -> Result<Vec<RowResult>, Error> {
    let input = Input::new("rows", None, std::io::Cursor::new(bytes.into()));
    open(input, format, None)?.collect()
}

fn csv_rows(bytes: impl Into<Vec<u8>>) -> Vec<RowResult> {
    rows(RowFormat::Csv, bytes).unwrap()
}

fn names(rows: &[RowResult]) -> Vec<(u64, String)> {
    rows.iter().flatten().map(|row| (row.line, row.get("name").unwrap().to_owned())).collect()
}

#[test]
fn bom_crlf_quotes_and_separators_are_read() {
    let expected = vec![(2, "Ana".to_owned()), (3, "João, \"Jô\"\r\nSilva".to_owned()), (5, "Zé".to_owned())];
    let text = "to,name\r\n+1,Ana\r\n+2,\"João, \"\"Jô\"\"\r\nSilva\"\r\n+3,Zé\r\n";
    assert_eq!(names(&csv_rows(text)), expected);
    assert_eq!(names(&csv_rows(format!("\u{feff}{text}"))), expected);
    let semicolons = "to;name\n+1;Ana\n+2;Zé, o segundo";
    assert_eq!(names(&csv_rows(semicolons)), [(2, "Ana".to_owned()), (3, "Zé, o segundo".to_owned())]);
    assert_eq!(names(&csv_rows("to\tname\n+1\tAna\n")), [(2, "Ana".to_owned())]);
}

#[test]
fn a_blank_line_does_not_shift_the_numbers() {
    let expected = [(2, "Ana".to_owned()), (5, "Zé".to_owned())];
    assert_eq!(names(&csv_rows("to,name\n+1,Ana\n\n\n+2,Zé\n")), expected);
    assert_eq!(names(&csv_rows("to,name\r\n+1,Ana\r\n\r\n \r\n+2,Zé")), expected);
}

#[test]
fn a_bad_row_is_placed_and_does_not_stop_the_others() {
    let mut bytes = b"to,name\n+1,Ana\n+2,Jo\xe3o\n+3\n+4,Rui,extra\n".to_vec();
    bytes.extend_from_slice("+5,Zé\n".as_bytes());
    let rows = csv_rows(bytes);
    assert_eq!(names(&rows), [(2, "Ana".to_owned()), (6, "Zé".to_owned())]);
    let problems: Vec<String> = rows.iter().filter_map(|row| row.as_ref().err()).map(Problem::to_string).collect();
    assert_eq!(
        problems,
        [
            "line 3, column 2 (name): byte 0xE3 after 2 characters is not UTF-8; save the file as UTF-8 (it may be Latin-1 or \
             Windows-1252) (ENCODING)",
            "line 4, column 2 (name): has 1 field where the header has 2 (MALFORMED_ROW)",
            "line 5, column 3: has 3 fields where the header has 2 (MALFORMED_ROW)",
        ]
    );
}

#[test]
fn a_file_without_recipients_is_refused_as_a_whole() {
    let told = |bytes: &[u8]| rows(RowFormat::Csv, bytes).unwrap_err().to_string();
    assert!(told(b"").contains("the file is empty"));
    assert!(told(b"phone,name\n+1,Ana\n").contains("no column is named \"to\"; found: phone, name"));
    assert!(told(b"to,name,name\n").contains("column 3 has the name of an earlier one"));
    assert!(told(b"to,recipient\n").contains("keep one of them"));
    assert!(told(b"to,n\xe3o\n").contains("not UTF-8"));
    assert!(told(b"\xff\xfet\0o\0").contains("UTF-16"));
}

#[test]
fn a_quote_that_is_never_closed_ends_the_file_before_it_fills_the_memory() {
    let mut bytes = "to,name\n+1,Ana\n+2,\"Zé\n".as_bytes().to_vec();
    bytes.extend(std::iter::repeat_n(b"+3,Rui\n", 500_000).flatten());
    let error = rows(RowFormat::Csv, bytes).unwrap_err().to_string();
    assert!(error.starts_with("rows, line 3: the row has more than 1048576 bytes"), "{error}");
}

#[test]
fn json_lines_are_read_and_bad_ones_placed() {
    let long = "x".repeat(ROW_BYTES_MAX);
    let text = format!(
        "\u{feff}{{\"to\": \"+1\", \"name\": \"Ana\", \"n\": 5, \"vip\": true, \"none\": null}}\r\n\n{{\"to\": }}\n[1]\n\
         {{\"to\": \"+1\", \"name\": [1]}}\n{{\"name\": \"Rui\"}}\n{long}\n{{\"to\": \"+2\", \"name\": \"Zé\"}}"
    );
    let rows = rows(RowFormat::Jsonl, text).unwrap();
    assert_eq!(names(&rows), [(1, "Ana".to_owned()), (8, "Zé".to_owned())]);
    let first = rows[0].as_ref().unwrap();
    assert_eq!((first.get("n"), first.get("vip"), first.get("none")), (Some("5"), Some("true"), None));
    let problems: Vec<String> = rows.iter().filter_map(|row| row.as_ref().err()).map(Problem::to_string).collect();
    assert_eq!(
        problems,
        [
            "line 3, column 8: is not JSON (MALFORMED_ROW)",
            "line 4, column 1: expected a JSON object such as {\"to\": \"+5511900000001\"} (MALFORMED_ROW)",
            "line 5, key \"name\": must be a text, a number or a truth value (INVALID_VALUE)",
            "line 6: no column is named \"to\"; found: name (INVALID_VALUE)",
            "line 7: the line has more than 1048576 bytes (MALFORMED_ROW)",
        ]
    );
}

#[test]
fn format_follows_the_name() {
    assert_eq!(RowFormat::of(Path::new("a.JSONL")), RowFormat::Jsonl);
    assert_eq!(RowFormat::of(Path::new("a.csv")), RowFormat::Csv);
    assert_eq!(RowFormat::of(Path::new("-")), RowFormat::Csv);
}

proptest! {
    #[test]
    fn what_a_csv_writer_writes_is_read_again(
        names in prop::collection::vec("\\PC{0,20}|[\"\r\n,;é ]{0,8}", 1..30),
    ) {
        let mut writer = ::csv::WriterBuilder::new().terminator(::csv::Terminator::CRLF).from_writer(Vec::new());
        writer.write_record(["to", "name"]).unwrap();
        for name in &names {
            writer.write_record(["+1", name]).unwrap();
        }
        let read = csv_rows(writer.into_inner().unwrap());
        let read: Vec<String> = read.iter().map(|row| row.as_ref().unwrap().get("name").unwrap().to_owned()).collect();
        prop_assert_eq!(read, names);
    }

    #[test]
    fn json_lines_are_read_again(names in prop::collection::vec(".{0,20}", 1..30)) {
        let mut text = String::new();
        for name in &names {
            writeln!(text, "{}", serde_json::json!({"to": "+1", "name": name})).unwrap();
        }
        let read = rows(RowFormat::Jsonl, text).unwrap();
        let read: Vec<String> = read.iter().map(|row| row.as_ref().unwrap().get("name").unwrap().to_owned()).collect();
        prop_assert_eq!(read, names);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut with_header = b"to,name\n".to_vec();
        with_header.extend_from_slice(&bytes);
        for (format, bytes) in [(RowFormat::Csv, with_header), (RowFormat::Csv, bytes.clone()), (RowFormat::Jsonl, bytes)] {
            for row in rows(format, bytes).into_iter().flatten().flatten() {
                prop_assert_eq!(row.columns.names.len(), row.values.len());
            }
        }
    }
}
