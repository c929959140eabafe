//! `benches/RELIABILITY.md` and `benches/CASES.md` name no test that is not there, and leave out no
//! row.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const LEDGER: &str = include_str!("../../benches/RELIABILITY.md");

const CASES: &str = include_str!("../../benches/CASES.md");

/// How many numbered cases there are.
const CASE_COUNT: usize = 108;

/// The rows of each section: the letter, and how many there are.
const ROWS: [(char, usize); 3] = [('C', 35), ('L', 37), ('U', 80)];

/// The names of all functions in the sources and tests.
fn functions() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut places: Vec<PathBuf> = ["src", "tests", "fuzz"]
        .iter()
        .map(|below| root.join(below))
        .collect();
    let mut found = BTreeSet::new();
    while let Some(place) = places.pop() {
        if place.is_dir() {
            let entries = fs::read_dir(&place).expect("a directory of ours").flatten();
            places.extend(entries.map(|entry| entry.path()));
        } else if place.extension().is_some_and(|kind| kind == "rs") {
            let text = fs::read_to_string(&place).expect("a source file is text");
            let names = text.split("fn ").skip(1);
            found.extend(names.filter_map(|rest| Some(rest.split_once('(')?.0.to_owned())));
        }
    }
    found
}

#[test]
fn every_test_named_in_a_ledger_exists() {
    let known = functions();
    let quoted = [LEDGER, CASES].map(|text| text.split('`').skip(1).step_by(2));
    let quoted = quoted.into_iter().flatten();
    let paths = quoted.filter(|text| text.contains("::") && !text.contains(' '));
    let names = paths.filter_map(|path| path.rsplit("::").next());
    let modules = ["matrix", "laws"];
    let missing: Vec<_> = names
        .filter(|name| !known.contains(*name) && !modules.contains(name))
        .collect();
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
}

#[test]
fn every_fault_has_its_row() {
    let mut seen = BTreeSet::new();
    let cells = LEDGER
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    for range in cells.flat_map(|cell| cell.split(", ")) {
        let (first, last) = range.split_once('–').unwrap_or((range, range));
        let number = |row: &str| row.get(1..).and_then(|digits| digits.parse::<usize>().ok());
        if let (Some(letter), Some(first), Some(last)) =
            (range.chars().next(), number(first), number(last))
        {
            seen.extend((first..=last).map(|row| (letter, row)));
        }
    }
    let wanted = ROWS
        .iter()
        .flat_map(|&(letter, count)| (1..=count).map(move |row| (letter, row)));
    let missing: Vec<_> = wanted.filter(|row| !seen.contains(row)).collect();
    assert!(missing.is_empty(), "rows without a line: {missing:?}");
}

#[test]
fn every_case_has_its_row_with_a_proof() {
    let rows = CASES.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let number: usize = cells.next()?.parse().ok()?;
        cells.last()?.contains("::").then_some(number)
    });
    let seen: Vec<usize> = rows.collect();
    assert_eq!(seen, (1..=CASE_COUNT).collect::<Vec<_>>());
}
