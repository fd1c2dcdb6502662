//! The rules of the house that no other tool checks.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use tidewire_testbed::process;

/// A file may have so many lines of code in front of its tests.
const CODE_LINES: usize = 500;
/// The cores decide and do no input or output: they cannot even name these.
const CORES: [&str; 2] = ["coordinator/core/Cargo.toml", "node/core/Cargo.toml"];
const NOT_IN_CORES: [&str; 5] = ["tokio", "actix", "tonic", "openraft", "rdkafka"];
/// Words that no comment holds, one per line.
const BANNED: &str = include_str!("../banned-words.txt");

/// What breaks a rule, one line each.
pub(crate) fn findings(top: &Path) -> Result<Vec<String>> {
    let listed = process::run(Command::new("git").current_dir(top).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let mut findings = Vec::new();
    let mut decisions = BTreeMap::<&str, &str>::new();
    for path in listed.lines() {
        // A file that was deleted but not yet committed is still listed.
        let Ok(text) = fs::read_to_string(top.join(path)) else { continue };
        if path.ends_with(".rs") {
            source(path, &text, &mut findings);
        }
        if CORES.contains(&path) {
            core_manifest(path, &text, &mut findings);
        }
        let number = path.strip_prefix("docs/adr/").and_then(|name| name.split('-').next());
        if let Some(number) = number.filter(|number| number.parse::<u32>().is_ok())
            && let Some(other) = decisions.insert(number, path)
        {
            findings.push(format!("{path}: has the number of {other}"));
        }
    }
    Ok(findings)
}

fn source(path: &str, text: &str, findings: &mut Vec<String>) {
    // A module `tests` is named and explained by the file whose tests it holds.
    if !text.starts_with("//!") && !path.ends_with("/tests.rs") {
        findings.push(format!("{path}: does not open with `//!` and what the file is for"));
    }
    let code = text
        .lines()
        .map(str::trim)
        .take_while(|line| *line != "#[cfg(test)]")
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .count();
    let tests = path.ends_with("/tests.rs") || path.split('/').any(|folder| folder == "tests");
    if code > CODE_LINES && !tests {
        findings.push(format!("{path}: {code} lines of code, {CODE_LINES} is the most"));
    }
    for (number, line) in text.lines().enumerate() {
        let comment = comment(line).to_lowercase();
        if let Some(word) = BANNED.lines().find(|word| holds(&comment, word)) {
            findings.push(format!("{path}:{}: a comment with `{word}`", number + 1));
        }
    }
}

/// The comment of a line; `//` inside a string counts too, which no file needs.
fn comment(line: &str) -> &str {
    match line.trim_start().strip_prefix("//") {
        Some(comment) => comment,
        None => line.split_once(" // ").map_or("", |(_, comment)| comment),
    }
}

/// Whether `text` holds `word` as a word.
fn holds(text: &str, word: &str) -> bool {
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(word) {
        let inside = |letter: Option<char>| letter.is_some_and(char::is_alphanumeric);
        if !inside(before.chars().next_back()) && !inside(after.chars().next()) {
            return true;
        }
        rest = after;
    }
    false
}

fn core_manifest(path: &str, text: &str, findings: &mut Vec<String>) {
    for line in text.lines() {
        let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
        if NOT_IN_CORES.iter().any(|banned| name.starts_with(banned)) {
            findings.push(format!("{path}: a core must not use {name}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let mut findings = Vec::new();
        source(path, text, &mut findings);
        findings
    }

    #[test]
    fn a_file_without_its_purpose_is_found() {
        assert_eq!(found("a.rs", "//! Why.\nfn a() {}\n"), Vec::<String>::new());
        assert_eq!(found("a.rs", "fn a() {}\n").len(), 1);
    }

    #[test]
    fn a_long_file_is_found_and_its_tests_do_not_count() {
        let long = format!("//! Why.\n{}", "x;\n".repeat(CODE_LINES + 1));
        assert_eq!(found("a.rs", &long).len(), 1);
        assert_eq!(found("a/tests/b.rs", &long).len(), 0);
        let tests = format!("//! Why.\n#[cfg(test)]\n{}", "x;\n".repeat(CODE_LINES + 1));
        assert_eq!(found("a.rs", &tests).len(), 0);
    }

    #[test]
    fn a_banned_word_is_found_in_comments_alone() {
        let word = BANNED.lines().next().unwrap();
        assert_eq!(found("a.rs", &format!("//! Why.\n// A {word} here\n")).len(), 1);
        assert_eq!(found("a.rs", &format!("//! Why.\nx(); // {word}: y\n")).len(), 1);
        assert_eq!(found("a.rs", &format!("//! Why.\nlet x = \"{word}\";\n")).len(), 0);
        assert_eq!(found("a.rs", &format!("//! Why.\n// mas{word}n\n")).len(), 0);
    }

    #[test]
    fn a_core_that_names_a_runtime_is_found() {
        let mut findings = Vec::new();
        core_manifest(
            "c",
            "[dependencies]\nserde.workspace = true\ntokio-stream = \"1\"\n",
            &mut findings,
        );
        assert_eq!(findings.len(), 1);
    }
}
