//! Any text becomes a task or an error with a place; what becomes a task is explained and read back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidewire_cli::document::{Document, Explained};

fuzz_target!(|text: &str| {
    if let Ok(document) = Document::parse(text) {
        let yaml = Explained::new(&document.spec).yaml().expect("a task can be written");
        let again = Document::parse(&yaml).expect("what we write can be read");
        assert_eq!(again.spec, document.spec);
    }
});
