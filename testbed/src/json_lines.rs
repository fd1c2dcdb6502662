//! A child process that answers in lines of JSON.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use serde::de::DeserializeOwned;

/// The process with both of its pipes; it ends with its owner.
#[derive(Debug)]
pub(crate) struct JsonLines {
    child: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl JsonLines {
    /// Starts `command`; what it prints on standard error goes to `log`.
    pub(crate) fn spawn(command: &mut Command, log: Option<&Path>) -> Result<Self> {
        let stderr = match log {
            Some(log) => Stdio::from(File::options().create(true).append(true).open(log)?),
            None => Stdio::null(),
        };
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .context("start java")?;
        let questions = child.stdin.take();
        let answers = child.stdout.take().ok_or_else(|| anyhow!("no standard output"))?;
        Ok(Self { child, questions, answers: BufReader::with_capacity(1 << 16, answers) })
    }

    /// Sends one line and reads the one that answers it.
    pub(crate) fn ask<A: DeserializeOwned>(&mut self, question: &str) -> Result<A> {
        let pipe = self.questions.as_mut().ok_or_else(|| anyhow!("standard input is closed"))?;
        writeln!(pipe, "{question}").and_then(|()| pipe.flush()).context("the process ended")?;
        self.next()?.ok_or_else(|| anyhow!("the process ended without an answer"))
    }

    /// The next line, or none when the process has closed its output.
    pub(crate) fn next<A: DeserializeOwned>(&mut self) -> Result<Option<A>> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        match serde_json::from_str(&line) {
            Ok(answer) => Ok(Some(answer)),
            Err(wrong) => bail!("unexpected answer ({wrong}): {}", line.trim_end()),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for JsonLines {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
