use proptest::prelude::*;

use super::{Content, Format, ROW_BYTES, ROW_FIELDS, Row, Rows, write_record};

#[test]
fn records_are_cut_at_their_ends_whatever_ends_a_line_and_whatever_is_quoted() {
    let file = b"\xEF\xBB\xBFname,tags\r\n\r\nlamp-1,a;b\n\"lamp \"\"2\"\"\",\"two\nlines, here\"\r\n\n\n,\nlast,one";
    let expected = [
        (1, vec!["name", "tags"]),
        (3, vec!["lamp-1", "a;b"]),
        (4, vec!["lamp \"2\"", "two\nlines, here"]),
        (8, vec!["", ""]),
        (9, vec!["last", "one"]),
    ];
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(line, fields)| record(line, &fields))
        .collect();
    for piece in 1..file.len() + 1 {
        assert_eq!(cut(Format::Csv, file, piece), expected, "in pieces of {piece}");
    }
}

#[test]
fn lines_are_cut_at_their_ends_and_empty_ones_are_passed_over() {
    let file = b"\xEF\xBB\xBF{\"name\":1}\r\n\n  \n{\"name\":2}\n{}";
    for piece in 1..file.len() + 1 {
        let lines: Vec<_> = cut(Format::Ndjson, file, piece)
            .into_iter()
            .map(|row| match row.content {
                Content::Line(bytes) => (row.line, String::from_utf8(bytes).unwrap().trim().to_owned()),
                other => panic!("{other:?}"),
            })
            .collect();
        let expected = [(1, "{\"name\":1}"), (4, "{\"name\":2}"), (5, "{}")];
        assert_eq!(
            lines,
            expected.map(|(line, text)| (line, text.to_owned())),
            "in pieces of {piece}"
        );
    }
}

#[test]
fn a_row_that_is_too_long_is_said_and_the_next_one_is_read() {
    let long = "x".repeat(ROW_BYTES);
    let (csv, wide) = (format!("a\n{long}y,1\nb\n"), ",".repeat(ROW_FIELDS));
    let too_long = |line| Row {
        line,
        content: Content::TooLong,
    };
    for piece in [1, 1000, 1 << 20] {
        assert_eq!(
            cut(Format::Csv, csv.as_bytes(), piece),
            [record(1, &["a"]), too_long(2), record(3, &["b"])]
        );
        let fits = format!("{}\n", &long[..ROW_BYTES - 1]);
        assert_eq!(
            cut(Format::Csv, fits.as_bytes(), piece),
            [record(1, &[&long[..ROW_BYTES - 1]])]
        );
        assert_eq!(
            cut(Format::Csv, format!("{wide}\nb").as_bytes(), piece),
            [too_long(1), record(2, &["b"])]
        );
        let lines = cut(Format::Ndjson, format!("{long}y\n{{}}").as_bytes(), piece);
        assert_eq!(lines[0], too_long(1));
        assert_eq!((lines.len(), lines[1].line), (2, 2));
    }
}

#[test]
fn a_row_that_has_not_arrived_whole_is_no_row() {
    for (format, file) in [
        (Format::Csv, "name\n\"lamp-1"),
        (Format::Csv, "name\nlamp-1"),
        (Format::Ndjson, "{}\n{\"name\":"),
    ] {
        let mut rows = Rows::new(format);
        rows.push(file.as_bytes());
        assert_eq!((rows.len(), rows.begun()), (1, Some(2)), "{file}");
    }
    let mut empty = Rows::new(Format::Csv);
    empty.push(b"\xEF\xBB");
    empty.push(b"\xBF");
    empty.finish();
    assert_eq!(empty.pop(), None);
}

#[test]
fn a_field_is_quoted_where_it_has_to_be() {
    let mut out = Vec::new();
    let fields = ["plain", "", "a,b", "say \"so\"", "two\nlines", "\"\"\"", "ä"];
    write_record(fields.into_iter(), &mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "plain,,\"a,b\",\"say \"\"so\"\"\",\"two\nlines\",\"\"\"\"\"\"\"\",ä\n"
    );
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(
        records in prop::collection::vec(prop::collection::vec("[ -~\n\r\"ä]{0,12}", 2..5), 1..8),
        piece in 1_usize..40,
    ) {
        let mut file = Vec::new();
        for fields in &records {
            write_record(fields.iter().map(String::as_str), &mut file);
        }
        let read: Vec<Vec<Vec<u8>>> = cut(Format::Csv, &file, piece)
            .into_iter()
            .map(|row| match row.content {
                Content::Fields(fields) => fields,
                other => panic!("{other:?}"),
            })
            .collect();
        let written: Vec<Vec<Vec<u8>>> = records
            .iter()
            .map(|fields| fields.iter().map(|field| field.clone().into_bytes()).collect())
            .collect();
        prop_assert_eq!(read, written);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), piece in 1_usize..50) {
        for format in [Format::Csv, Format::Ndjson] {
            cut(format, &bytes, piece);
        }
    }
}

fn cut(format: Format, file: &[u8], piece: usize) -> Vec<Row> {
    let mut rows = Rows::new(format);
    file.chunks(piece).for_each(|bytes| rows.push(bytes));
    rows.finish();
    std::iter::from_fn(|| rows.pop()).collect()
}

fn record(line: u64, fields: &[&str]) -> Row {
    let fields = fields.iter().map(|field| field.as_bytes().to_vec()).collect();
    Row {
        line,
        content: Content::Fields(fields),
    }
}
