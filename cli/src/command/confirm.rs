//! A question before what cannot be taken back, asked of people alone: scripts have no terminal.

use std::io::{BufRead, IsTerminal, Write};

use tidewire_shared::{Desired, TaskName};

use super::wait;
use crate::client::Client;
use crate::failure::{Exit, Failure};

/// Asks before a task that is to run is deleted, where a person sits at a terminal.
///
/// # Errors
/// When the answer is not yes, or the task cannot be looked at.
pub(super) async fn deletion(client: &Client, name: &TaskName) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(());
    }
    let task = wait::get(client, name).await?;
    if task.desired != Desired::Running.as_str() {
        return Ok(());
    }
    let question = format!(
        "task {name} is {}: delete it with its slot, publication and positions? What was not \
         delivered by then is lost to it. [y/N] ",
        task.phase
    );
    if agreed(&question, &mut std::io::stdin().lock(), &mut std::io::stderr().lock()) {
        return Ok(());
    }
    Err(Failure::new(Exit::Usage, "invalid", format!("task {name}"), "nothing was deleted")
        .remedy("answer y, or add --yes, if that is meant"))
}

/// Asks before a task goes on from elsewhere, with what that means; scripts have to say it.
///
/// # Errors
/// When the answer is not yes, or nobody can be asked.
pub(super) fn rewind(name: &TaskName, meaning: &[String]) -> Result<(), Failure> {
    let meaning = meaning.join("; ");
    if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        let question = format!("task {name} goes on from elsewhere: {meaning}. [y/N] ");
        if agreed(&question, &mut std::io::stdin().lock(), &mut std::io::stderr().lock()) {
            return Ok(());
        }
    }
    Err(unsaid(name, &meaning))
}

/// The failure of a rewind that nobody has agreed to.
pub(super) fn unsaid(name: &TaskName, meaning: &str) -> Failure {
    Failure::new(Exit::Usage, "invalid", format!("task {name}"), meaning)
        .remedy("add --yes if that is meant")
}

/// Whether the answer is yes; silence is not.
fn agreed(question: &str, answers: &mut impl BufRead, screen: &mut impl Write) -> bool {
    let mut answer = String::new();
    let asked = screen.write_all(question.as_bytes()).and_then(|()| screen.flush());
    let heard = asked.and_then(|()| answers.read_line(&mut answer));
    heard.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        let heard = |answer: &str| agreed("? ", &mut answer.as_bytes(), &mut Vec::new());
        assert!(heard("y\n") && heard("YES\r\n"));
        assert!(!heard("\n") && !heard("") && !heard("no\n") && !heard("yellow\n"));
    }
}
