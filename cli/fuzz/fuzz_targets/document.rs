//! Any text becomes a task or an error with a place; what becomes a task is explained and read back.

#![no_main]

use document::{Document, Explained};
use libfuzzer_sys::fuzz_target;

// The room alone: the rest of the command line links librdkafka, which no sanitizer builds.
#[allow(dead_code, unused_imports)]
#[path = "../../src/document/mod.rs"]
mod document;

fuzz_target!(|text: &str| {
    if let Ok(document) = Document::parse(text) {
        let yaml = Explained::new(&document.spec).yaml().expect("a task can be written");
        let again = Document::parse(&yaml).expect("what we write can be read");
        assert_eq!(again.spec, document.spec);
    }
});
